//! Pinned tables: what a query reads, one version of every table taken together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::future::join_all;
use object_store::{ObjectStore, path::Path};
use tally_schemas::{RollUp, Table};
use tokio::sync::Mutex;

use crate::delta_log::{LogFileKind, table_root};
use crate::error::TablesError;
use crate::publish::app_id;
use crate::table_log::TableLog;
use crate::table_state::{PinnedFile, StatsPolicy, TableState};

/// Which version of the tables to pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// This Delta version of every table; the latest of a table that has not come so far.
    Version(u64),
    /// What was committed at this time, milliseconds UTC.
    TimestampMs(i64),
}

/// One version of one table.
#[derive(Debug, Clone)]
pub struct PinnedTable {
    /// Which table.
    pub table: Table,
    /// Delta version, `None` for a table that does not exist yet (and is empty).
    pub version: Option<u64>,
    /// Columns of this build, then those that only the table has, with comments in the metadata
    /// under `comment`. A file may lack some: there they are null. Partition columns are not in
    /// the files, but in [`PinnedFile::partition_values`].
    pub schema: SchemaRef,
    /// Columns that partition the files.
    pub partition_columns: Vec<String>,
    /// Live files, by path.
    pub files: Vec<Arc<PinnedFile>>,
    txns: HashMap<String, i64>,
}

impl PinnedTable {
    fn of(table: Table, state: &TableState) -> Result<Self, TablesError> {
        let (schema, partition_columns) = match state.metadata() {
            Some(metadata) => (metadata.schema_for(table)?, metadata.partition_columns.clone()),
            None => (
                table.arrow_schema(),
                table.partition_columns().iter().map(|&column| column.to_owned()).collect(),
            ),
        };
        Ok(Self {
            table,
            version: state.version(),
            schema,
            partition_columns,
            files: state.files().values().cloned().collect(),
            txns: state.txns().clone(),
        })
    }

    /// The last ledger entry of a partition that the table has taken note of, `None` before the
    /// first. Entries after it may be published too, where they have no file for this table; so
    /// tables show the same epochs exactly if every entry between their numbers has no file for
    /// the one that is behind.
    pub fn published(&self, topic: &str, partition: u32) -> Option<u64> {
        self.txns.get(&app_id(topic, partition)).and_then(|n| u64::try_from(*n).ok())
    }

    /// The last ledger entry that the table has taken note of, of every partition of a topic that
    /// it has heard of, in the order of the partitions.
    pub fn published_epochs(&self, topic: &str) -> BTreeMap<u32, u64> {
        let prefix = app_id(topic, 0);
        let prefix = prefix.strip_suffix('0').unwrap_or(&prefix);
        let of = |(id, n): (&String, &i64)| {
            let partition = id.strip_prefix(prefix)?.parse().ok()?;
            Some((partition, u64::try_from(*n).ok()?))
        };
        self.txns.iter().filter_map(of).collect()
    }

    /// The table in two parts: the roll-ups of the files that have one, as a table of their own,
    /// and the other files.
    pub fn rolled_up(&self, roll_up: RollUp) -> (Self, Self) {
        let mut stored = Vec::new();
        let mut others = Vec::new();
        for file in &self.files {
            match file.rolled_up(roll_up) {
                Some(rolled) => stored.push(Arc::new(rolled)),
                None => others.push(Arc::clone(file)),
            }
        }
        let columns = roll_up.columns();
        let is_column = |name: &String| columns.iter().any(|column| column.name == name);
        let fields = columns.iter().map(|c| Field::new(c.name, c.column_type.arrow(), c.nullable));
        let rolled = Self {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            partition_columns: self
                .partition_columns
                .iter()
                .filter(|name| is_column(name))
                .cloned()
                .collect(),
            files: stored,
            ..self.clone()
        };
        (rolled, Self { files: others, ..self.clone() })
    }

    /// The table without what retention has removed: its files with rows of their own.
    #[must_use]
    pub fn kept(&self) -> Self {
        self.with_files(|file| file.removed().is_none())
    }

    /// What retention has removed: files without rows, with what is left of them.
    #[must_use]
    pub fn removed(&self) -> Self {
        self.with_files(|file| file.removed().is_some())
    }

    fn with_files(&self, is_wanted: impl Fn(&PinnedFile) -> bool) -> Self {
        let wanted = self.files.iter().filter(|file| is_wanted(file)).cloned().collect();
        Self { files: wanted, ..self.clone() }
    }

    /// Where a file is in the store.
    pub fn object_path(&self, file: &PinnedFile) -> Path {
        Path::from(format!("{}/{}", table_root(self.table), file.path))
    }
}

/// One version of every table.
#[derive(Debug, Clone)]
pub struct PinnedTables {
    tables: BTreeMap<Table, Arc<PinnedTable>>,
}

