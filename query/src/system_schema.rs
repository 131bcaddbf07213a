//! Schema `system`: what the program knows about itself, as tables.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use tally_aggregate::ledger::StoredEntry;
use tally_reference::ReferenceStore;
use tally_schemas::{EntryKind, Origin, Setting, Table};
use tally_tables::{PinnedTable, PinnedTables, date_days, retention_record_path};

use crate::audit_table::{AUDIT_LOG, audit_schema};
use crate::books_schema::BooksTable;
use crate::budget_table::{BUDGETS, budgets_schema};
use crate::budget_view::BudgetView;
use crate::chinese_comments::{SCHEMA, in_both_languages};
use crate::error::QueryError;
use crate::gathered_table::RowSource;
use crate::ledger_view::LedgerView;
use crate::phone_bill::PhoneBillTable;
use crate::reference_schema::ReferenceTable;
use crate::removed_days::{RemovedDay, removed_days};
use crate::views::View;

/// Metadata key of a comment, on a schema for the table and on a field for the column.
pub(crate) const COMMENT: &str = "comment";

/// A table of schema `system`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SystemTable {
    /// One row a Kafka partition: who owns it and how far it is.
    Partitions,
    /// One row an entry of the epoch ledger.
    Epochs,
    /// One row a table.
    Tables,
    /// One row a column of every table and view, with its comment.
    Columns,
    /// One row a setting, with its origin.
    Config,
    /// One row a record of what retention has removed.
    RemovedDays,
}

/// Name, type, whether it may be null, comment.
pub(crate) type ColumnSpec = (&'static str, DataType, bool, &'static str);

pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

impl SystemTable {
    /// Every table.
    pub const ALL: [Self; 6] = [
        Self::Partitions,
        Self::Epochs,
        Self::Tables,
        Self::Columns,
        Self::Config,
        Self::RemovedDays,
    ];

