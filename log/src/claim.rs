//! Asks an assignee for its partitions' offsets, several at a time.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::gate::Gate;
use crate::{Assignee, Bounds, LogError, LogErrorKind};

/// How long a partition whose claim failed waits for the next try.
pub(crate) const CLAIM_PAUSE: Duration = Duration::from_millis(500);

/// Partitions claimed at a time: each claim is a few round trips to a store, and may load state.
const CLAIMS_AT_A_TIME: usize = 16;

/// What is known of a partition that was given to this process.
#[derive(Debug)]
pub(crate) enum Held {
    /// A reader was handed over.
    Reading(Arc<Gate>),
    /// Not read; to be claimed again at that time.
    Waiting(Instant),
}

/// What became of one partition's claim: the offset to read from.
pub(crate) type Claim = (u32, Result<u64, LogError>);

/// Calls [`Assignee::assign`] for each partition, in parallel, and returns the outcomes in the
/// order of `partitions`.
pub(crate) fn claim_all(
    assignee: &dyn Assignee,
    partitions: &[u32],
    bounds: &(dyn Fn(u32) -> Result<Bounds, LogError> + Sync),
) -> Vec<Claim> {
    let claim = |partition: u32| {
        let outcome = bounds(partition).and_then(|bounds| assignee.assign(partition, bounds));
        (partition, outcome)
    };
    if let [partition] = partitions {
        return vec![claim(*partition)];
    }
    let mut claims = Vec::with_capacity(partitions.len());
    for some in partitions.chunks(CLAIMS_AT_A_TIME) {
        thread::scope(|scope| {
            let threads: Vec<_> = some
                .iter()
                .map(|partition| {
                    let name = format!("claim-{partition}");
                    let claim = &claim;
                    let spawned = thread::Builder::new()
                        .name(name)
                        .spawn_scoped(scope, move || claim(*partition));
                    (*partition, spawned)
                })
                .collect();
            claims.extend(threads.into_iter().map(|(partition, spawned)| match spawned {
                Ok(thread) => thread.join().unwrap_or_else(|_| {
                    let why = format!("the claim of partition {partition} panicked");
                    (partition, Err(LogError::Internal(why)))
                }),
                Err(error) => {
                    let why = format!("no thread to claim partition {partition}: {error}");
                    (partition, Err(LogError::Retry(why)))
                }
            }));
        });
    }
    claims
}

/// A claim that fails for the moment is a warning; one that needs somebody's hand is an error.
pub(crate) fn log_failed_claim(partition: u32, error: &LogError) {
    match error.kind() {
        LogErrorKind::Retry | LogErrorKind::Refused | LogErrorKind::Gone => {
            tracing::warn!(partition, %error, "partition not assigned, will be tried again");
        }
        LogErrorKind::Data | LogErrorKind::Invalid | LogErrorKind::Internal => {
            tracing::error!(partition, %error, "partition not assigned, will be tried again");
        }
    }
}
