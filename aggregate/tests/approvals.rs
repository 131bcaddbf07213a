//! Reference data that is approved while the stream runs: what follows its record in the log is
//! rated by it, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may stop at the first surprise, and waits for real threads"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use tally_aggregate::{
    AggregateError, Aggregator, Extent, Found, NoticeTopics, ReferenceData, References,
    Surroundings, ledger,
};
use tally_log::{EventLog, MemoryLog, RecordKind};
use tally_schemas::{AggregateConfig, EntryKind, LedgerEntry, ReferenceVersion};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::support::{SetClock, eventually};

const BEGIN_MS: i64 = 1_795_326_157_827;
const TOPIC: &str = "usage.events";

fn version(name: &str) -> ReferenceVersion {
    name.parse().unwrap()
}

fn shipped_as(name: &str) -> ReferenceData {
    ReferenceData { version: version(name), ..ReferenceData::shipped().unwrap() }
}

/// Editions of a store, and the newest that this process has heard of.
#[derive(Debug, Default)]
struct Editions(Mutex<Vec<ReferenceData>>);

impl Editions {
    fn approve(&self, name: &str) {
        self.0.lock().push(shipped_as(name));
    }
}

impl References for Editions {
    fn newest(&self) -> ReferenceData {
        self.0.lock().last().unwrap().clone()
    }

    fn newer_than(&self, current: &ReferenceVersion) -> Option<ReferenceVersion> {
        Some(self.newest().version).filter(|newest| newest.exceeds(current))
    }

    fn find<'a>(
        &'a self,
        version: &'a ReferenceVersion,
    ) -> BoxFuture<'a, Result<Found, AggregateError>> {
        let editions = self.0.lock();
        let there = editions.iter().find(|there| there.version.edition == version.edition);
        let found = match there {
            Some(there) if there.version == *version => Found::Here(there.clone()),
            Some(there) => Found::Other(there.version.clone()),
            None => Found::Absent,
        };
        Box::pin(std::future::ready(Ok(found)))
    }
}

/// A log, a store and the editions in it, over which runs come and go.
struct Bench {
    log: MemoryLog,
    store: Arc<InMemory>,
    editions: Arc<Editions>,
    sent: u64,
}

struct Run {
    aggregator: Arc<Aggregator>,
    stop: CancellationToken,
    thread: std::thread::JoinHandle<Result<(), AggregateError>>,
}

impl Run {
    fn end(self) -> Result<(), AggregateError> {
        self.stop.cancel();
        self.thread.join().unwrap()
    }
}

impl Bench {
    fn new() -> Self {
        let editions = Arc::new(Editions::default());
        editions.approve("1-aa@5");
        let log = MemoryLog::new(TOPIC, 1);
        log.set_now_ms(BEGIN_MS);
        Self { log, store: Arc::new(InMemory::new()), editions, sent: 0 }
    }

    fn run(&self, extent: Extent) -> Run {
        let stop = CancellationToken::new();
        let settings = AggregateConfig {
            freshness_ms: 0,
            reference_poll_ms: 0,
            tick_ms: 0,
            ..AggregateConfig::default()
        };
        let aggregator = Aggregator::new(
            Arc::new(self.log.clone()),
            Surroundings {
                store: self.store.clone(),
                edge: SetClock::at(BEGIN_MS),
                notices: NoticeTopics::default(),
            },
            settings,
            self.editions.clone(),
            Handle::current(),
            stop.clone(),
            extent,
        )
        .unwrap();
        let running = Arc::clone(&aggregator);
        Run { aggregator, stop, thread: std::thread::spawn(move || running.run()) }
    }

    /// Appends an event and returns its offset.
    fn send(&mut self) -> u64 {
        self.sent += 1;
        self.append(&format!(
            r#"{{"source":"gw","id":"{}","account":"A1","model":"glm-5","completed_at":{BEGIN_MS},"usage":{{"input":1}}}}"#,
            self.sent
        ))
    }

