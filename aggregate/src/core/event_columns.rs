//! Accepted events of one epoch, a vector a column, until they become rows of `usage_events`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::UInt32Type;
use arrow::error::ArrowError;
use tally_schemas::{CLASS_COUNT, Table, UsageEvent};

use crate::core::arrow_schema::in_memory_schema;
use crate::core::interner::{ABSENT, Interner};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Asia/Shanghai is UTC+8 all year since 1991.
const SHANGHAI_OFFSET_MS: i64 = 8 * 3_600_000;

/// Days since 1970-01-01 of an instant's date in Asia/Shanghai.
pub(crate) fn shanghai_day(at_ms: i64) -> i32 {
    // Times lie between 1970 and 9999, so the day fits.
    i32::try_from((at_ms + SHANGHAI_OFFSET_MS).div_euclid(DAY_MS)).unwrap_or(i32::MAX)
}

/// An event with what the stream found out about it.
#[derive(Debug)]
pub(crate) struct AcceptedEvent<'a> {
    pub(crate) event: &'a UsageEvent<'a>,
    pub(crate) vendor: &'a str,
    pub(crate) supplier: &'a str,
    pub(crate) billed_model: &'a str,
    pub(crate) completed_at_ms: i64,
    pub(crate) offset: u64,
    pub(crate) batch_index: u32,
}

/// A text column in which few texts recur: numbers of an interner that it shares with others.
#[derive(Debug, Default, Clone)]
struct Names(Vec<u32>);

impl Names {
    /// Adds a text. Neighbouring rows often agree, and comparing is cheaper than hashing.
    fn push(&mut self, text: &str, texts: &mut Interner) -> u32 {
        let last = self.0.last().copied().unwrap_or(ABSENT);
        let number =
            if last != ABSENT && texts.get(last) == text { last } else { texts.intern(text) };
        self.0.push(number);
        number
    }

    fn push_optional(&mut self, text: Option<&str>, texts: &mut Interner) {
        match text {
            Some(text) => drop(self.push(text, texts)),
            None => self.0.push(ABSENT),
        }
    }

    /// Adds a text that is mostly `like`, whose number is known.
    fn push_like(&mut self, text: &str, like: (&str, u32), texts: &mut Interner) {
        let number = if text == like.0 { like.1 } else { texts.intern(text) };
        self.0.push(number);
    }

    fn array(&self, texts: &Arc<StringArray>, order: &[u32]) -> Result<ArrayRef, ArrowError> {
        let numbers: Vec<u32> = order.iter().map(|row| self.0[*row as usize]).collect();
        let keys = if numbers.contains(&ABSENT) {
            numbers.iter().map(|n| Some(*n).filter(|n| *n != ABSENT)).collect::<UInt32Array>()
        } else {
            UInt32Array::from(numbers)
        };
        Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(keys, Arc::clone(texts) as ArrayRef)?))
    }
}

/// A text column in which every text is another.
#[derive(Debug, Default, Clone)]
struct Texts {
    bytes: String,
    /// End of each text; an absent one ends where it starts and is noted in `present`.
    ends: Vec<u32>,
    present: Vec<bool>,
    any: bool,
}

impl Texts {
    fn push(&mut self, text: Option<&str>) {
        self.bytes.push_str(text.unwrap_or_default());
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.present.push(text.is_some());
        self.any |= text.is_some();
    }

    fn array(&self, order: &[u32]) -> Result<ArrayRef, ArrowError> {
        if !self.any {
            return Ok(arrow::array::new_null_array(
                &arrow::datatypes::DataType::Utf8,
                order.len(),
            ));
        }
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut offsets = Vec::with_capacity(order.len() + 1);
        offsets.push(0_i32);
        for row in order {
            let row = *row as usize;
            let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
            bytes.extend_from_slice(&self.bytes.as_bytes()[start..self.ends[row] as usize]);
            offsets.push(
                i32::try_from(bytes.len())
                    .map_err(|_| ArrowError::OffsetOverflowError(bytes.len()))?,
            );
        }
        let nulls: NullBuffer = order.iter().map(|row| self.present[*row as usize]).collect();
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        Ok(Arc::new(StringArray::try_new(
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            bytes.into(),
            nulls,
        )?))
    }
}

/// The texts of the interners, for all batches of an epoch.
struct Dictionaries {
    holders: Arc<StringArray>,
    names: Arc<StringArray>,
}

/// Columns of accepted events in the order of the log.
#[derive(Debug, Default, Clone)]
pub(crate) struct EventColumns {
    /// Accounts and subscribers.
    holders: Interner,
    /// Texts of the other columns with few texts.
    names: Interner,
    source: Names,
    id: Texts,
    account: Names,
    subscriber: Names,
    model: Names,
    billed_model: Names,
    vendor: Names,
    supplier: Names,
    region: Names,
    channel: Names,
    product: Names,
    service_tier: Names,
    started_at_ms: Vec<i64>,
    completed_at_ms: Vec<i64>,
    counts: [Vec<i64>; CLASS_COUNT],
    finish_reason: Names,
    usage_source: Names,
    vendor_request_id: Texts,
    gateway_epoch: Vec<Option<i64>>,
    gateway_seq: Vec<Option<i64>>,
    labels: Texts,
    offset: Vec<i64>,
    batch_index: Vec<i32>,
}

