//! How much of each budget is used: what people and metrics are shown.

use std::collections::BTreeMap;

use tally_schemas::ShanghaiDay;

use crate::budget::{Budget, Span};
use crate::stage::BudgetStage;

/// A budget in one of its periods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing<'s> {
    /// The version in force.
    pub budget: &'s Budget,
    /// The period.
    pub span: Span,
    /// Pico-currency, micro-points or tokens used.
    pub used: i128,
    /// Percent of the thresholds that were passed, rising.
    pub passed: Vec<u32>,
}

impl Standing<'_> {
    /// Percent of the limit that is used, rounded down.
    pub fn percent(&self) -> i128 {
        let (used, limit) = (self.used, self.budget.measure.limit().max(1));
        // In two parts, so that × 100 stays far from 128 bits: a limit is below 2^83.
        let (whole, rest) = (used.div_euclid(limit), used.rem_euclid(limit));
        whole.saturating_mul(100).saturating_add((rest * 100).div_euclid(limit))
    }
}

impl BudgetStage {
    /// Number of thresholds that were passed: each has a row in `alerts`.
    pub fn passed_thresholds(&self) -> u64 {
        self.passed().len() as u64
    }

    /// The budgets in force at an instant, in each of their periods that has usage and in the one
    /// that the instant is in: by id, then by period.
    pub fn standings(&self, at_ms: i64) -> Vec<Standing<'_>> {
        let mut standings = Vec::new();
        for at in self.book().in_force(at_ms) {
            let Some(budget) = self.book().versions().get(at) else { continue };
            let armed = self.book().armed(at);
            let used = self.used().iter().filter(|((version, _), _)| *version == at);
            let mut used: BTreeMap<Span, i128> = used.map(|((_, span), n)| (*span, *n)).collect();
            if let Some(now) = budget.period_of(ShanghaiDay::of_instant(at_ms)) {
                used.entry(now).or_default();
            }
            for (span, used) in used {
                let passed = self.passed().iter().filter(|passed| {
                    passed.budget == budget.version.id
                        && passed.period_start == span.from
                        && passed.armed == armed
                });
                standings.push(Standing {
                    budget,
                    span,
                    used,
                    passed: passed.map(|passed| passed.percent).collect(),
                });
            }
        }
        standings
    }
}
