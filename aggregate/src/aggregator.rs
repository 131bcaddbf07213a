//! The aggregate role: takes the partitions that the log assigns, one worker each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;
use tally_log::{Assignee, Bounds, EventLog, LogError, LogProducer, PartitionReader};
use tally_schemas::{AggregateConfig, LogPlace};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::announcer::{Announcer, announcement};
use crate::core::{Partition, PartitionConfig};
use crate::error::{AggregateError, ErrorKind};
use crate::owner::{Ownership, Surroundings, take};
use crate::quota_answers::QuotaDesks;
use crate::quota_desk::QuotaDesk;
use crate::references::References;
use crate::reporting_edge::reporting;
use crate::stream_status::StreamStatus;
use crate::ticker::Ticker;
use crate::turns::Turns;
use crate::worker::{Ended, Signals, Worker, WorkerParts};

/// A partition whose worker runs.
struct Holding {
    signals: Signals,
    /// Disconnected when the worker has ended.
    ended: Receiver<()>,
}

/// The aggregate role of one process.
pub struct Aggregator {
    surroundings: Surroundings,
    settings: AggregateConfig,
    references: Arc<dyn References>,
    log: Arc<dyn EventLog>,
    runtime: Handle,
    status: StreamStatus,
    stop: CancellationToken,
    claimed: Mutex<BTreeMap<u32, (Ownership, Partition)>>,
    holdings: Mutex<BTreeMap<u32, Holding>>,
    fatal: Mutex<Option<AggregateError>>,
    desks: QuotaDesks,
    turns: Turns,
    /// Appends ticks and announcements to the log.
    producer: Arc<dyn LogProducer>,
    extent: Extent,
    /// Ends of the partitions for a bounded run.
    until: Mutex<BTreeMap<u32, u64>>,
    /// Whether the group has told this process what it has.
    told: AtomicBool,
}

impl std::fmt::Debug for Aggregator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aggregator").field("topic", &self.log.topic()).finish_non_exhaustive()
    }
}

/// How long a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Until it is stopped.
    Endless,
    /// Until everything that was in the log at the start is committed.
    UntilEnd,
}

/// What an aggregator has to do before it processes what is its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// The group has not told it what it has.
    #[error("the group has given it nothing yet")]
    Joining,
    /// It reads the state of partitions.
    #[error("partitions {0:?} are being recovered")]
    Recovering(Vec<u32>),
}

impl Aggregator {
    /// An aggregator that has not begun. `stop` ends it, gracefully.
    ///
    /// # Errors
    /// `Retry` where a bounded run cannot learn the ends of the log, or the log has no producer.
    pub fn new(
        log: Arc<dyn EventLog>,
        surroundings: Surroundings,
        settings: AggregateConfig,
        references: Arc<dyn References>,
        runtime: Handle,
        stop: CancellationToken,
        extent: Extent,
    ) -> Result<Arc<Self>, LogError> {
        let mut until = BTreeMap::new();
        if extent == Extent::UntilEnd {
            for partition in 0..log.partition_count() {
                until.insert(partition, log.bounds(partition)?.end);
            }
        }
        Ok(Arc::new(Self {
            producer: log.producer()?,
            extent,
            surroundings,
            settings,
            references,
            log,
            runtime,
            status: StreamStatus::default(),
            stop,
            claimed: Mutex::default(),
            holdings: Mutex::default(),
            fatal: Mutex::default(),
            desks: QuotaDesks::default(),
            turns: match extent {
                Extent::Endless => Turns::of_cores(),
                Extent::UntilEnd => Turns::unlimited(),
            },
            until: Mutex::new(until),
            told: AtomicBool::new(false),
        }))
    }

    /// Up to which offset of each partition a bounded run goes; empty where the run is not bounded.
    pub fn until(&self) -> BTreeMap<u32, u64> {
        self.until.lock().clone()
    }

    /// What the stream is doing.
    pub fn status(&self) -> &StreamStatus {
        &self.status
    }

    /// Why this process does not process what the group gave it. A member to whom the group gave
    /// nothing, as there are more members than partitions, is ready: it is there to take over.
    pub fn unready(&self) -> Option<Unready> {
        let recovering = self.desks.in_recovery();
        match recovering.as_slice() {
            [] if self.told.load(Ordering::Acquire) => None,
            [] => Some(Unready::Joining),
            _ => Some(Unready::Recovering(recovering)),
        }
    }

    /// Where this process is asked for quotas.
    pub(crate) fn desks(&self) -> &QuotaDesks {
        &self.desks
    }

