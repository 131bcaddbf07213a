//! What can go wrong, in kinds that tell the caller what to do.

use std::sync::Arc;

use arrow::error::ArrowError;
use deltalake_core::DeltaTableError;
use parquet::errors::ParquetError;
use tally_aggregate::{AggregateError, ErrorKind as StreamErrorKind};
use tally_schemas::in_full;

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again later: the store is away, or others commit faster.
    Retry,
    /// An argument, or a table that this build must not touch.
    Invalid,
    /// Stored data is not what it should be, or is gone: stop, a person must look.
    Data,
    /// A bug.
    Internal,
}

/// An error of the tables.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TablesError {
    /// The store did not do what was asked.
    #[error("store: {}", in_full(.0))]
    Store(Arc<object_store::Error>),
    /// Other committers were faster every time.
    #[error("table {table}: {attempts} attempts to commit met other commits")]
    Contended {
        /// Table.
        table: &'static str,
        /// Attempts made.
        attempts: u32,
    },
    /// A table that was made is not where it was.
    #[error(
        "table {table} is not where it was made: tables/{table}/_delta_log has neither its first version nor a checkpoint; put it back, or restore it from a backup"
    )]
    Gone {
        /// Table.
        table: &'static str,
    },
    /// The Delta library failed to write a checkpoint.
    #[error("checkpoint of table {table}: {message}")]
    Checkpoint {
        /// Table.
        table: &'static str,
        /// What the library says.
        message: String,
    },
    /// An argument that cannot work, or a table that needs a newer reader or writer.
    #[error("{0}")]
    Invalid(String),
    /// Stored data that does not parse, contradicts itself, or is missing.
    #[error("damaged data: {0}")]
    Damaged(String),
    /// A bug: something that cannot happen did.
    #[error("internal: {0}")]
    Internal(String),
}

impl TablesError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            // As the stream sees the same store.
            Self::Store(error) => match AggregateError::Store(Arc::clone(error)).kind() {
                StreamErrorKind::Data => ErrorKind::Data,
                StreamErrorKind::Invalid => ErrorKind::Invalid,
                StreamErrorKind::Retry | StreamErrorKind::Fenced => ErrorKind::Retry,
            },
            // What is moved away may be put back, and nothing is lost until then.
            Self::Contended { .. } | Self::Gone { .. } | Self::Checkpoint { .. } => {
                ErrorKind::Retry
            }
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Damaged(_) => ErrorKind::Data,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn checkpoint(table: &'static str, error: &DeltaTableError) -> Self {
        Self::Checkpoint { table, message: error.to_string() }
    }
}

impl From<object_store::Error> for TablesError {
    fn from(error: object_store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<AggregateError> for TablesError {
    fn from(error: AggregateError) -> Self {
        match error {
            AggregateError::Store(error) => Self::Store(error),
            AggregateError::Invalid(message) => Self::Invalid(message),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<ParquetError> for TablesError {
    fn from(error: ParquetError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<ArrowError> for TablesError {
    fn from(error: ArrowError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<tokio::task::JoinError> for TablesError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Internal(error.to_string())
    }
}
