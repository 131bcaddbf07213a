//! After a sealed day was removed, everything that can be answered without its rows is answered as
//! before, everything else is refused in words, and every proof holds. And whatever is wrong with a
//! record, or with what is left, is found.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use tally_query::{
    AcceptedEvent, Check, QueryEngine, QueryError, Settlement, VerifyOptions, View, resends, verify,
};
use tally_reference::ReferenceStore;
use tally_schemas::{RollUp, Table};
use tally_settlement::Period;
use tally_tables::{
    Janitor, JanitorReport, JanitorSettings, PinnedTable, TableSet, retention_record_path,
};

use crate::books::{settled, settled_by};
use crate::canaries::caller;
use crate::feed::{Feed, engine_over, ms, rows};
use crate::world::TOPIC;

/// The only day of October with usage.
const DAY: &str = "2026-10-02";

/// Views that read rows. The others go on.
const READ_ROWS: [&str; 3] = ["burn_rate", "burn_rate_by_hour", "margin_by_event"];

async fn remove(store: &Arc<dyn ObjectStore>) -> JanitorReport {
    let settings = JanitorSettings {
        keep_events_days: 32,
        dedupe_horizon_days: 1,
        merge_files_min: usize::MAX,
        // What is stored has the time of the machine.
        retention_ms: 10_000 * 86_400_000,
        ..JanitorSettings::default()
    };
    let mut janitor = Janitor::new(Arc::clone(store), TOPIC, 1);
    let report = janitor.run_once(ms("2027-03-01T00:00:00Z"), &settings).await;
    assert!(report.failures.is_empty(), "{report}");
    report
}

/// A settled October, with usage of it that came late and is on no statement.
async fn with_late_usage() -> Feed {
    let mut feed = settled().await;
    let glm = json!({"model": "glm-5", "usage": {"input": 500_000}});
    feed.event("F", "late-1", "2026-10-15T10:00:00+08:00", glm);
    feed.close().await;
    feed.publish().await;
    feed
}

async fn failed(store: &Arc<dyn ObjectStore>) -> Vec<Check> {
    let engine = engine_over(store).await;
    let report = verify(&engine, &VerifyOptions::default()).await.unwrap();
    report.checks.into_iter().filter(|check| !check.ok).collect()
}

async fn error_of(engine: &QueryEngine, sql: &str) -> String {
    let answer = match engine.run(sql, None, engine.limits()).await {
        Ok(answer) => answer.collect().await.map(|_| ()),
        Err(error) => Err(error),
    };
    answer.unwrap_err().to_string()
}

fn refused(view: &View) -> bool {
    READ_ROWS.contains(&view.name)
}

/// What every view says that goes on without rows.
async fn answers(engine: &QueryEngine) -> Vec<(&'static str, Vec<String>)> {
    let mut answers = Vec::new();
    for view in View::all().filter(|view| !refused(view)) {
        let sql = format!("SELECT * FROM {}.{}", view.schema, view.name);
        let mut found: Vec<String> =
            rows(engine, &sql).await.iter().map(Value::to_string).collect();
        found.sort();
        answers.push((view.name, found));
    }
    answers
}

async fn events(store: &Arc<dyn ObjectStore>) -> Arc<PinnedTable> {
    let pin = TableSet::open(Arc::clone(store)).pin(None).await.unwrap();
    pin.get(Table::UsageEvents).unwrap()
}

/// Everything that the books say, at a time.
async fn books(engine: &QueryEngine, store: &Arc<dyn ObjectStore>) -> Vec<String> {
    let whole = ReferenceStore::new(Arc::clone(store)).newest_whole().await.unwrap();
    let (terms, prices) = settled_by(whole);
    let settlement = Settlement::new(engine, terms, prices);
    let now_ms = ms("2026-12-05T09:00:00+08:00");
    let mut statements = Vec::new();
    for period in ["2026-10", "2026-11"] {
        let period = Period::parse(period).unwrap();
        let issued = settlement.statement("zhipu", period, now_ms).await.unwrap();
        statements.push(String::from_utf8(issued.statement.to_bytes().unwrap()).unwrap());
    }
    statements
}

