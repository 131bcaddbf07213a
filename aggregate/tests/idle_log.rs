//! What is due by time alone happens in a log that nothing comes to.

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
use object_store::memory::InMemory;
use tally_aggregate::{
    Aggregator, Edge, Extent, LogTopic, NoticeTopics, ReferenceData, Surroundings, ledger,
};
use tally_log::{EventLog, MemoryLog, RecordKind};
use tally_schemas::{AggregateConfig, AlertMessage};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::support::{SetClock, eventually};

const BEGIN_MS: i64 = 1_795_326_157_827;
const HOUR_MS: i64 = 3_600_000;

/// The shipped prices, and a package of two days that tells a day before it ends.
fn reference() -> ReferenceData {
    let mut reference = ReferenceData::shipped().unwrap();
    let text = r#"
[[package]]
id = "two-days"
title = "two days"
title_en = "two days"
price_micro = 1000000
currency = "CNY"
period = { hours = 48 }
anchor = "purchase"
allowance_micro = 1000000000000
weights = "default"
kind = "paid"
priority = 100
directed = false
models = ["*"]
products = []
rollover = "none"
caps = []
thresholds = [{ kind = "expires_soon", at = 1 }]
overflow = "block"
stacking = "queue"
funded_by = "operator"
example = true
source = "test"
valid_from = "1970-01-01"
known_from = "1970-01-01"
approved_by = "test"
approved_at = "1970-01-01"
"#;
    reference.packages = Arc::new(tally_quota::QuotaReference::from_toml(text).unwrap());
    reference
}

struct Bench {
    usage: MemoryLog,
    alerts: MemoryLog,
    store: Arc<InMemory>,
    clock: Arc<SetClock>,
    aggregator: Arc<Aggregator>,
    stop: CancellationToken,
}

impl Bench {
    /// The purchase of a bucket at `BEGIN_MS` arrives at `arrives_ms`.
    fn start(settings: AggregateConfig, extent: Extent, arrives_ms: i64) -> Self {
        let (usage, alerts) = (MemoryLog::new("usage.events", 1), MemoryLog::new("alerts", 1));
        let (store, stop) = (Arc::new(InMemory::new()), CancellationToken::new());
        let clock = SetClock::at(arrives_ms);
        let purchase = format!(
            r#"{{"command":"purchase","id":"b1","account":"A1","at":{BEGIN_MS},"package":"two-days"}}"#
        );
        append(&usage, &purchase, arrives_ms);
        usage.set_now_ms(arrives_ms);
        let topic = LogTopic::open(Arc::new(alerts.clone()), Handle::current()).unwrap();
        let surroundings = Surroundings {
            store: store.clone(),
            edge: clock.clone(),
            notices: NoticeTopics { alerts: Some(topic), statuses: None },
        };
        let aggregator = Aggregator::new(
            Arc::new(usage.clone()),
            surroundings,
            settings,
            Arc::new(reference()),
            Handle::current(),
            stop.clone(),
            extent,
        )
        .unwrap();
        let running = Arc::clone(&aggregator);
        std::thread::spawn(move || running.run().unwrap());
        Self { usage, alerts, store, clock, aggregator, stop }
    }

    /// Lets time pass, for the log and for the process.
    fn set_time(&self, now_ms: i64) {
        self.usage.set_now_ms(now_ms);
        self.clock.set(now_ms);
    }

    /// Lets as much pass as a log must be idle for, again and again, each time long enough for the
    /// worker to look at the clock.
    fn idle(&self) {
        for _ in 0..4 {
            self.set_time(self.clock.now_ms() + 11_000);
            std::thread::sleep(Duration::from_millis(80));
        }
    }

    fn committed(&self) -> u64 {
        self.aggregator.status().partitions().get(&0).map_or(0, |status| status.committed_offset)
    }

    fn end(&self) -> u64 {
        self.usage.bounds(0).unwrap().end
    }

    fn alerts(&self) -> Vec<AlertMessage> {
        let end = self.alerts.bounds(0).unwrap().end;
        let mut reader = self.alerts.reader_at(0, 0).unwrap();
        let mut found = Vec::new();
        while (found.len() as u64) < end {
            let mut take = |record: tally_log::Record<'_>| {
                found.push(serde_json::from_slice(record.value.unwrap()).unwrap());
            };
            reader.read(100, Duration::from_millis(10), &mut take).unwrap();
        }
        found
    }
}

