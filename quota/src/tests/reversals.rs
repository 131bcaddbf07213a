//! Events that are taken back: the points go to the buckets that gave them, and every sum is what it
//! would be without the event.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::script::{ACCOUNTS, Step, packages, runs, tariffs};
use super::world::*;
use crate::{EntryKind, Quota};

/// A bucket of 100 points with alerts, and a later one.
fn two_buckets() -> World {
    let fields = json!({"allowance_micro": 100 * MICRO, "stacking": "parallel",
        "thresholds": thresholds("percent_used", &[50, 100])});
    let mut world = World::new(json!([
        package("first", fields.clone()),
        package(
            "second",
            json!({"allowance_micro": 100 * MICRO, "stacking": "parallel",
            "period": {"months": 2}})
        ),
    ]));
    world.buy("b1", "first", APRIL);
    world.buy("b2", "second", APRIL);
    world
}

fn used(world: &World) -> Vec<(String, i128)> {
    let status = world.quota.status("A1", APRIL, world.watermark).unwrap().unwrap();
    status.buckets.into_iter().map(|bucket| (bucket.bucket, bucket.used_micro)).collect()
}

pub(super) fn points_go_back_to_the_buckets_that_gave_them() {
    let mut world = two_buckets();
    world.use_at(30, APRIL + 1);
    let before = used(&world);
    let split = usage(120, APRIL + 2);
    let charged = world.charge(&split);
    assert_eq!(charged.debits(), [("b1", 70), ("b2", 50)]);
    assert_eq!(charged.sent(), [("percent_used", 100)]);
    let told = world.reverse(&split, "r1", &charged.rows);
    assert_eq!(used(&world), before);
    let shown: Vec<_> = told.rows.iter().map(|row| (row.bucket.as_deref(), row.points)).collect();
    let micro = i128::from(MICRO);
    assert_eq!(shown, [(Some("b1"), 70 * micro), (Some("b2"), 50 * micro)]);
    let amounts = |rows: &[Row]| rows.iter().map(|row| row.amount).collect::<Vec<_>>();
    let taken: Vec<i128> = amounts(&charged.rows).into_iter().map(|pico| -pico).collect();
    assert_eq!(amounts(&told.rows), taken);
    // What was sent is not unsent, but taken back.
    assert_eq!(told.sent(), [("corrected", 100)]);
    let sent = charged.alerts.iter().find(|alert| alert.superseded_by.is_none()).unwrap();
    assert_eq!(told.alerts[0].corrects.as_ref(), Some(&sent.id));
    // What comes then is charged as if the event had never been.
    assert_eq!(world.use_at(80, APRIL + 3).debits(), [("b1", 70), ("b2", 10)]);
}

#[test]
fn an_event_over_two_buckets_is_taken_back() {
    points_go_back_to_the_buckets_that_gave_them();
}

#[test]
fn a_used_up_bucket_has_allocated_its_price_whatever_was_taken_back() {
    let fields = json!({"allowance_micro": 7 * MICRO, "price_micro": 1_000_003});
    let mut world = World::new(json!([package("odd", fields)]));
    world.buy("b1", "odd", APRIL);
    let first = usage(3, APRIL + 1);
    let charged = world.charge(&first);
    let mut amounts: Vec<i128> = charged.rows.iter().map(|row| row.amount).collect();
    amounts.extend(world.use_at(2, APRIL + 2).rows.iter().map(|row| row.amount));
    let told = world.reverse(&first, "r1", &charged.rows);
    amounts.extend(told.rows.iter().map(|row| row.amount));
    amounts.extend(world.use_at(5, APRIL + 3).rows.iter().map(|row| row.amount));
    assert_eq!(amounts.iter().sum::<i128>(), 1_000_003_000_000);
}

#[test]
fn what_comes_back_to_a_closed_bucket_expires_and_is_breakage() {
    let mut world = two_buckets();
    let event = usage(30, APRIL + 1);
    let charged = world.charge(&event);
    world.advance(APRIL + 40 * DAY);
    let told = world.reverse(&event, "r1", &charged.rows);
    let micro = i128::from(MICRO);
    let rows: Vec<_> = told.rows.iter().map(|row| (row.kind, row.points, row.amount)).collect();
    let pico = charged.rows[0].amount;
    assert_eq!(
        rows,
        [
            (EntryKind::Debit, 30 * micro, -pico),
            (EntryKind::Expire, -30 * micro, 0),
            (EntryKind::Breakage, 0, pico),
        ]
    );
    assert!(told.alerts.is_empty());
}

#[test]
fn what_was_given_back_by_hand_is_not_given_back_again() {
    let mut world = two_buckets();
    let event = usage(30, APRIL + 1);
    let charged = world.charge(&event);
    world.command(json!({"command": "adjust", "id": "a", "at": APRIL + 2, "bucket": "b1",
        "points_micro": 20 * MICRO, "reason": "r", "approver": "x"}));
    let told = world.reverse(&event, "r1", &charged.rows);
    let micro = i128::from(MICRO);
    let rows: Vec<_> = told.rows.iter().map(|row| (row.kind, row.points)).collect();
    assert_eq!(rows, [(EntryKind::Debit, 30 * micro), (EntryKind::Adjust, -20 * micro)]);
    assert_eq!(told.rows.last().unwrap().balance, Some(100 * micro));
    assert!(used(&world).iter().all(|(_, used)| *used == 0));
}

