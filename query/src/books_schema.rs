//! The books as tables: periods, sealed statements with their lines, adjustments, disputes and
//! comparisons with bills. Read from the sealed objects when a query scans them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use tally_tables::PinnedTables;

use crate::books_rows::{StoredBooks, rows_of};
use crate::error::QueryError;
use crate::gathered_table::RowSource;
use crate::period_rows::Calendar;
use crate::settle::SealStore;
use crate::system_schema::{ColumnSpec, SystemSource, commented, time_type, without_comments};

/// A table of the books, in schema `settlement`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BooksTable {
    /// One row a month: sealed, in review, or with usage that no seal has yet.
    Periods,
    /// One row a seal and Kafka partition: up to which epoch its statements have usage.
    CutOffs,
    /// One row a sealed statement.
    Statements,
    /// One row a line, adjustment or rounding line of a sealed statement.
    StatementLines,
    /// One row an adjustment, on a statement or on its way.
    Adjustments,
    /// One row a dispute.
    Disputes,
    /// One row a comparison with a bill and currency.
    Reconciliation,
    /// One row a comparison, class of differences and currency.
    ReconciliationClasses,
    /// One row a comparison and each of its largest differences.
    ReconciliationDifferences,
}

/// Amounts of the books: hundredths, with the decimals that amounts have everywhere.
pub(crate) const AMOUNT: DataType = DataType::Decimal128(38, 12);

impl BooksTable {
    /// Every table.
    pub const ALL: [Self; 9] = [
        Self::Periods,
        Self::CutOffs,
        Self::Statements,
        Self::StatementLines,
        Self::Adjustments,
        Self::Disputes,
        Self::Reconciliation,
        Self::ReconciliationClasses,
        Self::ReconciliationDifferences,
    ];

