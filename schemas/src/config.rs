//! Every setting: default, `tally.toml`, `TALLY_…` environment, flags, in that order.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::webhook_config::WebhookConfig;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The log that usage travels through.
    pub log: LogConfig,
    /// Object storage.
    pub store: StoreConfig,
    /// The HTTP listener.
    pub http: HttpConfig,
    /// Who is let in.
    pub auth: AuthConfig,
    /// Encryption of the HTTP listener and of the PostgreSQL wire.
    pub tls: TlsConfig,
    /// The door.
    pub ingest: IngestConfig,
    /// The stream.
    pub aggregate: AggregateConfig,
    /// Alerts.
    pub alerts: AlertsConfig,
    /// Budgets and commitments.
    pub budgets: BudgetsConfig,
    /// What gateways are told of accounts.
    pub quota: QuotaConfig,
    /// SQL.
    pub query: QueryConfig,
    /// Statements as documents.
    pub documents: DocumentsConfig,
    /// Traces of requests.
    pub traces: TracesConfig,
}

/// The log that usage travels through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// Kafka bootstrap servers; empty for the embedded log below the data folder.
    pub kafka: String,
    /// Folder of the embedded log and, without `store.url`, of the store.
    pub data: String,
    /// Topic of usage events.
    pub topic: String,
    /// Partitions of a topic that has to be created; an existing one keeps its own.
    pub partitions: u32,
    /// Replication factor of a topic that has to be created.
    pub replication: u32,
    /// Consumer group.
    pub group: String,
    /// Further librdkafka settings, such as `security.protocol`.
    pub kafka_options: BTreeMap<String, String>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            kafka: String::new(),
            data: "data".to_owned(),
            topic: "usage.events".to_owned(),
            partitions: 16,
            replication: 1,
            group: "tally-aggregate".to_owned(),
            kafka_options: BTreeMap::new(),
        }
    }
}

/// Object storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreConfig {
    /// `s3://BUCKET/PREFIX`, `file:///DIR` or a folder; empty for `store` below the data folder.
    pub url: String,
    /// How S3 is reached, by the names of the standard `AWS_…` variables in small letters and without
    /// `aws_`: `endpoint_url`, `region`, `access_key_id`, `secret_access_key` and others. A variable
    /// that is set counts instead: an access key, or a web identity with its role, for all of the
    /// credentials, and a region by either name.
    pub s3_options: BTreeMap<String, String>,
}

/// The HTTP listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpConfig {
    /// Address of the HTTP listener.
    pub listen: String,
    /// URL under which this process is reached, which other processes redirect to for the quota of
    /// its accounts; empty for none.
    pub advertise: String,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8080".to_owned(), advertise: String::new() }
    }
}

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// File of users, written by `tally user`; empty for none: then every listener is on loopback,
    /// and whoever reaches it may do everything.
    pub users_file: String,
}

/// Encryption of the HTTP listener and of the PostgreSQL wire.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsConfig {
    /// File of the certificate and its chain, PEM; empty for no encryption. Both are read at the
    /// start.
    pub certificate: String,
    /// File of the certificate's key, PEM.
    pub key: String,
}

/// The door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngestConfig {
    /// Largest request body in bytes, after decompression.
    pub body_max_bytes: u64,
    /// Bytes of events that may wait for the log; beyond it the door answers 429.
    pub in_flight_max_bytes: u64,
    /// How long events wait at most to share a batch while one of their partition is on its way,
    /// milliseconds.
    pub linger_ms: u64,
    /// Largest batch in bytes.
    pub batch_max_bytes: u64,
    /// How long the log may take to acknowledge before the door answers 503, milliseconds.
    pub ack_timeout_ms: u64,
    /// How long a stop waits for requests in flight, milliseconds.
    pub drain_timeout_ms: u64,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            body_max_bytes: 8 << 20,
            in_flight_max_bytes: 128 << 20,
            linger_ms: 2,
            batch_max_bytes: 512 << 10,
            ack_timeout_ms: 10_000,
            drain_timeout_ms: 10_000,
        }
    }
}

