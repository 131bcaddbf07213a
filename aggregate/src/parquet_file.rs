//! A record batch as a Parquet file with the statistics that its Delta entry carries.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value};
use tally_schemas::{ColumnType, DataFile, Table};

use crate::column_chunk::PageCompressor;
use crate::core::blake3_hex;
use crate::decimal_column::DecimalColumn;
use crate::dictionary_column::DictionaryColumn;
use crate::packed_column::PackedColumn;
use crate::prefix_column::PrefixColumn;

/// Rows of a row group: small enough to skip by account, large enough to compress.
pub const ROW_GROUP_ROWS: usize = 131_072;

/// Texts that sort the table or that queries select by; the files carry their smallest and
/// largest value. Counts are left out: nobody prunes by them.
const PRUNED_TEXTS: [&str; 8] =
    ["account", "subscriber", "model", "vendor", "supplier", "source", "reason", "kind"];

/// Texts of which every row has another one.
const IDS: [&str; 3] = ["id", "event_id", "vendor_request_id"];

/// Zstandard 1. Not in unit tests: the simulation writes a hundred thousand tiny files, and making
/// the compressor of each column would take most of its time.
fn compression() -> Result<Compression, ParquetError> {
    if cfg!(test) {
        return Ok(Compression::UNCOMPRESSED);
    }
    ZstdLevel::try_new(1).map(Compression::ZSTD)
}

/// How files of a table are written.
///
/// # Errors
/// Where the compression level is refused, which it is not.
pub fn writer_properties(
    table: Table,
    distinct_accounts: u64,
) -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_compression(compression()?)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("tally".to_owned());
    for column in table.columns() {
        if matches!(column.column_type, ColumnType::Int64 | ColumnType::Timestamp) {
            let path = ColumnPath::from(column.name);
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
    }
    for column in ["id", "vendor_request_id", "labels", "raw"] {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(column), false)
            .set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::None);
    }
    // Every event has another id. Its bounds stay: many gateways number theirs by time.
    properties = properties.set_column_dictionary_enabled(ColumnPath::from("event_id"), false);
    if table == Table::UsageEvents {
        let account = ColumnPath::from("account");
        properties = properties
            .set_column_bloom_filter_enabled(account.clone(), true)
            .set_column_bloom_filter_max_ndv(account, distinct_accounts.max(1));
    }
    Ok(properties.build())
}

/// A file to be written.
#[derive(Debug)]
pub struct NewFile<'a> {
    /// Table.
    pub table: Table,
    /// Path below the table's folder.
    pub path: String,
    /// Values of the partition columns.
    pub partition_values: BTreeMap<String, String>,
    /// Distinct accounts at most, for the bloom filter of `usage_events`.
    pub accounts: u64,
    /// Columns with one number in every row.
    pub constant: &'a [&'a str],
}

impl<'a> NewFile<'a> {
    /// A file of a table without partition columns and without a filter of accounts.
    pub(crate) fn of(table: Table, name: &str, constant: &'a [&'a str]) -> Self {
        let (path, partition_values) = (name.to_owned(), BTreeMap::new());
        Self { table, path, partition_values, accounts: 0, constant }
    }
}

/// Writes batches, at least one, as one file.
///
/// # Errors
/// Where Parquet refuses a batch, or a batch could not be made.
pub fn write_file(
    new: NewFile<'_>,
    batches: impl IntoIterator<Item = Result<RecordBatch, ArrowError>>,
) -> Result<(DataFile, Bytes), ParquetError> {
    let mut batches = batches.into_iter();
    let Some(first) = batches.next().transpose()? else {
        return Err(ParquetError::General(format!("{}: no rows to write", new.path)));
    };
    let options = ArrowWriterOptions::new()
        .with_properties(writer_properties(new.table, new.accounts)?)
        .with_skip_arrow_metadata(true);
    let mut buffer = Vec::new();
    let writer = ArrowWriter::try_new_with_options(&mut buffer, first.schema(), options)?;
    let (mut file, factory) = writer.into_serialized_writer()?;
    let mut compressor = PageCompressor::new(compression()?)?;
    let mut group: Option<RowGroup> = None;
    let mut groups = 0;
    for batch in std::iter::once(Ok(first)).chain(batches) {
        let batch = batch?;
        let mut done = 0;
        while done < batch.num_rows() {
            let current = match &mut group {
                Some(group) => group,
                none => none.insert(RowGroup::new(&factory, groups, &batch, new.constant)?),
            };
            let rows = (batch.num_rows() - done).min(ROW_GROUP_ROWS - current.rows);
            current.write(&batch.slice(done, rows))?;
            done += rows;
            if current.rows == ROW_GROUP_ROWS
                && let Some(full) = group.take()
            {
                full.finish(&new, &mut file, &mut compressor)?;
                groups += 1;
            }
        }
    }
    if let Some(rest) = group {
        rest.finish(&new, &mut file, &mut compressor)?;
    }
    let metadata = file.close()?;
    let bytes = Bytes::from(buffer);
    let rows = metadata.file_metadata().num_rows();
    let file = DataFile {
        table: new.table.name().to_owned(),
        path: new.path,
        rows: u64::try_from(rows)
            .map_err(|_| ParquetError::General(format!("{rows} rows were written")))?,
        bytes: bytes.len() as u64,
        hash: blake3_hex(&bytes),
        partition_values: new.partition_values,
        stats: delta_stats(new.table, &metadata),
    };
    Ok((file, bytes))
}