    /// Name in schema `system`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Partitions => "partitions",
            Self::Epochs => "epochs",
            Self::Tables => "tables",
            Self::Columns => "columns",
            Self::Config => "config",
            Self::RemovedDays => "removed_days",
        }
    }

    /// What a SQL client shows.
    pub const fn comment(self) -> &'static str {
        match self {
            Self::Partitions => {
                "One row a Kafka partition: owner, committed offset, watermark and totals since its first offset"
            }
            Self::Epochs => {
                "One row an entry of the epoch ledger: what was committed, by whom, when"
            }
            Self::Tables => "One row a table: version, files, rows and bytes of this query's pin",
            Self::Columns => "One row a column of every table and view, with its comment",
            Self::Config => "One row a setting: effective value and where it comes from",
            Self::RemovedDays => {
                "One row a removal: which rows of usage_events are there no more, and which record says what they came to"
            }
        }
    }

    fn columns(self) -> Vec<ColumnSpec> {
        use DataType::{Boolean, Int32, Int64, Utf8};
        match self {
            Self::Partitions => vec![
                ("topic", Utf8, false, "Kafka topic"),
                ("partition", Int32, false, "Kafka partition"),
                ("owner", Utf8, false, "Id of the assignment that wrote the last entry"),
                ("epoch", Int64, false, "Number of the last ledger entry"),
                ("committed_offset", Int64, false, "Next offset to be read"),
                ("watermark", time_type(), true, "Event-time watermark, UTC"),
                ("committed_at", time_type(), false, "When the last entry was closed, UTC"),
                ("records", Int64, false, "Kafka records consumed since the first offset"),
                ("received", Int64, false, "Events received"),
                ("accepted", Int64, false, "Events that became rows of usage_events"),
                ("suspended", Int64, false, "Events held back"),
                ("duplicates", Int64, false, "Exact duplicates, dropped"),
                ("recycled", Int64, false, "Events taken out of suspense again"),
                ("written_off", Int64, false, "Held-back events that were given up"),
                (
                    "left_open",
                    Int64,
                    false,
                    "Records that asked for either, and left their row open",
                ),
                ("corrected", Int64, false, "Accepted events that were taken back"),
                (
                    "corrections_refused",
                    Int64,
                    false,
                    "Records that asked to take an event back that is not known, or was taken back",
                ),
            ],
            Self::Epochs => vec![
                ("topic", Utf8, false, "Kafka topic"),
                ("partition", Int32, false, "Kafka partition"),
                ("epoch", Int64, false, "Number of the entry"),
                (
                    "kind",
                    Utf8,
                    false,
                    "claim: a new owner, no rows; epoch: rows, state and offsets; frozen and moved: the partition count was changed",
                ),
                ("owner", Utf8, false, "Id of the assignment that wrote it"),
                ("from_offset", Int64, false, "First offset"),
                ("to_offset", Int64, false, "Next offset after the epoch"),
                ("records", Int64, false, "Kafka records"),
                ("events", Int64, false, "Events received"),
                ("accepted", Int64, false, "Events that became rows of usage_events"),
                ("suspended", Int64, false, "Events held back"),
                ("duplicates", Int64, false, "Exact duplicates, dropped"),
                ("watermark", time_type(), true, "Event-time watermark after it, UTC"),
                ("committed_at", time_type(), false, "When it was closed, UTC"),
                ("files", Int64, false, "Data files"),
                ("rows", Int64, false, "Rows in the data files of all tables"),
                ("bytes", Int64, false, "Bytes of the data files"),
            ],
            Self::Tables => vec![
                ("name", Utf8, false, "Table"),
                (
                    "version",
                    Int64,
                    true,
                    "Delta version that this query reads; null before the first",
                ),
                ("files", Int64, false, "Live data files"),
                ("rows", Int64, false, "Rows"),
                ("bytes", Int64, false, "Bytes of the live data files"),
                ("comment", Utf8, true, "What the table holds"),
            ],
            Self::Columns => vec![
                ("table_schema", Utf8, false, "Schema"),
                ("table_name", Utf8, false, "Table"),
                ("column_name", Utf8, false, "Column"),
                ("position", Int32, false, "Position, from 1"),
                ("data_type", Utf8, false, "Type"),
                ("nullable", Boolean, false, "Whether it may be null"),
                ("comment", Utf8, true, "What the column holds"),
            ],
            Self::Config => vec![
                ("key", Utf8, false, "Key, such as aggregate.freshness_ms"),
                ("value", Utf8, false, "Effective value"),
                ("origin", Utf8, false, "default, a file, an environment variable or a flag"),
            ],
            Self::RemovedDays => vec![
                ("table_name", Utf8, false, "Table"),
                ("day", DataType::Date32, false, "Day in Asia/Shanghai"),
                ("record", Utf8, false, "Object that says what the rows came to"),
                ("files", Int64, false, "Data files that were removed"),
                ("rows", Int64, false, "Rows that they had"),
                ("bytes", Int64, false, "Bytes that they had"),
                ("removed_at", time_type(), false, "When they were removed, UTC"),
            ],
        }
    }

    /// The Arrow schema, with comments in the metadata.
    pub fn schema(self) -> SchemaRef {
        commented(self.columns(), self.comment())
    }
}

/// An Arrow schema with comments in its metadata.
pub(crate) fn commented(columns: Vec<ColumnSpec>, comment: &str) -> SchemaRef {
    let fields: Vec<Field> = columns
        .into_iter()
        .map(|(name, data_type, nullable, comment)| {
            Field::new(name, data_type, nullable)
                .with_metadata([(COMMENT.to_owned(), comment.to_owned())].into())
        })
        .collect();
    let comment = (COMMENT.to_owned(), comment.to_owned());
    Arc::new(Schema::new_with_metadata(fields, [comment].into()))
}

/// Every table and view with a fixed shape: schema, name, columns.
pub(crate) fn shapes() -> Vec<(&'static str, &'static str, SchemaRef)> {
    let public = Table::ALL.into_iter().map(|table| ("public", table.name(), table.arrow_schema()));
    let system = SystemTable::ALL.into_iter().map(|table| ("system", table.name(), table.schema()));
    let reference = ReferenceTable::ALL
        .into_iter()
        .map(|table| (table.schema_name(), table.name(), table.schema()));
    let budgets = [("settlement", BUDGETS, budgets_schema())];
    let audit = [("system", AUDIT_LOG, audit_schema())];
    let books =
        BooksTable::ALL.into_iter().map(|table| ("settlement", table.name(), table.schema()));
    let phone_bills = PhoneBillTable::ALL
        .into_iter()
        .map(|table| (PhoneBillTable::SCHEMA, table.name(), table.schema()));
    let views = View::all().map(|view| (view.schema, view.name, view.arrow_schema()));
    let tables = public.chain(reference).chain(budgets).chain(books).chain(phone_bills);
    let told = |(schema, name, shape): (&'static str, &'static str, SchemaRef)| match schema {
        SCHEMA => (schema, name, in_both_languages(name, &shape)),
        _ => (schema, name, shape),
    };
    tables.chain(system).chain(audit).chain(views).map(told).collect()
}

