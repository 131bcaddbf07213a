//! Known bugs that tests switch on one at a time, to show that the invariants and the oracle catch
//! them (R32). Outside of tests and of the feature `planted` the switch is the constant `false`.

/// A bug that tests must catch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// An event at a bucket's `valid_to` is charged to it.
    BucketEndInclusive,
    /// A late event is not counted in the slices of caps.
    CapForgetsLateEvent,
    /// Revenue is rounded for each event instead of cumulatively.
    AllocationRoundedPerEvent,
    /// A threshold must be exceeded instead of reached.
    ThresholdExceeded,
    /// The identity of an alert contains the number of alerts so far.
    AlertIdCounts,
    /// Member caps are not looked at.
    MemberCapIgnored,
    /// The rolled phase knows no `rollover_max`.
    RolledPhaseUnlimited,
    /// Points of an event that is taken back go to the newest bucket, not to those that gave them.
    PointsToAnotherBucket,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 8] = [
        Self::BucketEndInclusive,
        Self::CapForgetsLateEvent,
        Self::AllocationRoundedPerEvent,
        Self::ThresholdExceeded,
        Self::AlertIdCounts,
        Self::MemberCapIgnored,
        Self::RolledPhaseUnlimited,
        Self::PointsToAnotherBucket,
    ];

    /// Name, for the environment variable of the replay example.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BucketEndInclusive => "bucket_end_inclusive",
            Self::CapForgetsLateEvent => "cap_forgets_late_event",
            Self::AllocationRoundedPerEvent => "allocation_rounded_per_event",
            Self::ThresholdExceeded => "threshold_exceeded",
            Self::AlertIdCounts => "alert_id_counts",
            Self::MemberCapIgnored => "member_cap_ignored",
            Self::RolledPhaseUnlimited => "rolled_phase_unlimited",
            Self::PointsToAnotherBucket => "points_to_another_bucket",
        }
    }
}

#[cfg(any(test, feature = "planted"))]
pub(crate) use switch::{alerts_so_far, plant, planted};

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
    pub(crate) fn plant(bug: Option<Bug>) {
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
