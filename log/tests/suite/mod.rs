//! What every log must do, whatever it is made of. The tests of each log call these.

// Each test binary uses its own part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tally_log::{
    Appended, Assignee, Bounds, EventLog, LogError, Outgoing, PartitionReader, Record, RecordKind,
};
use tokio_util::sync::CancellationToken;

/// Far more than anything here takes; a test that needs it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) offset: u64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) kind: RecordKind,
    pub(crate) timestamp_ms: i64,
}

impl Seen {
    pub(crate) fn of(record: Record<'_>) -> Self {
        Self {
            offset: record.offset,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            kind: record.kind,
            timestamp_ms: record.timestamp_ms,
        }
    }
}

/// What all members of a group share: as the ledger does, it says where each partition goes on,
/// and who may write.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// The next offset of each partition.
    pub(crate) next: BTreeMap<u32, u64>,
    /// Everything committed, in the order of its commit.
    pub(crate) seen: BTreeMap<u32, Vec<Seen>>,
    /// (member, partition, offset, bounds) of each assignment.
    pub(crate) assigned: Vec<(usize, u32, u64, Bounds)>,
    /// (member, partition) of each start of a reader.
    pub(crate) started: Vec<(usize, u32)>,
    /// (member, partition) of each revocation.
    pub(crate) revoked: Vec<(usize, u32)>,
    /// Who may commit a partition.
    pub(crate) owner: BTreeMap<u32, usize>,
    /// What readers ended with, but for `Gone`.
    pub(crate) errors: Vec<(u32, LogError)>,
    /// Records below the offset that was assigned.
    pub(crate) early: usize,
}

impl Ledger {
    pub(crate) fn count(&self) -> usize {
        self.state.lock().seen.values().map(Vec::len).sum()
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock());
        self.changed.notify_all();
        changed
    }

    /// Waits until `done`, and panics with the state where it never is.
    pub(crate) fn wait_for(&self, what: &str, mut done: impl FnMut(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state.lock();
        while !done(&state) {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                let counts: Vec<_> =
                    state.seen.iter().map(|(partition, seen)| (partition, seen.len())).collect();
                panic!(
                    "never: {what}; seen {counts:?}, next {:?}, assigned {:?}, revoked {:?}, \
                     errors {:?}",
                    state.next, state.assigned, state.revoked, state.errors
                );
            }
        }
    }

    /// Every committed offset of each partition is there once, in order.
    pub(crate) fn check_exactly_once(&self) {
        let state = self.state.lock();
        assert_eq!(state.early, 0, "records before the assigned offset");
        for (partition, seen) in &state.seen {
            for pair in seen.windows(2) {
                assert!(
                    pair[0].offset < pair[1].offset,
                    "partition {partition}: {} before {}",
                    pair[0].offset,
                    pair[1].offset
                );
            }
        }
    }
}

/// One member: a thread for each partition, which commits to the ledger after each read.
pub(crate) struct Member {
    pub(crate) id: usize,
    pub(crate) ledger: Arc<Ledger>,
    /// How many claims still fail.
    pub(crate) claims_to_fail: AtomicUsize,
    /// Most records of one read.
    pub(crate) read_max: usize,
    /// Pause after each read.
    pub(crate) pause: Duration,
    workers: Mutex<BTreeMap<u32, Worker>>,
}

struct Worker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Member {
    pub(crate) fn new(id: usize, ledger: &Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self::slow(id, ledger, Duration::ZERO))
    }

    pub(crate) fn slow(id: usize, ledger: &Arc<Ledger>, pause: Duration) -> Self {
        Self {
            id,
            ledger: Arc::clone(ledger),
            claims_to_fail: AtomicUsize::new(0),
            read_max: 100,
            pause,
            workers: Mutex::default(),
        }
    }

    /// Ends the worker of a partition, as one that has lost its fence does.
    pub(crate) fn give_up(&self, partition: u32) {
        if let Some(worker) = self.workers.lock().remove(&partition) {
            worker.stop.store(true, Ordering::Release);
            worker.thread.join().unwrap();
        }
    }
}

