//! The nouns of Tally: the usage event in JSON and protobuf, token classes, table schemas, the
//! ledger's wire format, configuration. Nothing here knows Kafka, HTTP or storage.
//!
//! - [`UsageEvent`], [`parse_event`]: what a gateway reports, read in one pass with every defect.
//! - [`TokenClass`], [`UsageCounts`]: what is counted; [`Currency`]: what it is paid in.
//! - [`Table`]: the tables and their columns.
//! - [`LedgerEntry`]: one committed epoch; [`ModelIncrement`]: what it adds by model and day.
//! - [`GatewayTotal`]: what a gateway says it sent in an hour.
//! - [`Resolution`]: takes a held-back row out of suspense.
//! - [`Correction`]: takes back what an event was counted, rated and charged.
//! - [`AlertMessage`]: one alert as receivers get it.
//! - [`partition_of`]: which partition an account belongs to.
//! - [`Config`]: every setting, with its origin.
//! - [`in_full`]: an error with what is behind it.

mod alert_message;
mod byte_words;
mod causes;
mod config;
mod config_load;
mod correction;
mod event_error;
mod event_json;
mod gateway_total;
mod ledger_entry;
mod model_increments;
mod money;
mod partition;
mod partition_move;
mod plain_event;
mod recycling;
mod reference_version;
mod resolution;
mod roll_up;
mod s3_options;
mod tables;
mod token_class;
mod usage_event;
mod usage_proto;
mod webhook_config;

pub use alert_message::{
    ALERT_JSON_SCHEMA, AlertEvent, AlertMessage, BUDGET_KINDS, LogPosition, SentAlert, Whole,
};
pub use causes::{in_full, with_causes};
pub use config::{
    AggregateConfig, AlertsConfig, AuthConfig, BudgetsConfig, Config, ConfigError, DocumentsConfig,
    HttpConfig, IngestConfig, LogConfig, Origin, QueryConfig, QuotaConfig, Setting, StoreConfig,
    TlsConfig, keep_events_defect,
};
pub use correction::{
    CORRECT, Charge, ChargeKind, Correction, CorrectionKind, CorrectionRequest, Corrects,
    StoredRating, reversal_id,
};
pub use event_error::{EventError, EventErrorCode, SuspenseReason};
pub use event_json::{
    EventSeed, FIELDS as EVENT_FIELDS, LABELS_MAX, ParsedEvent, TEXT_MAX_BYTES, check_event,
    is_phone_number, parse_event,
};
pub use gateway_total::{CONTROL_TOTAL, GatewayTotal};
pub use ledger_entry::{
    ControlTotals, CurrencySums, DataFile, EntryKind, Flow, LEDGER_FORMAT, LEDGER_FORMAT_FIRST,
    LedgerEntry, LedgerFloor, LogClock, LogPlace, MoveTarget, Offsets, RatedTotals, StateFile,
    StateManifest, UsageSums, entry_path, floor_path,
};
pub use model_increments::{
    EpochIncrements, ModelDay, ModelIncrement, ModelSums, ShanghaiDay, SourcePosition,
};
pub use money::{Amounts, Currency, PICO, decimal_text};
pub use partition::{murmur2, partition_of};
pub use partition_move::{
    LedgerEnd, MoveDecision, MoveIntent, MoveOutcome, decision_path, intent_path,
};
pub use recycling::{Recycling, SEND_COMMAND_AGAIN};
pub use reference_version::{BadReferenceVersion, ReferenceVersion};
pub use resolution::{
    HeldPosition, NotAPosition, RECYCLE, Recycle, Resolution, WRITE_OFF, WriteOff,
};
pub use roll_up::{RollUp, RolledColumn, RolledFrom, RolledRows};
pub use s3_options::S3_OPTIONS;
pub use tables::{Column, ColumnType, Table};
pub use token_class::{CLASS_COUNT, COUNT_MAX, TokenClass, UsageCounts};
pub use usage_event::{UsageEvent, UsageSource};
pub use usage_proto::{
    CorrectionKindCode, CorrectsMessage, Usage, UsageBatch, UsageEventMessage, UsageSourceCode,
    check_message, note_message_corrects, usage_class_of, usage_source_of,
};
pub use webhook_config::{Secret, WebhookConfig};

/// The JSON Schema (2020-12) of the usage event, as it is published at
/// `GET /v1/schema/usage-event.json`. It says what JSON Schema can say; [`parse_event`] is the rule.
pub const USAGE_EVENT_JSON_SCHEMA: &str = include_str!("../json/usage-event.v1.schema.json");

/// The JSON Schema (2020-12) of the records of `quota.status`, as it is published at
/// `GET /v1/schema/quota-status.json`.
pub const QUOTA_STATUS_JSON_SCHEMA: &str = include_str!("../json/quota-status.v1.schema.json");
