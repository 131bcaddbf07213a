//! A stop on SIGTERM or Ctrl-C: graceful the first time, at once the second.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// A token that a signal cancels.
pub(crate) fn on_signal() -> Result<CancellationToken, Failure> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // Said afterwards: nobody may read the log any more, and a stop must not depend on it.
            stop.cancel();
            tracing::info!("stopping: finishing what is in flight");
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("stopping at once: the ledger knows what is committed");
            #[expect(clippy::disallowed_methods, reason = "asked twice; a restart recovers")]
            std::process::exit(130);
        }
    });
    Ok(stop)
}
