//! Held-back rows that are recycled or written off, each once.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use tally_quota::QuotaReference;
use tally_rating::{Book, BookFile, BookLayer, RateCard};
use tally_schemas::{HeldPosition, Recycle, ReferenceVersion, Resolution, WriteOff, partition_of};

use super::*;

/// `house-1` has a price for input. Later `nobody-1` is known to be it, and output has a price.
const LAYERS: [&str; 2] = [
    r#"
[[price]]
price_id = "in"
side = "wholesale"
vendor = "acme"
model_pattern = "house-1"
class = "input"
unit = "token"
currency = "CNY"
price_micro_per_million = 3000000
service_tier = "*"
valid_from = "1970-01-01"
known_from = "1970-01-01"
approved_by = "a"
approved_at = "1970-01-01"
"#,
    r#"
[[alias]]
id = "nobody-1"
model = "nobody-1"
vendor = "acme"
billed_model = "house-1"
valid_from = "1970-01-01"
known_from = "1970-01-02"
approved_by = "a"
approved_at = "1970-01-02"

[[price]]
price_id = "out"
side = "wholesale"
vendor = "acme"
model_pattern = "house-1"
class = "output"
unit = "token"
currency = "CNY"
price_micro_per_million = 5000000
service_tier = "*"
valid_from = "1970-01-01"
known_from = "1970-01-02"
approved_by = "a"
approved_at = "1970-01-02"
"#,
];

pub(super) fn reference(edition: usize) -> ReferenceData {
    let layer = |text| BookLayer { files: vec![BookFile { name: "b.toml", text }], approval: None };
    let layers: Vec<BookLayer<'_>> = LAYERS[..=edition].iter().copied().map(layer).collect();
    let book = Book::read_layers(&layers).unwrap();
    ReferenceData {
        version: ReferenceVersion {
            edition: edition as u64,
            known_at_ms: 0,
            hash: format!("{edition}"),
        },
        card: Arc::new(RateCard::new(&book, None)),
        packages: Arc::new(QuotaReference::from_toml(tally_rating::SHIPPED_PACKAGES).unwrap()),
    }
}

pub(super) fn unpriced(partition: u32, partition_count: u32) -> Partition {
    let aggregate = AggregateConfig::default();
    let topic = "usage.events".to_owned();
    let config = PartitionConfig { topic, partition, partition_count, log: None, aggregate };
    Partition::new(config, reference(0), 0)
}

/// Offers a value at a time, and returns where it lies.
pub(super) fn put(partition: &mut Partition, value: &str, timestamp_ms: i64) -> HeldPosition {
    let offset = partition.next_offset();
    let value = Some(value.as_bytes());
    let record = Record { offset, timestamp_ms, key: None, value, kind: RecordKind::Single };
    partition.push(record).unwrap();
    HeldPosition { partition: partition.config.partition, offset, batch_index: 0 }
}

pub(super) fn recycle(position: HeldPosition, reason: SuspenseReason, raw: &str) -> String {
    let account = parse_event(raw.as_bytes()).event.account.into_owned();
    let (raw, by) = (raw.to_owned(), "alice".to_owned());
    Resolution::Recycle(Recycle { position, reason, account, raw, by }).to_json()
}

fn write_off(position: HeldPosition, reason: SuspenseReason, raw: &str) -> String {
    let event = parse_event(raw.as_bytes()).event;
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Resolution::WriteOff(WriteOff {
        position,
        reason,
        at_ms: event.completed_at_ms.unwrap_or(AT),
        account: some(&event.account),
        source: some(&event.source),
        id: some(&event.id),
        usage: event.usage,
        proposal: 0,
        why: "a test".to_owned(),
        by: "alice".to_owned(),
        approved_by: "bob".to_owned(),
    })
    .to_json()
}

fn unknown(id: &str) -> String {
    event(|event| {
        event["id"] = id.into();
        event["model"] = "nobody-1".into();
        event["usage"] = serde_json::json!({"input": 1_000, "output": 10});
    })
}

