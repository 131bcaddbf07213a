//! The seal of a phone bill: what the file came to, and the hash of the seal before it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tally_schemas::Currency;

use super::bill_csv::BillCsv;
use super::bill_file::BillContent;
use super::bill_plan::{BillPlan, BillScope};
use super::charge::ChargeKind;
use super::error::BillError;
use super::line::BillLine;
use crate::decimal::{Cents, Pico, Points};
use crate::seal::CutOff;
use crate::sealed_object::{decode_sealed, encode_sealed, hash_of};

/// The lines of one currency and kind on a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindSum {
    /// Currency.
    pub currency: String,
    /// Name of the kind.
    pub kind: String,
    /// Number of lines.
    pub lines: u64,
    /// What they charge.
    pub amount: Cents,
    /// The exact sum of those that stand on a file for the first time.
    pub new_exact: Pico,
}

/// The rows of `quota_ledger` of one kind and currency that a daily file took note of, charged or
/// not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerSum {
    /// Kind in `quota_ledger`.
    pub kind: String,
    /// Currency; empty where rows have none.
    pub currency: String,
    /// Number of rows.
    pub rows: u64,
    /// Their points.
    pub points: Points,
    /// Their amounts.
    pub amount: Pico,
}

/// What makes an issued file stay as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillSeal {
    /// Format of the object.
    pub format: u32,
    /// Sequence number, from 1.
    pub sequence: u64,
    /// Name of the file.
    pub file_id: String,
    /// What it is of.
    pub scope: BillScope,
    /// Who issued it.
    pub by: String,
    /// When that was begun, milliseconds UTC.
    pub at_ms: i64,
    /// Version of the program that began.
    pub code_version: String,
    /// Up to which epochs rows count.
    pub cut_offs: Vec<CutOff>,
    /// Up to which answer rejected lines come again.
    pub returns_to: u64,
    /// Number of lines.
    pub lines: u64,
    /// How many of them stood on an earlier file.
    pub lines_again: u64,
    /// The lines' sums, by currency and kind.
    pub sums: Vec<KindSum>,
    /// The rows behind it, by kind and currency; none for a correction.
    pub ledger: Vec<LedgerSum>,
    /// BLAKE3 of the line records of the CSV, in hex.
    pub lines_hash: String,
    /// BLAKE3 of the CSV, in hex.
    pub file_hash: String,
    /// BLAKE3 of the remainders after a daily file, in hex; empty for others.
    pub remainders_hash: String,
    /// BLAKE3 of the plan's bytes, in hex.
    pub plan: String,
    /// Hash of the seal before it; empty for the first.
    pub previous: String,
}

/// Sums lines by currency and kind.
pub(super) fn sums_of(lines: &[BillLine]) -> Result<Vec<KindSum>, BillError> {
    let mut sums: BTreeMap<(Currency, ChargeKind), (u64, i128, i128)> = BTreeMap::new();
    for line in lines {
        let sum = sums.entry((line.key.currency, line.key.kind)).or_default();
        let exact = if line.comes_again() { 0 } else { line.exact.0 };
        let added = sum.1.checked_add(line.amount.0).zip(sum.2.checked_add(exact));
        let (amount, exact) = added.ok_or_else(|| BillError::Overflow(line.key.account.clone()))?;
        *sum = (sum.0 + 1, amount, exact);
    }
    let sums = sums.into_iter().map(|((currency, kind), (lines, amount, exact))| KindSum {
        currency: currency.to_string(),
        kind: kind.name().to_owned(),
        lines,
        amount: Cents(amount),
        new_exact: Pico(exact),
    });
    Ok(sums.collect())
}

impl BillSeal {
    /// What a plan came to.
    ///
    /// # Errors
    /// `Overflow`.
    pub fn of(plan: &BillPlan, content: &BillContent, csv: &BillCsv) -> Result<Self, BillError> {
        let lines = &content.file.lines;
        let count = |lines: usize| u64::try_from(lines).unwrap_or(u64::MAX);
        let remainders_hash = match &content.remainders {
            Some(remainders) => hash_of(&remainders.to_csv()?),
            None => String::new(),
        };
        Ok(Self {
            format: BillPlan::FORMAT,
            sequence: plan.sequence,
            file_id: plan.file_id(),
            scope: plan.scope.clone(),
            by: plan.by.clone(),
            at_ms: plan.at_ms,
            code_version: plan.code_version.clone(),
            cut_offs: plan.cut_offs.clone(),
            returns_to: plan.returns_to,
            lines: count(lines.len()),
            lines_again: count(lines.iter().filter(|line| line.comes_again()).count()),
            sums: sums_of(lines)?,
            ledger: content.ledger.clone(),
            lines_hash: csv.lines_hash.clone(),
            file_hash: hash_of(&csv.bytes),
            remainders_hash,
            plan: hash_of(&plan.to_bytes()?),
            previous: plan.previous.clone(),
        })
    }

