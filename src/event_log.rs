//! Opens the log of the configuration: Apache Kafka, or the embedded one of this machine.

use std::path::Path;
use std::sync::Arc;

use tally_log::{EmbeddedLog, EmbeddedLogConfig, EventLog, KafkaLog, KafkaLogConfig};
use tally_schemas::Config;

use crate::exit::Failure;

/// Opens the topic, and creates it where it is missing.
pub(crate) async fn open(config: &Config) -> Result<Arc<dyn EventLog>, Failure> {
    let config = config.log.clone();
    // Blocks: a broker's round trip, or reading back a journal.
    tokio::task::spawn_blocking(move || -> Result<Arc<dyn EventLog>, Failure> {
        if config.kafka.is_empty() {
            let dir = Path::new(&config.data).join("log");
            let mut embedded = EmbeddedLogConfig::new(dir, &config.topic);
            embedded.partitions_if_created = config.partitions;
            return Ok(Arc::new(EmbeddedLog::open(embedded)?));
        }
        let mut kafka = KafkaLogConfig::new(&config.kafka, &config.topic, &config.group);
        kafka.partitions_if_created = config.partitions;
        kafka.replication = config.replication;
        kafka.options = config.kafka_options;
        Ok(Arc::new(KafkaLog::open(kafka)?))
    })
    .await
    .map_err(|error| Failure::internal(error.to_string()))?
}
