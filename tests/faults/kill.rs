//! R1 and R2: `kill -9` at random instants, of one process, of both, and of one that is just
//! recovering.

use std::time::{Duration, Instant};

use crate::support::{
    Dice, Figures, Ledger, Process, Stream, Traffic, at_scale, eventually, patience, percentile,
    rounds_at_scale,
};

/// Most that 99 of 100 recoveries may take.
const RECOVERY_P99_MAX: Duration = Duration::from_secs(10);

/// Accounts of the traffic; half of them buy something.
const ACCOUNTS: u32 = 5_000;

/// R1: whatever instant a kill hits, each event is counted and charged exactly once.
#[test]
fn killed_at_random_instants() {
    let mut dice = Dice::of("kill");
    let cycles = at_scale(14, 500);
    let mut stream = Stream::new("kill", dice.seed(), 4);
    stream.set("aggregate.freshness_ms", 100);
    // Tables are compacted and checkpointed meanwhile, by whoever lives.
    stream.set("aggregate.janitor_interval_ms", 2_000);
    stream.sell(ACCOUNTS);
    stream.send(&Traffic::mixed(dice.next_seed(), at_scale(120_000, 10_000_000)));
    let rate = at_scale(4_000, 6_000);
    let events = at_scale(120_000, 10_000_000);
    let live = stream.sending(&Traffic::mixed(dice.next_seed(), events).at_rate(rate));
    let mut ledger = stream.ledger();
    let mut members = vec![stream.aggregate("member"), stream.aggregate("member")];
    let (mut recoveries, mut recoveries_in_group) = (Vec::new(), Vec::new());
    for cycle in 0..cycles {
        dice.pause(50, 1_500);
        if dice.chance(50) {
            members.swap_remove(dice.index(members.len())).kill();
            members.push(stream.aggregate("member"));
            continue;
        }
        for member in members.drain(..) {
            member.kill();
        }
        // In a group of its own nobody waits until the sessions of the dead have timed out: more of
        // the time goes into work, and more kills hit it.
        let own_group = dice.chance(60);
        if own_group {
            stream.set("log.group", format!("{}-{cycle}", stream.topic.name));
        }
        let height = ledger.height();
        let began = Instant::now();
        members.extend([stream.aggregate("member"), stream.aggregate("member")]);
        eventually("a commit after both were killed", patience(), || {
            members.iter_mut().for_each(Process::assert_running);
            // A claim is an entry too; an entry above it has rows.
            (ledger.height() > height && ledger.lasts().iter().any(is_epoch)).then_some(())
        });
        let times = if own_group { &mut recoveries } else { &mut recoveries_in_group };
        times.push(began.elapsed());
    }
    for member in members {
        member.kill();
    }
    stream.sent(live);
    stream.drain();
    stream.expect_exactly_once();
    let mut figures = Figures::of("R1 kill -9", &dice);
    figures.note("cycles", cycles);
    note_stream(&mut figures, &stream, &ledger);
    let mut all = [recoveries.as_slice(), recoveries_in_group.as_slice()].concat();
    all.sort();
    figures.note_times("recovery", recoveries);
    figures.note_times("recovery_with_session", recoveries_in_group);
    // The full count has enough of them, and the machine for itself.
    if let Some(p99) = percentile(&all, 99) {
        assert!(p99 <= RECOVERY_P99_MAX, "one recovery in a hundred takes longer than {p99:?}");
    }
    figures.report();
}

/// R1 at chosen points: before and after each step that a record, an epoch and its publication
/// take.
#[test]
fn killed_at_every_point() {
    let mut dice = Dice::of("kill-points");
    let mut stream = Stream::new("kill-points", dice.seed(), 2);
    stream.sell(ACCOUNTS);
    let mut ledger = stream.ledger();
    let points = ["polled", "pushed", "closed", "uploaded", "committed", "publishing", "published"];
    let rounds = at_scale(2, 20);
    for round in 0..rounds {
        for point in points {
            stream.send(&Traffic::mixed(dice.next_seed(), 3_000));
            // In a group of its own nobody waits until the session of the dead has timed out.
            stream.set("log.group", format!("{}-{point}-{round}", stream.topic.name));
            let most = if point == "polled" { 2_000 } else { 2 };
            let times = if round == 0 { 1 } else { 1 + dice.index(most) };
            let mut process = stream.aggregate_dying("member", &format!("{point}:{times}"));
            let status = process.wait(patience());
            assert!(status.code().is_none(), "{point}:{times} did not kill: {status}");
        }
    }
    stream.drain();
    assert!(stream.is_committed(&mut ledger));
    stream.expect_exactly_once();
    let mut figures = Figures::of("R1 kill at points", &dice);
    figures.note("kills", rounds * points.len() as u64);
    note_stream(&mut figures, &stream, &ledger);
    figures.report();
}

/// R2: a process that is killed while it recovers, and once more, leaves a ledger that the next
/// one recovers from.
#[test]
fn killed_twice_while_recovering() {
    let mut dice = Dice::of("kill-recovery");
    let cycles = rounds_at_scale(5, 100);
    let mut stream = Stream::new("kill-recovery", dice.seed(), 4);
    stream.sell(ACCOUNTS);
    let per_cycle = at_scale(15_000, 100_000);
    let mut ledger = stream.ledger();
    for cycle in 0..cycles {
        stream.send(&Traffic::mixed(dice.next_seed(), per_cycle));
        // A group of its own is joined at once: nobody waits for the dead one's session.
        let mut group = format!("cycle-{cycle}");
        let mut process = stream.aggregate_in_group("first", &group);
        let height = ledger.height();
        eventually("some epochs", patience(), || {
            process.assert_running();
            (ledger.height() > height + dice.between(5, 12)).then_some(())
        });
        process.kill();
        for again in ["second", "third"] {
            group.push('-');
            let claims: u64 = ledger.height();
            let mut process = stream.aggregate_in_group(again, &group);
            eventually("a claim", patience(), || {
                process.assert_running();
                (ledger.height() > claims).then_some(())
            });
            dice.pause(0, 60);
            process.kill();
        }
    }
    stream.drain();
    stream.expect_exactly_once();
    let mut figures = Figures::of("R2 kill during recovery", &dice);
    figures.note_shares();
    figures.note("cycles", cycles);
    note_stream(&mut figures, &stream, &ledger);
    figures.report();
}

fn is_epoch(entry: &tally_schemas::LedgerEntry) -> bool {
    entry.kind == tally_schemas::EntryKind::Epoch
}

/// What every fault test says about its stream.
pub(crate) fn note_stream(figures: &mut Figures, stream: &Stream, ledger: &Ledger) {
    figures.note("records", stream.topic.records());
    figures.note("accepted", stream.truth.accepted);
    figures.note("duplicates", stream.truth.duplicates);
    figures.note("suspended", stream.truth.suspended.values().sum::<u64>());
    note_entries(figures, ledger);
}

/// Entries of a ledger.
fn note_entries(figures: &mut Figures, ledger: &Ledger) {
    let (claims, epochs) = ledger.count();
    figures.note("claims", claims);
    figures.note("epochs", epochs);
}

/// What a test says about a stream that has no truth.
pub(crate) fn note_ledger(figures: &mut Figures, stream: &Stream) {
    figures.note("records", stream.topic.records());
    note_entries(figures, &stream.ledger());
}
