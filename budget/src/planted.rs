//! Known bugs that tests switch on one at a time, to show that they are caught (R32). Outside of
//! tests and of the feature `planted` the switch is the constant `false`.

/// A bug that tests must catch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// An epoch that is added already is added again.
    RepeatAdded,
    /// An epoch that does not follow the last one is added, and those between are left out.
    GapSkipped,
    /// After a restart the last epoch of each partition is not known to be added.
    PositionLostAtRestart,
    /// After a restart it is not known which thresholds were passed.
    PassedLostAtRestart,
    /// A threshold must be exceeded instead of reached.
    ThresholdExceeded,
    /// The identity of an alert contains the number of alerts so far.
    AlertIdCounts,
    /// Usage in any currency counts for an amount.
    CurrencyIgnored,
    /// What was used of a period is what came since the restart.
    UsedLostAtRestart,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 8] = [
        Self::RepeatAdded,
        Self::GapSkipped,
        Self::PositionLostAtRestart,
        Self::PassedLostAtRestart,
        Self::ThresholdExceeded,
        Self::AlertIdCounts,
        Self::CurrencyIgnored,
        Self::UsedLostAtRestart,
    ];
}

#[cfg(any(test, feature = "planted"))]
pub use switch::plant;
#[cfg(any(test, feature = "planted"))]
pub(crate) use switch::{alerts_so_far, planted};

/// Whether a bug is switched on: never, outside of tests.
#[cfg(not(any(test, feature = "planted")))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

/// Stands in for a clock: never asked for, outside of tests.
#[cfg(not(any(test, feature = "planted")))]
pub(crate) const fn alerts_so_far() -> u64 {
    0
}

#[cfg(any(test, feature = "planted"))]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static ACTIVE: Cell<Option<Bug>> = const { Cell::new(None) };
        static ALERTS: Cell<u64> = const { Cell::new(0) };
    }

    pub(crate) fn planted(bug: Bug) -> bool {
        ACTIVE.with(|active| active.get() == Some(bug))
    }

    /// Switches a bug on (or all off) for the current thread.
    pub fn plant(bug: Option<Bug>) {
        ACTIVE.with(|active| active.set(bug));
    }

    /// How often it was asked for in this thread.
    pub(crate) fn alerts_so_far() -> u64 {
        ALERTS.with(|alerts| {
            alerts.set(alerts.get() + 1);
            alerts.get()
        })
    }
}
