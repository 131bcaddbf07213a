//! SQL over the tables: one pinned version of all of them for each query, read-only, within
//! limits, over HTTP, the PostgreSQL wire and Arrow Flight SQL.

mod alert_window;
mod answer;
mod answer_rows;
mod audit_entry;
mod audit_log;
mod audit_store;
mod audit_table;
mod books_rows;
mod books_schema;
mod budget_table;
mod budget_view;
mod catalog;
mod checked_arithmetic;
mod checked_sum;
mod chinese_comments;
mod comments;
mod compared_rows;
mod connections;
mod corrections;
mod encode;
mod engine;
mod error;
mod exhaustion;
mod file_statistics;
mod filter_pushdown;
mod flight_sql;
mod gathered_table;
mod guard;
mod http_sql;
mod instant_sql;
mod ledger_view;
mod limits;
mod metrics;
mod people_rows;
mod period_rows;
mod pg_settings;
mod pg_sign_in;
mod pg_wire;
mod phone_bill;
mod pin;
mod provider;
mod reference_rows;
mod reference_schema;
mod removed_days;
mod resends;
mod restricted_table;
mod rolled_table;
mod scanned_rows;
mod session;
mod settle;
mod shanghai_calendar;
mod sight;
mod stop;
mod stream_time;
mod suspense;
mod suspense_table;
mod system_schema;
mod terminal_table;
mod terms_rows;
mod usage_by_epoch;
mod verify;
mod views;

pub use answer::{Answer, Rows};
pub use books_schema::BooksTable;
pub use budget_view::{BudgetSource, BudgetView};
pub use checked_arithmetic::CheckedArithmetic;
pub use checked_sum::checked_sum;
pub use corrections::AcceptedEvent;
pub use encode::{Encoder, Format, render_bytes};
pub use engine::{EngineOptions, QueryEngine};
pub use error::{ErrorKind, QueryError};
pub use flight_sql::flight_router;
pub use guard::{QUERY_MAX_BYTES, allowed_functions};
pub use http_sql::{VERSIONS_HEADER, router};
pub use instant_sql::instant_sql;
pub use ledger_view::{LedgerView, PartitionLedger};
pub use limits::Limits;
pub use pg_sign_in::PgDoor;
pub use pg_wire::PgServer;
pub use phone_bill::{IssuedBill, PhoneBill, TakenReturn, WaitingLine};
pub use pin::parse_as_of;
pub use provider::PinnedTableProvider;
pub use reference_schema::ReferenceTable;
pub use removed_days::RemovedRows;
pub use resends::{Resends, resends};
pub use scanned_rows::Scanned;
pub use settle::{
    CloseOutcome, Closed, Decided, HowResolved, InReview, IssuedStatement, LineEvents,
    NewAdjustment, NewDispute, OtherReading, PeriodReRated, Settlement, SettlementTerms,
    TermsOrigin, UnratedEvents,
};
pub use suspense::{
    Approval, HeldFilter, HeldRow, HeldRows, HeldStatus, Proposal, ProposedRow, StoredProposal,
    WriteOffs,
};
pub use system_schema::SystemTable;
pub use terminal_table::render_table;
pub use verify::{Check, Report, Truth, TruthModel, VerifyOptions, verify};
pub use views::View;
