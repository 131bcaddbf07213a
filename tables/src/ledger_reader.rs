//! Reading a partition's ledger: by name, never by LIST (R8).

use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, path::Path};
use tally_aggregate::ledger;
use tally_schemas::{LedgerEntry, entry_path};

use crate::error::TablesError;

/// The ledger of one partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LedgerReader<'a> {
    store: &'a dyn ObjectStore,
    topic: &'a str,
    partition: u32,
}

impl<'a> LedgerReader<'a> {
    pub(crate) fn new(store: &'a dyn ObjectStore, topic: &'a str, partition: u32) -> Self {
        Self { store, topic, partition }
    }

    /// Entry `n`, `None` where there is none.
    pub(crate) async fn entry(&self, n: u64) -> Result<Option<LedgerEntry>, TablesError> {
        let stored = ledger::read_entry(self.store, self.topic, self.partition, n).await?;
        Ok(stored.map(|stored| stored.entry))
    }

    /// Whether entry `n` exists.
    pub(crate) async fn exists(&self, n: u64) -> Result<bool, TablesError> {
        match self.store.head(&Path::from(entry_path(self.topic, self.partition, n))).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The first entry that still exists, as the janitor last wrote it; 0 where it never did.
    pub(crate) async fn floor(&self) -> Result<u64, TablesError> {
        Ok(ledger::floor(self.store, self.topic, self.partition).await?)
    }

    /// The first entry from `low` on that exists, `high` where none below it does. Entries are
    /// contiguous up to the last one, and removed from below.
    pub(crate) async fn first_existing(&self, low: u64, high: u64) -> Result<u64, TablesError> {
        let (mut low, mut high) = (low, high);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.exists(middle).await? {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }
}
