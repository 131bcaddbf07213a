//! What becomes of single records, good and bad.

use prost::Message as _;
use tally_schemas::{TokenClass, UsageBatch, UsageEventMessage};

use super::*;

const AT: i64 = 1_795_326_157_827;

fn partition() -> Partition {
    let config = PartitionConfig {
        topic: "usage.events".to_owned(),
        partition: 0,
        partition_count: 1,
        log: None,
        aggregate: AggregateConfig::default(),
    };
    Partition::new(config, ReferenceData::shipped().unwrap(), 0)
}

fn offer(partition: &mut Partition, value: Option<&[u8]>, kind: RecordKind) {
    let offset = partition.next_offset();
    let record = Record { offset, timestamp_ms: AT, key: None, value, kind };
    partition.push(record).unwrap();
}

fn reason_of(value: Option<&[u8]>, kind: RecordKind) -> Vec<String> {
    let mut partition = partition();
    offer(&mut partition, value, kind);
    let closed = partition.close();
    assert!(closed.totals.conserved());
    assert_eq!(closed.suspense.len() as u64, closed.totals.suspended.events);
    closed.totals.suspended_by_reason.into_keys().collect()
}

fn event(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut event = serde_json::json!({
        "source": "gw", "id": "1", "account": "A1", "model": "glm-5", "completed_at": AT,
        "usage": {"input": 434, "output": 345, "reasoning": 120},
    });
    change(&mut event);
    event.to_string()
}

