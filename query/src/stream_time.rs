//! The stream's time that alerts are outstanding by: which windows and periods are over. A query of
//! an old version goes by the time that the stream had come to in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use tally_schemas::Table;
use tally_tables::{AsOf, PinnedTables};

use crate::error::QueryError;
use crate::gathered_table::RowSource;
use crate::ledger_view::LedgerView;
use crate::system_schema::{time_type, times};

/// The schema that views have it in. People do not see it: `system.partitions` says it of now.
pub(crate) const STREAM_TIME: &str = "stream_time";

/// Its name there.
pub(crate) const WATERMARKS: &str = "watermarks";

/// The tables that say how far a numbered version is. The same number of the others, which are written
/// less often, is of a later time.
const OF_VERSION: [Table; 3] = [Table::UsageEvents, Table::QuotaLedger, Table::Alerts];

/// One row a partition: its watermark, read when it is scanned.
#[derive(Debug)]
pub(crate) struct StreamTime {
    ledger: LedgerView,
    /// The old version that is read, and by what it was asked for; `None` is now.
    past: Option<(AsOf, Arc<PinnedTables>)>,
    schema: SchemaRef,
}

impl StreamTime {
    pub(crate) fn new(ledger: LedgerView, past: Option<(AsOf, Arc<PinnedTables>)>) -> Self {
        let watermark = Field::new("watermark", time_type(), true);
        Self { ledger, past, schema: Arc::new(Schema::new(vec![watermark])) }
    }
}

/// The newest epoch of each partition that a version has. As of a time any table tells it: an epoch in
/// which time passes and nothing else writes the windows that it closes.
fn epochs_of(as_of: AsOf, pin: &PinnedTables, topic: &str) -> BTreeMap<u32, u64> {
    let tells = |table: Table| match as_of {
        AsOf::TimestampMs(_) => true,
        AsOf::Version(_) => OF_VERSION.contains(&table),
    };
    let mut epochs = BTreeMap::new();
    for pinned in pin.iter().filter(|pinned| tells(pinned.table)) {
        for (partition, epoch) in pinned.published_epochs(topic) {
            let newest = epochs.entry(partition).or_insert(epoch);
            *newest = epoch.max(*newest);
        }
    }
    epochs
}

#[async_trait]
impl RowSource for StreamTime {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn rows(&self) -> Result<RecordBatch, QueryError> {
        let mut entries = Vec::new();
        if let Some((as_of, pin)) = &self.past {
            entries = self.ledger.at_epochs(epochs_of(*as_of, pin, self.ledger.topic())).await?;
        }
        // Of a version from before the topic was this one nothing else is known.
        if entries.is_empty() {
            entries = self.ledger.current_last().await?;
        }
        let watermarks = times(entries.iter().map(|stored| stored.entry.watermark_ms));
        RecordBatch::try_new(Arc::clone(&self.schema), vec![watermarks])
            .map_err(|error| QueryError::Internal(error.to_string()))
    }
}
