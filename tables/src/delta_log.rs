//! One table's Delta log in the object store: reading it forward by name, and committing exactly
//! one version with a conditional put.
//!
//! A commit is created at the version after the state that its actions were derived from, or not
//! at all. Nothing is refreshed between the check and the commit, so what was checked is what is
//! committed against (I2; compare delta-rs#3515). The tail is read by GET of the next version,
//! never by LIST, so that a stale listing cannot hide a commit (R8); the only listing is that of
//! an older version for a query of the past.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{
    Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path,
};
use tally_aggregate::read_object;
use tally_schemas::Table;

use crate::action::{Action, decode_commit, encode_commit};
use crate::checkpoint::{CheckpointHint, checkpoint_path, read_checkpoint};
use crate::error::{ErrorKind, TablesError};
use crate::table_state::{StatsPolicy, TableState};

/// How many commits are fetched ahead while a tail is read.
const READ_AHEAD: usize = 8;
/// How often a log is read anew because it was cleaned up meanwhile.
const LOAD_ATTEMPTS: u32 = 5;

/// What became of an attempt to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitOutcome {
    /// The version is ours.
    Committed,
    /// Somebody else has the version.
    Taken,
}

/// A commit file or checkpoint as listed.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    pub(crate) version: u64,
    pub(crate) kind: LogFileKind,
    pub(crate) meta: ObjectMeta,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFileKind {
    Commit,
    Checkpoint,
}

/// The log of one table.
#[derive(Debug, Clone)]
pub(crate) struct DeltaLog {
    store: Arc<dyn ObjectStore>,
    table: Table,
}

