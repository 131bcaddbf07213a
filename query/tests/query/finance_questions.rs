//! Examples of `docs/sql.md` whose answers were worked out by hand, from the cases of
//! [`worked_out`](crate::feed::worked_out) and not from what the page shows.

use serde_json::{Value, json};

use crate::books::settled;
use crate::feed::{engine_over, rows};

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
