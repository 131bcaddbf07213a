//! The contracts of all vendors: which terms hold for a model on a day, and at which rates
//! currencies are exchanged.

use std::collections::BTreeMap;

use jiff::civil::Date;
use tally_schemas::Currency;

use crate::contract_file::{BadContracts, ContractFile, read_contracts};
use crate::contract_lint::{ContractLint, lint};
use crate::period::Period;
use crate::sealed_object::hash_of;
use crate::terms::Terms;
use crate::{Bug, planted};

/// The contracts that ship with Tally as an example: one for each vendor of the shipped prices.
pub const EXAMPLE_CONTRACTS: &str = include_str!("../data/settlement.toml");

/// The rate of a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FxRate {
    /// Currency that is converted.
    pub from: Currency,
    /// Currency that comes out.
    pub to: Currency,
    /// The statements that it is for.
    pub period: Period,
    /// Millionths of `to` for one `from`.
    pub rate_micro: i128,
    /// Day of the rate.
    pub date: Date,
    /// Who published it.
    pub source: String,
}

/// Every version of the terms of every vendor, and the rates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contracts {
    version: String,
    text: String,
    pub(crate) terms: Vec<Terms>,
    pub(crate) rates: Vec<FxRate>,
}

impl Contracts {
    /// Reads contracts; `name` is for messages.
    ///
    /// # Errors
    /// Every defect, with its line.
    pub fn parse(name: &str, text: &str) -> Result<Self, BadContracts> {
        // Spreadsheets and editors put a byte order mark in front.
        let text = text.trim_start_matches('\u{feff}');
        let ContractFile { terms, rates } = read_contracts(name, text)?;
        let version = hash_of(text.as_bytes())[..16].to_owned();
        Ok(Self { version, text: text.to_owned(), terms, rates })
    }

    /// Version of the contracts: a hash of their text.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The text that they were read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is wrong with the terms taken together, and with their figures; `vendors` are those of
    /// the price book. Contracts with any finding may not settle money.
    pub fn lint(&self, vendors: &[String]) -> Vec<ContractLint> {
        lint(self, vendors)
    }

    /// Of every id the version that counts: approved, and known last; of several with the same
    /// time the last in the file. In the order of the ids.
    pub fn counting(&self) -> impl Iterator<Item = &Terms> {
        let mut newest: BTreeMap<&str, &Terms> = BTreeMap::new();
        for terms in self.terms.iter().filter(|terms| terms.is_approved()) {
            let place = newest.entry(terms.id.as_str()).or_insert(terms);
            if place.known_from_ms <= terms.known_from_ms {
                *place = terms;
            }
        }
        newest.into_values()
    }

    /// The terms for a vendor's model on a day: of those in force the ones that name the model
    /// most closely.
    pub fn terms_for(&self, vendor: &str, billed_model: &str, day: Date) -> Option<&Terms> {
        let matching = self.counting().filter(|terms| {
            terms.vendor == vendor && terms.model.matches(billed_model) && terms.in_force(day)
        });
        if planted(Bug::WidestTermsFirst) {
            return matching.min_by_key(|terms| terms.closeness());
        }
        matching.max_by_key(|terms| terms.closeness())
    }

    /// The terms of an id.
    pub fn terms(&self, id: &str) -> Option<&Terms> {
        self.counting().find(|terms| terms.id == id)
    }

    /// The rate between two currencies for a period.
    pub fn rate(&self, from: Currency, to: Currency, period: Period) -> Option<&FxRate> {
        self.rates.iter().find(|rate| rate.from == from && rate.to == to && rate.period == period)
    }

    /// The vendors with terms.
    pub fn vendors(&self) -> Vec<String> {
        let mut vendors: Vec<String> = self.counting().map(|terms| terms.vendor.clone()).collect();
        vendors.sort_unstable();
        vendors.dedup();
        vendors
    }
}
