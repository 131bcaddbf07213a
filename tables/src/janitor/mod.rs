//! The janitor: checkpoints, compaction, roll-ups, removal of days that are sealed and old enough,
//! and of what nobody can need any more.
//!
//! What is due is derived from the logs and the ledger, never from what was just done, so a crash
//! skips nothing for ever. One janitor at a time is enough; two do each other's work twice at
//! worst: merges are commits that only one can win, removals only concern what no reader, writer
//! or recovery can reach, and every one is idempotent. Listings are used to find candidates, and
//! a stale one finds fewer (R8).

mod compaction;
mod ledger_cleanup;
mod log_cleanup;
mod merge;
mod retention;
mod roll_ups;
mod vacuum;

use std::fmt;
use std::sync::Arc;

use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, path::Path};
use serde::Serialize;
use tally_schemas::{AggregateConfig, Table};

use crate::error::TablesError;
use crate::parts::Parts;
use crate::table_log::TableLog;
use crate::table_state::StatsPolicy;

/// What the janitor goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JanitorSettings {
    /// How long unreferenced files, superseded table versions and published ledger entries are
    /// kept, milliseconds. Must exceed the longest pause of a process: a file that nothing
    /// refers to for so long is taken for garbage.
    pub retention_ms: u64,
    /// Commits after which a table gets a checkpoint.
    pub checkpoint_commits: u64,
    /// Size of merged files, bytes; also the most input of one merge.
    pub merge_target_bytes: u64,
    /// Fewest files that are worth a merge.
    pub merge_files_min: usize,
    /// Most merges of one table in one run.
    pub merges_max: usize,
    /// Fewest rows of a file that is worth roll-ups: smaller ones are merged before long.
    pub roll_up_rows_min: u64,
    /// Most files of one table that get roll-ups in one run.
    pub roll_ups_max: usize,
    /// How often unreferenced files are looked for, milliseconds.
    pub vacuum_interval_ms: u64,
    /// Entries of each partition's ledger that are kept whatever their age.
    pub ledger_entries_min: u64,
    /// How long sealed dedupe segments are needed, days before the watermark.
    pub dedupe_horizon_days: u64,
    /// How long sealed events are kept, days; 0 for ever.
    pub keep_events_days: u64,
    /// Most days of events that one run removes.
    pub days_removed_max: usize,
    /// How long one run removes days, milliseconds: after that it begins no other.
    pub removal_max_ms: u64,
}

impl Default for JanitorSettings {
    fn default() -> Self {
        let config = AggregateConfig::default();
        Self {
            retention_ms: config.retention_ms,
            checkpoint_commits: 100,
            merge_target_bytes: 128 << 20,
            merge_files_min: 8,
            merges_max: 4,
            roll_up_rows_min: 32_768,
            roll_ups_max: 64,
            vacuum_interval_ms: 3_600_000,
            ledger_entries_min: 100,
            dedupe_horizon_days: config.dedupe_horizon_days,
            keep_events_days: config.keep_events_days,
            days_removed_max: 8,
            removal_max_ms: 600_000,
        }
    }
}

impl JanitorSettings {
    /// The settings that a configuration has, defaults for the rest.
    pub fn of_config(config: &AggregateConfig) -> Self {
        Self {
            retention_ms: config.retention_ms,
            dedupe_horizon_days: config.dedupe_horizon_days,
            keep_events_days: config.keep_events_days,
            ..Self::default()
        }
    }

    /// What is older than this may go, milliseconds UTC.
    fn cutoff_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(i64::try_from(self.retention_ms).unwrap_or(i64::MAX))
    }
}

/// What a run of the janitor did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct JanitorReport {
    /// Delta checkpoints written.
    pub checkpoints: u64,
    /// Delta log files removed.
    pub log_files_removed: u64,
    /// Merges committed.
    pub merges: u64,
    /// Files that were merged.
    pub files_merged: u64,
    /// Their size in bytes.
    pub bytes_merged: u64,
    /// Files that got their roll-ups.
    pub files_rolled_up: u64,
    /// Days of events that were removed.
    pub days_removed: u64,
    /// Rows that they had.
    pub rows_removed: u64,
    /// Unreferenced data files removed.
    pub files_removed: u64,
    /// Their size in bytes.
    pub bytes_removed: u64,
    /// Ledger entries removed.
    pub ledger_entries_removed: u64,
    /// State files removed.
    pub state_files_removed: u64,
    /// Parts that failed and are tried again by the next run.
    pub failures: Vec<String>,
}

impl fmt::Display for JanitorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} checkpoints, {} files ({} bytes) merged into {}, {} rolled up, removed {} days of {} events, {} data files ({} bytes), {} log files, {} ledger entries, {} state files",
            self.checkpoints,
            self.files_merged,
            self.bytes_merged,
            self.merges,
            self.files_rolled_up,
            self.days_removed,
            self.rows_removed,
            self.files_removed,
            self.bytes_removed,
            self.log_files_removed,
            self.ledger_entries_removed,
            self.state_files_removed,
        )?;
        for failure in &self.failures {
            write!(f, "; failed: {failure}")?;
        }
        Ok(())
    }
}

impl JanitorReport {
    /// Whether there was anything to do.
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }

    fn note(&mut self, what: &str, result: Result<(), TablesError>) {
        if let Err(error) = result {
            self.failures.push(format!("{what}: {error}"));
        }
    }
}

