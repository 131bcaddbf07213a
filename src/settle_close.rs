//! `tally settle close`, `approve`, `reject` and `paid`: how a period ends, by four eyes.

use std::path::PathBuf;

use clap::Args;
use jiff::civil::Date;
use serde_json::{Value, json};
use tally_query::{CloseOutcome, Closed, InReview};
use tally_rating::instant_text;
use tally_settlement::{Payment, Period, SealedStatement};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::Failure;
use crate::progress::follow;
use crate::settle_terms::{SettledBy, engine};
use crate::{reference, stdout};

/// Which period, and who closes it.
#[derive(Debug, Args)]
pub(crate) struct CloseArgs {
    /// A month in Asia/Shanghai, such as 2026-10
    #[arg(long, value_name = "YYYY-MM", value_parser = Period::parse)]
    period: Period,
    /// Who closes it
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Only to say that a close goes by approved terms
    #[arg(long, value_name = "FILE", hide = true)]
    contracts: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Which period, and who approves it.
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// A month in Asia/Shanghai that is in review
    #[arg(long, value_name = "YYYY-MM", value_parser = Period::parse)]
    period: Period,
    /// Who approves it: not the one who put it into review
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    store: StoreArgs,
}

/// Which period is sent back, and why.
#[derive(Debug, Args)]
pub(crate) struct RejectArgs {
    /// A month in Asia/Shanghai that is in review
    #[arg(long, value_name = "YYYY-MM", value_parser = Period::parse)]
    period: Period,
    /// Who sends it back
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    note: String,
    #[command(flatten)]
    store: StoreArgs,
}