#[tokio::test]
async fn what_needs_no_rows_is_answered_as_before_and_the_rest_is_refused() {
    let feed = with_late_usage().await;
    let store = &feed.store;
    let engine = engine_over(store).await;
    assert!(failed(store).await.is_empty());
    let (views, statements) = (answers(&engine).await, books(&engine, store).await);
    let report = remove(store).await;
    // What came late is on no statement yet, so that it stays.
    assert_eq!((report.days_removed, report.rows_removed), (1, 1));

    let failed = failed(store).await;
    assert!(failed.is_empty(), "{failed:#?}");
    let engine = engine_over(store).await;
    for (before, after) in views.iter().zip(answers(&engine).await) {
        assert_eq!(*before, after);
    }
    assert_eq!(books(&engine, store).await, statements);
    let record = retention_record_path(Table::UsageEvents, 0);
    for asked in [
        "SELECT count(*) FROM usage_events".to_owned(),
        "SELECT sum(input) FROM usage_events WHERE day <= DATE '2026-10-31'".to_owned(),
        "SELECT * FROM usage_events LIMIT 1".to_owned(),
        "SELECT id FROM usage_events WHERE completed_at < TIMESTAMP '2026-10-03T00:00:00Z'"
            .to_owned(),
    ]
    .into_iter()
    .chain(READ_ROWS.iter().map(|name| {
        let view = View::all().find(|view| view.name == *name).unwrap();
        format!("SELECT * FROM {}.{name}", view.schema)
    })) {
        let error = error_of(&engine, &asked).await;
        assert!(error.contains(record.as_ref()) && error.contains(DAY), "{asked}: {error}");
        assert!(error.contains("WHERE day >= DATE '2026-10-03'"), "{asked}: {error}");
    }
    // Who asks for what is there is answered, whatever column says so.
    for asked in [
        "SELECT count(*) AS n FROM usage_events WHERE day >= DATE '2026-10-03'",
        "SELECT count(*) AS n FROM usage_events WHERE completed_at > TIMESTAMP '2026-10-03T00:00:00Z'",
    ] {
        let found = rows(&engine, asked).await;
        assert_eq!(found, [json!({"n": rows_there(store).await})], "{asked}");
    }
    let days = "SELECT table_name, day, record, files, rows, removed_at FROM system.removed_days";
    assert_eq!(
        rows(&engine, days).await,
        [json!({"table_name": "usage_events", "day": DAY, "record": record.as_ref(), "files": 1,
            "rows": 1, "removed_at": "2027-03-01T00:00:00Z"})]
    );
}

/// Which days are gone a vendor is told, and how to ask for the rest; not where the sums of all
/// vendors are. What else they ask for makes no difference, as the statistics of a removed file,
/// which might leave it out, are those of all of its rows.
#[tokio::test]
async fn a_vendor_is_told_which_days_are_gone() {
    let feed = with_late_usage().await;
    remove(&feed.store).await;
    let engine = engine_over(&feed.store).await;
    let ask = async |vendor: &str, sql: &str| {
        let answer = engine.run_as(&caller(vendor), sql, None, engine.limits()).await?;
        answer.collect().await
    };
    for vendor in ["vendor:zhipu", "vendor:anthropic"] {
        for condition in [
            "",
            "WHERE day <= DATE '2026-10-31'",
            "WHERE input > 900000000000",
            "WHERE model > 'z'",
            "WHERE day < DATE '2026-11-01' AND wholesale_amount < 1",
        ] {
            let sql = format!("SELECT count(*) FROM usage_events {condition}");
            let error = ask(vendor, &sql).await.unwrap_err();
            assert!(matches!(error, QueryError::Removed(_)), "{vendor}, {sql}: {error}");
            let words = error.to_string();
            let told = "has removed the rows of usage_events of 2026-10-02. Ask for what is there, with WHERE day >= DATE '2026-10-03'";
            assert!(words.contains(told), "{vendor}, {sql}: {words}");
            assert!(!words.contains("retention/") && !words.contains("system."), "{words}");
        }
        for asked in [
            "SELECT count(*) FROM usage_events WHERE day >= DATE '2026-10-03'",
            "SELECT count(*) FROM usage_events WHERE day = DATE '2026-11-20' AND input > 1",
            "SELECT * FROM usage_by_model",
            "SELECT * FROM settlement.vendor_payable",
            "SELECT * FROM settlement.vendor_payable_by_price",
            "SELECT * FROM settlement.vendor_report",
        ] {
            let answer = ask(vendor, asked).await;
            assert!(answer.is_ok(), "{vendor}, {asked}: {:?}", answer.err());
        }
    }
}

