//! A durable log for one machine, in a folder, on the embedded store fjall.
//!
//! Each partition is a keyspace of its own, so that the store's tables never overlap and are
//! never rewritten: key = offset (8 bytes, big endian), value = the record ([`format`]). One
//! thread appends ([`writer`]): it takes what all producers have queued, writes it as one batch,
//! syncs the journal once and only then resolves the appends and shows the records to readers.

mod creation;
mod format;
mod reader;
mod tail;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, unbounded};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::reader::EmbeddedReader;
use self::tail::Tail;
use self::writer::{EmbeddedProducer, Queue, Request, Writer};
use crate::gate::Gate;
use crate::local_group::{LocalGroup, LocalSource};
use crate::{Assignee, Bounds, EventLog, LogError, LogProducer, PartitionReader};

/// Version of what is in the folder.
const FORMAT: u32 = 1;

/// Most partitions of an embedded log: each has memory and files of its own.
const PARTITIONS_MAX: u32 = 256;

/// Bytes of the store's block cache. Readers follow the end, which is in memory tables.
const CACHE_BYTES: u64 = 16 << 20;

/// Bytes of records a partition keeps in memory before it writes them as a table.
const MEMTABLE_BYTES: u64 = 8 << 20;

/// Bytes of journals before the store writes out what holds the oldest of them.
const JOURNAL_BYTES: u64 = 256 << 20;

/// Which records an embedded log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So many of each partition below what [`EventLog::note_committed`] told, and all above it.
    BelowCommitted(u64),
    /// The newest of each partition, whether anybody has read them or not: roughly so many, at
    /// least, and an eighth more at most.
    Newest(u64),
}

/// Settings of an [`EmbeddedLog`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedLogConfig {
    /// Folder of the log; created if missing. One process at a time may have it open.
    pub dir: PathBuf,
    /// Name of the topic.
    pub topic: String,
    /// Partitions of a log that has to be created; an existing one keeps its own.
    pub partitions_if_created: u32,
    /// Which records stay.
    pub keep: Keep,
    /// Bytes of appended records that may wait to be written; beyond it appends are `Retry`.
    pub queue_max_bytes: u64,
}

impl EmbeddedLogConfig {
    /// A log of 4 partitions in `dir`, that keeps the last million committed records of each.
    pub fn new(dir: impl Into<PathBuf>, topic: &str) -> Self {
        Self {
            dir: dir.into(),
            topic: topic.to_owned(),
            partitions_if_created: 4,
            keep: Keep::BelowCommitted(1_000_000),
            queue_max_bytes: 64 << 20,
        }
    }
}

/// A durable log in a folder. Dropping it writes out what is queued and frees the folder, once
/// the readers that it handed out are dropped too.
pub struct EmbeddedLog {
    config: EmbeddedLogConfig,
    store: Arc<Store>,
    requests: Sender<Request>,
    queue: Arc<Queue>,
    writer: Mutex<Option<JoinHandle<()>>>,
    group: LocalGroup,
}

/// The open store and what is known of each partition.
struct Store {
    database: Database,
    meta: Keyspace,
    partitions: Vec<Partition>,
    /// What the last append failed with, where it did.
    failure: Mutex<Option<LogError>>,
}

struct Partition {
    records: Keyspace,
    tail: Tail,
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedLog").field("config", &self.config).finish_non_exhaustive()
    }
}

