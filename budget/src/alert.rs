//! An alert of a budget, and its identity.

use tally_quota::alert_identity;

use crate::budget::{Budget, BudgetKind, Span};
use crate::planted::{Bug, alerts_so_far, planted};

/// A threshold of a budget that was reached. One row of `alerts`; those that are not superseded
/// go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetAlert {
    /// Identity: the same threshold of the same period has the same one in every replay.
    pub id: String,
    /// Budget or commitment.
    pub kind: BudgetKind,
    /// Model pattern, vendor or supplier that it is for, or `*`.
    pub subject: String,
    /// Id of the budget.
    pub budget: String,
    /// Start of the period, milliseconds UTC.
    pub period_start_ms: i64,
    /// Kind, and how often the budget was armed anew.
    pub counter: String,
    /// Percent.
    pub threshold: u32,
    /// Millionths of currency, points or tokens used, rounded down.
    pub used_micro: i128,
    /// Millionths of currency, points or tokens that there are.
    pub allowance_micro: i128,
    /// When the epoch that reached it was closed, milliseconds UTC.
    pub at_ms: i64,
    /// The higher one that the same epoch reached, which went out instead.
    pub superseded_by: Option<String>,
}

/// The identity of an alert and its counter.
pub(crate) fn identity(budget: &Budget, span: Span, armed: u32, percent: u32) -> (String, String) {
    let counter = format!("{}:{armed}", budget.kind.name());
    let told = if planted(Bug::AlertIdCounts) {
        format!("{counter}:{}", alerts_so_far())
    } else {
        counter.clone()
    };
    let id = alert_identity(
        &budget.scope.subject(),
        &budget.version.id,
        span.from.start_ms(),
        &told,
        i64::from(percent),
    );
    (id, counter)
}
