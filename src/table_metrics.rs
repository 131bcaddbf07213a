//! What the tables are made of, and what they lack: looked at now and then beside the stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tally_query::LedgerView;
use tally_tables::TableSet;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;
use crate::status::unpublished;

/// How often the tables are looked at: what changes faster is seen by its own metrics.
const INTERVAL: Duration = Duration::from_secs(30);

/// A table at its newest version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct TableFigures {
    files: u64,
    bytes: u64,
    /// Delta versions there have been.
    commits: u64,
}

/// All tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Figures {
    tables: BTreeMap<&'static str, TableFigures>,
    unpublished_epochs: u64,
}

/// What was seen last; nothing before the first look, and where the store does not answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct TableWatch(Arc<Mutex<Option<Figures>>>);

impl TableWatch {
    /// Looks at the tables from now on.
    pub(crate) fn start(store: Arc<dyn ObjectStore>, topic: &str, stop: CancellationToken) -> Self {
        let watch = Self::default();
        let (seen, topic) = (watch.clone(), topic.to_owned());
        tokio::spawn(async move {
            let tables = TableSet::open(Arc::clone(&store));
            loop {
                let figures = look(&store, &tables, &topic).await;
                if let Err(failure) = &figures {
                    tracing::debug!(why = failure.message, "the tables cannot be looked at");
                }
                *seen.0.lock() = figures.ok();
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = stop.cancelled() => return,
                }
            }
        });
        watch
    }

    /// Adds the metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// One that has seen a table, so that every metric is shown.
    #[cfg(test)]
    pub(crate) fn for_reference() -> Self {
        let tables = [("usage_events", TableFigures::default())].into();
        Self(Arc::new(Mutex::new(Some(Figures { tables, unpublished_epochs: 0 }))))
    }
}

async fn look(
    store: &Arc<dyn ObjectStore>,
    tables: &TableSet,
    topic: &str,
) -> Result<Figures, Failure> {
    let mut figures = Figures::default();
    for table in tables.pin(None).await?.iter() {
        figures.tables.insert(
            table.table.name(),
            TableFigures {
                files: u64::try_from(table.files.len()).unwrap_or(u64::MAX),
                bytes: table.files.iter().map(|file| file.size).fold(0, u64::saturating_add),
                commits: table.version.map_or(0, |version| version.saturating_add(1)),
            },
        );
    }
    for stored in LedgerView::new(Arc::clone(store), topic).all_last().await? {
        let published = tables.published(topic, stored.entry.partition).await?;
        let epochs = unpublished(store.as_ref(), topic, &stored, &published).await?;
        figures.unpublished_epochs = figures.unpublished_epochs.saturating_add(epochs);
    }
    Ok(figures)
}

impl Collector for TableWatch {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(figures) = self.0.lock().clone() else { return Ok(()) };
        type Figure = fn(&TableFigures) -> u64;
        let gauges: [(&str, &str, Figure); 2] = [
            ("tally_table_files", "Files of the newest version of a table", |table| table.files),
            ("tally_table_bytes", "Their size in bytes", |table| table.bytes),
        ];
        for (name, help, figure) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (table, of) in &figures.tables {
                let value = ConstGauge::new(i64::try_from(figure(of)).unwrap_or(i64::MAX));
                value.encode(family.encode_family(&[("table", *table)])?)?;
            }
        }
        let (name, help) = ("tally_table_commits", "Versions of a table that there have been");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (table, of) in &figures.tables {
            ConstCounter::new(of.commits).encode(family.encode_family(&[("table", *table)])?)?;
        }
        let unpublished = i64::try_from(figures.unpublished_epochs).unwrap_or(i64::MAX);
        ConstGauge::new(unpublished).encode(encoder.encode_descriptor(
            "tally_unpublished_epochs",
            "Committed epochs with rows that the tables do not have yet",
            None,
            MetricType::Gauge,
        )?)
    }
}
