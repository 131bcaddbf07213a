//! Rows of `quota_ledger` and `alerts`, gathered during an epoch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, DictionaryArray, Int32Array, Int64Array, RecordBatch,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::UInt32Type;
use arrow::error::ArrowError;
use tally_quota::{Alert, LedgerRow};
use tally_schemas::Table;

use crate::core::arrow_schema::in_memory_schema;
use crate::core::interner::{ABSENT, Interner};

/// Where the record lies that caused a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cause {
    pub(crate) offset: u64,
    pub(crate) batch_index: u32,
}

/// Text columns of one table whose texts are numbered together, instants, decimals, and where the
/// rows come from.
#[derive(Debug, Clone)]
struct RowColumns<const TEXTS: usize, const DECIMALS: usize> {
    names: Interner,
    texts: [Vec<u32>; TEXTS],
    decimals: [Vec<Option<i128>>; DECIMALS],
    at_ms: Vec<i64>,
    causes: Vec<Cause>,
}

impl<const TEXTS: usize, const DECIMALS: usize> Default for RowColumns<TEXTS, DECIMALS> {
    fn default() -> Self {
        Self {
            names: Interner::default(),
            texts: std::array::from_fn(|_| Vec::new()),
            decimals: std::array::from_fn(|_| Vec::new()),
            at_ms: Vec::new(),
            causes: Vec::new(),
        }
    }
}

impl<const TEXTS: usize, const DECIMALS: usize> RowColumns<TEXTS, DECIMALS> {
    fn push(
        &mut self,
        texts: [Option<&str>; TEXTS],
        decimals: [Option<i128>; DECIMALS],
        at_ms: i64,
        cause: Cause,
    ) {
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.push(text.map_or(ABSENT, |text| self.names.intern_recurring(text)));
        }
        for (column, decimal) in self.decimals.iter_mut().zip(decimals) {
            column.push(decimal);
        }
        self.at_ms.push(at_ms);
        self.causes.push(cause);
    }

    fn len(&self) -> usize {
        self.at_ms.len()
    }

    fn memory_bytes(&self) -> usize {
        self.len() * (TEXTS * 4 + DECIMALS * 32 + 8 + 16) + self.names.memory_bytes()
    }

    fn clear(&mut self) {
        self.names.clear();
        self.texts.iter_mut().for_each(Vec::clear);
        self.decimals.iter_mut().for_each(Vec::clear);
        self.at_ms.clear();
        self.causes.clear();
    }

    fn text(&self, column: usize, names: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let numbers = self.texts[column].iter();
        let keys: UInt32Array = numbers.map(|n| Some(*n).filter(|n| *n != ABSENT)).collect();
        Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(keys, Arc::clone(names))?))
    }

    fn decimal(&self, column: usize, scale: i8) -> Result<ArrayRef, ArrowError> {
        let array: Decimal128Array = self.decimals[column].iter().copied().collect();
        Ok(Arc::new(array.with_precision_and_scale(38, scale)?))
    }

    /// Partition, offset, index and epoch, which end every table.
    fn tail(&self, partition: u32, epoch: u64) -> [ArrayRef; 4] {
        let offsets = self.causes.iter().map(|cause| cause.offset.cast_signed());
        let indices = self.causes.iter().map(|cause| cause.batch_index.cast_signed());
        [
            Arc::new(Int32Array::from(vec![partition.cast_signed(); self.len()])),
            Arc::new(Int64Array::from_iter_values(offsets)),
            Arc::new(Int32Array::from_iter_values(indices)),
            Arc::new(Int64Array::from(vec![epoch.cast_signed(); self.len()])),
        ]
    }

    fn names(&self) -> ArrayRef {
        Arc::new(self.names.array())
    }
}

fn instants(ms: impl Iterator<Item = i64>) -> ArrayRef {
    let micros = TimestampMicrosecondArray::from_iter_values(ms.map(|ms| ms.saturating_mul(1_000)));
    Arc::new(micros.with_timezone("UTC"))
}