    /// As it is stored.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BillError> {
        Ok(encode_sealed(self)?)
    }

    /// Its hash: BLAKE3 of its bytes, in hex.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn hash(&self) -> Result<String, BillError> {
        Ok(hash_of(&self.to_bytes()?))
    }

    /// Reads a stored seal; `what` is for messages.
    ///
    /// # Errors
    /// `Stored`.
    pub fn from_bytes(what: &str, bytes: &[u8]) -> Result<Self, BillError> {
        Ok(decode_sealed(what, bytes, BillPlan::FORMAT..=BillPlan::FORMAT)?)
    }

    /// What is wrong with seals as a chain, in words; nothing where all is well.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn chain_defects(seals: &[Self]) -> Result<Vec<String>, BillError> {
        let mut defects = Vec::new();
        let mut before: Option<&Self> = None;
        let mut daily: Option<&Self> = None;
        for (place, seal) in (1..).zip(seals) {
            let file = seal.sequence;
            if file != place {
                defects.push(format!("phone bill {file} stands at place {place}"));
            }
            let expected = before.map_or(Ok(String::new()), Self::hash)?;
            if seal.previous != expected {
                defects.push(format!("phone bill {file} does not follow the one before it"));
            }
            before = Some(seal);
            let Some(day) = seal.scope.day() else { continue };
            if let Some(last) = daily {
                if last.scope.day().map(super::day::Day::next) != Some(day) {
                    defects.push(format!("phone bill {file} is of {day}, out of order"));
                }
                if !seal.counts_all_of(last) {
                    defects.push(format!(
                        "phone bill {file} counts fewer epochs or answers than phone bill {}",
                        last.sequence
                    ));
                }
            }
            daily = Some(seal);
        }
        Ok(defects)
    }

    /// Whether everything that an earlier daily file counted counts here too: otherwise rows that
    /// were charged could be charged again.
    fn counts_all_of(&self, earlier: &Self) -> bool {
        let holds = |cut: &CutOff| {
            self.cut_offs.iter().any(|own| own.partition == cut.partition && own.epoch >= cut.epoch)
        };
        self.returns_to >= earlier.returns_to && earlier.cut_offs.iter().all(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::bill_file::BillFile;
    use super::super::day::Day;
    use super::super::remainders::Remainders;
    use super::*;
    use crate::sealed_object::refuses_later;

    fn plan(sequence: u64, day: Day, previous: String) -> BillPlan {
        BillPlan {
            format: BillPlan::FORMAT,
            sequence,
            scope: BillScope::Daily { day },
            by: "billing".into(),
            at_ms: 1,
            code_version: "0".into(),
            cut_offs: vec![CutOff { partition: 0, epoch: 10 + sequence }],
            returns_to: 0,
            replaced: String::new(),
            previous,
        }
    }

    fn chain() -> Vec<BillSeal> {
        let mut day = Day::parse("2026-10-31").unwrap();
        let mut previous = String::new();
        let mut seals = Vec::new();
        for sequence in 1..=3 {
            let plan = plan(sequence, day, previous);
            let content =
                BillFile::daily(&plan, Vec::new(), Vec::new(), Vec::new(), Remainders::default())
                    .unwrap();
            let seal = BillSeal::of(&plan, &content, &content.file.to_csv().unwrap()).unwrap();
            previous = seal.hash().unwrap();
            seals.push(seal);
            day = day.next();
        }
        seals
    }

    #[test]
    fn plans_and_seals_of_a_later_format_are_refused_with_what_to_do() {
        refuses_later(
            &plan(1, Day::parse("2026-10-31").unwrap(), String::new()),
            1,
            |what, bytes| BillPlan::from_bytes(what, bytes).err().map(|error| error.to_string()),
        );
        refuses_later(&chain().remove(0), 1, |what, bytes| {
            BillSeal::from_bytes(what, bytes).err().map(|error| error.to_string())
        });
    }

    #[test]
    fn a_chain_is_whole_or_tells_where_not() {
        let seals = chain();
        assert_eq!(BillSeal::chain_defects(&seals).unwrap(), Vec::<String>::new());
        let defects = |change: &dyn Fn(&mut Vec<BillSeal>)| {
            let mut changed = seals.clone();
            change(&mut changed);
            BillSeal::chain_defects(&changed).unwrap().join("\n")
        };
        let edited = defects(&|seals| seals[1].by = "somebody else".into());
        assert!(edited.contains("3 does not follow"), "{edited}");
        let removed = defects(&|seals| drop(seals.remove(1)));
        assert!(removed.contains("3 stands at place 2"), "{removed}");
        let fewer = defects(&|seals| seals[2].cut_offs[0].epoch = 11);
        assert!(fewer.contains("3 counts fewer"), "{fewer}");
        let none = defects(&|seals| seals[2].cut_offs.clear());
        assert!(none.contains("3 counts fewer"), "{none}");
        let day = defects(&|seals| seals[2].scope = seals[1].scope.clone());
        assert!(day.contains("3 is of 2026-11-01, out of order"), "{day}");
    }

    /// R20, of a seal: each of its bytes.
    #[test]
    fn a_flipped_bit_is_found() {
        let seal = chain().remove(2);
        let bytes = seal.to_bytes().unwrap();
        assert_eq!(BillSeal::from_bytes("seal", &bytes).unwrap(), seal);
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                let read = BillSeal::from_bytes("seal", &damaged);
                assert!(read.is_err(), "bit {bit} of byte {place}");
            }
        }
    }
}
