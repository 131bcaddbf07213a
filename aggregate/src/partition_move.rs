//! Moves a stopped stream to a topic of another number of partitions: intend, freeze, rehearse,
//! decide, carry out. What a step leaves is created once, so that a crash anywhere leaves what the
//! same command goes on from, and that two who do it at once do the same. See
//! `docs/adr/0027-partition-count.md`.

mod rehearsal;

use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path};
use serde::{Serialize, de::DeserializeOwned};
use tally_schemas::{
    AggregateConfig, EntryKind, LEDGER_FORMAT, LedgerEnd, LedgerEntry, LogPlace, MoveDecision,
    MoveIntent, MoveOutcome, MoveTarget, StateFile, StateManifest, decision_path, intent_path,
};

pub use self::rehearsal::Rehearsal;
use crate::core::blake3_hex;
use crate::crash_point::crash_point;
use crate::error::{AggregateError, ErrorKind};
use crate::ledger::{self, Creation, StoredEntry, encode_checked, read_checked_json};
use crate::owner::Surroundings;
use crate::references::References;
use crate::stream_place::StreamPlace;

/// The first offset of a topic is a multiple of this, so that people see to which it belongs.
const OFFSETS_APART: u64 = 1_000_000;

/// The partitions of a ledger whose epochs the second stage has not all added: none of them where
/// there is no such stage. Their owners send them; a partition that is there no more has none.
///
/// # Errors
/// As [`ledger::read_entry`].
pub async fn not_added(
    store: &dyn ObjectStore,
    stage: &str,
    lasts: &[StoredEntry],
) -> Result<Vec<u32>, AggregateError> {
    let stage = ledger::find_last(store, stage, 0).await?;
    let sources = stage.map(|stage| stage.entry.sources).unwrap_or_default();
    let mut behind = Vec::new();
    for last in lasts {
        let LedgerEntry { topic, partition, n, .. } = &last.entry;
        let source = sources.iter().find(|source| source.partition == *partition);
        let floor = ledger::floor(store, topic, *partition).await?;
        for n in source.map_or(0, |source| source.next).max(floor)..=*n {
            let Some(stored) = ledger::read_entry(store, topic, *partition, n).await? else {
                continue;
            };
            if !(stored.entry.models.is_empty() && stored.entry.tells_increments()) {
                behind.push(*partition);
                break;
            }
        }
    }
    Ok(behind)
}

/// From where to where a stream is moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovePlan {
    /// The stream as it is.
    pub from: StreamPlace,
    /// The topic that it has.
    pub from_topic: String,
    /// Its partitions.
    pub from_partition_count: u32,
    /// The topic that it is to have.
    pub topic: String,
    /// Its partitions.
    pub partition_count: u32,
}

impl MovePlan {
    fn target(&self) -> MoveTarget {
        MoveTarget { topic: self.topic.clone(), partition_count: self.partition_count }
    }

    /// As it was intended, with where the stream was before.
    pub fn of_intent(intent: &MoveIntent, from: StreamPlace) -> Self {
        Self {
            from,
            from_topic: intent.from_topic.clone(),
            from_partition_count: intent.from_partition_count,
            topic: intent.topic.clone(),
            partition_count: intent.partition_count,
        }
    }
}

/// Moves one stream.
#[derive(Debug)]
pub struct PartitionMove {
    surroundings: Surroundings,
    settings: AggregateConfig,
    references: Arc<dyn References>,
    plan: MovePlan,
}

/// What carrying a move out came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MoveReport {
    /// Partitions whose first entry was written; the others had theirs.
    pub partitions: u32,
    /// Accounts and windows are in so many bytes of state, dedupe's open buckets with them.
    pub state_bytes: u64,
    /// Segments of dedupe that were written, each joined of those of a bucket.
    pub segments: u64,
}

impl PartitionMove {
    /// A move by a plan. Does no I/O.
    pub fn new(
        surroundings: Surroundings,
        settings: AggregateConfig,
        references: Arc<dyn References>,
        plan: MovePlan,
    ) -> Self {
        Self { surroundings, settings, references, plan }
    }

    fn store(&self) -> &dyn ObjectStore {
        self.surroundings.store.as_ref()
    }

