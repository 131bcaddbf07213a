//! A log in memory, for simulation and tests. Nothing in it depends on a clock: timestamps are
//! the caller's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio_util::sync::CancellationToken;

use crate::gate::Gate;
use crate::local_group::{LocalGroup, LocalSource};
use crate::{
    Appended, Assignee, Bounds, EventLog, LogError, LogProducer, Outgoing, PartitionReader, Record,
    RecordKind,
};

/// How soon a waiting reader notices that its partition was taken away.
const GATE_INTERVAL: Duration = Duration::from_millis(20);

/// A topic in memory. Clones are the same topic.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    topic: Arc<Topic>,
}

#[derive(Debug)]
struct Topic {
    name: String,
    partitions: Vec<Partition>,
    /// Timestamp of what the producer appends.
    now_ms: AtomicI64,
    away: AtomicBool,
    group: LocalGroup,
    committed: Mutex<Vec<Option<u64>>>,
}

#[derive(Debug, Default)]
struct Partition {
    records: Mutex<Records>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Records {
    start: u64,
    end: u64,
    stored: VecDeque<Stored>,
}

/// A stored record; a clone shares its bytes.
#[derive(Debug, Clone)]
struct Stored {
    offset: u64,
    timestamp_ms: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
    kind: RecordKind,
}

impl MemoryLog {
    /// An empty topic.
    pub fn new(topic: &str, partition_count: u32) -> Self {
        let partitions = (0..partition_count).map(|_| Partition::default()).collect();
        let committed = (0..partition_count).map(|_| None).collect();
        Self {
            topic: Arc::new(Topic {
                name: topic.to_owned(),
                partitions,
                now_ms: AtomicI64::new(0),
                away: AtomicBool::new(false),
                group: LocalGroup::new(),
                committed: Mutex::new(committed),
            }),
        }
    }

    /// Appends a record and returns its offset; a `value` of `None` is a tombstone.
    ///
    /// # Errors
    /// `Invalid` where there is no such partition.
    pub fn append_at(
        &self,
        partition: u32,
        key: Option<Bytes>,
        value: Option<Bytes>,
        kind: RecordKind,
        timestamp_ms: i64,
    ) -> Result<u64, LogError> {
        let partition = self.topic.partition(partition)?;
        let mut records = partition.records.lock();
        let offset = records.end;
        records.stored.push_back(Stored { offset, timestamp_ms, key, value, kind });
        records.end += 1;
        drop(records);
        partition.grown.notify_all();
        Ok(offset)
    }

    /// Leaves a gap of `count` offsets, as compaction and transaction markers do.
    ///
    /// # Errors
    /// `Invalid` where there is no such partition.
    pub fn skip_offsets(&self, partition: u32, count: u64) -> Result<(), LogError> {
        let partition = self.topic.partition(partition)?;
        partition.records.lock().end += count;
        partition.grown.notify_all();
        Ok(())
    }

    /// Removes what is below `offset`, as retention does, and raises the start to it.
    ///
    /// # Errors
    /// `Invalid` where there is no such partition.
    pub fn truncate_before(&self, partition: u32, offset: u64) -> Result<(), LogError> {
        let mut records = self.topic.partition(partition)?.records.lock();
        let offset = offset.min(records.end);
        records.start = records.start.max(offset);
        let kept = records.stored.partition_point(|stored| stored.offset < offset);
        records.stored.drain(..kept);
        Ok(())
    }

    /// Removes what is at or above `end`, as the election of a replica that lags does.
    ///
    /// # Errors
    /// `Invalid` where there is no such partition.
    pub fn truncate_from(&self, partition: u32, end: u64) -> Result<(), LogError> {
        let mut records = self.topic.partition(partition)?.records.lock();
        records.end = records.end.min(end.max(records.start));
        let kept = records.stored.partition_point(|stored| stored.offset < end);
        records.stored.truncate(kept);
        Ok(())
    }

    /// Makes every call fail with `Retry` until it is called with `false`.
    pub fn set_away(&self, away: bool) {
        self.topic.away.store(away, Ordering::Release);
    }

    /// Sets the timestamp of what [`LogProducer::append`] adds, milliseconds UTC.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.topic.now_ms.store(now_ms, Ordering::Release);
    }

    /// The offset last told with [`EventLog::note_committed`].
    pub fn committed(&self, partition: u32) -> Option<u64> {
        let index = usize::try_from(partition).ok()?;
        self.topic.committed.lock().get(index).copied().flatten()
    }
}

impl Topic {
    fn partition(&self, partition: u32) -> Result<&Partition, LogError> {
        usize::try_from(partition)
            .ok()
            .and_then(|index| self.partitions.get(index))
            .ok_or_else(|| LogError::Invalid(format!("there is no partition {partition}")))
    }

