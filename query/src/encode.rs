//! Rows as text or bytes: JSON, CSV, Arrow IPC, Parquet.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, UInt64Type};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::error::QueryError;

/// The largest integer that every JSON reader holds exactly; beyond it a number is a string.
const JSON_INTEGER_MAX: u64 = 1 << 53;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An array of objects. Decimals, and integers beyond 2^53, are strings.
    Json,
    /// RFC 4180 with a header.
    Csv,
    /// The Arrow IPC stream.
    Arrow,
    /// Parquet.
    Parquet,
}

impl Format {
    /// Media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The format that an `Accept` header asks for: the first that is known, JSON for `*/*` and
    /// without a header; `None` where nothing known is acceptable.
    pub fn accepted(header: Option<&str>) -> Option<Self> {
        let Some(header) = header.map(str::trim).filter(|header| !header.is_empty()) else {
            return Some(Self::Json);
        };
        header.split(',').find_map(|part| {
            let media_type = part.split(';').next().unwrap_or_default().trim();
            match media_type.to_ascii_lowercase().as_str() {
                "application/json" | "*/*" | "application/*" => Some(Self::Json),
                "text/csv" | "text/*" => Some(Self::Csv),
                "application/vnd.apache.arrow.stream" => Some(Self::Arrow),
                "application/vnd.apache.parquet" => Some(Self::Parquet),
                _ => None,
            }
        })
    }
}

fn arrow_error(error: &ArrowError) -> QueryError {
    QueryError::Internal(format!("writing the answer: {error}"))
}

fn parquet_error(error: &ParquetError) -> QueryError {
    QueryError::Internal(format!("writing the answer: {error}"))
}

/// A buffer that a writer fills and that is emptied from outside.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

enum Writer {
    Json { rows: u64 },
    Csv { header: bool },
    Arrow(Box<StreamWriter<Buffer>>),
    Parquet(Box<ArrowWriter<Buffer>>),
}

/// Writes an answer batch by batch.
pub struct Encoder {
    schema: SchemaRef,
    writer: Writer,
    buffer: Buffer,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder for answers of a schema.
    ///
    /// # Errors
    /// `Internal` where the format cannot hold the schema.
    pub fn new(format: Format, schema: SchemaRef) -> Result<Self, QueryError> {
        let buffer = Buffer::default();
        let writer = match format {
            Format::Json => Writer::Json { rows: 0 },
            Format::Csv => Writer::Csv { header: true },
            Format::Arrow => Writer::Arrow(Box::new(
                StreamWriter::try_new(buffer.clone(), &schema).map_err(|e| arrow_error(&e))?,
            )),
            Format::Parquet => {
                let level = ZstdLevel::try_new(1).map_err(|e| parquet_error(&e))?;
                let properties =
                    WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                let writer =
                    ArrowWriter::try_new(buffer.clone(), Arc::clone(&schema), Some(properties))
                        .map_err(|e| parquet_error(&e))?;
                Writer::Parquet(Box::new(writer))
            }
        };
        Ok(Self { schema, writer, buffer })
    }

    /// Writes a batch and returns what is ready so far.
    ///
    /// # Errors
    /// `Internal` where a value cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        match &mut self.writer {
            Writer::Json { rows } => return json_rows(batch, rows),
            Writer::Csv { header } => return csv_rows(batch, std::mem::take(header)),
            Writer::Arrow(writer) => writer.write(batch).map_err(|e| arrow_error(&e))?,
            Writer::Parquet(writer) => writer.write(batch).map_err(|e| parquet_error(&e))?,
        }
        Ok(self.buffer.take())
    }

    /// Ends the answer and returns the rest of its bytes.
    ///
    /// # Errors
    /// `Internal` where the end cannot be written.
    pub fn finish(self) -> Result<Vec<u8>, QueryError> {
        match self.writer {
            Writer::Json { rows: 0 } => return Ok(b"[]\n".to_vec()),
            Writer::Json { .. } => return Ok(b"\n]\n".to_vec()),
            Writer::Csv { header: true } => {
                return csv_rows(&RecordBatch::new_empty(self.schema), true);
            }
            Writer::Csv { header: false } => return Ok(Vec::new()),
            Writer::Arrow(mut writer) => writer.finish().map_err(|e| arrow_error(&e))?,
            Writer::Parquet(writer) => {
                writer.close().map_err(|e| parquet_error(&e))?;
            }
        }
        Ok(self.buffer.take())
    }
}

fn csv_rows(batch: &RecordBatch, header: bool) -> Result<Vec<u8>, QueryError> {
    let mut writer = WriterBuilder::new().with_header(header).build(Vec::new());
    writer.write(batch).map_err(|e| arrow_error(&e))?;
    Ok(writer.into_inner())
}

/// How the values of a column look in JSON.
enum JsonColumn<'a> {
    Int64(&'a [i64]),
    UInt64(&'a [u64]),
    /// Text that is JSON as it is.
    Plain,
    /// Floats: what is not finite is null.
    Float,
    Quoted,
}

fn json_column(array: &dyn Array) -> JsonColumn<'_> {
    match array.data_type() {
        DataType::Int64 => JsonColumn::Int64(array.as_primitive::<Int64Type>().values()),
        DataType::UInt64 => JsonColumn::UInt64(array.as_primitive::<UInt64Type>().values()),
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => JsonColumn::Plain,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => JsonColumn::Float,
        _ => JsonColumn::Quoted,
    }
}

