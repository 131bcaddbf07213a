//! The wire format of the epoch ledger: one JSON object an entry, created once, never changed.
//!
//! Entry `n` of partition `p` lives at `ledger/<topic>/<p>/<n>.json` (`n` with 20 digits).
//! Creating it is the commit of its epoch; see `docs/adr/0001-epoch-ledger.md`. As it is stored,
//! the object has one more member behind those of [`LedgerEntry`]: `checksum`, the BLAKE3 of the
//! bytes before it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model_increments::{ModelIncrement, SourcePosition};
use crate::money::Currency;
use crate::reference_version::ReferenceVersion;
use crate::token_class::{CLASS_COUNT, TokenClass};

/// The newest format that this build reads and writes.
pub const LEDGER_FORMAT: u32 = 2;

/// The format of a ledger whose topic never got another number of partitions: builds from before
/// that was possible read it.
pub const LEDGER_FORMAT_FIRST: u32 = 1;

/// One entry of a partition's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Format version: [`LEDGER_FORMAT_FIRST`], or [`LEDGER_FORMAT`] from a
    /// [`EntryKind::Frozen`] entry on.
    pub format: u32,
    /// Name of the ledger: the Kafka topic that it began with.
    pub topic: String,
    /// Kafka partition.
    pub partition: u32,
    /// Number of partitions of the topic. It changes only by a [`EntryKind::Moved`] entry.
    pub partition_count: u32,
    /// The topic that offsets are of, where it is not the one that the ledger is named after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogPlace>,
    /// In a [`EntryKind::Frozen`] entry: where the stream is to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<MoveTarget>,
    /// Position in the ledger, from 0.
    pub n: u64,
    /// What the entry does.
    pub kind: EntryKind,
    /// Who wrote it: a new random id for every assignment.
    pub owner: String,
    /// URL under which the writer is reached, where it tells one. Information only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// First offset of the epoch.
    pub from: u64,
    /// Next offset after the epoch: where a new owner starts to read.
    pub to: u64,
    /// XXH3-128 over the epoch's input (offset, time, key, value of each record), in hex.
    pub input_hash: String,
    /// Data files of every table that become visible with this entry.
    pub files: Vec<DataFile>,
    /// State after this epoch.
    pub state: StateManifest,
    /// Control totals of this epoch.
    pub totals: ControlTotals,
    /// Control totals of this partition since its first offset.
    pub cumulative: ControlTotals,
    /// What this epoch adds by model and day: its rows of `usage_by_model`, summed. Absent in
    /// entries of builds that did not write it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelIncrement>,
    /// In the ledger of `usage.models`: the epochs of other ledgers whose increments are added up
    /// to here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourcePosition>,
    /// Event-time watermark in milliseconds UTC after this epoch; only rises (I11).
    pub watermark_ms: Option<i64>,
    /// Version of the reference data that the epoch was rated with: a [`ReferenceVersion`] as text.
    /// In entries from before there were editions the hash of the price book, or empty.
    pub reference_version: String,
    /// Version that what comes after this entry is rated with. A new owner loads exactly this one,
    /// so that a replay is rated as before; absent in entries from before there were editions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_reference: Option<ReferenceVersion>,
    /// When the writer closed the epoch, milliseconds UTC. Information only.
    pub committed_at_ms: i64,
    /// An end of each partition of the topic of alerts that was known when the epoch closed: what
    /// later epochs send lies at or behind it. Absent where no owner so far sent any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts_ends: Option<Offsets>,
    /// How far the time of what is in the log is, and when it got there: from this an owner tells
    /// what time it is in a log that is idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<LogClock>,
    /// BLAKE3 of the bytes of entry `n - 1`, in hex; empty for entry 0.
    pub previous: String,
}

/// Offsets by partition.
pub type Offsets = BTreeMap<u32, u64>;

