//! `tally settle dispute`: a bill that is disputed, from the evidence to how it ends.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use jiff::civil::Date;
use serde_json::{Value, json};
use tally_query::HowResolved;
use tally_rating::instant_text;
use tally_settlement::{Cents, Dispute, DisputeState, adjustment_name, entry_of_name};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::Failure;
use crate::settle_adjust::amount;
use crate::settle_reconcile::Evidence;
use crate::settle_terms::{SettledBy, engine};
use crate::{reference, stdout};

/// What can be done about disputes.
#[derive(Debug, Subcommand)]
pub(crate) enum DisputeCommand {
    /// Dispute a bill, by the folder that `tally settle reconcile` wrote
    ///
    /// Every file of the evidence is held to the hash that its manifest has; the hash of the
    /// manifest goes into the books. Keep the folder.
    Open(OpenArgs),
    /// List the disputes
    List(ListArgs),
    /// Show one with its sums and classes
    Show(ShowArgs),
    /// Put down how one ends
    ///
    /// A credit becomes the proposal of an adjustment, reason dispute_credit, which somebody else
    /// has to approve.
    Resolve(ResolveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// Folder of the comparison
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Until when the vendor has to answer
    #[arg(long, value_name = "YYYY-MM-DD")]
    deadline: Date,
    /// Words
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// Who opens it
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The dispute
    #[arg(value_name = "ID", value_parser = dispute_id)]
    dispute: u64,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// The dispute
    #[arg(value_name = "ID", value_parser = dispute_id)]
    dispute: u64,
    /// How it ends
    #[arg(long = "as", value_enum, value_name = "OUTCOME")]
    outcome: Outcome,
    /// What the vendor gives back, with or without tax as the terms have it; with settled only
    #[arg(long, value_name = "DECIMAL", value_parser = amount,
        required_if_eq("outcome", "settled"))]
    credit: Option<Cents>,
    /// Terms that the credit belongs to, where the vendor has several
    #[arg(long, value_name = "ID")]
    terms: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Who puts it down
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Outcome {
    /// The vendor's figure stands
    Accepted,
    /// Ours stands: the vendor takes its claim back
    Rejected,
    /// The vendor gives a credit
    Settled,
}

fn dispute_id(text: &str) -> Result<u64, String> {
    entry_of_name("DSP-", text).ok_or_else(|| "a dispute is called DSP-000012".to_owned())
}

pub(crate) async fn run(global: &GlobalArgs, command: DisputeCommand) -> Result<(), Failure> {
    let store = match &command {
        DisputeCommand::Open(args) => &args.store,
        DisputeCommand::List(args) => &args.store,
        DisputeCommand::Show(args) => &args.store,
        DisputeCommand::Resolve(args) => &args.store,
    };
    // Evidence that cannot be used is told before anything is opened.
    let dispute = match &command {
        DisputeCommand::Open(args) => Some(evidence(&args.folder, args.deadline, &args.note)?),
        _ => None,
    };
    let settled_by = SettledBy::read(global, store, None).await?;
    let engine = engine(global, store).await?;
    let settlement = settled_by.over(&engine);
    let now_ms = reference::now_ms();
    let state = match (command, dispute) {
        (DisputeCommand::Open(args), Some(dispute)) => {
            settlement.open_dispute(&dispute, &args.by, now_ms).await?
        }
        (DisputeCommand::Resolve(args), _) => {
            let how = how(&args)?;
            let ResolveArgs { dispute, note, by, .. } = args;
            settlement.resolve_dispute(dispute, &how, &note, &by, now_ms).await?
        }
        (DisputeCommand::Show(args), _) => settlement
            .books()
            .await?
            .dispute(args.dispute)
            .map_err(|error| Failure::usage(error.to_string()))?
            .clone(),
        (DisputeCommand::List(_) | DisputeCommand::Open(_), _) => {
            let books = settlement.books().await?;
            return tell_all(global, &books.disputes().collect::<Vec<_>>());
        }
    };
    if global.json {
        return stdout::print(serde_json::to_string_pretty(&dispute_json(&state)?)?);
    }
    stdout::print(in_words(&state))
}