/// What an epoch came to: accepted, duplicates, recycled, written off, left open, records again.
fn fates(closed: &ClosedEpoch) -> [u64; 6] {
    let totals = &closed.totals;
    assert!(totals.conserved(), "{totals:?}");
    [
        totals.accepted.events,
        totals.duplicates.events,
        totals.recycled.events,
        totals.written_off.events,
        totals.left_open,
        totals.duplicate_commands,
    ]
}

#[test]
fn an_event_of_an_unknown_model_is_recycled_once_when_it_is_known() {
    let mut partition = unpriced(0, 1);
    let raw = unknown("1");
    let held = put(&mut partition, &raw, AT);
    let record = recycle(held, SuspenseReason::UnknownModel, &raw);
    put(&mut partition, &record, AT + 1);
    let closed = partition.close();
    assert_eq!(closed.totals.suspended_by_reason["unknown_model"], 1);
    assert_eq!(fates(&closed), [0, 0, 0, 0, 1, 0], "it is as unknown as before");

    partition.set_reference(reference(1)).unwrap();
    let taken = put(&mut partition, &record, AT + 2);
    put(&mut partition, &record, AT + 3);
    put(&mut partition, &write_off(held, SuspenseReason::UnknownModel, &raw), AT + 3);
    // The gateway's own resend, after all that.
    put(&mut partition, &raw, AT + 4);
    let closed = partition.close();
    assert_eq!(fates(&closed), [1, 1, 1, 0, 0, 2]);
    assert_eq!(closed.totals.resolved_by_reason["unknown_model"], 1);
    assert_eq!(closed.totals.accepted.tokens[TokenClass::Input.index()], 1_000);
    // 1,000 × 3 and 10 × 5 yuan a million.
    assert_eq!(closed.totals.rated.wholesale_pico[&Currency::CNY], 3_050_000_000);
    assert_eq!(closed.events.last_of(taken.offset).unwrap().billed_model, "house-1");
    let rows = closed.resolutions.into_batch(0, 2).unwrap();
    let shown = |name: &str| {
        let column = rows.column_by_name(name).unwrap();
        arrow::util::display::array_value_to_string(column, 0).unwrap()
    };
    assert_eq!(rows.num_rows(), 1);
    assert_eq!([shown("resolution"), shown("outcome")], ["recycled", "accepted"]);
    assert_eq!([shown("resolved_by"), shown("reason")], ["alice", "unknown_model"]);
    assert_eq!([shown("suspense_offset"), shown("kafka_offset")], ["0", "2"]);
    let input = rows.column_by_name("input").unwrap().as_primitive::<Int64Type>();
    assert!(input.value(0) == 1_000 && rows.column_by_name("why").unwrap().is_null(0));
}

#[test]
fn of_a_write_off_and_a_recycle_the_first_counts() {
    let mut partition = unpriced(0, 1);
    let raw = unknown("1");
    let held = put(&mut partition, &raw, AT);
    let torn = put(&mut partition, "{\"usage\":{\"input\":7}", AT);
    partition.set_reference(reference(1)).unwrap();
    put(&mut partition, &write_off(held, SuspenseReason::UnknownModel, &raw), AT);
    put(&mut partition, &recycle(held, SuspenseReason::UnknownModel, &raw), AT);
    for _ in 0..2 {
        put(&mut partition, &write_off(torn, SuspenseReason::Malformed, "{"), AT);
    }
    let closed = partition.close();
    assert_eq!(fates(&closed), [0, 0, 0, 2, 0, 2]);
    assert_eq!(closed.totals.written_off.tokens[TokenClass::Input.index()], 1_000);
    assert_eq!(closed.resolutions.len(), 2);
}

