//! The seal of a period, and the plan that comes before it.
//!
//! A plan fixes everything that could come out otherwise in a second run: who closes and when, up
//! to which epoch of each partition events count, by which terms and with which adjustments.
//! Whoever finds a plan in review goes on with it. A seal names what the plan came to, who approved
//! it, and the hash of the seal before it.

use serde::{Deserialize, Serialize};

use crate::adjustment::PostedAdjustment;
use crate::contract_layers::TermsLayer;
use crate::contracts::Contracts;
use crate::control::ControlTotals;
use crate::error::SettlementError;
use crate::journal::JournalEntry;
use crate::line::Amounts;
use crate::period::Period;
use crate::sealed_object::{decode_sealed, encode_sealed, hash_of};
use crate::statement::Statement;

/// Format of plans and seals that this build writes.
const FORMAT: u32 = 2;

/// Up to which entry of a partition's ledger events count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutOff {
    /// Kafka partition.
    pub partition: u32,
    /// The last epoch.
    pub epoch: u64,
}

/// A data file that a period was read from, as it was when it was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedFile {
    /// Path below the store's root.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, in hex.
    pub sha256: String,
}

/// What closing a period was begun with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Format of the object.
    pub format: u32,
    /// Number that the seal will have.
    pub n: u64,
    /// Period.
    pub period: Period,
    /// Who closes it.
    pub by: String,
    /// When it was begun, milliseconds UTC.
    pub at_ms: i64,
    /// Version of the program.
    pub code_version: String,
    /// Edition of the reference data that the terms are from.
    pub reference: String,
    /// The approved terms and rates, whole; of them what was known when it was begun.
    pub terms: Vec<TermsLayer>,
    /// The adjustments that people posted.
    pub posted: Vec<PostedAdjustment>,
    /// What counts, by partition.
    pub cut_offs: Vec<CutOff>,
    /// What it is read from.
    pub files: Vec<SealedFile>,
    /// Hash of the seal before it; empty for the first.
    pub previous: String,
}

impl Plan {
    /// The format of this build.
    pub const FORMAT: u32 = FORMAT;

    /// As it is stored.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SettlementError> {
        encode_sealed(self)
    }

    /// BLAKE3 of its bytes, in hex, which is its name.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn hash(&self) -> Result<String, SettlementError> {
        Ok(hash_of(&self.to_bytes()?))
    }

    /// The terms and rates that it was made with.
    ///
    /// # Errors
    /// `Damaged` where they cannot be read.
    pub fn contracts(&self) -> Result<Contracts, SettlementError> {
        Contracts::read_layers(&self.terms)
            .map(|contracts| contracts.as_known(self.at_ms))
            .map_err(|bad| SettlementError::Damaged(format!("terms of a plan: {bad}")))
    }

    /// Reads a stored plan; `what` is for messages.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn from_bytes(what: &str, bytes: &[u8]) -> Result<Self, SettlementError> {
        decode_sealed(what, bytes, FORMAT..=FORMAT)
    }
}

/// A statement that was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedStatement {
    /// Vendor.
    pub vendor: String,
    /// Number among the vendor's statements.
    pub sequence: u64,
    /// BLAKE3 of its bytes, in hex.
    pub hash: String,
    /// Currency.
    pub currency: String,
    /// Its total.
    pub total: Amounts,
}

/// What makes a closed period stay as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Format of the object.
    pub format: u32,
    /// Position in the chain, from 0.
    pub n: u64,
    /// Period.
    pub period: Period,
    /// Who put it into review.
    pub by: String,
    /// When, milliseconds UTC.
    pub at_ms: i64,
    /// Who approved it.
    pub approved_by: String,
    /// When, milliseconds UTC.
    pub approved_at_ms: i64,
    /// Entry of the journal that approved it.
    pub entry: u64,
    /// Hash of that entry, and so of everything that people had done until then.
    pub entry_hash: String,
    /// Version of the program that began.
    pub code_version: String,
    /// Version of the contracts.
    pub contracts_version: String,
    /// Edition of the reference data that they are from.
    pub reference: String,
    /// Adjustments that people posted and that are on its statements.
    pub adjustments: Vec<String>,
    /// Versions of the price book.
    pub price_book_versions: Vec<String>,
    /// What counts, by partition.
    pub cut_offs: Vec<CutOff>,
    /// What it was read from.
    pub files: Vec<SealedFile>,
    /// Its statements, by vendor.
    pub statements: Vec<SealedStatement>,
    /// The sum of their control totals.
    pub totals: ControlTotals,
    /// BLAKE3 of the plan's bytes, in hex.
    pub plan: String,
    /// Hash of the seal before it; empty for the first.
    pub previous: String,
}

impl SealedStatement {
    /// Statements by vendor, as a review and a seal name them.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn of_all(statements: &[Statement]) -> Result<Vec<Self>, SettlementError> {
        let mut sealed = Vec::new();
        for statement in statements {
            sealed.push(Self {
                vendor: statement.vendor.clone(),
                sequence: statement.sequence,
                hash: statement.hash()?,
                currency: statement.currency.clone(),
                total: statement.total,
            });
        }
        sealed.sort_by(|a, b| a.vendor.cmp(&b.vendor));
        Ok(sealed)
    }
}

impl Seal {
    /// Where seal `n` is, below the store's root.
    pub fn path(n: u64) -> String {
        format!("statements/seals/{n:020}.json")
    }