impl PinnedTables {
    /// A table; `None` for none of [`Table::ALL`].
    pub fn get(&self, table: Table) -> Option<Arc<PinnedTable>> {
        self.tables.get(&table).cloned()
    }

    /// Every table, by name of the enum.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PinnedTable>> {
        self.tables.values()
    }
}

/// A table in memory and what was last pinned of it.
#[derive(Debug)]
struct Slot {
    log: TableLog,
    pinned: Option<Arc<PinnedTable>>,
}

impl Slot {
    async fn pin_latest(&mut self) -> Result<Arc<PinnedTable>, TablesError> {
        let table = self.log.table();
        let state = self.log.refresh().await?;
        if let Some(pinned) = self.pinned.as_ref().filter(|p| p.version == state.version()) {
            return Ok(Arc::clone(pinned));
        }
        // Readers do not need tombstones.
        state.forget_tombstones(i64::MAX);
        let pinned = Arc::new(PinnedTable::of(table, state)?);
        self.pinned = Some(Arc::clone(&pinned));
        Ok(pinned)
    }

    async fn pin_version(&mut self, version: u64) -> Result<Arc<PinnedTable>, TablesError> {
        let latest = self.pin_latest().await?;
        if latest.version.is_none_or(|last| last <= version) {
            return Ok(latest);
        }
        let state = self.log.log().load_version(StatsPolicy::Parse, version).await?;
        Ok(Arc::new(PinnedTable::of(self.log.table(), &state)?))
    }

    async fn pin_at(&mut self, at_ms: i64) -> Result<Arc<PinnedTable>, TablesError> {
        let table = self.log.table();
        let files = self.log.log().list().await?;
        let mut commits = files.iter().filter(|file| file.kind == LogFileKind::Commit);
        let mut version = None;
        let first = commits.clone().next().map(|file| file.version);
        while let Some(file) =
            commits.next().filter(|file| file.meta.last_modified.timestamp_millis() <= at_ms)
        {
            version = Some(file.version);
        }
        match (version, first) {
            (Some(version), _) => self.pin_version(version).await,
            (None, None | Some(0)) => {
                let state = TableState::empty(table, StatsPolicy::Parse);
                Ok(Arc::new(PinnedTable::of(table, &state)?))
            }
            (None, Some(first)) => Err(TablesError::Invalid(format!(
                "table {} is kept from version {first} on, which is later than that time",
                table.name()
            ))),
        }
    }
}

/// The tables of a store, kept in memory and read on cheaply: pinning the latest versions costs
/// two small reads a table where nothing is new.
#[derive(Debug)]
pub struct TableSet {
    slots: Vec<Mutex<Slot>>,
}

impl TableSet {
    /// The tables of a store. Does no I/O: a table that does not exist yet is empty.
    pub fn open(store: Arc<dyn ObjectStore>) -> Self {
        let slot = |table| {
            let log = TableLog::new(Arc::clone(&store), table, StatsPolicy::Parse);
            Mutex::new(Slot { log, pinned: None })
        };
        Self { slots: Table::ALL.into_iter().map(slot).collect() }
    }

    /// The last ledger entry of a partition that each table says it has, as of the latest pin.
    /// A table without files in an entry need not have heard of it.
    ///
    /// # Errors
    /// As [`Self::pin`].
    pub async fn published(
        &self,
        topic: &str,
        partition: u32,
    ) -> Result<BTreeMap<Table, u64>, TablesError> {
        let app_id = app_id(topic, partition);
        let mut published = BTreeMap::new();
        for slot in &self.slots {
            let mut slot = slot.lock().await;
            let table = slot.log.table();
            let last = slot.log.state().await?.txn(&app_id);
            if let Some(n) = last.and_then(|n| u64::try_from(n).ok()) {
                published.insert(table, n);
            }
        }
        Ok(published)
    }

    /// Pins one version of every table, the latest without `as_of`.
    ///
    /// # Errors
    /// `Retry` while the store is away; `Invalid` for a version or time that is no longer kept;
    /// `Data` for a log that does not make sense.
    pub async fn pin(&self, as_of: Option<AsOf>) -> Result<PinnedTables, TablesError> {
        let pins = self.slots.iter().map(|slot| async move {
            let mut slot = slot.lock().await;
            match as_of {
                None => slot.pin_latest().await,
                Some(AsOf::Version(version)) => slot.pin_version(version).await,
                Some(AsOf::TimestampMs(at_ms)) => slot.pin_at(at_ms).await,
            }
        });
        let mut tables = BTreeMap::new();
        for pinned in join_all(pins).await {
            let pinned = pinned?;
            tables.insert(pinned.table, pinned);
        }
        Ok(PinnedTables { tables })
    }
}
