//! What a Delta log says at one version: a pure replay of its actions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tally_schemas::{RollUp, Table};

use crate::action::{
    Action, Add, Metadata, READER_VERSION, Remove, WRITER_VERSION, WRITER_VERSION_OF_REMOVAL,
    decode_path,
};
use crate::error::TablesError;
use crate::removed_file::{RemovedFile, removed_tag};
use crate::stats::{ColumnStats, FileStats};

/// A data file of a pinned table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedFile {
    /// Path below the table's root, decoded.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Rows, `None` where the writer did not say.
    pub rows: Option<u64>,
    /// Partition values as Delta stores them, such as `day` → `2026-11-22`; `None` for null.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// When the file was committed, milliseconds UTC.
    pub modified_at_ms: i64,
    columns: Box<[(&'static str, ColumnStats)]>,
    roll_ups: Box<[(RollUp, u64)]>,
    removed: Option<Arc<RemovedFile>>,
}

impl PinnedFile {
    /// What is known of a column: `None` where nothing is.
    pub fn column_stats(&self, column: &str) -> Option<&ColumnStats> {
        self.columns.iter().find(|(name, _)| *name == column).map(|(_, stats)| stats)
    }

    /// What was removed, of a file that stands in the place of one that retention has removed. It
    /// has no rows; its column statistics are those of the rows that were there.
    pub fn removed(&self) -> Option<&RemovedFile> {
        self.removed.as_deref()
    }

    /// Bytes of a roll-up of the file; `None` where it has none.
    pub fn roll_up_bytes(&self, roll_up: RollUp) -> Option<u64> {
        self.roll_ups.iter().find(|(of, _)| *of == roll_up).map(|(_, bytes)| *bytes)
    }

    /// The roll-up as a file of its own, of which nothing but its size is known.
    pub(crate) fn rolled_up(&self, roll_up: RollUp) -> Option<Self> {
        Some(Self {
            path: roll_up.path(&self.path),
            size: self.roll_up_bytes(roll_up)?,
            rows: None,
            partition_values: self.partition_values.clone(),
            modified_at_ms: self.modified_at_ms,
            columns: Box::default(),
            roll_ups: Box::default(),
            removed: None,
        })
    }

    pub(crate) fn encoded_path(&self) -> String {
        crate::action::encode_path(&self.path)
    }
}

/// Whether replay keeps column statistics: readers prune by them, committers only count files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatsPolicy {
    Parse,
    Skip,
}

/// A file that was removed, kept until the retention has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) removed_at_ms: i64,
}

/// The table at one version.
#[derive(Debug, Clone)]
pub(crate) struct TableState {
    table: Table,
    policy: StatsPolicy,
    version: Option<u64>,
    metadata: Option<Metadata>,
    min_writer_version: u32,
    files: BTreeMap<String, Arc<PinnedFile>>,
    tombstones: HashMap<String, Tombstone>,
    txns: HashMap<String, i64>,
}

impl TableState {
    /// Before version 0.
    pub(crate) fn empty(table: Table, policy: StatsPolicy) -> Self {
        Self {
            table,
            policy,
            version: None,
            metadata: None,
            min_writer_version: WRITER_VERSION,
            files: BTreeMap::new(),
            tombstones: HashMap::new(),
            txns: HashMap::new(),
        }
    }

    /// The version, `None` for a table that does not exist.
    pub(crate) fn version(&self) -> Option<u64> {
        self.version
    }

    /// The version that the next commit creates.
    pub(crate) fn next_version(&self) -> u64 {
        self.version.map_or(0, |version| version + 1)
    }

    pub(crate) fn policy(&self) -> StatsPolicy {
        self.policy
    }

    pub(crate) fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// Live files by path.
    pub(crate) fn files(&self) -> &BTreeMap<String, Arc<PinnedFile>> {
        &self.files
    }

    /// Removed files that may still be read by a query of an older version.
    pub(crate) fn tombstones(&self) -> &HashMap<String, Tombstone> {
        &self.tombstones
    }

    /// The last committed versions of all applications.
    pub(crate) fn txns(&self) -> &HashMap<String, i64> {
        &self.txns
    }

    /// The last committed version of an application.
    pub(crate) fn txn(&self, app_id: &str) -> Option<i64> {
        self.txns.get(app_id).copied()
    }

    /// # Errors
    /// `Invalid` for a table whose protocol asks for a newer writer, or that somebody has given
    /// constraints.
    pub(crate) fn check_writable(&self) -> Result<(), TablesError> {
        let name = self.table.name();
        if self.min_writer_version > WRITER_VERSION_OF_REMOVAL {
            return Err(TablesError::Invalid(format!(
                "table {name} asks for a newer Delta writer than {WRITER_VERSION_OF_REMOVAL}: upgrade"
            )));
        }
        let configuration = self.metadata.iter().flat_map(|metadata| metadata.configuration.keys());
        match configuration.into_iter().find(|key| key.starts_with("delta.constraints.")) {
            Some(key) => Err(TablesError::Invalid(format!("table {name} has {key}: drop it"))),
            None => Ok(()),
        }
    }

    /// Whether builds that know nothing of removed days refuse to write to the table.
    pub(crate) fn says_removed(&self) -> bool {
        self.min_writer_version >= WRITER_VERSION_OF_REMOVAL
    }

