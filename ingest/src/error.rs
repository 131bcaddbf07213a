//! What can go wrong with the door as a whole, apart from single requests.

use std::time::Duration;

use tally_log::{LogError, LogErrorKind};

/// What the caller is to do about a [`DoorError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DoorErrorKind {
    /// Try again after a pause.
    Retry,
    /// A setting is wrong: trying again does not help.
    Invalid,
    /// A fault of this program or of a library below it.
    Internal,
}

/// An error of the door.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// A setting that cannot work.
    #[error("{setting}: {reason}")]
    Setting {
        /// Key of the setting.
        setting: &'static str,
        /// Why it cannot work.
        reason: String,
    },
    /// The log gave no producer.
    #[error("no producer: {0}")]
    Log(#[from] LogError),
    /// The drain ended with events that the log has not acknowledged.
    #[error("{bytes} bytes were still unacknowledged after {waited:?}")]
    Undrained {
        /// Bytes in flight.
        bytes: u64,
        /// How long the drain waited.
        waited: Duration,
    },
    /// The registry of metrics is unusable, because a thread panicked while it held it.
    #[error("the registry of metrics is poisoned")]
    Registry,
}

impl DoorError {
    /// What the caller is to do.
    pub fn kind(&self) -> DoorErrorKind {
        match self {
            Self::Setting { .. } => DoorErrorKind::Invalid,
            Self::Undrained { .. } => DoorErrorKind::Retry,
            Self::Registry => DoorErrorKind::Internal,
            Self::Log(error) => match error.kind() {
                LogErrorKind::Retry => DoorErrorKind::Retry,
                LogErrorKind::Invalid | LogErrorKind::Refused => DoorErrorKind::Invalid,
                LogErrorKind::Gone | LogErrorKind::Data | LogErrorKind::Internal => {
                    DoorErrorKind::Internal
                }
            },
        }
    }
}
