//! The tables: columns, types, partitioning and a comment on each, in one place.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::token_class::TokenClass;

/// Name of a Delta table below `tables/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// One row an event.
    UsageEvents,
    /// Sums by account, subscriber, model and window.
    UsageBySubscriber,
    /// Sums by model, vendor, supplier, region, channel, tier and window.
    UsageByModel,
    /// Events held back.
    Suspense,
    /// Debits and credits of buckets.
    QuotaLedger,
    /// Thresholds that were crossed.
    Alerts,
    /// What gateways say they sent.
    ControlTotals,
    /// Held-back events that were recycled or written off.
    SuspenseResolutions,
}

/// Type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text.
    Text,
    /// Signed 64-bit integer; counts are negative only where something is taken back.
    Int64,
    /// Signed 32-bit integer.
    Int32,
    /// Microseconds UTC, as Delta has it; values have millisecond resolution.
    Timestamp,
    /// A date.
    Date,
    /// Points with six decimals.
    Points,
    /// Currency with twelve decimals.
    Amount,
}

impl ColumnType {
    /// The Arrow type.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Int64 => DataType::Int64,
            Self::Int32 => DataType::Int32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Date => DataType::Date32,
            Self::Points => DataType::Decimal128(38, 6),
            Self::Amount => DataType::Decimal128(38, 12),
        }
    }

    /// The Delta type name.
    pub const fn delta(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Int64 => "long",
            Self::Int32 => "integer",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
            Self::Points => "decimal(38,6)",
            Self::Amount => "decimal(38,12)",
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub column_type: ColumnType,
    /// Whether it may be null.
    pub nullable: bool,
    /// What a SQL client shows.
    pub comment: &'static str,
}

const fn column(
    name: &'static str,
    column_type: ColumnType,
    nullable: bool,
    comment: &'static str,
) -> Column {
    Column { name, column_type, nullable, comment }
}

use ColumnType::{Amount, Date, Int32, Int64, Points, Text, Timestamp};

const EVENT_HEAD: [Column; 15] = [
    column("source", Text, false, "Gateway that reported the event; identity together with id"),
    column("id", Text, false, "Id of the event at its source"),
    column("account", Text, false, "Holder of the buckets; the Kafka key"),
    column("subscriber", Text, false, "Who consumed; the account where the gateway named nobody"),
    column("model", Text, false, "Requested model"),
    column("billed_model", Text, false, "Model that the vendor bills"),
    column("vendor", Text, false, "Vendor of the model"),
    column("supplier", Text, false, "Who supplied the vendor's model"),
    column("region", Text, true, "Region"),
    column("channel", Text, true, "Sales channel"),
    column("product", Text, true, "Product that the call belongs to"),
    column("service_tier", Text, false, "Service tier: standard, batch, flex, priority, fast"),
    column("started_at", Timestamp, false, "Start of the call, UTC"),
    column("completed_at", Timestamp, false, "End of the call, UTC"),
    column(
        "day",
        Date,
        false,
        "Date of completed_at in Asia/Shanghai, whichever instant prices the call; the partition column",
    ),
];

const EVENT_TAIL: [Column; 21] = [
    column("finish_reason", Text, true, "Why the call ended"),
    column("usage_source", Text, false, "reported, partial, estimated or vendor_bill"),
    column("vendor_request_id", Text, true, "The vendor's own id of the call"),
    column("points", Points, true, "Points that the event counts, by weight or product"),
    column(
        "retail_amount",
        Amount,
        true,
        "What the subscriber owes: revenue allocated from buckets, and pay as you go",
    ),
    column("wholesale_amount", Amount, true, "What the vendor is owed"),
    column("retail_currency", Text, true, "Currency of retail_amount"),
    column("wholesale_currency", Text, true, "Currency of wholesale_amount"),
    column("retail_price_ids", Text, true, "Packages and tariffs that charged it, with commas"),
    column(
        "wholesale_price_ids",
        Text,
        true,
        "Prices that rated it, in the order of the classes, with commas",
    ),
    column("price_book_version", Text, true, "Version of the price book that rated it"),
    column("gateway_epoch", Int64, true, "Start number of the gateway process"),
    column("gateway_seq", Int64, true, "Running number within the gateway's epoch"),
    column("labels", Text, true, "Free labels as a JSON object"),
    column("kafka_partition", Int32, false, "Kafka partition"),
    column("kafka_offset", Int64, false, "Kafka offset of the record"),
    column("batch_index", Int32, false, "Position within a UsageBatch, 0 for a single event"),
    column("epoch", Int64, false, "Number of the ledger entry that committed the row"),
    column(
        "correction",
        Text,
        true,
        "reversal: takes an earlier event back, with counts and amounts below 0; replacement: counts in its stead",
    ),
    column("corrects_source", Text, true, "Source of the event that it takes back or replaces"),
    column("corrects_id", Text, true, "Id of the event that it takes back or replaces"),
];

