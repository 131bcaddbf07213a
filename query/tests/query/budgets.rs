//! Budgets over a small store: what is used of them in SQL, and what `verify` finds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use tally_aggregate::ledger::{encode, read_entry};
use tally_aggregate::{
    AggregateError, BudgetOwner, Edge, EpochCounts, ErrorKind, NoticeTopics, Relay, StageConfig,
    StreamStatus, Surroundings, SystemEdge,
};
use tally_budget::BudgetBook;
use tally_log::{Bounds, EventLog, MemoryLog, Record, RecordKind};
use tally_query::{BudgetSource, Check, LedgerView, QueryEngine, VerifyOptions, verify};
use tally_schemas::{EpochIncrements, Table, TokenClass, entry_path};
use tally_tables::Publisher;

use crate::world::{PARTITIONS, TOPIC, World};

const MODELS: &str = "usage.models";

const BUDGETS: &str = r#"
[[budget]]
id = "one-model"
kind = "commitment"
title = "一"
title_en = "one"
model = "model-1"
tokens = 2000000
period = "once"
valid_from = "2026-01-01"
valid_to = "2027-01-01"
thresholds = [50, 100, 1000]
source = "test"
known_from = "2020-01-01"
approved_by = "a"
approved_at = "1970-01-01"

[[budget]]
id = "vendor-month"
kind = "budget"
title = "月"
title_en = "month"
vendor = "vendor-0"
tokens = 999999999999
period = "month"
valid_from = "2026-01-01"
thresholds = [1]
source = "test"
known_from = "1970-01-01"
approved_by = "a"
approved_at = "1970-01-01"
"#;

fn book() -> Arc<BudgetBook> {
    // Epochs of the small store are closed in the first seconds of 1970.
    Arc::new(BudgetBook::from_toml(&BUDGETS.replace("2020-01-01", "1970-01-01")).unwrap())
}

type Store = Arc<dyn ObjectStore>;

/// Budgets of a file over everything that another store has.
pub(crate) async fn budgets_over(store: &Store, partitions: u32, toml: &str) -> BudgetSource {
    let book = Arc::new(BudgetBook::from_toml(toml).unwrap());
    let messages = relayed(store, partitions).await;
    add(store, Arc::clone(&book), &messages).await.unwrap();
    BudgetSource { topic: MODELS.to_owned(), book }
}

/// Who runs the second stage, and between which topics.
fn site(store: &Store) -> (Surroundings, StageConfig) {
    let edge = Arc::new(SystemEdge::default()) as Arc<dyn Edge>;
    let notices = NoticeTopics::default();
    let surroundings = Surroundings { store: Arc::clone(store), edge, notices };
    let config = StageConfig {
        source_topic: TOPIC.to_owned(),
        topic: MODELS.to_owned(),
        retention_ms: 86_400_000,
    };
    (surroundings, config)
}

/// What the relay says of everything that the store has.
async fn relayed(store: &Store, partitions: u32) -> Vec<EpochIncrements> {
    let log = MemoryLog::new(MODELS, 1);
    let (surroundings, config) = site(store);
    let producer = log.producer().unwrap();
    let mut relay = Relay::new(surroundings, config, producer);
    for partition in 0..partitions {
        let mut sent = 0;
        while relay.send_next(partition, None).await.unwrap() {
            sent += 1;
        }
        assert!(sent > 1);
    }
    let mut messages = Vec::new();
    let mut reader = log.reader_at(0, 0).unwrap();
    reader
        .read(1_000, Duration::ZERO, &mut |record| {
            messages.push(serde_json::from_slice(record.value.unwrap()).unwrap());
        })
        .unwrap();
    messages
}

/// Runs the second stage over a topic with these messages.
async fn add(
    store: &Store,
    book: Arc<BudgetBook>,
    messages: &[EpochIncrements],
) -> Result<EpochCounts, AggregateError> {
    let (surroundings, config) = site(store);
    let bounds = Bounds { start: 0, end: messages.len() as u64 };
    let status = StreamStatus::default();
    let taken = BudgetOwner::take(&surroundings, &config, book, bounds, &status).await;
    let (mut owner, courier) = taken?;
    let courier = tokio::spawn(courier);
    for (offset, message) in (0..).zip(messages) {
        let value = serde_json::to_vec(message).unwrap();
        let record = Record {
            offset,
            timestamp_ms: 0,
            key: None,
            value: Some(&value),
            kind: RecordKind::Single,
        };
        owner.push(record).await?;
    }
    let counts = owner.commit().await;
    courier.abort();
    counts
}

