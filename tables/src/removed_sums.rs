//! What removed rows come to, as a record writes it down: by vendor and currencies.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tally_schemas::{CLASS_COUNT, TokenClass, decimal_text};

use crate::error::TablesError;
use crate::retention_record::RemovedSums;

/// The last epoch of each partition.
pub(crate) type Epochs = BTreeMap<u32, u64>;

/// Vendor, currency of what subscribers owe, currency of what the vendor is owed.
type Key = (String, String, String);

/// Scale of points, and of amounts.
const SCALES: [u32; 3] = [6, 12, 12];

#[derive(Debug, Clone, Default)]
struct Sum {
    events: i64,
    units: [i64; CLASS_COUNT],
    /// Points, retail, wholesale.
    decimals: [i128; 3],
}

/// What rows come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums(BTreeMap<Key, Sum>);

fn shape() -> TablesError {
    TablesError::Damaged("rows of events have another shape".to_owned())
}

fn too_large() -> TablesError {
    TablesError::Damaged("the sums of a day do not fit".to_owned())
}

fn whole(rolled: &RecordBatch, name: &str, row: usize) -> Result<i64, TablesError> {
    let column = rolled.column_by_name(name).ok_or_else(shape)?;
    if column.is_null(row) {
        return Ok(0);
    }
    if let Some(values) = column.as_primitive_opt::<Int32Type>() {
        return Ok(values.value(row).into());
    }
    let values = column.as_primitive_opt::<Int64Type>().ok_or_else(shape)?;
    Ok(values.value(row))
}

fn decimal(rolled: &RecordBatch, name: &str, row: usize) -> Result<i128, TablesError> {
    let column = rolled.column_by_name(name).ok_or_else(shape)?;
    let values = column.as_primitive_opt::<Decimal128Type>().ok_or_else(shape)?;
    Ok(if values.is_null(row) { 0 } else { values.value(row) })
}

fn text(rolled: &RecordBatch, name: &str, row: usize) -> Result<String, TablesError> {
    let column = rolled.column_by_name(name).ok_or_else(shape)?;
    let values = column.as_string_opt::<i32>().ok_or_else(shape)?;
    Ok(if values.is_null(row) { String::new() } else { values.value(row).to_owned() })
}

/// The last epoch of each partition that a file of events has rows of.
///
/// # Errors
/// `Data` where it does not parse.
pub(crate) fn last_epochs(file: Bytes) -> Result<Epochs, TablesError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let mask = ProjectionMask::columns(reader.parquet_schema(), ["kafka_partition", "epoch"]);
    let mut epochs = Epochs::new();
    for rows in reader.with_projection(mask).build()? {
        let rows = rows?;
        for row in 0..rows.num_rows() {
            let number = |name| whole(&rows, name, row);
            let partition = u32::try_from(number("kafka_partition")?).map_err(|_| shape())?;
            let epoch = u64::try_from(number("epoch")?).map_err(|_| shape())?;
            let last = epochs.entry(partition).or_default();
            *last = epoch.max(*last);
        }
    }
    Ok(epochs)
}

impl Sums {
    /// The sums of a roll-up by epoch.
    pub(crate) fn of(rolled: &RecordBatch) -> Result<Self, TablesError> {
        let mut sums = Self::default();
        for row in 0..rolled.num_rows() {
            let mut units = [0; CLASS_COUNT];
            for class in TokenClass::ALL {
                if let Some(units) = units.get_mut(class.index()) {
                    *units = whole(rolled, class.name(), row)?;
                }
            }
            let decimals = ["points", "retail_amount", "wholesale_amount"];
            let [points, retail, wholesale] = decimals.map(|name| decimal(rolled, name, row));
            let key = (
                text(rolled, "vendor", row)?,
                text(rolled, "retail_currency", row)?,
                text(rolled, "wholesale_currency", row)?,
            );
            let sum = Sum {
                events: whole(rolled, "events", row)?,
                units,
                decimals: [points?, retail?, wholesale?],
            };
            sums.add(key, &sum)?;
        }
        Ok(sums)
    }

    fn add(&mut self, key: Key, more: &Sum) -> Result<(), TablesError> {
        let sum = self.0.entry(key).or_default();
        sum.events = sum.events.checked_add(more.events).ok_or_else(too_large)?;
        for (sum, more) in sum.units.iter_mut().zip(more.units) {
            *sum = sum.checked_add(more).ok_or_else(too_large)?;
        }
        for (sum, more) in sum.decimals.iter_mut().zip(more.decimals) {
            *sum = sum.checked_add(more).ok_or_else(too_large)?;
        }
        Ok(())
    }

    /// Adds those of another file.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<(), TablesError> {
        other.0.iter().try_for_each(|(key, sum)| self.add(key.clone(), sum))
    }

    /// As a record has them.
    pub(crate) fn written(&self) -> Vec<RemovedSums> {
        let written = |((vendor, retail, wholesale), sum): (&Key, &Sum)| {
            let units = TokenClass::ALL.into_iter().zip(sum.units).filter(|(_, units)| *units != 0);
            let mut texts = sum.decimals.into_iter().zip(SCALES);
            let mut next = || {
                texts.next().map_or_else(String::new, |(value, scale)| decimal_text(value, scale))
            };
            RemovedSums {
                vendor: vendor.clone(),
                retail_currency: retail.clone(),
                wholesale_currency: wholesale.clone(),
                events: sum.events,
                units: units.map(|(class, units)| (class.name().to_owned(), units)).collect(),
                points: next(),
                retail_amount: next(),
                wholesale_amount: next(),
            }
        };
        self.0.iter().map(written).collect()
    }
}
