//! How an event's points are split over buckets, pay as you go and overrun. Nothing is changed
//! here: what cannot be counted exactly is found before anything is charged.

use tally_schemas::Currency;

use crate::account::{Account, Exhausted};
use crate::bucket::{mul_div, share_of};
use crate::charge_event::{ChargeError, ChargeEvent, DEFAULT_WEIGHTS, Weigh};
use crate::order::{Rank, rank};
use crate::package::{Package, name_hash, region_fits};
use crate::planted::{Bug, planted};
use crate::reference::QuotaReference;
use crate::sink::OverrunCause;
use crate::usage::{Meter, used_at};

/// Micro-points of one event. A thousand nations' day has fewer.
pub const EVENT_POINTS_MAX: i128 = 1 << 96;
/// The most that an event may cost, and sums that are kept of an account, in pico-currency or
/// micro-points.
pub const EVENT_AMOUNT_MAX: i128 = 1 << 120;
/// How long after an account's exhaustion gateways may not know of it yet, ms.
const GATEWAY_LAG_MS: i64 = 1_000;

/// What a bucket gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Debit {
    pub(crate) bucket: usize,
    pub(crate) rolled: bool,
    pub(crate) points: i128,
    pub(crate) allocated_pico: i128,
}

/// What is paid as you go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PaygPart {
    /// Hash of the tariff.
    pub(crate) tariff: u64,
    pub(crate) points: i128,
    pub(crate) amount_pico: i128,
    pub(crate) currency: Currency,
}

/// What nobody pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverrunPart {
    pub(crate) points: i128,
    pub(crate) cost_pico: i128,
    pub(crate) cause: OverrunCause,
}

/// The split of one event. Its lists are used again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Split {
    /// Buckets that may take the event.
    pub(crate) ranks: Vec<Rank>,
    pub(crate) debits: Vec<Debit>,
    pub(crate) payg: Option<PaygPart>,
    pub(crate) overrun: Option<OverrunPart>,
    pub(crate) points: i128,
    pub(crate) retail_pico: i128,
    pub(crate) currency: Option<Currency>,
    /// What exhausted the account, after the event.
    pub(crate) exhausted: Option<Exhausted>,
    /// Whether a bucket gave all that it had room for.
    pub(crate) emptied: bool,
}

fn bounded(sum: Option<i128>, max: i128) -> Result<i128, ChargeError> {
    sum.filter(|sum| *sum <= max).ok_or(ChargeError::AmountOverflow)
}

impl Split {
    /// Splits an event.
    pub(crate) fn make<W: Weigh + ?Sized>(
        &mut self,
        account: &Account,
        reference: &QuotaReference,
        event: &ChargeEvent<'_>,
        weigh: &W,
        watermark_ms: Option<i64>,
    ) -> Result<(), ChargeError> {
        self.debits.clear();
        (self.payg, self.overrun, self.currency, self.emptied) = (None, None, None, false);
        (self.retail_pico, self.exhausted) = (0, account.exhausted);
        rank(account, reference, event, &mut self.ranks);
        let weights = self.ranks.first().map_or(DEFAULT_WEIGHTS, |first| {
            &reference.package(account.buckets[first.bucket].package).weights
        });
        self.points = weigh.points_micro(weights)?;
        if !(0..=EVENT_POINTS_MAX).contains(&self.points) {
            return Err(ChargeError::AmountOverflow);
        }
        let mut member_room = member_room(account, event);
        let mut rest = self.points;
        self.split_over_buckets(account, reference, event, &mut rest, &mut member_room)?;
        if rest == 0 {
            // Buckets gave all of it: there are points again.
            if self.points > 0 {
                self.exhausted = None;
            }
            return Ok(());
        }
        self.split_overflow(account, reference, event, watermark_ms, rest, member_room)
    }

    fn split_over_buckets(
        &mut self,
        account: &Account,
        reference: &QuotaReference,
        event: &ChargeEvent<'_>,
        rest: &mut i128,
        member_room: &mut i128,
    ) -> Result<(), ChargeError> {
        let at_ms = event.completed_at_ms;
        for rank in &self.ranks {
            if *rest == 0 {
                break;
            }
            let bucket = &account.buckets[rank.bucket];
            let package = reference.package(bucket.package);
            if self.currency.is_some_and(|currency| currency != package.currency) {
                continue;
            }
            let mut room = bucket.room(package, rank.rolled()).min(*member_room);
            if !package.caps.is_empty() {
                let given: i128 = self
                    .debits
                    .iter()
                    .filter(|debit| {
                        let other = account.buckets[debit.bucket].package;
                        reference.package(other).id_hash == package.id_hash
                    })
                    .map(|debit| debit.points)
                    .sum();
                room = room.min(cap_room(account, package, at_ms) - given);
            }
            let points = room.min(*rest);
            if points <= 0 {
                continue;
            }
            let allocated_pico = bucket.allocation_of(points).ok_or(ChargeError::AmountOverflow)?;
            self.debits.push(Debit {
                bucket: rank.bucket,
                rolled: rank.rolled(),
                points,
                allocated_pico,
            });
            self.currency = Some(package.currency);
            self.retail_pico =
                bounded(self.retail_pico.checked_add(allocated_pico), EVENT_AMOUNT_MAX)?;
            self.emptied |= points == room;
            *rest -= points;
            *member_room -= points;
        }
        Ok(())
    }