#[test]
fn an_event_from_the_future_is_taken_when_its_time_has_come() {
    let late = |id: &str| {
        event(|event| {
            event["id"] = id.into();
            event["model"] = "house-1".into();
            event["vendor"] = "acme".into();
            event["usage"] = serde_json::json!({"input": 1_000});
            event["completed_at"] = (AT + 7_200_000).into();
        })
    };
    let mut partition = unpriced(0, 1);
    let (first, second, third) = (late("1"), late("2"), late("3"));
    let reason = SuspenseReason::TimeInFuture;
    let held = [&first, &second, &third].map(|raw| put(&mut partition, raw, AT));
    put(&mut partition, &recycle(held[0], reason, &first), AT + 1);
    let come = AT + 7_300_000;
    for _ in 0..2 {
        put(&mut partition, &recycle(held[0], reason, &first), come);
    }
    put(&mut partition, &first, come);
    // The gateway was quicker.
    put(&mut partition, &second, come);
    put(&mut partition, &recycle(held[1], reason, &second), come);
    // Under its identity something else has come.
    let other = third.replace("1000", "999");
    put(&mut partition, &other, come);
    put(&mut partition, &recycle(held[2], reason, &third), come);
    let closed = partition.close();
    // Accepted: 1 recycled, 2 and the other 3 as they came. Dropped: the resend of 1, and 2 when it
    // was recycled.
    assert_eq!(fates(&closed), [3, 2, 2, 0, 2, 1]);
}

#[test]
fn an_event_that_was_rated_in_vain_when_it_was_recycled_can_still_come() {
    let mut partition = unpriced(0, 1);
    let raw = event(|event| {
        event["model"] = "nobody-1".into();
        event["usage"] = serde_json::json!({"input": 1_000});
        event["completed_at"] = (AT + 7_200_000).into();
    });
    let held = put(&mut partition, &raw, AT);
    let come = AT + 7_300_000;
    let record = recycle(held, SuspenseReason::TimeInFuture, &raw);
    put(&mut partition, &record, come);
    partition.set_reference(reference(1)).unwrap();
    put(&mut partition, &record, come);
    assert_eq!(fates(&partition.close()), [1, 0, 1, 0, 1, 0]);
}

#[test]
fn an_event_of_another_partition_is_recycled_in_its_own() {
    let mut partitions = [unpriced(0, 2), unpriced(1, 2)];
    let account = ["a", "b", "c", "d"].into_iter().find(|name| partition_of(name, 2) == 1).unwrap();
    let raw = event(|event| {
        event["account"] = account.into();
        event["model"] = "house-1".into();
        event["vendor"] = "acme".into();
        event["usage"] = serde_json::json!({"input": 1_000});
    });
    let held = put(&mut partitions[0], &raw, AT);
    let record = recycle(held, SuspenseReason::WrongPartition, &raw);
    // A record is where its account is, and nowhere else.
    put(&mut partitions[0], &record, AT);
    for _ in 0..2 {
        put(&mut partitions[1], &record, AT);
    }
    let [first, second] = partitions.map(|mut partition| partition.close());
    assert_eq!(first.totals.suspended_by_reason["bad_command"], 1);
    assert_eq!(fates(&first), [0, 0, 0, 0, 0, 0]);
    assert_eq!(fates(&second), [1, 0, 1, 0, 0, 1]);
}