    /// Name in schema `settlement`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Periods => "periods",
            Self::CutOffs => "cut_offs",
            Self::Statements => "statements",
            Self::StatementLines => "statement_lines",
            Self::Adjustments => "adjustments",
            Self::Disputes => "disputes",
            Self::Reconciliation => "reconciliation",
            Self::ReconciliationClasses => "reconciliation_classes",
            Self::ReconciliationDifferences => "reconciliation_differences",
        }
    }

    /// What a SQL client shows.
    pub const fn comment(self) -> &'static str {
        match self {
            Self::Periods => {
                "One row a month, from the first with usage to the present one: its state, who put it into review, who approved, what it was sealed with"
            }
            Self::CutOffs => {
                "One row a seal and Kafka partition: up to which epoch the month's statements have usage; what was committed later is on a later statement"
            }
            Self::Statements => "One row a sealed statement of a vendor, and when it was paid",
            Self::StatementLines => {
                "One row a line, adjustment or rounding line of a sealed statement; their sum is its total"
            }
            Self::Adjustments => {
                "One row an adjustment: on a sealed statement, or proposed by a person and on its way to one; of a re-rate one a line"
            }
            Self::Disputes => "One row a dispute with a vendor about a bill",
            Self::Reconciliation => {
                "One row a comparison with a vendor's bill that was put down, and currency"
            }
            Self::ReconciliationClasses => {
                "One row a comparison with a vendor's bill, class of its differences and currency: together they are all differences"
            }
            Self::ReconciliationDifferences => {
                "The 50 largest differences of each comparison with a vendor's bill: of requests, or of groups where the bill has no requests"
            }
        }
    }

    /// Whether its rows come from the statements, and not from the journal and the seals alone.
    const fn of_statements(self) -> bool {
        matches!(self, Self::Statements | Self::StatementLines | Self::Adjustments)
    }

    fn columns(self) -> Vec<ColumnSpec> {
        use DataType::{Boolean, Date32, Int32, Int64, Utf8};
        let period = ("period", Utf8, false, "Month in Asia/Shanghai, such as 2026-10");
        let vendor = ("vendor", Utf8, false, "Vendor");
        let bill = ("bill", Utf8, false, "Name of the bill's file");
        let bill_hash = ("bill_hash", Utf8, false, "BLAKE3 of the bill, in hex");
        let compared_at = ("compared_at", time_type(), false, "When it was put down, UTC");
        match self {
            Self::Periods => vec![
                period,
                (
                    "state",
                    Utf8,
                    false,
                    "open (not over), soft_closed (over, or sent back), review, closed or settled",
                ),
                ("reviewed_by", Utf8, true, "Who put it into review"),
                ("reviewed_at", time_type(), true, "When, UTC"),
                ("decided_by", Utf8, true, "Who approved it or sent it back: somebody else"),
                ("decided_at", time_type(), true, "When, UTC"),
                ("note", Utf8, true, "Why it was sent back"),
                ("statements", Int64, true, "Statements; null before it is in review"),
                ("seal", Int64, true, "Number of the seal; null before it is sealed"),
                ("seal_hash", Utf8, true, "BLAKE3 of the seal, in hex"),
                ("events", Int64, true, "Events of the period that are on its statements"),
                (
                    "late_events",
                    Int64,
                    true,
                    "Events of earlier periods that came after their seal",
                ),
                (
                    "corrected_events",
                    Int64,
                    true,
                    "Events of earlier periods that corrections added after their seal, less those taken back",
                ),
                ("contracts_version", Utf8, true, "Version of the settlement terms"),
                ("reference", Utf8, true, "Edition of the reference data that they are from"),
                ("price_book_versions", Utf8, true, "Versions of the price book, with commas"),
            ],
            Self::CutOffs => vec![
                period,
                ("seal", Int64, false, "Number of the seal"),
                ("kafka_partition", Int32, false, "Kafka partition"),
                (
                    "after_epoch",
                    Int64,
                    false,
                    "Last epoch of the seal before, which this one goes on from; -1 where there is none",
                ),
                ("epoch", Int64, false, "Last epoch whose usage is on the statements"),
            ],
            Self::Statements => vec![
                period,
                vendor,
                ("sequence", Int64, false, "Number among the vendor's statements"),
                ("state", Utf8, false, "closed, or settled where it was paid"),
                ("currency", Utf8, false, "ISO 4217 code of all amounts"),
                ("net", AMOUNT, false, "Total without tax"),
                ("tax", AMOUNT, false, "Tax"),
                ("gross", AMOUNT, false, "Total with tax: what is paid"),
                ("total_in_words", Utf8, false, "The gross total in Chinese words"),
                ("events", Int64, false, "Events of the period"),
                ("late_events", Int64, false, "Events of earlier periods"),
                (
                    "corrected_events",
                    Int64,
                    false,
                    "Events of earlier periods that corrections added, less those taken back",
                ),
                ("hash", Utf8, false, "BLAKE3 of the statement, in hex"),
                ("paid_on", Date32, true, "Day of the payment"),
                ("payment_reference", Utf8, true, "What the bank calls the payment"),
                ("paid_by", Utf8, true, "Who said that it was paid"),
            ],
            Self::StatementLines => vec![
                period,
                vendor,
                ("terms", Utf8, false, "Id of the terms that it is by"),
                ("kind", Utf8, false, "line, adjustment or rounding"),
                ("line_id", Utf8, true, "Id, the same in every run; null for a rounding line"),
                ("model", Utf8, true, "Billed model or pattern; null where it is for the section"),
                ("class", Utf8, true, "Token class; revenue for a share, units for tiers"),
                ("supplier", Utf8, true, "Supplier; null where it is over all"),
                ("service_tier", Utf8, true, "Service tier; null where it is over all"),
                ("price_id", Utf8, true, "Price, or the number of a tier"),
                ("price_book_version", Utf8, true, "Version of the price book"),
                ("unit_price", AMOUNT, true, "Price of 1,000,000 units"),
                ("trial", Boolean, false, "Whether it is a free trial"),
                ("units", Int64, false, "Units; events for a share; 0 where it has none"),
                ("listed", AMOUNT, true, "Units x price, or the shared revenue, exactly"),
                ("listed_currency", Utf8, true, "Currency of listed"),
                ("currency", Utf8, false, "ISO 4217 code of net, tax and gross"),
                ("net", AMOUNT, false, "What is owed, without tax"),
                ("tax", AMOUNT, false, "Tax"),
                ("gross", AMOUNT, false, "With tax"),
                ("reason", Utf8, true, "Reason of an adjustment"),
                ("orig_period", Utf8, true, "Period that an adjustment belongs to"),
                ("orig_line_id", Utf8, true, "Line that an adjustment corrects"),
            ],
            Self::Adjustments => vec![
                (
                    "adjustment",
                    Utf8,
                    false,
                    "Number of a posted one (ADJ-...), of a re-rate with its line; else its id",
                ),
                vendor,
                (
                    "state",
                    Utf8,
                    false,
                    "proposed, rejected, approved (waits for the next close) or on_statement",
                ),
                ("period", Utf8, true, "Period of the statement that it is on"),
                ("wanted_period", Utf8, true, "First period that a posted one may count in"),
                ("terms", Utf8, false, "Id of the terms that it belongs to"),
                ("reason", Utf8, false, "Why, such as late_usage or dispute_credit"),
                ("orig_period", Utf8, true, "Period that it corrects"),
                ("orig_line_id", Utf8, true, "Line that it corrects"),
                ("posted", Boolean, false, "Whether a person asked for it"),
                ("amount", AMOUNT, false, "As it was posted; else net"),
                ("net", AMOUNT, true, "On the statement, without tax"),
                ("gross", AMOUNT, true, "On the statement, with tax"),
                ("currency", Utf8, true, "ISO 4217 code, where it is on a statement"),
                ("note", Utf8, true, "Words of whoever posted it"),
                ("proposed_by", Utf8, true, "Who asked for it"),
                ("proposed_at", time_type(), true, "When, UTC"),
                ("decided_by", Utf8, true, "Who approved or rejected it"),
                ("decided_at", time_type(), true, "When, UTC"),
                ("dispute", Utf8, true, "Dispute that it comes from"),
            ],
            Self::Disputes => vec![
                ("dispute", Utf8, false, "Number"),
                vendor,
                period,
                ("state", Utf8, false, "open, accepted, rejected or settled"),
                ("currency", Utf8, false, "ISO 4217 code"),
                ("our_amount", AMOUNT, false, "Our amount for the period"),
                ("their_amount", AMOUNT, false, "The bill's amount"),
                ("at_stake", AMOUNT, false, "The bill's amount less ours"),
                ("differences", Int64, false, "Differences outside of the tolerance"),
                ("classes", Utf8, false, "Classes of the differences, with their counts"),
                bill,
                bill_hash,
                ("evidence_hash", Utf8, false, "BLAKE3 of the evidence's manifest, in hex"),
                ("deadline", Date32, false, "Until when the vendor has to answer"),
                ("opened_by", Utf8, false, "Who opened it"),
                ("opened_at", time_type(), false, "When, UTC"),
                ("resolved_by", Utf8, true, "Who ended it"),
                ("resolved_at", time_type(), true, "When, UTC"),
                ("credit", AMOUNT, true, "What the vendor gives back"),
                ("adjustment", Utf8, true, "Adjustment that says so"),
                ("note", Utf8, true, "How it ended, in words; before that, what it is about"),
            ],
            Self::Reconciliation => vec![
                vendor,
                period,
                bill,
                bill_hash,
                ("mapping", Utf8, false, "Mapping that it was read by"),
                ("currency", Utf8, false, "ISO 4217 code"),
                ("our_amount", AMOUNT, false, "Our amount"),
                ("their_amount", AMOUNT, false, "The bill's amount"),
                ("difference", AMOUNT, false, "The bill's amount less ours"),
                ("inside", Boolean, false, "Whether everything is within the tolerance"),
                ("bill_lines", Int64, false, "Lines of the bill"),
                ("our_events", Int64, false, "Our events"),
                ("differences", Int64, false, "Differences"),
                ("disputed", Int64, false, "Of these, outside of the tolerance"),
                ("classes", Utf8, false, "Classes of the differences, with their counts"),
                ("compared_by", Utf8, false, "Who put it down"),
                compared_at,
            ],
            Self::ReconciliationClasses => vec![
                vendor,
                period,
                bill,
                bill_hash,
                compared_at,
                ("class", Utf8, false, "Class of the differences"),
                ("currency", Utf8, false, "ISO 4217 code; a difference of currencies is in both"),
                ("differences", Int64, false, "Differences"),
                ("difference", AMOUNT, false, "The bill's amounts less ours in them"),
            ],
            Self::ReconciliationDifferences => vec![
                vendor,
                period,
                bill,
                bill_hash,
                compared_at,
                ("place", Int64, false, "Place among the largest, from 1"),
                ("level", Utf8, false, "record, or group: a day, model, tier, class and price"),
                ("class", Utf8, true, "Why they differ; null where other rows of the group say"),
                ("detail", Utf8, true, "More about it, such as the kind of a time shift"),
                ("disputed", Boolean, false, "Whether it is outside of the tolerance"),
                (
                    "difference",
                    AMOUNT,
                    true,
                    "The bill's amount less ours; null for two currencies, or where only counts are compared",
                ),
                ("our_amount", AMOUNT, true, "Our amount"),
                ("our_currency", Utf8, true, "ISO 4217 code of our amount"),
                ("their_amount", AMOUNT, true, "The bill's amount"),
                ("their_currency", Utf8, true, "ISO 4217 code of the bill's amount"),
                ("our_day", Date32, true, "Our day, in the bill's zone"),
                ("their_day", Date32, true, "The bill's day"),
                ("our_model", Utf8, true, "Model that we think is billed"),
                ("their_model", Utf8, true, "Model that is billed"),
                ("our_service_tier", Utf8, true, "Our service tier"),
                ("their_service_tier", Utf8, true, "The bill's service tier, where it tells one"),
                ("our_counts", Utf8, true, "Our counts by class, such as input 434 output 345"),
                ("their_counts", Utf8, true, "The bill's counts by class"),
                ("unit_price", AMOUNT, true, "Price of 1,000,000 units, of a group that has one"),
                ("vendor_request_id", Utf8, true, "The vendor's id of the request"),
                ("bill_line", Int64, true, "Line or row of the bill"),
                ("kafka_partition", Int64, true, "Kafka partition of our event"),
                ("kafka_offset", Int64, true, "Kafka offset of our event"),
                ("batch_index", Int64, true, "Position of our event within its batch"),
                ("wholesale_price_ids", Utf8, true, "Prices that rated our event"),
            ],
        }
    }

    /// The Arrow schema, with comments in the metadata.
    pub fn schema(self) -> SchemaRef {
        commented(self.columns(), self.comment())
    }
}

/// A table of the books, read when it is scanned.
#[derive(Debug)]
pub(crate) struct BooksRows {
    table: BooksTable,
    schema: SchemaRef,
    source: Arc<SystemSource>,
    /// Which months have usage.
    pin: Arc<PinnedTables>,
    /// As of when; `None` is now.
    known_at_ms: Option<i64>,
}

impl BooksRows {
    pub(crate) fn new(
        table: BooksTable,
        source: Arc<SystemSource>,
        pin: Arc<PinnedTables>,
        known_at_ms: Option<i64>,
    ) -> Self {
        Self { table, schema: without_comments(&table.schema()), source, pin, known_at_ms }
    }
}

#[async_trait]
impl RowSource for BooksRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn rows(&self) -> Result<RecordBatch, QueryError> {
        let store = SealStore::new(self.source.ledger.store());
        let books = StoredBooks::read(&store, self.known_at_ms, self.table.of_statements()).await?;
        let columns = rows_of(self.table, &books, &Calendar::of(&self.pin, self.known_at_ms))?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| QueryError::Internal(error.to_string()))
    }
}
