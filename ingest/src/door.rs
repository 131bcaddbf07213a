//! The door: takes events in, hands them to the log, and answers when the log has them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tally_log::{EventLog, LogError, LogErrorKind, LogProducer, TraceParent};
use tally_schemas::IngestConfig;
use tokio::sync::Semaphore;

use crate::adapters::{BinaryEnvelope, BodyError, Format};
use crate::answer::Answer;
use crate::batcher::{Acknowledged, Batcher};
use crate::body::{REQUEST_OVERHEAD_BYTES, in_flight_problem};
use crate::budget::{Budget, Reservation};
use crate::error::DoorError;
use crate::intake::{Intake, IntakeRules, SingleRecord, Taken};
use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemKind};
use crate::progress::Progress;

/// Bodies above this are read on a thread of their own, so that they do not hold up the single
/// events of others: about a millisecond of parsing.
const INLINE_PARSE_MAX_BYTES: usize = 256 << 10;
/// How many times the acknowledgement time-out a record may wait before the door calls itself
/// stalled: the log's client has given up long before, so something in this process is stuck.
const STALL_FACTOR: u32 = 3;
/// For how long a failed append makes the door unready, where none has succeeded since.
const UNREADY_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// The HTTP front door. Clones share one door.
#[derive(Debug, Clone)]
pub struct Door(Arc<DoorState>);

struct DoorState {
    config: IngestConfig,
    future_max_ms: u64,
    partition_count: u32,
    batch_max_bytes: usize,
    producer: Arc<dyn LogProducer>,
    batcher: Arc<Batcher>,
    budget: Arc<Budget>,
    progress: Arc<Progress>,
    /// As many large bodies are read at once as there are cores: what reading takes beside the
    /// body is not known before, and more at once would not be faster.
    parse_slots: Semaphore,
    metrics: Metrics,
    registry: Arc<Mutex<Registry>>,
    draining: AtomicBool,
}

impl fmt::Debug for DoorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoorState")
            .field("config", &self.config)
            .field("partition_count", &self.partition_count)
            .field("in_flight_bytes", &self.budget.used())
            .field("draining", &self.draining)
            .finish_non_exhaustive()
    }
}

/// How the door does, for `/healthz` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DoorStatus {
    /// How long the oldest record has been waiting for the log.
    pub(crate) oldest_wait: Option<Duration>,
    /// Whether that is longer than the log's client ever takes.
    pub(crate) stalled: bool,
    /// The log's last answer, where it was a failure just now.
    pub(crate) failure: Option<LogError>,
    /// Whether the door is closing.
    pub(crate) draining: bool,
    /// Bytes in flight.
    pub(crate) in_flight_bytes: u64,
    /// Whether a body of the largest size would still be taken.
    pub(crate) has_room: bool,
}

impl Door {
    /// A door to `log`, with its metrics in `registry`. Events that complete more than
    /// `future_max_ms` from now are answered with a warning, as the stream holds them back
    /// (`aggregate.future_max_ms`).
    ///
    /// # Errors
    /// `Invalid` for settings that cannot work; `Retry` while the log gives no producer.
    pub fn new(
        config: IngestConfig,
        future_max_ms: u64,
        log: &Arc<dyn EventLog>,
        registry: Arc<Mutex<Registry>>,
    ) -> Result<Self, DoorError> {
        let batch_max_bytes = check_settings(&config)?;
        let partition_count = log.partition_count();
        let producer = log.producer()?;
        let budget = Budget::new(config.in_flight_max_bytes);
        let metrics = Metrics::register(&registry, &budget)?;
        let progress = Arc::new(Progress::default());
        let batcher = Arc::new(Batcher::new(
            partition_count,
            Arc::clone(&producer),
            Duration::from_millis(config.linger_ms),
            batch_max_bytes,
            metrics.clone(),
            Arc::clone(&progress),
        ));
        Ok(Self(Arc::new(DoorState {
            config,
            future_max_ms,
            partition_count,
            batch_max_bytes,
            producer,
            batcher,
            budget,
            progress,
            parse_slots: Semaphore::new(
                std::thread::available_parallelism().map_or(1, usize::from),
            ),
            metrics,
            registry,
            draining: AtomicBool::new(false),
        })))
    }

