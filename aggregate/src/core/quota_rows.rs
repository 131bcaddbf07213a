//! Rows of `quota_ledger` and `alerts`, gathered during an epoch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::error::ArrowError;
use tally_budget::BudgetAlert;
use tally_quota::{Alert, LedgerRow, OverrunCause};
use tally_schemas::Table;

use crate::core::arrow_schema::in_memory_schema;
use crate::core::few_words::{FewWords, LastCurrency};
use crate::core::interner::{ABSENT, Interner};
use crate::core::text_column::{Names, Texts};

/// Where the record lies that caused a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cause {
    pub(crate) offset: u64,
    pub(crate) batch_index: u32,
}

/// What both tables have: who, texts that recur, the event, instants, decimals, and where the rows
/// come from.
#[derive(Debug, Clone)]
struct RowColumns<const TEXTS: usize, const DECIMALS: usize> {
    /// Accounts and subscribers.
    holders: Interner,
    account: Names,
    subscriber: Names,
    /// Texts that recur within a few hundred.
    names: Interner,
    texts: [Names; TEXTS],
    event_source: Names,
    event_id: Texts,
    decimals: [Decimals; DECIMALS],
    at_ms: Vec<i64>,
    causes: Vec<Cause>,
}

impl<const TEXTS: usize, const DECIMALS: usize> Default for RowColumns<TEXTS, DECIMALS> {
    fn default() -> Self {
        Self {
            holders: Interner::default(),
            account: Names::default(),
            subscriber: Names::default(),
            names: Interner::default(),
            texts: std::array::from_fn(|_| Names::default()),
            event_source: Names::default(),
            event_id: Texts::default(),
            decimals: std::array::from_fn(|_| Decimals::default()),
            at_ms: Vec::new(),
            causes: Vec::new(),
        }
    }
}

/// Decimals of which some may be absent.
#[derive(Debug, Clone, Default)]
struct Decimals {
    /// A row each; absent ones are 0.
    values: Vec<i128>,
    present: Vec<bool>,
    absent: usize,
}

impl Decimals {
    fn push(&mut self, value: Option<i128>) {
        self.values.push(value.unwrap_or_default());
        self.present.push(value.is_some());
        self.absent += usize::from(value.is_none());
    }

    fn clear(&mut self) {
        self.values.clear();
        self.present.clear();
        self.absent = 0;
    }

    /// Whether no row has a value.
    fn is_absent(&self) -> bool {
        self.absent == self.values.len()
    }

    fn array(&self, scale: i8) -> Result<ArrayRef, ArrowError> {
        let nulls = (self.absent > 0).then(|| NullBuffer::from(self.present.as_slice()));
        let values = ScalarBuffer::from(self.values.clone());
        let array = Decimal128Array::try_new(values, nulls)?;
        Ok(Arc::new(array.with_precision_and_scale(38, scale)?))
    }
}

/// Who and what a row is of.
struct Row<'a, const TEXTS: usize, const DECIMALS: usize> {
    account: Option<&'a str>,
    subscriber: Option<&'a str>,
    /// Numbers of the texts that recur; [`ABSENT`] where there is none.
    texts: [u32; TEXTS],
    event: Option<(&'a str, &'a str)>,
    decimals: [Option<i128>; DECIMALS],
    at_ms: i64,
    cause: Cause,
}

/// Texts that the rows of a table name by number.
struct RowTexts {
    holders: Arc<StringArray>,
    names: Arc<StringArray>,
}

impl<const TEXTS: usize, const DECIMALS: usize> RowColumns<TEXTS, DECIMALS> {
    fn push(&mut self, row: &Row<'_, TEXTS, DECIMALS>) {
        let account = match row.account {
            None => {
                self.account.push_absent();
                None
            }
            Some(account) => Some((account, self.account.push_holder(account, &mut self.holders))),
        };
        match (row.subscriber, account) {
            (Some(subscriber), Some(like)) => {
                self.subscriber.push_like(subscriber, like, &mut self.holders);
            }
            (Some(subscriber), None) => {
                self.subscriber.push_holder(subscriber, &mut self.holders);
            }
            (None, _) => self.subscriber.push_absent(),
        }
        for (column, number) in self.texts.iter_mut().zip(row.texts) {
            column.push_number(number);
        }
        self.event_source.push_optional(row.event.map(|(source, _)| source), &mut self.names);
        self.event_id.push(row.event.map(|(_, id)| id));
        for (column, decimal) in self.decimals.iter_mut().zip(row.decimals) {
            column.push(decimal);
        }
        self.at_ms.push(row.at_ms);
        self.causes.push(row.cause);
    }

