//! Our rated events as they come from the query engine.

use std::collections::BTreeSet;

use arrow::array::{
    Array, AsArray, BooleanArray, Int32Array, Int64Array, PrimitiveArray, RecordBatch,
    StringViewArray,
};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{
    DataType, Decimal128Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use tally_query::instant_sql;
use tally_schemas::{CLASS_COUNT, TokenClass, UsageCounts, UsageSource};
use tally_settlement::reconcile::{
    BillContext, BillTimeBasis, DisputedGroups, OurRow, Position, day_of, day_text,
};

use crate::exit::Failure;

/// Columns that are compared, beside the time and the classes.
pub(super) const COLUMNS: &str = "vendor_request_id, kafka_partition, kafka_offset, batch_index, \
     started_at, completed_at, billed_model, service_tier, wholesale_amount, wholesale_currency, \
     wholesale_price_ids, usage_source, finish_reason, input, cached_input, cache_write_5m, \
     cache_write_1h, output, reasoning, audio_input, audio_output, image_input, image_output, \
     requests, images, seconds, characters";

/// Days by which the partition column may differ from the day of the compared time: another zone,
/// and the other end of the call.
const DAYS_APART: i32 = 2;

/// Milliseconds of UTC+8, the zone of the partition column.
const SHANGHAI_MS: i64 = 8 * 3_600_000;

/// Which of our events a bill is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct OurEvents<'a> {
    /// Vendor of the models.
    pub(super) vendor: &'a str,
    /// Who delivered them; `None` is everybody.
    pub(super) supplier: Option<&'a str>,
    /// Which time of a call is compared.
    pub(super) basis: BillTimeBasis,
    /// `[from, to)` of that time, milliseconds of UTC.
    pub(super) window: (i64, i64),
    /// Whether any was taken back: only then it is asked which, as there are many events.
    pub(super) any_corrected: bool,
}

/// Neither what was taken back nor what took it back, of days whose events are there.
const COUNTING: &str = " AND coalesce(correction, '') <> 'reversal' \
     AND NOT EXISTS (SELECT 1 FROM system.kept_events r WHERE r.correction = 'reversal' \
     AND r.corrects_source = usage_events.source AND r.corrects_id = usage_events.id)";

impl OurEvents<'_> {
    /// The query for these columns of them.
    pub(super) fn sql(&self, columns: &str) -> String {
        let (from, to) = self.window;
        let day = |at_ms: i64, apart: i32| {
            day_text(day_of(at_ms, SHANGHAI_MS).unwrap_or_default().saturating_add(apart))
        };
        let quoted = |text: &str| text.replace('\'', "''");
        let supplier = match self.supplier {
            Some(supplier) => format!(" AND supplier = '{}'", quoted(supplier)),
            None => String::new(),
        };
        format!(
            "SELECT {columns} FROM usage_events WHERE vendor = '{}'{supplier} \
             AND {at} >= {} AND {at} < {} \
             AND day >= DATE '{}' AND day <= DATE '{}'{counting}",
            quoted(self.vendor),
            instant_sql(from),
            instant_sql(to),
            day(from, -DAYS_APART),
            day(to, DAYS_APART),
            at = time_column(self.basis),
            counting = if self.any_corrected { COUNTING } else { "" },
        )
    }

    /// The query that tells whether any event of the vendor was taken back.
    pub(super) fn any_corrected_sql(vendor: &str) -> String {
        let vendor = vendor.replace('\'', "''");
        format!(
            "SELECT 1 FROM system.kept_events WHERE vendor = '{vendor}' AND correction = 'reversal' LIMIT 1"
        )
    }
}

const fn time_column(basis: BillTimeBasis) -> &'static str {
    match basis {
        BillTimeBasis::Completion => "completed_at",
        BillTimeBasis::Start => "started_at",
    }
}

/// A batch of rows by column.
pub(super) struct OurRows {
    request_id: StringViewArray,
    partition: Int32Array,
    offset: Int64Array,
    index: Int32Array,
    at: PrimitiveArray<TimestampMicrosecondType>,
    model: StringViewArray,
    tier: StringViewArray,
    amount: PrimitiveArray<Decimal128Type>,
    currency: StringViewArray,
    default_currency: String,
    price_ids: StringViewArray,
    source: StringViewArray,
    finish: StringViewArray,
    counts: [Int64Array; CLASS_COUNT],
}

/// A column, converted where the engine has it in another form.
fn column(
    batch: &RecordBatch,
    name: &str,
    to: &DataType,
) -> Result<arrow::array::ArrayRef, Failure> {
    let found = batch
        .column_by_name(name)
        .ok_or_else(|| Failure::internal(format!("usage_events has no column {name}")))?;
    cast(found, to).map_err(|error| Failure::internal(format!("column {name}: {error}")))
}

fn text(batch: &RecordBatch, name: &str) -> Result<StringViewArray, Failure> {
    Ok(column(batch, name, &DataType::Utf8View)?.as_string_view().clone())
}

fn int32(batch: &RecordBatch, name: &str) -> Result<Int32Array, Failure> {
    Ok(column(batch, name, &DataType::Int32)?.as_primitive::<Int32Type>().clone())
}

