//! What may be read and is wrong nevertheless.

use crate::package::{Anchor, Package, Period, Tariff, Threshold, ThresholdKind};
use crate::reference::Problem;
use crate::reference_text::put_at;

/// Thresholds of a bucket are two bits each of a 64-bit word in state.
pub(crate) const THRESHOLDS_MAX: usize = 32;

fn add(problems: &mut Vec<Problem>, record: &str, field: &str, message: &str) {
    let (record, field) = (record.to_owned(), field.to_owned());
    let (place, message) = (String::new(), message.to_owned());
    problems.push(Problem { place, record, field, message });
}

pub(crate) fn lint_packages(packages: &[Package], problems: &mut Vec<Problem>) {
    for (package, at) in packages.iter().zip(0..) {
        let before = problems.len();
        let mut fail = |field: &str, message: &str| add(problems, &package.id, field, message);
        if package.price_micro < 0 {
            fail("price_micro", "is negative");
        }
        if package.allowance_micro < 0 {
            fail("allowance_micro", "is negative");
        }
        if package.kind.is_free() && package.allowance_micro == 0 {
            fail("allowance_micro", "gives nothing");
        }
        if package.price_pico().checked_mul(i128::from(package.allowance_micro)).is_none() {
            fail("allowance_micro", "times the price cannot be counted exactly");
        }
        if package.anchor == Anchor::Calendar && matches!(package.period, Period::Hours(_)) {
            fail("anchor", "hours have no calendar anchor");
        }
        // A cancelled announcement ends where it begins.
        if package.valid_to_ms.is_some_and(|to| to < package.valid_from_ms) {
            fail("valid_to", "is before valid_from");
        }
        if package.approved_by.is_some() != package.approved_at_ms.is_some() {
            fail("approved_at", "goes with approved_by");
        }
        if packages[..at].iter().any(|before| before.hash == package.hash) {
            fail("known_from", "this version of the id is there already");
        }
        lint_thresholds(&package.id, &package.thresholds, false, problems);
        put_at(&package.place, &mut problems[before..]);
    }
}

pub(crate) fn lint_tariffs(tariffs: &[Tariff], problems: &mut Vec<Problem>) {
    for (tariff, at) in tariffs.iter().zip(0..) {
        let before = problems.len();
        let mut fail = |field: &str, message: &str| add(problems, &tariff.id, field, message);
        if tariff.price_micro_per_million_points < 0 {
            fail("price_micro_per_million_points", "is negative");
        }
        if tariff.approved_by.is_some() != tariff.approved_at_ms.is_some() {
            fail("approved_at", "goes with approved_by");
        }
        let same = |t: &Tariff| t.id == tariff.id && t.known_from_ms == tariff.known_from_ms;
        if tariffs[..at].iter().any(same) {
            fail("known_from", "this version of the id is there already");
        }
        lint_thresholds(&tariff.id, &tariff.thresholds, true, problems);
        put_at(&tariff.place, &mut problems[before..]);
    }
}

/// Checks thresholds of a package, or those of an account.
pub(crate) fn lint_thresholds(
    record: &str,
    thresholds: &[Threshold],
    of_account: bool,
    problems: &mut Vec<Problem>,
) {
    if thresholds.len() > THRESHOLDS_MAX {
        add(problems, record, "thresholds", "are more than 32");
    }
    for (threshold, at) in thresholds.iter().zip(0..) {
        let field = format!("thresholds[{at}]");
        let kind = threshold.kind;
        if kind.of_account() != of_account {
            let owner = if kind.of_account() { "a tariff or to all accounts" } else { "a package" };
            add(problems, record, &field, &format!("{} belongs to {owner}", kind.name()));
        }
        let (from, to) = match kind {
            ThresholdKind::PercentUsed | ThresholdKind::Cap => (1, 100),
            ThresholdKind::PointsLeft => (0, i64::MAX),
            ThresholdKind::ExpiresSoon => (0, 3_660),
            ThresholdKind::Forecast => (1, 87_840),
            ThresholdKind::Spike | ThresholdKind::OverflowSpent | ThresholdKind::Overrun => {
                (1, i64::MAX)
            }
        };
        if !(from..=to).contains(&threshold.at) {
            let message = format!("{} must be from {from} to {to}", kind.name());
            add(problems, record, &field, &message);
        }
        if thresholds[..at].contains(threshold) {
            add(problems, record, &field, "is there already");
        }
    }
}