    /// The store and the world.
    pub(crate) fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Partitions of the topic of usage events.
    pub fn partition_count(&self) -> u32 {
        self.log.partition_count()
    }

    /// The log of usage events.
    pub(crate) fn log(&self) -> &dyn EventLog {
        self.log.as_ref()
    }

    /// Consumes until stopped, or for a bounded run until its end. Blocks.
    ///
    /// # Errors
    /// Where an invariant is broken or data is lost: the process must not go on (I12).
    pub fn run(self: &Arc<Self>) -> Result<(), AggregateError> {
        let assignee = Arc::new(Assigned(Arc::clone(self)));
        let consumed = self.log.consume(assignee, self.stop.clone());
        if let Some(fatal) = self.fatal.lock().take() {
            return Err(fatal);
        }
        consumed.map_err(AggregateError::from)
    }

    fn partition_config(&self, partition: u32) -> PartitionConfig {
        PartitionConfig {
            topic: self.log.topic().to_owned(),
            partition,
            partition_count: self.log.partition_count(),
            log: self.log.continued().map(|continued| LogPlace {
                topic: continued.topic.clone(),
                first_offset: continued.first_offset,
            }),
            aggregate: self.settings.clone(),
        }
    }

    /// Stops everything because going on would be wrong.
    fn fail(&self, partition: u32, error: AggregateError) {
        tracing::error!(partition, %error, "stopping");
        self.status.update(partition, |status| status.stopped = Some(error.to_string()));
        *self.fatal.lock() = Some(error);
        self.stop.cancel();
    }

    fn worker_ended(self: &Arc<Self>, partition: u32, ended: Ended) {
        self.status.ended(partition);
        match ended {
            Ended::Drained | Ended::Abandoned | Ended::Gone => self.status.remove(partition),
            Ended::Failed(error) if error.kind() == ErrorKind::Fenced => {
                let fenced = &self.status.counters().fenced;
                fenced.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(partition, %error, "dropping the partition");
                self.status.update(partition, |status| status.stopped = Some(error.to_string()));
                // If the group still says that it is ours, somebody outside of the group had it:
                // after a pause it is claimed anew.
                let (log, edge) = (Arc::clone(&self.log), Arc::clone(&self.surroundings.edge));
                self.runtime.spawn(async move {
                    edge.pause(5, &error).await;
                    log.reassign(partition);
                });
            }
            Ended::Failed(error) if error.kind() == ErrorKind::Retry => {
                tracing::warn!(partition, %error, "taking the partition anew");
                self.log.reassign(partition);
            }
            Ended::Failed(error) => self.fail(partition, error),
        }
    }

    /// Ends a bounded run when every partition has committed what there was.
    fn check_extent(&self) {
        let partitions = self.status.partitions();
        let done = |(partition, until): (&u32, &u64)| {
            *until == 0
                || partitions.get(partition).is_some_and(|status| status.committed_offset >= *until)
        };
        let until = self.until.lock();
        if !until.is_empty() && until.iter().all(done) {
            self.stop.cancel();
        }
    }

    /// A bounded run announces newer reference data when it takes a partition, and ends behind
    /// that: the next run rates by it. What was in the log before is rated as it was to be.
    fn announce_at_once(&self, partition: u32, state: &Partition) -> Result<(), AggregateError> {
        if self.extent == Extent::Endless {
            return Ok(());
        }
        let current = &state.reference().version;
        let Some(newer) = self.references.newer_than(current) else { return Ok(()) };
        tracing::info!(partition, version = %newer, "reference data is announced");
        let appended = self.producer.append(announcement(partition, &newer));
        let offset = self.runtime.block_on(appended)?;
        if let Some(until) = self.until.lock().get_mut(&partition) {
            *until = offset.saturating_add(1).max(*until);
        }
        Ok(())
    }
}

/// The aggregator as the log sees it; it hands clones of itself to workers.
struct Assigned(Arc<Aggregator>);

