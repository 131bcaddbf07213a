//! Lines of a phone bill.

use std::fmt;

use tally_schemas::Currency;

use super::charge::ChargeKind;
use super::day::Day;
use crate::decimal::{Cents, Pico, Points};
use crate::period::Period;

/// Where a line stands: the sequence number of its file, and its number there, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId {
    /// Sequence number of the file.
    pub sequence: u64,
    /// Number of the line.
    pub number: u64,
}

impl LineId {
    /// Reads an id such as `7-12`.
    pub fn parse(text: &str) -> Option<Self> {
        let (sequence, number) = text.split_once('-')?;
        let id = Self { sequence: sequence.parse().ok()?, number: number.parse().ok()? };
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.sequence, self.number)
    }
}

/// What a remainder is carried by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineKey {
    /// Account.
    pub account: String,
    /// What it is for.
    pub kind: ChargeKind,
    /// Package or tariff; empty where the rows have none.
    pub package: String,
    /// Currency.
    pub currency: Currency,
}

/// When the rows of a line were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BilledDate {
    /// On a day.
    Day(Day),
    /// In the daily files of a month.
    Month(Period),
}

impl BilledDate {
    /// Reads a day or a month.
    pub fn parse(text: &str) -> Option<Self> {
        let day = || Day::parse(text).ok().map(Self::Day);
        day().or_else(|| Period::parse(text).ok().map(Self::Month))
    }
}

impl fmt::Display for BilledDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => day.fmt(f),
            Self::Month(month) => month.fmt(f),
        }
    }
}

/// A line: what one account is charged. `exact + before = amount + after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillLine {
    /// Where it stands.
    pub id: LineId,
    /// Where it stood first; its own id where this is the first time.
    pub first: LineId,
    /// Who is charged for what.
    pub key: LineKey,
    /// When.
    pub date: BilledDate,
    /// Number of rows of `quota_ledger`.
    pub rows: u64,
    /// Their points, from the bucket's view.
    pub points: Points,
    /// Their amounts.
    pub exact: Pico,
    /// What rounding had left of the key before this line.
    pub before: Pico,
    /// What is charged; negative is a credit.
    pub amount: Cents,
    /// What rounding leaves to the next line of the key: at most half a hundredth.
    pub after: Pico,
}

impl BillLine {
    /// Whether it stood on an earlier file, and is charged once all the same.
    pub fn comes_again(&self) -> bool {
        self.id != self.first
    }

    /// The same line on another file.
    pub(super) fn again(&self, id: LineId) -> Self {
        Self { id, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = LineId { sequence: 7, number: 12 };
        assert_eq!(LineId::parse("7-12"), Some(id));
        assert_eq!(id.to_string(), "7-12");
        for wrong in ["7", "7-", "-12", "7-012", "+7-12", "7-12-1", " 7-12", ""] {
            assert_eq!(LineId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_date_is_a_day_or_a_month() {
        for text in ["2026-11-25", "2026-11"] {
            assert_eq!(BilledDate::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(BilledDate::parse("2026"), None);
    }
}
