//! Owning a partition: claim it, recover its state, commit epoch after epoch, notice when another
//! owner has taken it. All of it I/O over the ledger protocol; the decisions are in `ledger` and
//! in the core.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, try_join, try_join_all};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tally_log::Bounds;
use tally_log::TracedRecord;
use tally_schemas::{EntryKind, LedgerEntry, LogPlace, ReferenceVersion, StateFile};

use crate::core::ReferenceData;
use crate::core::{NeedSegments, Partition, PartitionConfig, StateForm, blake3_hex};
use crate::crash_point::crash_point;
use crate::error::{AggregateError, ErrorKind};
use crate::ledger::{self, Creation, StoredEntry};
use crate::notice_topic::{NoticeTopic, NoticeTopics, ReadBack, partitions_reached};
use crate::object_read::{read_object, read_objects};
use crate::planted::{Bug, planted};
use crate::references::{Found, References};

/// What the stream needs of the world beside the log and the store. Passed in, so that the
/// simulation can replace it.
pub trait Edge: Send + Sync + std::fmt::Debug {
    /// Milliseconds UTC.
    fn now_ms(&self) -> i64;
    /// An id that nobody had before.
    fn new_owner(&self) -> String;
    /// URL under which this process is reached, where others are to know.
    fn address(&self) -> Option<String> {
        None
    }
    /// Hears of an epoch that is committed and has records whose requests are traced.
    fn traced(&self, _epoch: &TracedEpoch) {}
    /// Waits before attempt `attempt` (from 1) of something that failed.
    fn pause(&self, attempt: u32, why: &AggregateError) -> BoxFuture<'static, ()>;
    /// The same for a partition, whose place goes into what is said of it.
    fn pause_at(
        &self,
        _place: WaitingPlace,
        attempt: u32,
        why: &AggregateError,
    ) -> BoxFuture<'static, ()> {
        self.pause(attempt, why)
    }
}

/// Where something waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingPlace {
    /// Partition.
    pub partition: u32,
    /// Number of its last committed ledger entry; none before its ledger is read.
    pub last_epoch: Option<u64>,
}

/// A committed epoch, as far as it is traced.
#[derive(Debug, Clone)]
pub struct TracedEpoch {
    /// Partition.
    pub partition: u32,
    /// Number of the ledger entry.
    pub epoch: u64,
    /// When the entry was there, milliseconds UTC.
    pub committed_ms: i64,
    /// Traced records of the epoch, each with when it was read, milliseconds UTC.
    pub records: Vec<(TracedRecord, i64)>,
}

/// The store and the world.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Object storage, rooted at the store's URL.
    pub store: Arc<dyn ObjectStore>,
    /// Clock, ids and waiting.
    pub edge: Arc<dyn Edge>,
    /// Where notices go.
    pub notices: NoticeTopics,
}

/// The right to commit to one partition, until somebody else claims it.
#[derive(Debug)]
pub struct Ownership {
    surroundings: Surroundings,
    owner: String,
    last: StoredEntry,
    /// Age at which files that no entry names yet are written again, before the janitor may take
    /// them for abandoned.
    refresh_ms: i64,
    /// What was sent for epochs after the last one.
    read_back: ReadBack,
}

/// Which ledger: of a topic's partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LedgerPlace<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: u32,
    pub(crate) partition_count: u32,
    /// The topic that offsets are of, where it is another one.
    pub(crate) log: Option<&'a LogPlace>,
    /// How long files that no entry names are left alone, milliseconds.
    pub(crate) retention_ms: u64,
    /// Whose alerts are sent for it.
    pub(crate) sender: Sender,
}

/// Who sends alerts for a ledger. Positions that alerts name are of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The owner of a partition: alerts of accounts.
    Partition,
    /// The owner of the second stage: alerts of budgets and commitments.
    SecondStage,
}

impl<'a> LedgerPlace<'a> {
    fn of(config: &'a PartitionConfig) -> Self {
        Self {
            topic: &config.topic,
            partition: config.partition,
            partition_count: config.partition_count,
            log: config.log.as_ref(),
            retention_ms: config.aggregate.retention_ms,
            sender: Sender::Partition,
        }
    }
}

