//! What can be wrong with terms that are each well-formed: overlaps, gaps, vendors nobody knows,
//! figures that make no sense.

use std::collections::BTreeSet;

use jiff::civil::Date;

use crate::contracts::{Contracts, FxRate};
use crate::terms::{Burden, Form, Terms};

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContractLint {
    /// Stable code.
    pub code: ContractLintCode,
    /// Id of the terms, or the currencies of a rate.
    pub id: String,
    /// Line of the file that it begins on; 0 for a rate.
    pub line: usize,
    /// What is wrong and what to do, in words.
    pub what: String,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContractLintCode {
    /// Two terms that name the same models as closely hold on one day.
    Overlap,
    /// Between two terms for the same models lies a time without any.
    Gap,
    /// A vendor that the price book does not have.
    UnknownVendor,
    /// Two versions of one id that are known from the same instant.
    SameKnownTime,
    /// Terms of one vendor that are paid in different currencies.
    MixedCurrencies,
    /// A figure that cannot be meant.
    Nonsense,
}

impl ContractLintCode {
    /// Name in messages and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Gap => "gap",
            Self::UnknownVendor => "unknown_vendor",
            Self::SameKnownTime => "same_known_time",
            Self::MixedCurrencies => "mixed_currencies",
            Self::Nonsense => "nonsense",
        }
    }
}

