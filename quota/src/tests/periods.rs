//! When buckets begin, end, roll over and close.

use serde_json::{Value, json};

use super::world::*;
use crate::EntryKind;

fn texts(period: (i64, i64)) -> (String, String) {
    let text = |ms: i64| {
        let offset = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
        jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(offset).datetime().to_string()
    };
    (text(period.0), text(period.1))
}

fn periods_of(fields: Value, bought: &str, quantity: u32) -> Vec<(String, String)> {
    let mut world = World::new(json!([package("p", fields)]));
    world.command(json!({
        "command": "purchase", "id": "b", "package": "p", "at": bought, "quantity": quantity,
    }));
    (1..=quantity).map(|number| texts(world.period(&format!("b/{number}")))).collect()
}

#[test]
fn a_chain_of_months_loses_no_day_and_the_31st_comes_back() {
    let periods = periods_of(json!({}), "2028-01-31T10:00:00+08:00", 3);
    let expected = ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"];
    for (period, at) in periods.iter().zip(0..) {
        let (from, to): (&str, &str) = (expected[at], expected[at + 1]);
        assert_eq!(*period, (format!("{from}T10:00:00"), format!("{to}T10:00:00")));
    }
}

#[test]
fn calendar_periods_end_with_the_month_or_day() {
    let months = json!({"anchor": "calendar", "period": {"months": 2}});
    let periods = periods_of(months, "2026-01-15T12:00:00+08:00", 2);
    assert_eq!(periods[0], ("2026-01-15T12:00:00".into(), "2026-03-01T00:00:00".into()));
    assert_eq!(periods[1], ("2026-03-01T00:00:00".into(), "2026-05-01T00:00:00".into()));
    let days = json!({"anchor": "calendar", "period": {"days": 1}, "stacking": "queue"});
    let periods = periods_of(days, "2026-01-15T12:00:00+08:00", 2);
    assert_eq!(periods[1], ("2026-01-16T00:00:00".into(), "2026-01-17T00:00:00".into()));
}

#[test]
fn parallel_buckets_begin_at_once_and_queued_ones_behind_the_last() {
    let hours = json!({"period": {"hours": 5}, "stacking": "parallel"});
    let periods = periods_of(hours, "2026-01-15T12:00:00+08:00", 2);
    assert_eq!(periods[0], periods[1]);
    let mut world = World::new(json!([package("p", json!({"period": {"days": 10}}))]));
    world.buy("b1", "p", APRIL);
    world.buy("b2", "p", APRIL + DAY);
    assert_eq!(world.period("b2"), (APRIL + 10 * DAY, APRIL + 20 * DAY));
    world.buy("b3", "p", APRIL + 20 * DAY);
    assert_eq!(world.period("b3").0, APRIL + 20 * DAY, "the one before has ended");
}

#[test]
fn a_cancelled_bucket_ends_the_chain_and_successors_stay() {
    let mut world = World::new(json!([package("p", json!({}))]));
    let january = at("2028-01-31T10:00:00+08:00");
    for id in ["b1", "b2", "b3"] {
        world.buy(id, "p", january);
    }
    let (second, third) = (world.period("b2"), world.period("b3"));
    world.command(json!({"command": "cancel", "id": "c1", "bucket": "b1", "at": january + DAY}));
    world.command(json!({"command": "cancel", "id": "c2", "bucket": "b3", "at": january + DAY}));
    assert_eq!(world.period("b1"), (january, january + DAY));
    assert_eq!(world.period("b2"), second);
    assert_eq!(world.period("b3"), (third.0, third.0), "not begun: it ends where it begins");
    world.buy("b4", "p", january + 2 * DAY);
    assert_eq!(world.period("b4"), third, "the chain goes on behind the last that ran its period");
    world.command(json!({"command": "cancel", "id": "c3", "bucket": "b2", "at": second.0 + DAY}));
    world.command(json!({"command": "cancel", "id": "c4", "bucket": "b4", "at": third.0 + DAY}));
    world.buy("b5", "p", third.0);
    assert_eq!(texts(world.period("b5")).0, "2028-04-01T10:00:00", "cut off: a new anchor");
    assert_eq!(texts(world.period("b5")).1, "2028-05-01T10:00:00");
}

