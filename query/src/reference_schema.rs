//! Reference data as tables: what is approved, in every version, and who approved it when. Read
//! from the store when a query scans them.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use async_trait::async_trait;
use tally_reference::{ErrorKind, ReferenceStore};

use crate::error::QueryError;
use crate::gathered_table::RowSource;
use crate::reference_rows::rows_of;
use crate::system_schema::{ColumnSpec, commented, time_type, without_comments};

/// A table of reference data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReferenceTable {
    /// One row a version of a price.
    PriceBook,
    /// One row a version of a contract, or of settlement terms.
    Contracts,
    /// One row a version of an exchange rate.
    FxRates,
    /// One row a version of a package or tariff.
    Packages,
    /// One row a holiday of a version of a calendar.
    Calendars,
    /// One row a version of a model alias.
    ModelAliases,
}

/// Money and points of reference data: micro.
pub(crate) const MICRO: DataType = DataType::Decimal128(38, 6);

/// Columns that every table ends with.
const STANDING: [&str; 8] = [
    "version",
    "source",
    "known_from",
    "superseded_at",
    "imported_by",
    "imported_at",
    "approved_by",
    "approved_at",
];

impl ReferenceTable {
    /// Every table.
    pub const ALL: [Self; 6] = [
        Self::PriceBook,
        Self::Contracts,
        Self::FxRates,
        Self::Packages,
        Self::Calendars,
        Self::ModelAliases,
    ];

