//! Overflow: pay as you go, overrun and its causes, and the status that gateways get.

use serde_json::json;

use super::world::*;
use crate::{EntryKind, OverrunCause};

fn small() -> World {
    World::new(json!([package("p", json!({"allowance_micro": 100 * MICRO}))]))
}

fn cause(world: &mut World, started_ms: i64, at_ms: i64) -> OverrunCause {
    let told = world.charge(&Use { started_ms, ..usage(10, at_ms) });
    told.of_kind(EntryKind::Overrun).next().unwrap().cause.unwrap()
}

#[test]
fn the_cause_is_the_first_that_holds() {
    let mut world = small();
    assert_eq!(cause(&mut world, APRIL, APRIL), OverrunCause::Configuration, "no bucket at all");
    world.buy("b1", "p", APRIL);
    let exhausted = APRIL + HOUR;
    let told = world.charge(&Use { wholesale_pico: 1_000, ..usage(130, exhausted) });
    assert_eq!(told.rows[1].cause, Some(OverrunCause::InFlight));
    // 30 of 130 points of 1,000: all of it, less what 100 of 130 cost, rounded down.
    assert_eq!(told.rows[1].amount, 1_000 - 1_000 * 100 / 130);
    // The record was in Kafka 300 ms after it was completed.
    assert_eq!(cause(&mut world, exhausted, exhausted + 9_000), OverrunCause::InFlight);
    assert_eq!(cause(&mut world, exhausted + 1, exhausted + 9_000), OverrunCause::Lag);
    assert_eq!(cause(&mut world, exhausted + 1_300, exhausted + 9_000), OverrunCause::Lag);
    let knowing = exhausted + 1_301;
    assert_eq!(cause(&mut world, knowing, knowing), OverrunCause::Configuration);
    world.advance(knowing + 1);
    assert_eq!(cause(&mut world, exhausted, knowing), OverrunCause::Late);
    let after = at("2026-05-01T00:00:00+08:00");
    assert_eq!(cause(&mut world, after, after), OverrunCause::Configuration, "all have ended");
    assert_eq!(cause(&mut world, after - 1, after), OverrunCause::Configuration, "knew of it");
}

#[test]
fn points_that_come_end_the_exhaustion() {
    let mut world = small();
    world.buy("b1", "p", APRIL);
    world.use_at(130, APRIL + HOUR);
    let later = APRIL + 2 * HOUR;
    assert_eq!(cause(&mut world, later, later), OverrunCause::Configuration);
    world.command(json!({"command": "top_up", "id": "t", "bucket": "b1", "at": later,
        "points_micro": 5 * MICRO}));
    assert_eq!(cause(&mut world, later, later), OverrunCause::InFlight, "exhausted anew");
    // A queued bucket begins without a command.
    world.buy("b2", "p", later);
    let told = world.use_at(1, later);
    assert_eq!(told.rows[0].kind, EntryKind::Overrun);
    let next = at("2026-05-01T00:00:00+08:00");
    let after = next + HOUR;
    assert_eq!(cause(&mut world, after, next - 1), OverrunCause::Configuration, "still of April");
    world.use_at(100, next);
    assert_eq!(cause(&mut world, after, after), OverrunCause::InFlight);
}

#[test]
fn only_an_event_without_overflow_ends_the_exhaustion() {
    let mut world = small();
    world.buy("b1", "p", APRIL);
    world.buy("b2", "p", APRIL);
    world.use_at(130, APRIL + HOUR);
    let next = at("2026-05-01T00:00:00+08:00");
    // Part of it is charged to the next bucket, part is left: still exhausted since April.
    let told = world.use_at(130, next + HOUR);
    assert_eq!(told.rows[1].cause, Some(OverrunCause::Configuration));
    world
        .command(json!({"command": "adjust", "id": "a", "bucket": "b2", "points_micro": 2 * MICRO,
        "reason": "r", "approver": "a", "at": next + HOUR}));
    world.use_at(1, next + HOUR);
    let told = world.use_at(2, next + 2 * HOUR);
    assert_eq!(told.rows[1].cause, Some(OverrunCause::InFlight));
}

#[test]
fn a_members_cap_does_not_exhaust_the_account() {
    let mut world = small();
    world.buy("b1", "p", APRIL);
    world.command(json!({"command": "set_flags", "id": "m", "at": 0, "flags": {"members":
        {"S1": {"caps": [{"window": "day", "limit_micro": 100 * MICRO}]}}}}));
    let told = world.use_at(130, APRIL + HOUR);
    assert_eq!(told.rows[1].cause, Some(OverrunCause::Configuration));
    let later = APRIL + 2 * HOUR;
    let told = world.charge(&Use { subscriber: "S2", ..usage(10, later) });
    assert_eq!(told.rows[0].cause, Some(OverrunCause::InFlight), "exhausted only now");
}

#[test]
fn a_cap_that_is_free_again_ends_the_exhaustion() {
    let mut world = World::new(json!([package(
        "p",
        json!({"caps": [{"window": "day", "limit_micro": 100 * MICRO}]})
    )]));
    world.buy("b1", "p", APRIL);
    assert_eq!(world.use_at(130, APRIL).rows.len(), 2);
    let next = APRIL + DAY;
    assert_eq!(cause(&mut world, next - 1, next - 1), OverrunCause::Configuration);
    world.use_at(50, next);
    let told = world.use_at(130, next + HOUR);
    assert_eq!(told.rows[1].cause, Some(OverrunCause::InFlight));
}

