//! The epoch ledger as a reader sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::stream::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use tally_aggregate::ledger::{self, StoredEntry};
use tally_aggregate::{ErrorKind, stored_accounts, stored_windows};
use tally_quota::StoredAccount;
use tally_schemas::{DataFile, EntryKind, LedgerEntry};

use crate::error::QueryError;

/// Entries that are read at once.
const READ_AHEAD: usize = 32;

/// Reads ledgers, and never writes.
#[derive(Debug, Clone)]
pub struct LedgerView {
    store: Arc<dyn ObjectStore>,
    topic: String,
}

/// The ledger of one partition.
#[derive(Debug, Clone)]
pub struct PartitionLedger {
    /// Kafka partition.
    pub partition: u32,
    /// First entry that exists.
    pub floor: u64,
    /// Every entry from the floor to the last one, in order.
    pub entries: Vec<StoredEntry>,
}

impl LedgerView {
    /// The ledgers of a topic below the store's root.
    pub fn new(store: Arc<dyn ObjectStore>, topic: &str) -> Self {
        Self { store, topic: topic.to_owned() }
    }

    /// The store that the ledgers are in.
    pub(crate) fn store(&self) -> &dyn ObjectStore {
        self.store.as_ref()
    }

    /// The Kafka topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The topic's partitions that may have a ledger. A listing finds one of them and its first
    /// entry the count, so that a stale listing cannot hide a partition that was once seen.
    ///
    /// # Errors
    /// `Retry` while the store is away.
    pub async fn partitions(&self) -> Result<Vec<u32>, QueryError> {
        let prefix = Path::from(format!("ledger/{}", self.topic));
        let listing = self
            .store
            .list_with_delimiter(Some(&prefix))
            .await
            .map_err(|error| QueryError::Retry(format!("{prefix}: {error}")))?;
        let mut partitions: BTreeSet<u32> = listing
            .common_prefixes
            .iter()
            .filter_map(|path| path.filename().and_then(|name| name.parse().ok()))
            .collect();
        for partition in partitions.clone() {
            if let Some(last) = self.last(partition).await? {
                partitions.extend(0..last.entry.partition_count);
                break;
            }
        }
        Ok(partitions.into_iter().collect())
    }

    /// The last entry of a partition.
    ///
    /// # Errors
    /// `Retry` while the store is away, `Data` for a damaged entry.
    pub async fn last(&self, partition: u32) -> Result<Option<StoredEntry>, QueryError> {
        ledger::find_last(self.store.as_ref(), &self.topic, partition).await.map_err(error_of)
    }

