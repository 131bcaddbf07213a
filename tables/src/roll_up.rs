//! What the rows of a data file come to: its roll-ups. Files never change, so neither do they.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Int64Type, Schema, TimestampMicrosecondType,
};
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tally_schemas::{ColumnType, RollUp, RolledColumn, RolledFrom, RolledRows, ShanghaiDay};

use crate::error::TablesError;
use crate::gateway_runs::GatewayRuns;

/// Rows that are read at once.
const BATCH_ROWS: usize = 8_192;
const HOUR_US: i64 = 3_600_000_000;

/// Columns of a roll-up that are in its file, which those that partition the table are not: keys,
/// then sums.
fn stored_columns(roll_up: RollUp) -> Vec<RolledColumn> {
    let partition = roll_up.table().partition_columns();
    roll_up.columns().into_iter().filter(|column| !partition.contains(&column.name)).collect()
}

/// Sums up a file of the roll-up's table, Parquet in and out. Rows come in the order of the keys,
/// so that the same file has the same roll-up, byte for byte.
///
/// # Errors
/// `Data` where the file does not parse, or where a sum does not fit.
pub(crate) fn roll_up_file(roll_up: RollUp, file: Bytes) -> Result<Bytes, TablesError> {
    stored(&rolled_up(roll_up, file)?)
}

/// A roll-up as it is stored.
///
/// # Errors
/// `Internal` where it cannot be written.
pub(crate) fn stored(rolled: &RecordBatch) -> Result<Bytes, TablesError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_created_by("tally".to_owned())
        .build();
    let options =
        ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), rolled.schema(), options)?;
    writer.write(rolled)?;
    Ok(Bytes::from(writer.into_inner()?))
}

/// Whether a stored roll-up is that of a file: both as they are in the store.
///
/// # Errors
/// As for making one, and where what is stored does not parse.
pub fn is_roll_up_of(roll_up: RollUp, file: Bytes, stored: Bytes) -> Result<bool, TablesError> {
    let rolled = rolled_up(roll_up, file)?;
    let mut rows = 0;
    for batch in ParquetRecordBatchReaderBuilder::try_new(stored)?.build()? {
        let batch = batch?;
        if rolled.num_rows() < rows + batch.num_rows()
            || rolled.slice(rows, batch.num_rows()).columns() != batch.columns()
        {
            return Ok(false);
        }
        rows += batch.num_rows();
    }
    Ok(rows == rolled.num_rows())
}

/// What the rows of a file come to: the rows of its roll-up.
///
/// # Errors
/// As [`roll_up_file`].
pub(crate) fn rolled_up(roll_up: RollUp, file: Bytes) -> Result<RecordBatch, TablesError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let mask = ProjectionMask::columns(reader.parquet_schema(), sources(roll_up));
    let batches = reader.with_projection(mask).with_batch_size(BATCH_ROWS).build()?;
    if roll_up == RollUp::GatewayRuns {
        let mut runs = GatewayRuns::default();
        for batch in batches {
            let batch = batch?;
            runs.add(&batch, &counted_rows(roll_up, &batch)?)?;
        }
        return batch_of(&stored_columns(roll_up), runs.finish());
    }
    let mut sums = Sums::new(roll_up)?;
    for batch in batches {
        sums.add(&batch?)?;
    }
    sums.finish()
}

/// Columns of a file that its roll-up is made from.
fn sources(roll_up: RollUp) -> Vec<&'static str> {
    let of_rows = match roll_up.rows() {
        RolledRows::All => None,
        RolledRows::With(column) | RolledRows::Without(column) => Some(column),
    };
    stored_columns(roll_up).iter().map(source_of).chain(of_rows).collect()
}

fn batch_of(columns: &[RolledColumn], arrays: Vec<ArrayRef>) -> Result<RecordBatch, TablesError> {
    let fields = columns
        .iter()
        .map(|column| Field::new(column.name, column.column_type.arrow(), column.nullable));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), arrays)?)
}

/// The sums so far, by key.
#[derive(Debug)]
struct Sums {
    roll_up: RollUp,
    keys: Vec<RolledColumn>,
    summed: Vec<RolledColumn>,
    converter: RowConverter,
    /// Place of a key's sums among those of a column.
    places: BTreeMap<Box<[u8]>, usize>,
    /// By column.
    sums: Vec<ColumnSums>,
}

