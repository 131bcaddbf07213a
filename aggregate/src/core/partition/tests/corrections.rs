//! Accepted events that are taken back and replaced, each once.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int64Type};
use tally_schemas::{
    Charge, ChargeKind, Correction, CorrectionRequest, HeldPosition, StoredRating, TokenClass,
};

use super::resolutions::{put, recycle, reference, unpriced};
use super::*;

/// What `tokens` of input of `house-1` come to: 3 yuan a million, and nobody pays.
fn rating(tokens: i128) -> StoredRating {
    let overrun = Charge {
        kind: ChargeKind::Overrun,
        bucket: None,
        package: None,
        cause: Some("configuration".to_owned()),
        points_micro: tokens * 1_000_000,
        amount_pico: tokens * 3_000_000,
        currency: Some(Currency::CNY),
    };
    StoredRating {
        points_micro: tokens * 1_000_000,
        retail_pico: 0,
        retail_currency: None,
        retail_price_ids: None,
        wholesale_pico: tokens * 3_000_000,
        wholesale_currency: "CNY".to_owned(),
        wholesale_price_ids: "in".to_owned(),
        price_book_version: "an older one".to_owned(),
        charges: vec![overrun],
    }
}

fn usage(id: &str, class: &str, tokens: u64) -> serde_json::Value {
    let text = event(|event| {
        event["id"] = id.into();
        event["model"] = "house-1".into();
        event["vendor"] = "acme".into();
        event["usage"] = serde_json::json!({class: tokens});
    });
    serde_json::from_str(&text).unwrap()
}

/// An event that corrects the event `id`; without usage where there are no tokens.
fn asking(own: &str, id: &str, class: &str, tokens: u64) -> String {
    let mut event = usage(own, class, tokens);
    event["corrects"] = serde_json::json!({"source": event["source"], "id": id});
    if tokens == 0 {
        event.as_object_mut().unwrap().remove("usage");
        event.as_object_mut().unwrap().remove("model");
    }
    event.to_string()
}

/// A record about an event of 1,000 tokens.
fn record(id: &str, request: Option<CorrectionRequest>) -> String {
    let event = usage(id, "input", 1_000);
    Correction {
        account: event["account"].as_str().unwrap().to_owned(),
        event: event.to_string(),
        rating: Some(rating(1_000)),
        request,
        why: "a test".to_owned(),
        by: "alice".to_owned(),
    }
    .to_json()
}

fn request(raw: &str, held: Option<HeldPosition>) -> Option<CorrectionRequest> {
    Some(CorrectionRequest { raw: raw.to_owned(), held })
}

/// Accepted, taken back, refused, repeated, voids out of suspense, recycled.
fn fates(closed: &ClosedEpoch) -> [u64; 6] {
    let totals = &closed.totals;
    assert!(totals.conserved(), "{totals:?}");
    [
        totals.accepted.events,
        totals.corrected.flow.events,
        totals.corrections_refused,
        totals.duplicate_commands,
        totals.voids,
        totals.recycled.events,
    ]
}

fn rows(closed: &ClosedEpoch) -> RecordBatch {
    let order: Vec<u32> = (0..u32::try_from(closed.events.len()).unwrap()).collect();
    let texts = closed.events.dictionaries(0, 1, "now");
    closed.events.batch(&order, &texts).unwrap()
}

fn shown(rows: &RecordBatch, name: &str, row: usize) -> String {
    let column = rows.column_by_name(name).unwrap();
    arrow::util::display::array_value_to_string(column, row).unwrap()
}

fn sum(rows: &RecordBatch, name: &str) -> i128 {
    let column = rows.column_by_name(name).unwrap();
    if let Some(counts) = column.as_primitive_opt::<Int64Type>() {
        return counts.iter().flatten().map(i128::from).sum();
    }
    column.as_primitive::<Decimal128Type>().iter().flatten().sum()
}

#[test]
fn an_event_is_taken_back_once() {
    let mut partition = unpriced(0, 1);
    put(&mut partition, &usage("1", "input", 1_000).to_string(), AT);
    put(&mut partition, &record("1", None), AT + 1);
    put(&mut partition, &record("1", None), AT + 2);
    // In another way, and what never came.
    put(&mut partition, &record("1", request(&asking("2", "1", "input", 7), None)), AT + 3);
    put(&mut partition, &record("9", None), AT + 4);
    let closed = partition.close();
    assert_eq!(fates(&closed), [1, 1, 2, 1, 0, 0]);
    let rows = rows(&closed);
    assert_eq!(rows.num_rows(), 2);
    for column in ["input", "requests", "points", "wholesale_amount", "retail_amount"] {
        assert_eq!(sum(&rows, column), 0, "{column}");
    }
    let row = ["correction", "corrects_id", "price_book_version", "wholesale_price_ids", "labels"]
        .map(|name| shown(&rows, name, 1));
    assert_eq!(row[..4], ["reversal", "1", "an older one", "in"]);
    assert!(row[4].contains("alice") && shown(&rows, "id", 1).starts_with("reversal-"));
    assert_eq!([shown(&rows, "correction", 0), shown(&rows, "price_book_version", 0)], ["", "now"]);
    // Both windows and the ledger of quotas.
    let models = closed.model_rows.increments().unwrap();
    assert_eq!(models.len(), 1);
    assert_eq!((models[0].sums.events, models[0].sums.wholesale_pico), (0, 0));
    let ledger = closed.quota_ledger.batch(0, 1).unwrap();
    assert_eq!((ledger.num_rows(), sum(&ledger, "points"), sum(&ledger, "amount")), (2, 0, 0));
}

