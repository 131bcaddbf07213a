//! What the audit log says of one statement, and how a batch of that lies in the store.
//!
//! A process writes a chain of batches, `audit/<day>/<writer>-<n>.json`, each created once, each with
//! the hash of the one before. The first says how far the chains of others were that it found, so
//! that a chain cannot be taken away whole, or cut short, once another process has begun after it.

use std::collections::BTreeMap;

use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tally_schemas::ShanghaiDay;

use crate::error::QueryError;

/// Version of the form.
const FORMAT: u32 = 1;

/// Folder of the audit log.
pub(crate) const AUDIT_FOLDER: &str = "audit";

/// Digits of a batch's number in its name.
const NUMBER_DIGITS: usize = 10;

/// One statement, or one attempt to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditEntry {
    /// When it began, milliseconds of UTC.
    pub(crate) at_ms: i64,
    /// When it ended.
    pub(crate) ended_ms: i64,
    /// Name of the user, as given where nobody of that name signed in.
    pub(crate) user: String,
    /// Role; empty where nobody signed in.
    pub(crate) role: String,
    /// The way: `postgres`, `http` or `flight`.
    pub(crate) channel: String,
    /// Address of the client, where it is known.
    pub(crate) peer: Option<String>,
    /// `statement` or `sign_in`.
    pub(crate) action: String,
    /// The text, cut where it is long.
    pub(crate) statement: Option<String>,
    /// SHA-256 of the whole text, in hex.
    pub(crate) statement_sha256: Option<String>,
    /// Values of its parameters, cut where they are long.
    pub(crate) parameters: Option<String>,
    /// `ok`, `abandoned`, or the kind of the error.
    pub(crate) outcome: String,
    /// The limit that stopped it.
    pub(crate) limit: Option<String>,
    /// Rows that were handed out.
    pub(crate) rows: u64,
}

/// How far a chain was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChainEnd {
    pub(crate) writer: String,
    pub(crate) n: u64,
    pub(crate) hash: String,
}

/// Entries that were written together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditBatch {
    pub(crate) format: u32,
    /// Id of the process's chain.
    pub(crate) writer: String,
    /// Number within the chain, from 0.
    pub(crate) n: u64,
    /// Hash of batch `n - 1`; empty for the first.
    pub(crate) previous: String,
    /// Ends of the chains that were there when this one began; only in the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) others: Vec<ChainEnd>,
    /// Entries that could not be kept since the batch before.
    pub(crate) lost: u64,
    pub(crate) entries: Vec<AuditEntry>,
}

/// What is looked at first of a batch: what a later version adds, this one cannot read.
#[derive(Deserialize)]
struct OfFormat {
    format: u32,
}

/// BLAKE3 of a batch's bytes, in hex.
pub(crate) fn hash_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Where a batch lies, from its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchName {
    pub(crate) writer: String,
    pub(crate) n: u64,
    pub(crate) day: String,
}

impl BatchName {
    /// The path below the store's root.
    pub(crate) fn path(&self) -> Path {
        let file = format!("{}-{:0NUMBER_DIGITS$}.json", self.writer, self.n);
        Path::from_iter([AUDIT_FOLDER, self.day.as_str(), file.as_str()])
    }

    /// The batch that a path is of; `None` for other objects.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let mut parts = path.parts();
        let (folder, day, file) = (parts.next()?, parts.next()?, parts.next()?);
        if folder.as_ref() != AUDIT_FOLDER || parts.next().is_some() {
            return None;
        }
        let (writer, number) = file.as_ref().strip_suffix(".json")?.rsplit_once('-')?;
        let digits = number.len() >= NUMBER_DIGITS && number.bytes().all(|b| b.is_ascii_digit());
        if writer.is_empty() || !digits {
            return None;
        }
        let name = Self {
            writer: writer.to_owned(),
            n: number.parse().ok()?,
            day: day.as_ref().to_owned(),
        };
        (name.path() == *path).then_some(name)
    }
}

impl AuditBatch {
    /// The day that it lies under: that of its first entry's end, in Asia/Shanghai.
    pub(crate) fn day(&self) -> String {
        let ended_ms = self.entries.first().map_or(0, |entry| entry.ended_ms);
        ShanghaiDay::of_instant(ended_ms).date().to_string()
    }