/// A topic whose ledgers and states are kept in order.
#[derive(Debug, Clone)]
struct Kept {
    topic: String,
    partition_count: u32,
    /// The tables that its entries have files of.
    tables: &'static [Table],
}

/// The ledger of one partition of a topic that is kept.
#[derive(Debug, Clone)]
struct Place {
    topic: String,
    partition: u32,
    tables: &'static [Table],
}

/// Parts of a run that are no table: the ledgers, what nothing refers to, and the removal of days.
const PARTS_BESIDE_TABLES: usize = 3;

/// Keeps the tables in order, and the ledgers and states of the topics that write them.
#[derive(Debug)]
pub struct Janitor {
    store: Arc<dyn ObjectStore>,
    kept: Vec<Kept>,
    /// The topic whose ledger says which entries of the first one it has added: others are kept.
    second_stage: Option<String>,
    tables: Vec<TableLog>,
    vacuumed_at_ms: Option<i64>,
    /// Days with rows that no seal has, and the seal that had them not.
    unsealed: retention::Unsealed,
    /// How far a run is.
    parts: Arc<Parts>,
}

impl Janitor {
    /// A janitor. Does no I/O.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        topic: impl Into<String>,
        partition_count: u32,
    ) -> Self {
        let table = |table| TableLog::new(Arc::clone(&store), table, StatsPolicy::Skip);
        Self {
            tables: Table::ALL.into_iter().map(table).collect(),
            kept: vec![Kept { topic: topic.into(), partition_count, tables: &Table::ALL }],
            second_stage: None,
            vacuumed_at_ms: None,
            unsealed: retention::Unsealed::default(),
            parts: Arc::default(),
            store,
        }
    }

    /// Keeps the ledger and the state of the second stage in order too, and every entry that it
    /// has not added.
    #[must_use]
    pub fn with_second_stage(mut self, topic: impl Into<String>) -> Self {
        let topic = topic.into();
        self.second_stage = Some(topic.clone());
        self.kept.push(Kept { topic, partition_count: 1, tables: &[Table::Alerts] });
        self
    }

    /// How far the run is that is going on, or was the last.
    pub fn parts(&self) -> Arc<Parts> {
        Arc::clone(&self.parts)
    }

    /// Every ledger that is kept in order.
    fn places(&self) -> Vec<Place> {
        let places = self.kept.iter().flat_map(|kept| {
            (0..kept.partition_count).map(|partition| Place {
                topic: kept.topic.clone(),
                partition,
                tables: kept.tables,
            })
        });
        places.collect()
    }

    /// Does what is due. A part that fails is named in the report and does not keep the others
    /// from being done. Tables that do not exist yet are left alone.
    pub async fn run_once(&mut self, now_ms: i64, settings: &JanitorSettings) -> JanitorReport {
        let mut report = JanitorReport::default();
        let parts = self.parts();
        parts.expect(self.tables.len() + PARTS_BESIDE_TABLES);
        for index in 0..self.tables.len() {
            let name = self.tables[index].table().name();
            parts.begin(name);
            let done = self.keep_table(index, now_ms, settings, &mut report).await;
            report.note(name, done);
        }
        parts.begin("ledgers");
        let done = self.clean_ledgers(now_ms, settings, &mut report).await;
        report.note("ledger", done);
        parts.begin("unreferenced files");
        let interval_ms = i64::try_from(settings.vacuum_interval_ms).unwrap_or(i64::MAX);
        if self.vacuumed_at_ms.is_none_or(|at| now_ms.saturating_sub(at) >= interval_ms) {
            let failures = report.failures.len();
            let done = self.vacuum(now_ms, settings, &mut report).await;
            report.note("vacuum", done);
            let done = self.clean_states(now_ms, settings, &mut report).await;
            report.note("state", done);
            if report.failures.len() == failures {
                self.vacuumed_at_ms = Some(now_ms);
            }
        }
        // Last: it reads whole days, and where it is killed at that, everything else was done.
        parts.begin("removal of days");
        let done = self.remove_days(now_ms, settings, &mut report).await;
        report.note("retention", done);
        report
    }

    async fn keep_table(
        &mut self,
        index: usize,
        now_ms: i64,
        settings: &JanitorSettings,
        report: &mut JanitorReport,
    ) -> Result<(), TablesError> {
        // Until it has once looked at everything that is stored.
        let look = self.vacuumed_at_ms.is_none();
        let table = &mut self.tables[index];
        let state = table.refresh().await?;
        state.forget_tombstones(settings.cutoff_ms(now_ms));
        if state.version().is_none() {
            return Ok(());
        }
        table
            .transact("SET TBLPROPERTIES", now_ms, |state| {
                let changed = state.metadata().and_then(|metadata| {
                    metadata.with_settings(settings.retention_ms, settings.checkpoint_commits)
                });
                Ok(changed.map(|metadata| vec![crate::action::Action::metadata(metadata)]))
            })
            .await?;
        compaction::compact(table, now_ms, settings, report).await?;
        roll_ups::roll_up(table, now_ms, settings, look, report).await?;
        log_cleanup::checkpoint(table, settings, report).await?;
        log_cleanup::clean(table, now_ms, settings, report).await
    }
}

/// Removes an object; one that is gone already is fine. Returns whether it was there.
async fn remove(store: &dyn ObjectStore, path: &Path) -> Result<bool, TablesError> {
    match store.delete(path).await {
        Ok(()) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
