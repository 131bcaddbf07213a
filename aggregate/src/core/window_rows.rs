//! Rows of the window tables, gathered during an epoch.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::UInt32Type;
use arrow::error::ArrowError;
use tally_schemas::{Amounts, CLASS_COUNT, ModelSums, Table, TokenClass, UsageCounts};

use crate::core::arrow_schema::in_memory_schema;
use crate::core::counts::Counts;
use crate::core::interner::{ABSENT, Interner};
use crate::core::text_column::{is_absent, keys_of};
use crate::core::window_sums::WindowSums;

/// What a row adds to its window; as a number the place of its word in the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum WindowKind {
    OnTime = 0,
    Late = 1,
    Corrected = 2,
}

impl WindowKind {
    const fn of(late: bool) -> Self {
        if late { Self::Late } else { Self::OnTime }
    }
}

/// The words of the column `kind`.
const KIND_NAMES: [&str; 3] = ["on_time", "late", "corrected"];

/// Rows of one window table. `KEYS` is the number of its key columns, all of them texts; the first
/// `HOLDERS` of them name accounts and subscribers, of which there are many.
#[derive(Debug, Default, Clone)]
pub(crate) struct WindowRows<const HOLDERS: usize, const KEYS: usize> {
    starts_ms: Vec<i64>,
    kinds: Vec<WindowKind>,
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

/// Numbers of texts that many rows have in common.
pub(crate) type CommonNames = [u32; 4];

/// Rows of accounts and subscribers.
impl WindowRows<2, 6> {
    /// Numbers names for [`Self::push_named`].
    pub(crate) fn number_names(&mut self, names: [Option<&str>; 4]) -> CommonNames {
        names.map(|name| name.map_or(ABSENT, |name| self.names.intern_recurring(name)))
    }

    /// Adds a row whose names are numbered.
    pub(crate) fn push_named(
        &mut self,
        (start_ms, late): (i64, bool),
        (account, subscriber): (&str, &str),
        names: CommonNames,
        sums: &WindowSums,
    ) {
        let row = self.starts_ms.len();
        self.starts_ms.push(start_ms);
        self.kinds.push(WindowKind::of(late));
        let account_number = self.holders.intern(account);
        // The subscriber is mostly the account.
        let subscriber_number =
            if subscriber == account { account_number } else { self.holders.intern(subscriber) };
        let [model, vendor, retail, wholesale] = names;
        let numbers = [account_number, subscriber_number, model, vendor, retail, wholesale];
        for (column, number) in self.keys.0.iter_mut().zip(numbers) {
            column.push(number);
        }
        self.push_sums(row, sums);
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
        let row = self.push_key(start_ms, WindowKind::of(late), keys);
        self.push_sums(row, sums);
    }

    /// Adds sums to the row that was begun.
    fn push_sums(&mut self, row: usize, sums: &WindowSums) {
        for (column, sum) in self.sums.iter_mut().zip(sums.all()) {
            column.push(row, sum.cast_signed());
        }
        self.push_amounts(sums.events.cast_signed(), sums.amounts());
    }

    /// Adds a row that takes one event back.
    pub(crate) fn push_reversal(
        &mut self,
        start_ms: i64,
        keys: [Option<&str>; KEYS],
        counts: &UsageCounts,
        amounts: Amounts,
    ) {
        let row = self.push_key(start_ms, WindowKind::Corrected, keys);
        for (column, count) in self.sums.iter_mut().zip(counts.0) {
            column.push(row, -count.cast_signed());
        }
        let Amounts { points_micro, retail_pico, wholesale_pico } = amounts;
        let (points_micro, retail_pico, wholesale_pico) =
            (-points_micro, -retail_pico, -wholesale_pico);
        self.push_amounts(-1, Amounts { points_micro, retail_pico, wholesale_pico });
    }

    /// Begins a row, and tells its number.
    fn push_key(&mut self, start_ms: i64, kind: WindowKind, keys: [Option<&str>; KEYS]) -> usize {
        let row = self.starts_ms.len();
        self.starts_ms.push(start_ms);
        self.kinds.push(kind);
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
        row
    }

    fn push_amounts(&mut self, events: i64, amounts: Amounts) {
        let Amounts { points_micro, retail_pico, wholesale_pico } = amounts;
        self.events.push(events);
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
        let [retail, wholesale] = [2, 1].map(|back| is_absent(&self.keys.0[KEYS - back]));
        let others = [
            ("points", wholesale),
            ("retail_amount", retail),
            ("wholesale_amount", wholesale),
            ("kafka_partition", true),
            ("epoch", true),
        ];
        let others = others.into_iter().filter_map(|(name, is)| is.then_some(name));
        constant.map(|(class, _)| class.name()).chain(others).collect()
    }

    /// Empties every column and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.starts_ms.clear();
        self.kinds.clear();
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
        let kinds = StringArray::from(KIND_NAMES.to_vec());
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
        let kinds = self.kinds[rows.clone()].iter().map(|kind| u32::from(*kind as u8));
        let kinds = UInt32Array::from_iter_values(kinds);
        let mut columns: Vec<ArrayRef> = vec![
            instants(0),
            instants(width_ms),
            Arc::new(DictionaryArray::<UInt32Type>::try_new(
                kinds,
                Arc::clone(kind_names) as ArrayRef,
            )?),
        ];
        for (at, numbers) in self.keys.0.iter().enumerate() {
            let keys = keys_of(numbers[rows.clone()].to_vec());
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
            let column = &column[rows.clone()];
            let amounts: Decimal128Array = if is_absent(currency) {
                Decimal128Array::new_null(column.len())
            } else if currency.contains(&ABSENT) {
                let amounts = column.iter().zip(currency);
                amounts.map(|(amount, of)| (*of != ABSENT).then_some(*amount)).collect()
            } else {
                column.to_vec().into()
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
