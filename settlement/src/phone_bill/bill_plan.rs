//! What issuing a phone bill is begun with. A plan fixes everything that could come out otherwise
//! in a second run; whoever finds one goes on with it.

use serde::{Deserialize, Serialize};

use super::day::Day;
use super::error::BillError;
use crate::period::Period;
use crate::seal::CutOff;
use crate::sealed_object::{decode_sealed, encode_sealed};

/// Format of plans and seals that this build writes.
pub(super) const FORMAT: u32 = 1;

/// What a file is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum BillScope {
    /// What is to be charged up to the end of a day and stood on no earlier file.
    Daily {
        /// The day.
        day: Day,
    },
    /// The sums of a month's daily files; charges nothing.
    Monthly {
        /// The month.
        month: Period,
    },
    /// Stands in the place of an earlier file, whole.
    Correction {
        /// Sequence number of that file.
        of: u64,
        /// Why.
        reason: String,
    },
}

impl BillScope {
    /// Name of the kind of file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Daily { .. } => "daily",
            Self::Monthly { .. } => "monthly",
            Self::Correction { .. } => "correction",
        }
    }

    /// The day, the month, or the number of the file that is replaced.
    pub fn period(&self) -> String {
        match self {
            Self::Daily { day } => day.to_string(),
            Self::Monthly { month } => month.to_string(),
            Self::Correction { of, .. } => of.to_string(),
        }
    }

    /// The day of a daily file.
    pub const fn day(&self) -> Option<Day> {
        match self {
            Self::Daily { day } => Some(*day),
            Self::Monthly { .. } | Self::Correction { .. } => None,
        }
    }

    /// The file that a correction replaces.
    pub const fn replaces(&self) -> Option<u64> {
        match self {
            Self::Correction { of, .. } => Some(*of),
            Self::Daily { .. } | Self::Monthly { .. } => None,
        }
    }

    /// Whether another scope asks for the same file, whatever the reason.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Correction { of, .. }, Self::Correction { of: other, .. }) => of == other,
            _ => self == other,
        }
    }
}

/// What issuing a file was begun with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillPlan {
    /// Format of the object.
    pub format: u32,
    /// Sequence number that the file will have, from 1.
    pub sequence: u64,
    /// What it is of.
    pub scope: BillScope,
    /// Who issues it.
    pub by: String,
    /// When it was begun, milliseconds UTC.
    pub at_ms: i64,
    /// Version of the program.
    pub code_version: String,
    /// Up to which epochs rows count; those of the last daily file for one that reads none.
    pub cut_offs: Vec<CutOff>,
    /// Up to which answer rejected lines come again.
    pub returns_to: u64,
    /// Hash of the line records of the file that is replaced; empty where none is.
    pub replaced: String,
    /// Hash of the seal before it; empty for the first.
    pub previous: String,
}

impl BillPlan {
    /// The format of this build.
    pub const FORMAT: u32 = FORMAT;

    /// The name of the file.
    pub fn file_id(&self) -> String {
        format!("phone-bill-{}-{}-{}", self.sequence, self.scope.name(), self.scope.period())
    }

    /// As it is stored.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BillError> {
        Ok(encode_sealed(self)?)
    }

    /// Reads a stored plan; `what` is for messages.
    ///
    /// # Errors
    /// `Stored`.
    pub fn from_bytes(what: &str, bytes: &[u8]) -> Result<Self, BillError> {
        Ok(decode_sealed(what, bytes, FORMAT..=FORMAT)?)
    }
}
