//! R4: two writers on one partition, forced.

use std::sync::Arc;
use std::time::Duration;

use tally_aggregate::ledger::{Creation, claim_entry, create, encode};

use crate::kill::note_stream;
use crate::support::{
    Dice, Figures, Ledger, Servers, Stream, Traffic, at_scale, block_on, open_s3, rounds_at_scale,
};

/// Exactly one of many writers gets a number, and it knows that it is the one.
#[test]
fn one_winner_a_number() {
    let servers = Servers::of_environment();
    let dice = Dice::of("race");
    let (rounds, writers) = (at_scale(150, 10_000), 8_u64);
    let store = open_s3(&servers.s3, &format!("race-{}-{}", dice.seed(), std::process::id()), 10);
    let mut last = None;
    for n in 0..rounds {
        let candidates: Vec<_> = (0..writers)
            .map(|writer| {
                let owner = format!("writer-{writer}");
                let entry = claim_entry("race", 0, 1, &owner, last.as_ref(), 0, 1);
                let bytes = encode(&entry).unwrap();
                (entry, bytes)
            })
            .collect();
        let outcomes = block_on(async {
            let mut racing = tokio::task::JoinSet::new();
            for (entry, bytes) in candidates.clone() {
                let store = Arc::clone(&store);
                racing.spawn(async move {
                    (entry.owner.clone(), create(store.as_ref(), &entry, &bytes).await)
                });
            }
            racing.join_all().await
        });
        let winners: Vec<&String> = outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Creation::Ours))
            .map(|(owner, _)| owner)
            .collect();
        assert_eq!(winners.len(), 1, "round {n}: {outcomes:?}");
        for (owner, outcome) in &outcomes {
            if let Creation::Foreign(stored) = outcome {
                assert_eq!(stored.entry.owner, *winners[0], "round {n}, writer {owner}");
                last = Some(stored.as_ref().clone());
            }
        }
    }
    let mut figures = Figures::of("R4 races for a number", &dice);
    figures.note("rounds", rounds);
    figures.note("writers", writers);
    figures.report();
}

/// Two groups that both believe to own every partition fence each other without end; nothing is
/// lost, nothing is counted twice, and the stream moves on.
#[test]
fn two_groups_fight_for_every_partition() {
    let mut dice = Dice::of("two-writers");
    let mut stream = Stream::new("two-writers", dice.seed(), 2);
    stream.set("aggregate.freshness_ms", 100);
    let wanted = rounds_at_scale(6, 1_000);
    let mut fighters =
        [stream.aggregate_in_group("red", "red"), stream.aggregate_in_group("blue", "blue")];
    let ledger = stream.ledger();
    let mut changes = 0;
    while changes < wanted {
        let events = at_scale(12_000, 200_000);
        stream.send(&Traffic::mixed(dice.next_seed(), events).at_rate(4_000));
        for fighter in &mut fighters {
            fighter.assert_running();
        }
        let now = changes_of_owner(&ledger, stream.topic.partitions);
        assert!(now > changes, "the two no longer meet, after {now} changes of owner");
        changes = now;
    }
    for fighter in &mut fighters {
        assert!(fighter.terminate(Duration::from_secs(60)).success());
    }
    stream.drain();
    stream.expect_exactly_once();
    let mut figures = Figures::of("R4 two writers", &dice);
    figures.note_shares();
    figures.note("changes_of_owner", changes);
    note_stream(&mut figures, &stream, &ledger);
    figures.report();
}

/// How often a partition went from one owner to another.
fn changes_of_owner(ledger: &Ledger, partitions: u32) -> u64 {
    let changes_in = |partition| {
        let entries = ledger.entries(partition);
        entries.windows(2).filter(|pair| pair[0].owner != pair[1].owner).count() as u64
    };
    (0..partitions).map(changes_in).sum()
}
