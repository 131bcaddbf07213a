//! The topic itself: whether it exists, how many partitions it has, where they begin and end.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::context::{QuietContext, Refusable, Refusals};
use super::settings::{REQUEST_TIMEOUT, Settings};
use super::{log_error, log_error_of_code};
use crate::{Bounds, Cleanup, LogError};

/// How long a new topic may take to appear in the brokers' metadata.
const CREATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two looks for a new topic.
const CREATION_PAUSE: Duration = Duration::from_millis(50);

/// Events of a client that are looked through for the reason of a failure.
const EVENTS_MAX: usize = 1_000;

/// How long who is refused waits for an answer all the same: one broker of several may refuse us, or
/// the refusal may be of before. Less than who looks for trouble waits.
const REFUSED_PATIENCE: Duration = Duration::from_secs(3);

/// How often who waits for an answer looks whether it was refused.
const REFUSAL_INTERVAL: Duration = Duration::from_millis(100);

/// A client that only asks.
pub(super) struct Probe {
    client: Arc<BaseConsumer<QuietContext>>,
}

impl Probe {
    pub(super) fn open(settings: &Settings) -> Result<Self, LogError> {
        let client = settings
            .probe()
            .create_with_context(QuietContext::default())
            .map_err(|error| log_error("Kafka client", &error))?;
        Ok(Self { client: Arc::new(client) })
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
        self.serve_event();
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
        let metadata =
            self.client.fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(|error| {
                self.serve_events();
                self.refusals().failure(&format!("metadata of topic {topic}"), &error)
            })?;
        self.refusals().answered();
        Ok(metadata)
    }

    /// Asks for bounds on a thread of its own: librdkafka waits its whole time for brokers that
    /// refuse us, and who looks for trouble waits for less.
    pub(super) fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        self.serve_event();
        let what = bounds_of(partition);
        let (client, topic) = (Arc::clone(&self.client), topic.to_owned());
        let (done, answered) = bounded(1);
        thread::Builder::new()
            .name(format!("bounds-{partition}"))
            // Who asked may have been told of a refusal meanwhile.
            .spawn(move || drop(done.send(bounds(&client, &topic, partition))))
            .map_err(|error| LogError::Retry(format!("{what}: {error}")))?;
        let began = Instant::now();
        loop {
            match answered.recv_timeout(REFUSAL_INTERVAL) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) => self.serve_events(),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(LogError::Internal(format!("{what} panicked")));
                }
            }
            if began.elapsed() >= REFUSED_PATIENCE
                && let Some(refusal) = self.refusals().last()
            {
                return Err(LogError::Refused(format!("{what}: {refusal}")));
            }
        }
    }

    fn refusals(&self) -> &Refusals {
        self.client.context().refusals()
    }

    /// This client has no loop of its own to print its log lines, and to hear why it was refused.
    fn serve_events(&self) {
        for _ in 0..EVENTS_MAX {
            self.serve_event();
        }
    }

    /// Each poll hands over one line or event of those that wait.
    fn serve_event(&self) {
        drop(self.client.poll(Duration::ZERO));
    }
}

/// Asks the partition's leader for its bounds.
pub(super) fn bounds<C: ConsumerContext + Refusable>(
    client: &BaseConsumer<C>,
    topic: &str,
    partition: u32,
) -> Result<Bounds, LogError> {
    let (low, high) = client
        .fetch_watermarks(topic, partition_id(partition)?, REQUEST_TIMEOUT)
        .map_err(|error| client.context().refusals().failure(&bounds_of(partition), &error))?;
    client.context().refusals().answered();
    match (u64::try_from(low), u64::try_from(high)) {
        (Ok(start), Ok(end)) => Ok(Bounds { start, end }),
        _ => Err(LogError::Retry(format!("{} are not known yet", bounds_of(partition)))),
    }
}

fn bounds_of(partition: u32) -> String {
    format!("bounds of partition {partition}")
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
