//! A Parquet column chunk of values that are already numbered: recurring texts, and numbers that
//! are the same in every row. The library's writer would hash and compare each value of each row
//! to find out what is known here; the pages are the same.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type, UInt32Type};
use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use parquet::data_type::ByteArray;
use parquet::errors::Result;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use crate::column_chunk::{Chunk, ChunkBuilder, PageCompressor, Presence, unexpected};
use crate::index_encoding::{encode_hybrid, encode_run, width_for};

/// A value of the dictionary that the chunk does not have yet.
const UNUSED: u32 = u32::MAX;
/// Stands for an absent value among the indices.
const NULL: u32 = u32::MAX;

/// The distinct values of a chunk, in the order of their first rows.
#[derive(Debug)]
enum Values {
    Texts {
        /// The dictionary of the arrays that are written.
        source: Option<ArrayRef>,
        /// Number in the chunk of each value of `source`.
        numbers: Vec<u32>,
        /// Numbers in `source` of the chunk's values.
        used: Vec<u32>,
    },
    /// The same in every row.
    Number(Number),
    /// Every row is absent.
    Absent,
}

/// A number, with as many bits as its column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Long(i64),
    Int(i32),
}

impl Number {
    /// The number of every row of an array, if it is the same.
    fn of(array: &ArrayRef) -> Option<Self> {
        if array.null_count() > 0 {
            return None;
        }
        // All of them are looked at: without an exit from the loop, many at once.
        if let Some(array) = array.as_primitive_opt::<Int64Type>() {
            let first = *array.values().first()?;
            let differ = array.values().iter().fold(0, |differ, n| differ | (n ^ first));
            return (differ == 0).then_some(Self::Long(first));
        }
        let array = array.as_primitive_opt::<Int32Type>()?;
        let first = *array.values().first()?;
        let differ = array.values().iter().fold(0, |differ, n| differ | (n ^ first));
        (differ == 0).then_some(Self::Int(first))
    }
}

/// Numbers the texts of a chunk in the order of their first rows.
struct Numbering<'a> {
    numbers: &'a mut [u32],
    used: &'a mut Vec<u32>,
}

impl Numbering<'_> {
    /// The number in the chunk of a value of the dictionary.
    fn of(&mut self, key: u32) -> u32 {
        let number = &mut self.numbers[key as usize];
        if *number == UNUSED {
            // Fewer than the dictionary has.
            *number = u32::try_from(self.used.len()).unwrap_or(UNUSED);
            self.used.push(key);
        }
        *number
    }
}

/// Gathers the rows of one chunk.
#[derive(Debug)]
pub(crate) struct DictionaryColumn {
    values: Values,
    len: usize,
    nulls: u64,
    /// The text of each row, or [`NULL`]; empty while all rows are the same or absent.
    rows: Vec<u32>,
}

impl DictionaryColumn {
    /// A column for arrays such as `array`, where its rows are numbered already. `constant` says
    /// that all rows of the file are the same.
    pub(crate) fn for_array(array: &ArrayRef, constant: bool) -> Option<Self> {
        let texts = array
            .as_dictionary_opt::<UInt32Type>()
            .is_some_and(|array| *array.values().data_type() == DataType::Utf8);
        let values = if texts {
            Values::Texts { source: None, numbers: Vec::new(), used: Vec::new() }
        } else if constant && !array.is_empty() && array.null_count() == array.len() {
            Values::Absent
        } else if constant {
            Values::Number(Number::of(array)?)
        } else {
            return None;
        };
        Some(Self { values, len: 0, nulls: 0, rows: Vec::new() })
    }

