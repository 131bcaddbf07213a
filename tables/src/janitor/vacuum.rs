//! Removal of data files that nothing refers to.

use std::collections::HashSet;

use futures::TryStreamExt;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt};
use tally_schemas::RollUp;

use super::{Janitor, JanitorReport, JanitorSettings, Place, remove};
use crate::error::TablesError;
use crate::ledger_reader::LedgerReader;
use crate::publish::{app_id, next_of};
use crate::removed_file::IN_ITS_PLACE;

impl Janitor {
    /// Removes files below the tables that are older than the retention and that neither the
    /// table, nor a version of it within the retention, nor a ledger entry that is yet to be
    /// published refers to.
    ///
    /// The order matters. Files are listed first, then the ledger is read, then the tables: a
    /// file moves from unknown to ledger to table, so it is seen in at least one of them.
    pub(super) async fn vacuum(
        &mut self,
        now_ms: i64,
        settings: &JanitorSettings,
        report: &mut JanitorReport,
    ) -> Result<(), TablesError> {
        let cutoff_ms = settings.cutoff_ms(now_ms);
        let mut candidates = Vec::new();
        for index in 0..self.tables.len() {
            let log = self.tables[index].log();
            let files = aged_files(self.store.as_ref(), log, cutoff_ms).await?;
            candidates.extend(files.into_iter().map(|file| (index, file)));
        }
        if candidates.is_empty() {
            return Ok(());
        }
        let unpublished = self.unpublished_files().await?;
        for table in &mut self.tables {
            table.refresh().await?;
        }
        for (index, (path, meta)) in candidates {
            let table = &mut self.tables[index];
            let name = table.table().name();
            let state = table.state().await?;
            // A roll-up is needed for as long as its file is. A table that is not there, or not yet,
            // refers to nothing: that makes nothing garbage.
            let file = RollUp::file_of(&path).unwrap_or(&path);
            let needed = state.version().is_none()
                || state.files().contains_key(file)
                || state.tombstones().get(file).is_some_and(|t| t.removed_at_ms > cutoff_ms)
                || unpublished.contains(&(name.to_owned(), file.to_owned()));
            if needed || (stands_in(file) && was_put_again(self.store.as_ref(), &meta).await?) {
                continue;
            }
            if remove(self.store.as_ref(), &meta.location).await? {
                report.files_removed += 1;
                report.bytes_removed += meta.size;
            }
        }
        Ok(())
    }

    /// Files, by table and path, of ledger entries that some table lacks.
    async fn unpublished_files(&mut self) -> Result<HashSet<(String, String)>, TablesError> {
        let mut files = HashSet::new();
        for place in self.places() {
            let (least, most) = self.published_range(&place).await?;
            let ledger = LedgerReader::new(self.store.as_ref(), &place.topic, place.partition);
            let low = least.max(ledger.floor().await?);
            let mut n = ledger.first_existing(low, most.max(low)).await?;
            while let Some(entry) = ledger.entry(n).await? {
                files.extend(entry.files.into_iter().map(|file| (file.table, file.path)));
                n += 1;
            }
        }
        Ok(files)
    }

    /// The first entry of a partition that some table lacks, and the first that every table
    /// lacks.
    pub(super) async fn published_range(
        &mut self,
        place: &Place,
    ) -> Result<(u64, u64), TablesError> {
        let app_id = app_id(&place.topic, place.partition);
        let (mut least, mut most) = (u64::MAX, 0);
        for table in self.tables.iter_mut().filter(|t| place.tables.contains(&t.table())) {
            let next = next_of(table.state().await?, &app_id)?;
            (least, most) = (least.min(next), most.max(next));
        }
        Ok((least, most))
    }
}

/// Whether a file is one that stands in the place of a removed one, or was to.
fn stands_in(file: &str) -> bool {
    file.rsplit('/').next().is_some_and(|name| name.starts_with(IN_ITS_PLACE))
}

/// Whether an object was put since it was listed. Names of what stands in the place of a removed
/// file follow from content: one that a removal left that came to nothing becomes needed, under
/// the same name, by the removal that comes after it.
async fn was_put_again(store: &dyn ObjectStore, listed: &ObjectMeta) -> Result<bool, TablesError> {
    match store.head(&listed.location).await {
        Ok(now) => Ok(now.last_modified > listed.last_modified),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Data files of a table that were last changed at or before the cutoff, with their paths below
/// the table's root.
async fn aged_files(
    store: &dyn ObjectStore,
    log: &crate::delta_log::DeltaLog,
    cutoff_ms: i64,
) -> Result<Vec<(String, ObjectMeta)>, TablesError> {
    let (root, folder) = (log.root(), log.folder());
    let below = format!("{root}/");
    let mut files = Vec::new();
    let mut listed = store.list(Some(&root));
    while let Some(meta) = listed.try_next().await? {
        let aged = meta.last_modified.timestamp_millis() <= cutoff_ms;
        let path = meta.location.as_ref().strip_prefix(&below).map(str::to_owned);
        if let Some(path) = path.filter(|_| aged && !meta.location.prefix_matches(&folder)) {
            files.push((path, meta));
        }
    }
    Ok(files)
}
