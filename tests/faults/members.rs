//! R10: members of the group join and leave while the stream flows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tally_schemas::{EntryKind, LedgerEntry};

use crate::kill::note_stream;
use crate::support::{
    Dice, Fault, FaultProxy, Figures, Ledger, Process, Scope, Stream, Traffic, at_scale,
    eventually, patience,
};

/// A backlog is worked off by two members that nobody disturbs, and one that is as large while
/// members join and leave. Nothing is counted twice, and with the full counts, where five seconds
/// lie between two changes, at least half as much is counted in a second.
#[test]
fn members_join_and_leave() {
    let mut dice = Dice::of("members");
    let mut stream = Stream::new("members", dice.seed(), 6);
    let mut ledger = stream.ledger();
    let changes = at_scale(8, 120);
    let every_ms = at_scale(1_000, 5_000);

    stream.send(&Traffic::mixed(dice.next_seed(), at_scale(60_000, 2_000_000)));
    let mut members = vec![stream.aggregate("member"), stream.aggregate("member")];
    let pace = Pace::from_the_first_commit(&stream, &mut ledger);
    eventually("the backlog without changes", patience(), || {
        members.iter_mut().for_each(Process::assert_running);
        stream.is_committed(&mut ledger).then_some(())
    });
    let undisturbed = pace.events_per_second(&stream, &mut ledger);
    for mut member in members {
        assert!(member.terminate(Duration::from_secs(60)).success());
    }

    // As much as two members would have counted meanwhile, so that there is always something to do.
    let backlog = undisturbed * changes * every_ms / 1_000;
    let backlog = backlog.clamp(20_000, at_scale(200_000, 12_000_000));
    stream.send(&Traffic::mixed(dice.next_seed(), backlog));
    let mut members = vec![stream.aggregate("member")];
    let pace = Pace::from_the_first_commit(&stream, &mut ledger);
    let mut disturbed = None;
    for _ in 0..changes {
        dice.pause(every_ms / 2, every_ms * 3 / 2);
        members.iter_mut().for_each(Process::assert_running);
        if disturbed.is_none() && stream.is_committed(&mut ledger) {
            disturbed = Some(pace.events_per_second(&stream, &mut ledger));
        }
        if members.len() == 1 || (members.len() < 4 && dice.chance(55)) {
            members.push(stream.aggregate("member"));
        } else {
            let mut leaver = members.swap_remove(dice.index(members.len()));
            assert!(leaver.terminate(Duration::from_secs(60)).success());
        }
    }
    let disturbed = disturbed.unwrap_or_else(|| pace.events_per_second(&stream, &mut ledger));
    for mut member in members {
        assert!(member.terminate(Duration::from_secs(60)).success());
    }
    let left = stream.topic.records() - committed(&stream, &mut ledger);
    stream.drain();
    stream.expect_exactly_once();
    let percent = disturbed * 100 / undisturbed.max(1);
    let mut figures = Figures::of("R10 members join and leave", &dice);
    figures.note("changes", changes);
    figures.note("events_s_undisturbed", undisturbed);
    figures.note("events_s", disturbed);
    figures.note("throughput_percent", percent);
    figures.note("backlog_at_the_end", left);
    note_stream(&mut figures, &stream, &ledger);
    assert!(percent >= at_scale(1, 50), "{percent} % of the throughput without changes");
    figures.report();
}

/// A member that has to give partitions up while its store does not answer lets go of them when its
/// time is over. It does not hold them until the store is back; what it had read of them is counted
/// once, by its heir, and what it keeps it goes on with.
#[test]
fn a_member_whose_store_hangs_gives_partitions_up() {
    let mut dice = Dice::of("hanging-store");
    let mut stream = Stream::new("hanging-store", dice.seed(), 4);
    let proxy = FaultProxy::start(&stream.servers.s3_address(), dice.clone());
    let mut ledger = stream.ledger();
    stream.send(&Traffic::mixed(dice.next_seed(), 10_000));
    let mut hanging = stream.aggregate_through("hanging", &proxy.url());
    all_committed(&stream, &mut ledger, &mut [&mut hanging]);
    // For longer than this test takes: who waits for the store would wait for ever.
    proxy.spoil(Scope::All, 100, &[Fault::Delayed(3_600_000)]);
    let before: BTreeMap<u32, u64> =
        ledger.lasts().into_iter().map(|entry| (entry.partition, entry.n)).collect();
    stream.send(&Traffic::mixed(dice.next_seed(), at_scale(20_000, 200_000)));
    eventually("requests that hang", patience(), || {
        hanging.assert_running();
        (proxy.injected_total() >= 4).then_some(())
    });
    let began = Instant::now();
    let mut heir = stream.aggregate("heir");
    // Nobody else can commit anything.
    eventually("an epoch of the heir", patience(), || {
        hanging.assert_running();
        heir.assert_running();
        let is_new = |entry: &LedgerEntry| {
            entry.kind == EntryKind::Epoch && entry.n > before[&entry.partition]
        };
        ledger.lasts().iter().any(is_new).then_some(())
    });
    let given_up = began.elapsed();
    proxy.heal();
    all_committed(&stream, &mut ledger, &mut [&mut hanging, &mut heir]);
    assert!(hanging.terminate(patience()).success());
    assert!(heir.terminate(patience()).success());
    stream.drain();
    stream.expect_exactly_once();
    let mut figures = Figures::of("R10 a member whose store hangs", &dice);
    figures.note("heir_committed_after_ms", given_up.as_millis() as u64);
    note_stream(&mut figures, &stream, &ledger);
    figures.report();
}

fn all_committed(stream: &Stream, ledger: &mut Ledger, members: &mut [&mut Process]) {
    eventually("everything committed", patience(), || {
        members.iter_mut().for_each(|member| member.assert_running());
        stream.is_committed(ledger).then_some(())
    });
}

/// Records that are committed, over all partitions.
fn committed(stream: &Stream, ledger: &mut Ledger) -> u64 {
    (0..stream.topic.partitions).map(|partition| ledger.committed(partition)).sum()
}

/// How fast records are committed.
struct Pace {
    began: Instant,
    from: u64,
}

impl Pace {
    /// Waits until something is committed that was not before, so that starts are not counted in.
    fn from_the_first_commit(stream: &Stream, ledger: &mut Ledger) -> Self {
        let before = committed(stream, ledger);
        let from = eventually("a first commit", patience(), || {
            Some(committed(stream, ledger)).filter(|now| *now > before)
        });
        Self { began: Instant::now(), from }
    }

    fn events_per_second(&self, stream: &Stream, ledger: &mut Ledger) -> u64 {
        let ms = (self.began.elapsed().as_millis() as u64).max(1);
        (committed(stream, ledger) - self.from) * 1_000 / ms
    }
}
