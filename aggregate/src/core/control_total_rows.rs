//! Rows of `control_totals`, gathered during an epoch.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use tally_schemas::{GatewayTotal, Table, TokenClass};

use crate::core::arrow_schema::in_memory_schema;

/// Bytes of a row, roughly.
const ROW_BYTES: usize = 300;

/// A gateway's total, and where it lies in the log.
#[derive(Debug, Clone)]
pub(crate) struct ControlTotalRow {
    pub(crate) total: GatewayTotal,
    pub(crate) received_ms: i64,
    pub(crate) offset: u64,
}

/// The rows of one epoch.
#[derive(Debug, Clone, Default)]
pub(crate) struct ControlTotalRows(Vec<ControlTotalRow>);

impl ControlTotalRows {
    /// Adds a row.
    pub(crate) fn push(&mut self, row: ControlTotalRow) {
        self.0.push(row);
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.len() * ROW_BYTES
    }

    /// The rows as a batch of the table's in-memory schema.
    ///
    /// # Errors
    /// Where Arrow refuses a column.
    pub(crate) fn into_batch(self, partition: u32, epoch: u64) -> Result<RecordBatch, ArrowError> {
        let rows = &self.0;
        // Counts are at most 2^53, as reading them has it.
        let number = |of: &dyn Fn(&ControlTotalRow) -> Option<u64>| -> ArrayRef {
            let numbers = rows.iter().map(|row| of(row).map(u64::cast_signed));
            Arc::new(numbers.collect::<Int64Array>())
        };
        let instant = |of: fn(&ControlTotalRow) -> i64| -> ArrayRef {
            let micros: TimestampMicrosecondArray =
                rows.iter().map(|row| Some(of(row).saturating_mul(1_000))).collect();
            Arc::new(micros.with_timezone("UTC"))
        };
        let sources = rows.iter().map(|row| Some(row.total.source.as_str()));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(sources.collect::<StringArray>()),
            number(&|row| row.total.gateway_epoch),
            instant(|row| row.total.hour_ms),
            number(&|row| Some(row.total.events)),
            number(&|row| row.total.seqs.map(|seqs| seqs.0)),
            number(&|row| row.total.seqs.map(|seqs| seqs.1)),
            instant(|row| row.received_ms),
        ];
        for class in TokenClass::ALL {
            columns.push(number(&|row| Some(row.total.usage.get(class))));
        }
        columns.extend([
            Arc::new(Int32Array::from(vec![partition.cast_signed(); rows.len()])) as ArrayRef,
            number(&|row| Some(row.offset)),
            Arc::new(Int32Array::from(vec![0; rows.len()])),
            Arc::new(Int64Array::from(vec![epoch.cast_signed(); rows.len()])),
        ]);
        RecordBatch::try_new(in_memory_schema(Table::ControlTotals, &columns), columns)
    }
}
