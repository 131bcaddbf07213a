//! One flipped byte in a ledger entry, a state object or a segment: a new owner notices, or it
//! makes no difference (R20).

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tally_schemas::ControlTotals;

use super::executor::run_alone;
use super::invariants::Objects;
use super::member::Site;
use super::plan::Faults;
use super::scenario::{Finished, run, site_over};
use super::simulated_log::Logged;
use crate::core::Need;
use crate::error::{AggregateError, ErrorKind};
use crate::owner::{load_segments, take};

/// Flips of an object.
const FLIPS: usize = 8;

/// What a new owner makes of a store: where it goes on, the totals and open windows that it begins
/// with, and what it says to every event of the log when it is sent again.
#[derive(Debug, PartialEq, Eq)]
struct Recovered {
    next: u64,
    watermark_ms: Option<i64>,
    open: Vec<String>,
    totals: ControlTotals,
}

async fn recovered(site: Site) -> Result<Recovered, AggregateError> {
    let bounds = tally_log::Bounds { start: 0, end: u64::MAX };
    let (_, mut state) =
        take(&site.surroundings, &site.config, site.approvals.as_ref(), bounds).await?;
    let (next, watermark_ms) = (state.next_offset(), state.watermark_ms());
    let open = state.open_windows().map(|window| format!("{window:?}")).collect();
    for (offset, record) in (1_000_000..).zip(site.log.records()) {
        let again = Logged { offset, ..record };
        while let Err(need) = state.push(again.record()) {
            match need {
                Need::Segments(need) => {
                    load_segments(&site.surroundings, &mut state, &need).await?;
                }
                // What the run was rated by in the end is the newest that its log names truly.
                Need::Reference(forged) => state.refuse_reference(forged, "forged".to_owned()),
            }
        }
    }
    Ok(Recovered { next, watermark_ms, open, totals: state.close().cumulative })
}

fn recover_from(finished: &Finished, objects: Objects) -> Result<Recovered, AggregateError> {
    let site = site_over(&finished.sites[0], Faults::default(), objects);
    let world = site.world.clone();
    run_alone(&world, recovered(site))
}

#[test]
fn a_flipped_byte_is_noticed_or_harmless() {
    let mut random = ChaCha8Rng::seed_from_u64(20);
    let (mut noticed, mut harmless) = (0, 0);
    // Runs with several bases, segments and many entries.
    let rich =
        |seed: &u64| run(*seed, false).is_ok_and(|f| f.reach.bases > 1 && f.reach.segments > 3);
    for seed in (0..).filter(rich).take(3) {
        let finished = run(seed, false).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        let objects = finished.world.inside().objects.clone();
        let expected = recover_from(&finished, objects.clone()).unwrap();
        let paths = objects.keys().filter(|path| !path.starts_with("tables/"));
        for path in paths {
            for _ in 0..FLIPS {
                let mut bytes = objects[path].to_vec();
                let at = random.random_range(0..bytes.len());
                bytes[at] ^= 1 << random.random_range(0..8);
                let mut flipped = objects.clone();
                flipped.insert(path.clone(), Bytes::from(bytes));
                match recover_from(&finished, flipped) {
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Data, "seed {seed} {path} {at}");
                        noticed += 1;
                    }
                    Ok(other) => {
                        assert_eq!(other, expected, "seed {seed}: byte {at} of {path}");
                        harmless += 1;
                    }
                }
            }
        }
    }
    println!("{noticed} flips noticed, {harmless} harmless");
    assert!(noticed > 100);
}
