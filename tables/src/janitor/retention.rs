//! Removal of events that are sealed and old enough, a day at a time.
//!
//! Of each file of the day, what its rows come to is stored, and a file without rows that is to
//! stand in its place; then the record that names them all is created; then one commit puts those
//! files in the place of these. A janitor that ends in between has removed nothing: the next one
//! makes the same objects, finds that the record is the one it would write, and commits. Where the
//! day's files have become others meanwhile, it writes another record; nothing goes by the first.
//!
//! A file is read twice: nothing is stored of a day before every row of it is known to be sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Field, Schema};
use bytes::Bytes;
use jiff::civil::Date;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, path::Path};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::ParquetMetaDataReader;
use tally_aggregate::{crash_point, delta_stats};
use tally_schemas::{RollUp, ShanghaiDay, Table, keep_events_defect};
use tally_settlement::Seal;

use super::{Janitor, JanitorReport, JanitorSettings};
use crate::action::{Action, Add, Remove, WRITER_VERSION_OF_REMOVAL, encode_path};
use crate::error::{ErrorKind, TablesError};
use crate::removed_file::{IN_ITS_PLACE, REMOVED_TAG, RemovedFile};
use crate::removed_sums::{Epochs, Sums, last_epochs};
use crate::retention_record::{
    Grounds, LeftRollUp, Removal, RemovedData, StoredRecord, sha256_hex, write_down,
};
use crate::roll_up::{rolled_up, stored};
use crate::table_log::TableLog;
use crate::table_state::{PinnedFile, TableState};

/// Hexadecimal digits of a hash that are in a file's name.
const NAME_DIGITS: usize = 32;

/// What the last seal says.
#[derive(Debug)]
struct Sealed {
    n: u64,
    /// The first day that is not sealed.
    end: Date,
    /// The last epoch of each partition that counts.
    cut_offs: Epochs,
}