async fn rows_there(store: &Arc<dyn ObjectStore>) -> u64 {
    events(store).await.files.iter().filter_map(|file| file.rows).sum()
}

/// The program's own questions: what needs the rows names the record, what does not goes on.
#[tokio::test]
async fn commands_say_which_record_has_what_they_need() {
    let feed = with_late_usage().await;
    let store = &feed.store;
    remove(store).await;
    let engine = engine_over(store).await;
    let record = retention_record_path(Table::UsageEvents, 0);
    let pin = engine.pin(None).await.unwrap();
    let find = async |id: &'static str, at: Option<&str>| {
        AcceptedEvent::find(&engine, &pin, ("gw-1", id), at.map(ms)).await
    };
    // On its day, and on no day that is there.
    for (id, at) in [
        ("f-1", Some("2026-10-02T10:00:00+08:00")),
        ("f-1", Some("2026-11-20T10:00:00+08:00")),
        ("f-1", None),
        ("nobody", Some("2026-11-20T10:00:00+08:00")),
    ] {
        let error = find(id, at).await.unwrap_err();
        // By which whoever corrects many goes on to the next.
        let QueryError::Removed(rows) = &error else { panic!("{id}: {error}") };
        for words in [rows.told(), error.to_string()] {
            assert!(words.contains(record.as_ref()) && words.contains(DAY), "{words}");
        }
    }
    for at in [Some("2026-11-22T10:00:02+08:00"), None] {
        assert_eq!(find("f-2", at).await.unwrap().unwrap().account, "F");
    }
    assert_eq!(resends(&engine, 10, 1_000).await.unwrap().found(), 0);

    let whole = ReferenceStore::new(Arc::clone(store)).newest_whole().await.unwrap();
    let (terms, prices) = settled_by(whole);
    let settlement = Settlement::new(&engine, terms, prices);
    let (october, now_ms) = (Period::parse("2026-10").unwrap(), ms("2026-12-05T09:00:00+08:00"));
    let issued = settlement.statement("zhipu", october, now_ms).await.unwrap();
    let line = &issued.statement.sections[0].lines[0].id;
    let error = settlement.line_events("zhipu", october, line, now_ms).await.unwrap_err();
    assert!(error.to_string().contains(record.as_ref()), "{error}");
}

/// Damages a store whose day was removed. Returns what `verify` says.
async fn found_in(store: &Arc<dyn ObjectStore>) -> (BTreeSet<&'static str>, String) {
    let failed = failed(store).await;
    let findings: Vec<String> = failed.iter().flat_map(|check| check.findings.clone()).collect();
    (failed.iter().map(|check| check.invariant).collect(), findings.join("\n"))
}

