//! The Arrow schema of a batch before it is written: the table's columns without the partition
//! columns (their value is in the path), recurring texts as dictionaries.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use tally_schemas::Table;

/// The schema of `columns`, which are in the table's order.
pub(crate) fn in_memory_schema(table: Table, columns: &[ArrayRef]) -> SchemaRef {
    let fields: Vec<Field> = table
        .columns()
        .into_iter()
        .filter(|column| !table.partition_columns().contains(&column.name))
        .zip(columns)
        .map(|(column, array)| Field::new(column.name, array.data_type().clone(), column.nullable))
        .collect();
    Arc::new(Schema::new(fields))
}
