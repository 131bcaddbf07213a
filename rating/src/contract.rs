//! What of a vendor's contract concerns a single event: that it pays by price list, and less how
//! much. Shares, guarantees and volume tiers are settled over a period.

use tally_schemas::Currency;

use crate::instant::Validity;
use crate::pattern::ModelPattern;
use crate::record_words::contract_words;
use crate::version::{Version, Versioned};

/// Parts per million of a whole.
pub(crate) const PPM: u64 = 1_000_000;

/// One version of a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// Id, known time, approval.
    pub version: Version,
    /// Vendor.
    pub vendor: String,
    /// Billed models.
    pub model: ModelPattern,
    /// Currency that it is settled in.
    pub currency: Currency,
    /// What is taken off list prices, in parts per million.
    pub discount_ppm: u64,
    /// When it is in force.
    pub valid: Validity,
}

impl Versioned for Contract {
    const KIND: &'static str = "contract";

    fn version(&self) -> &Version {
        &self.version
    }

    fn version_mut(&mut self) -> &mut Version {
        &mut self.version
    }

    fn words(&self) -> String {
        contract_words(self)
    }
}

/// A list price less a discount; `None` where that is not a whole number of micro-currency.
pub(crate) fn discounted(micro_per_million: u64, discount_ppm: u64) -> Option<u64> {
    let rest = u128::from(micro_per_million) * u128::from(PPM.checked_sub(discount_ppm)?);
    let whole = rest.is_multiple_of(u128::from(PPM)).then_some(rest / u128::from(PPM))?;
    u64::try_from(whole).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discount_leaves_whole_micro_currency_or_is_refused() {
        assert_eq!(discounted(12_000_000, 150_000), Some(10_200_000));
        assert_eq!(discounted(3, 500_000), None);
        assert_eq!(discounted(u64::MAX, 0), Some(u64::MAX));
        assert_eq!(discounted(1, PPM + 1), None);
    }
}