const WINDOW_HEAD: [Column; 3] = [
    column("window_start", Timestamp, false, "Start of the window, UTC, inclusive"),
    column("window_end", Timestamp, false, "End of the window, UTC, exclusive"),
    column(
        "kind",
        Text,
        false,
        "on_time; late: an addition to a window that was already written; corrected: what is taken back of it, below 0",
    ),
];

const SUBSCRIBER_KEY: [Column; 6] = [
    column("account", Text, false, "Holder of the buckets"),
    column("subscriber", Text, false, "Who consumed"),
    column("model", Text, false, "Requested model"),
    column("vendor", Text, false, "Vendor of the model"),
    column("retail_currency", Text, true, "Currency of retail_amount"),
    column("wholesale_currency", Text, true, "Currency of wholesale_amount"),
];

const MODEL_KEY: [Column; 8] = [
    column("model", Text, false, "Requested model"),
    column("vendor", Text, false, "Vendor of the model"),
    column("supplier", Text, false, "Who supplied the vendor's model"),
    column("region", Text, true, "Region"),
    column("channel", Text, true, "Sales channel"),
    column("service_tier", Text, false, "Service tier"),
    column("retail_currency", Text, true, "Currency of retail_amount"),
    column("wholesale_currency", Text, true, "Currency of wholesale_amount"),
];

const WINDOW_TAIL: [Column; 6] = [
    column("events", Int64, false, "Number of events in the sums, less those taken back"),
    column("points", Points, true, "Points charged"),
    column("retail_amount", Amount, true, "What the subscriber owes, in retail_currency"),
    column("wholesale_amount", Amount, true, "What the vendor is owed, in wholesale_currency"),
    column("kafka_partition", Int32, false, "Kafka partition that added the row"),
    column("epoch", Int64, false, "Number of the ledger entry that committed the row"),
];

const SUSPENSE: [Column; 16] = [
    column("reason", Text, false, "Why the event is held back"),
    column("subreason", Text, true, "Every defect: code, field and words"),
    column("first_seen", Timestamp, false, "When Kafka received it, UTC"),
    column(
        "raw",
        Text,
        true,
        "The payload as it came; bytes that are not UTF-8 as hex after 'hex:'",
    ),
    column("status", Text, false, "open, recycled or written_off"),
    column("source", Text, true, "Source, where it could be read"),
    column("id", Text, true, "Id, where it could be read"),
    column("account", Text, true, "Account, where it could be read"),
    column("model", Text, true, "Model, where it could be read"),
    column("completed_at", Timestamp, true, "End of the call, where it could be read"),
    column("kafka_partition", Int32, false, "Kafka partition"),
    column("kafka_offset", Int64, false, "Kafka offset of the record"),
    column("batch_index", Int32, false, "Position within a UsageBatch, 0 for a single event"),
    column("epoch", Int64, false, "Number of the ledger entry that committed the row"),
    column(
        "gateway_epoch",
        Int64,
        true,
        "Start number of the gateway process, where it could be read",
    ),
    column("gateway_seq", Int64, true, "Number within it, where it could be read"),
];

const POSITION: [Column; 4] = [
    column("kafka_partition", Int32, false, "Kafka partition"),
    column("kafka_offset", Int64, false, "Kafka offset of the record that caused it"),
    column("batch_index", Int32, false, "Position within a UsageBatch, 0 for a single record"),
    column("epoch", Int64, false, "Number of the ledger entry that committed the row"),
];

