//! What gateways say they sent beside what came: `settlement.completeness` and
//! `settlement.missing_events`.

use std::sync::Arc;

use object_store::ObjectStore;
use serde_json::{Value, json};
use tally_query::QueryEngine;

use crate::feed::{Feed, engine_over, first_edition, ms, rows, settings};

const HOURS: [&str; 2] = ["2026-11-20T10:00:00+08:00", "2026-11-20T11:00:00+08:00"];

/// A numbered event of a gateway, `second` seconds into an hour.
fn send(feed: &mut Feed, source: &str, seq: u64, hour: &str, second: i64) {
    let at_ms = ms(hour) + second * 1_000;
    let event = json!({
        "source": source, "id": format!("{source}-{seq}"), "account": "A", "model": "glm-5",
        "completed_at": at_ms, "usage": {"input": 100, "output": 10},
        "gateway_epoch": 3, "gateway_seq": seq,
    });
    feed.send("A", at_ms, event.to_string().as_bytes());
}

/// The control total of `events` such events of an hour.
fn total(source: &str, hour: &str, (first, last): (u64, u64)) -> Value {
    let events = last - first + 1;
    json!({
        "command": "control_total", "source": source, "gateway_epoch": 3, "hour": hour,
        "events": events, "first_seq": first, "last_seq": last,
        "usage": {"input": 100 * events, "output": 10 * events, "requests": events},
    })
}

async fn told(send_all: impl FnOnce(&mut Feed)) -> Arc<QueryEngine> {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let reference = first_edition(&store).await;
    let mut feed = Feed::begin(store, 2, &settings(), &reference).await;
    send_all(&mut feed);
    feed.close().await;
    feed.publish().await;
    engine_over(&feed.store).await
}

fn say(feed: &mut Feed, total: &Value) {
    let source = total["source"].as_str().unwrap();
    feed.send(source, ms("2026-11-20T12:01:00+08:00"), total.to_string().as_bytes());
}

const STATES: [&str; 2] = [
    "source, hour, sent, accepted, held_back, missing, state",
    "settlement.completeness ORDER BY source, hour",
];
const MISSING: [&str; 2] = [
    "source, first_missing, last_missing, events, hour",
    "settlement.missing_events ORDER BY source, first_missing",
];

/// Rows of a query as lists in the order of its columns.
async fn lists(engine: &QueryEngine, [columns, from]: [&str; 2]) -> Value {
    let rows = rows(engine, &format!("SELECT {columns} FROM {from}")).await;
    let list = |row: &Value| columns.split(", ").map(|name| row[name].clone()).collect::<Vec<_>>();
    json!(rows.iter().map(list).collect::<Vec<_>>())
}

#[tokio::test]
async fn what_did_not_come_is_named() {
    let engine = told(|feed| {
        for seq in 1..=20 {
            let hour = HOURS[usize::from(seq > 10)];
            // Lost: the first of the first hour, two in its middle, the last of the second.
            if ![1, 5, 6, 20].contains(&seq) {
                send(feed, "gw-1", seq, hour, i64::try_from(seq).unwrap());
            }
            send(feed, "gw-2", seq, hour, i64::try_from(seq).unwrap());
        }
        say(feed, &total("gw-1", HOURS[0], (1, 10)));
        say(feed, &total("gw-1", HOURS[1], (11, 20)));
        say(feed, &total("gw-2", HOURS[0], (1, 10)));
        // Not a word of its second hour, and one of an hour of which nothing came.
        say(feed, &total("gw-3", HOURS[0], (1, 2)));
    })
    .await;
    let (ten, eleven) = ("2026-11-20T02:00:00Z", "2026-11-20T03:00:00Z");
    let expected = json!([
        ["gw-1", ten, 10, 7, 0, 3, "missing"],
        ["gw-1", eleven, 10, 9, 0, 1, "missing"],
        ["gw-2", ten, 10, 10, 0, 0, "complete"],
        ["gw-2", eleven, null, 10, 0, null, "no_total"],
        ["gw-3", ten, 2, 0, 0, 2, "missing"],
    ]);
    assert_eq!(lists(&engine, STATES).await, expected);
    let expected = json!([
        ["gw-1", 1, 1, 1, ten],
        ["gw-1", 5, 6, 2, ten],
        ["gw-1", 20, 20, 1, eleven],
        ["gw-3", 1, 2, 2, ten],
    ]);
    assert_eq!(lists(&engine, MISSING).await, expected);
    let totals = ["source, events, tokens", "settlement.control_totals ORDER BY source, hour"];
    let expected =
        json!([["gw-1", 10, 1_100], ["gw-1", 10, 1_100], ["gw-2", 10, 1_100], ["gw-3", 2, 220]]);
    assert_eq!(lists(&engine, totals).await, expected);
}

