//! Joins the events of concurrent requests into one `UsageBatch` a partition, within a few
//! milliseconds, and tells each request what the log answered.
//!
//! Where no batch of a partition is on its way, the next one goes at once; what comes meanwhile is
//! gathered until the log has answered, the linger is over or the batch is full. So a lone event
//! does not wait, and many share a record.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tally_log::{Appended, LogError, LogProducer, Outgoing, RecordKind, TraceParent};
use tokio::sync::oneshot;

use crate::budget::Reservation;
use crate::intake::{SingleRecord, Slice};
use crate::metrics::Metrics;
use crate::progress::{Progress, Wait};

/// Resolves when the log has answered for a submission.
pub(crate) type Acknowledged = oneshot::Receiver<Result<(), LogError>>;

/// One lane a partition; each joins what arrives while its last batch is on its way.
pub(crate) struct Batcher {
    lanes: Vec<Mutex<Lane>>,
    producer: Arc<dyn LogProducer>,
    linger: Duration,
    batch_max_bytes: usize,
    metrics: Metrics,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Lane {
    open: Option<Batch>,
    /// Batches that the log has not answered for.
    on_their_way: usize,
}

/// A batch between its append and the log's answer, or the end of the task that waits for it.
struct OnItsWay {
    batcher: Arc<Batcher>,
    partition: u32,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.batcher.close_next(self.partition);
    }
}

/// A batch that is still open.
struct Batch {
    bytes: Vec<u8>,
    events: u64,
    waiters: Vec<Waiter>,
    /// The trace of the first of its requests that is traced: a record has one.
    parent: Option<TraceParent>,
    /// Its number tells this batch from a later one of the same lane, for the timer that was set.
    wait: Wait,
}

/// A request's share of a record.
struct Waiter {
    done: oneshot::Sender<Result<(), LogError>>,
    /// Held until the log has answered, even where the client has given up.
    reservation: Arc<Reservation>,
}

impl fmt::Debug for Batcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher")
            .field("lanes", &self.lanes.len())
            .field("linger", &self.linger)
            .field("batch_max_bytes", &self.batch_max_bytes)
            .finish_non_exhaustive()
    }
}

impl Batcher {
    /// A batcher of `partition_count` lanes.
    pub(crate) fn new(
        partition_count: u32,
        producer: Arc<dyn LogProducer>,
        linger: Duration,
        batch_max_bytes: usize,
        metrics: Metrics,
        progress: Arc<Progress>,
    ) -> Self {
        let lanes = (0..partition_count).map(|_| Mutex::default()).collect();
        Self { lanes, producer, linger, batch_max_bytes, metrics, progress }
    }

    /// Adds events to the open batch of a partition. Must be called within the runtime.
    pub(crate) fn submit(
        self: &Arc<Self>,
        partition: u32,
        slice: Slice,
        parent: Option<&TraceParent>,
        reservation: &Arc<Reservation>,
    ) -> Acknowledged {
        let (waiter, acknowledged) = Waiter::new(reservation);
        let Some(mut lane) = self.lane(partition) else {
            waiter.tell(Err(LogError::Internal(format!("there is no partition {partition}"))));
            return acknowledged;
        };
        let full = |batch: &Batch, more: usize| batch.bytes.len() + more > self.batch_max_bytes;
        if let Some(batch) = lane.open.take_if(|batch| full(batch, slice.bytes.len())) {
            self.append_batch(partition, &mut lane, batch);
        }
        match lane.open.as_mut() {
            Some(batch) => {
                batch.bytes.extend_from_slice(&slice.bytes);
                batch.events += slice.events;
                batch.waiters.push(waiter);
                batch.parent = batch.parent.take().or_else(|| parent.cloned());
            }
            None => {
                let wait = self.progress.wait();
                let number = wait.number();
                lane.open = Some(Batch {
                    bytes: slice.bytes,
                    events: slice.events,
                    waiters: vec![waiter],
                    parent: parent.cloned(),
                    wait,
                });
                if !self.linger.is_zero() && lane.on_their_way > 0 {
                    self.close_later(partition, number);
                }
            }
        }
        let at_once = self.linger.is_zero() || lane.on_their_way == 0;
        if let Some(batch) = lane.open.take_if(|batch| at_once || full(batch, 1)) {
            self.append_batch(partition, &mut lane, batch);
        }
        acknowledged
    }

