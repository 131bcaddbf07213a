//! `tally verify`: the invariants of the ledger and the tables, and the totals of a truth file.
//!
//! The tables are pinned first and the ledger is read after that, so that the ledger is never
//! behind: what a table has must be in the ledger, while the ledger's last epochs may still wait
//! for publication. Every check runs, whatever the others found.

mod account_checks;
mod audit_checks;
mod budget_checks;
mod correction_checks;
mod journal_checks;
mod ledger_checks;
mod phone_bill_checks;
mod quota_checks;
mod reference_checks;
mod retention_checks;
mod roll_up_checks;
mod seal_checks;
mod suspense_checks;
mod table_checks;
mod table_sums;
mod truth;
mod window_checks;

use std::sync::Arc;

use serde::Serialize;
use tally_tables::PinnedTables;
pub use truth::{Truth, TruthModel};

use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::ledger_view::PartitionLedger;
use table_checks::Published;
use table_sums::TableSums;

/// Most findings that one check reports; the rest is counted.
const FINDINGS_MAX: usize = 20;

/// What to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// The totals that must have come out.
    pub truth: Option<Truth>,
    /// Whether every window is known to be closed, so that `usage_by_subscriber` must be
    /// complete.
    pub windows_closed: bool,
    /// Whether epochs may still wait for publication, as they do while the stream runs.
    pub unpublished_allowed: bool,
    /// Most rows of `quota_ledger` that are put in order together; none is what memory allows.
    pub rows_at_once: Option<u64>,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The invariant, such as `I1`, or `truth`.
    pub invariant: &'static str,
    /// What must hold, in words.
    pub what: &'static str,
    /// Whether it does.
    pub ok: bool,
    /// How much was looked at.
    pub looked_at: String,
    /// What is wrong, one line each; empty where all is well.
    pub findings: Vec<String>,
}

/// The outcome of every check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The checks, in a fixed order.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }
}

/// Collects what one check finds.
#[derive(Debug)]
struct Finding {
    check: Check,
    more: usize,
}

impl Finding {
    fn new(invariant: &'static str, what: &'static str) -> Self {
        let check =
            Check { invariant, what, ok: true, looked_at: String::new(), findings: Vec::new() };
        Self { check, more: 0 }
    }

    fn add(&mut self, finding: impl Into<String>) {
        self.check.ok = false;
        if self.check.findings.len() < FINDINGS_MAX {
            self.check.findings.push(finding.into());
        } else {
            self.more += 1;
        }
    }

    fn expect(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.add(finding());
        }
    }

    fn done(mut self, looked_at: impl Into<String>) -> Check {
        if self.more > 0 {
            self.check.findings.push(format!("and {} more", self.more));
        }
        self.check.looked_at = looked_at.into();
        self.check
    }
}

/// What the checks look at.
struct Evidence {
    pin: Arc<PinnedTables>,
    ledgers: Vec<PartitionLedger>,
    sums: TableSums,
}

/// Checks every invariant that ledger and tables can show.
///
/// # Errors
/// Where ledger or tables cannot be read at all; what is wrong with them is in the report.
pub async fn verify(engine: &QueryEngine, options: &VerifyOptions) -> Result<Report, QueryError> {
    let budgets = budget_checks::StageEvidence::read(engine).await;
    let pin = engine.pin(None).await?;
    let ledgers = engine.ledger().all_entries().await?;
    let sums = TableSums::read(engine, &pin).await;
    let evidence = Evidence { pin, ledgers, sums };
    let published = Published::of(&evidence);
    let mut checks = ledger_checks::all(&evidence.ledgers);
    checks.extend(reference_checks::all(&evidence.ledgers, engine.references()).await);
    checks.extend(table_checks::all(&evidence, &published, options));
    let windows = window_checks::windows_by_subscriber(engine, &evidence, &published, options);
    checks.push(windows.await);
    checks.push(roll_up_checks::roll_ups(engine, &evidence.pin).await);
    checks.push(retention_checks::records(engine, &evidence.pin).await);
    checks.extend(table_checks::duplicates(engine, &evidence.pin).await);
    checks.extend(suspense_checks::all(engine, &evidence, &published).await);
    checks.extend(correction_checks::all(engine, &evidence.pin, &published).await);
    checks.extend(quota_checks::all(engine, &evidence.pin, options).await);
    checks.extend(account_checks::all(engine, &evidence, &published).await);
    checks.extend(seal_checks::all(engine, &evidence.pin).await);
    checks.extend(phone_bill_checks::all(engine, &evidence.pin).await);
    checks.extend(budget_checks::all(engine, &budgets, &evidence, options).await);
    checks.push(audit_checks::all(engine).await);
    if let Some(truth) = &options.truth {
        checks.extend(truth::all(&evidence, truth));
    }
    Ok(Report { checks })
}
