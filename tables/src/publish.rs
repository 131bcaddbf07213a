//! Publication: the files of committed ledger entries become part of the Delta tables, each once.
//!
//! A table remembers how far it has come with each partition in `txn("tally/<topic>/<p>", n)`.
//! What is due is derived from that and from the ledger alone, never from what was just done; so
//! a new process first publishes what its predecessor committed and did not publish, and any
//! number of publishers may race (I2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use serde::Serialize;
use tally_aggregate::crash_point;
use tally_schemas::{LedgerEntry, Table};

use crate::action::{Action, Add};
use crate::error::{ErrorKind, TablesError};
use crate::ledger_reader::LedgerReader;
use crate::table_log::TableLog;
use crate::table_state::{StatsPolicy, TableState};

/// Entries of one partition that go into one commit at most.
const ENTRIES_MAX: u64 = 64;
/// Entries of a partition fetched at once where there is a backlog.
const READ_AHEAD: usize = 8;
/// Partitions whose ledgers are read at once.
const PARTITIONS_AT_ONCE: usize = 16;
/// A table that has had no file for this many entries of a partition gets a commit that only
/// says so, so that a restart does not read its ledger from the floor.
const LAG_MAX: u64 = 256;
/// Calls without anything new after which the floors are read: entries that others published may
/// have been removed while this process slept, and then the next one never comes.
const IDLE_CALLS_MAX: u32 = 16;

/// What a round of publication did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PublishReport {
    /// Ledger entries that are now published, and were not known to be.
    pub entries: u64,
    /// Files added to tables by this publisher.
    pub files: u64,
    /// Delta commits made.
    pub commits: u64,
}

/// Publishes the ledger of one topic. One a process is enough.
#[derive(Debug)]
pub struct Publisher {
    store: Arc<dyn ObjectStore>,
    topic: String,
    partition_count: u32,
    /// Whether the topic had other numbers of partitions before.
    across_counts: bool,
    tables: Vec<TableLog>,
    /// Next entry to publish of each partition; empty before the tables were read.
    next: Vec<u64>,
    idle_calls: u32,
}

/// The application id of a partition in the `txn` actions of the tables.
pub(crate) fn app_id(topic: &str, partition: u32) -> String {
    format!("tally/{topic}/{partition}")
}

/// Milliseconds UTC, for what is information only.
pub(crate) fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

