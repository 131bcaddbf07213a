//! Times and days of a bill: milliseconds of UTC, days since 1970-01-01 in the bill's own zone.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// How a bill writes times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeFormat {
    /// `2026-10-01`: only the day is known.
    Date,
    /// RFC 3339 with an offset.
    Rfc3339,
    /// Seconds since 1970.
    UnixSeconds,
    /// Milliseconds since 1970.
    UnixMillis,
    /// Days since 1899-12-30 with a part, as spreadsheets have them.
    Excel,
    /// A pattern in the manner of strftime, in the bill's zone.
    Pattern(String),
}

impl TimeFormat {
    pub(crate) fn parse(word: &str) -> Result<Self, String> {
        Ok(match word {
            "date" => Self::Date,
            "rfc3339" => Self::Rfc3339,
            "unix_s" => Self::UnixSeconds,
            "unix_ms" => Self::UnixMillis,
            "excel" => Self::Excel,
            pattern if pattern.contains('%') => Self::Pattern(pattern.to_owned()),
            other => {
                return Err(format!(
                    "time.format = {other:?} is not known; write \"date\", \"rfc3339\", \"unix_s\", \
                     \"unix_ms\", \"excel\" or a pattern such as \"%Y-%m-%d %H:%M:%S\""
                ));
            }
        })
    }

    /// What the format looks like, for messages.
    pub(crate) fn example(&self) -> &str {
        match self {
            Self::Date => "a date such as 2026-10-01",
            Self::Rfc3339 => "a time such as 2026-10-01T00:00:00Z",
            Self::UnixSeconds => "seconds since 1970",
            Self::UnixMillis => "milliseconds since 1970",
            Self::Excel => "a spreadsheet's day number",
            Self::Pattern(pattern) => pattern,
        }
    }
}

/// When a line of a bill was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BillTime {
    /// Milliseconds of UTC, where the bill tells more than the day.
    pub at_ms: Option<i64>,
    /// Day in the bill's zone, days since 1970-01-01.
    pub day: i32,
}

/// Reads a time; `None` where the text is none.
pub(crate) fn parse_time(text: &str, format: &TimeFormat, offset_ms: i64) -> Option<BillTime> {
    let text = text.trim();
    let at_ms = match format {
        TimeFormat::Date => {
            let date: Date = text.get(..10).filter(|_| text.len() == 10)?.parse().ok()?;
            return Some(BillTime { at_ms: None, day: day_of_date(date)? });
        }
        TimeFormat::Rfc3339 => text.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
        TimeFormat::UnixSeconds => text.parse::<i64>().ok()?.checked_mul(1_000)?,
        TimeFormat::UnixMillis => text.parse::<i64>().ok()?,
        TimeFormat::Excel => excel_ms(text)?.checked_sub(offset_ms)?,
        TimeFormat::Pattern(pattern) => {
            let local = DateTime::strptime(pattern, text).ok()?;
            local_ms(local)?.checked_sub(offset_ms)?
        }
    };
    Some(BillTime { at_ms: Some(at_ms), day: day_of(at_ms, offset_ms)? })
}

/// 1899-12-30 in days before 1970-01-01; the day numbers of spreadsheets count from it.
const EXCEL_EPOCH_DAYS: i64 = 25_569;

fn excel_ms(text: &str) -> Option<i64> {
    let number =
        super::decimal::Decimal::parse(text, super::decimal::NumberFormat::default()).ok()?;
    // A day's part has more decimals than matter: what is below a millisecond is rounded.
    let scaled = number.digits.checked_mul(i128::from(DAY_MS))?;
    let ms = match u32::try_from(number.scale) {
        Ok(scale) => super::decimal::half_even(scaled, 10_i128.checked_pow(scale)?),
        Err(_) => return None,
    };
    i64::try_from(ms).ok()?.checked_sub(EXCEL_EPOCH_DAYS * DAY_MS)
}

fn local_ms(local: DateTime) -> Option<i64> {
    Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

fn day_of_date(date: Date) -> Option<i32> {
    let ms = local_ms(date.to_datetime(jiff::civil::Time::midnight()))?;
    i32::try_from(ms.div_euclid(DAY_MS)).ok()
}

/// The day of an instant in a zone; `None` beyond any calendar.
pub fn day_of(at_ms: i64, offset_ms: i64) -> Option<i32> {
    i32::try_from(at_ms.checked_add(offset_ms)?.div_euclid(DAY_MS)).ok()
}

/// A day as `2026-10-01`.
pub fn day_text(day: i32) -> String {
    match date_of(day) {
        Some(date) => date.to_string(),
        None => format!("day {day}"),
    }
}

/// A day of the calendar; `None` beyond it.
pub(crate) fn date_of(day: i32) -> Option<Date> {
    let instant = jiff::Timestamp::from_millisecond(i64::from(day) * DAY_MS).ok()?;
    Some(instant.to_zoned(TimeZone::UTC).date())
}

/// An instant as RFC 3339 in UTC.
pub fn instant_text(at_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(instant) => instant.to_string(),
        Err(_) => format!("{at_ms} ms"),
    }
}

