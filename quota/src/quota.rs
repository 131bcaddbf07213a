//! The accounts of one partition: events, commands and the watermark in, rows and alerts out.

use std::borrow::Cow;
use std::sync::Arc;

use crate::account_codec::BadAccount;
use crate::account_store::{AccountStore, Restored};
use crate::carry_out::carry_out;
use crate::charge::{Occasion, charge};
use crate::charge_event::{ChargeError, ChargeEvent, Charged, Weigh};
use crate::command::{Command, CommandError};
use crate::due::{close_over, take_steps};
use crate::reference::{QuotaReference, VersionLost};
use crate::reverse::{Reversal, reverse};
use crate::sink::QuotaSink;
use crate::split::Split;
use crate::status::{AccountStatus, state_of};
use crate::status_feed::{CountedAlerts, StatusFeed};
use crate::timers::Timers;

/// All accounts of one partition. A pure function of what is put in: the same events, commands and
/// watermarks give the same rows and alerts, whether or not it was settled and restored in between.
#[derive(Debug, Clone)]
pub struct Quota {
    reference: Arc<QuotaReference>,
    store: AccountStore,
    timers: Timers,
    split: Split,
    feed: StatusFeed,
}

impl Quota {
    /// Without accounts.
    pub fn new(reference: Arc<QuotaReference>) -> Self {
        Self {
            reference,
            store: AccountStore::default(),
            timers: Timers::default(),
            split: Split::default(),
            feed: StatusFeed::default(),
        }
    }

    /// The reference data.
    pub fn reference(&self) -> &Arc<QuotaReference> {
        &self.reference
    }

    /// Uses newer reference data from now on. Where it moves a tariff to another region, every
    /// account is looked at.
    ///
    /// # Errors
    /// Where a version is missing or changed; then the older data stays.
    pub fn set_reference(&mut self, reference: Arc<QuotaReference>) -> Result<(), VersionLost> {
        let Self { store, feed, .. } = self;
        store.move_to(&self.reference, &reference)?;
        let moved = reference.tariffs_moved_since(&self.reference);
        if !moved.is_empty() {
            for number in store.numbers() {
                let Some(slot) = store.heat_number(number, &reference) else { continue };
                let account = store.account(slot);
                if account.overflow.is_some_and(|tariff| moved.contains(&tariff)) {
                    feed.tell(account, &reference);
                }
            }
        }
        self.reference = reference;
        Ok(())
    }

    /// Charges an event. The caller has raised the watermark, by [`Quota::advance`], to what it is
    /// with this event.
    ///
    /// # Errors
    /// Where points or amounts cannot be counted; then nothing has changed.
    pub fn charge<W: Weigh + ?Sized, S: QuotaSink + ?Sized>(
        &mut self,
        event: &ChargeEvent<'_>,
        weigh: &W,
        watermark_ms: Option<i64>,
        sink: &mut S,
    ) -> Result<Charged, ChargeError> {
        let Self { reference, store, split, timers, feed } = self;
        let slot = store.heat(event.account, reference).map_err(|_| ChargeError::Damaged)?;
        let account = store.account_mut(slot);
        account.forget(watermark_ms);
        split.make(account, reference, event, weigh, watermark_ms)?;
        if split.points == 0 {
            return Ok(Charged::default());
        }
        let meters = account.usages.len();
        let now_ms = feed.clock_ms();
        let may_turn = split.may_turn(account, reference, event, now_ms);
        let before = may_turn.then(|| state_of(account, reference, now_ms));
        let newly_exhausted = split.exhausted.is_some() && account.exhausted.is_none();
        let mut counted = CountedAlerts { sink, alerts: 0 };
        let charged = charge(account, reference, event, split, watermark_ms, &mut counted);
        // Without points before it has none now: a charge gives none.
        let turned = before
            .filter(|before| before.has_points())
            .is_some_and(|before| state_of(account, reference, now_ms) != before);
        if turned || newly_exhausted || counted.alerts > 0 {
            feed.tell(account, reference);
        } else if event.completed_at_ms > now_ms {
            feed.turns_later(account, reference);
        }
        feed.moved(account.number);
        if account.usages.len() > meters {
            // The first usage of a window: it is to be forgotten one day.
            if let Some(due_ms) = account.next_due_ms(reference) {
                timers.schedule(due_ms, account.number);
            }
        }
        Ok(charged)
    }

