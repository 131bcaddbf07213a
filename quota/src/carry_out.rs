//! Carries commands out. Each checks everything before it changes anything.

use crate::account::{Account, Member};
use crate::bucket::{Bucket, MICRO_PICO, mul_div};
use crate::bucket_alerts::{arm_again, pass_expiry, tell_bucket, tell_corrected};
use crate::charge::Occasion;
use crate::command::{Action, Command, CommandError};
use crate::package::{Cap, name_hash, region_fits};
use crate::purchase::purchase;
use crate::reference::QuotaReference;
use crate::sink::{EntryKind, LedgerRow, QuotaSink};
use crate::usage::{Meter, Usage};

/// Does what a command says.
pub(crate) fn carry_out<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    command: &Command,
    occasion: &Occasion<'_>,
    sink: &mut S,
) -> Result<(), CommandError> {
    match &command.action {
        Action::Purchase { package, quantity } => {
            purchase(account, reference, package, *quantity, occasion, sink)
        }
        Action::TopUp { bucket, points_micro, amount_micro } => {
            top_up(account, reference, bucket, (*points_micro, *amount_micro), occasion, sink)
        }
        Action::Transfer { from_bucket, to_bucket, points_micro } => {
            let buckets = (from_bucket.as_str(), to_bucket.as_str());
            transfer(account, reference, buckets, (*points_micro).into(), occasion, sink)
        }
        Action::Cancel { bucket } => cancel(account, reference, bucket, occasion),
        Action::Adjust { bucket, points_micro, refund: true, .. } => {
            refund(account, reference, bucket, -i128::from(*points_micro), occasion, sink)
        }
        Action::Adjust { bucket, points_micro, .. } => {
            adjust(account, reference, bucket, (*points_micro).into(), occasion, sink)
        }
        Action::SetFlags { overflow, region, members } => {
            set_flags(account, reference, (overflow, region), members, occasion)
        }
    }
}

fn bucket_of(account: &Account, id: &str) -> Result<usize, CommandError> {
    account.bucket(id).ok_or_else(|| CommandError::UnknownBucket(id.to_owned()))
}

/// Checks that a bucket has not ended.
fn check_running(account: &Account, bucket: usize, at_ms: i64) -> Result<(), CommandError> {
    let found = &account.buckets[bucket];
    if found.end_ms() <= at_ms {
        return Err(CommandError::BucketExpired(account.text_of(found.id).to_owned()));
    }
    Ok(())
}

fn top_up<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    id: &str,
    (points_micro, amount_micro): (i64, i64),
    occasion: &Occasion<'_>,
    sink: &mut S,
) -> Result<(), CommandError> {
    let at = bucket_of(account, id)?;
    check_running(account, at, occasion.at_ms)?;
    let (points, amount) = (i128::from(points_micro), i128::from(amount_micro) * MICRO_PICO);
    let bucket = &mut account.buckets[at];
    bucket.change(points, amount).ok_or(CommandError::AmountOverflow)?;
    arm_again(bucket, reference, occasion.watermark_ms);
    account.exhausted = None;
    let bucket = &account.buckets[at];
    let row = occasion.bucket_row(account, reference, bucket, EntryKind::TopUp);
    sink.entry(LedgerRow { points_micro: points, amount_pico: amount, ..row });
    Ok(())
}

fn transfer<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    (from_id, to_id): (&str, &str),
    points: i128,
    occasion: &Occasion<'_>,
    sink: &mut S,
) -> Result<(), CommandError> {
    let (from, to) = (bucket_of(account, from_id)?, bucket_of(account, to_id)?);
    check_running(account, from, occasion.at_ms)?;
    check_running(account, to, occasion.at_ms)?;
    let currency = |at: usize| reference.package(account.buckets[at].package).currency;
    if currency(from) != currency(to) {
        return Err(CommandError::CurrencyMismatch);
    }
    let (mut giver, mut receiver) = (account.buckets[from].clone(), account.buckets[to].clone());
    if points > giver.left() {
        return Err(CommandError::TransferOutOfRange(from_id.to_owned()));
    }
    let price = price_of(&giver, points).ok_or(CommandError::AmountOverflow)?;
    giver.change(-points, -price).ok_or(CommandError::AmountOverflow)?;
    receiver.change(points, price).ok_or(CommandError::AmountOverflow)?;
    arm_again(&mut receiver, reference, occasion.watermark_ms);
    account.exhausted = None;
    for (at, bucket, kind, sign) in
        [(from, giver, EntryKind::TransferOut, -1), (to, receiver, EntryKind::TransferIn, 1)]
    {
        account.buckets[at] = bucket;
        let row = occasion.bucket_row(account, reference, &account.buckets[at], kind);
        sink.entry(LedgerRow { points_micro: sign * points, amount_pico: sign * price, ..row });
    }
    Ok(())
}

