//! Merging Parquet files into one sorted file, row by row, and proof that nothing was lost.
//!
//! The inputs are merged as streams, so memory is their compressed size, a batch of each that is
//! open, and the output. An input that is not sorted is sorted first, a run of rows at a time, and
//! its runs are merged like inputs: no file is ever held decoded as a whole. Of many inputs some are
//! merged to one, and those again: an open file of events takes ten megabytes, however few its rows
//! are.

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
use parquet::file::metadata::ParquetMetaData;
use tally_aggregate::{delta_stats, writer_properties};
use tally_schemas::Table;

use crate::error::TablesError;

/// Rows of a batch written, and most of an input that are held at once.
const BATCH_ROWS: usize = 4_096;
/// Fewest of those.
const BATCH_ROWS_MIN: usize = 256;
/// Rows of all inputs together that are held at once, as long as each has its fewest, and those of
/// a run that is sorted: a row of events takes some 500 bytes.
const HELD_ROWS: usize = 65_536;
/// Inputs that are open at once, at most.
const OPEN_MAX: usize = 128;
/// Columns of all inputs that are open at once: the reader of each has a context of its own to
/// decompress with, some 200 KB. A thousand files of events, as they are there when the janitor was
/// away, would be more than ten gigabytes.
const OPEN_COLUMNS_MAX: usize = 1_024;
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
    let merger = Merger::new(table, Arc::clone(&schema))?;
    let mut sorted = Vec::with_capacity(inputs.len());
    for input in inputs {
        sorted.extend(merger.sorted(input, &mut before)?);
    }
    let few = to_few(table, &schema, sorted, &mut before)?;
    let (bytes, footer) = merge_sorted(table, &schema, few, &mut before)?;
    let after = tally_of(&bytes, &schema)?;
    if before != after {
        return Err(TablesError::Internal(format!(
            "a merge of {} changed its content from {before:?} to {after:?}",
            table.name()
        )));
    }
    Ok(Merged { stats: delta_stats(table, &footer), bytes, rows: after.rows })
}

/// How many inputs of this schema are open at once.
fn open_max(schema: &Schema) -> usize {
    (OPEN_COLUMNS_MAX / schema.fields().len().max(1)).clamp(2, OPEN_MAX)
}

/// Merges some to one until all that are left can be open at once.
fn to_few(
    table: Table,
    schema: &SchemaRef,
    mut inputs: Vec<Sorted>,
    before: &mut Tally,
) -> Result<Vec<Sorted>, TablesError> {
    let open_max = open_max(schema);
    while inputs.len() > open_max {
        let mut fewer = Vec::with_capacity(inputs.len().div_ceil(open_max));
        let mut rest = inputs.into_iter();
        loop {
            let some: Vec<Sorted> = rest.by_ref().take(open_max).collect();
            if some.is_empty() {
                break;
            }
            let (bytes, _) = merge_sorted(table, schema, some, before)?;
            fewer.push(Sorted { bytes, is_counted: true });
        }
        inputs = fewer;
    }
    Ok(inputs)
}

