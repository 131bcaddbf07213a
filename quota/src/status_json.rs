//! A status as JSON: the message of the topic `quota.status`, and the answer of
//! `GET /v1/accounts/{account}/quota`.
//!
//! Wholes beyond 2^53 are texts of digits, as many readers of JSON would round them; amounts are
//! decimal texts; instants are milliseconds of UTC. `overflow` is null where no tariff is consented
//! to; `rolled_to`, and the subject that a cap does not have, are left out.

use serde::{Serialize, Serializer};
use tally_schemas::{Whole, decimal_text};

use crate::status::{AccountStatus, BucketStatus, CapStatus, OverflowStatus};

/// Buckets, and caps, that a record names: with names of the greatest length they stay below the
/// megabyte that a broker takes.
const NAMED_MAX: usize = 500;

/// What a status takes into account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsOf {
    /// Partition of the account.
    pub partition: u32,
    /// Next offset: everything below it is counted.
    pub offset: u64,
    /// The instant that windows and periods are looked at, ms of UTC.
    pub time_ms: i64,
}

/// The value of a record of `quota.status`. Of very many buckets or caps the most telling are
/// named and the rest counted, so that no account has a record that brokers refuse.
pub fn quota_message(status: &AccountStatus, as_of: AsOf) -> String {
    let usable = |bucket: &BucketStatus| bucket.remaining_micro > 0;
    let reached = |cap: &CapStatus| cap.used_micro >= i128::from(cap.limit_micro);
    let (buckets, buckets_left_out) = most_telling(&status.buckets, usable);
    let (caps, caps_left_out) = most_telling(&status.caps, reached);
    written(&Message {
        about: about(status, &buckets, &caps),
        buckets_left_out,
        caps_left_out,
        as_of_offset: as_of.offset,
        as_of: as_of.time_ms,
    })
}

/// The answer to who asks for an account's quota.
pub fn quota_answer(status: &AccountStatus, as_of: AsOf) -> String {
    written(&Answer {
        about: about(status, &all(&status.buckets), &all(&status.caps)),
        overrun_micro: Whole(status.overrun_micro),
        as_of: AsOfJson { partition: as_of.partition, offset: as_of.offset, time: as_of.time_ms },
    })
}

fn all<T>(items: &[T]) -> Vec<&T> {
    items.iter().collect()
}

/// At most [`NAMED_MAX`] items, in their order, those that tell most before others; and how many
/// are left out.
fn most_telling<T>(items: &[T], tells: impl Fn(&T) -> bool) -> (Vec<&T>, usize) {
    let left_out = items.len().saturating_sub(NAMED_MAX);
    if left_out == 0 {
        return (all(items), 0);
    }
    let mut positions: Vec<usize> = (0..items.len()).collect();
    positions.sort_by_key(|position| !tells(&items[*position]));
    positions.truncate(NAMED_MAX);
    positions.sort_unstable();
    (positions.into_iter().map(|position| &items[position]).collect(), left_out)
}

fn written(value: &impl Serialize) -> String {
    // Every key is a text and no writer is in between that could fail.
    serde_json::to_string(value).unwrap_or_default()
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(flatten)]
    about: About<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    buckets_left_out: usize,
    #[serde(skip_serializing_if = "is_zero")]
    caps_left_out: usize,
    as_of_offset: u64,
    as_of: i64,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    about: About<'a>,
    overrun_micro: Whole,
    as_of: AsOfJson,
}

/// What both say.
#[derive(Serialize)]
struct About<'a> {
    account: &'a str,
    status: &'static str,
    buckets: Vec<BucketJson<'a>>,
    caps: Vec<CapJson<'a>>,
    overflow: Option<OverflowJson<'a>>,
}

#[derive(Serialize)]
struct BucketJson<'a> {
    bucket: &'a str,
    package: &'a str,
    valid_from: i64,
    valid_to: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rolled_to: Option<i64>,
    allowance_micro: Whole,
    used_micro: Whole,
    remaining_micro: Whole,
}

#[derive(Serialize)]
struct CapJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriber: Option<&'a str>,
    window: &'static str,
    limit_micro: Whole,
    used_micro: Whole,
    remaining_micro: Whole,
}

#[derive(Serialize)]
struct OverflowJson<'a> {
    tariff: &'a str,
    points_micro: Whole,
    amount: Decimal,
    currency: &'a str,
}

#[derive(Serialize)]
struct AsOfJson {
    partition: u32,
    offset: u64,
    time: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it may skip like this")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn about<'a>(
    status: &'a AccountStatus,
    buckets: &[&'a BucketStatus],
    caps: &[&'a CapStatus],
) -> About<'a> {
    About {
        account: &status.account,
        status: status.status.name(),
        buckets: buckets.iter().copied().map(bucket).collect(),
        caps: caps.iter().copied().map(cap).collect(),
        overflow: status.overflow.as_ref().map(overflow),
    }
}

fn bucket(bucket: &BucketStatus) -> BucketJson<'_> {
    BucketJson {
        bucket: &bucket.bucket,
        package: &bucket.package,
        valid_from: bucket.valid_from_ms,
        valid_to: bucket.valid_to_ms,
        rolled_to: bucket.rolled_to_ms,
        allowance_micro: Whole(bucket.allowance_micro),
        used_micro: Whole(bucket.used_micro),
        remaining_micro: Whole(bucket.remaining_micro),
    }
}

fn cap(cap: &CapStatus) -> CapJson<'_> {
    CapJson {
        package: cap.package.as_deref(),
        subscriber: cap.subscriber.as_deref(),
        window: cap.window.name(),
        limit_micro: Whole(cap.limit_micro.into()),
        used_micro: Whole(cap.used_micro),
        remaining_micro: Whole((i128::from(cap.limit_micro) - cap.used_micro).max(0)),
    }
}

fn overflow(overflow: &OverflowStatus) -> OverflowJson<'_> {
    OverflowJson {
        tariff: &overflow.tariff,
        points_micro: Whole(overflow.points_micro),
        amount: Decimal(overflow.amount_pico),
        currency: overflow.currency.code(),
    }
}

/// Pico-currency, as a decimal with twelve places.
struct Decimal(i128);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&decimal_text(self.0, 12))
    }
}
