//! Thresholds of windows: caps and spikes of a package, pay as you go and overrun of a month.

use crate::account::{Account, FiredInPeriod, Watched};
use crate::alert_identity::alert_identity;
use crate::bucket::MICRO_PICO;
use crate::bucket_alerts::reaches;
use crate::charge::Occasion;
use crate::package::{Package, Threshold, name_hash};
use crate::reference::QuotaReference;
use crate::sink::{Alert, QuotaSink};
use crate::split::Split;
use crate::usage::{Meter, used_at};
use crate::window::Window;

/// When what an alert's counter counts is over, milliseconds UTC, by the start of its period: from
/// then on gateways are not told any more that the account is warned by it. `None` where the counter
/// is of a bucket.
pub fn alert_window_end_ms(counter: &str, period_start_ms: i64) -> Option<i64> {
    let watched = match counter.split_once(':') {
        Some(("cap", window)) => Watched::Cap(Window::from_name(window)?),
        _ => [Watched::Spike, Watched::OverflowSpent, Watched::Overrun]
            .into_iter()
            .find(|watched| watched.kind().name() == counter)?,
    };
    Some(watched.span().alert_period_end(period_start_ms))
}

/// What was used in a window before and after a charge, in the unit of the thresholds.
struct Crossing<'a> {
    watched: Watched,
    /// The package or tariff; empty for an account without a tariff.
    subject: &'a str,
    before: i128,
    after: i128,
    /// What thresholds are percent of; none where they are absolute.
    limit: Option<i128>,
    /// What is shown as used.
    used: i128,
    /// What a threshold of 1 stands for in the unit of `before` and `after`.
    unit: i128,
}

/// Tells what the usage of a package crossed, by `points` of all its buckets together.
pub(crate) fn tell_package<S: QuotaSink + ?Sized>(
    account: &mut Account,
    package: &Package,
    points: i128,
    occasion: &Occasion<'_>,
    sink: &mut S,
) {
    let at_ms = occasion.at_ms;
    for cap in &package.caps {
        let meter = Meter::Package(cap.window);
        let after = used_at(&account.usages, meter, package.id_hash, at_ms);
        let crossing = Crossing {
            watched: Watched::Cap(cap.window),
            subject: &package.id,
            before: (after - points).saturating_mul(100),
            after: after.saturating_mul(100),
            limit: Some(cap.limit_micro.into()),
            used: after,
            unit: cap.limit_micro.into(),
        };
        tell_crossing(account, &package.thresholds, &crossing, occasion, sink);
    }
    if package.watched {
        let after = used_at(&account.usages, Meter::Spike, package.id_hash, at_ms);
        let crossing = Crossing {
            watched: Watched::Spike,
            subject: &package.id,
            before: after - points,
            after,
            limit: None,
            used: after,
            unit: 1,
        };
        tell_crossing(account, &package.thresholds, &crossing, occasion, sink);
    }
}

/// Tells what pay as you go and overrun of the month crossed.
pub(crate) fn tell_account<S: QuotaSink + ?Sized>(
    account: &mut Account,
    reference: &QuotaReference,
    split: &Split,
    occasion: &Occasion<'_>,
    sink: &mut S,
) {
    let at_ms = occasion.at_ms;
    let tariff = account.overflow.and_then(|tariff| reference.tariff_known_at(tariff, at_ms));
    let (subject, thresholds) = match tariff {
        Some(tariff) => (tariff.id.as_str(), tariff.thresholds.as_slice()),
        None => ("", reference.account_thresholds()),
    };
    if thresholds.is_empty() {
        return;
    }
    if let Some(payg) = split.payg {
        let currency = name_hash(payg.currency.code());
        let after = used_at(&account.usages, Meter::PaygMonth, currency, at_ms);
        let crossing = Crossing {
            watched: Watched::OverflowSpent,
            subject,
            before: after - payg.amount_pico,
            after,
            limit: None,
            used: after / MICRO_PICO,
            unit: MICRO_PICO,
        };
        tell_crossing(account, thresholds, &crossing, occasion, sink);
    }
    if let Some(overrun) = split.overrun {
        let after = used_at(&account.usages, Meter::OverrunMonth, 0, at_ms);
        let crossing = Crossing {
            watched: Watched::Overrun,
            subject,
            before: after - overrun.points,
            after,
            limit: None,
            used: after,
            unit: 1,
        };
        tell_crossing(account, thresholds, &crossing, occasion, sink);
    }
}

fn tell_crossing<S: QuotaSink + ?Sized>(
    account: &mut Account,
    thresholds: &[Threshold],
    crossing: &Crossing<'_>,
    occasion: &Occasion<'_>,
    sink: &mut S,
) {
    let (watched, span) = (crossing.watched, crossing.watched.span());
    let crossed = |threshold: &&Threshold| {
        let value = i128::from(threshold.at).saturating_mul(crossing.unit);
        threshold.kind == watched.kind()
            && reaches(crossing.after, value)
            && !reaches(crossing.before, value)
    };
    if !thresholds.iter().any(|threshold| crossed(&threshold)) {
        return;
    }
    let window_end = span.window_end(span.slot_start(occasion.at_ms));
    if occasion.watermark_ms.is_some_and(|watermark| watermark >= window_end) {
        return;
    }
    let (subject, period_ms) = (name_hash(crossing.subject), span.alert_period(occasion.at_ms));
    let fired = |threshold: i64| FiredInPeriod { watched, subject, period_ms, threshold };
    let mut values: Vec<i64> = thresholds
        .iter()
        .filter(crossed)
        .map(|threshold| threshold.at)
        .filter(|value| !account.fired.contains(&fired(*value)))
        .collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    let counter = match watched {
        Watched::Cap(window) => format!("{}:{}", watched.kind().name(), window.name()),
        _ => watched.kind().name().to_owned(),
    };
    let Account { text, name_len, fired: all_fired, .. } = account;
    let name = &text[..*name_len];
    let mut sent: Option<String> = None;
    for value in values {
        let id = alert_identity(name, crossing.subject, period_ms, &counter, value);
        sink.alert(Alert {
            id: &id,
            kind: watched.kind().name(),
            account: name,
            subscriber: occasion.subscriber,
            package: Some(crossing.subject).filter(|subject| !subject.is_empty()),
            bucket: None,
            period_start_ms: period_ms,
            counter: &counter,
            threshold: value,
            used: crossing.used,
            allowance: crossing.limit,
            at_ms: occasion.at_ms,
            event: occasion.event,
            command: occasion.command,
            superseded_by: sent.as_deref(),
            corrects: None,
        });
        all_fired.push(fired(value));
        sent = sent.or(Some(id));
    }
}