/// Runs the second stage over everything that the store has; `spoil` changes what the topic says.
async fn add_all(world: &World, spoil: impl Fn(&mut EpochIncrements)) {
    let mut messages = relayed(&world.store, PARTITIONS).await;
    messages.iter_mut().for_each(spoil);
    let counts = add(&world.store, book(), &messages).await.unwrap();
    assert_eq!(counts.added, messages.len() as u64, "{counts:?}");
}

/// A store that was restored goes on otherwise than the one that was lost; what the topic still has
/// of that one is not added.
#[tokio::test]
async fn what_is_of_another_history_is_not_added() {
    let world = World::new().await;
    let told = relayed(&world.store, PARTITIONS).await;
    let last = told.iter().rfind(|message| message.partition == 0).unwrap().clone();
    // One that the ledger has otherwise, and one that it does not have yet.
    let other = EpochIncrements { entry: "ab".repeat(32), ..last.clone() };
    let ahead = EpochIncrements {
        epoch: last.epoch + 1,
        entry: "cd".repeat(32),
        previous: last.entry.clone(),
        ..last.clone()
    };
    let mut messages = told.clone();
    let place = messages.iter().position(|message| *message == last).unwrap();
    messages.insert(place, other);
    messages.push(ahead);
    let counts = add(&world.store, book(), &messages).await.unwrap();
    assert_eq!((counts.added, counts.ignored), (told.len() as u64, 2), "{counts:?}");
    publish(&world).await;
    let engine = engine(&world).await;
    let report = verify(&engine, &VerifyOptions::default()).await.unwrap();
    assert!(report.passed(), "{:#?}", failed(&report.checks));

    // The ledger of a partition is restored as of before what the stage has added: it goes on
    // otherwise.
    let stored = read_entry(world.store.as_ref(), TOPIC, 0, last.epoch).await.unwrap().unwrap();
    let mut entry = stored.entry;
    entry.committed_at_ms += 1;
    world.put(&entry_path(TOPIC, 0, last.epoch), encode(&entry).unwrap()).await;
    let error = add(&world.store, book(), &messages).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    assert!(error.to_string().contains("budgets.topic"), "{error}");
}

async fn publish(world: &World) {
    let store = Arc::clone(&world.store);
    let mut publisher = Publisher::of_tables(store, MODELS, 1, &[Table::Alerts]);
    publisher.publish_committed().await.unwrap();
}

async fn engine(world: &World) -> Arc<QueryEngine> {
    world.engine_of(BudgetSource { topic: MODELS.to_owned(), book: book() }).await
}

fn tokens(world: &World, counts: impl Fn(&str, &str) -> bool) -> u128 {
    let events = world.events.iter().filter(|event| counts(&event.model, &event.vendor));
    let beside = [
        TokenClass::Reasoning,
        TokenClass::Requests,
        TokenClass::Images,
        TokenClass::Seconds,
        TokenClass::Characters,
    ];
    events
        .flat_map(|event| TokenClass::ALL.map(|class| (class, event.counts.get(class))))
        .filter(|(class, _)| !beside.contains(class))
        .map(|(_, count)| u128::from(count))
        .sum()
}

async fn rows(engine: &QueryEngine, sql: &str) -> Vec<BTreeMap<String, String>> {
    let answer = engine.run(sql, None, engine.limits()).await.unwrap();
    let (schema, batches) = answer.collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let cell = |column: usize| {
                arrow::util::display::array_value_to_string(batch.column(column), row).unwrap()
            };
            let names = schema.fields().iter().enumerate();
            rows.push(names.map(|(column, f)| (f.name().clone(), cell(column))).collect());
        }
    }
    rows
}

fn failed(checks: &[Check]) -> Vec<&Check> {
    checks.iter().filter(|check| !check.ok).collect()
}

