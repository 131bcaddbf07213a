//! `verify` over a store that the real core has filled: it passes, and damage in windows and in
//! the ledger of buckets is found.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use object_store::ObjectStore;
use tally_query::{Check, VerifyOptions, verify};
use tally_schemas::{ControlTotals, Table};

use crate::feed::{Feed, Spoil, engine_over, random, spoilt, worked_out};

async fn failed(store: &Arc<dyn ObjectStore>, options: &VerifyOptions) -> Vec<Check> {
    let engine = engine_over(store).await;
    let report = verify(&engine, options).await.unwrap();
    report.checks.into_iter().filter(|check| !check.ok).collect()
}

#[tokio::test]
async fn what_the_core_wrote_passes_with_windows_still_open() {
    for feed in [worked_out().await, random().await] {
        let failed = failed(&feed.store, &VerifyOptions::default()).await;
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

#[tokio::test]
async fn windows_that_are_said_to_be_closed_are_missed() {
    let feed = worked_out().await;
    let options = VerifyOptions { windows_closed: true, ..VerifyOptions::default() };
    let failed = failed(&feed.store, &options).await;
    assert!(failed.iter().all(|check| check.invariant == "I13"), "{failed:#?}");
    let findings = failed[0].findings.join("\n");
    assert!(findings.contains("account F subscriber F, glm-5 of zhipu"), "{findings}");
    assert!(findings.contains("events +1, input +2000, requests +1"), "{findings}");
}

/// A batch with one column computed anew from another.
pub(crate) fn with(batch: &RecordBatch, column: &str, values: Arc<dyn Array>) -> RecordBatch {
    let at = batch.schema().index_of(column).unwrap();
    let mut columns = batch.columns().to_vec();
    columns[at] = cast(&values, columns[at].data_type()).unwrap();
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

pub(crate) fn texts(batch: &RecordBatch, column: &str) -> StringArray {
    let column = cast(batch.column_by_name(column).unwrap(), &DataType::Utf8).unwrap();
    column.as_string::<i32>().clone()
}

/// A check of the invariant says these words.
async fn found_by(feed: &Feed, invariant: &str, words: &str) {
    let failed = failed(&feed.store, &VerifyOptions::default()).await;
    let findings: Vec<String> = failed
        .iter()
        .filter(|check| check.invariant == invariant)
        .flat_map(|check| check.findings.clone())
        .collect();
    assert!(
        findings.iter().any(|finding| finding.contains(words)),
        "{invariant} {words}: {failed:#?}"
    );
}

/// The decimals of a column, some of them changed.
fn decimals(
    batch: &RecordBatch,
    column: &str,
    change: impl Fn(usize, i128) -> i128,
) -> RecordBatch {
    let values = batch.column_by_name(column).unwrap();
    let data_type = values.data_type().clone();
    let values = values.as_primitive::<Decimal128Type>();
    let changed: Decimal128Array = (0..batch.num_rows())
        .map(|row| values.is_valid(row).then(|| change(row, values.value(row))))
        .collect();
    with(batch, column, Arc::new(changed.with_data_type(data_type)))
}

#[tokio::test]
async fn usage_moved_from_one_subscriber_to_another_is_found() {
    // Sums by model stay what they are: only a look at each subscriber can tell.
    let feed = spoilt(Some(|table, batch| {
        if table != Table::UsageBySubscriber {
            return batch.clone();
        }
        let subscribers = texts(batch, "subscriber");
        let moved = subscribers.iter().map(|name| if name == Some("G") { Some("A") } else { name });
        with(batch, "subscriber", Arc::new(moved.collect::<StringArray>()))
    }))
    .await;
    for (subscriber, events) in [("A", -1), ("G", 1)] {
        let words = format!(
            "account G subscriber {subscriber}, glm-5 of zhipu: usage_events has beyond the windows events {events:+}"
        );
        found_by(&feed, "I13", &words).await;
    }
}

#[tokio::test]
async fn an_amount_in_a_window_that_differs_by_one_is_found() {
    let feed = spoilt(Some(|table, batch| {
        if table != Table::UsageBySubscriber {
            return batch.clone();
        }
        let accounts = texts(batch, "account");
        let more = |row| i128::from(accounts.value(row) == "C");
        decimals(batch, "wholesale_amount", |row, pico| pico + more(row))
    }))
    .await;
    let words = "account C subscriber C, glm-5 of zhipu: usage_events has beyond the windows wholesale_amount -0.000000000001";
    found_by(&feed, "I13", words).await;
}

#[tokio::test]
async fn a_lost_token_of_a_subscriber_is_found() {
    let feed = spoilt(Some(|table, batch| {
        if table != Table::UsageBySubscriber {
            return batch.clone();
        }
        let accounts = texts(batch, "account");
        let input = batch.column_by_name("input").unwrap().as_primitive::<Int64Type>();
        let lost = (0..batch.num_rows())
            .map(|row| Some(input.value(row) - i64::from(accounts.value(row) == "D")));
        with(batch, "input", Arc::new(lost.collect::<Int64Array>()))
    }))
    .await;
    let words =
        "account D subscriber D, glm-5 of zhipu: usage_events has beyond the windows input +1";
    found_by(&feed, "I13", words).await;
}

#[tokio::test]
async fn open_windows_of_the_state_that_were_lost_are_found() {
    let mut feed = worked_out().await;
    // A last entry whose state is that of the epoch before: what the last epoch opened is gone.
    let last = feed.last().next().unwrap().clone();
    let mut entry = last.entry.clone();
    entry.state.deltas.pop().unwrap();
    (entry.n, entry.previous) = (entry.n + 1, last.hash.clone());
    entry.from = entry.to;
    entry.files.clear();
    entry.totals = ControlTotals::default();
    feed.commit_entry(entry).await;
    let words =
        "account F subscriber F, glm-5 of zhipu: usage_events has beyond the windows events +1";
    found_by(&feed, "I13", words).await;
}

#[tokio::test]
async fn a_balance_that_does_not_foot_is_found() {
    let changes: [Spoil; 2] =
        [|_, batch| change_a2(batch, "points"), |_, batch| change_a2(batch, "balance_after")];
    for spoil in changes {
        let feed = spoilt(Some(spoil)).await;
        found_by(&feed, "I9", "A buy-a").await;
        for options in account_by_account() {
            let failed = failed(&feed.store, &options).await;
            let of_balances = failed.iter().find(|check| check.what.contains("balance_after"));
            let findings = of_balances.map(|check| check.findings.as_slice()).unwrap_or_default();
            assert!(findings.iter().any(|words| words.starts_with("A buy-a")), "{failed:#?}");
        }
    }
}

/// Rows of so few accounts put in order at once as rows of a large store are.
fn account_by_account() -> impl Iterator<Item = VerifyOptions> {
    [1, 7]
        .into_iter()
        .map(|rows| VerifyOptions { rows_at_once: Some(rows), ..VerifyOptions::default() })
}

#[tokio::test]
async fn balances_foot_however_many_accounts_are_looked_at_together() {
    for feed in [worked_out().await, random().await] {
        for options in account_by_account() {
            let failed = failed(&feed.store, &options).await;
            assert!(failed.is_empty(), "{failed:#?}");
        }
    }
}

/// A ledger whose row of event `a-2` has one micro-point less.
fn change_a2(batch: &RecordBatch, column: &str) -> RecordBatch {
    if batch.column_by_name("balance_after").is_none() {
        return batch.clone();
    }
    let ids = texts(batch, "event_id");
    let less = |row| i128::from(ids.is_valid(row) && ids.value(row) == "a-2");
    decimals(batch, column, |row, micro| micro - less(row))
}

#[tokio::test]
async fn revenue_of_a_closed_bucket_that_is_not_its_price_is_found() {
    let feed = spoilt(Some(|table, batch| {
        if table != Table::QuotaLedger {
            return batch.clone();
        }
        let kinds = texts(batch, "kind");
        let less = |row| i128::from(kinds.value(row) == "breakage");
        decimals(batch, "amount", |row, pico| pico - less(row))
    }))
    .await;
    found_by(&feed, "I5", "F buy-f").await;
}

/// A table whose rows of an event have one unit less of a column.
fn less_of(
    batch: &RecordBatch,
    (ids, id): (&'static str, &'static str),
    column: &'static str,
) -> RecordBatch {
    let ids = texts(batch, ids);
    let less = |row| i128::from(ids.is_valid(row) && ids.value(row) == id);
    decimals(batch, column, |row, units| units - less(row))
}

#[tokio::test]
async fn points_of_an_event_that_nothing_was_charged_for_are_found() {
    let feed = spoilt(Some(|table, batch| match table {
        Table::UsageEvents => less_of(batch, ("id", "a-2"), "points"),
        _ => batch.clone(),
    }))
    .await;
    // By partition and epoch.
    found_by(&feed, "I9", "0 3").await;
}

#[tokio::test]
async fn retail_that_is_not_what_buckets_and_tariffs_were_paid_is_found() {
    // Of a tariff, in the event and in the ledger; of a bucket, in the event.
    let changes: [Spoil; 3] = [
        |table, batch| match table {
            Table::UsageEvents => less_of(batch, ("id", "c-1"), "retail_amount"),
            _ => batch.clone(),
        },
        |table, batch| match table {
            Table::QuotaLedger => less_of(batch, ("event_id", "c-1"), "amount"),
            _ => batch.clone(),
        },
        |table, batch| match table {
            Table::UsageEvents => less_of(batch, ("id", "a-1"), "retail_amount"),
            _ => batch.clone(),
        },
    ];
    for spoil in changes {
        found_by(&spoilt(Some(spoil)).await, "I4", "0 2").await;
    }
}

#[tokio::test]
async fn an_alert_that_is_there_twice_is_found_whatever_its_kind() {
    // The gift of B crosses three thresholds in one epoch.
    let feed = spoilt(Some(|table, batch| {
        if table != Table::Alerts {
            return batch.clone();
        }
        let (accounts, ids, kinds) =
            (texts(batch, "account"), texts(batch, "id"), texts(batch, "kind"));
        let of_b = |row: usize| accounts.is_valid(row) && accounts.value(row) == "B";
        let rows = 0..batch.num_rows();
        let same = rows.clone().map(|row| Some(if of_b(row) { "same" } else { ids.value(row) }));
        let changed = with(batch, "id", Arc::new(same.collect::<StringArray>()));
        let others = rows.map(|row| Some(format!("{}-{row}", kinds.value(row))));
        with(&changed, "kind", Arc::new(others.collect::<StringArray>()))
    }))
    .await;
    found_by(&feed, "I7", "same percent_used").await;
}
