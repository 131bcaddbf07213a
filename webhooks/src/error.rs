//! What can go wrong with webhooks, in kinds that tell the caller what to do.

use tally_log::{LogError, LogErrorKind};
use tally_schemas::in_full;

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again later.
    Retry,
    /// A setting is wrong.
    Invalid,
    /// Stored data is not what it should be: a person must look.
    Data,
}

/// An error of webhooks.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WebhookError {
    /// A setting that cannot work. Secrets are not in the text.
    #[error("alerts.webhooks: {0}")]
    Invalid(String),
    /// The store did not do what was asked; to be tried again.
    #[error("store: {0}")]
    Store(String),
    /// The log did not do what was asked.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What the store has is not what was put there.
    #[error("damaged data: {0}")]
    Damaged(String),
}

impl WebhookError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Store(_) => ErrorKind::Retry,
            Self::Log(error) => match error.kind() {
                LogErrorKind::Retry | LogErrorKind::Refused | LogErrorKind::Gone => {
                    ErrorKind::Retry
                }
                LogErrorKind::Invalid => ErrorKind::Invalid,
                LogErrorKind::Data | LogErrorKind::Internal => ErrorKind::Data,
            },
            Self::Damaged(_) => ErrorKind::Data,
        }
    }
}

impl From<object_store::Error> for WebhookError {
    fn from(error: object_store::Error) -> Self {
        Self::Store(in_full(&error))
    }
}