    /// Numbers of texts that recur within a few hundred.
    fn numbers<const N: usize>(&mut self, texts: [Option<&str>; N]) -> [u32; N] {
        let names = &mut self.names;
        texts.map(|text| text.map_or(ABSENT, |text| names.intern_recurring(text)))
    }

    fn len(&self) -> usize {
        self.at_ms.len()
    }

    fn memory_bytes(&self) -> usize {
        self.len() * ((TEXTS + 3) * 4 + DECIMALS * 17 + 8 + 16 + 5)
            + self.names.memory_bytes()
            + self.holders.memory_bytes()
            + self.event_id.memory_bytes()
    }

    fn clear(&mut self) {
        self.holders.clear();
        self.names.clear();
        for column in [&mut self.account, &mut self.subscriber, &mut self.event_source] {
            column.clear();
        }
        self.texts.iter_mut().for_each(Names::clear);
        self.event_id.clear();
        self.decimals.iter_mut().for_each(Decimals::clear);
        self.at_ms.clear();
        self.causes.clear();
    }

    fn named(&self) -> RowTexts {
        RowTexts { holders: Arc::new(self.holders.array()), names: Arc::new(self.names.array()) }
    }

    fn text(&self, column: usize, texts: &RowTexts) -> Result<ArrayRef, ArrowError> {
        self.texts[column].whole(&texts.names)
    }

    /// Account and subscriber.
    fn who(&self, texts: &RowTexts) -> Result<[ArrayRef; 2], ArrowError> {
        Ok([self.account.whole(&texts.holders)?, self.subscriber.whole(&texts.holders)?])
    }

    /// Source and id of the event.
    fn event(&self, texts: &RowTexts) -> Result<[ArrayRef; 2], ArrowError> {
        Ok([self.event_source.whole(&texts.names)?, self.event_id.whole()?])
    }

    fn decimal(&self, column: usize, scale: i8) -> Result<ArrayRef, ArrowError> {
        self.decimals[column].array(scale)
    }

    /// Columns that have the same number in every row, or none in any.
    fn constant_columns(&self) -> impl Iterator<Item = &'static str> + use<TEXTS, DECIMALS> {
        let mut indices = self.causes.iter().map(|cause| cause.batch_index);
        let first = indices.next();
        let same_index = indices.all(|index| Some(index) == first);
        let found = same_index.then_some("batch_index");
        ["kafka_partition", "epoch"].into_iter().chain(found)
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
}

fn instants(ms: impl Iterator<Item = i64>) -> ArrayRef {
    let micros = TimestampMicrosecondArray::from_iter_values(ms.map(|ms| ms.saturating_mul(1_000)));
    Arc::new(micros.with_timezone("UTC"))
}

/// Rows of `quota_ledger`. Where usage is charged to nobody, every event has one.
#[derive(Debug, Clone, Default)]
pub(crate) struct QuotaLedgerRows {
    rows: RowColumns<6, 3>,
    kinds: FewWords,
    causes: FewWords,
    currency: LastCurrency,
}