impl Assignee for Member {
    fn assign(&self, partition: u32, bounds: Bounds) -> Result<u64, LogError> {
        let failing =
            self.claims_to_fail
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        if failing.is_ok() {
            return Err(LogError::Retry("this claim is to fail".to_owned()));
        }
        Ok(self.ledger.change(|state| {
            let offset = state.next.get(&partition).copied().unwrap_or(bounds.start);
            state.assigned.push((self.id, partition, offset, bounds));
            state.owner.insert(partition, self.id);
            offset
        }))
    }

    fn start(&self, partition: u32, mut reader: Box<dyn PartitionReader>) {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (stop, ledger) = (Arc::clone(&stop), Arc::clone(&self.ledger));
            let (id, read_max, pause) = (self.id, self.read_max, self.pause);
            let start = ledger.change(|state| {
                state.assigned.iter().rfind(|(_, p, ..)| *p == partition).map(|(_, _, at, _)| *at)
            });
            move || {
                while !stop.load(Ordering::Acquire) {
                    let mut records = Vec::new();
                    let wait = Duration::from_millis(50);
                    let read = reader.read(read_max, wait, &mut |record| {
                        records.push(Seen::of(record));
                    });
                    match read {
                        Ok(count) => assert_eq!(count, records.len()),
                        Err(LogError::Retry(_)) => thread::park_timeout(Duration::from_millis(5)),
                        Err(LogError::Gone { .. }) => return,
                        Err(error) => {
                            ledger.change(|state| state.errors.push((partition, error)));
                            return;
                        }
                    }
                    ledger.change(|state| {
                        // What a zombie has read is not committed, as the ledger fences it.
                        if state.owner.get(&partition) != Some(&id) {
                            return;
                        }
                        for seen in records {
                            if start.is_some_and(|start| seen.offset < start) {
                                state.early += 1;
                            }
                            state.next.insert(partition, seen.offset + 1);
                            state.seen.entry(partition).or_default().push(seen);
                        }
                    });
                    if !pause.is_zero() {
                        thread::park_timeout(pause);
                    }
                }
            }
        });
        self.workers.lock().insert(partition, Worker { stop, thread });
        self.ledger.change(|state| state.started.push((self.id, partition)));
    }

    fn revoke(&self, partitions: &[u32]) {
        for partition in partitions {
            self.give_up(*partition);
        }
        self.ledger.change(|state| {
            state.revoked.extend(partitions.iter().map(|partition| (self.id, *partition)));
        });
    }
}

/// A consumption on a thread of its own, that ends when it is dropped.
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    thread: Option<JoinHandle<Result<(), LogError>>>,
}

impl Running {
    pub(crate) fn new(log: Arc<dyn EventLog>, member: Arc<dyn Assignee>) -> Self {
        let stop = CancellationToken::new();
        let token = stop.clone();
        let thread = thread::spawn(move || log.consume(member, token));
        Self { stop, thread: Some(thread) }
    }

    /// Stops and waits, and returns what the consumption ended with.
    pub(crate) fn end(mut self) -> Result<(), LogError> {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Waits for appends, in their order.
pub(crate) fn resolve(appends: Vec<Appended>) -> Vec<Result<u64, LogError>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut outcomes = Vec::new();
        for append in appends {
            outcomes.push(tokio::time::timeout(PATIENCE, append).await.expect("an answer in time"));
        }
        outcomes
    })
}

/// The `index`th record of a partition; the kind, the key and the size vary.
pub(crate) fn record(partition: u32, index: u64) -> Outgoing {
    let filling = "x".repeat(usize::try_from(index % 300).unwrap());
    let kind = if index.is_multiple_of(2) { RecordKind::Single } else { RecordKind::Batch };
    let value = match (kind, index % 4) {
        (RecordKind::Single, 0) => format!("{{\"{partition}/{index}\":\"{filling}\"}}"),
        _ => format!("{partition}/{index}/{filling}"),
    };
    Outgoing {
        partition,
        key: (!index.is_multiple_of(3)).then(|| Bytes::from(format!("A{index}"))),
        value: Bytes::from(value),
        kind,
    }
}

