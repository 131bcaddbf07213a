//! Pieces as the records of one partition, good and bad: the whole core takes them, each epoch adds
//! up, its rows can be written, and a new owner recovers to the same state.
//!
//! What the first byte of a piece says: `B` a protobuf batch, `J` an event in JSON that comes as a
//! batch, `T` a tombstone, `C` what time it is (ms, decimal), `E` and `W` the end of an epoch, the
//! latter with its files; anything else is a record in JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use tally_aggregate::fuzzed::FuzzedPartition;
use tally_fuzz::{pieces, shipped};
use tally_log::RecordKind::{Batch, Single};
use tally_schemas::{UsageBatch, UsageEventMessage, parse_event};

/// 2026-11-22T06:22:40Z, about when the events of the seeds are.
const START_MS: i64 = 1_795_328_560_000;
/// The end of the year 9999.
const END_MS: i64 = 253_402_300_799_999;

fuzz_target!(|bytes: &[u8]| {
    if let Err(why) = run(bytes) {
        panic!("{why}");
    }
});

fn run(bytes: &[u8]) -> Result<(), String> {
    let mut partition = FuzzedPartition::new(shipped());
    let mut now_ms = START_MS;
    for piece in pieces(bytes).take(64) {
        now_ms += 1_000;
        match piece.split_first() {
            Some((b'B', batch)) => partition.push(Some(batch), Batch, now_ms)?,
            Some((b'J', json)) => {
                let events = vec![UsageEventMessage::from_event(&parse_event(json).event)];
                let batch = UsageBatch { events }.encode_to_vec();
                partition.push(Some(&batch), Batch, now_ms)?;
            }
            Some((b'T', _)) => partition.push(None, Single, now_ms)?,
            Some((b'C', digits)) => {
                let told = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
                now_ms = told.filter(|ms| (0..=END_MS).contains(ms)).unwrap_or(now_ms);
            }
            Some((b'E', _)) => partition.close(false)?,
            Some((b'W', _)) => partition.close(true)?,
            _ => partition.push(Some(piece), Single, now_ms)?,
        }
    }
    partition.close(false)
}
