//! What the fuzz targets reach of the core: the feature `fuzz` opens it, the program is built
//! without it. What must hold of any bytes is checked here; where it does not, the answer says so.

use std::collections::BTreeMap;

use bytes::Bytes;
use tally_log::{Record, RecordKind};
use tally_schemas::{AggregateConfig, EntryKind, LEDGER_FORMAT, LedgerEntry, ParsedEvent};

use crate::core::batch_reader::{parse_message, split_batch};
use crate::core::state_codec::{
    BadState, StateHead, StateReader, StateRecord, StateWriter, decode_segment, encode_segment,
};
use crate::core::{
    ClosedEpoch, EpochState, Need, NeedSegments, Partition, PartitionConfig, ReferenceData,
    StateForm, StoredWindows,
};
use crate::epoch_files::encode_epoch;
use crate::ledger::{self, StoredEntry};

/// Topic of the partitions here.
const TOPIC: &str = "fuzz";
/// Buckets of ten minutes that stay open for one, so that a short run seals some.
const DEDUPE_OPEN_MS: u64 = 60_000;

/// The events of a protobuf `UsageBatch` as the stream reads them; `None` where the bytes are none.
pub fn read_batch(bytes: &[u8]) -> Option<Vec<ParsedEvent<'_>>> {
    Some(split_batch(bytes).ok()?.into_iter().map(parse_message).collect())
}

/// Reads bytes as a segment of dedupe. What is one has no other form.
///
/// # Errors
/// What does not hold.
pub fn check_segment(bytes: &[u8]) -> Result<(), String> {
    match decode_segment(bytes) {
        Ok(ids) if encode_segment(&ids) != bytes => Err("a segment has two forms".into()),
        _ => Ok(()),
    }
}

/// Reads bytes as a state object and, where they are one, takes it over as a new owner does: what
/// it then has must be what it stores, and what whoever comes next has.
///
/// # Errors
/// What does not hold.
pub fn check_state(bytes: &[u8], reference: &ReferenceData) -> Result<(), String> {
    // Whoever only looks at windows must bear the bytes too.
    let windows = StoredWindows::new(3_600_000).apply(bytes);
    let Ok((head, records)) = read_state(bytes) else {
        return if windows.is_ok() { Err("state that is none has windows".into()) } else { Ok(()) };
    };
    let again = write_state(head, &records);
    if read_state(&again) != Ok((head, records)) {
        return Err("state that is written again is read otherwise".into());
    }
    let mut owner = Partition::new(config(), reference.clone(), 0);
    if owner.restore(bytes, StateForm::Base).is_err() {
        return Ok(());
    }
    let base = owner.base();
    let mut next = Partition::new(config(), reference.clone(), 0);
    next.restore(&base, StateForm::Base).map_err(|BadState(why)| format!("own base: {why}"))?;
    same_state(&base, &next.base())
}

