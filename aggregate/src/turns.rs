//! What takes a core for long is done by one partition after the other, so that a core is left to
//! those who read, answer and alert. Partitions that are read at the same pace come to the end of
//! their epochs together: all of them at once would take twice as long on half the cores, and let
//! nobody else get a turn.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of one process.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    closing: Arc<Semaphore>,
    encoding: Arc<Semaphore>,
}

impl Turns {
    /// As many at once as there are cores, but for one.
    pub(crate) fn of_cores() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::at_once(cores.saturating_sub(1).max(1))
    }

    /// All at once: for a bounded run, which answers nobody and ends when the last epoch is stored.
    pub(crate) fn unlimited() -> Self {
        Self::at_once(Semaphore::MAX_PERMITS)
    }

    fn at_once(partitions: usize) -> Self {
        let turns = || Arc::new(Semaphore::new(partitions));
        Self { closing: turns(), encoding: turns() }
    }

    /// The turn to close an epoch, while it is held; none where another partition has it.
    pub(crate) fn try_to_close(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.closing).try_acquire_owned().ok()
    }

    /// The turn to encode an epoch, while it is held.
    pub(crate) async fn wait_to_encode(self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes the semaphore.
        self.encoding.acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_given_when_it_is_given_back() {
        let turns = Turns::at_once(1);
        let first = turns.clone().try_to_close();
        assert!(first.is_some() && turns.try_to_close().is_none());
        drop(first);
        assert!(turns.try_to_close().is_some());
        let unlimited = Turns::unlimited();
        let several: Vec<_> = (0..9).map(|_| unlimited.try_to_close()).collect();
        assert!(several.iter().all(Option::is_some));
    }
}
