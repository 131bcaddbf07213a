//! A Parquet column chunk of 64-bit integers and instants, DELTA_BINARY_PACKED. The library packs
//! value by value; whole blocks at a time cost a tenth of that.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use parquet::basic::Encoding;
use parquet::errors::Result;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use crate::column_chunk::{Chunk, ChunkBuilder, PageCompressor, Presence, unexpected};
use crate::column_rows::ColumnRows;
use crate::index_encoding::put_varint;

/// Values of a block, and of each of its parts that have a width of their own.
const BLOCK: usize = 128;
const PART: usize = 32;

/// Gathers the rows of one chunk.
#[derive(Debug, Default)]
pub(crate) struct PackedColumn {
    rows: ColumnRows<i64>,
}

impl PackedColumn {
    /// A column for arrays such as `array`, if they are integers or instants.
    pub(crate) fn for_array(array: &ArrayRef) -> Option<Self> {
        match array.data_type() {
            DataType::Int64 | DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Some(Self::default())
            }
            _ => None,
        }
    }

    /// Adds the rows of an array.
    ///
    /// # Errors
    /// Where the array is of another type than the first.
    pub(crate) fn write(&mut self, array: &ArrayRef) -> Result<()> {
        if let Some(array) = array.as_primitive_opt::<Int64Type>() {
            self.rows.push(array);
        } else if let Some(array) = array.as_primitive_opt::<TimestampMicrosecondType>() {
            self.rows.push(array);
        } else {
            return Err(unexpected("a column of integers has another type"));
        }
        Ok(())
    }

    /// Writes the pages, of `page_rows` rows each.
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
        let mut some = Vec::new();
        for page in self.rows.pages(page_rows) {
            let values = &page.values;
            let Some(presence) = &page.presence else {
                chunk.data(values.len(), Presence::All, ENCODING, |out| {
                    encode_packed(out, values)
                })?;
                continue;
            };
            some.clear();
            some.extend(page.present());
            let is_present = |row: usize| presence.is_valid(row);
            let presence = Presence::Some(&is_present);
            chunk.data(values.len(), presence, ENCODING, |out| encode_packed(out, &some))?;
        }
        let ((low, high), nulls) = (self.rows.bounds(), self.rows.absent() as u64);
        chunk.finish(Some(Statistics::int64(low, high, None, Some(nulls), false)), None)
    }
}

const ENCODING: Encoding = Encoding::DELTA_BINARY_PACKED;

/// Appends `values`. (Parquet format, Encodings.md, "Delta Encoding": differences to the value
/// before, less the smallest of their block, in as many bits as the largest of each part needs.)
pub(crate) fn encode_packed(out: &mut Vec<u8>, values: &[i64]) {
    put_varint(out, BLOCK as u64);
    put_varint(out, (BLOCK / PART) as u64);
    put_varint(out, values.len() as u64);
    let Some((first, rest)) = values.split_first() else {
        put_varint(out, 0);
        return;
    };
    put_varint(out, zigzag(*first));
    let mut before = *first;
    let mut deltas = [0_i64; BLOCK];
    for block in rest.chunks(BLOCK) {
        for (delta, value) in deltas.iter_mut().zip(block) {
            *delta = value.wrapping_sub(before);
            before = *value;
        }
        let deltas = &deltas[..block.len()];
        let smallest = deltas.iter().min().copied().unwrap_or(0);
        put_varint(out, zigzag(smallest));
        let mut above = [0_u64; BLOCK];
        for (above, delta) in above.iter_mut().zip(deltas) {
            *above = delta.wrapping_sub(smallest).cast_unsigned();
        }
        let mut widths = [0_u8; BLOCK / PART];
        for (width, part) in widths.iter_mut().zip(above.chunks(PART)) {
            let all = part.iter().fold(0, |all, value| all | value);
            *width = (u64::BITS - all.leading_zeros()).to_le_bytes()[0];
        }
        out.extend_from_slice(&widths);
        // Parts behind the last value are left out, the last one is filled up with zeros.
        for (part, width) in above.chunks(PART).zip(widths).take(block.len().div_ceil(PART)) {
            pack_part(out, part, u32::from(width));
        }
    }
}

/// Packs a part of 32 values of `width` bits: 4 × `width` bytes. As many as 64 bits hold are joined
/// first.
fn pack_part(out: &mut Vec<u8>, part: &[u64], width: u32) {
    if width == 0 {
        return;
    }
    let (mut bits, mut filled) = (0_u128, 0_u32);
    let mut put = |value: u64, width: u32| {
        bits |= u128::from(value) << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&bits.to_le_bytes()[..8]);
            bits >>= 64;
            filled -= 64;
        }
    };
    let (fours, _) = part.as_chunks();
    let (pairs, _) = part.as_chunks();
    if width <= 16 {
        for [a, b, c, d] in fours {
            put(a | b << width | (c | d << width) << (2 * width), 4 * width);
        }
    } else if width <= 32 {
        for [a, b] in pairs {
            put(a | b << width, 2 * width);
        }
    } else {
        for value in part {
            put(*value, width);
        }
    }
    // 32 × width bits are whole groups of four bytes.
    out.extend_from_slice(&bits.to_le_bytes()[..(filled / 8) as usize]);
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}
