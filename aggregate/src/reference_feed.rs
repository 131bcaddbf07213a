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
use crate::references::{Found, References};

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

    /// An edition; none where there is none of this number.
    async fn edition(&self, number: u64) -> Result<Option<Arc<ReadEdition>>, AggregateError> {
        let newest = Arc::clone(&self.newest.read());
        if newest.edition().edition.edition == number {
            return Ok(Some(newest));
        }
        if let Some(known) = self.editions.lock().get(&number) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(stored) = self.store.edition(number).await? else { return Ok(None) };
        let read = ReadEdition::new(self.store.whole(stored).await?);
        let mut editions = self.editions.lock();
        while editions.len() >= KEPT {
            editions.pop_first();
        }
        editions.insert(number, Arc::clone(&read));
        Ok(Some(read))
    }

    async fn exactly(&self, version: &ReferenceVersion) -> Result<Found, AggregateError> {
        let Some(edition) = self.edition(version.edition).await? else { return Ok(Found::Absent) };
        // Of two times between which nothing becomes known, one has the name.
        let read_at_ms = edition.whole.known_at_ms(version.known_at_ms);
        let there = edition.edition().read_at(read_at_ms);
        if there != *version {
            return Ok(Found::Other(there));
        }
        Ok(Found::Here(self.reading(&edition, read_at_ms)))
    }
}

impl References for ReferenceFeed {
    fn newest(&self) -> ReferenceData {
        let newest = Arc::clone(&self.newest.read());
        self.reading(&newest, newest.whole.known_at_ms(self.surroundings.edge.now_ms()))
    }

    fn newer_than(&self, current: &ReferenceVersion) -> Option<ReferenceVersion> {
        let newest = Arc::clone(&self.newest.read());
        // Clocks of two owners differ: what one of them knew stays known.
        let now_ms = self.surroundings.edge.now_ms();
        let known_at_ms = newest.whole.known_at_ms(now_ms).max(current.known_at_ms);
        let newer = newest.edition().read_at(known_at_ms);
        newer.exceeds(current).then_some(newer)
    }

    fn find<'a>(
        &'a self,
        version: &'a ReferenceVersion,
    ) -> BoxFuture<'a, Result<Found, AggregateError>> {
        Box::pin(self.exactly(version))
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use object_store::memory::InMemory;
    use tally_reference::{FileOrigin, NewFiles, ReferenceKind, StoredFile};

    use super::*;
    use crate::notice_topic::NoticeTopics;
    use crate::system_edge::SystemEdge;

    /// Version 1 of the prices, approved at `at_ms`; what it adds is known only at `known_from`.
    async fn approve(store: &ReferenceStore, known_from: &str, at_ms: i64) {
        let text = format!(
            "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,valid_from,known_from\nx,wholesale,acme,acme-1,input,token,CNY,1000000,2026-01-01,{known_from}\n"
        );
        let files = vec![StoredFile { name: "x.csv".to_owned(), text }];
        let kind = ReferenceKind::Price;
        let new = NewFiles { kind, files, origin: FileOrigin::Written };
        let version = store.import(&new, "alice", at_ms).await.unwrap().version.unwrap();
        store.approve(kind, version, "bob", at_ms).await.unwrap();
    }

    async fn found(feed: &ReferenceFeed, version: &ReferenceVersion) -> String {
        match feed.find(version).await.unwrap() {
            Found::Here(data) => format!("here {}", data.version),
            Found::Other(there) => format!("other {there}"),
            Found::Absent => "absent".to_owned(),
        }
    }

    #[test]
    fn a_version_is_what_was_approved_and_as_it_may_be_read() {
        block_on(async {
            let store: Arc<dyn object_store::ObjectStore> = Arc::new(InMemory::new());
            let notices = NoticeTopics::default();
            let edge = Arc::new(SystemEdge::default());
            let references = ReferenceStore::new(Arc::clone(&store));
            let feed = ReferenceFeed::open(Surroundings { store, edge, notices }).await.unwrap();
            let first = feed.newest().version;
            assert_eq!(found(&feed, &first).await, format!("here {first}"));
            assert_eq!(feed.newer_than(&first), None);
            let first_of = |change: fn(&mut ReferenceVersion)| {
                let mut version = first.clone();
                change(&mut version);
                version
            };
            for forged in [
                first_of(|version| version.hash.replace_range(0..1, "x")),
                first_of(|version| version.known_at_ms += 1),
                first_of(|version| version.known_at_ms -= 1),
            ] {
                assert_eq!(found(&feed, &forged).await, format!("other {first}"), "{forged}");
            }
            assert_eq!(found(&feed, &first_of(|version| version.edition = 1)).await, "absent");
            // Another process has heard of the approval, this one has not.
            approve(&references, "2099-01-01", first.known_at_ms + 5).await;
            let stored = references.edition(1).await.unwrap().unwrap();
            let second = stored.read_at(first.known_at_ms);
            assert_eq!(found(&feed, &second).await, format!("here {second}"));
            assert_eq!(feed.newer_than(&first), None);
            assert!(feed.refresh().await.unwrap());
            assert_eq!(feed.newer_than(&first), Some(second.clone()));
            assert_eq!(feed.newer_than(&second), None);
            // What becomes known later has a name of its own, and no time between has one.
            let whole = references.whole(stored.clone()).await.unwrap();
            let later_ms = whole.readings_ms().last().unwrap();
            assert!(later_ms > first.known_at_ms);
            let later = stored.read_at(later_ms);
            assert_eq!(found(&feed, &later).await, format!("here {later}"));
            let between = stored.read_at(later_ms - 1);
            assert_eq!(found(&feed, &between).await, format!("other {second}"));
        });
    }
}
