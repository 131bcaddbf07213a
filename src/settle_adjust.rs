//! `tally settle adjust`: what people add to a statement, one asking and another approving.

use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};
use tally_query::NewAdjustment;
use tally_rating::instant_text;
use tally_settlement::{
    AdjustmentReason, AdjustmentState, Cents, Decision, Period, ReRated, dispute_name,
    entry_of_name, parse_decimal,
};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::Failure;
use crate::settle_terms::{SettledBy, engine};
use crate::{reference, stdout};

/// What is proposed, or which proposal is decided.
#[derive(Debug, Args)]
pub(crate) struct AdjustArgs {
    /// Vendor
    #[arg(long, value_name = "V", required_unless_present_any = ["list", "approve", "reject"])]
    vendor: Option<String>,
    /// The first period that it may count in: an open one
    #[arg(long, value_name = "YYYY-MM", value_parser = Period::parse,
        required_unless_present_any = ["list", "approve", "reject"])]
    period: Option<Period>,
    /// Why: re_rate, volume_correction, dispute_credit, complaint_refund, suspense_write_off,
    /// fx_difference, tax_correction or correction_event
    #[arg(long, value_name = "REASON", value_parser = reason,
        required_unless_present_any = ["list", "approve", "reject"])]
    reason: Option<AdjustmentReason>,
    /// What it adds to what is owed, with or without tax as the terms have it; -12.50 is a credit
    #[arg(long, value_name = "DECIMAL", value_parser = amount, allow_hyphen_values = true,
        required_unless_present_any = ["list", "approve", "reject"])]
    amount: Option<Cents>,
    /// The closed period that it corrects
    #[arg(long, value_name = "YYYY-MM", value_parser = Period::parse)]
    orig_period: Option<Period>,
    /// The line of that period's statement that it corrects
    #[arg(long, value_name = "ID")]
    orig_line: Option<String>,
    /// Terms that it belongs to, where the vendor has several
    #[arg(long, value_name = "ID")]
    terms: Option<String>,
    /// Words for whoever approves it and for the statement; with --reject, why not
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["list", "approve"])]
    note: Option<String>,
    /// Who does this
    #[arg(long, value_name = "NAME", required_unless_present = "list")]
    by: Option<String>,
    /// Make a proposal of somebody else count, from the next close on
    #[arg(long, value_name = "ID", value_parser = adjustment_id,
        conflicts_with_all = ["reject", "list", "vendor", "period", "reason", "amount"])]
    approve: Option<u64>,
    /// Reject a proposal
    #[arg(long, value_name = "ID", value_parser = adjustment_id,
        conflicts_with_all = ["list", "vendor", "period", "reason", "amount"])]
    reject: Option<u64>,
    /// List every adjustment that somebody proposed, with its state
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    store: StoreArgs,
}

fn reason(text: &str) -> Result<AdjustmentReason, String> {
    let posted = || AdjustmentReason::ALL.into_iter().filter(|reason| reason.is_posted());
    match AdjustmentReason::from_name(text) {
        Some(reason) if reason.is_posted() => Ok(reason),
        Some(_) => Err(format!("{text} follows from usage and terms and cannot be posted")),
        None => {
            let names: Vec<&str> = posted().map(AdjustmentReason::name).collect();
            Err(format!("there is no such reason; there are {}", names.join(", ")))
        }
    }
}

/// An amount in hundredths.
pub(crate) fn amount(text: &str) -> Result<Cents, String> {
    parse_decimal(text, 2).map(Cents)
}

fn adjustment_id(text: &str) -> Result<u64, String> {
    entry_of_name("ADJ-", text).ok_or_else(|| "an adjustment is called ADJ-000012".to_owned())
}

