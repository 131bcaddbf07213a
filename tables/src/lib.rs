//! The Delta tables of Tally: created, published to from the epoch ledger, pinned for queries,
//! and kept in order.
//!
//! - [`Publisher`]: adds the files of committed ledger entries to the tables, each exactly once.
//! - [`TableSet`], [`PinnedTables`]: one version of every table, with statistics to prune by.
//! - [`Janitor`]: checkpoints, compaction, and removal of what nobody can need any more.
//!
//! The tables are plain Delta (reader 1, writer 2: no deletion vectors, no column mapping), so
//! that Spark, DuckDB, Polars and Trino read them. Commits are made here, by a conditional put of
//! exactly the version after the state that was checked; see [`Publisher`] and
//! `docs/adr/`. Files become visible in two steps: the ledger entry that lists them is the commit
//! of the epoch, publication then makes them readable, so readers see only what the ledger
//! lists (I10).

mod action;
mod checkpoint;
mod delta_log;
mod error;
mod gateway_runs;
mod janitor;
mod ledger_reader;
mod metadata;
mod parts;
mod publish;
mod removed_file;
mod removed_sums;
mod retention_record;
mod roll_up;
mod snapshot;
mod stats;
mod table_log;
mod table_state;

pub use delta_log::gone_tables;
pub use error::{ErrorKind, TablesError};
pub use janitor::{Janitor, JanitorReport, JanitorSettings};
pub use parts::{Part, Parts};
pub use publish::{PublishReport, Publisher};
pub use removed_file::RemovedFile;
pub use retention_record::{
    LeftRollUp, Removal, RemovedData, RemovedSums, RetentionRecord, StoredRecord,
    retention_record_path, retention_records, sha256_hex,
};
pub use roll_up::is_roll_up_of;
pub use snapshot::{AsOf, PinnedTable, PinnedTables, TableSet};
pub use stats::{ColumnStats, StatValue, date_days};
pub use table_state::PinnedFile;