/// Which statement was paid, and when.
#[derive(Debug, Args)]
pub(crate) struct PaidArgs {
    /// Vendor
    #[arg(long, value_name = "V")]
    vendor: String,
    /// A closed month in Asia/Shanghai
    #[arg(long, value_name = "YYYY-MM", value_parser = Period::parse)]
    period: Period,
    /// Day of the payment
    #[arg(long, value_name = "YYYY-MM-DD")]
    on: Date,
    /// What the bank calls the payment
    #[arg(long, value_name = "TEXT")]
    reference: String,
    /// Who says so
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn close(global: &GlobalArgs, args: CloseArgs) -> Result<(), Failure> {
    let settled_by = SettledBy::read(global, &args.store, args.contracts.as_deref()).await?;
    let engine = engine(global, &args.store).await?;
    let settlement = settled_by.over(&engine);
    let version = env!("CARGO_PKG_VERSION");
    let (now_ms, by) = (reference::now_ms(), args.by.as_str());
    let closing = settlement.close(args.period, by, now_ms, version);
    match follow(global, "close", || engine.scanned().into(), closing).await? {
        CloseOutcome::InReview(review) if global.json => {
            stdout::print(serde_json::to_string_pretty(&review_json(&review)?)?)
        }
        CloseOutcome::InReview(review) => stdout::print(review_in_words(&review)),
        CloseOutcome::Closed(closed) => tell_closed(global, &closed),
    }
}

pub(crate) async fn approve(global: &GlobalArgs, args: ApproveArgs) -> Result<(), Failure> {
    let settled_by = SettledBy::read(global, &args.store, None).await?;
    let engine = engine(global, &args.store).await?;
    let settlement = settled_by.over(&engine);
    let approving = settlement.approve(args.period, &args.by, reference::now_ms());
    let closed = follow(global, "approve", || engine.scanned().into(), approving).await?;
    tell_closed(global, &closed)
}

pub(crate) async fn reject(global: &GlobalArgs, args: RejectArgs) -> Result<(), Failure> {
    let settled_by = SettledBy::read(global, &args.store, None).await?;
    let engine = engine(global, &args.store).await?;
    let settlement = settled_by.over(&engine);
    let RejectArgs { period, by, note, .. } = args;
    let done = settlement.reject(period, &by, &note, reference::now_ms()).await?;
    if global.json {
        let value = json!({
            "period": period, "state": "soft_closed", "by": done.by, "at_ms": done.at_ms,
            "note": done.what.note,
        });
        return stdout::print(serde_json::to_string_pretty(&value)?);
    }
    stdout::print(format!("{period} is open again: tally settle close puts it into review anew"))
}

pub(crate) async fn paid(global: &GlobalArgs, args: PaidArgs) -> Result<(), Failure> {
    let settled_by = SettledBy::read(global, &args.store, None).await?;
    let engine = engine(global, &args.store).await?;
    let settlement = settled_by.over(&engine);
    let PaidArgs { vendor, period, on: paid_on, reference, by, .. } = args;
    let reference = reference.trim().to_owned();
    let payment = Payment { period, vendor, paid_on, reference };
    let done = settlement.pay(&payment, &by, reference::now_ms()).await?;
    let settled = settlement.books().await?.is_paid(period);
    if global.json {
        let value = json!({
            "period": period, "vendor": done.what.vendor, "paid_on": done.what.paid_on.to_string(),
            "reference": done.what.reference, "by": done.by, "at_ms": done.at_ms,
            "state": if settled { "settled" } else { "closed" },
        });
        return stdout::print(serde_json::to_string_pretty(&value)?);
    }
    let (vendor, bank) = (&done.what.vendor, &done.what.reference);
    let period_words =
        if settled { "everything of it is paid: it is settled" } else { "not all of it is paid" };
    stdout::print(format!(
        "the statement of {vendor} for {period} was paid on {} as {bank}; {period_words}",
        done.what.paid_on
    ))
}

fn tell_closed(global: &GlobalArgs, closed: &Closed) -> Result<(), Failure> {
    if global.json {
        return stdout::print(serde_json::to_string_pretty(&closed_json(closed)?)?);
    }
    stdout::print(closed_in_words(closed))
}

fn review_json(review: &InReview) -> Result<Value, Failure> {
    let done = &review.review;
    Ok(json!({
        "state": "review",
        "period": done.what.period,
        "by": done.by,
        "at_ms": done.at_ms,
        "was_there": review.was_there,
        "plan": done.what.plan,
        "statements": serde_json::to_value(&done.what.statements)?,
        "adjustments": review.adjustments,
    }))
}

fn closed_json(closed: &Closed) -> Result<Value, Failure> {
    Ok(json!({
        "state": "closed",
        "hash": closed.hash,
        "was_closed": closed.was_closed,
        "seal": serde_json::to_value(&closed.seal)?,
    }))
}

fn statement_lines(statements: &[SealedStatement], lines: &mut Vec<String>) {
    for statement in statements {
        lines.push(format!(
            "{:<20} {:>18} {}  {}",
            statement.vendor,
            statement.total.gross.to_string(),
            statement.currency,
            statement.hash
        ));
    }
}

fn review_in_words(review: &InReview) -> String {
    let (done, period) = (&review.review, review.review.what.period);
    let (when, at) = (if review.was_there { "was put" } else { "is" }, instant_text(done.at_ms));
    let mut lines = vec![format!("{period} {when} in review by {} at {at}", done.by)];
    if !review.adjustments.is_empty() {
        lines.push(format!("posted   {}", review.adjustments.join(", ")));
    }
    statement_lines(&done.what.statements, &mut lines);
    lines.push(format!("to look at one:  tally settle statement --period {period} --vendor V"));
    lines.push(format!(
        "to seal it, as somebody else:  tally settle approve --period {period} --by NAME"
    ));
    lines.push(format!(
        "to send it back:  tally settle reject --period {period} --by NAME --note WHY"
    ));
    lines.join("\n")
}

fn closed_in_words(closed: &Closed) -> String {
    let seal = &closed.seal;
    let when = if closed.was_closed { "was closed" } else { "is closed" };
    let mut lines = vec![
        format!(
            "{} {when} by {} and {} at {}",
            seal.period,
            seal.by,
            seal.approved_by,
            instant_text(seal.approved_at_ms)
        ),
        format!("seal     {} {}", seal.n, closed.hash),
        format!("terms    {} of edition {}", seal.contracts_version, seal.reference),
        format!(
            "events   {} of the period, {} late, {} corrected; {} data files",
            seal.totals.events,
            seal.totals.late_events,
            seal.totals.corrected_events,
            seal.files.len()
        ),
    ];
    if !seal.adjustments.is_empty() {
        lines.push(format!("posted   {}", seal.adjustments.join(", ")));
    }
    statement_lines(&seal.statements, &mut lines);
    lines.join("\n")
}
