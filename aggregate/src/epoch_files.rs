//! A closed epoch as objects: Parquet files of every table, state, segments, and the ledger entry
//! that will make them count.

use std::collections::BTreeMap;

use bytes::Bytes;
use parquet::errors::ParquetError;
use tally_schemas::{DataFile, EntryKind, LedgerEntry, StateFile, Table};

use crate::core::{ClosedEpoch, EpochState, SpareColumns, blake3_hex};
use crate::error::AggregateError;
use crate::ledger::StoredEntry;
use crate::parquet_file::{NewFile, iso_date, write_file};
use crate::planted::{Bug, planted};

/// An epoch ready for the store: first the objects, then the entry.
#[derive(Debug, Clone)]
pub struct EncodedEpoch {
    /// Objects with their paths below the store's root. The paths are this owner's own;
    /// those of segments follow from their content.
    pub objects: Vec<(String, Bytes)>,
    /// The entry whose creation is the commit.
    pub entry: LedgerEntry,
    /// The columns that the epoch was gathered in, for [`Partition::reuse`](crate::Partition::reuse).
    pub spare: SpareColumns,
}

/// Rows that are turned into Arrow arrays at a time.
const BATCH_ROWS: usize = 16_384;

/// Encodes an epoch as the entry after `last`.
///
/// # Errors
/// `Data` where the epoch's own totals do not add up (I1, I12), or a column cannot be written.
pub fn encode_epoch(
    closed: ClosedEpoch,
    last: &StoredEntry,
    owner: &str,
    now_ms: i64,
) -> Result<EncodedEpoch, AggregateError> {
    if !closed.totals.conserved() {
        return Err(AggregateError::Damaged(format!(
            "offsets {}..{}: received and recycled is not accepted + suspended + duplicates (I1)",
            closed.from, closed.to
        )));
    }
    let (partition, n) = (closed.partition, last.entry.n + 1);
    let mut files = Vec::new();
    let mut objects = Vec::new();
    let name = format!("part-{partition:05}-{n:012}-{owner}.parquet");
    let mut keep = |written: Result<(DataFile, Bytes), ParquetError>| {
        let (file, bytes) = written.map_err(|e| AggregateError::Damaged(format!("{name}: {e}")))?;
        objects.push((object_path(&file), bytes));
        files.push(file);
        Ok::<(), AggregateError>(())
    };
    if closed.events.len() > 0 {
        let constant = closed.events.constant_columns();
        let texts = closed.events.dictionaries(partition, n, &closed.price_book_version);
        for (day, order) in closed.events.days() {
            let date = iso_date(i64::from(day));
            let new = NewFile {
                table: Table::UsageEvents,
                path: format!("day={date}/{name}"),
                partition_values: BTreeMap::from([("day".to_owned(), date)]),
                // At most as many accounts as rows; the filter's size follows from it.
                accounts: (order.len() as u64).min(100_000),
                constant: &constant,
            };
            // In pieces, so that their memory is used again instead of being asked for.
            let pieces = order.chunks(BATCH_ROWS);
            keep(write_file(new, pieces.map(|rows| closed.events.batch(rows, &texts))))?;
        }
    }
    if closed.subscriber_rows.len() > 0 {
        let table = (Table::UsageBySubscriber, closed.subscriber_window_ms);
        let batches = closed.subscriber_rows.batches(table, partition, n, BATCH_ROWS);
        let constant = closed.subscriber_rows.constant_columns();
        keep(write_file(NewFile::of(table.0, &name, &constant), batches))?;
    }
    let models = closed.model_rows.increments().ok_or_else(|| {
        AggregateError::Damaged(format!("{name}: the sums by model pass what can be added"))
    })?;
    if closed.model_rows.len() > 0 {
        let table = (Table::UsageByModel, closed.model_window_ms);
        let batches = closed.model_rows.batches(table, partition, n, BATCH_ROWS);
        let constant = closed.model_rows.constant_columns();
        keep(write_file(NewFile::of(table.0, &name, &constant), batches))?;
    }
    if closed.suspense.len() > 0 {
        let batch = closed.suspense.into_batch(partition, n);
        let constant = ["kafka_partition", "epoch"];
        keep(write_file(NewFile::of(Table::Suspense, &name, &constant), [batch]))?;
    }
    if closed.control_totals.len() > 0 {
        let batch = closed.control_totals.into_batch(partition, n);
        keep(write_file(NewFile::of(Table::ControlTotals, &name, &[]), [batch]))?;
    }
    if closed.resolutions.len() > 0 {
        let batch = closed.resolutions.into_batch(partition, n);
        keep(write_file(NewFile::of(Table::SuspenseResolutions, &name, &[]), [batch]))?;
    }
    if closed.quota_ledger.len() > 0 {
        let constant = closed.quota_ledger.constant_columns();
        let batch = closed.quota_ledger.batch(partition, n);
        keep(write_file(NewFile::of(Table::QuotaLedger, &name, &constant), [batch]))?;
    }
    let constant = ["kafka_partition", "epoch"];
    if closed.alerts.len() > 0 && !planted(Bug::AlertRowLost) {
        let batch = closed.alerts.batch(partition, n);
        keep(write_file(NewFile::of(Table::Alerts, &name, &constant), [batch]))?;
    }
    let mut spare = SpareColumns {
        events: closed.events,
        subscriber_rows: closed.subscriber_rows,
        model_rows: closed.model_rows,
        quota_ledger: closed.quota_ledger,
        alerts: closed.alerts,
    };
    spare.clear();
    let topic = &last.entry.topic;
    let mut state = last.entry.state.clone();
    let (kind, bytes) = match closed.state {
        EpochState::Base(bytes) => ("base", bytes),
        EpochState::Delta(bytes) => ("delta", bytes),
    };
    let file = StateFile {
        path: format!("state/{topic}/{partition}/{kind}-{n:020}-{owner}.state"),
        bytes: bytes.len() as u64,
        hash: blake3_hex(&bytes),
    };
    objects.push((file.path.clone(), Bytes::from(bytes)));
    if kind == "base" {
        state.base = Some(file);
        state.deltas.clear();
    } else {
        state.deltas.push(file);
    }
    objects.extend(closed.segments.into_iter().map(|(path, bytes)| (path, Bytes::from(bytes))));
    let entry = LedgerEntry {
        format: last.entry.format,
        topic: topic.clone(),
        partition,
        partition_count: last.entry.partition_count,
        log: last.entry.log.clone(),
        moving_to: None,
        n,
        kind: EntryKind::Epoch,
        owner: owner.to_owned(),
        address: None,
        from: closed.from,
        to: closed.to,
        input_hash: closed.input_hash,
        files,
        state,
        totals: closed.totals,
        cumulative: closed.cumulative,
        models,
        sources: Vec::new(),
        watermark_ms: closed.watermark_ms,
        reference_version: closed.reference.to_string(),
        next_reference: Some(closed.next_reference),
        committed_at_ms: now_ms,
        alerts_ends: last.entry.alerts_ends.clone(),
        clock: closed.clock,
        previous: last.hash.clone(),
    };
    Ok(EncodedEpoch { objects, entry, spare })
}

/// Path of a data file below the store's root.
pub fn object_path(file: &DataFile) -> String {
    format!("tables/{}/{}", file.table, file.path)
}
