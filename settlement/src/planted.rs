//! Known bugs, planted one at a time by tests: a harness that does not notice them proves nothing.

#[cfg(any(test, feature = "planted"))]
use std::cell::Cell;

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// 0.005 always goes up.
    HalfEvenForgotten,
    /// Lines are rounded and the rounding line is left out.
    NoRoundingLine,
    /// The unit after a tier's last one is still in it.
    TierEndPassed,
    /// Reaching an all-units tier does not re-price what came before.
    NoTrueUp,
    /// Late usage begins at the first tier again.
    LateUsageFromFirstTier,
    /// A shortfall may be used one month longer.
    CarryOneMonthLonger,
    /// The newest shortfall is used first.
    NewestCarryFirst,
    /// A shortfall is paid and not carried.
    NoCarry,
    /// The cap does not hold.
    CapForgotten,
    /// A prepayment is counted again in every period.
    PrepaidAgain,
    /// The vendor's part of a trial is paid nevertheless.
    TrialPaid,
    /// Tax is added to amounts that include it.
    TaxTwice,
    /// A channel fee is taken of gross and not of net revenue.
    FeeOfGross,
    /// Late usage is counted in its own period's lines.
    LateUsageAsLine,
    /// Terms hold on the day on which the next begin.
    TermsEndIncluded,
    /// The terms for every model go before those for one.
    WidestTermsFirst,
    /// Terms count before they are known.
    KnownTimeIgnored,
    /// One person does both halves of four eyes.
    TwoEyes,
    /// An adjustment that is on a statement is put on the next one too.
    AdjustedTwice,
    /// An adjustment counts before anybody approves it.
    UnapprovedAdjusts,
    /// What a bill differs by is posted for each comparison with it.
    BilledTwice,
    /// A second re-rate is proposed while one waits.
    ReRateTwiceAtOnce,
    /// A re-rate is posted whole, whatever was posted before.
    ReRatePostedAgain,
    /// A re-rate of a trial is posted whole, with the part that the vendor bears.
    ReRateTrialWhole,
    /// Usage that moves to another model leaves the tiers as they were.
    ReRateTierStays,
    /// The lines of a re-rate are rounded, and what that leaves is forgotten.
    ReRateRoundingLost,
    /// A re-rate compares what prices list, and not what terms pay of it.
    ReRateOfList,
}

impl Bug {
    /// Those that a statement shows.
    pub const ALL: [Self; 16] = [
        Self::HalfEvenForgotten,
        Self::NoRoundingLine,
        Self::TierEndPassed,
        Self::NoTrueUp,
        Self::LateUsageFromFirstTier,
        Self::CarryOneMonthLonger,
        Self::NewestCarryFirst,
        Self::NoCarry,
        Self::CapForgotten,
        Self::PrepaidAgain,
        Self::TrialPaid,
        Self::TaxTwice,
        Self::FeeOfGross,
        Self::LateUsageAsLine,
        Self::TermsEndIncluded,
        Self::WidestTermsFirst,
    ];

    /// Those that a re-rate shows.
    pub const OF_RE_RATE: [Self; 4] = [
        Self::ReRateTrialWhole,
        Self::ReRateTierStays,
        Self::ReRateRoundingLost,
        Self::ReRateOfList,
    ];

    /// Those that show where people decide.
    pub const OF_PEOPLE: [Self; 4] =
        [Self::KnownTimeIgnored, Self::TwoEyes, Self::AdjustedTwice, Self::UnapprovedAdjusts];
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
