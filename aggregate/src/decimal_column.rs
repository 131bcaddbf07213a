//! A Parquet column chunk of 128-bit decimals. Where few values recur, as points often do, their
//! numbers in a dictionary; else PLAIN: sixteen bytes a value, the most significant first. Most of
//! those are zeros, which Zstandard removes, at the cost of some 450 instructions a value. The
//! library makes an object of each value; this only copies.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type};
use hashbrown::HashTable;
use parquet::basic::Encoding;
use parquet::errors::Result;
use parquet::schema::types::ColumnDescPtr;
use xxhash_rust::xxh3::xxh3_64;

use crate::column_chunk::{Chunk, ChunkBuilder, PageCompressor, Presence, unexpected};
use crate::column_rows::ColumnRows;
use crate::index_encoding::{encode_hybrid, encode_run, width_for};

/// A dictionary of more than this part of the rows would not be smaller than PLAIN values are when
/// they are compressed.
const ROWS_FOR_A_VALUE: usize = 4;

/// Gathers the rows of one chunk.
#[derive(Debug, Default)]
pub(crate) struct DecimalColumn {
    rows: ColumnRows<i128>,
}

impl DecimalColumn {
    /// A column for arrays such as `array`, if they are decimals.
    pub(crate) fn for_array(array: &ArrayRef) -> Option<Self> {
        matches!(array.data_type(), DataType::Decimal128(38, _)).then(Self::default)
    }

    /// Adds the rows of an array.
    ///
    /// # Errors
    /// Where the array is of another type than the first.
    pub(crate) fn write(&mut self, array: &ArrayRef) -> Result<()> {
        let Some(array) = array.as_primitive_opt::<Decimal128Type>() else {
            return Err(unexpected("a column of decimals has another type"));
        };
        self.rows.push(array);
        Ok(())
    }

    /// The value of every row, if it is the same: as the retail amount is where nobody pays.
    fn constant(&self) -> Option<i128> {
        let first = self.rows.values().next()?;
        let same = self.rows.absent() == 0 && self.rows.values().all(|value| value == first);
        same.then_some(first)
    }

    /// Writes the pages, of `page_rows` rows each. Without statistics: nobody selects by amounts.
    ///
    /// # Errors
    /// Where a page cannot be written.
    pub(crate) fn finish(
        self,
        column: &ColumnDescPtr,
        compressor: &mut PageCompressor,
        page_rows: usize,
    ) -> Result<Chunk> {
        let mut chunk = ChunkBuilder::new(column, compressor);
        if let Some(value) = self.constant() {
            write_constant(&mut chunk, value, self.rows.len(), page_rows)?;
            return chunk.finish(None, None);
        }
        if let Some(numbered) = NumberedValues::of(&self.rows) {
            numbered.write(&mut chunk, page_rows)?;
            return chunk.finish(None, None);
        }
        for page in self.rows.pages(page_rows) {
            let values = &page.values;
            let Some(presence) = &page.presence else {
                chunk.data(values.len(), Presence::All, Encoding::PLAIN, |out| {
                    put_plain(out, values.iter().copied());
                })?;
                continue;
            };
            let is_present = |row: usize| presence.is_valid(row);
            chunk.data(values.len(), Presence::Some(&is_present), Encoding::PLAIN, |out| {
                put_plain(out, page.present());
            })?;
        }
        chunk.finish(None, None)
    }
}

/// Writes a dictionary of one value, and pages in which every row names it: next to nothing,
/// where sixteen bytes a row would have to be compressed.
fn write_constant(
    chunk: &mut ChunkBuilder<'_>,
    value: i128,
    rows: usize,
    page_rows: usize,
) -> Result<()> {
    chunk.dictionary(&value.to_be_bytes(), 1)?;
    let width = width_for(0);
    for start in (0..rows).step_by(page_rows) {
        let count = page_rows.min(rows - start);
        chunk.data(count, Presence::All, Encoding::RLE_DICTIONARY, |out| {
            out.push(width.to_le_bytes()[0]);
            encode_run(out, 0, count, width);
        })?;
    }
    Ok(())
}

/// Values of which few recur, in the order of their first rows, and the number of each row's.
#[derive(Debug)]
struct NumberedValues {
    values: Vec<i128>,
    rows: Vec<u32>,
}