    /// Appends what says that what follows is rated by a version.
    fn name(&self, name: &str) -> u64 {
        self.append(&format!(r#"{{"command":"reference","version":"{name}"}}"#))
    }

    fn append(&self, text: &str) -> u64 {
        let value = Some(Bytes::from(text.to_owned()));
        self.log.append_at(0, None, value, RecordKind::Single, BEGIN_MS).unwrap()
    }

    fn end(&self) -> u64 {
        self.log.bounds(0).unwrap().end
    }

    /// The names of versions in the log, with their offsets.
    fn named(&self) -> Vec<(u64, String)> {
        let mut named = Vec::new();
        let mut reader = self.log.reader_at(0, 0).unwrap();
        let mut look = |record: tally_log::Record<'_>| {
            let value: serde_json::Value = serde_json::from_slice(record.value.unwrap()).unwrap();
            if let Some(version) = value["version"].as_str() {
                named.push((record.offset, version.to_owned()));
            }
        };
        while reader.read(100, Duration::from_millis(1), &mut look).unwrap() > 0 {}
        named
    }

    fn entries(&self) -> Vec<LedgerEntry> {
        let entry = |n| {
            let read = ledger::read_entry(self.store.as_ref(), TOPIC, 0, n);
            futures::executor::block_on(read).unwrap().map(|stored| stored.entry)
        };
        (0..).map_while(entry).collect()
    }

    fn wait_for_commit(&self) {
        eventually("everything is committed", || {
            let last = self.entries().pop();
            last.is_some_and(|last| last.to == self.end()).then_some(())
        });
    }

    /// What the ledger says that the record at an offset was rated by.
    fn rated_by(&self, offset: u64) -> String {
        let entries = self.entries();
        let of = entries
            .iter()
            .find(|e| e.kind == EntryKind::Epoch && (e.from..e.to).contains(&offset))
            .unwrap_or_else(|| panic!("{offset} is in no epoch"));
        for pair in entries.windows(2).filter(|pair| pair[1].kind == EntryKind::Epoch) {
            let named = pair[0].next_reference.as_ref().unwrap().to_string();
            assert_eq!(pair[1].reference_version, named, "entry {}", pair[1].n);
        }
        of.reference_version.clone()
    }

    fn held_back(&self) -> u64 {
        let last = self.entries().pop().unwrap();
        assert!(last.cumulative.conserved());
        last.cumulative.suspended.events
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_the_announcement_is_rated_by_it_and_nothing_before() {
    let mut bench = Bench::new();
    let run = bench.run(Extent::Endless);
    // The ledger begins with what is approved by then.
    let mut offsets = vec![bench.send()];
    bench.wait_for_commit();
    for edition in 1..=4 {
        let before: Vec<u64> = (0..20).map(|_| bench.send()).collect();
        if edition < 4 {
            bench.editions.approve(&format!("{}-bb@{}", edition + 1, 5 + edition));
        }
        let after: Vec<u64> = (0..20).map(|_| bench.send()).collect();
        offsets.extend(before.into_iter().chain(after));
        if edition < 4 {
            eventually("the announcement", || (bench.named().len() == edition).then_some(()));
        }
    }
    bench.wait_for_commit();
    let named = bench.named();
    let names: Vec<&str> = named.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["2-bb@6", "3-bb@7", "4-bb@8"], "each once");
    for offset in offsets {
        let last = named.iter().rev().find(|(at, _)| *at < offset);
        let must = last.map_or("1-aa@5", |(_, name)| name.as_str());
        assert_eq!(bench.rated_by(offset), must, "{offset}");
    }
    assert_eq!(bench.held_back(), 0);
    // An idle partition changes too, in an epoch without rows.
    bench.editions.approve("5-cc@20");
    eventually("the change of an idle partition", || {
        let next = bench.entries().pop()?.next_reference?;
        (next == version("5-cc@20")).then_some(())
    });
    run.end().unwrap();
    // Whoever comes next goes on by it.
    let run = bench.run(Extent::Endless);
    let offset = bench.send();
    bench.wait_for_commit();
    assert_eq!(bench.rated_by(offset), "5-cc@20");
    run.end().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_owners_may_name_the_same_and_late() {
    let mut bench = Bench::new();
    bench.editions.approve("2-bb@6");
    bench.editions.approve("3-cc@7");
    let first = bench.send();
    let run = bench.run(Extent::Endless);
    // A ledger begins with the newest.
    bench.wait_for_commit();
    assert_eq!(bench.rated_by(first), "3-cc@7");
    for name in ["3-cc@7", "2-bb@6", "3-cc@7", "1-aa@5"] {
        bench.name(name);
        let offset = bench.send();
        bench.wait_for_commit();
        assert_eq!(bench.rated_by(offset), "3-cc@7", "{name}");
    }
    assert_eq!((bench.named().len(), bench.held_back()), (4, 0));
    run.end().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_rated_while_what_the_log_names_is_not_there() {
    let mut bench = Bench::new();
    let run = bench.run(Extent::Endless);
    let before = bench.send();
    bench.name("2-bb@6");
    let after = bench.send();
    let waiting = || {
        let partitions = run.aggregator.status().partitions();
        partitions.get(&0)?.waiting.as_ref().map(|waiting| waiting.why.clone())
    };
    let why = eventually("the pause", waiting);
    assert!(why.contains("2-bb@6"), "{why}");
    // What came before it does not wait.
    eventually("the commit of what came before", || {
        (bench.entries().pop()?.to == before + 1).then_some(())
    });
    std::thread::sleep(Duration::from_millis(100));
    let last = bench.entries().pop().unwrap();
    assert_eq!((last.to, last.next_reference), (before + 1, Some(version("1-aa@5"))));
    // An owner that is told to let go while it waits does, and the next one waits as well.
    run.end().unwrap();
    let run = bench.run(Extent::Endless);
    let waits = || {
        let partitions = run.aggregator.status().partitions();
        partitions.get(&0)?.waiting.is_some().then_some(())
    };
    eventually("the next owner's pause", waits);
    bench.editions.approve("2-bb@6");
    bench.wait_for_commit();
    assert_eq!(
        (bench.rated_by(before).as_str(), bench.rated_by(after).as_str()),
        ("1-aa@5", "2-bb@6")
    );
    assert_eq!(bench.held_back(), 0);
    run.end().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_approved_is_held_back_and_rates_nothing() {
    let mut bench = Bench::new();
    bench.editions.approve("2-bb@6");
    bench.editions.approve("3-cc@7");
    // The ledger begins by edition 2.
    let third = bench.editions.0.lock().pop().unwrap();
    let run = bench.run(Extent::Endless);
    let first = bench.send();
    bench.wait_for_commit();
    assert_eq!(bench.rated_by(first), "2-bb@6");
    // Another hash, and a reading that nobody has; and what is known only later.
    bench.editions.0.lock().insert(0, third);
    let early = format!("3-cc@{}", BEGIN_MS + 1);
    let forgeries = ["3-ff@7", "3-cc@8", &early, "no version"];
    for (forged, held_back) in forgeries.into_iter().zip([1, 2, 2, 3]) {
        bench.name(forged);
        let offset = bench.send();
        bench.wait_for_commit();
        assert_eq!(bench.rated_by(offset), "2-bb@6", "{forged}");
        assert_eq!(bench.held_back(), held_back, "{forged}");
    }
    // And the approved one after all that.
    bench.name("3-cc@7");
    let offset = bench.send();
    bench.wait_for_commit();
    assert_eq!((bench.rated_by(offset).as_str(), bench.held_back()), ("3-cc@7", 3));
    run.end().unwrap();
}

/// Who runs now and then: what was in the log is rated as it was to be, what comes after by the new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounded_run_announces_and_ends_behind_it() {
    let mut bench = Bench::new();
    let bounded = |bench: &Bench| bench.run(Extent::UntilEnd).thread.join().unwrap().unwrap();
    let first = bench.send();
    bounded(&bench);
    assert_eq!((bench.rated_by(first).as_str(), bench.end()), ("1-aa@5", 1));
    bench.editions.approve("2-bb@6");
    let second = bench.send();
    bounded(&bench);
    assert_eq!(bench.named(), [(second + 1, "2-bb@6".to_owned())]);
    let last = bench.entries().pop().unwrap();
    assert_eq!((last.to, last.next_reference), (bench.end(), Some(version("2-bb@6"))));
    let third = bench.send();
    bounded(&bench);
    assert_eq!(
        (bench.rated_by(second).as_str(), bench.rated_by(third).as_str()),
        ("1-aa@5", "2-bb@6")
    );
    // Nothing more is announced.
    assert_eq!(bench.end(), third + 1);
}
