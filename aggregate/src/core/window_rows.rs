//! Rows of the window tables, gathered during an epoch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::UInt32Type;
use arrow::error::ArrowError;
use tally_schemas::{CLASS_COUNT, Table, TokenClass};

use crate::core::arrow_schema::in_memory_schema;
use crate::core::counts::Counts;
use crate::core::interner::{ABSENT, Interner};
use crate::core::window_sums::WindowSums;

/// Rows of one window table. `KEYS` is the number of its key columns, all of them texts.
#[derive(Debug, Clone)]
pub(crate) struct WindowRows<const KEYS: usize> {
    width_ms: i64,
    starts_ms: Vec<i64>,
    late: Vec<bool>,
    keys: [(Vec<u32>, Interner); KEYS],
    sums: [Counts; CLASS_COUNT],
    events: Vec<i64>,
}

impl<const KEYS: usize> WindowRows<KEYS> {
    pub(crate) fn new(width_ms: i64) -> Self {
        Self {
            width_ms,
            starts_ms: Vec::new(),
            late: Vec::new(),
            keys: std::array::from_fn(|_| Default::default()),
            sums: Default::default(),
            events: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn push(
        &mut self,
        start_ms: i64,
        late: bool,
        keys: [Option<&str>; KEYS],
        sums: &WindowSums,
    ) {
        let row = self.starts_ms.len();
        self.starts_ms.push(start_ms);
        self.late.push(late);
        for ((numbers, texts), key) in self.keys.iter_mut().zip(keys) {
            let last = numbers.last().copied().unwrap_or(ABSENT);
            numbers.push(match key {
                None => ABSENT,
                // Windows come sorted by nothing, yet models and vendors repeat.
                Some(key) if last != ABSENT && texts.get(last) == key => last,
                Some(key) => texts.intern(key),
            });
        }
        for (column, sum) in self.sums.iter_mut().zip(sums.all()) {
            column.push(row, sum.cast_signed());
        }
        self.events.push(sums.events.cast_signed());
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.starts_ms.len()
    }

    /// Bytes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.len() * (8 * (CLASS_COUNT + 2) + 1 + 4 * KEYS)
            + self.keys.iter().map(|(_, texts)| texts.memory_bytes()).sum::<usize>()
    }

    /// Columns that have the same number in every row.
    pub(crate) fn constant_columns(&self) -> Vec<&'static str> {
        let classes = TokenClass::ALL.into_iter().zip(&self.sums);
        let constant = classes.filter(|(_, sums)| sums.is_constant());
        constant.map(|(class, _)| class.name()).chain(["kafka_partition", "epoch"]).collect()
    }

    /// The rows as a batch of `table`'s in-memory schema.
    ///
    /// # Errors
    /// Where Arrow refuses a column.
    pub(crate) fn into_batch(
        self,
        table: Table,
        partition: u32,
        epoch: u64,
    ) -> Result<RecordBatch, ArrowError> {
        let rows = self.len();
        let instants = |offset_ms: i64| -> ArrayRef {
            let micros: Vec<i64> = self
                .starts_ms
                .iter()
                .map(|start| start.saturating_add(offset_ms).saturating_mul(1_000))
                .collect();
            Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
        };
        let kinds = UInt32Array::from_iter_values(self.late.iter().map(|late| u32::from(*late)));
        let kind_names = StringArray::from(vec!["on_time", "late"]);
        let mut columns: Vec<ArrayRef> = vec![
            instants(0),
            instants(self.width_ms),
            Arc::new(DictionaryArray::<UInt32Type>::try_new(kinds, Arc::new(kind_names))?),
        ];
        for (numbers, texts) in self.keys {
            let values = texts.array();
            let keys: UInt32Array = if numbers.contains(&ABSENT) {
                numbers.into_iter().map(|n| Some(n).filter(|n| *n != ABSENT)).collect()
            } else {
                UInt32Array::from(numbers)
            };
            columns.push(Arc::new(DictionaryArray::<UInt32Type>::try_new(keys, Arc::new(values))?));
        }
        for sums in self.sums {
            columns.push(Arc::new(sums.into_array(rows)));
        }
        columns.push(Arc::new(Int64Array::from(self.events)));
        columns.push(Arc::new(Int32Array::from(vec![partition.cast_signed(); rows])));
        columns.push(Arc::new(Int64Array::from(vec![epoch.cast_signed(); rows])));
        RecordBatch::try_new(in_memory_schema(table, &columns), columns)
    }
}