    /// The last entry of every partition that has one.
    ///
    /// # Errors
    /// As [`Self::last`].
    pub async fn all_last(&self) -> Result<Vec<StoredEntry>, QueryError> {
        let partitions = self.partitions().await?;
        let found: Vec<Option<StoredEntry>> = futures::stream::iter(partitions)
            .map(|partition| async move { self.last(partition).await })
            .buffered(READ_AHEAD)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The same without partitions that the topic no longer has.
    ///
    /// # Errors
    /// As [`Self::last`].
    pub async fn current_last(&self) -> Result<Vec<StoredEntry>, QueryError> {
        let all = self.all_last().await?;
        let is_left =
            |last: &StoredEntry| last.entry.is_left_behind(all.iter().map(|stored| &stored.entry));
        Ok(all.iter().filter(|last| !is_left(last)).cloned().collect())
    }

    /// The entry of each of these epochs, by partition, or the first after it that still exists.
    ///
    /// # Errors
    /// As [`Self::last`].
    pub(crate) async fn at_epochs(
        &self,
        epochs: BTreeMap<u32, u64>,
    ) -> Result<Vec<StoredEntry>, QueryError> {
        let found: Vec<Option<StoredEntry>> = futures::stream::iter(epochs)
            .map(|(partition, epoch)| async move { self.kept_from(partition, epoch).await })
            .buffered(READ_AHEAD)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn kept_from(
        &self,
        partition: u32,
        epoch: u64,
    ) -> Result<Option<StoredEntry>, QueryError> {
        let store = self.store.as_ref();
        let mut before = None;
        loop {
            let floor = ledger::floor(store, &self.topic, partition).await.map_err(error_of)?;
            let entry = ledger::read_entry(store, &self.topic, partition, epoch.max(floor)).await;
            let entry = entry.map_err(error_of)?;
            // Before an entry is removed, the floor rises above it.
            if entry.is_some() || before == Some(floor) {
                return Ok(entry);
            }
            before = Some(floor);
        }
    }

    /// Whether a committed file that `is_wanted` waits for its publication, which has come to the
    /// epochs in `published`.
    ///
    /// # Errors
    /// As [`Self::last`].
    pub(crate) async fn has_unpublished(
        &self,
        published: &BTreeMap<u32, u64>,
        is_wanted: impl Fn(&DataFile) -> bool + Sync,
    ) -> Result<bool, QueryError> {
        let store = self.store.as_ref();
        for last in self.all_last().await? {
            let partition = last.entry.partition;
            let floor = ledger::floor(store, &self.topic, partition).await.map_err(error_of)?;
            let from = published.get(&partition).map_or(0, |epoch| epoch + 1).max(floor);
            for n in from..=last.entry.n {
                let entry = ledger::read_entry(store, &self.topic, partition, n).await;
                let Some(StoredEntry { entry, .. }) = entry.map_err(error_of)? else { continue };
                if entry.kind == EntryKind::Epoch && entry.files.iter().any(&is_wanted) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Every entry of a partition that still exists.
    ///
    /// # Errors
    /// As [`Self::last`].
    pub async fn entries(&self, partition: u32) -> Result<PartitionLedger, QueryError> {
        let store = self.store.as_ref();
        let floor = ledger::floor(store, &self.topic, partition).await.map_err(error_of)?;
        let mut read = futures::stream::iter(floor..)
            .map(|n| ledger::read_entry(store, &self.topic, partition, n))
            .buffered(READ_AHEAD);
        let mut entries = Vec::new();
        while let Some(entry) = read.next().await {
            match entry.map_err(error_of)? {
                Some(entry) => entries.push(entry),
                None => break,
            }
        }
        Ok(PartitionLedger { partition, floor, entries })
    }

    /// The subscriber windows that are open after an entry, from the stored state, as rows of
    /// `usage_by_subscriber`.
    ///
    /// # Errors
    /// `Retry` while the store is away, `Data` where stored state is missing or damaged.
    pub async fn open_windows(&self, last: &LedgerEntry) -> Result<Vec<RecordBatch>, QueryError> {
        stored_windows(self.store.as_ref(), last).await.map_err(error_of)
    }

    /// Tells every account that there is after an entry, from the stored state.
    ///
    /// # Errors
    /// As [`Self::open_windows`].
    pub(crate) async fn accounts(
        &self,
        entry: &LedgerEntry,
        tell: &mut (dyn FnMut(&StoredAccount) + Send),
    ) -> Result<(), QueryError> {
        stored_accounts(self.store.as_ref(), entry, tell).await.map_err(error_of)
    }

    /// Every entry of every partition that still exists.
    ///
    /// # Errors
    /// As [`Self::last`].
    pub async fn all_entries(&self) -> Result<Vec<PartitionLedger>, QueryError> {
        let mut ledgers = Vec::new();
        for partition in self.partitions().await? {
            ledgers.push(self.entries(partition).await?);
        }
        Ok(ledgers)
    }
}

/// The same error as one of a query.
pub(crate) fn error_of(error: tally_aggregate::AggregateError) -> QueryError {
    match error.kind() {
        ErrorKind::Retry => QueryError::Retry(error.to_string()),
        ErrorKind::Data => QueryError::Data(error.to_string()),
        ErrorKind::Invalid => QueryError::Invalid(error.to_string()),
        ErrorKind::Fenced => QueryError::Internal(error.to_string()),
    }
}
