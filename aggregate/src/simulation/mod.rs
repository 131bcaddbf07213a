//! The seeded simulation (R31): the whole of one partition's life (claim, recovery, records,
//! segments, commits) on a log and a store in memory, on one thread, in an order, with faults and
//! with crashes that a seed decides. Afterwards the invariants of `reliability.md` are checked on
//! what lies in the store. A seed always gives the same run, so a failure, a panic too, is replayed
//! with the command that it is printed with ([`replay`]).

mod approvals;
mod budgets;
mod corrections;
mod double_entry;
mod encodings;
mod executor;
mod faulty_store;
mod flipped_bytes;
mod invariants;
mod member;
mod oracle;
mod plan;
mod planted_bugs;
mod power_loss;
mod price_book;
mod races;
mod reach;
mod replay;
mod resolutions;
mod scenario;
mod schedule;
mod simulated_alerts;
mod simulated_log;
mod simulated_statuses;
mod stored_rows;
mod straight_run;
mod waiting;
mod workload;
mod world;

use reach::Reach;
use scenario::run;

/// Seeds of `make test`.
const SEEDS: u64 = 2_000;

/// The test that a seed is replayed by.
const TEST: &str = "simulation::seeds_hold";

/// Runs every second seed from `first` on.
fn hold(first: u64, seeds: u64) -> Result<Reach, String> {
    let mut reach = Reach::default();
    for seed in (first..seeds).step_by(2) {
        reach.add(&replay::hold(TEST, seed, || run(seed, false))?.reach);
    }
    Ok(reach)
}

#[test]
fn seeds_hold() {
    if let Some(seed) = replay::replayed_seed() {
        let finished = replay::hold(TEST, seed, || run(seed, true));
        let finished = finished.unwrap_or_else(|broken| panic!("{broken}"));
        println!("seed {seed} holds: {:?}", finished.reach);
        return;
    }
    let seeds = replay::from_environment("TALLY_SEEDS").unwrap_or(SEEDS);
    let mut reach = Reach::default();
    // Every run is on one thread; two threads share the seeds.
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|first| scope.spawn(move || hold(first, seeds)));
        for half in halves {
            match half.join().unwrap() {
                Ok(reached) => reach.add(&reached),
                Err(broken) => panic!("{broken}"),
            }
        }
    });
    println!("{seeds} seeds hold: {reach:?}");
    // A workload that no longer gets anywhere would hold as well.
    for (what, reached) in [
        ("fenced owners", reach.fenced),
        ("bases", reach.bases),
        ("segments", reach.segments),
        ("segments read", reach.segments_read),
        ("late windows", reach.late_rows),
        ("duplicates", reach.duplicates),
        ("held-back events", reach.suspended),
        ("recycled events", reach.recycled),
        ("events written off", reach.written_off),
        ("events taken back", reach.corrected),
        ("corrections refused", reach.corrections_refused),
        ("alerts", reach.alerts),
        ("changes of the reference data", reach.reference_changes),
        ("records that repeat one", reach.reference_repeats),
        ("statuses", reach.statuses),
    ] {
        assert!(reached >= seeds / 8, "only {reached} {what} in {seeds} seeds");
    }
}

#[test]
fn the_same_seed_gives_the_same_store() {
    for seed in 0..20 {
        let contents = || {
            let world =
                run(seed, false).unwrap_or_else(|broken| panic!("seed {seed}: {broken}")).world;
            let mut hash = blake3::Hasher::new();
            for (path, bytes) in &world.inside().objects {
                hash.update(path.as_bytes()).update(bytes);
            }
            hash.finalize()
        };
        assert_eq!(contents(), contents(), "seed {seed}");
    }
}
