//! Thresholds of a bucket: percent used, points left, the forecast of its end, its expiry; and the
//! alerts that take an alert back.

use crate::account::{Account, text_of};
use crate::alert_identity::{alert_identity, corrected_identity};
use crate::bucket::{Bucket, Fired, checked_product};
use crate::calendar::HOUR_MS;
use crate::charge::Occasion;
use crate::package::{Threshold, ThresholdKind};
use crate::planted::{Bug, planted};
use crate::reference::QuotaReference;
use crate::sink::{Alert, QuotaSink};

/// Kinds that usage crosses, in the order in which they are told.
const BY_USAGE: [ThresholdKind; 3] =
    [ThresholdKind::PercentUsed, ThresholdKind::PointsLeft, ThresholdKind::Forecast];

/// Whether a number reaches a limit.
pub(crate) fn reaches(used: i128, limit: i128) -> bool {
    if planted(Bug::ThresholdExceeded) { used > limit } else { used >= limit }
}

fn product(a: i128, b: i128) -> i128 {
    checked_product(a, b).unwrap_or(i128::MAX)
}

/// Whether a threshold is crossed with so much used.
fn is_crossed(bucket: &Bucket, threshold: Threshold, used: i128, at_ms: i64) -> bool {
    let value = i128::from(threshold.at);
    match threshold.kind {
        ThresholdKind::PercentUsed => reaches(product(used, 100), product(bucket.allowance, value)),
        ThresholdKind::PointsLeft => reaches(value, bucket.allowance - used),
        ThresholdKind::Forecast => {
            let elapsed = at_ms.saturating_sub(bucket.valid_from_ms);
            if elapsed < HOUR_MS || used == 0 {
                return false;
            }
            let lasts = product(elapsed.into(), bucket.allowance) / used;
            let ends_ms = i128::from(bucket.valid_from_ms) + lasts;
            ends_ms < i128::from(bucket.valid_to_ms)
                && ends_ms - i128::from(at_ms) <= value * i128::from(HOUR_MS)
        }
        _ => false,
    }
}

/// Whether a charge crosses an armed threshold from below. The forecast looks at time too: it may
/// come true between two charges, so it is crossed by the first charge that finds it true.
fn crosses(bucket: &Bucket, number: usize, t: Threshold, before: i128, at_ms: i64) -> bool {
    bucket.fired(number) == Fired::Armed
        && is_crossed(bucket, t, bucket.used, at_ms)
        && (t.kind == ThresholdKind::Forecast || !is_crossed(bucket, t, before, at_ms))
}

/// Tells what a bucket's usage crossed since `before` micro-points were used.
pub(crate) fn tell_bucket<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    bucket: usize,
    before: i128,
    occasion: &Occasion<'_>,
    sink: &mut S,
) {
    let Account { text, name_len, buckets, .. } = account;
    let bucket = &mut buckets[bucket];
    let package = reference.package(bucket.package);
    let at_ms = occasion.at_ms;
    let crossed = |bucket: &Bucket, number: usize| {
        crosses(bucket, number, package.thresholds[number], before, at_ms)
    };
    let over = occasion.watermark_ms.is_some_and(|watermark| watermark >= bucket.end_ms());
    if over || !(0..package.thresholds.len()).any(|number| crossed(bucket, number)) {
        return;
    }
    for kind in BY_USAGE {
        let mut numbers: Vec<usize> = (0..package.thresholds.len())
            .filter(|number| package.thresholds[*number].kind == kind && crossed(bucket, *number))
            .collect();
        // The gravest first: few points or hours left, a high percentage.
        numbers.sort_by_key(|number| package.thresholds[*number].at);
        if kind == ThresholdKind::PercentUsed {
            numbers.reverse();
        }
        let mut sent: Option<String> = None;
        for number in numbers {
            let threshold = package.thresholds[number];
            let about = About { account: &text[..*name_len], text, package: &package.id };
            let id = about.tell(bucket, threshold, occasion, sent.as_deref(), sink);
            bucket.set_fired(number, if sent.is_none() { Fired::Sent } else { Fired::Passed });
            sent = sent.or(Some(id));
        }
    }
}

/// Tells that a bucket's end is near, where something is left. The threshold is passed either way.
pub(crate) fn tell_expiry<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    bucket: usize,
    number: usize,
    occasion: &Occasion<'_>,
    sink: &mut S,
) {
    let Account { text, name_len, buckets, .. } = account;
    let bucket = &mut buckets[bucket];
    if bucket.left() <= 0 {
        bucket.set_fired(number, Fired::Passed);
        return;
    }
    let package = reference.package(bucket.package);
    let about = About { account: &text[..*name_len], text, package: &package.id };
    about.tell(bucket, package.thresholds[number], occasion, None, sink);
    bucket.set_fired(number, Fired::Sent);
}

