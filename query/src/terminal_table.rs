//! An answer as a table for a terminal: a line a row, numbers to the right, so that the digits of a
//! column of decimals stand below each other.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{CellAlignment, Table};

use crate::error::QueryError;

/// Corners and lines of plain characters, as `psql` has them.
const PLAIN: &str = "||--+-++|    ++++++";

/// An answer as a table for a terminal. Null is empty.
///
/// # Errors
/// `Internal` where a value cannot be shown.
pub fn render_table(schema: SchemaRef, batches: &[RecordBatch]) -> Result<String, QueryError> {
    let failed = |error: ArrowError| QueryError::Internal(format!("writing the answer: {error}"));
    let mut table = Table::new();
    table.load_preset(PLAIN);
    table.set_header(schema.fields().iter().map(|field| field.name()));
    let options = FormatOptions::default();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| column.value(row).try_to_string());
            table.add_row(cells.collect::<Result<Vec<_>, _>>().map_err(failed)?);
        }
    }
    for (position, field) in schema.fields().iter().enumerate() {
        if is_number(field.data_type())
            && let Some(column) = table.column_mut(position)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(table.to_string())
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    #[test]
    fn every_digit_is_shown_and_points_stand_below_each_other() {
        let amounts =
            Decimal128Array::from(vec![Some(-1_344_000_000), None, Some(10_i128.pow(37))]);
        let schema = Arc::new(Schema::new(vec![
            Field::new("package", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
            Field::new("amount", DataType::Decimal128(38, 12), true),
        ]));
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(StringArray::from(vec![Some("telecom-10m"), Some("上海"), None])),
                Arc::new(Int64Array::from(vec![1, 200, i64::MIN])),
                Arc::new(amounts.with_precision_and_scale(38, 12).unwrap()),
            ],
        )
        .unwrap();
        insta::assert_snapshot!(render_table(schema, &[batch]).unwrap());
    }

    #[test]
    fn no_rows_are_a_header() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        assert_eq!(render_table(schema, &[]).unwrap(), "+---+\n| n |\n+---+\n+---+");
    }
}
