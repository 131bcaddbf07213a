//! A Parquet column chunk of texts that are all different, as ids are, DELTA_BYTE_ARRAY: of each,
//! what it shares with the beginning of the one before is left out. So the compressor gets their
//! random parts alone, in half of its time, and need not look for what repeats.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use parquet::basic::Encoding;
use parquet::data_type::ByteArray;
use parquet::errors::Result;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use crate::column_chunk::{Chunk, ChunkBuilder, PageCompressor, Presence, unexpected};
use crate::packed_column::encode_packed;

/// Gathers the rows of one chunk.
#[derive(Debug, Default)]
pub(crate) struct PrefixColumn {
    arrays: Vec<StringArray>,
}

impl PrefixColumn {
    /// A column for arrays such as `array`, if they are plain texts.
    pub(crate) fn for_array(array: &ArrayRef) -> Option<Self> {
        (*array.data_type() == DataType::Utf8).then(Self::default)
    }

    /// Adds the rows of an array.
    ///
    /// # Errors
    /// Where the array is of another type than the first.
    pub(crate) fn write(&mut self, array: &ArrayRef) -> Result<()> {
        let Some(array) = array.as_string_opt::<i32>() else {
            return Err(unexpected("a column of texts has another type"));
        };
        self.arrays.push(array.clone());
        Ok(())
    }

    /// Writes the pages, of `page_rows` rows each; with the smallest and largest text in the
    /// footer where it is `bounded`.
    ///
    /// # Errors
    /// Where a page cannot be written.
    pub(crate) fn finish(
        self,
        column: &ColumnDescPtr,
        compressor: &mut PageCompressor,
        page_rows: usize,
        bounded: bool,
    ) -> Result<Chunk> {
        let mut chunk = ChunkBuilder::new(column, compressor);
        let mut rows = self.texts();
        let mut encoder = PrefixEncoder::default();
        let mut page: Vec<Option<&str>> = Vec::with_capacity(page_rows);
        loop {
            page.clear();
            page.extend(rows.by_ref().take(page_rows));
            if page.is_empty() {
                break;
            }
            let is_present = |row: usize| page[row].is_some();
            let present = page.iter().flatten().count();
            let presence = match present {
                0 => Presence::None,
                all if all == page.len() => Presence::All,
                _ => Presence::Some(&is_present),
            };
            // Without a text there is nothing to encode, and readers need not know how it is done.
            let encoding = if present > 0 { Encoding::DELTA_BYTE_ARRAY } else { Encoding::PLAIN };
            chunk.data(page.len(), presence, encoding, |out| {
                if present > 0 {
                    encoder.encode(out, page.iter().flatten().copied());
                }
            })?;
        }
        chunk.finish(bounded.then(|| self.statistics()), None)
    }

    fn texts(&self) -> impl Iterator<Item = Option<&str>> {
        self.arrays.iter().flat_map(|array| array.iter())
    }

    fn statistics(&self) -> Statistics {
        let bound = |text: Option<&str>| text.map(ByteArray::from);
        let (low, high) =
            (bound(self.texts().flatten().min()), bound(self.texts().flatten().max()));
        let nulls = self.arrays.iter().map(|array| array.null_count() as u64).sum();
        Statistics::byte_array(low, high, None, Some(nulls), false)
    }
}

/// Encodes one page after the other with the same memory.
#[derive(Debug, Default)]
struct PrefixEncoder {
    /// How many of its first bytes each text has from the one before, and how many others it has.
    shared: Vec<i64>,
    others: Vec<i64>,
    /// The others, one behind the other.
    bytes: Vec<u8>,
}

impl PrefixEncoder {
    /// Appends texts. (Parquet format, Encodings.md, "Delta Strings".)
    fn encode<'t>(&mut self, out: &mut Vec<u8>, texts: impl Iterator<Item = &'t str>) {
        let Self { shared, others, bytes } = self;
        shared.clear();
        others.clear();
        bytes.clear();
        let mut before: &[u8] = &[];
        for text in texts {
            let text = text.as_bytes();
            let prefix = shared_prefix(before, text);
            shared.push(length(prefix));
            others.push(length(text.len() - prefix));
            bytes.extend_from_slice(&text[prefix..]);
            before = text;
        }
        encode_packed(out, shared);
        encode_packed(out, others);
        out.extend_from_slice(bytes);
    }
}

