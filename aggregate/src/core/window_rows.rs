//! Rows of the window tables, gathered during an epoch.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::UInt32Type;
use arrow::error::ArrowError;
use tally_schemas::{Amounts, CLASS_COUNT, ModelSums, Table, TokenClass};

use crate::core::arrow_schema::in_memory_schema;
use crate::core::counts::Counts;
use crate::core::interner::{ABSENT, Interner};
use crate::core::window_sums::WindowSums;

/// Rows of one window table. `KEYS` is the number of its key columns, all of them texts; the first
/// `HOLDERS` of them name accounts and subscribers, of which there are many.
#[derive(Debug, Default, Clone)]
pub(crate) struct WindowRows<const HOLDERS: usize, const KEYS: usize> {
    starts_ms: Vec<i64>,
    late: Vec<bool>,
    keys: KeyColumns<KEYS>,
    holders: Interner,
    names: Interner,
    sums: [Counts; CLASS_COUNT],
    events: Vec<i64>,
    /// Micro-points and pico-currency; meaningful where the wholesale currency is given.
    points_micro: Vec<i128>,
    retail_pico: Vec<i128>,
    wholesale_pico: Vec<i128>,
}

/// Numbers of the key texts, a vector a column.
#[derive(Debug, Clone)]
struct KeyColumns<const KEYS: usize>([Vec<u32>; KEYS]);

impl<const KEYS: usize> Default for KeyColumns<KEYS> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Vec::new()))
    }
}