/// Claims a partition and recovers its state: the first thing a new owner does. What it reads is
/// rated by the version of the reference data that the last entry names, whatever is newer.
/// `bounds` are the log's. They may be older than the ledger's end, where a predecessor went on: a
/// caller who gets [`AggregateError::Truncated`] asks for them anew, and tries again unless the log
/// still ends before what was committed.
///
/// # Errors
/// `Data` where the log no longer has what was not processed yet, or stored state is damaged;
/// `Invalid` where the topic has another number of partitions than the ledger; `Retry` while the
/// store is away.
pub async fn take(
    surroundings: &Surroundings,
    config: &PartitionConfig,
    references: &dyn References,
    bounds: Bounds,
) -> Result<(Ownership, Partition), AggregateError> {
    let place = LedgerPlace::of(config);
    // What a ledger that begins is rated by, or one from before reference data was named.
    let first_reference = references.newest().version;
    let mut ownership = claim(surroundings, place, bounds, Some(first_reference)).await?;
    let reference = match &ownership.last().next_reference {
        Some(version) if !planted(Bug::NewestReferenceAtRecovery) => {
            named_by_ledger(references, version).await?
        }
        _ => references.newest(),
    };
    let store = surroundings.store.as_ref();
    // After the claim: who had it before commits no more, so whatever it sent and did not commit
    // is sent by now.
    let (state, read_back) = try_join(
        recover(store, config, &reference, ownership.last()),
        read_back(surroundings, place, ownership.last()),
    )
    .await?;
    ownership.read_back = read_back;
    Ok((ownership, state))
}

/// The reference data that a ledger entry names.
pub(crate) async fn named_by_ledger(
    references: &dyn References,
    version: &ReferenceVersion,
) -> Result<ReferenceData, AggregateError> {
    let there = match references.find(version).await? {
        Found::Here(reference) => return Ok(reference),
        Found::Other(there) => format!("the store has {there}"),
        Found::Absent => "the store has no such edition".to_owned(),
    };
    Err(AggregateError::Damaged(format!("the ledger names reference data {version}, {there}")))
}

/// Claims a ledger. The state after its last entry is the caller's to recover. `first_reference` is
/// the version of the reference data that its next epoch is rated by, where no entry names one.
///
/// # Errors
/// As [`take`].
pub(crate) async fn claim(
    surroundings: &Surroundings,
    place: LedgerPlace<'_>,
    bounds: Bounds,
    first_reference: Option<ReferenceVersion>,
) -> Result<Ownership, AggregateError> {
    let store = surroundings.store.as_ref();
    let owner = surroundings.edge.new_owner();
    let (topic, partition) = (place.topic, place.partition);
    loop {
        let known = ledger::find_last(store, topic, partition).await?;
        match (&known, place.log) {
            (Some(known), _) if known.entry.kind == EntryKind::Frozen => {
                return Err(why_frozen(store, place, &known.entry).await);
            }
            (Some(known), _) => check_continuation(&known.entry, place, bounds)?,
            // What a change of the partition count has not come to yet must not begin by itself.
            (None, Some(log)) => return Err(unfinished_move(topic, &log.topic)),
            (None, None) => {}
        }
        let now_ms = surroundings.edge.now_ms();
        let count = place.partition_count;
        let start = bounds.start;
        let mut entry =
            ledger::claim_entry(topic, partition, count, &owner, known.as_ref(), start, now_ms);
        if let (Some(alerts), None) = (&surroundings.notices.alerts, &entry.alerts_ends) {
            // Nobody who sends has had the partition yet: what is there now is of others.
            entry.alerts_ends = Some(alerts.ends(reached(alerts.as_ref(), place)).await?);
        }
        if entry.next_reference.is_none() {
            entry.next_reference = first_reference.clone();
        }
        entry.address = surroundings.edge.address();
        let bytes = ledger::encode(&entry)?;
        let claimed = if planted(Bug::ClaimSkipped) && known.is_some() {
            known.clone()
        } else {
            match ledger::create(store, &entry, &bytes).await {
                Creation::Ours => Some(StoredEntry { entry, hash: ledger::hash_of(&bytes) }),
                // Somebody was faster; what they did is the new end.
                Creation::Foreign(_) => None,
                Creation::Unresolved(error) => return Err(error),
            }
        };
        if let Some(last) = claimed {
            let surroundings = surroundings.clone();
            let refresh_ms = place.retention_ms.cast_signed() / 2;
            let read_back = ReadBack::default();
            return Ok(Ownership { surroundings, owner, last, refresh_ms, read_back });
        }
    }
}

