//! Records of what retention has removed: one of each day of a table, created once and never
//! changed, each with the hash of the one before.
//!
//! - `retention/<table>/<n>.json`: the record. Written by the janitor with a conditional create,
//!   before the commit that removes the files. A record whose commit never came is followed by
//!   another of the same day; nobody takes it for a removal, as no file names it.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tally_schemas::Table;

use crate::error::TablesError;

/// Format of the records that this build writes.
const FORMAT: u32 = 1;

/// How often a record is tried again after others took its number.
const ATTEMPTS: u32 = 8;

/// What is looked at first of a record: what a later build adds, this one cannot read.
#[derive(Deserialize)]
struct OfFormat {
    format: u32,
}

/// What was removed of a day, and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionRecord {
    /// Format of the object.
    pub format: u32,
    /// Position among the records of the table, from 0.
    pub n: u64,
    /// SHA-256 of the record before it, in hex; empty for the first.
    pub previous: String,
    /// When it was written, milliseconds UTC.
    pub at_ms: i64,
    /// The setting that it goes by: days of events that are kept.
    pub keep_events_days: u64,
    /// Number of the last seal then, within whose cut-offs every row was.
    pub seal: u64,
    /// What is removed.
    #[serde(flatten)]
    pub removal: Removal,
}

/// Files of a day that are removed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Name of the table.
    pub table: String,
    /// Day in Asia/Shanghai.
    pub day: String,
    /// The files, by path.
    pub files: Vec<RemovedData>,
    /// What their rows come to, by vendor and currencies.
    pub sums: Vec<RemovedSums>,
}

/// A file that is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovedData {
    /// Path below the table's root.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// The file without rows that stands in its place, below the table's root.
    pub in_its_place: String,
    /// What is left of its rows: size and SHA-256 by the name and form of the roll-up.
    pub roll_ups: BTreeMap<String, LeftRollUp>,
}

/// A roll-up that a removed file has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftRollUp {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, in hex.
    pub sha256: String,
}

/// What the removed rows of a vendor and two currencies come to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovedSums {
    /// Vendor.
    pub vendor: String,
    /// Currency of what subscribers owe; empty where nobody pays.
    pub retail_currency: String,
    /// Currency of what the vendor is owed; empty where events were only counted.
    pub wholesale_currency: String,
    /// Events, less those that are taken back.
    pub events: i64,
    /// Units of each class, by name; those that are 0 are left out.
    pub units: BTreeMap<String, i64>,
    /// Points, decimal.
    pub points: String,
    /// What subscribers owe, decimal.
    pub retail_amount: String,
    /// What the vendor is owed, decimal.
    pub wholesale_amount: String,
}

/// A record as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its number by its path.
    pub n: u64,
    /// What it says.
    pub record: RetentionRecord,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

impl Removal {
    /// Rows of all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }
}

impl StoredRecord {
    fn of_bytes(n: u64, path: &Path, bytes: &Bytes) -> Result<Self, TablesError> {
        let damaged = |error: serde_json::Error| TablesError::Damaged(format!("{path}: {error}"));
        let OfFormat { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(TablesError::Invalid(format!(
                "{path} has format {format}, this build reads up to {FORMAT}: upgrade"
            )));
        }
        let record = serde_json::from_slice(bytes).map_err(damaged)?;
        Ok(Self { n, record, sha256: sha256_hex(bytes) })
    }
}

/// SHA-256 in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where the records of a table are.
fn folder(table: Table) -> Path {
    Path::from_iter(["retention", table.name()])
}

/// Where record `n` of a table is.
pub fn retention_record_path(table: Table, n: u64) -> Path {
    folder(table).join(format!("{n:020}.json"))
}

/// Every record of a table, in order.
///
/// # Errors
/// `Retry` while the store is away; `Data` for a record that does not parse.
pub async fn retention_records(
    store: &dyn ObjectStore,
    table: Table,
) -> Result<Vec<StoredRecord>, TablesError> {
    let mut records = Vec::new();
    // One after the other: a listing may be stale (R8).
    while let Some(record) = record_at(store, table, record_count(&records)).await? {
        records.push(record);
    }
    Ok(records)
}

