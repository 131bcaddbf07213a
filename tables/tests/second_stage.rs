//! The ledger of the second stage beside those of the partitions: both publish into one table, and
//! the janitor keeps what it has not added.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use support::{Ledger, TOPIC, paths, pin, wall_ms};
use tally_aggregate::ledger::{claim_entry, encode, floor};
use tally_schemas::{LedgerEntry, SourcePosition, Table, entry_path};
use tally_tables::{Janitor, JanitorSettings, Publisher};

const MODELS: &str = "usage.models";
const DAY_MS: i64 = 86_400_000;

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// Creates entry `n` of the second stage with a file of alerts, having added partition 0 up to
/// `next`.
async fn commit(store: &Arc<dyn ObjectStore>, n: u64, next: u64) -> LedgerEntry {
    // Files of a partition that the other ledger does not have.
    let file = Ledger::new(store, 1).file(Table::Alerts, 9, n, &[1, 2, 3]).await;
    let mut entry = claim_entry(MODELS, 0, 1, "owner", None, 0, wall_ms());
    entry.n = n;
    entry.files = vec![file];
    let watermark_ms = None;
    let entry_hash = String::new();
    entry.sources =
        vec![SourcePosition { partition: 0, first: 0, next, entry: entry_hash, watermark_ms }];
    let path = Path::from(entry_path(MODELS, 0, n));
    store.put(&path, encode(&entry).unwrap().into()).await.unwrap();
    entry
}

fn of_stage(store: &Arc<dyn ObjectStore>) -> Publisher {
    Publisher::of_tables(Arc::clone(store), MODELS, 1, &[Table::Alerts])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ledgers_publish_into_one_table_each_file_once() {
    let store = memory();
    let ledger = Ledger::new(&store, 2);
    for n in 0..20 {
        ledger.commit(0, n, &[Table::Alerts, Table::UsageEvents]).await;
        ledger.commit(1, n, &[Table::Alerts]).await;
        commit(&store, n, 0).await;
    }
    let racing = |mut publisher: Publisher| {
        tokio::spawn(async move { while publisher.publish_committed().await.is_err() {} })
    };
    let publishers = [
        racing(Publisher::new(Arc::clone(&store), TOPIC, 2)),
        racing(of_stage(&store)),
        racing(Publisher::new(Arc::clone(&store), TOPIC, 2)),
        racing(of_stage(&store)),
    ];
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let tables = pin(&store).await;
    let mut files = paths(&tables, Table::Alerts);
    assert_eq!(files.len(), 60);
    files.sort();
    files.dedup();
    assert_eq!(files.len(), 60, "a file is there twice");
    assert_eq!(paths(&tables, Table::UsageEvents).len(), 20);
    let again = of_stage(&store).publish_committed().await.unwrap();
    assert_eq!((again.files, again.commits), (0, 0));
}

#[tokio::test]
async fn entries_that_budgets_have_not_added_are_kept() {
    let store = memory();
    let ledger = Ledger::new(&store, 1);
    for n in 0..30 {
        ledger.commit(0, n, &[Table::UsageEvents]).await;
    }
    Publisher::new(Arc::clone(&store), TOPIC, 1).publish_committed().await.unwrap();
    let settings = JanitorSettings { ledger_entries_min: 3, ..JanitorSettings::default() };
    let run = async || {
        let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1).with_second_stage(MODELS);
        let report = janitor.run_once(wall_ms() + 2 * DAY_MS, &settings).await;
        assert!(report.failures.is_empty(), "{report}");
        floor(store.as_ref(), TOPIC, 0).await.unwrap()
    };
    assert_eq!(run().await, 0, "the stage has not begun");
    commit(&store, 0, 12).await;
    assert_eq!(run().await, 12);
    commit(&store, 1, 30).await;
    assert_eq!(run().await, 27, "the last ones are kept");
}

#[tokio::test]
async fn alerts_of_budgets_that_are_not_published_are_no_garbage() {
    let store = memory();
    let entry = commit(&store, 0, 0).await;
    let orphan = Path::from("tables/alerts/orphan.parquet");
    store.put(&orphan, "orphan".into()).await.unwrap();
    // The tables must be there, as the janitor leaves alone what is not.
    Publisher::new(Arc::clone(&store), TOPIC, 1).publish_committed().await.unwrap();
    let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1).with_second_stage(MODELS);
    let report = janitor.run_once(wall_ms() + 2 * DAY_MS, &JanitorSettings::default()).await;
    assert!(report.failures.is_empty(), "{report}");
    assert!(store.head(&orphan).await.is_err());
    let file = Path::from(format!("tables/alerts/{}", entry.files[0].path));
    assert!(store.head(&file).await.is_ok(), "{file} is yet to be published");
    of_stage(&store).publish_committed().await.unwrap();
    assert_eq!(paths(&pin(&store).await, Table::Alerts).len(), 1);
}