/// The newest time that a record of the log told, and when that record came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogClock {
    /// Time of an event, a command or a tick, milliseconds UTC.
    pub at_ms: i64,
    /// When the log received the record, milliseconds UTC.
    pub logged_at_ms: i64,
}

impl LedgerEntry {
    /// Whether [`Self::models`] is all that it adds: an entry with events has some.
    pub fn tells_increments(&self) -> bool {
        !self.models.is_empty() || self.totals.accepted.events == 0
    }

    /// Of the last entries of a stream's partitions one of the newest topic; none where the stream
    /// has the topic that it began with.
    pub fn newest_topic<'a>(lasts: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        let moved = lasts.into_iter().filter(|last| last.log.is_some());
        moved.max_by_key(|last| last.log.as_ref().map(|log| log.first_offset))
    }

    /// Whether the state of this last entry of a partition is no longer anybody's: it was frozen,
    /// and the stream has gone on without the partition. One that the newest topic has, and that is
    /// frozen yet, waits for its state: the change is not carried out.
    pub fn is_left_behind<'a>(&self, lasts: impl IntoIterator<Item = &'a Self>) -> bool {
        let newest = Self::newest_topic(lasts).filter(|_| self.kind == EntryKind::Frozen);
        newest.is_some_and(|newest| {
            newest.log.as_ref().is_some_and(|log| log.first_offset > self.to)
                && self.partition >= newest.partition_count
        })
    }
}

/// What a ledger entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A new owner fences the one before it. No rows; offsets and state unchanged.
    Claim,
    /// An epoch's rows, state and offsets.
    Epoch,
    /// The topic is to get another number of partitions: nobody commits after this but the command
    /// that does it. No rows; offsets and state unchanged.
    Frozen,
    /// The first entry of another number of partitions: the state that is the partition's of now
    /// on, at the first offset of the new topic. No rows.
    Moved,
}

/// The topic that a stream has gone on with after its partition count was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlace {
    /// Kafka topic.
    pub topic: String,
    /// What its first offset, 0, counts as. Above every offset of the topics before it, so that no
    /// position comes twice and later ones are greater.
    pub first_offset: u64,
}

/// Where a frozen stream is to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveTarget {
    /// Kafka topic.
    pub topic: String,
    /// Its partitions.
    pub partition_count: u32,
}

/// A Parquet file of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Table name.
    pub table: String,
    /// Path below the table's root, partition folders included.
    pub path: String,
    /// Rows in the file.
    pub rows: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// BLAKE3 of the file, in hex.
    pub hash: String,
    /// Delta partition values, such as `day`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub partition_values: BTreeMap<String, String>,
    /// Delta statistics (`numRecords`, `minValues`, `maxValues`, `nullCount`) as JSON text.
    pub stats: String,
}

/// An object that holds state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Path below the store's root.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of the object, in hex.
    pub hash: String,
}

/// Where the state after an epoch is: a base and the deltas after it, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateManifest {
    /// The newest rolling base, absent before the first.
    pub base: Option<StateFile>,
    /// Deltas to apply to the base, oldest first.
    pub deltas: Vec<StateFile>,
}

