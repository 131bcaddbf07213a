//! What can go wrong with users, credentials and certificates.

/// Why somebody is not let in, or a file is not taken. No text has a secret in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// A name, role, password or verifier that cannot be one.
    #[error("{0}")]
    Invalid(String),
    /// A file that cannot be read or written.
    #[error("{file}: {message}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// Who signed in is not who they say, or is not known: which of the two is not said.
    #[error("the user or the password is wrong")]
    Denied,
    /// The system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(String),
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Change what was given.
    Invalid,
    /// Sign in as somebody else.
    Denied,
    /// Look at the machine.
    Internal,
}

impl AccessError {
    /// The kind of the error.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::File { .. } => ErrorKind::Invalid,
            Self::Denied => ErrorKind::Denied,
            Self::Random(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn file(path: &std::path::Path, message: impl std::fmt::Display) -> Self {
        Self::File { file: path.display().to_string(), message: message.to_string() }
    }
}