fn append(log: &MemoryLog, text: &str, at_ms: i64) {
    let value = Some(Bytes::from(text.to_owned()));
    log.append_at(0, None, value, RecordKind::Single, at_ms).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_by_time_alone_happens_without_traffic() {
    let settings = AggregateConfig { freshness_ms: 0, ..AggregateConfig::default() };
    let bench = Bench::start(settings, Extent::Endless, BEGIN_MS);
    eventually("the purchase", || (bench.committed() == 1).then_some(()));
    // Not before it is due.
    bench.set_time(BEGIN_MS + 23 * HOUR_MS - 120_000);
    bench.idle();
    assert!(bench.end() <= 2, "at most the hour that it is due in is looked at");
    bench.set_time(BEGIN_MS + 25 * HOUR_MS);
    let alert = eventually("the alert", || {
        bench.idle();
        bench.alerts().pop()
    });
    assert_eq!((alert.kind.as_str(), alert.account.as_deref()), ("expires_soon", Some("A1")));
    assert_eq!((alert.at, alert.event), (BEGIN_MS + 24 * HOUR_MS, None));
    bench.set_time(BEGIN_MS + 97 * HOUR_MS);
    let partition = || bench.aggregator.status().partitions().get(&0).cloned();
    let watermark_ms = BEGIN_MS + 97 * HOUR_MS - 60_000;
    eventually("the bucket's end", || {
        bench.idle();
        partition().is_some_and(|status| status.watermark_ms >= Some(watermark_ms)).then_some(())
    });
    eventually("its commit", || (bench.committed() == bench.end()).then_some(()));
    // Nothing is left that could be due.
    let end = bench.end();
    bench.set_time(BEGIN_MS + 1_000 * HOUR_MS);
    bench.idle();
    assert_eq!(bench.end(), end);
    assert_eq!(bench.alerts().len(), 1);
    let last = ledger::find_last(bench.store.as_ref(), "usage.events", 0).await.unwrap().unwrap();
    let totals = &last.entry.cumulative;
    assert!(totals.conserved());
    assert_eq!((totals.commands, totals.received.events), (1, 0));
    assert_eq!(totals.ticks, end - 1);
    assert_eq!(totals.records, end);
    bench.stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_left_alone_where_ticks_are_off_and_in_a_bounded_run() {
    let off = AggregateConfig { tick_ms: 0, freshness_ms: 0, ..AggregateConfig::default() };
    let on = AggregateConfig { freshness_ms: 0, ..AggregateConfig::default() };
    for (settings, extent) in [(off, Extent::Endless), (on, Extent::UntilEnd)] {
        let bench = Bench::start(settings, extent, BEGIN_MS);
        bench.set_time(BEGIN_MS + 97 * HOUR_MS);
        if extent == Extent::Endless {
            eventually("the purchase", || (bench.committed() == 1).then_some(()));
        } else {
            // It ends by itself.
            bench.stop.cancelled().await;
        }
        bench.idle();
        assert_eq!(bench.end(), 1);
        bench.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_away_is_waited_for() {
    let settings = AggregateConfig { freshness_ms: 0, ..AggregateConfig::default() };
    let bench = Bench::start(settings, Extent::Endless, BEGIN_MS);
    eventually("the purchase", || (bench.committed() == 1).then_some(()));
    bench.usage.set_away(true);
    eventually("the pause", || {
        let partitions = bench.aggregator.status().partitions();
        partitions.get(&0)?.waiting.is_some().then_some(())
    });
    bench.usage.set_away(false);
    let event = format!(
        r#"{{"source":"gw","id":"1","account":"A1","model":"glm-5","completed_at":{BEGIN_MS},"usage":{{"input":1000}}}}"#
    );
    append(&bench.usage, &event, BEGIN_MS);
    eventually("the event", || (bench.committed() == 2).then_some(()));
    bench.stop.cancel();
}

/// The time of a log that is filled from the past goes on from where it is: its buckets do not end
/// because the year is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_from_the_past_is_not_hurried() {
    let settings = AggregateConfig { freshness_ms: 0, tick_ms: 1, ..AggregateConfig::default() };
    let arrives_ms = BEGIN_MS + 2_000 * HOUR_MS;
    let bench = Bench::start(settings, Extent::Endless, arrives_ms);
    eventually("the purchase", || (bench.committed() == 1).then_some(()));
    let event = format!(
        r#"{{"source":"gw","id":"1","account":"A1","model":"glm-5","completed_at":{},"usage":{{"input":1000}}}}"#,
        BEGIN_MS + HOUR_MS
    );
    append(&bench.usage, &event, arrives_ms);
    eventually("the event", || (bench.committed() == 2).then_some(()));
    bench.set_time(arrives_ms + 20 * HOUR_MS);
    bench.idle();
    eventually("commits", || (bench.committed() == bench.end()).then_some(()));
    assert!(bench.alerts().is_empty(), "the bucket's last day has not begun");
    let watermark_ms = bench.aggregator.status().partitions()[&0].watermark_ms.unwrap();
    assert!(watermark_ms < BEGIN_MS + 24 * HOUR_MS, "{watermark_ms}");
    bench.set_time(arrives_ms + 25 * HOUR_MS);
    let alert = eventually("the alert", || {
        bench.idle();
        bench.alerts().pop()
    });
    assert_eq!(alert.at, BEGIN_MS + 24 * HOUR_MS);
    bench.stop.cancel();
}
