//! R10: members of the group join and leave while the stream flows.

use std::time::Duration;

use crate::kill::note_stream;
use crate::support::{Dice, Figures, Process, Stream, Traffic, at_scale};

#[test]
fn members_join_and_leave() {
    let mut dice = Dice::of("members");
    let mut stream = Stream::new("members", dice.seed(), 6);
    let changes = at_scale(8, 120);
    let every_ms = at_scale(1_000, 5_000);
    let events = changes * every_ms * 4;
    let live = stream.sending(&Traffic::mixed(dice.next_seed(), events).at_rate(4_000));
    let mut members = vec![stream.aggregate("member")];
    for _ in 0..changes {
        dice.pause(every_ms / 2, every_ms * 3 / 2);
        members.iter_mut().for_each(Process::assert_running);
        if members.len() == 1 || (members.len() < 4 && dice.chance(55)) {
            members.push(stream.aggregate("member"));
        } else {
            let mut leaver = members.swap_remove(dice.index(members.len()));
            assert!(leaver.terminate(Duration::from_secs(60)).success());
        }
    }
    stream.sent(live);
    for mut member in members {
        assert!(member.terminate(Duration::from_secs(60)).success());
    }
    let ledger = stream.ledger();
    let backlog = stream.topic.records()
        - (0..6).map(|p| ledger.entries(p).last().map_or(0, |last| last.to)).sum::<u64>();
    stream.drain();
    stream.expect_exactly_once();
    let mut figures = Figures::of("R10 members join and leave", &dice);
    figures.note("changes", changes);
    figures.note("backlog_at_the_end", backlog);
    note_stream(&mut figures, &stream, &ledger);
    figures.report();
}