/// The stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AggregateConfig {
    /// Longest time that an event waits for its commit under load, milliseconds.
    pub freshness_ms: u64,
    /// An epoch closes at this many events, or at up to a quarter more where other partitions close
    /// theirs.
    pub epoch_max_events: u64,
    /// An epoch closes at this many bytes of rows in memory.
    pub epoch_max_bytes: u64,
    /// How far the watermark stays behind the newest event time, milliseconds.
    pub lateness_ms: u64,
    /// Width of `usage_by_model` windows, milliseconds.
    pub model_window_ms: u64,
    /// Width of `usage_by_subscriber` windows, milliseconds.
    pub subscriber_window_ms: u64,
    /// Width of a dedupe bucket in event time, milliseconds.
    pub dedupe_bucket_ms: u64,
    /// How long a dedupe bucket stays open after the watermark has passed it, milliseconds.
    pub dedupe_open_ms: u64,
    /// Bytes of open dedupe buckets, shared out among the partitions of a process; beyond its share
    /// a partition seals the oldest early.
    pub dedupe_open_max_bytes: u64,
    /// Events older than this are held back, days.
    pub dedupe_horizon_days: u64,
    /// Bytes of open subscriber windows, shared out among the partitions of a process; beyond its
    /// share a partition writes the oldest early.
    pub windows_open_max_bytes: u64,
    /// How long a partition's log is idle before its owner lets the clock in by a tick, where
    /// something is due by time alone, milliseconds; 0 for never.
    pub tick_ms: u64,
    /// Whether events are priced and charged; without it, they are only counted.
    pub rate: bool,
    /// How often newly approved prices, packages and contracts are looked for, milliseconds.
    pub reference_poll_ms: u64,
    /// How often gateways are told of accounts whose numbers changed and nothing else,
    /// milliseconds; 0 for never: then they ask.
    pub status_numbers_ms: u64,
    /// How far in the future an event may be, milliseconds after Kafka received it.
    pub future_max_ms: u64,
    /// How long a revoked partition may finish its epoch, milliseconds; less than the
    /// `session.timeout.ms` of `log.kafka_options`, which is 6000 where it is not given.
    pub drain_timeout_ms: u64,
    /// How often epochs are published to the tables, milliseconds.
    pub publish_interval_ms: u64,
    /// How often the janitor runs, milliseconds; 0 turns it off.
    pub janitor_interval_ms: u64,
    /// How long unreferenced files and superseded table versions are kept, milliseconds.
    pub retention_ms: u64,
    /// How long rows of `usage_events` are kept that a closed month has sealed, days: older ones are
    /// removed, a day at a time, and what they came to is written down. At least 31 more than
    /// `dedupe_horizon_days`; 0 for ever.
    pub keep_events_days: u64,
}

impl Default for AggregateConfig {
    fn default() -> Self {
        Self {
            freshness_ms: 10_000,
            epoch_max_events: 100_000,
            epoch_max_bytes: 64 << 20,
            lateness_ms: 60_000,
            model_window_ms: 60_000,
            subscriber_window_ms: 3_600_000,
            dedupe_bucket_ms: 600_000,
            dedupe_open_ms: 600_000,
            dedupe_open_max_bytes: 4 << 30,
            dedupe_horizon_days: 400,
            windows_open_max_bytes: 2 << 30,
            tick_ms: 10_000,
            rate: true,
            reference_poll_ms: 3_000,
            status_numbers_ms: 0,
            future_max_ms: 3_600_000,
            // Below the session time-out of the group, 6 s.
            drain_timeout_ms: 4_000,
            publish_interval_ms: 1_000,
            janitor_interval_ms: 60_000,
            retention_ms: 24 * 3_600_000,
            keep_events_days: 0,
        }
    }
}

/// Days beyond the horizon for which events are kept at least: what came late for its last day is on
/// the statement of the month after.
const KEPT_BEYOND_HORIZON_DAYS: u64 = 31;

/// Why events cannot be removed after so few days, where others may come for `horizon_days`; `None`
/// where they can, or stay for ever.
pub fn keep_events_defect(days: u64, horizon_days: u64) -> Option<String> {
    let least = horizon_days.saturating_add(KEPT_BEYOND_HORIZON_DAYS);
    (days > 0 && days < least).then(|| {
        format!(
            "aggregate.keep_events_days is {days}: late events and corrections may come for {horizon_days} days (aggregate.dedupe_horizon_days), and a month more until they are settled; give {least} or more, or 0 to keep events for ever"
        )
    })
}

/// Alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertsConfig {
    /// Topic of alerts; where it has to be created, it gets as many partitions as the topic of
    /// usage events.
    pub topic: String,
    /// Receivers of alerts: tables with `url` and `secret`, and with `kinds` and `accounts` where
    /// one is not to get all.
    pub webhooks: Vec<WebhookConfig>,
    /// Whether webhooks may have addresses of this machine and of private networks.
    pub allow_private: bool,
    /// How long a webhook may take to answer, milliseconds.
    pub attempt_timeout_ms: u64,
    /// Pause after a delivery that failed, milliseconds; it doubles with each.
    pub retry_min_ms: u64,
    /// The pause that doubles no more, milliseconds.
    pub retry_max_ms: u64,
    /// Age at which an alert that a webhook does not take is given up, milliseconds.
    pub give_up_ms: u64,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            topic: "usage.alerts".to_owned(),
            webhooks: Vec::new(),
            allow_private: false,
            attempt_timeout_ms: 10_000,
            retry_min_ms: 1_000,
            retry_max_ms: 5 * 60_000,
            give_up_ms: 3 * 24 * 3_600_000,
        }
    }
}

/// Budgets and commitments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BudgetsConfig {
    /// Topic of increments by model, of one partition.
    pub topic: String,
    /// File of budgets in TOML; empty for the examples that ship with Tally.
    pub file: String,
}

impl Default for BudgetsConfig {
    fn default() -> Self {
        Self { topic: "usage.models".to_owned(), file: String::new() }
    }
}

/// What gateways are told of accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaConfig {
    /// Topic of statuses, compacted; where it has to be created, it gets as many partitions as the
    /// topic of usage events.
    pub topic: String,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self { topic: "quota.status".to_owned() }
    }
}

/// SQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryConfig {
    /// Address of the PostgreSQL wire.
    pub pg_listen: String,
    /// Address of Arrow Flight SQL.
    pub flight_listen: String,
    /// Memory of all running queries, bytes.
    pub memory_max_bytes: u64,
    /// Most rows of one answer.
    pub rows_max: u64,
    /// Longest time of one query, milliseconds.
    pub timeout_ms: u64,
    /// Most queries at once; more wait.
    pub concurrency: u32,
    /// Threads of one query; 0 for the number of cores.
    pub threads: u32,
    /// Most connections to the PostgreSQL wire at once; more are refused. One role has half of them
    /// at most, all vendors together three quarters.
    pub connections_max: u32,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            pg_listen: "127.0.0.1:5433".to_owned(),
            flight_listen: "127.0.0.1:8815".to_owned(),
            memory_max_bytes: 2 << 30,
            rows_max: 1_000_000,
            timeout_ms: 60_000,
            concurrency: 8,
            threads: 0,
            connections_max: 100,
        }
    }
}

/// Statements as documents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DocumentsConfig {
    /// TrueType or OpenType file whose glyphs go into PDF; empty for a font of the machine that has
    /// every character.
    pub font: String,
}

/// Traces of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TracesConfig {
    /// OpenTelemetry collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; empty for
    /// none.
    pub otlp_endpoint: String,
    /// One request in so many is followed, beside those whose client asks for it; 0 for these only.
    pub one_in: u64,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self { otlp_endpoint: String::new(), one_in: 1_000 }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Built in.
    Default,
    /// The file of this name.
    File(String),
    /// The environment variable of this name.
    Environment(String),
    /// A command-line flag.
    Flag,
}

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Key, such as `aggregate.freshness_ms`.
    pub key: String,
    /// Value as text.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) | Self::Environment(name) => f.write_str(name),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A key that does not exist.
    #[error("unknown setting {key} in {origin}{}", nearest.as_ref().map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    UnknownKey {
        /// The key as written.
        key: String,
        /// File or environment variable.
        origin: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A value that the setting cannot have.
    #[error("{key} in {origin}: {message}")]
    InvalidValue {
        /// The key.
        key: String,
        /// File or environment variable.
        origin: String,
        /// What is wrong with it.
        message: String,
    },
    /// A file that cannot be read, or is not TOML.
    #[error("{file}: {message}")]
    UnreadableFile {
        /// The file.
        file: String,
        /// What is wrong with it.
        message: String,
    },
}