    /// Adds the rows of an array. All arrays of a chunk share one dictionary.
    ///
    /// # Errors
    /// Where the array has another dictionary, or another number than the one of every row.
    pub(crate) fn write(&mut self, array: &ArrayRef) -> Result<()> {
        let (before, nulls) = (self.len, array.null_count());
        match &mut self.values {
            Values::Number(number) => {
                if Number::of(array) != Some(*number) {
                    return Err(unexpected("a constant column has another number"));
                }
            }
            Values::Absent => {
                if nulls != array.len() {
                    return Err(unexpected("a column without values has one"));
                }
            }
            Values::Texts { source, numbers, used } => {
                let array = array
                    .as_dictionary_opt::<UInt32Type>()
                    .ok_or_else(|| unexpected("a dictionary column has another type"))?;
                let dictionary = source.get_or_insert_with(|| Arc::clone(array.values()));
                if !Arc::ptr_eq(dictionary, array.values()) {
                    return Err(unexpected("a dictionary changed within a row group"));
                }
                if u32::try_from(dictionary.len()).is_err() {
                    return Err(unexpected("too many distinct values"));
                }
                if nulls < array.len() || !self.rows.is_empty() {
                    numbers.resize(dictionary.len(), UNUSED);
                    // Before the first text, every row was absent.
                    self.rows.resize(before, NULL);
                    let mut numbering = Numbering { numbers, used };
                    let keys = array.keys();
                    match keys.nulls() {
                        None => self.rows.extend(keys.values().iter().map(|k| numbering.of(*k))),
                        Some(nulls) => {
                            let keys = keys.values().iter().zip(nulls);
                            let numbers =
                                keys.map(|(key, is)| if is { numbering.of(*key) } else { NULL });
                            self.rows.extend(numbers);
                        }
                    }
                }
            }
        }
        self.len += array.len();
        self.nulls += nulls as u64;
        Ok(())
    }

    /// Writes the pages: the dictionary, then `page_rows` rows each.
    ///
    /// # Errors
    /// Where a page cannot be written, or `bloom_values` calls for a filter that cannot be made.
    pub(crate) fn finish(
        self,
        column: &ColumnDescPtr,
        compressor: &mut PageCompressor,
        page_rows: usize,
        bloom_values: Option<u64>,
    ) -> Result<Chunk> {
        let mut chunk = ChunkBuilder::new(column, compressor);
        let distinct = match &self.values {
            Values::Texts { used, .. } => used.len(),
            Values::Number(_) => 1,
            Values::Absent => 0,
        };
        if distinct > 0 {
            chunk.dictionary(&self.plain_values(), distinct)?;
        }
        // Without a value there is nothing to index: all rows are absent.
        let encoding = if distinct > 0 { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN };
        let width = width_for(u32::try_from(distinct).unwrap_or(u32::MAX).saturating_sub(1));
        let mut some = Vec::new();
        for start in (0..self.len).step_by(page_rows) {
            let end = (start + page_rows).min(self.len);
            let Some(rows) = self.rows.get(start..end) else {
                let presence = if distinct > 0 { Presence::All } else { Presence::None };
                chunk.data(end - start, presence, encoding, |out| {
                    if distinct > 0 {
                        out.push(width.to_le_bytes()[0]);
                        encode_run(out, 0, end - start, width);
                    }
                })?;
                continue;
            };
            let is_present = |row: usize| rows[row] != NULL;
            let (presence, indices) = if self.nulls == 0 {
                (Presence::All, rows)
            } else {
                some.clear();
                some.extend(rows.iter().copied().filter(|row| *row != NULL));
                (Presence::Some(&is_present), some.as_slice())
            };
            chunk.data(rows.len(), presence, encoding, |out| {
                out.push(width.to_le_bytes()[0]);
                encode_hybrid(out, indices, width);
            })?;
        }
        let bloom_filter = match (bloom_values, &self.values) {
            (Some(expected), Values::Texts { .. }) => {
                // One absent account in twenty is taken for present.
                let mut filter = Sbbf::new_with_ndv_fpp(expected.max(1), 0.05)?;
                for text in self.texts() {
                    filter.insert(text);
                }
                Some(filter)
            }
            _ => None,
        };
        chunk.finish(self.statistics(), bloom_filter)
    }

