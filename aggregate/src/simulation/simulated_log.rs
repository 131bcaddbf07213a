//! The log of a simulated run. An event is kept as it was meant beside the bytes that were sent, so
//! that the oracle never decodes anything.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;
use serde_json::Value;
use tally_log::{Appended, Bounds, LogError, LogProducer, Outgoing, Record, RecordKind};
use tally_schemas::{CLASS_COUNT, ReferenceVersion, SuspenseReason};

use super::world::World;

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

/// How a row is to come out of suspense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Out {
    Recycled,
    WrittenOff,
}

/// A record that takes a row out of suspense, as it was meant. Not every one of them is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentResolution {
    pub(super) out: Out,
    /// Offset and position within its batch of the row.
    pub(super) held: (u64, u32),
    /// Why it is said to be held back.
    pub(super) reason: SuspenseReason,
    /// The event, where there is one.
    pub(super) event: Option<Sent>,
    /// When the log received the row, milliseconds UTC.
    pub(super) received_ms: i64,
    pub(super) bytes: Vec<u8>,
}

/// A record that takes an event back, as it was meant. Not every one of them is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentCorrection {
    /// The event, with its vendor and supplier as its row would have them.
    pub(super) event: Sent,
    pub(super) points_micro: i128,
    pub(super) wholesale_pico: i128,
    pub(super) retail_pico: i128,
    /// Currency of the retail amount, where a bucket gave points.
    pub(super) retail_currency: Option<&'static str>,
    /// The event that counts in its stead.
    pub(super) replacement: Option<Sent>,
    pub(super) bytes: Vec<u8>,
}

/// What a record holds.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Tombstone,
    Unreadable,
    Command(SentCommand),
    /// The clock, milliseconds UTC.
    Tick(i64),
    /// What is to be rated by, as an owner or a forger says.
    Reference(ReferenceVersion),
    Events(Vec<Sent>),
    Resolution(Box<SentResolution>),
    Correction(Box<SentCorrection>),
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
    /// A record about a row that came later by one offset names where it is now.
    fn follow_row(&mut self, inserted: u64) {
        let Content::Resolution(resolution) = &mut self.content else { return };
        if resolution.held.0 < inserted {
            return;
        }
        resolution.held.0 += 1;
        let mut object: Value = serde_json::from_slice(&resolution.bytes).unwrap();
        object["offset"] = resolution.held.0.into();
        resolution.bytes = object.to_string().into_bytes();
        self.value = Some(resolution.bytes.clone());
    }

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

/// One partition of the log: what the gateways will have sent, and what owners append to it.
#[derive(Debug)]
pub(super) struct SimulatedLog {
    pub(super) partition: u32,
    pub(super) partition_count: u32,
    records: Mutex<Vec<Logged>>,
}

impl Clone for SimulatedLog {
    /// Another log with the same records.
    fn clone(&self) -> Self {
        Self::new(self.partition, self.partition_count, self.records())
    }
}

impl SimulatedLog {
    pub(super) fn new(partition: u32, partition_count: u32, records: Vec<Logged>) -> Self {
        Self { partition, partition_count, records: Mutex::new(records) }
    }

    /// Every record, those included that cannot be read yet.
    pub(super) fn records(&self) -> Vec<Logged> {
        self.records.lock().clone()
    }

    /// Bounds at a tick: the log grows. It may end with offsets that hold nothing.
    pub(super) fn bounds(&self, tick: u64) -> Bounds {
        let records = self.records.lock();
        let readable = records.iter().take_while(|r| r.from_tick <= tick).last();
        let start = records.first().map_or(0, |r| r.offset);
        Bounds { start, end: readable.map_or(start, |r| r.offset + 1) }
    }

    /// What follows the last record.
    pub(super) fn end(&self) -> u64 {
        self.records.lock().last().map_or(0, |r| r.offset + 1)
    }

    /// At most `max` records from `next` on that can be read at `tick`.
    pub(super) fn read(&self, next: u64, max: usize, tick: u64) -> Vec<Logged> {
        let records = self.records.lock();
        let first = records.partition_point(|r| r.offset < next);
        let rest = records[first..].iter().take(max);
        rest.take_while(|r| r.from_tick <= tick).cloned().collect()
    }

    /// Appends a record behind what can be read at `tick`; what cannot be read yet comes later by
    /// one offset. Returns its offset.
    fn append(&self, value: &[u8], tick: u64) -> u64 {
        let object: Value = serde_json::from_slice(value).unwrap();
        let content = Content::Reference(object["version"].as_str().unwrap().parse().unwrap());
        let mut records = self.records.lock();
        let at = records.partition_point(|r| r.from_tick <= tick);
        let (offset, timestamp_ms) = match at.checked_sub(1) {
            Some(last) => (records[last].offset + 1, records[last].timestamp_ms),
            None => (records[0].offset, records[0].timestamp_ms),
        };
        for later in &mut records[at..] {
            later.offset += 1;
            later.follow_row(offset);
        }
        let (kind, value) = (RecordKind::Single, Some(value.to_vec()));
        records.insert(at, Logged { offset, timestamp_ms, kind, value, content, from_tick: tick });
        offset
    }
}

/// Appends to a simulated log, with replies that are lost and appends that never arrive.
pub(super) struct SimulatedProducer {
    pub(super) world: World,
    pub(super) log: Arc<SimulatedLog>,
}

impl LogProducer for SimulatedProducer {
    fn append(&self, record: Outgoing) -> Appended {
        let mut inside = self.world.inside();
        let (latency_max, per_mille) = (inside.faults.latency_max, inside.faults.per_mille);
        let ticks = inside.random.random_range(0..=latency_max);
        let fails = inside.random.random_ratio(per_mille, 1_000);
        // Some that fail were appended all the same, and some arrive when time has passed.
        let arrives = !fails || inside.random.random_ratio(1, 2);
        let at_once = inside.random.random_ratio(1, 2);
        drop(inside);
        let (world, log) = (self.world.clone(), Arc::clone(&self.log));
        let arrive = move |world: &World| {
            let offset = log.append(&record.value, world.tick());
            world.note(|| format!("{:?} is appended at {offset}", record.value));
            offset
        };
        let mut offset = 0;
        if arrives && at_once {
            offset = arrive(&world);
        }
        let wait = world.sleep(ticks);
        Box::pin(async move {
            wait.await;
            if arrives && !at_once {
                offset = arrive(&world);
            }
            if fails { Err(LogError::Retry("the log is away".to_owned())) } else { Ok(offset) }
        })
    }

    fn flush(&self, _: std::time::Duration) -> Result<(), LogError> {
        unreachable!("nobody waits for the log")
    }
}