fn int64(batch: &RecordBatch, name: &str) -> Result<Int64Array, Failure> {
    Ok(column(batch, name, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// The text of a row; `None` where it is null.
fn cell(column: &StringViewArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

fn unsigned<T: TryFrom<N> + Default, N>(number: N) -> T {
    // Offsets, partitions and counts are never negative.
    T::try_from(number).unwrap_or_default()
}

impl OurRows {
    pub(super) fn new(batch: &RecordBatch, context: &BillContext<'_>) -> Result<Self, Failure> {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let at = column(batch, time_column(context.mapping.time.basis), &micros)?;
        let amount = column(batch, "wholesale_amount", &DataType::Decimal128(38, 12))?;
        let mut counts = Vec::with_capacity(CLASS_COUNT);
        for class in TokenClass::ALL {
            counts.push(int64(batch, class.name())?);
        }
        Ok(Self {
            request_id: text(batch, "vendor_request_id")?,
            partition: int32(batch, "kafka_partition")?,
            offset: int64(batch, "kafka_offset")?,
            index: int32(batch, "batch_index")?,
            at: at.as_primitive::<TimestampMicrosecondType>().clone(),
            model: text(batch, "billed_model")?,
            tier: text(batch, "service_tier")?,
            amount: amount.as_primitive::<Decimal128Type>().clone(),
            currency: text(batch, "wholesale_currency")?,
            default_currency: context.mapping.amount.currency.code().to_owned(),
            price_ids: text(batch, "wholesale_price_ids")?,
            source: text(batch, "usage_source")?,
            finish: text(batch, "finish_reason")?,
            counts: counts
                .try_into()
                .map_err(|_| Failure::internal("usage_events lacks a class"))?,
        })
    }

    pub(super) fn row(&self, row: usize) -> OurRow<'_> {
        let mut counts = UsageCounts::default();
        for (count, column) in counts.0.iter_mut().zip(&self.counts) {
            *count = if column.is_valid(row) { unsigned(column.value(row)) } else { 0 };
        }
        OurRow {
            request_id: cell(&self.request_id, row).filter(|id| !id.is_empty()),
            position: Position {
                number: unsigned(self.offset.value(row)),
                partition: unsigned(self.partition.value(row)),
                index: unsigned(self.index.value(row)),
            },
            at_ms: self.at.value(row).div_euclid(1_000),
            billed_model: cell(&self.model, row).unwrap_or_default(),
            service_tier: cell(&self.tier, row).unwrap_or_default(),
            counts,
            amount_pico: if self.amount.is_valid(row) { self.amount.value(row) } else { 0 },
            currency: cell(&self.currency, row).unwrap_or(&self.default_currency),
            price_ids: cell(&self.price_ids, row).unwrap_or_default(),
            usage_source: cell(&self.source, row)
                .and_then(UsageSource::from_name)
                .unwrap_or_default(),
            finish_reason: cell(&self.finish, row).unwrap_or_default(),
        }
    }
}

/// Where an event is in the log: partition, offset, position within its batch.
pub(super) type LogPosition = (u32, u64, u32);

/// The rows of a batch that are at one of these positions.
pub(super) fn at_positions(
    batch: &RecordBatch,
    positions: &BTreeSet<LogPosition>,
) -> Result<RecordBatch, Failure> {
    let partition = int32(batch, "kafka_partition")?;
    let offset = int64(batch, "kafka_offset")?;
    let index = int32(batch, "batch_index")?;
    let wanted: BooleanArray = (0..batch.num_rows())
        .map(|row| {
            let at: LogPosition = (
                unsigned(partition.value(row)),
                unsigned(offset.value(row)),
                unsigned(index.value(row)),
            );
            Some(positions.contains(&at))
        })
        .collect();
    filter(batch, &wanted)
}

/// The rows of a batch that are in a group in dispute; `each` is told of every one.
pub(super) fn of_groups(
    batch: &RecordBatch,
    context: &BillContext<'_>,
    groups: &DisputedGroups,
    each: &mut dyn FnMut(&OurRow<'_>),
) -> Result<RecordBatch, Failure> {
    let read = OurRows::new(batch, context)?;
    let mut is_disputed = |row: usize| {
        let row = read.row(row);
        let disputed = groups.has(context, &row);
        if disputed {
            each(&row);
        }
        Some(disputed)
    };
    let wanted: BooleanArray = (0..batch.num_rows()).map(&mut is_disputed).collect();
    filter(batch, &wanted)
}

fn filter(batch: &RecordBatch, wanted: &BooleanArray) -> Result<RecordBatch, Failure> {
    filter_record_batch(batch, wanted)
        .map_err(|error| Failure::internal(format!("our events: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The engine's own nanoseconds end in 2262: 253_370_764_800_000 ms is the year 9999.
    #[test]
    fn a_window_is_told_in_the_unit_of_the_columns() {
        let events = OurEvents {
            vendor: "acme",
            supplier: None,
            basis: BillTimeBasis::Start,
            window: (0, 253_370_764_800_000),
            any_corrected: false,
        };
        let sql = events.sql("id");
        let words = "started_at >= TIMESTAMP(6) '1970-01-01T08:00:00+08:00' \
                     AND started_at < TIMESTAMP(6) '9999-01-01T08:00:00+08:00'";
        assert!(sql.contains(words), "{sql}");
    }
}
