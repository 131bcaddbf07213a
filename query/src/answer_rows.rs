//! Answers of the program's own questions, read cell by cell.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use tally_tables::PinnedTables;

use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::limits::Limits;

/// Runs a query on the pin; integers come as `Int64` and strings as `Utf8`.
pub(crate) async fn rows_of(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    sql: &str,
) -> Result<Vec<Vec<ArrayRef>>, QueryError> {
    let answer = engine.run_on(Arc::clone(pin), sql, Limits::unlimited()).await?;
    let (_, batches) = answer.collect().await?;
    batches.iter().map(plain).collect()
}

pub(crate) fn plain(batch: &RecordBatch) -> Result<Vec<ArrayRef>, QueryError> {
    batch
        .columns()
        .iter()
        .map(|column| {
            let plain = match column.data_type() {
                data_type if data_type.is_integer() => DataType::Int64,
                DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
                other => other.clone(),
            };
            cast(column, &plain).map_err(|error| QueryError::Internal(error.to_string()))
        })
        .collect()
}

fn unexpected(what: &str) -> QueryError {
    QueryError::Internal(format!("the answer has no {what}"))
}

pub(crate) fn integer(columns: &[ArrayRef], column: usize, row: usize) -> Result<i64, QueryError> {
    let array = columns.get(column).ok_or_else(|| unexpected("such column"))?;
    let array = array.as_primitive_opt::<Int64Type>().ok_or_else(|| unexpected("integer"))?;
    // A sum over no rows is null.
    Ok(if array.is_null(row) { 0 } else { array.value(row) })
}

pub(crate) fn text(columns: &[ArrayRef], column: usize, row: usize) -> Result<String, QueryError> {
    let array = columns.get(column).ok_or_else(|| unexpected("such column"))?;
    let array = array.as_string_opt::<i32>().ok_or_else(|| unexpected("text"))?;
    Ok(array.value(row).to_owned())
}

pub(crate) fn count(columns: &[ArrayRef], column: usize, row: usize) -> Result<u64, QueryError> {
    let value = integer(columns, column, row)?;
    u64::try_from(value).map_err(|_| QueryError::Data(format!("a count of {value}")))
}

/// A sum of decimals in units of its last place; 0 over no rows.
pub(crate) fn decimal(columns: &[ArrayRef], column: usize, row: usize) -> Result<i128, QueryError> {
    let array = columns.get(column).ok_or_else(|| unexpected("such column"))?;
    let array = array.as_primitive_opt::<Decimal128Type>().ok_or_else(|| unexpected("decimal"))?;
    Ok(if array.is_null(row) { 0 } else { array.value(row) })
}
