//! Every view over random traffic of the real core, against sums that this file makes itself from
//! the rows of the tables, one by one, in integers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::{TimeZone, offset};
use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;
use tally_query::QueryEngine;
use tally_schemas::decimal_text;

use crate::feed::{engine_over, ms, random, random_watched, rows};

/// Units of the last place of a decimal text; nothing for null.
fn units(value: &Value) -> Option<i128> {
    value.as_str().map(|text| text.replace('.', "").parse().unwrap())
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Rows as texts, sorted.
type Lines = Vec<Vec<String>>;

async fn view(engine: &QueryEngine, columns: &[&str], from: &str) -> Lines {
    let sql = format!("SELECT {} FROM {from}", columns.join(", "));
    let rows = rows(engine, &sql).await;
    assert!(!rows.is_empty(), "{sql} shows something");
    let mut lines: Lines =
        rows.iter().map(|row| columns.iter().map(|c| text(&row[*c])).collect()).collect();
    lines.sort();
    lines
}

fn sorted(lines: impl IntoIterator<Item = Vec<String>>) -> Lines {
    let mut lines: Lines = lines.into_iter().collect();
    lines.sort();
    lines
}

fn is(row: &Value, column: &str, values: &[&str]) -> bool {
    row[column].as_str().is_some_and(|value| values.contains(&value))
}

const CREDITS: [&str; 5] = ["grant", "top_up", "transfer_in", "transfer_out", "refund"];

/// Rows by some of their columns.
fn grouped<'a>(rows: &'a [Value], keys: &[&str]) -> BTreeMap<Vec<String>, Vec<&'a Value>> {
    let mut groups: BTreeMap<Vec<String>, Vec<&Value>> = BTreeMap::new();
    for row in rows {
        groups.entry(keys.iter().map(|key| text(&row[*key])).collect()).or_default().push(row);
    }
    groups
}

/// The sum of a column over the rows of some kinds.
fn sum(rows: &[&Value], kinds: &[&str], column: &str) -> i128 {
    rows.iter().filter(|row| is(row, "kind", kinds)).map(|row| units(&row[column]).unwrap()).sum()
}

/// The sum of a column; null where every value is.
fn sum_all(rows: &[&Value], column: &str, scale: u32) -> String {
    let values: Vec<i128> = rows.iter().filter_map(|row| units(&row[column])).collect();
    if values.is_empty() { "null".to_owned() } else { decimal_text(values.iter().sum(), scale) }
}

fn times(rows: &[&Value], kinds: &[&str]) -> BTreeSet<String> {
    rows.iter().filter(|row| is(row, "kind", kinds)).map(|row| text(&row["at"])).collect()
}

fn or_null(at: Option<&String>) -> String {
    at.cloned().unwrap_or_else(|| "null".to_owned())
}