impl QuotaLedgerRows {
    pub(crate) fn push(&mut self, row: &LedgerRow<'_>, cause: Cause) {
        let Self { rows, kinds, causes, currency } = self;
        let [bucket, package, command] = rows.numbers([row.bucket, row.package, row.command]);
        let names = &mut rows.names;
        let kind = kinds.number(row.kind as usize, row.kind.name(), names);
        let overrun = row.cause.map_or(ABSENT, |cause| {
            causes.number(cause as usize, OverrunCause::name(cause), names)
        });
        let in_currency = currency.number(row.currency, names);
        rows.push(&Row {
            account: Some(row.account),
            subscriber: row.subscriber,
            texts: [bucket, package, kind, overrun, in_currency, command],
            event: row.event,
            decimals: [Some(row.points_micro), Some(row.amount_pico), row.balance_after_micro],
            at_ms: row.at_ms,
            cause,
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes()
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        (self.kinds, self.causes, self.currency) = Default::default();
    }

    /// Columns that have the same number in every row, or none in any.
    pub(crate) fn constant_columns(&self) -> Vec<&'static str> {
        let balance = self.rows.decimals[2].is_absent().then_some("balance_after");
        self.rows.constant_columns().chain(balance).collect()
    }

    /// The rows as a batch of the table's in-memory schema.
    ///
    /// # Errors
    /// Where Arrow refuses a column.
    pub(crate) fn batch(&self, partition: u32, epoch: u64) -> Result<RecordBatch, ArrowError> {
        let rows = &self.rows;
        let texts = rows.named();
        let [account, subscriber] = rows.who(&texts)?;
        let [event_source, event_id] = rows.event(&texts)?;
        let mut columns = vec![
            account,
            subscriber,
            rows.text(0, &texts)?,
            rows.text(1, &texts)?,
            rows.text(2, &texts)?,
            rows.text(3, &texts)?,
            rows.decimal(0, 6)?,
            rows.decimal(1, 12)?,
            rows.text(4, &texts)?,
            rows.decimal(2, 6)?,
            event_source,
            event_id,
            rows.text(5, &texts)?,
            instants(rows.at_ms.iter().copied()),
        ];
        columns.extend(rows.tail(partition, epoch));
        RecordBatch::try_new(in_memory_schema(Table::QuotaLedger, &columns), columns)
    }
}

/// Rows of `alerts`.
#[derive(Debug, Clone, Default)]
pub(crate) struct AlertRows {
    rows: RowColumns<9, 2>,
    period_start_ms: Vec<i64>,
    thresholds: Vec<i64>,
}

impl AlertRows {
    pub(crate) fn push(&mut self, alert: &Alert<'_>, cause: Cause) {
        let texts = self.rows.numbers([
            Some(alert.id),
            Some(alert.kind),
            // Budgets of models are another stage's.
            None,
            alert.package,
            alert.bucket,
            alert.command,
            Some(alert.counter),
            alert.superseded_by,
            alert.corrects,
        ]);
        self.rows.push(&Row {
            account: Some(alert.account),
            subscriber: alert.subscriber,
            texts,
            event: alert.event,
            decimals: [Some(alert.used), alert.allowance],
            at_ms: alert.at_ms,
            cause,
        });
        self.period_start_ms.push(alert.period_start_ms);
        self.thresholds.push(alert.threshold);
    }

    /// Adds an alert of a budget or a commitment, which is of no account.
    pub(crate) fn push_budget(&mut self, alert: &BudgetAlert, cause: Cause) {
        let texts = self.rows.numbers([
            Some(alert.id.as_str()),
            Some(alert.kind.name()),
            Some(&alert.subject),
            Some(&alert.budget),
            None,
            None,
            Some(&alert.counter),
            alert.superseded_by.as_deref(),
            None,
        ]);
        self.rows.push(&Row {
            account: None,
            subscriber: None,
            texts,
            event: None,
            decimals: [Some(alert.used_micro), Some(alert.allowance_micro)],
            at_ms: alert.at_ms,
            cause,
        });
        self.period_start_ms.push(alert.period_start_ms);
        self.thresholds.push(alert.threshold.into());
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
        let texts = rows.named();
        let [account, subscriber] = rows.who(&texts)?;
        let [event_source, event_id] = rows.event(&texts)?;
        let mut columns = vec![
            rows.text(0, &texts)?,
            rows.text(1, &texts)?,
            account,
            subscriber,
            rows.text(2, &texts)?,
            rows.text(3, &texts)?,
            rows.text(4, &texts)?,
            instants(self.period_start_ms.iter().copied()),
            rows.text(6, &texts)?,
            Arc::new(Int64Array::from(self.thresholds.clone())) as ArrayRef,
            rows.decimal(0, 6)?,
            rows.decimal(1, 6)?,
            instants(rows.at_ms.iter().copied()),
            event_source,
            event_id,
            rows.text(7, &texts)?,
            rows.text(8, &texts)?,
        ];
        let tail = rows.tail(partition, epoch);
        // An alert leaves in the epoch that commits its row.
        let emitted_epoch = Arc::clone(&tail[3]);
        columns.extend(tail);
        columns.extend([emitted_epoch, rows.text(5, &texts)?]);
        RecordBatch::try_new(in_memory_schema(Table::Alerts, &columns), columns)
    }
}
