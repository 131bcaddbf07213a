//! Lines and adjustments of a statement as one typed table: decimals are decimals, and the sum of
//! `net`, `tax` and `gross` over its rows is the statement's total.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use tally_settlement::{Adjustment, Amounts, Line, Section};

use crate::error::DocumentError;
use crate::issue::Issue;

const PRECISION: u8 = 38;
const UNITS: DataType = DataType::Decimal128(PRECISION, 0);
const CENTS: DataType = DataType::Decimal128(PRECISION, 2);
const MICRO: DataType = DataType::Decimal128(PRECISION, 6);
const PICO: DataType = DataType::Decimal128(PRECISION, 12);

/// Name, type and meaning of each column; those of texts and flags may be null, and with them
/// `units`, `listed` and the unit price.
const COLUMNS: [(&str, DataType, &str); 32] = [
    ("vendor", DataType::Utf8, "Vendor"),
    ("period", DataType::Utf8, "Month of the statement in Asia/Shanghai, such as 2026-10"),
    ("sequence", DataType::Int64, "Number among the vendor's statements"),
    ("status", DataType::Utf8, "draft or final"),
    ("statement_hash", DataType::Utf8, "BLAKE3 of the statement"),
    ("currency", DataType::Utf8, "Currency of net, tax and gross"),
    ("terms", DataType::Utf8, "Id of the settlement terms"),
    ("models", DataType::Utf8, "Models of the terms"),
    ("form", DataType::Utf8, "Form of the terms"),
    ("tax_ppm", DataType::Int64, "Tax, parts per million of the net amount"),
    ("part", DataType::Utf8, "line, adjustment or rounding"),
    ("id", DataType::Utf8, "Id of the line or adjustment"),
    ("model", DataType::Utf8, "Billed model, or the models of a tier"),
    ("class", DataType::Utf8, "Token class, revenue or units"),
    ("supplier", DataType::Utf8, "Supplier"),
    ("service_tier", DataType::Utf8, "Service tier"),
    ("price", DataType::Utf8, "Price id, or number of a tier"),
    ("price_book_version", DataType::Utf8, "Version of the price book"),
    ("unit_price_per_million", MICRO, "Price of 1,000,000 units, in listed_currency"),
    ("trial", DataType::Boolean, "Whether it is a free trial"),
    ("units", UNITS, "Units; events for a share of revenue"),
    ("listed", PICO, "Units times price, or the revenue that is shared, before rounding"),
    ("listed_currency", DataType::Utf8, "Currency of listed"),
    ("net", CENTS, "Without tax"),
    ("tax", CENTS, "Tax"),
    ("gross", CENTS, "With tax"),
    ("reason", DataType::Utf8, "Why there is an adjustment"),
    ("orig_period", DataType::Utf8, "Period that an adjustment belongs to, where that is another"),
    ("orig_line_id", DataType::Utf8, "Line that an adjustment corrects"),
    ("note", DataType::Utf8, "Words of whoever posted an adjustment"),
    ("posted_by", DataType::Utf8, "Who posted an adjustment"),
    ("approved_by", DataType::Utf8, "Who approved an adjustment that was posted"),
];

/// The columns of [`statement_parquet`], each with its meaning as metadata `comment`.
pub fn statement_schema() -> SchemaRef {
    let nullable = |name: &str| {
        !matches!(
            name,
            "vendor"
                | "period"
                | "sequence"
                | "status"
                | "statement_hash"
                | "currency"
                | "terms"
                | "models"
                | "form"
                | "tax_ppm"
                | "part"
                | "net"
                | "tax"
                | "gross"
        )
    };
    let fields = COLUMNS.map(|(name, data_type, comment)| {
        let field = Field::new(name, data_type, nullable(name));
        field.with_metadata([("comment".to_owned(), comment.to_owned())].into())
    });
    Arc::new(Schema::new(fields.to_vec()))
}

/// A row of the table.
#[derive(Clone, Copy)]
enum Part<'a> {
    Line(&'a Line),
    Adjustment(&'a Adjustment),
    Rounding,
}

struct Row<'a> {
    section: &'a Section,
    part: Part<'a>,
    amounts: Amounts,
}

/// Writes lines, adjustments and what rounding adds to each contract.
///
/// # Errors
/// `Format` for figures of more than 38 digits.
pub fn statement_parquet(issue: &Issue<'_>) -> Result<Vec<u8>, DocumentError> {
    let format = |error: ParquetError| DocumentError::Format(error.to_string());
    let batch = batch(issue)?;
    let statement = issue.statement;
    let facts = [
        ("tally.schema", statement.schema.to_string()),
        ("tally.contracts_version", statement.contracts_version.clone()),
        ("tally.total_net", statement.total.net.to_string()),
        ("tally.total_tax", statement.total.tax.to_string()),
        ("tally.total_gross", statement.total.gross.to_string()),
    ];
    let facts = facts.map(|(name, value)| KeyValue::new(name.to_owned(), value)).to_vec();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(facts))
        .build();
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).map_err(format)?;
    writer.write(&batch).map_err(format)?;
    writer.close().map_err(format)?;
    Ok(bytes)
}

fn rows<'a>(issue: &Issue<'a>) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for section in &issue.statement.sections {
        for line in &section.lines {
            rows.push(Row { section, part: Part::Line(line), amounts: line.amounts });
        }
        for adjustment in &section.adjustments {
            let part = Part::Adjustment(adjustment);
            rows.push(Row { section, part, amounts: adjustment.amounts });
        }
        rows.push(Row { section, part: Part::Rounding, amounts: section.rounding });
    }
    rows
}