const QUOTA_LEDGER: [Column; 14] = [
    column("account", Text, false, "Holder of the buckets"),
    column("subscriber", Text, true, "Who consumed"),
    column("bucket", Text, true, "Bucket; absent for pay as you go and overrun"),
    column(
        "package",
        Text,
        true,
        "Package of the bucket, the tariff of pay as you go, or for overrun the first package that may take the event",
    ),
    column(
        "kind",
        Text,
        false,
        "grant, top_up, debit, payg, overrun, transfer_out, transfer_in, adjust, refund, expire or breakage",
    ),
    column("cause", Text, true, "Why there was an overrun: late, configuration, in_flight or lag"),
    column(
        "points",
        Points,
        false,
        "Points from the bucket's view: what is used is negative, what a correction gives back is not",
    ),
    column(
        "amount",
        Amount,
        false,
        "Price of a grant, revenue of a debit, cost of an overrun, in currency",
    ),
    column("currency", Text, true, "Currency of amount"),
    column("balance_after", Points, true, "What is left of the bucket's allowance"),
    column("event_source", Text, true, "Source of the event that caused it"),
    column("event_id", Text, true, "Id of the event that caused it"),
    column("command_id", Text, true, "Id of the account command that caused it"),
    column("at", Timestamp, false, "End of the call, time of the command, or when it was due, UTC"),
];

const ALERTS: [Column; 17] = [
    column("id", Text, false, "Identity: the same crossing has the same one in every replay"),
    column("kind", Text, false, "Kind of the threshold, or corrected"),
    column("account", Text, true, "Holder of the buckets"),
    column("subscriber", Text, true, "Whose usage crossed it"),
    column(
        "model",
        Text,
        true,
        "Model, vendor or supplier that a budget or commitment is for; * for all",
    ),
    column("package", Text, true, "Package or tariff; id of a budget or commitment"),
    column("bucket", Text, true, "Bucket"),
    column("period_start", Timestamp, false, "Start of the bucket or of the window's period, UTC"),
    column("counter", Text, false, "Kind, window and how often the bucket was armed again"),
    column("threshold", Int64, false, "The threshold's value, in the unit of its kind"),
    column(
        "used",
        Points,
        false,
        "Points used of it; currency for pay as you go; what a budget counts",
    ),
    column(
        "allowance",
        Points,
        true,
        "The bucket's allowance, the cap's limit, or what the budget has",
    ),
    column("at", Timestamp, false, "End of the call, time of the command, or when it was due, UTC"),
    column("event_source", Text, true, "Source of the event that caused it"),
    column("event_id", Text, true, "Id of the event that caused it"),
    column("superseded_by", Text, true, "The higher alert of the same event that went out instead"),
    column("corrects", Text, true, "The sent alert that does not hold any more"),
];

/// Columns that tables of older builds lack; nullable, and behind the others, as evolution appends
/// them.
const ALERTS_SINCE: [Column; 2] = [
    column(
        "emitted_epoch",
        Int64,
        true,
        "Number of the ledger entry whose epoch sent the alert, or recorded it as superseded: that of epoch; null in rows of older builds",
    ),
    column("command_id", Text, true, "Id of the account command that caused it"),
];

const CONTROL_TOTALS: [Column; 7] = [
    column("source", Text, false, "Gateway"),
    column("gateway_epoch", Int64, true, "Start number of the gateway process"),
    column("hour", Timestamp, false, "Start of the hour of completed_at that it is about, UTC"),
    column("events", Int64, false, "Events that it sent, each once"),
    column("first_seq", Int64, true, "First gateway_seq of these events"),
    column("last_seq", Int64, true, "Last gateway_seq of these events"),
    column("received_at", Timestamp, false, "When Kafka received the total, UTC"),
];

const SUSPENSE_RESOLUTIONS: [Column; 10] = [
    column("suspense_partition", Int32, false, "kafka_partition of the row of suspense"),
    column("suspense_offset", Int64, false, "kafka_offset of the row of suspense"),
    column("suspense_batch_index", Int32, false, "batch_index of the row of suspense"),
    column("resolution", Text, false, "recycled or written_off"),
    column(
        "outcome",
        Text,
        true,
        "Of a recycled row: accepted; duplicate where its identity had come meanwhile; corrected where it was a correction that was carried out",
    ),
    column("reason", Text, false, "Why the event was held back"),
    column("why", Text, true, "Why it was written off"),
    column("resolved_by", Text, false, "Who recycled it, or proposed to write it off"),
    column("approved_by", Text, true, "Who approved the write-off: another person"),
    column("at", Timestamp, false, "When Kafka received the record that resolved it, UTC"),
];

