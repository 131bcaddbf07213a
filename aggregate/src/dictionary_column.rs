//! A Parquet column chunk of values that are already numbered: recurring texts, and numbers that
//! are the same in every row. The library's writer would hash and compare each value of each row
//! to find out what is known here; the pages are the same.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{Int64Type, UInt32Type};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use crate::index_encoding::{encode_hybrid, width_for};

/// A value of the dictionary that the chunk does not have yet.
const UNUSED: u32 = u32::MAX;
/// Stands for an absent value among the indices.
const NULL: u32 = u32::MAX;

/// The distinct values of a chunk, in the order of their first rows.
#[derive(Debug)]
enum Values {
    Texts {
        /// The dictionary of the arrays that are written.
        source: Option<Arc<dyn Array>>,
        /// Number in the chunk of each value of `source`.
        numbers: Vec<u32>,
        /// Numbers in `source` of the chunk's values.
        used: Vec<u32>,
    },
    Number(i64),
}

/// Gathers the rows of one chunk.
#[derive(Debug)]
pub(crate) struct DictionaryColumn {
    values: Values,
    /// The value of each row, or [`NULL`].
    rows: Vec<u32>,
    nulls: u64,
}

/// A finished chunk: its bytes, and what the file has to know of it.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
}

impl DictionaryColumn {
    /// A column for arrays such as `array`, where its rows are numbered already. `constant` says
    /// that all numbers of the chunk are the same.
    pub(crate) fn for_array(array: &ArrayRef, constant: bool) -> Option<Self> {
        let values = match array.as_dictionary_opt::<UInt32Type>() {
            Some(_) => Values::Texts { source: None, numbers: Vec::new(), used: Vec::new() },
            None if constant && array.null_count() == 0 => {
                Values::Number(*array.as_primitive_opt::<Int64Type>()?.values().first()?)
            }
            None => return None,
        };
        Some(Self { values, rows: Vec::new(), nulls: 0 })
    }

    /// Adds the rows of an array. All arrays of a chunk share one dictionary.
    ///
    /// # Errors
    /// Where the array has another dictionary, or another number than the one of every row.
    pub(crate) fn write(&mut self, array: &ArrayRef) -> Result<()> {
        match &mut self.values {
            Values::Number(number) => {
                let numbers = array.as_primitive_opt::<Int64Type>();
                if !numbers.is_some_and(|array| array.values().iter().all(|n| n == number)) {
                    return Err(unexpected("a constant column has another number"));
                }
                self.rows.resize(self.rows.len() + array.len(), 0);
            }
            Values::Texts { source, numbers, used } => {
                let array = array
                    .as_dictionary_opt::<UInt32Type>()
                    .ok_or_else(|| unexpected("a dictionary column has another type"))?;
                let dictionary =
                    source.get_or_insert_with(|| Arc::clone(array.values()));
                if !Arc::ptr_eq(dictionary, array.values()) {
                    return Err(unexpected("a dictionary changed within a row group"));
                }
                numbers.resize(dictionary.len(), UNUSED);
                let keys = array.keys();
                self.nulls += keys.null_count() as u64;
                for (row, key) in keys.values().iter().enumerate() {
                    if keys.is_null(row) {
                        self.rows.push(NULL);
                        continue;
                    }
                    let number = &mut numbers[*key as usize];
                    if *number == UNUSED {
                        *number = u32::try_from(used.len())
                            .map_err(|_| unexpected("too many distinct values"))?;
                        used.push(*key);
                    }
                    self.rows.push(*number);
                }
            }
        }
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
        let texts = self.texts();
        let mut sink = TrackedWrite::new(Vec::new());
        let mut pages = SerializedPageWriter::new(&mut sink);
        let mut uncompressed = 0;
        let distinct = match &self.values {
            Values::Texts { used, .. } => used.len(),
            Values::Number(_) => 1,
        };
        let mut dictionary_offset = None;
        if distinct > 0 {
            let plain = self.plain_values(&texts);
            let page = Page::DictionaryPage {
                buf: compressor.compress(&plain)?,
                num_values: u32::try_from(distinct).map_err(|_| unexpected("too many values"))?,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            };
            let spec = pages.write_page(CompressedPage::new(page, plain.len()))?;
            dictionary_offset = Some(position(spec.offset)?);
            uncompressed += spec.uncompressed_size;
        }
        // Without a value there is nothing to index: all rows are absent.
        let encoding = if distinct > 0 { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN };
        let width = width_for(u32::try_from(distinct).unwrap_or(u32::MAX).saturating_sub(1));
        let mut offsets = OffsetIndexBuilder::new();
        let mut first_page = None;
        let (mut plain, mut levels, mut indices) = (Vec::new(), Vec::new(), Vec::new());
        for rows in self.rows.chunks(page_rows) {
            plain.clear();
            if column.max_def_level() > 0 {
                levels.clear();
                levels.extend(rows.iter().map(|row| u32::from(*row != NULL)));
                plain.extend_from_slice(&[0; 4]);
                encode_hybrid(&mut plain, &levels, 1);
                let length = u32::try_from(plain.len() - 4).unwrap_or(u32::MAX);
                plain[..4].copy_from_slice(&length.to_le_bytes());
            } else if self.nulls > 0 {
                return Err(unexpected("a required column has absent values"));
            }
            if distinct > 0 {
                plain.push(width.to_le_bytes()[0]);
                if self.nulls == 0 {
                    encode_hybrid(&mut plain, rows, width);
                } else {
                    indices.clear();
                    indices.extend(rows.iter().copied().filter(|row| *row != NULL));
                    encode_hybrid(&mut plain, &indices, width);
                }
            }
            let page = Page::DataPage {
                buf: compressor.compress(&plain)?,
                num_values: u32::try_from(rows.len()).map_err(|_| unexpected("a page too long"))?,
                encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            let spec = pages.write_page(CompressedPage::new(page, plain.len()))?;
            uncompressed += spec.uncompressed_size;
            first_page.get_or_insert(position(spec.offset)?);
            let size = i32::try_from(spec.compressed_size)
                .map_err(|_| unexpected("a page beyond 2 GiB"))?;
            offsets.append_offset_and_size(position(spec.offset)?, size);
            offsets.append_row_count(position(rows.len() as u64)?);
        }
        let bloom_filter = match (bloom_values, &self.values) {
            (Some(expected), Values::Texts { used, .. }) => {
                // One absent account in twenty is taken for present.
                let mut filter = Sbbf::new_with_ndv_fpp(expected.max(1), 0.05)?;
                for value in used.iter().filter_map(|number| texts.as_ref()?.get(*number)) {
                    filter.insert(value);
                }
                Some(filter)
            }
            _ => None,
        };
        let statistics = self.statistics(&texts);
        let bytes = sink.into_inner()?;
        let row_count = self.rows.len() as u64;
        let mut metadata = ColumnChunkMetaData::builder(Arc::clone(column))
            .set_compression(compressor.compression)
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, encoding])
            .set_num_values(position(row_count)?)
            .set_total_compressed_size(position(bytes.len() as u64)?)
            .set_total_uncompressed_size(position(uncompressed as u64)?)
            .set_dictionary_page_offset(dictionary_offset)
            .set_data_page_offset(first_page.unwrap_or_default());
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: row_count,
            metadata: metadata.build()?,
            bloom_filter,
            column_index: None,
            offset_index: Some(offsets.build()),
        };
        Ok(Chunk { bytes: Bytes::from(bytes), close })
    }

    fn texts(&self) -> Option<Texts> {
        match &self.values {
            Values::Texts { source, .. } => {
                source.as_ref()?.as_string_opt::<i32>().cloned().map(Texts)
            }
            Values::Number(_) => None,
        }
    }

    /// The distinct values as the dictionary page has them: PLAIN.
    fn plain_values(&self, texts: &Option<Texts>) -> Vec<u8> {
        let mut plain = Vec::new();
        match &self.values {
            Values::Number(number) => plain.extend_from_slice(&number.to_le_bytes()),
            Values::Texts { used, .. } => {
                for text in used.iter().filter_map(|number| texts.as_ref()?.get(*number)) {
                    // Texts are at most 256 bytes.
                    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    plain.extend_from_slice(&length.to_le_bytes());
                    plain.extend_from_slice(text.as_bytes());
                }
            }
        }
        plain
    }

    fn statistics(&self, texts: &Option<Texts>) -> Option<Statistics> {
        match &self.values {
            Values::Number(number) => {
                Some(Statistics::int64(Some(*number), Some(*number), None, Some(0), false))
            }
            Values::Texts { used, .. } => {
                let all = || used.iter().filter_map(|number| texts.as_ref()?.get(*number));
                let bound = |text: Option<&str>| text.map(ByteArray::from);
                let (low, high) = (bound(all().min()), bound(all().max()));
                Some(Statistics::byte_array(low, high, None, Some(self.nulls), false))
            }
        }
    }
}

