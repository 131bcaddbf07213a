//! Days that are sealed and old enough are removed, and what they came to is written down first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use support::{Fault, FaultStore, Ledger, TOPIC, objects, pin, values};
use tally_schemas::{RollUp, Table};
use tally_settlement::{ControlTotals, CutOff, Period, Seal};
use tally_tables::{
    AsOf, Janitor, JanitorReport, JanitorSettings, PinnedTable, Publisher, StoredRecord, TableSet,
    retention_record_path, retention_records, sha256_hex,
};

const DAY_MS: i64 = 86_400_000;
/// Noon of the day of every row, in Shanghai.
const ROWS_MS: i64 = 1_795_320_000_000;
const KEPT_DAYS: i64 = 32;
/// The first instant at which the day of the rows is old enough, and a little more.
const OLD_MS: i64 = ROWS_MS + (KEPT_DAYS + 1) * DAY_MS;
const TABLES: [Table; 2] = [Table::UsageEvents, Table::UsageByModel];
const EVENTS: Table = Table::UsageEvents;

fn settings() -> JanitorSettings {
    JanitorSettings {
        keep_events_days: u64::try_from(KEPT_DAYS).unwrap(),
        dedupe_horizon_days: 1,
        merge_files_min: usize::MAX,
        checkpoint_commits: 3,
        // What is stored has the time of the machine, and janitors here live in the future.
        retention_ms: 10_000 * 86_400_000,
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

/// An entry for each of these days, from the first on.
async fn publish_days(store: &Arc<dyn ObjectStore>, days: &[&'static str]) {
    for (n, &day) in (0..).zip(days) {
        let ledger = Ledger { day, ..Ledger::new(store, 1) };
        ledger.commit(0, n, &TABLES).await;
    }
    Publisher::new(Arc::clone(store), TOPIC, 1).publish_committed().await.unwrap();
}

/// Seals the month after the last one, beginning with October, up to an epoch.
async fn seal(store: &Arc<dyn ObjectStore>, epoch: u64) {
    let mut last: Option<Seal> = None;
    for n in 0.. {
        let path = Seal::path(n);
        let Ok(found) = store.get(&Path::from(path.as_str())).await else { break };
        last = Some(Seal::from_bytes(&path, &found.bytes().await.unwrap()).unwrap());
    }
    let n = last.as_ref().map_or(0, |last| last.n + 1);
    let first = Period::parse("2026-10").unwrap();
    let seal = Seal {
        format: 2,
        n,
        period: last.as_ref().map_or(first, |last| last.period.next()),
        by: "ann".into(),
        at_ms: 1,
        approved_by: "bob".into(),
        approved_at_ms: 2,
        entry: 0,
        entry_hash: String::new(),
        code_version: "0".into(),
        contracts_version: "c".into(),
        reference: "1-ab@0".into(),
        adjustments: Vec::new(),
        price_book_versions: Vec::new(),
        cut_offs: vec![CutOff { partition: 0, epoch }],
        files: Vec::new(),
        statements: Vec::new(),
        totals: ControlTotals::default(),
        plan: String::new(),
        previous: last.map_or_else(String::new, |last| last.hash().unwrap()),
    };
    let bytes = seal.to_bytes().unwrap();
    store.put(&Path::from(Seal::path(n)), bytes.into()).await.unwrap();
}

/// October and November, sealed up to an epoch.
async fn seal_both(store: &Arc<dyn ObjectStore>, epoch: u64) {
    seal(store, 0).await;
    seal(store, epoch).await;
}

async fn run(store: &Arc<dyn ObjectStore>, now_ms: i64) -> JanitorReport {
    let mut janitor = Janitor::new(Arc::clone(store), TOPIC, 1);
    let report = janitor.run_once(now_ms, &settings()).await;
    assert!(report.failures.is_empty(), "{report}");
    report
}

async fn events(store: &Arc<dyn ObjectStore>) -> Arc<PinnedTable> {
    pin(store).await.get(EVENTS).unwrap()
}

async fn records(store: &Arc<dyn ObjectStore>) -> Vec<StoredRecord> {
    retention_records(store.as_ref(), EVENTS).await.unwrap()
}

/// Everything that was removed is in a record that its files name, and all that is left is stored
/// as that record says. Returns the rows that were removed.
async fn proved(store: &Arc<dyn ObjectStore>) -> u64 {
    let (events, records) = (events(store).await, records(store).await);
    let mut before = String::new();
    for (n, record) in (0..).zip(&records) {
        assert_eq!((record.n, record.record.n), (n, n));
        assert_eq!(record.record.previous, before);
        before.clone_from(&record.sha256);
    }
    let mut rows = 0;
    for file in events.removed().files {
        let removed = file.removed().unwrap();
        let record = &records[usize::try_from(removed.record).unwrap()];
        assert_eq!(record.sha256, removed.record_sha256);
        let files = &record.record.removal.files;
        let data = files.iter().find(|data| data.in_its_place == file.path).unwrap();
        assert_eq!((data.rows, data.bytes), (removed.rows, removed.bytes));
        rows += removed.rows;
        assert_eq!(data.roll_ups.len(), 5);
        for roll_up in RollUp::left_of(EVENTS) {
            let left = &data.roll_ups[&roll_up.tag()];
            assert_eq!(file.roll_up_bytes(roll_up), Some(left.bytes));
            let path = format!("tables/usage_events/{}", roll_up.path(&file.path));
            let bytes = store.get(&Path::from(path)).await.unwrap().bytes().await.unwrap();
            assert_eq!(sha256_hex(&bytes), left.sha256);
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_is_sealed_and_old_enough_is_removed_and_written_down() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    publish(&store, 0..4).await;
    let windows = values(&store, Table::UsageByModel, "input").await;
    let before = events(&store).await;
    // Nothing is sealed; then its month is not; then its last epoch is not.
    for _ in 0..2 {
        assert_eq!(run(&store, OLD_MS).await.days_removed, 0);
        seal(&store, 2).await;
    }
    assert_eq!(run(&store, OLD_MS).await.days_removed, 0);
    seal(&store, 3).await;
    // Too young by a day.
    assert_eq!(run(&store, OLD_MS - DAY_MS).await.days_removed, 0);
    assert_eq!(records(&store).await, []);
    assert_eq!(values(&store, EVENTS, "input").await.len(), 12);

    let report = run(&store, OLD_MS).await;
    assert_eq!((report.days_removed, report.rows_removed), (1, 12));
    let now = events(&store).await;
    assert_eq!((now.kept().files.len(), now.removed().files.len()), (0, 4));
    assert_eq!(proved(&store).await, 12);
    let [record] = records(&store).await.try_into().unwrap();
    let record = record.record;
    assert_eq!((record.at_ms, record.keep_events_days, record.seal), (OLD_MS, 32, 2));
    assert_eq!((record.removal.day.as_str(), record.removal.rows()), ("2026-11-22", 12));
    let paths: Vec<&String> = before.files.iter().map(|file| &file.path).collect();
    assert_eq!(record.removal.files.iter().map(|data| &data.path).collect::<Vec<_>>(), paths);
    let [sums] = record.removal.sums.try_into().unwrap();
    let inputs: i64 = values(&store, Table::UsageByModel, "input").await.iter().sum();
    assert_eq!((sums.events, sums.units["input"], sums.units["output"]), (12, inputs, 12));
    // Other tables stay, so does the version before, and a reader of Delta finds no row.
    assert_eq!(values(&store, Table::UsageByModel, "input").await, windows);
    assert_eq!(values(&store, EVENTS, "input").await, [0; 0]);
    let version = AsOf::Version(before.version.unwrap());
    let old = TableSet::open(Arc::clone(&store)).pin(Some(version)).await.unwrap();
    assert_eq!(old.get(EVENTS).unwrap().files, before.files);
    assert_eq!(run(&store, OLD_MS).await.days_removed, 0);
    assert_eq!(records(&store).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_later_are_removed_by_a_record_of_their_own() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    publish(&store, 0..2).await;
    seal_both(&store, 1).await;
    assert_eq!(run(&store, OLD_MS).await.rows_removed, 6);
    publish(&store, 2..4).await;
    let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1);
    for _ in 0..2 {
        assert_eq!(janitor.run_once(OLD_MS, &settings()).await.days_removed, 0);
    }
    assert_eq!(values(&store, EVENTS, "input").await.len(), 6);
    seal(&store, 3).await;
    // The same janitor looks again once there is another seal.
    assert_eq!(janitor.run_once(OLD_MS, &settings()).await.rows_removed, 6);
    assert_eq!(records(&store).await.len(), 2);
    assert_eq!(proved(&store).await, 12);
}

/// What waits has left nothing, however much of it is sealed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_of_a_day_that_waits() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    publish(&store, 0..4).await;
    seal_both(&store, 2).await;
    let before = objects(&store, "tables/usage_events").await;
    assert_eq!(run(&store, OLD_MS).await.days_removed, 0);
    let table = objects(&store, "tables/usage_events").await;
    let made = table.iter().filter(|path| !before.contains(path) && !path.contains("_delta_log"));
    assert_eq!(made.collect::<Vec<_>>(), [""; 0]);
}

/// One day is damaged, one waits: neither keeps the next from being removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_fails_or_waits_keeps_no_other_from_being_removed() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    // The second one has a row of the last entry.
    publish_days(&store, &["2026-11-19", "2026-11-20", "2026-11-21", "2026-11-20"]).await;
    seal_both(&store, 2).await;
    let before = events(&store).await;
    let first = before.files.iter().find(|file| file.path.contains("2026-11-19")).unwrap();
    let damaged = support::parquet_of(EVENTS, 0, 0, &[1, 2]);
    store.put(&before.object_path(first), damaged.into()).await.unwrap();
    let settings = JanitorSettings { days_removed_max: 1, ..settings() };
    let report = Janitor::new(Arc::clone(&store), TOPIC, 1).run_once(OLD_MS, &settings).await;
    assert_eq!(report.days_removed, 1, "{report}");
    let [failure] = report.failures.try_into().unwrap();
    assert!(failure.contains("retention of 2026-11-19") && failure.contains("has 2 rows"));
    let [record] = records(&store).await.try_into().unwrap();
    assert_eq!(record.record.removal.day, "2026-11-21");
}

/// A run that takes long ends with the day that it has removed; the next one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_takes_long_leaves_days_to_the_next() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    publish_days(&store, &["2026-11-20", "2026-11-21", "2026-11-22"]).await;
    seal_both(&store, 2).await;
    let slow = JanitorSettings { removal_max_ms: 0, ..settings() };
    let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1);
    assert_eq!(janitor.run_once(OLD_MS, &slow).await.days_removed, 1);
    assert_eq!(janitor.run_once(OLD_MS, &settings()).await.days_removed, 2);
    assert_eq!(proved(&store).await, 9);
}

/// A janitor that is killed while it removes a day has done everything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_are_removed_after_everything_else() {
    let garbage = Path::from("tables/usage_by_model/0-garbage.parquet");
    for k in 0..60 {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        publish(&store, 0..4).await;
        seal_both(&store, 3).await;
        store.put(&garbage, "rows".into()).await.unwrap();
        let killed: Arc<dyn ObjectStore> =
            Arc::new(FaultStore::new(Arc::clone(&store), k, Fault::Lost));
        let settings = JanitorSettings { retention_ms: 1_000, ..settings() };
        Janitor::new(killed, TOPIC, 1).run_once(OLD_MS, &settings).await;
        if !objects(&store, "tables/usage_events/_roll_ups").await.is_empty() {
            assert_eq!(values(&store, EVENTS, "input").await.len(), 12);
            assert!(store.head(&garbage).await.is_err(), "put {k}");
            return;
        }
    }
    panic!("no removal has begun");
}

