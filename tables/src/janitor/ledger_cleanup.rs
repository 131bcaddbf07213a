//! Removal of ledger entries that are published, and of the state files that only they referred
//! to.
//!
//! The floor is raised first and entries below it are removed by a later run. So a reader that
//! starts at the floor always finds its entry, even when two janitors raise the floor at once: the
//! one that writes a lower floor last does so before anything above that floor is removed. Should
//! a janitor sleep through a whole run between its last look at the floor and its write, the
//! floor's entry is missing; that is noticed and repaired here, and refused by who finds it there.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tally_aggregate::ledger::find_last;
use tally_schemas::{LedgerEntry, LedgerFloor, SourcePosition, entry_path, floor_path};

use super::{Janitor, JanitorReport, JanitorSettings, Place, remove};
use crate::error::TablesError;
use crate::ledger_reader::LedgerReader;
use crate::publish::{app_id, next_of};

/// Entries of a partition by which the floor rises in one run at most.
const RAISE_MAX: u64 = 2_000;

impl Janitor {
    pub(super) async fn clean_ledgers(
        &mut self,
        now_ms: i64,
        settings: &JanitorSettings,
        report: &mut JanitorReport,
    ) -> Result<(), TablesError> {
        let added = self.added_by_second_stage().await?;
        for place in self.places() {
            let floor = self.checked_floor(&place).await?;
            self.remove_below(&place, floor, report).await?;
            let top = added.as_ref().filter(|_| self.is_source(&place)).map_or(u64::MAX, |added| {
                let source = added.iter().find(|source| source.partition == place.partition);
                source.map_or(0, |source| source.next)
            });
            self.raise_floor(&place, (floor, top), now_ms, settings).await?;
        }
        Ok(())
    }

    /// Whether the second stage adds the entries of a ledger.
    fn is_source(&self, place: &Place) -> bool {
        self.kept.first().is_some_and(|first| first.topic == place.topic)
    }

    /// How far the second stage has added the partitions; none where there is no such stage.
    async fn added_by_second_stage(&self) -> Result<Option<Vec<SourcePosition>>, TablesError> {
        let Some(topic) = &self.second_stage else { return Ok(None) };
        let last = find_last(self.store.as_ref(), topic, 0).await?;
        Ok(Some(last.map(|last| last.entry.sources).unwrap_or_default()))
    }

    /// The floor, put right where its entry is missing although entries above it exist.
    async fn checked_floor(&mut self, place: &Place) -> Result<u64, TablesError> {
        let (_, most) = self.published_range(place).await?;
        let (topic, partition) = (place.topic.as_str(), place.partition);
        let ledger = LedgerReader::new(self.store.as_ref(), topic, partition);
        let floor = ledger.floor().await?;
        if ledger.exists(floor).await? {
            return Ok(floor);
        }
        let first = ledger.first_existing(floor, most.max(floor)).await?;
        if first == floor || !ledger.exists(first).await? {
            return Ok(floor);
        }
        tracing::warn!(topic, partition, floor, first, "ledger floor was too low, put right");
        self.write_floor(place, first).await?;
        Ok(first)
    }

    /// Removes entries below a floor that stood before this run began, oldest first.
    async fn remove_below(
        &self,
        place: &Place,
        floor: u64,
        report: &mut JanitorReport,
    ) -> Result<(), TablesError> {
        let (topic, partition) = (place.topic.as_str(), place.partition);
        let ledger = LedgerReader::new(self.store.as_ref(), topic, partition);
        let mut low = floor;
        let mut step = 1;
        while low > 0 && ledger.exists(low.saturating_sub(step)).await? {
            low = low.saturating_sub(step);
            step *= 2;
        }
        let low = ledger.first_existing(low.saturating_sub(step), low).await?;
        for n in low..floor {
            let path = Path::from(entry_path(topic, partition, n));
            if remove(self.store.as_ref(), &path).await? {
                report.ledger_entries_removed += 1;
            }
        }
        Ok(())
    }

    /// Raises the floor over entries that every table has, that are older than the retention, that
    /// are not among the last ones, and that lie below `top`.
    async fn raise_floor(
        &mut self,
        place: &Place,
        (floor, top): (u64, u64),
        now_ms: i64,
        settings: &JanitorSettings,
    ) -> Result<(), TablesError> {
        let cutoff_ms = settings.cutoff_ms(now_ms);
        let mut cut = floor;
        let store = Arc::clone(&self.store);
        let ledger = LedgerReader::new(store.as_ref(), &place.topic, place.partition);
        while cut < top.min(floor + RAISE_MAX) {
            let kept = cut + settings.ledger_entries_min.max(1);
            let Some(entry) = ledger.entry(cut).await? else { break };
            if entry.committed_at_ms > cutoff_ms
                || !self.is_published(&entry).await?
                || !ledger.exists(kept).await?
            {
                break;
            }
            cut += 1;
        }
        if cut > floor && ledger.floor().await? < cut {
            self.write_floor(place, cut).await?;
        }
        Ok(())
    }

