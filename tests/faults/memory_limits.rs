//! The limits of memory of a process: dedupe that meets its limit seals buckets before they are due, windows
//! are written before they end, and the process goes on.

use std::time::{SystemTime, UNIX_EPOCH};

use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore};

use crate::kill::note_stream;
use crate::support::{Dice, Figures, Stream, Traffic, at_scale, block_on, open_s3};

const HOUR_MS: i64 = 3_600_000;

/// Windows of which a part was written before the rest came.
const IN_PARTS: &str = "SELECT count(*) AS windows FROM (SELECT 1 AS one FROM usage_by_subscriber \
    WHERE kind = 'on_time' GROUP BY window_start, account, subscriber, vendor, model, \
    retail_currency, wholesale_currency HAVING count(*) > 1) AS parts";

#[test]
fn a_process_at_its_limits_of_memory_seals_earlier_and_goes_on() {
    let mut dice = Dice::of("memory");
    let mut stream = Stream::new("memory", dice.seed(), 2);
    // No bucket is due within the test: what is sealed is sealed for want of memory.
    stream.set("aggregate.dedupe_open_ms", 86_400_000);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_ms = now.as_millis() as i64;
    let mut traffic = |hours_ago: i64| Traffic {
        resent: "0.1",
        start_ms: Some(now_ms - hours_ago * HOUR_MS),
        ..Traffic::clean(dice.next_seed(), at_scale(15_000, 1_000_000))
    };
    let (with_room, without) = (traffic(6), traffic(3));
    stream.send(&with_room);
    stream.drain();
    assert_eq!((sealed(&stream), in_parts(&mut stream)), (0, 0), "there is room for everything");

    // Less than the ids of one bucket and the windows of one partition take; what is open from before
    // is more than that, too.
    for limit in ["aggregate.dedupe_open_max_bytes", "aggregate.windows_open_max_bytes"] {
        stream.set(limit, at_scale(40_000, 2_000_000));
    }
    stream.send(&without);
    stream.drain();
    let (segments, windows) = (sealed(&stream), in_parts(&mut stream));
    assert!(segments > 0, "no bucket was sealed before it was due");
    assert!(windows > 0, "no window was written before its end");
    stream.expect_exactly_once();
    let mut figures = Figures::of("limits of memory", &dice);
    figures.note("segments", segments);
    figures.note("windows_in_parts", windows);
    let ledger = stream.ledger();
    note_stream(&mut figures, &stream, &ledger);
    figures.report();
}

/// Sealed buckets in the store.
fn sealed(stream: &Stream) -> usize {
    let store = open_s3(&stream.servers.s3, stream.prefix(), 10);
    let objects: Vec<ObjectMeta> = block_on(store.list(None).try_collect()).unwrap();
    objects.iter().filter(|object| object.location.as_ref().contains("/segments/")).count()
}

fn in_parts(stream: &mut Stream) -> u64 {
    stream.sql(IN_PARTS)[0]["windows"].as_u64().unwrap()
}
