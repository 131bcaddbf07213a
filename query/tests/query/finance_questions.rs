//! Examples of `docs/sql.md` whose answers were worked out by hand, from the cases of
//! [`worked_out`](crate::feed::worked_out) and not from what the page shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tally_query::{AcceptedEvent, QueryEngine, WriteOffs};
use tally_schemas::{Correction, CorrectionRequest};

use crate::books::settled;
use crate::feed::{Feed, engine_over, ms, rows};
use crate::seals::late_sealed;
use crate::suspense::{LATER, held, open_rows, proposed, recycle, repair};

const PAGE: &str = include_str!("../../../docs/sql.md");

/// The only example that has these words.
fn example(words: &str) -> &'static str {
    let examples = PAGE.split("```sql\n").skip(1).map(|text| text.split("\n```").next().unwrap());
    let found: Vec<&str> = examples.filter(|sql| sql.contains(words)).collect();
    let [sql] = found[..] else { panic!("{} examples have {words}", found.len()) };
    sql
}

/// Some columns of each row; decimals without the zeros at their end.
fn columns(rows: &[Value], names: &[&str]) -> Vec<Value> {
    let value = |value: &Value| match value.as_str() {
        Some(text) if text.contains('.') && text.parse::<f64>().is_ok() => {
            json!(text.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => value.clone(),
    };
    rows.iter().map(|row| names.iter().map(|name| value(&row[*name])).collect()).collect()
}

/// 6,000,000 tokens at 6 yuan a million and 6 % of tax, and a refund of 1.00 that has no price.
#[tokio::test]
async fn what_vendors_are_owed_by_price() {
    let engine = engine_over(&settled().await.store).await;
    let found = rows(&engine, example("vendor_payable_by_price")).await;
    let names = ["model", "class", "price_id", "unit_price", "units", "net", "gross"];
    let expected = [
        json!(["glm-5", "input", "glm-5.input", "6", 6_000_000, "36", "38.16"]),
        json!([null, null, null, null, 0, "-1", "-1.06"]),
    ];
    assert_eq!(columns(&found, &names), expected);
    // The version is the one that rated the events.
    let version =
        rows(&engine, "SELECT price_book_version FROM usage_events WHERE id = 'f-1'").await;
    assert_eq!(found[0]["price_book_version"], version[0]["price_book_version"]);
}

/// The third epoch came after nine o'clock of the 21st: half a million tokens of output at 22 yuan
/// and 2,000 of input at 6 from Zhipu, a hundred thousand at 5 dollars from Anthropic.
#[tokio::test]
async fn what_changed_since_yesterdays_draft() {
    let engine = engine_over(&settled().await.store).await;
    let found = rows(&engine, example("JOIN system.epochs")).await;
    let names = ["month", "vendor", "model", "currency", "events", "wholesale_amount"];
    let expected = [
        json!(["2026-11-01", "anthropic", "claude-opus", "USD", 1, "0.5"]),
        json!(["2026-11-01", "zhipu", "glm-5", "CNY", 2, "11.012"]),
    ];
    assert_eq!(columns(&found, &names), expected);
}

/// S3: the gift of 500,000 points pays for sixteen photos of 31,000 and for 4,000 of the
/// seventeenth; nobody pays for the other 27,000.
#[tokio::test]
async fn what_a_subscriber_disputes() {
    let engine = engine_over(&settled().await.store).await;
    crate::phone_bill::issue_day(&engine, "2026-11-20").await;
    let charges = rows(&engine, example("JOIN quota_ledger l")).await;
    let names = ["id", "points", "kind", "bucket", "charged", "balance_after"];
    let expected = [
        json!(["b-15", "31000", "debit", "gift-b", "-31000", "4000"]),
        json!(["b-16", "31000", "debit", "gift-b", "-4000", "0"]),
        json!(["b-16", "31000", "overrun", null, "-27000", null]),
    ];
    assert_eq!(columns(&charges, &names), expected);
    // The gateway's tenth photo was lost, so that the last two are its 17th and 18th.
    let origins = rows(&engine, example("gateway_epoch, gateway_seq, kafka_partition")).await;
    let names = ["id", "source", "gateway_epoch", "gateway_seq", "usage_source"];
    let expected =
        [json!(["b-16", "gw-1", 1, 18, "reported"]), json!(["b-15", "gw-1", 1, 17, "reported"])];
    assert_eq!(columns(&origins, &names), expected);
    // A gift costs nothing, and says so.
    let billed = rows(&engine, example("settlement.phone_bill_lines WHERE account = 'B'")).await;
    let names = ["line", "kind", "package", "amount", "status"];
    let expected = [json!(["1-2", "package_fee", "mobile-gift-500k", "0", "sent"])];
    assert_eq!(columns(&billed, &names), expected);
}

/// How many events have each status, and on which statement.
type Statuses = BTreeMap<(String, Option<String>), u64>;

fn statuses(of: &[(&str, Option<&str>, u64)]) -> Statuses {
    let of = of.iter().map(|(status, statement, events)| {
        (((*status).to_owned(), statement.map(str::to_owned)), *events)
    });
    of.collect()
}

/// What the example says of every account: as many rows as events came and were no duplicates.
async fn found_statuses(engine: &QueryEngine) -> Statuses {
    let sql = example("coalesce(s.state, 'accrued')").replace("account IN ('A', 'F')", "true");
    let found = rows(engine, &sql).await;
    let came = "SELECT sum(received - duplicates) AS n FROM system.partitions";
    assert_eq!(rows(engine, came).await[0]["n"], found.len(), "{found:#?}");
    let mut statuses = Statuses::new();
    for row in &found {
        let text = |name: &str| row[name].as_str().map(str::to_owned);
        *statuses.entry((text("status").unwrap(), text("statement"))).or_default() += 1;
    }
    statuses
}

/// Takes an accepted event back; `asked` is the event in suspense that counts in its stead.
async fn take_back(feed: &mut Feed, engine: &QueryEngine, id: &str, asked: Option<&str>) {
    let pin = engine.pin(None).await.unwrap();
    let found = AcceptedEvent::find(engine, &pin, ("gw-1", id), None).await.unwrap().unwrap();
    let mut waiting = open_rows(engine).await.into_iter();
    let request = asked.map(|asked| {
        let row = waiting.find(|row| row.id.as_deref() == Some(asked)).unwrap();
        CorrectionRequest { raw: row.raw.unwrap(), held: Some(row.position) }
    });
    let record = Correction {
        account: found.account.clone(),
        event: found.event,
        rating: found.rating,
        request,
        why: "counted twice".to_owned(),
        by: "carol".to_owned(),
    };
    let at_ms = ms("2026-11-23T09:00:00+08:00");
    feed.send(&found.account, at_ms, record.to_json().as_bytes());
}

/// On the statement of a month that is paid, on none yet, and held back. Then an event comes again,
/// one comes late, the gateway replaces one of the open month, and a person takes one of the closed
/// month back.
#[tokio::test]
async fn each_event_has_one_status() {
    let mut feed = settled().await;
    let engine = engine_over(&feed.store).await;
    let paid = [("settled", Some("2026-10"), 1), ("accrued", None, 24), ("suspended", None, 2)];
    assert_eq!(found_statuses(&engine).await, statuses(&paid));
    let glm = |tokens: u64| json!({"model": "glm-5", "usage": {"input": tokens}});
    feed.event("D", "d-1", "2026-11-20T12:00:02+08:00", glm(1_000));
    feed.event("F", "late-1", "2026-10-15T10:00:00+08:00", glm(500_000));
    let mut instead = glm(1_000);
    instead["corrects"] = json!({"source": "gw-1", "id": "c-1"});
    feed.event("C", "fix-1", "2026-11-20T12:00:01+08:00", instead);
    feed.close().await;
    feed.publish().await;
    let engine = engine_over(&feed.store).await;
    let asked = [
        ("settled", Some("2026-10"), 1),
        ("accrued", None, 25),
        // The two without a price, and what asks for a correction.
        ("suspended", None, 3),
    ];
    assert_eq!(found_statuses(&engine).await, statuses(&asked));
    take_back(&mut feed, &engine, "f-1", None).await;
    take_back(&mut feed, &engine, "c-1", Some("fix-1")).await;
    feed.close().await;
    feed.publish().await;
    let engine = engine_over(&feed.store).await;
    let corrected = [
        ("adjusted", Some("2026-10"), 1),
        ("adjusted", None, 1),
        ("accrued", None, 25),
        ("suspended", None, 2),
    ];
    assert_eq!(found_statuses(&engine).await, statuses(&corrected));
}

/// Late usage is on the statement of the month that it came in.
#[tokio::test]
async fn late_events_are_on_a_later_statement() {
    let engine = engine_over(&late_sealed().await.store).await;
    let closed = [("closed", Some("2026-10"), 1), ("closed", Some("2026-11"), 2)];
    assert_eq!(found_statuses(&engine).await, statuses(&closed));
}

/// One of the held-back events is recycled, one is given up, and one waits.
#[tokio::test]
async fn held_back_events_have_one_status() {
    let mut feed = held().await;
    let engine = engine_over(&feed.store).await;
    let before = [("accrued", None, 1), ("suspended", None, 3)];
    assert_eq!(found_statuses(&engine).await, statuses(&before));
    let open = open_rows(&engine).await;
    repair(&mut feed).await;
    let (account, record) = recycle(&open[2]);
    feed.send(&account, ms(LATER), record.as_bytes());
    let offs = WriteOffs::new(Arc::clone(&feed.store));
    offs.propose("alice", "nobody sells it", vec![proposed(&open[1])], ms(LATER)).await.unwrap();
    let approved = offs.approve(0, "bob", ms(LATER)).await.unwrap();
    for record in approved.records().unwrap() {
        feed.send(record.account().unwrap(), ms(LATER), record.to_json().as_bytes());
    }
    feed.close().await;
    feed.publish().await;
    let after = [("accrued", None, 2), ("suspended", None, 1), ("written_off", None, 1)];
    assert_eq!(found_statuses(&engine).await, statuses(&after));
}