impl Sealed {
    /// The last seal of a chain that is whole; `None` where nothing is sealed.
    async fn read(store: &dyn ObjectStore) -> Result<Option<Self>, TablesError> {
        let mut seals = Vec::new();
        for n in 0.. {
            let path = Seal::path(n);
            let bytes = match store.get(&Path::from(path.as_str())).await {
                Ok(found) => found.bytes().await?,
                Err(StoreError::NotFound { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            seals.push(Seal::from_bytes(&path, &bytes).map_err(damaged)?);
        }
        let defects = Seal::chain_defects(&seals).map_err(damaged)?;
        if let Some(defect) = defects.first() {
            return Err(TablesError::Damaged(format!("nothing is removed: {defect}")));
        }
        Ok(seals.last().map(|seal| Self {
            n: seal.n,
            end: seal.period.end_day(),
            cut_offs: seal.cut_offs.iter().map(|cut| (cut.partition, cut.epoch)).collect(),
        }))
    }
}

fn damaged(error: impl std::fmt::Display) -> TablesError {
    TablesError::Damaged(error.to_string())
}

/// Days that have rows beyond the last seal, so that they are not read again until the next one.
#[derive(Debug, Default)]
pub(super) struct Unsealed {
    seal: u64,
    days: BTreeSet<String>,
}

/// A day with its files.
type Day = (String, Vec<Arc<PinnedFile>>);

/// What a file leaves when it is removed; stored, and in no log yet.
#[derive(Debug)]
struct Left {
    file: Arc<PinnedFile>,
    data: RemovedData,
    stats: String,
    /// Size of the file in its place.
    size: u64,
}

/// What became of a day.
enum Outcome {
    Removed {
        rows: u64,
    },
    /// Rows of it are beyond the last seal.
    Unsealed,
    /// Its files are others than they were.
    Changed,
}

impl Janitor {
    /// Removes the days of `usage_events` that are due, the oldest first. A day that fails is
    /// reported, and keeps no other from being removed, but where the store is away.
    pub(super) async fn remove_days(
        &mut self,
        now_ms: i64,
        settings: &JanitorSettings,
        report: &mut JanitorReport,
    ) -> Result<(), TablesError> {
        let Some(first_kept) = first_kept(now_ms, settings)? else { return Ok(()) };
        let events = self.tables.iter_mut().find(|table| table.table() == Table::UsageEvents);
        let Some(table) = events else { return Ok(()) };
        let mut days = days_before(table.state().await?, first_kept);
        if days.is_empty() {
            return Ok(());
        }
        let Some(sealed) = Sealed::read(self.store.as_ref()).await? else { return Ok(()) };
        if self.unsealed.seal != sealed.n {
            self.unsealed = Unsealed { seal: sealed.n, days: BTreeSet::new() };
        }
        let end = sealed.end.to_string();
        days.retain(|(day, _)| *day < end && !self.unsealed.days.contains(day));
        let begun = Instant::now();
        let mut days_left = settings.days_removed_max;
        for (day, files) in days {
            if days_left == 0 {
                break;
            }
            let grounds = Grounds {
                at_ms: now_ms,
                keep_events_days: settings.keep_events_days,
                seal: sealed.n,
            };
            match remove_day(table, &day, files, &sealed, grounds).await {
                Ok(Outcome::Removed { rows }) => {
                    tracing::info!(%day, rows, "removed a day of usage_events");
                    report.days_removed += 1;
                    report.rows_removed += rows;
                    days_left -= 1;
                    if begun.elapsed() >= Duration::from_millis(settings.removal_max_ms) {
                        break;
                    }
                }
                Ok(Outcome::Unsealed) => {
                    self.unsealed.days.insert(day);
                }
                Ok(Outcome::Changed) => {}
                Err(error) => {
                    let is_away = error.kind() == ErrorKind::Retry;
                    report.note(&format!("retention of {day}"), Err(error));
                    if is_away {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The first day whose events are kept; `None` where all are.
fn first_kept(now_ms: i64, settings: &JanitorSettings) -> Result<Option<Date>, TablesError> {
    if settings.keep_events_days == 0 {
        return Ok(None);
    }
    let horizon_days = settings.dedupe_horizon_days;
    if let Some(defect) = keep_events_defect(settings.keep_events_days, horizon_days) {
        return Err(TablesError::Invalid(defect));
    }
    let days = i64::try_from(settings.keep_events_days).unwrap_or(i64::MAX);
    let kept_ms = days.saturating_mul(24 * 3_600_000);
    Ok(Some(ShanghaiDay::of_instant(now_ms.saturating_sub(kept_ms)).date()))
}

/// The days before one that have rows, with their files.
fn days_before(state: &TableState, first_kept: Date) -> Vec<Day> {
    let first_kept = first_kept.to_string();
    let mut days: BTreeMap<String, Vec<Arc<PinnedFile>>> = BTreeMap::new();
    for file in state.files().values().filter(|file| file.removed().is_none()) {
        let Some(Some(day)) = file.partition_values.get("day") else { continue };
        if *day < first_kept {
            days.entry(day.clone()).or_default().push(Arc::clone(file));
        }
    }
    days.into_iter().collect()
}

/// Removes a day: all of its files, or none.
async fn remove_day(
    table: &mut TableLog,
    day: &str,
    files: Vec<Arc<PinnedFile>>,
    sealed: &Sealed,
    grounds: Grounds,
) -> Result<Outcome, TablesError> {
    let name = table.table();
    let schema = match table.state().await?.metadata() {
        Some(metadata) => metadata.arrow_schema()?,
        None => return Ok(Outcome::Changed),
    };
    // What is stored of a day that waits lies there as garbage, and is garbage no more, under the
    // same names, once the day is sealed: perhaps while somebody deletes it.
    for file in &files {
        let Some(bytes) = bytes_of(table, file).await? else { return changed(table, file).await };
        let epochs = tokio::task::spawn_blocking(move || last_epochs(bytes)).await??;
        if !epochs.iter().all(|(partition, last)| {
            sealed.cut_offs.get(partition).is_some_and(|cut_off| last <= cut_off)
        }) {
            return Ok(Outcome::Unsealed);
        }
    }
    let empty = without_rows(name, &schema)?;
    let mut left = Vec::with_capacity(files.len());
    let mut sums = Sums::default();
    for file in files {
        let Some(bytes) = bytes_of(table, &file).await? else {
            return changed(table, &file).await;
        };
        let read = bytes.clone();
        let leavings = tokio::task::spawn_blocking(move || Leavings::of(name, &read)).await??;
        if file.rows.is_some_and(|rows| rows != leavings.rows) {
            let words =
                format!("{} has {} rows, the log says {:?}", file.path, leavings.rows, file.rows);
            return Err(TablesError::Damaged(words));
        }
        sums.merge(&leavings.sums)?;
        left.push(store_left(table, file, leavings, bytes, &empty).await?);
    }
    let removal = Removal {
        table: name.name().to_owned(),
        day: day.to_owned(),
        files: left.iter().map(|left| left.data.clone()).collect(),
        sums: sums.written(),
    };
    crash_point("before-retention-record");
    let record = write_down(table.log().store().as_ref(), name, &removal, grounds).await?;
    crash_point("after-retention-record");
    let version = table
        .transact("DELETE", grounds.at_ms, |state| {
            let live = |left: &Left| state.files().contains_key(&left.file.path);
            if !left.iter().all(live) {
                return Ok(None);
            }
            let mut actions = Vec::with_capacity(2 * left.len() + 1);
            if !state.says_removed() {
                actions.push(Action::protocol(WRITER_VERSION_OF_REMOVAL));
            }
            for left in &left {
                actions.extend(actions_of(left, &record, grounds.at_ms)?);
            }
            Ok(Some(actions))
        })
        .await?;
    crash_point("after-retention-commit");
    Ok(match version {
        Some(_) => Outcome::Removed { rows: removal.rows() },
        None => Outcome::Changed,
    })
}

/// What the rows of a file come to, before it is stored.
#[derive(Debug)]
struct Leavings {
    stats: String,
    rows: u64,
    roll_ups: Vec<(RollUp, Bytes)>,
    sums: Sums,
}

impl Leavings {
    fn of(table: Table, file: &Bytes) -> Result<Self, TablesError> {
        let footer = ParquetMetaDataReader::new().parse_and_finish(file)?;
        let rows = u64::try_from(footer.file_metadata().num_rows()).map_err(damaged)?;
        let mut sums = Sums::default();
        let mut roll_ups = Vec::new();
        for roll_up in RollUp::left_of(table) {
            let rolled = rolled_up(roll_up, file.clone())?;
            if roll_up == RollUp::UsageByEpoch {
                sums = Sums::of(&rolled)?;
            }
            roll_ups.push((roll_up, stored(&rolled)?));
        }
        Ok(Self { stats: delta_stats(table, &footer), rows, roll_ups, sums })
    }
}

/// Reads a file; `None` where it is gone.
async fn bytes_of(table: &TableLog, file: &PinnedFile) -> Result<Option<Bytes>, TablesError> {
    let (root, store) = (table.log().root(), table.log().store());
    match store.get(&Path::from(format!("{root}/{}", file.path))).await {
        Ok(found) => Ok(Some(found.bytes().await?)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a file is that is gone: another janitor has merged or removed it. Gone and still listed
/// would be a loss of data, and must not go unnoticed.
async fn changed(table: &mut TableLog, file: &PinnedFile) -> Result<Outcome, TablesError> {
    match table.refresh().await?.files().contains_key(&file.path) {
        true => Err(TablesError::Damaged(format!("{} is gone", file.path))),
        false => Ok(Outcome::Changed),
    }
}

/// Stores what a file leaves. Its name follows from its content, so that whoever stores it again
/// stores the same, or something else beside it.
async fn store_left(
    table: &TableLog,
    file: Arc<PinnedFile>,
    leavings: Leavings,
    bytes: Bytes,
    empty: &Bytes,
) -> Result<Left, TablesError> {
    let (root, store) = (table.log().root(), table.log().store());
    let sha256 = sha256_hex(&bytes);
    let mut roll_ups = BTreeMap::new();
    let mut hashes = vec![file.path.clone(), sha256.clone(), sha256_hex(empty)];
    for (roll_up, rolled) in &leavings.roll_ups {
        let sha256 = sha256_hex(rolled);
        hashes.push(sha256.clone());
        roll_ups.insert(roll_up.tag(), LeftRollUp { bytes: length(rolled), sha256 });
    }
    let name = sha256_hex(hashes.join(" ").as_bytes());
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let in_its_place =
        format!("{folder}/{IN_ITS_PLACE}{}.parquet", name.get(..NAME_DIGITS).unwrap_or(&name));
    for (roll_up, rolled) in leavings.roll_ups {
        let object = Path::from(format!("{root}/{}", roll_up.path(&in_its_place)));
        store.put(&object, rolled.into()).await?;
    }
    let object = Path::from(format!("{root}/{in_its_place}"));
    store.put(&object, empty.clone().into()).await?;
    let data = RemovedData {
        path: file.path.clone(),
        bytes: length(&bytes),
        rows: leavings.rows,
        sha256,
        in_its_place,
        roll_ups,
    };
    Ok(Left { file, data, stats: leavings.stats, size: length(empty) })
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A file of a table without a row.
fn without_rows(table: Table, schema: &Schema) -> Result<Bytes, TablesError> {
    let in_files =
        |field: &&Arc<Field>| !table.partition_columns().contains(&field.name().as_str());
    let plain = |field: &Arc<Field>| {
        Field::new(field.name(), field.data_type().clone(), field.is_nullable())
    };
    let fields: Vec<Field> = schema.fields().iter().filter(in_files).map(plain).collect();
    let writer = ArrowWriter::try_new(Vec::new(), Arc::new(Schema::new(fields)), None)?;
    Ok(Bytes::from(writer.into_inner()?))
}

/// The file goes, and what stands in its place comes.
fn actions_of(left: &Left, record: &StoredRecord, at_ms: i64) -> Result<[Action; 2], TablesError> {
    let Left { file, data, stats, size } = left;
    let removed = RemovedFile {
        record: record.n,
        record_sha256: record.sha256.clone(),
        rows: data.rows,
        bytes: data.bytes,
        removed_at_ms: at_ms,
        stats: stats.clone(),
    };
    let removed =
        serde_json::to_string(&removed).map_err(|e| TablesError::Internal(e.to_string()))?;
    let mut tags = BTreeMap::from([(REMOVED_TAG.to_owned(), Some(removed))]);
    tags.extend(
        data.roll_ups.iter().map(|(tag, left)| (tag.clone(), Some(left.bytes.to_string()))),
    );
    let size_of = |size: u64| i64::try_from(size).map_err(damaged);
    let gone = Action::remove(Remove {
        path: file.encoded_path(),
        deletion_timestamp: Some(at_ms),
        data_change: true,
        extended_file_metadata: Some(true),
        partition_values: Some(file.partition_values.clone()),
        size: Some(size_of(file.size)?),
    });
    let in_its_place = Action::add(Add {
        path: encode_path(&data.in_its_place),
        partition_values: file.partition_values.clone(),
        size: size_of(*size)?,
        modification_time: at_ms,
        data_change: true,
        stats: Some(r#"{"numRecords":0}"#.to_owned()),
        tags: Some(tags),
        deletion_vector: None,
    });
    Ok([gone, in_its_place])
}
