//! Apache Kafka through librdkafka.
//!
//! - [`settings`] turns a [`KafkaLogConfig`] into librdkafka's settings, and says why each.
//! - [`admin`] creates the topic, and asks for partition counts and bounds.
//! - [`group`] takes and gives up partitions; [`consumer`] is the loop around it and
//!   [`reader`] the queue of one partition.
//! - [`direct`] reads a partition outside of the group.
//! - [`producer`] appends.

mod admin;
mod consumer;
mod context;
mod direct;
mod group;
mod header;
mod look;
mod producer;
mod reader;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio_util::sync::CancellationToken;

use self::admin::Probe;
use self::consumer::{Consumption, Live};
pub use self::look::{TopicFacts, TopicLook, look};

use self::direct::DirectReader;
use self::producer::KafkaProducer;
use self::settings::Settings;
use crate::{Assignee, Bounds, Cleanup, EventLog, LogError, LogProducer, PartitionReader};

/// Settings of a [`KafkaLog`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaLogConfig {
    /// Bootstrap servers, `HOST:PORT[,HOST:PORT…]`.
    pub bootstrap: String,
    /// Name of the topic.
    pub topic: String,
    /// Consumer group.
    pub group: String,
    /// Partitions of a topic that has to be created; an existing one keeps its own.
    pub partitions_if_created: u32,
    /// Replication factor of a topic that has to be created.
    pub replication: u32,
    /// What becomes of old records of a topic that has to be created.
    pub cleanup: Cleanup,
    /// How long an append may take before it fails and nobody knows whether the record is there,
    /// milliseconds; 0 for ever.
    pub delivery_timeout_ms: u64,
    /// How long the work of a revoked partition may take to end, milliseconds. A group that gives
    /// the partition away before would have two members work on it, so this must be below
    /// `session.timeout.ms`.
    pub drain_timeout_ms: u64,
    /// librdkafka settings that win over those of this crate, such as `security.protocol` or
    /// `session.timeout.ms`. A few that correctness rests on are refused.
    pub options: BTreeMap<String, String>,
}

impl KafkaLogConfig {
    /// A topic of 16 partitions, replication 1, without further options.
    pub fn new(bootstrap: &str, topic: &str, group: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            partitions_if_created: 16,
            replication: 1,
            cleanup: Cleanup::Age,
            // Whoever waits at the door gets an answer by then.
            delivery_timeout_ms: 10_000,
            drain_timeout_ms: 0,
            options: BTreeMap::new(),
        }
    }
}

/// A topic in Apache Kafka.
pub struct KafkaLog {
    settings: Settings,
    probe: Probe,
    partition_count: u32,
    commands: Sender<u32>,
    inbox: Receiver<u32>,
    live: Mutex<Live>,
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog")
            .field("topic", &self.settings.topic())
            .field("partition_count", &self.partition_count)
            .finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Opens the topic, and creates it where it is missing. Blocks: a broker's round trip, or a
    /// few seconds for a new topic.
    ///
    /// # Errors
    /// `Retry` while Kafka does not answer, `Refused` where it does not let us in, `Invalid` where a
    /// setting is wrong or what is asked is not allowed.
    pub fn open(config: KafkaLogConfig) -> Result<Self, LogError> {
        let settings = Settings::new(config)?;
        let probe = Probe::open(&settings)?;
        let partition_count = probe.find_or_create(&settings)?;
        let (commands, inbox) = unbounded();
        Ok(Self {
            settings,
            probe,
            partition_count,
            commands,
            inbox,
            live: Mutex::new(Live::default()),
        })
    }

    /// Brokers are not asked: they cannot tell a partition that does not exist from one without a
    /// leader.
    fn check(&self, partition: u32) -> Result<(), LogError> {
        if partition < self.partition_count {
            return Ok(());
        }
        Err(LogError::Invalid(format!("there is no partition {partition}")))
    }
}

impl EventLog for KafkaLog {
    fn topic(&self) -> &str {
        self.settings.topic()
    }

