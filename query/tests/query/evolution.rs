//! R26: a store that an older build has written, before prices and quotas, stays queryable; the
//! stream goes on in it; old and new files are merged; and others read it as well.

use std::path::Path as FilePath;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use tally_aggregate::{EncodedEpoch, PartitionConfig, owner};
use tally_query::{QueryEngine, VerifyOptions, parse_as_of, verify};
use tally_schemas::{AggregateConfig, Table};
use tally_tables::{Janitor, JanitorSettings};

use crate::feed::{Feed, engine_over, first_edition, rewrite, rows, settings};
use crate::world::TOPIC;

/// What a build knew otherwise than this one.
#[derive(Debug, Clone, Copy)]
struct OlderBuild {
    /// Its tables.
    tables: &'static [Table],
    /// Columns that they did not have.
    lacks: &'static [&'static str],
    /// A text of `usage_events` that this build does not have any more.
    had: Option<&'static str>,
}

/// Before prices and quotas.
const COUNTING: OlderBuild = OlderBuild {
    tables: &[Table::UsageEvents, Table::UsageBySubscriber, Table::UsageByModel, Table::Suspense],
    lacks: &[
        "points",
        "retail_amount",
        "wholesale_amount",
        "retail_currency",
        "wholesale_currency",
        "retail_price_ids",
        "wholesale_price_ids",
        "price_book_version",
        "correction",
        "corrects_source",
        "corrects_id",
    ],
    had: None,
};

/// Before alerts said in which epoch they were sent, and which command caused them.
const ALERTING: OlderBuild =
    OlderBuild { tables: &Table::ALL, lacks: &["emitted_epoch", "command_id"], had: None };

/// When events said in which cluster they were served.
const CLUSTERED: OlderBuild = OlderBuild { tables: &Table::ALL, lacks: &[], had: Some("cluster") };

/// Events of an epoch.
const EVENTS: u64 = 20;

/// Input tokens of an event.
fn input(epoch: u64, number: u64) -> u64 {
    epoch * 1_000 + number
}

/// Sends the events of an epoch, a minute apart.
fn send(feed: &mut Feed, epoch: u64, day: &str, hour: u64) {
    for number in 0..EVENTS {
        let account = format!("E{}", number % 5);
        let at = format!("{day}T{hour:02}:{number:02}:00+08:00");
        let usage = json!({"input": input(epoch, number)});
        let id = format!("{epoch}-{number}");
        feed.event(&account, &id, &at, json!({"model": "glm-5", "usage": usage}));
    }
}

impl OlderBuild {
    fn lacks(self, table: Table, column: &str) -> bool {
        // `quota_ledger` had its `command_id` all along.
        self.lacks.contains(&column) && table != Table::QuotaLedger
    }

