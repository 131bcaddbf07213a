//! Terms and rates in layers: what was approved first, and what each later approval added. Nothing
//! is overwritten: a layer adds versions, and what it repeats is passed over.

use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use crate::contract_file::{BadContracts, ContractFile, read_contracts};
use crate::contract_words::{rate_words, terms_words};
use crate::contracts::{Contracts, FxRate};
use crate::sealed_object::hash_of;
use crate::terms::{Approved, Terms};
use crate::{Bug, planted};

/// Digits of a hash that name contracts.
const VERSION_DIGITS: usize = 16;

/// A file of terms and rates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermsFile {
    /// Name, for messages.
    pub name: String,
    /// Text.
    pub text: String,
}

/// Files that were approved together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermsLayer {
    /// The files.
    pub files: Vec<TermsFile>,
    /// By whom.
    pub approved_by: String,
    /// When, milliseconds UTC. No record in them is known before.
    pub approved_at_ms: i64,
}

/// A version of terms or of a rate that some contracts have and others have not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermsChange {
    /// `terms` or `fx`.
    pub kind: &'static str,
    /// Id of the terms; currencies and period of a rate.
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

/// Whether a file has settlement terms or rates, and not what events are rated by.
pub fn is_terms_file(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    let Ok(document) = DeTable::parse(text) else { return false };
    document.get_ref().keys().any(|key| {
        let name: &str = key.get_ref();
        matches!(name, "terms" | "fx")
    })
}

/// A record with versions.
pub(crate) trait Layered: Clone + PartialEq {
    const KIND: &'static str;

    /// What its versions share.
    fn shared_id(&self) -> String;
    fn known_from_ms(&self) -> i64;
    fn written_ms(&self) -> Option<i64>;
    fn place(&self) -> String;
    fn words(&self) -> String;
    fn approve(&mut self, by: &Approved);
    /// Whether both say the same, whoever said it when and where.
    fn says_the_same(&self, other: &Self) -> bool;
}

impl Layered for Terms {
    const KIND: &'static str = "terms";

    fn shared_id(&self) -> String {
        self.id.clone()
    }

    fn known_from_ms(&self) -> i64 {
        self.known_from_ms
    }

    fn written_ms(&self) -> Option<i64> {
        self.written_ms
    }

    fn place(&self) -> String {
        format!("{}, line {}", self.file, self.line)
    }

    fn words(&self) -> String {
        terms_words(self)
    }

    fn approve(&mut self, by: &Approved) {
        self.known_from_ms = self.written_ms.unwrap_or(by.at_ms).max(by.at_ms);
        self.approved = Some(by.clone());
    }

    fn says_the_same(&self, other: &Self) -> bool {
        let mut alike = self.clone();
        alike.known_from_ms = other.known_from_ms;
        alike.written_ms = other.written_ms;
        alike.source.clone_from(&other.source);
        alike.file.clone_from(&other.file);
        alike.line = other.line;
        alike.approved.clone_from(&other.approved);
        alike == *other
    }
}

impl Layered for FxRate {
    const KIND: &'static str = "fx";

    fn shared_id(&self) -> String {
        self.words_id()
    }

    fn known_from_ms(&self) -> i64 {
        self.known_from_ms
    }

    fn written_ms(&self) -> Option<i64> {
        self.written_ms
    }

    fn place(&self) -> String {
        format!("{}, line {}", self.file, self.line)
    }

    fn words(&self) -> String {
        rate_words(self)
    }

    fn approve(&mut self, by: &Approved) {
        self.known_from_ms = self.written_ms.unwrap_or(by.at_ms).max(by.at_ms);
        self.approved = Some(by.clone());
    }

    fn says_the_same(&self, other: &Self) -> bool {
        let mut alike = self.clone();
        alike.known_from_ms = other.known_from_ms;
        alike.written_ms = other.written_ms;
        alike.file.clone_from(&other.file);
        alike.line = other.line;
        alike.approved.clone_from(&other.approved);
        alike == *other
    }
}

/// The newest version of an id: known last, and of several the last one in the files.
fn newest<'r, T: Layered>(records: &'r [T], id: &str) -> Option<&'r T> {
    let versions = records.iter().filter(|record| record.shared_id() == id);
    versions.max_by_key(|record| record.known_from_ms())
}

/// Adds what a layer brings, in the order of the times that its files give.
fn extend<T: Layered>(records: &mut Vec<T>, mut fresh: Vec<T>, defects: &mut Vec<String>) {
    let older = records.len();
    fresh.sort_by_key(Layered::written_ms);
    for record in fresh {
        let (known, id) = (&records[..older], record.shared_id());
        let there = match record.written_ms() {
            Some(written) => known
                .iter()
                .find(|other| other.shared_id() == id && other.written_ms() == Some(written)),
            None => newest(known, &id).filter(|newest| newest.says_the_same(&record)),
        };
        match there {
            None => records.push(record),
            Some(there) if there.says_the_same(&record) => {}
            Some(there) => defects.push(format!(
                "{}, {} {id}: known_from: this version is there already and says {}, not {}: \
                 nothing is overwritten, give the change a later known_from or leave it out",
                record.place(),
                T::KIND,
                there.words(),
                record.words(),
            )),
        }
    }
}

