//! What can go wrong with a phone bill.

use crate::error::{ErrorKind, SettlementError};

/// Why there is no phone bill, or why an answer to one is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BillError {
    /// A text that is not a day.
    #[error("{0:?} is not a day: give year, month and day, such as 2026-11-25")]
    NotADay(String),
    /// Numbers beyond what can be added exactly.
    #[error("the amounts of {0} are too large to be added")]
    Overflow(String),
    /// Rows that should be charged and name no currency.
    #[error("rows of {account} of kind {kind} have an amount in the currency {currency:?}")]
    NoCurrency {
        /// Account.
        account: String,
        /// Kind in `quota_ledger`.
        kind: &'static str,
        /// What stands where the currency should be.
        currency: String,
    },
    /// Sums that must be equal and are not.
    #[error("{0}")]
    DoesNotFoot(String),
    /// A return file that cannot be taken: every defect with its line.
    #[error("{file} is not taken, none of it:\n{}", defects.join("\n"))]
    BadReturn {
        /// Name of the file.
        file: String,
        /// What is wrong with it, one defect a line.
        defects: Vec<String>,
    },
    /// A stored object that is damaged.
    #[error(transparent)]
    Stored(Box<SettlementError>),
}

impl From<SettlementError> for BillError {
    fn from(error: SettlementError) -> Self {
        Self::Stored(Box::new(error))
    }
}

impl BillError {
    /// A stored file that is damaged; `what` names it.
    pub(super) fn damaged(what: &str, why: impl std::fmt::Display) -> Self {
        SettlementError::Damaged(format!("{what}: {why}")).into()
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotADay(_) => ErrorKind::Invalid,
            Self::Overflow(_)
            | Self::NoCurrency { .. }
            | Self::DoesNotFoot(_)
            | Self::BadReturn { .. } => ErrorKind::Data,
            Self::Stored(error) => error.kind(),
        }
    }
}