/// The partitions of the topic of alerts that alerts of a ledger may be in. The second stage's are
/// of models and vendors: they may be in any.
fn reached(alerts: &dyn NoticeTopic, place: LedgerPlace<'_>) -> Vec<u32> {
    partitions_reached(place.partition, place.partition_count, alerts.partition_count())
}

/// The alerts that were sent for records behind `last`.
///
/// # Errors
/// `Retry` while the topic cannot be read.
pub(crate) async fn read_back(
    surroundings: &Surroundings,
    place: LedgerPlace<'_>,
    last: &LedgerEntry,
) -> Result<ReadBack, AggregateError> {
    let Some(alerts) = &surroundings.notices.alerts else { return Ok(ReadBack::default()) };
    let known = |reached: u32| last.alerts_ends.as_ref().and_then(|ends| ends.get(&reached));
    let from = reached(alerts.as_ref(), place)
        .into_iter()
        .map(|reached| (reached, known(reached).copied().unwrap_or(0)))
        .collect();
    let mut read = alerts.read_back(from).await?;
    let of_budgets = std::mem::take(&mut read.of_budgets);
    if place.sender == Sender::SecondStage {
        read.alerts = of_budgets;
    }
    read.alerts.retain(|_, at| at.partition == place.partition && at.offset >= last.to);
    if planted(Bug::AlertsNotReadBack) {
        read.alerts.clear();
    }
    Ok(read)
}

/// The partition count is being changed, and not everything is where it is to be.
pub(crate) fn unfinished_move(ledger: &str, to: &str) -> AggregateError {
    AggregateError::Invalid(format!(
        "the stream of {ledger} is being moved to topic {to}: run `tally partitions change` to its end, then set log.topic to {to}; or give it up with `tally partitions abandon`"
    ))
}

/// Why nobody goes on behind a frozen entry: the stream has gone on without the partition, or is
/// being moved.
async fn why_frozen(
    store: &dyn ObjectStore,
    place: LedgerPlace<'_>,
    frozen: &LedgerEntry,
) -> AggregateError {
    // Every topic has partition 0, which gets its entry first.
    let first = match ledger::find_last(store, place.topic, 0).await {
        Ok(first) => first.map(|stored| stored.entry),
        Err(error) => return error,
    };
    let later =
        first.filter(|first| first.log.as_ref().is_some_and(|log| log.first_offset > frozen.to));
    match later {
        Some(later) if later.log.as_ref() == place.log => {
            unfinished_move(place.topic, topic_of(later.log.as_ref(), place))
        }
        Some(later) => gone_on(&later, place),
        None => {
            let to = frozen.moving_to.as_ref().map_or("", |target| target.topic.as_str());
            unfinished_move(place.topic, to)
        }
    }
}

/// The stream has another topic by now.
fn gone_on(last: &LedgerEntry, place: LedgerPlace<'_>) -> AggregateError {
    let (theirs, ours) = (topic_of(last.log.as_ref(), place), topic_of(place.log, place));
    AggregateError::Invalid(format!(
        "the stream has gone on with topic {theirs} of {} partitions; topic {ours} is not counted any more: set log.topic to {theirs}",
        last.partition_count
    ))
}

fn topic_of<'a>(log: Option<&'a LogPlace>, place: LedgerPlace<'a>) -> &'a str {
    log.map_or(place.topic, |log| &log.topic)
}