impl EmbeddedLog {
    /// Opens the log, or creates it. Blocks while the journal of a process that was killed is
    /// read back.
    ///
    /// # Errors
    /// `Invalid` where the folder is in use by another process, holds another topic or is of
    /// another version; `Internal` where it cannot be read or written.
    pub fn open(config: EmbeddedLogConfig) -> Result<Self, LogError> {
        let store = Arc::new(Store::open(&config)?);
        let (requests, inbox) = unbounded();
        let queue = Arc::new(Queue::new(config.queue_max_bytes));
        let writer = Writer::new(Arc::clone(&store), inbox, Arc::clone(&queue), config.keep);
        let writer = thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| LogError::Internal(format!("no thread for the writer: {error}")))?;
        Ok(Self {
            config,
            store,
            requests,
            queue,
            writer: Mutex::new(Some(writer)),
            group: LocalGroup::new(),
        })
    }

    /// Folder of the log.
    pub fn dir(&self) -> &Path {
        &self.config.dir
    }

    /// Removes the records below `offset`, soon and in small steps; nothing at or above the end
    /// is touched.
    pub fn truncate_before(&self, partition: u32, offset: u64) {
        // Fails only when the writer is gone, and with it the need.
        drop(self.requests.send(Request::Truncate { partition, before: offset }));
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        drop(self.requests.send(Request::Stop));
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the embedded log panicked");
        }
    }
}

impl LocalSource for EmbeddedLog {
    fn partition_count(&self) -> u32 {
        EventLog::partition_count(self)
    }

    fn bounds(&self, partition: u32) -> Result<Bounds, LogError> {
        EventLog::bounds(self, partition)
    }

    fn reader(&self, partition: u32, offset: u64, gate: Arc<Gate>) -> Box<dyn PartitionReader> {
        Box::new(EmbeddedReader::new(Arc::clone(&self.store), partition, offset, gate))
    }
}

impl EventLog for EmbeddedLog {
    fn topic(&self) -> &str {
        &self.config.topic
    }

    fn partition_count(&self) -> u32 {
        u32::try_from(self.store.partitions.len()).unwrap_or(u32::MAX)
    }

    fn bounds(&self, partition: u32) -> Result<Bounds, LogError> {
        Ok(self.store.partition(partition)?.tail.bounds())
    }

    fn failure(&self) -> Option<LogError> {
        self.store.failure.lock().clone()
    }

    fn reader_at(&self, partition: u32, offset: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        self.store.partition(partition)?;
        Ok(self.reader(partition, offset, Arc::new(Gate::new(partition))))
    }

    fn producer(&self) -> Result<Arc<dyn LogProducer>, LogError> {
        let count = EventLog::partition_count(self);
        let queue = Arc::clone(&self.queue);
        Ok(Arc::new(EmbeddedProducer::new(count, self.requests.clone(), queue)))
    }

    fn consume(
        &self,
        assignee: Arc<dyn Assignee>,
        stop: CancellationToken,
    ) -> Result<(), LogError> {
        self.group.consume(self, assignee.as_ref(), &stop)
    }

    fn reassign(&self, partition: u32) {
        self.group.reassign(partition);
    }

    fn note_committed(&self, partition: u32, offset: u64) {
        if let Keep::BelowCommitted(records) = self.config.keep {
            self.truncate_before(partition, offset.saturating_sub(records));
        }
    }
}

impl Store {
    /// Opens the log of a folder, which is made first where there is none.
    fn open(config: &EmbeddedLogConfig) -> Result<Self, LogError> {
        creation::ensure(&config.dir, |folder| Self::open_in(folder, config).map(drop))?;
        Self::open_in(&config.dir, config)
    }

    fn open_in(folder: &Path, config: &EmbeddedLogConfig) -> Result<Self, LogError> {
        let in_folder = |error: fjall::Error| match error {
            fjall::Error::Locked => LogError::Invalid(format!(
                "the log in {} is in use by another process",
                folder.display()
            )),
            other => LogError::Internal(format!("{}: {other}", folder.display())),
        };
        let database = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(1)
            .open()
            .map_err(in_folder)?;
        let meta = database.keyspace("meta", KeyspaceCreateOptions::default).map_err(in_folder)?;
        let count = match read_number(&meta, "partitions")? {
            Some(count) => {
                check_identity(&meta, config)?;
                u32::from_be_bytes(count)
            }
            None => create(&database, &meta, config)?,
        };
        let mut partitions = Vec::new();
        for partition in 0..count {
            let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
            let records =
                database.keyspace(&format!("p{partition:05}"), options).map_err(in_folder)?;
            let first = first_offset(&records)?;
            let next = next_offset(&records)?;
            let removed = read_number(&meta, &start_key(partition))?.map(u64::from_be_bytes);
            let start = removed.or(first).unwrap_or(0);
            partitions.push(Partition { records, tail: Tail::new(start, next.max(start)) });
        }
        Ok(Self { database, meta, partitions, failure: Mutex::default() })
    }

