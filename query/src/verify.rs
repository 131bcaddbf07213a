//! `tally verify`: the invariants of the ledger and the tables, and the totals of a truth file.
//!
//! The tables are pinned first and the ledger is read after that, so that the ledger is never
//! behind: what a table has must be in the ledger, while the ledger's last epochs may still wait
//! for publication. Every check runs, whatever the others found.

mod account_checks;
mod audit_checks;
mod book_objects;
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
use tally_tables::{Parts, PinnedTables};
pub use truth::{Truth, TruthModel};

use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::ledger_view::PartitionLedger;
use table_checks::Published;
use table_sums::TableSums;

/// Most findings that one check reports; the rest is counted.
const FINDINGS_MAX: usize = 20;

/// Parts of which who waits is told, one after the other.
const PARTS: usize = 16;

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
    /// Where who waits for the checks sees how far they are.
    pub parts: Arc<Parts>,
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
    let parts = &options.parts;
    parts.expect(PARTS);
    parts.begin("budgets");
    let budgets = budget_checks::StageEvidence::read(engine).await;
    parts.begin("ledger");
    let pin = engine.pin(None).await?;
    let ledgers = engine.ledger().all_entries().await?;
    parts.begin("sums of the tables");
    let sums = TableSums::read(engine, &pin).await;
    let evidence = Evidence { pin, ledgers, sums };
    let published = Published::of(&evidence);
    let mut checks = ledger_checks::all(&evidence.ledgers);
    parts.begin("reference data");
    checks.extend(reference_checks::all(&evidence.ledgers, engine.references()).await);
    checks.extend(table_checks::all(&evidence, &published, options));
    parts.begin("windows");
    let windows = window_checks::windows_by_subscriber(engine, &evidence, &published, options);
    checks.push(windows.await);
    parts.begin("roll-ups");
    checks.push(roll_up_checks::roll_ups(engine, &evidence.pin).await);
    parts.begin("removed days");
    checks.push(retention_checks::records(engine, &evidence.pin).await);
    parts.begin("duplicates");
    checks.extend(table_checks::duplicates(engine, &evidence.pin).await);
    parts.begin("suspense");
    checks.extend(suspense_checks::all(engine, &evidence, &published).await);
    parts.begin("corrections");
    checks.extend(correction_checks::all(engine, &evidence.pin, &published).await);
    parts.begin("quota");
    checks.extend(quota_checks::all(engine, &evidence.pin, options).await);
    parts.begin("accounts");
    checks.extend(account_checks::all(engine, &evidence, &published).await);
    parts.begin("seals");
    checks.extend(seal_checks::all(engine, &evidence.pin).await);
    parts.begin("phone bills");
    checks.extend(phone_bill_checks::all(engine, &evidence.pin).await);
    parts.begin("budgets and alerts");
    checks.extend(budget_checks::all(engine, &budgets, &evidence, options).await);
    parts.begin("audit log");
    checks.push(audit_checks::all(engine).await);
    if let Some(truth) = &options.truth {
        checks.extend(truth::all(&evidence, truth));
    }
    Ok(Report { checks })
}