fn record_count(records: &[StoredRecord]) -> u64 {
    u64::try_from(records.len()).unwrap_or(u64::MAX)
}

async fn record_at(
    store: &dyn ObjectStore,
    table: Table,
    n: u64,
) -> Result<Option<StoredRecord>, TablesError> {
    let path = retention_record_path(table, n);
    match store.get(&path).await {
        Ok(found) => Ok(Some(StoredRecord::of_bytes(n, &path, &found.bytes().await?)?)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The last record of a table.
async fn last_record(
    store: &dyn ObjectStore,
    table: Table,
) -> Result<Option<StoredRecord>, TablesError> {
    let listed: Vec<_> = store.list(Some(&folder(table))).try_collect().await?;
    let number = |path: &Path| path.filename()?.strip_suffix(".json")?.parse::<u64>().ok();
    let listed = listed.iter().filter_map(|meta| number(&meta.location)).max();
    let mut last = record_at(store, table, listed.unwrap_or(0)).await?;
    // What a stale listing does not show yet.
    while let Some(known) = &last {
        match record_at(store, table, known.n + 1).await? {
            Some(next) => last = Some(next),
            None => break,
        }
    }
    Ok(last)
}

/// What a removal is written down with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grounds {
    pub(crate) at_ms: i64,
    pub(crate) keep_events_days: u64,
    pub(crate) seal: u64,
}

/// Writes a removal down, or finds that it is the last that was: whoever crashed before the commit,
/// or is about to make it, has written the very same.
///
/// # Errors
/// `Retry` while the store is away, or others are faster.
pub(crate) async fn write_down(
    store: &dyn ObjectStore,
    table: Table,
    removal: &Removal,
    grounds: Grounds,
) -> Result<StoredRecord, TablesError> {
    for _ in 0..ATTEMPTS {
        let last = last_record(store, table).await?;
        if let Some(last) = last.as_ref().filter(|last| last.record.removal == *removal) {
            return Ok(last.clone());
        }
        let n = last.as_ref().map_or(0, |last| last.n + 1);
        let record = RetentionRecord {
            format: FORMAT,
            n,
            previous: last.map(|last| last.sha256).unwrap_or_default(),
            at_ms: grounds.at_ms,
            keep_events_days: grounds.keep_events_days,
            seal: grounds.seal,
            removal: removal.clone(),
        };
        let bytes = serde_json::to_vec_pretty(&record)
            .map_err(|error| TablesError::Internal(error.to_string()))?;
        let bytes = Bytes::from(bytes);
        let options = PutOptions::from(PutMode::Create);
        let path = retention_record_path(table, n);
        match store.put_opts(&path, bytes.clone().into(), options).await {
            Ok(_) => return StoredRecord::of_bytes(n, &path, &bytes),
            // What stands decides, ours too if its reply was lost (R5).
            Err(error) => match record_at(store, table, n).await? {
                Some(_) => {}
                None => return Err(error.into()),
            },
        }
    }
    Err(TablesError::Contended { table: table.name(), attempts: ATTEMPTS })
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_record_of_a_later_format_is_refused_with_what_to_do_and_stays() {
        let store = InMemory::new();
        let removal = Removal {
            table: "usage_events".to_owned(),
            day: "2026-08-01".to_owned(),
            files: Vec::new(),
            sums: Vec::new(),
        };
        let grounds = Grounds { at_ms: 1, keep_events_days: 400, seal: 0 };
        write_down(&store, Table::UsageEvents, &removal, grounds).await.unwrap();
        let path = retention_record_path(Table::UsageEvents, 1);
        let later = br#"{"format":2,"n":1,"removal":"said in another way"}"#;
        store.put(&path, Bytes::from_static(later).into()).await.unwrap();
        let words = format!("{path} has format 2, this build reads up to 1: upgrade");
        let refused = [
            retention_records(&store, Table::UsageEvents).await.unwrap_err(),
            write_down(&store, Table::UsageEvents, &removal, grounds).await.unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(&error, TablesError::Invalid(said) if *said == words), "{error}");
        }
        let all: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap().as_ref(), later);
    }
}