/// What a removal left that came to nothing is garbage, until the next one needs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_keeps_what_was_put_again_since_it_looked() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    publish(&store, 0..2).await;
    let file = "day=2026-11-22/removed-0a.parquet";
    let put_again = [file.to_owned(), RollUp::UsageByDay.path(file)];
    let garbage = "day=2026-11-22/0-garbage.parquet".to_owned();
    let there = async || {
        let mut there = Vec::new();
        for path in put_again.iter().chain([&garbage]) {
            let object = Path::from(format!("tables/usage_events/{path}"));
            there.push(store.head(&object).await.is_ok());
        }
        there
    };
    for path in put_again.iter().chain([&garbage]) {
        let object = Path::from(format!("tables/usage_events/{path}"));
        store.put(&object, "rows".into()).await.unwrap();
    }
    let settings = JanitorSettings { retention_ms: 1_000, keep_events_days: 0, ..settings() };
    let overtaken: Arc<dyn ObjectStore> = Arc::new(FaultStore::overtaken(Arc::clone(&store)));
    for (seen, left) in [(overtaken, [true, true, false]), (Arc::clone(&store), [false; 3])] {
        let report = Janitor::new(seen, TOPIC, 1).run_once(OLD_MS, &settings).await;
        assert!(report.failures.is_empty(), "{report}");
        assert_eq!(there().await, left);
    }
}

