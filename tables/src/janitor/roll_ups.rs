//! Roll-ups are put beside files that are there to stay: what a merge has made, and what is large.
//! The log says of each file which it has, by a tag; a file without one is read itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, path::Path};
use parquet::file::metadata::ParquetMetaDataReader;
use tally_aggregate::delta_stats;
use tally_schemas::{RollUp, Table};

use super::{JanitorReport, JanitorSettings};
use crate::action::{Action, Add, encode_path};
use crate::error::TablesError;
use crate::roll_up::roll_up_file;
use crate::table_log::TableLog;
use crate::table_state::{PinnedFile, TableState};

/// Objects looked for at once.
const LOOKS: usize = 16;

/// A file as the log is to have it: with the sizes of its roll-ups, which are stored.
#[derive(Debug)]
struct RolledUp {
    file: Arc<PinnedFile>,
    stats: String,
    sizes: Vec<(RollUp, u64)>,
}

/// Makes the roll-ups that files lack, and names them in the log. A file that cannot be summed is
/// reported, stays as it is, and does not keep the others from being done. With `look`, those that
/// the log names are looked for: a version that knows no roll-ups takes them for garbage.
pub(super) async fn roll_up(
    table: &mut TableLog,
    now_ms: i64,
    settings: &JanitorSettings,
    look: bool,
    report: &mut JanitorReport,
) -> Result<(), TablesError> {
    let name = table.table();
    let lost = if look { lost(table).await? } else { BTreeSet::new() };
    let due = due(name, table.state().await?, settings, &lost);
    let mut rolled_up = Vec::new();
    for file in due {
        match write(table, &file).await {
            Ok(Some(rolled)) => rolled_up.push(rolled),
            // Gone: another janitor has merged it, and the commit will see that.
            Ok(None) => {}
            Err(error) => report.note(&format!("roll-ups of {}", file.path), Err(error)),
        }
    }
    if rolled_up.is_empty() {
        return Ok(());
    }
    let mut named = 0;
    table
        .transact("COMPUTE STATS", now_ms, |state| {
            // Only files that are live in the very state that is committed against.
            let live = rolled_up.iter().filter(|of| state.files().contains_key(&of.file.path));
            let actions = live.map(action_of).collect::<Result<Vec<_>, _>>()?;
            named = actions.len();
            Ok((!actions.is_empty()).then_some(actions))
        })
        .await?;
    report.files_rolled_up += u64::try_from(named).unwrap_or(u64::MAX);
    Ok(())
}

/// Files of which a roll-up is named and not there.
async fn lost(table: &mut TableLog) -> Result<BTreeSet<String>, TablesError> {
    let (name, root, store) = (table.table(), table.log().root(), Arc::clone(table.log().store()));
    let mut named = Vec::new();
    let files = table.state().await?.files().values();
    // What a removed file has left cannot be made again; `tally verify` looks for it.
    for file in files.filter(|file| file.removed().is_none()) {
        let of_file = RollUp::of_table(name).filter(|of| file.roll_up_bytes(*of).is_some());
        named.extend(of_file.map(|roll_up| (file.path.clone(), roll_up.path(&file.path))));
    }
    futures::stream::iter(named)
        .map(|(file, path)| {
            let (store, object) = (Arc::clone(&store), Path::from(format!("{root}/{path}")));
            async move {
                match store.head(&object).await {
                    Ok(_) => Ok(None),
                    Err(object_store::Error::NotFound { .. }) => Ok(Some(file)),
                    Err(error) => Err(TablesError::from(error)),
                }
            }
        })
        .buffer_unordered(LOOKS)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await
}

/// Files that lack a roll-up, the largest first.
fn due(
    table: Table,
    state: &TableState,
    settings: &JanitorSettings,
    lost: &BTreeSet<String>,
) -> Vec<Arc<PinnedFile>> {
    let lacks = |file: &PinnedFile| {
        RollUp::of_table(table).any(|roll_up| file.roll_up_bytes(roll_up).is_none())
    };
    let is_worth_it =
        |file: &PinnedFile| file.rows.is_some_and(|rows| rows >= settings.roll_up_rows_min);
    let files = state.files().values();
    let mut due: Vec<Arc<PinnedFile>> = files
        .filter(|file| file.removed().is_none())
        .filter(|file| lost.contains(&file.path) || (is_worth_it(file) && lacks(file)))
        .map(Arc::clone)
        .collect();
    due.sort_by_key(|file| std::cmp::Reverse(file.rows));
    due.truncate(settings.roll_ups_max);
    due
}

/// Stores the roll-ups of a file. `None` where the file is gone.
async fn write(table: &TableLog, file: &Arc<PinnedFile>) -> Result<Option<RolledUp>, TablesError> {
    let (name, root, store) = (table.table(), table.log().root(), table.log().store());
    let object = Path::from(format!("{root}/{}", file.path));
    let bytes = match store.get(&object).await {
        Ok(found) => found.bytes().await?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (stats, rolled) = tokio::task::spawn_blocking(move || made(name, &bytes)).await??;
    let mut sizes = Vec::new();
    for (roll_up, bytes) in rolled {
        sizes.push((roll_up, u64::try_from(bytes.len()).unwrap_or(u64::MAX)));
        let object = Path::from(format!("{root}/{}", roll_up.path(&file.path)));
        store.put(&object, bytes.into()).await?;
    }
    Ok(Some(RolledUp { file: Arc::clone(file), stats, sizes }))
}

/// The statistics of a file, as they were, and its roll-ups.
fn made(table: Table, file: &Bytes) -> Result<(String, Vec<(RollUp, Bytes)>), TablesError> {
    let footer = ParquetMetaDataReader::new().parse_and_finish(file)?;
    let rolled = RollUp::of_table(table)
        .map(|roll_up| Ok((roll_up, roll_up_file(roll_up, file.clone())?)))
        .collect::<Result<_, TablesError>>()?;
    Ok((delta_stats(table, &footer), rolled))
}

/// The file once more, under its own path: that it is added again changes no row.
fn action_of(rolled: &RolledUp) -> Result<Action, TablesError> {
    let file = &rolled.file;
    let size = i64::try_from(file.size)
        .map_err(|_| TablesError::Damaged(format!("{} has {} bytes", file.path, file.size)))?;
    let tags = rolled.sizes.iter().map(|(roll_up, size)| (roll_up.tag(), Some(size.to_string())));
    Ok(Action::add(Add {
        path: encode_path(&file.path),
        partition_values: file.partition_values.clone(),
        size,
        modification_time: file.modified_at_ms,
        data_change: false,
        stats: Some(rolled.stats.clone()),
        tags: Some(tags.collect()),
        deletion_vector: None,
    }))
}
