//! The real world: the machine's clock, random owner ids, pauses that grow.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;

use crate::error::AggregateError;
use crate::owner::{Edge, TracedEpoch, WaitingPlace};

/// Longest pause between two attempts.
const PAUSE_MAX_MS: u64 = 2_000;

/// The [`Edge`] of a running process.
#[derive(Debug, Clone, Default)]
pub struct SystemEdge {
    /// URL under which the process is reached, where others are to know.
    pub address: Option<String>,
    /// Who hears of traced epochs, where somebody does.
    pub traces: Option<Arc<dyn HearsTraces>>,
}

/// Hears of traced epochs.
pub trait HearsTraces: std::fmt::Debug + Send + Sync {
    /// A traced epoch is committed. Called on a thread of the runtime: it must not wait.
    fn committed(&self, epoch: &TracedEpoch);
}

impl Edge for SystemEdge {
    #[expect(clippy::disallowed_methods, reason = "this is the edge that has the clock")]
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the edge that has the randomness")]
    fn new_owner(&self) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }

    fn address(&self) -> Option<String> {
        self.address.clone()
    }

    fn traced(&self, epoch: &TracedEpoch) {
        if let Some(traces) = &self.traces {
            traces.committed(epoch);
        }
    }

    fn pause(&self, attempt: u32, why: &AggregateError) -> BoxFuture<'static, ()> {
        if attempt.is_power_of_two() {
            tracing::warn!(attempt, %why, "not available, waiting");
        }
        before(attempt)
    }

    fn pause_at(
        &self,
        place: WaitingPlace,
        attempt: u32,
        why: &AggregateError,
    ) -> BoxFuture<'static, ()> {
        if attempt.is_power_of_two() {
            let WaitingPlace { partition, last_epoch } = place;
            tracing::warn!(partition, last_epoch, attempt, %why, "not available, waiting");
        }
        before(attempt)
    }
}

/// The pause before an attempt.
fn before(attempt: u32) -> BoxFuture<'static, ()> {
    let ms = (50_u64 << attempt.min(6)).min(PAUSE_MAX_MS);
    Box::pin(tokio::time::sleep(Duration::from_millis(ms)))
}