/// Rows of `quota_ledger`.
#[derive(Debug, Clone, Default)]
pub(crate) struct QuotaLedgerRows(RowColumns<11, 3>);

impl QuotaLedgerRows {
    pub(crate) fn push(&mut self, row: &LedgerRow<'_>, cause: Cause) {
        let currency = row.currency;
        let texts = [
            Some(row.account),
            row.subscriber,
            row.bucket,
            row.package,
            Some(row.kind.name()),
            row.cause.map(tally_quota::OverrunCause::name),
            currency.as_ref().map(tally_schemas::Currency::code),
            row.event.map(|(source, _)| source),
            row.event.map(|(_, id)| id),
            row.command,
            None,
        ];
        let decimals = [Some(row.points_micro), Some(row.amount_pico), row.balance_after_micro];
        self.0.push(texts, decimals, row.at_ms, cause);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The rows as a batch of the table's in-memory schema.
    ///
    /// # Errors
    /// Where Arrow refuses a column.
    pub(crate) fn batch(&self, partition: u32, epoch: u64) -> Result<RecordBatch, ArrowError> {
        let rows = &self.0;
        let names = rows.names();
        let text = |column| rows.text(column, &names);
        let mut columns = vec![
            text(0)?,
            text(1)?,
            text(2)?,
            text(3)?,
            text(4)?,
            text(5)?,
            rows.decimal(0, 6)?,
            rows.decimal(1, 12)?,
            text(6)?,
            rows.decimal(2, 6)?,
            text(7)?,
            text(8)?,
            text(9)?,
            instants(rows.at_ms.iter().copied()),
        ];
        columns.extend(rows.tail(partition, epoch));
        RecordBatch::try_new(in_memory_schema(Table::QuotaLedger, &columns), columns)
    }
}

/// Rows of `alerts`.
#[derive(Debug, Clone, Default)]
pub(crate) struct AlertRows {
    rows: RowColumns<12, 2>,
    period_start_ms: Vec<i64>,
    thresholds: Vec<i64>,
}

impl AlertRows {
    pub(crate) fn push(&mut self, alert: &Alert<'_>, cause: Cause) {
        let texts = [
            Some(alert.id),
            Some(alert.kind),
            Some(alert.account),
            alert.subscriber,
            None,
            alert.package,
            alert.bucket,
            Some(alert.counter),
            alert.event.map(|(source, _)| source),
            alert.event.map(|(_, id)| id),
            alert.superseded_by,
            alert.corrects,
        ];
        self.rows.push(texts, [Some(alert.used), alert.allowance], alert.at_ms, cause);
        self.period_start_ms.push(alert.period_start_ms);
        self.thresholds.push(alert.threshold);
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.len() * 16
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.period_start_ms.clear();
        self.thresholds.clear();
    }

    /// The rows as a batch of the table's in-memory schema.
    ///
    /// # Errors
    /// Where Arrow refuses a column.
    pub(crate) fn batch(&self, partition: u32, epoch: u64) -> Result<RecordBatch, ArrowError> {
        let rows = &self.rows;
        let names = rows.names();
        let text = |column| rows.text(column, &names);
        let mut columns = vec![
            text(0)?,
            text(1)?,
            text(2)?,
            text(3)?,
            text(4)?,
            text(5)?,
            text(6)?,
            instants(self.period_start_ms.iter().copied()),
            text(7)?,
            Arc::new(Int64Array::from(self.thresholds.clone())) as ArrayRef,
            rows.decimal(0, 6)?,
            rows.decimal(1, 6)?,
            instants(rows.at_ms.iter().copied()),
            text(8)?,
            text(9)?,
            text(10)?,
            text(11)?,
        ];
        columns.extend(rows.tail(partition, epoch));
        RecordBatch::try_new(in_memory_schema(Table::Alerts, &columns), columns)
    }
}