/// Counts of events and tokens by what became of them (I1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlTotals {
    /// Kafka records consumed.
    pub records: u64,
    /// Events and commands received in those records; an undecodable record counts as one.
    pub received: Flow,
    /// Events that became rows of `usage_events`.
    pub accepted: Flow,
    /// Events held back.
    pub suspended: Flow,
    /// Exact duplicates, dropped.
    pub duplicates: Flow,
    /// Account commands that were carried out, and control totals of gateways.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub commands: u64,
    /// The same that came again, dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub duplicate_commands: u64,
    /// Ticks of the clock.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ticks: u64,
    /// Micro-points of accepted events, and what they came to on both sides.
    #[serde(default, skip_serializing_if = "RatedTotals::is_nothing")]
    pub rated: RatedTotals,
    /// Held-back events by reason; sums to `suspended.events`.
    pub suspended_by_reason: BTreeMap<String, u64>,
    /// Events taken out of suspense again, whatever partition held them back: they are a second
    /// time among the accepted, or among the duplicates where their identity had come meanwhile.
    #[serde(default, skip_serializing_if = "Flow::is_nothing")]
    pub recycled: Flow,
    /// Held-back events that were given up; their tokens as far as they can be read.
    #[serde(default, skip_serializing_if = "Flow::is_nothing")]
    pub written_off: Flow,
    /// Both by the reason of the row; sums to `recycled.events + written_off.events`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resolved_by_reason: BTreeMap<String, u64>,
    /// Records that asked for either and left their row open, as it cannot be rated yet, is not
    /// held back here, or is held back for something else.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_open: u64,
    /// Events that were accepted and taken back: what their reversals have, above 0.
    #[serde(default, skip_serializing_if = "UsageSums::is_nothing")]
    pub corrected: UsageSums,
    /// Recycled corrections that void: they are no usage, and have no other fate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub voids: u64,
    /// Records that asked for a correction which cannot be: of what is not known, or is corrected.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub corrections_refused: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Pico-currency by currency, as decimal strings in JSON.
pub type CurrencySums = BTreeMap<Currency, i128>;

/// What accepted events came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RatedTotals {
    /// Micro-points.
    pub points_micro: i128,
    /// Retail side.
    pub retail_pico: CurrencySums,
    /// Wholesale side.
    pub wholesale_pico: CurrencySums,
}

impl RatedTotals {
    /// Whether nothing was rated.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Adds another set of totals. What passes an `i128` saturates: no event gets here whose
    /// amounts would leave what tables can hold.
    pub fn merge(&mut self, other: &Self) {
        self.points_micro = self.points_micro.saturating_add(other.points_micro);
        for (sums, more) in [
            (&mut self.retail_pico, &other.retail_pico),
            (&mut self.wholesale_pico, &other.wholesale_pico),
        ] {
            for (currency, pico) in more {
                let sum = sums.entry(*currency).or_default();
                *sum = sum.saturating_add(*pico);
            }
        }
    }
}

/// Events, their tokens, and what they came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSums {
    /// Events and tokens.
    pub flow: Flow,
    /// Points and amounts.
    pub rated: RatedTotals,
}

impl UsageSums {
    /// Whether it is of no event.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        self.flow.merge(&other.flow);
        self.rated.merge(&other.rated);
    }
}

/// JSON shape of what was rated.
#[derive(Serialize, Deserialize)]
struct RatedWire {
    points_micro: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    retail_pico: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    wholesale_pico: BTreeMap<String, String>,
}

impl Serialize for RatedTotals {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts = |sums: &CurrencySums| {
            sums.iter().map(|(code, pico)| (code.to_string(), pico.to_string())).collect()
        };
        RatedWire {
            points_micro: self.points_micro.to_string(),
            retail_pico: texts(&self.retail_pico),
            wholesale_pico: texts(&self.wholesale_pico),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RatedTotals {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let wire = RatedWire::deserialize(deserializer)?;
        let sums = |texts: BTreeMap<String, String>| {
            let sum = |(code, pico): (String, String)| {
                let currency = Currency::parse(&code)
                    .ok_or_else(|| D::Error::custom(format!("{code:?} is not a currency")))?;
                Ok((currency, pico.parse().map_err(D::Error::custom)?))
            };
            texts.into_iter().map(sum).collect::<Result<CurrencySums, D::Error>>()
        };
        Ok(Self {
            points_micro: wire.points_micro.parse().map_err(D::Error::custom)?,
            retail_pico: sums(wire.retail_pico)?,
            wholesale_pico: sums(wire.wholesale_pico)?,
        })
    }
}

/// Events and their tokens by class. Sums are `u128` so that no stream can overflow them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// Number of events.
    pub events: u64,
    /// Sum by class, in the order of [`TokenClass::ALL`].
    pub tokens: [u128; CLASS_COUNT],
}