#[test]
fn a_correction_of_a_gateway_waits_and_counts_once_it_is_carried_out() {
    let mut partition = unpriced(0, 1);
    put(&mut partition, &usage("1", "input", 1_000).to_string(), AT);
    put(&mut partition, &usage("2", "input", 1_000).to_string(), AT);
    let void = asking("fix-1", "1", "input", 0);
    let replace = asking("fix-2", "2", "input", 400);
    let held_void = put(&mut partition, &void, AT);
    let held_replace = put(&mut partition, &replace, AT);
    // A resend of it is a duplicate, and it is not recycled like others.
    put(&mut partition, &void, AT);
    put(&mut partition, &recycle(held_replace, SuspenseReason::CorrectionPending, &replace), AT);
    let closed = partition.close();
    assert_eq!(closed.totals.suspended_by_reason["correction_pending"], 2);
    assert_eq!((closed.totals.duplicates.events, closed.totals.left_open), (1, 1));
    assert_eq!(closed.totals.accepted.events, 2);

    // Under another place, or about another event, nothing is carried out.
    let elsewhere = HeldPosition { offset: 77, ..held_void };
    put(&mut partition, &record("1", request(&void, Some(elsewhere))), AT);
    put(&mut partition, &record("2", request(&void, Some(held_void))), AT);
    for _ in 0..2 {
        put(&mut partition, &record("1", request(&void, Some(held_void))), AT);
        put(&mut partition, &record("2", request(&replace, Some(held_replace))), AT);
    }
    let closed = partition.close();
    assert_eq!(fates(&closed), [1, 2, 2, 2, 1, 2]);
    assert_eq!(closed.totals.recycled.tokens[TokenClass::Input.index()], 400);
    assert_eq!(closed.totals.resolved_by_reason["correction_pending"], 2);
    let rows = rows(&closed);
    assert_eq!(sum(&rows, "input"), 400 - 2_000);
    let replaced = (0..rows.num_rows()).find(|row| shown(&rows, "id", *row) == "fix-2").unwrap();
    let words = ["correction", "corrects_id", "batch_index"].map(|n| shown(&rows, n, replaced));
    assert_eq!(words, ["replacement", "2", "1"]);
    let out = closed.resolutions.into_batch(0, 2).unwrap();
    assert_eq!(shown(&out, "outcome", 0), "corrected");

    // What replaced it can be corrected itself.
    let raw = asking("fix-3", "fix-2", "input", 0);
    let event = usage("fix-2", "input", 400).to_string();
    let again = Correction {
        account: "A".to_owned(),
        event: event.clone(),
        rating: Some(rating(400)),
        request: None,
        why: raw,
        by: "alice".to_owned(),
    };
    let account = parse_event(event.as_bytes()).event.account.into_owned();
    put(&mut partition, &Correction { account, ..again }.to_json(), AT);
    assert_eq!(fates(&partition.close())[..3], [0, 1, 0]);
}

#[test]
fn a_replacement_without_a_price_is_held_back_and_recycled_like_others() {
    let mut partition = unpriced(0, 1);
    put(&mut partition, &usage("1", "input", 1_000).to_string(), AT);
    let raw = asking("2", "1", "output", 10);
    let place = put(&mut partition, &record("1", request(&raw, None)), AT + 1);
    let closed = partition.close();
    assert_eq!(fates(&closed), [1, 1, 0, 0, 0, 0]);
    assert_eq!(closed.totals.suspended_by_reason["no_price"], 1);
    partition.set_reference(reference(1)).unwrap();
    let held = HeldPosition { batch_index: 1, ..place };
    put(&mut partition, &recycle(held, SuspenseReason::NoPrice, &raw), AT + 2);
    let closed = partition.close();
    assert_eq!(fates(&closed), [1, 0, 0, 0, 0, 1]);
    let rows = rows(&closed);
    assert_eq!(
        [shown(&rows, "correction", 0), shown(&rows, "corrects_id", 0)],
        ["replacement", "1"]
    );
}

#[test]
fn what_is_taken_back_is_remembered_when_its_bucket_is_sealed() {
    let mut partition = unpriced(0, 1);
    let first = usage("1", "input", 1_000).to_string();
    put(&mut partition, &first, AT);
    put(&mut partition, &record("1", None), AT);
    let mut later = usage("2", "input", 1_000);
    let settings = AggregateConfig::default();
    let ahead = settings.dedupe_open_ms.cast_signed() + 10 * 3_600_000;
    later["completed_at"] = (AT + ahead).into();
    put(&mut partition, &later.to_string(), AT + ahead);
    let closed = partition.close();
    assert_eq!(fates(&closed), [2, 1, 0, 0, 0, 0]);
    let value = record("1", None);
    let offset = partition.next_offset();
    let record = Record {
        offset,
        timestamp_ms: AT + ahead,
        key: None,
        value: Some(value.as_bytes()),
        kind: RecordKind::Single,
    };
    let Err(Need::Segments(need)) = partition.push(record) else {
        panic!("a sealed bucket is asked for")
    };
    let stored = |wanted: &SegmentRef| {
        let found = closed.segments.iter().find(|(path, _)| *path == wanted.file.path);
        bytes::Bytes::from(found.unwrap().1.clone())
    };
    let segments: Vec<bytes::Bytes> = need.segments.iter().map(stored).collect();
    partition.provide(need.bucket, &segments).unwrap();
    partition.push(record).unwrap();
    assert_eq!(fates(&partition.close()), [0, 0, 0, 1, 0, 0]);
}
