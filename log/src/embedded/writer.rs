//! The one thread that writes the embedded log, and the producers that feed it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use fjall::PersistMode;
use tokio::sync::oneshot;

use super::format::encode;
use super::{Keep, Store, internal, offset_key, start_key};
use crate::{Appended, Bounds, LogError, LogProducer, Outgoing};

/// Most records of one batch, and so of one sync.
const BATCH_RECORDS: usize = 16_384;

/// Bytes of records after which a batch is written.
const BATCH_BYTES: usize = 8 << 20;

/// Records removed between two batches, so that appends never wait long for retention.
const REMOVE_AT_A_TIME: u64 = 4_096;

/// Bytes that a queued record costs beside its key and value.
const OVERHEAD_BYTES: u64 = 128;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    Append(Pending),
    /// Remove the records below that offset, when there is time.
    Truncate {
        partition: u32,
        before: u64,
    },
    /// Tell when everything before this request is done.
    Flush(Sender<()>),
    Stop,
}

/// A record on its way to the disk.
#[derive(Debug)]
pub(super) struct Pending {
    record: Outgoing,
    bytes: u64,
    done: oneshot::Sender<Result<u64, LogError>>,
}

/// How much waits for the writer.
#[derive(Debug)]
pub(super) struct Queue {
    bytes: AtomicU64,
    max_bytes: u64,
}

