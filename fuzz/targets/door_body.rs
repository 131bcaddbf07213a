//! Bytes as the body of a request to the door; the first byte names the format, as a digit: `0`
//! JSON, `1` NDJSON, `2` a CloudEvent, `3` a batch of them, `4` one in binary mode, `5` protobuf.
//! Every event is taken or refused; what goes on, the stream reads as what it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tally_aggregate::fuzzed::read_batch;
use tally_ingest::fuzzed::{PARTITIONS, read_body};
use tally_schemas::{parse_event, partition_of};

fuzz_target!(|bytes: &[u8]| {
    let Some((number, body)) = bytes.split_first() else { return };
    let Some(taken) = read_body(usize::from(number.wrapping_sub(b'0')), body) else { return };
    assert_eq!(taken.accepted + taken.refused.len() as u64, taken.events);
    assert!(taken.refused.is_sorted_by(|a, b| a < b), "{:?}", taken.refused);
    assert!(taken.refused.last().is_none_or(|last| *last < taken.events));
    let mut accepted = taken.singles.len() as u64;
    for (partition, batch, events) in &taken.batches {
        let read = read_batch(batch).expect("a batch of the door");
        assert_eq!(read.len() as u64, *events);
        for parsed in read {
            assert_eq!(parsed.errors, []);
            assert_eq!(partition_of(&parsed.event.account, PARTITIONS), *partition);
        }
        accepted += events;
    }
    assert_eq!(accepted, taken.accepted);
    for (partition, key, value) in &taken.singles {
        let parsed = parse_event(value);
        assert!(!parsed.errors.is_empty() && parsed.command.is_none(), "{parsed:?}");
        assert_eq!(parsed.event.account.as_bytes(), key);
        assert_eq!(partition_of(&parsed.event.account, PARTITIONS), *partition);
    }
});
