//! `tally settle rerate`: a period as another reading of the price book rates it.

use std::sync::Arc;

use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};
use tally_query::{OtherReading, PeriodReRated, UnratedEvents};
use tally_rating::{RateCard, instant_text, parse_instant};
use tally_settlement::{AdjustmentState, Period, ReRateSection, ReRatedLine};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::Failure;
use crate::progress::follow;
use crate::settle_adjust::adjustment_json;
use crate::settle_terms::{SettledBy, engine};
use crate::{config, reference, stdout};

/// Lines that a table shows of each terms; all with --json.
const LINES_SHOWN: usize = 50;

/// Which period of whom, as of when, and whether it is posted.
#[derive(Debug, Args)]
pub(crate) struct RerateArgs {
    /// Vendor
    #[arg(long, value_name = "V")]
    vendor: String,
    /// A month in Asia/Shanghai, such as 2026-10
    #[arg(long, value_name = "YYYY-MM", value_parser = Period::parse)]
    period: Period,
    /// Read the price book as it was known then: a time with an offset, or a date in Shanghai
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    known_at: i64,
    /// Propose the differences that are not posted yet as adjustments, reason re_rate
    #[arg(long, requires = "by")]
    post: bool,
    /// Words for whoever approves it and for the statement [default: as of when]
    #[arg(long, value_name = "TEXT", requires = "post")]
    note: Option<String>,
    /// Who proposes it
    #[arg(long, value_name = "NAME", requires = "post")]
    by: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(global: &GlobalArgs, args: RerateArgs) -> Result<(), Failure> {
    let config = config::load(global, &args.store.settings())?;
    let whole = reference::open_to_read(&config)?.newest_whole().await?;
    let reading = OtherReading {
        card: Arc::new(RateCard::new(&whole.book, Some(args.known_at))),
        known_at_ms: args.known_at,
        reference: whole.edition.read_at(args.known_at).to_string(),
    };
    let mut settled_by = SettledBy::read(global, &args.store, None).await?;
    settled_by.prices.add_as_known(&whole.book, args.known_at);
    let engine = engine(global, &args.store).await?;
    let settlement = settled_by.over(&engine);
    let (vendor, period, now_ms) = (args.vendor.as_str(), args.period, reference::now_ms());
    let rating = async {
        match &args.by {
            Some(by) if args.post => {
                let note = args.note.clone().unwrap_or_default();
                settlement.propose_re_rate((vendor, period), &reading, (&note, by), now_ms).await
            }
            _ => Ok((settlement.re_rate(vendor, period, &reading, now_ms).await?, Vec::new())),
        }
    };
    let (again, proposed) = follow(global, "rerate", || engine.scanned().into(), rating).await?;
    if global.json {
        let json = re_rate_json(&args, &reading, &again, &proposed);
        return stdout::print(serde_json::to_string_pretty(&json)?);
    }
    stdout::print(in_words(&args, &again, &proposed))
}

fn re_rate_json(
    args: &RerateArgs,
    reading: &OtherReading,
    again: &PeriodReRated,
    proposed: &[AdjustmentState],
) -> Value {
    let line = |line: &ReRatedLine| {
        json!({
            "line_id": line.id,
            "on_statement": line.on_statement,
            "model": line.model,
            "class": line.class,
            "supplier": line.supplier,
            "service_tier": line.service_tier,
            "trial": line.trial,
            "price_before": line.price_before,
            "prices_after": line.prices_after,
            "events": line.events,
            "units": line.units,
            "before": line.before,
            "after": line.after,
            "currency": line.currency,
            "difference": line.difference,
        })
    };
    let section = |section: &ReRateSection| {
        let amounts: Vec<Value> = section
            .amounts
            .iter()
            .map(|amount| {
                json!({
                    "orig_line_id": amount.orig_line_id,
                    "difference": amount.difference,
                    "posted": amount.posted,
                    "to_post": amount.to_post,
                })
            })
            .collect();
        json!({
            "terms": section.terms,
            "currency": section.currency.code(),
            "lines": section.lines.iter().map(line).collect::<Vec<_>>(),
            "tiers": section.tiers,
            "rounding": section.rounding,
            "difference": section.difference,
            "amounts": amounts,
        })
    };
    let unrated = |unrated: &UnratedEvents| {
        let first: Vec<Value> = unrated
            .first
            .iter()
            .map(|(source, id)| json!({ "source": source, "id": id }))
            .collect();
        json!({
            "reason": unrated.reason,
            "model": unrated.model,
            "what": unrated.what,
            "events": unrated.events,
            "first": first,
        })
    };
    json!({
        "vendor": args.vendor,
        "period": args.period,
        "state": again.state.name(),
        "known_at_ms": reading.known_at_ms,
        "reference": reading.reference,
        "price_book_version": reading.card.version(),
        "events": again.re_rate.events,
        "events_changed": again.re_rate.events_changed,
        "sections": again.re_rate.sections.iter().map(section).collect::<Vec<_>>(),
        "unrated": again.unrated.iter().map(unrated).collect::<Vec<_>>(),
        "waiting": again.waiting.as_ref().map(AdjustmentState::name),
        "proposed": proposed.iter().map(adjustment_json).collect::<Vec<_>>(),
    })
}

fn in_words(args: &RerateArgs, again: &PeriodReRated, proposed: &[AdjustmentState]) -> String {
    let PeriodReRated { state, re_rate, unrated, waiting } = again;
    let mut words = vec![format!(
        "{} for {} ({}), rated as of {}: {} events, {} of them change",
        args.vendor,
        args.period,
        state.name(),
        instant_text(args.known_at),
        re_rate.events,
        re_rate.events_changed,
    )];
    for section in &re_rate.sections {
        words.push(section_in_words(section));
    }
    for UnratedEvents { reason, model, what, events, first } in unrated {
        let first: Vec<String> =
            first.iter().map(|(source, id)| format!("{source} {id}")).collect();
        words.push(format!(
            "{events} events of {model} cannot be rated, {reason}: {what}; the first: {}",
            first.join(", ")
        ));
    }
    let is_known = |state: &AdjustmentState| proposed.iter().any(|p| p.name() == state.name());
    if let Some(state) = waiting.as_ref().filter(|state| !is_known(state)) {
        words.push(format!(
            "{} of {} waits for a decision and counts as posted",
            state.name(),
            state.proposal.by
        ));
    }
    for state in proposed {
        let name = state.name();
        words.push(format!(
            "{name} is proposed: {} by {}; to make it count, as somebody else:  tally settle adjust --approve {name} --by NAME",
            state.proposal.what.amount, state.proposal.what.terms
        ));
    }
    if proposed.is_empty() && unrated.is_empty() {
        words.push(if re_rate.is_posted() {
            "nothing is left to be posted".to_owned()
        } else if state.is_draft() {
            format!("{} is not closed: nothing can be posted of it", args.period)
        } else {
            "to propose what is left:  the same with --post --by NAME".to_owned()
        });
    }
    words.join("\n")
}

fn section_in_words(section: &ReRateSection) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header([
            "line",
            "model",
            "class",
            "price",
            "now",
            "events",
            "before",
            "after",
            "difference",
        ]);
    for column in table.column_iter_mut().skip(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for line in section.lines.iter().take(LINES_SHOWN) {
        let now: Vec<&str> = line.prices_after.iter().map(String::as_str).collect();
        table.add_row([
            if line.on_statement { line.id.clone() } else { String::new() },
            line.model.clone(),
            if line.trial { format!("{}, trial", line.class) } else { line.class.clone() },
            line.price_before.clone(),
            now.join("\n"),
            line.events.to_string(),
            format!("{} {}", line.before, line.currency),
            line.after.to_string(),
            line.difference.to_string(),
        ]);
    }
    let posted: i128 = section.amounts.iter().map(|amount| amount.posted.0).sum();
    let more = section.lines.len().saturating_sub(LINES_SHOWN);
    let more =
        if more > 0 { format!("{more} more lines, all with --json\n") } else { String::new() };
    format!(
        "{table}\n{more}{}: {} {} more is owed; tiers {}, rounding {}; posted so far {}",
        section.terms,
        section.difference,
        section.currency,
        section.tiers,
        section.rounding,
        tally_settlement::Cents(posted),
    )
}
