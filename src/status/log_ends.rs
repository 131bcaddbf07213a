//! The ends of the log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tally_aggregate::StreamPlace;
use tally_log::{EventLog, LogError, LogErrorKind};
use tally_schemas::Config;

use crate::event_log;
use crate::exit::FailureKind;
use crate::looks::of_log;
use crate::trouble::Trouble;

/// Why the ends of the log are not known.
pub(super) struct Unknown {
    pub(super) note: String,
    pub(super) trouble: Option<Trouble>,
}

/// The next offset of each partition, or why it cannot be known.
pub(super) async fn ends_of_log(
    config: &Config,
    place: &StreamPlace,
) -> Result<BTreeMap<u32, u64>, Unknown> {
    if config.log.kafka.is_empty() {
        let dir = Path::new(&config.log.data).join("log");
        if !dir.is_dir() {
            let note = format!("there is no embedded log at {} yet", dir.display());
            return Err(Unknown { note, trouble: None });
        }
    }
    let log = event_log::open(config).await.map_err(|failure| {
        let kind = match failure.kind {
            FailureKind::Retry => LogErrorKind::Retry,
            _ => LogErrorKind::Invalid,
        };
        if config.log.kafka.is_empty() && failure.kind == FailureKind::Usage {
            let words = "ends of the log are not known while another process has it";
            return Unknown { note: format!("{words}: {}", failure.message), trouble: None };
        }
        Unknown {
            note: format!("ends of the log are not known: {}", failure.message),
            trouble: Some(of_log(config, &failure.message, kind)),
        }
    })?;
    read_ends(event_log::of_stream(place, log), config).await
}

/// The next offset of each partition, of a log that is open.
pub(super) async fn read_ends(
    log: Arc<dyn EventLog>,
    config: &Config,
) -> Result<BTreeMap<u32, u64>, Unknown> {
    // Blocks: a round trip a partition.
    tokio::task::spawn_blocking(move || {
        (0..log.partition_count())
            .map(|partition| Ok((partition, log.bounds(partition)?.end)))
            .collect::<Result<_, LogError>>()
    })
    .await
    .unwrap_or_else(|error| Err(LogError::Internal(error.to_string())))
    .map_err(|error| Unknown {
        note: format!("ends of the log are not known: {error}"),
        trouble: Some(of_log(config, &error.to_string(), error.kind())),
    })
}
