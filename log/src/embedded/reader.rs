//! Reads one partition of the embedded log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::format::decode;
use super::{Partition, Store, internal, offset_key, offset_of};
use crate::gate::Gate;
use crate::{Bounds, LogError, PartitionReader, Record};

/// How soon a waiting reader notices that its partition was taken away.
const GATE_INTERVAL: Duration = Duration::from_millis(50);

pub(super) struct EmbeddedReader {
    store: Arc<Store>,
    partition: u32,
    next: u64,
    gate: Arc<Gate>,
}

impl EmbeddedReader {
    pub(super) fn new(store: Arc<Store>, partition: u32, next: u64, gate: Arc<Gate>) -> Self {
        Self { store, partition, next, gate }
    }

    /// Whether the next offset is one that the log has, or will have.
    fn check_next(&self, bounds: Bounds) -> Result<(), LogError> {
        let (partition, wanted) = (self.partition, self.next);
        if wanted < bounds.start {
            return Err(LogError::OffsetLost { partition, wanted, start: bounds.start });
        }
        if wanted > bounds.end {
            return Err(LogError::Truncated { partition, wanted, end: bounds.end });
        }
        Ok(())
    }

    fn wait(&self, partition: &Partition, deadline: Instant) -> Result<Bounds, LogError> {
        loop {
            self.gate.check()?;
            let now = Instant::now();
            let pause = deadline.min(now + GATE_INTERVAL);
            let bounds = partition.tail.wait_past(self.next, pause);
            self.check_next(bounds)?;
            if bounds.end > self.next || pause == deadline {
                return Ok(bounds);
            }
        }
    }
}

impl PartitionReader for EmbeddedReader {
    fn read(
        &mut self,
        max: usize,
        wait: Duration,
        sink: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, LogError> {
        let gate = Arc::clone(&self.gate);
        let _reading = gate.enter()?;
        let store = Arc::clone(&self.store);
        let partition = store.partition(self.partition)?;
        let bounds = self.wait(partition, Instant::now() + wait)?;
        let range = offset_key(self.next)..offset_key(bounds.end);
        let mut count = 0;
        for entry in partition.records.range(range).take(max) {
            let (key, value) = entry.into_inner().map_err(internal)?;
            let offset = offset_of(&key)?;
            if offset != self.next {
                // Removed while it was read, or gone from the disk.
                self.check_next(partition.tail.bounds())?;
                let (from, partition) = (self.next, self.partition);
                return Err(LogError::Internal(format!(
                    "the embedded log misses the offsets {from}..{offset} of partition {partition}"
                )));
            }
            sink(decode(offset, &value)?);
            self.next += 1;
            count += 1;
        }
        if count == 0 && max > 0 && bounds.end > self.next {
            self.check_next(partition.tail.bounds())?;
            let (from, end, partition) = (self.next, bounds.end, self.partition);
            return Err(LogError::Internal(format!(
                "the embedded log misses the offsets {from}..{end} of partition {partition}"
            )));
        }
        Ok(count)
    }

    fn known_end(&self) -> Option<u64> {
        self.store.partition(self.partition).ok().map(|partition| partition.tail.bounds().end)
    }
}
