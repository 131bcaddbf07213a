//! What can go wrong, in kinds that tell the caller what to do.

use std::sync::Arc;

use tally_log::{LogError, LogErrorKind};
use tally_reference::ReferenceError;
use tally_schemas::{ReferenceVersion, in_full};

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again later: the store is away or overloaded.
    Retry,
    /// Another owner has the partition: drop it.
    Fenced,
    /// A setting or an argument is wrong.
    Invalid,
    /// Stored data is not what it should be, or is gone: stop, a person must look.
    Data,
}

/// An error of the stream.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AggregateError {
    /// The store did not do what was asked; nothing is known about why it would not next time.
    #[error("store: {}", in_full(.0))]
    Store(Arc<object_store::Error>),
    /// The store did what was asked, but to whom it answered is not known.
    #[error("store: {0}")]
    ReplyLost(String),
    /// The log did not do what was asked.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log names reference data of which the store has no edition.
    #[error(
        "the log says that what follows is rated by reference data {0}, and the store has no such edition: nothing more is rated until it is there"
    )]
    NoSuchEdition(ReferenceVersion),
    /// Another owner committed entry `n`.
    #[error("fenced: entry {n} of partition {partition} belongs to owner {owner}")]
    Fenced {
        /// Partition.
        partition: u32,
        /// Number of the entry.
        n: u64,
        /// The other owner.
        owner: String,
    },
    /// An argument or setting that cannot work.
    #[error("{0}")]
    Invalid(String),
    /// Stored data that does not parse, does not match its hash, or is missing.
    #[error("damaged data: {0}")]
    Damaged(String),
    /// The log ends before what is committed.
    #[error(
        "partition {partition} of the log ends at offset {end}, but offsets up to {committed} are committed: the topic was truncated or recreated"
    )]
    Truncated {
        /// Partition.
        partition: u32,
        /// Where the log was said to end.
        end: u64,
        /// Next offset after the last commit.
        committed: u64,
    },
    /// Records that were never processed are gone from the log.
    #[error(
        "data loss in partition {partition}: offsets {from}..{to} were removed from the log before they were processed; restore them or accept the loss explicitly"
    )]
    Lost {
        /// Partition.
        partition: u32,
        /// First lost offset.
        from: u64,
        /// First offset that still exists.
        to: u64,
    },
}

impl AggregateError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => match error.as_ref() {
                object_store::Error::NotFound { .. } => ErrorKind::Data,
                object_store::Error::NotImplemented { .. }
                | object_store::Error::InvalidPath { .. }
                | object_store::Error::NotSupported { .. } => ErrorKind::Invalid,
                _ => ErrorKind::Retry,
            },
            Self::Log(error) => match error.kind() {
                // Somebody changes what is refused while the partition waits.
                LogErrorKind::Retry | LogErrorKind::Refused => ErrorKind::Retry,
                LogErrorKind::Gone => ErrorKind::Fenced,
                LogErrorKind::Invalid => ErrorKind::Invalid,
                LogErrorKind::Data | LogErrorKind::Internal => ErrorKind::Data,
            },
            Self::ReplyLost(_) | Self::NoSuchEdition(_) => ErrorKind::Retry,
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Damaged(_) | Self::Truncated { .. } | Self::Lost { .. } => ErrorKind::Data,
        }
    }
}

impl From<ReferenceError> for AggregateError {
    fn from(error: ReferenceError) -> Self {
        match error {
            ReferenceError::Store(error) => Self::Store(error),
            other if other.kind() == tally_reference::ErrorKind::Usage => {
                Self::Invalid(other.to_string())
            }
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<object_store::Error> for AggregateError {
    fn from(error: object_store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}