/// Appends `count` records to each partition, from `from` on, and checks their offsets.
pub(crate) fn append(log: &dyn EventLog, from: u64, count: u64) {
    let producer = log.producer().unwrap();
    for partition in 0..log.partition_count() {
        let appends =
            (from..from + count).map(|index| producer.append(record(partition, index))).collect();
        let offsets: Vec<u64> = resolve(appends).into_iter().map(Result::unwrap).collect();
        assert_eq!(offsets, (from..from + count).collect::<Vec<_>>(), "partition {partition}");
    }
    producer.flush(PATIENCE).unwrap();
}

/// What was committed is what was appended: `count` records of each partition.
pub(crate) fn check_all_seen(ledger: &Ledger, partition_count: u32, count: u64) {
    ledger.check_exactly_once();
    ledger.change(|state| {
        for partition in 0..partition_count {
            let seen = &state.seen[&partition];
            assert_eq!(u64::try_from(seen.len()).unwrap(), count, "partition {partition}");
            for (index, seen) in (0..).zip(seen) {
                let sent = record(partition, index);
                assert_eq!(seen.offset, index);
                assert_eq!(seen.key, sent.key.map(|key| key.to_vec()));
                assert_eq!(seen.value.as_deref(), Some(sent.value.as_ref()));
                assert_eq!(seen.kind, sent.kind);
            }
        }
    });
}

fn seen_at_least(state: &State, count: u64) -> bool {
    u64::try_from(state.seen.values().map(Vec::len).sum::<usize>()).unwrap() >= count
}

/// Records come back in the order of their offsets, whole, and new ones wake the readers.
pub(crate) fn appends_are_read_in_order(log: &Arc<dyn EventLog>) {
    let partitions = u64::from(log.partition_count());
    append(log.as_ref(), 0, 1_000);
    for partition in 0..log.partition_count() {
        assert_eq!(log.bounds(partition).unwrap(), Bounds { start: 0, end: 1_000 });
    }
    let ledger = Arc::new(Ledger::default());
    let running = Running::new(Arc::clone(log), Member::new(1, &ledger));
    ledger.wait_for("the first records", |state| seen_at_least(state, partitions * 1_000));
    append(log.as_ref(), 1_000, 50);
    ledger.wait_for("later records", |state| seen_at_least(state, partitions * 1_050));
    running.end().unwrap();
    check_all_seen(&ledger, log.partition_count(), 1_050);
    ledger.change(|state| {
        let mut revoked: Vec<u32> = state.revoked.iter().map(|(_, partition)| *partition).collect();
        revoked.sort_unstable();
        assert_eq!(revoked, (0..log.partition_count()).collect::<Vec<_>>(), "revoked at the end");
    });
}

/// A claim that fails leaves the partition unread, and is tried again.
pub(crate) fn a_failed_claim_is_tried_again(log: &Arc<dyn EventLog>) {
    let partitions = u64::from(log.partition_count());
    append(log.as_ref(), 0, 10);
    let ledger = Arc::new(Ledger::default());
    let member = Member::new(1, &ledger);
    member.claims_to_fail.store(3, Ordering::Release);
    let running = Running::new(Arc::clone(log), Arc::clone(&member) as Arc<dyn Assignee>);
    ledger.wait_for("everything", |state| seen_at_least(state, partitions * 10));
    running.end().unwrap();
    check_all_seen(&ledger, log.partition_count(), 10);
}

