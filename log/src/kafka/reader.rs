//! Reads the queue of one partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;

use super::context::Refusable;
use super::header::kind_of;
use super::{admin, log_error};
use crate::gate::Gate;
use crate::{Bounds, LogError, LogErrorKind, PartitionReader, Record, TracedRecord};

/// How soon a waiting reader notices that its partition was taken away.
const GATE_INTERVAL: Duration = Duration::from_millis(100);

/// Traced records that are remembered between two questions for them: a few of many are enough.
const TRACED_MAX: usize = 64;

/// The ends of the partitions, as librdkafka last heard of them. 0 is not known.
#[derive(Debug)]
pub(super) struct Ends(Vec<AtomicU64>);

impl Ends {
    pub(super) fn new(partition_count: u32) -> Self {
        Self((0..partition_count).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn set(&self, partition: u32, end: u64) {
        if let Some(slot) = usize::try_from(partition).ok().and_then(|index| self.0.get(index)) {
            slot.store(end, Ordering::Relaxed);
        }
    }

    fn get(&self, partition: u32) -> Option<u64> {
        let end = self.0.get(usize::try_from(partition).ok()?)?.load(Ordering::Relaxed);
        (end > 0).then_some(end)
    }
}

/// Hands out records straight from librdkafka's buffers.
pub(super) struct KafkaReader<C: ConsumerContext + 'static> {
    queue: PartitionQueue<C>,
    consumer: Arc<BaseConsumer<C>>,
    topic: String,
    partition: u32,
    next: u64,
    gate: Arc<Gate>,
    ends: Arc<Ends>,
    /// Set once reading on would skip records; it stays until the partition is assigned anew.
    failed: Option<Failure>,
    /// Whether a broker said that nothing is left behind what was read, which only direct readers
    /// are told.
    at_end: bool,
    /// Records whose requests are traced, until they are asked for.
    traced: Vec<TracedRecord>,
}

/// Why a reader can read no further.
#[derive(Debug, Clone)]
enum Failure {
    Known(LogError),
    /// The wanted offset does not exist, and the broker has not yet said what does.
    Lost,
}

/// Where a reader begins, and what ends it.
pub(super) struct Place {
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) gate: Arc<Gate>,
}

impl<C: ConsumerContext + Refusable + 'static> KafkaReader<C> {
    pub(super) fn new(
        queue: PartitionQueue<C>,
        consumer: Arc<BaseConsumer<C>>,
        topic: &str,
        place: Place,
        ends: Arc<Ends>,
    ) -> Self {
        let Place { partition, offset, gate } = place;
        let topic = topic.to_owned();
        Self {
            queue,
            consumer,
            topic,
            partition,
            next: offset,
            gate,
            ends,
            failed: None,
            at_end: false,
            traced: Vec::new(),
        }
    }

    /// What an error on the partition's queue means. librdkafka goes on behind most of them, so
    /// only what is known to lose nothing leaves the reader usable.
    fn note_error(&mut self, error: &KafkaError) -> Option<LogError> {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation,
            ) => {
                self.failed = Some(Failure::Lost);
                None
            }
            code => {
                let message = format!("partition {}: {error}", self.partition);
                let meaning = log_error("read", error);
                if code.is_some_and(|code| loses_nothing(code, meaning.kind())) {
                    return Some(LogError::Retry(message));
                }
                let failure = match meaning {
                    LogError::Invalid(_) => LogError::Invalid(message),
                    _ if code == Some(RDKafkaErrorCode::NotImplemented) => LogError::Invalid(
                        format!("{message}: compressed by a codec that this build cannot unpack"),
                    ),
                    _ => LogError::Internal(message),
                };
                self.failed = Some(Failure::Known(failure));
                None
            }
        }
    }

    /// The error to tell, if reading has failed.
    fn check_failed(&mut self) -> Result<(), LogError> {
        match self.failed.clone() {
            None => Ok(()),
            Some(Failure::Known(error)) => Err(error),
            Some(Failure::Lost) => {
                let error = self.loss()?;
                self.failed = Some(Failure::Known(error.clone()));
                Err(error)
            }
        }
    }

    /// The exact range that is lost: the broker refused the offset that was to be read next.
    fn loss(&self) -> Result<LogError, LogError> {
        let (partition, wanted) = (self.partition, self.next);
        let Bounds { start, end } = admin::bounds(&self.consumer, &self.topic, partition)?;
        Ok(if wanted < start {
            LogError::OffsetLost { partition, wanted, start }
        } else if wanted > end {
            LogError::Truncated { partition, wanted, end }
        } else {
            // The broker has by now what it refused. Reading it needs a new assignment.
            LogError::Internal(format!(
                "offset {wanted} of partition {partition} was refused, but is within {start}..{end}"
            ))
        })
    }
}

/// Whether librdkafka goes on at the same offset after this error. After others, such as a batch
/// that it cannot check or unpack, it goes on behind what it could not read.
fn loses_nothing(code: RDKafkaErrorCode, meaning: LogErrorKind) -> bool {
    use RDKafkaErrorCode as Code;
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::OperationTimedOut
        | Code::UnknownTopic
        | Code::UnknownPartition => true,
        // What a broker answered instead of records: the protocol's own numbers, which begin with
        // UNKNOWN_SERVER_ERROR. librdkafka asks for the same offset again, after a pause.
        answered if answered as i32 >= Code::Unknown as i32 => meaning == LogErrorKind::Retry,
        _ => false,
    }
}

impl<C: ConsumerContext + Refusable + 'static> PartitionReader for KafkaReader<C> {
    fn read(
        &mut self,
        max: usize,
        wait: Duration,
        sink: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, LogError> {
        let gate = Arc::clone(&self.gate);
        let _reading = gate.enter()?;
        let deadline = Instant::now() + wait;
        let mut pause = wait.min(GATE_INTERVAL);
        let mut count = 0;
        while count < max {
            if self.failed.is_some() {
                // What was read before it counts; the next call tells the failure.
                return if count > 0 { Ok(count) } else { self.check_failed().map(|()| 0) };
            }
            gate.check()?;
            match self.queue.poll(pause) {
                Some(Ok(message)) => {
                    // Records wait in the queue, if at all, behind this one.
                    pause = Duration::ZERO;
                    let Ok(offset) = u64::try_from(message.offset()) else { continue };
                    // A batch that holds the wanted offset comes whole, from its first record.
                    if offset < self.next {
                        continue;
                    }
                    let (kind, parent) = kind_of(&message);
                    if let Some(parent) = parent
                        && self.traced.len() < TRACED_MAX
                    {
                        self.traced.push(TracedRecord { offset, parent });
                    }
                    sink(Record {
                        offset,
                        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
                        key: message.key(),
                        value: message.payload(),
                        kind,
                    });
                    self.next = offset + 1;
                    self.at_end = false;
                    count += 1;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => self.at_end = true,
                Some(Err(error)) => {
                    if let Some(transient) = self.note_error(&error) {
                        return if count > 0 { Ok(count) } else { Err(transient) };
                    }
                }
                None if count > 0 => break,
                None => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    pause = left.min(GATE_INTERVAL);
                }
            }
        }
        Ok(count)
    }

    fn take_traced(&mut self) -> Vec<TracedRecord> {
        std::mem::take(&mut self.traced)
    }

    fn is_at_end(&self) -> bool {
        self.at_end
    }

    fn known_end(&self) -> Option<u64> {
        self.ends.get(self.partition).map(|end| end.max(self.next))
    }
}