#[test]
fn poison_is_held_back_with_its_reason() {
    let set = |key: &'static str, value: serde_json::Value| event(|event| event[key] = value);
    let usage =
        |key: &'static str, value: serde_json::Value| event(|event| event["usage"][key] = value);
    let json = |value: serde_json::Value| value;
    for (text, reason) in [
        ("{".to_owned(), "malformed"),
        (String::new(), "malformed"),
        ("[]".to_owned(), "malformed"),
        ("NaN".to_owned(), "malformed"),
        (format!("{}{}", "[".repeat(300), "]".repeat(300)), "malformed"),
        (event(|_| ()).replacen("434", "NaN", 1), "malformed"),
        (event(|_| ()).replacen("\"id\"", "\"id\":\"2\",\"id\"", 1), "malformed"),
        (set("id", json(serde_json::Value::Null)), "missing_identity"),
        (set("account", "".into()), "missing_identity"),
        (set("completed_at", serde_json::Value::Null), "missing_identity"),
        (set("model", serde_json::Value::Null), "incomplete"),
        (set("usage", serde_json::json!({})), "incomplete"),
        (set("usage", "x".into()), "invalid_field"),
        (set("region", 3.into()), "invalid_field"),
        (set("usage_source", "guess".into()), "invalid_field"),
        (set("model", "m".repeat(300).into()), "invalid_field"),
        (set("started_at", (AT + 1).into()), "invalid_time"),
        (usage("input", (-1).into()), "invalid_count"),
        (usage("input", 1.0.into()), "invalid_count"),
        (usage("input", "7".into()), "invalid_count"),
        (usage("input", ((1_u64 << 53) + 1).into()), "invalid_count"),
        (usage("tokens", 1.into()), "unknown_usage_class"),
        (usage("total", 1.into()), "classes_do_not_add_up"),
        (usage("reasoning", 346.into()), "classes_do_not_add_up"),
        (set("account", "13800138000".into()), "phone_number"),
        (set("model", "nobody-1".into()), "unknown_model"),
        (set("completed_at", (AT + 3_600_001).into()), "time_in_future"),
        (set("completed_at", (AT - 401 * 86_400_000).into()), "too_old"),
        (usage("images", 3.into()), "no_price"),
        (r#"{"command":"purchase","id":"c1","account":"A1"}"#.to_owned(), "bad_command"),
        (command("purchase", "\"package\":\"nothing\""), "unknown_package"),
        (
            command("purchase", "\"package\":\"telecom-10m\"").replace("A1", "13800138000"),
            "phone_number",
        ),
        (command("set_flags", "\"flags\":{\"members\":{\"13800138000\":null}}"), "phone_number"),
        (command("purchase", "\"package\":\"telecom-10m\",\"quantity\":0"), "bad_command"),
        (command("top_up", "\"bucket\":\"b\",\"points_micro\":1"), "unknown_bucket"),
        (command("set_flags", "\"flags\":{\"overflow\":\"nothing\"}"), "unknown_tariff"),
        (command("set_flags", "\"flags\":{\"colour\":1}"), "unknown_flag"),
        (r#"{"command":"tick","at":"soon"}"#.to_owned(), "bad_command"),
        (r#"{"command":"tick","at":5,"account":"A1"}"#.to_owned(), "bad_command"),
        (r#"{"command":"reference","version":"soon"}"#.to_owned(), "bad_command"),
        (r#"{"command":"reference","edition":3}"#.to_owned(), "bad_command"),
    ] {
        assert_eq!(reason_of(Some(text.as_bytes()), RecordKind::Single), [reason], "{text}");
    }
    assert_eq!(reason_of(None, RecordKind::Single), ["tombstone"]);
    assert_eq!(reason_of(Some(b""), RecordKind::Batch), ["malformed"]);
    assert_eq!(reason_of(Some(b"\x0a\xff"), RecordKind::Batch), ["malformed"]);
    assert_eq!(reason_of(Some(&[b' '; RECORD_MAX_BYTES + 1]), RecordKind::Single), ["too_large"]);
}

/// What JSON refuses as a time is none in protobuf either, whatever the log's own time is.
#[test]
fn times_of_protobuf_have_the_limits_of_json() {
    let batch = |completed_at: i64, started_at: i64| {
        let text = event(|_| ());
        let parsed = parse_event(text.as_bytes());
        let message = UsageEventMessage {
            completed_at: Some(completed_at),
            started_at: Some(started_at),
            ..UsageEventMessage::from_event(&parsed.event)
        };
        UsageBatch { events: vec![message] }.encode_to_vec()
    };
    const END_MS: i64 = 253_402_300_800_000;
    for (completed_at, started_at) in
        [(i64::MIN, 0), (-1, 0), (END_MS, 0), (i64::MAX, 0), (AT, i64::MIN), (AT, END_MS)]
    {
        let bytes = batch(completed_at, started_at);
        for timestamp_ms in [0, AT, i64::MAX] {
            let mut partition = partition();
            let record = Record {
                offset: 0,
                timestamp_ms,
                key: None,
                value: Some(&bytes),
                kind: RecordKind::Batch,
            };
            partition.push(record).unwrap();
            let totals = partition.close().totals;
            let reasons: Vec<String> = totals.suspended_by_reason.into_keys().collect();
            // An event with a time is looked at where it belongs before anything else.
            let expected = match (completed_at == AT, timestamp_ms) {
                (true, 0) => "time_in_future",
                (true, i64::MAX) => "too_old",
                _ => "invalid_time",
            };
            assert_eq!(reasons, [expected], "{completed_at} {started_at} {timestamp_ms}");
        }
    }
    assert_eq!(reason_of(Some(&batch(END_MS - 1, 0)), RecordKind::Batch), ["time_in_future"]);
    // The payload is kept as it came.
    let raw = message_text(split_batch(&batch(-1, 0)).unwrap()[0]);
    assert!(raw.starts_with("hex:") && raw.contains("50ffffffffffffffffff01"), "{raw}");
}

#[test]
fn very_many_defects_are_told_by_the_first_and_one_of_each_kind() {
    let classes: String = (0..100_000).map(|n| format!("\"c{n}\":1,")).collect();
    let text = event(|_| ()).replacen("\"input\"", &format!("{classes}\"input\":-1,\"input\""), 1);
    let errors = parse_event(text.as_bytes()).errors;
    let codes: Vec<&str> = errors.iter().rev().take(3).map(|error| error.code.as_str()).collect();
    assert_eq!(codes, ["duplicate_field", "count_negative", "unknown_usage_class"]);
    assert_eq!(errors.len(), 66);
    assert_eq!(reason_of(Some(text.as_bytes()), RecordKind::Single), ["unknown_usage_class"]);
}

fn command(name: &str, fields: &str) -> String {
    format!(r#"{{"command":"{name}","id":"c-{name}","account":"A1","at":{AT},{fields}}}"#)
}

#[test]
fn a_tick_lets_time_pass_and_not_more_than_the_log_says() {
    let mut partition = partition();
    let lateness_ms = AggregateConfig::default().lateness_ms.cast_signed();
    let tick = |at_ms: i64| format!(r#"{{"command":"tick","at":{at_ms}}}"#);
    let mut watermark_after = |at_ms: i64| {
        offer(&mut partition, Some(tick(at_ms).as_bytes()), RecordKind::Single);
        partition.watermark_ms().unwrap()
    };
    assert_eq!(watermark_after(AT - 5_000), AT - 5_000 - lateness_ms);
    // From an old owner; the same again; from a clock that is a day ahead.
    assert_eq!(watermark_after(AT - 90_000), AT - 5_000 - lateness_ms);
    assert_eq!(watermark_after(AT - 5_000), AT - 5_000 - lateness_ms);
    assert_eq!(watermark_after(AT + 86_400_000), AT - lateness_ms);
    assert_eq!(partition.log_time_ms(AT + 7_000), Some(AT + 7_000));
    let totals = partition.close().totals;
    assert!(totals.conserved());
    assert_eq!((totals.records, totals.ticks, totals.received.events), (4, 4, 0));
}

/// A record that names reference data asks for it only where it is newer, and known by then.
#[test]
fn the_log_says_where_reference_data_changes() {
    let version = |text: &str| text.parse::<ReferenceVersion>().unwrap();
    let reference =
        |text: &str| ReferenceData { version: version(text), ..ReferenceData::shipped().unwrap() };
    let config = partition().config;
    let mut partition = Partition::new(config, reference("3-cc@100"), 0);
    let push = |partition: &mut Partition, name: &str| {
        let text = format!(r#"{{"command":"reference","version":"{name}"}}"#);
        let offset = partition.next_offset();
        let value = Some(text.as_bytes());
        let record =
            Record { offset, timestamp_ms: AT, key: None, value, kind: RecordKind::Single };
        partition.push(record)
    };
    let early = format!("4-dd@{}", AT + 1);
    // What is in use, an older edition, an older reading, another edition of the same number, a
    // newer one as it was read before what is in use, and one that is not known yet.
    for same in ["3-cc@100", "2-bb@100", "3-cc@99", "3-xx@100", "4-dd@99", &early] {
        assert_eq!(push(&mut partition, same), Ok(()), "{same}");
    }
    assert_eq!(partition.next_offset(), 6);
    for newer in ["3-cc@101", "4-dd@100", &format!("4-dd@{AT}")] {
        assert_eq!(push(&mut partition, newer), Err(Need::Reference(version(newer))));
    }
    assert_eq!(partition.next_offset(), 6, "what is asked for is not passed over");
    // Nobody approved it.
    partition.refuse_reference(version("4-xx@100"), "the store has another".to_owned());
    assert_eq!(push(&mut partition, "4-dd@100"), Err(Need::Reference(version("4-dd@100"))));
    assert_eq!(push(&mut partition, "4-xx@100"), Ok(()));
    // The next one like it is looked at again.
    assert_eq!(push(&mut partition, "4-xx@100"), Err(Need::Reference(version("4-xx@100"))));
    let closed = partition.close();
    assert_eq!((closed.totals.records, closed.totals.suspended_by_reason["bad_command"]), (7, 1));
    partition.set_reference(reference("4-dd@100")).unwrap();
    assert_eq!(push(&mut partition, "4-dd@100"), Ok(()));
    let closed = partition.close();
    assert_eq!(closed.reference, version("4-dd@100"));
    assert_eq!((closed.totals.records, closed.totals.received.events), (1, 0));
}

/// Scenario S1 of the domain: a bucket of 10 M points, events of 1,234 tokens.
#[test]
fn a_bucket_is_used_up_to_the_last_point() {
    let mut partition = partition();
    let purchase = command("purchase", "\"package\":\"telecom-10m\"");
    let consent =
        command("set_flags", "\"flags\":{\"region\":\"sh\",\"overflow\":\"sh-telecom-payg\"}");
    for text in [&purchase, &consent, &purchase] {
        offer(&mut partition, Some(text.as_bytes()), RecordKind::Single);
    }
    for n in 1..=8_104 {
        let text = event(|event| {
            event["id"] = n.to_string().into();
            event["usage"] = serde_json::json!({"input": 1_000, "output": 234});
            event["completed_at"] = (AT + n).into();
        });
        offer(&mut partition, Some(text.as_bytes()), RecordKind::Single);
    }
    let closed = partition.close();
    let totals = &closed.totals;
    assert_eq!((totals.commands, totals.duplicate_commands), (2, 1));
    assert_eq!((totals.accepted.events, totals.suspended.events), (8_104, 0));
    assert_eq!(totals.rated.points_micro, 10_000_336_000_000);
    // The price of the package, and 336 points at 4 micro-yuan.
    let yuan = Currency::CNY;
    assert_eq!(totals.rated.retail_pico[&yuan], 9_900_000_000_000 + 1_344_000_000);
    let alerts = closed.alerts.batch(0, 1).unwrap();
    let shown = |name: &str| {
        let column = alerts.column_by_name(name).unwrap();
        let text = |row| arrow::util::display::array_value_to_string(column, row).unwrap();
        (0..alerts.num_rows()).map(text).collect::<Vec<_>>()
    };
    let percent: Vec<(String, String)> = shown("kind")
        .into_iter()
        .zip(shown("threshold").into_iter().zip(shown("event_id")))
        .filter(|(kind, _)| kind == "percent_used")
        .map(|(_, alert)| alert)
        .collect();
    let expected = [("50", "4052"), ("80", "6483"), ("100", "8104")];
    assert_eq!(percent, expected.map(|(at, event)| (at.to_owned(), event.to_owned())));
    assert!(shown("emitted_epoch").iter().all(|epoch| epoch == "1"));
    assert_eq!(shown("emitted_epoch"), shown("epoch"));
}

#[test]
fn every_code_of_charging_is_a_reason() {
    for code in [
        "bad_command",
        "unknown_flag",
        "unknown_package",
        "package_not_sold",
        "unknown_bucket",
        "bucket_expired",
        "adjust_out_of_range",
        "transfer_out_of_range",
        "currency_mismatch",
        "unknown_tariff",
        "conflicting_duplicate",
        "amount_overflow",
        "unknown_weights",
        "unknown_calendar_year",
        "damaged_account",
    ] {
        assert!(SuspenseReason::from_name(code).is_some(), "{code}");
    }
}

#[test]
fn every_defect_of_an_event_is_named() {
    let mut partition = partition();
    let text = event(|event| {
        event["usage"]["input"] = (-1).into();
        event["usage"]["tokens"] = 3.into();
        event["region"] = true.into();
    });
    offer(&mut partition, Some(text.as_bytes()), RecordKind::Single);
    let batch = partition.close().suspense.into_batch(0, 1).unwrap();
    let column = batch.column_by_name("subreason").unwrap();
    let words = format!("{column:?}");
    for code in ["count_negative", "unknown_usage_class", "invalid_type"] {
        assert!(words.contains(code), "{code} in {words}");
    }
}

#[test]
fn a_resend_is_dropped_and_another_content_is_held_back() {
    let mut partition = partition();
    let first = event(|_| ());
    let other = event(|event| event["usage"]["input"] = 435.into());
    let restamped = event(|event| event["completed_at"] = (AT - 1_200_000).into());
    for text in [&first, &first, &other, &restamped, &first] {
        offer(&mut partition, Some(text.as_bytes()), RecordKind::Single);
    }
    let totals = partition.close().totals;
    assert_eq!((totals.accepted.events, totals.duplicates.events), (1, 2));
    assert_eq!(totals.suspended_by_reason["conflicting_duplicate"], 2);
    assert_eq!(totals.accepted.tokens[TokenClass::Input.index()], 434);
}

#[test]
fn the_same_records_give_the_same_epoch() {
    let run = || {
        let mut partition = partition();
        for i in 0..200 {
            let text = event(|event| {
                event["id"] = format!("{}", i % 150).into();
                event["completed_at"] = (AT + i * 7_000).into();
            });
            offer(&mut partition, Some(text.as_bytes()), RecordKind::Single);
        }
        partition.close()
    };
    let (a, b) = (run(), run());
    assert_eq!((a.input_hash, a.totals, a.watermark_ms), (b.input_hash, b.totals, b.watermark_ms));
}

#[test]
fn the_input_hash_covers_everything_of_a_record() {
    let hash_of = |change: fn(&mut Record<'_>)| {
        let mut partition = partition();
        let text = event(|_| ());
        let mut record = Record {
            offset: 7,
            timestamp_ms: AT,
            key: Some(b"A1"),
            value: Some(text.as_bytes()),
            kind: RecordKind::Single,
        };
        change(&mut record);
        partition.push(record).unwrap();
        partition.close().input_hash
    };
    let changes: [fn(&mut Record<'_>); 7] = [
        |_| (),
        |record| record.offset = 8,
        |record| record.timestamp_ms += 1,
        |record| record.key = Some(b"A2"),
        |record| record.key = None,
        |record| record.value = None,
        |record| record.kind = RecordKind::Batch,
    ];
    let hashes: std::collections::BTreeSet<String> = changes.into_iter().map(hash_of).collect();
    assert_eq!(hashes.len(), 7);
}

/// The limits of memory are a process's: who holds more partitions keeps less open of each, and
/// what comes out is the same.
#[test]
fn memory_is_shared_among_the_partitions_of_a_process() {
    let run = |partitions: usize| {
        let aggregate = AggregateConfig {
            dedupe_open_max_bytes: 600_000,
            windows_open_max_bytes: 600_000,
            dedupe_open_ms: 86_400_000,
            ..AggregateConfig::default()
        };
        let config = PartitionConfig { aggregate, ..partition().config.clone() };
        let mut state = Partition::new(config, ReferenceData::shipped().unwrap(), 0);
        // Half an hour, in three buckets; the oldest first.
        for index in 0..3_000_i64 {
            let text = event(|event| {
                event["id"] = index.to_string().into();
                event["account"] = format!("A{index}").into();
                event["completed_at"] = (AT - 1_800_000 + index * 600).into();
            });
            offer(&mut state, Some(text.as_bytes()), RecordKind::Single);
        }
        state.share_memory(partitions);
        let closed = state.close();
        (closed.segments.len(), closed.subscriber_rows.len(), state.state_sizes(), closed.totals)
    };
    let (sealed, written, open, totals) = run(1);
    assert_eq!((sealed, written, open), (0, 0, (3_000, 3_000)));
    let (sealed, written, (ids, windows), shared) = run(8);
    assert!(sealed > 0 && ids < 3_000, "{sealed} sealed, {ids} open");
    assert!(written > 0 && windows < 3_000, "{written} written, {windows} open");
    assert_eq!(shared, totals);
}

fn control_total(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut total = serde_json::json!({
        "command": "control_total", "source": "gw", "gateway_epoch": 3,
        "hour": AT - AT % 3_600_000, "events": 2, "first_seq": 1, "last_seq": 2,
        "usage": {"input": 868, "output": 690, "requests": 2},
    });
    change(&mut total);
    total.to_string()
}

#[test]
fn a_control_total_counts_once_and_another_of_its_hour_is_held_back() {
    let mut partition = partition();
    let total = control_total(|_| ());
    let later = control_total(|total| total["hour"] = (AT - AT % 3_600_000 - 3_600_000).into());
    let restarted = control_total(|total| total["gateway_epoch"] = 4.into());
    let other = control_total(|total| total["events"] = 3.into());
    for text in [&total, &total, &later, &restarted, &other] {
        offer(&mut partition, Some(text.as_bytes()), RecordKind::Single);
    }
    let closed = partition.close();
    assert_eq!(closed.control_totals.len(), 3);
    assert_eq!((closed.totals.commands, closed.totals.duplicate_commands), (3, 1));
    let reasons: Vec<_> = closed.totals.suspended_by_reason.into_iter().collect();
    assert_eq!(reasons, [("conflicting_duplicate".to_owned(), 1)]);
}

#[test]
fn a_control_total_that_cannot_be_is_held_back() {
    let hour = |hours: i64| {
        control_total(|total| total["hour"] = (AT - AT % 3_600_000 + hours * 3_600_000).into())
    };
    for (text, reason) in [
        (control_total(|total| total["event"] = 1.into()), "bad_command"),
        (control_total(|total| total["hour"] = AT.into()), "bad_command"),
        (hour(2), "time_in_future"),
        (hour(-24 * 1_000), "too_old"),
    ] {
        assert_eq!(reason_of(Some(text.as_bytes()), RecordKind::Single), [reason], "{text}");
    }
}

mod corrections;
mod parting;
mod rating;
mod resolutions;
