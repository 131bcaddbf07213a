//! The topics beside that of usage events.

use std::sync::Arc;

use tally_aggregate::{LogTopic, NoticeTopics};
use tally_log::{Cleanup, EventLog};
use tally_schemas::Config;
use tokio::runtime::Handle;

use crate::event_log::open_topic;
use crate::exit::Failure;

/// The open topics.
#[derive(Clone)]
pub(crate) struct Topics {
    /// Alerts.
    pub(crate) alerts: Arc<dyn EventLog>,
    /// Increments by model, of one partition.
    pub(crate) models: Arc<dyn EventLog>,
    /// What gateways are told of accounts.
    statuses: Arc<dyn EventLog>,
}

impl Topics {
    /// Opens the topics, and creates those that are missing; that of alerts with as many partitions
    /// as `usage` has: then all alerts of a partition are in one.
    pub(crate) async fn open(config: &Config, usage: &dyn EventLog) -> Result<Self, Failure> {
        let partitions = usage.partition_count();
        let alerts = open_topic(config, &config.alerts.topic, partitions, Cleanup::Age).await?;
        let models = open_topic(config, &config.budgets.topic, 1, Cleanup::Age).await?;
        let statuses =
            open_topic(config, &config.quota.topic, partitions, Cleanup::Compact).await?;
        Ok(Self { alerts, models, statuses })
    }

    /// The topic of usage events, and these.
    pub(crate) fn with(&self, usage: &Arc<dyn EventLog>) -> Vec<Arc<dyn EventLog>> {
        [usage, &self.alerts, &self.models, &self.statuses].map(Arc::clone).into()
    }

    /// The topics as the stream sends to them.
    pub(crate) fn notices(&self, runtime: &Handle) -> Result<NoticeTopics, Failure> {
        let alerts = LogTopic::open(Arc::clone(&self.alerts), runtime.clone())?;
        let statuses = LogTopic::open(Arc::clone(&self.statuses), runtime.clone())?;
        Ok(NoticeTopics { alerts: Some(alerts), statuses: Some(statuses) })
    }
}
