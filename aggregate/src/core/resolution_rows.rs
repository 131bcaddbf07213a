//! Rows of `suspense_resolutions`, gathered during an epoch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use tally_schemas::{HeldPosition, SuspenseReason, Table, TokenClass, UsageCounts};

use crate::core::arrow_schema::in_memory_schema;

/// Bytes of a row without its texts, roughly.
const ROW_BYTES: usize = 300;

/// What became of a recycled event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recycled {
    /// A row of `usage_events`, at the place of the record.
    Accepted,
    /// Its identity had come meanwhile, with the same content.
    Duplicate,
    /// A correction that was carried out at the place of the record.
    Corrected,
}

/// How a row came out of suspense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    Recycled(Recycled),
    WrittenOff { why: String, approved_by: String },
}

/// A row that came out of suspense, and the record that took it out.
#[derive(Debug, Clone)]
pub(crate) struct ResolutionRow {
    pub(crate) held: HeldPosition,
    pub(crate) reason: SuspenseReason,
    pub(crate) way: Way,
    pub(crate) by: String,
    pub(crate) usage: UsageCounts,
    pub(crate) at_ms: i64,
    pub(crate) offset: u64,
}

impl ResolutionRow {
    const fn resolution(&self) -> &'static str {
        match self.way {
            Way::Recycled(_) => "recycled",
            Way::WrittenOff { .. } => "written_off",
        }
    }

    const fn outcome(&self) -> Option<&'static str> {
        match self.way {
            Way::Recycled(Recycled::Accepted) => Some("accepted"),
            Way::Recycled(Recycled::Duplicate) => Some("duplicate"),
            Way::Recycled(Recycled::Corrected) => Some("corrected"),
            Way::WrittenOff { .. } => None,
        }
    }

    fn why(&self) -> Option<&str> {
        match &self.way {
            Way::WrittenOff { why, .. } => Some(why),
            Way::Recycled(_) => None,
        }
    }

    fn approved_by(&self) -> Option<&str> {
        match &self.way {
            Way::WrittenOff { approved_by, .. } => Some(approved_by),
            Way::Recycled(_) => None,
        }
    }
}

/// The rows of one epoch.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResolutionRows {
    rows: Vec<ResolutionRow>,
    bytes: usize,
}

impl ResolutionRows {
    /// Adds a row.
    pub(crate) fn push(&mut self, row: ResolutionRow) {
        self.bytes += ROW_BYTES + row.by.len() + row.why().map_or(0, str::len);
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
        let text = |of: &dyn Fn(&ResolutionRow) -> Option<String>| -> ArrayRef {
            Arc::new(rows.iter().map(of).collect::<StringArray>())
        };
        let small = |of: fn(&ResolutionRow) -> u32| -> ArrayRef {
            Arc::new(rows.iter().map(|row| of(row).cast_signed()).collect::<Int32Array>())
        };
        let number = |of: &dyn Fn(&ResolutionRow) -> u64| -> ArrayRef {
            Arc::new(rows.iter().map(|row| of(row).cast_signed()).collect::<Int64Array>())
        };
        let at: TimestampMicrosecondArray =
            rows.iter().map(|row| Some(row.at_ms.saturating_mul(1_000))).collect();
        let mut columns: Vec<ArrayRef> = vec![
            small(|row| row.held.partition),
            number(&|row| row.held.offset),
            small(|row| row.held.batch_index),
            text(&|row| Some(row.resolution().to_owned())),
            text(&|row| row.outcome().map(str::to_owned)),
            text(&|row| Some(row.reason.as_str().to_owned())),
            text(&|row| row.why().map(str::to_owned)),
            text(&|row| Some(row.by.clone())),
            text(&|row| row.approved_by().map(str::to_owned)),
            Arc::new(at.with_timezone("UTC")),
        ];
        for class in TokenClass::ALL {
            // Counts are at most 2^53, as reading them has it.
            columns.push(number(&|row| row.usage.get(class)));
        }
        columns.extend([
            Arc::new(Int32Array::from(vec![partition.cast_signed(); rows.len()])) as ArrayRef,
            number(&|row| row.offset),
            small(|_| 0),
            Arc::new(Int64Array::from(vec![epoch.cast_signed(); rows.len()])),
        ]);
        RecordBatch::try_new(in_memory_schema(Table::SuspenseResolutions, &columns), columns)
    }
}
