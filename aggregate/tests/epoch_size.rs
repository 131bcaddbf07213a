//! An epoch ends where it has enough events or enough bytes, whichever comes first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use tally_aggregate::{Aggregator, Extent, NoticeTopics, ReferenceData, Surroundings, ledger};
use tally_log::{MemoryLog, RecordKind};
use tally_schemas::{AggregateConfig, EntryKind};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::support::SetClock;

const TOPIC: &str = "usage.events";
const NOW_MS: i64 = 1_795_326_157_827;
const EVENTS: u64 = 24_000;
/// A worker reads 2,048 events at most before it looks at the size of its epoch.
const READ_EVENTS: u64 = 2_048;

/// Events by epoch, where an epoch ends at so many events and bytes.
async fn epochs(epoch_max_events: u64, epoch_max_bytes: u64) -> Vec<u64> {
    let log = MemoryLog::new(TOPIC, 1);
    for number in 0..EVENTS {
        let event = format!(
            r#"{{"source":"gw-1","id":"request-{number:08}","account":"A1","model":"glm-5","completed_at":{NOW_MS},"usage":{{"input":{number},"output":9}}}}"#
        );
        log.append_at(0, None, Some(Bytes::from(event)), RecordKind::Single, NOW_MS).unwrap();
    }
    let store = Arc::new(InMemory::new());
    let surroundings = Surroundings {
        store: store.clone(),
        // It stands still: no epoch ends because it is old.
        edge: SetClock::at(NOW_MS),
        notices: NoticeTopics { alerts: None, statuses: None },
    };
    let settings =
        AggregateConfig { epoch_max_events, epoch_max_bytes, ..AggregateConfig::default() };
    let aggregator = Aggregator::new(
        Arc::new(log),
        surroundings,
        settings,
        Arc::new(ReferenceData::shipped().unwrap()),
        Handle::current(),
        CancellationToken::new(),
        Extent::UntilEnd,
    )
    .unwrap();
    tokio::task::spawn_blocking(move || aggregator.run().unwrap()).await.unwrap();
    let mut events = Vec::new();
    let mut n = 0;
    while let Some(stored) = ledger::read_entry(store.as_ref(), TOPIC, 0, n).await.unwrap() {
        if stored.entry.kind == EntryKind::Epoch && stored.entry.totals.received.events > 0 {
            events.push(stored.entry.totals.received.events);
        }
        n += 1;
    }
    assert_eq!(events.iter().sum::<u64>(), EVENTS);
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_ends_by_bytes_and_by_events() {
    assert_eq!(epochs(u64::MAX, u64::MAX).await, [EVENTS], "nothing ends it before the log does");
    let by_events = epochs(6_000, u64::MAX).await;
    let (last, full) = by_events.split_last().unwrap();
    assert!(full.len() >= 2 && full.iter().all(|n| (6_000..6_000 + READ_EVENTS).contains(n)));
    assert!(*last > 0);
    // A row of these has between 100 bytes and half a kilobyte in memory.
    let by_bytes = epochs(u64::MAX, 1 << 20).await;
    let (_, full) = by_bytes.split_last().unwrap();
    let enough = (1 << 20) / 512..(1 << 20) / 100 + READ_EVENTS;
    assert!(full.len() >= 2 && full.iter().all(|n| enough.contains(n)), "{by_bytes:?}");
    // Twice the bytes are about twice the events, and fewer epochs.
    let by_more = epochs(u64::MAX, 2 << 20).await;
    assert!(by_more.len() < by_bytes.len(), "{by_more:?} beside {by_bytes:?}");
    assert!(by_more[0] > by_bytes[0], "{by_more:?} beside {by_bytes:?}");
    // Whichever comes first.
    assert_eq!(epochs(6_000, 1 << 40).await, by_events);
}
