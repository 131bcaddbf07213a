//! Roll-ups lie beside their files, are named in the log, and go with their files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use support::{Fault, FaultStore, Ledger, TOPIC, objects, pin, values, wall_ms};
use tally_schemas::{RollUp, Table};
use tally_tables::{AsOf, Janitor, JanitorReport, JanitorSettings, Publisher, TableSet};

const DAY_MS: i64 = 86_400_000;
const TABLES: [Table; 2] = [Table::UsageEvents, Table::QuotaLedger];

/// Four files are merged.
const FEW: usize = 4;
/// None are.
const MANY: usize = 1_000;

fn settings(rows_min: u64, merge_files_min: usize) -> JanitorSettings {
    JanitorSettings {
        merge_files_min,
        checkpoint_commits: 3,
        roll_up_rows_min: rows_min,
        ..JanitorSettings::default()
    }
}

async fn publish(store: &Arc<dyn ObjectStore>, entries: std::ops::Range<u64>) {
    let ledger = Ledger::new(store, 1);
    for n in entries {
        ledger.commit(0, n, &TABLES).await;
    }
    Publisher::new(Arc::clone(store), TOPIC, 1).publish_committed().await.unwrap();
}

async fn run(
    store: &Arc<dyn ObjectStore>,
    now_ms: i64,
    (rows_min, merge_files_min): (u64, usize),
) -> JanitorReport {
    let mut janitor = Janitor::new(Arc::clone(store), TOPIC, 1);
    let report = janitor.run_once(now_ms, &settings(rows_min, merge_files_min)).await;
    assert!(report.failures.is_empty(), "{report}");
    report
}

/// The roll-ups that the latest version names, of every table.
async fn named(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    let tables = pin(store).await;
    let mut paths = Vec::new();
    for roll_up in RollUp::ALL {
        let pinned = tables.get(roll_up.table()).unwrap();
        let (rolled, _) = pinned.rolled_up(roll_up);
        for file in rolled.files {
            let object = pinned.object_path(&file);
            assert_eq!(store.head(&object).await.unwrap().size, file.size, "{object}");
            paths.push(object.to_string());
        }
    }
    paths.sort();
    paths
}

async fn stored(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    let all = objects(store, "tables").await;
    all.into_iter().filter(|path| path.contains("/_roll_ups/")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merged_files_get_roll_ups_that_checkpoints_keep_and_vacuum_removes_with_them() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    publish(&store, 0..4).await;
    let before = values(&store, Table::UsageEvents, "input").await;
    // Files of three rows are too small, what four become is not.
    let report = run(&store, wall_ms(), (12, FEW)).await;
    assert_eq!((report.merges, report.files_rolled_up), (2, 2));
    // What a new reader knows of them is from a checkpoint.
    assert!(report.checkpoints >= 2, "{report}");
    let first = named(&store).await;
    assert_eq!(first.len(), 4);
    assert_eq!(first, stored(&store).await);
    assert_eq!(values(&store, Table::UsageEvents, "input").await, before);
    assert_eq!(run(&store, wall_ms(), (12, FEW)).await.files_rolled_up, 0);

    publish(&store, 4..24).await;
    let report = run(&store, wall_ms(), (12, FEW)).await;
    assert!(report.merges >= 2 && report.files_rolled_up >= 2, "{report}");
    let second = named(&store).await;
    assert_ne!(first, second);
    // Older versions still have theirs.
    let gone: Vec<&String> = first.iter().filter(|path| !second.contains(path)).collect();
    assert!(!gone.is_empty());
    for path in &gone {
        store.head(&Path::from(path.as_str())).await.unwrap();
    }
    run(&store, wall_ms() + 3 * DAY_MS, (12, FEW)).await;
    assert_eq!(stored(&store).await, second);
    assert_eq!(named(&store).await, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_before_get_theirs_and_versions_of_before_have_none() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    publish(&store, 0..3).await;
    assert_eq!(run(&store, wall_ms(), (1_000, MANY)).await.files_rolled_up, 0);
    let version = pin(&store).await.get(Table::UsageEvents).unwrap().version.unwrap();
    assert_eq!(run(&store, wall_ms(), (1, MANY)).await.files_rolled_up, 6);
    assert_eq!(named(&store).await.len(), 12);
    let old = TableSet::open(Arc::clone(&store)).pin(Some(AsOf::Version(version))).await.unwrap();
    let (rolled, others) = old.get(Table::UsageEvents).unwrap().rolled_up(RollUp::UsageByDay);
    assert_eq!((rolled.files.len(), others.files.len()), (0, 3));
    // A version that knows none has removed one as garbage.
    let lost = Path::from(named(&store).await[0].as_str());
    store.delete(&lost).await.unwrap();
    assert_eq!(run(&store, wall_ms(), (1, MANY)).await.files_rolled_up, 1);
    assert_eq!(named(&store).await.len(), 12);
}

/// A janitor that is killed at any put leaves nothing that the next one does not put right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_janitor_that_ends_anywhere_leaves_no_name_without_a_roll_up() {
    for fault in [Fault::Lost, Fault::ReplyLost] {
        for k in 0..40 {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            publish(&store, 0..5).await;
            let failing = Arc::new(FaultStore::new(Arc::clone(&store), k, fault));
            let mut janitor = Janitor::new(failing.clone(), TOPIC, 1);
            janitor.run_once(wall_ms(), &settings(1, FEW)).await;
            named(&store).await;
            let had_failed = failing.has_failed();
            run(&store, wall_ms(), (1, FEW)).await;
            let tables = pin(&store).await;
            for roll_up in RollUp::ALL {
                let (rolled, others) = tables.get(roll_up.table()).unwrap().rolled_up(roll_up);
                assert!(!rolled.files.is_empty() && others.files.is_empty(), "{k} {fault:?}");
            }
            if !had_failed {
                break;
            }
        }
    }
}
