//! What gateways, the subscriber's app and `GET /v1/accounts/{account}/quota` are told.

use tally_schemas::Currency;

use crate::account::Account;
use crate::bucket::{Bucket, Fired, mul_div};
use crate::package::{OverflowPolicy, Tariff, region_fits};
use crate::reference::QuotaReference;
use crate::split::cap_room;
use crate::usage::{Meter, next_slot, used_at};
use crate::window::Window;

/// What a gateway is to make of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaState {
    /// Points are left, or a tariff is consented to.
    Ok,
    /// As before, and a threshold of a bucket in use, or of a cap, was reached.
    Warned,
    /// Nothing is left: slow down, or offer pay as you go.
    Exhausted,
    /// Nothing is left, and the package says to refuse.
    Blocked,
}

impl QuotaState {
    /// Name in `quota.status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warned => "warned",
            Self::Exhausted => "exhausted",
            Self::Blocked => "blocked",
        }
    }

    /// Whether an event may still be paid for.
    pub const fn has_points(self) -> bool {
        matches!(self, Self::Ok | Self::Warned)
    }
}

/// A bucket that has not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketStatus {
    /// Bucket.
    pub bucket: String,
    /// Package.
    pub package: String,
    /// From, ms of UTC.
    pub valid_from_ms: i64,
    /// Until, ms of UTC.
    pub valid_to_ms: i64,
    /// Until when what rolled over can be used, ms of UTC.
    pub rolled_to_ms: Option<i64>,
    /// Micro-points.
    pub allowance_micro: i128,
    /// Micro-points.
    pub used_micro: i128,
    /// Micro-points that can be used at the instant, caps aside; of a bucket that has not begun,
    /// its whole allowance; of one that has ended, 0.
    pub remaining_micro: i128,
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapStatus {
    /// Package, of a package's cap.
    pub package: Option<String>,
    /// Subscriber, of a member's cap.
    pub subscriber: Option<String>,
    /// Window.
    pub window: Window,
    /// Micro-points used in the window that ends with the instant's slice.
    pub used_micro: i128,
    /// Micro-points.
    pub limit_micro: i64,
}

/// The tariff that is consented to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverflowStatus {
    /// Tariff.
    pub tariff: String,
    /// Micro-points at this tariff since the beginning.
    pub points_micro: i128,
    /// What they cost at today's price, pico-currency.
    pub amount_pico: i128,
    /// Pay as you go of the month in this currency, pico-currency.
    pub month_amount_pico: i128,
    /// Currency.
    pub currency: Currency,
}

/// An account at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountStatus {
    /// Account.
    pub account: String,
    /// What a gateway is to make of it.
    pub status: QuotaState,
    /// Buckets that have not closed, oldest first.
    pub buckets: Vec<BucketStatus>,
    /// Caps of packages with a bucket in use, then of members.
    pub caps: Vec<CapStatus>,
    /// Pay as you go.
    pub overflow: Option<OverflowStatus>,
    /// Overrun of the month, micro-points.
    pub overrun_micro: i128,
}

impl AccountStatus {
    pub(crate) fn of(account: &Account, reference: &QuotaReference, at_ms: i64) -> Self {
        Self {
            account: account.name().to_owned(),
            status: state_of(account, reference, at_ms),
            buckets: account
                .buckets
                .iter()
                .map(|bucket| bucket_status(account, reference, bucket, at_ms))
                .collect(),
            caps: cap_statuses(account, reference, at_ms),
            overflow: overflow_status(account, reference, at_ms),
            overrun_micro: used_at(&account.usages, Meter::OverrunMonth, 0, at_ms),
        }
    }

    /// An account that nothing is known of any more.
    pub fn forgotten(account: &str) -> Self {
        Self {
            account: account.to_owned(),
            status: QuotaState::Blocked,
            buckets: Vec::new(),
            caps: Vec::new(),
            overflow: None,
            overrun_micro: 0,
        }
    }
}

/// What a gateway is to make of an account at an instant.
pub(crate) fn state_of(account: &Account, reference: &QuotaReference, at_ms: i64) -> QuotaState {
    let consented = fitting_tariff(account, reference, at_ms).is_some();
    let package = |bucket: &Bucket| reference.package(bucket.package);
    let room = |bucket: &&Bucket| {
        bucket.phase_at(at_ms).is_some_and(|rolled| {
            let package = package(bucket);
            bucket.room(package, rolled).min(cap_room(account, package, at_ms)) > 0
        })
    };
    if !consented && !account.buckets.iter().any(|bucket| room(&bucket)) {
        let last = account.buckets.iter().rev().find(|bucket| bucket.valid_from_ms <= at_ms);
        // Who has no bucket at all has nothing that a gateway could slow down.
        let policy = last.map_or(OverflowPolicy::Block, |bucket| package(bucket).overflow);
        return match policy {
            OverflowPolicy::Block => QuotaState::Blocked,
            OverflowPolicy::Payg | OverflowPolicy::Throttle => QuotaState::Exhausted,
        };
    }
    let warned = |bucket: &Bucket| {
        bucket.phase_at(at_ms).is_some()
            && (0..package(bucket).thresholds.len())
                .any(|number| bucket.fired(number) == Fired::Sent)
    };
    let in_window = account
        .fired
        .iter()
        .any(|fired| fired.period_ms == fired.watched.span().alert_period(at_ms));
    if in_window || account.buckets.iter().any(warned) {
        QuotaState::Warned
    } else {
        QuotaState::Ok
    }
}

