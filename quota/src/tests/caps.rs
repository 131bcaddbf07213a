//! Caps of packages and of members, with late events.

use serde_json::json;

use super::world::*;
use crate::{EntryKind, OverrunCause, Window};

const TEN_MINUTES: i64 = HOUR / 6;

fn capped(window: &str, limit: i64) -> World {
    World::new(json!([package(
        "p",
        json!({"caps": [{"window": window, "limit_micro": limit * MICRO}],
               "thresholds": thresholds("cap", &[80, 100]), "period": {"months": 3}})
    )]))
}

#[test]
fn a_calendar_cap_limits_all_buckets_of_the_package_together() {
    let mut world = World::new(json!([
        package(
            "p",
            json!({"caps": [{"window": "day", "limit_micro": 100 * MICRO}],
                            "stacking": "parallel", "allowance_micro": 70 * MICRO})
        ),
        package("other", json!({"priority": 200})),
    ]));
    for id in ["b1", "b2"] {
        world.buy(id, "p", APRIL);
    }
    world.buy("b3", "other", APRIL);
    let told = world.use_at(130, APRIL + HOUR);
    assert_eq!(told.debits(), [("b1", 70), ("b2", 30), ("b3", 30)]);
    assert_eq!(world.use_at(5, APRIL + DAY - 1).debits(), [("b3", 5)]);
    assert_eq!(world.use_at(5, APRIL + DAY).debits(), [("b2", 5)]);
}

#[test]
fn a_rolling_cap_forgets_slice_by_slice() {
    let mut world = capped("rolling_5h", 100);
    world.buy("b1", "p", APRIL);
    world.use_at(60, APRIL);
    world.use_at(40, APRIL + TEN_MINUTES);
    assert!(world.use_at(1, APRIL + 30 * TEN_MINUTES - 1).debits().is_empty());
    assert_eq!(world.use_at(70, APRIL + 30 * TEN_MINUTES).debits(), [("b1", 60)]);
    assert_eq!(world.use_at(70, APRIL + 31 * TEN_MINUTES).debits(), [("b1", 40)]);
}

#[test]
pub(super) fn a_late_event_counts_in_its_own_slice_for_every_window_that_holds_it() {
    let mut world = capped("rolling_5h", 100);
    world.buy("b1", "p", APRIL);
    let now = APRIL + 20 * TEN_MINUTES;
    world.use_at(50, now);
    world.advance(now);
    // Its own window ends with its own slice, and knows nothing of what came after.
    assert_eq!(world.use_at(90, APRIL + 5 * TEN_MINUTES).debits(), [("b1", 90)]);
    // Every later window that holds the slice does.
    assert!(world.use_at(1, now).debits().is_empty());
    assert!(world.use_at(1, APRIL + 34 * TEN_MINUTES).debits().is_empty());
    assert_eq!(world.use_at(99, APRIL + 35 * TEN_MINUTES).debits(), [("b1", 50)]);
}

#[test]
fn usage_is_forgotten_the_grace_after_its_last_window() {
    let mut world = capped("day", 100);
    world.buy("b1", "p", APRIL);
    world.use_at(100, APRIL);
    world.advance(APRIL + 3 * DAY - 1);
    assert!(world.use_at(1, APRIL).debits().is_empty());
    world.advance(APRIL + 3 * DAY);
    assert_eq!(world.use_at(1, APRIL).debits(), [("b1", 1)]);
}

#[test]
fn caps_alert_once_a_period_and_not_for_windows_that_are_over() {
    let mut world = capped("day", 100);
    world.buy("b1", "p", APRIL);
    assert!(world.use_at(79, APRIL).alerts.is_empty());
    let told = world.use_at(1, APRIL + 1);
    assert_eq!(told.sent(), [("cap", 80)]);
    let alert = &told.alerts[0];
    assert_eq!((alert.counter.as_str(), alert.period_ms), ("cap:day", APRIL));
    assert_eq!((alert.used, alert.allowance), (80_000_000, Some(100_000_000)));
    assert_eq!(alert.bucket, None);
    assert_eq!(world.use_at(20, APRIL + 2).sent(), [("cap", 100)]);
    let told = world.use_at(100, APRIL + DAY);
    assert_eq!(told.sent(), [("cap", 100)], "both crossed by one event: the highest");
    assert_eq!(told.alerts[1].superseded_by.as_ref(), Some(&told.alerts[0].id));
    world.advance(APRIL + 3 * DAY);
    assert!(world.use_at(100, APRIL + 2 * DAY).alerts.is_empty(), "that day is over");
}