    /// The column of a table that is not there any more.
    fn had(self, table: Table) -> Option<&'static str> {
        self.had.filter(|_| table == Table::UsageEvents)
    }

    /// What it would have written: files and statistics without the new columns, and with the one
    /// that went.
    fn aged(self, mut epoch: EncodedEpoch) -> EncodedEpoch {
        rewrite(&mut epoch, |table, batch| {
            assert!(self.tables.contains(&table), "{}", table.name());
            let schema = batch.schema();
            let kept: Vec<usize> = (0..schema.fields().len())
                .filter(|at| !self.lacks(table, schema.field(*at).name()))
                .collect();
            let kept = batch.project(&kept).unwrap();
            let Some(had) = self.had(table) else { return kept };
            // In front of the others, so that no reader finds its columns by their places.
            let field = Arc::new(Field::new(had, DataType::Utf8, true));
            let values: ArrayRef = Arc::new(StringArray::from(vec![had; kept.num_rows()]));
            let own = kept.schema();
            let fields = std::iter::once(field).chain(own.fields().iter().cloned());
            let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            let columns = std::iter::once(values).chain(kept.columns().iter().cloned());
            RecordBatch::try_new(schema, columns.collect()).unwrap()
        });
        for file in &mut epoch.entry.files {
            let table = Table::from_name(&file.table).unwrap();
            let mut stats: Value = serde_json::from_str(&file.stats).unwrap();
            for part in ["minValues", "maxValues", "nullCount"] {
                let values = stats[part].as_object_mut().unwrap();
                values.retain(|column, _| !self.lacks(table, column));
                if let Some(had) = self.had(table) {
                    let value = if part == "nullCount" { json!(0) } else { json!(had) };
                    values.insert(had.to_owned(), value);
                }
            }
            file.stats = stats.to_string();
        }
        epoch
    }

    /// Publishes entries as it did: tables of its own schema, and a commit with files.
    async fn publish(self, store: &dyn ObjectStore, epochs: &[EncodedEpoch]) {
        for table in self.tables {
            let had = self.had(*table).map(
                |had| json!({"name": had, "type": "string", "nullable": true, "metadata": {}}),
            );
            let own =
                table.columns().into_iter().filter(|column| !self.lacks(*table, column.name)).map(
                    |column| {
                        json!({"name": column.name, "type": column.column_type.delta(),
                           "nullable": column.nullable, "metadata": {"comment": column.comment}})
                    },
                );
            let fields: Vec<Value> = had.into_iter().chain(own).collect();
            let schema = json!({"type": "struct", "fields": fields}).to_string();
            let metadata = json!({"metaData": {
                "id": format!("old-{}", table.name()), "name": table.name(), "description": "old",
                "format": {"provider": "parquet", "options": {}}, "schemaString": schema,
                "partitionColumns": table.partition_columns(), "configuration": {}, "createdTime": 0}});
            let protocol = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}});
            let mut commit = Vec::new();
            let entries = epochs.iter().map(|epoch| &epoch.entry);
            for entry in entries.clone() {
                let files = entry.files.iter().filter(|file| file.table == table.name());
                commit.extend(files.map(|file| {
                    json!({"add": {"path": file.path, "partitionValues": file.partition_values,
                        "size": file.bytes, "modificationTime": 0, "dataChange": true,
                        "stats": file.stats}})
                }));
            }
            let n = entries.map(|entry| entry.n).max().unwrap();
            commit.push(json!({"txn": {"appId": format!("tally/{TOPIC}/0"), "version": n}}));
            for (version, lines) in [vec![protocol, metadata], commit].into_iter().enumerate() {
                let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
                let path = format!("tables/{}/_delta_log/{version:020}.json", table.name());
                store.put(&Path::from(path), text.into()).await.unwrap();
            }
        }
    }
}

async fn number(engine: &QueryEngine, sql: &str) -> Value {
    rows(engine, &format!("SELECT {sql} AS n")).await[0]["n"].clone()
}

/// What a reader must find in `usage_events`: rows, rated rows, tokens, and points as a decimal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    events: u64,
    rated: u64,
    input: u64,
    points: u64,
    /// Columns behind those of this build.
    more: &'static [&'static str],
}

impl Expected {
    async fn is_found_by(&self, engine: &QueryEngine, when: &str) {
        let found = &rows(
            engine,
            "SELECT count(*) AS events, count(points) AS rated, sum(input) AS input, \
             coalesce(sum(points), CAST(0 AS DECIMAL(38,6))) AS points FROM usage_events",
        )
        .await[0];
        let expected = json!({"events": self.events, "rated": self.rated, "input": self.input,
            "points": format!("{}.000000", self.points)});
        assert_eq!(found, &expected, "{when}");
        // Pruning by a column that old files lack leaves out none that it should not.
        let by_filter = "SELECT count(*) FROM usage_events WHERE points";
        let unrated = self.events - self.rated;
        for (filter, count) in [
            ("IS NULL", unrated),
            ("IS NOT NULL", self.rated),
            ("> 0", self.rated),
            ("IS DISTINCT FROM 0", self.events),
        ] {
            let found = number(engine, &format!("({by_filter} {filter})")).await;
            assert_eq!(found, count, "{when}: points {filter}");
        }
        let found =
            number(engine, "(SELECT count(*) FROM usage_events WHERE wholesale_currency = 'CNY')")
                .await;
        assert_eq!(found, self.rated, "{when}");
        let found = number(
            engine,
            "(SELECT sum(events) FROM settlement.margin_by_month WHERE currency IS NULL)",
        )
        .await;
        assert_eq!(found, if unrated > 0 { unrated.into() } else { Value::Null }, "{when}");
        for table in [Table::UsageEvents, Table::UsageByModel] {
            let sql = format!("SELECT * FROM {} LIMIT 1", table.name());
            let answer = engine.run(&sql, None, engine.limits()).await.unwrap();
            let names: Vec<String> =
                answer.schema.fields().iter().map(|field| field.name().clone()).collect();
            let more = if table == Table::UsageEvents { self.more } else { &[] };
            let columns = table.columns().into_iter().map(|column| column.name.to_owned());
            let columns = columns.chain(more.iter().map(|name| (*name).to_owned()));
            assert_eq!(names, columns.collect::<Vec<_>>(), "{when}");
        }
    }
}