/// A schema as plans have it: they compare metadata, and lose it here and there.
pub(crate) fn without_comments(schema: &Schema) -> SchemaRef {
    let plain = |field: &Arc<Field>| {
        Field::new(field.name(), field.data_type().clone(), field.is_nullable())
    };
    Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()))
}

/// What the tables are read from.
#[derive(Debug)]
pub(crate) struct SystemSource {
    pub(crate) ledger: LedgerView,
    pub(crate) budgets: BudgetView,
    pub(crate) settings: Vec<Setting>,
    pub(crate) references: ReferenceStore,
}

/// A table of schema `system`, read when it is scanned.
#[derive(Debug)]
pub(crate) struct SystemRows {
    table: SystemTable,
    schema: SchemaRef,
    source: Arc<SystemSource>,
    pin: Arc<PinnedTables>,
}

impl SystemRows {
    pub(crate) fn new(
        table: SystemTable,
        source: Arc<SystemSource>,
        pin: Arc<PinnedTables>,
    ) -> Self {
        Self { table, schema: without_comments(&table.schema()), source, pin }
    }
}

#[async_trait]
impl RowSource for SystemRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn rows(&self) -> Result<RecordBatch, QueryError> {
        let columns = match self.table {
            SystemTable::Partitions => partition_rows(&self.source.ledger.current_last().await?),
            SystemTable::Epochs => {
                let ledgers = self.source.ledger.all_entries().await?;
                let entries: Vec<StoredEntry> =
                    ledgers.into_iter().flat_map(|ledger| ledger.entries).collect();
                epoch_rows(&entries)
            }
            SystemTable::Tables => table_rows(&self.pin),
            SystemTable::Columns => column_rows(),
            SystemTable::Config => config_rows(&self.source.settings),
            SystemTable::RemovedDays => removed_rows(&removed_days(&self.pin)),
        };
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| QueryError::Internal(error.to_string()))
    }
}

pub(crate) fn whole(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

pub(crate) fn integers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn small(values: impl Iterator<Item = u32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values.map(|v| i32::try_from(v).unwrap_or(i32::MAX))))
}

pub(crate) fn texts<T: AsRef<str>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub(crate) fn maybe_texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values))
}

pub(crate) fn times(values_ms: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let micros = values_ms.map(|ms| ms.and_then(|ms| ms.checked_mul(1000)));
    Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("UTC"))
}

fn partition_rows(last: &[StoredEntry]) -> Vec<ArrayRef> {
    let entries = || last.iter().map(|stored| &stored.entry);
    vec![
        texts(entries().map(|e| &e.topic)),
        small(entries().map(|e| e.partition)),
        texts(entries().map(|e| &e.owner)),
        integers(entries().map(|e| whole(e.n))),
        integers(entries().map(|e| whole(e.to))),
        times(entries().map(|e| e.watermark_ms)),
        times(entries().map(|e| Some(e.committed_at_ms))),
        integers(entries().map(|e| whole(e.cumulative.records))),
        integers(entries().map(|e| whole(e.cumulative.received.events))),
        integers(entries().map(|e| whole(e.cumulative.accepted.events))),
        integers(entries().map(|e| whole(e.cumulative.suspended.events))),
        integers(entries().map(|e| whole(e.cumulative.duplicates.events))),
        integers(entries().map(|e| whole(e.cumulative.recycled.events))),
        integers(entries().map(|e| whole(e.cumulative.written_off.events))),
        integers(entries().map(|e| whole(e.cumulative.left_open))),
        integers(entries().map(|e| whole(e.cumulative.corrected.flow.events))),
        integers(entries().map(|e| whole(e.cumulative.corrections_refused))),
    ]
}