/// Rows of a data page, which is what a reader can skip within a row group.
const PAGE_ROWS: usize = 16_384;

/// A row group that is being gathered, column by column.
struct RowGroup {
    columns: Vec<ColumnEncoder>,
    rows: usize,
}

enum ColumnEncoder {
    /// By the library, value by value.
    Values(Box<ArrowColumnWriter>),
    /// Of rows that are numbered already.
    Dictionary(DictionaryColumn),
    /// Of integers and instants.
    Packed(PackedColumn),
    /// Of points and amounts.
    Decimals(DecimalColumn),
    /// Of ids.
    Prefixes(PrefixColumn),
}

impl RowGroup {
    fn new(
        factory: &ArrowRowGroupWriterFactory,
        number: usize,
        batch: &RecordBatch,
        constant: &[&str],
    ) -> Result<Self, ParquetError> {
        let columns = factory
            .create_column_writers(number)?
            .into_iter()
            .zip(batch.schema().fields().iter().zip(batch.columns()))
            .map(|(writer, (field, array))| {
                let constant = constant.contains(&field.name().as_str());
                DictionaryColumn::for_array(array, constant)
                    .map(ColumnEncoder::Dictionary)
                    .or_else(|| PackedColumn::for_array(array).map(ColumnEncoder::Packed))
                    .or_else(|| DecimalColumn::for_array(array).map(ColumnEncoder::Decimals))
                    .or_else(|| {
                        let is_id = IDS.contains(&field.name().as_str());
                        let ids = PrefixColumn::for_array(array).filter(|_| is_id);
                        ids.map(ColumnEncoder::Prefixes)
                    })
                    .unwrap_or_else(|| ColumnEncoder::Values(Box::new(writer)))
            })
            .collect();
        Ok(Self { columns, rows: 0 })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let schema = batch.schema();
        for ((column, field), array) in
            self.columns.iter_mut().zip(schema.fields()).zip(batch.columns())
        {
            match column {
                ColumnEncoder::Dictionary(column) => column.write(array)?,
                ColumnEncoder::Packed(column) => column.write(array)?,
                ColumnEncoder::Decimals(column) => column.write(array)?,
                ColumnEncoder::Prefixes(column) => column.write(array)?,
                ColumnEncoder::Values(writer) => {
                    for leaf in compute_leaves(field, array)? {
                        writer.write(&leaf)?;
                    }
                }
            }
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    fn finish(
        self,
        new: &NewFile<'_>,
        file: &mut SerializedFileWriter<&mut Vec<u8>>,
        compressor: &mut PageCompressor,
    ) -> Result<(), ParquetError> {
        let descriptors = file.schema_descr().columns().to_vec();
        let mut group = file.next_row_group()?;
        for (column, descriptor) in self.columns.into_iter().zip(&descriptors) {
            match column {
                ColumnEncoder::Values(writer) => writer.close()?.append_to_row_group(&mut group)?,
                ColumnEncoder::Packed(column) => {
                    let chunk = column.finish(descriptor, compressor, PAGE_ROWS)?;
                    group.append_column(&chunk.bytes, chunk.close)?;
                }
                ColumnEncoder::Decimals(column) => {
                    let chunk = column.finish(descriptor, compressor, PAGE_ROWS)?;
                    group.append_column(&chunk.bytes, chunk.close)?;
                }
                ColumnEncoder::Prefixes(column) => {
                    // Many gateways number theirs by time.
                    let bounded = descriptor.name() == "event_id";
                    let chunk = column.finish(descriptor, compressor, PAGE_ROWS, bounded)?;
                    group.append_column(&chunk.bytes, chunk.close)?;
                }
                ColumnEncoder::Dictionary(column) => {
                    let filtered =
                        new.table == Table::UsageEvents && descriptor.name() == "account";
                    let bloom_values = filtered.then_some(new.accounts);
                    let chunk = column.finish(descriptor, compressor, PAGE_ROWS, bloom_values)?;
                    group.append_column(&chunk.bytes, chunk.close)?;
                }
            }
        }
        group.close()?;
        Ok(())
    }
}

/// Statistics of a file in Delta's form (`numRecords`, `minValues`, `maxValues`, `nullCount`),
/// from the statistics of its row groups.
pub fn delta_stats(table: Table, metadata: &ParquetMetaData) -> String {
    let types: BTreeMap<&str, ColumnType> =
        table.columns().into_iter().map(|c| (c.name, c.column_type)).collect();
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    let columns = metadata.file_metadata().schema_descr().num_columns();
    for index in 0..columns {
        let descriptor = metadata.file_metadata().schema_descr().column(index);
        let name = descriptor.name();
        let Some(column_type) = types.get(name).copied() else { continue };
        let pruned = match column_type {
            ColumnType::Text => PRUNED_TEXTS.contains(&name),
            ColumnType::Int64 => matches!(name, "kafka_offset" | "epoch" | "emitted_epoch"),
            ColumnType::Int32 | ColumnType::Timestamp | ColumnType::Date => true,
            ColumnType::Points | ColumnType::Amount => false,
        };
        if !pruned {
            continue;
        }
        let groups: Option<Vec<&Statistics>> =
            metadata.row_groups().iter().map(|group| group.column(index).statistics()).collect();
        let Some(groups) = groups.filter(|groups| !groups.is_empty()) else { continue };
        if let Some(sum) = groups.iter().map(|s| s.null_count_opt()).sum::<Option<u64>>() {
            nulls.insert(name.to_owned(), sum.into());
        }
        if let Some((low, high)) = bounds(column_type, &groups) {
            min.insert(name.to_owned(), low);
            max.insert(name.to_owned(), high);
        }
    }
    let mut stats = Map::new();
    stats.insert("numRecords".to_owned(), metadata.file_metadata().num_rows().into());
    stats.insert("minValues".to_owned(), min.into());
    stats.insert("maxValues".to_owned(), max.into());
    stats.insert("nullCount".to_owned(), nulls.into());
    Value::Object(stats).to_string()
}

fn bounds(column_type: ColumnType, groups: &[&Statistics]) -> Option<(Value, Value)> {
    match column_type {
        ColumnType::Int64 | ColumnType::Timestamp => {
            let (mut low, mut high) = (i64::MAX, i64::MIN);
            for statistics in groups {
                let Statistics::Int64(values) = statistics else { return None };
                low = low.min(*values.min_opt()?);
                high = high.max(*values.max_opt()?);
            }
            if column_type == ColumnType::Timestamp {
                return Some((instant(low).into(), instant(high).into()));
            }
            Some((low.into(), high.into()))
        }
        ColumnType::Int32 | ColumnType::Date => {
            let (mut low, mut high) = (i32::MAX, i32::MIN);
            for statistics in groups {
                let Statistics::Int32(values) = statistics else { return None };
                low = low.min(*values.min_opt()?);
                high = high.max(*values.max_opt()?);
            }
            Some((low.into(), high.into()))
        }
        ColumnType::Points | ColumnType::Amount => None,
        ColumnType::Text => {
            let mut low: Option<&[u8]> = None;
            let mut high: Option<&[u8]> = None;
            for statistics in groups {
                let (min, max) = (statistics.min_bytes_opt()?, statistics.max_bytes_opt()?);
                low = Some(low.map_or(min, |low| low.min(min)));
                high = Some(high.map_or(max, |high| high.max(max)));
            }
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
            Some((text(low?)?.into(), text(high?)?.into()))
        }
    }
}

/// ISO 8601 of microseconds UTC, as Delta has it; values have millisecond resolution.
fn instant(micros: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    let ms = micros.div_euclid(1_000);
    let (days, in_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil(days);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1_000 % 60, in_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// ISO date of days since 1970-01-01.
pub(crate) fn iso_date(days: i64) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of days since 1970-01-01, in the proleptic Gregorian calendar
/// (the era arithmetic of Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_delta_reads_them() {
        assert_eq!(instant(1_795_326_157_827_000), "2026-11-22T05:42:37.827Z");
        assert_eq!(iso_date(0), "1970-01-01");
        assert_eq!(iso_date(20_779), "2026-11-22");
        assert_eq!(iso_date(11_016), "2000-02-29");
    }
}