impl Flow {
    /// Whether it is of no event.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Adds one event.
    pub fn add(&mut self, counts: &crate::UsageCounts) {
        self.events += 1;
        for (sum, count) in self.tokens.iter_mut().zip(counts.0) {
            *sum += u128::from(count);
        }
    }

    /// Adds another flow. What passes the integers saturates: no stream gets there, and an entry
    /// that says so does not add up.
    pub fn merge(&mut self, other: &Self) {
        self.events = self.events.saturating_add(other.events);
        for (sum, more) in self.tokens.iter_mut().zip(other.tokens) {
            *sum = sum.saturating_add(more);
        }
    }
}

impl ControlTotals {
    /// Adds another set of totals, as [`Flow::merge`] does.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.records, other.records),
            (&mut self.commands, other.commands),
            (&mut self.duplicate_commands, other.duplicate_commands),
            (&mut self.ticks, other.ticks),
            (&mut self.left_open, other.left_open),
            (&mut self.voids, other.voids),
            (&mut self.corrections_refused, other.corrections_refused),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.received.merge(&other.received);
        self.accepted.merge(&other.accepted);
        self.suspended.merge(&other.suspended);
        self.duplicates.merge(&other.duplicates);
        self.rated.merge(&other.rated);
        self.recycled.merge(&other.recycled);
        self.written_off.merge(&other.written_off);
        self.corrected.merge(&other.corrected);
        for (counts, more) in [
            (&mut self.suspended_by_reason, &other.suspended_by_reason),
            (&mut self.resolved_by_reason, &other.resolved_by_reason),
        ] {
            for (reason, events) in more {
                let sum = counts.entry(reason.clone()).or_default();
                *sum = sum.saturating_add(*events);
            }
        }
    }

    /// Whether received + recycled = accepted + suspended + duplicates, for events and each class
    /// (I1): what is recycled comes a second time, out of suspense and not from a gateway. Voids
    /// that are recycled are no usage, and what is taken back stays accepted.
    pub fn conserved(&self) -> bool {
        let mut fates = self.accepted.clone();
        fates.merge(&self.suspended);
        fates.merge(&self.duplicates);
        fates.events = fates.events.saturating_add(self.voids);
        let mut inflow = self.received.clone();
        inflow.merge(&self.recycled);
        let sum_of = |by_reason: &BTreeMap<String, u64>| -> u128 {
            by_reason.values().map(|events| u128::from(*events)).sum()
        };
        let resolved = u128::from(self.recycled.events) + u128::from(self.written_off.events);
        fates == inflow
            && sum_of(&self.suspended_by_reason) == u128::from(self.suspended.events)
            && sum_of(&self.resolved_by_reason) == resolved
    }

    /// Events taken out of suspense: recycled or written off.
    pub fn resolved_events(&self) -> u64 {
        self.recycled.events.saturating_add(self.written_off.events)
    }

    /// Events that are held back and were not taken out, by reason, without those of which there
    /// are none. Of the totals of all partitions: a row may be recycled in another than its own.
    pub fn open_by_reason(&self) -> BTreeMap<String, u64> {
        let resolved = |reason: &str| self.resolved_by_reason.get(reason).copied().unwrap_or(0);
        let open = self
            .suspended_by_reason
            .iter()
            .map(|(reason, events)| (reason.clone(), events.saturating_sub(resolved(reason))));
        open.filter(|(_, events)| *events > 0).collect()
    }
}

/// JSON shape of a flow: sums are decimal strings, as they may pass 2^53; zero sums are left out.
#[derive(Serialize, Deserialize)]
struct FlowWire {
    events: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tokens: BTreeMap<String, String>,
}

