//! Where one partition is asked for the quota of its accounts, while its worker goes on.
//!
//! The worker has the state and holds it for a record at a time. Who asks looks at the state where
//! it is free, as it is whenever the worker waits, so that an idle partition answers at once. Where
//! it is not, the question is left here: the worker answers all of them every few milliseconds, so
//! that thousands a second cost it little. Whoever has held the state looks for questions that came
//! meanwhile, so that none is left lying.

use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, MutexGuard};
use tally_quota::BadAccount;
use tokio::sync::oneshot;

use crate::core::{Partition, QuotaPicture};

/// Questions that may wait; more are turned away.
const WAITING_MAX: usize = 4_096;
/// Questions that are answered before the worker gets its turn.
const ANSWERED_AT_ONCE: usize = 256;

/// What is known of an account; none where nothing is.
pub(crate) type Looked = Result<Option<QuotaPicture>, BadAccount>;

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Too many wait.
    Busy,
    /// The worker has given the partition up.
    Closed,
}

/// A question that waits.
#[derive(Debug)]
struct Question {
    account: String,
    answer: oneshot::Sender<Looked>,
}

/// One partition's desk. The worker owns it; it goes with the worker.
#[derive(Debug)]
pub(crate) struct QuotaDesk {
    state: Mutex<Partition>,
    asked: Sender<Question>,
    waiting: Receiver<Question>,
    closed: AtomicBool,
}

impl QuotaDesk {
    pub(crate) fn new(state: Partition) -> Self {
        let (asked, waiting) = bounded(WAITING_MAX);
        Self { state: Mutex::new(state), asked, waiting, closed: AtomicBool::new(false) }
    }

    /// The state, for the worker: it must not hold it while it waits for anything.
    pub(crate) fn state(&self) -> MutexGuard<'_, Partition> {
        self.state.lock()
    }

    /// What is known of an account, as of what the worker has processed.
    pub(crate) async fn ask(&self, account: &str) -> Result<Looked, Unanswered> {
        if let Some(looked) = self.look(account) {
            self.answer();
            return looked;
        }
        let (answer, looked) = oneshot::channel();
        let question = Question { account: account.to_owned(), answer };
        self.asked.try_send(question).map_err(|_| Unanswered::Busy)?;
        // Either the state is seen to be free below, or its holder sees the question.
        fence(Ordering::SeqCst);
        self.answer();
        looked.await.map_err(|_| Unanswered::Closed)
    }

    fn look(&self, account: &str) -> Option<Result<Looked, Unanswered>> {
        let state = self.state.try_lock()?;
        if self.closed.load(Ordering::Relaxed) {
            return Some(Err(Unanswered::Closed));
        }
        Some(Ok(state.quota_of(account)))
    }

    /// Answers the questions that wait, unless somebody else holds the state, who will.
    pub(crate) fn answer(&self) {
        while !self.waiting.is_empty() {
            let Some(state) = self.state.try_lock() else { return };
            let closed = self.closed.load(Ordering::Relaxed);
            for Question { account, answer } in self.waiting.try_iter().take(ANSWERED_AT_ONCE) {
                // Who asked may have gone; who is not answered is told that the desk is closed.
                if !closed {
                    drop(answer.send(state.quota_of(&account)));
                }
            }
            drop(state);
            fence(Ordering::SeqCst);
        }
    }

    /// The worker ends: nobody may be told what another owner may have changed by now.
    pub(crate) fn close(&self) {
        let state = self.state.lock();
        self.closed.store(true, Ordering::Relaxed);
        drop(state);
        self.answer();
    }
}

#[cfg(test)]
mod tests;
