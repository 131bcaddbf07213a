//! R16: poison on the topic.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::kill::note_stream;
use crate::poison_kinds::{Expected, Place, kinds};
use crate::support::{
    Dice, Figures, Ledger, Payload, Process, Stream, at_scale, eventually, patience,
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
            expected.insert((u64::from(kind.payload.partition), *position), (reason, kind));
        }
    }
    // Poison holds nobody up: the process catches up by itself, and lives.
    let lag_with = lag(&stream, &mut ledger, &mut process);
    assert!(process.terminate(patience()).success());
    stream.drain();

    let rows = stream.sql(
        "SELECT kafka_partition, kafka_offset, batch_index, reason, subreason, length(raw) AS raw_length, \
         CASE WHEN length(raw) < 10000 THEN raw END AS raw \
         FROM suspense ORDER BY kafka_partition, kafka_offset",
    );
    let number =
        |value: &serde_json::Value| -> u64 { value.to_string().trim_matches('"').parse().unwrap() };
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for row in &rows {
        let position = (number(&row["kafka_partition"]), number(&row["kafka_offset"]));
        match expected.remove(&position) {
            Some((reason, kind)) if row["reason"] == reason.as_str() => {
                if row["raw_length"].is_null() && reason.as_str() != "tombstone" {
                    wrong.push(format!("without its payload: {row}"));
                }
                // An event of a batch that can be read is shown as JSON.
                if let Some(value) = kind.payload.value.as_ref().filter(|_| !kind.payload.batch)
                    && let Some(raw) = row["raw"].as_str()
                {
                    compared += 1;
                    if raw != as_text(value) {
                        wrong.push(format!("{:?} with another payload: {row}", kind.name));
                    }
                }
            }
            Some((reason, kind)) => {
                wrong.push(format!("{:?} should be {reason}: {row}", kind.name));
            }
            None => wrong.push(format!("should not be there: {row}")),
        }
    }
    wrong.extend(
        expected.values().map(|(reason, kind)| format!("{:?} ({reason}) is missing", kind.name)),
    );
    assert!(compared >= 50, "only {compared} payloads could be compared");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let good_between = all.len() * good_between as usize;
    let accepted = all.len() - poison + good_between + 1 + clean.len();
    let counted = stream.sql("SELECT count(*) AS n FROM usage_events");
    assert_eq!(number(&counted[0]["n"]), accepted as u64);
    let verify = stream.tally(&["verify"]);
    stream.run("verify", verify);
    let mut figures = Figures::of("R16 poison", &dice);
    figures.note("kinds", poison);
    figures.note("good_events_between", good_between);
    figures.note("lag_ms", lag_with.as_millis() as u64);
    figures.note("lag_without_poison_ms", lag_without.as_millis() as u64);
    note_stream(&mut figures, &stream, &ledger);
    // These were made without the generator and its truth.
    figures.note("accepted", accepted);
    figures.note("suspended", poison);
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

/// A payload as `suspense.raw` has it: as text, or in hex.
fn as_text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| {
        format!("hex:{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    })
}
