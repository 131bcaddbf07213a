//! A start waits a while for what is away: Kafka, the store, and what lies in it.

use std::future::Future;
use std::time::Duration;

use object_store::ObjectStore;
use tally_aggregate::{StreamPlace, stream_of};
use tokio::time::{Instant, sleep};

use crate::exit::{Failure, FailureKind};

/// How long a start waits for Kafka, or for a store, that is away or in trouble before it says so
/// and ends.
pub(crate) const START_PATIENCE: Duration = Duration::from_secs(60);

/// Opens what may be away for a moment; `what` is what the log calls it.
///
/// # Errors
/// What opening it ends with, where that is no matter of time or [`START_PATIENCE`] is over.
pub(crate) async fn patiently<T, Opened: Future<Output = Result<T, Failure>>>(
    what: &str,
    open: impl Fn() -> Opened,
) -> Result<T, Failure> {
    let began = Instant::now();
    loop {
        match open().await {
            Err(error) if error.kind == FailureKind::Retry && began.elapsed() < START_PATIENCE => {
                tracing::warn!(error = error.message, "{what} not available, waiting");
                sleep(Duration::from_secs(1)).await;
            }
            opened => return opened,
        }
    }
}

/// Which ledger the stream of a topic has, asked of a store that may be away.
///
/// # Errors
/// As [`stream_of`].
pub(crate) async fn place_of(store: &dyn ObjectStore, topic: &str) -> Result<StreamPlace, Failure> {
    let look = || async { Ok(stream_of(store, topic).await?) };
    patiently("the store is", look).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Opens at the `n`-th look, and fails in a way before.
    async fn opened_at(n: u32, kind: FailureKind) -> (Result<u32, Failure>, u32) {
        let looks = AtomicU32::new(0);
        let opened = patiently("it is", || async {
            let look = looks.fetch_add(1, Ordering::Relaxed) + 1;
            if look == n { Ok(look) } else { Err(Failure::new(kind, "away")) }
        })
        .await;
        (opened, looks.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_come_is_waited_for_and_not_for_ever() {
        assert_eq!(opened_at(3, FailureKind::Retry).await.0.ok(), Some(3));
        let (refused, looks) = opened_at(3, FailureKind::Usage).await;
        assert_eq!((refused.map_err(|error| error.kind), looks), (Err(FailureKind::Usage), 1));
        let (away, looks) = opened_at(10_000, FailureKind::Retry).await;
        assert_eq!((away.map_err(|error| error.kind), looks), (Err(FailureKind::Retry), 61));
    }
}