/// One sorted file of sorted inputs, all of them open at once.
fn merge_sorted(
    table: Table,
    schema: &SchemaRef,
    inputs: Vec<Sorted>,
    before: &mut Tally,
) -> Result<(Bytes, ParquetMetaData), TablesError> {
    let mut merger = Merger::new(table, Arc::clone(schema))?;
    merger.hold(inputs.len());
    for input in inputs {
        merger.open(input, before)?;
    }
    let mut writer = file_writer(table, Arc::clone(schema))?;
    while let Some(batch) = merger.next_batch(before)? {
        writer.write(&batch)?;
    }
    let footer = writer.finish()?;
    // `into_inner` would write the footer again.
    Ok((Bytes::from(std::mem::take(writer.inner_mut())), footer))
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

/// Sorted rows, as a file.
#[derive(Debug)]
struct Sorted {
    bytes: Bytes,
    /// Whether they were counted before they were sorted.
    is_counted: bool,
}

/// An input and where the merge is in it.
#[derive(Debug)]
struct Cursor {
    reader: ParquetRecordBatchReader,
    is_counted: bool,
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
    fn new(table: Table, schema: SchemaRef) -> Result<Self, TablesError> {
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
            batch_rows: BATCH_ROWS,
            converter: RowConverter::new(sort_fields)?,
            schema,
            key_columns,
            cursors: Vec::new(),
            heap: BinaryHeap::new(),
            batches: Vec::new(),
        })
    }

    /// So many inputs share the rows that are held at once.
    fn hold(&mut self, inputs: usize) {
        self.batch_rows = (HELD_ROWS / inputs.max(1)).clamp(BATCH_ROWS_MIN, BATCH_ROWS);
    }

    /// The input itself where it is sorted, else sorted runs of its rows.
    fn sorted(&self, input: Bytes, before: &mut Tally) -> Result<Vec<Sorted>, TablesError> {
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
        if is_sorted {
            return Ok(vec![Sorted { bytes: input, is_counted: false }]);
        }
        self.sort(input, before)
    }

    /// Sorts an input in runs, and counts it as it was.
    fn sort(&self, input: Bytes, before: &mut Tally) -> Result<Vec<Sorted>, TablesError> {
        let mut runs = Vec::new();
        let (mut batches, mut rows) = (Vec::new(), 0);
        for batch in reader(input, BATCH_ROWS)? {
            let batch = conform(&batch?, &self.schema)?;
            before.add(&batch);
            rows += batch.num_rows();
            batches.push(batch);
            if rows >= HELD_ROWS {
                runs.push(self.run(std::mem::take(&mut batches))?);
                rows = 0;
            }
        }
        if rows > 0 {
            runs.push(self.run(batches)?);
        }
        Ok(runs)
    }

    fn run(&self, batches: Vec<RecordBatch>) -> Result<Sorted, TablesError> {
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
        Ok(Sorted { bytes: Bytes::from(writer.into_inner()?), is_counted: true })
    }

    fn open(&mut self, input: Sorted, before: &mut Tally) -> Result<(), TablesError> {
        let cursor = Cursor {
            reader: reader(input.bytes, self.batch_rows)?,
            is_counted: input.is_counted,
            keys: self.converter.empty_rows(0, 0),
            batch: 0,
            row: 0,
            done: false,
        };
        self.cursors.push(cursor);
        self.advance(self.cursors.len() - 1, before)
    }

    /// Puts the next row of an input on the heap, and counts what is read for it and was not
    /// counted before.
    fn advance(&mut self, index: usize, before: &mut Tally) -> Result<(), TablesError> {
        let cursor = &mut self.cursors[index];
        while cursor.row == cursor.keys.num_rows() {
            let Some(batch) = cursor.reader.next() else {
                cursor.done = true;
                return Ok(());
            };
            let batch = conform(&batch?, &self.schema)?;
            if !cursor.is_counted {
                before.add(&batch);
            }
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

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::TimestampMicrosecondType;
    use rand::SeedableRng;
    use rand::seq::SliceRandom;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const TABLE: Table = Table::ControlTotals;

    /// Gateway, hour, offset and events: as they are sorted.
    type Row = (String, i64, i64, i64);

    /// Of the table's columns those that sort it, and one of numbers.
    fn schema() -> SchemaRef {
        let whole = TABLE.arrow_schema();
        let fields = ["source", "hour", "kafka_offset", "events"]
            .map(|name| whole.field_with_name(name).unwrap().clone());
        Arc::new(Schema::new(fields.to_vec()))
    }

    fn row(offset: i64) -> Row {
        (format!("gw-{}", offset % 7), 3_600_000_000 * (offset % 5), offset, offset * 3)
    }

    fn file(rows: &[Row]) -> Bytes {
        let numbers = |of: fn(&Row) -> i64| rows.iter().map(of).collect::<Vec<i64>>();
        let sources = StringArray::from_iter_values(rows.iter().map(|row| row.0.as_str()));
        let hours = TimestampMicrosecondArray::from(numbers(|row| row.1)).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(sources),
            Arc::new(hours),
            Arc::new(Int64Array::from(numbers(|row| row.2))),
            Arc::new(Int64Array::from(numbers(|row| row.3))),
        ];
        let mut writer = file_writer(TABLE, schema()).unwrap();
        writer.write(&RecordBatch::try_new(schema(), columns).unwrap()).unwrap();
        Bytes::from(writer.into_inner().unwrap())
    }

    fn rows_of(file: &Bytes) -> Vec<Row> {
        let mut rows = Vec::new();
        for batch in reader(file.clone(), BATCH_ROWS).unwrap() {
            let batch = batch.unwrap();
            let number = |name: &str, row: usize| {
                batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row)
            };
            let sources = batch.column_by_name("source").unwrap().as_string::<i32>();
            let hours = batch.column_by_name("hour").unwrap();
            let hours = hours.as_primitive::<TimestampMicrosecondType>();
            rows.extend((0..batch.num_rows()).map(|row| {
                let source = sources.value(row).to_owned();
                (source, hours.value(row), number("kafka_offset", row), number("events", row))
            }));
        }
        rows
    }

    fn is_sorted(rows: &[Row]) -> bool {
        rows.iter().zip(rows.iter().skip(1)).all(|(row, next)| row <= next)
    }

    /// A file of many rows is never held decoded as a whole, and what comes out is what went in.
    #[test]
    fn a_large_unsorted_file_is_sorted_in_runs_and_merged_as_it_was() {
        let count = 2 * i64::try_from(HELD_ROWS).unwrap() + 1_000;
        let mut rows: Vec<Row> = (0..count).map(row).collect();
        rows.shuffle(&mut ChaCha8Rng::seed_from_u64(7));
        let mut sorted: Vec<Row> = (count..count + 500).map(row).collect();
        sorted.sort();
        let (large, small) = (file(&rows), file(&sorted));

        let merger = Merger::new(TABLE, schema()).unwrap();
        let mut counted = Tally::default();
        let runs = merger.sorted(large.clone(), &mut counted).unwrap();
        let runs: Vec<Vec<Row>> = runs.iter().map(|run| rows_of(&run.bytes)).collect();
        let lengths: Vec<usize> = runs.iter().map(Vec::len).collect();
        assert_eq!(lengths, [HELD_ROWS, HELD_ROWS, 1_000]);
        assert!(runs.iter().all(|run| is_sorted(run)));
        assert_eq!(counted, tally_of(&large, &schema()).unwrap());
        let as_it_was = merger.sorted(small.clone(), &mut Tally::default()).unwrap();
        assert_eq!(as_it_was.iter().map(|of| &of.bytes).collect::<Vec<_>>(), [&small]);

        let merged = merge_files(TABLE, &schema(), vec![large, small]).unwrap();
        let mut all = [rows, sorted].concat();
        all.sort();
        assert_eq!(merged.rows, u64::try_from(all.len()).unwrap());
        // Not by `assert_eq`, which would print all of them.
        assert!(rows_of(&merged.bytes) == all, "a merge changed its content");
    }

    /// However many files there are, few are open at once, and what comes out is what went in.
    #[test]
    fn of_wide_files_fewer_are_open_at_once() {
        let open = |table: Table| open_max(&table.arrow_schema());
        assert!(open(Table::UsageEvents) < open(Table::ControlTotals));
        for table in Table::ALL {
            let columns = table.arrow_schema().fields().len();
            assert!((2..=OPEN_COLUMNS_MAX / columns).contains(&open(table)), "{table:?}");
        }
    }

    #[test]
    fn many_files_are_merged_some_at_a_time_to_one() {
        let files = i64::try_from(2 * OPEN_MAX + 1).unwrap();
        // Rows of each file lie between those of the others.
        let rows_of_file = |file: i64| -> Vec<Row> {
            let mut rows: Vec<Row> = (0..40).map(|number| row(number * files + file)).collect();
            rows.sort();
            rows
        };
        let inputs: Vec<Bytes> = (0..files).map(|number| file(&rows_of_file(number))).collect();
        let mut all: Vec<Row> = (0..files).flat_map(rows_of_file).collect();
        all.sort();

        let whole = inputs.iter().map(|bytes| Sorted { bytes: bytes.clone(), is_counted: false });
        let mut counted = Tally::default();
        let few = to_few(TABLE, &schema(), whole.collect(), &mut counted).unwrap();
        let lengths: Vec<usize> = few.iter().map(|run| rows_of(&run.bytes).len()).collect();
        assert_eq!(lengths, [40 * OPEN_MAX, 40 * OPEN_MAX, 40]);
        assert!(few.iter().all(|run| run.is_counted));
        assert_eq!(counted.rows, u64::try_from(all.len()).unwrap());

        let merged = merge_files(TABLE, &schema(), inputs).unwrap();
        assert_eq!(merged.rows, counted.rows);
        assert!(rows_of(&merged.bytes) == all, "a merge changed its content");
    }
}
