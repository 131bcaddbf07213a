//! What holds in every run: conservation, double entry (I5), no bucket below zero (I9), alerts once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::script::{ACCOUNTS, Step, carry_out, runs};
use super::world::{DAY, Recorder, Row, World};
use crate::{Charged, EntryKind};

/// What the rows say of a bucket.
#[derive(Debug, Default)]
struct Sums {
    points: i128,
    /// Price paid, less what was allocated and broken.
    open_pico: i128,
    closed: bool,
}

fn is_usage(row: &Row) -> bool {
    matches!(row.kind, EntryKind::Debit | EntryKind::Payg | EntryKind::Overrun)
}

/// Checks what a run told. Panics with what is wrong.
pub(super) fn check(steps: &[Step], world: &World, told: &[(Recorder, Option<Charged>)]) {
    let mut buckets: BTreeMap<(String, String), Sums> = BTreeMap::new();
    let mut alerts: BTreeSet<String> = BTreeSet::new();
    let mut payg_pico: BTreeMap<String, i128> = BTreeMap::new();
    for (step, (recorder, charged)) in steps.iter().zip(told) {
        if let (Step::Use(usage), Some(charged)) = (step, charged) {
            check_event(recorder, charged, usage.wholesale_pico);
        } else {
            assert!(!recorder.rows.iter().any(is_usage));
        }
        for row in &recorder.rows {
            if row.kind == EntryKind::Payg {
                *payg_pico.entry(row.account.clone()).or_default() += row.amount;
            }
            let Some(bucket) = &row.bucket else { continue };
            let sums = buckets.entry((row.account.clone(), bucket.clone())).or_default();
            assert!(!sums.closed || row.kind == EntryKind::Breakage, "{row:?} after it closed");
            sums.points += row.points;
            match row.kind {
                EntryKind::Debit | EntryKind::Adjust | EntryKind::Breakage => {
                    sums.open_pico -= row.amount;
                }
                _ => sums.open_pico += row.amount,
            }
            assert_eq!(row.balance, Some(sums.points), "{row:?}");
            assert!(sums.points >= 0 && sums.open_pico >= 0, "{row:?}: {sums:?}");
            sums.closed |= matches!(row.kind, EntryKind::Expire | EntryKind::Breakage);
        }
        for alert in &recorder.alerts {
            assert!(alerts.insert(alert.id.clone()), "twice: {alert:?}");
            let refers = [&alert.superseded_by, &alert.corrects];
            assert!(refers.into_iter().flatten().all(|id| alerts.contains(id)), "{alert:?}");
        }
    }
    let mut open = BTreeMap::new();
    for account in ACCOUNTS {
        let Some(status) = world.quota.status(account, 0, world.watermark).unwrap() else {
            continue;
        };
        for bucket in status.buckets {
            let left = bucket.allowance_micro - bucket.used_micro;
            open.insert((account.to_owned(), bucket.bucket), left);
        }
        if let Some(overflow) = status.overflow {
            assert_eq!(overflow.amount_pico, payg_pico.remove(account).unwrap_or_default());
        }
    }
    for (bucket, sums) in &buckets {
        match open.get(bucket) {
            Some(left) => assert_eq!(sums.points, *left, "{bucket:?}"),
            None => assert_eq!((sums.points, sums.open_pico), (0, 0), "{bucket:?} is closed"),
        }
    }
}

fn check_event(recorder: &Recorder, charged: &Charged, wholesale_pico: i128) {
    let sum: i128 = recorder.rows.iter().map(|row| row.points).sum();
    assert_eq!(sum, -charged.points_micro, "conservation");
    assert!(recorder.rows.iter().all(|row| is_usage(row) && row.points < 0));
    let retail = recorder.rows.iter().filter(|row| row.kind != EntryKind::Overrun);
    let currencies: BTreeSet<_> = retail.clone().map(|row| row.currency).collect();
    assert!(currencies.len() <= 1 && currencies.iter().all(|c| *c == charged.retail_currency));
    assert_eq!(retail.map(|row| row.amount).sum::<i128>(), charged.retail_pico);
    for row in recorder.of_kind(EntryKind::Overrun) {
        assert!((0..=wholesale_pico).contains(&row.amount));
        assert!(row.cause.is_some());
        assert_eq!(row.points, -charged.overrun_micro);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_run_adds_up(steps in runs(150)) {
        let (world, told) = carry_out(&steps, &|_| false);
        check(&steps, &world, &told);
    }

    #[test]
    fn everything_closes_in_the_end(steps in runs(80)) {
        let mut steps = steps;
        steps.push(Step::Advance(super::world::APRIL + 4_000 * DAY));
        let (world, told) = carry_out(&steps, &|_| false);
        check(&steps, &world, &told);
        for account in ACCOUNTS {
            let status = world.quota.status(account, 0, world.watermark).unwrap();
            prop_assert!(status.is_none_or(|status| status.buckets.is_empty()));
        }
    }

    #[test]
    fn where_ranks_differ_the_order_of_purchase_tells_nothing(
        order in Just(["queue", "parallel", "rolling", "trial", "glm"].to_vec()).prop_shuffle(),
        points in prop::collection::vec(1_i64..80, 1..12),
    ) {
        let run = |packages: &[&str]| {
            let mut world =
                World::with_tariffs(super::script::packages(), super::script::tariffs());
            for package in packages {
                world.buy(package, package, super::world::APRIL);
            }
            points
                .iter()
                .map(|points| {
                    let told = world.use_at(*points, super::world::APRIL + 1);
                    told.rows.into_iter().map(|r| (r.bucket, r.points, r.amount)).collect()
                })
                .collect::<Vec<Vec<_>>>()
        };
        let sorted = ["queue", "parallel", "rolling", "trial", "glm"];
        prop_assert_eq!(run(&order), run(&sorted));
    }
}
