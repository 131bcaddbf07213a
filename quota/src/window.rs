//! The windows of caps: calendar windows, and rolling ones in slices.

use crate::calendar::{
    DAY_MS, HOUR_MS, add_months, day_start, month_start, multiple_start, week_start,
};

/// A window in which usage is limited or watched. Rolling windows are counted in slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// A day.
    Day,
    /// A week from Monday.
    Week,
    /// A month.
    Month,
    /// 30 slices of 10 minutes.
    Rolling5h,
    /// 24 slices of an hour.
    RollingDay,
    /// 28 slices of 6 hours.
    RollingWeek,
}

impl Window {
    /// Every window, in the order of their codes in state.
    pub const ALL: [Self; 6] =
        [Self::Day, Self::Week, Self::Month, Self::Rolling5h, Self::RollingDay, Self::RollingWeek];

    /// Name in reference data, commands and alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Rolling5h => "rolling_5h",
            Self::RollingDay => "rolling_day",
            Self::RollingWeek => "rolling_week",
        }
    }

    /// The window of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.name() == name)
    }

    pub(crate) const fn span(self) -> Span {
        match self {
            Self::Day => Span::Day,
            Self::Week => Span::Week,
            Self::Month => Span::Month,
            Self::Rolling5h => Span::Rolling { slice_ms: HOUR_MS / 6, slices: 30 },
            Self::RollingDay => Span::Rolling { slice_ms: HOUR_MS, slices: 24 },
            Self::RollingWeek => Span::Rolling { slice_ms: 6 * HOUR_MS, slices: 28 },
        }
    }
}

/// How long a window is and what it is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    Day,
    Week,
    Month,
    Rolling { slice_ms: i64, slices: i64 },
}

/// The window in which spikes are seen.
pub(crate) const SPIKE: Span = Span::Rolling { slice_ms: HOUR_MS / 6, slices: 6 };

impl Span {
    /// The slot that an instant is counted in: the calendar window itself, or the slice.
    pub(crate) const fn slot_start(self, at_ms: i64) -> i64 {
        match self {
            Self::Day => day_start(at_ms),
            Self::Week => week_start(at_ms),
            Self::Month => month_start(at_ms),
            Self::Rolling { slice_ms, .. } => multiple_start(at_ms, slice_ms),
        }
    }

    /// Whether an instant is surely in the slot that begins at `slot_ms`: then the calendar need not
    /// be asked, as for nearly every event. Of the last days of a month it says no.
    pub(crate) const fn surely_holds(self, slot_ms: i64, at_ms: i64) -> bool {
        let least_ms = match self {
            Self::Rolling { slice_ms, .. } => slice_ms,
            _ => self.least_ms(),
        };
        slot_ms <= at_ms && at_ms < slot_ms.saturating_add(least_ms)
    }

    /// Whether two instants are in one slot. Not inlined: the compiler would ask the calendar before
    /// a loop over caps, of which most packages have none.
    #[inline(never)]
    pub(crate) fn same_slot(self, at_ms: i64, other_ms: i64) -> bool {
        let slot_ms = self.slot_start(at_ms);
        self.surely_holds(slot_ms, other_ms) || self.slot_start(other_ms) == slot_ms
    }

    /// The first slot of the window whose last slot begins at `slot_ms`.
    pub(crate) const fn first_slot(self, slot_ms: i64) -> i64 {
        match self {
            Self::Rolling { slice_ms, slices } => slot_ms.saturating_sub(slice_ms * (slices - 1)),
            _ => slot_ms,
        }
    }

    /// End of the window whose last slot begins at `slot_ms`.
    pub(crate) fn window_end(self, slot_ms: i64) -> i64 {
        match self {
            Self::Day => slot_ms.saturating_add(DAY_MS),
            Self::Week => slot_ms.saturating_add(7 * DAY_MS),
            Self::Month => add_months(slot_ms, 1),
            Self::Rolling { slice_ms, .. } => slot_ms.saturating_add(slice_ms),
        }
    }

    /// End of the last window that holds the slot.
    pub(crate) fn last_window_end(self, slot_ms: i64) -> i64 {
        match self {
            Self::Rolling { slice_ms, slices } => slot_ms.saturating_add(slice_ms * slices),
            _ => self.window_end(slot_ms),
        }
    }

    /// How long the slot is held by windows at least.
    pub(crate) const fn least_ms(self) -> i64 {
        match self {
            Self::Day => DAY_MS,
            Self::Week => 7 * DAY_MS,
            Self::Month => 28 * DAY_MS,
            Self::Rolling { slice_ms, slices } => slice_ms * slices,
        }
    }

    /// Start of the period that alerts name: a rolling window alerts at most once in its own
    /// length, so its periods are the multiples of that length.
    pub(crate) const fn alert_period(self, at_ms: i64) -> i64 {
        match self {
            Self::Rolling { slice_ms, slices } => multiple_start(at_ms, slice_ms * slices),
            _ => self.slot_start(at_ms),
        }
    }

    /// End of the period that begins at `period_ms`.
    pub(crate) fn alert_period_end(self, period_ms: i64) -> i64 {
        self.last_window_end(period_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_nest_in_the_periods_of_alerts() {
        for window in Window::ALL {
            let span = window.span();
            for at in [0, 1, 1_795_326_155_827, 1_790_000_000_000, -5] {
                let slot = span.slot_start(at);
                let period = span.alert_period(at);
                assert!(period <= slot && span.window_end(slot) <= span.alert_period_end(period));
                assert!(slot <= at && at < span.window_end(slot), "{window:?}");
                assert!(span.first_slot(slot) <= slot);
                assert_eq!(span.slot_start(slot), slot);
                for later in [0, 1, HOUR_MS, 27 * DAY_MS, 29 * DAY_MS] {
                    let in_slot = span.slot_start(slot + later) == slot;
                    assert!(in_slot || !span.surely_holds(slot, slot + later), "{window:?}");
                    assert!(!span.surely_holds(slot + later + 1, slot));
                }
                assert!(span.surely_holds(slot, slot));
                assert!(span.same_slot(slot, at) && span.same_slot(at, slot));
                assert!(!span.same_slot(at, span.window_end(slot)));
                assert!(span.same_slot(at, span.window_end(slot) - 1));
            }
        }
    }

    #[test]
    fn names_round_trip() {
        for window in Window::ALL {
            assert_eq!(Window::from_name(window.name()), Some(window));
        }
        assert_eq!(Window::from_name("rolling_hour"), None);
    }
}
