//! What every log must do, by the log in memory and by the embedded one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

// A test stops at the first surprise.
mod suite;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use suite::{Ledger, Member, PATIENCE, Running, Seen, append, record, resolve};
use tally_log::{
    Bounds, EmbeddedLog, EmbeddedLogConfig, EventLog, Keep, LogError, LogErrorKind, MemoryLog,
    PartitionReader, RecordKind,
};

fn memory() -> Arc<dyn EventLog> {
    Arc::new(MemoryLog::new("usage.events", 4))
}

fn config(dir: &Path) -> EmbeddedLogConfig {
    EmbeddedLogConfig::new(dir, "usage.events")
}

fn embedded(dir: &Path) -> EmbeddedLog {
    EmbeddedLog::open(config(dir)).unwrap()
}

/// Calls each part of the suite with a fresh log.
macro_rules! conforms {
    ($($test:ident),* $(,)?) => {
        mod memory_log {
            $(#[test] fn $test() { super::suite::$test(&super::memory()); })*
        }
        mod embedded_log {
            $(#[test] fn $test() {
                let dir = tempfile::tempdir().unwrap();
                let log: std::sync::Arc<dyn tally_log::EventLog> =
                    std::sync::Arc::new(super::embedded(dir.path()));
                super::suite::$test(&log);
            })*
        }
    };
}

conforms!(
    appends_are_read_in_order,
    a_failed_claim_is_tried_again,
    a_reassigned_partition_goes_on,
    one_consumption_at_a_time,
    unknown_partitions_are_refused,
    anybody_reads_from_any_offset,
);

/// Reads to the end, at most `max` records.
fn drain(reader: &mut dyn PartitionReader, max: usize) -> Result<Vec<Seen>, LogError> {
    let mut seen = Vec::new();
    reader.read(max, Duration::ZERO, &mut |record| seen.push(Seen::of(record)))?;
    Ok(seen)
}

fn offsets(seen: &[Seen]) -> Vec<u64> {
    seen.iter().map(|seen| seen.offset).collect()
}

#[test]
fn memory_keeps_gaps_timestamps_and_tombstones() {
    let log = MemoryLog::new("usage.events", 1);
    let value = || Some(Bytes::from_static(b"{}"));
    assert_eq!(log.append_at(0, None, value(), RecordKind::Single, 17).unwrap(), 0);
    log.skip_offsets(0, 5).unwrap();
    assert_eq!(log.append_at(0, None, None, RecordKind::Single, 18).unwrap(), 6);
    log.skip_offsets(0, 1).unwrap();
    assert_eq!(EventLog::bounds(&log, 0).unwrap(), Bounds { start: 0, end: 8 });
    let mut reader = log.reader_at(0, 0).unwrap();
    let seen = drain(reader.as_mut(), 10).unwrap();
    assert_eq!(offsets(&seen), [0, 6]);
    assert_eq!(seen[0].timestamp_ms, 17);
    assert_eq!(seen[1].value, None);
    assert_eq!(offsets(&drain(log.reader_at(0, 3).unwrap().as_mut(), 10).unwrap()), [6]);
    assert_eq!(reader.known_end(), Some(8));
}

#[test]
fn memory_away_is_retry_and_loses_nothing() {
    let log = MemoryLog::new("usage.events", 1);
    append(&log, 0, 3);
    let mut reader = log.reader_at(0, 0).unwrap();
    log.set_away(true);
    assert_eq!(drain(reader.as_mut(), 10).unwrap_err().kind(), LogErrorKind::Retry);
    let refused = resolve(vec![log.producer().unwrap().append(record(0, 3))]).remove(0);
    assert_eq!(refused.unwrap_err().kind(), LogErrorKind::Retry);
    log.set_away(false);
    assert_eq!(offsets(&drain(reader.as_mut(), 10).unwrap()), [0, 1, 2]);
}

#[test]
fn memory_names_the_exact_range_that_is_lost() {
    let log = MemoryLog::new("usage.events", 1);
    append(&log, 0, 10);
    let mut reader = log.reader_at(0, 2).unwrap();
    log.truncate_before(0, 5).unwrap();
    let lost = LogError::OffsetLost { partition: 0, wanted: 2, start: 5 };
    assert_eq!(drain(reader.as_mut(), 10), Err(lost));
    assert_eq!(
        offsets(&drain(log.reader_at(0, 5).unwrap().as_mut(), 10).unwrap()),
        [5, 6, 7, 8, 9]
    );
    log.truncate_from(0, 7).unwrap();
    let cut = LogError::Truncated { partition: 0, wanted: 10, end: 7 };
    assert_eq!(drain(log.reader_at(0, 10).unwrap().as_mut(), 10), Err(cut));
}

#[test]
fn embedded_survives_reopening_and_goes_on_at_the_next_offset() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let log: Arc<dyn EventLog> = Arc::new(embedded(dir.path()));
        assert_eq!(log.partition_count(), 4);
        for partition in 0..4 {
            let bounds = log.bounds(partition).unwrap();
            assert_eq!(bounds, Bounds { start: 0, end: round * 200 });
        }
        append(log.as_ref(), round * 200, 200);
    }
    let log: Arc<dyn EventLog> = Arc::new(embedded(dir.path()));
    let ledger = Arc::new(Ledger::default());
    let running = Running::new(Arc::clone(&log), Member::new(1, &ledger));
    ledger.wait_for("all", |state| state.seen.values().map(Vec::len).sum::<usize>() == 3_200);
    running.end().unwrap();
    suite::check_all_seen(&ledger, 4, 800);
}

