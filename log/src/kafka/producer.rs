//! Appends to the topic, acknowledged by all in-sync replicas.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::context::{trace_error, trace_line};
use super::header::BATCH;
use super::settings::Settings;
use super::{admin, log_error};
use crate::{
    Appended, LogError, LogProducer, Outgoing, RecordKind, TRACE_HEADER, TYPE_HEADER, TraceParent,
};

type Acknowledgement = oneshot::Sender<Result<u64, LogError>>;

/// An idempotent producer. One that has failed for good, as idempotent ones may, is replaced by
/// a new one at the next append; what was in flight is then repeated by who waits for it, and
/// the repetition found downstream.
pub(super) struct KafkaProducer {
    settings: Settings,
    partition_count: u32,
    client: RwLock<Arc<Client>>,
}

type Client = ThreadedProducer<AckContext>;

#[derive(Debug, Default)]
struct AckContext {
    broken: AtomicBool,
}

impl AckContext {
    /// What an error means to who appends. One for good is this client's alone: the next append has
    /// another.
    fn not_appended(&self, partition: impl Display, error: &KafkaError) -> LogError {
        let what = format!("append to partition {partition}");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.broken.store(true, Ordering::Release);
            return LogError::Retry(format!("{what}: {error}"));
        }
        log_error(&what, error)
    }
}

impl KafkaProducer {
    pub(super) fn new(settings: Settings, partition_count: u32) -> Result<Self, LogError> {
        let client = RwLock::new(Arc::new(connect(&settings)?));
        Ok(Self { settings, partition_count, client })
    }

    fn enqueue(
        &self,
        record: &Outgoing,
        parent: Option<&TraceParent>,
    ) -> Result<oneshot::Receiver<Result<u64, LogError>>, LogError> {
        if record.partition >= self.partition_count {
            return Err(LogError::Invalid(format!("there is no partition {}", record.partition)));
        }
        let (done, outcome) = oneshot::channel();
        let mut outgoing: BaseRecord<'_, [u8], [u8], Box<Acknowledgement>> =
            BaseRecord::with_opaque_to(self.settings.topic(), Box::new(done))
                .partition(admin::partition_id(record.partition)?)
                .payload(record.value.as_ref());
        if let Some(key) = &record.key {
            outgoing = outgoing.key(key.as_ref());
        }
        if record.kind == RecordKind::Batch {
            let header = Header { key: TYPE_HEADER, value: Some(BATCH) };
            let mut headers = OwnedHeaders::new_with_capacity(2).insert(header);
            if let Some(parent) = parent {
                let value = Some(parent.as_bytes());
                headers = headers.insert(Header { key: TRACE_HEADER, value });
            }
            outgoing = outgoing.headers(headers);
        }
        let client = self.working_client()?;
        client.send(outgoing).map_err(|(error, _)| {
            client.client().context().not_appended(record.partition, &error)
        })?;
        Ok(outcome)
    }

    fn working_client(&self) -> Result<Arc<Client>, LogError> {
        let client = Arc::clone(&self.client.read());
        if !client.client().context().broken.load(Ordering::Acquire) {
            return Ok(client);
        }
        let mut current = self.client.write();
        if current.client().context().broken.load(Ordering::Acquire) {
            tracing::warn!("the Kafka producer failed for good and is replaced");
            *current = Arc::new(connect(&self.settings)?);
        }
        Ok(Arc::clone(&current))
    }
}

fn connect(settings: &Settings) -> Result<Client, LogError> {
    settings
        .producer()
        .create_with_context(AckContext::default())
        .map_err(|error| log_error("Kafka producer", &error))
}

impl LogProducer for KafkaProducer {
    fn append(&self, record: Outgoing) -> Appended {
        self.append_traced(record, None)
    }

    fn append_traced(&self, record: Outgoing, parent: Option<&TraceParent>) -> Appended {
        match self.enqueue(&record, parent) {
            Ok(outcome) => Box::pin(async move {
                outcome.await.unwrap_or_else(|_| {
                    Err(LogError::Retry("the producer was closed before Kafka answered".to_owned()))
                })
            }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn flush(&self, timeout: Duration) -> Result<(), LogError> {
        let client = Arc::clone(&self.client.read());
        client.flush(timeout).map_err(|error| log_error("flush", &error))
    }
}

impl ClientContext for AckContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        trace_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.broken.store(true, Ordering::Release);
        }
        trace_error(&error, reason);
    }
}

impl ProducerContext for AckContext {
    type DeliveryOpaque = Box<Acknowledgement>;

    fn delivery(&self, result: &DeliveryResult<'_>, done: Box<Acknowledgement>) {
        let outcome = match result {
            Ok(message) => u64::try_from(message.offset())
                .map_err(|_| LogError::Internal("Kafka acknowledged without an offset".to_owned())),
            Err((error, message)) => Err(self.not_appended(message.partition(), error)),
        };
        // Who appended may have stopped waiting.
        drop(done.send(outcome));
    }
}