impl std::fmt::Display for ContractLint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.id)?;
        if self.line > 0 {
            write!(f, " (line {})", self.line)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Above this, tax was meant otherwise, ppm.
const TAX_PPM_MAX: u32 = 500_000;
/// Above this, a markup was meant otherwise, ppm.
const MARKUP_PPM_MAX: u32 = 1_000_000;
/// A rate that is this many times the one of another period was meant otherwise.
const RATE_TIMES_MAX: i128 = 2;

/// Every finding. Terms that wait for their approval are looked at as if they had it.
pub(crate) fn lint(contracts: &Contracts, vendors: &[String]) -> Vec<ContractLint> {
    let mut found = BTreeSet::new();
    let mut approved = contracts.clone();
    for terms in &mut approved.terms {
        let known_from_ms = terms.known_from_ms;
        terms
            .approved
            .get_or_insert(crate::terms::Approved { by: "lint".to_owned(), at_ms: known_from_ms });
    }
    let counting: Vec<&Terms> = approved.counting().collect();
    for (number, terms) in counting.iter().enumerate() {
        let mut add = |code, what: String| add(&mut found, code, terms, what);
        if !vendors.contains(&terms.vendor) {
            add(
                ContractLintCode::UnknownVendor,
                format!(
                    "the price book has no vendor {}; correct it or import prices",
                    terms.vendor
                ),
            );
        }
        for other in &counting[number + 1..] {
            if other.vendor != terms.vendor {
                continue;
            }
            if other.currency != terms.currency {
                add(
                    ContractLintCode::MixedCurrencies,
                    format!(
                        "{} is paid in {}; a statement has one currency",
                        other.id, other.currency
                    ),
                );
            }
            if other.model == terms.model && meets(terms, other) {
                add(
                    ContractLintCode::Overlap,
                    format!("holds together with {}; end one where the other begins", other.id),
                );
            }
        }
        gap(terms, &counting, &mut add);
        nonsense(terms, &mut add);
    }
    versions(&approved, &mut found);
    rates(&approved, &mut found);
    found.into_iter().collect()
}

fn add(found: &mut BTreeSet<ContractLint>, code: ContractLintCode, terms: &Terms, what: String) {
    found.insert(ContractLint { code, id: terms.id.clone(), line: terms.line, what });
}

/// Whether there is a day on which both are in force.
fn meets(a: &Terms, b: &Terms) -> bool {
    let end = |terms: &Terms| terms.valid_to.unwrap_or(Date::MAX);
    let first = a.valid_from.max(b.valid_from);
    first < end(a).min(end(b))
}

/// A later beginning for the same models, but none on the day on which these end.
fn gap(terms: &Terms, counting: &[&Terms], add: &mut impl FnMut(ContractLintCode, String)) {
    let Some(end) = terms.valid_to.filter(|end| *end > terms.valid_from) else { return };
    let same = || {
        counting.iter().filter(|other| other.vendor == terms.vendor && other.model == terms.model)
    };
    let covered = counting
        .iter()
        .any(|other| other.vendor == terms.vendor && covers(other, terms) && other.in_force(end));
    let next = same().map(|other| other.valid_from).filter(|from| *from > end).min();
    if let Some(next) = next.filter(|_| !covered) {
        add(
            ContractLintCode::Gap,
            format!("nothing holds from {end} to {next}; let one begin where the other ends"),
        );
    }
}

/// Whether terms hold for every model that others name.
fn covers(wide: &Terms, narrow: &Terms) -> bool {
    use tally_rating::ModelPattern::{Exact, Prefix};
    match (&wide.model, &narrow.model) {
        (Exact(wide), Exact(narrow)) => wide == narrow,
        (Prefix(wide), Exact(narrow) | Prefix(narrow)) => narrow.starts_with(wide.as_str()),
        (Exact(_), Prefix(_)) => false,
    }
}

fn nonsense(terms: &Terms, add: &mut impl FnMut(ContractLintCode, String)) {
    let mut say = |what: String| add(ContractLintCode::Nonsense, what);
    if terms.tax_ppm > TAX_PPM_MAX {
        say(format!("tax_ppm {} is above 50 %", terms.tax_ppm));
    }
    match &terms.form {
        Form::Share { share_ppm: 0, .. } => say("share_ppm is 0: the vendor gets nothing".into()),
        Form::CostPlus { markup_ppm } if *markup_ppm > MARKUP_PPM_MAX => {
            say(format!("markup_ppm {markup_ppm} is above 100 %"));
        }
        Form::Tiers { steps, .. } => {
            if steps.windows(2).any(|pair| pair[1].micro_per_million > pair[0].micro_per_million) {
                say("tiers: the price rises with the volume".into());
            }
            if steps.iter().any(|step| step.micro_per_million == 0) {
                say("tiers: a price of 0".into());
            }
        }
        Form::PriceList | Form::Share { .. } | Form::CostPlus { .. } => {}
    }
    if let (Some(cap), Some(minimum)) = (terms.cap, terms.minimum)
        && cap < minimum.amount
    {
        say(format!("the cap {cap} is below the minimum {}", minimum.amount));
    }
    if terms.cap.is_some_and(|cap| cap.0 == 0) {
        say("the cap is 0: nothing would ever be paid".into());
    }
    let by_units = matches!(terms.form, Form::Tiers { .. } | Form::Share { .. });
    if by_units && terms.trial.as_ref().is_some_and(|trial| trial.burden != Burden::Operator) {
        say("a trial burden goes with price_list and cost_plus only: a trial has no revenue to \
             share, and its units count towards the tiers"
            .into());
    }
}

/// Two versions of one id of which none counts for sure.
fn versions(contracts: &Contracts, found: &mut BTreeSet<ContractLint>) {
    let mut seen = BTreeSet::new();
    for terms in &contracts.terms {
        // Of one approval the order of the times in the files decides.
        if !seen.insert((&terms.id, terms.known_from_ms, terms.written_ms)) {
            let what = "two versions are known from the same time".to_owned();
            add(found, ContractLintCode::SameKnownTime, terms, what);
        }
    }
}

fn rates(contracts: &Contracts, found: &mut BTreeSet<ContractLint>) {
    for (number, rate) in contracts.rates.iter().enumerate() {
        let id = rate.words_id();
        let mut say = |code, what: String| {
            found.insert(ContractLint { code, id: id.clone(), line: 0, what });
        };
        let same = contracts.rates[number + 1..]
            .iter()
            .filter(|other| other.from == rate.from && other.to == rate.to);
        for other in same {
            if other.period == rate.period {
                if (other.known_from_ms, other.written_ms) == (rate.known_from_ms, rate.written_ms)
                {
                    let what = "there are two rates for the period".to_owned();
                    say(ContractLintCode::Overlap, what);
                }
                continue;
            }
            let (low, high) =
                (rate.rate_micro.min(other.rate_micro), rate.rate_micro.max(other.rate_micro));
            let count = |rate: &FxRate| {
                let counting = contracts.rate(rate.from, rate.to, rate.period);
                counting.is_some_and(|counting| counting.rate_micro == rate.rate_micro)
            };
            if high > low.saturating_mul(RATE_TIMES_MAX) && count(rate) && count(other) {
                say(
                    ContractLintCode::Nonsense,
                    format!("is more than twice, or less than half, the rate of {}", other.period),
                );
            }
        }
    }
}
