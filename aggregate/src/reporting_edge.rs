//! The edge of one partition: it says in the status what the partition waits for.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::error::AggregateError;
use crate::owner::{Edge, Surroundings, TracedEpoch, WaitingPlace};
use crate::stream_status::StreamStatus;

#[derive(Debug)]
struct ReportingEdge {
    inner: Arc<dyn Edge>,
    status: StreamStatus,
    partition: u32,
}

impl Edge for ReportingEdge {
    fn now_ms(&self) -> i64 {
        self.inner.now_ms()
    }

    fn new_owner(&self) -> String {
        self.inner.new_owner()
    }

    fn address(&self) -> Option<String> {
        self.inner.address()
    }

    fn traced(&self, epoch: &TracedEpoch) {
        self.inner.traced(epoch);
    }

    fn pause(&self, attempt: u32, why: &AggregateError) -> BoxFuture<'static, ()> {
        self.status.waits(self.partition, self.now_ms(), why);
        let partition = self.partition;
        let last_epoch = self.status.last_epoch(partition);
        self.inner.pause_at(WaitingPlace { partition, last_epoch }, attempt, why)
    }
}

/// The same surroundings, whose pauses are seen in the status of `partition`.
pub(crate) fn reporting(
    surroundings: &Surroundings,
    status: &StreamStatus,
    partition: u32,
) -> Surroundings {
    let (inner, status) = (Arc::clone(&surroundings.edge), status.clone());
    let edge = Arc::new(ReportingEdge { inner, status, partition });
    Surroundings { edge, ..surroundings.clone() }
}