fn check_continuation(
    last: &LedgerEntry,
    place: LedgerPlace<'_>,
    bounds: Bounds,
) -> Result<(), AggregateError> {
    let partition = place.partition;
    if last.log.as_ref() != place.log {
        return Err(gone_on(last, place));
    }
    if last.partition_count != place.partition_count {
        return Err(AggregateError::Invalid(format!(
            "topic {} has {} partitions, the ledger was begun with {}: accounts would move between partitions and be counted twice; recreate the topic with {} partitions",
            place.topic, place.partition_count, last.partition_count, last.partition_count
        )));
    }
    if bounds.start > last.to {
        return Err(AggregateError::Lost { partition, from: last.to, to: bounds.start });
    }
    if bounds.end < last.to {
        return Err(AggregateError::Truncated { partition, end: bounds.end, committed: last.to });
    }
    Ok(())
}

/// The state after a ledger entry: its base and deltas, read together and checked.
///
/// # Errors
/// `Data` where an object is missing or is not what the entry says; `Retry` while the store is
/// away.
pub async fn recover(
    store: &dyn ObjectStore,
    config: &PartitionConfig,
    reference: &ReferenceData,
    last: &LedgerEntry,
) -> Result<Partition, AggregateError> {
    let mut state = Partition::new(config.clone(), reference.clone(), last.to);
    state.restore_totals(last.cumulative.clone(), last.clock);
    state.begin_topic_at(last.log.as_ref().map_or(0, |log| log.first_offset));
    // Before the base, which may be hours older than its last delta.
    state.see_stored(last.watermark_ms);
    let manifest = &last.state;
    let mut files: Vec<&StateFile> = manifest.base.iter().chain(&manifest.deltas).collect();
    if planted(Bug::StateOneEpochOld) {
        files.pop();
    }
    let objects = read_all_checked(store, &files).await?;
    for (file, bytes) in files.iter().zip(objects) {
        state.restore(&bytes, form_of(file, manifest)).map_err(|bad| damaged(file, bad.0))?;
    }
    Ok(state)
}

fn form_of(file: &StateFile, manifest: &tally_schemas::StateManifest) -> StateForm {
    if manifest.base.as_ref() == Some(file) { StateForm::Base } else { StateForm::Delta }
}

/// Reads an object and checks its hash (R20).
pub(crate) async fn read_checked(
    store: &dyn ObjectStore,
    file: &StateFile,
) -> Result<Bytes, AggregateError> {
    let bytes = read_object(store, &Path::from(file.path.as_str())).await?;
    check(file, &bytes)?;
    Ok(bytes)
}

/// Reads several objects, a partition's state or what was sealed of it, and checks their hashes.
pub(crate) async fn read_all_checked(
    store: &dyn ObjectStore,
    files: &[&StateFile],
) -> Result<Vec<Bytes>, AggregateError> {
    let paths: Vec<Path> = files.iter().map(|file| Path::from(file.path.as_str())).collect();
    let objects = read_objects(store, &paths, paths.len()).await?;
    files.iter().zip(&objects).try_for_each(|(file, bytes)| check(file, bytes))?;
    Ok(objects)
}

fn check(file: &StateFile, bytes: &[u8]) -> Result<(), AggregateError> {
    if blake3_hex(bytes) != file.hash {
        return Err(damaged(file, "its hash is not the one in the ledger"));
    }
    Ok(())
}

pub(crate) fn damaged(file: &StateFile, why: &str) -> AggregateError {
    AggregateError::Damaged(format!("{}: {why}", file.path))
}

/// Loads the segments that a record needs and hands them to the partition. Tries again while the
/// store is away.
///
/// # Errors
/// `Data` where a segment is missing or damaged.
pub async fn load_segments(
    surroundings: &Surroundings,
    state: &mut Partition,
    need: &NeedSegments,
) -> Result<(), AggregateError> {
    let segments = read_segments(surroundings, need).await?;
    provide_segments(state, need, &segments)
}

