//! Rows of `suspense`, gathered during an epoch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use tally_schemas::{SuspenseReason, Table, UsageEvent};

use crate::core::arrow_schema::in_memory_schema;

/// An event held back.
#[derive(Debug, Clone)]
pub(crate) struct SuspenseRow {
    pub(crate) reason: SuspenseReason,
    pub(crate) subreason: Option<String>,
    pub(crate) first_seen_ms: i64,
    pub(crate) raw: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) completed_at_ms: Option<i64>,
    pub(crate) gateway_epoch: Option<u64>,
    pub(crate) gateway_seq: Option<u64>,
    pub(crate) offset: u64,
    pub(crate) batch_index: u32,
}

impl SuspenseRow {
    /// A row with what could be read of the event.
    pub(crate) fn of(reason: SuspenseReason, event: &UsageEvent<'_>) -> Self {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            reason,
            subreason: None,
            first_seen_ms: 0,
            raw: None,
            source: some(&event.source),
            id: some(&event.id),
            account: some(&event.account),
            model: some(&event.model),
            completed_at_ms: event.completed_at_ms,
            gateway_epoch: event.gateway_epoch,
            gateway_seq: event.gateway_seq,
            offset: 0,
            batch_index: 0,
        }
    }
}

/// Payload bytes as text: as they came where they are UTF-8, else in hex after `hex:`.
pub(crate) fn raw_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let mut text = String::with_capacity(4 + 2 * bytes.len());
            text.push_str("hex:");
            for byte in bytes {
                text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                text.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
            text
        }
    }
}

impl SuspenseRows {
    /// The newest row, where it is of the record at `offset`.
    pub(crate) fn last_of(&self, offset: u64) -> Option<&SuspenseRow> {
        self.rows.last().filter(|row| row.offset == offset)
    }
}

/// The rows of one epoch.
#[derive(Debug, Clone, Default)]
pub(crate) struct SuspenseRows {
    rows: Vec<SuspenseRow>,
    bytes: usize,
}

impl SuspenseRows {
    /// Adds a row.
    pub(crate) fn push(&mut self, row: SuspenseRow) {
        self.bytes += row.raw.as_ref().map_or(0, String::len) + 300;
        self.rows.push(row);
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// The rows as a batch of the table's in-memory schema.
    ///
    /// # Errors
    /// Where Arrow refuses a column.
    pub(crate) fn into_batch(self, partition: u32, epoch: u64) -> Result<RecordBatch, ArrowError> {
        let rows = &self.rows;
        let text = |of: fn(&SuspenseRow) -> Option<&str>| -> ArrayRef {
            Arc::new(rows.iter().map(of).collect::<StringArray>())
        };
        let instant = |of: fn(&SuspenseRow) -> Option<i64>| -> ArrayRef {
            let micros: TimestampMicrosecondArray =
                rows.iter().map(|row| of(row).map(|ms| ms.saturating_mul(1_000))).collect();
            Arc::new(micros.with_timezone("UTC"))
        };
        // At most 2^53, as validation has it.
        let number = |of: fn(&SuspenseRow) -> Option<u64>| -> ArrayRef {
            let numbers = rows.iter().map(|row| of(row).map(u64::cast_signed));
            Arc::new(numbers.collect::<Int64Array>())
        };
        let columns: Vec<ArrayRef> = vec![
            text(|row| Some(row.reason.as_str())),
            text(|row| row.subreason.as_deref()),
            instant(|row| Some(row.first_seen_ms)),
            text(|row| row.raw.as_deref()),
            text(|_| Some("open")),
            text(|row| row.source.as_deref()),
            text(|row| row.id.as_deref()),
            text(|row| row.account.as_deref()),
            text(|row| row.model.as_deref()),
            instant(|row| row.completed_at_ms),
            Arc::new(Int32Array::from(vec![partition.cast_signed(); rows.len()])),
            Arc::new(rows.iter().map(|row| row.offset.cast_signed()).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.batch_index.cast_signed()).collect::<Int32Array>()),
            Arc::new(Int64Array::from(vec![epoch.cast_signed(); rows.len()])),
            number(|row| row.gateway_epoch),
            number(|row| row.gateway_seq),
        ];
        RecordBatch::try_new(in_memory_schema(Table::Suspense, &columns), columns)
    }
}
