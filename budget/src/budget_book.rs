//! Every version of every budget, and which of them is in force.

use crate::budget::Budget;
use crate::budget_text;

/// Files that cannot be read as budgets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .defects.join("\n"))]
pub struct BadBudgets {
    /// Each defect: record, field and what is wrong. Never empty.
    pub defects: Vec<String>,
}

/// Budgets in versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BudgetBook {
    /// By id, then by when they became known.
    budgets: Vec<Budget>,
    /// How often each was armed anew by its versions up to it.
    armed: Vec<u32>,
}

impl BudgetBook {
    /// Reads budgets in TOML: tables `[[budget]]`, as `docs/budgets.md` describes them.
    ///
    /// # Errors
    /// With every defect there is.
    pub fn from_toml(text: &str) -> Result<Self, BadBudgets> {
        budget_text::read_toml(text)
    }

    /// What ships with Tally.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn shipped() -> Result<Self, BadBudgets> {
        Self::from_toml(crate::SHIPPED_BUDGETS)
    }

    /// Puts versions in their order; they were checked before.
    pub(crate) fn new(mut budgets: Vec<Budget>) -> Self {
        // What nobody approved counts nothing.
        budgets.retain(|budget| budget.version.approved.is_some());
        let key = |budget: &Budget| (budget.version.id.clone(), budget.version.known_from_ms);
        budgets.sort_by_key(key);
        let mut armed: Vec<u32> = Vec::with_capacity(budgets.len());
        for (at, budget) in budgets.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|at| Some((budgets.get(at)?, armed.get(at)?)));
            armed.push(match before {
                Some((before, armed)) if before.version.id == budget.version.id => {
                    armed + u32::from(budget.arms_anew(before))
                }
                _ => 0,
            });
        }
        Self { budgets, armed }
    }

    /// Every approved version: by id, then by when it became known.
    pub fn versions(&self) -> &[Budget] {
        &self.budgets
    }

    /// Positions of the versions that are in force at an instant: of each id the one that became
    /// known last, among those known and approved by then.
    pub(crate) fn in_force(&self, at_ms: i64) -> impl Iterator<Item = usize> {
        let known = move |budget: &Budget| {
            let version = &budget.version;
            version.known_from_ms <= at_ms
                && version.approved.as_ref().is_some_and(|approval| approval.at_ms <= at_ms)
        };
        (0..self.budgets.len()).filter(move |at| {
            let budget = &self.budgets[*at];
            let later = self.budgets.iter().skip(at + 1);
            known(budget)
                && !later.take_while(|later| later.version.id == budget.version.id).any(&known)
        })
    }

    /// How often a version was armed anew, for the identity of its alerts.
    pub(crate) fn armed(&self, at: usize) -> u32 {
        self.armed.get(at).copied().unwrap_or_default()
    }
}