    /// What a plan came to, as an entry of the journal approved it.
    ///
    /// # Errors
    /// `Overflow`.
    pub fn of(
        plan: &Plan,
        approval: &JournalEntry,
        contracts_version: &str,
        statements: &[Statement],
    ) -> Result<Self, SettlementError> {
        let mut totals = ControlTotals::default();
        let mut versions: Vec<String> = Vec::new();
        for statement in statements {
            totals.merge(&statement.control)?;
            versions.extend(statement.price_book_versions.iter().cloned());
        }
        versions.sort_unstable();
        versions.dedup();
        let sealed = SealedStatement::of_all(statements)?;
        Ok(Self {
            format: FORMAT,
            n: plan.n,
            period: plan.period,
            by: plan.by.clone(),
            at_ms: plan.at_ms,
            approved_by: approval.by.clone(),
            approved_at_ms: approval.at_ms,
            entry: approval.n,
            entry_hash: approval.hash()?,
            code_version: plan.code_version.clone(),
            contracts_version: contracts_version.to_owned(),
            reference: plan.reference.clone(),
            adjustments: plan.posted.iter().map(|posted| posted.id.clone()).collect(),
            price_book_versions: versions,
            cut_offs: plan.cut_offs.clone(),
            files: plan.files.clone(),
            statements: sealed,
            totals,
            plan: plan.hash()?,
            previous: plan.previous.clone(),
        })
    }

    /// As it is stored.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SettlementError> {
        encode_sealed(self)
    }

    /// Its hash: BLAKE3 of its bytes, in hex.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn hash(&self) -> Result<String, SettlementError> {
        Ok(hash_of(&self.to_bytes()?))
    }

    /// Reads a stored seal; `what` is for messages.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn from_bytes(what: &str, bytes: &[u8]) -> Result<Self, SettlementError> {
        decode_sealed(what, bytes, FORMAT..=FORMAT)
    }

    /// What is wrong with seals as a chain, in words; nothing where all is well. One that follows on
    /// what is not among them is compared with nothing.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn chain_defects(seals: &[Self]) -> Result<Vec<String>, SettlementError> {
        let mut defects = Vec::new();
        let mut before: Option<&Self> = None;
        for seal in seals {
            let next = before.map_or(Some(0), |before| before.n.checked_add(1));
            if next != Some(seal.n) {
                defects.push(format!(
                    "the seal before that of {} is not there, or cannot be read: not compared",
                    seal.period
                ));
                before = Some(seal);
                continue;
            }
            let expected = before.map_or(Ok(String::new()), Self::hash)?;
            if seal.previous != expected {
                let period = seal.period;
                defects.push(format!("the seal of {period} does not follow the one before it"));
            }
            if before.is_some_and(|before| before.period.next() != seal.period) {
                defects.push(format!("the seal of {} is out of order", seal.period));
            }
            before = Some(seal);
        }
        Ok(defects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Act, Decision};
    use crate::sealed_object::refuses_later;

    fn approval(n: u64) -> JournalEntry {
        let act = Act::DecideReview(Decision { of: n, approve: true, note: String::new() });
        let by = "chief".to_owned();
        JournalEntry { format: 1, n: n + 1, at_ms: 2, by, act, previous: String::new() }
    }

    fn plan(n: u64, period: Period, previous: String) -> Plan {
        Plan {
            format: FORMAT,
            n,
            period,
            by: "finance".into(),
            at_ms: 1,
            code_version: "0".into(),
            reference: "1-ab@0".into(),
            terms: Vec::new(),
            posted: Vec::new(),
            cut_offs: vec![CutOff { partition: 0, epoch: n }],
            files: Vec::new(),
            previous,
        }
    }

    fn chain() -> Vec<Seal> {
        let mut period = Period::parse("2026-10").unwrap();
        let mut previous = String::new();
        let mut seals = Vec::new();
        for n in 0..3 {
            let plan = plan(n, period, previous);
            let seal = Seal::of(&plan, &approval(n), "c", &[]).unwrap();
            previous = seal.hash().unwrap();
            seals.push(seal);
            period = period.next();
        }
        seals
    }

    #[test]
    fn a_chain_is_whole_or_tells_where_not() {
        let seals = chain();
        assert_eq!(Seal::chain_defects(&seals).unwrap(), Vec::<String>::new());
        let mut edited = seals.clone();
        edited[1].by = "somebody else".into();
        assert_eq!(Seal::chain_defects(&edited).unwrap().len(), 1);
        let mut removed = seals.clone();
        removed.remove(1);
        let of_december = "the seal before that of 2026-12 is not there, or cannot be read";
        let defects = Seal::chain_defects(&removed).unwrap();
        assert!(defects.len() == 1 && defects[0].starts_with(of_december), "{defects:?}");
        let defects = Seal::chain_defects(&seals[1..]).unwrap();
        assert!(defects.len() == 1 && defects[0].contains("2026-11"), "{defects:?}");
        let mut swapped = seals;
        swapped.swap(0, 1);
        assert!(!Seal::chain_defects(&swapped).unwrap().is_empty());
    }

    #[test]
    fn plans_and_seals_of_a_later_format_are_refused_with_what_to_do() {
        refuses_later(
            &plan(0, Period::parse("2026-10").unwrap(), String::new()),
            FORMAT,
            |what, bytes| Plan::from_bytes(what, bytes).err().map(|error| error.to_string()),
        );
        refuses_later(&chain().remove(0), FORMAT, |what, bytes| {
            Seal::from_bytes(what, bytes).err().map(|error| error.to_string())
        });
    }

    /// R20, of a seal: each of its bytes.
    #[test]
    fn a_flipped_bit_is_found() {
        let seal = chain().remove(2);
        let bytes = seal.to_bytes().unwrap();
        assert_eq!(Seal::from_bytes("seal", &bytes).unwrap(), seal);
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                let read = Seal::from_bytes("seal", &damaged);
                assert!(read.is_err(), "bit {bit} of byte {place}");
            }
        }
    }
}
