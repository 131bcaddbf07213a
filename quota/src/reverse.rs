//! Takes back what an event was charged: the points go back to the buckets that gave them, the
//! revenue is not allocated any more. The rows are those of the charge with the opposite sign, so
//! that every sum over the ledger is what it would be without the event.

use tally_schemas::{Charge, ChargeKind, Currency};

use crate::account::Account;
use crate::bucket::Bucket;
use crate::bucket_alerts::tell_corrected;
use crate::charge::Occasion;
use crate::package::name_hash;
use crate::planted::{Bug, planted};
use crate::reference::QuotaReference;
use crate::sink::{EntryKind, LedgerRow, OverrunCause, QuotaSink};
use crate::usage::{Meter, Usage};

/// An event that is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reversal<'a> {
    /// Source and id of the row that takes it back.
    pub row: (&'a str, &'a str),
    /// Who paid.
    pub account: &'a str,
    /// Who used it.
    pub subscriber: &'a str,
    /// When the corrected call was completed, ms of UTC.
    pub completed_at_ms: i64,
    /// What it was charged, as the ledger has it.
    pub charges: &'a [Charge],
}

/// Takes an event back. What was charged is believed; what a bucket does not have, it does not get.
pub(crate) fn reverse<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    reversal: &Reversal<'_>,
    watermark_ms: Option<i64>,
    sink: &mut S,
) {
    let occasion = Occasion {
        subscriber: Some(reversal.subscriber),
        event: Some(reversal.row),
        command: None,
        at_ms: reversal.completed_at_ms,
        watermark_ms,
    };
    account.dirty = true;
    for charge in reversal.charges {
        match charge.kind {
            ChargeKind::Debit => give_back(account, reference, charge, &occasion, sink),
            ChargeKind::Payg | ChargeKind::Overrun => {
                sink.entry(row_of(account, charge, &occasion));
            }
        }
    }
    uncount(account, reference, reversal);
}

/// The row of a charge, with the opposite sign.
fn row_of<'a>(account: &'a Account, charge: &'a Charge, occasion: &Occasion<'a>) -> LedgerRow<'a> {
    let kind = match charge.kind {
        ChargeKind::Debit => EntryKind::Debit,
        ChargeKind::Payg => EntryKind::Payg,
        ChargeKind::Overrun => EntryKind::Overrun,
    };
    LedgerRow {
        bucket: charge.bucket.as_deref(),
        package: charge.package.as_deref(),
        cause: charge.cause.as_deref().and_then(OverrunCause::from_name),
        points_micro: charge.points_micro,
        amount_pico: -charge.amount_pico,
        currency: charge.currency,
        ..occasion.row(account.name(), kind)
    }
}

fn give_back<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    charge: &Charge,
    occasion: &Occasion<'_>,
    sink: &mut S,
) {
    let id = charge.bucket.as_deref().unwrap_or_default();
    let found = if planted(Bug::PointsToAnotherBucket) {
        account.buckets.len().checked_sub(1)
    } else {
        account.bucket(id)
    };
    let Some(at) = found else {
        give_to_closed(account, charge, occasion, sink);
        return;
    };
    let bucket = &mut account.buckets[at];
    let before = bucket.left();
    let (points, amount) = take_back(bucket, charge, occasion.at_ms);
    let bucket = &account.buckets[at];
    let row = row_of(account, charge, occasion);
    sink.entry(LedgerRow {
        bucket: Some(account.text_of(bucket.id)),
        balance_after_micro: Some(before + charge.points_micro),
        ..row
    });
    // What was given back by hand before is not given back again.
    if (points, amount) != (charge.points_micro, charge.amount_pico) {
        let row = occasion.bucket_row(account, reference, bucket, EntryKind::Adjust);
        sink.entry(LedgerRow {
            points_micro: points - charge.points_micro,
            amount_pico: charge.amount_pico - amount,
            ..row
        });
    }
    if points > 0 {
        account.exhausted = None;
        tell_corrected(account, reference, at, occasion, sink);
    }
}

