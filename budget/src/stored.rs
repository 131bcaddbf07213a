//! The stage's state as it is stored: JSON, a base with everything or a delta with what changed.
//! A cell in a delta replaces the one before.

use serde::{Deserialize, Serialize};
use tally_schemas::{ModelDay, ModelIncrement, ModelSums};

use crate::stage::Passed;

/// The format that this build writes, and the latest that it reads.
const FORMAT: u32 = 1;

/// Stored state that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadModels {
    /// It does not parse.
    #[error("the state of budgets does not parse: {0}")]
    Unreadable(String),
    /// It was written by a later build.
    #[error("the state of budgets has format {0}, this build reads up to {FORMAT}: upgrade")]
    TooNew(u32),
    /// A sum passes 128 bits.
    #[error("the state of budgets has sums that pass 128 bits")]
    Overflow,
}

/// What is looked at first: what a later build adds, this one cannot read.
#[derive(Deserialize)]
struct OfFormat {
    format: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredModels {
    format: u32,
    pub(crate) cells: Vec<ModelIncrement>,
    pub(crate) passed: Vec<Passed>,
}

impl StoredModels {
    pub(crate) fn of<'a>(
        cells: impl Iterator<Item = (&'a ModelDay, &'a ModelSums)>,
        passed: impl Iterator<Item = &'a Passed>,
    ) -> Self {
        let cell = |(of, sums): (&ModelDay, &ModelSums)| ModelIncrement {
            of: of.clone(),
            sums: sums.clone(),
        };
        Self { format: FORMAT, cells: cells.map(cell).collect(), passed: passed.cloned().collect() }
    }

    pub(crate) fn write(&self) -> Result<Vec<u8>, BadModels> {
        serde_json::to_vec(self).map_err(|error| BadModels::Unreadable(error.to_string()))
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BadModels> {
        let unreadable = |error: serde_json::Error| BadModels::Unreadable(error.to_string());
        let OfFormat { format } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if format > FORMAT {
            return Err(BadModels::TooNew(format));
        }
        serde_json::from_slice(bytes).map_err(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_a_later_format_is_refused_with_what_to_do() {
        // With what only the later build knows, in what this one knows.
        let later = br#"{"format":2,"cells":[{"of":"everything"}],"passed":[],"more":1}"#;
        assert_eq!(StoredModels::read(later).unwrap_err(), BadModels::TooNew(2));
        let words = BadModels::TooNew(2).to_string();
        assert_eq!(words, "the state of budgets has format 2, this build reads up to 1: upgrade");
        let known = br#"{"format":1,"cells":[],"passed":[]}"#;
        assert!(StoredModels::read(known).unwrap().cells.is_empty());
    }
}