#[tokio::test]
async fn what_is_used_is_in_sql_and_verified() {
    let world = World::new().await;
    add_all(&world, |_| ()).await;
    publish(&world).await;
    let engine = engine(&world).await;
    let found = rows(
        &engine,
        "SELECT budget, kind, model, vendor, measure, currency, period, period_start, period_end, \
         used, allowance, percent, passed, next_threshold, as_of \
         FROM settlement.budgets WHERE used > 0 ORDER BY budget",
    )
    .await;
    let used = tokens(&world, |model, _| model == "model-1");
    let of_vendor = tokens(&world, |_, vendor| vendor == "vendor-0");
    assert!((2_000_000..20_000_000).contains(&used), "{used}");
    let expected = [
        [
            "one-model",
            "commitment",
            "model-1",
            "",
            "tokens",
            "",
            "once",
            "2025-12-31T16:00:00Z",
            "2026-12-31T16:00:00Z",
            &format!("{used}.000000000000"),
            "2000000.000000000000",
            &(used / 20_000).to_string(),
            "50,100",
            "1000",
        ],
        [
            "vendor-month",
            "budget",
            "",
            "vendor-0",
            "tokens",
            "",
            "month",
            "2026-10-31T16:00:00Z",
            "2026-11-30T16:00:00Z",
            &format!("{of_vendor}.000000000000"),
            "999999999999.000000000000",
            "0",
            "",
            "1",
        ],
    ];
    let columns = [
        "budget",
        "kind",
        "model",
        "vendor",
        "measure",
        "currency",
        "period",
        "period_start",
        "period_end",
        "used",
        "allowance",
        "percent",
        "passed",
        "next_threshold",
    ];
    let found: Vec<Vec<&str>> =
        found.iter().map(|row| columns.map(|column| row[column].as_str()).to_vec()).collect();
    assert_eq!(found, expected.map(Vec::from));
    let sent = rows(
        &engine,
        "SELECT id, threshold, used, allowance, account, model FROM alerts \
         WHERE kind = 'commitment' AND superseded_by IS NULL ORDER BY threshold",
    )
    .await;
    assert!(!sent.is_empty() && sent.iter().all(|row| row["model"] == "model-1"), "{sent:?}");
    assert!(
        sent.iter().all(|row| row["account"].is_empty() && row["allowance"] == "2000000.000000")
    );

    // They are outstanding until the budget's period is over by the stream's time.
    let outstanding =
        "SELECT count(*) AS n FROM quota.alerts_outstanding WHERE package = 'one-model'";
    let count = sent.len().to_string();
    assert_eq!(rows(&engine, outstanding).await[0]["n"], count);

    let report = verify(&engine, &VerifyOptions::default()).await.unwrap();
    assert!(report.passed(), "{:#?}", failed(&report.checks));
    let of_budgets = |check: &&Check| check.what.contains("budget");
    assert_eq!(report.checks.iter().filter(of_budgets).count(), 5);

    let last = LedgerView::new(Arc::clone(&world.store), TOPIC).last(0).await.unwrap().unwrap();
    for (watermark_ms, n) in [(1_798_732_799_999, count.as_str()), (1_798_732_800_000, "0")] {
        let mut entry = last.entry.clone();
        entry.watermark_ms = Some(watermark_ms);
        world.put(&entry_path(TOPIC, 0, entry.n), encode(&entry).unwrap()).await;
        let engine = self::engine(&world).await;
        assert_eq!(rows(&engine, outstanding).await[0]["n"], n, "{watermark_ms}");
    }
}

#[tokio::test]
async fn every_column_of_budgets_has_a_comment() {
    let world = World::new().await;
    let engine = engine(&world).await;
    let uncommented = rows(
        &engine,
        "SELECT column_name FROM system.columns \
         WHERE table_schema = 'settlement' AND table_name = 'budgets' AND comment IS NULL",
    )
    .await;
    assert!(uncommented.is_empty(), "{uncommented:?}");
    assert!(rows(&engine, "SELECT * FROM settlement.budgets").await.is_empty());
}

#[tokio::test]
async fn what_was_added_wrongly_is_found() {
    let world = World::new().await;
    // Not of the first epoch, which the ledger tells.
    add_all(&world, |message| {
        if message.partition == 1 && message.epoch == 3 {
            let mut increments = message.increments.take().unwrap_or_default();
            if increments.is_empty() {
                increments = wrong_increments();
            }
            message.increments = Some(increments);
        }
    })
    .await;
    publish(&world).await;
    let engine = engine(&world).await;
    let report = verify(&engine, &VerifyOptions::default()).await.unwrap();
    let failed = failed(&report.checks);
    let found = |words: &str| failed.iter().any(|check| check.what.contains(words));
    assert!(found("by day, model, vendor, supplier and currency"), "{failed:#?}");
    assert!(found("what is used of each budget"), "{failed:#?}");
}

/// One token of a model, in the place of what the epoch really added.
fn wrong_increments() -> Vec<tally_schemas::ModelIncrement> {
    let text = r#"[{"day":"2026-11-22","model":"model-1","vendor":"vendor-1","supplier":"vendor-1",
        "events":"1","usage":{"input":"1"},"points_micro":"0","retail_pico":"0","wholesale_pico":"0"}]"#;
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn an_alert_that_is_not_in_the_table_is_found() {
    let world = World::new().await;
    add_all(&world, |_| ()).await;
    let engine = engine(&world).await;
    let report = verify(&engine, &VerifyOptions::default()).await.unwrap();
    let failed = failed(&report.checks);
    assert!(failed.iter().any(|check| check.invariant == "I7"), "{failed:#?}");
    let running = VerifyOptions { unpublished_allowed: true, ..VerifyOptions::default() };
    assert!(verify(&engine, &running).await.unwrap().passed());
}
