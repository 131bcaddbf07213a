//! The journal of the books: what people did, one entry after the other. Entry `n` is created once
//! and carries the hash of entry `n - 1`, so that none can be changed, taken out or put between,
//! and of two people who act at once one is next and the other looks again.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::adjustment::AdjustmentReason;
use crate::day_text;
use crate::decimal::{Cents, Pico};
use crate::error::SettlementError;
use crate::large_difference::LargeDifference;
use crate::period::Period;
use crate::seal::SealedStatement;
use crate::sealed_object::{decode_sealed, encode_sealed, hash_of};

/// Format of entries.
const FORMAT: u32 = 1;
/// Format of entries that propose a re-rate, which older versions do not know.
const FORMAT_RE_RATE: u32 = 2;
/// Format of entries that tell single differences of a bill, or propose what a bill differs by.
const FORMAT_BILL: u32 = 3;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalEntry {
    /// Format of the object.
    pub format: u32,
    /// Place in the journal, from 0.
    pub n: u64,
    /// When, milliseconds UTC, by the clock of who did it.
    pub at_ms: i64,
    /// Who did it.
    pub by: String,
    /// What was done.
    pub act: Act,
    /// Hash of the entry before; empty for the first.
    pub previous: String,
}

/// What people do to the books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Puts a period into review.
    Review(Review),
    /// Seals what is in review, or sends it back.
    DecideReview(Decision),
    /// Says that a statement was paid.
    Pay(Payment),
    /// Proposes an adjustment.
    Adjust(Proposal),
    /// Makes a proposal count, or rejects it.
    DecideAdjustment(Decision),
    /// Puts down what the comparison with a bill came to.
    Reconcile(Reconciled),
    /// Disputes a bill.
    OpenDispute(Dispute),
    /// Ends a dispute.
    ResolveDispute(Resolution),
}

/// A period that is in review: the plan of its close, and what that comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// Period.
    pub period: Period,
    /// BLAKE3 of the plan, in hex, which is also its name.
    pub plan: String,
    /// The statements, by vendor: what is approved is these figures.
    pub statements: Vec<SealedStatement>,
    /// Entries of the adjustments that it counts, ascending.
    pub adjustments: Vec<u64>,
}

/// A decision of somebody else about an earlier entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The entry.
    pub of: u64,
    /// Whether it is approved.
    pub approve: bool,
    /// Why.
    pub note: String,
}

/// The payment of a statement, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    /// Period.
    pub period: Period,
    /// Vendor.
    pub vendor: String,
    /// Day of the payment.
    #[serde(with = "day_text")]
    pub paid_on: Date,
    /// What the bank calls it.
    pub reference: String,
}

/// An adjustment that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Vendor.
    pub vendor: String,
    /// The first period that it may count in.
    pub period: Period,
    /// Terms that it belongs to.
    pub terms: String,
    /// Why.
    pub reason: AdjustmentReason,
    /// What it adds to what is owed, with or without tax as the terms have it.
    pub amount: Cents,
    /// The closed period that it corrects.
    pub orig_period: Option<Period>,
    /// The line of that period that it corrects.
    pub orig_line_id: Option<String>,
    /// Words.
    pub note: String,
    /// The dispute that it comes from.
    pub dispute: Option<u64>,
    /// The re-rate that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re_rate: Option<ReRated>,
    /// The bill whose figure counts in place of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed: Option<Billed>,
}

/// A bill within the tolerance of a contract that takes the vendor's figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Billed {
    /// The entry that put the comparison with it down.
    pub comparison: u64,
    /// Month of the bill.
    pub period: Period,
    /// The currency of which the difference is.
    pub currency: String,
}

/// What a closed period comes to by another reading of the price book, less what was posted of that
/// before: one amount a line. Together they are the proposal's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReRated {
    /// The time at which the price book was read, milliseconds UTC.
    pub known_at_ms: i64,
    /// Edition of the reference data, and its reading.
    pub reference: String,
    /// Version of the price book in that reading.
    pub price_book_version: String,
    /// The amounts, in the order of the lines.
    pub lines: Vec<ReRatedAmount>,
}

/// The amount of a re-rate that belongs to a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReRatedAmount {
    /// The line; absent for what no single line of the statement stands for, rounding included.
    pub orig_line_id: Option<String>,
    /// What it adds to what is owed.
    pub amount: Cents,
}

/// Differences of one class in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSum {
    /// Class.
    pub class: String,
    /// Currency.
    pub currency: String,
    /// Differences.
    pub count: u64,
    /// The vendor's amount less ours.
    pub difference: Pico,
}

/// Both sides' sums in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurrencySum {
    /// Currency.
    pub currency: String,
    /// Our amount.
    pub ours: Pico,
    /// The vendor's amount.
    pub theirs: Pico,
    /// Whether they are within the tolerance.
    pub inside: bool,
}

