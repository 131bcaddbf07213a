//! A statement line: one class of one model at one price, rounded once.

use serde::{Deserialize, Serialize};

use crate::decimal::{Cents, Pico, Units};
use crate::fraction::Fraction;
use crate::period::Period;
use crate::sealed_object::hash_of;
use crate::terms::{PPM, TaxBasis, Terms};
use crate::{Bug, planted};

/// Net, tax and gross of the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amounts {
    /// Without tax.
    pub net: Cents,
    /// The tax.
    pub tax: Cents,
    /// With tax.
    pub gross: Cents,
}

impl Amounts {
    /// Net, tax and gross of an amount that the terms give with or without tax.
    pub(crate) fn of(amount: Cents, terms: &Terms) -> Option<Self> {
        let rate = i128::from(terms.tax_ppm);
        if terms.tax_basis == TaxBasis::Inclusive && !planted(Bug::TaxTwice) {
            let net = Fraction::cents(amount)?.times(PPM, PPM + rate)?.rounded(terms.rounding)?;
            return Some(Self { net, tax: Cents(amount.0 - net.0), gross: amount });
        }
        let tax = Fraction::cents(amount)?.times(rate, PPM)?.rounded(terms.rounding)?;
        Some(Self { net: amount, tax, gross: Cents(amount.0.checked_add(tax.0)?) })
    }

    /// The sum; `None` where it would be too large.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            net: Cents(self.net.0.checked_add(other.net.0)?),
            tax: Cents(self.tax.0.checked_add(other.tax.0)?),
            gross: Cents(self.gross.0.checked_add(other.gross.0)?),
        })
    }

    /// What has to be added to `self` to get `other`.
    pub(crate) fn up_to(self, other: Self) -> Option<Self> {
        Some(Self {
            net: Cents(other.net.0.checked_sub(self.net.0)?),
            tax: Cents(other.tax.0.checked_sub(self.tax.0)?),
            gross: Cents(other.gross.0.checked_sub(self.gross.0)?),
        })
    }
}

/// What distinguishes a line from the others of its section; also their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LineKey {
    pub(crate) model: String,
    /// Token class; `revenue` for a share, `units` for tiers.
    pub(crate) class: String,
    pub(crate) supplier: String,
    pub(crate) service_tier: String,
    pub(crate) price_book_version: String,
    /// Price id, or the number of a tier.
    pub(crate) price: String,
    pub(crate) unit_price_micro: Option<u64>,
    pub(crate) trial: bool,
    pub(crate) currency: String,
}

impl LineKey {
    /// The id of the line that a key has on the statement of a period: the same in every run.
    pub(crate) fn id(&self, vendor: &str, terms: &str, period: Period) -> String {
        let unit_price = self.unit_price_micro.map_or(String::new(), |price| price.to_string());
        let period = period.to_string();
        let trial = if self.trial { "trial" } else { "" };
        let parts = [
            vendor,
            terms,
            &period,
            &self.model,
            &self.class,
            &self.supplier,
            &self.service_tier,
            &self.price_book_version,
            &self.price,
            &unit_price,
            trial,
            &self.currency,
        ];
        // A zero byte is in none of them, so that two keys cannot read the same.
        format!("L{}", &hash_of(parts.join("\0").as_bytes())[..16])
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Id, the same in every run of the period.
    pub id: String,
    /// Billed model, or the pattern of models for tiers.
    pub model: String,
    /// Token class; `revenue` for a share, `units` for tiers.
    pub class: String,
    /// Supplier; empty where the line is over all of them.
    pub supplier: String,
    /// Service tier; empty where the line is over all of them.
    pub service_tier: String,
    /// Version of the price book; empty for shares and tiers.
    pub price_book_version: String,
    /// Price id, or the number of a tier; empty for shares.
    pub price: String,
    /// Micro-currency for 1,000,000 units; absent for shares.
    pub unit_price_micro: Option<u64>,
    /// Whether it is a free trial.
    pub trial: bool,
    /// Units; events for shares.
    pub units: Units,
    /// Units × price, or the revenue that is shared, exactly.
    pub listed: Pico,
    /// Currency of `listed`.
    pub listed_currency: String,
    /// What is owed for it, rounded once.
    pub amounts: Amounts,
}

impl Line {
    pub(crate) fn new(
        id: String,
        key: LineKey,
        units: i128,
        listed_pico: i128,
        amounts: Amounts,
    ) -> Self {
        Self {
            id,
            units: Units(units),
            model: key.model,
            class: key.class,
            supplier: key.supplier,
            service_tier: key.service_tier,
            price_book_version: key.price_book_version,
            price: key.price,
            unit_price_micro: key.unit_price_micro,
            trial: key.trial,
            listed: Pico(listed_pico),
            listed_currency: key.currency,
            amounts,
        }
    }
}