    fn partition(&self, partition: u32) -> Result<&Partition, LogError> {
        usize::try_from(partition)
            .ok()
            .and_then(|index| self.partitions.get(index))
            .ok_or_else(|| LogError::Invalid(format!("there is no partition {partition}")))
    }
}

/// Records what the folder is for. The partition count is written last, in the same batch.
fn create(
    database: &Database,
    meta: &Keyspace,
    config: &EmbeddedLogConfig,
) -> Result<u32, LogError> {
    let count = config.partitions_if_created;
    if count == 0 || count > PARTITIONS_MAX {
        return Err(LogError::Invalid(format!(
            "an embedded log has 1 to {PARTITIONS_MAX} partitions, not {count}"
        )));
    }
    let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
    batch.insert(meta, "format", FORMAT.to_be_bytes());
    batch.insert(meta, "topic", config.topic.as_bytes());
    batch.insert(meta, "partitions", count.to_be_bytes());
    batch.commit().map_err(internal)?;
    Ok(count)
}

fn check_identity(meta: &Keyspace, config: &EmbeddedLogConfig) -> Result<(), LogError> {
    let format = read_number(meta, "format")?.map_or(0, u32::from_be_bytes);
    if format != FORMAT {
        return Err(LogError::Invalid(format!(
            "the log in {} is of version {format}, this program reads version {FORMAT}",
            config.dir.display()
        )));
    }
    let topic = meta.get("topic").map_err(internal)?;
    if topic.as_deref() != Some(config.topic.as_bytes()) {
        return Err(LogError::Invalid(format!(
            "the log in {} holds the topic {:?}, not {:?}",
            config.dir.display(),
            String::from_utf8_lossy(topic.as_deref().unwrap_or_default()),
            config.topic
        )));
    }
    Ok(())
}

fn start_key(partition: u32) -> String {
    format!("start/{partition:05}")
}

fn offset_key(offset: u64) -> [u8; 8] {
    offset.to_be_bytes()
}

fn offset_of(key: &[u8]) -> Result<u64, LogError> {
    let bytes = key.try_into().map_err(|_| {
        LogError::Internal(format!("the log holds a key of {} bytes, not 8", key.len()))
    })?;
    Ok(u64::from_be_bytes(bytes))
}

fn first_offset(records: &Keyspace) -> Result<Option<u64>, LogError> {
    match records.first_key_value() {
        Some(entry) => offset_of(&entry.key().map_err(internal)?).map(Some),
        None => Ok(None),
    }
}

fn next_offset(records: &Keyspace) -> Result<u64, LogError> {
    match records.last_key_value() {
        Some(entry) => Ok(offset_of(&entry.key().map_err(internal)?)? + 1),
        None => Ok(0),
    }
}

fn read_number<const N: usize>(meta: &Keyspace, key: &str) -> Result<Option<[u8; N]>, LogError> {
    let Some(value) = meta.get(key).map_err(internal)? else { return Ok(None) };
    value.as_ref().try_into().map(Some).map_err(|_| {
        LogError::Internal(format!("the embedded log's {key} has {} bytes, not {N}", value.len()))
    })
}

/// What the store cannot do. After a failed write it takes no further one until it is opened
/// anew, as nobody can tell what of the write reached the disk: whoever sent it sends it again.
fn internal(error: fjall::Error) -> LogError {
    match error {
        fjall::Error::Poisoned => LogError::Retry(
            "the embedded log stopped after a failed write: free the disk and start again"
                .to_owned(),
        ),
        fjall::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            LogError::Retry(format!(
                "no room for the embedded log: {error}: free the disk and start again"
            ))
        }
        other => LogError::Internal(other.to_string()),
    }
}
