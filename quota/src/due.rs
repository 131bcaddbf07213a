//! What the watermark brings about: buckets close, and the nearness of their end is told.

use crate::account::Account;
use crate::account_store::AccountStore;
use crate::bucket::Fired;
use crate::bucket_alerts::tell_expiry;
use crate::charge::Occasion;
use crate::package::ThresholdKind;
use crate::reference::QuotaReference;
use crate::sink::{EntryKind, LedgerRow, QuotaSink};

/// What is to happen to a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// A threshold of days, by its position.
    Expiry(usize),
    Close,
}

/// A step that is due. Compared by due time, then account, then bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at_ms: i64,
    account: Box<str>,
    bucket: Box<str>,
    step: Step,
    number: u32,
    position: usize,
}

/// Takes every step that is due on the accounts of these numbers, in the order of due time, then
/// account, then bucket. Tells the accounts that a step was taken on, some twice.
pub(crate) fn take_steps<S: QuotaSink + ?Sized>(
    store: &mut AccountStore,
    numbers: &[u32],
    reference: &QuotaReference,
    watermark_ms: i64,
    sink: &mut S,
) -> Vec<Box<str>> {
    let mut due: Vec<Due> = Vec::new();
    for number in numbers {
        if let Some(slot) = store.heat_number(*number, reference) {
            collect(store.account(slot), reference, watermark_ms, &mut due);
        }
    }
    due.sort_unstable();
    for due in &due {
        let Some(slot) = store.heat_number(due.number, reference) else { continue };
        let account = store.account_mut(slot);
        take(account, (due.position, due.step), due.at_ms, reference, watermark_ms, sink);
    }
    for number in numbers {
        let Some(slot) = store.heat_number(*number, reference) else { continue };
        let account = store.account_mut(slot);
        let kept = (account.buckets.len(), account.usages.len());
        account.buckets.retain(|bucket| !bucket.closed);
        account.forget(Some(watermark_ms));
        account.dirty |= kept != (account.buckets.len(), account.usages.len());
    }
    due.into_iter().map(|due| due.account).collect()
}

/// Closes the buckets that a command left ended for longer than the grace, in the order of timers.
pub(crate) fn close_over<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    watermark_ms: Option<i64>,
    sink: &mut S,
) {
    let Some(watermark_ms) = watermark_ms else { return };
    let mut due: Vec<(i64, &str, usize)> = Vec::new();
    for (bucket, position) in account.buckets.iter().zip(0..) {
        if bucket.closes_ms() <= watermark_ms {
            due.push((bucket.closes_ms(), account.text_of(bucket.id), position));
        }
    }
    due.sort_unstable();
    let due: Vec<(i64, usize)> =
        due.iter().map(|(at_ms, _, position)| (*at_ms, *position)).collect();
    for (at_ms, bucket) in due {
        take(account, (bucket, Step::Close), at_ms, reference, watermark_ms, sink);
    }
    account.buckets.retain(|bucket| !bucket.closed);
}

fn collect(account: &Account, reference: &QuotaReference, watermark_ms: i64, due: &mut Vec<Due>) {
    for (bucket, position) in account.buckets.iter().zip(0..) {
        let mut add = |at_ms: i64, step: Step| {
            if at_ms <= watermark_ms {
                due.push(Due {
                    at_ms,
                    account: account.name().into(),
                    bucket: account.text_of(bucket.id).into(),
                    step,
                    number: account.number,
                    position,
                });
            }
        };
        add(bucket.closes_ms(), Step::Close);
        for (threshold, number) in reference.package(bucket.package).thresholds.iter().zip(0..) {
            if threshold.kind == ThresholdKind::ExpiresSoon && bucket.fired(number) == Fired::Armed
            {
                add(bucket.expiry_due_ms(threshold.at), Step::Expiry(number));
            }
        }
    }
}

fn take<S: QuotaSink + ?Sized>(
    account: &mut Account,
    (bucket, step): (usize, Step),
    at_ms: i64,
    reference: &QuotaReference,
    watermark_ms: i64,
    sink: &mut S,
) {
    let occasion = Occasion {
        subscriber: None,
        event: None,
        command: None,
        at_ms,
        watermark_ms: Some(watermark_ms),
    };
    account.dirty = true;
    match step {
        Step::Expiry(number) => tell_expiry(account, reference, bucket, number, &occasion, sink),
        Step::Close => close(account, bucket, reference, &occasion, sink),
    }
}

/// Writes off what is left of a bucket: its points, then its revenue. There is a row of points even
/// where none are left: who reads the tables knows by it that the bucket has closed.
fn close<S: QuotaSink + ?Sized>(
    account: &mut Account,
    bucket: usize,
    reference: &QuotaReference,
    occasion: &Occasion<'_>,
    sink: &mut S,
) {
    account.buckets[bucket].closed = true;
    let bucket = &account.buckets[bucket];
    let row = |kind| LedgerRow {
        balance_after_micro: Some(0),
        ..occasion.bucket_row(account, reference, bucket, kind)
    };
    sink.entry(LedgerRow { points_micro: -bucket.left(), ..row(EntryKind::Expire) });
    // What was checked when the price was set does not overflow.
    let allocated = bucket.allocated_at(bucket.used).unwrap_or_default();
    let breakage = bucket.price_pico - allocated;
    if breakage != 0 {
        sink.entry(LedgerRow { amount_pico: breakage, ..row(EntryKind::Breakage) });
    }
}