fn bucket_status(
    account: &Account,
    reference: &QuotaReference,
    bucket: &Bucket,
    at_ms: i64,
) -> BucketStatus {
    let package = reference.package(bucket.package);
    let remaining_micro = match bucket.phase_at(at_ms) {
        Some(rolled) => bucket.room(package, rolled).max(0),
        None if at_ms < bucket.valid_from_ms => bucket.left(),
        None => 0,
    };
    BucketStatus {
        bucket: account.text_of(bucket.id).to_owned(),
        package: package.id.clone(),
        valid_from_ms: bucket.valid_from_ms,
        valid_to_ms: bucket.valid_to_ms,
        rolled_to_ms: bucket.rolled_to_ms,
        allowance_micro: bucket.allowance,
        used_micro: bucket.used,
        remaining_micro,
    }
}

fn cap_statuses(account: &Account, reference: &QuotaReference, at_ms: i64) -> Vec<CapStatus> {
    let mut caps: Vec<CapStatus> = Vec::new();
    for bucket in account.buckets.iter().filter(|bucket| bucket.phase_at(at_ms).is_some()) {
        let package = reference.package(bucket.package);
        for cap in &package.caps {
            let known = |known: &CapStatus| {
                known.window == cap.window && known.package.as_deref() == Some(&package.id)
            };
            if caps.iter().any(known) {
                continue;
            }
            let meter = Meter::Package(cap.window);
            caps.push(CapStatus {
                package: Some(package.id.clone()),
                subscriber: None,
                window: cap.window,
                used_micro: used_at(&account.usages, meter, package.id_hash, at_ms),
                limit_micro: cap.limit_micro,
            });
        }
    }
    for member in &account.members {
        let subject = crate::package::name_hash(&member.subscriber);
        for cap in &member.caps {
            let meter = Meter::Member(cap.window);
            caps.push(CapStatus {
                package: None,
                subscriber: Some(member.subscriber.clone()),
                window: cap.window,
                used_micro: used_at(&account.usages, meter, subject, at_ms),
                limit_micro: cap.limit_micro,
            });
        }
    }
    caps
}

/// When, after an instant, the status may turn by time alone: a bucket begins or ends, a cap that
/// leaves nothing gets room, the period of an alert begins or is over, a tariff changes. Usage may
/// be of later than the instant, as a new owner's clock begins early and senders' clocks are fast:
/// a cap is looked at again where such usage begins to count.
pub(crate) fn next_turn_ms(
    account: &Account,
    reference: &QuotaReference,
    after_ms: i64,
) -> Option<i64> {
    let mut next: Option<i64> = None;
    let mut at = |ms: i64| {
        if ms > after_ms {
            next = Some(next.map_or(ms, |next| next.min(ms)));
        }
    };
    for bucket in &account.buckets {
        for turn_ms in bucket.turns_ms() {
            at(turn_ms);
        }
        let package = reference.package(bucket.package);
        if package.caps.is_empty() || bucket.phase_at(after_ms).is_none() {
            continue;
        }
        for cap in &package.caps {
            let meter = Meter::Package(cap.window);
            let used = used_at(&account.usages, meter, package.id_hash, after_ms);
            if used >= i128::from(cap.limit_micro) {
                let span = cap.window.span();
                at(span.window_end(span.slot_start(after_ms)));
            }
            if let Some(slot_ms) = next_slot(&account.usages, meter, package.id_hash, after_ms) {
                at(slot_ms);
            }
        }
    }
    for fired in &account.fired {
        at(fired.period_ms);
        at(fired.watched.span().alert_period_end(fired.period_ms));
    }
    if let Some(known_ms) =
        account.overflow.and_then(|tariff| reference.tariff_changes_after(tariff, after_ms))
    {
        at(known_ms);
    }
    next
}

/// The tariff that is consented to, where it still fits the account.
fn fitting_tariff<'r>(
    account: &Account,
    reference: &'r QuotaReference,
    at_ms: i64,
) -> Option<&'r Tariff> {
    let tariff = reference.tariff_known_at(account.overflow?, at_ms)?;
    region_fits(tariff.region.as_deref(), account.region.as_deref()).then_some(tariff)
}

fn overflow_status(
    account: &Account,
    reference: &QuotaReference,
    at_ms: i64,
) -> Option<OverflowStatus> {
    let tariff = fitting_tariff(account, reference, at_ms)?;
    let points_micro = used_at(&account.usages, Meter::Payg, tariff.id_hash, at_ms);
    let price = i128::from(tariff.price_micro_per_million_points);
    let currency = crate::package::name_hash(tariff.currency.code());
    Some(OverflowStatus {
        tariff: tariff.id.clone(),
        points_micro,
        amount_pico: mul_div(price, points_micro, 1_000_000).unwrap_or(i128::MAX),
        month_amount_pico: used_at(&account.usages, Meter::PaygMonth, currency, at_ms),
        currency: tariff.currency,
    })
}
