//! Merging Parquet files into one sorted file, row by row, and proof that nothing was lost.
//!
//! The inputs are merged as streams, so memory is their compressed size, a batch of each, and the
//! output. An input that is not sorted is sorted on its own first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{
    SortColumn, cast, concat_batches, interleave_record_batch, lexsort_to_indices,
    take_record_batch,
};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int32Type, Int64Type, Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use tally_aggregate::{delta_stats, writer_properties};
use tally_schemas::Table;

use crate::error::TablesError;

/// Rows of a batch written, and most of an input that are held at once.
const BATCH_ROWS: usize = 4_096;
/// Fewest of those.
const BATCH_ROWS_MIN: usize = 256;
/// Rows of all inputs together that are held at once, as long as each has its fewest: a row of
/// events takes some 500 bytes.
const HELD_ROWS: usize = 65_536;
/// Distinct accounts that a row group's bloom filter is made for; it is folded to what is there.
const ACCOUNTS_MAX: u64 = 131_072;

/// A merged file.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) bytes: Bytes,
    pub(super) stats: String,
    pub(super) rows: u64,
}

/// Columns that sort a table's files.
const fn sort_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::UsageEvents => &["account", "completed_at", "source", "id"],
        Table::UsageBySubscriber => &["account", "subscriber", "window_start", "model"],
        Table::UsageByModel => &["window_start", "model", "vendor", "supplier"],
        Table::Suspense => &["kafka_partition", "kafka_offset", "batch_index"],
        Table::QuotaLedger => &["account", "at", "kafka_offset"],
        Table::Alerts => &["account", "at", "id"],
        Table::ControlTotals => &["source", "hour", "kafka_offset"],
        Table::SuspenseResolutions => {
            &["suspense_partition", "suspense_offset", "suspense_batch_index"]
        }
    }
}

/// Row count and the sum of every column of numbers: what a merge must not change.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    rows: u64,
    sums: BTreeMap<String, i128>,
}

impl Tally {
    fn add(&mut self, batch: &RecordBatch) {
        self.rows += u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if let Some(sum) = sum_of(column) {
                let total = self.sums.entry(field.name().clone()).or_default();
                *total = total.wrapping_add(sum);
            }
        }
    }
}

fn sum_of(column: &ArrayRef) -> Option<i128> {
    use arrow::array::AsArray;
    match column.data_type() {
        DataType::Int64 => {
            Some(column.as_primitive::<Int64Type>().iter().flatten().map(i128::from).sum())
        }
        DataType::Int32 => {
            Some(column.as_primitive::<Int32Type>().iter().flatten().map(i128::from).sum())
        }
        DataType::Decimal128(..) => {
            // Wrapping, as only a difference between before and after matters.
            let values = column.as_primitive::<Decimal128Type>().iter().flatten();
            Some(values.fold(0, i128::wrapping_add))
        }
        _ => None,
    }
}

/// Merges files of one table and partition. `schema` is the table's; columns that an older file
/// lacks are null in the merged one.
///
/// # Errors
/// `Data` where an input does not parse; `Internal` where rows or sums are not what they were.
pub(super) fn merge_files(
    table: Table,
    schema: &Schema,
    inputs: Vec<Bytes>,
) -> Result<Merged, TablesError> {
    // Partition columns are not in the files; comments would only make them longer.
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .filter(|field| !table.partition_columns().contains(&field.name().as_str()))
        .map(|field| Field::new(field.name(), field.data_type().clone(), field.is_nullable()))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let mut before = Tally::default();
    let mut merger = Merger::new(table, Arc::clone(&schema), inputs.len())?;
    for input in inputs {
        let input = merger.sorted(input)?;
        merger.open(input, &mut before)?;
    }
    let mut writer = file_writer(table, Arc::clone(&schema))?;
    while let Some(batch) = merger.next_batch(&mut before)? {
        writer.write(&batch)?;
    }
    let footer = writer.finish()?;
    // `into_inner` would write the footer again.
    let bytes = Bytes::from(std::mem::take(writer.inner_mut()));
    let after = tally_of(&bytes, &schema)?;
    if before != after {
        return Err(TablesError::Internal(format!(
            "a merge of {} changed its content from {before:?} to {after:?}",
            table.name()
        )));
    }
    Ok(Merged { stats: delta_stats(table, &footer), bytes, rows: after.rows })
}