/// What the comparison with a bill came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconciled {
    /// Vendor.
    pub vendor: String,
    /// Period.
    pub period: Period,
    /// Name of the bill's file.
    pub bill: String,
    /// BLAKE3 of the bill, in hex.
    pub bill_hash: String,
    /// Mapping that it was read by.
    pub mapping: String,
    /// Lines of the bill.
    pub bill_lines: u64,
    /// Our events.
    pub our_events: u64,
    /// Differences.
    pub differences: u64,
    /// Of these, outside of the tolerance.
    pub disputed: u64,
    /// Whether everything is within the tolerance.
    pub inside: bool,
    /// Sums by currency.
    pub totals: Vec<CurrencySum>,
    /// Differences by class and currency.
    pub classes: Vec<ClassSum>,
    /// The largest differences, largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub largest: Vec<LargeDifference>,
}

/// A bill that is disputed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispute {
    /// What the comparison came to.
    pub reconciled: Reconciled,
    /// BLAKE3 of the evidence's manifest, in hex; the manifest has the hash of every other file.
    pub evidence: String,
    /// Until when the vendor has to answer.
    #[serde(with = "day_text")]
    pub deadline: Date,
    /// Words.
    pub note: String,
}

/// How a dispute ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolution {
    /// The entry that opened it.
    pub dispute: u64,
    /// How.
    pub outcome: DisputeOutcome,
    /// Words.
    pub note: String,
}

/// How a dispute ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a dispute ends once: few are in memory")]
pub enum DisputeOutcome {
    /// The vendor's figure stands.
    Accepted,
    /// Ours stands: the vendor takes its claim back.
    Rejected,
    /// The vendor gives a credit, which is an adjustment that somebody else has to approve.
    Settled(Proposal),
}

impl JournalEntry {
    /// The format of an entry.
    pub(crate) fn format_of(act: &Act) -> u32 {
        match act {
            Act::Adjust(Proposal { re_rate: Some(_), .. }) => FORMAT_RE_RATE,
            Act::Adjust(Proposal { billed: Some(_), .. }) => FORMAT_BILL,
            Act::Reconcile(reconciled) | Act::OpenDispute(Dispute { reconciled, .. })
                if !reconciled.largest.is_empty() =>
            {
                FORMAT_BILL
            }
            _ => FORMAT,
        }
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

    /// Reads a stored entry; `what` is for messages.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn from_bytes(what: &str, bytes: &[u8]) -> Result<Self, SettlementError> {
        let entry: Self = decode_sealed(what, bytes, FORMAT..=FORMAT_BILL)?;
        if entry.format == Self::format_of(&entry.act) {
            return Ok(entry);
        }
        Err(SettlementError::Damaged(format!(
            "{what} has format {}, and what it says has another",
            entry.format
        )))
    }
}

/// How an adjustment is called.
pub fn adjustment_name(n: u64) -> String {
    format!("ADJ-{n:06}")
}

/// How the part of an adjustment is called that belongs to one of several lines, from 0.
pub(crate) fn part_name(n: u64, line: usize) -> String {
    format!("{}.{:04}", adjustment_name(n), line + 1)
}

/// The adjustment that an id on a statement belongs to: `ADJ-000012` of `ADJ-000012.0003`.
pub fn adjustment_of_part(id: &str) -> &str {
    id.split_once('.').map_or(id, |(name, _)| name)
}

/// How a dispute is called.
pub fn dispute_name(n: u64) -> String {
    format!("DSP-{n:06}")
}

/// The entry behind a name such as `ADJ-000012`, or `12`; `None` for another text.
pub fn entry_of_name(prefix: &str, name: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix).unwrap_or(name);
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty();
    number.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed_object::refuses_later;

    #[test]
    fn entries_of_a_later_format_are_refused_with_what_to_do() {
        let act = Act::DecideReview(Decision { of: 6, approve: true, note: String::new() });
        let by = "chief".to_owned();
        let entry =
            JournalEntry { format: FORMAT, n: 7, at_ms: 2, by, act, previous: String::new() };
        let why_not = |what: &str, bytes: &[u8]| {
            JournalEntry::from_bytes(what, bytes).err().map(|error| error.to_string())
        };
        refuses_later(&entry, FORMAT_BILL, why_not);
        // An act that this build does not know comes with a later format.
        let mut later = serde_json::to_value(&entry).unwrap();
        later["format"] = (FORMAT_BILL + 1).into();
        later["act"] = serde_json::json!({"swap_months": {"of": 6}});
        let said = why_not("entry 7", &encode_sealed(&later).unwrap()).unwrap();
        assert_eq!(said, "entry 7 has format 4, this build reads up to 3: upgrade");
        // One that says another format than its act has.
        let other = JournalEntry { format: FORMAT_BILL, ..entry };
        let said = why_not("entry 7", &other.to_bytes().unwrap()).unwrap();
        assert_eq!(said, "entry 7 has format 3, and what it says has another");
    }
}