async fn verified(engine: &QueryEngine, when: &str) {
    let report = verify(engine, &VerifyOptions::default()).await.unwrap();
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.ok).collect();
    assert!(failed.is_empty(), "{when}: {failed:#?}");
}

/// Reads the tables without any of our code.
fn read_by_others(folder: &FilePath, expected: &Expected) {
    let python = std::env::var("TALLY_TEST_PYTHON")
        .expect("TALLY_TEST_PYTHON is not set: this test needs a Python with deltalake and duckdb, run `make test`");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/check_evolution.py");
    let Expected { events, rated, input, points, .. } = expected;
    let output = Command::new(python)
        .arg(script)
        .arg(folder)
        .args([events, rated, input, points].map(ToString::to_string))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let erred = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{erred}");
}

async fn recovered(feed: &Feed, aggregate: AggregateConfig) -> Feed {
    let reference = first_edition(&feed.store).await;
    let last = feed.last().next().unwrap().clone();
    let config = PartitionConfig {
        topic: TOPIC.to_owned(),
        partition: 0,
        partition_count: 1,
        log: None,
        aggregate,
    };
    let store = Arc::clone(&feed.store);
    let partition = owner::recover(store.as_ref(), &config, &reference, &last.entry).await.unwrap();
    Feed::resume(store, vec![(partition, last)])
}

