//! Days in Asia/Shanghai.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, ToSpan};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::BillError;
use crate::period::Period;

/// A day in Asia/Shanghai, such as `2026-11-25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(Date);

impl Day {
    /// Reads year, month and day.
    ///
    /// # Errors
    /// `NotADay` for anything else, a day that does not exist included.
    pub fn parse(text: &str) -> Result<Self, BillError> {
        // One spelling a day: what a file says is compared as text.
        let date: Option<Date> = text.parse().ok().filter(|date: &Date| date.to_string() == text);
        date.map(Self).ok_or_else(|| BillError::NotADay(text.to_owned()))
    }

    /// The day that comes so many days after 1970-01-01.
    pub fn of_number(days: i64) -> Option<Self> {
        let span = Span::new().try_days(days).ok()?;
        Date::constant(1970, 1, 1).checked_add(span).ok().map(Self)
    }

    /// The date.
    pub const fn date(self) -> Date {
        self.0
    }

    /// The month that it is in.
    pub fn month(self) -> Period {
        Period::of_day(self.0)
    }

    /// The day after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1.day()))
    }

    /// The first millisecond after it, UTC.
    pub fn end_ms(self) -> i64 {
        let midnight = self.next().0.to_zoned(TimeZone::fixed(Offset::constant(8)));
        midnight.map_or(i64::MAX, |midnight| midnight.timestamp().as_millisecond())
    }
}

impl From<Date> for Day {
    fn from(date: Date) -> Self {
        Self(date)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_and_ends_in_shanghai() {
        let day = Day::parse("2026-11-30").unwrap();
        assert_eq!(day.next().to_string(), "2026-12-01");
        assert_eq!(day.month(), Period::parse("2026-11").unwrap());
        assert_eq!(Some(day.end_ms()), tally_rating::parse_instant("2026-12-01").ok());
        assert_eq!(Day::of_number(20_787), Some(day));
        for wrong in ["2026-11-31", "2026-11", "20261130", "2026-11-30T00:00", "", "2026-1-3"] {
            assert!(Day::parse(wrong).is_err(), "{wrong}");
        }
    }
}