    /// Closes the door: new requests get 503, those in flight are finished with, and what the
    /// log's client holds is flushed.
    ///
    /// # Errors
    /// `Retry` where something is still unacknowledged after `timeout`; its senders have not been
    /// told that it was accepted, so nothing is lost.
    pub async fn drain(&self, timeout: Duration) -> Result<(), DoorError> {
        let state = &self.0;
        let started = Instant::now();
        state.draining.store(true, Ordering::SeqCst);
        if tokio::time::timeout(timeout, state.budget.empty()).await.is_err() {
            return Err(DoorError::Undrained { bytes: state.budget.used(), waited: timeout });
        }
        let producer = Arc::clone(&state.producer);
        let left = timeout.saturating_sub(started.elapsed());
        let flushed = tokio::task::spawn_blocking(move || producer.flush(left)).await;
        flushed.unwrap_or_else(|error| Err(LogError::Internal(error.to_string())))?;
        Ok(())
    }

    /// Bytes that were received and are not yet acknowledged.
    pub fn in_flight_bytes(&self) -> u64 {
        self.0.budget.used()
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// 503 while the door is closing, 429 without budget.
    pub(crate) fn admit(&self) -> Result<Reservation, Problem> {
        // First the bytes, then the look: so a drain that saw nothing in flight has been seen.
        let reservation = self.0.budget.reserve(REQUEST_OVERHEAD_BYTES);
        if self.0.draining.load(Ordering::SeqCst) {
            return Err(Problem::new(ProblemKind::Draining, "send it to another door, or later"));
        }
        reservation.ok_or_else(in_flight_problem)
    }

    /// Largest body in bytes.
    pub(crate) fn body_max_bytes(&self) -> u64 {
        self.0.config.body_max_bytes
    }

    /// Partition of an account.
    pub(crate) fn partition_of(&self, account: &str) -> u32 {
        tally_schemas::partition_of(account, self.0.partition_count)
    }

    /// Metrics of the door.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Every metric of the registry in the OpenMetrics text format.
    ///
    /// # Errors
    /// `Internal` where the registry is poisoned.
    pub fn metrics_text(&self) -> Result<String, DoorError> {
        let registry = self.0.registry.lock().map_err(|_| DoorError::Registry)?;
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .map_err(|_| DoorError::Registry)?;
        Ok(text)
    }

    /// How the door does.
    pub(crate) fn status(&self) -> DoorStatus {
        let state = &self.0;
        let oldest_wait = state.progress.oldest();
        let stall_after = self.ack_timeout() * STALL_FACTOR;
        let used = state.budget.used();
        DoorStatus {
            oldest_wait,
            stalled: oldest_wait.is_some_and(|wait| wait > stall_after),
            failure: state.progress.failed_within(UNREADY_AFTER_FAILURE),
            draining: state.draining.load(Ordering::SeqCst),
            in_flight_bytes: used,
            has_room: used.saturating_add(state.config.body_max_bytes) <= state.budget.limit(),
        }
    }

    /// Reads a body and appends its events; resolves when the log has acknowledged all of them.
    ///
    /// # Errors
    /// 400, 413, 503: see [`ProblemKind`]. After a 503 a part may have been stored; a resend with
    /// the same ids is recognized downstream.
    pub(crate) async fn take_events(
        &self,
        format: Format,
        envelope: Option<BinaryEnvelope>,
        body: Bytes,
        parent: Option<&TraceParent>,
        mut reservation: Reservation,
    ) -> Result<Answer, Problem> {
        let body_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let taken = self.read(format, envelope, body).await?;
        let held_bytes = body_bytes + REQUEST_OVERHEAD_BYTES + taken.answer.size_bytes();
        if !reservation.grow_to(held_bytes) {
            return Err(in_flight_problem());
        }
        self.0.metrics.read(format.name(), &taken);
        let Taken { answer, slices, singles, heard, .. } = taken;
        let reservation = Arc::new(reservation);
        let mut pending = Vec::with_capacity(slices.len() + singles.len());
        for (partition, slice) in slices {
            pending.push(self.0.batcher.submit(partition, slice, parent, &reservation));
        }
        for record in singles {
            pending.push(self.0.batcher.submit_single(record, &reservation));
        }
        self.acknowledged(pending).await?;
        self.0.metrics.accepted(answer.accepted, &heard);
        Ok(answer)
    }

    /// Appends one record; resolves when the log has acknowledged it.
    ///
    /// # Errors
    /// 503 as in [`Door::take_events`].
    pub(crate) async fn append_single(
        &self,
        record: SingleRecord,
        reservation: Reservation,
    ) -> Result<(), Problem> {
        self.append_singles(vec![record], reservation).await
    }

    /// Appends records that no batch carries, at once.
    ///
    /// # Errors
    /// As of [`Door::append_single`]; some may be in the log then.
    pub(crate) async fn append_singles(
        &self,
        records: Vec<SingleRecord>,
        reservation: Reservation,
    ) -> Result<(), Problem> {
        let reservation = Arc::new(reservation);
        let submit = |record| self.0.batcher.submit_single(record, &reservation);
        self.acknowledged(records.into_iter().map(submit).collect()).await
    }

    async fn read(
        &self,
        format: Format,
        envelope: Option<BinaryEnvelope>,
        body: Bytes,
    ) -> Result<Taken, Problem> {
        let future_max_ms = i64::try_from(self.0.future_max_ms).unwrap_or(i64::MAX);
        let rules = IntakeRules {
            partition_count: self.0.partition_count,
            batch_max_bytes: self.0.batch_max_bytes,
            future_after_ms: Timestamp::now().as_millisecond().saturating_add(future_max_ms),
        };
        let small = body.len() <= INLINE_PARSE_MAX_BYTES;
        let read = move || {
            let mut intake = Intake::new(rules);
            format.read(&body, envelope.as_ref(), &mut intake)?;
            Ok(intake.finish())
        };
        let result: Result<Taken, BodyError> = if small {
            read()
        } else {
            let internal = |error: String| Problem::new(ProblemKind::Internal, error);
            let slot = self.0.parse_slots.acquire().await.map_err(|e| internal(e.to_string()))?;
            let read = tokio::task::spawn_blocking(read).await;
            drop(slot);
            read.map_err(|error| internal(error.to_string()))?
        };
        result.map_err(|error| match error {
            BodyError::Unparseable(detail) => Problem::new(ProblemKind::Unparseable, detail),
            BodyError::TooManyEvents => Problem::new(ProblemKind::TooLarge, error.to_string()),
        })
    }

    async fn acknowledged(&self, pending: Vec<Acknowledged>) -> Result<(), Problem> {
        let all = async {
            for acknowledged in pending {
                match acknowledged.await {
                    Ok(answer) => answer?,
                    Err(_) => return Err(LogError::Retry("the door is stopping".to_owned())),
                }
            }
            Ok(())
        };
        let timeout = self.ack_timeout();
        match tokio::time::timeout(timeout, all).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(log_problem(&error)),
            Err(_) => Err(log_problem(&LogError::Retry(format!(
                "no acknowledgement within {} ms",
                timeout.as_millis()
            )))),
        }
    }