#[tokio::test]
async fn balances_and_forecasts_are_the_sums_of_the_ledger() {
    let feed = random().await;
    let engine = engine_over(&feed.store).await;
    let ledger = rows(&engine, "SELECT * FROM quota_ledger").await;
    let of_buckets: Vec<Value> =
        ledger.iter().filter(|row| !row["bucket"].is_null()).cloned().collect();

    let buckets = grouped(&of_buckets, &["account", "bucket", "package", "currency"]);
    let expected = buckets.iter().map(|(key, rows)| {
        let points = [
            sum(rows, &CREDITS, "points"),
            -sum(rows, &["debit", "adjust"], "points"),
            -sum(rows, &["expire"], "points"),
        ];
        let left = points[0] - points[1] - points[2];
        let amounts = [
            sum(rows, &CREDITS, "amount"),
            sum(rows, &["debit", "adjust"], "amount"),
            sum(rows, &["breakage"], "amount"),
        ];
        let unearned = amounts[0] - amounts[1] - amounts[2];
        let mut line = key.clone();
        line.extend(points.into_iter().chain([left]).map(|p| decimal_text(p, 6)));
        line.extend(amounts.into_iter().chain([unearned]).map(|a| decimal_text(a, 12)));
        line.push(or_null(times(rows, &["grant"]).first()));
        line.push(or_null(times(rows, &["debit"]).last()));
        line.push(or_null(times(rows, &["expire", "breakage"]).last()));
        line
    });
    let columns = [
        "account",
        "bucket",
        "package",
        "currency",
        "granted",
        "used",
        "expired",
        "remaining",
        "paid",
        "earned",
        "breakage",
        "unearned",
        "granted_at",
        "last_used_at",
        "closed_at",
    ];
    assert_eq!(view(&engine, &columns, "quota.balance").await, sorted(expected));

    let accounts = grouped(&ledger, &["account"]);
    let expected = accounts.iter().map(|(key, rows)| {
        let mut left: BTreeMap<&str, i128> = BTreeMap::new();
        for row in rows.iter().filter(|row| !row["bucket"].is_null()) {
            *left.entry(row["bucket"].as_str().unwrap()).or_default() +=
                units(&row["points"]).unwrap();
        }
        let mut line = key.clone();
        line.push(left.values().filter(|points| **points > 0).count().to_string());
        line.push(decimal_text(left.values().sum(), 6));
        for kinds in [["debit", "adjust"].as_slice(), &["payg"], &["overrun"]] {
            line.push(decimal_text(-sum(rows, kinds, "points"), 6));
        }
        line.push(or_null(times(rows, &["debit", "payg", "overrun"]).last()));
        line
    });
    let columns = ["account", "buckets", "remaining", "used", "payg", "overrun", "last_used_at"];
    assert_eq!(view(&engine, &columns, "quota.account_balance").await, sorted(expected));

    let week_us = 7 * 86_400_000_000_i64;
    let us = |at: &str| ms(at) * 1_000;
    let mut forecasts = 0;
    let expected: Lines = buckets
        .iter()
        .filter(|(_, rows)| rows.iter().map(|row| units(&row["points"]).unwrap()).sum::<i128>() > 0)
        .map(|(key, rows)| {
            let of_account = &accounts[&key[..1]];
            let newest = times(of_account, &["debit", "payg", "overrun"]).last().cloned();
            let used_at = times(rows, &["debit"]);
            let left: i128 = rows.iter().map(|row| units(&row["points"]).unwrap()).sum();
            let recent: i128 = rows
                .iter()
                .filter(|row| is(row, "kind", &["debit"]))
                .filter(|row| {
                    us(row["at"].as_str().unwrap()) >= us(newest.as_ref().unwrap()) - week_us
                })
                .map(|row| -units(&row["points"]).unwrap())
                .sum();
            let since =
                used_at.first().map(|first| us(first).max(us(newest.as_ref().unwrap()) - week_us));
            let exhausted = match (since, &newest) {
                (Some(since), Some(newest)) if recent > 0 && us(newest) > since => {
                    let ahead = i128::from(us(newest) - since) * left / recent;
                    Some(us(newest) + i64::try_from(ahead).unwrap())
                }
                _ => None,
            };
            forecasts += u32::from(exhausted.is_some() && left > 0);
            let exhausted = exhausted.map_or_else(|| "null".to_owned(), |at| at.to_string());
            let mut line = key[..3].to_vec();
            line.extend([decimal_text(left, 6), decimal_text(recent, 6), exhausted]);
            line
        })
        .collect();
    assert!(forecasts > 10, "{forecasts} buckets have a forecast");
    let found = rows(
        &engine,
        "SELECT *, CAST(exhausted_at AS BIGINT) AS exhausted_us FROM quota.exhaustion_forecast",
    )
    .await;
    let columns = ["account", "bucket", "package", "remaining", "recent_points", "exhausted_us"];
    let found = found
        .iter()
        .map(|row| columns.iter().map(|column| text(&row[*column])).collect::<Vec<_>>());
    assert_eq!(sorted(found), sorted(expected));

    let overrun: Vec<Value> =
        ledger.iter().filter(|row| is(row, "kind", &["overrun"])).cloned().map(with_day).collect();
    let expected = grouped(&overrun, &["day", "cause", "package", "currency"]).into_iter().map(
        |(mut line, rows)| {
            let accounts: BTreeSet<String> = rows.iter().map(|row| text(&row["account"])).collect();
            line.extend([rows.len().to_string(), accounts.len().to_string()]);
            line.push(decimal_text(-sum(&rows, &["overrun"], "points"), 6));
            line.push(decimal_text(sum(&rows, &["overrun"], "amount"), 12));
            line
        },
    );
    let columns =
        ["day", "cause", "package", "currency", "events", "accounts", "points", "wholesale_amount"];
    assert_eq!(view(&engine, &columns, "quota.overrun_by_cause").await, sorted(expected));
}