fn file_writer(table: Table, schema: SchemaRef) -> Result<ArrowWriter<Vec<u8>>, TablesError> {
    let options = ArrowWriterOptions::new()
        .with_properties(writer_properties(table, ACCOUNTS_MAX)?)
        .with_skip_arrow_metadata(true);
    Ok(ArrowWriter::try_new_with_options(Vec::new(), schema, options)?)
}

fn reader(input: Bytes, batch_rows: usize) -> Result<ParquetRecordBatchReader, TablesError> {
    Ok(ParquetRecordBatchReaderBuilder::try_new(input)?.with_batch_size(batch_rows).build()?)
}

/// Reads back what was written.
fn tally_of(bytes: &Bytes, schema: &SchemaRef) -> Result<Tally, TablesError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?;
    let numbers = schema.fields().iter().enumerate().filter_map(|(index, field)| {
        matches!(field.data_type(), DataType::Int64 | DataType::Int32 | DataType::Decimal128(..))
            .then_some(index)
    });
    let mask = ProjectionMask::roots(builder.parquet_schema(), numbers);
    let mut tally = Tally::default();
    for batch in builder.with_projection(mask).build()? {
        tally.add(&batch?);
    }
    Ok(tally)
}

/// A batch in the columns of `schema`.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, TablesError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => Ok(cast(column, field.data_type())?),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect::<Result<Vec<_>, TablesError>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// An input and where the merge is in it.
#[derive(Debug)]
struct Cursor {
    reader: ParquetRecordBatchReader,
    keys: Rows,
    /// Its current batch among the merger's.
    batch: usize,
    row: usize,
    done: bool,
}

/// A merge of sorted inputs, smallest key first.
#[derive(Debug)]
struct Merger {
    table: Table,
    schema: SchemaRef,
    /// Rows of an input held at once.
    batch_rows: usize,
    converter: RowConverter,
    key_columns: Vec<usize>,
    cursors: Vec<Cursor>,
    heap: BinaryHeap<Reverse<(OwnedRow, usize)>>,
    /// Batches that rows of the next output batch come from.
    batches: Vec<RecordBatch>,
}

impl Merger {
    fn new(table: Table, schema: SchemaRef, inputs: usize) -> Result<Self, TablesError> {
        let key_columns = sort_columns(table)
            .iter()
            .map(|column| schema.index_of(column))
            .collect::<Result<Vec<_>, _>>()?;
        let sort_fields = key_columns
            .iter()
            .map(|&index| SortField::new(schema.field(index).data_type().clone()))
            .collect();
        Ok(Self {
            table,
            batch_rows: (HELD_ROWS / inputs.max(1)).clamp(BATCH_ROWS_MIN, BATCH_ROWS),
            converter: RowConverter::new(sort_fields)?,
            schema,
            key_columns,
            cursors: Vec::new(),
            heap: BinaryHeap::new(),
            batches: Vec::new(),
        })
    }

