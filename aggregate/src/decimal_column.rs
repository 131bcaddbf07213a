//! A Parquet column chunk of 128-bit decimals, PLAIN: sixteen bytes a value, the most significant
//! first. Most of them are zeros, which Zstandard removes. The library makes an object of each
//! value; this only copies.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type};
use parquet::basic::Encoding;
use parquet::errors::Result;
use parquet::schema::types::ColumnDescPtr;

use crate::column_chunk::{Chunk, ChunkBuilder, PageCompressor, Presence, unexpected};

/// Gathers the rows of one chunk.
#[derive(Debug, Default)]
pub(crate) struct DecimalColumn {
    /// A row each; absent ones are 0.
    values: Vec<i128>,
    /// Whether each row has a value; empty while all have.
    present: Vec<bool>,
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
        let rows = self.values.len();
        self.values.extend_from_slice(array.values());
        if array.null_count() > 0 || !self.present.is_empty() {
            self.present.resize(rows, true);
            self.present.extend((0..array.len()).map(|row| array.is_valid(row)));
        }
        Ok(())
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
        for start in (0..self.values.len()).step_by(page_rows) {
            let rows = start..(start + page_rows).min(self.values.len());
            let values = &self.values[rows.clone()];
            if self.present.is_empty() {
                chunk.data(values.len(), Presence::All, Encoding::PLAIN, |out| {
                    put_plain(out, values.iter());
                })?;
                continue;
            }
            let present = &self.present[rows];
            let is_present = |row: usize| present[row];
            chunk.data(values.len(), Presence::Some(&is_present), Encoding::PLAIN, |out| {
                put_plain(out, values.iter().zip(present).filter(|(_, is)| **is).map(|(v, _)| v));
            })?;
        }
        chunk.finish(None, None)
    }
}

fn put_plain<'v>(out: &mut Vec<u8>, values: impl Iterator<Item = &'v i128>) {
    for value in values {
        out.extend_from_slice(&value.to_be_bytes());
    }
}