/// The head of a state object and all of its records.
fn read_state(bytes: &[u8]) -> Result<(StateHead, Vec<StateRecord<'_>>), BadState> {
    let (head, mut reader) = StateReader::open(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next()? {
        records.push(record);
    }
    Ok((head, records))
}

fn write_state(head: StateHead, records: &[StateRecord<'_>]) -> Vec<u8> {
    let mut writer = StateWriter::new(head, 0);
    for record in records {
        match record {
            StateRecord::Sealed(bucket, segment) => writer.sealed(*bucket, segment),
            StateRecord::Ids { bucket, seal_at_ms, ids } => {
                writer.ids(*bucket, *seal_at_ms, ids.len(), ids.iter().copied());
            }
            StateRecord::ClosedWindow(start) => writer.closed_window(*start),
            StateRecord::Window(window) => writer.window(window),
            StateRecord::Account { account, bytes } => writer.account(account, bytes),
        }
    }
    writer.finish()
}

/// Whether two bases say the same, in whatever order.
fn same_state(one: &[u8], other: &[u8]) -> Result<(), String> {
    let words = |bytes: &[u8]| {
        let (head, records) = read_state(bytes).map_err(|BadState(why)| why.to_owned())?;
        let mut words: Vec<String> = records.iter().map(|record| format!("{record:?}")).collect();
        words.sort_unstable();
        words.push(format!("{head:?}"));
        Ok::<_, String>(words)
    };
    let (one, other) = (words(one)?, words(other)?);
    let differs = || {
        let only = |these: &[String], those: &[String]| {
            these.iter().filter(|word| !those.contains(word)).cloned().collect::<Vec<_>>()
        };
        format!("state differs: {:#?} against {:#?}", only(&one, &other), only(&other, &one))
    };
    if one == other { Ok(()) } else { Err(differs()) }
}

fn config() -> PartitionConfig {
    PartitionConfig {
        topic: TOPIC.to_owned(),
        partition: 0,
        partition_count: 1,
        log: None,
        aggregate: AggregateConfig {
            dedupe_open_ms: DEDUPE_OPEN_MS,
            status_numbers_ms: 1_000,
            ..AggregateConfig::default()
        },
    }
}

/// One partition that is fed records as they come from the log. Each time an epoch closes, a new
/// owner recovers from what was stored and must have the same state.
#[derive(Debug)]
pub struct FuzzedPartition {
    state: Partition,
    segments: BTreeMap<String, Bytes>,
    /// The last base, and the deltas after it.
    stored: Vec<(StateForm, Vec<u8>)>,
    last: StoredEntry,
}

impl FuzzedPartition {
    /// A partition without state.
    pub fn new(reference: ReferenceData) -> Self {
        Self {
            state: Partition::new(config(), reference, 0),
            segments: BTreeMap::new(),
            stored: Vec::new(),
            last: StoredEntry { entry: first_entry(), hash: String::new() },
        }
    }

    /// Pushes a record, loading the segments that it needs. Nobody approved any reference data that
    /// it may name.
    ///
    /// # Errors
    /// What does not hold.
    pub fn push(
        &mut self,
        value: Option<&[u8]>,
        kind: RecordKind,
        timestamp_ms: i64,
    ) -> Result<(), String> {
        let offset = self.state.next_offset();
        let record = Record { offset, timestamp_ms, key: None, value, kind };
        while let Err(need) = self.state.push(record) {
            let NeedSegments { bucket, segments } = match need {
                Need::Segments(need) => need,
                Need::Reference(version) => {
                    self.state.refuse_reference(version, "there is no other".to_owned());
                    continue;
                }
            };
            let mut loaded = Vec::with_capacity(segments.len());
            for segment in segments {
                let path = &segment.file.path;
                let bytes = self.segments.get(path).ok_or(format!("{path} was never sealed"))?;
                loaded.push(bytes.clone());
            }
            self.state.provide(bucket, &loaded).map_err(|BadState(why)| why.to_owned())?;
        }
        if self.state.next_offset() != offset + 1 {
            return Err(format!("the record at {offset} is not behind"));
        }
        Ok(())
    }

    /// Closes the epoch and recovers from what is stored. With `writes` its rows become the files
    /// and the ledger entry that a store would get.
    ///
    /// # Errors
    /// What does not hold.
    pub fn close(&mut self, writes: bool) -> Result<(), String> {
        drop(self.state.take_notices());
        let closed = self.state.close();
        check_totals(&closed)?;
        for (path, bytes) in &closed.segments {
            check_segment(bytes)?;
            self.segments.insert(path.clone(), Bytes::from(bytes.clone()));
        }
        let (form, bytes) = match &closed.state {
            EpochState::Base(bytes) => (StateForm::Base, bytes.clone()),
            EpochState::Delta(bytes) => (StateForm::Delta, bytes.clone()),
        };
        if form == StateForm::Base {
            self.stored.clear();
        }
        self.stored.push((form, bytes));
        let (totals, clock) = (closed.cumulative.clone(), closed.clock);
        if writes {
            self.write(closed)?;
        }
        let reference = self.state.reference().clone();
        let mut next = Partition::new(config(), reference, self.state.next_offset());
        next.restore_totals(totals, clock);
        for (form, bytes) in &self.stored {
            next.restore(bytes, *form).map_err(|BadState(why)| format!("stored state: {why}"))?;
        }
        same_state(&self.state.base(), &next.base())?;
        if next.watermark_ms() != self.state.watermark_ms() {
            return Err("a new owner has another watermark".into());
        }
        Ok(())
    }

    /// The files and the entry of an epoch, which must be read as they were written.
    fn write(&mut self, closed: ClosedEpoch) -> Result<(), String> {
        let words = |error: crate::error::AggregateError| error.to_string();
        let encoded = encode_epoch(closed, &self.last, "fuzz", 0).map_err(words)?;
        let bytes = ledger::encode(&encoded.entry).map_err(words)?;
        let read: LedgerEntry =
            serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if read != encoded.entry {
            return Err("the ledger entry is read otherwise".into());
        }
        self.last = StoredEntry { entry: read, hash: ledger::hash_of(&bytes) };
        self.state.reuse(encoded.spare);
        Ok(())
    }

    /// The state objects that a new owner would read.
    pub fn stored_objects(&self) -> impl Iterator<Item = &[u8]> {
        self.stored.iter().map(|(_, bytes)| bytes.as_slice())
    }
}

/// I1, and a row for everything that was counted.
fn check_totals(closed: &ClosedEpoch) -> Result<(), String> {
    let totals = &closed.totals;
    let rows = [closed.events.len(), closed.suspense.len(), closed.resolutions.len()];
    let counted = [totals.accepted.events, totals.suspended.events, totals.resolved_events()];
    if !totals.conserved() || rows.map(|rows| rows as u64) != counted {
        return Err(format!("{rows:?} rows of events, suspense and its resolutions, {totals:?}"));
    }
    Ok(())
}

/// The claim that a partition's ledger begins with.
fn first_entry() -> LedgerEntry {
    LedgerEntry {
        format: LEDGER_FORMAT,
        topic: TOPIC.to_owned(),
        partition: 0,
        partition_count: 1,
        log: None,
        moving_to: None,
        n: 0,
        kind: EntryKind::Claim,
        owner: "fuzz".to_owned(),
        address: None,
        from: 0,
        to: 0,
        input_hash: String::new(),
        files: Vec::new(),
        state: Default::default(),
        totals: Default::default(),
        cumulative: Default::default(),
        models: Vec::new(),
        sources: Vec::new(),
        watermark_ms: None,
        reference_version: String::new(),
        next_reference: None,
        committed_at_ms: 0,
        alerts_ends: None,
        clock: None,
        previous: String::new(),
    }
}
