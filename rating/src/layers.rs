//! A book in layers: what was approved first, and what each later approval added. Nothing is
//! overwritten: a layer adds records and versions of records, and what it repeats is passed over.

use crate::book::Book;
use crate::book_files::{BadBook, BookFile, read_file};
use crate::instant::instant_text;
use crate::version::{Approval, Versioned};

/// Files that came to the book together.
#[derive(Debug, Clone)]
pub struct BookLayer<'a> {
    /// The files.
    pub files: Vec<BookFile<'a>>,
    /// The approval of all of them; without it, each record says by itself who approved it.
    pub approval: Option<Approval>,
}

/// A record that a newer book has lost or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {id}, as known from {}, is missing or changed", instant_text(*.known_from_ms))]
pub struct RecordLost {
    /// `price`, `alias`, `calendar`, `weights`, `product` or `contract`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// Its version, milliseconds UTC.
    pub known_from_ms: i64,
}

/// A version of a record that one book has and another has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChange {
    /// `price`, `alias`, `calendar`, `weights`, `product` or `contract`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// From when on it is known, milliseconds UTC.
    pub known_from_ms: i64,
    /// File and line.
    pub place: String,
    /// What it says.
    pub now: String,
    /// What the newest version of this id said before; none where the id is new.
    pub before: Option<String>,
}

impl Book {
    /// Reads layers, the oldest first. A record that an older layer has, under the same
    /// `known_from` or as the newest version of its id, is passed over.
    ///
    /// # Errors
    /// Every defect of every file, and every record that would change one that is there already.
    pub fn read_layers(layers: &[BookLayer<'_>]) -> Result<Self, BadBook> {
        let mut book = Self::default();
        let mut defects = Vec::new();
        let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
        for layer in layers {
            let mut fresh = Self::default();
            for file in &layer.files {
                read_file(file, layer.approval.as_ref(), &mut fresh, &mut defects);
                hash.update(&(file.text.len() as u64).to_le_bytes());
                hash.update(file.text.as_bytes());
            }
            if let Some(approval) = &layer.approval {
                hash.update(&approval.at_ms.to_le_bytes());
                hash.update(approval.by.as_bytes());
            }
            book.add(fresh, &mut defects);
        }
        if !defects.is_empty() {
            return Err(BadBook { defects });
        }
        book.version = format!("{:016x}", hash.digest());
        Ok(book)
    }

    fn add(&mut self, fresh: Self, defects: &mut Vec<String>) {
        extend(&mut self.prices, fresh.prices, defects);
        extend(&mut self.aliases, fresh.aliases, defects);
        extend(&mut self.calendars, fresh.calendars, defects);
        extend(&mut self.weights, fresh.weights, defects);
        extend(&mut self.products, fresh.products, defects);
        extend(&mut self.contracts, fresh.contracts, defects);
    }

    /// Checks that this book has every record of an older one as it was.
    ///
    /// # Errors
    /// The first that it has not.
    pub fn keeps(&self, older: &Self) -> Result<(), RecordLost> {
        kept(&self.prices, &older.prices)?;
        kept(&self.aliases, &older.aliases)?;
        kept(&self.calendars, &older.calendars)?;
        kept(&self.weights, &older.weights)?;
        kept(&self.products, &older.products)?;
        kept(&self.contracts, &older.contracts)
    }

    /// What this book has that an older one has not.
    pub fn changes_since(&self, older: &Self) -> Vec<RecordChange> {
        let mut changes = Vec::new();
        added(&self.prices, &older.prices, &mut changes);
        added(&self.aliases, &older.aliases, &mut changes);
        added(&self.calendars, &older.calendars, &mut changes);
        added(&self.weights, &older.weights, &mut changes);
        added(&self.products, &older.products, &mut changes);
        added(&self.contracts, &older.contracts, &mut changes);
        changes
    }

    /// Every instant at which a reader of the book learns something new, in order.
    pub fn known_times(&self) -> Vec<i64> {
        let mut times = Vec::new();
        fn usable<'r, T: Versioned + 'r>(records: &'r [T]) -> impl Iterator<Item = i64> + 'r {
            records.iter().filter_map(|record| record.version().usable_from_ms())
        }
        times.extend(usable(&self.prices));
        times.extend(usable(&self.aliases));
        times.extend(usable(&self.calendars));
        times.extend(usable(&self.weights));
        times.extend(usable(&self.products));
        times.extend(usable(&self.contracts));
        times.sort_unstable();
        times.dedup();
        times
    }
}

/// The newest version of an id: known last, and of several the last one in the files.
fn newest<'r, T: Versioned>(records: &'r [T], id: &str) -> Option<&'r T> {
    let versions = records.iter().filter(|record| record.version().id == id);
    versions.max_by_key(|record| record.version().known_from_ms)
}

fn extend<T: Versioned>(records: &mut Vec<T>, mut fresh: Vec<T>, defects: &mut Vec<String>) {
    let older = records.len();
    // Versions that become known at once, by one approval, keep the order of their files' times.
    fresh.sort_by_key(|record| record.version().written_ms);
    for record in fresh {
        let version = record.version();
        let known = &records[..older];
        let same_time = |other: &&T| {
            let other = other.version();
            other.id == version.id && other.written_ms == version.written_ms
        };
        let there = match version.written_ms {
            Some(_) => known.iter().find(same_time),
            None => newest(known, &version.id).filter(|newest| newest.says_the_same(&record)),
        };
        match there {
            None => records.push(record),
            Some(there) if there.says_the_same(&record) => {}
            Some(there) => {
                let (kind, id) = (T::KIND, &version.id);
                defects.push(format!(
                    "{}, {kind} {id}: known_from: this version is there already and says {}, not {}: \
                     nothing is overwritten, give the change a later known_from or leave it out",
                    version.place,
                    there.words(),
                    record.words(),
                ));
            }
        }
    }
}

fn kept<T: Versioned>(newer: &[T], older: &[T]) -> Result<(), RecordLost> {
    for record in older {
        let version = record.version();
        let same = |other: &&T| {
            let other_version = other.version();
            other_version.id == version.id
                && other_version.known_from_ms == version.known_from_ms
                && other_version.approved == version.approved
                && other.says_the_same(record)
        };
        if newer.iter().find(same).is_none() {
            let (id, known_from_ms) = (version.id.clone(), version.known_from_ms);
            return Err(RecordLost { kind: T::KIND, id, known_from_ms });
        }
    }
    Ok(())
}

fn added<T: Versioned>(newer: &[T], older: &[T], changes: &mut Vec<RecordChange>) {
    for record in newer {
        let version = record.version();
        let same = |other: &T| {
            other.version().id == version.id
                && other.version().known_from_ms == version.known_from_ms
        };
        if !older.iter().any(same) {
            changes.push(RecordChange {
                kind: T::KIND,
                id: version.id.clone(),
                known_from_ms: version.known_from_ms,
                place: version.place.clone(),
                now: record.words(),
                before: newest(older, &version.id).map(Versioned::words),
            });
        }
    }
}
