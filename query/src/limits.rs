//! What one query may take. Each limit has a setting, and an error names it.

use std::time::Duration;

use tally_schemas::QueryConfig;

use crate::error::QueryError;

/// Limits of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most rows of the answer, `query.rows_max`.
    pub rows_max: u64,
    /// Longest time from the request to the last row, `query.timeout_ms`.
    pub timeout: Duration,
}

impl Limits {
    /// The limits of the configuration.
    pub fn of(config: &QueryConfig) -> Self {
        Self { rows_max: config.rows_max, timeout: Duration::from_millis(config.timeout_ms) }
    }

    /// No limit on rows, and a day: for the program's own questions, such as `tally verify`.
    pub const fn unlimited() -> Self {
        Self { rows_max: u64::MAX, timeout: Duration::from_secs(24 * 3600) }
    }

    /// These limits with a shorter time.
    #[must_use]
    pub fn within(self, timeout: Option<Duration>) -> Self {
        match timeout {
            Some(timeout) if timeout < self.timeout => Self { timeout, ..self },
            _ => self,
        }
    }

    /// The error of a query that took too long.
    pub(crate) fn timed_out(&self, doing: &str) -> QueryError {
        QueryError::Limit {
            setting: "query.timeout_ms",
            limit: self.timeout.as_millis().to_string(),
            message: format!("the query was stopped while {doing}"),
        }
    }

    /// The error of an answer that is too long.
    pub(crate) fn too_many_rows(&self) -> QueryError {
        QueryError::Limit {
            setting: "query.rows_max",
            limit: self.rows_max.to_string(),
            message: "the answer has more rows".to_owned(),
        }
    }
}

/// The error of a query that waited its whole time for others.
pub(crate) fn too_many_queries(concurrency: u32) -> QueryError {
    QueryError::Limit {
        setting: "query.concurrency",
        limit: concurrency.to_string(),
        message: "the query waited its whole time for others to end".to_owned(),
    }
}
