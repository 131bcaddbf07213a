//! The log of a simulated run. An event is kept as it was meant beside the bytes that were sent, so
//! that the oracle never decodes anything.

use tally_log::{Bounds, Record, RecordKind};
use tally_schemas::CLASS_COUNT;

/// What is wrong with an event, if anything. The broken class is always `cached_input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    None,
    NoId,
    NoModel,
    NegativeCount,
    FloatCount,
    CountTooLarge,
    UnknownClass,
    WrongTotal,
    ReasoningBeyondOutput,
    PhoneNumber,
}

/// An event as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) source: &'static str,
    pub(super) id: String,
    pub(super) account: String,
    pub(super) subscriber: Option<String>,
    pub(super) model: &'static str,
    pub(super) vendor: Option<&'static str>,
    pub(super) supplier: Option<&'static str>,
    pub(super) region: Option<&'static str>,
    pub(super) tier: Option<&'static str>,
    pub(super) completed_at_ms: i64,
    pub(super) counts: [u64; CLASS_COUNT],
    pub(super) defect: Defect,
}

/// An account command as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentCommand {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) at_ms: i64,
    pub(super) bytes: Vec<u8>,
    /// Why it must be held back.
    pub(super) refusal: Option<&'static str>,
}

/// What a record holds.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Tombstone,
    Unreadable,
    Command(SentCommand),
    /// The clock, milliseconds UTC.
    Tick(i64),
    Events(Vec<Sent>),
}

/// A record of the log.
#[derive(Debug, Clone)]
pub(super) struct Logged {
    pub(super) offset: u64,
    pub(super) timestamp_ms: i64,
    pub(super) kind: RecordKind,
    pub(super) value: Option<Vec<u8>>,
    pub(super) content: Content,
    /// The tick from which it can be read.
    pub(super) from_tick: u64,
}

impl Logged {
    /// The record as the core reads it.
    pub(super) fn record(&self) -> Record<'_> {
        Record {
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: None,
            value: self.value.as_deref(),
            kind: self.kind,
        }
    }
}

/// One partition of the log.
#[derive(Debug)]
pub(super) struct SimulatedLog {
    pub(super) partition: u32,
    pub(super) partition_count: u32,
    pub(super) records: Vec<Logged>,
}

impl SimulatedLog {
    /// Bounds at a tick: the log grows. It may end with offsets that hold nothing.
    pub(super) fn bounds(&self, tick: u64) -> Bounds {
        let readable = self.records.iter().take_while(|r| r.from_tick <= tick).last();
        let start = self.records.first().map_or(0, |r| r.offset);
        Bounds { start, end: readable.map_or(start, |r| r.offset + 1) }
    }

    /// What follows the last record.
    pub(super) fn end(&self) -> u64 {
        self.records.last().map_or(0, |r| r.offset + 1)
    }

    /// At most `max` records from `next` on that can be read at `tick`.
    pub(super) fn read(&self, next: u64, max: usize, tick: u64) -> &[Logged] {
        let first = self.records.partition_point(|r| r.offset < next);
        let rest = &self.records[first..];
        let readable = rest.iter().take(max).take_while(|r| r.from_tick <= tick).count();
        &rest[..readable]
    }
}
