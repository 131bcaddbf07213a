//! A table that is moved away is missed by whoever needs it, and nothing of it is taken for garbage.

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
use support::{Ledger, TOPIC, objects, pin, values, wall_ms};
use tally_schemas::Table;
use tally_tables::{ErrorKind, Janitor, JanitorSettings, Publisher, TableSet, gone_tables};

const ALL: [Table; 8] = Table::ALL;
const DAY_MS: i64 = 86_400_000;
const LOG: &str = "tables/usage_events/_delta_log";

async fn rename(store: &Arc<dyn ObjectStore>, from: &str, to: &str) {
    for object in objects(store, from).await {
        let target = Path::from(object.replace(from, to));
        store.rename(&Path::from(object), &target).await.unwrap();
    }
}

async fn keep(store: &Arc<dyn ObjectStore>, now_ms: i64) -> Vec<String> {
    let mut janitor = Janitor::new(Arc::clone(store), TOPIC, 1);
    janitor.run_once(now_ms, &JanitorSettings::default()).await.failures
}

/// With `checkpoint` the log's first versions are gone before, as the janitor leaves an old table.
async fn is_missed(checkpoint: bool) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let ledger = Ledger::new(&store, 1);
    let mut publisher = Publisher::new(Arc::clone(&store), TOPIC, 1);
    // Two days from now what is there is garbage, if nothing refers to it.
    let late_ms = wall_ms() + 2 * DAY_MS;
    for n in 0..3 {
        ledger.commit(0, n, &ALL).await;
        publisher.publish_committed().await.unwrap();
    }
    if checkpoint {
        let settings = JanitorSettings { checkpoint_commits: 1, ..JanitorSettings::default() };
        let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1);
        for now_ms in [late_ms, late_ms + 2 * DAY_MS] {
            let failures = janitor.run_once(now_ms, &settings).await.failures;
            assert!(failures.is_empty(), "{failures:?}");
        }
        let first = Path::from(format!("{LOG}/{:020}.json", 0));
        assert!(store.head(&first).await.is_err(), "the first version is still there");
    }
    assert_eq!(gone_tables(&store).await.unwrap(), []);

    rename(&store, LOG, "elsewhere").await;
    let files = objects(&store, "tables/usage_events").await;
    assert_eq!(gone_tables(&store).await.unwrap(), [Table::UsageEvents]);
    ledger.commit(0, 3, &ALL).await;
    // Who knows the table, and who begins.
    let fresh = Publisher::new(Arc::clone(&store), TOPIC, 1);
    for mut publisher in [publisher, fresh] {
        let error = publisher.publish_committed().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retry);
        assert!(error.to_string().contains("usage_events is not where it was"), "{error}");
    }
    let error = TableSet::open(Arc::clone(&store)).pin(None).await.unwrap_err();
    assert!(error.to_string().contains("usage_events is not where it was"), "{error}");
    let failures = keep(&store, late_ms + 5 * DAY_MS).await;
    assert!(failures.iter().any(|why| why.contains("not where it was")), "{failures:?}");
    let left = objects(&store, "tables/usage_events").await;
    assert!(files.iter().all(|file| left.contains(file)), "{files:?} and now {left:?}");

    rename(&store, "elsewhere", LOG).await;
    assert_eq!(gone_tables(&store).await.unwrap(), []);
    let mut publisher = Publisher::new(Arc::clone(&store), TOPIC, 1);
    publisher.publish_committed().await.unwrap();
    assert!(pin(&store).await.get(Table::UsageEvents).unwrap().version.is_some());
    assert_eq!(values(&store, Table::UsageEvents, "input").await.len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_young_table_that_is_moved_away_is_missed() {
    is_missed(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_table_that_is_moved_away_is_missed() {
    is_missed(true).await;
}
