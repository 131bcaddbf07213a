//! A closed epoch as objects: Parquet files of every table, state, segments, and the ledger entry
//! that will make them count.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use bytes::Bytes;
use tally_schemas::{DataFile, EntryKind, LEDGER_FORMAT, LedgerEntry, StateFile, Table};

use crate::core::{ClosedEpoch, EpochState, blake3_hex};
use crate::error::AggregateError;
use crate::ledger::StoredEntry;
use crate::parquet_file::{iso_date, write_file};

/// An epoch ready for the store: first the objects, then the entry.
#[derive(Debug, Clone)]
pub struct EncodedEpoch {
    /// Objects with their paths below the store's root. The paths are this owner's own.
    pub objects: Vec<(String, Bytes)>,
    /// The entry whose creation is the commit.
    pub entry: LedgerEntry,
}

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
            "offsets {}..{}: received is not accepted + suspended + duplicates (I1)",
            closed.from, closed.to
        )));
    }
    let (partition, n) = (closed.partition, last.entry.n + 1);
    let mut files = Vec::new();
    let mut objects = Vec::new();
    let name = format!("part-{partition:05}-{n:012}-{owner}.parquet");
    let mut write = |table: Table, day: Option<i32>, batch: &RecordBatch, accounts: u64| {
        let mut values = BTreeMap::new();
        let path = match day {
            Some(day) => {
                let date = iso_date(i64::from(day));
                values.insert("day".to_owned(), date.clone());
                format!("day={date}/{name}")
            }
            None => name.clone(),
        };
        let (file, bytes) = write_file(table, path, values, batch, accounts)
            .map_err(|e| AggregateError::Damaged(format!("{}: {e}", table.name())))?;
        objects.push((object_path(&file), bytes));
        files.push(file);
        Ok::<(), AggregateError>(())
    };
    let arrow = |e: arrow::error::ArrowError| AggregateError::Damaged(e.to_string());
    if closed.events.len() > 0 {
        for (day, batch) in closed.events.into_days(partition, n).map_err(arrow)? {
            // At most as many accounts as rows; the filter's size follows from it.
            let accounts = (batch.num_rows() as u64).min(100_000);
            write(Table::UsageEvents, Some(day), &batch, accounts)?;
        }
    }
    if closed.subscriber_rows.len() > 0 {
        let batch = closed.subscriber_rows.into_batch(Table::UsageBySubscriber, partition, n);
        write(Table::UsageBySubscriber, None, &batch.map_err(arrow)?, 0)?;
    }
    if closed.model_rows.len() > 0 {
        let batch = closed.model_rows.into_batch(Table::UsageByModel, partition, n);
        write(Table::UsageByModel, None, &batch.map_err(arrow)?, 0)?;
    }
    if closed.suspense.len() > 0 {
        let batch = closed.suspense.into_batch(partition, n).map_err(arrow)?;
        write(Table::Suspense, None, &batch, 0)?;
    }
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
        format: LEDGER_FORMAT,
        topic: topic.clone(),
        partition,
        partition_count: last.entry.partition_count,
        n,
        kind: EntryKind::Epoch,
        owner: owner.to_owned(),
        from: closed.from,
        to: closed.to,
        input_hash: closed.input_hash,
        files,
        state,
        totals: closed.totals,
        cumulative: closed.cumulative,
        watermark_ms: closed.watermark_ms,
        reference_version: closed.reference_version,
        committed_at_ms: now_ms,
        previous: last.hash.clone(),
    };
    Ok(EncodedEpoch { objects, entry })
}

/// Path of a data file below the store's root.
pub fn object_path(file: &DataFile) -> String {
    format!("tables/{}/{}", file.table, file.path)
}
