//! Histories of a ledger. One that was restored goes on from an entry from which the lost one went
//! on too, so that the hash of the entry before does not tell them apart: the ledger does.

use futures::future::try_join_all;
use object_store::ObjectStore;
use tally_schemas::{EpochIncrements, LedgerEntry, SourcePosition};

use crate::error::AggregateError;
use crate::ledger;

/// Whether the ledger of a message's partition has another entry under its number, or none yet.
///
/// # Errors
/// As [`ledger::read_entry`].
pub(crate) async fn is_of_another(
    store: &dyn ObjectStore,
    message: &EpochIncrements,
) -> Result<bool, AggregateError> {
    let EpochIncrements { topic, partition, epoch, entry, .. } = message;
    Ok(!has(store, topic, *partition, *epoch, entry).await?)
}

/// Checks that what the second stage has added, by the last entry of its ledger, is what the ledgers
/// of the partitions have. A stage that was restored as of a later moment than they were has added
/// epochs that they will make differently, and nothing takes these out of its sums.
///
/// # Errors
/// `Data` where that is so; else as [`ledger::read_entry`].
pub(crate) async fn check_added(
    store: &dyn ObjectStore,
    source_topic: &str,
    last: &LedgerEntry,
) -> Result<(), AggregateError> {
    let added = last.sources.iter().filter(|source| !source.entry.is_empty());
    try_join_all(added.map(|source| check_source(store, source_topic, source))).await.map(drop)
}

async fn check_source(
    store: &dyn ObjectStore,
    topic: &str,
    source: &SourcePosition,
) -> Result<(), AggregateError> {
    // Each entry has the hash of the one before, so that the last one tells of all.
    let (partition, n) = (source.partition, source.next.saturating_sub(1));
    if has(store, topic, partition, n, &source.entry).await? {
        return Ok(());
    }
    Err(AggregateError::Damaged(format!(
        "budgets: entry {n} of partition {partition} was added, and its ledger has another one or \
         none, as after a restore: set budgets.topic to a new topic, for which budgets are added up \
         anew"
    )))
}

/// Whether entry `n` has this hash, or was cleaned up: then nobody can tell any more.
async fn has(
    store: &dyn ObjectStore,
    topic: &str,
    partition: u32,
    n: u64,
    hash: &str,
) -> Result<bool, AggregateError> {
    match ledger::read_entry(store, topic, partition, n).await? {
        Some(stored) => Ok(stored.hash == hash),
        None => Ok(ledger::floor(store, topic, partition).await? > n),
    }
}
