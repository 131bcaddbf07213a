//! The ledger as it lies in the store, read past every proxy.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, RetryConfig};
use tally_aggregate::ledger::{find_last_from, read_entry};
use tally_schemas::{EntryKind, LedgerEntry};
use tokio::runtime::Runtime;

/// Runs a future to its end; for tests, which are not asynchronous.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap()).block_on(future)
}

/// The test bucket below `prefix` by an endpoint, with so many retries.
pub(crate) fn open_s3(endpoint: &str, prefix: &str, retries: usize) -> Arc<dyn ObjectStore> {
    let s3 = AmazonS3Builder::from_env()
        .with_endpoint(endpoint)
        .with_bucket_name("tally")
        .with_allow_http(true)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(RetryConfig { max_retries: retries, ..RetryConfig::default() })
        .build()
        .unwrap();
    Arc::new(PrefixStore::new(s3, prefix))
}

/// The ledger of one topic.
#[derive(Debug)]
pub(crate) struct Ledger {
    store: Arc<dyn ObjectStore>,
    topic: String,
    partitions: u32,
    /// The last entry seen of each partition, where the next look begins.
    seen: BTreeMap<u32, u64>,
}

impl Ledger {
    pub(super) fn new(store: Arc<dyn ObjectStore>, topic: &str, partitions: u32) -> Self {
        Self { store, topic: topic.to_owned(), partitions, seen: BTreeMap::new() }
    }

    /// The last entry of a partition.
    pub(crate) fn last(&mut self, partition: u32) -> Option<LedgerEntry> {
        let known = self.seen.get(&partition).copied().unwrap_or(0);
        let found = find_last_from(self.store.as_ref(), &self.topic, partition, known);
        let entry = block_on(found).unwrap()?.entry;
        self.seen.insert(partition, entry.n);
        Some(entry)
    }

    /// The last entry of each partition that has one.
    pub(crate) fn lasts(&mut self) -> Vec<LedgerEntry> {
        (0..self.partitions).filter_map(|partition| self.last(partition)).collect()
    }

    /// The sum of the partitions' last entry numbers, plus one each: it rises with every entry.
    pub(crate) fn height(&mut self) -> u64 {
        self.lasts().iter().map(|entry| entry.n + 1).sum()
    }

    /// The next offset of each partition after what is committed.
    pub(crate) fn committed(&mut self, partition: u32) -> u64 {
        self.last(partition).map_or(0, |entry| entry.to)
    }

    /// Every entry of a partition, oldest first.
    pub(crate) fn entries(&self, partition: u32) -> Vec<LedgerEntry> {
        let mut entries = Vec::new();
        let read = |n| block_on(read_entry(self.store.as_ref(), &self.topic, partition, n));
        while let Some(stored) = read(entries.len() as u64).unwrap() {
            entries.push(stored.entry);
        }
        entries
    }

    /// Entries of all partitions: claims, and epochs.
    pub(crate) fn count(&self) -> (u64, u64) {
        let (mut claims, mut epochs) = (0, 0);
        for partition in 0..self.partitions {
            for entry in self.entries(partition) {
                match entry.kind {
                    EntryKind::Claim => claims += 1,
                    EntryKind::Epoch => epochs += 1,
                    EntryKind::Frozen | EntryKind::Moved => {}
                }
            }
        }
        (claims, epochs)
    }
}