fn batch(issue: &Issue<'_>) -> Result<RecordBatch, DocumentError> {
    let format = |error: ArrowError| DocumentError::Format(error.to_string());
    let rows = rows(issue);
    let hash = issue.statement.hash()?;
    let schema = statement_schema();
    let mut columns = Vec::with_capacity(COLUMNS.len());
    for (name, data_type, _) in COLUMNS {
        columns.push(column(issue, &hash, &rows, name, &data_type).map_err(format)?);
    }
    RecordBatch::try_new(schema, columns).map_err(format)
}

/// The values of a column over all rows.
fn column(
    issue: &Issue<'_>,
    hash: &str,
    rows: &[Row<'_>],
    name: &str,
    data_type: &DataType,
) -> Result<ArrayRef, ArrowError> {
    Ok(match data_type {
        DataType::Utf8 => {
            let texts = rows.iter().map(|row| text(issue, hash, row, name));
            Arc::new(texts.collect::<StringArray>())
        }
        DataType::Int64 => {
            let numbers = rows.iter().map(|row| match name {
                "tax_ppm" => Ok(i64::from(row.section.tax_ppm)),
                _ => i64::try_from(issue.statement.sequence)
                    .map_err(|error| ArrowError::InvalidArgumentError(error.to_string())),
            });
            Arc::new(Int64Array::from(numbers.collect::<Result<Vec<i64>, ArrowError>>()?))
        }
        DataType::Boolean => {
            let flags = rows.iter().map(|row| match row.part {
                Part::Line(line) => Some(line.trial),
                Part::Adjustment(_) | Part::Rounding => None,
            });
            Arc::new(flags.collect::<BooleanArray>())
        }
        _ => {
            let numbers = rows.iter().map(|row| number(row, name)).collect::<Decimal128Array>();
            let numbers = numbers.with_data_type(data_type.clone());
            // Nothing is cut off: a figure that has too many digits is an error.
            numbers.validate_decimal_precision(PRECISION)?;
            Arc::new(numbers)
        }
    })
}

/// A text; null where it is empty.
fn text(issue: &Issue<'_>, hash: &str, row: &Row<'_>, name: &str) -> Option<String> {
    let Row { section, part, .. } = row;
    let of_line = |of: fn(&Line) -> &str| match part {
        Part::Line(line) => of(line).to_owned(),
        Part::Adjustment(_) | Part::Rounding => String::new(),
    };
    let of_adjustment = |of: fn(&Adjustment) -> String| match part {
        Part::Adjustment(adjustment) => of(adjustment),
        Part::Line(_) | Part::Rounding => String::new(),
    };
    let of_either = |of_line: fn(&Line) -> &str, of: fn(&Adjustment) -> &str| match part {
        Part::Line(line) => of_line(line).to_owned(),
        Part::Adjustment(adjustment) => of(adjustment).to_owned(),
        Part::Rounding => String::new(),
    };
    let text = match name {
        "vendor" => issue.statement.vendor.clone(),
        "period" => issue.statement.period.to_string(),
        "status" => if issue.state.is_draft() { "draft" } else { "final" }.to_owned(),
        "statement_hash" => hash.to_owned(),
        "currency" => issue.statement.currency.clone(),
        "terms" => section.terms.clone(),
        "models" => section.models.clone(),
        "form" => section.form.clone(),
        "part" => match part {
            Part::Line(_) => "line",
            Part::Adjustment(_) => "adjustment",
            Part::Rounding => "rounding",
        }
        .to_owned(),
        "id" => of_either(|line| &line.id, |row| &row.id),
        "model" => of_either(|line| &line.model, |row| &row.model),
        "class" => of_either(|line| &line.class, |row| &row.class),
        "price" => of_either(|line| &line.price, |row| &row.price),
        "supplier" => of_line(|line| &line.supplier),
        "service_tier" => of_line(|line| &line.service_tier),
        "price_book_version" => of_line(|line| &line.price_book_version),
        "listed_currency" => of_line(|line| &line.listed_currency),
        "reason" => of_adjustment(|row| row.reason.name().to_owned()),
        "orig_period" => {
            of_adjustment(|row| row.orig_period.map_or(String::new(), |p| p.to_string()))
        }
        "orig_line_id" => of_adjustment(|row| row.orig_line_id.clone().unwrap_or_default()),
        "posted_by" => of_adjustment(|row| row.posted_by.clone().unwrap_or_default()),
        "approved_by" => of_adjustment(|row| row.approved_by.clone().unwrap_or_default()),
        _ => of_adjustment(|row| row.note.clone()),
    };
    let required = statement_schema().field_with_name(name).is_ok_and(|field| !field.is_nullable());
    (required || !text.is_empty()).then_some(text)
}

/// A number in the smallest unit of its column.
fn number(row: &Row<'_>, name: &str) -> Option<i128> {
    match (name, row.part) {
        ("net", _) => Some(row.amounts.net.0),
        ("tax", _) => Some(row.amounts.tax.0),
        ("gross", _) => Some(row.amounts.gross.0),
        ("unit_price_per_million", Part::Line(line)) => line.unit_price_micro.map(i128::from),
        ("listed", Part::Line(line)) => Some(line.listed.0),
        ("units", Part::Line(line)) => Some(line.units.0),
        ("units", Part::Adjustment(row)) if row.units.0 != 0 => Some(row.units.0),
        _ => None,
    }
}
