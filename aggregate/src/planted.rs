//! Known bugs that tests switch on one at a time, to show that the invariants catch them (R32).
//! Outside of tests the switch is the constant `false`.

/// A bug that the simulation must catch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) enum Bug {
    /// The ledger entry is created before the data files are stored.
    OffsetBeforeData,
    /// A number that another owner has taken counts as committed.
    FenceSkipped,
    /// Dedupe ids are not restored at recovery.
    DedupeLostAtRestart,
    /// The newest delta is left out at recovery.
    StateOneEpochOld,
    /// A commit whose reply was lost is tried again under the next number.
    UnknownCommitTakenForFailure,
    /// A new owner continues without a claim.
    ClaimSkipped,
    /// The committed offset is the last processed one, not the next.
    OffsetOffByOne,
    /// An epoch without rows is not committed.
    EmptyEpochSkipped,
    /// Open windows are not restored at recovery.
    WindowsLostAtRestart,
    /// The watermark follows the newest event, down as well as up.
    WatermarkFalls,
    /// An event held back is counted, but its row is not written.
    SuspenseRowLost,
    /// A sealed bucket is forgotten instead of being consulted.
    SealedBucketForgotten,
    /// At recovery, ids of a bucket that was opened again after it was sealed are lost.
    ReopenedBucketLost,
    /// Accounts are not restored at recovery.
    AccountsLostAtRestart,
    /// An account command that came before is carried out again.
    CommandTwice,
    /// It is not remembered that a held-back row was taken out of suspense.
    TakenOutForgotten,
    /// Whether a row is held back is not asked, so that an accepted event is taken in once more.
    HeldMarkNotAsked,
    /// A recycled event is taken as of when its record came, not as of its own time.
    RecycledAsOfItsRecord,
    /// It is not remembered that an event was taken back.
    ReversalForgotten,
    /// Whether an event came is not asked before it is taken back.
    UnknownTakenBack,
    /// Alerts of an epoch are not written.
    AlertRowLost,
    /// An epoch is committed before its alerts are acknowledged.
    CommittedBeforeAcknowledged,
    /// A new owner does not read back what its predecessor sent.
    AlertsNotReadBack,
    /// The id of an alert has the time of its sending in it.
    AlertIdWithClock,
    /// An alert whose reply was lost is sent again without a look at the topic.
    LostReplySentAgain,
    /// An entry records an end one alert too far.
    AlertsEndOffByOne,
    /// An entry records an end behind alerts of a predecessor that the replay has yet to come by.
    AlertsEndBehindReplay,
    /// A new owner rates by the newest reference data, not by what its predecessor committed to.
    NewestReferenceAtRecovery,
    /// An owner changes to newer reference data at the end of an epoch, without a record of the log.
    ReferenceWithoutRecord,
    /// A record that names older reference data is followed too.
    OlderReferenceTaken,
    /// What an epoch adds by model is by day of UTC, not of Asia/Shanghai.
    IncrementsByUtcDay,
    /// The second stage commits the positions that it had before the epoch.
    PositionsOneEpochOld,
}

#[cfg(test)]
pub(crate) use switch::{plant, planted};

/// Whether a bug is switched on: never, outside of tests.
#[cfg(not(test))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(test)]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static ACTIVE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub(crate) fn planted(bug: Bug) -> bool {
        ACTIVE.with(|active| active.get() == Some(bug))
    }

    /// Switches a bug on (or all off) for the current thread.
    pub(crate) fn plant(bug: Option<Bug>) {
        ACTIVE.with(|active| active.set(bug));
    }
}
