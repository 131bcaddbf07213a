//! `settlement.phone_bill_files` and `settlement.phone_bill_lines`: what subscribers were charged,
//! read from the files themselves when a query scans them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;

use super::bill_rows::{file_rows, line_rows};
use super::bill_store::BillStore;
use crate::error::QueryError;
use crate::gathered_table::RowSource;
use crate::ledger_view::LedgerView;
use crate::system_schema::{ColumnSpec, commented, time_type, without_comments};

/// A table of phone bills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PhoneBillTable {
    /// One row a file.
    Files,
    /// One row a line of a file.
    Lines,
}

/// Points: micro.
pub(super) const POINTS: DataType = DataType::Decimal128(38, 6);
/// Exact amounts: pico.
pub(super) const EXACT: DataType = DataType::Decimal128(38, 12);
/// What is charged: hundredths.
pub(super) const CHARGED: DataType = DataType::Decimal128(38, 2);

impl PhoneBillTable {
    /// Every table.
    pub(crate) const ALL: [Self; 2] = [Self::Files, Self::Lines];

    /// Their schema.
    pub(crate) const SCHEMA: &'static str = "settlement";

    /// Name in its schema.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Files => "phone_bill_files",
            Self::Lines => "phone_bill_lines",
        }
    }

    /// What a SQL client shows.
    pub(crate) const fn comment(self) -> &'static str {
        match self {
            Self::Files => {
                "One row a phone bill: a file of charges for the operator's billing system, in sequence"
            }
            Self::Lines => {
                "One row a line of a phone bill; what is charged is the sum of amount where status is sent or accepted, and of what is still to come again"
            }
        }
    }

    fn columns(self) -> Vec<ColumnSpec> {
        use DataType::{Boolean, Date32, Int64, Utf8};
        match self {
            Self::Files => vec![
                ("sequence", Int64, false, "Sequence number, from 1, without a gap"),
                ("file_id", Utf8, false, "Name of the file"),
                (
                    "kind",
                    Utf8,
                    false,
                    "daily; monthly: sums, which charge nothing; correction: in the place of another",
                ),
                ("day", Date32, true, "Day of a daily file, Asia/Shanghai"),
                ("month", Date32, true, "First day of the month of a monthly file"),
                (
                    "replaces",
                    Int64,
                    true,
                    "Sequence number of the file that a correction stands for",
                ),
                (
                    "replaced_by",
                    Int64,
                    true,
                    "Sequence number of the correction that stands for it",
                ),
                ("reason", Utf8, true, "Why a correction was issued"),
                ("issued_by", Utf8, false, "Who issued it"),
                ("issued_at", time_type(), false, "When that was begun, UTC"),
                ("lines", Int64, false, "Number of lines"),
                ("lines_again", Int64, false, "How many of them stood on an earlier file"),
                ("accepted", Int64, false, "Lines that the billing system accepted"),
                ("rejected", Int64, false, "Lines that it rejected"),
                ("lines_hash", Utf8, false, "BLAKE3 of the line records, as in the trailer"),
                ("seal_hash", Utf8, false, "Hash of its seal"),
                ("previous", Utf8, true, "Hash of the seal before it"),
            ],
            Self::Lines => vec![
                ("sequence", Int64, false, "Sequence number of the file"),
                ("line", Utf8, false, "Id of the line: sequence and number"),
                (
                    "first_line",
                    Utf8,
                    false,
                    "Where it stood first; its own id where this is the first time",
                ),
                ("first_sequence", Int64, false, "Sequence number of that file"),
                ("comes_again", Boolean, false, "Whether it stood on an earlier file"),
                ("account", Utf8, false, "Who is charged"),
                ("kind", Utf8, false, "package_fee, top_up, payg or refund"),
                ("package", Utf8, true, "Package or tariff"),
                ("currency", Utf8, false, "Currency"),
                ("day", Date32, true, "The rows' own day, Asia/Shanghai; null on a monthly file"),
                (
                    "month",
                    Date32,
                    false,
                    "First day of the month of day; of a monthly file, its month",
                ),
                ("rows", Int64, false, "Number of rows of quota_ledger"),
                ("points", POINTS, false, "Their points, from the bucket's view"),
                ("exact", EXACT, false, "Their amounts, exact"),
                (
                    "remainder_before",
                    EXACT,
                    false,
                    "What rounding had left before: exact + remainder_before = amount + remainder_after",
                ),
                ("amount", CHARGED, false, "What is charged; negative is a credit"),
                ("remainder_after", EXACT, false, "What rounding leaves to the next line"),
                (
                    "status",
                    Utf8,
                    false,
                    "sent, accepted, rejected, replaced (by a correction), or summary (of a monthly file)",
                ),
                ("reason", Utf8, true, "Why it was rejected"),
                (
                    "again_in",
                    Int64,
                    true,
                    "Sequence number of the file in which a rejected or replaced line came again; null while it is to come",
                ),
            ],
        }
    }

    /// The Arrow schema, with comments in the metadata.
    pub(crate) fn schema(self) -> SchemaRef {
        commented(self.columns(), self.comment())
    }
}

/// A table of phone bills, read when it is scanned.
#[derive(Debug)]
pub(crate) struct PhoneBillRows {
    table: PhoneBillTable,
    schema: SchemaRef,
    ledger: LedgerView,
}

impl PhoneBillRows {
    pub(crate) fn new(table: PhoneBillTable, ledger: LedgerView) -> Self {
        Self { table, schema: without_comments(&table.schema()), ledger }
    }
}

#[async_trait]
impl RowSource for PhoneBillRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn rows(&self) -> Result<RecordBatch, QueryError> {
        let store = BillStore::new(self.ledger.store());
        let book = store.book().await?;
        let columns = match self.table {
            PhoneBillTable::Files => file_rows(&book)?,
            PhoneBillTable::Lines => {
                let lines = store.all_lines(&book.seals).await?;
                line_rows(&book, &lines).map_err(|error| QueryError::Data(error.to_string()))?
            }
        };
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| QueryError::Internal(error.to_string()))
    }
}