/// What was removed goes once nobody reads it; what it left stays, through merges and checkpoints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_outlives_vacuum_merges_and_checkpoints() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    publish(&store, 0..9).await;
    seal_both(&store, 8).await;
    run(&store, OLD_MS).await;
    let left = objects(&store, "tables/usage_events/_roll_ups").await;
    assert_eq!(left.len(), 45);
    publish(&store, 9..18).await;
    let merging = JanitorSettings {
        retention_ms: 1_000,
        merge_files_min: 2,
        roll_up_rows_min: 1,
        ledger_entries_min: 1,
        vacuum_interval_ms: 0,
        ..settings()
    };
    let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1);
    for days in 1..4 {
        let report = janitor.run_once(OLD_MS + days * DAY_MS, &merging).await;
        assert!(report.failures.is_empty(), "{report}");
    }
    let events = events(&store).await;
    assert_eq!((events.kept().files.len(), events.removed().files.len()), (1, 9));
    let there = objects(&store, "tables/usage_events/day=2026-11-22").await;
    for n in 0..9 {
        let of_entry = format!("/0-{n:020}.parquet");
        assert!(!there.iter().any(|path| path.ends_with(&of_entry)), "{there:#?}");
    }
    assert_eq!(proved(&store).await, 27);
    assert_eq!(values(&store, EVENTS, "input").await.len(), 27);
    let still = objects(&store, "tables/usage_events/_roll_ups").await;
    assert!(left.iter().all(|path| still.contains(path)));
}

