//! Schema `quota` over cases that were worked out by hand.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use tally_aggregate::ReferenceData;
use tally_query::QueryEngine;
use tally_quota::QuotaReference;
use tally_schemas::{AggregateConfig, Table};
use tally_tables::{AsOf, TableSet};

use crate::feed::{Feed, engine_over, first_edition, ms, rows, rows_as_of, settings, worked_out};
use crate::late_store::LateStore;
use crate::world::TOPIC;

/// The rows of a query, each as the list of its values in the order asked for.
async fn lists(sql: &str, columns: &[&str]) -> Vec<Vec<Value>> {
    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let rows = rows(&engine, sql).await;
    rows.iter().map(|row| columns.iter().map(|column| row[*column].clone()).collect()).collect()
}

#[tokio::test]
async fn a_balance_is_what_the_ledger_says() {
    let columns = ["account", "bucket", "granted", "used", "expired", "remaining"];
    let found = lists("SELECT * FROM quota.balance ORDER BY account", &columns).await;
    let expected = json!([
        ["A", "buy-a", "10000000.000000", "1600000.000000", "0.000000", "8400000.000000"],
        ["B", "gift-b", "500000.000000", "500000.000000", "0.000000", "0.000000"],
        ["F", "buy-f", "10000000.000000", "6000000.000000", "4000000.000000", "0.000000"],
        ["G", "buy-g", "10000000.000000", "4500000.000000", "0.000000", "5500000.000000"],
    ]);
    assert_eq!(json!(found), expected);
    let columns = ["account", "paid", "earned", "breakage", "unearned", "closed_at"];
    let found = lists("SELECT * FROM quota.balance ORDER BY account", &columns).await;
    // 9.90 yuan for ten million points: 0.99 a million. F's bucket ended on the first of November
    // at eight in the morning in Beijing, and closed 48 hours later.
    let expected = json!([
        ["A", "9.900000000000", "1.584000000000", "0.000000000000", "8.316000000000", null],
        ["B", "0.000000000000", "0.000000000000", "0.000000000000", "0.000000000000", null],
        [
            "F",
            "9.900000000000",
            "5.940000000000",
            "3.960000000000",
            "0.000000000000",
            "2026-11-03T00:00:00Z"
        ],
        ["G", "9.900000000000", "4.455000000000", "0.000000000000", "5.445000000000", null],
    ]);
    assert_eq!(json!(found), expected);
}

#[tokio::test]
async fn an_account_has_what_its_buckets_have() {
    let columns = ["account", "buckets", "remaining", "used", "payg", "overrun"];
    let found = lists("SELECT * FROM quota.account_balance ORDER BY account", &columns).await;
    let expected = json!([
        ["A", 1, "8400000.000000", "1600000.000000", "0.000000", "0.000000"],
        ["B", 0, "0.000000", "500000.000000", "0.000000", "27000.000000"],
        ["C", 0, "0.000000", "0.000000", "250000.000000", "0.000000"],
        ["D", 0, "0.000000", "0.000000", "0.000000", "1000.000000"],
        ["F", 0, "0.000000", "6000000.000000", "0.000000", "2000.000000"],
        ["G", 1, "5500000.000000", "4500000.000000", "0.000000", "0.000000"],
    ]);
    assert_eq!(json!(found), expected);
}

#[tokio::test]
async fn points_burn_by_day_and_by_hour() {
    let columns = [
        "day",
        "package",
        "events",
        "points",
        "retail_amount",
        "wholesale_amount",
        "wholesale_currency",
    ];
    let sql = "SELECT * FROM quota.burn_rate WHERE account = 'A' ORDER BY day";
    let found = lists(sql, &columns).await;
    let expected = json!([
        [
            "2026-11-20",
            "telecom-10m",
            1,
            "1000000.000000",
            "0.990000000000",
            "6.000000000000",
            "CNY"
        ],
        [
            "2026-11-21",
            "telecom-10m",
            1,
            "500000.000000",
            "0.495000000000",
            "11.000000000000",
            "CNY"
        ],
        [
            "2026-11-22",
            "telecom-10m",
            1,
            "100000.000000",
            "0.099000000000",
            "0.500000000000",
            "USD"
        ],
    ]);
    assert_eq!(json!(found), expected);
    let columns = ["hour", "account", "package", "events", "points"];
    let sql = "SELECT * FROM quota.burn_rate_by_hour WHERE day = DATE '2026-11-20' ORDER BY hour, account, package";
    let found = lists(sql, &columns).await;
    let expected = json!([
        ["2026-11-20T02:00:00Z", "A", "telecom-10m", 1, "1000000.000000"],
        ["2026-11-20T03:00:00Z", "B", "mobile-gift-500k", 17, "527000.000000"],
        ["2026-11-20T04:00:00Z", "C", "sh-telecom-payg", 1, "250000.000000"],
        ["2026-11-20T04:00:00Z", "D", null, 1, "1000.000000"],
        ["2026-11-20T05:00:00Z", "G", "telecom-10m", 1, "5500000.000000"],
    ]);
    assert_eq!(json!(found), expected);
}