/// A length of a text, which is at most a few hundred bytes.
fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// How many of their first bytes two texts share, eight at a time.
fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    let (eights, _) = a.as_chunks::<8>();
    let (other_eights, _) = b.as_chunks::<8>();
    let mut shared = 0;
    for (eight, other) in eights.iter().zip(other_eights) {
        let differ = u64::from_le_bytes(*eight) ^ u64::from_le_bytes(*other);
        if differ != 0 {
            return shared + (differ.trailing_zeros() / 8) as usize;
        }
        shared += 8;
    }
    let rest = a[shared..].iter().zip(&b[shared..]);
    shared + rest.take_while(|(byte, other)| byte == other).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::RecordBatch;
    use arrow::datatypes::{Field, Schema};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use proptest::prelude::*;
    use tally_schemas::Table;

    use super::*;
    use crate::parquet_file::{NewFile, write_file};

    /// Texts written as a file in batches of `rows`, and read back by the library.
    fn written(texts: &[Option<String>], rows: usize) -> (StringArray, Statistics) {
        let schema = Arc::new(Schema::new(vec![Field::new("event_id", DataType::Utf8, true)]));
        let batches = texts.chunks(rows).map(|texts| {
            let array: StringArray = texts.iter().map(Option::as_deref).collect();
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(array)])
        });
        let new = NewFile {
            table: Table::QuotaLedger,
            path: "p".to_owned(),
            partition_values: BTreeMap::new(),
            accounts: 0,
            constant: &[],
        };
        let (_, bytes) = write_file(new, batches).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let statistics = builder.metadata().row_group(0).column(0).statistics().unwrap().clone();
        let read: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
        let read = arrow::compute::concat_batches(&schema, &read).unwrap();
        (read.column(0).as_string::<i32>().clone(), statistics)
    }

    #[test]
    fn ids_come_back_page_by_page_with_their_bounds() {
        let ids: Vec<Option<String>> = (0..40_000_u64)
            .map(|n| {
                // A page of commands has no event at all.
                let is_event = !(16_384..32_768).contains(&n) && n % 7 != 0;
                is_event.then(|| format!("chatcmpl-{:016x}{n:08x}", n.wrapping_mul(0x9e37_79b9)))
            })
            .collect();
        let (read, statistics) = written(&ids, 5_000);
        assert!(read.iter().eq(ids.iter().map(Option::as_deref)));
        let present = || ids.iter().flatten().map(String::as_bytes);
        assert_eq!(statistics.min_bytes_opt(), present().min());
        assert_eq!(statistics.max_bytes_opt(), present().max());
        let absent = ids.iter().filter(|id| id.is_none()).count() as u64;
        assert_eq!(statistics.null_count_opt(), Some(absent));
    }

    #[test]
    fn what_texts_share_is_counted_in_bytes() {
        for (a, b, shared) in [
            ("", "a", 0),
            ("req-1", "req-2", 4),
            ("req-12345678", "req-12345678", 12),
            ("req-12345678", "req-123456789", 12),
            ("req-1234567", "req-1234x67", 8),
            // A character may be cut: what is put together is the whole text again.
            ("请求-1", "请水-1", 4),
            ("请", "诶", 2),
        ] {
            assert_eq!(shared_prefix(a.as_bytes(), b.as_bytes()), shared, "{a} {b}");
            assert_eq!(shared_prefix(b.as_bytes(), a.as_bytes()), shared, "{b} {a}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_texts_come_back(
            texts in prop::collection::vec(prop::option::of("[a-c电信]{0,20}"), 1..300),
            rows in 1_usize..200,
        ) {
            let (read, _) = written(&texts, rows);
            prop_assert!(read.iter().eq(texts.iter().map(Option::as_deref)));
        }
    }
}