    /// The last entry of every partition, each of which must have one and be of the stream as the
    /// plan says it is.
    ///
    /// # Errors
    /// `Invalid` where one is not; `Retry` while the store is away.
    pub async fn lasts(&self) -> Result<Vec<StoredEntry>, AggregateError> {
        let mut lasts = Vec::new();
        for partition in 0..self.plan.from_partition_count {
            let last = ledger::find_last(self.store(), &self.plan.from.ledger, partition).await?;
            let last = last.ok_or_else(|| {
                AggregateError::Invalid(format!(
                    "partition {partition} was never counted: run `tally aggregate --until-end` once"
                ))
            })?;
            self.check_last(&last.entry)?;
            lasts.push(last);
        }
        Ok(lasts)
    }

    fn check_last(&self, last: &LedgerEntry) -> Result<(), AggregateError> {
        let MovePlan { from, from_topic, from_partition_count, .. } = &self.plan;
        let partition = last.partition;
        if let (EntryKind::Frozen, Some(target)) = (last.kind, &last.moving_to)
            && *target != self.plan.target()
        {
            let MoveTarget { topic, partition_count } = target;
            return Err(AggregateError::Invalid(format!(
                "partition {partition} is frozen for topic {topic} of {partition_count} partitions: move to that, or give it up with `tally partitions abandon`"
            )));
        }
        let count = last.partition_count;
        if last.log != from.log {
            let topic = last.log.as_ref().map_or(&last.topic, |log| &log.topic);
            return Err(AggregateError::Invalid(format!(
                "the ledger of partition {partition} is of topic {topic} of {count} partitions, not of topic {from_topic}"
            )));
        }
        if count != *from_partition_count {
            return Err(AggregateError::Invalid(format!(
                "topic {from_topic} has {from_partition_count} partitions, the ledger of partition {partition} is of {count}: what is in others is counted by nobody; the change begins with a topic of {count}"
            )));
        }
        Ok(())
    }

    /// Says that the topic is to be the stream's, for each of its partitions, so that nothing begins
    /// with it by itself.
    ///
    /// # Errors
    /// `Invalid` where the topic has a ledger, or something else is intended with it.
    pub async fn intend(&self) -> Result<(), AggregateError> {
        let plan = &self.plan;
        let intents = (0..plan.partition_count).map(|partition| MoveIntent {
            format: LEDGER_FORMAT,
            topic: plan.topic.clone(),
            partition,
            partition_count: plan.partition_count,
            ledger: plan.from.ledger.clone(),
            from_topic: plan.from_topic.clone(),
            from_partition_count: plan.from_partition_count,
        });
        // The first one first: it is the one that is looked at.
        for intent in intents {
            let path = intent_path(&plan.topic, intent.partition);
            let stored = self.create_once(&path, &intent).await;
            let as_intended = matches!(&stored, Ok(stored) if *stored == intent);
            if !as_intended {
                // An entry does not read as an intent.
                return match stored {
                    Err(error) if error.kind() == ErrorKind::Retry => Err(error),
                    _ => Err(AggregateError::Invalid(format!(
                        "topic {} has a ledger, or was to be moved to otherwise ({path}): take a topic that was never used",
                        plan.topic
                    ))),
                };
            }
            crash_point("move_intended");
        }
        Ok(())
    }

    /// Freezes every partition where it is, and returns the entries: after them nobody commits.
    /// `ends` are those of the topic that the stream has.
    ///
    /// # Errors
    /// `Invalid` where something in the log is not committed.
    pub async fn freeze(&self, ends: &[u64]) -> Result<Vec<StoredEntry>, AggregateError> {
        check_read(&self.lasts().await?, ends)?;
        let mut frozen = Vec::new();
        for partition in 0..self.plan.from_partition_count {
            frozen.push(self.freeze_one(partition, ends).await?);
            crash_point("move_frozen");
        }
        Ok(frozen)
    }