    /// Its name.
    pub(crate) fn name(&self) -> BatchName {
        BatchName { writer: self.writer.clone(), n: self.n, day: self.day() }
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, QueryError> {
        serde_json::to_vec(self).map_err(|error| QueryError::Internal(error.to_string()))
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// `Data` for what is none.
    pub(crate) fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, QueryError> {
        let damaged = |error: serde_json::Error| QueryError::Data(format!("{path}: {error}"));
        let OfFormat { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(QueryError::Data(format!(
                "{path} has format {format}, this build reads up to {FORMAT}: upgrade"
            )));
        }
        if format < FORMAT {
            return Err(QueryError::Data(format!(
                "{path} has format {format}, which no build has written"
            )));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}

/// The end of a chain that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    writer: String,
    next: u64,
    previous: String,
    others: Vec<ChainEnd>,
}

impl Chain {
    /// A new chain beside others.
    pub(crate) fn begin(writer: String, others: Vec<ChainEnd>) -> Self {
        Self { writer, next: 0, previous: String::new(), others }
    }

    /// The next batch.
    pub(crate) fn batch(&self, entries: Vec<AuditEntry>, lost: u64) -> AuditBatch {
        AuditBatch {
            format: FORMAT,
            writer: self.writer.clone(),
            n: self.next,
            previous: self.previous.clone(),
            others: if self.next == 0 { self.others.clone() } else { Vec::new() },
            lost,
            entries,
        }
    }

    /// Goes on behind a batch that is stored.
    pub(crate) fn stored(&mut self, bytes: &[u8]) {
        self.next += 1;
        self.previous = hash_of(bytes);
    }
}

/// A batch as it was found in the store.
#[derive(Debug, Clone)]
pub(crate) struct FoundBatch {
    pub(crate) name: BatchName,
    pub(crate) hash: String,
    /// What is in it, or why it cannot be read.
    pub(crate) batch: Result<AuditBatch, String>,
}

/// What is wrong with the chains of an audit log, one line each. Nothing is: none was changed, none
/// is missing within a chain, and none that another chain has seen.
pub(crate) fn defects(found: &[FoundBatch]) -> Vec<String> {
    let mut chains: BTreeMap<&str, BTreeMap<u64, &FoundBatch>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for one in found {
        let chain = chains.entry(one.name.writer.as_str()).or_default();
        if let Some(other) = chain.insert(one.name.n, one) {
            let (here, there) = (one.name.path(), other.name.path());
            wrong.push(format!("{here} and {there} are the same batch of one chain"));
        }
    }
    for (writer, chain) in &chains {
        let mut previous: Option<&FoundBatch> = None;
        for (expected, (n, one)) in (0..).zip(chain) {
            let path = one.name.path();
            if expected != *n && previous.is_none_or(|before| before.name.n + 1 != *n) {
                wrong.push(format!("chain {writer}: what is before batch {n} is missing"));
            }
            match &one.batch {
                Err(error) => wrong.push(error.clone()),
                Ok(batch) => {
                    if batch.name() != one.name {
                        wrong.push(format!("{path} says that it is {}", batch.name().path()));
                    }
                    let linked = match previous {
                        Some(before) if before.name.n + 1 == *n => batch.previous == before.hash,
                        Some(_) => true,
                        None => *n > 0 || batch.previous.is_empty(),
                    };
                    if !linked {
                        wrong.push(format!("{path} does not go with the batch before it"));
                    }
                    for other in &batch.others {
                        let seen = chains.get(other.writer.as_str()).and_then(|c| c.get(&other.n));
                        match seen {
                            None => wrong.push(format!(
                                "chain {}: batch {} is gone, which {path} saw",
                                other.writer, other.n
                            )),
                            Some(seen) if seen.hash != other.hash => {
                                wrong.push(format!("{} is not what {path} saw", seen.name.path()))
                            }
                            Some(_) => {}
                        }
                    }
                }
            }
            previous = Some(*one);
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: i64) -> AuditEntry {
        AuditEntry {
            at_ms: 1_795_326_155_000 + n,
            ended_ms: 1_795_326_156_000 + n,
            user: "amy".to_owned(),
            role: "finance".to_owned(),
            channel: "http".to_owned(),
            peer: None,
            action: "statement".to_owned(),
            statement: Some(format!("SELECT {n}")),
            statement_sha256: None,
            parameters: None,
            outcome: "ok".to_owned(),
            limit: None,
            rows: 1,
        }
    }

    fn found(batch: &AuditBatch) -> FoundBatch {
        let bytes = batch.to_bytes().unwrap();
        let path = batch.name().path();
        FoundBatch {
            name: BatchName::of(&path).unwrap(),
            hash: hash_of(&bytes),
            batch: AuditBatch::from_bytes(&path, &bytes).map_err(|error| error.to_string()),
        }
    }

    /// Two chains of four batches, the second of which began when the first had three.
    fn chains() -> Vec<FoundBatch> {
        let mut all: Vec<FoundBatch> = Vec::new();
        let mut one = Chain::begin("one".to_owned(), Vec::new());
        let mut ends = Vec::new();
        for n in 0..4 {
            let batch = one.batch(vec![entry(n)], 0);
            one.stored(&batch.to_bytes().unwrap());
            all.push(found(&batch));
            if n == 2 {
                let hash = all[2].hash.clone();
                ends.push(ChainEnd { writer: "one".to_owned(), n: 2, hash });
            }
        }
        let mut two = Chain::begin("two".to_owned(), ends);
        for n in 0..4 {
            let batch = two.batch(vec![entry(n)], 0);
            two.stored(&batch.to_bytes().unwrap());
            all.push(found(&batch));
        }
        all
    }

    #[test]
    fn a_batch_of_a_later_format_is_refused_with_what_to_do() {
        let mut all = chains();
        let path = all[0].name.path();
        let refused = |bytes: &[u8]| AuditBatch::from_bytes(&path, bytes).unwrap_err().to_string();
        // Whatever else a later version has put into it.
        let said = refused(br#"{"format": 2, "entries": "elsewhere"}"#);
        let words = format!("{path} has format 2, this build reads up to 1: upgrade");
        assert!(said.contains(&words), "{said}");
        assert!(refused(br#"{"format": 0}"#).contains("no build has written"));
        all[0].batch = Err(said);
        let found = defects(&all);
        assert!(found.iter().any(|defect| defect.contains(&words)), "{found:?}");
    }

    #[test]
    fn whole_chains_have_no_defects() {
        assert_eq!(defects(&[]), Vec::<String>::new());
        assert_eq!(defects(&chains()), Vec::<String>::new());
    }

    #[test]
    fn every_change_deletion_and_exchange_is_found() {
        for place in 0..8 {
            // An entry is changed, and the file is as well formed as before.
            let mut all = chains();
            let mut batch = all[place].batch.clone().unwrap();
            batch.entries[0].user = "eve".to_owned();
            all[place] = found(&batch);
            // The last of a chain that nobody saw has nothing after it that would tell.
            let told = place != 3 && place != 7;
            assert_eq!(!defects(&all).is_empty(), told, "changed {place}");

            let mut all = chains();
            all.remove(place);
            assert_eq!(!defects(&all).is_empty(), told, "removed {place}");
        }
        for (left, right) in [(0, 1), (1, 2), (2, 3), (4, 5), (1, 5)] {
            let mut all = chains();
            let names = (all[left].name.clone(), all[right].name.clone());
            (all[left].name, all[right].name) = (names.1, names.0);
            assert!(!defects(&all).is_empty(), "exchanged {left} and {right}");
        }
        // A whole chain that was seen, and its end from where it was seen.
        let without_one: Vec<FoundBatch> = chains().split_off(4);
        assert!(!defects(&without_one).is_empty());
        let mut cut = chains();
        cut.drain(2..4);
        assert!(!defects(&cut).is_empty());
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let name = chains()[5].name.clone();
        assert_eq!(name.path().as_ref(), "audit/2026-11-22/two-0000000001.json");
        assert_eq!(BatchName::of(&name.path()), Some(name));
        for path in [
            "audit/2026-11-22/two-1.json",
            "audit/2026-11-22/two-0000000001.json/x",
            "audit/2026-11-22/-0000000001.json",
            "audit/2026-11-22/two-00000000+1.json",
            "audit/two-0000000001.json",
            "tables/2026-11-22/two-0000000001.json",
        ] {
            assert_eq!(BatchName::of(&Path::from(path)), None, "{path}");
        }
    }
}
