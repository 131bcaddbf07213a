//! Reference data for the stream, from the store: the newest edition is looked for now and then,
//! and every one that a ledger entry names can be had again.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use tally_rating::RateCard;
use tally_reference::{ReferenceStore, StoredEdition, Whole};
use tally_schemas::ReferenceVersion;

use crate::core::ReferenceData;
use crate::error::AggregateError;
use crate::owner::Surroundings;
use crate::references::References;

/// Editions, and readings of them, that are kept; others are read again.
const KEPT: usize = 8;

/// Editions of one store.
#[derive(Debug)]
pub struct ReferenceFeed {
    store: ReferenceStore,
    surroundings: Surroundings,
    newest: RwLock<Arc<ReadEdition>>,
    editions: Mutex<BTreeMap<u64, Arc<ReadEdition>>>,
    readings: Mutex<BTreeMap<ReferenceVersion, ReferenceData>>,
}

/// An edition, with its packages ready to be shared.
#[derive(Debug)]
struct ReadEdition {
    whole: Whole,
    packages: Arc<tally_quota::QuotaReference>,
}

impl ReadEdition {
    fn new(whole: Whole) -> Arc<Self> {
        let packages = Arc::new(whole.packages.clone());
        Arc::new(Self { whole, packages })
    }

    fn edition(&self) -> &StoredEdition {
        &self.whole.edition
    }
}

impl ReferenceFeed {
    /// Reads the last edition of a store; the first is made where there is none.
    ///
    /// # Errors
    /// `Retry` while the store is away, `Data` where what is stored is damaged.
    pub async fn open(surroundings: Surroundings) -> Result<Self, AggregateError> {
        let store = ReferenceStore::new(Arc::clone(&surroundings.store));
        let last = store.begin(surroundings.edge.now_ms()).await?;
        let newest = ReadEdition::new(store.whole(last).await?);
        Ok(Self {
            store,
            surroundings,
            newest: RwLock::new(newest),
            editions: Mutex::default(),
            readings: Mutex::default(),
        })
    }

    /// Looks for a newer edition; tells whether there was one.
    ///
    /// # Errors
    /// As [`Self::open`]; the edition before stays then.
    pub async fn refresh(&self) -> Result<bool, AggregateError> {
        let known = self.newest.read().edition().edition.edition;
        let last = self.store.last_edition(known).await?;
        let Some(last) = last.filter(|last| last.edition.edition > known) else {
            return Ok(false);
        };
        let read = ReadEdition::new(self.store.whole(last).await?);
        *self.newest.write() = read;
        Ok(true)
    }

    /// An edition as it is read at a time.
    fn reading(&self, edition: &ReadEdition, known_at_ms: i64) -> ReferenceData {
        let version = edition.edition().read_at(known_at_ms);
        let mut readings = self.readings.lock();
        if let Some(known) = readings.get(&version) {
            return known.clone();
        }
        let data = ReferenceData {
            version: version.clone(),
            card: Arc::new(RateCard::new(&edition.whole.book, Some(known_at_ms))),
            packages: Arc::clone(&edition.packages),
        };
        while readings.len() >= KEPT {
            readings.pop_first();
        }
        readings.insert(version, data.clone());
        data
    }

    async fn edition(&self, number: u64) -> Result<Arc<ReadEdition>, AggregateError> {
        let newest = Arc::clone(&self.newest.read());
        if newest.edition().edition.edition == number {
            return Ok(newest);
        }
        if let Some(known) = self.editions.lock().get(&number) {
            return Ok(Arc::clone(known));
        }
        let stored = self.store.edition(number).await?.ok_or_else(|| {
            AggregateError::Damaged(format!("edition {number} of the reference data is missing"))
        })?;
        let read = ReadEdition::new(self.store.whole(stored).await?);
        let mut editions = self.editions.lock();
        while editions.len() >= KEPT {
            editions.pop_first();
        }
        editions.insert(number, Arc::clone(&read));
        Ok(read)
    }

    async fn exactly(&self, version: &ReferenceVersion) -> Result<ReferenceData, AggregateError> {
        let edition = self.edition(version.edition).await?;
        let found = edition.edition().read_at(version.known_at_ms);
        if found != *version {
            return Err(AggregateError::Damaged(format!(
                "the ledger names reference data {version}, the store has {found}"
            )));
        }
        Ok(self.reading(&edition, version.known_at_ms))
    }
}

impl References for ReferenceFeed {
    fn newest(&self) -> ReferenceData {
        let newest = Arc::clone(&self.newest.read());
        self.reading(&newest, newest.whole.known_at_ms(self.surroundings.edge.now_ms()))
    }

    fn newer_than(&self, current: &ReferenceVersion) -> Option<ReferenceData> {
        let newest = Arc::clone(&self.newest.read());
        // Clocks of two owners differ: what one of them knew stays known.
        let now_ms = self.surroundings.edge.now_ms();
        let known_at_ms = newest.whole.known_at_ms(now_ms).max(current.known_at_ms);
        let edition = newest.edition().edition.edition;
        ((edition, known_at_ms) > (current.edition, current.known_at_ms))
            .then(|| self.reading(&newest, known_at_ms))
    }

    fn load<'a>(
        &'a self,
        version: &'a ReferenceVersion,
    ) -> BoxFuture<'a, Result<ReferenceData, AggregateError>> {
        Box::pin(self.exactly(version))
    }
}
