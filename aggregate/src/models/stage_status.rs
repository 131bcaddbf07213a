//! What the second stage is doing, for metrics and `tally status`.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use crate::models::budget_owner::{BudgetOwner, EpochCounts};

/// How much of a budget is used in its current period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BudgetGauge {
    /// Id of the budget.
    pub budget: String,
    /// Percent used, rounded down.
    pub percent: i64,
}

/// What the second stage of this process did and holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StageFigures {
    /// Whether this process holds it.
    pub holds: bool,
    /// Number of the last entry of its ledger that this process knows.
    pub epoch: u64,
    /// Epochs of partitions that were sent to the topic.
    pub relayed: u64,
    /// Epochs of partitions that were added.
    pub added: u64,
    /// Messages of epochs that were added before.
    pub repeated: u64,
    /// Messages that no ledger confirms.
    pub ignored: u64,
    /// Epochs that were read from their ledger, as they were not in the topic in their order.
    pub filled: u64,
    /// Budgets in force; empty where another process holds the stage.
    pub budgets: Vec<BudgetGauge>,
}

/// Shared with whoever asks.
#[derive(Debug, Clone, Default)]
pub struct StageStatus(Arc<Mutex<StageFigures>>);

impl From<StageFigures> for StageStatus {
    fn from(figures: StageFigures) -> Self {
        Self(Arc::new(Mutex::new(figures)))
    }
}

impl StageStatus {
    /// The figures.
    pub fn figures(&self) -> StageFigures {
        self.0.lock().clone()
    }

    pub(crate) fn count_relayed(&self, epochs: u64) {
        self.0.lock().relayed += epochs;
    }

    pub(crate) fn count(&self, counts: EpochCounts) {
        let mut figures = self.0.lock();
        figures.added += counts.added;
        figures.repeated += counts.repeated;
        figures.ignored += counts.ignored;
        figures.filled += counts.filled;
    }

    pub(crate) fn holds(&self, owner: &BudgetOwner, now_ms: i64) {
        let current = owner.stage().standings(now_ms).into_iter().filter(|standing| {
            (standing.span.from.start_ms()..standing.span.to.start_ms()).contains(&now_ms)
        });
        let budgets = current
            .map(|standing| BudgetGauge {
                budget: standing.budget.version.id.clone(),
                percent: i64::try_from(standing.percent()).unwrap_or(i64::MAX),
            })
            .collect();
        let mut figures = self.0.lock();
        figures.holds = true;
        figures.epoch = owner.last().n;
        figures.budgets = budgets;
    }

    pub(crate) fn lets_go(&self) {
        let mut figures = self.0.lock();
        figures.holds = false;
        figures.budgets.clear();
    }
}
