//! An answer that was taken: numbered, and chained to the one before.

use serde::{Deserialize, Serialize};

use super::bill_plan::BillPlan;
use super::error::BillError;
use super::return_file::ReturnFile;
use crate::sealed_object::{decode_sealed, encode_sealed, hash_of};

/// A line that the billing system did not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    /// Number of the line in its phone bill.
    pub number: u64,
    /// The billing system's reason.
    pub reason: String,
}

/// A return file that was taken, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillReturn {
    /// Format of the object.
    pub format: u32,
    /// Number among the answers, from 1.
    pub n: u64,
    /// Who brought it.
    pub by: String,
    /// When, milliseconds UTC.
    pub at_ms: i64,
    /// Sequence number of the phone bill that is answered.
    pub sequence: u64,
    /// Hash of its line records.
    pub lines_hash: String,
    /// BLAKE3 of the return file, in hex.
    pub file_hash: String,
    /// Accepted lines as runs of numbers, each with its first and its last.
    pub accepted: Vec<[u64; 2]>,
    /// Rejected lines, by number.
    pub rejected: Vec<Rejection>,
    /// Hash of the answer before it; empty for the first.
    pub previous: String,
}

/// Numbers in order as runs.
fn runs(numbers: impl Iterator<Item = u64>) -> Vec<[u64; 2]> {
    let mut runs: Vec<[u64; 2]> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some([_, last]) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push([number, number]),
        }
    }
    runs
}

impl BillReturn {
    /// An answer that was found to fit. `file` is sorted by its lines' numbers here.
    pub(super) fn of(
        file: &ReturnFile,
        file_hash: String,
        (n, previous): (u64, String),
        (by, at_ms): (&str, i64),
    ) -> Self {
        let mut answers = file.answers.clone();
        answers.sort_by_key(|answer| answer.number);
        let rejected = answers.iter().filter_map(|answer| {
            let reason = answer.rejected.clone()?;
            Some(Rejection { number: answer.number, reason })
        });
        let rejected = rejected.collect();
        let accepted = answers.iter().filter(|answer| answer.rejected.is_none());
        Self {
            format: BillPlan::FORMAT,
            n,
            by: by.to_owned(),
            at_ms,
            sequence: file.sequence,
            lines_hash: file.lines_hash.clone(),
            file_hash,
            accepted: runs(accepted.map(|answer| answer.number)),
            rejected,
            previous,
        }
    }

    /// Number of accepted lines.
    pub fn accepted_lines(&self) -> u64 {
        self.accepted
            .iter()
            .map(|[first, last]| last.saturating_sub(*first).saturating_add(1))
            .sum()
    }

    /// Whether it answers a line of its phone bill.
    pub fn answers(&self, number: u64) -> bool {
        self.accepts(number) || self.rejection(number).is_some()
    }

    /// Whether it accepts a line of its phone bill.
    pub fn accepts(&self, number: u64) -> bool {
        let at = self.accepted.partition_point(|[first, _]| *first <= number);
        at > 0 && self.accepted.get(at - 1).is_some_and(|[_, last]| number <= *last)
    }

    /// Why it rejects a line of its phone bill.
    pub fn rejection(&self, number: u64) -> Option<&Rejection> {
        let at = self.rejected.binary_search_by_key(&number, |rejection| rejection.number).ok()?;
        self.rejected.get(at)
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

    /// Reads a stored answer; `what` is for messages.
    ///
    /// # Errors
    /// `Stored`.
    pub fn from_bytes(what: &str, bytes: &[u8]) -> Result<Self, BillError> {
        Ok(decode_sealed(what, bytes, BillPlan::FORMAT..=BillPlan::FORMAT)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::return_file::Answer;
    use super::*;
    use crate::sealed_object::refuses_later;

    #[test]
    fn answers_are_kept_as_runs() {
        let answer = |number: u64, rejected: Option<&str>| Answer {
            at: 0,
            number,
            rejected: rejected.map(str::to_owned),
        };
        let file = ReturnFile {
            sequence: 7,
            lines_hash: "abc".into(),
            answers: vec![
                answer(9, None),
                answer(2, None),
                answer(1, None),
                answer(4, Some("no such account")),
                answer(3, None),
            ],
        };
        let taken = BillReturn::of(&file, "f".into(), (1, String::new()), ("ann", 5));
        assert_eq!(taken.accepted, [[1, 3], [9, 9]]);
        assert_eq!(taken.accepted_lines(), 4);
        for number in 0..12 {
            let answered = file.answers.iter().any(|answer| answer.number == number);
            assert_eq!(taken.answers(number), answered, "{number}");
            assert_eq!(taken.accepts(number), answered && number != 4, "{number}");
        }
        assert_eq!(taken.rejection(4).unwrap().reason, "no such account");
        let bytes = taken.to_bytes().unwrap();
        assert_eq!(BillReturn::from_bytes("test", &bytes).unwrap(), taken);
        refuses_later(&taken, BillPlan::FORMAT, |what, bytes| {
            BillReturn::from_bytes(what, bytes).err().map(|error| error.to_string())
        });
    }
}
