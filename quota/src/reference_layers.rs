//! Reference data in layers: what was approved first, and what each later approval added. Versions
//! are added, never overwritten; what a layer repeats is passed over.

use crate::package::{Package, Tariff};
use crate::reference::{Problem, QuotaReference, ReferenceError};
use crate::reference_text::{Lists, Origin, TOML_LISTS, linted, read_file};

/// A file of packages and tariffs.
#[derive(Debug, Clone, Copy)]
pub struct PackageFile<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// Its text, TOML.
    pub text: &'a str,
}

/// The approval of everything in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerApproval {
    /// By whom.
    pub by: String,
    /// When, ms of UTC.
    pub at_ms: i64,
}

/// Files that came together.
#[derive(Debug, Clone)]
pub struct PackageLayer<'a> {
    /// The files.
    pub files: Vec<PackageFile<'a>>,
    /// The approval of all of them; without it, each record says by itself who approved it.
    pub approval: Option<LayerApproval>,
}

/// A version that one set of reference data has and another has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageChange {
    /// `package` or `tariff`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// From when on it is known, ms of UTC.
    pub known_from_ms: i64,
    /// File and line.
    pub place: String,
    /// What it says.
    pub now: String,
    /// What the newest version of this id said before; none where the id is new.
    pub before: Option<String>,
}

/// A record in versions.
trait Versioned: Clone + PartialEq {
    const KIND: &'static str;
    fn id(&self) -> &str;
    fn known_from_ms(&self) -> i64;
    fn written_ms(&self) -> Option<i64>;
    fn place(&self) -> &str;
    fn in_words(&self) -> String;
    /// The same record as if it stood where and when another does.
    fn moved_to(&self, other: &Self) -> Self;

    fn says_the_same(&self, other: &Self) -> bool {
        self.moved_to(other) == *other
    }
}

impl Versioned for Package {
    const KIND: &'static str = "package";

    fn id(&self) -> &str {
        &self.id
    }

    fn known_from_ms(&self) -> i64 {
        self.known_from_ms
    }

    fn written_ms(&self) -> Option<i64> {
        self.written_ms
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn in_words(&self) -> String {
        self.words()
    }

    fn moved_to(&self, other: &Self) -> Self {
        Self {
            known_from_ms: other.known_from_ms,
            written_ms: other.written_ms,
            hash: other.hash,
            // Compared as they are written.
            thresholds: other.thresholds.clone(),
            counted: other.counted.clone(),
            watched: other.watched,
            place: other.place.clone(),
            source: other.source.clone(),
            approved_by: other.approved_by.clone(),
            approved_at_ms: other.approved_at_ms,
            ..self.clone()
        }
    }
}

impl Package {
    /// Whether it says what another version says, but that it is sold for a shorter time.
    pub fn ends_sooner_than(&self, other: &Self) -> bool {
        let end = |package: &Self| package.valid_to_ms.unwrap_or(i64::MAX);
        let as_long = Self { valid_to_ms: other.valid_to_ms, ..self.clone() };
        end(self) < end(other) && as_long.says_the_same(other)
    }
}

impl Versioned for Tariff {
    const KIND: &'static str = "tariff";

    fn id(&self) -> &str {
        &self.id
    }

    fn known_from_ms(&self) -> i64 {
        self.known_from_ms
    }

    fn written_ms(&self) -> Option<i64> {
        self.written_ms
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn in_words(&self) -> String {
        self.words()
    }

    fn moved_to(&self, other: &Self) -> Self {
        Self {
            known_from_ms: other.known_from_ms,
            written_ms: other.written_ms,
            place: other.place.clone(),
            source: other.source.clone(),
            approved_by: other.approved_by.clone(),
            approved_at_ms: other.approved_at_ms,
            ..self.clone()
        }
    }
}

impl QuotaReference {
    /// What this reference data has that older has not.
    pub fn changes_since(&self, older: &Self) -> Vec<PackageChange> {
        let mut changes = Vec::new();
        added(self.packages(), older.packages(), &mut changes);
        added(self.tariffs(), older.tariffs(), &mut changes);
        changes
    }
}

pub(crate) fn read(layers: &[PackageLayer<'_>]) -> Result<QuotaReference, ReferenceError> {
    let mut problems = Vec::new();
    let mut all = Lists::default();
    for layer in layers {
        let mut fresh = Lists::default();
        for file in &layer.files {
            let origin = Origin { name: file.name, approval: layer.approval.as_ref() };
            let lists = read_file(file.text, origin, &mut problems);
            fresh.packages.extend(lists.packages);
            fresh.tariffs.extend(lists.tariffs);
            fresh.thresholds.extend(lists.thresholds);
        }
        extend(&mut all.packages, fresh.packages, &mut problems);
        extend(&mut all.tariffs, fresh.tariffs, &mut problems);
        if !fresh.thresholds.is_empty() {
            all.thresholds = fresh.thresholds;
        }
    }
    linted(all, TOML_LISTS[2], problems)
}

fn newest<'r, T: Versioned>(records: &'r [T], id: &str) -> Option<&'r T> {
    records.iter().filter(|record| record.id() == id).max_by_key(|record| record.known_from_ms())
}

fn extend<T: Versioned>(records: &mut Vec<T>, fresh: Vec<T>, problems: &mut Vec<Problem>) {
    let older = records.len();
    for record in fresh {
        let known = &records[..older];
        let same_time =
            |other: &&T| other.id() == record.id() && other.written_ms() == record.written_ms();
        let there = match record.written_ms() {
            Some(_) => known.iter().find(same_time),
            None => newest(known, record.id()).filter(|newest| newest.says_the_same(&record)),
        };
        match there {
            None => records.push(record),
            Some(there) if there.says_the_same(&record) => {}
            Some(_) => problems.push(Problem {
                place: record.place().to_owned(),
                record: record.id().to_owned(),
                field: "known_from".to_owned(),
                message: "this version is there already and says something else: nothing is overwritten, give the change a later known_from or leave it out".to_owned(),
            }),
        }
    }
}

fn added<T: Versioned>(newer: &[T], older: &[T], changes: &mut Vec<PackageChange>) {
    for record in newer {
        let same = |other: &T| {
            other.id() == record.id() && other.known_from_ms() == record.known_from_ms()
        };
        if !older.iter().any(same) {
            changes.push(PackageChange {
                kind: T::KIND,
                id: record.id().to_owned(),
                known_from_ms: record.known_from_ms(),
                place: record.place().to_owned(),
                now: record.in_words(),
                before: newest(older, record.id()).map(Versioned::in_words),
            });
        }
    }
}
