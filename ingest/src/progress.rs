//! Whether the door gets on: what waits for the log since when, and what the log said last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tally_log::LogError;

/// What waits for the log, and how the last appends went.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    waiting: BTreeMap<u64, Instant>,
    failed: Option<(Instant, LogError)>,
}

/// One record that waits for the log, from its first event until the log has answered.
#[derive(Debug)]
pub(crate) struct Wait {
    progress: Arc<Progress>,
    number: u64,
}

impl Progress {
    /// Notes a record that waits from now on.
    pub(crate) fn wait(self: &Arc<Self>) -> Wait {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, Instant::now());
        Wait { progress: Arc::clone(self), number }
    }

    /// How long the oldest record has been waiting.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        // Numbers rise with time, so the first is the oldest.
        self.lock().waiting.first_key_value().map(|(_, since)| since.elapsed())
    }

    /// Notes what the log answered.
    pub(crate) fn answered(&self, answer: &Result<u64, LogError>) {
        self.lock().failed = answer.as_ref().err().map(|error| (Instant::now(), error.clone()));
    }

    /// The last answer, where it was a failure within `window`.
    pub(crate) fn failed_within(&self, window: Duration) -> Option<LogError> {
        let state = self.lock();
        state.failed.as_ref().filter(|(at, _)| at.elapsed() <= window).map(|(_, e)| e.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete in itself, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// Number of the record, unique within the process.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.progress.lock().waiting.remove(&self.number);
    }
}
