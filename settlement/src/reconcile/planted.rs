//! Known bugs of the comparison, planted one at a time by tests: a harness that does not notice
//! them proves nothing.

#[cfg(any(test, feature = "planted"))]
use std::cell::Cell;

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareBug {
    /// A call whose time is in another zone passes where the day is the same.
    SameDayShiftPasses,
    /// The first of several records of a request is the match, whether it agrees or not.
    FirstRepeatTaken,
    /// Rounding explains a thousand times as much.
    RoundingTooWide,
    /// The gateway's estimates are counts like all others.
    EstimateTakenAsCount,
    /// Tax is a matter of the price.
    TaxUnknown,
    /// Our calls of the next month are missing on this bill.
    NextMonthMissing,
    /// Our days are those of UTC.
    DaysOfUtc,
    /// What was not written when a file ends is lost.
    BufferLost,
    /// A zero amount is another price.
    FreeQuotaUnknown,
    /// Only the sums of counts are compared.
    ClassesIgnored,
}

impl CompareBug {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::SameDayShiftPasses,
        Self::FirstRepeatTaken,
        Self::RoundingTooWide,
        Self::EstimateTakenAsCount,
        Self::TaxUnknown,
        Self::NextMonthMissing,
        Self::DaysOfUtc,
        Self::BufferLost,
        Self::FreeQuotaUnknown,
        Self::ClassesIgnored,
    ];
}

#[cfg(any(test, feature = "planted"))]
thread_local! {
    static PLANTED: Cell<Option<CompareBug>> = const { Cell::new(None) };
}

/// Plants a bug in this thread, or takes it away again.
#[cfg(any(test, feature = "planted"))]
pub fn plant(bug: Option<CompareBug>) {
    PLANTED.with(|planted| planted.set(bug));
}

#[cfg(any(test, feature = "planted"))]
pub(crate) fn planted(bug: CompareBug) -> bool {
    PLANTED.with(|planted| planted.get() == Some(bug))
}

#[cfg(not(any(test, feature = "planted")))]
pub(crate) const fn planted(_: CompareBug) -> bool {
    false
}
