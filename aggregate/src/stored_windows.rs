//! Reads the open subscriber windows of a partition from its stored state: what `verify` adds to
//! the rows of `usage_by_subscriber`.

use arrow::array::RecordBatch;
use object_store::ObjectStore;
use tally_schemas::{AggregateConfig, LedgerEntry};

use crate::core::StoredWindows;
use crate::error::AggregateError;
use crate::owner::{damaged, read_checked};

/// The subscriber windows that are open after a ledger entry, as rows of `usage_by_subscriber`.
/// State objects are read one at a time, and of them only the windows are kept.
///
/// # Errors
/// `Data` where an object is missing or is not what the entry says; `Retry` while the store is
/// away.
pub async fn stored_windows(
    store: &dyn ObjectStore,
    last: &LedgerEntry,
) -> Result<Vec<RecordBatch>, AggregateError> {
    // A setting says how windows are cut when events come, not what is in them.
    let width_ms = AggregateConfig::default().subscriber_window_ms.cast_signed();
    let mut windows = StoredWindows::new(width_ms);
    for file in last.state.base.iter().chain(&last.state.deltas) {
        let bytes = read_checked(store, file).await?;
        windows.apply(&bytes).map_err(|bad| damaged(file, bad.0))?;
    }
    windows.batches(width_ms, last.partition, last.n).map_err(|error| {
        AggregateError::Damaged(format!("windows of partition {}: {error}", last.partition))
    })
}