    async fn freeze_one(
        &self,
        partition: u32,
        ends: &[u64],
    ) -> Result<StoredEntry, AggregateError> {
        let ledger = &self.plan.from.ledger;
        loop {
            let last = ledger::find_last(self.store(), ledger, partition).await?;
            let last = last.ok_or_else(|| {
                AggregateError::Damaged(format!("the ledger of partition {partition} is gone"))
            })?;
            self.check_last(&last.entry)?;
            check_read(std::slice::from_ref(&last), ends)?;
            if last.entry.kind == EntryKind::Frozen {
                return Ok(last);
            }
            let owner = self.surroundings.edge.new_owner();
            let count = self.plan.from_partition_count;
            let now_ms = self.surroundings.edge.now_ms();
            let mut entry =
                ledger::claim_entry(ledger, partition, count, &owner, Some(&last), 0, now_ms);
            entry.format = LEDGER_FORMAT;
            entry.kind = EntryKind::Frozen;
            entry.moving_to = Some(self.plan.target());
            let bytes = ledger::encode(&entry)?;
            match ledger::create(self.store(), &entry, &bytes).await {
                Creation::Ours => {
                    return Ok(StoredEntry { entry, hash: ledger::hash_of(&bytes) });
                }
                // An owner that lives, or another who does the same: what they did is the new end.
                Creation::Foreign(_) => {}
                Creation::Unresolved(error) => return Err(error),
            }
        }
    }

    /// Decides that the stream goes on with the topic. From here on there is no way back, so that
    /// it takes a rehearsal.
    ///
    /// # Errors
    /// `Invalid` where it was decided otherwise, or something came into the log since.
    pub async fn decide(
        &self,
        rehearsal: &Rehearsal,
        ends: &[u64],
    ) -> Result<MoveOutcome, AggregateError> {
        let frozen = rehearsal.frozen.as_slice();
        check_read(frozen, ends)?;
        let mut all: Vec<Option<LedgerEnd>> = Vec::new();
        let mut highest = 0;
        for last in frozen {
            highest = highest.max(last.entry.to);
            all.push(Some(LedgerEnd { n: last.entry.n, hash: last.hash.clone() }));
        }
        for partition in self.plan.from_partition_count..self.plan.partition_count {
            let last = ledger::find_last(self.store(), &self.plan.from.ledger, partition).await?;
            if let Some(last) = &last
                && last.entry.kind != EntryKind::Frozen
            {
                return Err(AggregateError::Damaged(format!(
                    "partition {partition} has a ledger that was not ended"
                )));
            }
            all.push(last.map(|last| LedgerEnd { n: last.entry.n, hash: last.hash }));
        }
        let first_offset = (highest / OFFSETS_APART + 1) * OFFSETS_APART;
        let outcome = MoveOutcome::Continues {
            partition_count: self.plan.partition_count,
            from_partition_count: self.plan.from_partition_count,
            first_offset,
            ends: all,
        };
        crash_point("move_deciding");
        let outcome = self.decide_once(outcome).await?;
        crash_point("move_decided");
        match outcome {
            MoveOutcome::Continues { .. } => Ok(outcome),
            MoveOutcome::Abandoned => Err(AggregateError::Invalid(format!(
                "the move to topic {} was given up: take another topic",
                self.plan.topic
            ))),
        }
    }

    async fn decide_once(&self, outcome: MoveOutcome) -> Result<MoveOutcome, AggregateError> {
        let decision = MoveDecision {
            format: LEDGER_FORMAT,
            topic: self.plan.topic.clone(),
            ledger: self.plan.from.ledger.clone(),
            outcome,
        };
        let stored = self.create_once(&decision_path(&self.plan.topic), &decision).await?;
        Ok(stored.outcome)
    }