    /// Whether every table has the files that the entry has for it.
    async fn is_published(&mut self, entry: &LedgerEntry) -> Result<bool, TablesError> {
        let app_id = app_id(&entry.topic, entry.partition);
        for table in &mut self.tables {
            let name = table.table().name();
            let next = next_of(table.state().await?, &app_id)?;
            if entry.n >= next && entry.files.iter().any(|file| file.table == name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn write_floor(&self, place: &Place, n: u64) -> Result<(), TablesError> {
        let bytes = serde_json::to_vec(&LedgerFloor { n })
            .map_err(|e| TablesError::Internal(e.to_string()))?;
        let path = Path::from(floor_path(&place.topic, place.partition));
        self.store.put(&path, Bytes::from(bytes).into()).await?;
        Ok(())
    }

    /// Removes state objects that no remaining entry can refer to: those of epochs below the
    /// floor that the floor's entry does not list (a base, once replaced, never comes back), and
    /// sealed dedupe segments beyond the horizon.
    pub(super) async fn clean_states(
        &mut self,
        now_ms: i64,
        settings: &JanitorSettings,
        report: &mut JanitorReport,
    ) -> Result<(), TablesError> {
        for Place { topic, partition, .. } in self.places() {
            let ledger = LedgerReader::new(self.store.as_ref(), &topic, partition);
            let floor = ledger.floor().await?;
            let Some(entry) = ledger.entry(floor).await? else { continue };
            let kept: HashSet<&str> = entry
                .state
                .base
                .iter()
                .chain(&entry.state.deltas)
                .map(|file| file.path.as_str())
                .collect();
            let folder = Path::from_iter(["state", topic.as_str(), &partition.to_string()]);
            for meta in self.store.list_with_delimiter(Some(&folder)).await?.objects {
                let epoch = meta.location.filename().and_then(epoch_of);
                let aged = meta.last_modified.timestamp_millis() <= settings.cutoff_ms(now_ms);
                if aged
                    && epoch.is_some_and(|n| n < floor)
                    && !kept.contains(meta.location.as_ref())
                    && remove(self.store.as_ref(), &meta.location).await?
                {
                    report.state_files_removed += 1;
                }
            }
            if let Some(day) = horizon_day(&entry, settings) {
                let folder = folder.join("segments");
                report.state_files_removed +=
                    remove_segments(self.store.as_ref(), &folder, day).await?;
            }
        }
        Ok(())
    }
}

/// The epoch of `base-<n>-<owner>.state` and `delta-<n>-<owner>.state`.
fn epoch_of(name: &str) -> Option<u64> {
    let rest = name.strip_prefix("base-").or_else(|| name.strip_prefix("delta-"))?;
    rest.split_once('-')?.0.parse().ok()
}

/// The first day, counted from 1970, whose dedupe segments are still needed; two days are spared.
fn horizon_day(entry: &LedgerEntry, settings: &JanitorSettings) -> Option<i64> {
    let days = i64::try_from(settings.dedupe_horizon_days).ok()?;
    Some(entry.watermark_ms?.div_euclid(86_400_000).saturating_sub(days).saturating_sub(2))
}

/// Removes the segments of days before `day`.
async fn remove_segments(
    store: &dyn ObjectStore,
    folder: &Path,
    day: i64,
) -> Result<u64, TablesError> {
    let mut removed = 0;
    for prefix in store.list_with_delimiter(Some(folder)).await?.common_prefixes {
        let listed = prefix.filename().and_then(|name| name.parse::<i64>().ok());
        if listed.is_none_or(|listed| listed >= day) {
            continue;
        }
        for meta in store.list_with_delimiter(Some(&prefix)).await?.objects {
            removed += u64::from(remove(store, &meta.location).await?);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bases_and_deltas_have_an_epoch() {
        assert_eq!(epoch_of("base-00000000000000000012-a-b.state"), Some(12));
        assert_eq!(epoch_of("delta-00000000000000000003-x.state"), Some(3));
        assert_eq!(epoch_of("segments"), None);
        assert_eq!(epoch_of("delta-x.state"), None);
    }
}