    /// Carries a command out. The caller has dropped duplicates, by
    /// [`Command::identity_hash`] and [`Command::content_hash`].
    ///
    /// # Errors
    /// Where the command is to be held back; then nothing has changed.
    pub fn command<S: QuotaSink + ?Sized>(
        &mut self,
        command: &Command,
        watermark_ms: Option<i64>,
        sink: &mut S,
    ) -> Result<(), CommandError> {
        let Self { reference, store, timers, feed, .. } = self;
        let slot = store.heat(&command.account, reference).map_err(|_| CommandError::Damaged)?;
        let account = store.account_mut(slot);
        account.forget(watermark_ms);
        let occasion = Occasion {
            subscriber: None,
            event: None,
            command: Some(&command.id),
            at_ms: command.at_ms,
            watermark_ms,
        };
        carry_out(account, reference, command, &occasion, sink)?;
        account.dirty = true;
        close_over(account, reference, watermark_ms, sink);
        if let Some(due_ms) = account.next_due_ms(reference) {
            timers.schedule(due_ms, account.number);
        }
        feed.tell(account, reference);
        Ok(())
    }

    /// Takes back what an event was charged. The caller has made sure that it was, and was not taken
    /// back before.
    ///
    /// # Errors
    /// Where the account's state does not parse; then nothing has changed.
    pub fn reverse<S: QuotaSink + ?Sized>(
        &mut self,
        reversal: &Reversal<'_>,
        watermark_ms: Option<i64>,
        sink: &mut S,
    ) -> Result<(), ChargeError> {
        let Self { reference, store, timers, feed, .. } = self;
        let slot = store.heat(reversal.account, reference).map_err(|_| ChargeError::Damaged)?;
        let account = store.account_mut(slot);
        account.forget(watermark_ms);
        reverse(account, reference, reversal, watermark_ms, sink);
        if let Some(due_ms) = account.next_due_ms(reference) {
            timers.schedule(due_ms, account.number);
        }
        feed.tell(account, reference);
        Ok(())
    }

    /// Raises the watermark: closes buckets and tells that others will end soon. Costs next to
    /// nothing where nothing is due.
    pub fn advance<S: QuotaSink + ?Sized>(&mut self, watermark_ms: i64, sink: &mut S) {
        let Self { reference, store, timers, feed, .. } = self;
        if !timers.any_due(watermark_ms) {
            return;
        }
        while let Some(numbers) = timers.open_hour(watermark_ms) {
            for number in numbers {
                schedule(store, timers, number, reference);
            }
        }
        let mut numbers = Vec::new();
        while let Some(number) = timers.pop(watermark_ms) {
            numbers.push(number);
        }
        numbers.sort_unstable();
        numbers.dedup();
        for account in take_steps(store, &numbers, reference, watermark_ms, sink) {
            feed.tell_name(account);
        }
        for number in numbers {
            schedule(store, timers, number, reference);
        }
    }

