//! An epoch of the second stage as objects: the rows of `alerts`, the state, and the ledger entry
//! that will make them count.

use bytes::Bytes;
use tally_budget::BudgetAlert;
use tally_schemas::{
    ControlTotals, DataFile, EntryKind, LedgerEntry, SourcePosition, StateFile, Table,
};

use crate::core::blake3_hex;
use crate::core::quota_rows::{AlertRows, Cause};
use crate::epoch_files::object_path;
use crate::error::AggregateError;
use crate::ledger::StoredEntry;
use crate::parquet_file::{NewFile, write_file};

/// What an epoch of the second stage gathered.
#[derive(Debug)]
pub(crate) struct ClosedBudgetEpoch {
    pub(crate) to: u64,
    pub(crate) input_hash: String,
    pub(crate) records: u64,
    /// Alerts, and the offset of the message that each came of.
    pub(crate) alerts: Vec<(BudgetAlert, u64)>,
    pub(crate) sources: Vec<SourcePosition>,
    pub(crate) watermark_ms: Option<i64>,
    pub(crate) state: Vec<u8>,
    /// Whether the state is everything, and not what changed.
    pub(crate) is_base: bool,
}

/// Encodes an epoch as the entry after `last`: objects with their paths, and the entry.
///
/// # Errors
/// `Data` where a column cannot be written.
pub(crate) fn encode_budget_epoch(
    closed: ClosedBudgetEpoch,
    last: &StoredEntry,
    owner: &str,
    now_ms: i64,
) -> Result<(Vec<(String, Bytes)>, LedgerEntry), AggregateError> {
    let before = &last.entry;
    let n = before.n + 1;
    let mut objects = Vec::new();
    let mut files = Vec::new();
    if !closed.alerts.is_empty() {
        let (file, bytes) = alerts_file(&closed.alerts, n, owner)?;
        objects.push((object_path(&file), bytes));
        files.push(file);
    }
    let mut state = before.state.clone();
    let kind = if closed.is_base { "base" } else { "delta" };
    let file = StateFile {
        path: format!("state/{}/{}/{kind}-{n:020}-{owner}.state", before.topic, before.partition),
        bytes: closed.state.len() as u64,
        hash: blake3_hex(&closed.state),
    };
    objects.push((file.path.clone(), Bytes::from(closed.state)));
    if closed.is_base {
        state.base = Some(file);
        state.deltas.clear();
    } else {
        state.deltas.push(file);
    }
    let totals = ControlTotals { records: closed.records, ..ControlTotals::default() };
    let mut cumulative = before.cumulative.clone();
    cumulative.merge(&totals);
    let entry = LedgerEntry {
        format: before.format,
        topic: before.topic.clone(),
        partition: before.partition,
        partition_count: before.partition_count,
        log: before.log.clone(),
        moving_to: None,
        n,
        kind: EntryKind::Epoch,
        owner: owner.to_owned(),
        address: None,
        from: before.to,
        to: closed.to,
        input_hash: closed.input_hash,
        files,
        state,
        totals,
        cumulative,
        models: Vec::new(),
        sources: closed.sources,
        watermark_ms: closed.watermark_ms,
        reference_version: String::new(),
        next_reference: None,
        committed_at_ms: now_ms,
        alerts_ends: before.alerts_ends.clone(),
        clock: None,
        previous: last.hash.clone(),
    };
    Ok((objects, entry))
}

fn alerts_file(
    alerts: &[(BudgetAlert, u64)],
    n: u64,
    owner: &str,
) -> Result<(DataFile, Bytes), AggregateError> {
    let mut rows = AlertRows::default();
    for (alert, offset) in alerts {
        rows.push_budget(alert, Cause { offset: *offset, batch_index: 0 });
    }
    // Not the name that an epoch of a partition has.
    let name = format!("budgets-{n:012}-{owner}.parquet");
    let constant = ["kafka_partition", "epoch"];
    write_file(NewFile::of(Table::Alerts, &name, &constant), [rows.batch(0, n)])
        .map_err(|error| AggregateError::Damaged(format!("{name}: {error}")))
}
