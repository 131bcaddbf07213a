//! The topic itself: whether it exists, how many partitions it has, where they begin and end.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::context::QuietContext;
use super::settings::{REQUEST_TIMEOUT, Settings};
use super::{log_error, log_error_of_code};
use crate::{Bounds, Cleanup, LogError};

/// How long a new topic may take to appear in the brokers' metadata.
const CREATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two looks for a new topic.
const CREATION_PAUSE: Duration = Duration::from_millis(50);

/// Events of a client that are looked through for the reason of a failure.
const EVENTS_MAX: usize = 1_000;

/// A client that only asks.
pub(super) struct Probe {
    client: BaseConsumer<QuietContext>,
}

impl Probe {
    pub(super) fn open(settings: &Settings) -> Result<Self, LogError> {
        let client = settings
            .probe()
            .create_with_context(QuietContext::default())
            .map_err(|error| log_error("Kafka client", &error))?;
        Ok(Self { client })
    }

    /// Partition count of the topic, which is created where it is missing.
    pub(super) fn find_or_create(&self, settings: &Settings) -> Result<u32, LogError> {
        if let Some(count) = self.partition_count(settings.topic())? {
            return Ok(count);
        }
        create(settings)?;
        let deadline = Instant::now() + CREATION_TIMEOUT;
        loop {
            if let Some(count) = self.partition_count(settings.topic())? {
                return Ok(count);
            }
            if Instant::now() >= deadline {
                let topic = settings.topic();
                return Err(LogError::Retry(format!("topic {topic} was created, but is not seen")));
            }
            thread::park_timeout(CREATION_PAUSE);
        }
    }

    /// `None` where there is no such topic.
    fn partition_count(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.serve_events();
        let what = || format!("metadata of topic {topic}");
        let metadata = self.metadata(topic)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Ok(None);
            }
            Some(code) => return Err(log_error_of_code(format!("{}: {code}", what()), code)),
        }
        let count = u32::try_from(found.partitions().len()).unwrap_or(u32::MAX);
        Ok((count > 0).then_some(count))
    }

    /// What brokers say of themselves and of a topic.
    pub(super) fn metadata(&self, topic: &str) -> Result<Metadata, LogError> {
        self.client
            .fetch_metadata(Some(topic), REQUEST_TIMEOUT)
            .map_err(|error| self.failure(&format!("metadata of topic {topic}"), &error))
    }

    pub(super) fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        self.serve_events();
        bounds(&self.client, topic, partition)
    }

    /// What a failed question means: brokers that refuse us do not answer later either.
    fn failure(&self, what: &str, error: &KafkaError) -> LogError {
        // Each poll hands over one line or event of those that wait.
        for _ in 0..EVENTS_MAX {
            self.serve_events();
            if let Some(refusal) = self.client.client().context().take_refusal() {
                return LogError::Invalid(format!("{what}: {refusal}"));
            }
        }
        log_error(what, error)
    }

    /// This client has no loop of its own to print its log lines.
    fn serve_events(&self) {
        drop(self.client.poll(Duration::ZERO));
    }
}

/// Asks the partition's leader for its bounds.
pub(super) fn bounds<C: rdkafka::consumer::ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
    partition: u32,
) -> Result<Bounds, LogError> {
    let (low, high) = client
        .fetch_watermarks(topic, partition_id(partition)?, REQUEST_TIMEOUT)
        .map_err(|error| log_error(&format!("bounds of partition {partition}"), &error))?;
    match (u64::try_from(low), u64::try_from(high)) {
        (Ok(start), Ok(end)) => Ok(Bounds { start, end }),
        _ => Err(LogError::Retry(format!("bounds of partition {partition} are not known yet"))),
    }
}

/// Kafka numbers partitions with signed integers.
pub(super) fn partition_id(partition: u32) -> Result<i32, LogError> {
    i32::try_from(partition)
        .map_err(|_| LogError::Invalid(format!("there is no partition {partition}")))
}

fn create(settings: &Settings) -> Result<(), LogError> {
    let what = format!("creation of topic {}", settings.topic());
    let admin: AdminClient<QuietContext> = settings
        .probe()
        .create_with_context(QuietContext::default())
        .map_err(|error| log_error(&what, &error))?;
    let partitions = partition_id(settings.partitions_if_created())?;
    let replication = partition_id(settings.replication())?;
    let topic = NewTopic::new(settings.topic(), partitions, TopicReplication::Fixed(replication))
        // How old an event is and how long its alert took are measured from its arrival.
        .set("message.timestamp.type", "LogAppendTime")
        .set("max.message.bytes", "8388608")
        .set(
            "cleanup.policy",
            match settings.cleanup() {
                Cleanup::Age => "delete",
                Cleanup::Compact => "compact",
            },
        );
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let created = answer_of(&what, admin.create_topics([&topic], &options))?;
    for outcome in created {
        match outcome {
            // Somebody else was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(log_error_of_code(format!("{what}: {code}"), code)),
        }
    }
    Ok(())
}

/// Waits for an answer on a thread of its own: the caller may be on one of a runtime, where another
/// runtime cannot be entered.
pub(super) fn answer_of<Answer: Send>(
    what: &str,
    asked: impl Future<Output = Result<Answer, KafkaError>> + Send,
) -> Result<Answer, LogError> {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .map_err(|error| LogError::Internal(format!("{what}: {error}")))?;
                runtime.block_on(asked).map_err(|error| log_error(what, &error))
            })
            .join()
            .unwrap_or_else(|_| Err(LogError::Internal(format!("{what} panicked"))))
    })
}
