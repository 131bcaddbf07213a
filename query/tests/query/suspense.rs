//! Held-back rows from the day they come to the day they are gone: `suspense` and what people ask
//! of it, and the proofs of `verify`.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use serde_json::{Value, json};
use tally_aggregate::{HeldReading, ReferenceData};
use tally_query::{
    Check, HeldFilter, HeldRow, HeldRows, HeldStatus, ProposedRow, QueryEngine, VerifyOptions,
    WriteOffs, render_table, verify,
};
use tally_rating::RateCard;
use tally_reference::{FileOrigin, NewFiles, ReferenceKind, ReferenceStore, StoredFile};
use tally_schemas::{
    HeldPosition, Recycle, Resolution, SuspenseReason, TokenClass, WriteOff, partition_of,
};

use crate::feed::{Feed, engine_over, first_edition, ms, rows, settings};

const AT: &str = "2026-11-20T10:00:00+08:00";
pub(crate) const LATER: &str = "2026-12-02T09:00:00+08:00";
const PRICES: &str = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,valid_from,valid_to\n\
    acme,wholesale,acme,acme-1,input,token,CNY,7000000,2026-01-01,2026-12-01\n\
    later,wholesale,acme,acme-1,input,token,CNY,9000000,2026-12-01,\n";

/// Four events of a gateway: one is accepted, one has no price yet, one is of a model that nobody
/// knows, one is torn. And what the gateway says of them.
pub(crate) async fn held() -> Feed {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let reference = first_edition(&store).await;
    let mut feed = Feed::begin(store, 2, &settings(), &reference).await;
    let numbered = |model: &str, vendor: Option<&str>, seq: u64| {
        json!({"model": model, "vendor": vendor, "usage": {"input": 1_000, "output": 0},
            "gateway_epoch": 1, "gateway_seq": seq})
    };
    feed.event("A", "1", AT, numbered("glm-5", None, 1));
    feed.event("A", "2", AT, numbered("acme-1", Some("acme"), 2));
    feed.close().await;
    feed.event("B", "3", AT, numbered("nobody-1", None, 3));
    feed.send("B", ms(AT), br#"{"source":"gw-1","id":"4","usage":{"input":5}"#);
    let total = json!({"command": "control_total", "source": "gw-1", "gateway_epoch": 1, "hour": AT,
        "events": 3, "first_seq": 1, "last_seq": 3, "usage": {"input": 3_000, "requests": 3}});
    feed.send("gw-1", ms(AT), total.to_string().as_bytes());
    feed.close().await;
    feed.publish().await;
    feed
}

/// The price of acme-1, imported and approved.
pub(crate) async fn repair(feed: &mut Feed) {
    let references = ReferenceStore::new(Arc::clone(&feed.store));
    let file = StoredFile { name: "acme.csv".to_owned(), text: PRICES.to_owned() };
    let (kind, origin) = (ReferenceKind::Price, FileOrigin::Written);
    let new = NewFiles { kind, files: vec![file], origin };
    references.import(&new, "alice", ms(AT)).await.unwrap();
    references.approve(kind, 1, "bob", ms(AT) + 1).await.unwrap();
    let whole = references.newest_whole().await.unwrap();
    let known_at_ms = whole.known_at_ms(ms(LATER));
    let reference = ReferenceData {
        version: whole.edition.read_at(known_at_ms),
        card: Arc::new(RateCard::new(&whole.book, Some(known_at_ms))),
        packages: Arc::new(whole.packages),
    };
    feed.adopt(&reference).await;
}

async fn read(engine: &QueryEngine, filter: HeldFilter) -> Vec<HeldRow> {
    let pin = engine.pin(None).await.unwrap();
    let mut held = HeldRows::open(engine, pin, &filter).await.unwrap();
    let mut all = Vec::new();
    while let Some(more) = held.next().await.unwrap() {
        all.extend(more);
    }
    all.sort_by_key(|row| (row.reason, row.position));
    all
}

pub(crate) async fn open_rows(engine: &QueryEngine) -> Vec<HeldRow> {
    read(engine, HeldFilter { status: Some(HeldStatus::Open), ..HeldFilter::default() }).await
}

pub(crate) fn recycle(row: &HeldRow) -> (String, String) {
    let account = row.account.clone().unwrap();
    let record = Resolution::Recycle(Recycle {
        position: row.position,
        reason: row.reason,
        account: account.clone(),
        raw: row.raw.clone().unwrap(),
        by: "alice".to_owned(),
    });
    (account, record.to_json())
}

pub(crate) fn proposed(row: &HeldRow) -> ProposedRow {
    let usage = HeldReading::of(row.raw.as_deref().unwrap_or_default()).usage;
    let counts = TokenClass::ALL.into_iter().filter(|class| usage.get(*class) > 0);
    ProposedRow {
        row: row.position.to_string(),
        reason: row.reason.to_string(),
        at_ms: row.completed_at_ms.unwrap_or(row.first_seen_ms),
        account: row.account.clone(),
        source: row.source.clone(),
        id: row.id.clone(),
        usage: counts.map(|class| (class.name().to_owned(), usage.get(class))).collect(),
    }
}

/// A name whose partition, of two, is this one.
fn key_of(partition: u32) -> &'static str {
    ["a", "b", "c", "d", "e"].into_iter().find(|name| partition_of(name, 2) == partition).unwrap()
}

