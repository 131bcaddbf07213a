//! What an epoch added whose entry does not tell: builds before the second stage wrote its rows of
//! `usage_by_model` and no sums of them.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, path::Path};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tally_schemas::{
    CLASS_COUNT, Currency, DataFile, LedgerEntry, ModelDay, ModelIncrement, ModelSums, ShanghaiDay,
    Table, TokenClass,
};

use crate::core::blake3_hex;
use crate::epoch_files::object_path;
use crate::error::AggregateError;

/// The sums of an entry's files of `usage_by_model`; `None` where one is gone, because it was
/// merged with others since.
///
/// # Errors
/// `Data` where a file is not what the entry says, `Retry` while the store is away.
pub(crate) async fn increments_of_files(
    store: &dyn ObjectStore,
    entry: &LedgerEntry,
) -> Result<Option<Vec<ModelIncrement>>, AggregateError> {
    let mut sums: BTreeMap<ModelDay, ModelSums> = BTreeMap::new();
    for file in entry.files.iter().filter(|file| file.table == Table::UsageByModel.name()) {
        let bytes = match store.get(&Path::from(object_path(file))).await {
            Ok(found) => found.bytes().await?,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        add_file(file, bytes, &mut sums)
            .map_err(|why| AggregateError::Damaged(format!("{}: {why}", file.path)))?;
    }
    Ok(Some(sums.into_iter().map(|(of, sums)| ModelIncrement { of, sums }).collect()))
}

fn add_file(
    file: &DataFile,
    bytes: Bytes,
    sums: &mut BTreeMap<ModelDay, ModelSums>,
) -> Result<(), String> {
    if blake3_hex(&bytes) != file.hash {
        return Err("its hash is not the one in the ledger".to_owned());
    }
    let batches = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| error.to_string())?;
    for batch in batches {
        let rows = Rows(batch.map_err(|error| error.to_string())?);
        for row in 0..rows.0.num_rows() {
            let sum = sums.entry(rows.of(row)?).or_default();
            *sum = sum.plus(&rows.sums(row)?).ok_or("its sums pass 128 bits")?;
        }
    }
    Ok(())
}

/// Rows of `usage_by_model`. Files of the first builds have no amounts.
struct Rows(RecordBatch);

impl Rows {
    fn column(&self, name: &str) -> Result<&ArrayRef, String> {
        self.0.column_by_name(name).ok_or_else(|| format!("there is no column {name}"))
    }

    fn text(&self, name: &str, row: usize) -> Result<Option<String>, String> {
        let Some(column) = self.0.column_by_name(name) else { return Ok(None) };
        let texts = cast(column, &DataType::Utf8).map_err(|error| error.to_string())?;
        let texts = texts.as_string_opt::<i32>().ok_or("a text that is none")?;
        Ok(texts.is_valid(row).then(|| texts.value(row).to_owned()))
    }

    fn integer(&self, name: &str, row: usize) -> Result<i128, String> {
        let column = self.column(name)?.as_primitive_opt::<Int64Type>();
        Ok(i128::from(column.ok_or_else(|| format!("{name} is no integer"))?.value(row)))
    }

    fn decimal(&self, name: &str, row: usize) -> Result<i128, String> {
        let Some(column) = self.0.column_by_name(name) else { return Ok(0) };
        let column = column.as_primitive_opt::<Decimal128Type>();
        let column = column.ok_or_else(|| format!("{name} is no decimal"))?;
        Ok(if column.is_valid(row) { column.value(row) } else { 0 })
    }

    fn of(&self, row: usize) -> Result<ModelDay, String> {
        let start = self.column("window_start")?.as_primitive_opt::<TimestampMicrosecondType>();
        let start_micros = start.ok_or("window_start is no instant")?.value(row);
        let name = |column: &str| Ok::<_, String>(self.text(column, row)?.unwrap_or_default());
        let currency = |column: &str| {
            Ok::<_, String>(self.text(column, row)?.as_deref().and_then(Currency::parse))
        };
        Ok(ModelDay {
            day: ShanghaiDay::of_instant(start_micros.div_euclid(1_000)),
            model: name("model")?,
            vendor: name("vendor")?,
            supplier: name("supplier")?,
            retail_currency: currency("retail_currency")?,
            wholesale_currency: currency("wholesale_currency")?,
        })
    }

    fn sums(&self, row: usize) -> Result<ModelSums, String> {
        let mut usage = [0; CLASS_COUNT];
        for class in TokenClass::ALL {
            usage[class.index()] = self.integer(class.name(), row)?;
        }
        Ok(ModelSums {
            events: self.integer("events", row)?,
            usage,
            points_micro: self.decimal("points", row)?,
            retail_pico: self.decimal("retail_amount", row)?,
            wholesale_pico: self.decimal("wholesale_amount", row)?,
        })
    }
}