impl Assignee for Assigned {
    fn assign(&self, partition: u32, bounds: Bounds) -> Result<u64, LogError> {
        let inner = &self.0;
        inner.desks.recovering(partition);
        let config = inner.partition_config(partition);
        let mut bounds = bounds;
        let surroundings = reporting(&inner.surroundings, &inner.status, partition);
        let taken = loop {
            let taken = inner.runtime.block_on(take(
                &surroundings,
                &config,
                inner.references.as_ref(),
                bounds,
            ));
            let Err(AggregateError::Truncated { committed, .. }) = taken else { break taken };
            // The bounds may be older than what a predecessor read and committed meanwhile; those
            // that are asked for now are not older than the commit that was just seen.
            bounds = inner.log.bounds(partition)?;
            if bounds.end < committed {
                break taken;
            }
        };
        let taken = taken.and_then(|(ownership, state)| {
            inner.announce_at_once(partition, &state)?;
            Ok((ownership, state))
        });
        match taken {
            Ok((ownership, state)) => {
                let next = state.next_offset();
                inner.claimed.lock().insert(partition, (ownership, state));
                Ok(next)
            }
            Err(error) => {
                inner.status.update(partition, |status| status.stopped = Some(error.to_string()));
                match error.kind() {
                    ErrorKind::Retry | ErrorKind::Fenced => Err(LogError::Retry(error.to_string())),
                    ErrorKind::Data | ErrorKind::Invalid => {
                        let words = error.to_string();
                        inner.fail(partition, error);
                        Err(LogError::Internal(words))
                    }
                }
            }
        }
    }

    fn start(&self, partition: u32, reader: Box<dyn PartitionReader>) {
        let inner = Arc::clone(&self.0);
        let Some((ownership, state)) = inner.claimed.lock().remove(&partition) else { return };
        let signals = Signals::default();
        let (running, ended) = bounded::<()>(0);
        let holding = Holding { signals: signals.clone(), ended };
        if let Some(before) = inner.holdings.lock().insert(partition, holding) {
            before.signals.abandon.cancel();
        }
        let (log, checker) = (Arc::clone(&inner.log), Arc::clone(&inner));
        let committed_offset = ownership.last().to;
        inner.status.update(partition, |status| {
            status.committed_offset = committed_offset;
            status.waiting = None;
        });
        let desk = Arc::new(QuotaDesk::new(state));
        // A bounded run ends where the log ended: while it goes on, it adds nothing to it.
        let runs_on = inner.extent == Extent::Endless;
        let AggregateConfig { tick_ms, lateness_ms, reference_poll_ms, .. } = inner.settings;
        inner.desks.open(partition, &desk);
        let parts = WorkerParts {
            surroundings: reporting(&inner.surroundings, &inner.status, partition),
            references: Arc::clone(&inner.references),
            settings: inner.settings.clone(),
            partition,
            desk,
            ownership,
            signals,
            status: inner.status.clone(),
            runtime: inner.runtime.clone(),
            turns: inner.turns.clone(),
            until: inner.until.lock().get(&partition).copied(),
            ticker: (runs_on && tick_ms > 0)
                .then(|| Ticker::new(Arc::clone(&inner.producer), tick_ms, lateness_ms)),
            announcer: runs_on.then(|| {
                let producer = Arc::clone(&inner.producer);
                Announcer::new(producer, partition, reference_poll_ms)
            }),
        };
        let committed = move |partition, offset| {
            log.note_committed(partition, offset);
            checker.status.update(partition, |status| status.committed_offset = offset);
            checker.check_extent();
        };
        let worker = Worker::new(parts, Arc::new(committed));
        let spawned = std::thread::Builder::new().name(format!("partition-{partition}")).spawn({
            let inner = Arc::clone(&inner);
            move || {
                let ended = worker.run(reader);
                tracing::debug!(partition, ?ended, "worker ended");
                inner.worker_ended(partition, ended);
                drop(running);
            }
        });
        if let Err(error) = spawned {
            inner.fail(partition, AggregateError::Invalid(format!("no thread: {error}")));
        }
        // A predecessor may have committed everything that a bounded run waits for.
        inner.check_extent();
    }

    fn revoke(&self, partitions: &[u32]) {
        let inner = &self.0;
        let taken: Vec<Holding> = {
            let mut holdings = inner.holdings.lock();
            partitions.iter().filter_map(|partition| holdings.remove(partition)).collect()
        };
        for holding in &taken {
            holding.signals.drain.cancel();
        }
        let mut left = Duration::from_millis(inner.settings.drain_timeout_ms);
        const STEP: Duration = Duration::from_millis(20);
        for holding in &taken {
            // Counted in steps, as the core has no clock; the deadline need not be exact.
            while matches!(
                holding.ended.recv_timeout(STEP),
                Err(crossbeam_channel::RecvTimeoutError::Timeout)
            ) {
                left = left.saturating_sub(STEP);
                if left.is_zero() {
                    holding.signals.abandon.cancel();
                }
            }
        }
        inner.desks.gone(partitions);
        for partition in partitions {
            inner.claimed.lock().remove(partition);
            inner.status.remove(*partition);
        }
    }

    fn told(&self) {
        self.0.told.store(true, Ordering::Release);
    }
}