async fn failed(engine: &QueryEngine) -> Vec<Check> {
    let report = verify(engine, &VerifyOptions::default()).await.unwrap();
    report.checks.into_iter().filter(|check| !check.ok).collect()
}

async fn statuses(engine: &QueryEngine) -> BTreeMap<String, String> {
    let found = rows(engine, "SELECT reason, status FROM suspense").await;
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    found.iter().map(|row| (text(row, "reason"), text(row, "status"))).collect()
}

#[tokio::test]
async fn a_row_is_recycled_once_and_everything_adds_up() {
    let mut feed = held().await;
    let engine = engine_over(&feed.store).await;
    let open = open_rows(&engine).await;
    let reasons: Vec<SuspenseReason> = open.iter().map(|row| row.reason).collect();
    use SuspenseReason::{Malformed, NoPrice, UnknownModel};
    assert_eq!(reasons, [Malformed, UnknownModel, NoPrice]);
    assert_eq!(
        (open[1].model.as_deref(), open[1].account.as_deref()),
        (Some("nobody-1"), Some("B"))
    );
    assert!(failed(&engine).await.is_empty());
    let filter = HeldFilter {
        reason: Some(UnknownModel),
        model: Some("nobody-1".to_owned()),
        since_ms: Some(ms(AT)),
        until_ms: Some(ms(AT) + 1),
        positions: vec![open[1].position],
        limit: Some(7),
        ..HeldFilter::default()
    };
    assert_eq!(read(&engine, filter).await, open[1..2]);

    repair(&mut feed).await;
    // Everything is tried, twice; what can be rated by now is taken in, once.
    for _ in 0..2 {
        for row in &open[1..] {
            let (account, record) = recycle(row);
            feed.send(&account, ms(LATER), record.as_bytes());
        }
    }
    feed.close().await;
    feed.publish().await;
    let expected = [("malformed", "open"), ("no_price", "recycled"), ("unknown_model", "open")];
    let expected = expected.map(|(reason, status)| (reason.to_owned(), status.to_owned()));
    assert_eq!(statuses(&engine).await, BTreeMap::from(expected));
    assert!(failed(&engine).await.is_empty(), "{:#?}", failed(&engine).await);
    let event = rows(
        &engine,
        "SELECT e.day, e.wholesale_amount, e.wholesale_price_ids, r.resolved_by, r.input, s.id \
         FROM suspense_resolutions r JOIN usage_events e \
         ON e.kafka_partition = r.kafka_partition AND e.kafka_offset = r.kafka_offset \
         JOIN suspense s ON s.kafka_partition = r.suspense_partition \
         AND s.kafka_offset = r.suspense_offset",
    )
    .await;
    // As of its own time: 1,000 tokens at 7 yuan a million, on the day of the call.
    let expected = json!([{"day": "2026-11-20", "wholesale_amount": "0.007000000000",
        "wholesale_price_ids": "acme", "resolved_by": "alice", "input": 1_000, "id": "2"}]);
    assert_eq!(Value::from(event), expected);
    let fates = "SELECT sum(accepted) AS a, sum(suspended) AS s, sum(recycled) AS r, \
                 sum(written_off) AS w, sum(left_open) AS o FROM system.partitions";
    let expected = json!([{"a": 2, "s": 3, "r": 1, "w": 0, "o": 2}]);
    assert_eq!(Value::from(rows(&engine, fates).await), expected);
    // It has come once: complete as before, and nothing is missing.
    let complete = "SELECT accepted, held_back, missing, state FROM settlement.completeness";
    let expected = json!([{"accepted": 2, "held_back": 1, "missing": 0, "state": "complete"}]);
    assert_eq!(Value::from(rows(&engine, complete).await), expected);
    let missing = rows(&engine, "SELECT * FROM settlement.missing_events").await;
    assert!(missing.is_empty(), "{missing:?}");
    let aging = "SELECT reason, events FROM settlement.suspense_aging ORDER BY reason";
    let expected =
        json!([{"reason": "malformed", "events": 1}, {"reason": "unknown_model", "events": 1}]);
    assert_eq!(Value::from(rows(&engine, aging).await), expected);
}