impl Serialize for Flow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tokens = TokenClass::ALL
            .into_iter()
            .filter(|class| self.tokens[class.index()] != 0)
            .map(|class| (class.name().to_owned(), self.tokens[class.index()].to_string()))
            .collect();
        FlowWire { events: self.events, tokens }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Flow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = FlowWire::deserialize(deserializer)?;
        let mut flow = Self { events: wire.events, ..Self::default() };
        for (name, sum) in wire.tokens {
            let class = TokenClass::from_name(&name)
                .ok_or_else(|| serde::de::Error::custom(format!("unknown class {name}")))?;
            flow.tokens[class.index()] = sum.parse().map_err(serde::de::Error::custom)?;
        }
        Ok(flow)
    }
}

/// Path of entry `n` below the store's root.
pub fn entry_path(topic: &str, partition: u32, n: u64) -> String {
    format!("ledger/{topic}/{partition}/{n:020}.json")
}

/// Path of the floor below which the janitor has removed entries. It is overwritten, and read
/// before any entry, so that finding the last entry never rests on a listing (R8).
pub fn floor_path(topic: &str, partition: u32) -> String {
    format!("ledger/{topic}/{partition}/floor.json")
}

/// The floor object: entries below `n` may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerFloor {
    /// The first entry that still exists.
    pub n: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UsageCounts;

    #[test]
    fn totals_survive_json_beyond_2_pow_64() {
        let mut totals = ControlTotals::default();
        totals.accepted.add(&UsageCounts([7; CLASS_COUNT]));
        totals.accepted.tokens[0] = u128::from(u64::MAX) * 3;
        totals.rated.points_micro = i128::from(i64::MAX) * 5;
        totals.rated.wholesale_pico.insert(Currency::CNY, -i128::from(i64::MAX) * 7);
        let text = serde_json::to_string(&totals).unwrap();
        assert_eq!(serde_json::from_str::<ControlTotals>(&text).unwrap(), totals);
    }

    #[test]
    fn conservation_notices_one_lost_token() {
        let mut totals = ControlTotals::default();
        let counts = UsageCounts([5; CLASS_COUNT]);
        totals.received.add(&counts);
        totals.accepted.add(&counts);
        assert!(totals.conserved());
        totals.accepted.tokens[3] -= 1;
        assert!(!totals.conserved());
    }

    #[test]
    fn totals_that_no_stream_reaches_do_not_add_up() {
        let mut totals = ControlTotals::default();
        totals.accepted.events = u64::MAX;
        totals.suspended.events = u64::MAX;
        totals.accepted.tokens[0] = u128::MAX;
        totals.duplicates.tokens[0] = u128::MAX;
        totals.suspended_by_reason =
            BTreeMap::from([("malformed".to_owned(), u64::MAX), ("too_old".to_owned(), u64::MAX)]);
        assert!(!totals.conserved());
        let mut twice = totals.clone();
        twice.merge(&totals);
        assert_eq!(twice.accepted.events, u64::MAX);
        assert!(!twice.conserved());
    }

    #[test]
    fn what_is_recycled_comes_out_of_suspense_and_is_conserved() {
        let mut totals = ControlTotals::default();
        let counts = UsageCounts([5; CLASS_COUNT]);
        totals.received.add(&counts);
        totals.suspended.add(&counts);
        totals.suspended_by_reason.insert("no_price".to_owned(), 1);
        // An entry without these members is read as one without any.
        let before = serde_json::to_string(&totals).unwrap();
        assert!(!before.contains("recycled") && !before.contains("left_open"), "{before}");
        assert_eq!(serde_json::from_str::<ControlTotals>(&before).unwrap(), totals);
        let mut later = ControlTotals::default();
        later.recycled.add(&counts);
        later.resolved_by_reason.insert("no_price".to_owned(), 1);
        assert!(!later.conserved());
        later.accepted.add(&counts);
        assert!(later.conserved());
        assert_eq!(totals.open_by_reason().get("no_price"), Some(&1));
        totals.merge(&later);
        assert!(totals.conserved() && totals.open_by_reason().is_empty());
        totals.recycled.tokens[3] += 1;
        assert!(!totals.conserved());
    }
}
