//! A partition's state as it is stored: what a base and a delta say, when a base is due, and how
//! both are taken in again.

use tally_schemas::{Amounts, ControlTotals, CurrencySums, LogClock};

use super::{Partition, StateForm};
use crate::core::dedupe::SegmentRef;
use crate::core::state_codec::{BadState, StateHead, StateReader, StateRecord, StateWriter};
use crate::planted::{Bug, planted};

impl Partition {
    /// Takes over the control totals and the clock that the last ledger entry recorded.
    pub fn restore_totals(&mut self, cumulative: ControlTotals, clock: Option<LogClock>) {
        self.clock = clock;
        let rated = &cumulative.rated;
        let sum =
            |sums: &CurrencySums| sums.values().fold(0_i128, |sum, pico| sum.saturating_add(*pico));
        self.amounts = Amounts {
            points_micro: rated.points_micro,
            retail_pico: sum(&rated.retail_pico),
            wholesale_pico: sum(&rated.wholesale_pico),
        };
        self.cumulative = cumulative;
    }

    /// Tells the first offset of the topic, where the stream has come from another one.
    pub(crate) fn begin_topic_at(&mut self, offset: u64) {
        self.topic_begins_at = offset;
    }

    /// Applies a base or delta, oldest first.
    ///
    /// # Errors
    /// Where the object does not parse.
    pub(crate) fn restore(&mut self, bytes: &[u8], form: StateForm) -> Result<(), BadState> {
        match form {
            StateForm::Base => self.policy.note_base(bytes.len()),
            StateForm::Delta => self.policy.note_delta(bytes.len()),
        }
        let (head, mut records) = StateReader::open(bytes)?;
        self.watermark_ms = head.watermark_ms;
        self.newest_ms = head.newest_ms;
        self.see_stored(head.watermark_ms);
        let windows_kept = !planted(Bug::WindowsLostAtRestart);
        if windows_kept {
            self.subscriber_windows.restore_closed_until(head.closed_until_ms);
        }
        let mut seals_late = Vec::new();
        while let Some(record) = records.next()? {
            match record {
                StateRecord::Sealed(bucket, segment) if planted(Bug::ReopenedBucketLost) => {
                    seals_late.push((bucket, segment));
                }
                // Before the ids: a bucket of a base may be sealed and open again, and what was
                // open when it was sealed is let go.
                StateRecord::Sealed(bucket, segment) => self.dedupe.note_segment(bucket, segment),
                StateRecord::Ids { bucket, seal_at_ms, ids } => {
                    self.dedupe.restore(bucket, seal_at_ms, &ids);
                }
                StateRecord::ClosedWindow(start) if windows_kept => {
                    self.subscriber_windows.forget(start);
                }
                StateRecord::Window(window) if windows_kept => {
                    self.subscriber_windows.restore(&window);
                }
                StateRecord::ClosedWindow(_) | StateRecord::Window(_) => {}
                StateRecord::Account { .. } if self.accounts.is_blind() => {}
                StateRecord::Account { .. } if planted(Bug::AccountsLostAtRestart) => {}
                StateRecord::Account { account, bytes } => {
                    self.accounts.quota.restore(account, bytes).map_err(|_| {
                        BadState("an account that does not parse, or whose package is unknown")
                    })?;
                }
            }
        }
        for (bucket, segment) in seals_late {
            self.dedupe.note_segment(bucket, segment);
        }
        self.dedupe.expire(self.watermark_ms);
        if let Some(watermark_ms) = self.watermark_ms {
            self.accounts.quota.see_clock(watermark_ms);
        }
        Ok(())
    }

    fn state_writer(&self, bytes: usize) -> StateWriter {
        let head = StateHead {
            watermark_ms: self.watermark_ms,
            newest_ms: self.newest_ms,
            closed_until_ms: self.subscriber_windows.closed_until_ms(),
        };
        StateWriter::new(head, bytes)
    }

    /// What the epoch changed.
    pub(super) fn delta(&mut self, seals: &[(i64, SegmentRef)]) -> Vec<u8> {
        let mut writer = self.state_writer(self.policy.mean_delta_bytes());
        for (bucket, segment) in seals {
            writer.sealed(*bucket, segment);
        }
        for (bucket, seal_at_ms, ids) in self.dedupe.fresh() {
            writer.ids(bucket, seal_at_ms, ids.len(), ids.iter().map(|(_, id)| *id));
        }
        for start in self.subscriber_windows.closed() {
            writer.closed_window(*start);
        }
        for window in self.subscriber_windows.changed() {
            writer.window(&window);
        }
        for (account, bytes) in self.accounts.quota.changed() {
            writer.account(account, &bytes);
        }
        writer.finish()
    }

    /// All state.
    pub(crate) fn base(&self) -> Vec<u8> {
        let mut writer = self.state_writer(self.policy.base_bytes());
        for (bucket, segments) in self.dedupe.sealed_buckets() {
            for segment in segments {
                writer.sealed(*bucket, segment);
            }
        }
        for (bucket, seal_at_ms, count, ids) in self.dedupe.open_buckets() {
            writer.ids(bucket, seal_at_ms, count, ids);
        }
        for window in self.subscriber_windows.open_windows() {
            writer.window(&window);
        }
        for (account, bytes) in self.accounts.quota.all() {
            writer.account(account, &bytes);
        }
        writer.finish()
    }
}