impl NumberedValues {
    /// Numbers the values; `None` where they are too many, or where some are absent.
    fn of(rows: &ColumnRows<i128>) -> Option<Self> {
        if rows.len() == 0 || rows.absent() > 0 {
            return None;
        }
        let most = rows.len() / ROWS_FOR_A_VALUE;
        let mut values: Vec<i128> = Vec::new();
        let mut known: HashTable<u32> = HashTable::new();
        let mut numbers = Vec::with_capacity(rows.len());
        for value in rows.values() {
            let hash = hash_of(value);
            let same = |number: &u32| values[*number as usize] == value;
            let number = match known.find(hash, same) {
                Some(number) => *number,
                None if values.len() == most => return None,
                None => {
                    let number = u32::try_from(values.len()).ok()?;
                    values.push(value);
                    known.insert_unique(hash, number, |n| hash_of(values[*n as usize]));
                    number
                }
            };
            numbers.push(number);
        }
        Some(Self { values, rows: numbers })
    }

    fn write(&self, chunk: &mut ChunkBuilder<'_>, page_rows: usize) -> Result<()> {
        let mut plain = Vec::with_capacity(self.values.len() * size_of::<i128>());
        put_plain(&mut plain, self.values.iter().copied());
        chunk.dictionary(&plain, self.values.len())?;
        let largest = self.values.len().saturating_sub(1);
        let width = width_for(u32::try_from(largest).unwrap_or(u32::MAX));
        for numbers in self.rows.chunks(page_rows) {
            chunk.data(numbers.len(), Presence::All, Encoding::RLE_DICTIONARY, |out| {
                out.push(width.to_le_bytes()[0]);
                encode_hybrid(out, numbers, width);
            })?;
        }
        Ok(())
    }
}

fn hash_of(value: i128) -> u64 {
    xxh3_64(&value.to_le_bytes())
}

fn put_plain(out: &mut Vec<u8>, values: impl Iterator<Item = i128>) {
    for value in values {
        out.extend_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, RecordBatch};
    use arrow::datatypes::{Field, Schema};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use tally_schemas::Table;

    use super::*;
    use crate::parquet_file::{NewFile, write_file};

    #[test]
    fn values_that_recur_are_numbered() {
        let recurring: Vec<i128> = (0..40_000).map(|n| -((n * n % 5_003) << 65) - n % 2).collect();
        let rows_of = |array: Decimal128Array| {
            let mut rows = ColumnRows::default();
            rows.push(&array);
            rows
        };
        let of = |values: &[i128]| NumberedValues::of(&rows_of(values.to_vec().into()));
        let numbered = of(&recurring).unwrap();
        assert!(numbered.values.len() < 10_000);
        let rows = numbered.rows.iter().map(|number| numbered.values[*number as usize]);
        assert!(rows.eq(recurring.iter().copied()));
        assert!(of(&recurring[..4_000]).is_none(), "too many of few rows");
        let absent = rows_of([Some(1), Some(1), Some(1), Some(1), None].into_iter().collect());
        assert!(NumberedValues::of(&absent).is_none());
        assert!(of(&[]).is_none());
    }

    #[test]
    fn varying_constant_recurring_and_absent_decimals_come_back() {
        let rows = 40_000_i128;
        let decimals = |of: &dyn Fn(i128) -> Option<i128>, scale: i8| -> ArrayRef {
            let array: Decimal128Array = (0..rows).map(of).collect();
            Arc::new(array.with_precision_and_scale(38, scale).unwrap())
        };
        let columns = vec![
            decimals(&|n| Some(-(n << 70)), 6),
            decimals(&|_| Some(-(1 << 100)), 12),
            decimals(&|n| (n % 3 == 0).then_some(7), 12),
            decimals(&|n| Some(-(n * n % 1_009) << 66), 6),
        ];
        let names = ["points", "retail_amount", "wholesale_amount", "balance_after"];
        let fields: Vec<Field> = names
            .iter()
            .zip(&columns)
            .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
            .collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let new = NewFile {
            table: Table::UsageEvents,
            path: "p".to_owned(),
            partition_values: BTreeMap::new(),
            accounts: 1,
            constant: &[],
        };
        let (_, bytes) = write_file(new, [Ok(batch.clone())]).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let group = builder.metadata().row_group(0);
        assert!(group.column(1).uncompressed_size() < 300, "a constant takes no room");
        let read: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
        let read = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
        assert_eq!(read.columns(), batch.columns());
    }
}