#[test]
pub(super) fn an_event_at_valid_to_is_not_the_buckets_and_a_late_one_before_is() {
    let mut world = World::new(json!([package("p", json!({"period": {"days": 1}}))]));
    world.buy("b1", "p", APRIL);
    let end = APRIL + DAY;
    assert!(world.use_at(1, APRIL - 1).debits().is_empty());
    assert_eq!(world.use_at(1, APRIL).debits().len(), 1);
    assert!(world.use_at(1, end).debits().is_empty());
    world.advance(end + 2 * DAY - 1);
    assert_eq!(world.use_at(1, end - 1).debits(), [("b1", 1)]);
    let told = world.advance(end + 2 * DAY);
    assert_eq!(
        told.rows.iter().map(|r| r.kind).collect::<Vec<_>>(),
        [EntryKind::Expire, EntryKind::Breakage]
    );
    assert_eq!((told.rows[0].points, told.rows[0].balance), (-9_999_998_000_000, Some(0)));
    assert_eq!(told.rows[1].amount, 9_900_000_000_000 - 2 * 990_000);
    assert_eq!(told.rows[0].at_ms, end + 2 * DAY);
    assert!(world.use_at(1, end - 1).debits().is_empty());
    assert_eq!(
        world.refused(json!({"command": "cancel", "id": "c", "bucket": "b1", "at": end})),
        "unknown_bucket"
    );
}

#[test]
fn nothing_is_written_off_of_what_is_used_up_and_the_ledger_says_that_it_closed() {
    let mut world = World::new(json!([package("p", json!({"period": {"days": 1}}))]));
    world.buy("b1", "p", APRIL);
    world.use_at(10_000_000, APRIL);
    assert!(world.advance(APRIL + 3 * DAY - 1).rows.is_empty());
    let rows = world.advance(APRIL + 3 * DAY).rows;
    let told: Vec<_> =
        rows.iter().map(|row| (row.kind, row.points, row.amount, row.balance)).collect();
    assert_eq!(told, [(EntryKind::Expire, 0, 0, Some(0))]);
    assert!(world.quota.all().next().is_none());
}

#[test]
pub(super) fn what_rolls_over_is_used_first_and_limited() {
    let mut world = World::new(json!([package(
        "p",
        json!({"period": {"days": 10}, "rollover": "next_period", "allowance_micro": 100 * MICRO,
               "rollover_max_micro": 30 * MICRO})
    )]));
    world.buy("b1", "p", APRIL);
    world.buy("b2", "p", APRIL);
    let second = APRIL + 10 * DAY;
    assert_eq!(world.use_at(40, APRIL).debits(), [("b1", 40)]);
    assert_eq!(world.use_at(20, second).debits(), [("b1", 20)]);
    assert_eq!(world.use_at(20, second).debits(), [("b1", 10), ("b2", 10)]);
    // A late event of the first phase may still use what is left of the allowance.
    assert_eq!(world.use_at(50, second - 1).debits(), [("b1", 30)]);
    assert_eq!(world.use_at(5, second).debits(), [("b2", 5)]);
    assert_eq!(world.use_at(95, second + 10 * DAY).debits(), [("b2", 30)]);
    let told = world.advance(second + 12 * DAY);
    let points: Vec<i128> = told.rows.iter().map(|row| row.points).collect();
    assert_eq!(points, [0], "b1 was used up in the end: {told:?}");
    let told = world.advance(second + 22 * DAY);
    assert_eq!(told.rows[0].points, -55 * i128::from(MICRO));
}

#[test]
fn points_given_back_in_the_rolled_phase_can_be_used_in_it() {
    let mut world = World::new(json!([package(
        "p",
        json!({"period": {"days": 10}, "rollover": "next_period", "allowance_micro": 100 * MICRO,
               "rollover_max_micro": 30 * MICRO})
    )]));
    world.buy("b1", "p", APRIL);
    let second = APRIL + 10 * DAY;
    assert_eq!(world.use_at(40, second).debits(), [("b1", 30)]);
    world.command(json!({"command": "adjust", "id": "a", "bucket": "b1", "at": second + 1,
        "points_micro": 20 * MICRO, "reason": "complaint", "approver": "desk"}));
    assert_eq!(world.use_at(40, second).debits(), [("b1", 20)]);
}

#[test]
fn a_purchase_that_is_over_already_closes_at_once() {
    let mut world = World::new(json!([package("p", json!({"period": {"days": 1}}))]));
    world.advance(APRIL + 3 * DAY);
    let told = world.buy("b1", "p", APRIL);
    let kinds: Vec<_> = told.rows.iter().map(|row| row.kind).collect();
    assert_eq!(kinds, [EntryKind::Grant, EntryKind::Expire, EntryKind::Breakage]);
    assert_eq!(told.rows[0].amount, told.rows[2].amount);
    assert_eq!(world.quota.status("A1", APRIL, world.watermark).unwrap(), None);
}