#[test]
fn a_rolling_cap_alerts_at_most_once_in_its_own_length() {
    let mut world = capped("rolling_5h", 100);
    world.buy("b1", "p", APRIL);
    // The periods are multiples of five hours since 1970-01-01 in UTC+8.
    let period = (APRIL + 8 * HOUR).div_euclid(5 * HOUR) * 5 * HOUR - 8 * HOUR + 5 * HOUR;
    assert_eq!(world.use_at(100, period).sent(), [("cap", 100)]);
    // In the next period the window still holds it, so nothing is crossed from below.
    assert!(world.use_at(1, period + 5 * HOUR - 1).alerts.is_empty());
    let told = world.use_at(100, period + 5 * HOUR);
    assert_eq!(told.sent(), [("cap", 100)]);
    assert_eq!(told.alerts[0].period_ms, period + 5 * HOUR);
}

#[test]
pub(super) fn a_members_cap_ends_in_overrun_of_configuration_even_with_a_tariff() {
    let mut world = World::new(json!([package("pool", json!({}))]));
    world.buy("b1", "pool", APRIL);
    world.consent("payg");
    let caps = json!({"S1": {"caps": [{"window": "month", "limit_micro": 100 * MICRO}]}});
    world.command(json!({"command": "set_flags", "id": "m", "at": APRIL,
        "flags": {"members": caps}}));
    let told = world.use_at(130, APRIL);
    assert_eq!(told.debits(), [("b1", 100)]);
    assert_eq!(told.rows[1].kind, EntryKind::Overrun);
    assert_eq!(told.rows[1].cause, Some(OverrunCause::Configuration));
    let other = Use { subscriber: "S2", ..usage(500, APRIL) };
    assert_eq!(world.charge(&other).debits(), [("b1", 500)]);
    let status = world.quota.status("A1", APRIL, None).unwrap().unwrap();
    assert_eq!(status.status.name(), "ok", "a member's cap does not exhaust the pool");
    assert_eq!(status.caps[0].subscriber.as_deref(), Some("S1"));
    assert_eq!((status.caps[0].used_micro, status.caps[0].window), (100_000_000, Window::Month));
    world.command(json!({"command": "set_flags", "id": "m2", "at": APRIL,
        "flags": {"members": {"S1": null}}}));
    assert_eq!(world.use_at(130, APRIL).debits(), [("b1", 130)]);
}

#[test]
fn a_members_cap_counts_buckets_and_pay_as_you_go_together() {
    let mut world = World::new(json!([package("pool", json!({"allowance_micro": 60 * MICRO}))]));
    world.buy("b1", "pool", APRIL);
    world.consent("payg");
    let caps = json!({"S1": {"caps": [{"window": "day", "limit_micro": 100 * MICRO}]}});
    world.command(json!({"command": "set_flags", "id": "m", "at": APRIL,
        "flags": {"members": caps}}));
    let told = world.use_at(130, APRIL);
    let points: Vec<_> = told.rows.iter().map(|r| (r.kind, r.points / 1_000_000)).collect();
    assert_eq!(
        points,
        [(EntryKind::Debit, -60), (EntryKind::Payg, -40), (EntryKind::Overrun, -30)]
    );
    assert_eq!(world.use_at(1, APRIL + DAY).rows[0].kind, EntryKind::Payg);
}

#[test]
fn the_window_of_an_alert_ends_with_its_period() {
    let end = crate::alert_window_end_ms;
    let (april, may) = (APRIL, at("2026-05-01T00:00:00+08:00"));
    for (counter, end_ms) in [
        ("cap:day", april + DAY),
        ("cap:week", april + 7 * DAY),
        ("cap:month", may),
        ("cap:rolling_5h", april + 5 * HOUR),
        ("cap:rolling_day", april + DAY),
        ("cap:rolling_week", april + 7 * DAY),
        ("spike", april + HOUR),
        ("overflow_spent", may),
        ("overrun", may),
    ] {
        assert_eq!(end(counter, april), Some(end_ms), "{counter}");
    }
    for counter in ["percent_used:0", "expires_soon:1", "cap:", "cap:year", "cap", "budget:0", ""] {
        assert_eq!(end(counter, april), None, "{counter}");
    }
}
