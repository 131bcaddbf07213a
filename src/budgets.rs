//! The second stage beside the stream: its budgets, its topic, its thread, its metrics.

use std::path::Path;
use std::sync::{Arc, Mutex};

use object_store::ObjectStore;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tally_aggregate::{
    Aggregator, Extent, SecondStage, StageConfig, StageParts, StageStatus, Surroundings,
};
use tally_budget::BudgetBook;
use tally_query::BudgetSource;
use tally_schemas::{Config, Table};
use tally_tables::Publisher;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::{Failure, file_failure};
use crate::topics::Topics;

/// The budgets of the configuration.
pub(crate) fn book(config: &Config) -> Result<Arc<BudgetBook>, Failure> {
    let file = &config.budgets.file;
    let book = if file.is_empty() {
        BudgetBook::shipped()
    } else {
        let path = Path::new(file);
        let text = std::fs::read_to_string(path).map_err(|error| file_failure(path, &error))?;
        BudgetBook::from_toml(&text)
    };
    book.map(Arc::new).map_err(|error| Failure::data(format!("budgets: {error}")))
}

/// Budgets and where what is used of them is kept, for SQL.
pub(crate) fn source(config: &Config) -> Result<BudgetSource, Failure> {
    Ok(BudgetSource { topic: config.budgets.topic.clone(), book: book(config)? })
}

/// Publishes the ledger of the second stage.
pub(crate) fn publisher(config: &Config, store: &Arc<dyn ObjectStore>) -> Publisher {
    Publisher::of_tables(Arc::clone(store), &config.budgets.topic, 1, &[Table::Alerts])
}

/// The running second stage of this process.
#[derive(Debug)]
pub(crate) struct Budgets {
    status: StageStatus,
    running: JoinHandle<Result<(), Failure>>,
    end: CancellationToken,
}

impl Budgets {
    /// Starts it. Where it cannot go on it stops the process by `stop` (I12).
    pub(crate) fn start(
        config: &Config,
        topics: &Topics,
        aggregator: &Aggregator,
        surroundings: Surroundings,
        (source_topic, partition_count): (String, u32),
        extent: Extent,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let settings = &config.aggregate;
        let stage = SecondStage::new(StageParts {
            surroundings,
            config: StageConfig {
                source_topic,
                topic: config.budgets.topic.clone(),
                retention_ms: settings.retention_ms,
            },
            book: book(config)?,
            log: Arc::clone(&topics.models),
            stream: aggregator.status().clone(),
            partition_count,
            freshness_ms: settings.freshness_ms,
            drain_timeout_ms: settings.drain_timeout_ms,
            runtime: tokio::runtime::Handle::current(),
            extent,
        })?;
        let status = stage.status().clone();
        let end = CancellationToken::new();
        let ending = end.clone();
        let running = tokio::task::spawn_blocking(move || {
            let ended = stage.run(&ending).map_err(Failure::from);
            if let Err(failure) = &ended {
                tracing::error!(error = failure.message, "budgets cannot go on");
                stop.cancel();
            }
            ended
        });
        Ok(Self { status, running, end })
    }

    /// What it is doing.
    pub(crate) fn status(&self) -> &StageStatus {
        &self.status
    }

    /// Waits until it has ended, after the stream.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        self.end.cancel();
        self.running.await.unwrap_or_else(|e| Err(Failure::internal(e.to_string())))
    }
}

/// Adds the metrics of a second stage.
pub(crate) fn register(registry: &Arc<Mutex<Registry>>, status: &StageStatus) {
    if let Ok(mut registry) = registry.lock() {
        registry.register_collector(Box::new(StageCollector(status.clone())));
    }
}

#[derive(Debug)]
struct StageCollector(StageStatus);

impl Collector for StageCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let figures = self.0.figures();
        for (name, help, count) in [
            (
                "tally_budget_epochs_relayed",
                "Epochs sent to the topic of increments",
                figures.relayed,
            ),
            ("tally_budget_epochs_added", "Epochs added to the usage of budgets", figures.added),
            (
                "tally_budget_epochs_repeated",
                "Messages of epochs that were added before",
                figures.repeated,
            ),
            (
                "tally_budget_epochs_from_ledger",
                "Epochs read from their ledger, as the topic did not have them in their order",
                figures.filled,
            ),
            (
                "tally_budget_messages_ignored",
                "Messages of increments that no ledger confirms",
                figures.ignored,
            ),
        ] {
            let value = ConstCounter::new(count);
            value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)?;
        }
        let holds = ConstGauge::new(i64::from(figures.holds));
        holds.encode(encoder.encode_descriptor(
            "tally_budget_stage_held",
            "1 where this process adds up budgets",
            None,
            holds.metric_type(),
        )?)?;
        let mut by_budget = encoder.encode_descriptor(
            "tally_budget_used_percent",
            "Percent used of a budget in its current period, rounded down",
            None,
            holds.metric_type(),
        )?;
        for gauge in &figures.budgets {
            let labels = [("budget", gauge.budget.as_str())];
            ConstGauge::new(gauge.percent).encode(by_budget.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
