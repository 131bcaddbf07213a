//! What can go wrong with a document, in kinds that tell the caller what to do.

use std::path::PathBuf;

use rust_xlsxwriter::XlsxError;
use tally_settlement::SettlementError;

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A font is missing or does not fit: install it, or name another.
    Invalid,
    /// Figures that cannot be shown exactly: a person must look.
    Data,
    /// A fault of this program or of the machine.
    Internal,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Sums of what is shown that are too large.
    #[error("the amounts of {0} are too large to be added")]
    Overflow(String),
    /// No font of the machine has every character of the document.
    #[error(
        "no font on this machine has every character of the statement ({missing}): install the Debian package fonts-noto-cjk, or name a font file with --font"
    )]
    NoFont {
        /// Some of the characters that the best font lacks.
        missing: String,
    },
    /// A font that was named lacks characters.
    #[error(
        "the font {path} lacks characters of the statement ({missing}): name one that has them, such as those of the Debian package fonts-noto-cjk"
    )]
    FontLacks {
        /// File of the font.
        path: PathBuf,
        /// Some of the characters.
        missing: String,
    },
    /// A file that is no font that can be embedded.
    #[error("{path} cannot be embedded: {why}")]
    BadFont {
        /// File of the font.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A statement that cannot be encoded, or a format that cannot hold it.
    #[error("the document could not be written: {0}")]
    Format(String),
}

impl DocumentError {
    /// What the caller should do.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NoFont { .. } | Self::FontLacks { .. } | Self::BadFont { .. } => {
                ErrorKind::Invalid
            }
            Self::Overflow(_) => ErrorKind::Data,
            Self::Format(_) => ErrorKind::Internal,
        }
    }
}

impl From<SettlementError> for DocumentError {
    fn from(error: SettlementError) -> Self {
        Self::Format(error.to_string())
    }
}

impl From<XlsxError> for DocumentError {
    fn from(error: XlsxError) -> Self {
        Self::Format(error.to_string())
    }
}
