//! The core alone on one thread, from bytes in memory to encoded epochs: for profiling.
//! `core EVENTS [BATCH] [count]`; a batch size of 0 means one JSON event a record, `count` that
//! events are only counted, neither rated nor charged. Tells a hash of what would be stored, so that
//! a change that should only be faster shows that it is.

use std::sync::Arc;
use std::time::Instant;

use tally_aggregate::{Partition, PartitionConfig, encode_epoch, ledger};
use tally_log::{Record, RecordKind};
use tally_schemas::AggregateConfig;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|a| a.parse::<usize>().ok());
    let count = arguments.next().unwrap_or(1_000_000);
    let size = arguments.next().unwrap_or(0);
    let events = tally_benches::json_events(count, 0, 4);
    let records: Vec<Vec<u8>> = if size == 0 {
        events.into_iter().map(String::into_bytes).collect()
    } else {
        tally_benches::batches(&events, size)
    };
    let kind = if size == 0 { RecordKind::Single } else { RecordKind::Batch };
    let settings = AggregateConfig {
        subscriber_window_ms: 60_000,
        lateness_ms: 30_000,
        rate: !std::env::args().any(|argument| argument == "count"),
        ..AggregateConfig::default()
    };
    let limit = settings.epoch_max_events;
    let config = PartitionConfig {
        topic: "usage.events".to_owned(),
        partition: 0,
        partition_count: 4,
        aggregate: settings,
    };
    let card = tally_aggregate::ReferenceData::shipped().expect("the shipped book");
    let mut state = Partition::new(config, card, 0);
    let claim = ledger::claim_entry("usage.events", 0, 4, "bench", None, 0, 0);
    let last = ledger::StoredEntry { entry: claim, hash: String::new() };
    let (mut pushing, mut closing, mut encoding) = (0_u128, 0_u128, 0_u128);
    let (mut bytes, mut state_bytes) = (0, 0);
    let mut entries = Vec::new();
    let mut begin = Instant::now();
    let mut finish = |state: &mut Partition, begin: &mut Instant| {
        pushing += begin.elapsed().as_nanos();
        let at = Instant::now();
        let closed = state.close();
        closing += at.elapsed().as_nanos();
        let at = Instant::now();
        if let Ok(encoded) = encode_epoch(closed, &last, "bench", 0) {
            bytes += encoded.entry.files.iter().map(|file| file.bytes).sum::<u64>();
            // With the hash of each object in it.
            if let Ok(entry) = ledger::encode(&encoded.entry) {
                entries.extend_from_slice(&entry);
            }
            state_bytes += encoded.objects.iter().map(|(_, b)| b.len()).sum::<usize>();
        }
        encoding += at.elapsed().as_nanos();
        *begin = Instant::now();
    };
    for (offset, value) in records.iter().enumerate() {
        let record = Record {
            offset: offset as u64,
            timestamp_ms: tally_benches::BEGIN_MS + 3_600_000,
            key: None,
            value: Some(value),
            kind,
        };
        if state.push(record).is_err() {
            eprintln!("needs segments");
            return;
        }
        if state.epoch_events() >= limit {
            finish(&mut state, &mut begin);
        }
    }
    finish(&mut state, &mut begin);
    let each = |nanos: u128| nanos / count as u128;
    println!(
        "events {count}: push {} ns, close {} ns, encode {} ns an event; {} table bytes, {} stored bytes an event, hash {:.16}",
        each(pushing),
        each(closing),
        each(encoding),
        bytes / count as u64,
        state_bytes / count,
        ledger::hash_of(&entries),
    );
}
