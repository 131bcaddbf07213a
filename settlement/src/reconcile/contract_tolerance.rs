//! Tolerance and tax rate from the contract, in place of those that the mapping gives.

use super::instant::{Period, date_of};
use super::mapping::BillMapping;
use super::tolerance::{Inside, Tolerance, ToleranceSource};
use crate::{Contracts, Counts, Terms};

/// Pico-currency of 0.01.
const CENT_PICO: i128 = 10_000_000_000;

impl BillMapping {
    /// Takes what the vendor's terms say on the first day of the period: the tolerance, and the tax
    /// rate where the mapping names none. Of several terms for the vendor's models the strictest
    /// figures count, and ours are right where any of them says so.
    ///
    /// # Errors
    /// In words, where there are no terms for the vendor then.
    pub fn with_contracts(
        mut self,
        contracts: &Contracts,
        vendor: &str,
        period: Period,
    ) -> Result<Self, String> {
        let day = date_of(period.first_day).ok_or("the period is beyond any calendar")?;
        let terms: Vec<&Terms> = contracts
            .counting()
            .filter(|terms| terms.vendor == vendor && terms.in_force(day))
            .collect();
        let strictest = terms
            .iter()
            .map(|terms| terms.tolerance)
            .map(|tolerance| Tolerance {
                qty_ppm: tolerance.qty_ppm.into(),
                amt_ppm: tolerance.amt_ppm.into(),
                amt_abs_pico: tolerance.amt_abs.0.saturating_mul(CENT_PICO),
                binding: self.tolerance.binding,
                inside: match tolerance.counts {
                    Counts::Ours => Inside::Ours,
                    Counts::Theirs => Inside::Theirs,
                },
            })
            .reduce(|a, b| Tolerance {
                qty_ppm: a.qty_ppm.min(b.qty_ppm),
                amt_ppm: a.amt_ppm.min(b.amt_ppm),
                amt_abs_pico: a.amt_abs_pico.min(b.amt_abs_pico),
                inside: if a.inside == b.inside { a.inside } else { Inside::Ours },
                binding: a.binding,
            });
        self.tolerance = strictest
            .ok_or_else(|| format!("the contracts have no terms for vendor {vendor:?} on {day}"))?;
        self.tolerance_source = ToleranceSource::Terms;
        if self.amount.tax_ppm == 0 {
            self.amount.tax_ppm =
                terms.iter().map(|terms| u64::from(terms.tax_ppm)).max().unwrap_or(0);
        }
        Ok(self)
    }
}