    /// Applies the commit of `version`, or a checkpoint, to the version before it.
    ///
    /// # Errors
    /// `Invalid` for a table that asks for a newer reader; `Data` for actions that make no sense.
    pub(crate) fn apply(&mut self, version: u64, actions: &[Action]) -> Result<(), TablesError> {
        // In Delta, the order of lines within a commit does not matter; a path that is removed
        // and added in one commit is live.
        for action in actions {
            if let Some(remove) = &action.remove {
                self.remove(remove)?;
            }
        }
        for action in actions {
            if let Some(protocol) = &action.protocol {
                if protocol.min_reader_version > READER_VERSION {
                    return Err(TablesError::Invalid(format!(
                        "table {} asks for Delta reader {}, this build has {READER_VERSION}: upgrade",
                        self.table.name(),
                        protocol.min_reader_version
                    )));
                }
                self.min_writer_version = protocol.min_writer_version;
            }
            if let Some(metadata) = &action.meta_data {
                self.metadata = Some(metadata.clone());
            }
            if let Some(txn) = &action.txn {
                self.txns.insert(txn.app_id.clone(), txn.version);
            }
            if let Some(add) = &action.add {
                self.add(add)?;
            }
        }
        self.version = Some(version);
        Ok(())
    }

    fn add(&mut self, add: &Add) -> Result<(), TablesError> {
        let path = decode_path(&add.path)?;
        if add.deletion_vector.as_ref().is_some_and(|vector| !vector.is_null()) {
            return Err(TablesError::Invalid(format!("{path} has a deletion vector")));
        }
        let size = u64::try_from(add.size)
            .map_err(|_| TablesError::Damaged(format!("{path} has {} bytes", add.size)))?;
        let json = add.stats.as_deref().unwrap_or_default();
        let stats = FileStats::parse(self.table, json);
        let removed = removed_tag(&path, add)?.map(Arc::new);
        let columns = match (self.policy, &removed) {
            (StatsPolicy::Parse, None) => stats.columns,
            (StatsPolicy::Parse, Some(removed)) => {
                FileStats::parse(self.table, &removed.stats).columns
            }
            (StatsPolicy::Skip, _) => Box::default(),
        };
        let roll_ups = RollUp::left_of(self.table)
            .filter_map(|roll_up| {
                let bytes = add.tags.as_ref()?.get(&roll_up.tag())?.as_deref()?;
                Some((roll_up, bytes.parse().ok()?))
            })
            .collect();
        self.tombstones.remove(&path);
        let file = PinnedFile {
            path: path.clone(),
            size,
            rows: stats.rows,
            partition_values: add.partition_values.clone(),
            modified_at_ms: add.modification_time,
            columns,
            roll_ups,
            removed,
        };
        self.files.insert(path, Arc::new(file));
        Ok(())
    }

    fn remove(&mut self, remove: &Remove) -> Result<(), TablesError> {
        let path = decode_path(&remove.path)?;
        self.files.remove(&path);
        let removed_at_ms = remove.deletion_timestamp.unwrap_or(0);
        self.tombstones.insert(path, Tombstone { removed_at_ms });
        Ok(())
    }

    /// Forgets tombstones older than `cutoff_ms`, so that a long-lived process does not grow.
    pub(crate) fn forget_tombstones(&mut self, cutoff_ms: i64) {
        self.tombstones.retain(|_, tombstone| tombstone.removed_at_ms >= cutoff_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::decode_commit;

    fn replay(commits: &[&str]) -> Result<TableState, TablesError> {
        let mut state = TableState::empty(Table::Suspense, StatsPolicy::Parse);
        for (version, text) in commits.iter().enumerate() {
            let actions = decode_commit(text.as_bytes(), "test")?;
            state.apply(u64::try_from(version).unwrap(), &actions)?;
        }
        Ok(state)
    }

    const ADD: &str = r#"{"add":{"path":"a%20b","partitionValues":{},"size":1,"modificationTime":2,"dataChange":true}}"#;
    const REMOVE: &str = r#"{"remove":{"path":"a%20b","deletionTimestamp":5,"dataChange":true}}"#;

    #[test]
    fn a_removed_file_is_a_tombstone_until_it_is_added_again() {
        let state = replay(&[ADD, REMOVE]).unwrap();
        assert!(state.files().is_empty());
        assert_eq!(state.tombstones()["a b"].removed_at_ms, 5);
        let state = replay(&[ADD, REMOVE, ADD]).unwrap();
        assert_eq!(state.files().keys().collect::<Vec<_>>(), ["a b"]);
        assert!(state.tombstones().is_empty());
        assert_eq!(state.version(), Some(2));
    }

    #[test]
    fn newer_readers_are_refused_and_newer_writers_are_not_written_to() {
        let newer = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7}}"#;
        let said = |error: TablesError| match error {
            TablesError::Invalid(words) => words,
            other => panic!("{other}"),
        };
        assert_eq!(
            said(replay(&[newer]).unwrap_err()),
            "table suspense asks for Delta reader 3, this build has 1: upgrade"
        );
        let writer = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":4}}"#;
        assert_eq!(
            said(replay(&[writer]).unwrap().check_writable().unwrap_err()),
            "table suspense asks for a newer Delta writer than 3: upgrade"
        );
    }

    #[test]
    fn the_last_txn_of_an_application_counts() {
        let state = replay(&[
            r#"{"txn":{"appId":"x","version":3}}"#,
            r#"{"txn":{"appId":"x","version":7}}"#,
        ])
        .unwrap();
        assert_eq!((state.txn("x"), state.txn("y")), (Some(7), None));
    }
}
