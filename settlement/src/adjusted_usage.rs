//! From an adjustment back to the usage that it is for.

use crate::adjustment::Adjustment;
use crate::contracts::Contracts;
use crate::error::SettlementError;
use crate::footing::charges;
use crate::line::Line;
use crate::period::Period;
use crate::price_lists::PriceLists;
use crate::rated_group::RatedGroup;
use crate::section_draft::SectionDraft;
use crate::terms::Terms;

/// The usage that an adjustment is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustedUsage {
    /// Month of the usage.
    pub period: Period,
    /// Whether corrections of that month brought it about, and not usage that came late.
    pub corrected: bool,
    /// The line that it would be on the statement of its month, under the adjustment's id.
    pub line: Line,
}

impl AdjustedUsage {
    /// Looks for the usage of an adjustment among the groups of its statement; `None` where none of
    /// them has it.
    ///
    /// # Errors
    /// As [`crate::Statement::build`].
    pub fn find(
        adjustment: &Adjustment,
        (terms, period): (&Terms, Period),
        contracts: &Contracts,
        prices: &PriceLists,
        groups: &[RatedGroup],
    ) -> Result<Option<Self>, SettlementError> {
        let vendor = terms.vendor.as_str();
        let mut draft = SectionDraft::new(terms, period);
        for group in groups {
            let by = contracts.terms_for(vendor, &group.billed_model, group.day);
            if by.is_some_and(|by| by.id == terms.id) {
                draft.add(group, &charges(group, prices)?)?;
            }
        }
        Ok(draft.usage_of(vendor, adjustment))
    }
}