struct Texts(StringArray);

impl Texts {
    fn get(&self, number: u32) -> Option<&str> {
        let number = number as usize;
        (number < self.0.len()).then(|| self.0.value(number))
    }
}

/// Compresses pages one after the other with the same context.
pub(crate) struct PageCompressor {
    pub(crate) compression: Compression,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl std::fmt::Debug for PageCompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageCompressor").field("compression", &self.compression).finish()
    }
}

impl PageCompressor {
    /// # Errors
    /// Where the compression is neither none nor Zstandard.
    pub(crate) fn new(compression: Compression) -> Result<Self> {
        let zstd = match compression {
            Compression::UNCOMPRESSED => None,
            Compression::ZSTD(level) => {
                Some(zstd::bulk::Compressor::new(level.compression_level())?)
            }
            other => return Err(unexpected(&format!("compression {other}"))),
        };
        Ok(Self { compression, zstd })
    }

    fn compress(&mut self, plain: &[u8]) -> Result<Bytes> {
        match &mut self.zstd {
            None => Ok(Bytes::copy_from_slice(plain)),
            Some(zstd) => Ok(Bytes::from(zstd.compress(plain)?)),
        }
    }
}

fn position(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| unexpected("a file beyond 2^63 bytes"))
}

fn unexpected(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{DictionaryArray, Int64Array, RecordBatch, UInt32Array};
    use arrow::datatypes::{DataType, Field, Schema};
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
        ];
        let names = [("account", false), ("region", true), ("requests", false), ("input", false)];
        let fields: Vec<Field> = names
            .iter()
            .zip(&columns)
            .map(|((name, nullable), array)| Field::new(*name, array.data_type().clone(), *nullable))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn written(batch: &RecordBatch, pieces: usize) -> Bytes {
        let new = NewFile {
            table: Table::UsageEvents,
            path: "p".to_owned(),
            partition_values: BTreeMap::new(),
            accounts: 50,
            constant: &["requests"],
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
                let statistics = column.statistics().unwrap();
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
