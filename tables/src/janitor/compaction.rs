//! Compaction: many small files of a table and day become one, sorted, with the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::{ObjectStoreExt, path::Path};
use tally_aggregate::read_objects;
use uuid::Uuid;

use super::merge::{Merged, merge_files};
use super::{JanitorReport, JanitorSettings, remove};
use crate::action::{Action, Add, Remove, encode_path};
use crate::error::TablesError;
use crate::table_log::TableLog;
use crate::table_state::{PinnedFile, TableState};

/// Files fetched at once.
const FETCHES: usize = 8;

/// Files that are to become one.
#[derive(Debug)]
struct Merge {
    partition_values: BTreeMap<String, Option<String>>,
    files: Vec<Arc<PinnedFile>>,
}

/// Merges what is worth merging. Only files of the table are touched, so only published ones.
pub(super) async fn compact(
    table: &mut TableLog,
    now_ms: i64,
    settings: &JanitorSettings,
    report: &mut JanitorReport,
) -> Result<(), TablesError> {
    for merge in plan(table.state().await?, settings) {
        let Some(merged) = write_merged(table, &merge).await? else { continue };
        if commit(table, &merge, merged, now_ms).await? {
            report.merges += 1;
            report.files_merged += u64::try_from(merge.files.len()).unwrap_or(u64::MAX);
            report.bytes_merged += merge.files.iter().map(|file| file.size).sum::<u64>();
        }
    }
    Ok(())
}

/// Chooses what to merge: in each partition the smallest files, up to the target together. A file
/// that is larger than all others together is left out, so that a row is rewritten a
/// logarithmic number of times and not once a run.
fn plan(state: &TableState, settings: &JanitorSettings) -> Vec<Merge> {
    let mut partitions: BTreeMap<_, Vec<Arc<PinnedFile>>> = BTreeMap::new();
    // What stands in the place of a removed file has no rows to merge, and says what is left.
    let is_small = |file: &&Arc<PinnedFile>| {
        file.size < settings.merge_target_bytes / 2 && file.removed().is_none()
    };
    for file in state.files().values().filter(is_small) {
        partitions.entry(&file.partition_values).or_default().push(Arc::clone(file));
    }
    let mut merges: Vec<Merge> = partitions
        .into_iter()
        .filter_map(|(values, mut files)| {
            files.sort_by(|a, b| (a.size, &a.path).cmp(&(b.size, &b.path)));
            let mut total = 0;
            let fitting = files.iter().take_while(|file| {
                total += file.size;
                total <= settings.merge_target_bytes
            });
            let mut count = fitting.count();
            let mut sum: u64 = files[..count].iter().map(|file| file.size).sum();
            while count > 1 && files[count - 1].size * 2 > sum {
                count -= 1;
                sum -= files[count].size;
            }
            files.truncate(count);
            let merge = Merge { partition_values: values.clone(), files };
            (count >= settings.merge_files_min.max(2)).then_some(merge)
        })
        .collect();
    merges.sort_by_key(|merge| std::cmp::Reverse(merge.files.len()));
    merges.truncate(settings.merges_max);
    merges
}

/// A merged file that is stored, and not yet part of the table.
#[derive(Debug)]
struct Stored {
    path: String,
    size: u64,
    stats: String,
}

/// Reads, merges and stores. `None` where an input is gone: another janitor was faster.
async fn write_merged(table: &mut TableLog, merge: &Merge) -> Result<Option<Stored>, TablesError> {
    let name = table.table();
    let schema = match table.state().await?.metadata() {
        Some(metadata) => metadata.arrow_schema()?,
        None => return Ok(None),
    };
    let root = table.log().root();
    let sources: Vec<Path> =
        merge.files.iter().map(|file| Path::from(format!("{root}/{}", file.path))).collect();
    let inputs = match read_objects(table.log().store().as_ref(), &sources, FETCHES).await {
        Ok(inputs) => inputs,
        Err(object_store::Error::NotFound { .. }) => {
            // Gone and still listed would be a loss of data, and must not go unnoticed.
            let state = table.refresh().await?;
            let live: Vec<Path> = merge
                .files
                .iter()
                .filter(|file| state.files().contains_key(&file.path))
                .map(|file| Path::from(format!("{root}/{}", file.path)))
                .collect();
            for path in live {
                table.log().store().head(&path).await?;
            }
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let rows: Option<u64> = merge.files.iter().map(|file| file.rows).sum();
    let Merged { bytes, stats, rows: merged_rows } =
        tokio::task::spawn_blocking(move || merge_files(name, &schema, inputs)).await??;
    if rows.is_some_and(|rows| rows != merged_rows) {
        return Err(TablesError::Damaged(format!(
            "{} files of {} have {merged_rows} rows, the log says {rows:?}",
            merge.files.len(),
            name.name()
        )));
    }
    let folder: String = merge
        .partition_values
        .iter()
        .map(|(column, value)| {
            let value = value.as_deref().unwrap_or("__HIVE_DEFAULT_PARTITION__");
            format!("{column}={value}/")
        })
        .collect();
    let path = format!("{folder}merged-{}.parquet", Uuid::new_v4());
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let object = Path::from(format!("{}/{path}", table.log().root()));
    table.log().store().put(&object, bytes.into()).await?;
    Ok(Some(Stored { path, size, stats }))
}

/// Puts the merged file in the place of its inputs, if every one of them is still live in the
/// very state that is committed against. Returns whether it did.
async fn commit(
    table: &mut TableLog,
    merge: &Merge,
    merged: Stored,
    now_ms: i64,
) -> Result<bool, TablesError> {
    let version = table
        .transact("OPTIMIZE", now_ms, |state| {
            if !merge.files.iter().all(|file| state.files().contains_key(&file.path)) {
                return Ok(None);
            }
            let mut actions = Vec::with_capacity(merge.files.len() + 1);
            for file in &merge.files {
                actions.push(Action::remove(Remove {
                    path: file.encoded_path(),
                    deletion_timestamp: Some(now_ms),
                    data_change: false,
                    extended_file_metadata: Some(true),
                    partition_values: Some(file.partition_values.clone()),
                    size: Some(bytes_of(file.size)?),
                }));
            }
            actions.push(Action::add(Add {
                path: encode_path(&merged.path),
                partition_values: merge.partition_values.clone(),
                size: bytes_of(merged.size)?,
                modification_time: now_ms,
                data_change: false,
                stats: Some(merged.stats.clone()),
                tags: None,
                deletion_vector: None,
            }));
            Ok(Some(actions))
        })
        .await?;
    if version.is_none() {
        let object = Path::from(format!("{}/{}", table.log().root(), merged.path));
        remove(table.log().store().as_ref(), &object).await?;
    }
    Ok(version.is_some())
}

fn bytes_of(size: u64) -> Result<i64, TablesError> {
    i64::try_from(size).map_err(|_| TablesError::Damaged(format!("a file of {size} bytes")))
}