    fn partition_count(&self) -> u32 {
        self.partition_count
    }

    fn bounds(&self, partition: u32) -> Result<Bounds, LogError> {
        self.check(partition)?;
        self.probe.bounds(self.settings.topic(), partition)
    }

    fn reader_at(&self, partition: u32, offset: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        self.check(partition)?;
        Ok(Box::new(DirectReader::open(&self.settings, self.partition_count, partition, offset)?))
    }

    fn producer(&self) -> Result<Arc<dyn LogProducer>, LogError> {
        Ok(Arc::new(KafkaProducer::new(self.settings.clone(), self.partition_count)?))
    }

    fn consume(
        &self,
        assignee: Arc<dyn Assignee>,
        stop: CancellationToken,
    ) -> Result<(), LogError> {
        let consumption =
            Consumption::join(&self.settings, self.partition_count, assignee, &self.live)?;
        consumption.run(&self.inbox, &stop)
    }

    fn reassign(&self, partition: u32) {
        // The other end lives as long as this one.
        if self.commands.send(partition).is_err() {
            tracing::error!(partition, "reassignment not asked for");
        }
    }

    fn note_committed(&self, partition: u32, offset: u64) {
        self.live.lock().note_committed(self.settings.topic(), partition, offset);
    }
}

/// What an error of librdkafka means to a caller.
fn log_error(what: &str, error: &KafkaError) -> LogError {
    let message = format!("{what}: {error}");
    match error {
        // The value may be a secret: a password under a name that is misspelt.
        KafkaError::ClientConfig(_, reason, key, _) => {
            LogError::Invalid(format!("Kafka setting {key}: {reason}"))
        }
        // Threads that the system does not run, as of a process that was stopped while it made one:
        // librdkafka waits a minute for them. It has no code for either, only these words.
        KafkaError::ClientCreation(why)
            if why.starts_with("Timed out waiting")
                || why.starts_with("Failed to create thread") =>
        {
            LogError::Retry(message)
        }
        KafkaError::ClientCreation(_) | KafkaError::Nul(_) => LogError::Invalid(message),
        _ => match error.rdkafka_error_code() {
            Some(code) => log_error_of_code(message, code),
            None => LogError::Retry(message),
        },
    }
}

/// What a broker's or librdkafka's error code means to a caller. What is not known to be
/// permanent is worth another try.
fn log_error_of_code(message: String, code: RDKafkaErrorCode) -> LogError {
    use RDKafkaErrorCode as Code;
    match code {
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidConfig
        | Code::PolicyViolation
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::InvalidArgument => LogError::Invalid(message),
        Code::SaslAuthenticationFailed | Code::Authentication => LogError::Refused(message),
        Code::Fatal
        | Code::BadMessage
        | Code::BadCompression
        | Code::InvalidMessage
        | Code::NotImplemented
        | Code::UnsupportedCompressionType => LogError::Internal(message),
        _ => LogError::Retry(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogErrorKind;

    #[test]
    fn a_client_whose_threads_do_not_run_is_made_again() {
        let kind = |why: &str| {
            log_error("Kafka reader", &KafkaError::ClientCreation(why.to_owned())).kind()
        };
        for why in [
            "Timed out waiting for 1 background thread(s) to initialize",
            "Failed to create thread: Resource temporarily unavailable (11)",
        ] {
            assert_eq!(kind(why), LogErrorKind::Retry, "{why}");
        }
        assert_eq!(kind("No provider for SASL mechanism PLAIN"), LogErrorKind::Invalid);
    }

    #[test]
    fn the_value_of_a_setting_that_is_refused_is_not_told() {
        let mut config = KafkaLogConfig::new("127.0.0.1:9", "topic", "group");
        config.options.insert("sasl.pasword".to_owned(), "hunter2".to_owned());
        let error = KafkaLog::open(config).unwrap_err();
        assert_eq!(error.kind(), LogErrorKind::Invalid);
        let words = error.to_string();
        assert!(words.contains("sasl.pasword") && !words.contains("hunter2"), "{words}");
    }
}