    /// Name in its schema.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PriceBook => "price_book",
            Self::Contracts => "contracts",
            Self::FxRates => "fx_rates",
            Self::Packages => "packages",
            Self::Calendars => "calendars",
            Self::ModelAliases => "model_aliases",
        }
    }

    /// Its schema.
    pub const fn schema_name(self) -> &'static str {
        match self {
            Self::PriceBook | Self::Contracts | Self::FxRates => "settlement",
            Self::Packages | Self::Calendars | Self::ModelAliases => "public",
        }
    }

    /// What a SQL client shows.
    pub const fn comment(self) -> &'static str {
        match self {
            Self::PriceBook => {
                "One row an approved version of a price: what it is for, when it holds, who approved it"
            }
            Self::Contracts => {
                "One row an approved version of a contract with a vendor: what events are rated by, and the terms that periods are settled by"
            }
            Self::FxRates => "One row an approved version of a rate that a period is settled at",
            Self::Packages => "One row an approved version of a package or a pay-as-you-go tariff",
            Self::Calendars => {
                "One row a statutory holiday of an approved version of a calendar; one without a day where it has none"
            }
            Self::ModelAliases => {
                "One row an approved version of a model alias: vendor and billed model behind a name"
            }
        }
    }

    fn columns(self) -> Vec<ColumnSpec> {
        use DataType::{Boolean, Date32, Int32, Int64, Utf8};
        let mut columns = match self {
            Self::PriceBook => vec![
                ("price_id", Utf8, false, "Id; its versions share it"),
                (
                    "side",
                    Utf8,
                    false,
                    "wholesale: the operator pays the vendor; retail: the subscriber pays the operator",
                ),
                ("contract_id", Utf8, true, "Only for what this contract covers"),
                ("vendor", Utf8, false, "Vendor of the model"),
                ("supplier", Utf8, true, "Only from this supplier"),
                ("model_pattern", Utf8, false, "Billed model, or the beginning of names and a *"),
                ("class", Utf8, false, "Token class or counted unit"),
                ("unit", Utf8, false, "What the class is counted in"),
                ("currency", Utf8, false, "ISO 4217 code"),
                (
                    "price_micro_per_million",
                    DataType::Decimal128(20, 0),
                    false,
                    "Micro-currency of 1,000,000 units, a whole number",
                ),
                ("price_per_million", MICRO, false, "Currency of 1,000,000 units"),
                ("tier_basis", Utf8, true, "What is counted to choose the tier"),
                ("tier_from", Int64, true, "Units above which the tier holds"),
                ("tier_to", Int64, true, "The last unit count of the tier"),
                ("tier_mode", Utf8, true, "graduated or all_units, for settlement"),
                ("service_tier", Utf8, true, "Only in this service tier; null: all of them"),
                ("region", Utf8, true, "Only in this region"),
                ("calendar_id", Utf8, true, "Calendar of the windows"),
                ("windows", Utf8, true, "Only at these local times of day, half-open"),
                (
                    "time_basis",
                    Utf8,
                    false,
                    "Which instant of a call prices it: start or completion",
                ),
                ("valid_from", time_type(), false, "In force from, UTC"),
                ("valid_to", time_type(), true, "In force until, UTC; null: no end"),
                ("free", Boolean, false, "Zero on purpose"),
                ("promotion", Boolean, false, "Ends on purpose; something follows"),
            ],
            Self::Contracts => vec![
                ("contract_id", Utf8, false, "Id; its versions share it"),
                (
                    "applies_to",
                    Utf8,
                    false,
                    "rating: the price of an event; settlement: what is owed for a period",
                ),
                ("vendor", Utf8, false, "Vendor"),
                ("model_pattern", Utf8, false, "Billed model, or the beginning of names and a *"),
                ("form", Utf8, false, "How the vendor is paid"),
                ("figures", Utf8, true, "The form with its figures, in words; settlement only"),
                ("currency", Utf8, false, "ISO 4217 code of the settlement"),
                (
                    "discount_ppm",
                    Int64,
                    true,
                    "What is taken off list prices, parts per million; rating only",
                ),
                ("tax_ppm", Int64, true, "Tax of the net amount, parts per million"),
                ("amounts_include_tax", Boolean, true, "Whether prices and amounts include tax"),
                ("rounding", Utf8, true, "How a line is rounded to 0.01: half_up or half_even"),
                ("minimum", MICRO, true, "Guaranteed amount a month"),
                ("carry_months", Int64, true, "Months in which a shortfall may be used"),
                ("cap", MICRO, true, "Most that a month may come to"),
                ("prepaid", Utf8, true, "What was paid in advance, in words"),
                ("trial", Utf8, true, "Free trials and who bears them, in words"),
                (
                    "tolerance",
                    Utf8,
                    true,
                    "What the vendor's bill may differ by without a dispute, in words",
                ),
                ("valid_from", time_type(), false, "In force from, UTC"),
                ("valid_to", time_type(), true, "In force until, UTC; null: no end"),
            ],
            Self::FxRates => vec![
                ("from_currency", Utf8, false, "Currency that is converted"),
                ("to_currency", Utf8, false, "Currency that comes out"),
                ("period", Utf8, false, "Month whose statements it is for, such as 2026-10"),
                ("rate", MICRO, false, "What one of from_currency comes to"),
                ("rate_date", Date32, false, "Day of the rate"),
            ],
            Self::Packages => vec![
                ("id", Utf8, false, "Id; its versions share it"),
                ("title", Utf8, false, "Chinese title"),
                ("title_en", Utf8, false, "English title"),
                (
                    "kind",
                    Utf8,
                    false,
                    "paid, trial or free: a package; payg: a pay-as-you-go tariff",
                ),
                (
                    "price",
                    MICRO,
                    false,
                    "Price of the package; of 1,000,000 points where kind is payg",
                ),
                ("currency", Utf8, false, "ISO 4217 code"),
                ("allowance", MICRO, true, "Points; null for a tariff"),
                ("period", Utf8, true, "How long it lasts"),
                ("anchor", Utf8, true, "What the period is counted from: purchase or calendar"),
                ("weights", Utf8, true, "Table of weights that counts its points"),
                ("priority", Int64, true, "Lower is used first"),
                (
                    "directed",
                    Boolean,
                    true,
                    "Meant for its models or products, and used before all others",
                ),
                ("models", Utf8, true, "Models that it may be used for, with commas; null: all"),
                (
                    "products",
                    Utf8,
                    true,
                    "Products that it may be used for, with commas; null: all",
                ),
                ("rollover", Utf8, true, "What becomes of what is left: none or next_period"),
                ("caps", Utf8, true, "Points at most within windows"),
                ("thresholds", Utf8, true, "When alerts go out, in the unit of each kind"),
                (
                    "overflow",
                    Utf8,
                    true,
                    "What a gateway does when it is used up: block, payg, throttle",
                ),
                ("stacking", Utf8, true, "What a second purchase does: queue or parallel"),
                ("funded_by", Utf8, true, "Who bears a free one: operator, vendor, shared"),
                ("region", Utf8, true, "Only for accounts of this region"),
                ("example", Boolean, false, "Its figures are made up"),
                ("valid_from", time_type(), true, "Sold from, UTC"),
                ("valid_to", time_type(), true, "Sold until, UTC; null: no end"),
            ],
            Self::Calendars => vec![
                ("calendar_id", Utf8, false, "Id; its versions share it"),
                ("days", Utf8, false, "Days to which windows apply: all, weekdays, workdays"),
                ("utc_offset_minutes", Int32, false, "Offset of its local time from UTC"),
                ("holiday", Date32, true, "A statutory holiday"),
                ("holiday_source", Utf8, true, "Where the holidays of that year are from"),
            ],
            Self::ModelAliases => vec![
                ("alias_id", Utf8, false, "Id; its versions share it"),
                ("model", Utf8, false, "Name that is requested"),
                ("vendor", Utf8, false, "Vendor behind it"),
                ("billed_model", Utf8, false, "Model that the vendor bills"),
                ("valid_from", time_type(), false, "In force from, UTC"),
                ("valid_to", time_type(), true, "In force until, UTC; null: no end"),
            ],
        };
        columns.extend(STANDING.map(|name| match name {
            "version" => {
                (name, Int64, false, "Version that was imported with it; 0 ships with Tally")
            }
            "source" => (name, Utf8, true, "Where it is from"),
            "known_from" => (name, time_type(), false, "From when on it counts, UTC"),
            "superseded_at" => {
                (name, time_type(), true, "When a later version of the same id took its place, UTC")
            }
            "imported_by" => (name, Utf8, false, "Who imported it"),
            "imported_at" => (name, time_type(), true, "When, UTC; null for what ships"),
            "approved_by" => (name, Utf8, false, "Who approved it"),
            _ => (name, time_type(), false, "When, UTC"),
        }));
        columns
    }

    /// The Arrow schema, with comments in the metadata.
    pub fn schema(self) -> SchemaRef {
        commented(self.columns(), self.comment())
    }
}

