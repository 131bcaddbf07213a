//! librdkafka's settings, with the reason for each.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::KafkaLogConfig;
use crate::{Cleanup, LogError};

/// Settings of a consumer that exactly-once rests on, and what they must be.
const FIXED: [(&str, &str, &str); 6] = [
    ("enable.auto.commit", "false", "the ledger is the truth, not the group's offsets"),
    ("enable.auto.offset.store", "false", "the ledger is the truth, not the group's offsets"),
    ("auto.offset.reset", "error", "an offset that is gone is a loss and must be seen"),
    ("partition.assignment.strategy", "cooperative-sticky", "partitions are taken one by one"),
    ("enable.partition.eof", "false", "a reader that waits at the end is the normal case"),
    ("isolation.level", "read_committed", "what a producer took back must not be counted"),
];

/// The same of the producer.
const FIXED_PRODUCER: [(&str, &str, &str); 3] = [
    ("acks", "all", "an acknowledged event must survive the loss of a broker"),
    ("request.required.acks", "all", "an acknowledged event must survive the loss of a broker"),
    ("enable.idempotence", "true", "a repeated request must not append twice"),
];

/// After which a member that is not heard of is given up, milliseconds, where no option says else.
const SESSION_TIMEOUT_MS: u64 = 6_000;

/// Bytes of fetched records that may wait in one process, over all its partitions.
const FETCHED_MAX_KIB: u32 = 256 << 10;

/// Bytes of fetched records that may wait for one partition, at most.
const FETCHED_PARTITION_MAX_KIB: u32 = 32 << 10;

/// Bytes of fetched records that may wait for one partition, at least.
const FETCHED_PARTITION_MIN_KIB: u32 = 4 << 10;

/// How long a question to a broker may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A checked [`KafkaLogConfig`].
#[derive(Debug, Clone)]
pub(super) struct Settings {
    config: KafkaLogConfig,
}

impl Settings {
    pub(super) fn new(config: KafkaLogConfig) -> Result<Self, LogError> {
        for (key, value, reason) in FIXED.into_iter().chain(FIXED_PRODUCER) {
            if let Some(wanted) = config.options.get(key)
                && wanted != value
            {
                return Err(LogError::Invalid(format!(
                    "Kafka setting {key} must be {value:?}, not {wanted:?}: {reason}"
                )));
            }
        }
        if config.bootstrap.is_empty() || config.topic.is_empty() || config.group.is_empty() {
            return Err(LogError::Invalid(
                "Kafka needs bootstrap servers, a topic and a group".to_owned(),
            ));
        }
        // A null byte ends a C string early; rdkafka panics on some of them.
        if config.topic.contains('\0') {
            return Err(LogError::Invalid("a topic name has no null byte".to_owned()));
        }
        drains_in_time(&config)?;
        Ok(Self { config })
    }

    pub(super) fn topic(&self) -> &str {
        &self.config.topic
    }

    pub(super) fn partitions_if_created(&self) -> u32 {
        self.config.partitions_if_created
    }

    pub(super) fn replication(&self) -> u32 {
        self.config.replication
    }

    /// For asking, without a group.
    pub(super) fn probe(&self) -> ClientConfig {
        let mut settings = self.base();
        settings.set("enable.auto.commit", "false");
        self.with_options(settings, &["group.instance.id"])
    }

    /// For a member of the group.
    pub(super) fn consumer(&self, partition_count: u32) -> ClientConfig {
        let queue_kib = (FETCHED_MAX_KIB / partition_count.max(1))
            .clamp(FETCHED_PARTITION_MIN_KIB, FETCHED_PARTITION_MAX_KIB);
        let mut settings = self.base();
        settings
            .set("group.id", &self.config.group)
            // A member that died is noticed after this; the drain of a revoked partition, whose
            // deadline is below it ([`drains_in_time`]), ends before the group could give the
            // partition away.
            .set("session.timeout.ms", SESSION_TIMEOUT_MS.to_string())
            .set("heartbeat.interval.ms", "1000")
            // A flipped bit in a count of tokens would otherwise go unseen; costs 1 % at most.
            .set("check.crcs", "true")
            // One buffer holds a whole answer. Larger ones than the allocator keeps are mapped and
            // zeroed by the kernel for each fetch: 50 MiB costs a quarter of the rate and three
            // times the memory of 8 MiB.
            .set("fetch.max.bytes", (8 << 20).to_string())
            .set("max.partition.fetch.bytes", (2 << 20).to_string())
            .set("fetch.wait.max.ms", "100")
            // The queue of each partition is bounded by bytes, so that memory is.
            .set("queued.min.messages", "200000")
            .set("queued.max.messages.kbytes", queue_kib.to_string())
            // How long a full queue pauses fetching. The default of a second starves a fast
            // reader, which empties the queue sooner.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "100")
            // The source of the ends that readers know.
            .set("statistics.interval.ms", "1000");
        for (key, value, _) in FIXED {
            settings.set(key, value);
        }
        self.with_options(settings, &[])
    }

    /// For reading a partition outside of the group: librdkafka asks for a group's name all the
    /// same, and never joins it.
    pub(super) fn direct(&self, partition_count: u32) -> ClientConfig {
        let mut settings = self.consumer(partition_count);
        settings.remove("group.instance.id");
        // Who reads to the end must know it from brokers that do not answer.
        settings.set("enable.partition.eof", "true");
        settings
    }

