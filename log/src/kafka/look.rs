//! A look at a topic that changes nothing.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::error::RDKafkaErrorCode;

use super::admin::{Probe, answer_of};
use super::context::QuietContext;
use super::settings::{REQUEST_TIMEOUT, Settings};
use super::{KafkaLogConfig, log_error, log_error_of_code};
use crate::LogError;

/// What the brokers of a cluster say of themselves and of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicLook {
    /// Brokers of the cluster.
    pub brokers: usize,
    /// The topic; `None` where there is none of this name.
    pub topic: Option<TopicFacts>,
}

/// What the brokers say of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFacts {
    /// Partitions.
    pub partitions: usize,
    /// Replicas of the partition that has the fewest.
    pub replicas: usize,
    /// Replicas that are in sync, of the partition that has the fewest.
    pub in_sync: usize,
    /// Partitions that no broker leads now.
    pub leaderless: usize,
    /// Settings by Kafka's names, the brokers' defaults included; or why they cannot be known, for
    /// example because this user may not describe them.
    pub settings: Result<BTreeMap<String, String>, String>,
}

/// Asks the brokers. The topic is not created. Blocks for two round trips.
///
/// # Errors
/// `Retry` while Kafka does not answer, `Refused` where it does not let us in, `Invalid` where a
/// setting is wrong or what is asked is not allowed.
pub fn look(config: KafkaLogConfig) -> Result<TopicLook, LogError> {
    let settings = Settings::new(config)?;
    let metadata = Probe::open(&settings)?.metadata(settings.topic())?;
    let brokers = metadata.brokers().len();
    let found = metadata.topics().iter().find(|topic| topic.name() == settings.topic());
    let Some(found) = found else { return Ok(TopicLook { brokers, topic: None }) };
    match found.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            return Ok(TopicLook { brokers, topic: None });
        }
        Some(code) => {
            let what = format!("metadata of topic {}: {code}", settings.topic());
            return Err(log_error_of_code(what, code));
        }
    }
    let partitions = found.partitions();
    let topic = TopicFacts {
        partitions: partitions.len(),
        replicas: partitions.iter().map(|p| p.replicas().len()).min().unwrap_or(0),
        in_sync: partitions.iter().map(|p| p.isr().len()).min().unwrap_or(0),
        leaderless: partitions.iter().filter(|p| p.leader() < 0).count(),
        settings: describe(&settings).map_err(|error| error.to_string()),
    };
    Ok(TopicLook { brokers, topic: Some(topic) })
}

fn describe(settings: &Settings) -> Result<BTreeMap<String, String>, LogError> {
    let what = format!("settings of topic {}", settings.topic());
    let admin: AdminClient<QuietContext> = settings
        .probe()
        .create_with_context(QuietContext::default())
        .map_err(|error| log_error(&what, &error))?;
    let topic = ResourceSpecifier::Topic(settings.topic());
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let mut known = BTreeMap::new();
    for described in answer_of(&what, admin.describe_configs([&topic], &options))? {
        let described = described.map_err(|code| log_error_of_code(what.clone(), code))?;
        for entry in described.entries {
            if let Some(value) = entry.value {
                known.insert(entry.name, value);
            }
        }
    }
    Ok(known)
}
