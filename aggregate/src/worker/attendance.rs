//! What must not wait until a worker has read what it can: who asks for quotas, and what is to be
//! said at once.

use super::{READ_WAIT, Worker};
use crate::crash_point::crash_point;
use crate::error::AggregateError;
use crate::stream_status::Waiting;

/// Times that a full read is broken off.
const PAUSES: usize = 16;
/// How long the log may take to acknowledge notices before the status says that they wait.
const NOTICES_WAIT_MS: i64 = 1_000;

impl Worker {
    /// Behind each record: answers who asked meanwhile, and lets alerts go. A full read takes
    /// dozens of milliseconds; this comes by several times in it, and not for each event, so that
    /// answers leave by the handful and wake their readers once.
    pub(super) fn attend(&mut self) {
        self.unattended += 1;
        if self.unattended.saturating_mul(PAUSES) < self.read_max {
            return;
        }
        self.unattended = 0;
        self.desk.answer();
        let (notices, next_offset) = {
            let mut state = self.desk.state();
            (state.take_notices(), state.next_offset())
        };
        if !notices.is_empty() {
            crash_point("noticed");
            self.outbox.hand_over(notices, next_offset);
        }
    }

    /// Lets what is to be said at once go; of the statuses that wait, as many as there is room for.
    pub(super) fn hand_over(&mut self) {
        let room = self.outbox.room_for_statuses();
        let (notices, next_offset) = {
            let mut state = self.desk.state();
            let mut notices = state.take_notices();
            notices.extend(state.take_statuses(room));
            (notices, state.next_offset())
        };
        if !notices.is_empty() {
            crash_point("noticed");
        }
        self.outbox.hand_over(notices, next_offset);
        self.note_waiting();
    }

    /// Lets all that is to be said before an epoch ends go, however much it is: at the end of a month
    /// every account may have turned. `false` where the worker was told to let go meanwhile.
    pub(super) fn hand_over_all(&mut self) -> Result<bool, AggregateError> {
        loop {
            self.hand_over();
            if !self.statuses_wait() {
                return Ok(true);
            }
            if self.signals.abandon.is_cancelled() {
                return Ok(false);
            }
            self.outbox.check()?;
            self.note_turn();
            self.wait_for_outbox();
        }
    }

    /// Whether statuses wait until there is room for them.
    pub(super) fn statuses_wait(&self) -> bool {
        self.desk.state().statuses_wait()
    }

    /// Whether an epoch stays open as long as there is something else to do, because all statuses
    /// must be told before it ends: events are charged meanwhile.
    pub(super) fn reads_on(&self) -> bool {
        self.statuses_wait() && !self.at_bounded_end()
    }

    /// Waits until the log has acknowledged something, or for a moment; who asks is answered.
    pub(super) fn wait_for_outbox(&mut self) {
        self.desk.answer();
        let moved = self.outbox.moved();
        // Whether it moved or time ran out: the caller looks again.
        drop(self.runtime.block_on(async { tokio::time::timeout(READ_WAIT, moved).await }));
        self.note_waiting();
        self.watch_notices();
    }

    fn note_waiting(&self) {
        let waiting = self.outbox.waiting();
        self.status.update(self.partition, |status| status.notices_waiting = waiting);
    }

    /// Says in the status, and to the caller, that the log does not take notices.
    pub(super) fn watch_notices(&mut self) -> bool {
        if self.outbox.waiting() == 0 {
            self.notices_seen = None;
            return false;
        }
        let (acknowledged, now_ms) = (self.outbox.acknowledged(), self.surroundings.edge.now_ms());
        let seen = self.notices_seen.filter(|seen| seen.0 == acknowledged);
        let (_, since_ms) = *self.notices_seen.insert(seen.unwrap_or((acknowledged, now_ms)));
        if now_ms.saturating_sub(since_ms) < NOTICES_WAIT_MS {
            return false;
        }
        let why = format!("{} notices are not acknowledged by the log", self.outbox.waiting());
        self.status.update(self.partition, |status| {
            let attempts = status.waiting.as_ref().map_or(0, |waiting| waiting.attempts);
            status.waiting = Some(Waiting { since_ms, attempts, why });
        });
        true
    }
}