#[tokio::test]
async fn what_is_given_up_was_proposed_by_one_and_approved_by_another() {
    let mut feed = held().await;
    let engine = engine_over(&feed.store).await;
    let offs = WriteOffs::new(Arc::clone(&feed.store));
    let all: Vec<ProposedRow> = open_rows(&engine).await.iter().map(proposed).collect();
    offs.propose("alice", "a test of the gateway", all, ms(LATER)).await.unwrap();
    assert!(offs.approve(0, "Alice", ms(LATER)).await.is_err());
    let approved = offs.approve(0, "bob", ms(LATER)).await.unwrap();
    // Sent twice, as by somebody who got no answer.
    for record in [approved.records().unwrap(), approved.records().unwrap()].concat() {
        let key = record.account().unwrap_or_else(|| key_of(record.home(2)));
        feed.send(key, ms(LATER), record.to_json().as_bytes());
    }
    feed.close().await;
    feed.publish().await;
    assert!(statuses(&engine).await.values().all(|status| status == "written_off"));
    assert!(failed(&engine).await.is_empty(), "{:#?}", failed(&engine).await);
    let given_up = rows(
        &engine,
        "SELECT resolution, approved_by, why, count(*) AS n, sum(input) AS input \
         FROM suspense_resolutions GROUP BY 1, 2, 3",
    )
    .await;
    let expected = json!([{"resolution": "written_off", "approved_by": "bob",
        "why": "a test of the gateway", "n": 3, "input": 2_005}]);
    assert_eq!(Value::from(given_up), expected);
    assert!(rows(&engine, "SELECT * FROM settlement.suspense_aging").await.is_empty());
}

#[tokio::test]
async fn a_resolution_of_a_row_that_never_was_is_found() {
    let mut feed = held().await;
    let engine = engine_over(&feed.store).await;
    let torn = open_rows(&engine).await.remove(0);
    let forged = |position: HeldPosition, reason: SuspenseReason| {
        Resolution::WriteOff(WriteOff {
            position,
            reason,
            at_ms: torn.first_seen_ms,
            account: None,
            source: None,
            id: None,
            usage: Default::default(),
            proposal: 0,
            why: "forged".to_owned(),
            by: "alice".to_owned(),
            approved_by: "bob".to_owned(),
        })
    };
    let nowhere = HeldPosition { offset: 1_000, ..torn.position };
    let key = key_of(torn.position.partition);
    let record = forged(nowhere, SuspenseReason::Tombstone).to_json();
    feed.send(key, ms(LATER), record.as_bytes());
    feed.close().await;
    feed.publish().await;
    let found = failed(&engine).await;
    let what: Vec<&str> = found.iter().map(|check| check.what).collect();
    let expected = [
        "each resolution is of a row of suspense, and of its reason",
        "rows open in suspense = suspended - recycled - written off",
    ];
    assert_eq!(what, expected, "{found:#?}");
    // And one for another reason than that of the row.
    let record = forged(torn.position, SuspenseReason::Tombstone).to_json();
    feed.send(key, ms(LATER), record.as_bytes());
    feed.close().await;
    feed.publish().await;
    let findings: usize = failed(&engine).await.iter().map(|check| check.findings.len()).sum();
    assert_eq!(findings, 3);
}

/// Filters reach the files of `suspense` through its status, and no other column is read for them.
#[tokio::test]
async fn a_filter_reads_only_the_files_that_may_have_its_rows() {
    let mut feed = held().await;
    repair(&mut feed).await;
    let engine = engine_over(&feed.store).await;
    let (account, record) = recycle(&open_rows(&engine).await[2]);
    feed.send(&account, ms(LATER), record.as_bytes());
    feed.close().await;
    feed.publish().await;
    let plan = async |sql: &str| {
        let sql = format!("EXPLAIN VERBOSE {sql}");
        let answer = engine.run(&sql, None, engine.limits()).await.unwrap();
        let (schema, batches) = answer.collect().await.unwrap();
        render_table(schema, &batches).unwrap()
    };
    let files = |plan: &str| {
        let scans = plan.lines().filter(|line| line.contains("DataSourceExec"));
        let scans = scans.filter(|line| line.contains("/suspense/"));
        scans.map(|line| line.matches(".parquet").count()).max().unwrap_or(0)
    };
    let all = plan("SELECT reason, status FROM suspense").await;
    let some =
        plan("SELECT reason, status FROM suspense WHERE model = 'acme-1' AND status = 'recycled'")
            .await;
    assert!(files(&some) > 0 && files(&some) < files(&all), "{some}");
    let told = rows(&engine, "EXPLAIN SELECT reason, status FROM suspense").await;
    assert!(!Value::from(told.clone()).to_string().contains("raw"), "{told:?}");
    let found =
        rows(&engine, "SELECT status FROM suspense WHERE model = 'acme-1' AND status = 'recycled'")
            .await;
    assert_eq!(Value::from(found), json!([{"status": "recycled"}]));
}
