//! Known bugs, planted one at a time: the invariants must find each of them, or they would not
//! find the unknown ones either (R32).

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::scenario::run;
use crate::planted::{Bug, plant};

/// Seeds within which a bug must be found.
const SEEDS_MAX: u64 = 3_000;

const BUGS: [Bug; 29] = [
    Bug::OffsetBeforeData,
    Bug::FenceSkipped,
    Bug::DedupeLostAtRestart,
    Bug::StateOneEpochOld,
    Bug::UnknownCommitTakenForFailure,
    Bug::ClaimSkipped,
    Bug::OffsetOffByOne,
    Bug::EmptyEpochSkipped,
    Bug::WindowsLostAtRestart,
    Bug::WatermarkFalls,
    Bug::SuspenseRowLost,
    Bug::SealedBucketForgotten,
    Bug::ReopenedBucketLost,
    Bug::AccountsLostAtRestart,
    Bug::CommandTwice,
    Bug::TakenOutForgotten,
    Bug::HeldMarkNotAsked,
    Bug::RecycledAsOfItsRecord,
    Bug::ReversalForgotten,
    Bug::UnknownTakenBack,
    Bug::AlertRowLost,
    Bug::CommittedBeforeAcknowledged,
    Bug::AlertsNotReadBack,
    Bug::AlertIdWithClock,
    Bug::LostReplySentAgain,
    Bug::AlertsEndOffByOne,
    Bug::NewestReferenceAtRecovery,
    Bug::ReferenceWithoutRecord,
    Bug::OlderReferenceTaken,
];

#[test]
fn every_planted_bug_is_caught() {
    let mut caught = 0;
    for bug in BUGS {
        plant(Some(bug));
        let found = (0..SEEDS_MAX).find_map(|seed| {
            // A planted bug may also trip an assertion of the code under test.
            let broken = match catch_unwind(AssertUnwindSafe(|| run(seed, false))) {
                Ok(run) => run.err()?,
                Err(_) => "a panic".to_owned(),
            };
            Some((seed, broken))
        });
        plant(None);
        match found {
            Some((seed, broken)) => {
                caught += 1;
                let words: String = broken.chars().take(110).collect();
                println!("{bug:?}: seed {seed}: {words}");
            }
            None => println!("{bug:?}: NOT caught in {SEEDS_MAX} seeds"),
        }
    }
    println!("{caught} of {} planted bugs caught", BUGS.len());
    assert_eq!(caught, BUGS.len());
}
