//! When accounts are due, by the number of the account. What is further away than the watermark's
//! hour is kept at four bytes an account; what is due within it, exactly. All of it can be made
//! again from the accounts.

use std::collections::{BTreeMap, BTreeSet};

use crate::calendar::HOUR_MS;

/// Accounts by the hour they are due in. An account may stand in an earlier hour than it is due,
/// where it is looked at and moved; never in a later one.
#[derive(Debug, Clone)]
pub(crate) struct Timers {
    hours: BTreeMap<i64, Vec<u32>>,
    /// Those due before `opened_until_ms`.
    soon: BTreeSet<(i64, u32)>,
    opened_until_ms: i64,
    /// What [`Self::next_ms`] tells, kept as every event asks; later than any where it tells none.
    earliest_ms: i64,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            hours: BTreeMap::new(),
            soon: BTreeSet::new(),
            opened_until_ms: i64::MIN,
            earliest_ms: i64::MAX,
        }
    }
}

impl Timers {
    /// Notes when an account is due.
    pub(crate) fn schedule(&mut self, due_ms: i64, account: u32) {
        if due_ms < self.opened_until_ms {
            self.earliest_ms = self.earliest_ms.min(due_ms);
            self.soon.insert((due_ms, account));
            return;
        }
        let hour = due_ms.div_euclid(HOUR_MS);
        self.earliest_ms = self.earliest_ms.min(hour.saturating_mul(HOUR_MS));
        let hour = self.hours.entry(hour).or_default();
        if hour.len() == hour.capacity() {
            // By an eighth: four bytes an account stay about four.
            hour.reserve_exact(hour.len() / 8 + 4);
        }
        hour.push(account);
    }

    /// No later than when the next account is due: of what is further away, the hour.
    pub(crate) fn next_ms(&self) -> Option<i64> {
        let soon = self.soon.first().map(|first| first.0);
        let later = self.hours.first_key_value().map(|(hour, _)| hour.saturating_mul(HOUR_MS));
        soon.into_iter().chain(later).min()
    }

    /// Whether any account may be due.
    pub(crate) fn any_due(&self, watermark_ms: i64) -> bool {
        self.earliest_ms <= watermark_ms
    }

    /// The accounts of the next hour that the watermark has reached; the caller schedules them
    /// again, when they really are due.
    pub(crate) fn open_hour(&mut self, watermark_ms: i64) -> Option<Vec<u32>> {
        let first = self.hours.first_entry()?;
        let start_ms = first.key().saturating_mul(HOUR_MS);
        if start_ms > watermark_ms {
            return None;
        }
        self.opened_until_ms = self.opened_until_ms.max(start_ms.saturating_add(HOUR_MS));
        let mut accounts = first.remove();
        self.earliest_ms = self.next_ms().unwrap_or(i64::MAX);
        accounts.sort_unstable();
        accounts.dedup();
        Some(accounts)
    }

    /// The next account that is due.
    pub(crate) fn pop(&mut self, watermark_ms: i64) -> Option<u32> {
        if self.soon.first()?.0 > watermark_ms {
            return None;
        }
        let (_, account) = self.soon.pop_first()?;
        self.earliest_ms = self.next_ms().unwrap_or(i64::MAX);
        Some(account)
    }

    /// Bytes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.hours.values().map(|hour| 48 + hour.capacity() * 4).sum::<usize>()
            + self.soon.len() * 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_come_up_once_their_hour_is_opened() {
        let mut timers = Timers::default();
        timers.schedule(5 * HOUR_MS + 7, 1);
        timers.schedule(5 * HOUR_MS + 3, 2);
        timers.schedule(9 * HOUR_MS, 3);
        assert!(!timers.any_due(5 * HOUR_MS - 1));
        assert_eq!(timers.open_hour(5 * HOUR_MS - 1), None);
        assert_eq!(timers.open_hour(5 * HOUR_MS + 3), Some(vec![1, 2]));
        timers.schedule(5 * HOUR_MS + 7, 1);
        timers.schedule(5 * HOUR_MS + 3, 2);
        assert_eq!(timers.open_hour(5 * HOUR_MS + 3), None);
        assert_eq!(timers.pop(5 * HOUR_MS + 3), Some(2));
        assert_eq!(timers.pop(5 * HOUR_MS + 3), None);
        assert!(timers.any_due(5 * HOUR_MS + 7));
        assert_eq!(timers.pop(5 * HOUR_MS + 7), Some(1));
        assert!(!timers.any_due(9 * HOUR_MS - 1));
        assert!(timers.any_due(9 * HOUR_MS));
        assert_eq!(timers.open_hour(9 * HOUR_MS), Some(vec![3]));
        assert!(!timers.any_due(i64::MAX - 1));
    }
}
