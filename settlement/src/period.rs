//! Settlement periods: natural months in Asia/Shanghai.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, ToSpan};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::SettlementError;

/// A month, such as `2026-10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(Date);

impl Period {
    /// Reads a year and a month.
    ///
    /// # Errors
    /// `NotAPeriod` for anything else, a month that does not exist included.
    pub fn parse(text: &str) -> Result<Self, SettlementError> {
        let wrong = || SettlementError::NotAPeriod(text.to_owned());
        let (year, month) = text.split_once('-').ok_or_else(wrong)?;
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if year.len() != 4 || month.len() != 2 || !is_number(year) || !is_number(month) {
            return Err(wrong());
        }
        let (year, month): (i16, i8) =
            (year.parse().map_err(|_| wrong())?, month.parse().map_err(|_| wrong())?);
        // Years around the ends of the calendar would have no neighbours.
        if !(1971..=9_000).contains(&year) {
            return Err(wrong());
        }
        Date::new(year, month, 1).map(Self).map_err(|_| wrong())
    }

    /// The month of a day in Asia/Shanghai.
    pub fn of_day(day: Date) -> Self {
        Self(day.first_of_month())
    }

    /// Its first day.
    pub const fn first_day(self) -> Date {
        self.0
    }

    /// The day after its last.
    pub fn end_day(self) -> Date {
        self.next().0
    }

    /// Its last day.
    pub fn last_day(self) -> Date {
        self.0.last_of_month()
    }

    /// The first millisecond after it, UTC.
    pub fn end_ms(self) -> i64 {
        let midnight = self.end_day().to_zoned(TimeZone::fixed(Offset::constant(8)));
        midnight.map_or(i64::MAX, |midnight| midnight.timestamp().as_millisecond())
    }

    /// The month after it.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus_months(1)
    }

    /// The month that comes so many months later.
    #[must_use]
    pub fn plus_months(self, months: u32) -> Self {
        let span: Span = i64::from(months.min(10_000)).months();
        Self(self.0.saturating_add(span).first_of_month())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), self.0.month())
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_month_in_shanghai() {
        let october = Period::parse("2026-10").unwrap();
        assert_eq!(october.to_string(), "2026-10");
        assert_eq!((october.last_day().day(), october.end_day().month()), (31, 11));
        assert_eq!(Some(october.end_ms()), tally_rating::parse_instant("2026-11-01").ok());
        assert_eq!(october.plus_months(3), Period::parse("2027-01").unwrap());
        assert_eq!(Period::of_day(jiff::civil::date(2026, 10, 31)), october);
        for wrong in
            ["2026-13", "2026-00", "2026-1", "26-10", "2026/10", "", "2026-10-01", "+026-10"]
        {
            assert!(Period::parse(wrong).is_err(), "{wrong}");
        }
    }
}
