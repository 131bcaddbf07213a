//! I14: nothing that was read stays uncommitted longer than two epochs.

use std::collections::VecDeque;

use crate::error::AggregateError;

/// The epoch that is being stored when something is read, and the one that is gathered meanwhile.
const EPOCHS_MAX: u64 = 2;

/// What an owner has read and not committed.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Number of the last entry that was committed when it was read, and the offset behind it;
    /// oldest first.
    read: VecDeque<(u64, u64)>,
    last_n: u64,
}

impl Waiting {
    /// Nothing, behind an entry.
    pub(super) fn behind(last_n: u64) -> Self {
        Self { read: VecDeque::new(), last_n }
    }

    /// Notes that everything before an offset was read.
    pub(super) fn read(&mut self, next_offset: u64) {
        match self.read.back_mut() {
            Some((n, to)) if *n == self.last_n => *to = next_offset,
            _ => self.read.push_back((self.last_n, next_offset)),
        }
    }

    /// Notes that an entry is committed, up to an offset.
    ///
    /// # Errors
    /// `Data` where something has waited for longer than it may.
    pub(super) fn committed(&mut self, n: u64, to: u64) -> Result<(), AggregateError> {
        while self.read.front().is_some_and(|(_, next)| *next <= to) {
            self.read.pop_front();
        }
        self.last_n = n;
        match self.read.front() {
            Some((since, next)) if n.saturating_sub(*since) >= EPOCHS_MAX => {
                Err(AggregateError::Damaged(format!(
                    "I14: what was read before offset {next}, behind entry {since}, is not in entry {n}, which ends at {to}"
                )))
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn what_is_read_may_wait_for_the_second_entry_and_no_longer() {
    let mut waiting = Waiting::behind(7);
    waiting.read(10);
    waiting.read(20);
    // Entry 8 was being stored when 11 to 20 were read.
    waiting.committed(8, 10).unwrap();
    waiting.read(30);
    waiting.committed(9, 20).unwrap();
    waiting.committed(10, 30).unwrap();
    waiting.read(40);
    waiting.committed(11, 30).unwrap();
    let error = waiting.committed(12, 39).unwrap_err();
    assert!(error.to_string().contains("I14"), "{error}");
}
