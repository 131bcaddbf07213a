//! What can go wrong with a query, in kinds that tell the caller what to do.

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use tally_schemas::with_causes;

use crate::removed_days::RemovedRows;

/// Why a query gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// The query is wrong or not allowed: repeating it gives the same error.
    #[error("{0}")]
    Invalid(String),
    /// Rows that the query needs are there no more: without them it would give a wrong answer.
    #[error("{0}")]
    Removed(RemovedRows),
    /// The caller may not ask for this.
    #[error("{0}")]
    Denied(String),
    /// A limit was reached.
    #[error("{message} (limit {setting} = {limit})")]
    Limit {
        /// Key of the setting, such as `query.rows_max`.
        setting: &'static str,
        /// Value of the setting as text.
        limit: String,
        /// What happened.
        message: String,
    },
    /// The store is away or answered with an error that may pass.
    #[error("{0}")]
    Retry(String),
    /// Stored data is missing or damaged.
    #[error("{0}")]
    Data(String),
    /// A defect of this program.
    #[error("{0}")]
    Internal(String),
}

/// What to do about an error; exit codes, HTTP codes and metric labels follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Try again later.
    Retry,
    /// Change the query.
    Invalid,
    /// Ask as somebody else.
    Denied,
    /// Ask for less, or raise the limit.
    Limit,
    /// Look at the stored data.
    Data,
    /// Report it.
    Internal,
}

impl From<tally_settlement::SettlementError> for QueryError {
    fn from(error: tally_settlement::SettlementError) -> Self {
        match error.kind() {
            tally_settlement::ErrorKind::Invalid => Self::Invalid(error.to_string()),
            tally_settlement::ErrorKind::Data => Self::Data(error.to_string()),
        }
    }
}

impl From<tally_settlement::phone_bill::BillError> for QueryError {
    fn from(error: tally_settlement::phone_bill::BillError) -> Self {
        match error.kind() {
            tally_settlement::ErrorKind::Invalid => Self::Invalid(error.to_string()),
            tally_settlement::ErrorKind::Data => Self::Data(error.to_string()),
        }
    }
}

impl QueryError {
    /// The kind of the error.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::Removed(_) => ErrorKind::Invalid,
            Self::Denied(_) => ErrorKind::Denied,
            Self::Limit { .. } => ErrorKind::Limit,
            Self::Retry(_) => ErrorKind::Retry,
            Self::Data(_) => ErrorKind::Data,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// The error as it is told to somebody who does not see everything. What else the engine does,
    /// what others ask it, and which files there are, is not theirs to know; what is wrong with
    /// their own query is, and so is which days are there no more.
    pub(crate) fn without_others(self) -> Self {
        match self {
            Self::Limit { setting, limit, .. } if setting == MEMORY_SETTING => Self::Limit {
                setting,
                limit,
                message: "the query needs more memory than is left for it".to_owned(),
            },
            Self::Removed(rows) => Self::Removed(rows.without_record()),
            Self::Retry(_) => Self::Retry("the store does not answer".to_owned()),
            Self::Data(_) => Self::Data("stored data cannot be read".to_owned()),
            Self::Internal(_) => Self::Internal("the query failed".to_owned()),
            own => own,
        }
    }

    /// Wraps the error for a trip through DataFusion.
    pub(crate) fn external(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }
}

impl ErrorKind {
    /// Every kind.
    pub(crate) const ALL: [Self; 6] =
        [Self::Retry, Self::Invalid, Self::Denied, Self::Limit, Self::Data, Self::Internal];

    /// Short name for metrics and for the `type` of a problem document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Limit => "limit",
            Self::Data => "data",
            Self::Internal => "internal",
        }
    }
}

/// The memory limit of the error that [`from_datafusion`] makes of an exhausted pool.
pub(crate) const MEMORY_SETTING: &str = "query.memory_max_bytes";

/// How the engine names its own limit of spilled bytes; the error has no type of its own.
const SPILL_OPTION: &str = "max_temp_directory_size";

/// How the Parquet reader begins the error of a filter; it has no type of its own either.
const FILTER_FAILED: &str = "Error evaluating filter predicate";

/// Maps an error of the engine. `memory_max_bytes` is the limit to name where memory ran out.
pub(crate) fn from_datafusion(error: &DataFusionError, memory_max_bytes: u64) -> QueryError {
    if let Some(own) = own_error(error) {
        return own;
    }
    let root = error.find_root();
    let text = root.strip_backtrace();
    if text.contains(SPILL_OPTION) {
        return QueryError::Limit {
            setting: MEMORY_SETTING,
            limit: memory_max_bytes.to_string(),
            message: "the query needs more memory, and has spilled as much as it may".to_owned(),
        };
    }
    match root {
        DataFusionError::ResourcesExhausted(_) => QueryError::Limit {
            setting: MEMORY_SETTING,
            limit: memory_max_bytes.to_string(),
            message: text,
        },
        DataFusionError::ObjectStore(cause) => match cause.as_ref() {
            object_store::Error::NotFound { .. } => QueryError::Data(text),
            _ => QueryError::Retry(with_causes(text, cause)),
        },
        // A filter that is evaluated while a file is read fails under the file's name.
        DataFusionError::ParquetError(_) if text.contains(FILTER_FAILED) => {
            QueryError::Invalid(text)
        }
        DataFusionError::ParquetError(_) => QueryError::Data(text),
        DataFusionError::IoError(_) => QueryError::Retry(text),
        DataFusionError::ArrowError(cause, _) => match cause.as_ref() {
            ArrowError::MemoryError(_)
            | ArrowError::CDataInterface(_)
            | ArrowError::IpcError(_)
            | ArrowError::IoError(..)
            | ArrowError::SchemaError(_) => QueryError::Internal(text),
            ArrowError::ParquetError(_) => QueryError::Data(text),
            _ => QueryError::Invalid(text),
        },
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => QueryError::Invalid(text),
        _ => QueryError::Internal(text),
    }
}

fn own_error(error: &DataFusionError) -> Option<QueryError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(own) = current.downcast_ref::<QueryError>() {
            return Some(own.clone());
        }
        if let Some(DataFusionError::External(boxed)) = current.downcast_ref::<DataFusionError>()
            && let Some(own) = boxed.downcast_ref::<QueryError>()
        {
            return Some(own.clone());
        }
        cause = current.source();
    }
    None
}
