//! Known bugs, planted one at a time by tests: a harness that does not notice them proves nothing.

#[cfg(any(test, feature = "planted"))]
use std::cell::Cell;

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// `<=` for `<` at the end of a window of the day.
    WindowEndIncluded,
    /// A price holds at the instant at which the next begins.
    ValidEndIncluded,
    /// A statutory holiday is charged like any Monday to Friday.
    HolidayForgotten,
    /// A Saturday or Sunday is a workday.
    WeekendForWorkday,
    /// A tier begins at its first token and not after it.
    TierEdgeExcluded,
    /// The tier is chosen without cached tokens.
    TierWithoutCache,
    /// A version counts before it is known.
    KnownTimeIgnored,
    /// The start of a call prices it.
    StartForCompletion,
    /// The supplier does not matter.
    SupplierIgnored,
    /// A weight with windows holds all day.
    WeightWindowIgnored,
    /// A row that is rated again keeps the model that it was billed as.
    AliasForgotten,
}

#[cfg(any(test, feature = "planted"))]
thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug in this thread, or takes it away again.
#[cfg(any(test, feature = "planted"))]
pub fn plant(bug: Option<Bug>) {
    PLANTED.with(|planted| planted.set(bug));
}

#[cfg(any(test, feature = "planted"))]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.with(|planted| planted.get() == Some(bug))
}

#[cfg(not(any(test, feature = "planted")))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}
