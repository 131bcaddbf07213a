//! Days, weeks and months of Asia/Shanghai (UTC+8, without summer time), and the periods of
//! packages. Instants are milliseconds of UTC. Written out instead of taken from a library because
//! every event with a monthly cap passes here, and because no instant may be out of range.

use crate::package::{Anchor, Period};

/// Milliseconds of an hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;
/// What local time is ahead of UTC.
const OFFSET_MS: i64 = 8 * HOUR_MS;

/// The local multiple of `width_ms` that an instant is in.
pub(crate) const fn multiple_start(at_ms: i64, width_ms: i64) -> i64 {
    let local = at_ms.saturating_add(OFFSET_MS);
    local.div_euclid(width_ms).saturating_mul(width_ms).saturating_sub(OFFSET_MS)
}

/// Midnight of the local day.
pub(crate) const fn day_start(at_ms: i64) -> i64 {
    multiple_start(at_ms, DAY_MS)
}

/// Midnight of the local Monday.
pub(crate) const fn week_start(at_ms: i64) -> i64 {
    // 1970-01-01 was a Thursday: three days after a Monday.
    let shifted = at_ms.saturating_add(3 * DAY_MS);
    multiple_start(shifted, 7 * DAY_MS).saturating_sub(3 * DAY_MS)
}

/// Midnight of the first of the local month.
pub(crate) const fn month_start(at_ms: i64) -> i64 {
    let day = local_day(at_ms);
    let (_, _, day_of_month) = civil(day);
    start_of(day - (day_of_month - 1))
}

/// The same local day of the month and time of day `months` later, or the month's last day.
pub(crate) fn add_months(at_ms: i64, months: i64) -> i64 {
    let day = local_day(at_ms);
    let (year, month, day_of_month) = civil(day);
    let since_midnight = at_ms.saturating_sub(start_of(day));
    let months = year.saturating_mul(12).saturating_add(month - 1).saturating_add(months);
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
    let first = day_number(year, month, 1);
    let length = if month == 12 { 31 } else { day_number(year, month + 1, 1) - first };
    start_of(first + day_of_month.min(length) - 1).saturating_add(since_midnight)
}

/// The instant at which period `number` of a chain begins, which is the end of the period before.
/// Period 0 begins at the anchor; calendar periods after it at the start of a month or day.
pub(crate) fn period_start(period: Period, anchor: Anchor, anchor_ms: i64, number: i64) -> i64 {
    if number <= 0 {
        return anchor_ms;
    }
    let steps = |n: u32| i64::from(n).saturating_mul(number);
    let after = |from: i64, n: u32, width: i64| from.saturating_add(steps(n).saturating_mul(width));
    match (period, anchor) {
        (Period::Months(n), Anchor::Purchase) => add_months(anchor_ms, steps(n)),
        (Period::Months(n), Anchor::Calendar) => add_months(month_start(anchor_ms), steps(n)),
        (Period::Days(n), Anchor::Purchase) => after(anchor_ms, n, DAY_MS),
        (Period::Days(n), Anchor::Calendar) => after(day_start(anchor_ms), n, DAY_MS),
        (Period::Hours(n), _) => after(anchor_ms, n, HOUR_MS),
    }
}

const fn local_day(at_ms: i64) -> i64 {
    at_ms.saturating_add(OFFSET_MS).div_euclid(DAY_MS)
}

const fn start_of(day: i64) -> i64 {
    day.saturating_mul(DAY_MS).saturating_sub(OFFSET_MS)
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar, which repeats every
/// 146,097 days. Years are counted from March, so that the leap day is their last.
const fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of days since 1970-01-01.
const fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn agrees_with_a_calendar_library() {
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
        let mut instant = at("1999-12-01T00:00:00+08:00");
        while instant < at("2101-03-02T00:00:00+08:00") {
            let zoned = jiff::Timestamp::from_millisecond(instant).unwrap().to_zoned(zone.clone());
            assert_eq!(month_start(instant), {
                let first = zoned.first_of_month().unwrap().start_of_day().unwrap();
                first.timestamp().as_millisecond()
            });
            let monday = zoned.date().weekday().to_monday_zero_offset();
            let days = i64::from(monday) * DAY_MS;
            assert_eq!(week_start(instant), day_start(instant) - days, "{zoned}");
            for months in [1, 2, 13] {
                let later = zoned.checked_add(jiff::Span::new().months(months)).unwrap();
                let later = later.timestamp().as_millisecond();
                assert_eq!(add_months(instant, months), later, "{zoned} + {months}");
            }
            instant += 37 * HOUR_MS + 61_007;
        }
    }

    #[test]
    fn the_31st_comes_back_and_a_leap_day_is_one() {
        let anchor = at("2028-01-31T10:00:00+08:00");
        let start = |number| period_start(Period::Months(1), Anchor::Purchase, anchor, number);
        assert_eq!(start(1), at("2028-02-29T10:00:00+08:00"));
        assert_eq!(start(2), at("2028-03-31T10:00:00+08:00"));
        assert_eq!(start(3), at("2028-04-30T10:00:00+08:00"));
        let leap = at("2028-02-29T00:00:00+08:00");
        assert_eq!(add_months(leap, 12), at("2029-02-28T00:00:00+08:00"));
        assert_eq!(add_months(leap, 48), at("2032-02-29T00:00:00+08:00"));
    }

    #[test]
    fn calendar_periods_end_with_months_and_days() {
        let anchor = at("2026-01-31T23:59:59.999+08:00");
        let month = |number| period_start(Period::Months(2), Anchor::Calendar, anchor, number);
        assert_eq!(month(1), at("2026-03-01T00:00:00+08:00"));
        assert_eq!(month(2), at("2026-05-01T00:00:00+08:00"));
        let day = |number| period_start(Period::Days(1), Anchor::Calendar, anchor, number);
        assert_eq!(day(1), at("2026-02-01T00:00:00+08:00"));
        let first = at("2026-02-01T00:00:00+08:00");
        let whole = period_start(Period::Months(1), Anchor::Calendar, first, 1);
        assert_eq!(whole, at("2026-03-01T00:00:00+08:00"));
    }
}
