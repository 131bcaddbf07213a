//! Delta statistics as scalars: bounds to prune files by, and exact values that may answer a query.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, ScalarValue, Statistics};
use tally_tables::{PinnedFile, StatValue};

/// The value of a partition column; null where the file's value does not fit the type.
pub(crate) fn partition_scalar(text: Option<&str>, data_type: &DataType) -> ScalarValue {
    text.and_then(|text| ScalarValue::try_from_string(text.to_owned(), data_type).ok())
        .or_else(|| ScalarValue::try_from(data_type).ok())
        .unwrap_or(ScalarValue::Null)
}

/// A statistic as a scalar of the column's type; none where there is no faithful one.
fn scalar(value: &StatValue, data_type: &DataType) -> Option<ScalarValue> {
    match (data_type, value) {
        (DataType::Int64, StatValue::Int(value)) => Some(ScalarValue::from(*value)),
        (DataType::Int32, StatValue::Int(value)) => {
            i32::try_from(*value).ok().map(ScalarValue::from)
        }
        (DataType::Utf8View, StatValue::Text(text)) => {
            Some(ScalarValue::Utf8View(Some(text.to_string())))
        }
        (DataType::Date32, StatValue::DateDays(days)) => Some(ScalarValue::Date32(Some(*days))),
        (DataType::Timestamp(TimeUnit::Microsecond, zone), StatValue::TimestampMicros(us)) => {
            Some(ScalarValue::TimestampMicrosecond(Some(*us), zone.clone()))
        }
        _ => None,
    }
}

/// What is known of one column of a file.
#[derive(Default)]
struct Bounds {
    min: Option<ScalarValue>,
    max: Option<ScalarValue>,
    null_count: Option<u64>,
}

impl Bounds {
    fn of(file: &PinnedFile, field: &Field) -> Self {
        if let Some(value) = file.partition_values.get(field.name()) {
            let value = partition_scalar(value.as_deref(), field.data_type());
            let null_count = if value.is_null() { file.rows } else { Some(0) };
            let value = Some(value).filter(|value| !value.is_null());
            return Self { min: value.clone(), max: value, null_count };
        }
        let Some(stats) = file.column_stats(field.name()) else { return Self::default() };
        let bound = |value: &Option<StatValue>| {
            value.as_ref().and_then(|value| scalar(value, field.data_type()))
        };
        Self { min: bound(&stats.min), max: bound(&stats.max), null_count: stats.null_count }
    }
}

/// What DataFusion may take as true of one file. Only integers and dates are exact: strings may
/// be cut and timestamps lose their microseconds.
pub(crate) fn statistics_of(file: &PinnedFile, schema: &Schema) -> Statistics {
    let column_statistics = schema
        .fields()
        .iter()
        .map(|field| {
            let bounds = Bounds::of(file, field);
            let exact =
                matches!(field.data_type(), DataType::Int64 | DataType::Int32 | DataType::Date32);
            let precision = |value: Option<ScalarValue>| match value {
                Some(value) if exact => Precision::Exact(value),
                Some(value) => Precision::Inexact(value),
                None => Precision::Absent,
            };
            ColumnStatistics {
                min_value: precision(bounds.min),
                max_value: precision(bounds.max),
                null_count: bounds
                    .null_count
                    .and_then(|count| usize::try_from(count).ok())
                    .map_or(Precision::Absent, Precision::Exact),
                ..ColumnStatistics::new_unknown()
            }
        })
        .collect();
    Statistics {
        num_rows: file
            .rows
            .and_then(|rows| usize::try_from(rows).ok())
            .map_or(Precision::Absent, Precision::Exact),
        total_byte_size: Precision::Absent,
        column_statistics,
    }
}

/// The bounds of several files, in the shape that a pruning predicate asks for.
#[derive(Debug)]
pub(crate) struct FileBounds<'a> {
    pub(crate) schema: SchemaRef,
    /// With the rows of each, those too that retention has removed.
    pub(crate) files: Vec<(&'a Statistics, Option<u64>)>,
}

impl FileBounds<'_> {
    fn column(
        &self,
        column: &Column,
        value: impl Fn(&ColumnStatistics) -> &Precision<ScalarValue>,
    ) -> Option<ArrayRef> {
        let index = self.schema.index_of(column.name()).ok()?;
        let data_type = self.schema.field(index).data_type();
        let null = ScalarValue::try_from(data_type).ok()?;
        if self.files.is_empty() {
            return Some(new_null_array(data_type, 0));
        }
        let values = self.files.iter().map(|(known, _)| {
            let of_column = known.column_statistics.get(index).map(&value);
            of_column.and_then(Precision::get_value).unwrap_or(&null).clone()
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for FileBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, |known| &known.min_value)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, |known| &known.max_value)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let index = self.schema.index_of(column.name()).ok()?;
        let counts: UInt64Array = self
            .files
            .iter()
            .map(|(known, _)| {
                let count = known.column_statistics.get(index)?.null_count.get_value()?;
                u64::try_from(*count).ok()
            })
            .collect();
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts: UInt64Array = self.files.iter().map(|(_, rows)| *rows).collect();
        Some(Arc::new(counts))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