impl Publisher {
    /// A publisher of every partition of a topic. Does no I/O.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        topic: impl Into<String>,
        partition_count: u32,
    ) -> Self {
        Self::of_tables(store, topic, partition_count, &Table::ALL)
    }

    /// A publisher of a topic whose entries have files of these tables alone. Several topics may
    /// write one table: its `txn` actions name the topic. Does no I/O.
    pub fn of_tables(
        store: Arc<dyn ObjectStore>,
        topic: impl Into<String>,
        partition_count: u32,
        tables: &[Table],
    ) -> Self {
        let table = |table: &Table| TableLog::new(Arc::clone(&store), *table, StatsPolicy::Skip);
        Self {
            topic: topic.into(),
            partition_count,
            across_counts: false,
            tables: tables.iter().map(table).collect(),
            next: Vec::new(),
            idle_calls: 0,
            store,
        }
    }

    /// The same of a stream that had other numbers of partitions before, which its entries say.
    #[must_use]
    pub fn across_counts(mut self, across_counts: bool) -> Self {
        self.across_counts = across_counts;
        self
    }

    /// The next entry to publish of each partition: everything below is in the tables. Empty
    /// before the first call of [`Self::publish_committed`] has read the tables.
    pub fn next_entries(&self) -> &[u64] {
        &self.next
    }

    /// Publishes every entry that the ledger had committed when this was called, however fast others
    /// go on. Creates the tables at the first call.
    /// Safe to call again after any error, and beside other publishers.
    ///
    /// # Errors
    /// `Retry` while the store is away or others commit faster; `Data` where a ledger entry
    /// names a file that is live already; `Invalid` where a newer build has written.
    pub async fn publish_committed(&mut self) -> Result<PublishReport, TablesError> {
        if self.next.is_empty() {
            self.next = self.find_next().await?;
        }
        let mut report = PublishReport::default();
        loop {
            let (batch, is_all) = self.read_batch().await?;
            if batch.iter().all(Vec::is_empty) {
                self.idle_calls += u32::from(report.entries == 0);
                if self.idle_calls < IDLE_CALLS_MAX || !self.skip_removed().await? {
                    return Ok(report);
                }
                continue;
            }
            self.idle_calls = 0;
            self.publish_batch(&batch, &mut report).await?;
            for (next, entries) in self.next.iter_mut().zip(&batch) {
                if let Some(last) = entries.last() {
                    *next = last.n + 1;
                    report.entries += u64::try_from(entries.len()).unwrap_or(u64::MAX);
                }
            }
            tracing::debug!(?report, "published");
            if is_all {
                return Ok(report);
            }
        }
    }

    /// Derives from the tables where to go on: after what every table has. Entries that some
    /// table lacks are read again, and skipped by the tables that have them.
    async fn find_next(&mut self) -> Result<Vec<u64>, TablesError> {
        let now_ms = now_ms();
        for result in join_all(self.tables.iter_mut().map(|table| table.create(now_ms))).await {
            result?;
        }
        let mut done = Vec::new();
        for partition in 0..self.partition_count {
            let app_id = app_id(&self.topic, partition);
            let (mut least, mut most) = (u64::MAX, 0);
            for table in &mut self.tables {
                let next = next_of(table.state().await?, &app_id)?;
                (least, most) = (least.min(next), most.max(next));
            }
            done.push((partition, least, most));
        }
        futures::stream::iter(done)
            .map(|(partition, least, most)| {
                let ledger = LedgerReader::new(self.store.as_ref(), &self.topic, partition);
                async move {
                    let low = least.max(ledger.floor().await?);
                    // Below `most` an entry may be gone: then it was published everywhere.
                    ledger.first_existing(low, most.max(low)).await
                }
            })
            .buffered(PARTITIONS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Goes on at the floor where it has risen above the next entry: what is below was published
    /// by others. Returns whether that was so anywhere.
    async fn skip_removed(&mut self) -> Result<bool, TablesError> {
        self.idle_calls = 0;
        let mut skipped = false;
        for (partition, next) in (0..self.partition_count).zip(&mut self.next) {
            let ledger = LedgerReader::new(self.store.as_ref(), &self.topic, partition);
            let floor = ledger.floor().await?;
            skipped |= floor > *next;
            *next = floor.max(*next);
        }
        Ok(skipped)
    }

    /// The next entries of every partition, and whether they are all that there were.
    async fn read_batch(&self) -> Result<(Vec<Vec<LedgerEntry>>, bool), TablesError> {
        let batch: Vec<(Vec<LedgerEntry>, bool)> =
            futures::stream::iter((0..self.partition_count).zip(self.next.iter().copied()))
                .map(|(partition, next)| self.read_partition(partition, next))
                .buffered(PARTITIONS_AT_ONCE)
                .try_collect()
                .await?;
        let is_all = batch.iter().all(|(_, is_all)| *is_all);
        Ok((batch.into_iter().map(|(entries, _)| entries).collect(), is_all))
    }

    async fn read_partition(
        &self,
        partition: u32,
        next: u64,
    ) -> Result<(Vec<LedgerEntry>, bool), TablesError> {
        let ledger = LedgerReader::new(self.store.as_ref(), &self.topic, partition);
        // The first one alone: mostly there is nothing new.
        let Some(first) = ledger.entry(next).await? else { return Ok((Vec::new(), true)) };
        let mut entries = vec![self.checked(first)?];
        let mut ahead = futures::stream::iter(next + 1..next + ENTRIES_MAX)
            .map(|n| async move { ledger.entry(n).await })
            .buffered(READ_AHEAD);
        loop {
            match ahead.try_next().await {
                Ok(Some(Some(entry))) => entries.push(self.checked(entry)?),
                Ok(Some(None)) => return Ok((entries, true)),
                Ok(None) => return Ok((entries, false)),
                // What was read is published: a store in trouble may never answer for all of a
                // long backlog in a row.
                Err(error) if error.kind() == ErrorKind::Retry => return Ok((entries, false)),
                Err(error) => return Err(error),
            }
        }
    }

    fn checked(&self, entry: LedgerEntry) -> Result<LedgerEntry, TablesError> {
        if entry.partition_count == self.partition_count || self.across_counts {
            return Ok(entry);
        }
        if let Some(log) = &entry.log {
            return Err(TablesError::Invalid(format!(
                "the stream of {} has gone on with topic {} of {} partitions: set log.topic to {}",
                self.topic, log.topic, entry.partition_count, log.topic
            )));
        }
        Err(TablesError::Invalid(format!(
            "the ledger of {} was begun with {} partitions, not {}",
            self.topic, entry.partition_count, self.partition_count
        )))
    }

    /// One commit a table at most. The tables do not wait for each other: each is checked and
    /// committed on its own, and a crash in between leaves some to be published later.
    async fn publish_batch(
        &mut self,
        batch: &[Vec<LedgerEntry>],
        report: &mut PublishReport,
    ) -> Result<(), TablesError> {
        let (topic, now_ms) = (self.topic.as_str(), now_ms());
        let commits = self.tables.iter_mut().map(|table| async move {
            let mut files = 0;
            let name = table.table();
            crash_point("publishing");
            let version = table
                .transact("STREAMING UPDATE", now_ms, |state| {
                    let publication = Publication::of(name, topic, state, batch)?;
                    files = publication.adds.len();
                    publication.into_actions(state, name, now_ms)
                })
                .await?;
            crash_point("published");
            Ok::<_, TablesError>(version.map(|_| files))
        });
        let mut failure = None;
        for outcome in join_all(commits).await {
            match outcome {
                Ok(None) => {}
                Ok(Some(files)) => {
                    report.commits += 1;
                    report.files += u64::try_from(files).unwrap_or(u64::MAX);
                }
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// The first entry that a table lacks.
pub(crate) fn next_of(state: &TableState, app_id: &str) -> Result<u64, TablesError> {
    match state.txn(app_id) {
        None => Ok(0),
        Some(version) => u64::try_from(version)
            .map(|version| version + 1)
            .map_err(|_| TablesError::Damaged(format!("{app_id} has version {version}"))),
    }
}

/// What a table lacks of a batch, by the state that it will be committed against.
#[derive(Debug, Default)]
struct Publication {
    adds: Vec<Add>,
    /// Highest entry of each partition.
    txns: BTreeMap<String, u64>,
    /// Most entries of a partition that the table has not taken note of.
    lag: u64,
}

impl Publication {
    fn of(
        table: Table,
        topic: &str,
        state: &TableState,
        batch: &[Vec<LedgerEntry>],
    ) -> Result<Self, TablesError> {
        let mut publication = Self::default();
        for entry in batch.iter().flatten() {
            let app_id = app_id(topic, entry.partition);
            let next = next_of(state, &app_id)?;
            if entry.n < next {
                continue;
            }
            for file in entry.files.iter().filter(|file| file.table == table.name()) {
                if state.files().contains_key(&file.path) {
                    return Err(TablesError::Damaged(format!(
                        "entry {} of partition {} adds {} to {}, which has it already (I2)",
                        entry.n,
                        entry.partition,
                        file.path,
                        table.name()
                    )));
                }
                publication.adds.push(Add::of_data_file(file, entry.committed_at_ms)?.1);
            }
            if let Some(unknown) =
                entry.files.iter().find(|file| Table::from_name(&file.table).is_none())
            {
                return Err(TablesError::Invalid(format!(
                    "table {} of entry {} of partition {} is unknown to this build: upgrade",
                    unknown.table, entry.n, entry.partition
                )));
            }
            publication.lag = publication.lag.max(entry.n + 1 - next);
            publication.txns.insert(app_id, entry.n);
        }
        Ok(publication)
    }

    fn into_actions(
        self,
        state: &TableState,
        table: Table,
        now_ms: i64,
    ) -> Result<Option<Vec<Action>>, TablesError> {
        if self.adds.is_empty() && self.lag <= LAG_MAX {
            return Ok(None);
        }
        let mut actions = Vec::with_capacity(self.adds.len() + self.txns.len() + 1);
        let stored = state
            .metadata()
            .ok_or_else(|| TablesError::Damaged(format!("table {} is gone", table.name())))?;
        if let Some(metadata) = stored.with_columns_of(table)? {
            actions.push(Action::metadata(metadata));
        }
        for (app_id, n) in self.txns {
            let version = i64::try_from(n)
                .map_err(|_| TablesError::Damaged(format!("{app_id} is at entry {n}")))?;
            actions.push(Action::txn(app_id, version, now_ms));
        }
        actions.extend(self.adds.into_iter().map(Action::add));
        Ok(Some(actions))
    }
}
