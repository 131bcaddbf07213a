//! Opens the log of the configuration: Apache Kafka, or the embedded one of this machine.

use std::path::Path;
use std::sync::Arc;

use tally_aggregate::StreamPlace;
use tally_log::{
    Cleanup, ContinuedLog, EmbeddedLog, EmbeddedLogConfig, EventLog, KafkaLog, KafkaLogConfig, Keep,
};
use tally_schemas::Config;

use crate::exit::Failure;
use crate::patience::patiently;

/// What it is called while a start waits for it.
const THE_LOG: &str = "the log is";

/// As [`open`], and waits for a Kafka that is away.
pub(crate) async fn open_when_there(config: &Config) -> Result<Arc<dyn EventLog>, Failure> {
    patiently(THE_LOG, || open(config)).await
}

/// Opens the topic of usage events, and creates it where it is missing.
pub(crate) async fn open(config: &Config) -> Result<Arc<dyn EventLog>, Failure> {
    let (kafka, embedded) = settings(config, &config.log.topic, "log");
    open_blocking(config, kafka, embedded).await
}

/// As [`open_when_there`], under the name and with the offsets of the stream that has the topic.
pub(crate) async fn open_stream(
    config: &Config,
    place: &StreamPlace,
) -> Result<Arc<dyn EventLog>, Failure> {
    Ok(of_stream(place, open_when_there(config).await?))
}

/// A log under the name and with the offsets of the stream that has it.
pub(crate) fn of_stream(place: &StreamPlace, log: Arc<dyn EventLog>) -> Arc<dyn EventLog> {
    match &place.log {
        Some(at) => Arc::new(ContinuedLog::new(&place.ledger, at.first_offset, log)),
        None => log,
    }
}

/// Opens another topic for usage events, and creates it with so many partitions where it is missing.
pub(crate) async fn open_successor(
    config: &Config,
    topic: &str,
    partitions: u32,
) -> Result<Arc<dyn EventLog>, Failure> {
    let (mut kafka, embedded) = settings(config, topic, topic);
    kafka.partitions_if_created = partitions;
    open_blocking(config, kafka, embedded).await
}

/// Records of each partition that an embedded topic keeps, where they go by their age in Kafka.
const EMBEDDED_KEEPS: u64 = 1_000_000;

/// Opens another topic beside that of usage events, and creates it where it is missing, with so
/// many partitions. Waits for a Kafka that is away. On the embedded log it is a folder of its own,
/// which keeps its newest records.
pub(crate) async fn open_topic(
    config: &Config,
    topic: &str,
    partitions: u32,
    cleanup: Cleanup,
) -> Result<Arc<dyn EventLog>, Failure> {
    let (mut kafka, mut embedded) = settings(config, topic, &format!("topics/{topic}"));
    kafka.partitions_if_created = partitions;
    kafka.cleanup = cleanup;
    // Nobody waits for what is sent here, and what failed would have to be looked for.
    kafka.delivery_timeout_ms = 0;
    embedded.partitions_if_created = partitions;
    embedded.keep = Keep::Newest(EMBEDDED_KEEPS);
    patiently(THE_LOG, || open_blocking(config, kafka.clone(), embedded.clone())).await
}

/// Opens a topic of Kafka that is there, to be consumed by a group of its own.
pub(crate) async fn open_in_group(
    config: &Config,
    topic: &str,
    group: &str,
) -> Result<Arc<dyn EventLog>, Failure> {
    let (mut kafka, embedded) = settings(config, topic, &format!("topics/{topic}"));
    group.clone_into(&mut kafka.group);
    patiently(THE_LOG, || open_blocking(config, kafka.clone(), embedded.clone())).await
}

fn settings(config: &Config, topic: &str, folder: &str) -> (KafkaLogConfig, EmbeddedLogConfig) {
    let log = &config.log;
    let mut kafka = KafkaLogConfig::new(&log.kafka, topic, &log.group);
    kafka.partitions_if_created = log.partitions;
    kafka.replication = log.replication;
    kafka.options = log.kafka_options.clone();
    kafka.drain_timeout_ms = config.aggregate.drain_timeout_ms;
    let mut embedded = EmbeddedLogConfig::new(Path::new(&log.data).join(folder), topic);
    embedded.partitions_if_created = log.partitions;
    (kafka, embedded)
}

/// Opens the one that is configured. It blocks: a broker's round trip, or reading back a journal.
async fn open_blocking(
    config: &Config,
    kafka: KafkaLogConfig,
    embedded: EmbeddedLogConfig,
) -> Result<Arc<dyn EventLog>, Failure> {
    let in_kafka = !config.log.kafka.is_empty();
    tokio::task::spawn_blocking(move || -> Result<Arc<dyn EventLog>, Failure> {
        Ok(if in_kafka {
            Arc::new(KafkaLog::open(kafka)?)
        } else {
            Arc::new(EmbeddedLog::open(embedded)?)
        })
    })
    .await
    .map_err(|error| Failure::internal(error.to_string()))?
}
