//! Which accounts gateways must be told of, and which turn by time alone. Nothing of it is stored:
//! what was told is not known, only what has changed since the same account was last looked at.

use std::collections::BTreeSet;

use crate::account::Account;
use crate::account_store::AccountStore;
use crate::reference::QuotaReference;
use crate::sink::{Alert, LedgerRow, QuotaSink};
use crate::status::{next_turn_ms, state_of};
use crate::timers::Timers;

/// The accounts to be told of, and the clock by which they turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatusFeed {
    /// Everything that turns up to here has been seen.
    clock_ms: i64,
    timers: Timers,
    /// Names, each once however often it changes until it is taken.
    told: BTreeSet<Box<str>>,
    /// Whether accounts are noted whose numbers changed and nothing else.
    follows_numbers: bool,
    moved: BTreeSet<u32>,
}

impl StatusFeed {
    /// The instant that statuses are as of, ms of UTC; it only rises.
    pub(crate) const fn clock_ms(&self) -> i64 {
        self.clock_ms
    }

    /// Notes that an account is to be told of, and when it turns by time alone.
    pub(crate) fn tell(&mut self, account: &Account, reference: &QuotaReference) {
        self.told.insert(account.name().into());
        self.schedule(account, reference, self.clock_ms);
    }

    /// Notes that an account of this name is to be told of.
    pub(crate) fn tell_name(&mut self, name: Box<str>) {
        self.told.insert(name);
    }

    /// Notes that an account's numbers changed.
    pub(crate) fn moved(&mut self, number: u32) {
        if self.follows_numbers {
            self.moved.insert(number);
        }
    }

    /// Whether accounts whose numbers changed are noted from now on.
    pub(crate) fn follow_numbers(&mut self, follows: bool) {
        self.follows_numbers = follows;
    }

    /// Notes those whose numbers changed as to be told of.
    pub(crate) fn tell_moved(&mut self, store: &AccountStore) {
        for number in std::mem::take(&mut self.moved) {
            if let Some(name) = store.name_of(number) {
                self.told.insert(name.into());
            }
        }
    }

    /// Notes that the account of a number turns at an instant.
    pub(crate) fn turns_at(&mut self, turn_ms: i64, number: u32) {
        self.timers.schedule(turn_ms, number);
    }

    /// Notes when an account turns by time alone, of which nothing is to be told now.
    pub(crate) fn turns_later(&mut self, account: &Account, reference: &QuotaReference) {
        self.schedule(account, reference, self.clock_ms);
    }

    fn schedule(&mut self, account: &Account, reference: &QuotaReference, after_ms: i64) {
        if let Some(turn_ms) = next_turn_ms(account, reference, after_ms) {
            self.timers.schedule(turn_ms, account.number);
        }
    }

    /// Raises the clock and notes the accounts that turned since. Costs next to nothing where none
    /// can have.
    pub(crate) fn see_clock(
        &mut self,
        at_ms: i64,
        store: &mut AccountStore,
        reference: &QuotaReference,
    ) {
        if at_ms <= self.clock_ms {
            return;
        }
        if self.timers.any_due(at_ms) {
            self.turn(at_ms, store, reference);
        }
        self.clock_ms = at_ms;
    }

    fn turn(&mut self, at_ms: i64, store: &mut AccountStore, reference: &QuotaReference) {
        let since_ms = self.clock_ms;
        while let Some(numbers) = self.timers.open_hour(at_ms) {
            for number in numbers {
                if let Some(slot) = store.heat_number(number, reference) {
                    self.schedule(store.account(slot), reference, since_ms);
                }
            }
        }
        let mut numbers = Vec::new();
        while let Some(number) = self.timers.pop(at_ms) {
            numbers.push(number);
        }
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let Some(slot) = store.heat_number(number, reference) else { continue };
            let account = store.account(slot);
            let begins_or_ends = |ms: i64| since_ms < ms && ms <= at_ms;
            let mut turns = account.buckets.iter().flat_map(|bucket| bucket.turns_ms());
            if turns.any(begins_or_ends) || turned_between(account, reference, since_ms, at_ms) {
                self.told.insert(account.name().into());
            }
            self.schedule(account, reference, at_ms);
        }
    }

    /// Takes the names of at most `max` accounts to be told of.
    pub(crate) fn take(&mut self, max: usize) -> Vec<Box<str>> {
        std::iter::from_fn(|| self.told.pop_first()).take(max).collect()
    }

    /// Whether there are accounts to be told of.
    pub(crate) fn any_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// Bytes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.timers.memory_bytes() + self.told.len() * 64 + self.moved.len() * 8
    }
}

/// Whether the status was another than at `since_ms` at any time until `at_ms`. It may have turned
/// and turned back: a predecessor may have told what it was in between.
fn turned_between(
    account: &Account,
    reference: &QuotaReference,
    since_ms: i64,
    at_ms: i64,
) -> bool {
    let state = |at_ms| state_of(account, reference, at_ms);
    let next = |ms: &i64| next_turn_ms(account, reference, *ms).filter(|next| *next <= at_ms);
    let before = state(since_ms);
    std::iter::successors(next(&since_ms), next).any(|turn_ms| state(turn_ms) != before)
}

/// Passes on what charging tells and counts the alerts.
pub(crate) struct CountedAlerts<'s, S: ?Sized> {
    pub(crate) sink: &'s mut S,
    pub(crate) alerts: usize,
}

impl<S: QuotaSink + ?Sized> QuotaSink for CountedAlerts<'_, S> {
    fn entry(&mut self, row: LedgerRow<'_>) {
        self.sink.entry(row);
    }

    fn alert(&mut self, alert: Alert<'_>) {
        self.alerts += 1;
        self.sink.alert(alert);
    }
}
