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
    within(START_PATIENCE, Duration::from_secs(1), what, open).await
}

async fn within<T, Opened: Future<Output = Result<T, Failure>>>(
    patience: Duration,
    pause: Duration,
    what: &str,
    open: impl Fn() -> Opened,
) -> Result<T, Failure> {
    let began = Instant::now();
    loop {
        match open().await {
            Err(error) if error.kind == FailureKind::Retry && began.elapsed() < patience => {
                tracing::warn!(error = error.message, "{what} not available, waiting");
                sleep(pause).await;
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

    /// Opens at the `n`-th look, and fails in a way before; how many looks that took.
    async fn opened_at(n: u32, kind: FailureKind, ms: u64) -> (Result<u32, FailureKind>, u32) {
        let looks = AtomicU32::new(0);
        let look = || async {
            let look = looks.fetch_add(1, Ordering::Relaxed) + 1;
            if look == n { Ok(look) } else { Err(Failure::new(kind, "away")) }
        };
        let (patience, pause) = (Duration::from_millis(ms), Duration::from_millis(1));
        let opened = within(patience, pause, "it is", look).await;
        (opened.map_err(|error| error.kind), looks.into_inner())
    }

    #[tokio::test]
    async fn only_what_may_come_is_waited_for_and_not_for_ever() {
        use FailureKind::{Retry, Usage};
        assert_eq!(opened_at(3, Retry, 60_000).await, (Ok(3), 3));
        assert_eq!(opened_at(3, Usage, 60_000).await, (Err(Usage), 1));
        assert_eq!(opened_at(3, Retry, 0).await, (Err(Retry), 1));
        let (away, looks) = opened_at(u32::MAX, Retry, 20).await;
        assert!(away == Err(Retry) && looks > 1, "{away:?} after {looks} looks");
    }
}
