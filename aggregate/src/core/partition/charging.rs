//! Prices an event, charges its account, carries account commands out.

use tally_quota::{Action, ChargeEvent, Command};
use tally_rating::{Attribution, Call};
use tally_schemas::{
    Amounts, SuspenseReason, UsageCounts, UsageEvent, is_phone_number, partition_of,
};

use super::{NeedSegments, Partition, Position, Raw};
use crate::core::dedupe::Verdict;
use crate::core::epoch::Epoch;
use crate::core::event_rating::{EventRating, Unrated};
use crate::core::suspense_rows::SuspenseRow;
use crate::core::tick::read_tick;
use crate::planted::{Bug, planted};

impl Partition {
    /// Why an event or a command cannot be of this partition or of this time.
    pub(super) fn out_of_place(
        &self,
        event: &UsageEvent<'_>,
        at_ms: i64,
        position: Position,
    ) -> Option<SuspenseRow> {
        let home = partition_of(&event.account, self.config.partition_count);
        let settings = &self.config.aggregate;
        // A producer may stamp its records with any time.
        let ahead = at_ms.saturating_sub(position.timestamp_ms);
        let (reason, words) = if home != self.config.partition {
            (SuspenseReason::WrongPartition, format!("account belongs to partition {home}"))
        } else if ahead > settings.future_max_ms.cast_signed() {
            (SuspenseReason::TimeInFuture, format!("{ahead} ms after it was received"))
        } else if ahead.saturating_neg() > settings.dedupe_horizon_days.cast_signed() * 86_400_000 {
            let days = settings.dedupe_horizon_days;
            (SuspenseReason::TooOld, format!("older than the dedupe horizon of {days} days"))
        } else {
            return None;
        };
        let mut row = SuspenseRow::of(reason, event);
        row.subreason = Some(words);
        Some(row)
    }

    /// Lets time pass. No tick tells more than the log's own time, whatever the clock was that it
    /// came from; and none makes the watermark fall.
    pub(super) fn tick(&mut self, bytes: &[u8], event: &UsageEvent<'_>, position: Position) {
        let at_ms = match read_tick(bytes) {
            Ok(at_ms) => at_ms.min(position.timestamp_ms),
            Err(why) => {
                let mut row = SuspenseRow::of(SuspenseReason::BadCommand, event);
                row.subreason = Some(format!("bad_command: tick: {why}"));
                self.hold_back(row, position, Some(Raw::Bytes(bytes)), &UsageCounts::default());
                return;
            }
        };
        self.epoch.totals.ticks += 1;
        self.see_clock(at_ms, position.timestamp_ms);
        if self.newest_ms.is_none_or(|newest| newest < at_ms) {
            self.see_time(at_ms);
            self.fire_timers(position);
        }
    }

    /// Fires what is due by the watermark.
    fn fire_timers(&mut self, position: Position) {
        let mover = self.mover(position);
        let Epoch { quota_ledger, alerts, .. } = &mut self.epoch;
        if let Some(watermark) = self.watermark_ms {
            self.accounts.advance(watermark, (quota_ledger, alerts), mover);
        }
    }

    /// Carries an account command out, once.
    pub(super) fn command(
        &mut self,
        name: &str,
        event: &UsageEvent<'_>,
        raw: Raw<'_>,
        position: Position,
    ) -> Result<(), NeedSegments> {
        let counts = UsageCounts::default();
        let bytes = match raw {
            Raw::Bytes(bytes) if self.config.aggregate.rate => bytes,
            _ => {
                let mut row = SuspenseRow::of(SuspenseReason::UnsupportedCommand, event);
                row.subreason = Some(format!("command {name:?}: events are only counted here"));
                self.hold_back(row, position, Some(raw), &counts);
                return Ok(());
            }
        };
        let command = match Command::parse(bytes) {
            Ok(command) => command,
            Err(error) => {
                let Unrated { reason, what } = error.into();
                let mut row = SuspenseRow::of(reason, event);
                row.subreason = Some(what);
                self.hold_back(row, position, Some(raw), &counts);
                return Ok(());
            }
        };
        let mut held = phone_number(&command)
            .map(|words| {
                let mut row = SuspenseRow::of(SuspenseReason::PhoneNumber, event);
                row.subreason = Some(words);
                row
            })
            .or_else(|| self.out_of_place(event, command.at_ms, position));
        if held.is_none() {
            let (id, content) = (command.identity_hash(), command.content_hash());
            match self.dedupe.judge(id, content, command.at_ms, self.watermark_ms) {
                Verdict::New => {}
                Verdict::Duplicate if planted(Bug::CommandTwice) => {}
                Verdict::Duplicate => {
                    self.epoch.totals.duplicate_commands += 1;
                    return Ok(());
                }
                Verdict::Conflict => {
                    let mut row = SuspenseRow::of(SuspenseReason::ConflictingDuplicate, event);
                    row.subreason = Some("same account and id as an earlier command".into());
                    held = Some(row);
                }
                Verdict::Need(bucket) => {
                    let segments = self.dedupe.segments_of(bucket).to_vec();
                    return Err(NeedSegments { bucket, segments });
                }
            }
        }
        if held.is_none() {
            let mover = self.mover(position);
            let Epoch { quota_ledger, alerts, .. } = &mut self.epoch;
            let rows = (quota_ledger, alerts);
            let done = self.accounts.carry_out(&command, self.watermark_ms, rows, mover);
            if let Err(error) = done {
                let Unrated { reason, what } = error.into();
                let mut row = SuspenseRow::of(reason, event);
                row.subreason = Some(what);
                held = Some(row);
            }
        }
        match held {
            Some(mut row) => {
                row.completed_at_ms = Some(command.at_ms);
                self.hold_back(row, position, Some(raw), &counts);
            }
            None => {
                self.epoch.totals.commands += 1;
                self.see_clock(command.at_ms, position.timestamp_ms);
            }
        }
        Ok(())
    }