/// A ledger row with the day in Shanghai of its instant.
fn with_day(mut row: Value) -> Value {
    let at: Timestamp = row["at"].as_str().unwrap().parse().unwrap();
    let day = at.to_zoned(TimeZone::get("Asia/Shanghai").unwrap()).date();
    row["day"] = day.to_string().into();
    row
}

/// An event's row, or two where it is sold and bought in two currencies: each with what counts in
/// its `currency`.
fn sides(event: &Value) -> Vec<Value> {
    let (retail, wholesale) = (&event["retail_currency"], &event["wholesale_currency"]);
    let mut bought = event.clone();
    bought["currency"] = wholesale.clone();
    bought["counted"] = 1.into();
    if retail.is_null() || retail == wholesale {
        return vec![bought];
    }
    let mut sold = bought.clone();
    bought["retail_amount"] = "0.000000000000".into();
    sold["currency"] = retail.clone();
    sold["counted"] = 0.into();
    sold["points"] = "0.000000".into();
    sold["wholesale_amount"] = "0.000000000000".into();
    vec![bought, sold]
}

#[tokio::test]
async fn margins_and_burn_rates_are_the_sums_of_the_events() {
    let feed = random().await;
    let engine = engine_over(&feed.store).await;
    let events: Vec<Value> = rows(&engine, "SELECT * FROM usage_events")
        .await
        .into_iter()
        .map(|mut event| {
            event["package"] = event["retail_price_ids"].clone();
            event["month"] = format!("{}-01", &event["day"].as_str().unwrap()[..7]).into();
            let hour = &event["completed_at"].as_str().unwrap()[..13];
            event["hour"] = format!("{hour}:00:00Z").into();
            event
        })
        .collect();
    assert!(events.iter().any(|event| text(&event["package"]).contains(',')), "some are split");

    let sums = ["points", "retail_amount", "wholesale_amount"];
    for (name, keys) in [
        ("quota.burn_rate", ["day", "account", "package"].as_slice()),
        ("quota.burn_rate_by_hour", &["day", "hour", "account", "package"]),
    ] {
        let keys = [keys, &["retail_currency", "wholesale_currency"]].concat();
        let expected = grouped(&events, &keys).into_iter().map(|(mut line, rows)| {
            line.push(rows.len().to_string());
            let scales = [6, 12, 12];
            line.extend(sums.iter().zip(scales).map(|(name, scale)| sum_all(&rows, name, scale)));
            line
        });
        let columns = [keys.as_slice(), &["events"], &sums].concat();
        assert_eq!(view(&engine, &columns, name).await, sorted(expected), "{name}");
    }

    let sides: Vec<Value> = events.iter().flat_map(sides).collect();
    assert!(sides.len() > events.len(), "some are bought for dollars");
    let margins: [(&str, &[&str]); 6] = [
        ("margin", &["month", "day", "package", "vendor", "model", "region", "channel"]),
        ("margin_by_package", &["month", "package"]),
        ("margin_by_model", &["month", "vendor", "model"]),
        ("margin_by_region", &["month", "region"]),
        ("margin_by_channel", &["month", "channel"]),
        ("margin_by_month", &["month"]),
    ];
    for (name, keys) in margins {
        let keys = [keys, &["currency"]].concat();
        let expected = grouped(&sides, &keys).into_iter().map(|(mut line, rows)| {
            line.push(
                rows.iter().map(|row| row["counted"].as_i64().unwrap()).sum::<i64>().to_string(),
            );
            let of = |name: &str| -> i128 { rows.iter().filter_map(|row| units(&row[name])).sum() };
            let (retail, wholesale) = (of("retail_amount"), of("wholesale_amount"));
            line.push(decimal_text(of("points"), 6));
            line.extend([retail, wholesale, retail - wholesale].map(|pico| decimal_text(pico, 12)));
            line
        });
        let columns = [keys.as_slice(), &["events"], &sums, &["margin"]].concat();
        let found = view(&engine, &columns, &format!("settlement.{name}")).await;
        assert_eq!(found, sorted(expected), "{name}");
    }
    let expected = events.iter().map(|event| {
        let (retail, wholesale) =
            (units(&event["retail_amount"]).unwrap(), units(&event["wholesale_amount"]).unwrap());
        let one = event["retail_currency"].is_null()
            || event["retail_currency"] == event["wholesale_currency"];
        let margin = if one { decimal_text(retail - wholesale, 12) } else { "null".to_owned() };
        vec![text(&event["id"]), text(&event["package"]), margin]
    });
    let found = view(&engine, &["id", "package", "margin"], "settlement.margin_by_event").await;
    assert_eq!(found, sorted(expected));
}

