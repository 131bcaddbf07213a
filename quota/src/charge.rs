//! Charges one event to its account: changes the account as the split says, and tells it.

use crate::account::Account;
use crate::bucket::Bucket;
use crate::bucket_alerts::tell_bucket;
use crate::charge_event::{ChargeEvent, Charged};
use crate::package::name_hash;
use crate::planted::{Bug, planted};
use crate::reference::QuotaReference;
use crate::sink::{EntryKind, LedgerRow, QuotaSink};
use crate::split::Split;
use crate::usage::{Meter, usage_of};
use crate::window_alerts::{tell_account, tell_package};

/// What brought a change about, for rows and alerts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occasion<'a> {
    pub(crate) subscriber: Option<&'a str>,
    pub(crate) event: Option<(&'a str, &'a str)>,
    pub(crate) command: Option<&'a str>,
    pub(crate) at_ms: i64,
    pub(crate) watermark_ms: Option<i64>,
}

impl<'a> Occasion<'a> {
    pub(crate) fn of_event(event: &ChargeEvent<'a>, watermark_ms: Option<i64>) -> Self {
        Self {
            subscriber: Some(event.subscriber),
            event: Some((event.source, event.id)),
            command: None,
            at_ms: event.completed_at_ms,
            watermark_ms,
        }
    }

    /// A row without bucket, points and amount.
    pub(crate) fn row(&self, account: &'a str, kind: EntryKind) -> LedgerRow<'a> {
        LedgerRow {
            account,
            subscriber: self.subscriber,
            bucket: None,
            package: None,
            kind,
            cause: None,
            points_micro: 0,
            amount_pico: 0,
            currency: None,
            balance_after_micro: None,
            event: self.event,
            command: self.command,
            at_ms: self.at_ms,
        }
    }

    /// A row of a bucket, as the bucket is now.
    pub(crate) fn bucket_row(
        &self,
        account: &'a Account,
        reference: &'a QuotaReference,
        bucket: &Bucket,
        kind: EntryKind,
    ) -> LedgerRow<'a> {
        let package = reference.package(bucket.package);
        LedgerRow {
            bucket: Some(account.text_of(bucket.id)),
            package: Some(&package.id),
            currency: Some(package.currency),
            balance_after_micro: Some(bucket.left()),
            ..self.row(account.name(), kind)
        }
    }
}

/// Carries a split out. Every number was checked when it was made.
pub(crate) fn charge<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    event: &ChargeEvent<'_>,
    split: &Split,
    watermark_ms: Option<i64>,
    sink: &mut S,
) -> Charged {
    let occasion = Occasion::of_event(event, watermark_ms);
    account.dirty = true;
    account.exhausted = split.exhausted;
    for debit in &split.debits {
        let bucket = &mut account.buckets[debit.bucket];
        bucket.used += debit.points;
        if debit.rolled {
            bucket.used_rolled += debit.points;
        }
        let bucket = &account.buckets[debit.bucket];
        let row = occasion.bucket_row(account, reference, bucket, EntryKind::Debit);
        sink.entry(LedgerRow {
            points_micro: -debit.points,
            amount_pico: debit.allocated_pico,
            ..row
        });
    }
    if let Some(payg) = split.payg {
        let tariff = reference.tariff_known_at(payg.tariff, event.completed_at_ms);
        sink.entry(LedgerRow {
            package: tariff.map(|tariff| tariff.id.as_str()),
            points_micro: -payg.points,
            amount_pico: payg.amount_pico,
            currency: Some(payg.currency),
            ..occasion.row(account.name(), EntryKind::Payg)
        });
    }
    if let Some(overrun) = split.overrun {
        let first = split.ranks.first().map(|rank| account.buckets[rank.bucket].package);
        sink.entry(LedgerRow {
            package: first.map(|package| reference.package(package).id.as_str()),
            cause: Some(overrun.cause),
            points_micro: -overrun.points,
            amount_pico: overrun.cost_pico,
            currency: event.wholesale_currency,
            ..occasion.row(account.name(), EntryKind::Overrun)
        });
    }
    count(account, reference, event, split, watermark_ms.unwrap_or(i64::MIN));
    tell(account, reference, split, &occasion, sink);
    Charged {
        points_micro: split.points,
        retail_pico: split.retail_pico,
        retail_currency: split.currency,
        overrun_micro: split.overrun.map_or(0, |overrun| overrun.points),
    }
}

/// Counts usage in the windows of caps, and the sums of the month.
fn count(
    account: &mut Account,
    reference: &QuotaReference,
    event: &ChargeEvent<'_>,
    split: &Split,
    watermark_ms: i64,
) {
    let at_ms = event.completed_at_ms;
    let Account { usages, buckets, members, .. } = account;
    let mut taken = 0;
    for debit in &split.debits {
        taken += debit.points;
        let package = reference.package(buckets[debit.bucket].package);
        if planted(Bug::CapForgetsLateEvent) && at_ms < watermark_ms {
            continue;
        }
        for window in &package.counted {
            usage_of(usages, Meter::Package(*window), package.id_hash).add(
                at_ms,
                debit.points,
                watermark_ms,
            );
        }
        if package.watched {
            usage_of(usages, Meter::Spike, package.id_hash).add(at_ms, debit.points, watermark_ms);
        }
    }
    if let Some(payg) = split.payg {
        taken += payg.points;
        usage_of(usages, Meter::Payg, payg.tariff).add(at_ms, payg.points, watermark_ms);
        let currency = name_hash(payg.currency.code());
        usage_of(usages, Meter::PaygMonth, currency).add(at_ms, payg.amount_pico, watermark_ms);
    }
    if let Some(overrun) = split.overrun {
        usage_of(usages, Meter::OverrunMonth, 0).add(at_ms, overrun.points, watermark_ms);
    }
    if taken > 0
        && let Some(member) = members.iter().find(|m| m.subscriber == event.subscriber)
    {
        let subject = name_hash(&member.subscriber);
        for cap in &member.caps {
            usage_of(usages, Meter::Member(cap.window), subject).add(at_ms, taken, watermark_ms);
        }
    }
    // A slot that is forgotten already leaves its meter empty.
    if usages.iter().any(|usage| usage.slots.is_empty()) {
        usages.retain(|usage| !usage.slots.is_empty());
    }
}

/// Tells what the event crossed: bucket by bucket in the order of consumption, then package by
/// package, then the account's.
fn tell<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    split: &Split,
    occasion: &Occasion<'_>,
    sink: &mut S,
) {
    for debit in &split.debits {
        let before = account.buckets[debit.bucket].used - debit.points;
        tell_bucket(account, reference, debit.bucket, before, occasion, sink);
    }
    for (debit, at) in split.debits.iter().zip(0..) {
        let package = reference.package(account.buckets[debit.bucket].package);
        if package.counted.is_empty() && !package.watched {
            continue;
        }
        let same = |bucket: usize| {
            reference.package(account.buckets[bucket].package).id_hash == package.id_hash
        };
        // Once for all the buckets of one package.
        if split.debits[..at].iter().any(|earlier| same(earlier.bucket)) {
            continue;
        }
        let points: i128 =
            split.debits.iter().filter(|d| same(d.bucket)).map(|debit| debit.points).sum();
        tell_package(account, package, points, occasion, sink);
    }
    if split.payg.is_some() || split.overrun.is_some() {
        tell_account(account, reference, split, occasion, sink);
    }
}
