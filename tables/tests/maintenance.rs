//! The janitor changes no answer and removes nothing that anybody can need.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::Arc;

use deltalake_core::DeltaTable;
use deltalake_core::logstore::{StorageConfig, default_logstore};
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Fault, FaultStore, Ledger, TOPIC, objects, paths, pin, values, wall_ms};
use tally_schemas::{LedgerFloor, Table, floor_path};
use tally_tables::{AsOf, Janitor, JanitorSettings, Publisher, StatValue, TableSet};

const DAY_MS: i64 = 86_400_000;
const ALL: [Table; 8] = Table::ALL;

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

fn settings() -> JanitorSettings {
    JanitorSettings {
        checkpoint_commits: 5,
        merge_files_min: 4,
        ledger_entries_min: 3,
        ..JanitorSettings::default()
    }
}

async fn publish(store: &Arc<dyn ObjectStore>, partitions: u32) {
    Publisher::new(Arc::clone(store), TOPIC, partitions).publish_committed().await.unwrap();
}

/// Publishes entry by entry, so that each is a Delta commit of its own.
async fn publish_singly(store: &Arc<dyn ObjectStore>, entries: std::ops::Range<u64>) {
    let ledger = Ledger::new(store, 1);
    let mut publisher = Publisher::new(Arc::clone(store), TOPIC, 1);
    for n in entries {
        ledger.commit(0, n, &ALL).await;
        publisher.publish_committed().await.unwrap();
    }
}

/// The table as the Delta library reads it: an implementation that is not ours.
async fn by_library(store: &Arc<dyn ObjectStore>, table: Table) -> DeltaTable {
    let root = Path::from_iter(["tables", table.name()]);
    let url = url::Url::parse(&format!("memory://tally--x-s3/tables/{}/", table.name())).unwrap();
    let below = Arc::new(PrefixStore::new(Arc::clone(store), root));
    let log = default_logstore(below, Arc::clone(store), &url, &StorageConfig::default());
    let mut delta = DeltaTable::new(log);
    delta.load().await.unwrap();
    delta
}

async fn library_paths(store: &Arc<dyn ObjectStore>, table: Table) -> Vec<String> {
    let delta = by_library(store, table).await;
    let mut paths: Vec<String> = delta
        .get_active_add_actions_by_predicate(None)
        .map_ok(|file| file.path().to_string())
        .try_collect()
        .await
        .unwrap();
    paths.sort();
    paths
}

