//! Control totals: what a statement was made of, to be compared with any other sum of the events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tally_schemas::{Currency, TokenClass};

use crate::decimal::{Pico, Units};
use crate::error::SettlementError;
use crate::period::Period;
use crate::rated_group::RatedGroup;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(count: &i64) -> bool {
    *count == 0
}

/// Totals of the rated events behind a statement.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlTotals {
    /// Events of the period.
    pub events: u64,
    /// Events of earlier periods that came after their seal.
    pub late_events: u64,
    /// Events of earlier periods that corrections added after their seal, less those taken back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub corrected_events: i64,
    /// Sum of each class over all of them; classes without any are left out.
    pub units: BTreeMap<String, Units>,
    /// What they were rated at, by currency.
    pub wholesale: BTreeMap<String, Pico>,
    /// What subscribers owe for them, by currency.
    pub retail: BTreeMap<String, Pico>,
}

impl ControlTotals {
    /// Adds a group.
    ///
    /// # Errors
    /// `Overflow`.
    pub(crate) fn add(
        &mut self,
        group: &RatedGroup,
        period: Period,
    ) -> Result<(), SettlementError> {
        let overflow = || SettlementError::Overflow(group.billed_model.clone());
        let late = Period::of_day(group.day) < period;
        if group.corrected {
            let events = self.corrected_events.checked_add(group.events);
            self.corrected_events = events.ok_or_else(overflow)?;
        } else {
            let events = if late { &mut self.late_events } else { &mut self.events };
            *events = events.checked_add_signed(group.events).ok_or_else(overflow)?;
        }
        for class in TokenClass::ALL {
            let units = group.units[class.index()];
            if units != 0 {
                let sum = self.units.entry(class.name().to_owned()).or_default();
                sum.0 = sum.0.checked_add(units).ok_or_else(overflow)?;
            }
        }
        let amount = |sums: &mut BTreeMap<String, Pico>, currency: Option<Currency>, pico: i128| {
            let Some(currency) = currency else { return Some(()) };
            let sum = sums.entry(currency.to_string()).or_default();
            sum.0 = sum.0.checked_add(pico)?;
            Some(())
        };
        amount(&mut self.wholesale, Some(group.currency), group.wholesale_pico)
            .and_then(|()| amount(&mut self.retail, group.retail_currency, group.retail_pico))
            .ok_or_else(overflow)
    }

    /// Adds the totals of another statement.
    ///
    /// # Errors
    /// `Overflow`.
    pub fn merge(&mut self, other: &Self) -> Result<(), SettlementError> {
        let overflow = || SettlementError::Overflow("all vendors".to_owned());
        let events = self.events.checked_add(other.events);
        self.events = events.ok_or_else(overflow)?;
        let late_events = self.late_events.checked_add(other.late_events);
        self.late_events = late_events.ok_or_else(overflow)?;
        let corrected = self.corrected_events.checked_add(other.corrected_events);
        self.corrected_events = corrected.ok_or_else(overflow)?;
        for (class, units) in &other.units {
            let sum = self.units.entry(class.clone()).or_default();
            sum.0 = sum.0.checked_add(units.0).ok_or_else(overflow)?;
        }
        for (sums, more) in
            [(&mut self.wholesale, &other.wholesale), (&mut self.retail, &other.retail)]
        {
            for (currency, pico) in more {
                let sum = sums.entry(currency.clone()).or_default();
                sum.0 = sum.0.checked_add(pico.0).ok_or_else(overflow)?;
            }
        }
        Ok(())
    }
}
