//! R14: resends, at once, an hour later and 40 days later, and resends with other content.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tally_schemas::partition_of;

use crate::kill::note_stream;
use crate::support::{Dice, Figures, Payload, Stream, Traffic, at_scale};

const DAY_MS: i64 = 86_400_000;

#[test]
fn resends_are_counted_once() {
    let mut dice = Dice::of("duplicates");
    let mut stream = Stream::new("duplicates", dice.seed(), 4);
    let events = at_scale(15_000, 1_000_000);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let old = Traffic {
        resent: "0.2",
        start_ms: Some(now_ms - 41 * DAY_MS),
        ..Traffic::clean(dice.next_seed(), events)
    };
    let sending = stream.sending(&old);
    let old_truth = stream.sent(sending);
    for resent in ["0.001", "0.1", "0.5"] {
        let traffic = Traffic { resent, late: "0.02", ..Traffic::clean(dice.next_seed(), events) };
        stream.send(&traffic);
    }
    // By now the buckets of the old events are sealed, and out of memory.
    stream.drain();
    // The same bytes once more, 41 days later: every event of them is a duplicate.
    let again = stream.sending(&old);
    stream.resent(again);
    // And some with other counts, which nobody can know to be the same.
    let file = stream.lines(&old);
    let conflicting: Vec<Payload> = file
        .iter()
        .filter(|_| dice.chance(2))
        .map(|line| conflicting(line, stream.topic.partitions))
        .collect();
    stream.topic.append(&conflicting);
    stream.truth.sent += conflicting.len() as u64;
    stream.truth.suspended.insert("conflicting_duplicate".to_owned(), conflicting.len() as u64);
    stream.drain();
    stream.expect_exactly_once();
    let mut figures = Figures::of("R14 duplicates", &dice);
    figures.note("after_41_days", old_truth.sent);
    figures.note("conflicting", conflicting.len());
    let ledger = stream.ledger();
    note_stream(&mut figures, &stream, &ledger);
    figures.report();
}

/// The event of a line with one more token.
fn conflicting(line: &str, partitions: u32) -> Payload {
    let mut event: Value = serde_json::from_str(line).unwrap();
    let input = event["usage"]["input"].as_u64().unwrap_or(0);
    event["usage"]["input"] = (input + 1).into();
    let partition = partition_of(event["account"].as_str().unwrap(), partitions);
    Payload { partition, value: Some(event.to_string().into_bytes()), batch: false }
}