/// A table of reference data, read when it is scanned.
#[derive(Debug)]
pub(crate) struct ReferenceRows {
    table: ReferenceTable,
    schema: SchemaRef,
    references: ReferenceStore,
    /// As of when; `None` is now.
    known_at_ms: Option<i64>,
}

impl ReferenceRows {
    pub(crate) fn new(
        table: ReferenceTable,
        references: ReferenceStore,
        known_at_ms: Option<i64>,
    ) -> Self {
        Self { table, schema: without_comments(&table.schema()), references, known_at_ms }
    }
}

#[async_trait]
impl RowSource for ReferenceRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn rows(&self) -> Result<RecordBatch, QueryError> {
        let whole = self.references.newest_whole().await.map_err(|error| match error.kind() {
            ErrorKind::Retry => QueryError::Retry(error.to_string()),
            ErrorKind::Usage | ErrorKind::Data => QueryError::Data(error.to_string()),
        })?;
        rows_of(self.table, &whole)
            .and_then(|columns| RecordBatch::try_new(Arc::clone(&self.schema), columns))
            .and_then(|rows| match self.known_at_ms {
                Some(at_ms) => as_known(&rows, at_ms),
                None => Ok(rows),
            })
            .map_err(|error| QueryError::Internal(error.to_string()))
    }
}

/// The versions that were known at a time; what took the place of one later had not yet.
fn as_known(rows: &RecordBatch, at_ms: i64) -> Result<RecordBatch, ArrowError> {
    let missing = || ArrowError::SchemaError("a table without known times".to_owned());
    let until = at_ms.saturating_mul(1_000);
    let times = |name: &str| {
        let column = rows.column_by_name(name);
        column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
    };
    let known_from = times("known_from").ok_or_else(missing)?;
    let superseded = times("superseded_at").ok_or_else(missing)?;
    let superseded: TimestampMicrosecondArray =
        superseded.iter().map(|at| at.filter(|at| *at <= until)).collect();
    let place = rows.schema_ref().index_of("superseded_at")?;
    let mut columns = rows.columns().to_vec();
    columns[place] = Arc::new(superseded.with_timezone("UTC"));
    let rows = RecordBatch::try_new(rows.schema(), columns)?;
    let known: BooleanArray = known_from.iter().map(|at| at.map(|at| at <= until)).collect();
    filter_record_batch(&rows, &known)
}