fn epoch_rows(stored: &[StoredEntry]) -> Vec<ArrayRef> {
    let entries = || stored.iter().map(|stored| &stored.entry);
    vec![
        texts(entries().map(|e| &e.topic)),
        small(entries().map(|e| e.partition)),
        integers(entries().map(|e| whole(e.n))),
        texts(entries().map(|e| match e.kind {
            EntryKind::Claim => "claim",
            EntryKind::Epoch => "epoch",
            EntryKind::Frozen => "frozen",
            EntryKind::Moved => "moved",
        })),
        texts(entries().map(|e| &e.owner)),
        integers(entries().map(|e| whole(e.from))),
        integers(entries().map(|e| whole(e.to))),
        integers(entries().map(|e| whole(e.totals.records))),
        integers(entries().map(|e| whole(e.totals.received.events))),
        integers(entries().map(|e| whole(e.totals.accepted.events))),
        integers(entries().map(|e| whole(e.totals.suspended.events))),
        integers(entries().map(|e| whole(e.totals.duplicates.events))),
        times(entries().map(|e| e.watermark_ms)),
        times(entries().map(|e| Some(e.committed_at_ms))),
        integers(entries().map(|e| whole(e.files.len()))),
        integers(entries().map(|e| whole(e.files.iter().map(|f| f.rows).sum::<u64>()))),
        integers(entries().map(|e| whole(e.files.iter().map(|f| f.bytes).sum::<u64>()))),
    ]
}

fn table_rows(pin: &PinnedTables) -> Vec<ArrayRef> {
    let tables = || pin.iter().map(Arc::as_ref);
    let rows = |table: &PinnedTable| table.files.iter().filter_map(|f| f.rows).sum::<u64>();
    vec![
        texts(tables().map(|t| t.table.name())),
        Arc::new(Int64Array::from_iter(tables().map(|t| t.version.map(whole)))),
        integers(tables().map(|t| whole(t.files.len()))),
        integers(tables().map(|t| whole(rows(t)))),
        integers(tables().map(|t| whole(t.files.iter().map(|f| f.size).sum::<u64>()))),
        texts(tables().map(|t| t.table.comment())),
    ]
}

fn removed_rows(days: &[RemovedDay]) -> Vec<ArrayRef> {
    vec![
        texts(days.iter().map(|day| day.table.name())),
        Arc::new(Date32Array::from_iter(days.iter().map(|day| date_days(&day.day)))),
        texts(days.iter().map(|day| retention_record_path(day.table, day.record))),
        integers(days.iter().map(|day| whole(day.files))),
        integers(days.iter().map(|day| whole(day.rows))),
        integers(days.iter().map(|day| whole(day.bytes))),
        times(days.iter().map(|day| Some(day.removed_at_ms))),
    ]
}

fn column_rows() -> Vec<ArrayRef> {
    let shapes = shapes();
    let columns: Vec<(&str, &str, u32, &Field)> = shapes
        .iter()
        .flat_map(|(schema, table, shape)| {
            (1..).zip(shape.fields()).map(move |(n, field)| (*schema, *table, n, field.as_ref()))
        })
        .collect();
    vec![
        texts(columns.iter().map(|c| c.0)),
        texts(columns.iter().map(|c| c.1)),
        texts(columns.iter().map(|c| c.3.name())),
        small(columns.iter().map(|c| c.2)),
        texts(columns.iter().map(|c| type_name(c.3.data_type()))),
        Arc::new(BooleanArray::from_iter(columns.iter().map(|c| Some(c.3.is_nullable())))),
        maybe_texts(columns.iter().map(|c| c.3.metadata().get(COMMENT))),
    ]
}

/// The name of a type as SQL has it.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "text".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".to_owned(),
        DataType::Decimal128(precision, scale) => format!("numeric({precision},{scale})"),
        other => other.to_string(),
    }
}

fn config_rows(settings: &[Setting]) -> Vec<ArrayRef> {
    vec![
        texts(settings.iter().map(|s| &s.key)),
        texts(settings.iter().map(|s| &s.value)),
        texts(settings.iter().map(|s| match &s.origin {
            Origin::Default => "default".to_owned(),
            Origin::File(name) => format!("file {name}"),
            Origin::Environment(name) => format!("environment {name}"),
            Origin::Flag => "flag".to_owned(),
        })),
    ]
}