/// When the window of an alert is over, by the name of its counter; nothing where it is of a bucket.
fn window_end_ms(alert: &Value) -> Option<i64> {
    let hours = match alert["counter"].as_str().unwrap() {
        "spike" => 1,
        "cap:rolling_5h" => 5,
        "cap:day" | "cap:rolling_day" => 24,
        "cap:week" | "cap:rolling_week" => 7 * 24,
        "cap:month" | "overrun" | "overflow_spent" => 0,
        _ => return None,
    };
    let start_ms = ms(alert["period_start"].as_str().unwrap());
    if hours > 0 {
        return Some(start_ms + hours * 3_600_000);
    }
    let beijing = TimeZone::fixed(offset(8));
    let start = Timestamp::from_millisecond(start_ms).unwrap().to_zoned(beijing);
    Some(start.checked_add(1.month()).unwrap().timestamp().as_millisecond())
}

#[tokio::test]
async fn outstanding_alerts_and_aging_suspense_are_those_of_the_tables() {
    let feed = random_watched().await;
    let watermark_ms = feed.last().filter_map(|last| last.entry.watermark_ms).max().unwrap();
    let engine = engine_over(&feed.store).await;
    let alerts = rows(&engine, "SELECT * FROM alerts").await;
    let ledger = rows(&engine, "SELECT * FROM quota_ledger").await;
    let closed: BTreeSet<(String, String)> = ledger
        .iter()
        .filter(|row| is(row, "kind", &["expire", "breakage"]))
        .map(|row| (text(&row["account"]), text(&row["bucket"])))
        .collect();
    let corrected: BTreeSet<String> = alerts.iter().map(|alert| text(&alert["corrects"])).collect();
    let is_over = |alert: &Value| window_end_ms(alert).is_some_and(|end| end <= watermark_ms);
    // There are both of each window.
    let mut seen: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| window_end_ms(alert).is_some()) {
        assert!(alert["bucket"].is_null(), "{alert}");
        seen.entry(text(&alert["counter"])).or_default().insert(is_over(alert));
    }
    for window in ["day", "week", "month", "rolling_5h", "rolling_day", "rolling_week"] {
        assert_eq!(seen.get(&format!("cap:{window}")).map(BTreeSet::len), Some(2), "{seen:?}");
    }
    for counter in ["spike", "overrun"] {
        assert_eq!(seen.get(counter).map(BTreeSet::len), Some(2), "{counter} in {seen:?}");
    }
    let columns = ["id", "account", "kind", "threshold", "used", "allowance", "at"];
    let expected = alerts
        .iter()
        .filter(|alert| alert["superseded_by"].is_null() && !is(alert, "kind", &["corrected"]))
        .filter(|alert| !is_over(alert))
        .filter(|alert| !corrected.contains(&text(&alert["id"])))
        .filter(|alert| !closed.contains(&(text(&alert["account"]), text(&alert["bucket"]))))
        .map(|alert| columns.iter().map(|column| text(&alert[*column])).collect());
    let found = view(&engine, &columns, "quota.alerts_outstanding").await;
    assert_eq!(found, sorted(expected));

    let suspense: Vec<Value> = rows(&engine, "SELECT * FROM suspense")
        .await
        .into_iter()
        .map(|mut row| {
            row["at"] = row["first_seen"].clone();
            with_day(row)
        })
        .collect();
    let expected =
        grouped(&suspense, &["reason", "model", "day"]).into_iter().map(|(mut line, rows)| {
            line.push(rows.len().to_string());
            line.push(rows.iter().map(|row| text(&row["at"])).min().unwrap());
            line
        });
    let columns = ["reason", "model", "day", "events", "oldest"];
    assert_eq!(view(&engine, &columns, "settlement.suspense_aging").await, sorted(expected));
}