#[test]
fn embedded_partition_count_is_fixed_at_creation() {
    let dir = tempfile::tempdir().unwrap();
    drop(embedded(dir.path()));
    let mut other = config(dir.path());
    other.partitions_if_created = 9;
    assert_eq!(EmbeddedLog::open(other).unwrap().partition_count(), 4);
}

#[test]
fn embedded_folder_in_use_or_of_another_topic_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = embedded(dir.path());
    let second = EmbeddedLog::open(config(dir.path())).unwrap_err();
    assert_eq!(second.kind(), LogErrorKind::Invalid);
    assert!(second.to_string().contains("in use"), "{second}");
    drop(first);
    let mut other = config(dir.path());
    other.topic = "usage.models".to_owned();
    assert_eq!(EmbeddedLog::open(other).unwrap_err().kind(), LogErrorKind::Invalid);
}

#[test]
fn embedded_keeps_the_newest_of_what_nobody_commits() {
    let dir = tempfile::tempdir().unwrap();
    let mut newest = config(dir.path());
    newest.keep = Keep::Newest(1_000);
    let log = EmbeddedLog::open(newest.clone()).unwrap();
    append(&log, 0, 1_125);
    append(&log, 1_125, 20_000);
    let deadline = Instant::now() + PATIENCE;
    while log.bounds(3).unwrap().start < 19_000 {
        assert!(Instant::now() < deadline, "{:?}", log.bounds(3));
        std::thread::yield_now();
    }
    let Bounds { start, end } = log.bounds(3).unwrap();
    assert!(end == 21_125 && end - start >= 1_000, "{start}..{end}");
    let kept = drain(log.reader_at(3, start).unwrap().as_mut(), 100_000).unwrap();
    assert_eq!(kept.len() as u64, end - start);
    drop(log);
    assert_eq!(EmbeddedLog::open(newest).unwrap().bounds(3).unwrap().end, 21_125);
}

#[test]
fn embedded_removes_what_is_committed_and_names_what_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut few = config(dir.path());
    few.keep = Keep::BelowCommitted(1_000);
    let log = EmbeddedLog::open(few.clone()).unwrap();
    append(&log, 0, 20_000);
    let mut behind = log.reader_at(1, 3).unwrap();
    log.note_committed(1, 15_000);
    let deadline = Instant::now() + PATIENCE;
    while log.bounds(1).unwrap().start < 14_000 {
        assert!(Instant::now() < deadline, "{:?}", log.bounds(1));
        std::thread::yield_now();
    }
    let lost = LogError::OffsetLost { partition: 1, wanted: 3, start: 14_000 };
    assert_eq!(drain(behind.as_mut(), 10), Err(lost));
    let mut reader = log.reader_at(1, 14_000).unwrap();
    assert_eq!(drain(reader.as_mut(), 100_000).unwrap().len(), 6_000);
    assert_eq!(log.bounds(0).unwrap(), Bounds { start: 0, end: 20_000 });
    // Nothing is removed at or above the end, and the end outlives every record.
    log.truncate_before(2, u64::MAX);
    log.producer().unwrap().flush(PATIENCE).unwrap();
    while log.bounds(2).unwrap().start < 20_000 {
        assert!(Instant::now() < deadline, "{:?}", log.bounds(2));
        std::thread::yield_now();
    }
    drop((behind, reader, log));
    let log = EmbeddedLog::open(few).unwrap();
    assert_eq!(log.bounds(1).unwrap(), Bounds { start: 14_000, end: 20_000 });
    assert_eq!(log.bounds(2).unwrap(), Bounds { start: 20_000, end: 20_000 });
    let next = resolve(vec![log.producer().unwrap().append(record(2, 20_000))]).remove(0);
    assert_eq!(next, Ok(20_000));
}

#[test]
fn embedded_offset_beyond_the_end_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let log = embedded(dir.path());
    append(&log, 0, 5);
    let cut = LogError::Truncated { partition: 0, wanted: 6, end: 5 };
    assert_eq!(drain(log.reader_at(0, 6).unwrap().as_mut(), 10), Err(cut));
}

#[test]
fn embedded_full_queue_is_retry_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = config(dir.path());
    small.queue_max_bytes = 4_096;
    let log = EmbeddedLog::open(small).unwrap();
    let producer = log.producer().unwrap();
    let appends = (0..5_000).map(|index| producer.append(record(0, index))).collect();
    let outcomes = resolve(appends);
    let refused = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert!(refused > 0, "5,000 records fit into 4 KiB");
    for outcome in &outcomes {
        if let Err(error) = outcome {
            assert_eq!(error.kind(), LogErrorKind::Retry);
        }
    }
    // What was accepted is there, without a gap, and room came back.
    let accepted = u64::try_from(outcomes.len() - refused).unwrap();
    assert_eq!(log.bounds(0).unwrap(), Bounds { start: 0, end: accepted });
    assert_eq!(resolve(vec![producer.append(record(0, 0))]).remove(0), Ok(accepted));
}
