//! Bytes as an entry of the ledger, in a store: read or refused. What is an entry is written with
//! its checksum and read again, adds up or does not, and tells what it adds by model.

#![no_main]

use std::sync::Arc;

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, path::Path};
use tally_aggregate::ledger::{encode, floor, hash_of, read_entry};
use tally_budget::{BudgetBook, BudgetStage};
use tally_schemas::{EpochIncrements, LedgerEntry, entry_path, floor_path};

fuzz_target!(|bytes: &[u8]| {
    let store = InMemory::new();
    put(&store, &entry_path("t", 0, 0), bytes.to_vec());
    put(&store, &floor_path("t", 0), bytes.to_vec());
    drop(block_on(read_entry(&store, "t", 0, 0)));
    drop(block_on(floor(&store, "t", 0)));
    let Ok(entry) = serde_json::from_slice::<LedgerEntry>(bytes) else {
        drop(BudgetStage::restored(Arc::new(BudgetBook::default()), [bytes], &[], None));
        return;
    };
    let written = encode(&entry).expect("an entry can be written");
    let path = entry_path(&entry.topic, entry.partition, entry.n);
    put(&store, &path, written.to_vec());
    // Not where a later build wrote it.
    if let Ok(read) = block_on(read_entry(&store, &entry.topic, entry.partition, entry.n)) {
        let read = read.expect("the entry is there");
        assert_eq!((&read.entry, read.hash), (&entry, hash_of(&written)));
    }
    entry.totals.conserved();
    let mut sum = entry.cumulative.clone();
    sum.merge(&entry.totals);
    sum.conserved();
    let increments = EpochIncrements::of_entry(&entry, "");
    let text = serde_json::to_vec(&increments).expect("increments can be written");
    assert_eq!(serde_json::from_slice::<EpochIncrements>(&text).ok(), Some(increments));
    for pair in entry.models.windows(2) {
        drop(pair[0].sums.plus(&pair[1].sums));
        pair[0].sums.tokens();
    }
});

fn put(store: &InMemory, path: &str, bytes: Vec<u8>) {
    // A path that the store does not take holds nothing.
    drop(block_on(store.put(&Path::from(path), bytes.into())));
}