/// The part of the price that goes with unused points: never more than what is not allocated.
fn price_of(bucket: &Bucket, points: i128) -> Option<i128> {
    let part = mul_div(bucket.price_pico, points, bucket.allowance)?;
    Some(part.min(bucket.price_pico - bucket.allocated_at(bucket.used)?))
}

fn cancel(
    account: &mut Account,
    reference: &QuotaReference,
    id: &str,
    occasion: &Occasion<'_>,
) -> Result<(), CommandError> {
    let at = bucket_of(account, id)?;
    let bucket = &mut account.buckets[at];
    let end_ms = occasion.at_ms.max(bucket.valid_from_ms);
    if end_ms >= bucket.end_ms() {
        return Ok(());
    }
    if end_ms <= bucket.valid_to_ms {
        bucket.valid_to_ms = end_ms;
        bucket.rolled_to_ms = None;
    } else {
        bucket.rolled_to_ms = Some(end_ms);
    }
    // Nobody needs to be told that what was cancelled ends soon.
    pass_expiry(bucket, reference, occasion.watermark_ms);
    Ok(())
}

fn adjust<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    id: &str,
    points: i128,
    occasion: &Occasion<'_>,
    sink: &mut S,
) -> Result<(), CommandError> {
    let at = bucket_of(account, id)?;
    let mut bucket = account.buckets[at].clone();
    let before = bucket.used;
    let used = before - points;
    if !(0..=bucket.allowance).contains(&used) {
        return Err(CommandError::AdjustOutOfRange(id.to_owned()));
    }
    let amount = bucket.set_used(used).ok_or(CommandError::AmountOverflow)?;
    // What is given back in the rolled phase can be used in it.
    if points > 0 && occasion.at_ms >= bucket.valid_to_ms {
        bucket.used_rolled = (bucket.used_rolled - points).max(0);
    }
    bucket.used_rolled = bucket.used_rolled.min(used);
    account.buckets[at] = bucket;
    let row = occasion.bucket_row(account, reference, &account.buckets[at], EntryKind::Adjust);
    sink.entry(LedgerRow { points_micro: points, amount_pico: amount, ..row });
    if points > 0 {
        account.exhausted = None;
        tell_corrected(account, reference, at, occasion, sink);
    } else {
        tell_bucket(account, reference, at, before, occasion, sink);
    }
    Ok(())
}

/// Takes unused points out of a bucket, and gives back what they would have been allocated: all
/// that is unused gives back all that is not allocated.
fn refund<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    id: &str,
    points: i128,
    occasion: &Occasion<'_>,
    sink: &mut S,
) -> Result<(), CommandError> {
    let at = bucket_of(account, id)?;
    let bucket = &mut account.buckets[at];
    if points > bucket.left() {
        return Err(CommandError::AdjustOutOfRange(id.to_owned()));
    }
    let kept =
        bucket.allocated_at(bucket.allowance - points).ok_or(CommandError::AmountOverflow)?;
    let amount = bucket.price_pico - kept;
    bucket.change(-points, -amount).ok_or(CommandError::AmountOverflow)?;
    let row = occasion.bucket_row(account, reference, &account.buckets[at], EntryKind::Refund);
    sink.entry(LedgerRow { points_micro: -points, amount_pico: -amount, ..row });
    Ok(())
}

fn set_flags(
    account: &mut Account,
    reference: &QuotaReference,
    (overflow, region): (&Option<Option<String>>, &Option<Option<String>>),
    members: &[(String, Option<Vec<Cap>>)],
    occasion: &Occasion<'_>,
) -> Result<(), CommandError> {
    let region = region.as_ref().unwrap_or(&account.region).clone();
    let overflow = match overflow {
        None => account.overflow,
        Some(None) => None,
        Some(Some(id)) => {
            let tariff = reference
                .tariff_known_at(name_hash(id), occasion.at_ms)
                .ok_or_else(|| CommandError::UnknownTariff(id.clone()))?;
            if !region_fits(tariff.region.as_deref(), region.as_deref()) {
                return Err(CommandError::PackageNotSold(id.clone()));
            }
            Some(tariff.id_hash)
        }
    };
    (account.region, account.overflow) = (region, overflow);
    for (subscriber, caps) in members {
        set_member(account, subscriber, caps.as_deref().unwrap_or_default());
    }
    Ok(())
}

/// Sets a member's caps; no caps, no member. What was counted for a cap that stays is kept.
fn set_member(account: &mut Account, subscriber: &str, caps: &[Cap]) {
    let subject = name_hash(subscriber);
    account.usages.retain(|usage: &Usage| match usage.meter {
        Meter::Member(window) => {
            usage.subject != subject || caps.iter().any(|cap| cap.window == window)
        }
        _ => true,
    });
    account.members.retain(|member| member.subscriber != subscriber);
    if !caps.is_empty() {
        account.members.push(Member { subscriber: subscriber.to_owned(), caps: caps.to_vec() });
    }
}
