//! A statement: what one vendor is owed for one period. The same groups in any order give the
//! same bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tally_schemas::Currency;

use crate::adjustment::PostedAdjustment;
use crate::contracts::Contracts;
use crate::control::ControlTotals;
use crate::error::SettlementError;
use crate::footing::charges;
use crate::line::Amounts;
use crate::period::Period;
use crate::price_lists::PriceLists;
use crate::rated_group::RatedGroup;
use crate::sealed_object::hash_of;
use crate::section::Section;
use crate::section_draft::{Context, SectionDraft};
use crate::terms::Terms;
use crate::words::amount_in_words;

/// Schema of statements that this build writes.
const SCHEMA: u32 = 1;

/// What a statement is made of.
#[derive(Debug, Clone, Copy)]
pub struct StatementInput<'a> {
    /// Vendor.
    pub vendor: &'a str,
    /// Period.
    pub period: Period,
    /// Contracts; without a lint.
    pub contracts: &'a Contracts,
    /// Prices that rated the groups.
    pub prices: &'a PriceLists,
    /// The period's groups of the vendor, and those of earlier periods that came after their seal.
    pub groups: &'a [RatedGroup],
    /// Sealed statements of the vendor, the oldest first.
    pub earlier: &'a [Statement],
    /// Adjustments that were posted to the period.
    pub posted: &'a [PostedAdjustment],
}

/// What is looked at first of a statement.
#[derive(Deserialize)]
struct OfSchema {
    schema: u32,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Schema of the object.
    pub schema: u32,
    /// Vendor.
    pub vendor: String,
    /// Period.
    pub period: Period,
    /// Number among the vendor's statements, from 1.
    pub sequence: u64,
    /// Currency that is paid.
    pub currency: String,
    /// Version of the contracts.
    pub contracts_version: String,
    /// Versions of the price book that rated the events.
    pub price_book_versions: Vec<String>,
    /// What it was made of.
    pub control: ControlTotals,
    /// What is owed, by terms.
    pub sections: Vec<Section>,
    /// The total.
    pub total: Amounts,
    /// The gross total in Chinese words.
    pub total_in_words: String,
}

impl Statement {
    /// Makes the statement of a period.
    ///
    /// # Errors
    /// Whatever keeps it from being exact; see [`SettlementError`].
    pub fn build(input: &StatementInput<'_>) -> Result<Self, SettlementError> {
        let StatementInput { vendor, period, contracts, prices, groups, earlier, posted } = *input;
        let overflow = || SettlementError::Overflow(vendor.to_owned());
        let mut drafts: BTreeMap<&str, (&Terms, SectionDraft<'_>)> = BTreeMap::new();
        let mut versions = BTreeSet::new();
        let mut control = ControlTotals::default();
        for terms in contracts.counting().filter(|terms| terms.vendor == vendor) {
            drafts.insert(&terms.id, (terms, SectionDraft::new(terms, period)));
        }
        for group in groups {
            if group.day >= period.end_day() || group.vendor != vendor {
                return Err(SettlementError::WrongPeriod { day: group.day, period });
            }
            let terms = contracts.terms_for(vendor, &group.billed_model, group.day);
            let draft = terms.and_then(|terms| drafts.get_mut(terms.id.as_str()));
            let (_, draft) = draft.ok_or_else(|| SettlementError::NoTerms {
                vendor: vendor.to_owned(),
                model: group.billed_model.clone(),
                day: group.day,
            })?;
            draft.add(group, &charges(group, prices)?)?;
            control.add(group, period)?;
            versions.insert(group.price_book_version.clone());
        }
        let mut ids = BTreeSet::new();
        let mut by_id: Vec<&PostedAdjustment> = posted.iter().collect();
        by_id.sort_by_key(|adjustment| &adjustment.id);
        for adjustment in by_id {
            let bad = |what: &str| SettlementError::BadAdjustment {
                id: adjustment.id.clone(),
                what: what.to_owned(),
            };
            adjustment.check(period, |orig, line| has_line(earlier, orig, line))?;
            if !ids.insert(&adjustment.id) {
                return Err(bad("is posted twice"));
            }
            let draft = drafts.get_mut(adjustment.terms.as_str());
            let (_, draft) =
                draft.ok_or_else(|| bad("names terms that the vendor does not have"))?;
            draft.post(adjustment);
        }
        let currency = drafts.values().next().map_or(Currency::CNY, |(terms, _)| terms.currency);
        let context = Context { vendor, contracts, earlier };
        let mut sections = Vec::new();
        for (_, draft) in drafts.into_values() {
            sections.extend(draft.finish(context)?);
        }
        let total = sections
            .iter()
            .try_fold(Amounts::default(), |sum, section| sum.plus(section.total))
            .ok_or_else(overflow)?;
        let number = u64::try_from(earlier.len()).unwrap_or(u64::MAX);
        Ok(Self {
            schema: SCHEMA,
            vendor: vendor.to_owned(),
            period,
            sequence: number.saturating_add(1),
            currency: currency.to_string(),
            contracts_version: contracts.version().to_owned(),
            price_book_versions: versions.into_iter().collect(),
            control,
            sections,
            total,
            total_in_words: amount_in_words(total.gross, currency),
        })
    }

    /// The canonical encoding: JSON without spaces, members in one order, numbers as texts.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SettlementError> {
        serde_json::to_vec(self).map_err(|error| SettlementError::Damaged(error.to_string()))
    }

    /// BLAKE3 of the canonical encoding, in hex.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn hash(&self) -> Result<String, SettlementError> {
        Ok(hash_of(&self.to_bytes()?))
    }

    /// Reads a stored statement; `what` is for messages.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn from_bytes(what: &str, bytes: &[u8]) -> Result<Self, SettlementError> {
        let damaged = |why: String| SettlementError::Damaged(format!("{what}: {why}"));
        // What a later version adds, this one cannot read.
        let of: OfSchema = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        match of.schema {
            SCHEMA => serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string())),
            later if later > SCHEMA => {
                Err(damaged(format!("schema {later} is not known to this version: upgrade")))
            }
            older => Err(damaged(format!("schema {older} is not read by this version any more"))),
        }
    }

    /// Whether there is nothing to say: no usage, not even one that owes nothing, no balance, no
    /// adjustment.
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty() && self.control == ControlTotals::default()
    }
}

/// Whether a statement of a period has a line.
fn has_line(earlier: &[Statement], period: Period, line: &str) -> bool {
    let of_period = earlier.iter().filter(|statement| statement.period == period);
    of_period
        .flat_map(|statement| &statement.sections)
        .flat_map(|section| &section.lines)
        .any(|known| known.id == line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_of_another_schema_is_refused_with_what_to_do() {
        let later = br#"{"schema":2,"vendors":["acme","deepseek"]}"#;
        let error = Statement::from_bytes("acme.json", later).unwrap_err();
        assert_eq!(error.to_string(), "acme.json: schema 2 is not known to this version: upgrade");
        let error = Statement::from_bytes("acme.json", br#"{"schema":0}"#).unwrap_err();
        assert_eq!(error.to_string(), "acme.json: schema 0 is not read by this version any more");
    }
}