#[test]
fn a_record_is_not_taken_at_its_word() {
    let mut partition = unpriced(0, 1);
    let priced = event(|event| {
        event["id"] = "2".into();
        event["model"] = "house-1".into();
        event["vendor"] = "acme".into();
        event["usage"] = serde_json::json!({"input": 1_000});
    });
    let unknown = unknown("1");
    let held = put(&mut partition, &unknown, AT);
    let accepted = put(&mut partition, &priced, AT);
    let negative = event(|event| event["usage"]["input"] = (-1).into());
    let spoilt = put(&mut partition, &negative, AT);
    partition.set_reference(reference(1)).unwrap();
    let elsewhere = HeldPosition { offset: 99, ..held };
    use SuspenseReason::{InvalidCount, NoPrice, TimeInFuture, UnknownModel, WrongPartition};
    for record in [
        // An event that was accepted, at its own place and at that of another.
        recycle(accepted, NoPrice, &priced),
        recycle(held, UnknownModel, &priced),
        // Another reason, another place, another partition.
        recycle(held, NoPrice, &unknown),
        recycle(held, TimeInFuture, &unknown),
        recycle(held, WrongPartition, &unknown),
        recycle(elsewhere, UnknownModel, &unknown),
        // Not as it came.
        recycle(held, UnknownModel, &unknown.replace("1000", "999")),
        recycle(held, UnknownModel, &unknown).replace("\"account\":\"A1\"", "\"account\":\"A2\""),
        // Nothing that is recycled.
        recycle(spoilt, InvalidCount, &negative),
        write_off(held, NoPrice, &unknown),
        write_off(accepted, NoPrice, &priced),
        write_off(held, TimeInFuture, &unknown),
        write_off(spoilt, InvalidCount, &negative).replace("1795326157827", "1695326157827"),
    ] {
        put(&mut partition, &record, AT);
    }
    let closed = partition.close();
    assert_eq!(fates(&closed), [1, 0, 0, 0, 13, 0]);
    for (record, words) in [
        (recycle(held, UnknownModel, &unknown).replace("alice", " "), "by: is required"),
        (write_off(held, UnknownModel, &unknown).replace("bob", "ALICE"), "four eyes"),
    ] {
        let mut fresh = unpriced(0, 1);
        put(&mut fresh, &record, AT);
        let closed = fresh.close();
        let row = closed.suspense.last_of(0).unwrap().clone();
        assert_eq!(row.reason, SuspenseReason::BadCommand);
        assert!(row.subreason.as_deref().unwrap().contains(words), "{row:?}");
    }
    // After all that the row can still be recycled.
    put(&mut partition, &recycle(held, UnknownModel, &unknown), AT);
    assert_eq!(fates(&partition.close()), [1, 0, 1, 0, 0, 0]);
}

/// What is known of a row is found when its bucket is sealed, and is asked for once.
#[test]
fn a_row_is_recycled_long_after_its_bucket_was_sealed() {
    let mut partition = unpriced(0, 1);
    let raw = unknown("1");
    let held = put(&mut partition, &raw, AT);
    let later = AT + 3 * 86_400_000;
    let tick = format!(r#"{{"command":"tick","at":{later}}}"#);
    put(&mut partition, &tick, later);
    let closed = partition.close();
    assert_eq!(closed.segments.len(), 1);
    let segment = bytes::Bytes::from(closed.segments[0].1.clone());
    partition.set_reference(reference(1)).unwrap();
    let record = recycle(held, SuspenseReason::UnknownModel, &raw);
    for expected in [[1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]] {
        let mut asked = 0;
        loop {
            let offset = partition.next_offset();
            let value = Some(record.as_bytes());
            let (timestamp_ms, kind) = (later, RecordKind::Single);
            match partition.push(Record { offset, timestamp_ms, key: None, value, kind }) {
                Ok(()) => break,
                Err(Need::Segments(NeedSegments { bucket, segments })) => {
                    asked += 1;
                    assert!(asked == 1 && segments.len() == 1, "{bucket}: {segments:?}");
                    partition.provide(bucket, std::slice::from_ref(&segment)).unwrap();
                }
                Err(need) => panic!("{need:?}"),
            }
        }
        let totals = &partition.epoch.totals;
        let found = [
            totals.accepted.events,
            totals.duplicates.events,
            totals.recycled.events,
            totals.written_off.events,
            totals.left_open,
            totals.duplicate_commands,
        ];
        let before = if expected[0] == 1 { [0; 6] } else { [1, 0, 1, 0, 0, 0] };
        let sum: Vec<u64> = before.iter().zip(expected).map(|(a, b)| a + b).collect();
        assert_eq!(found.to_vec(), sum);
    }
}
