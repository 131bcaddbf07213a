//! A stream is moved to a topic of another number of partitions, and goes on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may stop at the first surprise, and waits for real threads"
)]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tally_aggregate::owner::take;
use tally_aggregate::{
    AggregateError, Aggregator, ErrorKind, Extent, MovePlan, NoticeTopics, PartitionConfig,
    PartitionMove, ReferenceData, StreamPlace, Surroundings, decision_of, intent_of, ledger,
    not_added, stream_of, unread,
};
use tally_log::{Bounds, ContinuedLog, EventLog, MemoryLog, RecordKind};
use tally_schemas::{
    AggregateConfig, EntryKind, LEDGER_FORMAT, LEDGER_FORMAT_FIRST, LedgerEntry, LogPlace,
    MoveOutcome, entry_path, partition_of,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::support::SetClock;

const BEGIN_MS: i64 = 1_795_326_157_827;
const STREAM: &str = "usage.events";
const ACCOUNTS: u64 = 30;

/// A store and the topics that its stream has had.
struct Bench {
    store: Arc<InMemory>,
    topics: Vec<MemoryLog>,
    settings: AggregateConfig,
}

impl Bench {
    fn new(partitions: u32) -> Self {
        Self {
            store: Arc::new(InMemory::new()),
            topics: vec![MemoryLog::new(STREAM, partitions)],
            settings: AggregateConfig { tick_ms: 0, ..AggregateConfig::default() },
        }
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            store: self.store.clone(),
            edge: SetClock::at(BEGIN_MS),
            notices: NoticeTopics::default(),
        }
    }

    /// A topic, as the stream that has it sees it.
    async fn log(&self, topic: &MemoryLog) -> Result<Arc<dyn EventLog>, AggregateError> {
        let place = stream_of(self.store.as_ref(), topic.topic()).await?;
        let log = Arc::new(topic.clone());
        Ok(match place.log {
            Some(at) => Arc::new(ContinuedLog::new(&place.ledger, at.first_offset, log)),
            None => log,
        })
    }

    fn topic(&self) -> &MemoryLog {
        self.topics.last().unwrap()
    }

    /// Sends an event of each account, `numbers` of them.
    fn send(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let account = format!("A{}", number % ACCOUNTS);
            let partition = partition_of(&account, self.topic().partition_count());
            let event = format!(
                r#"{{"source":"gw","id":"{number}","account":"{account}","model":"glm-5","completed_at":{BEGIN_MS},"usage":{{"input":1}}}}"#
            );
            let value = Some(Bytes::from(event));
            self.topic().append_at(partition, None, value, RecordKind::Single, BEGIN_MS).unwrap();
        }
    }

    /// Counts everything that is in a topic.
    async fn count(&self, topic: &MemoryLog) -> Result<(), AggregateError> {
        let aggregator = Aggregator::new(
            self.log(topic).await?,
            self.surroundings(),
            self.settings.clone(),
            Arc::new(ReferenceData::shipped().unwrap()),
            Handle::current(),
            CancellationToken::new(),
            Extent::UntilEnd,
        )
        .unwrap();
        tokio::task::spawn_blocking(move || aggregator.run()).await.unwrap()
    }

    async fn entries(&self, partition: u32) -> Vec<LedgerEntry> {
        let mut entries = Vec::new();
        for n in 0.. {
            let read = ledger::read_entry(self.store.as_ref(), STREAM, partition, n).await.unwrap();
            let Some(stored) = read else { break };
            entries.push(stored.entry);
        }
        entries
    }

    /// Accepted events and duplicates of every partition there ever was.
    async fn totals(&self) -> (u64, u64) {
        let mut totals = (0, 0);
        for partition in 0..10 {
            if let Some(last) = self.entries(partition).await.pop() {
                assert!(last.cumulative.conserved());
                totals.0 += last.cumulative.accepted.events;
                totals.1 += last.cumulative.duplicates.events;
            }
        }
        totals
    }

    async fn mover(&self, topic: &str, count: u32) -> PartitionMove {
        let from_topic = self.topic().topic().to_owned();
        let plan = MovePlan {
            from: stream_of(self.store.as_ref(), &from_topic).await.unwrap(),
            from_topic,
            from_partition_count: self.topic().partition_count(),
            topic: topic.to_owned(),
            partition_count: count,
        };
        let references = Arc::new(ReferenceData::shipped().unwrap());
        PartitionMove::new(self.surroundings(), self.settings.clone(), references, plan)
    }

    async fn ends(&self) -> Vec<u64> {
        let log = self.log(self.topic()).await.unwrap();
        (0..log.partition_count()).map(|p| log.bounds(p).unwrap().end).collect()
    }

    async fn move_to(&mut self, topic: &str, count: u32) {
        let mover = self.mover(topic, count).await;
        let ends = self.ends().await;
        mover.intend().await.unwrap();
        let frozen = mover.freeze(&ends).await.unwrap();
        let rehearsal = mover.rehearse(frozen).await.unwrap();
        let outcome = mover.decide(&rehearsal, &ends).await.unwrap();
        let report = mover.carry_out(&outcome, Some(rehearsal)).await.unwrap();
        assert_eq!(report.partitions, count);
        // Whatever is done again is done.
        mover.intend().await.unwrap();
        assert_eq!(mover.carry_out(&outcome, None).await.unwrap().partitions, 0);
        self.topics.push(MemoryLog::new(topic, count));
    }
}

