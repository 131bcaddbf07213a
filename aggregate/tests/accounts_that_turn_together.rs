//! However many accounts turn at one instant, few of their statuses wait in memory, events are
//! charged meanwhile, and an epoch is committed only when all of them are told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may stop at the first surprise, and waits for real threads"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use tally_aggregate::{
    AggregateError, Aggregator, Extent, NoticeTopic, NoticeTopics, ReadBack, ReferenceData,
    StreamStatus, Surroundings,
};
use tally_log::{Appended, MemoryLog, Outgoing, RecordKind};
use tally_schemas::{AggregateConfig, Offsets};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::support::{SetClock, eventually};

const BEGIN_MS: i64 = 1_795_326_157_827;
const MINUTE_MS: i64 = 60_000;
/// More than may wait, by far.
const ACCOUNTS: u64 = 60_000;
/// What the outbox holds of statuses.
const WAITING_MAX: u64 = 5_000;

/// A topic of statuses that acknowledges as many as it is let, and sees what waits.
#[derive(Debug)]
struct Statuses {
    allowed: Arc<Semaphore>,
    stream: OnceLock<StreamStatus>,
    most_waiting: Mutex<u64>,
    newest: Mutex<BTreeMap<String, String>>,
}

impl NoticeTopic for Statuses {
    fn partition_count(&self) -> u32 {
        1
    }

    fn append(&self, record: Outgoing) -> Appended {
        let partitions = self.stream.get().unwrap().partitions();
        let waiting = partitions.get(&0).map_or(0, |status| status.notices_waiting);
        let mut most = self.most_waiting.lock();
        *most = waiting.max(*most);
        let account = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        let status: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        let word = status["status"].as_str().unwrap().to_owned();
        self.newest.lock().insert(account, word);
        let allowed = Arc::clone(&self.allowed);
        Box::pin(async move {
            allowed.acquire().await.unwrap().forget();
            Ok(0)
        })
    }

    fn ends(&self, _: Vec<u32>) -> BoxFuture<'static, Result<Offsets, AggregateError>> {
        unreachable!("statuses are not read back")
    }

    fn read_back(&self, _: Offsets) -> BoxFuture<'static, Result<ReadBack, AggregateError>> {
        unreachable!("statuses are not read back")
    }
}

struct Bench {
    usage: MemoryLog,
    store: Arc<InMemory>,
    statuses: Arc<Statuses>,
    aggregator: Arc<Aggregator>,
    stop: CancellationToken,
}

impl Bench {
    /// Every account has bought a bucket that begins at `BEGIN_MS`; behind the purchases is the
    /// first record of later.
    fn new(extent: Extent, allowed: usize) -> Self {
        let usage = MemoryLog::new("usage.events", 1);
        for number in 0..ACCOUNTS {
            let purchase = format!(
                r#"{{"command":"purchase","id":"b","account":"A{number:06}","at":{BEGIN_MS},"package":"mobile-gift-500k"}}"#
            );
            append(&usage, &purchase, BEGIN_MS - MINUTE_MS);
        }
        append(&usage, &event(0, BEGIN_MS), BEGIN_MS + 1);
        Self::over(usage, Arc::default(), BEGIN_MS + MINUTE_MS, extent, allowed)
    }

    /// Another process, later, of the same log and store.
    fn again(&self, now_ms: i64) -> Self {
        let (usage, store) = (self.usage.clone(), Arc::clone(&self.store));
        Self::over(usage, store, now_ms, Extent::UntilEnd, Semaphore::MAX_PERMITS)
    }

