//! A statement as it is issued: with what is not part of its bytes.

use tally_settlement::{CutOff, Language, PeriodState, Statement};

/// A statement, its state and how it is to be written.
#[derive(Debug, Clone, Copy)]
pub struct Issue<'a> {
    /// The statement.
    pub statement: &'a Statement,
    /// State of its period: a draft until that is closed.
    pub state: PeriodState,
    /// Up to which epochs events count.
    pub cut_offs: &'a [CutOff],
    /// What a reader should know.
    pub notes: &'a [String],
    /// Language of the labels.
    pub language: Language,
}