/// Dedupe segments that a store has.
async fn segments(store: &InMemory) -> Vec<Path> {
    let folder = Path::from(format!("state/{STREAM}"));
    let paths = store.list(Some(&folder)).map_ok(|object| object.location);
    let paths: Vec<Path> = paths.try_collect().await.unwrap();
    paths.into_iter().filter(|path| path.as_ref().ends_with(".ids")).collect()
}

fn is_invalid(error: &AggregateError, words: &str) -> bool {
    error.kind() == ErrorKind::Invalid && error.to_string().contains(words)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_with_more_and_with_fewer_partitions() {
    let mut bench = Bench::new(4);
    bench.send(0..100);
    bench.count(bench.topic()).await.unwrap();
    assert_eq!(bench.entries(0).await[0].format, LEDGER_FORMAT_FIRST);
    let first_change = bench.mover("usage.events.6", 6).await;
    bench.move_to("usage.events.6", 6).await;
    assert_eq!(first_change.later_topic().await.unwrap(), None);
    // All of before, and as much that is new.
    bench.send(0..200);
    bench.count(bench.topic()).await.unwrap();
    assert_eq!(bench.totals().await, (200, 100));
    bench.move_to("usage.events.3", 3).await;
    bench.send(0..300);
    bench.count(bench.topic()).await.unwrap();
    assert_eq!(bench.totals().await, (300, 300));
    bench.move_to("usage.events.5", 5).await;
    bench.send(0..310);
    bench.count(bench.topic()).await.unwrap();
    assert_eq!(bench.totals().await, (310, 600));

    // Partition 3 was there, was ended, and is there again: one chain, whose offsets rise.
    let entries = bench.entries(3).await;
    let kinds: Vec<EntryKind> = entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == EntryKind::Moved).count(), 2);
    assert_eq!(kinds.iter().filter(|kind| **kind == EntryKind::Frozen).count(), 2);
    let last = entries.last().unwrap();
    assert_eq!((last.format, last.partition_count), (LEDGER_FORMAT, 5));
    assert!(entries.windows(2).all(|pair| pair[0].to <= pair[1].from));
    assert!(entries.windows(2).all(|pair| pair[0].watermark_ms <= pair[1].watermark_ms));
    let log = LogPlace { topic: "usage.events.5".to_owned(), first_offset: 3_000_000 };
    assert_eq!(last.log.as_ref(), Some(&log));
    let ended = bench.entries(5).await.pop().unwrap();
    let lasts = [last.clone(), ended.clone()];
    assert!(ended.is_left_behind(&lasts) && !last.is_left_behind(&lasts));
    // As it was left for topic three, and while its state in topic five was still to come.
    let frozen = entries.iter().rfind(|entry| entry.kind == EntryKind::Frozen).unwrap();
    let of_three = bench.entries(0).await;
    let of_three = of_three.iter().rfind(|entry| entry.partition_count == 3).unwrap();
    assert!(frozen.is_left_behind([frozen, of_three]));
    assert!(!frozen.is_left_behind([frozen, of_three, last]));

    // Who was forgotten at the first change hears of the last one, also of a partition that is gone;
    // and so does who repeats the first.
    let later = first_change.later_topic().await.unwrap();
    assert_eq!(later.as_deref(), Some("usage.events.5"));
    let log = Some(LogPlace { topic: "usage.events.6".to_owned(), first_offset: 1_000_000 });
    for partition in [3, 5] {
        let config = PartitionConfig {
            topic: STREAM.to_owned(),
            partition,
            partition_count: 6,
            log: log.clone(),
            aggregate: bench.settings.clone(),
        };
        let bounds = Bounds { start: 1_000_000, end: 1_000_000 };
        let references = ReferenceData::shipped().unwrap();
        let taken = take(&bench.surroundings(), &config, &references, bounds).await;
        let said = taken.unwrap_err();
        assert!(is_invalid(&said, "gone on with topic usage.events.5 of 5"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_found_while_there_is_a_way_back() {
    let mut bench = Bench::new(2);
    bench.settings.dedupe_open_max_bytes = 0;
    bench.send(0..60);
    bench.count(bench.topic()).await.unwrap();
    let store = Arc::clone(&bench.store);
    let mover = bench.mover("usage.events.3", 3).await;
    let ends = bench.ends().await;
    mover.intend().await.unwrap();
    let frozen = mover.freeze(&ends).await.unwrap();
    let [path, _] = <[Path; 2]>::try_from(segments(&store).await).unwrap();
    let sound = store.get(&path).await.unwrap().bytes().await.unwrap();
    store.delete(&path).await.unwrap();
    let missing = mover.rehearse(frozen.clone()).await.unwrap_err();
    let mut flipped = sound.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    store.put(&path, flipped.into()).await.unwrap();
    let spoilt = mover.rehearse(frozen.clone()).await.unwrap_err();
    store.put(&path, sound.clone().into()).await.unwrap();
    // Reference data that the store has not, and such as does not follow on each other.
    let mut unknown = frozen.clone();
    let version = unknown[0].entry.next_reference.as_mut().unwrap();
    version.edition += 1;
    let absent = mover.rehearse(unknown.clone()).await.unwrap_err();
    for error in [&missing, &spoilt, &absent] {
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    }
    unknown[0].entry.next_reference.as_mut().unwrap().known_at_ms -= 1;
    let said = mover.rehearse(unknown).await.unwrap_err();
    assert!(is_invalid(&said, "neither of which follows"), "{said}");
    assert_eq!(decision_of(store.as_ref(), "usage.events.3").await.unwrap(), None);
    mover.abandon().await.unwrap();
    bench.send(60..70);
    bench.count(bench.topic()).await.unwrap();

    // What was joined is not written again, unless it is not what its name says.
    let mover = bench.mover("usage.events.4", 4).await;
    let ends = bench.ends().await;
    mover.intend().await.unwrap();
    let before = segments(&store).await;
    let rehearsal = mover.rehearse(mover.freeze(&ends).await.unwrap()).await.unwrap();
    let joined = segments(&store).await.into_iter().find(|path| !before.contains(path)).unwrap();
    let sound = store.get(&joined).await.unwrap().bytes().await.unwrap();
    store.put(&joined, sound.slice(1..).into()).await.unwrap();
    let again = mover.rehearse(mover.freeze(&ends).await.unwrap()).await.unwrap();
    assert_eq!(store.get(&joined).await.unwrap().bytes().await.unwrap(), sound);
    let outcome = mover.decide(&again, &ends).await.unwrap();
    drop((rehearsal, again));
    let report = mover.carry_out(&outcome, None).await.unwrap();
    assert_eq!((report.partitions, report.segments), (4, 0));
    bench.topics.push(MemoryLog::new("usage.events.4", 4));
    bench.send(0..80);
    bench.count(bench.topic()).await.unwrap();
    assert_eq!(bench.totals().await, (80, 70));
}

/// A copy of the store from before a change knows nothing of the topic that everybody has by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_before_a_change_begins_no_ledger_with_the_new_topic() {
    let mut bench = Bench::new(2);
    // That of budgets is no other stream's.
    let budgets = ledger::claim_entry("usage.models", 0, 1, "owner", None, 0, 0);
    let bytes = ledger::encode(&budgets).unwrap();
    let path = Path::from(entry_path("usage.models", 0, 0));
    bench.store.put(&path, bytes.into()).await.unwrap();
    bench.send(0..10);
    bench.count(bench.topic()).await.unwrap();
    for (topic, now, count) in
        [("usage.events.3", STREAM, 3), ("usage.events.1", "usage.events.3", 1)]
    {
        let copy = Arc::new(bench.store.fork());
        bench.move_to(topic, count).await;
        bench.send(0..10);
        let moved = std::mem::replace(&mut bench.store, copy);
        let said = bench.count(bench.topic()).await.unwrap_err();
        assert!(is_invalid(&said, &format!("set log.topic to {now} ")), "{said}");
        for partition in 0..count {
            let begun = ledger::find_last(bench.store.as_ref(), topic, partition).await.unwrap();
            assert_eq!(begun, None);
        }
        bench.store = moved;
        bench.count(bench.topic()).await.unwrap();
    }
    assert_eq!(bench.totals().await, (10, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_way_is_said_by_its_name() {
    let mut bench = Bench::new(2);
    bench.send(0..10);
    bench.count(bench.topic()).await.unwrap();
    let mover = bench.mover("usage.events.3", 3).await;
    let lasts = mover.lasts().await.unwrap();
    // Without a ledger of budgets nothing is added.
    let behind = not_added(bench.store.as_ref(), "usage.models", &lasts).await.unwrap();
    assert_eq!(behind, [0, 1]);
    // The marker of a transaction is an offset above.
    let mut ends = bench.ends().await;
    assert_eq!(unread(&lasts, &ends), None);
    ends[1] += 1;
    let said = mover.freeze(&ends).await.unwrap_err();
    assert!(is_invalid(&said, "ends with a transaction, whose marker nobody reads"), "{said}");
    // Partitions were added to the topic.
    bench.topics.push(MemoryLog::new(STREAM, 5));
    let said = bench.mover("usage.events.3", 3).await.lasts().await.unwrap_err();
    let words = "topic usage.events has 5 partitions, the ledger of partition 0 is of 2";
    assert!(is_invalid(&said, words), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_counts_between_and_nothing_is_moved_that_is_not_read() {
    let mut bench = Bench::new(2);
    bench.send(0..10);
    bench.count(bench.topic()).await.unwrap();
    let mover = bench.mover("usage.events.3", 3).await;
    let ends = bench.ends().await;
    bench.send(10..20);
    let later = bench.ends().await;
    let said = mover.freeze(&later).await.unwrap_err();
    assert!(is_invalid(&said, "not read to its end"), "{said}");
    bench.count(bench.topic()).await.unwrap();
    let said = mover.freeze(&ends).await.unwrap_err();
    assert!(is_invalid(&said, "not read to its end"), "{said}");

    mover.intend().await.unwrap();
    let new = MemoryLog::new("usage.events.3", 3);
    let said = bench.count(&new).await.unwrap_err();
    assert!(is_invalid(&said, "is being moved to topic usage.events.3"), "{said}");
    let frozen = mover.freeze(&later).await.unwrap();
    let again = mover.freeze(&later).await.unwrap();
    assert_eq!(frozen, again);
    let rehearsal = mover.rehearse(frozen).await.unwrap();
    bench.send(20..21);
    let said = mover.decide(&rehearsal, &bench.ends().await).await.unwrap_err();
    assert!(is_invalid(&said, "not read to its end"), "{said}");
    let said = bench.count(bench.topic()).await.unwrap_err();
    assert!(is_invalid(&said, "is being moved to topic usage.events.3"), "{said}");
    // Another topic, while this one is under way.
    let other = bench.mover("usage.events.4", 4).await;
    let said = other.freeze(&later).await.unwrap_err();
    assert!(is_invalid(&said, "is frozen for topic usage.events.3"), "{said}");

    mover.abandon().await.unwrap();
    mover.abandon().await.unwrap();
    bench.count(bench.topic()).await.unwrap();
    let said = bench.count(&new).await.unwrap_err();
    assert!(is_invalid(&said, "set log.topic to usage.events"), "{said}");
    let decided = decision_of(bench.store.as_ref(), "usage.events.3").await.unwrap();
    assert_eq!(decided, Some(MoveOutcome::Abandoned));
    let ends = bench.ends().await;
    let rehearsal = mover.rehearse(mover.freeze(&ends).await.unwrap()).await.unwrap();
    let said = mover.decide(&rehearsal, &ends).await.unwrap_err();
    assert!(is_invalid(&said, "was given up"), "{said}");
    mover.abandon().await.unwrap();

    bench.move_to("usage.events.4", 4).await;
    let said = bench.count(&bench.topics[0]).await.unwrap_err();
    assert!(is_invalid(&said, "set log.topic to usage.events.4"), "{said}");
    let taken = bench.mover("usage.events", 5).await;
    let said = taken.intend().await.unwrap_err();
    assert!(is_invalid(&said, "take a topic that was never used"), "{said}");
    let said = bench.mover("usage.events.4", 4).await.abandon().await.unwrap_err();
    assert!(is_invalid(&said, "that is decided"), "{said}");
    bench.send(0..30);
    bench.count(bench.topic()).await.unwrap();
    assert_eq!(bench.totals().await, (30, 21));
}

/// A process of a release before this one, which knows nothing of intents, begins no ledger with the
/// new topic.
#[tokio::test]
async fn what_lies_where_a_ledger_would_begin_is_refused_as_of_a_later_format() {
    let mut bench = Bench::new(1);
    bench.send(0..1);
    bench.count(bench.topic()).await.unwrap();
    bench.move_to("usage.events.2", 2).await;
    let intent = intent_of(bench.store.as_ref(), "usage.events.2").await.unwrap().unwrap();
    assert_eq!((intent.format, intent.ledger.as_str()), (LEDGER_FORMAT, STREAM));
    const { assert!(LEDGER_FORMAT > LEDGER_FORMAT_FIRST) };
    for partition in 0..2 {
        let read = ledger::read_entry(bench.store.as_ref(), "usage.events.2", partition, 0).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Data);
    }
    let place = stream_of(bench.store.as_ref(), STREAM).await.unwrap();
    assert_eq!(place, StreamPlace { ledger: STREAM.to_owned(), log: None });
}