impl Queue {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { bytes: AtomicU64::new(0), max_bytes }
    }

    /// Takes room for a record, where there is some. An empty queue takes any one record.
    fn take_room(&self, bytes: u64) -> Result<(), LogError> {
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        if before > 0 && before + bytes > self.max_bytes {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(LogError::Retry(format!(
                "the queue of the embedded log is full ({before} of {} bytes)",
                self.max_bytes
            )));
        }
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

#[derive(Debug)]
pub(super) struct EmbeddedProducer {
    partition_count: u32,
    requests: Sender<Request>,
    queue: Arc<Queue>,
}

impl EmbeddedProducer {
    pub(super) fn new(partition_count: u32, requests: Sender<Request>, queue: Arc<Queue>) -> Self {
        Self { partition_count, requests, queue }
    }

    fn enqueue(
        &self,
        record: Outgoing,
    ) -> Result<oneshot::Receiver<Result<u64, LogError>>, LogError> {
        if record.partition >= self.partition_count {
            return Err(LogError::Invalid(format!("there is no partition {}", record.partition)));
        }
        let key_bytes = record.key.as_ref().map_or(0, |key| key.len());
        let payload = u64::try_from(key_bytes + record.value.len()).unwrap_or(u64::MAX >> 1);
        let bytes = payload + OVERHEAD_BYTES;
        self.queue.take_room(bytes)?;
        let (done, outcome) = oneshot::channel();
        if self.requests.send(Request::Append(Pending { record, bytes, done })).is_err() {
            self.queue.give_back(bytes);
            return Err(closed());
        }
        Ok(outcome)
    }
}

impl LogProducer for EmbeddedProducer {
    fn append(&self, record: Outgoing) -> Appended {
        match self.enqueue(record) {
            Ok(outcome) => Box::pin(async move { outcome.await.unwrap_or_else(|_| Err(closed())) }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn flush(&self, timeout: Duration) -> Result<(), LogError> {
        let (done, outcome) = bounded(1);
        self.requests.send(Request::Flush(done)).map_err(|_| closed())?;
        outcome.recv_timeout(timeout).map_err(|_| {
            LogError::Retry(format!("records unacknowledged after {} ms", timeout.as_millis()))
        })
    }
}

fn closed() -> LogError {
    LogError::Retry("the embedded log is closed".to_owned())
}

/// The state of the writing thread.
pub(super) struct Writer {
    store: Arc<Store>,
    inbox: Receiver<Request>,
    queue: Arc<Queue>,
    /// The next offset of each partition, as its tail says.
    next: Vec<u64>,
    keep: Keep,
    /// Where each partition's start is to be raised to.
    removals: BTreeMap<u32, u64>,
}

impl Writer {
    pub(super) fn new(
        store: Arc<Store>,
        inbox: Receiver<Request>,
        queue: Arc<Queue>,
        keep: Keep,
    ) -> Self {
        let next = store.partitions.iter().map(|partition| partition.tail.bounds().end).collect();
        Self { store, inbox, queue, next, keep, removals: BTreeMap::new() }
    }

    /// Serves requests in their order until it is told to stop; what was queued before is
    /// written first.
    pub(super) fn run(mut self) {
        let mut pending = Vec::new();
        loop {
            let request = if self.removals.is_empty() {
                self.inbox.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                self.inbox.try_recv()
            };
            let mut control = match request {
                Ok(Request::Append(first)) => self.gather(first, &mut pending),
                Ok(other) => Some(other),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Request::Stop),
            };
            self.write(&mut pending);
            match control.take() {
                Some(Request::Stop) => return,
                // A caller that no longer waits needs no answer.
                Some(Request::Flush(done)) => drop(done.try_send(())),
                Some(Request::Truncate { partition, before }) => {
                    let target = self.removals.entry(partition).or_default();
                    *target = before.max(*target);
                }
                Some(Request::Append(_)) | None => {}
            }
            self.remove_some();
        }
    }

    /// Takes what is queued behind a first record, up to a batch, and returns what came after it
    /// that is not a record.
    fn gather(&self, first: Pending, pending: &mut Vec<Pending>) -> Option<Request> {
        let mut bytes = first.record.value.len();
        pending.push(first);
        while pending.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            match self.inbox.try_recv() {
                Ok(Request::Append(next)) => {
                    bytes += next.record.value.len();
                    pending.push(next);
                }
                Ok(other) => return Some(other),
                Err(_) => return None,
            }
        }
        None
    }

    /// Writes a batch, syncs it, and only then shows and acknowledges it.
    fn write(&mut self, pending: &mut Vec<Pending>) {
        if pending.is_empty() {
            return;
        }
        let mut next = self.next.clone();
        let outcome = self.commit(pending, &mut next);
        *self.store.failure.lock() = outcome.as_ref().err().cloned();
        if outcome.is_ok() {
            for ((partition, old), new) in self.store.partitions.iter().zip(&self.next).zip(&next) {
                if old != new {
                    partition.tail.set_end(*new);
                }
            }
            self.next = next;
            self.remove_oldest();
        }
        match outcome {
            Ok(offsets) => {
                for (pending, offset) in pending.drain(..).zip(offsets) {
                    self.queue.give_back(pending.bytes);
                    // The producer may have stopped waiting.
                    drop(pending.done.send(Ok(offset)));
                }
            }
            Err(error) => {
                tracing::error!(%error, records = pending.len(), "append failed");
                for pending in pending.drain(..) {
                    self.queue.give_back(pending.bytes);
                    drop(pending.done.send(Err(error.clone())));
                }
            }
        }
    }

    fn commit(&self, pending: &[Pending], next: &mut [u64]) -> Result<Vec<u64>, LogError> {
        let now_ms = now_ms();
        let mut offsets = Vec::with_capacity(pending.len());
        let mut batch = self.store.database.batch().durability(Some(PersistMode::SyncData));
        for Pending { record, .. } in pending {
            let partition = self.store.partition(record.partition)?;
            let next = usize::try_from(record.partition)
                .ok()
                .and_then(|index| next.get_mut(index))
                .ok_or_else(|| LogError::Internal("a partition without an end".to_owned()))?;
            batch.insert(&partition.records, offset_key(*next), encode(record, now_ms)?);
            offsets.push(*next);
            *next += 1;
        }
        batch.commit().map_err(internal)?;
        Ok(offsets)
    }

    /// Asks for the removal of what is older than the newest that are kept.
    fn remove_oldest(&mut self) {
        let Keep::Newest(records) = self.keep else { return };
        for (number, partition) in (0_u32..).zip(&self.store.partitions) {
            let Bounds { start, end } = partition.tail.bounds();
            if end - start > records.saturating_add(records / 8) {
                let target = self.removals.entry(number).or_default();
                *target = (end - records).max(*target);
            }
        }
    }

    /// Removes a chunk of the oldest records of one partition. The start moves in the same batch,
    /// and readers see it before the records go.
    fn remove_some(&mut self) {
        let Some((&partition, &target)) = self.removals.first_key_value() else { return };
        match self.remove_chunk(partition, target) {
            Ok(start) if start < target => {}
            Ok(_) => {
                self.removals.remove(&partition);
            }
            Err(error) => {
                tracing::warn!(partition, %error, "old records not removed");
                self.removals.remove(&partition);
            }
        }
    }

    /// Returns the new start, or the target where there is nothing left to do.
    fn remove_chunk(&self, number: u32, target: u64) -> Result<u64, LogError> {
        let partition = self.store.partition(number)?;
        let bounds = partition.tail.bounds();
        let goal = target.min(bounds.end);
        if goal <= bounds.start {
            return Ok(target);
        }
        let start = goal.min(bounds.start.saturating_add(REMOVE_AT_A_TIME));
        let mut batch = self.store.database.batch();
        for offset in bounds.start..start {
            batch.remove(&partition.records, offset_key(offset));
        }
        batch.insert(&self.store.meta, start_key(number), start.to_be_bytes());
        partition.tail.set_start(start);
        batch.commit().map_err(internal)?;
        Ok(if start == goal { target } else { start })
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