    pub(super) fn cleanup(&self) -> Cleanup {
        self.config.cleanup
    }

    /// For appending.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut settings = self.base();
        settings
            .set("compression.codec", "lz4")
            // The door gathers batches itself.
            .set("linger.ms", "0")
            .set("batch.size", (1 << 20).to_string())
            .set("message.max.bytes", (8 << 20).to_string())
            .set("queue.buffering.max.messages", "500000")
            .set("queue.buffering.max.kbytes", (128 << 10).to_string())
            .set("delivery.timeout.ms", self.config.delivery_timeout_ms.to_string())
            .set("retry.backoff.ms", "50");
        for (key, value, _) in FIXED_PRODUCER {
            settings.set(key, value);
        }
        self.with_options(settings, &["group.instance.id"])
    }

    fn base(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings
            .set("bootstrap.servers", &self.config.bootstrap)
            .set("client.id", "tally")
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true")
            .set("log.connection.close", "false")
            // Back within seconds of the broker's return, without a storm.
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            .set_log_level(if self.config.options.contains_key("debug") {
                RDKafkaLogLevel::Debug
            } else {
                RDKafkaLogLevel::Warning
            });
        if self
            .config
            .options
            .get("security.protocol")
            .is_some_and(|p| p.to_ascii_lowercase().contains("ssl"))
        {
            // Where the system keeps its certificates; the OpenSSL that is built in does not know.
            settings.set("ssl.ca.location", "probe");
        }
        settings
    }

    /// The user's options win, but for those that only the other kinds of client have.
    fn with_options(&self, mut settings: ClientConfig, without: &[&str]) -> ClientConfig {
        for (key, value) in &self.config.options {
            if !without.contains(&key.as_str()) {
                settings.set(key, value);
            }
        }
        settings
    }
}

/// Refuses a drain that may outlast the member's session. What is no number is left to librdkafka,
/// which refuses it.
fn drains_in_time(config: &KafkaLogConfig) -> Result<(), LogError> {
    let session_ms = match config.options.get("session.timeout.ms") {
        None => SESSION_TIMEOUT_MS,
        Some(text) => match text.trim().parse() {
            Ok(session_ms) => session_ms,
            Err(_) => return Ok(()),
        },
    };
    if config.drain_timeout_ms < session_ms {
        return Ok(());
    }
    Err(LogError::Invalid(format!(
        "a revoked partition may take {} ms to finish its epoch (aggregate.drain_timeout_ms), which \
         must be less than the {session_ms} ms of the Kafka setting session.timeout.ms: the group \
         would give it to another member meanwhile",
        config.drain_timeout_ms
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogErrorKind;

    /// What becomes of a drain of so many milliseconds with this time-out of the session.
    fn drain(drain_timeout_ms: u64, session: Option<&str>) -> Result<Settings, LogError> {
        let mut config = KafkaLogConfig::new("127.0.0.1:9092", "topic", "group");
        config.drain_timeout_ms = drain_timeout_ms;
        if let Some(text) = session {
            config.options.insert("session.timeout.ms".to_owned(), text.to_owned());
        }
        Settings::new(config)
    }

    #[test]
    fn a_drain_that_may_outlast_the_session_is_refused() {
        for (drain_ms, session) in [(4_000, None), (5_999, None), (9_999, Some("10000"))] {
            let settings = drain(drain_ms, session).unwrap();
            let expected = session.unwrap_or("6000");
            assert_eq!(settings.consumer(4).get("session.timeout.ms"), Some(expected));
        }
        for (drain_ms, session) in [(6_000, None), (4_000, Some("4000")), (20_000, Some("10000"))] {
            let error = drain(drain_ms, session).unwrap_err();
            assert_eq!(error.kind(), LogErrorKind::Invalid, "{error}");
            let words = error.to_string();
            for part in ["aggregate.drain_timeout_ms", "session.timeout.ms", &drain_ms.to_string()]
            {
                assert!(words.contains(part), "{words}");
            }
        }
        // No number: librdkafka says so, and names it.
        assert!(drain(4_000, Some("soon")).is_ok());
    }

    /// What a client takes for the certificates to trust.
    fn certificates(options: &[(&str, &str)]) -> Option<String> {
        let mut config = KafkaLogConfig::new("127.0.0.1:9092", "topic", "group");
        for (key, value) in options {
            config.options.insert((*key).to_owned(), (*value).to_owned());
        }
        let settings = Settings::new(config).unwrap();
        let of = |client: ClientConfig| client.get("ssl.ca.location").map(str::to_owned);
        let found = of(settings.probe());
        assert_eq!(of(settings.consumer(4)), found);
        assert_eq!(of(settings.producer()), found);
        found
    }

    #[test]
    fn the_certificates_of_the_system_are_trusted_unless_others_are_named() {
        assert_eq!(certificates(&[]), None);
        for protocol in ["ssl", "SASL_SSL"] {
            let protocol = ("security.protocol", protocol);
            assert_eq!(certificates(&[protocol]).as_deref(), Some("probe"), "{protocol:?}");
            let named = certificates(&[protocol, ("ssl.ca.location", "/ca.pem")]);
            assert_eq!(named.as_deref(), Some("/ca.pem"), "{protocol:?}");
        }
    }
}
