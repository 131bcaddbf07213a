//! Two owners of one partition create the same entry (R4, R5).

use super::executor::Actors;
use super::faulty_store::store_of;
use super::plan::Faults;
use super::world::World;
use crate::ledger::{Creation, claim_entry, create, encode};

/// Races of `make test`.
const RACES: u64 = 2_000;

#[test]
fn of_two_who_create_an_entry_exactly_one_wins() {
    for seed in 0..RACES {
        let faults = Faults { per_mille: 300, latency_max: 8, down_until: 0 };
        let world = World::new(seed, faults, false);
        let mut owners = Actors::new(&world);
        for owner in ["one", "other"] {
            let (world, store) = (world.clone(), store_of(&world));
            owners.start(owner, async move {
                let entry = claim_entry("usage", 0, 1, owner, None, 0, 0);
                let bytes = encode(&entry).unwrap();
                loop {
                    match create(store.as_ref(), &entry, &bytes).await {
                        Creation::Ours => return (owner.to_owned(), true),
                        Creation::Foreign(winner) => return (winner.entry.owner, false),
                        Creation::Unresolved(_) => world.sleep(world.draw(0..9)).await,
                    }
                }
            });
        }
        let mut ends = Vec::new();
        while ends.len() < 2 {
            ends.extend(owners.step().unwrap_or_else(|stuck| panic!("seed {seed}: {stuck:?}")));
        }
        while let Some(tick) = world.next_due() {
            world.skip_to(tick);
        }
        let won = ends.iter().filter(|(_, (_, won))| *won).count();
        assert_eq!(won, 1, "seed {seed}: {ends:?}");
        // The loser knows the winner, and what is stored is the winner's.
        assert_eq!(ends[0].1.0, ends[1].1.0, "seed {seed}");
        let inside = world.inside();
        let stored: Vec<_> = inside.objects.values().collect();
        assert_eq!(stored.len(), 1, "seed {seed}");
        let text = std::str::from_utf8(stored[0]).unwrap();
        assert!(text.contains(&format!("\"owner\":\"{}\"", ends[0].1.0)), "seed {seed}: {text}");
    }
}