#[tokio::test]
async fn a_store_of_an_older_build_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> =
        Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());

    // The older build counts, and neither rates nor charges.
    let counting = AggregateConfig { rate: false, ..settings() };
    let reference = first_edition(&store).await;
    let mut feed = Feed::begin(Arc::clone(&store), 1, &counting, &reference).await;
    let mut epochs = Vec::new();
    for (epoch, day, hour) in [(1, "2026-11-18", 10), (2, "2026-11-19", 9), (3, "2026-11-19", 10)] {
        send(&mut feed, epoch, day, hour);
        feed.event(
            "E0",
            &format!("bad-{epoch}"),
            "2026-11-18T10:00:00+08:00",
            json!({"model": "glm-5"}),
        );
        let mut encoded = COUNTING.aged(feed.encoded(1_000).swap_remove(0));
        // It told nothing of reference data and of models.
        encoded.entry.next_reference = None;
        encoded.entry.reference_version = String::new();
        encoded.entry.models = Vec::new();
        feed.commit(encoded.clone()).await;
        epochs.push(encoded);
    }
    COUNTING.publish(store.as_ref(), &epochs).await;
    let sum = |epochs: std::ops::RangeInclusive<u64>| -> u64 {
        epochs.flat_map(|epoch| (0..EVENTS).map(move |number| input(epoch, number))).sum()
    };

    // This build reads it as it lies there, before anything is written.
    let mut expected =
        Expected { events: 3 * EVENTS, rated: 0, input: sum(1..=3), points: 0, more: &[] };
    let engine = engine_over(&store).await;
    expected.is_found_by(&engine, "before").await;
    assert_eq!(number(&engine, "(SELECT count(*) FROM suspense)").await, 3);
    assert_eq!(number(&engine, "(SELECT count(*) FROM quota_ledger)").await, 0);
    assert_eq!(number(&engine, "(SELECT count(*) FROM quota.balance)").await, 0);
    verified(&engine, "before").await;

    // The stream goes on from the state that is stored, and rates from now on.
    let mut feed = recovered(&feed, settings()).await;
    for account in 0..5 {
        let purchase = json!({"command": "purchase", "id": format!("buy-{account}"), "package": "telecom-10m"});
        feed.command(&format!("E{account}"), "2026-11-19T12:00:00+08:00", purchase);
    }
    for (epoch, day, hour) in [(4, "2026-11-19", 13), (5, "2026-11-19", 14), (6, "2026-11-20", 10)]
    {
        send(&mut feed, epoch, day, hour);
        // What was counted before is a duplicate.
        send(&mut feed, 3, "2026-11-19", 10);
        feed.close().await;
    }
    feed.publish().await;
    expected = Expected {
        events: 6 * EVENTS,
        rated: 3 * EVENTS,
        input: sum(1..=6),
        points: sum(4..=6),
        more: &[],
    };
    let engine = engine_over(&store).await;
    expected.is_found_by(&engine, "after").await;
    verified(&engine, "after").await;
    let commit = Path::from(format!("tables/usage_events/_delta_log/{:020}.json", 2));
    let commit = store.get(&commit).await.unwrap().bytes().await.unwrap();
    let commit = String::from_utf8(commit.to_vec()).unwrap();
    let metadata: Value = serde_json::from_str(
        commit.lines().find(|line| line.contains("metaData")).expect("the schema is updated"),
    )
    .unwrap();
    let schema: Value =
        serde_json::from_str(metadata["metaData"]["schemaString"].as_str().unwrap()).unwrap();
    let of = |name: &str| schema["fields"].as_array().unwrap().iter().find(|f| f["name"] == name);
    for column in COUNTING.lacks.iter().copied() {
        assert_eq!(of(column).unwrap()["nullable"], true, "{column}");
    }
    assert_eq!(of("account").unwrap()["nullable"], false);
    read_by_others(folder.path(), &expected);

    // As it was: an old version of the tables in the columns of today.
    let then = engine
        .run(
            "SELECT count(*), count(points) FROM usage_events",
            Some(parse_as_of("1").unwrap()),
            engine.limits(),
        )
        .await
        .unwrap();
    let (_, batches) = then.collect().await.unwrap();
    let shown = format!("{:?}", (batches[0].column(0), batches[0].column(1)));
    assert!(shown.contains("60") && shown.contains('0'), "{shown}");

    // Old and new files become one, sorted, with nulls where the old ones have nothing.
    let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1);
    let lively =
        JanitorSettings { merge_files_min: 2, checkpoint_commits: 1, ..JanitorSettings::default() };
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let report = janitor.run_once(now_ms, &lively).await;
    assert!(report.failures.is_empty() && report.merges >= 3, "{report}");
    let engine = engine_over(&store).await;
    let sql = "SELECT count(*) AS n FROM system.tables WHERE name = 'usage_events' AND files < 6";
    assert_eq!(rows(&engine, sql).await[0]["n"], 1, "{report}");
    expected.is_found_by(&engine, "merged").await;
    verified(&engine, "merged").await;
    read_by_others(folder.path(), &expected);
}