/// Points and pico-currency that a bucket takes back: what it was charged, as far as it still counts
/// them as used and allocated. The base moves below, so that what is left of the price is allocated
/// over what is left of the allowance, and a used-up bucket has allocated exactly its price.
fn take_back(bucket: &mut Bucket, charge: &Charge, at_ms: i64) -> (i128, i128) {
    let points = charge.points_micro.min(bucket.used);
    let used = bucket.used - points;
    // What was checked when the price was set does not overflow.
    let allocated = bucket.allocated_at(bucket.used).unwrap_or_default();
    let amount = if used == 0 { allocated } else { charge.amount_pico.min(allocated) };
    if (points, amount) == (0, 0) {
        return (0, 0);
    }
    if bucket.phase_at(at_ms) == Some(true) {
        bucket.used_rolled = (bucket.used_rolled - points).max(0);
    }
    bucket.used_rolled = bucket.used_rolled.min(used);
    bucket.used = used;
    (bucket.base_used, bucket.base_allocated_pico) = (used, allocated - amount);
    (points, amount)
}

/// A bucket that has closed gives nothing any more: what comes back to it expires, and its revenue
/// is breakage, as if the event had never been.
fn give_to_closed<S: QuotaSink + ?Sized>(
    account: &Account,
    charge: &Charge,
    occasion: &Occasion<'_>,
    sink: &mut S,
) {
    let row = row_of(account, charge, occasion);
    sink.entry(LedgerRow { balance_after_micro: Some(charge.points_micro), ..row });
    let row = LedgerRow { balance_after_micro: Some(0), points_micro: 0, amount_pico: 0, ..row };
    if charge.points_micro > 0 {
        let points_micro = -charge.points_micro;
        sink.entry(LedgerRow { kind: EntryKind::Expire, points_micro, ..row });
    }
    if charge.amount_pico > 0 {
        let amount_pico = charge.amount_pico;
        sink.entry(LedgerRow { kind: EntryKind::Breakage, amount_pico, ..row });
    }
}

/// Takes usage out of the windows of caps and the sums of the month, where they still have it.
fn uncount(account: &mut Account, reference: &QuotaReference, reversal: &Reversal<'_>) {
    let at_ms = reversal.completed_at_ms;
    let mut taken = 0;
    for charge in reversal.charges {
        let subject = charge.package.as_deref().map_or(0, name_hash);
        let points = charge.points_micro;
        match charge.kind {
            ChargeKind::Debit => {
                taken += points;
                let bucket = charge.bucket.as_deref().and_then(|id| account.bucket(id));
                let Some(bucket) = bucket else { continue };
                let package = reference.package(account.buckets[bucket].package);
                for window in &package.counted {
                    let meter = Meter::Package(*window);
                    give_meter(&mut account.usages, meter, package.id_hash, at_ms, points);
                }
                if package.watched {
                    let (usages, meter) = (&mut account.usages, Meter::Spike);
                    give_meter(usages, meter, package.id_hash, at_ms, points);
                }
            }
            ChargeKind::Payg => {
                taken += points;
                give_meter(&mut account.usages, Meter::Payg, subject, at_ms, points);
                let currency = name_hash(charge.currency.as_ref().map_or("", Currency::code));
                let amount = charge.amount_pico;
                give_meter(&mut account.usages, Meter::PaygMonth, currency, at_ms, amount);
            }
            ChargeKind::Overrun => {
                give_meter(&mut account.usages, Meter::OverrunMonth, 0, at_ms, points);
            }
        }
    }
    let Account { usages, members, .. } = account;
    if let Some(member) = members.iter().find(|m| m.subscriber == reversal.subscriber) {
        let subject = name_hash(&member.subscriber);
        for cap in &member.caps {
            give_meter(usages, Meter::Member(cap.window), subject, at_ms, taken);
        }
    }
    account.usages.retain(|usage| !usage.slots.is_empty());
}

fn give_meter(usages: &mut [Usage], meter: Meter, subject: u64, at_ms: i64, used: i128) {
    let mut same = usages.iter_mut().filter(|u| u.meter == meter && u.subject == subject);
    if let Some(usage) = same.next() {
        usage.take_back(at_ms, used);
    }
}
