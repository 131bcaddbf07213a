//! Checkpoints: read with the Parquet reader of this crate, written by the Delta library.

use std::sync::Arc;

use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use deltalake_core::DeltaTable;
use deltalake_core::logstore::{StorageConfig, default_logstore};
use object_store::ObjectStore;
use object_store::prefix::PrefixStore;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use tally_schemas::Table;
use url::Url;

use crate::action::{Action, decode_commit};
use crate::delta_log::table_root;
use crate::error::TablesError;

/// Columns of a checkpoint that matter here.
const COLUMNS: [&str; 11] = [
    "protocol",
    "metaData",
    "txn",
    "remove",
    "add.path",
    "add.partitionValues",
    "add.size",
    "add.modificationTime",
    "add.dataChange",
    "add.stats",
    "add.tags",
];

/// What `_last_checkpoint` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct CheckpointHint {
    pub(crate) version: u64,
    #[serde(default)]
    pub(crate) parts: Option<u32>,
}

impl CheckpointHint {
    /// A checkpoint in one file.
    pub(crate) fn single(version: u64) -> Self {
        Self { version, parts: None }
    }
}

/// Name of a part of a checkpoint below `_delta_log/`.
pub(crate) fn checkpoint_path(hint: &CheckpointHint, part: u32) -> String {
    let version = hint.version;
    match hint.parts {
        None => format!("{version:020}.checkpoint.parquet"),
        Some(parts) => format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet"),
    }
}

/// The actions of a checkpoint. Each row is one action, so a row in JSON is a line of a commit.
pub(crate) async fn read_checkpoint(
    bytes: Bytes,
    place: String,
) -> Result<Vec<Action>, TablesError> {
    tokio::task::spawn_blocking(move || {
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
        let columns = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
        let mut actions = Vec::new();
        for batch in builder.with_projection(columns).build()? {
            let mut writer = LineDelimitedWriter::new(Vec::new());
            writer.write(&batch?)?;
            writer.finish()?;
            actions.extend(decode_commit(&writer.into_inner(), &place)?);
        }
        Ok(actions)
    })
    .await?
}

/// Writes a checkpoint of `version` and points `_last_checkpoint` at it.
///
/// # Errors
/// `Retry`: a checkpoint is never needed for correctness, so whatever failed is tried again.
pub(crate) async fn write_checkpoint(
    store: Arc<dyn ObjectStore>,
    table: Table,
    version: u64,
) -> Result<(), TablesError> {
    // Every path goes through our own store; the name only makes the library sort its listings,
    // as it does for S3 directory buckets, because those of a local folder are not sorted.
    let url = Url::parse(&format!("memory://tally--x-s3/tables/{}/", table.name()))
        .map_err(|e| TablesError::Internal(e.to_string()))?;
    let below = Arc::new(PrefixStore::new(Arc::clone(&store), table_root(table)));
    let log_store = default_logstore(below, store, &url, &StorageConfig::default());
    let failed = |error| TablesError::checkpoint(table.name(), &error);
    let mut delta = DeltaTable::new(log_store);
    delta.load_version(version).await.map_err(failed)?;
    deltalake_core::checkpoints::create_checkpoint(&delta, None).await.map_err(failed)
}