fn how(args: &ResolveArgs) -> Result<HowResolved, Failure> {
    match (args.outcome, args.credit) {
        (Outcome::Settled, Some(credit)) => {
            Ok(HowResolved::Settled { credit, terms: args.terms.clone() })
        }
        (Outcome::Settled, None) => Err(Failure::usage("--as settled needs --credit")),
        (_, Some(_)) => Err(Failure::usage("--credit goes with --as settled only")),
        (Outcome::Accepted, None) => Ok(HowResolved::Accepted),
        (Outcome::Rejected, None) => Ok(HowResolved::Rejected),
    }
}

fn evidence(folder: &Path, deadline: Date, note: &str) -> Result<Dispute, Failure> {
    let Evidence { reconciled, manifest } = Evidence::read(folder)?;
    Ok(Dispute { reconciled, evidence: manifest, deadline, note: note.trim().to_owned() })
}

fn dispute_json(state: &DisputeState) -> Result<Value, Failure> {
    let (opened, resolution) = (&state.dispute, state.resolution.as_ref());
    let credit = state.credit();
    Ok(json!({
        "dispute": state.name(),
        "state": state.state(),
        "vendor": opened.what.reconciled.vendor,
        "period": opened.what.reconciled.period,
        "deadline": opened.what.deadline.to_string(),
        "evidence": opened.what.evidence,
        "note": opened.what.note,
        "opened_by": opened.by,
        "opened_at_ms": opened.at_ms,
        "reconciled": serde_json::to_value(&opened.what.reconciled)?,
        "resolved_by": resolution.map(|done| &done.by),
        "resolved_at_ms": resolution.map(|done| done.at_ms),
        "resolution_note": resolution.map(|done| &done.what.note),
        "credit": credit.map(|(credit, _)| credit),
        "adjustment": credit.map(|(_, n)| adjustment_name(n)),
    }))
}

fn in_words(state: &DisputeState) -> String {
    let (opened, name) = (&state.dispute, state.name());
    let reconciled = &opened.what.reconciled;
    let mut lines = vec![
        format!(
            "{name} is {}: the bill {} of {} for {}",
            state.state(),
            reconciled.bill,
            reconciled.vendor,
            reconciled.period
        ),
        format!(
            "opened by {} at {}, to be answered until {}",
            opened.by,
            instant_text(opened.at_ms),
            opened.what.deadline
        ),
    ];
    for total in &reconciled.totals {
        lines.push(format!("{}: ours {}, theirs {}", total.currency, total.ours, total.theirs));
    }
    for class in &reconciled.classes {
        lines.push(format!(
            "{} {}: {} differences, {}",
            class.currency, class.class, class.count, class.difference
        ));
    }
    lines.push(format!("evidence {}", opened.what.evidence));
    if !opened.what.note.is_empty() {
        lines.push(opened.what.note.clone());
    }
    if let Some(done) = &state.resolution {
        lines.push(format!(
            "ended by {} at {}: {}",
            done.by,
            instant_text(done.at_ms),
            done.what.note
        ));
    }
    if let Some((credit, n)) = state.credit() {
        let adjustment = adjustment_name(n);
        lines.push(format!(
            "a credit of {credit} is {adjustment}; to make it count, as somebody else:  tally settle adjust --approve {adjustment} --by NAME"
        ));
    }
    lines.join("\n")
}

fn tell_all(global: &GlobalArgs, states: &[&DisputeState]) -> Result<(), Failure> {
    if global.json {
        let rows: Result<Vec<Value>, Failure> =
            states.iter().map(|state| dispute_json(state)).collect();
        return stdout::print(serde_json::to_string_pretty(&rows?)?);
    }
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header([
            "dispute", "state", "vendor", "period", "disputed", "deadline", "by", "credit",
        ]);
    for state in states {
        let opened = &state.dispute;
        table.add_row([
            state.name(),
            state.state().to_owned(),
            opened.what.reconciled.vendor.clone(),
            opened.what.reconciled.period.to_string(),
            opened.what.reconciled.disputed.to_string(),
            opened.what.deadline.to_string(),
            opened.by.clone(),
            state.credit().map(|(credit, _)| credit.to_string()).unwrap_or_default(),
        ]);
    }
    stdout::print(table)
}