pub(crate) async fn run(global: &GlobalArgs, args: AdjustArgs) -> Result<(), Failure> {
    let settled_by = SettledBy::read(global, &args.store, None).await?;
    let engine = engine(global, &args.store).await?;
    let settlement = settled_by.over(&engine);
    if args.list {
        let books = settlement.books().await?;
        return tell_all(global, &books.adjustments().collect::<Vec<_>>());
    }
    let by = args.by.clone().unwrap_or_default();
    let note = args.note.clone().unwrap_or_default();
    let now_ms = reference::now_ms();
    let decided = args.approve.map(|of| (of, true)).or(args.reject.map(|of| (of, false)));
    if let Some((of, approve)) = decided {
        let decision = Decision { of, approve, note: note.trim().to_owned() };
        let state = settlement.decide_adjustment(&decision, &by, now_ms).await?;
        return tell(global, &state);
    }
    let (Some(vendor), Some(period), Some(reason), Some(amount)) =
        (args.vendor, args.period, args.reason, args.amount)
    else {
        return Err(Failure::usage(
            "an adjustment needs --vendor, --period, --reason and --amount",
        ));
    };
    let (terms, orig_period, orig_line) = (args.terms, args.orig_period, args.orig_line);
    let new = NewAdjustment { vendor, period, terms, reason, amount, orig_period, orig_line, note };
    tell(global, &settlement.propose(&new, &by, now_ms).await?)
}

/// An adjustment as JSON.
pub(crate) fn adjustment_json(state: &AdjustmentState) -> Value {
    let (proposal, decision) = (&state.proposal, state.decision.as_ref());
    let what = &proposal.what;
    json!({
        "adjustment": state.name(),
        "state": state.state(),
        "vendor": what.vendor,
        "period": what.period,
        "terms": what.terms,
        "reason": what.reason.name(),
        "amount": what.amount,
        "orig_period": what.orig_period,
        "orig_line_id": what.orig_line_id,
        "note": what.note,
        "dispute": what.dispute.map(dispute_name),
        "re_rate": what.re_rate.as_ref().map(re_rate_json),
        "bill": what.billed.as_ref().map(|billed| json!({
            "period": billed.period,
            "currency": billed.currency,
        })),
        "proposed_by": proposal.by,
        "proposed_at_ms": proposal.at_ms,
        "decided_by": decision.map(|done| &done.by),
        "decided_at_ms": decision.map(|done| done.at_ms),
        "decision_note": decision.map(|done| &done.what.note),
        "on_statement_of": state.counted_in,
    })
}

/// A re-rate: as of when, and the amount of each line.
fn re_rate_json(re_rate: &ReRated) -> Value {
    let lines: Vec<Value> = re_rate
        .lines
        .iter()
        .map(|line| json!({ "orig_line_id": line.orig_line_id, "amount": line.amount }))
        .collect();
    json!({
        "known_at_ms": re_rate.known_at_ms,
        "reference": re_rate.reference,
        "price_book_version": re_rate.price_book_version,
        "lines": lines,
    })
}

fn tell(global: &GlobalArgs, state: &AdjustmentState) -> Result<(), Failure> {
    if global.json {
        return stdout::print(serde_json::to_string_pretty(&adjustment_json(state))?);
    }
    stdout::print(in_words(state))
}

/// An adjustment for people, and what is to be done next.
pub(crate) fn in_words(state: &AdjustmentState) -> String {
    let (name, what) = (state.name(), &state.proposal.what);
    let mut lines = vec![format!(
        "{name} is {}: {} {} for {} from {} on, {}",
        state.state(),
        what.reason.name(),
        what.amount,
        what.vendor,
        what.period,
        what.note
    )];
    match state.state() {
        "proposed" => lines.push(format!(
            "to make it count, as somebody else:  tally settle adjust --approve {name} --by NAME"
        )),
        "approved" => lines.push("it is on the statement of the next period that is closed".into()),
        _ => {}
    }
    lines.join("\n")
}

fn tell_all(global: &GlobalArgs, states: &[&AdjustmentState]) -> Result<(), Failure> {
    if global.json {
        let rows: Vec<Value> = states.iter().map(|state| adjustment_json(state)).collect();
        return stdout::print(serde_json::to_string_pretty(&rows)?);
    }
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header([
            "adjustment",
            "state",
            "vendor",
            "period",
            "reason",
            "amount",
            "by",
            "at",
            "decided by",
            "note",
        ]);
    if let Some(amounts) = table.column_mut(5) {
        amounts.set_cell_alignment(CellAlignment::Right);
    }
    for state in states {
        let what = &state.proposal.what;
        table.add_row([
            state.name(),
            state.state().to_owned(),
            what.vendor.clone(),
            state.counted_in.unwrap_or(what.period).to_string(),
            what.reason.name().to_owned(),
            what.amount.to_string(),
            state.proposal.by.clone(),
            instant_text(state.proposal.at_ms),
            state.decision.as_ref().map(|done| done.by.clone()).unwrap_or_default(),
            what.note.clone(),
        ]);
    }
    stdout::print(table)
}