/// Takes back the alerts of thresholds that points given back brought below.
pub(crate) fn tell_corrected<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    bucket: usize,
    occasion: &Occasion<'_>,
    sink: &mut S,
) {
    let Account { text, name_len, buckets, .. } = account;
    let bucket = &mut buckets[bucket];
    let package = reference.package(bucket.package);
    for kind in [ThresholdKind::PercentUsed, ThresholdKind::PointsLeft] {
        for (threshold, number) in package.thresholds.iter().zip(0..) {
            if threshold.kind != kind
                || bucket.fired(number) != Fired::Sent
                || is_crossed(bucket, *threshold, bucket.used, occasion.at_ms)
            {
                continue;
            }
            let about = About { account: &text[..*name_len], text, package: &package.id };
            let counter = counter_of(bucket, kind);
            let corrected = about.identity(bucket, &counter, threshold.at);
            let by_event = occasion.event.map(|(_, id)| id);
            let id =
                corrected_identity(&corrected, occasion.command.or(by_event).unwrap_or_default());
            sink.alert(Alert {
                id: &id,
                kind: "corrected",
                corrects: Some(&corrected),
                ..about.alert(bucket, *threshold, &counter, occasion)
            });
            bucket.set_fired(number, Fired::Corrected);
        }
    }
}

/// Arms a bucket's thresholds again after points were added. Those of days that are passed by the
/// watermark stay passed.
pub(crate) fn arm_again(
    bucket: &mut Bucket,
    reference: &QuotaReference,
    watermark_ms: Option<i64>,
) {
    bucket.fired = 0;
    bucket.armed_again = bucket.armed_again.saturating_add(1);
    pass_expiry(bucket, reference, watermark_ms);
}

/// Passes the thresholds of days that the watermark has reached already: crossed when armed.
pub(crate) fn pass_expiry(
    bucket: &mut Bucket,
    reference: &QuotaReference,
    watermark_ms: Option<i64>,
) {
    let Some(watermark_ms) = watermark_ms else { return };
    for (threshold, number) in reference.package(bucket.package).thresholds.iter().zip(0..) {
        if threshold.kind == ThresholdKind::ExpiresSoon
            && bucket.fired(number) == Fired::Armed
            && bucket.expiry_due_ms(threshold.at) <= watermark_ms
        {
            bucket.set_fired(number, Fired::Passed);
        }
    }
}

/// Kind, and how often the bucket was armed again.
fn counter_of(bucket: &Bucket, kind: ThresholdKind) -> String {
    format!("{}:{}", kind.name(), bucket.armed_again)
}

/// The texts of an alert of a bucket.
struct About<'a> {
    account: &'a str,
    text: &'a str,
    package: &'a str,
}

impl<'a> About<'a> {
    fn identity(&self, bucket: &Bucket, counter: &str, threshold: i64) -> String {
        let id = text_of(self.text, bucket.id);
        alert_identity(self.account, id, bucket.valid_from_ms, counter, threshold)
    }

    /// Everything of an alert but its identity.
    fn alert(
        &self,
        bucket: &Bucket,
        threshold: Threshold,
        counter: &'a str,
        occasion: &Occasion<'a>,
    ) -> Alert<'a> {
        Alert {
            id: "",
            kind: threshold.kind.name(),
            account: self.account,
            subscriber: occasion.subscriber,
            package: Some(self.package),
            bucket: Some(text_of(self.text, bucket.id)),
            period_start_ms: bucket.valid_from_ms,
            counter,
            threshold: threshold.at,
            used: bucket.used,
            allowance: Some(bucket.allowance),
            at_ms: occasion.at_ms,
            event: occasion.event,
            command: occasion.command,
            superseded_by: None,
            corrects: None,
        }
    }

    fn tell<S: QuotaSink + ?Sized>(
        &self,
        bucket: &Bucket,
        threshold: Threshold,
        occasion: &Occasion<'_>,
        superseded_by: Option<&str>,
        sink: &mut S,
    ) -> String {
        let counter = counter_of(bucket, threshold.kind);
        let id = self.identity(bucket, &counter, threshold.at);
        let about = About { account: self.account, text: self.text, package: self.package };
        let alert = about.alert(bucket, threshold, &counter, occasion);
        sink.alert(Alert { id: &id, superseded_by, ..alert });
        id
    }
}
