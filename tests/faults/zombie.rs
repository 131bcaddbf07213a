//! R3: a process is frozen in the middle of its work, another takes its partitions, and the frozen
//! one comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kill::note_stream;
use crate::support::{
    Dice, Figures, Process, Stream, Traffic, at_scale, eventually, patience, rounds_at_scale,
};

#[test]
fn a_zombie_is_fenced() {
    let mut dice = Dice::of("zombie");
    let cycles = rounds_at_scale(3, 100);
    let frozen_for = Duration::from_millis(at_scale(0, 60_000));
    let partitions = 4;
    let mut stream = Stream::new("zombie", dice.seed(), partitions);
    stream.set("aggregate.freshness_ms", 400);
    stream.sell(5_000);
    stream.send(&Traffic::mixed(dice.next_seed(), 20_000));
    let mut ledger = stream.ledger();
    let mut zombie = stream.aggregate("zombie");
    for _ in 0..cycles {
        let live = stream.sending(&Traffic::mixed(dice.next_seed(), 24_000).at_rate(4_000));
        let height = ledger.height();
        eventually("epochs of the one to be frozen", patience(), || {
            zombie.assert_running();
            (ledger.height() > height + 8).then_some(())
        });
        dice.pause(0, 500);
        zombie.freeze();
        let frozen = Instant::now();
        // What it has sent may still arrive; owners are read when nothing moves any more.
        std::thread::sleep(Duration::from_millis(200));
        let before: Vec<(u64, String)> =
            ledger.lasts().into_iter().map(|last| (last.n, last.owner)).collect();
        let mut heir = stream.aggregate("heir");
        eventually("the heir's epochs in every partition", patience(), || {
            heir.assert_running();
            let after = ledger.lasts();
            let moved = |((n, owner), last): (&(u64, String), &tally_schemas::LedgerEntry)| {
                last.n > *n && last.owner != *owner
            };
            before.iter().zip(&after).all(moved).then_some(())
        });
        std::thread::sleep(frozen_for.saturating_sub(frozen.elapsed()));
        zombie.thaw();
        stream.sent(live);
        settle(&mut zombie, &mut heir, &stream);
        let owners: BTreeSet<&String> = before.iter().map(|(_, owner)| owner).collect();
        for (partition, (n, _)) in (0..partitions).zip(&before) {
            let entries = ledger.entries(partition);
            let late = entries.iter().find(|e| e.n > *n && owners.contains(&e.owner));
            assert!(late.is_none(), "the zombie committed after its fence: {late:?}");
        }
        assert!(heir.terminate(patience()).success());
    }
    assert!(zombie.terminate(patience()).success());
    stream.drain();
    stream.expect_exactly_once();
    let (alerts, again) = said(&stream);
    let fenced = zombie.log().lines().filter(|line| line.contains("fenced: ")).count();
    assert!(fenced > 0, "no zombie ran into a fence: nothing was shown");
    let mut figures = Figures::of("R3 zombie", &dice);
    figures.note_shares();
    figures.note("cycles", cycles);
    figures.note("fenced_partitions", fenced);
    figures.note("alerts", alerts);
    figures.note("alerts_said_again", again);
    note_stream(&mut figures, &stream, &ledger);
    figures.report();
}

/// How many alerts are in the topic, and how many messages say one again. A zombie may, before it
/// notices: with the same id and the same bytes, so that receivers drop it (ADR 8).
fn said(stream: &Stream) -> (usize, usize) {
    let mut said: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut again = 0;
    stream.alerts_topic().each(|_, value| {
        let message: Value = serde_json::from_slice(value).unwrap();
        let id = message["id"].as_str().unwrap().to_owned();
        if let Some(before) = said.insert(id, value.to_vec()) {
            let text = String::from_utf8_lossy;
            assert_eq!(text(&before), text(value), "said again, and not in the same words");
            again += 1;
        }
    });
    (said.len(), again)
}

/// Waits until the two share the work again and have caught up.
fn settle(zombie: &mut Process, heir: &mut Process, stream: &Stream) {
    let mut ledger = stream.ledger();
    eventually("the backlog of the two", patience(), || {
        zombie.assert_running();
        heir.assert_running();
        stream.is_committed(&mut ledger).then_some(())
    });
}