fn added<T: Layered>(newer: &[T], older: &[T], changes: &mut Vec<TermsChange>) {
    for record in newer {
        let id = record.shared_id();
        let same =
            |other: &T| other.shared_id() == id && other.known_from_ms() == record.known_from_ms();
        if older.iter().any(same) {
            continue;
        }
        changes.push(TermsChange {
            kind: T::KIND,
            known_from_ms: record.known_from_ms(),
            place: record.place(),
            now: record.words(),
            before: newest(older, &id).map(Layered::words),
            id,
        });
    }
}

impl Contracts {
    /// Reads what was approved, the oldest layer first. Records have the approval of their layer,
    /// whatever they say themselves, and are known from it on or from a later `known_from`.
    ///
    /// # Errors
    /// Every defect of every file, and every record that would change one that is there already.
    pub fn read_layers(layers: &[TermsLayer]) -> Result<Self, BadContracts> {
        let mut read = Self::default();
        let mut defects = Vec::new();
        let mut hash = blake3::Hasher::new();
        for layer in layers {
            hash.update(&layer.approved_at_ms.to_le_bytes());
            hash.update(layer.approved_by.as_bytes());
            for file in &layer.files {
                // Lengths in front, so that two lists of files cannot read the same.
                let length = u64::try_from(file.text.len()).unwrap_or(u64::MAX);
                hash.update(&length.to_le_bytes());
                hash.update(file.text.as_bytes());
            }
            let by = Approved { by: layer.approved_by.clone(), at_ms: layer.approved_at_ms };
            read.add(&layer.files, &by, &mut defects);
        }
        if !defects.is_empty() {
            return Err(BadContracts { defects });
        }
        read.layers = layers.to_vec();
        if !layers.is_empty() {
            read.version = hash.finalize().to_hex()[..VERSION_DIGITS].to_owned();
        }
        Ok(read)
    }

    /// These contracts and a file that nobody has approved, as if somebody had at a time. The
    /// version names the file and not the time, so that a draft can be printed twice.
    ///
    /// # Errors
    /// As [`Self::read_layers`].
    pub fn with_draft(&self, name: &str, text: &str, now_ms: i64) -> Result<Self, BadContracts> {
        let mut with = self.clone();
        let mut defects = Vec::new();
        let file = TermsFile { name: name.to_owned(), text: text.to_owned() };
        let last = self.layers.iter().map(|layer| layer.approved_at_ms).max();
        let at_ms = last.map_or(now_ms, |last| now_ms.max(last.saturating_add(1)));
        let by = Approved { by: "draft".to_owned(), at_ms };
        with.add(&[file], &by, &mut defects);
        if !defects.is_empty() {
            return Err(BadContracts { defects });
        }
        let draft = &hash_of(text.as_bytes())[..VERSION_DIGITS];
        with.version = match self.version.as_str() {
            "" => format!("draft-{draft}"),
            approved => format!("{approved}+draft-{draft}"),
        };
        with.layers = Vec::new();
        Ok(with)
    }

    fn add(&mut self, files: &[TermsFile], by: &Approved, defects: &mut Vec<String>) {
        let mut fresh = ContractFile::default();
        for file in files {
            let text = file.text.trim_start_matches('\u{feff}');
            match read_contracts(&file.name, text, true) {
                Ok(read) => {
                    fresh.terms.extend(read.terms);
                    fresh.rates.extend(read.rates);
                }
                Err(bad) => defects.extend(bad.defects),
            }
        }
        fresh.terms.iter_mut().for_each(|terms| terms.approve(by));
        fresh.rates.iter_mut().for_each(|rate| rate.approve(by));
        extend(&mut self.terms, fresh.terms, defects);
        extend(&mut self.rates, fresh.rates, defects);
    }

    /// The layers that they were read from; none where they were not.
    pub fn layers(&self) -> &[TermsLayer] {
        &self.layers
    }

    /// What was known of them at a time. Where that is not everything, the version says as of when.
    #[must_use]
    pub fn as_known(&self, at_ms: i64) -> Self {
        if planted(Bug::KnownTimeIgnored) {
            return self.clone();
        }
        let mut known = self.clone();
        known.terms.retain(|terms| terms.known_from_ms <= at_ms);
        known.rates.retain(|rate| rate.known_from_ms <= at_ms);
        if known.terms.len() + known.rates.len() < self.terms.len() + self.rates.len() {
            let times = known.terms.iter().map(|terms| terms.known_from_ms);
            let last = times.chain(known.rates.iter().map(|rate| rate.known_from_ms)).max();
            known.version = format!("{}@{}", self.version, last.unwrap_or(0));
        }
        known
    }

    /// What these contracts have that older ones have not.
    pub fn changes_since(&self, older: &Self) -> Vec<TermsChange> {
        let mut changes = Vec::new();
        added(&self.terms, &older.terms, &mut changes);
        added(&self.rates, &older.rates, &mut changes);
        changes
    }
}