/// Reads the segments that a record needs. Tries again while the store is away.
///
/// # Errors
/// `Data` where a segment is missing or is not what the ledger says.
pub(crate) async fn read_segments(
    surroundings: &Surroundings,
    need: &NeedSegments,
) -> Result<Vec<Bytes>, AggregateError> {
    let store = surroundings.store.as_ref();
    let files: Vec<&StateFile> = need.segments.iter().map(|segment| &segment.file).collect();
    let mut attempt = 0;
    loop {
        match read_all_checked(store, &files).await {
            Ok(segments) => return Ok(segments),
            Err(error) if error.kind() == ErrorKind::Retry => {
                attempt += 1;
                surroundings.edge.pause(attempt, &error).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Hands the segments to the partition.
///
/// # Errors
/// `Data` where one does not parse.
pub(crate) fn provide_segments(
    state: &mut Partition,
    need: &NeedSegments,
    segments: &[Bytes],
) -> Result<(), AggregateError> {
    state
        .provide(need.bucket, segments)
        .map_err(|bad| AggregateError::Damaged(format!("bucket {}: {}", need.bucket, bad.0)))
}

impl Ownership {
    /// This owner's id.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// What was sent for epochs after the one that this owner began with; once.
    pub(crate) fn take_read_back(&mut self) -> ReadBack {
        std::mem::take(&mut self.read_back)
    }

    /// The last entry of the ledger, as far as this owner knows.
    pub fn last(&self) -> &LedgerEntry {
        &self.last.entry
    }

    /// Stores an epoch's objects and then creates its ledger entry, which is the commit. Tries
    /// without end while the store is away, always with the same bytes; dropping the future gives
    /// up, and then only the ledger knows whether the epoch is committed.
    ///
    /// # Errors
    /// `Fenced` where another owner has the number: drop the partition. `Data` where the ledger is
    /// damaged: stop.
    pub async fn commit(
        &mut self,
        objects: Vec<(String, Bytes)>,
        mut entry: LedgerEntry,
    ) -> Result<&LedgerEntry, AggregateError> {
        let surroundings = self.surroundings.clone();
        entry.address = surroundings.edge.address();
        let mut bytes = ledger::encode(&entry)?;
        let mut uploaded_ms = surroundings.edge.now_ms();
        if !planted(Bug::OffsetBeforeData) {
            self.upload(&objects).await?;
        }
        crash_point("uploaded");
        let mut attempt = 0;
        loop {
            self.refresh(&objects, &mut uploaded_ms).await?;
            match ledger::create(surroundings.store.as_ref(), &entry, &bytes).await {
                Creation::Ours => break,
                Creation::Foreign(other) => {
                    if planted(Bug::UnknownCommitTakenForFailure)
                        && other.hash == ledger::hash_of(&bytes)
                    {
                        entry.n += 1;
                        entry.previous = other.hash;
                        bytes = ledger::encode(&entry)?;
                        continue;
                    }
                    return Err(AggregateError::Fenced {
                        partition: entry.partition,
                        n: entry.n,
                        owner: other.entry.owner,
                    });
                }
                // Damage and refusals do not pass by waiting (I12).
                Creation::Unresolved(error) if error.kind() != ErrorKind::Retry => {
                    return Err(error);
                }
                Creation::Unresolved(error) => {
                    attempt += 1;
                    surroundings.edge.pause(attempt, &error).await;
                }
            }
        }
        if planted(Bug::OffsetBeforeData) {
            self.upload(&objects).await?;
        }
        crash_point("committed");
        // The process may have slept before its entry was made.
        self.refresh(&objects, &mut uploaded_ms).await?;
        self.last = StoredEntry { entry, hash: ledger::hash_of(&bytes) };
        Ok(&self.last.entry)
    }

    /// The entry that the next epoch follows.
    pub fn last_stored(&self) -> &StoredEntry {
        &self.last
    }

    /// Writes objects again that have been there for long: the janitor removes files that no entry
    /// names when they are older than the retention.
    async fn refresh(
        &self,
        objects: &[(String, Bytes)],
        uploaded_ms: &mut i64,
    ) -> Result<(), AggregateError> {
        let now_ms = self.surroundings.edge.now_ms();
        if now_ms.saturating_sub(*uploaded_ms) >= self.refresh_ms {
            *uploaded_ms = now_ms;
            self.upload(objects).await?;
        }
        Ok(())
    }

    async fn upload(&self, objects: &[(String, Bytes)]) -> Result<(), AggregateError> {
        try_join_all(objects.iter().map(|(path, bytes)| self.put(path, bytes))).await.map(|_| ())
    }

    /// Writes an object of this owner's own name; the same bytes may be written again.
    async fn put(&self, path: &str, bytes: &Bytes) -> Result<(), AggregateError> {
        let mut attempt = 0;
        let path = Path::from(path);
        loop {
            match self.surroundings.store.put(&path, bytes.clone().into()).await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    let error = AggregateError::from(error);
                    // A refusal, or a bucket that is not there, does not pass by waiting (I12).
                    if error.kind() != ErrorKind::Retry {
                        return Err(error);
                    }
                    attempt += 1;
                    self.surroundings.edge.pause(attempt, &error).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use object_store::memory::InMemory;
    use parking_lot::Mutex;
    use tally_schemas::AggregateConfig;

    use super::*;
    use crate::ledger::claim_entry;

    /// A clock that jumps by thirteen hours at one of its readings, while a janitor removes the
    /// epoch's file, and that notes at each reading whether the file is there.
    #[derive(Debug)]
    struct SleepyEdge {
        store: Arc<InMemory>,
        jump_at: usize,
        seen: Mutex<Vec<bool>>,
    }

    impl Edge for SleepyEdge {
        fn now_ms(&self) -> i64 {
            let file = Path::from("file");
            let mut seen = self.seen.lock();
            seen.push(self.store.head(&file).now_or_never().unwrap().is_ok());
            if seen.len() == self.jump_at {
                drop(self.store.delete(&file).now_or_never());
            }
            if seen.len() >= self.jump_at { 13 * 3_600_000 } else { 0 }
        }
        fn new_owner(&self) -> String {
            "owner".to_owned()
        }
        fn pause(&self, _: u32, _: &AggregateError) -> BoxFuture<'static, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    /// What each reading of the clock saw: at the claim, before the upload, before the entry is
    /// made, after it; and whether the file is there in the end.
    fn files_seen(jump_at: usize) -> Vec<bool> {
        let store = Arc::new(InMemory::new());
        let edge =
            Arc::new(SleepyEdge { store: Arc::clone(&store), jump_at, seen: Mutex::default() });
        let surroundings = Surroundings {
            store: Arc::clone(&store) as Arc<dyn ObjectStore>,
            edge: Arc::clone(&edge) as Arc<dyn Edge>,
            notices: NoticeTopics::default(),
        };
        let config = PartitionConfig {
            topic: "usage".to_owned(),
            partition: 0,
            partition_count: 1,
            log: None,
            aggregate: AggregateConfig::default(),
        };
        let reference = ReferenceData::none();
        let bounds = Bounds { start: 0, end: 0 };
        futures::executor::block_on(async {
            let (mut ownership, _) =
                take(&surroundings, &config, &reference, bounds).await.unwrap();
            let last = ownership.last_stored().clone();
            let mut entry = claim_entry("usage", 0, 1, "owner", Some(&last), 0, 0);
            entry.kind = EntryKind::Epoch;
            let objects = vec![("file".to_owned(), Bytes::from_static(b"rows"))];
            ownership.commit(objects, entry).await.unwrap();
        });
        let mut seen = edge.seen.lock().clone();
        seen.push(store.head(&Path::from("file")).now_or_never().unwrap().is_ok());
        seen
    }

    #[test]
    fn an_owner_that_slept_writes_its_files_again() {
        // Awake, asleep before the entry is made, asleep while it is made.
        for jump_at in [usize::MAX, 3, 4] {
            assert_eq!(files_seen(jump_at), [false, false, true, true, true], "{jump_at}");
        }
    }
}