    fn check_there(&self) -> Result<(), LogError> {
        if self.away.load(Ordering::Acquire) {
            return Err(LogError::Retry("the log in memory is set away".to_owned()));
        }
        Ok(())
    }
}

impl LocalSource for MemoryLog {
    fn partition_count(&self) -> u32 {
        EventLog::partition_count(self)
    }

    fn bounds(&self, partition: u32) -> Result<Bounds, LogError> {
        EventLog::bounds(self, partition)
    }

    fn reader(&self, partition: u32, offset: u64, gate: Arc<Gate>) -> Box<dyn PartitionReader> {
        let topic = Arc::clone(&self.topic);
        Box::new(MemoryReader { topic, partition, next: offset, gate, taken: Vec::new() })
    }
}

impl EventLog for MemoryLog {
    fn topic(&self) -> &str {
        &self.topic.name
    }

    fn partition_count(&self) -> u32 {
        u32::try_from(self.topic.partitions.len()).unwrap_or(u32::MAX)
    }

    fn bounds(&self, partition: u32) -> Result<Bounds, LogError> {
        self.topic.check_there()?;
        let records = self.topic.partition(partition)?.records.lock();
        Ok(Bounds { start: records.start, end: records.end })
    }

    fn reader_at(&self, partition: u32, offset: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        self.topic.partition(partition)?;
        Ok(self.reader(partition, offset, Arc::new(Gate::new(partition))))
    }

    fn producer(&self) -> Result<Arc<dyn LogProducer>, LogError> {
        Ok(Arc::new(MemoryProducer { log: self.clone() }))
    }

    fn consume(
        &self,
        assignee: Arc<dyn Assignee>,
        stop: CancellationToken,
    ) -> Result<(), LogError> {
        self.topic.group.consume(self, assignee.as_ref(), &stop)
    }

    fn reassign(&self, partition: u32) {
        self.topic.group.reassign(partition);
    }

    fn note_committed(&self, partition: u32, offset: u64) {
        let mut committed = self.topic.committed.lock();
        if let Some(slot) = usize::try_from(partition).ok().and_then(|i| committed.get_mut(i)) {
            *slot = Some(offset);
        }
    }
}

#[derive(Debug)]
struct MemoryProducer {
    log: MemoryLog,
}

impl LogProducer for MemoryProducer {
    fn append(&self, record: Outgoing) -> Appended {
        let Outgoing { partition, key, value, kind } = record;
        let now_ms = self.log.topic.now_ms.load(Ordering::Acquire);
        let appended = self
            .log
            .topic
            .check_there()
            .and_then(|()| self.log.append_at(partition, key, Some(value), kind, now_ms));
        Box::pin(std::future::ready(appended))
    }

    fn flush(&self, _timeout: Duration) -> Result<(), LogError> {
        self.log.topic.check_there()
    }
}

#[derive(Debug)]
struct MemoryReader {
    topic: Arc<Topic>,
    partition: u32,
    next: u64,
    gate: Arc<Gate>,
    /// Of the last read; kept for its capacity.
    taken: Vec<Stored>,
}

impl MemoryReader {
    /// Takes what is to be read, without holding the partition's lock while the sink works.
    fn take(&mut self, max: usize, wait: Duration) -> Result<(), LogError> {
        let deadline = Instant::now() + wait;
        let partition = self.topic.partition(self.partition)?;
        let mut records = partition.records.lock();
        loop {
            self.gate.check()?;
            self.topic.check_there()?;
            if self.next < records.start {
                let (wanted, start) = (self.next, records.start);
                return Err(LogError::OffsetLost { partition: self.partition, wanted, start });
            }
            if self.next > records.end {
                let (wanted, end) = (self.next, records.end);
                return Err(LogError::Truncated { partition: self.partition, wanted, end });
            }
            let from = records.stored.partition_point(|stored| stored.offset < self.next);
            self.taken.extend(records.stored.range(from..).take(max).cloned());
            let now = Instant::now();
            if !self.taken.is_empty() || now >= deadline {
                return Ok(());
            }
            let pause = (deadline - now).min(GATE_INTERVAL);
            partition.grown.wait_for(&mut records, pause);
        }
    }
}

impl PartitionReader for MemoryReader {
    fn read(
        &mut self,
        max: usize,
        wait: Duration,
        sink: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, LogError> {
        let gate = Arc::clone(&self.gate);
        let _reading = gate.enter()?;
        self.taken.clear();
        self.take(max, wait)?;
        for stored in &self.taken {
            sink(Record {
                offset: stored.offset,
                timestamp_ms: stored.timestamp_ms,
                key: stored.key.as_deref(),
                value: stored.value.as_deref(),
                kind: stored.kind,
            });
            self.next = stored.offset + 1;
        }
        Ok(self.taken.len())
    }

    fn known_end(&self) -> Option<u64> {
        self.topic.partition(self.partition).ok().map(|partition| partition.records.lock().end)
    }
}