/// A partition that its owner gave up is claimed anew and goes on at the offset of the claim.
pub(crate) fn a_reassigned_partition_goes_on(log: &Arc<dyn EventLog>) {
    let partitions = u64::from(log.partition_count());
    append(log.as_ref(), 0, 2_000);
    let ledger = Arc::new(Ledger::default());
    let member = Arc::new(Member::slow(1, &ledger, Duration::from_millis(1)));
    let running = Running::new(Arc::clone(log), Arc::clone(&member) as Arc<dyn Assignee>);
    ledger.wait_for("a start", |state| starts_of(state, 0) == 1);
    for round in 1..=5_u64 {
        ledger.wait_for("some records", |state| seen_at_least(state, round * 100));
        member.give_up(0);
        // The owner forgets the last records, as one whose epoch was fenced does.
        ledger.change(|state| {
            let seen = state.seen.entry(0).or_default();
            let kept = seen.len().saturating_sub(7);
            seen.truncate(kept);
            state.next.insert(0, seen.last().map_or(0, |seen| seen.offset + 1));
        });
        let before = ledger.change(|state| starts_of(state, 0));
        log.reassign(0);
        ledger.wait_for("a new start", |state| starts_of(state, 0) > before);
    }
    append(log.as_ref(), 2_000, 10);
    ledger.wait_for("everything", |state| seen_at_least(state, partitions * 2_010));
    running.end().unwrap();
    check_all_seen(&ledger, log.partition_count(), 2_010);
}

fn starts_of(state: &State, partition: u32) -> usize {
    state.started.iter().filter(|(_, started)| *started == partition).count()
}

/// A second consumption of the same log is refused, and one after the first is not.
pub(crate) fn one_consumption_at_a_time(log: &Arc<dyn EventLog>) {
    append(log.as_ref(), 0, 1);
    let partitions = u64::from(log.partition_count());
    let ledger = Arc::new(Ledger::default());
    let running = Running::new(Arc::clone(log), Member::new(1, &ledger));
    ledger.wait_for("the first", |state| seen_at_least(state, partitions));
    let second = log.consume(Member::new(2, &ledger), CancellationToken::new());
    assert!(matches!(second, Err(LogError::Invalid(_))), "{second:?}");
    running.end().unwrap();
    append(log.as_ref(), 1, 1);
    let again = Running::new(Arc::clone(log), Member::new(3, &ledger));
    ledger.wait_for("the second", |state| seen_at_least(state, partitions * 2));
    again.end().unwrap();
    check_all_seen(&ledger, log.partition_count(), 2);
}

/// A partition that is not there is an error and not a panic.
pub(crate) fn unknown_partitions_are_refused(log: &Arc<dyn EventLog>) {
    let beyond = log.partition_count();
    assert!(log.bounds(beyond).is_err());
    let producer = log.producer().unwrap();
    let outcome = resolve(vec![producer.append(record(beyond, 0))]).remove(0);
    assert!(matches!(outcome, Err(LogError::Invalid(_))), "{outcome:?}");
    log.reassign(beyond);
    log.note_committed(beyond, 0);
}

/// A reader outside of the group begins where it is told and hinders nobody; what comes later is
/// read on.
pub(crate) fn anybody_reads_from_any_offset(log: &Arc<dyn EventLog>) {
    append(log.as_ref(), 0, 20);
    let read = |reader: &mut dyn PartitionReader, count: usize| {
        let mut offsets = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while offsets.len() < count && Instant::now() < deadline {
            reader
                .read(count, Duration::from_millis(50), &mut |record| offsets.push(record.offset))
                .unwrap();
        }
        offsets
    };
    let mut first = log.reader_at(1, 7).unwrap();
    let mut second = log.reader_at(1, 15).unwrap();
    assert_eq!(read(first.as_mut(), 13), (7..20).collect::<Vec<_>>());
    assert_eq!(read(second.as_mut(), 5), (15..20).collect::<Vec<_>>());
    append(log.as_ref(), 20, 3);
    assert_eq!(read(first.as_mut(), 3), [20, 21, 22]);
    assert_eq!(read(second.as_mut(), 3), [20, 21, 22]);
    assert!(matches!(log.reader_at(log.partition_count(), 0), Err(LogError::Invalid(_))));
    assert!(matches!(log.bounds(log.partition_count()), Err(LogError::Invalid(_))));
}
