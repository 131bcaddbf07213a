//! Announces newer reference data in the log of a partition: what follows the record is rated by
//! it, by whoever reads. Several owners may announce the same, as the record says it once.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use tally_log::{Appended, LogProducer, Outgoing, RecordKind};
use tally_schemas::ReferenceVersion;

use crate::core::write_reference;

/// The record that announces a version in a partition. It has no key: it is of no account.
pub fn announcement(partition: u32, version: &ReferenceVersion) -> Outgoing {
    let value = Bytes::from(write_reference(version));
    Outgoing { partition, key: None, value, kind: RecordKind::Single }
}

/// Announces what is new for one partition.
pub(crate) struct Announcer {
    producer: Arc<dyn LogProducer>,
    partition: u32,
    every_ms: i64,
    last: Option<Announced>,
}

/// What was announced last.
struct Announced {
    version: ReferenceVersion,
    at_ms: i64,
    outcome: Outcome,
}

enum Outcome {
    OnItsWay(Appended),
    /// The log has it at this offset.
    At(u64),
    /// Nobody knows whether the log has it.
    Failed,
}

impl std::fmt::Debug for Announcer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Announcer").field("partition", &self.partition).finish_non_exhaustive()
    }
}

impl Announcer {
    /// For a partition; a version is announced again, where that is needed, every `every_ms`
    /// milliseconds at most.
    pub(crate) fn new(producer: Arc<dyn LogProducer>, partition: u32, every_ms: u64) -> Self {
        Self { producer, partition, every_ms: every_ms.cast_signed(), last: None }
    }

    /// Announces `newer`, which is newer than what the records before `next_offset` were rated by:
    /// once, and again where the append failed, or where the reader has come by the record and did
    /// not take it, as the log's time was before what it names is known.
    pub(crate) fn announce(&mut self, newer: ReferenceVersion, next_offset: u64, now_ms: i64) {
        if let Some(last) = &mut self.last
            && last.version == newer
        {
            last.look(self.partition);
            let waits = match last.outcome {
                Outcome::OnItsWay(_) => true,
                Outcome::At(offset) => offset >= next_offset,
                Outcome::Failed => false,
            };
            if waits || now_ms.saturating_sub(last.at_ms) < self.every_ms {
                return;
            }
        }
        tracing::info!(partition = self.partition, version = %newer, "reference data is announced");
        let appended = self.producer.append(announcement(self.partition, &newer));
        let outcome = Outcome::OnItsWay(appended);
        self.last = Some(Announced { version: newer, at_ms: now_ms, outcome });
    }
}

impl Announced {
    /// Takes the outcome of an append that has finished.
    fn look(&mut self, partition: u32) {
        let Outcome::OnItsWay(appended) = &mut self.outcome else { return };
        match appended.now_or_never() {
            None => {}
            Some(Ok(offset)) => self.outcome = Outcome::At(offset),
            Some(Err(error)) => {
                tracing::warn!(partition, %error, "reference data was not announced, trying again");
                self.outcome = Outcome::Failed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tally_log::{Appended, EventLog, LogError, LogProducer, MemoryLog, Outgoing};

    use super::*;

    fn version(text: &str) -> ReferenceVersion {
        text.parse().unwrap()
    }

    /// How many records a log has after each call of an announcer.
    struct Bench {
        log: MemoryLog,
        announcer: Announcer,
    }

    impl Bench {
        fn new(producer: impl FnOnce(&MemoryLog) -> Arc<dyn LogProducer>) -> Self {
            let log = MemoryLog::new("usage.events", 1);
            let announcer = Announcer::new(producer(&log), 0, 100);
            Self { log, announcer }
        }

        fn after(&mut self, name: &str, next_offset: u64, now_ms: i64) -> u64 {
            self.announcer.announce(version(name), next_offset, now_ms);
            self.log.bounds(0).unwrap().end
        }
    }

    #[test]
    fn a_version_is_announced_once_until_the_reader_has_come_by() {
        let mut bench = Bench::new(|log| log.producer().unwrap());
        assert_eq!(bench.after("1-a@5", 0, 0), 1);
        // However long the reader takes to get there.
        assert_eq!(bench.after("1-a@5", 0, 1_000_000), 1);
        // It came by and did not take it: again, after a while.
        assert_eq!(bench.after("1-a@5", 1, 1_000_050), 2);
        assert_eq!(bench.after("1-a@5", 2, 1_000_149), 2);
        assert_eq!(bench.after("1-a@5", 2, 1_000_150), 3);
        // Another version is announced at once.
        assert_eq!(bench.after("2-b@6", 2, 1_000_151), 4);
    }

    #[test]
    fn what_the_log_did_not_take_is_announced_again_after_a_while() {
        let mut bench = Bench::new(|log| log.producer().unwrap());
        bench.log.set_away(true);
        bench.announcer.announce(version("1-a@5"), 0, 0);
        bench.log.set_away(false);
        assert_eq!(bench.after("1-a@5", 0, 99), 0);
        assert_eq!(bench.after("1-a@5", 0, 100), 1);
    }

    /// A log that never answers.
    struct Silent;

    impl LogProducer for Silent {
        fn append(&self, _: Outgoing) -> Appended {
            Box::pin(std::future::pending())
        }

        fn flush(&self, _: std::time::Duration) -> Result<(), LogError> {
            Ok(())
        }
    }

    #[test]
    fn what_is_on_its_way_is_waited_for() {
        let mut announcer = Announcer::new(Arc::new(Silent), 0, 100);
        for now_ms in [0, 1_000] {
            announcer.announce(version("1-a@5"), 0, now_ms);
        }
        assert_eq!(announcer.last.map(|last| last.at_ms), Some(0));
    }
}
