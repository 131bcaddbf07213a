//! What probes ask of a role: whether its work makes progress, and whether it is being done.

use jiff::Timestamp;
use tally_aggregate::{Aggregator, PartitionStatus};

/// How long a partition may stand without a word on what it waits for. Longer than any request to the
/// store with its attempts, and than the files of the largest epoch take.
const STALL_MS: i64 = 120_000;

/// The work of a role.
pub(crate) trait Work: Send + Sync {
    /// What makes no progress though nothing is known that it waits for: only a restart helps. A
    /// store or a log that is away is no reason to restart.
    fn stuck(&self) -> Vec<String>;
    /// Why the role does not do its work yet.
    fn unready(&self) -> Option<String> {
        None
    }
}

impl Work for Aggregator {
    fn stuck(&self) -> Vec<String> {
        let now_ms = Timestamp::now().as_millisecond();
        let partitions = self.status().partitions();
        let why = |(partition, status): (&u32, &PartitionStatus)| {
            let why = status.stopped.clone().or_else(|| status.stalled(now_ms, STALL_MS))?;
            Some(format!("partition {partition}: {why}"))
        };
        partitions.iter().filter_map(why).collect()
    }

    fn unready(&self) -> Option<String> {
        Aggregator::unready(self).map(|why| why.to_string())
    }
}