/// The sums of a column, by place. A file may have many million keys: what is whole takes the
/// bytes of a whole number, and that a sum is there is told apart.
#[derive(Debug)]
struct ColumnSums {
    sums: Totals,
    is_there: Vec<bool>,
}

#[derive(Debug)]
enum Totals {
    Whole(Vec<i64>),
    Decimal(Vec<i128>),
}

impl ColumnSums {
    fn of(column: &RolledColumn) -> Self {
        let sums = match column.column_type {
            ColumnType::Points | ColumnType::Amount => Totals::Decimal(Vec::new()),
            _ => Totals::Whole(Vec::new()),
        };
        Self { sums, is_there: Vec::new() }
    }

    /// A place without a sum.
    fn push(&mut self) {
        match &mut self.sums {
            Totals::Whole(sums) => sums.push(0),
            Totals::Decimal(sums) => sums.push(0),
        }
        self.is_there.push(false);
    }

    /// `None` where the sum does not fit, or there is no such place.
    fn add(&mut self, place: usize, value: i128) -> Option<()> {
        match &mut self.sums {
            Totals::Whole(sums) => {
                let sum = sums.get_mut(place)?;
                *sum = sum.checked_add(i64::try_from(value).ok()?)?;
            }
            Totals::Decimal(sums) => {
                let sum = sums.get_mut(place)?;
                *sum = sum.checked_add(value)?;
            }
        }
        *self.is_there.get_mut(place)? = true;
        Some(())
    }

    fn get(&self, place: usize) -> Option<i128> {
        self.is_there.get(place).filter(|is_there| **is_there)?;
        match &self.sums {
            Totals::Whole(sums) => sums.get(place).copied().map(i128::from),
            Totals::Decimal(sums) => sums.get(place).copied(),
        }
    }
}

