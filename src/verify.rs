//! `tally verify`: every invariant, and the totals that must have come out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indicatif::HumanCount;
use tally_generate::Truth;
use tally_query::{Check, Report, Scanned, VerifyOptions, verify};
use tally_tables::{Part, Parts};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::{Failure, FailureKind, file_failure};
use crate::progress::{Position, follow};
use crate::{config, sql_session, stdout};

/// What to compare with, and what may still be under way.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Totals that must have come out; given several times, their sum
    #[arg(long, value_name = "FILE")]
    truth: Vec<PathBuf>,
    /// Nothing is open any more: usage_by_subscriber must be complete
    #[arg(long)]
    windows_closed: bool,
    /// The stream runs: epochs may wait for their publication
    #[arg(long)]
    running: bool,
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(global: &GlobalArgs, args: VerifyArgs) -> Result<(), Failure> {
    let (config, settings) = config::load_settings(global, &args.store.settings())?;
    let parts = Arc::new(Parts::default());
    let options = VerifyOptions {
        truth: truth_of(&args.truth)?,
        windows_closed: args.windows_closed,
        unpublished_allowed: args.running,
        parts: Arc::clone(&parts),
        rows_at_once: None,
    };
    let engine = sql_session::open(&config, settings).await?;
    let position = || position(parts.look(), engine.scanned());
    let report = follow(global, "verify", position, verify(&engine, &options)).await?;
    if global.json {
        stdout::print(serde_json::to_string_pretty(&report)?)?;
    } else {
        stdout::print(in_words(&report))?;
    }
    if report.passed() {
        return Ok(());
    }
    let failed = report.checks.iter().filter(|check| !check.ok).count();
    Err(Failure::new(FailureKind::Check, format!("{failed} checks failed")))
}

/// The part that is checked. Parts may be long, and the rows that are read go on.
fn position(part: Part, scanned: Scanned) -> Position {
    let mut position = Position::from(part);
    if scanned.rows > 0 {
        position.part = format!("{}, {} rows read", part.name, HumanCount(scanned.rows));
    }
    position
}

/// One line a check, and below it what it found.
fn in_words(report: &Report) -> String {
    let mut lines = Vec::new();
    for check in &report.checks {
        let outcome = if check.ok { "ok" } else { "FAILED" };
        let Check { invariant, what, looked_at, .. } = check;
        lines.push(format!("{outcome:<6}  {invariant:<5}  {what} ({looked_at})"));
        lines.extend(check.findings.iter().map(|finding| format!("        {finding}")));
    }
    lines.join("\n")
}

/// The sum of the truth files; `None` without any.
fn truth_of(paths: &[PathBuf]) -> Result<Option<tally_query::Truth>, Failure> {
    let mut truths = paths.iter().map(|path| read_truth(path));
    let Some(first) = truths.next() else { return Ok(None) };
    let mut sum = first?;
    for truth in truths {
        sum.merge(&truth?)?;
    }
    // The check keeps its own form of the truth: it knows the file, not the generator.
    Ok(Some(serde_json::from_value(serde_json::to_value(&sum)?)?))
}

fn read_truth(path: &Path) -> Result<Truth, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| file_failure(path, &error))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::data(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_reads_rows_says_how_many() {
        let part = Part { name: "quota", done: 10, of: 16 };
        let said = |rows| position(part, Scanned { rows, of: 20_000 }).part;
        assert_eq!(said(0), "quota");
        assert_eq!(said(12_345), "quota, 12,345 rows read");
        assert_eq!(position(part, Scanned::default()).total, Some(16));
    }
}