    /// Whether carrying it out may turn the account's status at `now_ms`, alerts aside: what is
    /// used up, or a cap whose window at `now_ms` is not the one that the event had to pass.
    pub(crate) fn may_turn(
        &self,
        account: &Account,
        reference: &QuotaReference,
        event: &ChargeEvent<'_>,
        now_ms: i64,
    ) -> bool {
        let other_window = |debit: &Debit| {
            reference
                .package(account.buckets[debit.bucket].package)
                .caps
                .iter()
                .any(|cap| !cap.window.span().same_slot(event.completed_at_ms, now_ms))
        };
        self.emptied || self.overrun.is_some() || self.debits.iter().any(other_window)
    }

    fn split_overflow(
        &mut self,
        account: &Account,
        reference: &QuotaReference,
        event: &ChargeEvent<'_>,
        watermark_ms: Option<i64>,
        overflow: i128,
        member_room: i128,
    ) -> Result<(), ChargeError> {
        let at_ms = event.completed_at_ms;
        let mut rest = overflow;
        let mut member_room = member_room;
        let tariff = account.overflow.and_then(|tariff| reference.tariff_known_at(tariff, at_ms));
        let fitting = tariff.filter(|tariff| {
            region_fits(tariff.region.as_deref(), account.region.as_deref())
                && self.currency.is_none_or(|currency| currency == tariff.currency)
        });
        if let Some(tariff) = fitting
            && member_room > 0
        {
            let points = rest.min(member_room);
            let before = used_at(&account.usages, Meter::Payg, tariff.id_hash, at_ms);
            let after = bounded(before.checked_add(points), EVENT_AMOUNT_MAX)?;
            let price = i128::from(tariff.price_micro_per_million_points);
            let cost =
                |points: i128| mul_div(price, points, 1_000_000).ok_or(ChargeError::AmountOverflow);
            let amount_pico = cost(after)? - cost(before)?;
            let subject = name_hash(tariff.currency.code());
            let month = used_at(&account.usages, Meter::PaygMonth, subject, at_ms);
            bounded(month.checked_add(amount_pico), EVENT_AMOUNT_MAX)?;
            self.retail_pico =
                bounded(self.retail_pico.checked_add(amount_pico), EVENT_AMOUNT_MAX)?;
            self.currency = Some(tariff.currency);
            self.payg = Some(PaygPart {
                tariff: tariff.id_hash,
                points,
                amount_pico,
                currency: tariff.currency,
            });
            rest -= points;
            member_room -= points;
        }
        // A member who reached a cap has not exhausted the account, and neither has an event that
        // no bucket was there for.
        let stopped = rest > 0 && member_room <= 0;
        if self.exhausted.is_none() && !stopped && !self.ranks.is_empty() {
            self.exhausted = Some(Exhausted { at_ms, log_time_ms: event.log_time_ms });
        }
        if rest > 0 {
            let month = used_at(&account.usages, Meter::OverrunMonth, 0, at_ms);
            bounded(month.checked_add(rest), EVENT_AMOUNT_MAX)?;
            let charged = share_of(event.wholesale_pico, self.points - rest, self.points);
            let cost_pico = event.wholesale_pico - charged.ok_or(ChargeError::AmountOverflow)?;
            let cause = self.cause(account, reference, event, watermark_ms, stopped);
            self.overrun = Some(OverrunPart { points: rest, cost_pico, cause });
        }
        Ok(())
    }

    fn cause(
        &self,
        account: &Account,
        reference: &QuotaReference,
        event: &ChargeEvent<'_>,
        watermark_ms: Option<i64>,
        stopped: bool,
    ) -> OverrunCause {
        if watermark_ms.is_some_and(|watermark| event.completed_at_ms < watermark) {
            return OverrunCause::Late;
        }
        let was_there = account.buckets.iter().any(|bucket| {
            bucket.end_ms() > event.started_at_ms
                && reference.package(bucket.package).may_take(
                    event.model,
                    event.billed_model,
                    event.product,
                )
        });
        if stopped || !was_there {
            return OverrunCause::Configuration;
        }
        match self.exhausted {
            Some(exhausted) if event.started_at_ms <= exhausted.at_ms => OverrunCause::InFlight,
            Some(exhausted)
                if event.started_at_ms <= exhausted.log_time_ms.saturating_add(GATEWAY_LAG_MS) =>
            {
                OverrunCause::Lag
            }
            _ => OverrunCause::Configuration,
        }
    }
}

/// What a package's caps leave at an instant.
pub(crate) fn cap_room(account: &Account, package: &Package, at_ms: i64) -> i128 {
    let left = |cap: &crate::package::Cap| {
        let meter = Meter::Package(cap.window);
        i128::from(cap.limit_micro) - used_at(&account.usages, meter, package.id_hash, at_ms)
    };
    package.caps.iter().map(left).min().unwrap_or(i128::MAX)
}

/// What a member's caps leave; everything where there are none.
fn member_room(account: &Account, event: &ChargeEvent<'_>) -> i128 {
    if account.members.is_empty() || planted(Bug::MemberCapIgnored) {
        return i128::MAX;
    }
    let same = |member: &&crate::account::Member| member.subscriber == event.subscriber;
    let Some(member) = account.members.iter().find(same) else { return i128::MAX };
    let subject = name_hash(&member.subscriber);
    let left = |cap: &crate::package::Cap| {
        let used =
            used_at(&account.usages, Meter::Member(cap.window), subject, event.completed_at_ms);
        (i128::from(cap.limit_micro) - used).max(0)
    };
    member.caps.iter().map(left).min().unwrap_or(i128::MAX)
}
