//! Builds one Parquet column chunk from values that are encoded already: page headers, levels,
//! compression and what the file's footer says of the chunk.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use crate::index_encoding::{encode_hybrid, encode_run};

/// A finished chunk: its bytes, and what the file has to know of it.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
}

/// Which rows of a page have a value.
pub(crate) enum Presence<'a> {
    All,
    None,
    /// Those that it is true of.
    Some(&'a dyn Fn(usize) -> bool),
}

/// Takes the pages of a chunk one after the other.
pub(crate) struct ChunkBuilder<'a> {
    column: &'a ColumnDescPtr,
    compressor: &'a mut PageCompressor,
    sink: TrackedWrite<Vec<u8>>,
    offsets: OffsetIndexBuilder,
    encodings: Vec<Encoding>,
    dictionary_offset: Option<i64>,
    first_page: Option<i64>,
    uncompressed: usize,
    rows: u64,
    /// A page before it is compressed, and its levels.
    plain: Vec<u8>,
    levels: Vec<u32>,
}

impl<'a> ChunkBuilder<'a> {
    pub(crate) fn new(column: &'a ColumnDescPtr, compressor: &'a mut PageCompressor) -> Self {
        Self {
            column,
            compressor,
            sink: TrackedWrite::new(Vec::new()),
            offsets: OffsetIndexBuilder::new(),
            encodings: vec![Encoding::RLE],
            dictionary_offset: None,
            first_page: None,
            uncompressed: 0,
            rows: 0,
            plain: Vec::new(),
            levels: Vec::new(),
        }
    }

    /// Writes the dictionary, which comes first: `count` values, PLAIN.
    ///
    /// # Errors
    /// Where the page cannot be written.
    pub(crate) fn dictionary(&mut self, plain: &[u8], count: usize) -> Result<()> {
        let page = Page::DictionaryPage {
            buf: self.compressor.compress(plain)?,
            num_values: count_of(count)?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.encodings.push(Encoding::PLAIN);
        self.dictionary_offset = Some(self.write(page, plain.len())?);
        Ok(())
    }

    /// Writes a data page of `rows` rows; `encode` appends the values.
    ///
    /// # Errors
    /// Where the page cannot be written, or a row of a required column is absent.
    pub(crate) fn data(
        &mut self,
        rows: usize,
        presence: Presence<'_>,
        encoding: Encoding,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<()> {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        if self.column.max_def_level() > 0 {
            plain.extend_from_slice(&[0; 4]);
            match presence {
                Presence::All => encode_run(&mut plain, 1, rows, 1),
                Presence::None => encode_run(&mut plain, 0, rows, 1),
                Presence::Some(is_present) => {
                    self.levels.clear();
                    self.levels.extend((0..rows).map(|row| u32::from(is_present(row))));
                    encode_hybrid(&mut plain, &self.levels, 1);
                }
            }
            let length = count_of(plain.len() - 4)?;
            plain[..4].copy_from_slice(&length.to_le_bytes());
        } else if !matches!(presence, Presence::All) {
            return Err(unexpected("a required column has absent values"));
        }
        encode(&mut plain);
        let page = Page::DataPage {
            buf: self.compressor.compress(&plain)?,
            num_values: count_of(rows)?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        if !self.encodings.contains(&encoding) {
            self.encodings.push(encoding);
        }
        let before = self.sink.bytes_written();
        let offset = self.write(page, plain.len())?;
        let size = i32::try_from(self.sink.bytes_written() - before)
            .map_err(|_| unexpected("a page beyond 2 GiB"))?;
        self.first_page.get_or_insert(offset);
        self.offsets.append_offset_and_size(offset, size);
        self.offsets.append_row_count(position(rows)?);
        self.rows += rows as u64;
        self.plain = plain;
        Ok(())
    }

    fn write(&mut self, page: Page, plain_bytes: usize) -> Result<i64> {
        let mut pages = SerializedPageWriter::new(&mut self.sink);
        let spec = pages.write_page(CompressedPage::new(page, plain_bytes))?;
        self.uncompressed += spec.uncompressed_size;
        i64::try_from(spec.offset).map_err(|_| unexpected("a file beyond 2^63 bytes"))
    }

    /// # Errors
    /// Where the footer cannot describe the chunk.
    pub(crate) fn finish(
        self,
        statistics: Option<Statistics>,
        bloom_filter: Option<Sbbf>,
    ) -> Result<Chunk> {
        let bytes = self.sink.into_inner()?;
        let mut metadata = ColumnChunkMetaData::builder(Arc::clone(self.column))
            .set_compression(self.compressor.compression)
            .set_encodings(self.encodings)
            .set_num_values(position(usize::try_from(self.rows).unwrap_or(usize::MAX))?)
            .set_total_compressed_size(position(bytes.len())?)
            .set_total_uncompressed_size(position(self.uncompressed)?)
            .set_dictionary_page_offset(self.dictionary_offset)
            .set_data_page_offset(self.first_page.unwrap_or_default());
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows,
            metadata: metadata.build()?,
            bloom_filter,
            column_index: None,
            offset_index: Some(self.offsets.build()),
        };
        Ok(Chunk { bytes: Bytes::from(bytes), close })
    }
}

/// Compresses pages one after the other with the same context.
pub(crate) struct PageCompressor {
    compression: Compression,
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

fn count_of(count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|_| unexpected("a page beyond 2^32 values"))
}

fn position(value: usize) -> Result<i64> {
    i64::try_from(value).map_err(|_| unexpected("a file beyond 2^63 bytes"))
}

pub(crate) fn unexpected(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}
