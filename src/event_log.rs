//! Opens the log of the configuration: Apache Kafka, or the embedded one of this machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tally_log::{EmbeddedLog, EmbeddedLogConfig, EventLog, KafkaLog, KafkaLogConfig};
use tally_schemas::Config;

use crate::exit::{Failure, FailureKind};

/// How long a start waits for Kafka, or for a store, that is away or in trouble before it says so
/// and ends.
pub(crate) const START_PATIENCE: Duration = Duration::from_secs(60);

/// As [`open`], and waits for a Kafka that is away.
pub(crate) async fn open_when_there(config: &Config) -> Result<Arc<dyn EventLog>, Failure> {
    let began = tokio::time::Instant::now();
    loop {
        match open(config).await {
            Err(error) if error.kind == FailureKind::Retry && began.elapsed() < START_PATIENCE => {
                tracing::warn!(error = error.message, "the log is not available, waiting");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            opened => return opened,
        }
    }
}

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
