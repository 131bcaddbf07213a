//! R16: poison on the topic.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::kill::note_stream;
use crate::poison_kinds::{Expected, Place, kinds};
use crate::support::{
    Dice, Figures, Ledger, OwnEvent, Payload, Process, Stream, at_scale, eventually, patience,
};

/// Every bad record is one row of `suspense` with its own reason and position, every good one
/// between them is counted, and nothing crashes.
#[test]
fn poison_is_held_back_for_its_reason() {
    let dice = Dice::of("poison");
    let mut stream = Stream::new("poison", dice.seed(), 3);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let place = Place { partitions: stream.topic.partitions, now_ms };
    let all = kinds(place);
    let poison = all.iter().filter(|kind| kind.expected != Expected::Accepted).count();
    assert!(poison >= 100, "{poison} kinds of poison");
    let good = |id: &str| {
        let event = place.event(id).to_string().into_bytes();
        let partition = tally_schemas::partition_of("A000000042", place.partitions);
        Payload { partition, value: Some(event), batch: false }
    };
    let mut payloads = Vec::new();
    let good_between = at_scale(3, 300);
    for (number, kind) in all.iter().enumerate() {
        payloads.push(kind.payload.clone());
        for between in 0..good_between {
            payloads.push(good(&format!("good-{number}-{between}")));
        }
    }
    let mut process = stream.aggregate("member");
    let mut ledger = stream.ledger();
    // As many records without any poison, once the member has joined.
    stream.topic.append(&[good("first")]);
    lag(&stream, &mut ledger, &mut process);
    let clean: Vec<Payload> = (0..payloads.len()).map(|n| good(&format!("clean-{n}"))).collect();
    stream.topic.append(&clean);
    let lag_without = lag(&stream, &mut ledger, &mut process);
    let offsets = stream.topic.append(&payloads);
    let mut expected = BTreeMap::new();
    for (kind, position) in all.iter().zip(offsets.iter().step_by(good_between as usize + 1)) {
        if let Expected::HeldBack(reason) = kind.expected {
            let position = (u64::from(kind.payload.partition), *position, kind.batch_index);
            expected.insert(position, (reason, kind));
        }
    }
    // Poison holds nobody up: the process catches up by itself, and lives.
    let lag_with = lag(&stream, &mut ledger, &mut process);
    assert!(process.terminate(patience()).success());
    stream.drain();

    let rows = stream.sql(
        "SELECT kafka_partition, kafka_offset, batch_index, reason, subreason, raw \
         FROM suspense ORDER BY kafka_partition, kafka_offset, batch_index",
    );
    let number =
        |value: &serde_json::Value| -> u64 { value.to_string().trim_matches('"').parse().unwrap() };
    let mut wrong = Vec::new();
    for row in &rows {
        let [partition, offset, index] =
            ["kafka_partition", "kafka_offset", "batch_index"].map(|column| number(&row[column]));
        // Without the payload, which may have megabytes.
        let told = format!(
            "{partition}/{offset}/{index}: {} {}",
            row["reason"].as_str().unwrap_or_default(),
            row["subreason"].as_str().unwrap_or_default().chars().take(200).collect::<String>()
        );
        match expected.remove(&(partition, offset, index)) {
            Some((reason, kind)) if row["reason"] == reason.as_str() => {
                if let Some(how) = kind.shown_otherwise(row["raw"].as_str()) {
                    wrong.push(format!("{:?} {how}: {told}", kind.name));
                }
            }
            Some((reason, kind)) => {
                wrong.push(format!("{:?} should be {reason}: {told}", kind.name))
            }
            None => wrong.push(format!("should not be there: {told}")),
        }
    }
    wrong.extend(
        expected.values().map(|(reason, kind)| format!("{:?} ({reason}) is missing", kind.name)),
    );
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let good_between = all.len() * good_between as usize;
    all.iter().for_each(|kind| kind.add_to(&mut stream.truth));
    let one = OwnEvent::of(good("any").value.as_deref().unwrap());
    (0..good_between + 1 + clean.len()).for_each(|_| one.add_to(&mut stream.truth));
    stream.expect_exactly_once();
    let mut figures = Figures::of("R16 poison", &dice);
    figures.note("kinds", poison);
    figures.note("good_events_between", good_between);
    figures.note("lag_ms", lag_with.as_millis() as u64);
    figures.note("lag_without_poison_ms", lag_without.as_millis() as u64);
    note_stream(&mut figures, &stream, &ledger);
    // Several tests share the machine, but for the full counts.
    let most = lag_without + LAG_MORE_MAX + Duration::from_secs(at_scale(20, 0));
    assert!(lag_with <= most, "{lag_with:?} behind with poison, {lag_without:?} without");
    figures.report();
}

/// How much longer a record may wait for its commit because of poison before it.
const LAG_MORE_MAX: Duration = Duration::from_secs(1);

/// How long after the last append everything is committed.
fn lag(stream: &Stream, ledger: &mut Ledger, process: &mut Process) -> Duration {
    let appended = Instant::now();
    eventually("the end of the log", patience(), || {
        process.assert_running();
        stream.is_committed(ledger).then_some(())
    });
    appended.elapsed()
}