    /// A watermark below which [`Quota::advance`] has nothing to do; none where no account has
    /// anything that comes by time alone. What is further away is told by its hour.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.timers.next_ms()
    }

    /// Raises the clock by which statuses turn: the time of the log's newest record, or now where
    /// the log has nothing more. It does not touch what is charged. Costs next to nothing where no
    /// account turns.
    pub fn see_clock(&mut self, at_ms: i64) {
        self.feed.see_clock(at_ms, &mut self.store, &self.reference);
    }

    /// The clock, ms of UTC.
    pub fn clock_ms(&self) -> i64 {
        self.feed.clock_ms()
    }

    /// Whether [`Quota::tell_moved`] is going to be asked for accounts whose numbers changed.
    pub fn follow_numbers(&mut self, follows: bool) {
        self.feed.follow_numbers(follows);
    }

    /// Adds the accounts whose numbers changed to those that gateways are told of.
    pub fn tell_moved(&mut self) {
        self.feed.tell_moved(&self.store);
    }

    /// Takes at most `max` of the accounts that gateways must be told of, as they are now, in the
    /// order of their names: those whose status turned, of which there was an alert, whose bucket
    /// began, ended or closed, or that a command changed. However often an account changed since it
    /// was taken last, it comes once.
    pub fn take_statuses(&mut self, max: usize, watermark_ms: Option<i64>) -> Vec<AccountStatus> {
        let names = self.feed.take(max);
        let now_ms = self.clock_ms();
        let status = |account: &str| match self.status(account, now_ms, watermark_ms) {
            Ok(Some(status)) => Some(status),
            Ok(None) => Some(AccountStatus::forgotten(account)),
            // Whoever charges it next is told that it is damaged.
            Err(_) => None,
        };
        names.iter().filter_map(|account| status(account)).collect()
    }

    /// Whether there are accounts that gateways must be told of.
    pub fn statuses_wait(&self) -> bool {
        self.feed.any_told()
    }

    /// What an account has, as of an instant; none where nothing is known of it.
    ///
    /// # Errors
    /// Where its state does not parse.
    pub fn status(
        &self,
        account: &str,
        at_ms: i64,
        watermark_ms: Option<i64>,
    ) -> Result<Option<AccountStatus>, BadAccount> {
        let Some(mut account) = self.store.look_at(account, &self.reference)? else {
            return Ok(None);
        };
        account.forget(watermark_ms);
        Ok((!account.is_blank()).then(|| AccountStatus::of(&account, &self.reference, at_ms)))
    }

    /// Accounts that changed since the last [`Quota::settle`], with their bytes. No bytes: nothing
    /// is known of the account any more.
    pub fn changed(&self) -> impl Iterator<Item = (&str, Cow<'_, [u8]>)> {
        self.store.changed(&self.reference)
    }

    /// Every account with its bytes.
    pub fn all(&self) -> impl Iterator<Item = (&str, Cow<'_, [u8]>)> {
        self.store.all(&self.reference)
    }

    /// The state is stored as it is now.
    pub fn settle(&mut self) {
        self.store.settle(&self.reference);
    }

    /// Takes over an account's bytes, replacing what was known of it.
    ///
    /// # Errors
    /// Where they do not parse, or name a package that the reference data lacks.
    pub fn restore(&mut self, account: &str, bytes: &[u8]) -> Result<(), BadAccount> {
        let now_ms = self.feed.clock_ms();
        let restored = self.store.restore(account, bytes, &self.reference, now_ms)?;
        let Some(Restored { number, due_ms, turn_ms }) = restored else { return Ok(()) };
        if let Some(due_ms) = due_ms {
            self.timers.schedule(due_ms, number);
        }
        if let Some(turn_ms) = turn_ms {
            self.feed.turns_at(turn_ms, number);
        }
        Ok(())
    }

    /// Number of accounts.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.store.memory_bytes() + self.timers.memory_bytes() + self.feed.memory_bytes()
    }

    /// Switches a known bug on (or all off) for the current thread.
    #[cfg(any(test, feature = "planted"))]
    pub fn plant(bug: Option<crate::planted::Bug>) {
        crate::planted::plant(bug);
    }
}

/// Notes when the account of a number is due next.
fn schedule(
    store: &mut AccountStore,
    timers: &mut Timers,
    number: u32,
    reference: &QuotaReference,
) {
    let Some(slot) = store.heat_number(number, reference) else { return };
    if let Some(due_ms) = store.account(slot).next_due_ms(reference) {
        timers.schedule(due_ms, number);
    }
}