/// A column that this build does not have any more stays readable, behind the others: what old
/// files say, and null for what this build writes, merged or not.
#[tokio::test]
async fn a_column_that_this_build_has_given_up_stays_readable() {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let reference = first_edition(&store).await;
    let mut feed = Feed::begin(Arc::clone(&store), 1, &settings(), &reference).await;
    let mut epochs = Vec::new();
    for (epoch, hour) in [(1, 10), (2, 11)] {
        send(&mut feed, epoch, "2026-11-18", hour);
        let old = CLUSTERED.aged(feed.encoded(1_000).swap_remove(0));
        feed.commit(old.clone()).await;
        epochs.push(old);
    }
    CLUSTERED.publish(store.as_ref(), &epochs).await;
    let sum = |epochs: u64| -> u64 {
        (1..=epochs).flat_map(|epoch| (0..EVENTS).map(move |number| input(epoch, number))).sum()
    };
    for when in ["before", "after", "merged"] {
        let epochs = if when == "before" { 2 } else { 3 };
        let (events, input_sum) = (epochs * EVENTS, sum(epochs));
        let expected = Expected {
            events,
            rated: events,
            input: input_sum,
            points: input_sum,
            more: &["cluster"],
        };
        let engine = engine_over(&store).await;
        expected.is_found_by(&engine, when).await;
        verified(&engine, when).await;
        for (filter, count) in [
            ("= 'cluster'", 2 * EVENTS),
            ("<> 'cluster'", 0),
            ("IS NULL", events - 2 * EVENTS),
            ("IS NOT NULL", 2 * EVENTS),
        ] {
            let sql = format!("(SELECT count(*) FROM usage_events WHERE cluster {filter})");
            assert_eq!(number(&engine, &sql).await, count, "{when}: cluster {filter}");
        }
        // A row of each, through filters that prune.
        for epoch in 1..=epochs {
            let sql = format!(
                "(SELECT sum(input) FROM usage_events WHERE id = '{epoch}-7' AND day = DATE '2026-11-18')"
            );
            assert_eq!(number(&engine, &sql).await, input(epoch, 7), "{when}");
        }
        if when == "before" {
            send(&mut feed, 3, "2026-11-18", 12);
            feed.close().await;
            feed.publish().await;
        } else if when == "after" {
            let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1);
            let lively = JanitorSettings {
                merge_files_min: 2,
                checkpoint_commits: 1,
                ..JanitorSettings::default()
            };
            let now_ms = jiff::Timestamp::now().as_millisecond();
            let report = janitor.run_once(now_ms, &lively).await;
            assert!(report.failures.is_empty() && report.merges >= 1, "{report}");
        }
    }
}

