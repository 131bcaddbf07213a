//! The webhooks of this process, and their metrics.

use std::sync::Arc;

use object_store::ObjectStore;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tally_schemas::Config;
use tally_webhooks::{AlertsLog, Dispatcher, ReceiverStatus, WebhookStatus, receivers_of};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::event_log::open_in_group;
use crate::exit::Failure;
use crate::patience::patiently;
use crate::topics::Topics;

/// The running webhooks.
#[derive(Debug)]
pub(crate) struct Webhooks {
    status: WebhookStatus,
    running: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Webhooks {
    /// Starts every configured one. Before the stream, so that a receiver that is new misses none
    /// of its alerts.
    pub(crate) async fn start(
        config: &Config,
        topics: &Topics,
        store: &Arc<dyn ObjectStore>,
    ) -> Result<Self, Failure> {
        let (status, stop) = (WebhookStatus::default(), CancellationToken::new());
        let mut running = Vec::new();
        for receiver in receivers_of(&config.alerts)? {
            let log = if config.log.kafka.is_empty() {
                AlertsLog::Alone(Arc::clone(&topics.alerts))
            } else {
                let group = format!("{}-webhook-{}", config.log.group, receiver.id());
                let topic = &config.alerts.topic;
                AlertsLog::Shared(open_in_group(config, topic, &group).await?)
            };
            let (store, alerts) = (Arc::clone(store), &config.alerts);
            let name = receiver.name().to_owned();
            let dispatcher = Dispatcher::new(receiver, log, store, alerts, status.clone())?;
            register(&dispatcher).await?;
            let stop = stop.child_token();
            running.push(tokio::spawn(async move {
                // The stream does not depend on it.
                if let Err(error) = dispatcher.run(stop).await {
                    tracing::error!(receiver = name, %error, "no alerts are delivered any more");
                }
            }));
        }
        Ok(Self { status, running, stop })
    }

    /// What became of deliveries.
    pub(crate) fn status(&self) -> &WebhookStatus {
        &self.status
    }

    /// Stops, and waits until positions are stored.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        for running in self.running {
            if running.await.is_err() {
                tracing::warn!("a webhook ended badly; the next start goes on from its position");
            }
        }
    }
}

/// Registers, and waits for a log or store that is away.
async fn register(dispatcher: &Dispatcher) -> Result<(), Failure> {
    patiently("what webhooks need is", || async { Ok(dispatcher.register().await?) }).await
}

/// Adds the metrics of webhooks.
pub(crate) fn register_metrics(registry: &mut Registry, status: &WebhookStatus) {
    registry.register_collector(Box::new(WebhookCollector(status.clone())));
}

#[derive(Debug)]
struct WebhookCollector(WebhookStatus);

impl Collector for WebhookCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let receivers = self.0.receivers();
        type Count = fn(&ReceiverStatus) -> u64;
        let counters: [(&str, &str, Count); 3] = [
            ("tally_webhook_deliveries", "Alerts that a webhook took, by receiver", |r| {
                r.delivered
            }),
            ("tally_webhook_failures", "Deliveries that failed, by receiver", |r| r.failures),
            ("tally_webhook_dead_letters", "Alerts that were given up, by receiver", |r| {
                r.dead_letters
            }),
        ];
        for (name, help, count) in counters {
            let kind = ConstCounter::new(0_u64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (receiver, status) in &receivers {
                let labels = [("receiver", receiver.as_str())];
                ConstCounter::new(count(status)).encode(family.encode_family(&labels)?)?;
            }
        }
        let kind = ConstGauge::new(0_i64).metric_type();
        let (name, help) = ("tally_webhook_waiting", "Alerts that a webhook has yet to take");
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (receiver, status) in &receivers {
            let labels = [("receiver", receiver.as_str())];
            let waiting = i64::try_from(status.waiting).unwrap_or(i64::MAX);
            ConstGauge::new(waiting).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use tally_log::MemoryLog;
    use tally_schemas::{AlertsConfig, WebhookConfig};

    use super::*;

    /// An alert rule that asks for an increase needs the 0 before the first one.
    #[test]
    fn the_counts_of_a_receiver_are_there_from_the_start() {
        let webhook = WebhookConfig {
            url: "https://example.com/hook".to_owned(),
            secret: "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3".into(),
            ..WebhookConfig::default()
        };
        let config = AlertsConfig { webhooks: vec![webhook], ..AlertsConfig::default() };
        let receiver = receivers_of(&config).unwrap().remove(0);
        let log = AlertsLog::Alone(Arc::new(MemoryLog::new("usage.alerts", 1)));
        let (store, status) = (Arc::new(InMemory::new()), WebhookStatus::default());
        let dispatcher = Dispatcher::new(receiver, log, store, &config, status.clone()).unwrap();
        let mut registry = Registry::default();
        register_metrics(&mut registry, &status);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in ["deliveries_total", "failures_total", "dead_letters_total", "waiting"] {
            let line = format!("tally_webhook_{name}{{receiver=\"https://example.com/hook\"}} 0");
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        drop(dispatcher);
    }
}