#[test]
fn pay_as_you_go_and_overrun_are_taken_back_too() {
    let mut world = World::new(json!([package("none", json!({"allowance_micro": 0}))]));
    let event = usage(30, APRIL + 1);
    let overrun = world.charge(&event);
    world.consent("payg");
    let later = usage(40, APRIL + 2);
    let paid = world.charge(&later);
    for (event, charged, kind) in
        [(event, overrun, EntryKind::Overrun), (later, paid, EntryKind::Payg)]
    {
        let told = world.reverse(&event, &format!("r-{}", event.at_ms), &charged.rows);
        let opposite = |row: &Row| (row.kind, -row.points, -row.amount, row.cause);
        let same = |row: &Row| (row.kind, row.points, row.amount, row.cause);
        let taken: Vec<_> = charged.rows.iter().map(opposite).collect();
        assert_eq!(told.rows.iter().map(same).collect::<Vec<_>>(), taken);
        assert_eq!(charged.rows[0].kind, kind);
    }
    let status = world.quota.status("A1", APRIL, world.watermark).unwrap().unwrap();
    assert_eq!(status.overflow.map(|o| (o.points_micro, o.amount_pico)), Some((0, 0)));
}

/// An event that was charged, and its rows.
type Taken = (Use, Vec<Row>);

/// Carries a run out in which earlier events are taken back, each once. `restarts`: the accounts are
/// stored and restored after each step.
fn carry_out(steps: &[Step], picks: &[usize], restarts: bool) -> (World, Vec<Recorder>, i128) {
    let mut world = World::with_tariffs(packages(), tariffs());
    let (mut told, mut charged): (Vec<Recorder>, Vec<Taken>) = Default::default();
    let mut reversed = 0;
    for (step, number) in steps.iter().zip(0_usize..) {
        let recorder = match step {
            Step::Advance(to_ms) => world.advance(*to_ms),
            Step::Command(command) => world.try_command(command.clone()).unwrap_or_default(),
            Step::Use(usage) => {
                let recorder = world.charge(usage);
                charged.push((usage.clone(), recorder.rows.clone()));
                recorder
            }
        };
        told.push(recorder);
        let pick = picks.get(number).copied().unwrap_or(1);
        if pick % 3 == 0 && !charged.is_empty() {
            let (usage, rows) = charged.swap_remove(pick % charged.len());
            reversed += 1;
            told.push(world.reverse(&usage, &format!("r{reversed}"), &rows));
        }
        if restarts {
            let stored: Vec<(String, Vec<u8>)> =
                world.quota.all().map(|(n, b)| (n.to_owned(), b.into_owned())).collect();
            world.quota = Quota::new(world.quota.reference().clone());
            for (account, bytes) in &stored {
                if !bytes.is_empty() {
                    world.quota.restore(account, bytes).unwrap();
                }
            }
        }
    }
    (world, told, reversed)
}

/// Points and open revenue of each bucket, from its rows.
fn sums(told: &[Recorder]) -> BTreeMap<(String, String), (i128, i128)> {
    let mut buckets: BTreeMap<(String, String), (i128, i128)> = BTreeMap::new();
    for row in told.iter().flat_map(|recorder| &recorder.rows) {
        let Some(bucket) = &row.bucket else { continue };
        let (points, open) = buckets.entry((row.account.clone(), bucket.clone())).or_default();
        *points += row.points;
        *open += match row.kind {
            EntryKind::Debit | EntryKind::Adjust | EntryKind::Breakage => -row.amount,
            _ => row.amount,
        };
        assert_eq!(row.balance, Some(*points), "{row:?}");
        assert!(*points >= 0 && *open >= 0, "{row:?}: {points} {open}");
    }
    buckets
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// I5 and I9 with reversals: balances are sums, closed buckets come to nothing.
    #[test]
    fn every_run_with_reversals_adds_up(
        steps in runs(120), picks in prop::collection::vec(0_usize..1_000, 120),
    ) {
        let (world, told, _) = carry_out(&steps, &picks, false);
        let mut open = BTreeMap::new();
        for account in ACCOUNTS {
            let status = world.quota.status(account, 0, world.watermark).unwrap();
            for bucket in status.into_iter().flat_map(|status| status.buckets) {
                let left = bucket.allowance_micro - bucket.used_micro;
                open.insert((account.to_owned(), bucket.bucket), left);
            }
        }
        for (bucket, (points, pico)) in sums(&told) {
            match open.get(&bucket) {
                Some(left) => prop_assert_eq!(points, *left, "{:?}", bucket),
                None => prop_assert_eq!((points, pico), (0, 0), "{:?} is closed", bucket),
            }
        }
    }

    /// The state that is stored is all that matters.
    #[test]
    fn a_restart_changes_nothing(
        steps in runs(60), picks in prop::collection::vec(0_usize..1_000, 60),
    ) {
        let (_, straight, _) = carry_out(&steps, &picks, false);
        let (_, restarted, _) = carry_out(&steps, &picks, true);
        prop_assert_eq!(straight, restarted);
    }
}
