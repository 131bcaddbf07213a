//! A store in memory, and files that people write.

use std::sync::Arc;

use object_store::memory::InMemory;
use tally_rating::{Call, LaneKey, RateCard, Side, parse_instant};
use tally_reference::{
    FileOrigin, Imported, NewFiles, ReferenceError, ReferenceKind, ReferenceStore, StoredFile,
    Whole,
};
use tally_schemas::{TokenClass, UsageCounts};

pub(crate) const PRICE: ReferenceKind = ReferenceKind::Price;

/// An instant of Beijing time.
pub(crate) fn at(text: &str) -> i64 {
    parse_instant(&format!("{text}+08:00")).unwrap()
}

/// Noon of the day on which most tests happen.
pub(crate) fn noon() -> i64 {
    at("2026-11-26T12:00:00")
}

pub(crate) struct World {
    pub(crate) objects: Arc<InMemory>,
    pub(crate) store: ReferenceStore,
}

impl World {
    pub(crate) fn new() -> Self {
        let objects = Arc::new(InMemory::new());
        let store = ReferenceStore::new(Arc::clone(&objects) as Arc<dyn object_store::ObjectStore>);
        Self { objects, store }
    }

    pub(crate) async fn import(
        &self,
        kind: ReferenceKind,
        name: &str,
        text: &str,
        by: &str,
        now_ms: i64,
    ) -> Result<Imported, ReferenceError> {
        let files = vec![StoredFile { name: name.to_owned(), text: text.to_owned() }];
        let new = NewFiles { kind, files, origin: FileOrigin::Written };
        self.store.import(&new, by, now_ms).await
    }

    /// Imports prices by alice and approves them by bob.
    pub(crate) async fn put_in_force(&self, text: &str, now_ms: i64) -> u64 {
        let imported = self.import(PRICE, "prices.csv", text, "alice", now_ms).await.unwrap();
        let version = imported.version.unwrap();
        self.store.approve(PRICE, version, "bob", now_ms).await.unwrap();
        version
    }

    pub(crate) async fn whole(&self) -> Whole {
        self.store.newest_whole().await.unwrap()
    }
}

/// A price list: id, yuan a million of acme-1's input tokens, valid from, valid to, known from.
pub(crate) fn prices(rows: &[[&str; 5]]) -> String {
    let mut text = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,valid_from,valid_to,known_from\n".to_owned();
    for [id, yuan, from, to, known] in rows {
        let line = format!(
            "{id},wholesale,acme,acme-1,input,token,CNY,{yuan}000000,{from},{to},{known}\n"
        );
        text.push_str(&line);
    }
    text
}

/// Yuan of a million input tokens of acme-1 at an instant, by what is known at another; `None`
/// where it has no price.
pub(crate) fn yuan(whole: &Whole, known_at_ms: i64, at_ms: i64) -> Option<i128> {
    let card = RateCard::new(&whole.book, Some(known_at_ms));
    let key = LaneKey {
        vendor: "acme",
        supplier: "acme",
        billed_model: "acme-1",
        service_tier: "standard",
        region: None,
    };
    let lane = card.lane(Side::Wholesale, &key);
    let mut usage = UsageCounts::default();
    usage.set(TokenClass::Input, 1_000_000);
    let call = Call { usage: &usage, started_at_ms: at_ms, completed_at_ms: at_ms };
    let rated = card.rate(&lane, &call).ok()?;
    Some(rated.amount_pico / 1_000_000_000_000)
}