#[tokio::test]
async fn a_bucket_runs_out_when_its_rate_says_and_null_says_that_nobody_knows() {
    let columns = ["account", "remaining", "since", "as_of", "recent_points", "exhausted_at"];
    let found = lists("SELECT * FROM quota.exhaustion_forecast ORDER BY account", &columns).await;
    // A used 1.6 million in two days: 8.4 million last 10.5 days more. G was used at one instant
    // only. B's bucket is used up and F's is closed: nothing is left to forecast.
    let expected = json!([
        [
            "A",
            "8400000.000000",
            "2026-11-20T02:00:00Z",
            "2026-11-22T02:00:00Z",
            "1600000.000000",
            "2026-12-02T14:00:00Z"
        ],
        [
            "G",
            "5500000.000000",
            "2026-11-20T05:00:01Z",
            "2026-11-20T05:00:01Z",
            "5500000.000000",
            null
        ],
    ]);
    assert_eq!(json!(found), expected);
}

#[tokio::test]
async fn overrun_has_a_cause_a_package_and_a_cost() {
    let columns =
        ["day", "cause", "package", "events", "accounts", "points", "currency", "wholesale_amount"];
    let sql = "SELECT * FROM quota.overrun_by_cause ORDER BY day, cause, package";
    // Of the seventeenth cut-out for 0.02 yuan the gift paid 4,000 of 31,000 points.
    let expected = json!([
        ["2026-11-20", "configuration", null, 1, 1, "1000.000000", "CNY", "0.006000000000"],
        [
            "2026-11-20",
            "in_flight",
            "mobile-gift-500k",
            1,
            1,
            "27000.000000",
            "CNY",
            "0.017419354839"
        ],
        ["2026-11-22", "configuration", null, 1, 1, "2000.000000", "CNY", "0.012000000000"],
    ]);
    assert_eq!(json!(lists(sql, &columns).await), expected);
}

#[tokio::test]
async fn alerts_that_hold_are_those_sent_and_neither_taken_back_nor_closed() {
    let columns = ["account", "kind", "threshold"];
    let sql = "SELECT * FROM quota.alerts_outstanding ORDER BY account, threshold";
    // B's bucket passed its thresholds one after the other. G's alert was taken back, F's bucket
    // is closed.
    let expected =
        json!([["B", "percent_used", 50], ["B", "percent_used", 80], ["B", "percent_used", 100]]);
    assert_eq!(json!(lists(sql, &columns).await), expected);
    let sql = "SELECT account, kind FROM alerts WHERE account IN ('F', 'G') ORDER BY account, kind";
    let all = lists(sql, &["account", "kind"]).await;
    assert_eq!(
        json!(all),
        json!([["F", "percent_used"], ["G", "corrected"], ["G", "percent_used"]])
    );
}

/// The watermark is the newest event's time.
fn punctual() -> AggregateConfig {
    AggregateConfig { lateness_ms: 0, ..settings() }
}

/// Points of glm-5, one a token.
fn glm(points: u64) -> Value {
    json!({"model": "glm-5", "usage": {"input": points}})
}

/// The account and kind of what is outstanding once everything so far is in the tables.
async fn outstanding(feed: &mut Feed) -> Vec<[String; 2]> {
    feed.close().await;
    feed.publish().await;
    let engine = engine_over(&feed.store).await;
    outstanding_as_of(&engine, None).await
}

