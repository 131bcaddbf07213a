//! The log that usage travels through: Apache Kafka, an embedded durable log for one machine, and
//! one in memory. One trait, so that everything downstream has a single code path.
//!
//! - [`EventLog`] opens a topic: bounds, a producer, and group consumption.
//! - [`Assignee`] is who receives partitions: it claims each, says where to read from, and gets a
//!   [`PartitionReader`].
//! - [`LogProducer`] appends and resolves when the record is durable on all in-sync replicas.

mod claim;
mod continued;
mod embedded;
mod error;
mod gate;
mod kafka;
mod local_group;
mod memory;
mod trace_parent;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
pub use continued::{Continued, ContinuedLog};
pub use embedded::{EmbeddedLog, EmbeddedLogConfig, Keep};
pub use error::{LogError, LogErrorKind};
pub use kafka::{KafkaLog, KafkaLogConfig, TopicFacts, TopicLook, look as look_at_topic};
pub use memory::MemoryLog;
use tokio_util::sync::CancellationToken;
pub use trace_parent::{TRACE_HEADER, TraceParent, TracedRecord};

/// Name of the header that tells a batch from a single event.
pub const TYPE_HEADER: &str = "tally-type";

/// What the value of a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// One JSON event or command.
    Single,
    /// A protobuf `UsageBatch` (header `tally-type: batch`).
    Batch,
}

/// One record as it is read, borrowed from the log's own buffer.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Offset in the partition. Offsets rise, but need not be contiguous.
    pub offset: u64,
    /// When the log received it, milliseconds UTC.
    pub timestamp_ms: i64,
    /// Key, if any.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// What the value is.
    pub kind: RecordKind,
}

/// First offset that exists and next offset to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// First offset that still exists.
    pub start: u64,
    /// Next offset to be written.
    pub end: u64,
}

/// Reads one partition in offset order.
pub trait PartitionReader: Send {
    /// Hands at most `max` records to `sink`, waiting at most `wait` for the first one, and
    /// returns how many there were.
    ///
    /// # Errors
    /// `Retry` while the log is away: nothing is skipped, read again. `Gone` where the partition
    /// was revoked. `OffsetLost` or `Truncated` where the next offset no longer exists, with the
    /// exact range. After anything but `Retry` the reader stays as it is: only a new assignment
    /// ([`EventLog::reassign`]) gives a reader that reads on.
    fn read(
        &mut self,
        max: usize,
        wait: Duration,
        sink: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, LogError>;

    /// Next offset to be written to the partition, as far as is known without asking the log.
    fn known_end(&self) -> Option<u64>;

    /// Whether a read that found nothing came to the end. One of a log that is asked over a network
    /// may have had no answer.
    fn is_at_end(&self) -> bool {
        true
    }

    /// Records that were handed over since this was asked last and whose requests are traced. A log
    /// that keeps no headers has none.
    fn take_traced(&mut self) -> Vec<TracedRecord> {
        Vec::new()
    }
}

/// Receives partitions. Called from the log's own thread during a rebalance.
pub trait Assignee: Send + Sync {
    /// Takes ownership of a partition and returns the offset to read from. Nothing is read of
    /// the partition before this returns. Called again for the same partition after a
    /// [`Assignee::start`]ed reader was given up with [`EventLog::reassign`].
    ///
    /// # Errors
    /// Any: the partition is then not read, and the assignment is tried again after a pause.
    ///
    /// Calls for different partitions may run at the same time, on threads of the log.
    fn assign(&self, partition: u32, bounds: Bounds) -> Result<u64, LogError>;

    /// Hands over the reader of an assigned partition; returns at once.
    fn start(&self, partition: u32, reader: Box<dyn PartitionReader>);

    /// Takes partitions away: returns when their work is committed or given up.
    fn revoke(&self, partitions: &[u32]);

    /// The group has told this member for the first time, or anew, what it has: that may be nothing.
    /// What it has was given to [`Assignee::assign`] before.
    fn told(&self) {}
}

/// A record to append.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Partition.
    pub partition: u32,
    /// Key, if any.
    pub key: Option<Bytes>,
    /// Value.
    pub value: Bytes,
    /// What the value is.
    pub kind: RecordKind,
}

/// Resolves to the record's offset when it is durable.
pub type Appended = Pin<Box<dyn Future<Output = Result<u64, LogError>> + Send>>;

/// Appends records.
pub trait LogProducer: Send + Sync {
    /// Appends one record. A full local queue or an absent log is `Retry`.
    fn append(&self, record: Outgoing) -> Appended;

    /// The same for a record of a request that is traced. A log that keeps no headers forgets the
    /// trace.
    fn append_traced(&self, record: Outgoing, _parent: Option<&TraceParent>) -> Appended {
        self.append(record)
    }

    /// Waits until everything appended is acknowledged or `timeout` has passed.
    ///
    /// # Errors
    /// `Retry` where records are still unacknowledged.
    fn flush(&self, timeout: Duration) -> Result<(), LogError>;
}

/// What becomes of old records of a topic that has to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cleanup {
    /// They go when they are older than the broker's retention.
    #[default]
    Age,
    /// The newest of each key stays for ever.
    Compact,
}

/// A topic of a log.
pub trait EventLog: Send + Sync {
    /// Name of the topic.
    fn topic(&self) -> &str;

    /// Where the stream has gone on with this topic: the topic's own name, and what its offsets
    /// begin at. None where the stream began with it.
    fn continued(&self) -> Option<&Continued> {
        None
    }

    /// Number of partitions.
    fn partition_count(&self) -> u32;

    /// Bounds of a partition. Blocks.
    ///
    /// # Errors
    /// `Retry` while the log is away, `Refused` while it does not let us in.
    fn bounds(&self, partition: u32) -> Result<Bounds, LogError>;

    /// Why nothing is appended any more until the log is opened anew. A log that others keep never
    /// comes to that.
    fn failure(&self) -> Option<LogError> {
        None
    }

    /// Reads a partition from an offset, outside of any group: nobody else is kept from reading it,
    /// and nothing is noted of how far it was read. May block for a broker's round trip.
    ///
    /// # Errors
    /// `Invalid` where there is no such partition; `Retry` while the log is away.
    fn reader_at(&self, partition: u32, offset: u64) -> Result<Box<dyn PartitionReader>, LogError>;

    /// A producer for the topic.
    ///
    /// # Errors
    /// Where the client cannot be made.
    fn producer(&self) -> Result<Arc<dyn LogProducer>, LogError>;

    /// Joins the group and hands partitions to `assignee` until `stop`. Blocks. On the way out
    /// every partition is revoked.
    ///
    /// # Errors
    /// Where the log can no longer be consumed at all.
    fn consume(&self, assignee: Arc<dyn Assignee>, stop: CancellationToken)
    -> Result<(), LogError>;

    /// Asks for a partition that this member holds to be assigned to it anew (a new call of
    /// [`Assignee::assign`] and [`Assignee::start`]), after its owner has given it up. A no-op
    /// where the partition was revoked meanwhile.
    fn reassign(&self, partition: u32);

    /// Tells the group how far a partition is committed. Information for people and tools only:
    /// the ledger is the truth.
    fn note_committed(&self, partition: u32, offset: u64);
}
