//! What is wrong with a bill or its mapping: file, place, column, what was found, what to do.

use std::fmt;
use std::io;

/// Defects that are listed before reading stops.
pub(crate) const DEFECTS_MAX: usize = 20;

/// Where in a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Line of a text file, from 1.
    Line(u64),
    /// Row of a spreadsheet or of a JSON document, from 1.
    Row(u64),
}

impl Place {
    /// The number.
    pub const fn number(self) -> u64 {
        match self {
            Self::Line(number) | Self::Row(number) => number,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Row(number) => write!(f, "row {number}"),
        }
    }
}

/// One thing that is wrong with a bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// Where; `None` concerns the whole file.
    pub place: Option<Place>,
    /// Column, by the bill's own name.
    pub column: Option<String>,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: String,
}

impl Defect {
    pub(crate) fn new(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { place: None, column: None, found: found.into(), advice: advice.into() }
    }

    pub(crate) fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    pub(crate) fn column(mut self, column: &str) -> Self {
        self.column = Some(column.to_owned());
        self
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, ", {place}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column:?}")?;
        }
        write!(f, ": {}; {}", self.found, self.advice)
    }
}

/// Why a comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The mapping file is wrong.
    #[error("mapping {name}: {what}")]
    Mapping {
        /// Name or path of the mapping.
        name: String,
        /// What is wrong with it, and where.
        what: String,
    },
    /// The bill is wrong.
    #[error("{}", listed(file, defects))]
    Bill {
        /// Name of the file.
        file: String,
        /// What is wrong, in the order of the file.
        defects: Vec<Defect>,
    },
    /// A sum left what 128 bits hold.
    #[error("the sum of {0} is beyond what can be held exactly")]
    Overflow(&'static str),
    /// One request has more lines than fit the memory that is allowed.
    #[error(
        "the lines of one request do not fit {memory_max_bytes} bytes of memory; \
         look for an id that stands for many requests, or allow more with --memory-max"
    )]
    Crowded {
        /// The limit.
        memory_max_bytes: u64,
    },
    /// Temporary files or the report could not be written or read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What to do about an error; the exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconcileErrorKind {
    /// Change the mapping or the options.
    Invalid,
    /// Ask the vendor for another file, or repair it.
    Data,
    /// Look at the machine.
    Internal,
}

impl ReconcileError {
    /// The kind.
    pub const fn kind(&self) -> ReconcileErrorKind {
        match self {
            Self::Mapping { .. } | Self::Crowded { .. } => ReconcileErrorKind::Invalid,
            Self::Bill { .. } | Self::Overflow(_) => ReconcileErrorKind::Data,
            Self::Io(_) => ReconcileErrorKind::Internal,
        }
    }
}

fn listed(file: &str, defects: &[Defect]) -> String {
    let mut lines: Vec<String> = defects.iter().map(|defect| format!("{file}{defect}")).collect();
    if defects.len() >= DEFECTS_MAX {
        lines.push(format!("{file}: there may be more; reading stopped here"));
    }
    lines.join("\n")
}