async fn bytes_of(store: &Arc<dyn ObjectStore>, path: &Path) -> Vec<u8> {
    store.get(path).await.unwrap().bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn a_record_that_was_changed_or_is_gone_is_found() {
    let feed = with_late_usage().await;
    let store = &feed.store;
    remove(store).await;
    let path = retention_record_path(Table::UsageEvents, 0);
    let good = bytes_of(store, &path).await;
    let text = String::from_utf8(good.clone()).unwrap();
    for (from, to) in [
        ("\"events\": 1", "\"events\": 2"),
        ("\"at_ms\": 1", "\"at_ms\": 2"),
        ("\"n\": 0", "\"n\": 1"),
        ("\"rows\": 1", "\"rows\": 0"),
        ("2026-10-02\"", "2026-10-03\""),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        store.put(&path, changed.into()).await.unwrap();
        let (invariants, words) = found_in(store).await;
        assert!(invariants.contains("I6"), "{from}: {words}");
        assert!(words.contains("is not the record that the removal"), "{from}: {words}");
    }
    store.delete(&path).await.unwrap();
    let (_, words) = found_in(store).await;
    assert!(words.contains("is gone"), "{words}");
    store.put(&path, good.into()).await.unwrap();
    assert_eq!(found_in(store).await, (BTreeSet::new(), String::new()));
}

#[tokio::test]
async fn what_is_left_and_is_not_what_was_is_found() {
    let feed = with_late_usage().await;
    let store = &feed.store;
    remove(store).await;
    let events = events(store).await;
    let [removed] = events.removed().files.try_into().unwrap();
    for roll_up in RollUp::left_of(Table::UsageEvents) {
        let path = Path::from(format!("tables/usage_events/{}", roll_up.path(&removed.path)));
        let good = bytes_of(store, &path).await;
        let mut changed = good.clone();
        changed[10] ^= 1;
        store.put(&path, changed.into()).await.unwrap();
        let (_, words) = found_in(store).await;
        assert!(words.contains("is not what the rows of"), "{roll_up:?}: {words}");
        store.delete(&path).await.unwrap();
        let (_, words) = found_in(store).await;
        assert!(words.contains(&format!("{path} is gone")), "{roll_up:?}: {words}");
        store.put(&path, good.into()).await.unwrap();
    }
    assert_eq!(found_in(store).await, (BTreeSet::new(), String::new()));
}

/// A commit of somebody else: a file is taken out of the table.
async fn take_out(store: &Arc<dyn ObjectStore>, path: &str) {
    let version = events(store).await.version.unwrap() + 1;
    let log = Path::from(format!("tables/usage_events/_delta_log/{version:020}.json"));
    let action = json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": true}});
    store.put(&log, action.to_string().into()).await.unwrap();
}

#[tokio::test]
async fn a_day_that_is_missing_without_a_record_is_found() {
    // Rows that nobody wrote down.
    let feed = with_late_usage().await;
    let files = events(&feed.store).await.files.clone();
    let of_day = files.iter().find(|file| file.path.contains(DAY)).unwrap();
    take_out(&feed.store, &of_day.path).await;
    let (invariants, words) = found_in(&feed.store).await;
    assert!(invariants.is_superset(&["I1", "I6", "I13"].into()), "{invariants:?} {words}");
    // What stands in the place of rows that were written down.
    let feed = with_late_usage().await;
    remove(&feed.store).await;
    let [removed] = events(&feed.store).await.removed().files.try_into().unwrap();
    take_out(&feed.store, &removed.path).await;
    let (invariants, words) = found_in(&feed.store).await;
    assert!(invariants.is_superset(&["I1", "I6", "I13"].into()), "{invariants:?} {words}");
    assert!(words.contains("2026-10-02 has 0 rows, removed ones too"), "{words}");
    // Objects that a rule of the bucket has taken away.
    let feed = with_late_usage().await;
    remove(&feed.store).await;
    let all: Vec<_> = feed.store.list(Some(&Path::from("retention"))).try_collect().await.unwrap();
    for object in all {
        feed.store.delete(&object.location).await.unwrap();
    }
    let (invariants, words) = found_in(&feed.store).await;
    assert!(invariants.contains("I6") && words.contains("is gone"), "{words}");
}