/// `+08:00` in milliseconds.
pub(crate) fn parse_offset(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let number = |text: &str| {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<i64>().ok())
            .flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
}

/// A billing month in one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// First day, days since 1970-01-01.
    pub first_day: i32,
    /// The day after the last.
    pub end_day: i32,
    /// Offset of the days from UTC, in milliseconds.
    pub offset_ms: i64,
}

impl Period {
    /// Reads `2026-10` as a month whose days begin at an offset from UTC.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn parse(text: &str, offset_ms: i64) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no month; write it as 2026-10");
        let (year, month) = text.split_once('-').ok_or_else(wrong)?;
        let digits = |text: &str, count: usize| {
            text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(year, 4) || !digits(month, 2) {
            return Err(wrong());
        }
        let year: i16 = year.parse().map_err(|_| wrong())?;
        let month: i8 = month.parse().map_err(|_| wrong())?;
        let first = Date::new(year, month, 1).map_err(|_| wrong())?;
        let end = first.last_of_month().tomorrow().map_err(|_| wrong())?;
        let day = |date: Date| day_of_date(date).ok_or_else(wrong);
        Ok(Self { first_day: day(first)?, end_day: day(end)?, offset_ms })
    }

    /// Whether a day of the bill's zone is in it.
    pub const fn contains(&self, day: i32) -> bool {
        self.first_day <= day && day < self.end_day
    }

    /// First millisecond.
    pub fn from_ms(&self) -> i64 {
        i64::from(self.first_day) * DAY_MS - self.offset_ms
    }

    /// The millisecond after the last.
    pub fn to_ms(&self) -> i64 {
        i64::from(self.end_day) * DAY_MS - self.offset_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHANGHAI: i64 = 8 * 3_600_000;

    #[test]
    fn every_format_names_the_same_instant() {
        let at_ms = 1_790_784_001_000; // 2026-09-30T16:00:01Z
        let day = 20_727; // 2026-10-01
        for (format, text) in [
            ("rfc3339", "2026-10-01T00:00:01+08:00"),
            ("unix_s", "1790784001"),
            ("unix_ms", "1790784001000"),
            ("%Y/%m/%d %H:%M:%S", "2026/10/01 00:00:01"),
            ("excel", "46296.0000115741"),
        ] {
            let format = TimeFormat::parse(format).unwrap();
            let time = parse_time(text, &format, SHANGHAI);
            assert_eq!(time, Some(BillTime { at_ms: Some(at_ms), day }), "{text}");
        }
        let date = parse_time("2026-10-01", &TimeFormat::Date, SHANGHAI);
        assert_eq!(date, Some(BillTime { at_ms: None, day }));
        assert_eq!(day_text(day), "2026-10-01");
        for wrong in ["2026-10-1", "2026-13-01", "", "2026-10-01T00:00:00"] {
            assert_eq!(parse_time(wrong, &TimeFormat::Date, 0), None, "{wrong}");
        }
    }

    #[test]
    fn a_month_begins_in_the_zone_of_the_bill() {
        let period = Period::parse("2026-10", SHANGHAI).unwrap();
        assert_eq!(period.from_ms(), 1_790_784_000_000);
        assert_eq!(period.to_ms() - period.from_ms(), 31 * DAY_MS);
        assert!(period.contains(20_727) && !period.contains(20_726) && !period.contains(20_758));
        for wrong in ["2026-13", "2026", "2026-1", "10-2026", ""] {
            assert!(Period::parse(wrong, 0).is_err(), "{wrong}");
        }
    }

    #[test]
    fn offsets() {
        assert_eq!(parse_offset("+08:00"), Some(SHANGHAI));
        assert_eq!(parse_offset("-03:30"), Some(-12_600_000));
        for wrong in ["08:00", "+8:00", "+08:60", "+15:00", "+-1:00", "+", ""] {
            assert_eq!(parse_offset(wrong), None, "{wrong}");
        }
    }
}