impl EventColumns {
    /// Adds a row.
    pub(crate) fn push(&mut self, row: &AcceptedEvent<'_>) {
        let event = row.event;
        let (holders, names) = (&mut self.holders, &mut self.names);
        self.source.push(&event.source, names);
        self.id.push(Some(&event.id));
        let account = self.account.push(&event.account, holders);
        self.subscriber.push_like(event.subscriber(), (&event.account, account), holders);
        let model = self.model.push(&event.model, names);
        self.billed_model.push_like(row.billed_model, (&event.model, model), names);
        let vendor = self.vendor.push(row.vendor, names);
        self.supplier.push_like(row.supplier, (row.vendor, vendor), names);
        self.region.push_optional(event.region.as_deref(), names);
        self.channel.push_optional(event.channel.as_deref(), names);
        self.product.push_optional(event.product.as_deref(), names);
        self.service_tier.push(event.service_tier(), names);
        self.finish_reason.push_optional(event.finish_reason.as_deref(), names);
        self.usage_source.push(event.usage_source.name(), names);
        self.started_at_ms.push(event.started_at_ms().unwrap_or(row.completed_at_ms));
        self.completed_at_ms.push(row.completed_at_ms);
        for (column, count) in self.counts.iter_mut().zip(event.usage.0) {
            column.push(count.cast_signed());
        }
        self.vendor_request_id.push(event.vendor_request_id.as_deref());
        // At most 2^53, as validation has it.
        self.gateway_epoch.push(event.gateway_epoch.map(u64::cast_signed));
        self.gateway_seq.push(event.gateway_seq.map(u64::cast_signed));
        self.labels.push(event.labels_json().as_deref());
        self.offset.push(row.offset.cast_signed());
        self.batch_index.push(row.batch_index.cast_signed());
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.completed_at_ms.len()
    }

    /// Bytes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.len() * (8 * (CLASS_COUNT + 3) + 2 * 16 + 14 * 4 + 3 * 5 + 4)
            + self.id.bytes.len()
            + self.vendor_request_id.bytes.len()
            + self.labels.bytes.len()
            + self.holders.memory_bytes()
            + self.names.memory_bytes()
    }

    /// Rows of each day, sorted by account, completion and position in the log, as record batches
    /// of the table's in-memory schema.
    ///
    /// # Errors
    /// Where Arrow refuses a column, which means that an epoch was far beyond its limits.
    pub(crate) fn into_days(
        self,
        partition: u32,
        epoch: u64,
    ) -> Result<Vec<(i32, RecordBatch)>, ArrowError> {
        let ranks = self.holders.ranks();
        let first = self.completed_at_ms.iter().copied().min().unwrap_or(0);
        let rows = u32::try_from(self.len()).unwrap_or(u32::MAX);
        // Sorting one integer a row: account rank, then milliseconds since the earliest event.
        let mut keyed: Vec<(u128, u32)> = (0..rows)
            .map(|row| {
                let at = row as usize;
                let rank = u128::from(ranks[self.account.0[at] as usize]);
                let since = u128::from((self.completed_at_ms[at] - first).cast_unsigned());
                ((rank << 64) | since, row)
            })
            .collect();
        keyed.sort_unstable();
        let mut days: std::collections::BTreeMap<i32, Vec<u32>> = Default::default();
        for (_, row) in keyed {
            days.entry(shanghai_day(self.completed_at_ms[row as usize])).or_default().push(row);
        }
        let texts = Dictionaries {
            holders: Arc::new(self.holders.array()),
            names: Arc::new(self.names.array()),
        };
        days.into_iter()
            .map(|(day, order)| Ok((day, self.batch(&order, &texts, partition, epoch)?)))
            .collect()
    }

    fn batch(
        &self,
        order: &[u32],
        texts: &Dictionaries,
        partition: u32,
        epoch: u64,
    ) -> Result<RecordBatch, ArrowError> {
        let rows = order.len();
        let pick = |column: &[i64]| -> Vec<i64> {
            order.iter().map(|row| column[*row as usize]).collect()
        };
        let instants = |column: &[i64]| -> ArrayRef {
            let micros: Vec<i64> =
                order.iter().map(|row| column[*row as usize].saturating_mul(1_000)).collect();
            Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
        };
        let optional = |column: &[Option<i64>]| -> ArrayRef {
            Arc::new(order.iter().map(|row| column[*row as usize]).collect::<Int64Array>())
        };
        let mut columns: Vec<ArrayRef> = vec![
            self.source.array(&texts.names, order)?,
            self.id.array(order)?,
            self.account.array(&texts.holders, order)?,
            self.subscriber.array(&texts.holders, order)?,
            self.model.array(&texts.names, order)?,
            self.billed_model.array(&texts.names, order)?,
            self.vendor.array(&texts.names, order)?,
            self.supplier.array(&texts.names, order)?,
            self.region.array(&texts.names, order)?,
            self.channel.array(&texts.names, order)?,
            self.product.array(&texts.names, order)?,
            self.service_tier.array(&texts.names, order)?,
            instants(&self.started_at_ms),
            instants(&self.completed_at_ms),
        ];
        for counts in &self.counts {
            columns.push(Arc::new(Int64Array::from(pick(counts))));
        }
        columns.extend([
            self.finish_reason.array(&texts.names, order)?,
            self.usage_source.array(&texts.names, order)?,
            self.vendor_request_id.array(order)?,
            optional(&self.gateway_epoch),
            optional(&self.gateway_seq),
            self.labels.array(order)?,
            Arc::new(Int32Array::from(vec![partition.cast_signed(); rows])) as ArrayRef,
            Arc::new(Int64Array::from(pick(&self.offset))),
            Arc::new(
                order.iter().map(|row| self.batch_index[*row as usize]).collect::<Int32Array>(),
            ),
            Arc::new(Int64Array::from(vec![epoch.cast_signed(); rows])),
        ]);
        RecordBatch::try_new(in_memory_schema(Table::UsageEvents, &columns), columns)
    }
}
