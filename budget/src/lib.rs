//! What spans accounts: an operator's budget for a model or a vendor, and what of a vendor's
//! prepaid commitment is drawn. The rules are in `docs/budgets.md`. A pure function of the epochs'
//! increments, in the order in which they come, and of the budgets: no clock, no I/O, no floats.
//!
//! - [`Budget`], [`BudgetBook`]: what may be used, in versions, read from TOML.
//! - [`BudgetStage`]: what was used by model and day, each epoch of each partition added once, and
//!   the thresholds that were passed.
//! - [`BudgetAlert`]: a threshold that was reached.
//! - [`Standing`]: how much of a budget is used.

mod alert;
mod budget;
mod budget_book;
mod budget_text;
#[cfg_attr(
    not(any(test, feature = "planted")),
    allow(dead_code, unreachable_pub, reason = "the switch is open to tests only")
)]
mod planted;
mod stage;
mod standing;
mod stored;

#[cfg(test)]
mod tests;

pub use alert::BudgetAlert;
pub use budget::{Budget, BudgetKind, Measure, Period, Scope, Side, Span};
pub use budget_book::{BadBudgets, BudgetBook};
#[cfg(any(test, feature = "planted"))]
pub use planted::{Bug, plant};
pub use stage::{BudgetStage, Taken, Told, Untaken};
pub use standing::Standing;
pub use stored::BadModels;

/// The budgets that ship with Tally, as TOML: examples, to be replaced by an operator's own.
pub const SHIPPED_BUDGETS: &str = include_str!("../../rating/data/budgets.toml");
