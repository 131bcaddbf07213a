//! Bytes as a usage event in JSON. The reader of the plain form and the one by `serde_json` must see
//! the same event with the same defects; and an event without defects is the same in protobuf.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use serde::de::DeserializeSeed;
use tally_aggregate::fuzzed::read_batch;
use tally_schemas::{
    EventErrorCode, EventSeed, ParsedEvent, UsageBatch, UsageEventMessage, check_event, parse_event,
};

fuzz_target!(|bytes: &[u8]| {
    let parsed = parse_event(bytes);
    match read_by_serde(bytes) {
        Some(other) if !is_malformed(&other) => assert_eq!(parsed, other),
        _ => assert!(is_malformed(&parsed), "{parsed:?}"),
    }
    let scratch = &mut Vec::new();
    let hashes = (parsed.event.identity_hash(scratch), parsed.event.content_hash(scratch));
    if parsed.command.is_some() || !parsed.errors.is_empty() {
        return;
    }
    let batch = UsageBatch { events: vec![UsageEventMessage::from_event(&parsed.event)] };
    let batch = batch.encode_to_vec();
    let read = read_batch(&batch).expect("our own batch");
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].errors, []);
    assert_eq!(read[0].event, parsed.event);
    let event = &read[0].event;
    assert_eq!((event.identity_hash(scratch), event.content_hash(scratch)), hashes);
});

/// The event as `serde_json` alone finds it; `None` where the bytes are not one value of JSON.
fn read_by_serde(bytes: &[u8]) -> Option<ParsedEvent<'_>> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut parsed = EventSeed.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    if !is_malformed(&parsed) {
        check_event(&mut parsed);
    }
    Some(parsed)
}

/// Whether it is no object of JSON.
fn is_malformed(parsed: &ParsedEvent<'_>) -> bool {
    parsed.errors.iter().any(|error| error.code == EventErrorCode::Malformed)
}
