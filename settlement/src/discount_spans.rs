//! The spans of time in which no discount on list prices changes.
//!
//! Rows are summed by day and proved against price × units, so that all rows of a sum need one
//! price. A discount may begin and end at any millisecond, and a price may be that of the instant at
//! which a call began: a day is then summed in parts, each of which has one discount.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use tally_rating::{RateCard, TimeBasis, Validity};

use crate::period::Period;
use crate::price_lists::PriceLists;

const DAY_MS: i64 = 86_400_000;

/// From UTC to Asia/Shanghai.
const SHANGHAI_MS: i64 = 8 * 3_600_000;

/// When the calls of a sum began and ended, as far as a discount may differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSpans {
    /// They began within it.
    pub started: Validity,
    /// They ended within it.
    pub completed: Validity,
}

impl CallSpans {
    /// Calls that ended on a day in Asia/Shanghai, and began on it or on the day before.
    pub fn of_day(day: Date) -> Self {
        // The last day of a month ends with it, and days have no other length in UTC+8.
        let period = Period::of_day(day);
        let days_left = i64::from(period.last_day().day()) - i64::from(day.day());
        let to_ms = period.end_ms() - days_left * DAY_MS;
        let from = |days: i64| Validity { from_ms: to_ms - days * DAY_MS, to_ms: Some(to_ms) };
        Self { started: from(2), completed: from(1) }
    }

    /// When the prices of a basis held for them.
    pub(crate) const fn of_basis(&self, basis: TimeBasis) -> Validity {
        match basis {
            TimeBasis::Start => self.started,
            TimeBasis::Completion => self.completed,
        }
    }
}

/// Where the days of a vendor are parted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscountSpans {
    completed: Vec<i64>,
    started: Vec<i64>,
}

/// Which span of some changes an instant lies in, from 0 on.
fn number_of(changes: &[i64], at_ms: i64) -> usize {
    changes.partition_point(|change| *change <= at_ms)
}

/// The span of a number; the first and the last have no end.
fn span_of(changes: &[i64], number: usize) -> Validity {
    let before = number.checked_sub(1).and_then(|before| changes.get(before));
    Validity { from_ms: before.copied().unwrap_or(i64::MIN), to_ms: changes.get(number).copied() }
}

/// What lies in both.
fn both(a: Validity, b: Validity) -> Validity {
    let to_ms = match (a.to_ms, b.to_ms) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    Validity { from_ms: a.from_ms.max(b.from_ms), to_ms }
}

impl DiscountSpans {
    /// Those of a vendor by some price books. Days are summed apart, so that a change at midnight
    /// parts only calls by their beginning, and only where a price is of that instant.
    fn of<'a>(vendor: &str, cards: impl Iterator<Item = &'a RateCard> + Clone) -> Self {
        let changes: BTreeSet<i64> =
            cards.clone().flat_map(|card| card.discount_changes(vendor)).collect();
        let is_within_a_day =
            |at_ms: &i64| at_ms.saturating_add(SHANGHAI_MS).rem_euclid(DAY_MS) != 0;
        let completed = changes.iter().copied().filter(is_within_a_day).collect();
        let by_start = cards.clone().any(|card| card.has_prices_by_start(vendor));
        let started = if by_start { changes.into_iter().collect() } else { Vec::new() };
        Self { completed, started }
    }

    /// Whether days are not parted.
    pub const fn is_empty(&self) -> bool {
        self.completed.is_empty() && self.started.is_empty()
    }

    /// The instants that part calls by their end, in order.
    pub fn completed(&self) -> &[i64] {
        &self.completed
    }

    /// The instants that part calls by their beginning, in order.
    pub fn started(&self) -> &[i64] {
        &self.started
    }

    /// The numbers of the spans that a call began and ended in.
    pub fn numbers_of(&self, started_at_ms: i64, completed_at_ms: i64) -> (usize, usize) {
        (number_of(&self.started, started_at_ms), number_of(&self.completed, completed_at_ms))
    }

    /// The spans of calls that ended on a day, by their numbers.
    pub fn spans(&self, day: Date, (started, completed): (usize, usize)) -> CallSpans {
        let of_day = CallSpans::of_day(day);
        CallSpans {
            started: if self.started.is_empty() {
                of_day.started
            } else {
                span_of(&self.started, started)
            },
            completed: both(of_day.completed, span_of(&self.completed, completed)),
        }
    }
}

impl PriceLists {
    /// Where days are parted, by vendor; of a vendor that is not named they are not.
    pub fn discount_spans(&self) -> BTreeMap<String, DiscountSpans> {
        let cards = self.cards();
        let vendors: BTreeSet<&str> =
            cards.clone().flat_map(RateCard::contracted_vendors).collect();
        let spans = vendors
            .into_iter()
            .map(|vendor| (vendor.to_owned(), DiscountSpans::of(vendor, cards.clone())));
        spans.filter(|(_, spans)| !spans.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(at: &str) -> i64 {
        at.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_day_is_parted_where_a_discount_changes() {
        let day: Date = "2026-10-15".parse().unwrap();
        let (noon, midnight) = (ms("2026-10-15T12:00:00+08:00"), ms("2026-10-15T00:00:00+08:00"));
        let whole = CallSpans::of_day(day);
        let next = ms("2026-10-16T00:00:00+08:00");
        assert_eq!(whole.completed, Validity { from_ms: midnight, to_ms: Some(next) });
        assert_eq!(whole.started.from_ms, ms("2026-10-14T00:00:00+08:00"));
        let none = DiscountSpans::default();
        assert_eq!(none.numbers_of(noon, noon), (0, 0));
        assert_eq!(none.spans(day, (0, 0)), whole);

        let spans = DiscountSpans { completed: vec![noon], started: vec![midnight, noon] };
        assert_eq!(spans.numbers_of(midnight - 1, noon - 1), (0, 0));
        assert_eq!(spans.numbers_of(midnight, noon), (1, 1));
        let before = spans.spans(day, (1, 0));
        assert_eq!(before.completed, Validity { from_ms: midnight, to_ms: Some(noon) });
        assert_eq!(before.started, Validity { from_ms: midnight, to_ms: Some(noon) });
        let after = spans.spans(day, (2, 1));
        assert_eq!(after.completed, Validity { from_ms: noon, to_ms: Some(next) });
        assert_eq!(after.started, Validity { from_ms: noon, to_ms: None });
        assert_eq!(spans.spans(day, (0, 0)).started.from_ms, i64::MIN);
    }
}