/// The same of an old version of the tables.
async fn outstanding_as_of(engine: &QueryEngine, as_of: Option<AsOf>) -> Vec<[String; 2]> {
    let sql = "SELECT account, counter FROM quota.alerts_outstanding ORDER BY account, counter";
    let found = rows_as_of(engine, sql, as_of).await;
    found
        .iter()
        .map(|row| ["account", "counter"].map(|c| row[c].as_str().unwrap().into()))
        .collect()
}

/// The time of a clock, after which nothing is published for a while.
async fn now_ms() -> i64 {
    let now_ms = Timestamp::now().as_millisecond();
    tokio::time::sleep(Duration::from_millis(5)).await;
    now_ms
}

/// A bucket that was used up leaves the views when it closes, as one does of which something is
/// left: 48 hours after its end.
#[tokio::test]
async fn a_used_up_bucket_closes_and_takes_its_alerts_with_it() {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let reference = first_edition(&store).await;
    let mut feed = Feed::begin(store, 1, &punctual(), &reference).await;
    let purchase = json!({"command": "purchase", "id": "buy-u", "package": "telecom-10m"});
    feed.command("U", "2026-10-01T08:00:00+08:00", purchase);
    feed.event("U", "u-1", "2026-10-02T10:00:00+08:00", glm(10_000_000));
    let used_up = [["U".to_owned(), "percent_used:0".to_owned()]];
    assert_eq!(outstanding(&mut feed).await, used_up);
    // Somebody else's usage lets time pass, up to the last instant at which it is open.
    feed.event("V", "v-1", "2026-11-03T07:59:59.999+08:00", glm(0));
    assert_eq!(outstanding(&mut feed).await, used_up);
    feed.event("V", "v-2", "2026-11-03T08:00:00+08:00", glm(0));
    assert_eq!(outstanding(&mut feed).await, Vec::<[String; 2]>::new());
    let engine = engine_over(&feed.store).await;
    let found = rows(&engine, "SELECT * FROM quota.balance").await;
    assert_eq!(found.len(), 1);
    let [used, earned, closed_at] = ["used", "earned", "closed_at"].map(|c| &found[0][c]);
    assert_eq!((used, earned), (&json!("10000000.000000"), &json!("9.900000000000")));
    assert_eq!(closed_at, "2026-11-03T00:00:00Z");
}

/// Two accounts whose caps, spikes and overrun are told of; the cap of one is reached.
async fn watched() -> Feed {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let packages = tally_rating::SHIPPED_PACKAGES
        .replacen(
            "caps = []",
            "caps = [{ window = \"day\", limit_micro = 1000000000000 }, \
             { window = \"rolling_5h\", limit_micro = 1000000000000 }]",
            1,
        )
        .replacen(
            "{ kind = \"percent_used\", at = 50 },",
            "{ kind = \"cap\", at = 100 }, { kind = \"spike\", at = 500000000000 },",
            1,
        )
        + "\n[[account_threshold]]\nkind = \"overrun\"\nat = 1000000\n";
    let reference = ReferenceData {
        packages: Arc::new(QuotaReference::from_toml(&packages).unwrap()),
        ..first_edition(&store).await
    };
    let mut feed = Feed::begin(store, 1, &punctual(), &reference).await;
    let purchase = json!({"command": "purchase", "id": "buy-w", "package": "telecom-10m"});
    feed.command("W", "2026-11-20T08:00:00+08:00", purchase);
    let purchase = json!({"command": "purchase", "id": "buy-v", "package": "telecom-10m"});
    feed.command("V", "2026-11-20T08:00:00+08:00", purchase);
    // The cap is reached, and 1,000 points are beyond it.
    feed.event("W", "w-1", "2026-11-20T10:00:00+08:00", glm(1_001_000));
    feed
}

/// What is outstanding of that account.
fn of_w(counters: &[&str]) -> Vec<[String; 2]> {
    counters.iter().map(|counter| ["W".to_owned(), (*counter).to_owned()]).collect()
}

