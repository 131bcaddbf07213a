//! Calendars: on which days windows of the day apply. Holidays are data; a year without data is
//! unknown, and nobody guesses.

use crate::instant::DAY_MS;

/// The days to which a calendar applies windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Days {
    /// Every day.
    All,
    /// Monday to Friday.
    Weekdays,
    /// Monday to Friday that are not statutory holidays. A weekend that is worked in exchange for
    /// a holiday stays a weekend.
    Workdays,
}

impl Days {
    /// Its name in the book.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Weekdays => "weekdays",
            Self::Workdays => "workdays",
        }
    }

    /// The days of a name in the book.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "weekdays" => Self::Weekdays,
            "workdays" => Self::Workdays,
            _ => return None,
        })
    }
}

/// A year's data is missing, so whether its days are holidays is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownYear {
    /// Id of the calendar.
    pub calendar: String,
}

/// The statutory holidays of one year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CalendarYear {
    /// Days since 1970-01-01 of the year's first day and of the next year's.
    pub(crate) days: (i64, i64),
    /// Days since 1970-01-01, sorted.
    pub(crate) holidays: Vec<i64>,
    /// Where they are from.
    pub(crate) source: String,
}

/// Which days of which years windows apply to, in a zone of fixed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    pub(crate) id: String,
    pub(crate) offset_ms: i64,
    pub(crate) days: Days,
    pub(crate) years: Vec<CalendarYear>,
}

impl Calendar {
    /// Id in the book.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether windows apply on the local day of an instant.
    ///
    /// # Errors
    /// Where the calendar needs the holidays of that year and has none.
    pub fn applies(&self, at_ms: i64) -> Result<bool, UnknownYear> {
        let day = at_ms.saturating_add(self.offset_ms).div_euclid(DAY_MS);
        // 1970-01-01 was a Thursday; Monday is 0.
        let weekday = (day + 3).rem_euclid(7) < 5 || crate::planted(crate::Bug::WeekendForWorkday);
        match self.days {
            Days::All => Ok(true),
            Days::Weekdays => Ok(weekday),
            Days::Workdays => {
                let year = self
                    .years
                    .iter()
                    .find(|year| (year.days.0..year.days.1).contains(&day))
                    .ok_or_else(|| UnknownYear { calendar: self.id.clone() })?;
                Ok(weekday && year.holidays.binary_search(&day).is_err())
            }
        }
    }

    /// Milliseconds since the local midnight before an instant.
    pub(crate) fn of_day_ms(&self, at_ms: i64) -> i64 {
        at_ms.saturating_add(self.offset_ms).rem_euclid(DAY_MS)
    }
}

/// Windows of a day in local time, half-open, such as 09:00-12:00 and 14:00-18:00.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows(Vec<(i64, i64)>);

impl Windows {
    /// Reads `09:00-12:00;14:00-18:00`. A window that ends at midnight ends at `24:00`.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut windows = Vec::new();
        for window in text.split(';').map(str::trim).filter(|window| !window.is_empty()) {
            let wrong = || format!("{window:?} is not a window like 09:00-12:00");
            let (from, to) = window.split_once('-').ok_or_else(wrong)?;
            let (from, to) =
                (time_of_day(from).ok_or_else(wrong)?, time_of_day(to).ok_or_else(wrong)?);
            if to <= from {
                return Err(format!("{window:?} ends before it begins; split it at midnight"));
            }
            windows.push((from, to));
        }
        windows.sort_unstable();
        if windows.windows(2).any(|pair| pair[1].0 < pair[0].1) {
            return Err(format!("the windows {text:?} overlap"));
        }
        Ok(Self(windows))
    }

    /// Whether there is none: then the whole day counts.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a time of day, in milliseconds since midnight, lies in one.
    pub(crate) fn contains(&self, of_day_ms: i64) -> bool {
        self.0.iter().any(|(from, to)| {
            let ended = if crate::planted(crate::Bug::WindowEndIncluded) {
                of_day_ms > *to
            } else {
                of_day_ms >= *to
            };
            *from <= of_day_ms && !ended
        })
    }

    /// Whether there is a time of day in both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.0.iter().any(|(from, to)| {
            other.0.iter().any(|(other_from, other_to)| from < other_to && other_from < to)
        })
    }
}

impl std::fmt::Display for Windows {
    /// As the book has them: `09:00-12:00;14:00-18:00`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, (from, to)) in self.0.iter().enumerate() {
            let sign = if number > 0 { ";" } else { "" };
            let [from, to] = [from, to].map(|ms| ms / 60_000);
            let (from_hour, to_hour) = (from / 60, to / 60);
            write!(f, "{sign}{from_hour:02}:{:02}-{to_hour:02}:{:02}", from % 60, to % 60)?;
        }
        Ok(())
    }
}

fn time_of_day(text: &str) -> Option<i64> {
    let (hours, minutes) = text.trim().split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let inside = (0..24).contains(&hours) && (0..60).contains(&minutes);
    (inside || (hours, minutes) == (24, 0)).then_some((hours * 60 + minutes) * 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NINE: i64 = 9 * 3_600_000;
    const NOON: i64 = 12 * 3_600_000;

    #[test]
    fn windows_are_half_open() {
        let windows = Windows::parse("14:00-18:00; 09:00-12:00").unwrap();
        for (at, inside) in [(NINE - 1, false), (NINE, true), (NOON - 1, true), (NOON, false)] {
            assert_eq!(windows.contains(at), inside, "{at}");
        }
        assert!(Windows::parse("18:00-24:00").unwrap().contains(DAY_MS - 1));
        for wrong in [
            "9:00-12:00",
            "12:00-09:00",
            "09:00",
            "25:00-26:00",
            "09:00-12:00;11:00-13:00",
            "24:30-24:40",
        ] {
            assert!(Windows::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn workdays_need_the_years_holidays() {
        let calendar = Calendar {
            id: "cn".into(),
            offset_ms: 8 * 3_600_000,
            days: Days::Workdays,
            // 1970, with its second day, a Friday, for a holiday.
            years: vec![CalendarYear { days: (0, 365), holidays: vec![1], source: String::new() }],
        };
        let local = |day: i64, of_day: i64| day * DAY_MS + of_day - 8 * 3_600_000;
        assert_eq!(calendar.applies(local(0, 0)), Ok(true), "Thursday");
        assert_eq!(calendar.applies(local(1, 0)), Ok(false), "the holiday begins");
        assert_eq!(calendar.applies(local(1, 0) - 1), Ok(true), "Thursday's last millisecond");
        assert_eq!(calendar.applies(local(2, 0)), Ok(false), "Saturday");
        assert_eq!(calendar.applies(local(4, 0)), Ok(true), "Monday");
        assert!(calendar.applies(local(365, 0)).is_err());
        assert!(calendar.applies(local(-1, DAY_MS - 1)).is_err());
    }
}
