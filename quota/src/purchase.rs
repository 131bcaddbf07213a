//! Adds the buckets of a bought package.

use crate::account::Account;
use crate::bucket::{Bucket, TextRange};
use crate::bucket_alerts::pass_expiry;
use crate::calendar::period_start;
use crate::charge::Occasion;
use crate::command::CommandError;
use crate::fields::INSTANT_MAX_MS;
use crate::package::{Package, Rollover, Stacking, region_fits};
use crate::reference::QuotaReference;
use crate::sink::{EntryKind, LedgerRow, QuotaSink};

/// Where the next bucket of a chain stands.
#[derive(Debug, Clone, Copy)]
struct Link {
    anchor_ms: i64,
    number: u32,
}

pub(crate) fn purchase<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    package: &str,
    quantity: u32,
    occasion: &Occasion<'_>,
    sink: &mut S,
) -> Result<(), CommandError> {
    let command = occasion.command.unwrap_or_default();
    let ids: Vec<String> = if quantity == 1 {
        vec![command.to_owned()]
    } else {
        (1..=quantity).map(|number| format!("{command}/{number}")).collect()
    };
    if let Some(known) = ids.iter().find(|id| account.bucket(id).is_some()) {
        return Err(CommandError::ConflictingDuplicate(known.clone()));
    }
    if !reference.knows_package(package) {
        return Err(CommandError::UnknownPackage(package.to_owned()));
    }
    let (position, package) = reference
        .package_known_at(package, occasion.at_ms)
        .filter(|(_, package)| {
            package.sold_at(occasion.at_ms)
                && region_fits(package.region.as_deref(), account.region.as_deref())
        })
        .ok_or_else(|| CommandError::PackageNotSold(package.to_owned()))?;
    let first = match package.stacking {
        Stacking::Queue => queue_end(account, reference, package, occasion.at_ms),
        Stacking::Parallel => None,
    };
    let first = first.unwrap_or(Link { anchor_ms: occasion.at_ms, number: 0 });
    let mut buckets = Vec::with_capacity(ids.len());
    for ahead in 0..quantity {
        let link = match package.stacking {
            Stacking::Queue => Link { number: first.number.saturating_add(ahead), ..first },
            Stacking::Parallel => first,
        };
        buckets.push(bucket_at(position, package, link).ok_or(CommandError::AmountOverflow)?);
    }
    account.exhausted = None;
    for (mut bucket, id) in buckets.into_iter().zip(&ids) {
        bucket.id = account.add_text(id);
        pass_expiry(&mut bucket, reference, occasion.watermark_ms);
        let row = occasion.bucket_row(account, reference, &bucket, EntryKind::Grant);
        sink.entry(LedgerRow {
            points_micro: bucket.allowance,
            amount_pico: bucket.price_pico,
            ..row
        });
        account.buckets.push(bucket);
    }
    Ok(())
}

/// The link behind the last bucket of the same package that ends after `at_ms`.
fn queue_end(
    account: &Account,
    reference: &QuotaReference,
    package: &Package,
    at_ms: i64,
) -> Option<Link> {
    let same = |bucket: &&Bucket| {
        bucket.valid_to_ms > at_ms && reference.package(bucket.package).id_hash == package.id_hash
    };
    let end_ms = account.buckets.iter().filter(same).map(|bucket| bucket.valid_to_ms).max()?;
    // The chain goes on behind a bucket that has run its period; one that was cancelled, or is of
    // a version with another period, ends the chain.
    let regular = |bucket: &&Bucket| {
        let version = reference.package(bucket.package);
        let next = i64::from(bucket.number) + 1;
        bucket.valid_to_ms == end_ms
            && (version.period, version.anchor) == (package.period, package.anchor)
            && period_start(version.period, version.anchor, bucket.anchor_ms, next) == end_ms
    };
    let last = account.buckets.iter().filter(same).rev().find(regular);
    Some(last.map_or(Link { anchor_ms: end_ms, number: 0 }, |last| Link {
        anchor_ms: last.anchor_ms,
        number: last.number.saturating_add(1),
    }))
}

/// None where the period lies beyond all times.
fn bucket_at(position: u32, package: &Package, link: Link) -> Option<Bucket> {
    let start = |ahead: i64| {
        let number = i64::from(link.number) + ahead;
        period_start(package.period, package.anchor, link.anchor_ms, number)
    };
    let (valid_from_ms, valid_to_ms, next_ms) = (start(0), start(1), start(2));
    if next_ms > INSTANT_MAX_MS {
        return None;
    }
    Some(Bucket {
        id: TextRange::default(),
        package: position,
        valid_from_ms,
        valid_to_ms,
        rolled_to_ms: match package.rollover {
            Rollover::None => None,
            Rollover::NextPeriod { .. } => Some(next_ms),
        },
        anchor_ms: link.anchor_ms,
        number: link.number,
        allowance: package.allowance_micro.into(),
        price_pico: package.price_pico(),
        used: 0,
        used_rolled: 0,
        base_used: 0,
        base_allocated_pico: 0,
        fired: 0,
        armed_again: 0,
        closed: false,
    })
}