/// What is said of a window goes with the window: the hour of a spike, five rolling hours, a day, a
/// month. An old version of the tables goes on saying what it said.
#[tokio::test]
async fn alerts_of_windows_are_outstanding_until_their_window_is_over() {
    let (mut feed, of) = (watched().await, of_w);
    let all = of(&["cap:day", "cap:rolling_5h", "overrun", "spike"]);
    assert_eq!(outstanding(&mut feed).await, all);
    let pin = TableSet::open(Arc::clone(&feed.store)).pin(None).await.unwrap();
    let first = AsOf::Version(pin.get(Table::UsageEvents).unwrap().version.unwrap());
    let mut said = vec![(first, all.clone()), (AsOf::TimestampMs(now_ms().await), all.clone())];
    // The five hours that are counted from 1970 in Beijing end at noon.
    for (number, (at, left)) in [
        ("2026-11-20T10:59:59.999+08:00", all.clone()),
        ("2026-11-20T11:00:00+08:00", of(&["cap:day", "cap:rolling_5h", "overrun"])),
        ("2026-11-20T11:59:59.999+08:00", of(&["cap:day", "cap:rolling_5h", "overrun"])),
        ("2026-11-20T12:00:00+08:00", of(&["cap:day", "overrun"])),
        ("2026-11-20T23:59:59.999+08:00", of(&["cap:day", "overrun"])),
        ("2026-11-21T00:00:00+08:00", of(&["overrun"])),
        ("2026-11-30T23:59:59.999+08:00", of(&["overrun"])),
        ("2026-12-01T00:00:00+08:00", of(&[])),
    ]
    .into_iter()
    .enumerate()
    {
        feed.event("V", &format!("v-{number}"), at, glm(1));
        assert_eq!(outstanding(&mut feed).await, left, "{at}");
        said.push((AsOf::TimestampMs(now_ms().await), left));
    }
    let engine = engine_over(&feed.store).await;
    let sent = rows(&engine, "SELECT id FROM alerts WHERE account = 'W'").await;
    assert_eq!(sent.len(), 4, "the table keeps them");
    for (as_of, left) in said {
        assert_eq!(outstanding_as_of(&engine, Some(as_of)).await, left, "{as_of:?}");
    }
}

/// A night in which nothing comes but the clock.
#[tokio::test]
async fn time_that_passes_without_usage_ends_windows_of_an_old_version() {
    let mut feed = watched().await;
    outstanding(&mut feed).await;
    let at_ms = ms("2026-11-21T09:00:00+08:00");
    feed.send("W", at_ms, format!("{{\"command\":\"tick\",\"at\":{at_ms}}}").as_bytes());
    let left = of_w(&["overrun"]);
    assert_eq!(outstanding(&mut feed).await, left);
    let then = AsOf::TimestampMs(now_ms().await);
    let engine = engine_over(&feed.store).await;
    assert_eq!(outstanding_as_of(&engine, Some(then)).await, left);
}

/// The janitor raises the floor and removes the epoch of an old version between two reads: the first
/// that is kept counts, and not the newest.
#[tokio::test]
async fn an_old_version_whose_epoch_is_just_removed_goes_by_the_first_that_is_kept() {
    let mut feed = watched().await;
    let all = of_w(&["cap:day", "cap:rolling_5h", "overrun", "spike"]);
    assert_eq!(outstanding(&mut feed).await, all);
    let removed = feed.last().next().unwrap().entry.n;
    let then = AsOf::TimestampMs(now_ms().await);
    for (id, at) in [("v-1", "2026-11-20T10:30:00+08:00"), ("v-2", "2026-11-20T12:00:00+08:00")] {
        feed.event("V", id, at, glm(1));
        outstanding(&mut feed).await;
    }
    let ledger = format!("ledger/{TOPIC}/0");
    let entry = |n: u64| format!("{ledger}/{n:020}.json");
    for n in 0..=removed {
        feed.store.delete(&Path::from(entry(n))).await.unwrap();
    }
    let floor = json!({"n": removed + 1}).to_string();
    let floor_path = format!("{ledger}/floor.json");
    feed.store.put(&Path::from(floor_path.as_str()), floor.into()).await.unwrap();
    let late = LateStore::new(Arc::clone(&feed.store), &floor_path, &entry(removed));
    let late: Arc<dyn ObjectStore> = Arc::new(late);
    let engine = engine_over(&late).await;
    assert_eq!(outstanding_as_of(&engine, Some(then)).await, all);
}
