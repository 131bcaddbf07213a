//! Rows of `quota_ledger` and `alerts`, gathered during an epoch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use tally_budget::BudgetAlert;
use tally_quota::{Alert, LedgerRow, OverrunCause};
use tally_schemas::{Currency, Table};

use crate::core::arrow_schema::in_memory_schema;
use crate::core::interner::Interner;
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
    decimals: [Vec<Option<i128>>; DECIMALS],
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
            decimals: std::array::from_fn(|_| Vec::new()),
            at_ms: Vec::new(),
            causes: Vec::new(),
        }
    }
}

/// Who and what a row is of.
struct Row<'a, const TEXTS: usize, const DECIMALS: usize> {
    account: Option<&'a str>,
    subscriber: Option<&'a str>,
    texts: [Option<&'a str>; TEXTS],
    event: Option<(&'a str, &'a str)>,
    decimals: [Option<i128>; DECIMALS],
    at_ms: i64,
    cause: Cause,
}

/// Texts that the rows of a table name by number.
struct RowTexts {
    holders: Arc<StringArray>,
    names: Arc<StringArray>,
    order: Vec<u32>,
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
        for (column, text) in self.texts.iter_mut().zip(row.texts) {
            column.push_optional(text, &mut self.names);
        }
        self.event_source.push_optional(row.event.map(|(source, _)| source), &mut self.names);
        self.event_id.push(row.event.map(|(_, id)| id));
        for (column, decimal) in self.decimals.iter_mut().zip(row.decimals) {
            column.push(decimal);
        }
        self.at_ms.push(row.at_ms);
        self.causes.push(row.cause);
    }

    fn len(&self) -> usize {
        self.at_ms.len()
    }

    fn memory_bytes(&self) -> usize {
        self.len() * ((TEXTS + 3) * 4 + DECIMALS * 32 + 8 + 16 + 5)
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
        self.decimals.iter_mut().for_each(Vec::clear);
        self.at_ms.clear();
        self.causes.clear();
    }

    fn named(&self) -> RowTexts {
        RowTexts {
            holders: Arc::new(self.holders.array()),
            names: Arc::new(self.names.array()),
            // In the order of the log.
            order: (0..u32::try_from(self.len()).unwrap_or(u32::MAX)).collect(),
        }
    }

    fn text(&self, column: usize, texts: &RowTexts) -> Result<ArrayRef, ArrowError> {
        self.texts[column].array(&texts.names, &texts.order)
    }

    /// Account and subscriber.
    fn who(&self, texts: &RowTexts) -> Result<[ArrayRef; 2], ArrowError> {
        Ok([
            self.account.array(&texts.holders, &texts.order)?,
            self.subscriber.array(&texts.holders, &texts.order)?,
        ])
    }

    /// Source and id of the event.
    fn event(&self, texts: &RowTexts) -> Result<[ArrayRef; 2], ArrowError> {
        Ok([
            self.event_source.array(&texts.names, &texts.order)?,
            self.event_id.array(&texts.order)?,
        ])
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
}

fn instants(ms: impl Iterator<Item = i64>) -> ArrayRef {
    let micros = TimestampMicrosecondArray::from_iter_values(ms.map(|ms| ms.saturating_mul(1_000)));
    Arc::new(micros.with_timezone("UTC"))
}

/// Rows of `quota_ledger`.
#[derive(Debug, Clone, Default)]
pub(crate) struct QuotaLedgerRows(RowColumns<6, 3>);

impl QuotaLedgerRows {
    pub(crate) fn push(&mut self, row: &LedgerRow<'_>, cause: Cause) {
        let texts = [
            row.bucket,
            row.package,
            Some(row.kind.name()),
            row.cause.map(OverrunCause::name),
            row.currency.as_ref().map(Currency::code),
            row.command,
        ];
        self.0.push(&Row {
            account: Some(row.account),
            subscriber: row.subscriber,
            texts,
            event: row.event,
            decimals: [Some(row.points_micro), Some(row.amount_pico), row.balance_after_micro],
            at_ms: row.at_ms,
            cause,
        });
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
        let texts = [
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
        ];
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
        let texts = [
            Some(alert.id.as_str()),
            Some(alert.kind.name()),
            Some(&alert.subject),
            Some(&alert.budget),
            None,
            None,
            Some(&alert.counter),
            alert.superseded_by.as_deref(),
            None,
        ];
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
