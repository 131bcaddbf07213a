//! Versions of records: what is known from when, and who approved it. Nothing is overwritten; of
//! the versions of one id the one that became known last counts.

use std::collections::BTreeMap;

/// What every record of the book carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Id of the record; its versions share it.
    pub id: String,
    /// From when on it is known.
    pub known_from_ms: i64,
    /// Where it comes from.
    pub source: String,
    /// Who approved it and when; without an approval it rates nothing.
    pub approved: Option<Approval>,
    /// File and line where it is written.
    pub place: String,
    /// From when on it is known, as it is written.
    pub(crate) written_ms: Option<i64>,
}

/// An approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// By whom.
    pub by: String,
    /// When.
    pub at_ms: i64,
}

impl Version {
    /// A version of a record that no file of the book holds.
    pub fn new(id: String, known_from_ms: i64, source: String, approved: Option<Approval>) -> Self {
        Self { id, known_from_ms, source, approved, place: String::new(), written_ms: None }
    }

    /// The first instant at which a reader of the book may use it; none without an approval.
    pub fn usable_from_ms(&self) -> Option<i64> {
        self.approved.as_ref().map(|approval| approval.at_ms.max(self.known_from_ms))
    }

    /// Whether it may be used by a reader of the book at a time; `None` knows everything.
    fn is_known(&self, known_at_ms: Option<i64>) -> bool {
        let Some(approval) = &self.approved else { return false };
        let known = known_at_ms.is_none_or(|at| self.known_from_ms <= at && approval.at_ms <= at);
        known || crate::planted(crate::Bug::KnownTimeIgnored)
    }
}

/// A record with versions.
pub(crate) trait Versioned: Clone + PartialEq {
    /// What a list of such records is called in messages and files.
    const KIND: &'static str;

    fn version(&self) -> &Version;

    fn version_mut(&mut self) -> &mut Version;

    /// What it says, in a line.
    fn words(&self) -> String;

    /// Whether both say the same, whoever said it when and where.
    fn says_the_same(&self, other: &Self) -> bool {
        let mut alike = self.clone();
        alike.version_mut().clone_from(other.version());
        alike == *other
    }
}

/// The version of each id that counts at a known time, in the order of the ids.
pub(crate) fn known_records<T: Versioned>(
    records: &[T],
    known_at_ms: Option<i64>,
) -> impl Iterator<Item = &T> {
    let mut newest: BTreeMap<&str, &T> = BTreeMap::new();
    for record in records.iter().filter(|record| record.version().is_known(known_at_ms)) {
        let place = newest.entry(record.version().id.as_str()).or_insert(record);
        // Of several with the same time the last one in the file.
        if place.version().known_from_ms <= record.version().known_from_ms {
            *place = record;
        }
    }
    newest.into_values()
}
