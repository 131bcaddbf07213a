//! How a command ends: exit codes follow from the kinds of errors.

use std::fmt;
use std::process::ExitCode;

use tally_access::{AccessError, ErrorKind as AccessErrorKind};
use tally_aggregate::{AggregateError, ErrorKind as AggregateErrorKind};
use tally_generate::{ReplayError, TruthError};
use tally_ingest::{DoorError, DoorErrorKind};
use tally_log::{LogError, LogErrorKind};
use tally_query::{ErrorKind as QueryErrorKind, QueryError};
use tally_reference::{ErrorKind as ReferenceErrorKind, ReferenceError};
use tally_schemas::ConfigError;
use tally_tables::{ErrorKind as TablesErrorKind, TablesError};
use tally_webhooks::{ErrorKind as WebhookErrorKind, WebhookError};

/// Why a command did not do what was asked, which is also its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// A check found something that should not be.
    Check,
    /// The command line or the configuration is wrong.
    Usage,
    /// Data that was read or sent is not valid.
    Data,
    /// Another owner has what was to be changed.
    Fenced,
    /// Something is away or overloaded.
    Retry,
    /// A fault of this program or of the machine.
    Internal,
}

impl FailureKind {
    /// Name in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Usage => "usage",
            Self::Data => "data",
            Self::Fenced => "fenced",
            Self::Retry => "retry",
            Self::Internal => "internal",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Check => 1,
            Self::Usage => 2,
            Self::Data => 3,
            Self::Fenced => 4,
            Self::Retry => 5,
            Self::Internal => 70,
        }
    }
}

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    pub(crate) fn data(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Data, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Internal, message)
    }

    /// The same failure with what was being done in front.
    pub(crate) fn while_doing(self, what: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{what}: {}", self.message) }
    }

    /// Says on standard error what went wrong, and how the process ends.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        if json {
            let error = serde_json::json!({
                "error": { "kind": self.kind.name(), "message": self.message }
            });
            eprintln!("{error}");
        } else {
            eprintln!("tally: {}", self.message);
        }
        ExitCode::from(self.kind.code())
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        let kind = match error.kind() {
            LogErrorKind::Retry => FailureKind::Retry,
            LogErrorKind::Gone => FailureKind::Fenced,
            LogErrorKind::Data => FailureKind::Data,
            LogErrorKind::Invalid | LogErrorKind::Refused => FailureKind::Usage,
            LogErrorKind::Internal => FailureKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<AggregateError> for Failure {
    fn from(error: AggregateError) -> Self {
        let kind = match error.kind() {
            AggregateErrorKind::Retry => FailureKind::Retry,
            AggregateErrorKind::Fenced => FailureKind::Fenced,
            AggregateErrorKind::Invalid => FailureKind::Usage,
            AggregateErrorKind::Data => FailureKind::Data,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ReferenceError> for Failure {
    fn from(error: ReferenceError) -> Self {
        let kind = match error.kind() {
            ReferenceErrorKind::Retry => FailureKind::Retry,
            ReferenceErrorKind::Usage => FailureKind::Usage,
            ReferenceErrorKind::Data => FailureKind::Data,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<TablesError> for Failure {
    fn from(error: TablesError) -> Self {
        let kind = match error.kind() {
            TablesErrorKind::Retry => FailureKind::Retry,
            TablesErrorKind::Invalid => FailureKind::Usage,
            TablesErrorKind::Data => FailureKind::Data,
            TablesErrorKind::Internal => FailureKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let kind = match error.kind() {
            QueryErrorKind::Invalid | QueryErrorKind::Denied | QueryErrorKind::Limit => {
                FailureKind::Usage
            }
            QueryErrorKind::Retry => FailureKind::Retry,
            QueryErrorKind::Data => FailureKind::Data,
            QueryErrorKind::Internal => FailureKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        let kind = match error.kind() {
            AccessErrorKind::Invalid | AccessErrorKind::Denied => FailureKind::Usage,
            AccessErrorKind::Internal => FailureKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<WebhookError> for Failure {
    fn from(error: WebhookError) -> Self {
        let kind = match error.kind() {
            WebhookErrorKind::Retry => FailureKind::Retry,
            WebhookErrorKind::Invalid => FailureKind::Usage,
            WebhookErrorKind::Data => FailureKind::Data,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<DoorError> for Failure {
    fn from(error: DoorError) -> Self {
        let kind = match error.kind() {
            DoorErrorKind::Retry => FailureKind::Retry,
            DoorErrorKind::Invalid => FailureKind::Usage,
            DoorErrorKind::Internal => FailureKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

/// A fault of this machine; a file that the user named is [`file_failure`]'s.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<TruthError> for Failure {
    fn from(error: TruthError) -> Self {
        Self::data(error.to_string())
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        Self::data(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error.to_string())
    }
}

/// A file, by its name.
pub(crate) fn file_failure(path: &std::path::Path, error: &std::io::Error) -> Failure {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound
        | std::io::ErrorKind::PermissionDenied
        | std::io::ErrorKind::IsADirectory
        | std::io::ErrorKind::NotADirectory => FailureKind::Usage,
        _ => FailureKind::Internal,
    };
    Failure::new(kind, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_exit_code() {
        let kinds = [
            (FailureKind::Check, "check", 1),
            (FailureKind::Usage, "usage", 2),
            (FailureKind::Data, "data", 3),
            (FailureKind::Fenced, "fenced", 4),
            (FailureKind::Retry, "retry", 5),
            (FailureKind::Internal, "internal", 70),
        ];
        for (kind, name, code) in kinds {
            assert_eq!((kind.name(), kind.code()), (name, code));
        }
    }

    #[test]
    fn errors_of_the_crates_end_with_the_code_of_their_kind() {
        for (failure, code) in [
            (Failure::from(LogError::Retry("away".to_owned())), 5),
            (Failure::from(LogError::Gone { partition: 3 }), 4),
            (Failure::from(LogError::OffsetLost { partition: 3, wanted: 1, start: 2 }), 3),
            (Failure::from(LogError::Invalid("a setting".to_owned())), 2),
            (Failure::from(LogError::Internal("a fault".to_owned())), 70),
            (Failure::from(QueryError::Invalid("a sum that overflows".to_owned())), 2),
            (Failure::from(QueryError::Data("a damaged file".to_owned())), 3),
            (Failure::from(std::io::Error::other("a disk")), 70),
        ] {
            assert_eq!(failure.kind.code(), code, "{failure:?}");
        }
    }
}