/// Killed at any put, and whatever the next janitor finds there: the day goes once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_janitor_that_ends_anywhere_removes_nothing_that_is_not_written_down() {
    let mut between = 0;
    for (fault, merge_files_min) in
        [(Fault::Lost, usize::MAX), (Fault::ReplyLost, usize::MAX), (Fault::Lost, 2)]
    {
        for k in 0..60 {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            publish(&store, 0..4).await;
            seal_both(&store, 3).await;
            let failing = Arc::new(FaultStore::new(Arc::clone(&store), k, fault));
            let mut janitor = Janitor::new(failing.clone(), TOPIC, 1);
            janitor.run_once(OLD_MS, &settings()).await;
            let rows = values(&store, EVENTS, "input").await.len();
            assert_eq!(proved(&store).await, if rows == 0 { 12 } else { 0 }, "{k} {fault:?}");
            between += usize::from(rows > 0 && !records(&store).await.is_empty());
            // Perhaps the day's files are others by then.
            let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1);
            let settings = JanitorSettings { merge_files_min, ..settings() };
            let report = janitor.run_once(OLD_MS + 1, &settings).await;
            assert!(report.failures.is_empty(), "{report}");
            assert_eq!(values(&store, EVENTS, "input").await, [0; 0]);
            assert_eq!(proved(&store).await, 12, "{k} {fault:?}");
            let records = records(&store).await;
            let is_void = merge_files_min == 2 && rows > 0 && records.len() == 2;
            assert!(records.len() == 1 || is_void, "{k} {fault:?}: {} records", records.len());
            if !failing.has_failed() {
                break;
            }
        }
    }
    assert!(between >= 3, "never between record and commit: {between}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_janitors_remove_a_day_once() {
    for round in 0..20 {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        publish(&store, 0..4).await;
        seal_both(&store, 3).await;
        let both = [0, 1].map(|ahead| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut janitor = Janitor::new(store, TOPIC, 1);
                janitor.run_once(OLD_MS + ahead, &settings()).await
            })
        });
        let mut removed = 0;
        for one in both {
            removed += one.await.unwrap().days_removed;
        }
        assert_eq!(removed, 1, "round {round}");
        assert_eq!(records(&store).await.len(), 1, "round {round}");
        assert_eq!(proved(&store).await, 12);
    }
}