impl Sums {
    fn new(roll_up: RollUp) -> Result<Self, TablesError> {
        let (keys, summed): (Vec<_>, Vec<_>) =
            stored_columns(roll_up).into_iter().partition(|column| column.from.is_key());
        let fields = keys.iter().map(|key| SortField::new(key.column_type.arrow())).collect();
        Ok(Self {
            roll_up,
            converter: RowConverter::new(fields)?,
            places: BTreeMap::new(),
            sums: summed.iter().map(ColumnSums::of).collect(),
            keys,
            summed,
        })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), TablesError> {
        let counted = counted_rows(self.roll_up, batch)?;
        let keys = self.keys.iter().map(|key| key_values(key, batch));
        let keys = self.converter.convert_columns(&keys.collect::<Result<Vec<_>, _>>()?)?;
        let mut places = Vec::with_capacity(batch.num_rows());
        for (row, counts) in counted.into_iter().enumerate() {
            if !counts {
                continue;
            }
            let key = keys.row(row);
            let place = match self.places.get(key.as_ref()) {
                Some(place) => *place,
                None => {
                    let place = self.places.len();
                    self.places.insert(Box::from(key.as_ref()), place);
                    self.sums.iter_mut().for_each(ColumnSums::push);
                    place
                }
            };
            places.push((row, place));
        }
        for (column, sums) in self.summed.iter().zip(&mut self.sums) {
            let values = summed_values(column, batch)?;
            for &(row, place) in &places {
                let Some(value) = values.get(row) else { continue };
                sums.add(place, value).ok_or_else(|| too_large(column))?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<RecordBatch, TablesError> {
        let parser = self.converter.parser();
        let mut arrays =
            self.converter.convert_rows(self.places.keys().map(|key| parser.parse(key)))?;
        for (column, sums) in self.summed.iter().zip(&self.sums) {
            let in_order = self.places.values().map(|place| sums.get(*place));
            arrays.push(summed_array(column, in_order)?);
        }
        batch_of(&[self.keys, self.summed].concat(), arrays)
    }
}

/// The column of the file that a column of the roll-up is from.
fn source_of(column: &RolledColumn) -> &'static str {
    match column.from {
        RolledFrom::Key | RolledFrom::Sum => column.name,
        RolledFrom::HourOf(column)
        | RolledFrom::DayOf(column)
        | RolledFrom::FirstOf(column)
        | RolledFrom::LastOf(column) => column,
        // Rows are counted by any column.
        RolledFrom::Events | RolledFrom::Rows => "correction",
    }
}

/// A column of the file, null where the file is older than the column.
pub(crate) fn values(
    batch: &RecordBatch,
    name: &str,
    data_type: &DataType,
) -> Result<ArrayRef, TablesError> {
    match batch.column_by_name(name) {
        Some(column) if column.data_type() == data_type => Ok(Arc::clone(column)),
        Some(column) => Ok(cast(column, data_type)?),
        None => Ok(new_null_array(data_type, batch.num_rows())),
    }
}

fn counted_rows(roll_up: RollUp, batch: &RecordBatch) -> Result<Vec<bool>, TablesError> {
    let (column, with) = match roll_up.rows() {
        RolledRows::All => return Ok(vec![true; batch.num_rows()]),
        RolledRows::With(column) => (column, true),
        RolledRows::Without(column) => (column, false),
    };
    let column = values(batch, column, &DataType::Utf8)?;
    Ok((0..batch.num_rows()).map(|row| column.is_valid(row) == with).collect())
}

fn key_values(key: &RolledColumn, batch: &RecordBatch) -> Result<ArrayRef, TablesError> {
    let instants = |name: &str| -> Result<_, TablesError> {
        let column = values(batch, name, &ColumnType::Timestamp.arrow())?;
        Ok(column.as_primitive::<TimestampMicrosecondType>().clone())
    };
    Ok(match key.from {
        RolledFrom::HourOf(name) => {
            let hours = instants(name)?.unary::<_, TimestampMicrosecondType>(|at_us| {
                at_us.div_euclid(HOUR_US).saturating_mul(HOUR_US)
            });
            let hours: TimestampMicrosecondArray = hours.with_timezone("UTC");
            Arc::new(hours)
        }
        RolledFrom::DayOf(name) => {
            let day = |at_us: i64| ShanghaiDay::of_instant(at_us.div_euclid(1_000)).days();
            let days: Date32Array = instants(name)?.unary::<_, Date32Type>(day);
            Arc::new(days)
        }
        _ => values(batch, key.name, &key.column_type.arrow())?,
    })
}

/// The numbers of a column that is summed.
enum Summed {
    Whole(Int64Array),
    Decimal(Decimal128Array),
    /// The kind of correction that a row is.
    Events(StringArray),
    /// One each.
    Rows,
}

impl Summed {
    fn get(&self, row: usize) -> Option<i128> {
        match self {
            Self::Whole(values) => values.is_valid(row).then(|| values.value(row).into()),
            Self::Decimal(values) => values.is_valid(row).then(|| values.value(row)),
            Self::Events(corrections) => {
                let reversal = corrections.is_valid(row) && corrections.value(row) == "reversal";
                Some(if reversal { -1 } else { 1 })
            }
            Self::Rows => Some(1),
        }
    }
}

fn summed_values(column: &RolledColumn, batch: &RecordBatch) -> Result<Summed, TablesError> {
    if column.from == RolledFrom::Rows {
        return Ok(Summed::Rows);
    }
    if column.from == RolledFrom::Events {
        let corrections = values(batch, source_of(column), &DataType::Utf8)?;
        return Ok(Summed::Events(corrections.as_string::<i32>().clone()));
    }
    let found = values(batch, column.name, &column.column_type.arrow())?;
    Ok(match column.column_type {
        ColumnType::Points | ColumnType::Amount => {
            Summed::Decimal(found.as_primitive::<Decimal128Type>().clone())
        }
        _ => Summed::Whole(found.as_primitive::<Int64Type>().clone()),
    })
}

fn summed_array(
    column: &RolledColumn,
    sums: impl Iterator<Item = Option<i128>>,
) -> Result<ArrayRef, TablesError> {
    let data_type = column.column_type.arrow();
    let DataType::Decimal128(precision, scale) = data_type else {
        let whole =
            |sum: Option<i128>| sum.map(i64::try_from).transpose().map_err(|_| too_large(column));
        return Ok(Arc::new(sums.map(whole).collect::<Result<Int64Array, _>>()?));
    };
    let sums = sums.collect::<Decimal128Array>().with_precision_and_scale(precision, scale)?;
    sums.validate_decimal_precision(precision).map_err(|_| too_large(column))?;
    Ok(Arc::new(sums))
}

fn too_large(column: &RolledColumn) -> TablesError {
    TablesError::Damaged(format!("a sum of {} does not fit", column.name))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::SchemaRef;

    use super::*;

    fn parquet(batch: &RecordBatch) -> Bytes {
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        Bytes::from(writer.into_inner().unwrap())
    }

    fn read(bytes: Bytes) -> RecordBatch {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let schema: SchemaRef = Arc::clone(reader.schema());
        let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        arrow::compute::concat_batches(&schema, &batches).unwrap()
    }

    /// Rows of `quota_ledger`, as far as a roll-up looks at them.
    fn ledger(rows: &[(Option<&str>, &str, i64, i128)]) -> Bytes {
        let amounts = |values: Vec<i128>, scale| {
            let array = Decimal128Array::from(values).with_precision_and_scale(38, scale).unwrap();
            Arc::new(array) as ArrayRef
        };
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.2));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("bucket", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.0)))),
            ("kind", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)))),
            ("at", Arc::new(times.with_timezone("UTC"))),
            ("points", amounts(rows.iter().map(|row| row.3).collect(), 6)),
            ("amount", amounts(vec![5; rows.len()], 12)),
        ];
        parquet(&RecordBatch::try_from_iter(columns).unwrap())
    }

    /// 2026-11-21T16:00:00Z, midnight in Shanghai.
    const MIDNIGHT_US: i64 = 1_795_276_800_000_000;

    #[test]
    fn rows_of_a_key_are_added_and_columns_that_a_file_lacks_are_null() {
        let file = ledger(&[
            (Some("b"), "grant", MIDNIGHT_US, 100),
            (Some("b"), "debit", MIDNIGHT_US - 1, -7),
            (Some("c"), "debit", MIDNIGHT_US - 2, -3),
            (Some("b"), "debit", MIDNIGHT_US, -1),
            // No bucket.
            (None, "payg", MIDNIGHT_US, -50),
        ]);
        let rolled = read(roll_up_file(RollUp::BucketsByDay, file.clone()).unwrap());
        let days = rolled["day"].as_primitive::<Date32Type>().values();
        let points = rolled["points"].as_primitive::<Decimal128Type>().values();
        let kinds: Vec<_> = rolled["kind"].as_string::<i32>().iter().flatten().collect();
        assert_eq!(kinds, ["debit", "debit", "grant"]);
        assert_eq!((days[0] + 1, days[0] + 1), (days[1], days[2]));
        assert_eq!(points[..], [-10, -1, 100]);
        assert_eq!(rolled["amount"].as_primitive::<Decimal128Type>().values()[..], [10, 5, 5]);
        assert_eq!(rolled["package"].null_count(), 3);
        let again = roll_up_file(RollUp::BucketsByDay, file).unwrap();
        assert_eq!(
            again,
            roll_up_file(
                RollUp::BucketsByDay,
                ledger(&[
                    (Some("b"), "debit", MIDNIGHT_US, -1),
                    (Some("b"), "grant", MIDNIGHT_US, 100),
                    (Some("c"), "debit", MIDNIGHT_US - 2, -3),
                    (Some("b"), "debit", MIDNIGHT_US - 1, -7),
                ])
            )
            .unwrap()
        );
    }

    #[test]
    fn a_sum_that_does_not_fit_is_an_error() {
        let most = 10_i128.pow(38) - 1;
        let one = |points| (Some("b"), "grant", MIDNIGHT_US, points);
        let all = |rows: &[_]| roll_up_file(RollUp::BucketsByDay, ledger(rows));
        assert!(all(&[one(most)]).is_ok());
        assert!(all(&[one(most), one(1)]).unwrap_err().to_string().contains("points"));
        assert!(all(&[one(most), one(1), one(-1)]).is_ok());
    }
}