#[tokio::test]
async fn alerts_of_an_older_build_stay_and_later_ones_say_their_epoch() {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let reference = first_edition(&store).await;
    let mut feed = Feed::begin(Arc::clone(&store), 1, &settings(), &reference).await;
    let uses = |feed: &mut Feed, id: &str, at: &str| {
        let usage = json!({"input": 2_500_000});
        feed.event("E", id, at, json!({"model": "glm-5", "usage": usage}));
    };
    let purchase = json!({"command": "purchase", "id": "buy", "package": "telecom-10m"});
    feed.command("E", "2026-11-18T09:00:00+08:00", purchase);
    uses(&mut feed, "1", "2026-11-18T10:00:00+08:00");
    uses(&mut feed, "2", "2026-11-18T10:01:00+08:00");
    let old = ALERTING.aged(feed.encoded(1_000).swap_remove(0));
    let first = old.entry.n;
    let (second, third) = (first + 1, first + 2);
    feed.commit(old.clone()).await;
    ALERTING.publish(store.as_ref(), &[old]).await;
    let engine = engine_over(&store).await;
    assert_eq!(number(&engine, "(SELECT count(*) FROM alerts)").await, 1, "half is used");
    assert_eq!(number(&engine, "(SELECT count(emitted_epoch) FROM alerts)").await, 0);
    verified(&engine, "before").await;

    // This build goes on in the table: all is used, then most of it is given back.
    uses(&mut feed, "3", "2026-11-18T10:02:00+08:00");
    uses(&mut feed, "4", "2026-11-18T10:03:00+08:00");
    feed.close().await;
    let bucket = &rows(&engine, "SELECT bucket FROM alerts").await[0]["bucket"];
    let back = json!({"command": "adjust", "id": "back", "bucket": bucket,
        "points_micro": 9_000_000_000_000_u64, "reason": "goodwill", "approver": "lin"});
    feed.command("E", "2026-11-18T11:00:00+08:00", back);
    feed.close().await;
    feed.publish().await;
    let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 1);
    let lively =
        JanitorSettings { merge_files_min: 2, checkpoint_commits: 1, ..JanitorSettings::default() };
    for when in ["after", "merged"] {
        let engine = engine_over(&store).await;
        let sql = "SELECT kind, threshold, epoch, emitted_epoch, command_id FROM alerts \
                   ORDER BY epoch, kind DESC, threshold";
        let found: Vec<Value> = rows(&engine, sql)
            .await
            .into_iter()
            .map(|row| {
                let columns = ["kind", "threshold", "epoch", "emitted_epoch", "command_id"];
                columns.into_iter().map(|column| row[column].clone()).collect()
            })
            .collect();
        let expected = [
            json!(["percent_used", 50, first, null, null]),
            json!(["percent_used", 80, second, second, null]),
            json!(["percent_used", 100, second, second, null]),
            json!(["corrected", 50, third, third, "back"]),
            json!(["corrected", 100, third, third, "back"]),
        ];
        assert_eq!(found, expected, "{when}");
        // Pruning by a column that old files lack leaves out none that it should not.
        for (filter, count) in [
            ("IS NULL".to_owned(), 1),
            (format!("= {second}"), 2),
            (format!("> {first}"), 4),
            (format!("IS DISTINCT FROM {second}"), 3),
            (format!("> {third}"), 0),
        ] {
            let sql = format!("(SELECT count(*) FROM alerts WHERE emitted_epoch {filter})");
            assert_eq!(number(&engine, &sql).await, count, "{when}: {filter}");
        }
        verified(&engine, when).await;
        if when == "after" {
            let now_ms = jiff::Timestamp::now().as_millisecond();
            let report = janitor.run_once(now_ms, &lively).await;
            assert!(report.failures.is_empty() && report.merges >= 1, "{report}");
        }
    }
}

#[tokio::test]
async fn fields_and_values_of_a_later_gateway_are_ignored_or_held_back() {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let reference = first_edition(&store).await;
    let mut feed = Feed::begin(store, 1, &settings(), &reference).await;
    let at = "2026-11-20T10:00:00+08:00";
    let event = |more: Value| {
        let mut event = json!({"model": "glm-5", "usage": {"input": 5}});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    for (id, more) in [
        ("added", json!({"carbon_grams": 3, "nested": {"deep": [1, 2]}})),
        ("unknown-class", json!({"usage": {"input": 5, "video_seconds": 1}})),
        ("unknown-source", json!({"usage_source": "guessed"})),
        ("unknown-tier", json!({"model": "claude-opus", "service_tier": "quantum"})),
        ("wider", json!({"usage": {"input": "5"}})),
        ("too-wide", json!({"usage": {"input": 9_007_199_254_740_993_u64}})),
        ("other-type", json!({"region": 7})),
        ("other-reason", json!({"finish_reason": "handed_over"})),
    ] {
        feed.event("A", id, at, event(more));
    }
    feed.close().await;
    feed.publish().await;
    let engine = engine_over(&feed.store).await;
    let accepted =
        rows(&engine, "SELECT id, input, finish_reason FROM usage_events ORDER BY id").await;
    assert_eq!(
        json!(accepted),
        json!([
            {"id": "added", "input": 5, "finish_reason": null},
            {"id": "other-reason", "input": 5, "finish_reason": "handed_over"},
        ])
    );
    let held = rows(&engine, "SELECT id, reason FROM suspense ORDER BY id").await;
    assert_eq!(
        json!(held),
        json!([
            {"id": "other-type", "reason": "invalid_field"},
            {"id": "too-wide", "reason": "invalid_count"},
            {"id": "unknown-class", "reason": "unknown_usage_class"},
            {"id": "unknown-source", "reason": "invalid_field"},
            {"id": "unknown-tier", "reason": "no_price"},
            {"id": "wider", "reason": "invalid_count"},
        ])
    );
    verified(&engine, "held back").await;
}