    /// The input itself where it is sorted, else a sorted copy.
    fn sorted(&self, input: Bytes) -> Result<Bytes, TablesError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(input.clone())?;
        let names = sort_columns(self.table).iter().copied();
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let mut last: Option<OwnedRow> = None;
        let mut is_sorted = true;
        'batches: for batch in builder.with_projection(mask).build()? {
            let batch = batch?;
            let columns = sort_columns(self.table)
                .iter()
                .zip(&self.key_columns)
                .map(|(name, &index)| {
                    let data_type = self.schema.field(index).data_type();
                    match batch.column_by_name(name) {
                        Some(column) => Ok(cast(column, data_type)?),
                        None => Ok(new_null_array(data_type, batch.num_rows())),
                    }
                })
                .collect::<Result<Vec<ArrayRef>, TablesError>>()?;
            let keys = self.converter.convert_columns(&columns)?;
            for row in 0..keys.num_rows() {
                let key = keys.row(row);
                let ordered = match row {
                    0 => last.as_ref().is_none_or(|last| last.row() <= key),
                    _ => keys.row(row - 1) <= key,
                };
                if !ordered {
                    is_sorted = false;
                    break 'batches;
                }
            }
            if let Some(row) = keys.num_rows().checked_sub(1) {
                last = Some(keys.row(row).owned());
            }
        }
        if is_sorted { Ok(input) } else { self.sort(input) }
    }

    fn sort(&self, input: Bytes) -> Result<Bytes, TablesError> {
        let batches = reader(input, BATCH_ROWS)?
            .map(|batch| conform(&batch?, &self.schema))
            .collect::<Result<Vec<_>, _>>()?;
        let whole = concat_batches(&self.schema, &batches)?;
        drop(batches);
        let columns: Vec<SortColumn> = self
            .key_columns
            .iter()
            .map(|&index| SortColumn { values: Arc::clone(whole.column(index)), options: None })
            .collect();
        let order = lexsort_to_indices(&columns, None)?;
        let mut writer = file_writer(self.table, Arc::clone(&self.schema))?;
        writer.write(&take_record_batch(&whole, &order)?)?;
        Ok(Bytes::from(writer.into_inner()?))
    }

    fn open(&mut self, input: Bytes, before: &mut Tally) -> Result<(), TablesError> {
        let cursor = Cursor {
            reader: reader(input, self.batch_rows)?,
            keys: self.converter.empty_rows(0, 0),
            batch: 0,
            row: 0,
            done: false,
        };
        self.cursors.push(cursor);
        self.advance(self.cursors.len() - 1, before)
    }

    /// Puts the next row of an input on the heap, and counts what is read for it.
    fn advance(&mut self, index: usize, before: &mut Tally) -> Result<(), TablesError> {
        let cursor = &mut self.cursors[index];
        while cursor.row == cursor.keys.num_rows() {
            let Some(batch) = cursor.reader.next() else {
                cursor.done = true;
                return Ok(());
            };
            let batch = conform(&batch?, &self.schema)?;
            before.add(&batch);
            let columns: Vec<ArrayRef> =
                self.key_columns.iter().map(|&index| Arc::clone(batch.column(index))).collect();
            cursor.keys = self.converter.convert_columns(&columns)?;
            cursor.row = 0;
            cursor.batch = self.batches.len();
            self.batches.push(batch);
        }
        let key = cursor.keys.row(cursor.row).owned();
        self.heap.push(Reverse((key, index)));
        Ok(())
    }

    fn next_batch(&mut self, before: &mut Tally) -> Result<Option<RecordBatch>, TablesError> {
        let mut rows = Vec::with_capacity(BATCH_ROWS);
        while rows.len() < BATCH_ROWS {
            let Some(Reverse((key, index))) = self.heap.pop() else { break };
            let cursor = &mut self.cursors[index];
            rows.push((cursor.batch, cursor.row));
            cursor.row += 1;
            self.advance(index, before)?;
            if let Some(Reverse((next, _))) = self.heap.peek()
                && *next < key
            {
                return Err(TablesError::Internal("a merge went backwards".to_owned()));
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let sources: Vec<&RecordBatch> = self.batches.iter().collect();
        let batch = interleave_record_batch(&sources, &rows)?;
        self.drop_merged_batches();
        Ok(Some(batch))
    }

    /// Keeps only the batches that inputs are still in.
    fn drop_merged_batches(&mut self) {
        let old = std::mem::take(&mut self.batches);
        for cursor in self.cursors.iter_mut().filter(|cursor| !cursor.done) {
            let batch = old[cursor.batch].clone();
            cursor.batch = self.batches.len();
            self.batches.push(batch);
        }
    }
}