impl Table {
    /// Every table that the stream writes.
    pub const ALL: [Self; 8] = [
        Self::UsageEvents,
        Self::UsageBySubscriber,
        Self::UsageByModel,
        Self::Suspense,
        Self::QuotaLedger,
        Self::Alerts,
        Self::ControlTotals,
        Self::SuspenseResolutions,
    ];

    /// Name in SQL and below `tables/`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UsageEvents => "usage_events",
            Self::UsageBySubscriber => "usage_by_subscriber",
            Self::UsageByModel => "usage_by_model",
            Self::Suspense => "suspense",
            Self::QuotaLedger => "quota_ledger",
            Self::Alerts => "alerts",
            Self::ControlTotals => "control_totals",
            Self::SuspenseResolutions => "suspense_resolutions",
        }
    }

    /// The table of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// What a SQL client shows.
    pub const fn comment(self) -> &'static str {
        match self {
            Self::UsageEvents => "One row for each accepted usage event, exactly once",
            Self::UsageBySubscriber => {
                "Usage by account, subscriber and model in windows; rows are additive, so SUM is the truth"
            }
            Self::UsageByModel => {
                "Usage by model, vendor, supplier, region, channel and tier in windows; rows are additive, so SUM is the truth"
            }
            Self::Suspense => {
                "Events held back with a reason, never dropped and never priced at zero"
            }
            Self::QuotaLedger => "One row for each debit or credit of a bucket, exactly once",
            Self::Alerts => "One row for each alert, exactly once, superseded ones too",
            Self::ControlTotals => {
                "What each gateway says it sent in an hour; settlement.completeness compares it"
            }
            Self::SuspenseResolutions => {
                "One row for each held-back event that was recycled or written off, exactly once, with its tokens"
            }
        }
    }

    /// Columns that partition the table's files.
    pub const fn partition_columns(self) -> &'static [&'static str] {
        match self {
            Self::UsageEvents => &["day"],
            Self::UsageBySubscriber
            | Self::UsageByModel
            | Self::Suspense
            | Self::QuotaLedger
            | Self::Alerts
            | Self::ControlTotals
            | Self::SuspenseResolutions => &[],
        }
    }

    /// Columns in order.
    pub fn columns(self) -> Vec<Column> {
        let classes = TokenClass::ALL
            .into_iter()
            .map(|class| column(class.name(), Int64, false, class.comment()));
        match self {
            Self::UsageEvents => EVENT_HEAD.into_iter().chain(classes).chain(EVENT_TAIL).collect(),
            Self::UsageBySubscriber => WINDOW_HEAD
                .into_iter()
                .chain(SUBSCRIBER_KEY)
                .chain(classes)
                .chain(WINDOW_TAIL)
                .collect(),
            Self::UsageByModel => {
                WINDOW_HEAD.into_iter().chain(MODEL_KEY).chain(classes).chain(WINDOW_TAIL).collect()
            }
            Self::Suspense => SUSPENSE.to_vec(),
            Self::QuotaLedger => QUOTA_LEDGER.into_iter().chain(POSITION).collect(),
            Self::Alerts => ALERTS.into_iter().chain(POSITION).chain(ALERTS_SINCE).collect(),
            Self::ControlTotals => {
                CONTROL_TOTALS.into_iter().chain(classes).chain(POSITION).collect()
            }
            Self::SuspenseResolutions => {
                SUSPENSE_RESOLUTIONS.into_iter().chain(classes).chain(POSITION).collect()
            }
        }
    }

    /// The Arrow schema, comments in each field's metadata under `comment`.
    pub fn arrow_schema(self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns()
            .into_iter()
            .map(|c| {
                Field::new(c.name, c.column_type.arrow(), c.nullable)
                    .with_metadata([("comment".to_owned(), c.comment.to_owned())].into())
            })
            .collect();
        Arc::new(Schema::new_with_metadata(
            fields,
            [("comment".to_owned(), self.comment().to_owned())].into(),
        ))
    }
}