    fn ack_timeout(&self) -> Duration {
        Duration::from_millis(self.0.config.ack_timeout_ms)
    }
}

fn log_problem(error: &LogError) -> Problem {
    let kind = match error.kind() {
        LogErrorKind::Retry | LogErrorKind::Refused | LogErrorKind::Gone => {
            ProblemKind::LogUnavailable
        }
        LogErrorKind::Data | LogErrorKind::Invalid | LogErrorKind::Internal => {
            ProblemKind::LogRefused
        }
    };
    Problem::new(
        kind,
        format!(
            "{error}; a part of the request may have been stored: send all of it again with the \
             same ids, duplicates are recognized"
        ),
    )
}

/// Checks the settings against each other; gives the largest batch.
fn check_settings(config: &IngestConfig) -> Result<usize, DoorError> {
    let wrong = |setting, reason: String| Err(DoorError::Setting { setting, reason });
    let largest = config.body_max_bytes.saturating_add(REQUEST_OVERHEAD_BYTES);
    if config.in_flight_max_bytes < largest {
        return wrong(
            "ingest.in_flight_max_bytes",
            format!("must be at least {largest}, or no body of the largest size is ever taken"),
        );
    }
    if config.ack_timeout_ms == 0 {
        return wrong("ingest.ack_timeout_ms", "must be at least 1".to_owned());
    }
    match usize::try_from(config.batch_max_bytes) {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        _ => wrong("ingest.batch_max_bytes", "must be at least 1".to_owned()),
    }
}