async fn run(store: &Arc<dyn ObjectStore>, partitions: u32, now_ms: i64) -> String {
    let report =
        Janitor::new(Arc::clone(store), TOPIC, partitions).run_once(now_ms, &settings()).await;
    assert!(report.failures.is_empty(), "{report}");
    report.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_reader_sees_the_same_table_with_comments() {
    let store = memory();
    publish_singly(&store, 0..12).await;
    run(&store, 1, wall_ms()).await;
    publish_singly(&store, 12..14).await;
    let tables = pin(&store).await;
    for table in ALL {
        let pinned = tables.get(table).unwrap();
        assert_eq!(library_paths(&store, table).await, paths(&tables, table));
        let delta = by_library(&store, table).await;
        assert_eq!(delta.version(), pinned.version);
        let snapshot = delta.snapshot().unwrap();
        assert_eq!(snapshot.metadata().description(), Some(table.comment()));
        assert_eq!(snapshot.metadata().partition_columns(), table.partition_columns());
        for column in table.columns() {
            let field = pinned.schema.field_with_name(column.name).unwrap();
            assert_eq!(field.metadata()["comment"], column.comment);
            let schema = snapshot.schema();
            let stored = serde_json::to_string(schema.field(column.name).unwrap()).unwrap();
            assert!(stored.contains(column.comment), "{stored}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_says_what_the_commits_say_and_old_versions_stay_readable() {
    for folder in [None, Some(tempfile::tempdir().unwrap())] {
        let store: Arc<dyn ObjectStore> = match &folder {
            None => memory(),
            Some(folder) => Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap()),
        };
        publish_singly(&store, 0..3).await;
        let early = pin(&store).await;
        let early_ms = wall_ms();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        publish_singly(&store, 3..8).await;
        let before = pin(&store).await;
        let report = run(&store, 1, wall_ms()).await;
        assert!(report.starts_with("8 checkpoints, 64 files"), "{report}");
        // A fresh reader starts at the checkpoint; merging has replaced the eight files by one.
        let after = TableSet::open(Arc::clone(&store));
        let latest = after.pin(None).await.unwrap();
        for table in ALL {
            assert_eq!(paths(&latest, table).len(), 1);
            let version = before.get(table).unwrap().version.unwrap();
            let old = after.pin(Some(AsOf::Version(version))).await.unwrap();
            assert_eq!(paths(&old, table), paths(&before, table));
            let then = after.pin(Some(AsOf::TimestampMs(early_ms))).await.unwrap();
            assert_eq!(paths(&then, table), paths(&early, table));
            assert_eq!(then.get(table).unwrap().files, early.get(table).unwrap().files);
        }
        assert!(
            after
                .pin(Some(AsOf::TimestampMs(0)))
                .await
                .unwrap()
                .get(ALL[0])
                .unwrap()
                .files
                .is_empty()
        );
        // Publication goes on from the checkpoint's txn.
        publish_singly(&store, 8..9).await;
        assert_eq!(paths(&pin(&store).await, Table::Suspense).len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_files_beyond_retention_go_and_the_table_stays() {
    let store = memory();
    publish_singly(&store, 0..8).await;
    run(&store, 1, wall_ms()).await;
    publish_singly(&store, 8..14).await;
    let rows = values(&store, Table::UsageEvents, "input").await;
    run(&store, 1, wall_ms() + 2 * DAY_MS).await;
    run(&store, 1, wall_ms() + 2 * DAY_MS).await;
    let log = objects(&store, "tables/usage_events/_delta_log").await;
    assert!(!log.iter().any(|path| path.ends_with("00000000000000000000.json")), "{log:?}");
    assert_eq!(values(&store, Table::UsageEvents, "input").await, rows);
    assert_eq!(library_paths(&store, Table::UsageEvents).await, {
        paths(&pin(&store).await, Table::UsageEvents)
    });
    let gone = TableSet::open(Arc::clone(&store)).pin(Some(AsOf::Version(1))).await;
    assert_eq!(gone.unwrap_err().kind(), tally_tables::ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_slept_through_a_log_clean_up_does_not_commit_into_the_gap() {
    let store = memory();
    publish_singly(&store, 0..3).await;
    // The sleeper knows version 3 of each table. Meanwhile the table moves on, and the commits
    // after version 3 are removed, so that version 4 looks free.
    let mut sleeper = Publisher::new(Arc::clone(&store), TOPIC, 1);
    sleeper.publish_committed().await.unwrap();
    let readers = TableSet::open(Arc::clone(&store));
    readers.pin(None).await.unwrap();
    publish_singly(&store, 3..12).await;
    for _ in 0..3 {
        run(&store, 1, wall_ms() + 2 * DAY_MS).await;
    }
    let log = objects(&store, "tables/usage_events/_delta_log").await;
    assert!(!log.iter().any(|path| path.ends_with("00000000000000000004.json")), "{log:?}");
    Ledger::new(&store, 1).commit(0, 12, &ALL).await;
    for _ in 0..16 {
        sleeper.publish_committed().await.unwrap();
    }
    for table in ALL {
        let fresh = pin(&store).await;
        let kept = readers.pin(None).await.unwrap();
        assert_eq!(paths(&kept, table), paths(&fresh, table), "a reader that slept");
        assert!(paths(&fresh, table).iter().any(|path| path.contains("0-00000000000000000012")));
    }
    assert_eq!(values(&store, Table::UsageEvents, "input").await.len(), 13 * 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merging_keeps_every_row_and_sorts_them() {
    let seed = 20_261_122;
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let store = memory();
    let ledger = Ledger::new(&store, 1);
    let mut n = 0;
    let mut keys: Vec<i64> = (0..30_000).collect();
    keys.shuffle(&mut random);
    while !keys.is_empty() {
        let count = random.random_range(1..6_000_usize).min(keys.len());
        let mut part: Vec<i64> = keys.drain(..count).collect();
        if random.random_bool(0.5) {
            part.sort_unstable();
        }
        let mut entry = ledger.commit(0, n, &[]).await;
        for table in ALL {
            entry.files.push(ledger.file(table, 0, n, &part).await);
        }
        let path = Path::from(tally_schemas::entry_path(TOPIC, 0, n));
        store.put(&path, tally_aggregate::ledger::encode(&entry).unwrap().into()).await.unwrap();
        n += 1;
    }
    publish(&store, 1).await;
    let report = run(&store, 1, wall_ms()).await;
    assert!(report.contains("merged into 8"), "{report}");
    let expected: Vec<i64> = (0..30_000).collect();
    let tables = pin(&store).await;
    for table in ALL {
        let column = match table {
            Table::Suspense
            | Table::QuotaLedger
            | Table::Alerts
            | Table::ControlTotals
            | Table::SuspenseResolutions => "kafka_offset",
            _ => "input",
        };
        assert_eq!(values(&store, table, column).await, expected);
    }
    let pinned = tables.get(Table::UsageEvents).unwrap();
    let merged = pinned.files.iter().max_by_key(|file| file.rows).unwrap();
    let bytes = store.get(&pinned.object_path(merged)).await.unwrap().bytes().await.unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let account = builder.parquet_schema().columns().iter().position(|c| c.name() == "account");
    let group = builder.metadata().row_group(0);
    assert!(group.column(account.unwrap()).bloom_filter_offset().is_some());
    let mut accounts = Vec::new();
    for batch in builder.build().unwrap() {
        let batch = batch.unwrap();
        let column = batch.column_by_name("account").unwrap();
        let column = column.as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
        accounts.extend(column.iter().flatten().map(str::to_owned));
    }
    assert!(accounts.is_sorted());
    let stats = merged.column_stats("account").unwrap();
    assert_eq!(stats.min, Some(StatValue::Text(accounts[0].as_str().into())));
    assert_eq!(stats.max, Some(StatValue::Text(accounts.last().unwrap().as_str().into())));
    assert_eq!(merged.rows, Some(accounts.len() as u64));
    assert_eq!(merged.column_stats("account").unwrap().null_count, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_janitors_and_a_publisher_at_once_lose_and_double_nothing() {
    let store = memory();
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { publish_singly(&store, 0..40).await })
    };
    let janitors: Vec<_> = (0..2)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut janitor = Janitor::new(store, TOPIC, 1);
                for _ in 0..15 {
                    janitor.run_once(wall_ms(), &settings()).await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    writer.await.unwrap();
    for janitor in janitors {
        janitor.await.unwrap();
    }
    run(&store, 1, wall_ms()).await;
    for table in [Table::UsageEvents, Table::UsageByModel, Table::UsageBySubscriber] {
        let inputs = values(&store, table, "input").await;
        assert_eq!(inputs.len(), 120);
        assert!(inputs.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(library_paths(&store, table).await, paths(&pin(&store).await, table));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_janitor_killed_at_any_put_leaves_every_row_and_the_next_one_finishes() {
    for fault in [Fault::Lost, Fault::ReplyLost] {
        for k in 0.. {
            let store = memory();
            publish_singly(&store, 0..6).await;
            let faulty = Arc::new(FaultStore::new(Arc::clone(&store), k, fault));
            let late_ms = wall_ms() + 2 * DAY_MS;
            let mut killed = Janitor::new(Arc::clone(&faulty) as Arc<dyn ObjectStore>, TOPIC, 1);
            killed.run_once(late_ms, &settings()).await;
            // What is left over is removed once it is older than the retention.
            run(&store, 1, late_ms).await;
            run(&store, 1, late_ms + 2 * DAY_MS).await;
            run(&store, 1, late_ms + 4 * DAY_MS).await;
            for table in ALL {
                let column = match table {
                    Table::Suspense
                    | Table::QuotaLedger
                    | Table::Alerts
                    | Table::ControlTotals
                    | Table::SuspenseResolutions => "kafka_offset",
                    _ => "input",
                };
                assert_eq!(values(&store, table, column).await.len(), 18, "{fault:?} at {k}");
                let live = paths(&pin(&store).await, table);
                assert_eq!(live.len(), 1, "{fault:?} at {k}");
                let stored: Vec<String> = objects(&store, &format!("tables/{}", table.name()))
                    .await
                    .into_iter()
                    .filter(|path| path.ends_with(".parquet") && !path.contains("_delta_log"))
                    .collect();
                assert_eq!(stored.len(), 1, "{fault:?} at {k}: {stored:?}");
            }
            if !faulty.has_failed() {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_takes_orphans_and_neither_live_nor_unpublished_nor_recent_files() {
    let store = memory();
    publish_singly(&store, 0..6).await;
    let ledger = Ledger::new(&store, 1);
    // Committed, not yet published; and a file that nobody committed.
    let unpublished = ledger.commit(0, 6, &ALL).await;
    let orphan = Path::from("tables/usage_events/day=2026-11-22/orphan.parquet");
    store.put(&orphan, "orphan".into()).await.unwrap();
    let late_ms = wall_ms() + 2 * DAY_MS;
    let before = paths(&pin(&store).await, Table::UsageEvents);
    run(&store, 1, wall_ms()).await;
    assert!(store.head(&orphan).await.is_ok(), "younger than the retention");
    run(&store, 1, late_ms).await;
    assert!(store.head(&orphan).await.is_err());
    for file in &unpublished.files {
        let path = Path::from(format!("tables/{}/{}", file.table, file.path));
        assert!(store.head(&path).await.is_ok(), "{path} is yet to be published");
    }
    publish(&store, 1).await;
    assert_eq!(values(&store, Table::UsageEvents, "input").await.len(), 21);
    // The first run merged the six files; readers of the version before are still served until
    // the retention has passed since then.
    assert_eq!(before.len(), 6);
    let store = memory();
    publish_singly(&store, 0..6).await;
    let before = pin(&store).await;
    run(&store, 1, late_ms).await;
    run(&store, 1, late_ms + DAY_MS / 2).await;
    let pinned = before.get(Table::UsageEvents).unwrap();
    for file in &pinned.files {
        assert!(store.head(&pinned.object_path(file)).await.is_ok(), "removed half a day ago");
    }
    run(&store, 1, late_ms + 2 * DAY_MS).await;
    for file in &pinned.files {
        assert!(store.head(&pinned.object_path(file)).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_floor_rises_first_and_only_over_published_aged_entries() {
    let store = memory();
    publish_singly(&store, 0..20).await;
    let ledger = Ledger::new(&store, 1);
    for n in 20..30 {
        ledger.commit(0, n, &ALL).await;
    }
    let floor = || async {
        let bytes = store.get(&Path::from(floor_path(TOPIC, 0))).await.ok()?.bytes().await.unwrap();
        Some(serde_json::from_slice::<LedgerFloor>(&bytes).unwrap().n)
    };
    let entries = || async {
        objects(&store, "ledger").await.iter().filter(|path| !path.contains("floor")).count()
    };
    run(&store, 1, wall_ms()).await;
    assert_eq!((floor().await, entries().await), (None, 30), "nothing is old enough");
    let late_ms = wall_ms() + 2 * DAY_MS;
    run(&store, 1, late_ms).await;
    assert_eq!((floor().await, entries().await), (Some(20), 30), "entries 20… are unpublished");
    run(&store, 1, late_ms).await;
    assert_eq!(entries().await, 10, "what is below the floor goes in the next run");
    publish(&store, 1).await;
    run(&store, 1, late_ms).await;
    run(&store, 1, late_ms).await;
    assert_eq!((floor().await, entries().await), (Some(27), 3), "the last ones are kept");
    // The state of entry 27 is base 20 and deltas 21 to 27; later ones add 28 and 29.
    let states = objects(&store, "state").await;
    assert_eq!(states.len(), 10, "{states:?}");
    assert!(states[0].contains("base-00000000000000000020"));
    // A restart publishes on from the floor.
    ledger.commit(0, 30, &ALL).await;
    publish(&store, 1).await;
    assert_eq!(values(&store, Table::UsageEvents, "input").await.len(), 31 * 3);
    // A floor that a janitor from the past has lowered is put right.
    let low = serde_json::to_vec(&LedgerFloor { n: 5 }).unwrap();
    store.put(&Path::from(floor_path(TOPIC, 0)), low.into()).await.unwrap();
    run(&store, 1, wall_ms()).await;
    assert_eq!(floor().await, Some(27));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_segments_go_by_the_watermark_and_foreign_state_stays() {
    let store = memory();
    publish_singly(&store, 0..5).await;
    let day = 1_795_328_557_827_i64 / DAY_MS;
    let folder = format!("state/{TOPIC}/0/segments");
    for day in [day - 500, day - 403, day - 402, day] {
        store.put(&Path::from(format!("{folder}/{day}/1-a.ids")), "x".into()).await.unwrap();
    }
    let other = Path::from(format!("state/{TOPIC}/0/other"));
    store.put(&other, "x".into()).await.unwrap();
    run(&store, 1, wall_ms()).await;
    assert_eq!(objects(&store, &folder).await.len(), 2);
    assert!(store.head(&other).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_become_properties_of_the_tables() {
    let store = memory();
    publish_singly(&store, 0..1).await;
    let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1);
    let hour = JanitorSettings { retention_ms: 3_600_000, ..settings() };
    janitor.run_once(wall_ms(), &hour).await;
    let delta = by_library(&store, Table::UsageEvents).await;
    let configuration = delta.snapshot().unwrap().metadata().configuration().clone();
    assert_eq!(configuration["delta.deletedFileRetentionDuration"], "interval 3600 seconds");
    assert_eq!(configuration["delta.checkpointInterval"], "5");
    let version = delta.version();
    janitor.run_once(wall_ms(), &hour).await;
    assert_eq!(by_library(&store, Table::UsageEvents).await.version(), version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_listing_makes_the_janitor_do_less_and_never_harm() {
    let store = memory();
    publish_singly(&store, 0..12).await;
    let stale: Arc<dyn ObjectStore> = Arc::new(FaultStore::stale(Arc::clone(&store)));
    let late_ms = wall_ms() + 2 * DAY_MS;
    let mut janitor = Janitor::new(Arc::clone(&stale), TOPIC, 1);
    for day in 0..3 {
        janitor.run_once(late_ms + day * 2 * DAY_MS, &settings()).await;
    }
    assert_eq!(values(&stale, Table::UsageEvents, "input").await.len(), 36);
    run(&store, 1, late_ms).await;
    assert_eq!(values(&stale, Table::UsageEvents, "input").await.len(), 36);
}