    /// The distinct texts in their order.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let (source, used) = match &self.values {
            Values::Texts { source, used, .. } => (source.as_ref(), used.as_slice()),
            Values::Number(_) | Values::Absent => (None, [].as_slice()),
        };
        let source = source.map(|array| array.as_string::<i32>());
        used.iter().filter_map(move |number| Some(source?.value(*number as usize)))
    }

    /// The distinct values as the dictionary page has them: PLAIN.
    fn plain_values(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        match &self.values {
            Values::Number(Number::Long(number)) => plain.extend_from_slice(&number.to_le_bytes()),
            Values::Number(Number::Int(number)) => plain.extend_from_slice(&number.to_le_bytes()),
            Values::Absent => {}
            Values::Texts { .. } => {
                for text in self.texts() {
                    // Texts are at most 256 bytes.
                    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    plain.extend_from_slice(&length.to_le_bytes());
                    plain.extend_from_slice(text.as_bytes());
                }
            }
        }
        plain
    }

    fn statistics(&self) -> Option<Statistics> {
        match &self.values {
            Values::Number(Number::Long(number)) => {
                Some(Statistics::int64(Some(*number), Some(*number), None, Some(0), false))
            }
            Values::Number(Number::Int(number)) => {
                Some(Statistics::int32(Some(*number), Some(*number), None, Some(0), false))
            }
            Values::Absent => None,
            Values::Texts { .. } => {
                let bound = |text: Option<&str>| text.map(ByteArray::from);
                let (low, high) = (bound(self.texts().min()), bound(self.texts().max()));
                Some(Statistics::byte_array(low, high, None, Some(self.nulls), false))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{
        DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray, UInt32Array, new_null_array,
    };
    use arrow::datatypes::{Field, Schema};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use proptest::prelude::*;
    use tally_schemas::Table;

    use super::*;
    use crate::parquet_file::{NewFile, ROW_GROUP_ROWS, write_file};

    /// Rows of a file with two text columns (one may be absent), a constant and a varying number.
    fn batch(rows: &[(u32, Option<u32>)]) -> RecordBatch {
        let texts: StringArray = (0..50).map(|n| Some(format!("text-{}", n * 7 % 50))).collect();
        let texts: ArrayRef = Arc::new(texts);
        let dictionary = |keys: UInt32Array| -> ArrayRef {
            Arc::new(DictionaryArray::try_new(keys, Arc::clone(&texts)).unwrap())
        };
        let numbers = |of: &dyn Fn(usize) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values((0..rows.len()).map(of)))
        };
        let columns = vec![
            dictionary(rows.iter().map(|row| Some(row.0)).collect()),
            dictionary(rows.iter().map(|row| row.1).collect()),
            numbers(&|_| 7),
            numbers(&|row| i64::try_from(row).unwrap() * 3),
            Arc::new(Int32Array::from(vec![-5; rows.len()])),
            new_null_array(&DataType::Utf8, rows.len()),
            Arc::new(rows.iter().map(|row| row.1.map(i64::from)).collect::<Int64Array>()),
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(
                    rows.iter().enumerate().map(|(n, row)| hashed(n, row.0)),
                )
                .with_timezone("UTC"),
            ),
        ];
        let names = [
            ("account", false),
            ("region", true),
            ("requests", false),
            ("input", false),
            ("kafka_partition", false),
            ("labels", true),
            ("gateway_seq", true),
            ("completed_at", false),
        ];
        let fields: Vec<Field> = names
            .iter()
            .zip(&columns)
            .map(|((name, nullable), array)| {
                Field::new(*name, array.data_type().clone(), *nullable)
            })
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    /// Numbers of every size and sign.
    fn hashed(n: usize, seed: u32) -> i64 {
        let bits = (n as u64 ^ u64::from(seed) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits.cast_signed() >> (bits % 64)
    }

    fn written(batch: &RecordBatch, pieces: usize) -> Bytes {
        let new = NewFile {
            table: Table::UsageEvents,
            path: "p".to_owned(),
            partition_values: BTreeMap::new(),
            accounts: 50,
            constant: &["requests", "kafka_partition", "labels"],
        };
        let starts = (0..batch.num_rows()).step_by(pieces);
        let slice = |at| Ok(batch.slice(at, pieces.min(batch.num_rows() - at)));
        write_file(new, starts.map(slice)).unwrap().1
    }

    fn assert_reads_back(batch: &RecordBatch, file: Bytes) {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let metadata = Arc::clone(builder.metadata());
        let read: Vec<RecordBatch> =
            builder.with_batch_size(1_000).build().unwrap().map(Result::unwrap).collect();
        let read = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
        assert_eq!(read.num_rows(), batch.num_rows());
        for (read, wanted) in read.columns().iter().zip(batch.columns()) {
            let wanted = arrow::compute::cast(wanted, read.data_type()).unwrap();
            assert_eq!(read.to_data(), wanted.to_data());
        }
        assert_eq!(read.column(0).data_type(), &DataType::Utf8);
        for group in metadata.row_groups() {
            for column in group.columns() {
                let Some(statistics) = column.statistics() else {
                    assert_eq!(column.column_descr().name(), "labels");
                    continue;
                };
                assert!(statistics.null_count_opt().is_some());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn rows_come_back(
            runs in prop::collection::vec((0_u32..50, prop::option::of(0_u32..50), 1..400_usize), 1..80),
            pieces in 1..5_000_usize,
        ) {
            let rows: Vec<_> = runs.into_iter().flat_map(|(a, b, n)| vec![(a, b); n]).collect();
            let batch = batch(&rows);
            assert_reads_back(&batch, written(&batch, pieces));
        }
    }

    #[test]
    fn columns_without_values_and_several_row_groups_come_back() {
        let rows: Vec<_> =
            (0..u32::try_from(ROW_GROUP_ROWS).unwrap() + 5_000).map(|n| (n % 3, None)).collect();
        let batch = batch(&rows);
        assert_reads_back(&batch, written(&batch, 16_384));
    }

    /// Asked by the library's reader, as a query asks it.
    #[test]
    fn a_reader_finds_every_account_in_the_filter_and_few_others() {
        let group_rows = u32::try_from(ROW_GROUP_ROWS).unwrap();
        // Accounts 0 to 19 in the first row group, 20 to 39 in the second.
        let account = |row| if row < group_rows { row % 20 } else { 20 + row % 20 };
        let rows: Vec<_> = (0..group_rows + 5_000).map(|row| (account(row), None)).collect();
        let batch = batch(&rows);
        // Pieces that end where the row group does.
        let file = written(&batch, ROW_GROUP_ROWS);
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let text = |number: u32| format!("text-{}", number * 7 % 50);
        for (group, here, elsewhere) in [(0, 0..20, 20..50), (1, 20..40, 0..20)] {
            let filter = reader.get_row_group_column_bloom_filter(group, 0).unwrap().unwrap();
            for account in here {
                assert!(filter.check(text(account).as_str()), "{} is denied", text(account));
            }
            let others = elsewhere.map(text).chain((0..1_000).map(|n| format!("nobody-{n}")));
            let taken = others.filter(|other| filter.check(other.as_str())).count();
            // It is made for one in twenty; for fewer accounts than it was made for, it does better.
            assert!(taken <= 60, "{taken} of others are taken for present");
            let region = reader.get_row_group_column_bloom_filter(group, 1).unwrap();
            assert!(region.is_none(), "only accounts have a filter");
        }
    }

    #[test]
    fn a_constant_that_changes_is_refused() {
        let mut column = DictionaryColumn::for_array(
            &(Arc::new(Int64Array::from(vec![1, 1])) as ArrayRef),
            true,
        )
        .unwrap();
        assert!(column.write(&(Arc::new(Int64Array::from(vec![1, 1])) as ArrayRef)).is_ok());
        assert!(column.write(&(Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)).is_err());
    }
}