#[test]
fn an_event_that_no_bucket_is_for_does_not_exhaust_the_account() {
    let mut world =
        World::new(json!([package("p", json!({"models": ["glm-5"], "allowance_micro": MICRO}))]));
    world.buy("b1", "p", APRIL);
    let other = Use { model: "kimi", billed_model: "kimi", ..usage(1, APRIL) };
    let told = world.charge(&other);
    assert_eq!(told.rows[0].cause, Some(OverrunCause::Configuration));
    let later = APRIL + HOUR;
    let told = world.use_at(3, later);
    assert_eq!(told.rows[1].cause, Some(OverrunCause::InFlight));
}

#[test]
pub(super) fn pay_as_you_go_is_exact_however_many_events() {
    let mut world = World::with_tariffs(
        json!([]),
        json!([tariff("odd", json!({"price_micro_per_million_points": 3}))]),
    );
    world.consent("odd");
    let mut total = 0;
    for number in 0..1_000 {
        let usage = Use { points_micro: 333_337, ..usage(0, APRIL + number) };
        let (charged, told) = world.try_charge(&usage).unwrap();
        assert_eq!(told.rows[0].package.as_deref(), Some("odd"));
        assert_eq!((told.rows[0].amount, charged.overrun_micro), (charged.retail_pico, 0));
        total += charged.retail_pico;
    }
    assert_eq!(total, 3 * 333_337_000 / 1_000_000);
    let status = world.quota.status("A1", APRIL, None).unwrap().unwrap();
    let overflow = status.overflow.unwrap();
    assert_eq!((overflow.amount_pico, overflow.month_amount_pico), (1_000, 1_000));
}

#[test]
fn consent_to_a_tariff_of_a_region_holds_in_that_region() {
    let mut world = World::with_tariffs(json!([]), json!([tariff("sh", json!({"region": "sh"}))]));
    let consent = json!({"command": "set_flags", "id": "f", "at": 0, "flags": {"overflow": "sh"}});
    assert_eq!(world.refused(consent), "package_not_sold");
    let both = json!({"command": "set_flags", "id": "g", "at": 0,
        "flags": {"overflow": "sh", "region": "sh"}});
    world.command(both);
    assert_eq!(world.use_at(1, APRIL).rows[0].kind, EntryKind::Payg);
    world.command(json!({"command": "set_flags", "id": "h", "at": 0, "flags": {"region": null}}));
    assert_eq!(world.use_at(1, APRIL).rows[0].kind, EntryKind::Overrun);
    world.command(json!({"command": "set_flags", "id": "i", "at": 0,
        "flags": {"region": "sh", "overflow": null}}));
    assert_eq!(world.use_at(1, APRIL).rows[0].kind, EntryKind::Overrun);
}

#[test]
fn the_status_tells_gateways_what_to_do() {
    let mut world = World::new(json!([
        package(
            "block",
            json!({"allowance_micro": 100 * MICRO,
                                "thresholds": thresholds("percent_used", &[80])})
        ),
        package("slow", json!({"overflow": "throttle", "allowance_micro": 100 * MICRO})),
    ]));
    let status =
        |world: &World| world.quota.status("A1", APRIL + 5, None).unwrap().unwrap().status.name();
    assert_eq!(world.quota.status("A1", APRIL, None).unwrap(), None);
    world.buy("b1", "block", APRIL);
    assert_eq!(status(&world), "ok");
    world.use_at(80, APRIL);
    assert_eq!(status(&world), "warned");
    world.use_at(20, APRIL);
    assert_eq!(status(&world), "blocked");
    world.buy("b2", "slow", APRIL);
    world.use_at(100, APRIL);
    assert_eq!(status(&world), "exhausted");
    world.consent("payg");
    assert_eq!(status(&world), "warned");
    let account = world.quota.status("A1", APRIL + 5, None).unwrap().unwrap();
    assert_eq!(account.buckets.iter().map(|b| b.remaining_micro).sum::<i128>(), 0);
}

#[test]
fn what_cannot_be_counted_is_refused_and_changes_nothing() {
    let mut world = small();
    world.buy("b1", "p", APRIL);
    world.consent("payg");
    let before: Vec<(String, Vec<u8>)> =
        world.quota.all().map(|(name, bytes)| (name.to_owned(), bytes.into_owned())).collect();
    let huge = [
        Use { points_micro: i128::MAX, ..usage(0, APRIL) },
        Use { points_micro: -1, ..usage(0, APRIL) },
        Use { points_micro: 1 << 97, ..usage(0, APRIL) },
    ];
    for usage in &huge {
        assert_eq!(world.try_charge(usage).unwrap_err().code(), "amount_overflow");
    }
    world.command(json!({"command": "set_flags", "id": "f", "at": 0, "flags": {"overflow": null}}));
    world.consent("payg");
    let after: Vec<(String, Vec<u8>)> =
        world.quota.all().map(|(name, bytes)| (name.to_owned(), bytes.into_owned())).collect();
    assert_eq!(before, after);
    // The largest counts that an event may carry pass.
    let (charged, _) = world.try_charge(&Use { points_micro: 1 << 73, ..usage(0, APRIL) }).unwrap();
    assert_eq!(charged.points_micro, 1 << 73);
    // And so does a wholesale cost of any size.
    world.command(json!({"command": "set_flags", "id": "g", "at": 0, "flags": {"overflow": null}}));
    world.command(json!({"command": "purchase", "id": "b2", "package": "p", "at": APRIL}));
    let next = at("2026-05-01T00:00:00+08:00");
    let costly = Use { wholesale_pico: i128::MAX, ..usage(400, next) };
    let told = world.charge(&costly);
    assert_eq!(told.rows[1].amount, i128::MAX - i128::MAX / 4);
}