#[tokio::test]
async fn revenue_liability_and_what_was_given_away_are_sums_of_the_rows() {
    let feed = random().await;
    let engine = engine_over(&feed.store).await;
    let ledger: Vec<Value> = rows(&engine, "SELECT * FROM quota_ledger")
        .await
        .into_iter()
        .filter(|row| !row["bucket"].is_null())
        .map(with_day)
        .map(with_month)
        .collect();
    // Up to each month of each package: the months come in order, as their texts sort.
    let mut liability: BTreeMap<Vec<String>, i128> = BTreeMap::new();
    let expected =
        grouped(&ledger, &["package", "currency", "month"]).into_iter().map(|(key, rows)| {
            let [sold, earned, lapsed] = [&CREDITS[..], &["debit", "adjust"], &["breakage"]]
                .map(|k| sum(&rows, k, "amount"));
            let change = sold - earned - lapsed;
            let so_far = liability.entry(key[..2].to_vec()).or_default();
            *so_far += change;
            let mut line = key;
            line.extend([sold, earned, lapsed, change, *so_far].map(|a| decimal_text(a, 12)));
            line
        });
    let expected = sorted(expected.collect::<Vec<_>>());
    let columns =
        ["package", "currency", "month", "sold", "earned", "breakage", "change", "liability"];
    let found = view(&engine, &columns, "settlement.package_revenue").await;
    assert_eq!(found, expected);

    let free: BTreeMap<String, String> = rows(&engine, "SELECT * FROM packages")
        .await
        .iter()
        .filter(|row| is(row, "kind", &["trial", "free"]))
        .map(|row| (text(&row["id"]), text(&row["funded_by"])))
        .collect();
    assert!(!free.is_empty());
    let events: Vec<Value> =
        rows(&engine, "SELECT * FROM usage_events").await.into_iter().map(with_month).collect();
    let keys = ["month", "retail_price_ids", "vendor", "wholesale_currency"];
    let (mut given, mut accrued) = (Lines::new(), Lines::new());
    for (key, rows) in grouped(&events, &keys) {
        let funded: BTreeSet<&str> =
            key[1].split(',').filter_map(|id| free.get(id)).map(String::as_str).collect();
        if funded.is_empty() {
            continue;
        }
        let mut line = key.clone();
        line.push(funded.into_iter().collect::<Vec<_>>().join(","));
        line.push(rows.len().to_string());
        line.push(sum_all(&rows, "points", 6));
        line.push(sum_all(&rows, "wholesale_amount", 12));
        given.push(line);
    }
    let columns = [
        "month",
        "package",
        "vendor",
        "currency",
        "funded_by",
        "events",
        "points",
        "wholesale_amount",
    ];
    assert_eq!(view(&engine, &columns, "settlement.free_usage_cost").await, sorted(given));

    for (mut line, rows) in grouped(&events, &["month", "vendor", "wholesale_currency"]) {
        line.push(rows.len().to_string());
        line.push(sum_all(&rows, "wholesale_amount", 12));
        line.extend(["open", "null"].map(str::to_owned));
        accrued.push(line);
    }
    let columns =
        ["month", "vendor", "currency", "events", "wholesale_amount", "state", "statement"];
    assert_eq!(view(&engine, &columns, "settlement.accrual").await, sorted(accrued));
}

/// A row with the first day of its month.
fn with_month(mut row: Value) -> Value {
    row["month"] = format!("{}-01", &row["day"].as_str().unwrap()[..7]).into();
    row
}