    /// What an event came to, charged to its account and added to the totals; nothing where events
    /// are only counted. The watermark rises first, so that what is due by it goes before.
    pub(super) fn rate(
        &mut self,
        event: &UsageEvent<'_>,
        to: &Attribution<'_>,
        completed_at_ms: i64,
        position: Position,
    ) -> Result<Option<EventRating>, Unrated> {
        if !self.config.aggregate.rate {
            self.see_time(completed_at_ms);
            return Ok(None);
        }
        let started_at_ms = event.started_at_ms().unwrap_or(completed_at_ms);
        let call = Call { usage: &event.usage, started_at_ms, completed_at_ms };
        let (wholesale, lane) = self.rater.wholesale(event, to, &call)?;
        // With the most that charging can come to, so that nothing is charged that does not fit.
        let most = Amounts {
            points_micro: tally_quota::EVENT_POINTS_MAX,
            retail_pico: tally_quota::EVENT_AMOUNT_MAX,
            wholesale_pico: wholesale.amount_pico,
        };
        if self.amounts.plus(&most).is_none() {
            return Err(Unrated {
                reason: SuspenseReason::AmountOverflow,
                what: "the sums of the partition would leave what tables can hold".into(),
            });
        }
        let price_ids = self.rater.price_ids(lane, &wholesale);
        self.see_time(completed_at_ms);
        self.fire_timers(position);
        let mover = self.mover(position);
        let Epoch { quota_ledger, alerts, .. } = &mut self.epoch;
        let charge = ChargeEvent {
            source: &event.source,
            id: &event.id,
            account: &event.account,
            subscriber: event.subscriber(),
            model: &event.model,
            billed_model: to.billed_model,
            product: event.product.as_deref(),
            started_at_ms,
            completed_at_ms,
            log_time_ms: position.timestamp_ms,
            wholesale_pico: wholesale.amount_pico,
            wholesale_currency: Some(wholesale.currency),
        };
        let weigher = self.rater.weigher(lane, event.product.as_deref(), call);
        let rows = (quota_ledger, alerts);
        let (charged, payers) = self
            .accounts
            .charge(&charge, &weigher, self.watermark_ms, rows, mover)
            .map_err(|error| weigher.unrated(error))?;
        let amounts = Amounts {
            points_micro: charged.points_micro,
            retail_pico: charged.retail_pico,
            wholesale_pico: wholesale.amount_pico,
        };
        // It fits: more than this did.
        self.amounts.points_micro += amounts.points_micro;
        self.amounts.retail_pico += amounts.retail_pico;
        self.amounts.wholesale_pico += amounts.wholesale_pico;
        Ok(Some(EventRating {
            amounts,
            wholesale_currency: wholesale.currency,
            wholesale_price_ids: price_ids,
            retail_currency: charged.retail_currency,
            payers,
        }))
    }
}

/// Says where a command has a phone number for an id. Personal data is not kept, whoever sends it.
fn phone_number(command: &Command) -> Option<String> {
    if is_phone_number(&command.account) {
        return Some("account: a phone number is not accepted as an id".into());
    }
    let Action::SetFlags { members, .. } = &command.action else { return None };
    let is_member = members.iter().any(|(subscriber, _)| is_phone_number(subscriber));
    is_member.then(|| "flags.members: a phone number is not accepted as an id".into())
}