/// R8: records are found where listings show none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_listings_hide_no_record() {
    let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let store: Arc<dyn ObjectStore> = Arc::new(FaultStore::stale(Arc::clone(&inner)));
    for n in 0..3 {
        publish(&store, n..n + 1).await;
        match n {
            0 => seal_both(&store, 0).await,
            _ => seal(&store, n).await,
        }
        // Checkpoints are made by listing.
        let settings = JanitorSettings { checkpoint_commits: 1_000, ..settings() };
        let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1);
        let report = janitor.run_once(OLD_MS, &settings).await;
        assert!(report.failures.is_empty() && report.days_removed == 1, "{report}");
    }
    assert_eq!(records(&store).await.len(), 3);
    assert_eq!(proved(&store).await, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_trusted_removes_nothing() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    publish(&store, 0..4).await;
    seal_both(&store, 3).await;
    let failed = async |settings: JanitorSettings| {
        let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1);
        let report = janitor.run_once(OLD_MS, &settings).await;
        assert_eq!(report.days_removed, 0);
        report.failures.join("; ")
    };
    // Others may still come.
    let words = failed(JanitorSettings { dedupe_horizon_days: 2, ..settings() }).await;
    assert!(words.contains("aggregate.keep_events_days is 32") && words.contains("33"), "{words}");
    // A seal that is not the one that the next was made after.
    let first = Path::from(Seal::path(0));
    let bytes = store.get(&first).await.unwrap().bytes().await.unwrap();
    let mut other = Seal::from_bytes("seal", &bytes).unwrap();
    other.by = "eve".into();
    store.put(&first, other.to_bytes().unwrap().into()).await.unwrap();
    let words = failed(settings()).await;
    assert!(words.contains("does not follow"), "{words}");
    store.put(&first, bytes.into()).await.unwrap();
    // A file that has other rows than the log says.
    let events = events(&store).await;
    let [file, other] = [0, 1].map(|at| events.object_path(&events.files[at]));
    let bytes = store.get(&file).await.unwrap().bytes().await.unwrap();
    store.put(&file, support::parquet_of(EVENTS, 0, 0, &[1, 2]).into()).await.unwrap();
    let words = failed(settings()).await;
    assert!(words.contains("has 2 rows"), "{words}");
    store.put(&file, bytes.into()).await.unwrap();
    // One that is gone.
    let bytes = store.get(&other).await.unwrap().bytes().await.unwrap();
    store.delete(&other).await.unwrap();
    let words = failed(settings()).await;
    assert!(words.contains("is gone"), "{words}");
    store.put(&other, bytes.into()).await.unwrap();
    assert_eq!(records(&store).await, []);
    assert_eq!(run(&store, OLD_MS).await.days_removed, 1);
    store.head(&retention_record_path(EVENTS, 0)).await.unwrap();
}