    /// Gives the move up, as long as it was not decided: the stream goes on as it is.
    ///
    /// # Errors
    /// `Invalid` where it was decided.
    pub async fn abandon(&self) -> Result<(), AggregateError> {
        let topic = &self.plan.topic;
        if self.decide_once(MoveOutcome::Abandoned).await? != MoveOutcome::Abandoned {
            return Err(AggregateError::Invalid(format!(
                "the stream goes on with topic {topic}, that is decided: run `tally partitions change` to its end"
            )));
        }
        let ledger = &self.plan.from.ledger;
        for partition in 0..self.plan.from_partition_count {
            let Some(last) = ledger::find_last(self.store(), ledger, partition).await? else {
                continue;
            };
            if last.entry.kind != EntryKind::Frozen
                || last.entry.moving_to != Some(self.plan.target())
            {
                continue;
            }
            let owner = self.surroundings.edge.new_owner();
            let now_ms = self.surroundings.edge.now_ms();
            let count = last.entry.partition_count;
            let entry =
                ledger::claim_entry(ledger, partition, count, &owner, Some(&last), 0, now_ms);
            let bytes = ledger::encode(&entry)?;
            if let Creation::Unresolved(error) = ledger::create(self.store(), &entry, &bytes).await
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the state and the first entry of every partition that lacks its own, of what was
    /// decided: by the rehearsal, where this process made it.
    ///
    /// # Errors
    /// `Data` where stored state is damaged; `Retry` while the store is away.
    pub async fn carry_out(
        &self,
        outcome: &MoveOutcome,
        rehearsal: Option<Rehearsal>,
    ) -> Result<MoveReport, AggregateError> {
        let MoveOutcome::Continues { partition_count, from_partition_count, first_offset, ends } =
            outcome
        else {
            return Ok(MoveReport::default());
        };
        let log = LogPlace { topic: self.plan.topic.clone(), first_offset: *first_offset };
        let mut missing = Vec::new();
        for (partition, end) in (0..*partition_count).zip(ends) {
            if !self.is_moved(partition, end.as_ref(), &log).await? {
                missing.push((partition, end.as_ref()));
            }
        }
        let mut report = MoveReport::default();
        if missing.is_empty() {
            return Ok(report);
        }
        let mut frozen = Vec::new();
        for (partition, end) in (0..*from_partition_count).zip(ends) {
            let end = end.as_ref().ok_or_else(|| {
                AggregateError::Damaged(format!("partition {partition} was not frozen"))
            })?;
            frozen.push(self.entry_at(partition, end).await?);
        }
        let rehearsal = match rehearsal.filter(|rehearsal| rehearsal.frozen == frozen) {
            Some(rehearsal) => rehearsal,
            None => self.rehearse(frozen).await?,
        };
        let Rehearsal { frozen, states, watermark_ms, reference, segments } = rehearsal;
        report.segments = segments;
        let clock = frozen.iter().filter_map(|e| e.entry.clock).max_by_key(|clock| clock.at_ms);
        for (partition, end) in missing {
            let state = usize::try_from(partition).ok().and_then(|at| states.get(at));
            let Some(state) = state else { continue };
            let previous = match end {
                Some(end) => Some(self.entry_at(partition, end).await?),
                None => None,
            };
            let owner = self.surroundings.edge.new_owner();
            let now_ms = self.surroundings.edge.now_ms();
            let ledger = &self.plan.from.ledger;
            let mut entry = ledger::claim_entry(
                ledger,
                partition,
                *partition_count,
                &owner,
                previous.as_ref(),
                *first_offset,
                now_ms,
            );
            entry.format = LEDGER_FORMAT;
            entry.kind = EntryKind::Moved;
            entry.log = Some(log.clone());
            (entry.from, entry.to) = (*first_offset, *first_offset);
            entry.watermark_ms = watermark_ms;
            entry.next_reference = reference.clone();
            // What lies in the topic of alerts by now is of before: whoever claims it says where.
            entry.alerts_ends = None;
            entry.clock = clock;
            entry.state = StateManifest {
                base: Some(self.put_state(&entry, state).await?),
                deltas: Vec::new(),
            };
            report.state_bytes = report.state_bytes.saturating_add(state.len() as u64);
            crash_point("move_state_stored");
            let bytes = ledger::encode(&entry)?;
            match ledger::create(self.store(), &entry, &bytes).await {
                Creation::Ours => report.partitions += 1,
                // Somebody else does the same.
                Creation::Foreign(other) => check_moved(&other.entry, &log)?,
                Creation::Unresolved(error) => return Err(error),
            }
            crash_point("move_carried_out");
        }
        Ok(report)
    }

    /// The topic that the stream has by now, where that is another one: it may have gone on since.
    ///
    /// # Errors
    /// As [`ledger::read_entry`].
    pub async fn later_topic(&self) -> Result<Option<String>, AggregateError> {
        // Every topic has partition 0.
        let first = ledger::find_last(self.store(), &self.plan.from.ledger, 0).await?;
        let now = first.and_then(|stored| stored.entry.log).map(|log| log.topic);
        Ok(now.filter(|topic| *topic != self.plan.topic))
    }

    /// Whether a partition has its first entry of the new topic.
    async fn is_moved(
        &self,
        partition: u32,
        end: Option<&LedgerEnd>,
        log: &LogPlace,
    ) -> Result<bool, AggregateError> {
        let ledger = &self.plan.from.ledger;
        let n = end.map_or(0, |end| end.n + 1);
        match ledger::read_entry(self.store(), ledger, partition, n).await? {
            Some(stored) => check_moved(&stored.entry, log).map(|()| true),
            // The janitor removes what is old; so much has gone on since.
            None => Ok(ledger::floor(self.store(), ledger, partition).await? > n),
        }
    }

    async fn entry_at(
        &self,
        partition: u32,
        end: &LedgerEnd,
    ) -> Result<StoredEntry, AggregateError> {
        let ledger = &self.plan.from.ledger;
        let stored = ledger::read_entry(self.store(), ledger, partition, end.n).await?;
        stored.filter(|stored| stored.hash == end.hash).ok_or_else(|| {
            AggregateError::Damaged(format!(
                "entry {} of partition {partition} is not the one that it was moved from",
                end.n
            ))
        })
    }

    async fn put_state(
        &self,
        entry: &LedgerEntry,
        state: &[u8],
    ) -> Result<StateFile, AggregateError> {
        let LedgerEntry { topic, partition, n, owner, .. } = entry;
        let file = StateFile {
            path: format!("state/{topic}/{partition}/base-{n:020}-{owner}.state"),
            bytes: state.len() as u64,
            hash: blake3_hex(state),
        };
        self.put(&file.path, Bytes::copy_from_slice(state)).await?;
        Ok(file)
    }

    async fn put(&self, path: &str, bytes: Bytes) -> Result<(), AggregateError> {
        self.store().put(&Path::from(path), bytes.into()).await?;
        Ok(())
    }

    /// Creates an object and returns what is there: it, or what somebody created before.
    async fn create_once<T: Serialize + DeserializeOwned>(
        &self,
        path: &str,
        object: &T,
    ) -> Result<T, AggregateError> {
        let bytes = encode_checked(object)?;
        let options = PutOptions::from(PutMode::Create);
        let created = self.store().put_opts(&Path::from(path), bytes.into(), options).await;
        // Whatever the store answered: what is there is what counts (R5).
        match (read_checked_json(self.store(), path).await?, created) {
            (Some(stored), _) => Ok(stored),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(_)) => {
                Err(AggregateError::Damaged(format!("{path} was written and is gone")))
            }
        }
    }
}

/// Everything that is in the log must be committed: what is not would be lost.
fn check_read(lasts: &[StoredEntry], ends: &[u64]) -> Result<(), AggregateError> {
    unread(lasts, ends).map_or(Ok(()), |words| Err(AggregateError::Invalid(words)))
}

/// Which partitions are not committed up to the ends of their topic, and what to do; none where all
/// are.
pub fn unread(lasts: &[StoredEntry], ends: &[u64]) -> Option<String> {
    let mut behind = Vec::new();
    for StoredEntry { entry, .. } in lasts {
        let end = usize::try_from(entry.partition).ok().and_then(|at| ends.get(at)).copied();
        if end != Some(entry.to) {
            let end = end.map_or_else(|| "no end".to_owned(), |end| end.to_string());
            behind.push(format!(
                "{} (committed to {}, the log ends at {end})",
                entry.partition, entry.to
            ));
        }
    }
    // A transaction's marker is an offset that nobody can read, and so are records taken back.
    (!behind.is_empty()).then(|| {
        format!(
            "the log is not read to its end in partitions {}: stop what writes to it, and run `tally aggregate --until-end`; where partitions are frozen already, `tally partitions abandon` first. A partition in which nothing is left to be read ends with a transaction, whose marker nobody reads: send an event that it has had once more, outside of any transaction, and read that",
            behind.join(", ")
        )
    })
}

fn check_moved(entry: &LedgerEntry, log: &LogPlace) -> Result<(), AggregateError> {
    if entry.kind == EntryKind::Moved && entry.log.as_ref() == Some(log) {
        return Ok(());
    }
    Err(AggregateError::Damaged(format!(
        "entry {} of partition {} is not the one by which it is moved to topic {}",
        entry.n, entry.partition, log.topic
    )))
}