    /// Appends a JSON record of its own. Must be called within the runtime.
    pub(crate) fn submit_single(
        &self,
        record: SingleRecord,
        reservation: &Arc<Reservation>,
    ) -> Acknowledged {
        let (waiter, acknowledged) = Waiter::new(reservation);
        let record = Outgoing {
            partition: record.partition,
            key: Some(record.key),
            value: record.value,
            kind: RecordKind::Single,
        };
        let (partition, appended) = (record.partition, self.producer.append(record));
        self.answer_later(partition, appended, vec![waiter], self.progress.wait(), None);
        acknowledged
    }

    /// Closes a batch when its linger is over, unless it was full before.
    fn close_later(self: &Arc<Self>, partition: u32, number: u64) {
        let batcher = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(batcher.linger).await;
            let Some(mut lane) = batcher.lane(partition) else { return };
            if let Some(batch) = lane.open.take_if(|batch| batch.wait.number() == number) {
                batcher.append_batch(partition, &mut lane, batch);
            }
        });
    }

    /// The log has answered for a batch: what was gathered meanwhile goes next, at once.
    fn close_next(self: &Arc<Self>, partition: u32) {
        let Some(mut lane) = self.lane(partition) else { return };
        lane.on_their_way -= 1;
        if lane.on_their_way == 0
            && let Some(batch) = lane.open.take()
        {
            self.append_batch(partition, &mut lane, batch);
        }
    }

    fn append_batch(self: &Arc<Self>, partition: u32, lane: &mut Lane, batch: Batch) {
        self.metrics.batch(batch.events, batch.bytes.len());
        let record = Outgoing {
            partition,
            key: None,
            value: Bytes::from(batch.bytes),
            kind: RecordKind::Batch,
        };
        let appended = self.producer.append_traced(record, batch.parent.as_ref());
        lane.on_their_way += 1;
        let way = OnItsWay { batcher: Arc::clone(self), partition };
        self.answer_later(partition, appended, batch.waiters, batch.wait, Some(way));
    }

    /// Tells the waiters what the log answers; `way` ends with it.
    fn answer_later(
        &self,
        partition: u32,
        appended: Appended,
        waiters: Vec<Waiter>,
        wait: Wait,
        way: Option<OnItsWay>,
    ) {
        let started = Instant::now();
        let metrics = self.metrics.clone();
        let progress = Arc::clone(&self.progress);
        tokio::spawn(async move {
            let answer = appended.await;
            drop(way);
            metrics.acknowledged(started.elapsed(), answer.is_ok());
            progress.answered(&answer);
            drop(wait);
            if let Err(error) = &answer {
                tracing::warn!(partition, requests = waiters.len(), %error, "append failed");
            }
            let answer = answer.map(|_| ());
            for waiter in waiters {
                waiter.tell(answer.clone());
            }
        });
    }

    fn lane(&self, partition: u32) -> Option<MutexGuard<'_, Lane>> {
        let lane = self.lanes.get(usize::try_from(partition).ok()?)?;
        // A batch is moved in and out whole, so a panic elsewhere leaves nothing half done.
        Some(lane.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Waiter {
    fn new(reservation: &Arc<Reservation>) -> (Self, Acknowledged) {
        let (done, acknowledged) = oneshot::channel();
        (Self { done, reservation: Arc::clone(reservation) }, acknowledged)
    }

    fn tell(self, answer: Result<(), LogError>) {
        drop(self.reservation);
        // A request that has timed out no longer listens.
        self.done.send(answer).ok();
    }
}
