//! A table that is kept in memory and committed to: the state and the log it was read from.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use tally_schemas::Table;
use uuid::Uuid;

use crate::action::{Action, Metadata, WRITER_VERSION};
use crate::delta_log::{CommitOutcome, DeltaLog};
use crate::error::TablesError;
use crate::table_state::{StatsPolicy, TableState};

/// How often a commit is tried again after others were faster.
const ATTEMPTS: u32 = 30;
/// First pause between attempts; it grows with each.
const PAUSE_MS: u64 = 5;

/// A table and its log.
#[derive(Debug)]
pub(crate) struct TableLog {
    log: DeltaLog,
    policy: StatsPolicy,
    state: Option<TableState>,
}

impl TableLog {
    /// A table that is read at its first use.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, table: Table, policy: StatsPolicy) -> Self {
        Self { log: DeltaLog::new(store, table), policy, state: None }
    }

    pub(crate) fn log(&self) -> &DeltaLog {
        &self.log
    }

    pub(crate) fn table(&self) -> Table {
        self.log.table()
    }

    /// The state as last read, read now where it was not yet.
    pub(crate) async fn state(&mut self) -> Result<&mut TableState, TablesError> {
        let state = match self.state.take() {
            Some(state) => state,
            None => self.log.load(self.policy).await?,
        };
        Ok(self.state.insert(state))
    }

    /// The latest state.
    pub(crate) async fn refresh(&mut self) -> Result<&mut TableState, TablesError> {
        let state = match self.state.take() {
            Some(mut state) => {
                self.log.refresh(&mut state).await?;
                state
            }
            None => self.log.load(self.policy).await?,
        };
        Ok(self.state.insert(state))
    }

    /// Creates the table where it does not exist. Two creators are harmless: one version 0 wins.
    pub(crate) async fn create(&mut self, now_ms: i64) -> Result<(), TablesError> {
        let table = self.table();
        self.transact("CREATE TABLE", now_ms, |state| {
            if state.version().is_some() {
                return Ok(None);
            }
            let metadata = Metadata::new(table, Uuid::new_v4().to_string(), now_ms)?;
            Ok(Some(vec![Action::protocol(WRITER_VERSION), Action::metadata(metadata)]))
        })
        .await?;
        self.log.note_made().await
    }

    /// Commits what `build` makes of a state as the very next version of that state, and of no
    /// other: where another commit takes the version, the log is read on and `build` asked again.
    /// `build` answers `None` where there is nothing (left) to do. Returns the version.
    ///
    /// # Errors
    /// `Retry` where the outcome is not known, others are faster, or the table is moved away;
    /// asking again is safe where `build` finds in the state what has been done.
    pub(crate) async fn transact(
        &mut self,
        operation: &str,
        now_ms: i64,
        mut build: impl FnMut(&TableState) -> Result<Option<Vec<Action>>, TablesError>,
    ) -> Result<Option<u64>, TablesError> {
        for attempt in 0..ATTEMPTS {
            let state = self.state().await?;
            state.check_writable()?;
            let Some(body) = build(state)? else { return Ok(None) };
            let (read_version, version) = (state.version(), state.next_version());
            if read_version.is_some() {
                // A commit would make a second table where this one was.
                self.log.check_there().await?;
            }
            let unique_id = Uuid::new_v4().to_string();
            let mut actions =
                vec![Action::commit_info(operation, now_ms, read_version, &unique_id)];
            actions.extend(body);
            match self.log.commit(version, &actions).await? {
                CommitOutcome::Taken => {
                    let pause_ms = PAUSE_MS * u64::from(attempt);
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    self.refresh().await?;
                }
                CommitOutcome::Committed => {
                    // Until it is known that the version was free, and not one of long ago that
                    // log clean-up had removed, the state is not to be trusted.
                    let Some(mut state) = self.state.take() else { continue };
                    state.apply(version, &actions)?;
                    if self.is_overtaken(version).await? {
                        continue;
                    }
                    self.state = Some(state);
                    return Ok(Some(version));
                }
            }
        }
        Err(TablesError::Contended { table: self.table().name(), attempts: ATTEMPTS })
    }

    /// Whether a checkpoint is at or above a version that was just committed.
    async fn is_overtaken(&self, version: u64) -> Result<bool, TablesError> {
        Ok(self.log.last_checkpoint().await?.is_some_and(|hint| hint.version >= version))
    }
}
