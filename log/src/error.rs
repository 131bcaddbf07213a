//! What can go wrong with a log, in kinds that tell the caller what to do.

/// What the caller is to do about a [`LogError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogErrorKind {
    /// The log is away or full: try again after a pause. Nothing is lost.
    Retry,
    /// The log is there and does not let us in: somebody has to change that. Who runs waits, as for a
    /// log that is away, and nothing is lost; who begins need not.
    Refused,
    /// The partition belongs to somebody else now: drop what is held of it.
    Gone,
    /// Records that are needed no longer exist: stop the partition and raise an alarm.
    Data,
    /// A setting or a record is wrong: trying again does not help.
    Invalid,
    /// A fault of this program or of a library below it.
    Internal,
}

/// An error of a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The log is away, or a queue on the way to it is full.
    #[error("log not available, try again: {0}")]
    Retry(String),

    /// The brokers do not take our credentials, or we do not take their certificate.
    #[error("{0}")]
    Refused(String),

    /// The partition was taken away from this reader.
    #[error("partition {partition} was revoked")]
    Gone {
        /// Partition.
        partition: u32,
    },

    /// The log no longer has the records from `wanted` up to, not including, `start`.
    #[error(
        "data loss: offsets {wanted}..{start} of partition {partition} no longer exist (the log \
         starts at {start})"
    )]
    OffsetLost {
        /// Partition.
        partition: u32,
        /// The next offset that was to be read.
        wanted: u64,
        /// The first offset that exists.
        start: u64,
    },

    /// The log ends before the offset that was to be read: it was truncated or made anew.
    #[error(
        "data loss: partition {partition} ends at offset {end}, before {wanted}, which was to be \
         read next: the log was truncated or created anew"
    )]
    Truncated {
        /// Partition.
        partition: u32,
        /// The next offset that was to be read.
        wanted: u64,
        /// The next offset to be written.
        end: u64,
    },

    /// A setting or a record that can never work.
    #[error("{0}")]
    Invalid(String),

    /// A fault of this program, of the disk or of a library.
    #[error("log: {0}")]
    Internal(String),
}

impl LogError {
    /// What the caller is to do.
    pub fn kind(&self) -> LogErrorKind {
        match self {
            Self::Retry(_) => LogErrorKind::Retry,
            Self::Refused(_) => LogErrorKind::Refused,
            Self::Gone { .. } => LogErrorKind::Gone,
            Self::OffsetLost { .. } | Self::Truncated { .. } => LogErrorKind::Data,
            Self::Invalid(_) => LogErrorKind::Invalid,
            Self::Internal(_) => LogErrorKind::Internal,
        }
    }
}
