//! The embedded log and kill −9: what was acknowledged is there, and offsets go on behind it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

// A test stops at the first surprise.
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tally_log::{EmbeddedLog, EmbeddedLogConfig, EventLog, Keep, Outgoing, RecordKind};

/// Set in the child: the folder of its log.
const CHILD_DIR: &str = "TALLY_LOG_KILL_DIR";

/// Set in the child that makes logs: the folder in which it makes them.
const CHILD_LOGS: &str = "TALLY_LOG_KILL_LOGS";

fn open(dir: &Path) -> EmbeddedLog {
    let mut config = EmbeddedLogConfig::new(dir, "usage.events");
    config.keep = Keep::BelowCommitted(200);
    EmbeddedLog::open(config).unwrap()
}

/// The child's part: appends until it is killed, and prints each acknowledged offset.
#[test]
fn child_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let log = open(Path::new(&dir));
    let producer = log.producer().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut out = std::io::stdout().lock();
    for index in 0_u64.. {
        let partition = u32::try_from(index % 4).unwrap();
        let appends: Vec<_> = (0..20)
            .map(|_| {
                producer.append(Outgoing {
                    partition,
                    key: None,
                    value: Bytes::from(vec![b'x'; 500]),
                    kind: RecordKind::Batch,
                })
            })
            .collect();
        for append in appends {
            let offset = runtime.block_on(append).unwrap();
            writeln!(out, "ack {partition} {offset}").unwrap();
            // Retention runs beside it.
            log.note_committed(partition, offset);
        }
        out.flush().unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = [0_u64; 4];
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_appends_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = 0;
        let mut killed = false;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some((_, ack)) = line.split_once("ack ") else { continue };
            // The last line may be cut by the kill.
            let Some((partition, offset)) = ack.split_once(' ') else { continue };
            let (Ok(partition), Ok(offset)) = (partition.parse::<usize>(), offset.parse::<u64>())
            else {
                continue;
            };
            seen += 1;
            if !killed {
                let next = &mut acknowledged[partition];
                assert!(offset >= *next, "round {round}: {offset} after {next}");
                *next = offset + 1;
            }
            if seen == 300 + round * 777 {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        let log = open(dir.path());
        for (partition, acknowledged) in (0..).zip(acknowledged) {
            let bounds = log.bounds(partition).unwrap();
            assert!(bounds.end >= acknowledged, "round {round}: {bounds:?}, {acknowledged}");
            let mut reader = log.reader_at(partition, bounds.start).unwrap();
            let mut next = bounds.start;
            reader
                .read(usize::MAX, Duration::ZERO, &mut |record| {
                    assert_eq!(record.offset, next);
                    assert_eq!(record.value.map(<[u8]>::len), Some(500));
                    next += 1;
                })
                .unwrap();
            assert_eq!(next, bounds.end, "round {round}, partition {partition}");
        }
    }
}

/// The child's part: makes one log after the other until it is killed, and prints which.
#[test]
fn child_makes_logs_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_LOGS) else { return };
    let mut out = std::io::stdout().lock();
    for number in 0_u64.. {
        writeln!(out, "makes {number}").unwrap();
        out.flush().unwrap();
        drop(open(&Path::new(&dir).join(number.to_string())));
    }
}

/// The store makes a folder's files one after the other, and a process is killed between any two.
#[test]
fn a_log_that_was_being_made_at_kill_9_is_made_by_the_next() {
    let mut unmade = 0;
    for round in 0..100_u64 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_makes_logs_until_it_is_killed", "--nocapture"])
            .env(CHILD_LOGS, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        lines.by_ref().find(|line| line.contains("makes 1")).unwrap();
        std::thread::sleep(Duration::from_micros(15 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let last = lines.filter_map(|line| line.strip_prefix("makes ")?.parse().ok()).last();
        let last: u64 = last.unwrap_or(1);
        unmade += u64::from(!dir.path().join(last.to_string()).join("version").exists());
        for number in 0..=last {
            let log = open(&dir.path().join(number.to_string()));
            assert_eq!(log.partition_count(), 4, "round {round}, log {number} of {last}");
        }
    }
    assert!(unmade > 10, "only {unmade} of 100 were killed while they made a log");
}
