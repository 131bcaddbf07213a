//! The core alone on one thread, from bytes in memory to encoded epochs: for profiling.
//!
//! `core EVENTS [BATCH [EPOCH]] [count] [sold]`; a batch size of 0 means one JSON event a record,
//! EPOCH is how many events one has. `count`: events are only counted, neither rated nor charged.
//! `sold`: every account has bought a package, so that events are charged to buckets. What is of
//! interest is within `measured`: `valgrind --tool=callgrind --toggle-collect='*measured*'`. Tells a
//! hash of what would be stored, and one of the state alone, so that a change that should only be
//! faster shows that it is.

use std::collections::BTreeSet;
use std::time::Instant;

use tally_aggregate::{Partition, PartitionConfig, encode_epoch, ledger};
use tally_log::{Record, RecordKind};
use tally_schemas::AggregateConfig;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Nanoseconds of each step, and bytes.
#[derive(Debug, Default)]
struct Seen {
    pushing: u128,
    closing: u128,
    encoding: u128,
    table_bytes: u64,
    stored_bytes: usize,
    /// Ledger entries, with the hash of each object in them.
    entries: Vec<u8>,
    /// Hashes of the state objects.
    states: Vec<u8>,
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|a| a.parse::<usize>().ok());
    let has = |word: &str| std::env::args().any(|argument| argument == word);
    let count = arguments.next().unwrap_or(1_000_000);
    let size = arguments.next().unwrap_or(0);
    let mut settings = AggregateConfig {
        subscriber_window_ms: 60_000,
        lateness_ms: 30_000,
        rate: !has("count"),
        ..AggregateConfig::default()
    };
    if let Some(events) = arguments.next() {
        settings.epoch_max_events = events as u64;
    }
    let limit = settings.epoch_max_events;
    let events = tally_benches::json_events(count, 0, 4);
    let commands = if has("sold") { purchases(&events) } else { Vec::new() };
    let records: Vec<Vec<u8>> = if size == 0 {
        events.into_iter().map(String::into_bytes).collect()
    } else {
        tally_benches::batches(&events, size)
    };
    let kind = if size == 0 { RecordKind::Single } else { RecordKind::Batch };
    let config = PartitionConfig {
        topic: "usage.events".to_owned(),
        partition: 0,
        partition_count: 4,
        log: None,
        aggregate: settings,
    };
    let card = tally_aggregate::ReferenceData::shipped().expect("the shipped book");
    let mut state = Partition::new(config, card, 0);
    push_all(&mut state, &commands, RecordKind::Single, u64::MAX, &mut Seen::default());
    let mut seen = Seen::default();
    measured(&mut state, &records, kind, limit, &mut seen);
    let each = |nanos: u128| nanos / count as u128;
    println!(
        "events {count}: push {} ns, close {} ns, encode {} ns an event; {} table bytes, {} stored bytes an event, hash {:.16}, of the state {:.16}",
        each(seen.pushing),
        each(seen.closing),
        each(seen.encoding),
        seen.table_bytes / count as u64,
        seen.stored_bytes / count,
        ledger::hash_of(&seen.entries),
        ledger::hash_of(&seen.states),
    );
}

/// The events from the first to the last stored one, and nothing else, for a profiler.
#[inline(never)]
fn measured(
    state: &mut Partition,
    records: &[Vec<u8>],
    kind: RecordKind,
    limit: u64,
    seen: &mut Seen,
) {
    push_all(state, records, kind, limit, seen);
}

/// Pushes records and ends an epoch behind `limit` events, and behind the last.
fn push_all(
    state: &mut Partition,
    records: &[Vec<u8>],
    kind: RecordKind,
    limit: u64,
    seen: &mut Seen,
) {
    let mut begin = Instant::now();
    for value in records {
        let record = Record {
            offset: state.next_offset(),
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
            end_epoch(state, &mut begin, seen);
        }
    }
    end_epoch(state, &mut begin, seen);
}

fn end_epoch(state: &mut Partition, begin: &mut Instant, seen: &mut Seen) {
    let claim = ledger::claim_entry("usage.events", 0, 4, "bench", None, 0, 0);
    let last = ledger::StoredEntry { entry: claim, hash: String::new() };
    seen.pushing += begin.elapsed().as_nanos();
    let at = Instant::now();
    drop(state.take_notices());
    let closed = state.close();
    seen.closing += at.elapsed().as_nanos();
    let at = Instant::now();
    if let Ok(encoded) = encode_epoch(closed, &last, "bench", 0) {
        seen.table_bytes += encoded.entry.files.iter().map(|file| file.bytes).sum::<u64>();
        seen.stored_bytes += encoded.objects.iter().map(|(_, b)| b.len()).sum::<usize>();
        if let Ok(entry) = ledger::encode(&encoded.entry) {
            seen.entries.extend_from_slice(&entry);
        }
        for file in encoded.entry.state.base.iter().chain(&encoded.entry.state.deltas) {
            seen.states.extend_from_slice(file.hash.as_bytes());
        }
        // As the worker does: the memory of a stored epoch is asked for once.
        state.reuse(encoded.spare);
    }
    seen.encoding += at.elapsed().as_nanos();
    *begin = Instant::now();
}

/// A command for each account of the events, that buys it a package.
fn purchases(events: &[String]) -> Vec<Vec<u8>> {
    let account = |event: &String| {
        let (_, rest) = event.split_once("\"account\":\"")?;
        rest.split_once('"').map(|(account, _)| account.to_owned())
    };
    let accounts: BTreeSet<String> = events.iter().filter_map(account).collect();
    let purchase = |account: String| {
        format!(
            "{{\"command\":\"purchase\",\"id\":\"first\",\"account\":\"{account}\",\"at\":{},\"package\":\"telecom-10m\"}}",
            tally_benches::BEGIN_MS
        )
    };
    accounts.into_iter().map(|account| purchase(account).into_bytes()).collect()
}