    fn over(
        usage: MemoryLog,
        store: Arc<InMemory>,
        now_ms: i64,
        extent: Extent,
        allowed: usize,
    ) -> Self {
        let statuses = Arc::new(Statuses {
            allowed: Arc::new(Semaphore::new(allowed)),
            stream: OnceLock::new(),
            most_waiting: Mutex::default(),
            newest: Mutex::default(),
        });
        let surroundings = Surroundings {
            store: store.clone(),
            edge: SetClock::at(now_ms),
            notices: NoticeTopics { alerts: None, statuses: Some(statuses.clone()) },
        };
        // An epoch is old enough to end at once.
        let settings = AggregateConfig { freshness_ms: 0, ..AggregateConfig::default() };
        let stop = CancellationToken::new();
        let aggregator = Aggregator::new(
            Arc::new(usage.clone()),
            surroundings,
            settings,
            Arc::new(ReferenceData::shipped().unwrap()),
            Handle::current(),
            stop.clone(),
            extent,
        )
        .unwrap();
        statuses.stream.set(aggregator.status().clone()).unwrap();
        Self { usage, store, statuses, aggregator, stop }
    }

    async fn run(&self) {
        let aggregator = Arc::clone(&self.aggregator);
        tokio::task::spawn_blocking(move || aggregator.run().unwrap()).await.unwrap();
    }

    fn offsets(&self) -> (u64, u64) {
        let partitions = self.aggregator.status().partitions();
        partitions.get(&0).map_or((0, 0), |status| (status.next_offset, status.committed_offset))
    }

    fn assert_all_told(&self) {
        let newest = self.statuses.newest.lock();
        assert_eq!(newest.len() as u64, ACCOUNTS);
        let wrong = newest.iter().find(|(_, word)| word.as_str() != "ok");
        assert_eq!(wrong, None, "its bucket has begun");
        let most = *self.statuses.most_waiting.lock();
        assert!((1..=WAITING_MAX).contains(&most), "{most} waited");
    }
}

fn append(log: &MemoryLog, text: &str, at_ms: i64) {
    let value = Some(Bytes::from(text.to_owned()));
    log.append_at(0, None, value, RecordKind::Single, at_ms).unwrap();
}

fn event(number: u64, at_ms: i64) -> String {
    format!(
        r#"{{"source":"gw","id":"{number}","account":"A000000","model":"glm-5","completed_at":{at_ms},"usage":{{"input":10}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_told_some_at_a_time() {
    let bench = Bench::new(Extent::UntilEnd, Semaphore::MAX_PERMITS);
    bench.run().await;
    bench.assert_all_told();
}

/// Its state is a base of before they turned, and deltas.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_owner_does_not_tell_again_what_turned_hours_ago() {
    let first = Bench::new(Extent::UntilEnd, Semaphore::MAX_PERMITS);
    first.run().await;
    let later_ms = BEGIN_MS + 3 * 60 * MINUTE_MS;
    // The first finds a watermark of when they turned, and cannot know better.
    for (number, expected) in [(1, ACCOUNTS), (2, 0)] {
        append(&first.usage, &event(number, later_ms), later_ms);
        let next = first.again(later_ms + MINUTE_MS);
        next.run().await;
        assert_eq!(next.statuses.newest.lock().len() as u64, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_charged_meanwhile() {
    // All purchases, each told once, and some of those that turn.
    let bench = Bench::new(Extent::Endless, usize::try_from(ACCOUNTS).unwrap() + 20_000);
    let running = Arc::clone(&bench.aggregator);
    let ended = std::thread::spawn(move || running.run().unwrap());
    eventually("the purchases are read", || (bench.offsets().0 == ACCOUNTS + 1).then_some(()));
    eventually("the log is stuck", || {
        (bench.statuses.allowed.available_permits() == 0).then_some(())
    });
    for number in 1..=1_000 {
        append(&bench.usage, &event(number, BEGIN_MS), BEGIN_MS + 2);
    }
    let end = ACCOUNTS + 1_001;
    eventually("more events are read", || (bench.offsets().0 == end).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    assert!(bench.offsets().1 < end, "what was not told is not committed");
    bench.statuses.allowed.add_permits(10_000_000);
    eventually("the commit", || (bench.offsets().1 == end).then_some(()));
    bench.assert_all_told();
    bench.stop.cancel();
    ended.join().unwrap();
}
