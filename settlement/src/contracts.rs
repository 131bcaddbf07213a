//! The contracts of all vendors: which terms hold for a model on a day, and at which rates
//! currencies are exchanged.

use std::collections::BTreeMap;

use jiff::civil::Date;
use tally_schemas::Currency;

use crate::contract_file::{BadContracts, ContractFile, read_contracts};
use crate::contract_layers::TermsLayer;
use crate::contract_lint::{ContractLint, lint};
use crate::period::Period;
use crate::sealed_object::hash_of;
use crate::terms::{Approved, Terms};
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
    /// From when on this version is known, milliseconds UTC.
    pub known_from_ms: i64,
    /// The same as it is written, where it is.
    pub(crate) written_ms: Option<i64>,
    /// File that it is in.
    pub(crate) file: String,
    /// Line of the file that it begins on.
    pub(crate) line: usize,
    pub(crate) approved: Option<Approved>,
}

impl FxRate {
    /// What the versions of a rate share, in words.
    pub fn words_id(&self) -> String {
        format!("{} {} {}", self.from, self.to, self.period)
    }

    /// Who approved it and when, milliseconds UTC.
    pub fn approval(&self) -> Option<(&str, i64)> {
        self.approved.as_ref().map(|approved| (approved.by.as_str(), approved.at_ms))
    }
}

/// Every version of the terms of every vendor, and the rates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contracts {
    pub(crate) version: String,
    pub(crate) layers: Vec<TermsLayer>,
    pub(crate) terms: Vec<Terms>,
    pub(crate) rates: Vec<FxRate>,
}

impl Contracts {
    /// Reads contracts whose records say by themselves who approved them; `name` is for messages.
    ///
    /// # Errors
    /// Every defect, with its line.
    pub fn parse(name: &str, text: &str) -> Result<Self, BadContracts> {
        // Spreadsheets and editors put a byte order mark in front.
        let text = text.trim_start_matches('\u{feff}');
        let ContractFile { terms, rates } = read_contracts(name, text, false)?;
        let version = hash_of(text.as_bytes())[..16].to_owned();
        Ok(Self { version, layers: Vec::new(), terms, rates })
    }

    /// Version of the contracts: a hash of their text and approvals.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Every version of terms, in the order in which they came.
    pub fn all_terms(&self) -> &[Terms] {
        &self.terms
    }

    /// Every version of a rate, in the order in which they came.
    pub fn all_rates(&self) -> &[FxRate] {
        &self.rates
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

    /// The rate between two currencies for a period: of several versions the one known last.
    pub fn rate(&self, from: Currency, to: Currency, period: Period) -> Option<&FxRate> {
        let versions = self.rates.iter();
        versions
            .filter(|rate| rate.from == from && rate.to == to && rate.period == period)
            .max_by_key(|rate| rate.known_from_ms)
    }

    /// The vendors with terms.
    pub fn vendors(&self) -> Vec<String> {
        let mut vendors: Vec<String> = self.counting().map(|terms| terms.vendor.clone()).collect();
        vendors.sort_unstable();
        vendors.dedup();
        vendors
    }
}
