//! The table is typed, and its rows sum to the statement.

use crate::support::{every, sealed, short};
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{Array, AsArray};
use arrow::datatypes::Decimal128Type;
use arrow::record_batch::RecordBatch;
use tally_documents::{statement_parquet, statement_schema};
use tally_settlement::{Language, Pico, Statement, Units};

fn read(statement: &Statement) -> Vec<RecordBatch> {
    let bytes = statement_parquet(&sealed(statement, Language::Zh)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statement.parquet");
    std::fs::write(&path, bytes).unwrap();
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

fn sum(batches: &[RecordBatch], column: &str) -> i128 {
    let of = |batch: &RecordBatch| {
        let values = batch.column_by_name(column).unwrap().as_primitive::<Decimal128Type>().clone();
        values.iter().flatten().sum::<i128>()
    };
    batches.iter().map(of).sum()
}

#[test]
fn the_rows_sum_to_the_statement() {
    for (name, statement) in every() {
        let batches = read(&statement);
        for (column, total) in [
            ("net", statement.total.net),
            ("tax", statement.total.tax),
            ("gross", statement.total.gross),
        ] {
            assert_eq!(sum(&batches, column), total.0, "{name} {column}");
        }
    }
}

#[test]
fn a_line_keeps_every_digit() {
    let mut statement = short();
    let line = &mut statement.sections[0].lines[0];
    line.listed = Pico(10_i128.pow(37) + 1);
    line.units = Units(10_i128.pow(37) + 3);
    let batches = read(&statement);
    let first = |column: &str| {
        batches[0].column_by_name(column).unwrap().as_primitive::<Decimal128Type>().value(0)
    };
    assert_eq!(first("listed"), 10_i128.pow(37) + 1);
    assert_eq!(first("units"), 10_i128.pow(37) + 3);
    statement.sections[0].lines[0].listed = Pico(10_i128.pow(38));
    let issue = sealed(&statement, Language::Zh);
    statement_parquet(&issue).unwrap_err();
}

#[test]
fn what_is_not_there_is_null() {
    let batches = read(&crate::support::credit());
    let batch = &batches[0];
    let parts = batch.column_by_name("part").unwrap().as_string::<i32>();
    let reasons = batch.column_by_name("reason").unwrap().as_string::<i32>();
    for row in 0..batch.num_rows() {
        assert_eq!(reasons.is_null(row), parts.value(row) != "adjustment", "row {row}");
    }
}

/// The columns are a contract with whoever loads the file.
#[test]
fn the_schema() {
    let schema = statement_schema();
    let rows = schema.fields().iter().map(|field| {
        let null = if field.is_nullable() { " null" } else { "" };
        let comment = &field.metadata()["comment"];
        format!("{} {}{null}: {comment}", field.name(), field.data_type())
    });
    insta::assert_snapshot!(rows.collect::<Vec<_>>().join("\n"));
}
