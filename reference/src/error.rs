//! What can go wrong, in kinds that tell the caller what to do.

use std::sync::Arc;

use tally_schemas::in_full;

use crate::finding::{Finding, lines};
use crate::kind::ReferenceKind;

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again later: the store is away or overloaded.
    Retry,
    /// The question was wrong.
    Usage,
    /// The data is wrong, or may not become what was asked.
    Data,
}

/// An error of reference data.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReferenceError {
    /// The store did not do what was asked.
    #[error("store: {}", in_full(.0))]
    Store(Arc<object_store::Error>),
    /// Something stored is not what it should be.
    #[error("damaged reference data: {0}")]
    Damaged(String),
    /// An argument that cannot work.
    #[error("{0}")]
    Usage(String),
    /// There is no such version.
    #[error("there is no {kind} version {version}: tally {kind} show lists those there are")]
    NoSuchVersion {
        /// Kind.
        kind: ReferenceKind,
        /// Number.
        version: u64,
    },
    /// Files that cannot become a candidate.
    #[error("nothing was stored:\n{}", lines(.0))]
    Unreadable(Vec<Finding>),
    /// A candidate that may not be approved as it is.
    #[error("{kind} version {version} cannot be approved:\n{}", lines(.findings))]
    Refused {
        /// Kind.
        kind: ReferenceKind,
        /// Number.
        version: u64,
        /// Why.
        findings: Vec<Finding>,
    },
    /// Four eyes are two people.
    #[error(
        "{kind} version {version} was imported by {importer}: somebody else must approve it (four eyes)"
    )]
    SamePerson {
        /// Kind.
        kind: ReferenceKind,
        /// Number.
        version: u64,
        /// Who imported it.
        importer: String,
    },
    /// It is approved already.
    #[error("{kind} version {version} is approved already, by {by}")]
    AlreadyApproved {
        /// Kind.
        kind: ReferenceKind,
        /// Number.
        version: u64,
        /// Who approved it.
        by: String,
    },
}

impl ReferenceError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => match error.as_ref() {
                object_store::Error::NotFound { .. } => ErrorKind::Data,
                object_store::Error::NotImplemented { .. }
                | object_store::Error::InvalidPath { .. }
                | object_store::Error::NotSupported { .. } => ErrorKind::Usage,
                _ => ErrorKind::Retry,
            },
            Self::Usage(_) | Self::NoSuchVersion { .. } => ErrorKind::Usage,
            Self::Damaged(_)
            | Self::Unreadable(_)
            | Self::Refused { .. }
            | Self::SamePerson { .. }
            | Self::AlreadyApproved { .. } => ErrorKind::Data,
        }
    }
}

impl From<object_store::Error> for ReferenceError {
    fn from(error: object_store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}