fn json_rows(batch: &RecordBatch, rows: &mut u64) -> Result<Vec<u8>, QueryError> {
    let json = |error: serde_json::Error| QueryError::Internal(error.to_string());
    let options = FormatOptions::default();
    let schema = batch.schema();
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        let formatter =
            ArrayFormatter::try_new(array.as_ref(), &options).map_err(|e| arrow_error(&e))?;
        let name = serde_json::to_string(field.name()).map_err(json)?;
        columns.push((name, array.logical_nulls(), json_column(array.as_ref()), formatter));
    }
    let mut out = String::new();
    for row in 0..batch.num_rows() {
        out.push_str(if *rows == 0 { "[\n{" } else { ",\n{" });
        *rows += 1;
        for (position, (name, nulls, kind, formatter)) in columns.iter().enumerate() {
            if position > 0 {
                out.push(',');
            }
            out.push_str(name);
            out.push(':');
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                out.push_str("null");
                continue;
            }
            let value = formatter.value(row).try_to_string().map_err(|e| arrow_error(&e))?;
            let safe = match kind {
                JsonColumn::Int64(values) => values[row].unsigned_abs() <= JSON_INTEGER_MAX,
                JsonColumn::UInt64(values) => values[row] <= JSON_INTEGER_MAX,
                JsonColumn::Plain => true,
                JsonColumn::Float if value.parse::<f64>().is_ok_and(f64::is_finite) => true,
                JsonColumn::Float => {
                    out.push_str("null");
                    continue;
                }
                JsonColumn::Quoted => false,
            };
            if safe {
                out.push_str(&value);
            } else {
                out.push_str(&serde_json::to_string(&value).map_err(json)?);
            }
        }
        out.push('}');
    }
    Ok(out.into_bytes())
}

/// A whole answer in one of the byte formats.
///
/// # Errors
/// `Internal` where a value cannot be written.
pub fn render_bytes(
    format: Format,
    schema: SchemaRef,
    batches: &[RecordBatch],
) -> Result<Vec<u8>, QueryError> {
    let mut encoder = Encoder::new(format, schema)?;
    let mut bytes = Vec::new();
    for batch in batches {
        bytes.extend(encoder.write(batch)?);
    }
    bytes.extend(encoder.finish()?);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn batch() -> RecordBatch {
        let money = Decimal128Array::from(vec![Some(1_i128), None, Some(10_i128.pow(20))])
            .with_precision_and_scale(38, 12)
            .unwrap();
        RecordBatch::try_new(
            Arc::new(Schema::new(vec![
                Field::new("n", DataType::Int64, true),
                Field::new("money", DataType::Decimal128(38, 12), true),
                Field::new("f", DataType::Float64, true),
                Field::new("t", DataType::Utf8, true),
            ])),
            vec![
                Arc::new(Int64Array::from(vec![Some(1 << 53), Some((1 << 53) + 1), None])),
                Arc::new(money),
                Arc::new(Float64Array::from(vec![1.5, f64::NAN, f64::INFINITY])),
                Arc::new(StringArray::from(vec!["a\"b", "中\n", "x,y"])),
            ],
        )
        .unwrap()
    }

    #[test]
    fn json_keeps_every_digit() {
        let bytes = render_bytes(Format::Json, batch().schema(), &[batch()]).unwrap();
        let rows: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            rows,
            serde_json::json!([
                {"n": 9_007_199_254_740_992_i64, "money": "0.000000000001", "f": 1.5, "t": "a\"b"},
                {"n": "9007199254740993", "money": null, "f": null, "t": "中\n"},
                {"n": null, "money": "100000000.000000000000", "f": null, "t": "x,y"},
            ])
        );
    }

    #[test]
    fn no_rows_are_an_empty_array_and_a_header() {
        let schema = batch().schema();
        assert_eq!(render_bytes(Format::Json, schema.clone(), &[]).unwrap(), b"[]\n");
        assert_eq!(render_bytes(Format::Csv, schema, &[]).unwrap(), b"n,money,f,t\n");
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let bytes = render_bytes(Format::Csv, batch().schema(), &[batch()]).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("n,money,f,t\n9007199254740992,0.000000000001,1.5,\"a\"\"b\"\n"));
        assert!(text.contains("\"x,y\""), "{text}");
    }

    #[test]
    fn arrow_and_parquet_read_back_equal() {
        let bytes = render_bytes(Format::Arrow, batch().schema(), &[batch(), batch()]).unwrap();
        let back = arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap();
        assert_eq!(back.map(Result::unwrap).map(|b| b.num_rows()).sum::<usize>(), 6);
        let bytes = render_bytes(Format::Parquet, batch().schema(), &[batch()]).unwrap();
        let back = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(
            bytes::Bytes::from(bytes),
            100,
        )
        .unwrap();
        let back: Vec<_> = back.map(Result::unwrap).collect();
        assert_eq!(back[0].column(1), batch().column(1));
    }

    #[test]
    fn accept_headers() {
        assert_eq!(Format::accepted(None), Some(Format::Json));
        assert_eq!(Format::accepted(Some("*/*")), Some(Format::Json));
        assert_eq!(Format::accepted(Some("text/html, text/csv;q=0.9")), Some(Format::Csv));
        assert_eq!(
            Format::accepted(Some("application/vnd.apache.arrow.stream")),
            Some(Format::Arrow)
        );
        assert_eq!(Format::accepted(Some("text/html")), None);
    }
}