impl DeltaLog {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, table: Table) -> Self {
        Self { store, table }
    }

    pub(crate) fn table(&self) -> Table {
        self.table
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Root of the table in the store.
    pub(crate) fn root(&self) -> Path {
        table_root(self.table)
    }

    /// Folder of the log in the store.
    pub(crate) fn folder(&self) -> Path {
        self.root().join("_delta_log")
    }

    fn commit_path(&self, version: u64) -> Path {
        self.folder().join(format!("{version:020}.json"))
    }

    /// The latest state. A table that does not exist has no version.
    ///
    /// # Errors
    /// `Retry` where the log is cleaned up faster than it can be read, or the table was made and is
    /// not where it was.
    pub(crate) async fn load(&self, policy: StatsPolicy) -> Result<TableState, TablesError> {
        for _ in 0..LOAD_ATTEMPTS {
            let state = self.load_once(policy).await?;
            if state.version().is_none() && self.was_made().await? {
                // It may have been made since it was looked for.
                self.check_there().await?;
                continue;
            }
            if !self.is_behind(&state).await? {
                return Ok(state);
            }
        }
        Err(TablesError::Contended { table: self.table.name(), attempts: LOAD_ATTEMPTS })
    }

    async fn load_once(&self, policy: StatsPolicy) -> Result<TableState, TablesError> {
        let mut state = TableState::empty(self.table, policy);
        if let Some(hint) = self.last_checkpoint().await? {
            match self.read_checkpoint(&mut state, &hint).await {
                Ok(()) => {}
                // The hint may be older than the log clean-up of another janitor.
                Err(TablesError::Store(error))
                    if matches!(error.as_ref(), StoreError::NotFound { .. }) =>
                {
                    state = TableState::empty(self.table, policy);
                    if let Some(checkpoint) = self.checkpoints().await?.pop() {
                        let hint = CheckpointHint::single(checkpoint.version);
                        self.read_checkpoint(&mut state, &hint).await?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.read_tail(&mut state, None).await?;
        Ok(state)
    }

    /// Brings a state up to date. A state that has fallen behind the log's clean-up is loaded
    /// anew.
    pub(crate) async fn refresh(&self, state: &mut TableState) -> Result<(), TablesError> {
        let (_, hint) = futures::try_join!(self.read_tail(state, None), self.last_checkpoint())?;
        if is_behind(state, hint) {
            *state = self.load(state.policy()).await?;
        }
        Ok(())
    }

    /// The state at `version`.
    ///
    /// # Errors
    /// `Invalid` where the version does not exist or is no longer kept.
    pub(crate) async fn load_version(
        &self,
        policy: StatsPolicy,
        version: u64,
    ) -> Result<TableState, TablesError> {
        let mut state = TableState::empty(self.table, policy);
        let checkpoints = self.checkpoints().await?;
        if let Some(checkpoint) = checkpoints.iter().rfind(|c| c.version <= version) {
            let hint = CheckpointHint::single(checkpoint.version);
            self.read_checkpoint(&mut state, &hint).await?;
        }
        self.read_tail(&mut state, Some(version)).await?;
        if state.version() == Some(version) {
            return Ok(state);
        }
        Err(TablesError::Invalid(format!(
            "version {version} of table {} does not exist, or is no longer kept",
            self.table.name()
        )))
    }

    /// Tries to create `version` with these actions. A reply that was lost, and a store that
    /// retries by itself and then meets its own commit, are resolved by reading back (R5): equal
    /// bytes are ours, as every commit carries a unique id.
    ///
    /// # Errors
    /// `Retry` where it is not known whether the commit stands. The caller reads the log again
    /// and finds out: what it wanted to commit is then either there or still to be done.
    pub(crate) async fn commit(
        &self,
        version: u64,
        actions: &[Action],
    ) -> Result<CommitOutcome, TablesError> {
        let bytes = Bytes::from(encode_commit(actions)?);
        let path = self.commit_path(version);
        let options = PutOptions::from(PutMode::Create);
        let Err(error) = self.store.put_opts(&path, bytes.clone().into(), options).await else {
            return Ok(CommitOutcome::Committed);
        };
        match self.read_commit(version).await? {
            Some(stored) if stored == bytes => Ok(CommitOutcome::Committed),
            Some(_) => Ok(CommitOutcome::Taken),
            None => Err(error.into()),
        }
    }

    /// Notes beside the table that it was made, so that one that is moved away is not taken for one
    /// that is yet to be made: it would begin anew, and what it had would be missing in silence.
    pub(crate) async fn note_made(&self) -> Result<(), TablesError> {
        if self.was_made().await? {
            return Ok(());
        }
        let words = format!("table {} was made and is not made again\n", self.table.name());
        self.store.put(&made_path(self.table), words.into()).await?;
        Ok(())
    }

    async fn was_made(&self) -> Result<bool, TablesError> {
        self.exists(&made_path(self.table)).await
    }

    /// Refuses a log that is not there. Only commits below a checkpoint are ever removed, so one
    /// without a checkpoint has its first version.
    ///
    /// # Errors
    /// `Gone` where it has neither.
    pub(crate) async fn check_there(&self) -> Result<(), TablesError> {
        if self.last_checkpoint().await?.is_some() || self.exists(&self.commit_path(0)).await? {
            return Ok(());
        }
        // Between the two looks the first checkpoint may have been written and commits removed.
        if self.last_checkpoint().await?.is_some() {
            return Ok(());
        }
        Err(TablesError::Gone { table: self.table.name() })
    }

    async fn exists(&self, path: &Path) -> Result<bool, TablesError> {
        match self.store.head(path).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a checkpoint is ahead of the state. Commits below a checkpoint may have been
    /// removed, so such a state must not be trusted: its next version may look free although it
    /// was taken long ago.
    pub(crate) async fn is_behind(&self, state: &TableState) -> Result<bool, TablesError> {
        Ok(is_behind(state, self.last_checkpoint().await?))
    }

    /// The newest checkpoint as `_last_checkpoint` has it.
    pub(crate) async fn last_checkpoint(&self) -> Result<Option<CheckpointHint>, TablesError> {
        let path = self.folder().join("_last_checkpoint");
        let Some(bytes) = self.get(&path).await? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| TablesError::Damaged(format!("{path}: {e}")))
    }

    async fn read_checkpoint(
        &self,
        state: &mut TableState,
        hint: &CheckpointHint,
    ) -> Result<(), TablesError> {
        let mut all = Vec::new();
        for part in 1..=hint.parts.unwrap_or(1) {
            let path = self.folder().join(checkpoint_path(hint, part));
            let bytes = read_object(self.store.as_ref(), &path).await?;
            all.extend(read_checkpoint(bytes, path.to_string()).await?);
        }
        state.apply(hint.version, &all)
    }

    /// Applies the commits after the state, up to `last` where given. As long as some can be read,
    /// those behind them are read again: where the store fails now and then, nobody reads a long
    /// log in one go.
    async fn read_tail(
        &self,
        state: &mut TableState,
        last: Option<u64>,
    ) -> Result<(), TablesError> {
        loop {
            let before = state.next_version();
            match self.read_commits(state, last).await {
                Err(error) if error.kind() == ErrorKind::Retry && state.next_version() > before => {
                }
                outcome => return outcome,
            }
        }
    }

    async fn read_commits(
        &self,
        state: &mut TableState,
        last: Option<u64>,
    ) -> Result<(), TablesError> {
        let end = last.map_or(u64::MAX, |last| last.saturating_add(1));
        // The first one alone: mostly there is nothing new.
        let first = state.next_version();
        if first >= end || !self.apply_commit(state, first).await? {
            return Ok(());
        }
        let mut ahead = futures::stream::iter(first + 1..end)
            .map(|version| async move {
                Ok::<_, TablesError>((version, self.read_commit(version).await?))
            })
            .buffered(READ_AHEAD);
        while let Some((version, bytes)) = ahead.try_next().await? {
            let Some(bytes) = bytes else { break };
            self.apply_bytes(state, version, &bytes)?;
        }
        Ok(())
    }

    async fn apply_commit(
        &self,
        state: &mut TableState,
        version: u64,
    ) -> Result<bool, TablesError> {
        let Some(bytes) = self.read_commit(version).await? else { return Ok(false) };
        self.apply_bytes(state, version, &bytes)?;
        Ok(true)
    }

    fn apply_bytes(
        &self,
        state: &mut TableState,
        version: u64,
        bytes: &[u8],
    ) -> Result<(), TablesError> {
        let actions = decode_commit(bytes, self.commit_path(version).as_ref())?;
        state.apply(version, &actions)
    }

    async fn read_commit(&self, version: u64) -> Result<Option<Bytes>, TablesError> {
        self.get(&self.commit_path(version)).await
    }

    async fn get(&self, path: &Path) -> Result<Option<Bytes>, TablesError> {
        match read_object(self.store.as_ref(), path).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Commits and checkpoints as listed, by version.
    pub(crate) async fn list(&self) -> Result<Vec<LogFile>, TablesError> {
        let folder = self.folder();
        let mut files: Vec<LogFile> = self
            .store
            .list(Some(&folder))
            .try_filter_map(|meta| async move { Ok(log_file(meta)) })
            .try_collect()
            .await?;
        files.sort_by_key(|file| file.version);
        Ok(files)
    }

    /// Whole checkpoints in one file, by version.
    async fn checkpoints(&self) -> Result<Vec<LogFile>, TablesError> {
        let mut files = self.list().await?;
        files.retain(|file| file.kind == LogFileKind::Checkpoint);
        Ok(files)
    }
}

fn is_behind(state: &TableState, hint: Option<CheckpointHint>) -> bool {
    hint.is_some_and(|hint| state.version().is_none_or(|version| hint.version > version))
}

/// Root of a table below the store's.
pub(crate) fn table_root(table: Table) -> Path {
    Path::from_iter(["tables", table.name()])
}

/// What says that a table was made; not below the table, with which it would be moved.
fn made_path(table: Table) -> Path {
    Path::from_iter(["made", table.name()])
}

/// The tables of a store that were made and are not where they were.
///
/// # Errors
/// `Retry` while the store is away.
pub async fn gone_tables(store: &Arc<dyn ObjectStore>) -> Result<Vec<Table>, TablesError> {
    let looks = Table::ALL.into_iter().map(|table| async move {
        let log = DeltaLog::new(Arc::clone(store), table);
        if !log.was_made().await? {
            return Ok(None);
        }
        match log.check_there().await {
            Ok(()) => Ok(None),
            Err(TablesError::Gone { .. }) => Ok(Some(table)),
            Err(error) => Err(error),
        }
    });
    let found: Vec<Option<Table>> = futures::future::try_join_all(looks).await?;
    Ok(found.into_iter().flatten().collect())
}

fn log_file(meta: ObjectMeta) -> Option<LogFile> {
    let (version, rest) = meta.location.filename()?.split_once('.')?;
    let kind = match rest {
        "json" => LogFileKind::Commit,
        "checkpoint.parquet" => LogFileKind::Checkpoint,
        _ => return None,
    };
    if version.len() != 20 {
        return None;
    }
    Some(LogFile { version: version.parse().ok()?, kind, meta })
}
