//! Instants and intervals of the book: milliseconds of UTC, half-open.

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// Reads an instant: RFC 3339 with an offset, or a date, which stands for its first instant in
/// Asia/Shanghai.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn parse_instant(text: &str) -> Result<i64, String> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(instant.as_millisecond());
    }
    let wrong = || {
        format!("{text:?} is neither a time with an offset (2026-09-12T00:00:00+08:00) nor a date")
    };
    let date: Date = text.parse().map_err(|_| wrong())?;
    // A text with a time of day but no offset would parse as a date too.
    if text.len() > 10 {
        return Err(wrong());
    }
    let midnight = date
        .to_zoned(TimeZone::fixed(Offset::constant(8)))
        .map_err(|_| format!("{text:?} is out of range"))?;
    Ok(midnight.timestamp().as_millisecond())
}

/// `[from, to)`; without `to`, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First millisecond.
    pub from_ms: i64,
    /// The millisecond after the last.
    pub to_ms: Option<i64>,
}

impl Validity {
    /// Whether it holds at an instant.
    pub fn contains(&self, at_ms: i64) -> bool {
        self.from_ms <= at_ms && self.to_ms.is_none_or(|to| at_ms < to)
    }

    /// Whether it never holds: a cancelled announcement.
    pub fn is_empty(&self) -> bool {
        self.to_ms.is_some_and(|to| to <= self.from_ms)
    }

    /// Whether there is an instant at which both hold.
    pub fn meets(&self, other: &Self) -> bool {
        let end = |validity: &Self| validity.to_ms.unwrap_or(i64::MAX);
        !self.is_empty()
            && !other.is_empty()
            && self.from_ms < end(other)
            && other.from_ms < end(self)
    }
}

/// An instant as RFC 3339 in UTC+8, for messages.
pub fn instant_text(at_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(instant) => instant.display_with_offset(Offset::constant(8)).to_string(),
        Err(_) => format!("{at_ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_begins_in_shanghai() {
        assert_eq!(parse_instant("2026-09-12"), parse_instant("2026-09-12T00:00:00+08:00"));
        assert_eq!(parse_instant("1970-01-01T00:00:00.250Z"), Ok(250));
        for wrong in ["2026-09-12T00:00:00", "12.09.2026", "", "tomorrow"] {
            assert!(parse_instant(wrong).is_err(), "{wrong}");
        }
        assert_eq!(instant_text(0), "1970-01-01T08:00:00+08:00");
    }

    #[test]
    fn intervals_are_half_open() {
        let until_ten = Validity { from_ms: 0, to_ms: Some(10) };
        let from_ten = Validity { from_ms: 10, to_ms: None };
        let never = Validity { from_ms: 5, to_ms: Some(5) };
        assert!(until_ten.contains(9) && !until_ten.contains(10) && from_ten.contains(10));
        assert!(!until_ten.meets(&from_ten) && !never.meets(&until_ten) && never.is_empty());
        assert!(until_ten.meets(&Validity { from_ms: 9, to_ms: None }));
    }
}