impl<const HOLDERS: usize, const KEYS: usize> WindowRows<HOLDERS, KEYS> {
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
        let mut holder = (None, ABSENT);
        for (at, (column, key)) in self.keys.0.iter_mut().zip(keys).enumerate() {
            column.push(match key {
                None => ABSENT,
                Some(key) if at >= HOLDERS => self.names.intern_recurring(key),
                // The subscriber is mostly the account.
                Some(key) if holder.0 == Some(key) => holder.1,
                Some(key) => {
                    holder = (Some(key), self.holders.intern(key));
                    holder.1
                }
            });
        }
        for (column, sum) in self.sums.iter_mut().zip(sums.all()) {
            column.push(row, sum.cast_signed());
        }
        self.events.push(sums.events.cast_signed());
        let Amounts { points_micro, retail_pico, wholesale_pico } = sums.amounts();
        self.points_micro.push(points_micro);
        self.retail_pico.push(retail_pico);
        self.wholesale_pico.push(wholesale_pico);
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.starts_ms.len()
    }

    /// Bytes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.len() * (8 * (CLASS_COUNT + 2) + 1 + 4 * KEYS + 3 * 16)
            + self.holders.memory_bytes()
            + self.names.memory_bytes()
    }

    /// When the window of a row begins, milliseconds UTC.
    pub(crate) fn start_ms(&self, row: usize) -> i64 {
        self.starts_ms[row]
    }

    /// The key of a row.
    pub(crate) fn key(&self, row: usize) -> [Option<&str>; KEYS] {
        std::array::from_fn(|at| {
            let number = self.keys.0[at][row];
            let texts = if at < HOLDERS { &self.holders } else { &self.names };
            (number != ABSENT).then(|| texts.get(number))
        })
    }

    /// The sums of a row.
    pub(crate) fn row_sums(&self, row: usize) -> ModelSums {
        ModelSums {
            events: i128::from(self.events[row]),
            usage: std::array::from_fn(|class| i128::from(self.sums[class].get(row))),
            points_micro: self.points_micro[row],
            retail_pico: self.retail_pico[row],
            wholesale_pico: self.wholesale_pico[row],
        }
    }

    /// Columns that have the same number in every row.
    pub(crate) fn constant_columns(&self) -> Vec<&'static str> {
        let classes = TokenClass::ALL.into_iter().zip(&self.sums);
        let constant = classes.filter(|(_, sums)| sums.is_constant());
        constant.map(|(class, _)| class.name()).chain(["kafka_partition", "epoch"]).collect()
    }

    /// Empties every column and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.starts_ms.clear();
        self.late.clear();
        self.keys.0.iter_mut().for_each(Vec::clear);
        self.holders.clear();
        self.names.clear();
        self.sums.iter_mut().for_each(Counts::clear);
        self.events.clear();
        for column in [&mut self.points_micro, &mut self.retail_pico, &mut self.wholesale_pico] {
            column.clear();
        }
    }

    /// The rows as batches of at most `piece` rows of `table`'s in-memory schema, whose windows
    /// are `width_ms` long. A batch is an error where Arrow refuses a column.
    pub(crate) fn batches(
        &self,
        (table, width_ms): (Table, i64),
        partition: u32,
        epoch: u64,
        piece: usize,
    ) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
        let kinds = StringArray::from(vec!["on_time", "late"]);
        // A row group knows a dictionary by its address: all batches have the same.
        let texts = [self.holders.array(), self.names.array(), kinds].map(Arc::new);
        (0..self.len()).step_by(piece).map(move |from| {
            let rows = from..self.len().min(from + piece);
            self.batch((table, width_ms), partition, epoch, &texts, rows)
        })
    }

    fn batch(
        &self,
        (table, width_ms): (Table, i64),
        partition: u32,
        epoch: u64,
        [holders, names, kind_names]: &[Arc<StringArray>; 3],
        rows: Range<usize>,
    ) -> Result<RecordBatch, ArrowError> {
        let starts = &self.starts_ms[rows.clone()];
        let instants = |offset_ms: i64| -> ArrayRef {
            let micros = starts.iter().map(|s| s.saturating_add(offset_ms).saturating_mul(1_000));
            Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
        };
        let late = &self.late[rows.clone()];
        let kinds = UInt32Array::from_iter_values(late.iter().map(|late| u32::from(*late)));
        let mut columns: Vec<ArrayRef> = vec![
            instants(0),
            instants(width_ms),
            Arc::new(DictionaryArray::<UInt32Type>::try_new(
                kinds,
                Arc::clone(kind_names) as ArrayRef,
            )?),
        ];
        for (at, numbers) in self.keys.0.iter().enumerate() {
            let numbers = &numbers[rows.clone()];
            let keys: UInt32Array = if numbers.contains(&ABSENT) {
                numbers.iter().map(|n| Some(*n).filter(|n| *n != ABSENT)).collect()
            } else {
                UInt32Array::from_iter_values(numbers.iter().copied())
            };
            let texts = Arc::clone(if at < HOLDERS { holders } else { names });
            columns.push(Arc::new(DictionaryArray::<UInt32Type>::try_new(keys, texts)?));
        }
        for sums in &self.sums {
            columns.push(Arc::new(sums.slice(rows.clone())));
        }
        columns.push(Arc::new(Int64Array::from(self.events[rows.clone()].to_vec())));
        // The last two keys are the currencies. Without one, the amount in it is absent: what was
        // only counted is not free.
        let in_currency = |back: usize| &self.keys.0[KEYS - back][rows.clone()];
        let decimals = |column: &[i128], currency: &[u32], scale: i8| {
            let amounts = column[rows.clone()].iter().zip(currency);
            let amounts =
                amounts.map(|(amount, currency)| (*currency != ABSENT).then_some(*amount));
            let amounts: Decimal128Array = if currency.contains(&ABSENT) {
                amounts.collect()
            } else {
                column[rows.clone()].to_vec().into()
            };
            amounts.with_precision_and_scale(38, scale).map(|array| Arc::new(array) as ArrayRef)
        };
        columns.push(decimals(&self.points_micro, in_currency(1), 6)?);
        columns.push(decimals(&self.retail_pico, in_currency(2), 12)?);
        columns.push(decimals(&self.wholesale_pico, in_currency(1), 12)?);
        columns.push(Arc::new(Int32Array::from(vec![partition.cast_signed(); rows.len()])));
        columns.push(Arc::new(Int64Array::from(vec![epoch.cast_signed(); rows.len()])));
        RecordBatch::try_new(in_memory_schema(table, &columns), columns)
    }
}
