//! What can become of a held-back row, by the reason that it is held back for.

use crate::event_error::SuspenseReason;

/// How a held-back event comes out of suspense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recycling {
    /// Its identity was not judged yet: it is taken as if it came now, from dedupe on.
    AsNew,
    /// It was told from every other event, and what it lacked was reference data: it is rated again.
    Again,
    /// The payload itself is the matter, and reading it again does not change it. The words say what
    /// to do instead, before the row is written off.
    Never(&'static str),
}

/// What to do with a command, which is never recycled: the row's command was not carried out.
pub const SEND_COMMAND_AGAIN: &str = "send the command again under a new id";

impl SuspenseReason {
    /// How a usage event that is held back for this reason can be recycled. The stream goes by it,
    /// and so does the command that asks for it.
    pub const fn recycling(self) -> Recycling {
        match self {
            Self::WrongPartition | Self::TimeInFuture => Recycling::AsNew,
            Self::UnknownModel
            | Self::NoPrice
            | Self::UnknownCalendarYear
            | Self::AmbiguousPrice
            | Self::CurrencyMismatch
            | Self::AmountOverflow
            | Self::UnknownWeights
            | Self::DamagedAccount => Recycling::Again,
            Self::Malformed | Self::MissingIdentity | Self::Tombstone | Self::TooLarge => {
                Recycling::Never("have the gateway send the event whole")
            }
            Self::Incomplete
            | Self::InvalidField
            | Self::InvalidTime
            | Self::InvalidCount
            | Self::UnknownUsageClass
            | Self::ClassesDoNotAddUp
            | Self::PhoneNumber => {
                Recycling::Never("have the gateway send the corrected event under a new id")
            }
            Self::ConflictingDuplicate => Recycling::Never(
                "find out which of the two is right; where it is this one, post an adjustment",
            ),
            Self::CorrectionPending => Recycling::Never("carry it out: tally correct apply"),
            Self::TooOld => Recycling::Never(
                "whether it was counted before is not known any more; where it was not, post an adjustment",
            ),
            Self::UnsupportedCommand
            | Self::BadCommand
            | Self::UnknownFlag
            | Self::UnknownPackage
            | Self::PackageNotSold
            | Self::UnknownBucket
            | Self::BucketExpired
            | Self::UnknownTariff
            | Self::AdjustOutOfRange
            | Self::TransferOutOfRange => Recycling::Never(SEND_COMMAND_AGAIN),
        }
    }

    /// Whether the stream marks an event that is held back for this reason, beside its identity, to
    /// tell it from an accepted one.
    pub const fn is_marked(self) -> bool {
        matches!(self.recycling(), Recycling::Again) || matches!(self, Self::CorrectionPending)
    }
}