#[tokio::test]
async fn what_is_held_back_is_not_missing() {
    let engine = told(|feed| {
        send(feed, "gw-1", 1, HOURS[0], 1);
        send(feed, "gw-1", 3, HOURS[0], 3);
        let at_ms = ms(HOURS[0]) + 2_000;
        let unknown = json!({"source": "gw-1", "id": "u", "account": "A", "model": "nobody-sells-this",
            "completed_at": at_ms, "usage": {"input": 1}, "gateway_epoch": 3, "gateway_seq": 2});
        feed.send("A", at_ms, unknown.to_string().as_bytes());
        // The same identity with other usage: held back, and no further event.
        let conflict = json!({"source": "gw-1", "id": "gw-1-1", "account": "A", "model": "glm-5",
            "completed_at": at_ms, "usage": {"input": 7}, "gateway_epoch": 3, "gateway_seq": 1});
        feed.send("A", at_ms, conflict.to_string().as_bytes());
        say(feed, &total("gw-1", HOURS[0], (1, 3)));
    })
    .await;
    let expected = json!([["gw-1", "2026-11-20T02:00:00Z", 3, 2, 1, 0, "complete"]]);
    assert_eq!(lists(&engine, STATES).await, expected);
    assert_eq!(lists(&engine, MISSING).await, json!([]));
}

#[tokio::test]
async fn other_usage_and_more_events_than_were_sent_are_seen() {
    let engine = told(|feed| {
        for seq in 1..=3 {
            send(feed, "gw-1", seq, HOURS[0], 1);
            send(feed, "gw-2", seq, HOURS[0], 1);
        }
        let mut other = total("gw-1", HOURS[0], (1, 3));
        // As many tokens, in another class.
        other["usage"] = json!({"input": 299, "output": 31, "requests": 3});
        say(feed, &other);
        say(feed, &total("gw-2", HOURS[0], (1, 2)));
    })
    .await;
    let ten = "2026-11-20T02:00:00Z";
    let expected =
        json!([["gw-1", ten, 3, 3, 0, 0, "usage_differs"], ["gw-2", ten, 2, 3, 0, -1, "surplus"],]);
    assert_eq!(lists(&engine, STATES).await, expected);
}

#[tokio::test]
async fn an_event_counts_once_in_the_hour_in_which_it_ends() {
    let engine = told(|feed| {
        send(feed, "gw-1", 3, HOURS[1], 0);
        // Late, the last second of its hour, and again.
        send(feed, "gw-1", 1, HOURS[0], 0);
        send(feed, "gw-1", 2, HOURS[0], 3_599);
        send(feed, "gw-1", 2, HOURS[0], 3_599);
        say(feed, &total("gw-1", HOURS[0], (1, 2)));
        say(feed, &total("gw-1", HOURS[1], (3, 3)));
    })
    .await;
    let (ten, eleven) = ("2026-11-20T02:00:00Z", "2026-11-20T03:00:00Z");
    let expected =
        json!([["gw-1", ten, 2, 2, 0, 0, "complete"], ["gw-1", eleven, 1, 1, 0, 0, "complete"],]);
    assert_eq!(lists(&engine, STATES).await, expected);
    assert_eq!(lists(&engine, MISSING).await, json!([]));
}

/// Far more numbers than a block of the view has: full blocks, one that is not there, and ends.
#[tokio::test]
async fn gaps_are_found_among_many_numbers() {
    let engine = told(|feed| {
        for seq in (1..=800).filter(|seq| ![70, 71].contains(seq) && !(200..=330).contains(seq)) {
            send(feed, "gw-1", seq, HOURS[0], i64::try_from(seq).unwrap());
        }
        // Another gateway's total is of numbers of which none came, beyond those that did.
        send(feed, "gw-2", 5, HOURS[0], 5);
        say(feed, &total("gw-1", HOURS[0], (1, 810)));
        say(feed, &total("gw-2", HOURS[1], (9, 300)));
    })
    .await;
    let (ten, eleven) = ("2026-11-20T02:00:00Z", "2026-11-20T03:00:00Z");
    let expected = json!([
        ["gw-1", 70, 71, 2, ten],
        ["gw-1", 200, 330, 131, ten],
        ["gw-1", 801, 810, 10, ten],
        ["gw-2", 6, 300, 295, eleven],
    ]);
    assert_eq!(lists(&engine, MISSING).await, expected);
}
