//! Who holds the newest status of each account knows what to make of it, at any time.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::script::{ACCOUNTS, Step, packages, runs, tariffs};
use super::world::*;
use crate::{AccountStatus, Quota, QuotaState};

const EVERYTHING: usize = usize::MAX;

/// A gateway: the last status that it was told of each account.
#[derive(Debug, Default)]
struct Gateway(BTreeMap<String, AccountStatus>);

impl Gateway {
    fn hear(&mut self, statuses: Vec<AccountStatus>) {
        self.0.extend(statuses.into_iter().map(|status| (status.account.clone(), status)));
    }

    /// What it makes of an account: one that it never heard of has bought nothing.
    fn view(&self, account: &str) -> (QuotaState, Vec<String>) {
        self.0.get(account).map_or((QuotaState::Blocked, Vec::new()), view_of)
    }
}

fn view_of(status: &AccountStatus) -> (QuotaState, Vec<String>) {
    (status.status, status.buckets.iter().map(|bucket| bucket.bucket.clone()).collect())
}

/// Every account as it is: the whole state, looked at without what was noted of changes.
fn truth(world: &World, account: &str) -> (QuotaState, Vec<String>) {
    let status = world.quota.status(account, world.quota.clock_ms(), world.watermark).unwrap();
    status.as_ref().map_or((QuotaState::Blocked, Vec::new()), view_of)
}

/// When the log has a step, where senders' clocks are fast by up to `ahead_ms`.
fn time_of(step: &Step, ahead_ms: i64) -> i64 {
    match step {
        Step::Advance(to_ms) => *to_ms,
        Step::Command(command) => command["at"].as_i64().unwrap(),
        Step::Use(usage) => usage.at_ms - ahead_ms,
    }
}

fn take(world: &mut World) -> Vec<AccountStatus> {
    let watermark = world.watermark;
    world.quota.take_statuses(EVERYTHING, watermark)
}

fn names(statuses: &[AccountStatus]) -> Vec<(&str, QuotaState)> {
    statuses.iter().map(|status| (status.account.as_str(), status.status)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_gateway_always_knows(
        steps in runs(120),
        every in 1_usize..40,
        ahead_ms in prop_oneof![Just(0), 0..2 * HOUR],
    ) {
        let mut world = World::with_tariffs(packages(), tariffs());
        let (mut gateway, mut clock_ms) = (Gateway::default(), 0);
        let mut stored: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (step, number) in steps.iter().zip(0_usize..) {
            clock_ms = clock_ms.max(time_of(step, ahead_ms));
            world.quota.see_clock(clock_ms);
            match step {
                Step::Advance(to_ms) => drop(world.advance(*to_ms)),
                Step::Command(command) => drop(world.try_command(command.clone())),
                Step::Use(usage) => drop(world.charge(usage)),
            }
            gateway.hear(take(&mut world));
            for account in ACCOUNTS {
                prop_assert_eq!(gateway.view(account), truth(&world, account), "{:?}", step);
            }
            if number % every == 0 {
                for (account, bytes) in world.quota.changed() {
                    stored.insert(account.to_owned(), bytes.into_owned());
                }
                world.quota.settle();
                // A new owner, who knows that all is seen up to an hour ago.
                world.quota = Quota::new(world.quota.reference().clone());
                world.quota.see_clock(clock_ms - HOUR);
                for (account, bytes) in &stored {
                    world.quota.restore(account, bytes).unwrap();
                }
                // It may first look when more time has gone by.
                if number % 2 == 0 {
                    world.quota.see_clock(clock_ms);
                }
            }
        }
    }
}

fn metered() -> World {
    let fields = json!({"thresholds": thresholds("percent_used", &[50]), "overflow": "throttle"});
    let mut world = World::new(json!([package("month", fields)]));
    world.quota.see_clock(APRIL);
    world.buy("b1", "month", APRIL);
    assert_eq!(names(&take(&mut world)), [("A1", QuotaState::Ok)]);
    world
}

#[test]
fn an_event_that_turns_nothing_tells_nothing() {
    let mut world = metered();
    for number in 1..=4 {
        world.use_at(1_000_000, APRIL + number);
        assert_eq!(take(&mut world), []);
    }
    world.use_at(1_000_000, APRIL + 5);
    assert_eq!(names(&take(&mut world)), [("A1", QuotaState::Warned)]);
    world.use_at(4_999_999, APRIL + 6);
    assert_eq!(take(&mut world), []);
    world.use_at(1, APRIL + 7);
    let told = take(&mut world);
    assert_eq!(names(&told), [("A1", QuotaState::Exhausted)]);
    assert_eq!(told[0].buckets[0].remaining_micro, 0);
    // The first overrun is told, as the account's time begins that lag is counted from.
    world.use_at(1, APRIL + 8);
    assert_eq!(take(&mut world).len(), 1);
    for number in 9..20 {
        world.use_at(10, APRIL + number);
        assert_eq!(take(&mut world), []);
    }
}

#[test]
fn many_changes_of_an_account_are_told_once_and_as_they_are() {
    let mut world = metered();
    world.use_at(6_000_000, APRIL + 1);
    world.use_at(4_000_500, APRIL + 2);
    world.command(json!({"command": "top_up", "id": "t", "at": APRIL + 3, "bucket": "b1",
                         "points_micro": 90_000_000 * MICRO}));
    let told = take(&mut world);
    assert_eq!(names(&told), [("A1", QuotaState::Ok)]);
    assert_eq!(told[0].buckets[0].used_micro, 10_000_000 * i128::from(MICRO));
    assert_eq!(told[0].overrun_micro, 500 * i128::from(MICRO));
}

#[test]
fn the_end_of_a_bucket_is_told_by_the_clock_and_its_closing_by_the_watermark() {
    let mut world = metered();
    let (_, end) = world.period("b1");
    world.quota.see_clock(end - 1);
    assert_eq!(take(&mut world), []);
    world.quota.see_clock(end);
    let told = take(&mut world);
    assert_eq!(names(&told), [("A1", QuotaState::Exhausted)]);
    assert_eq!(told[0].buckets.len(), 1);
    world.quota.see_clock(end + 3 * DAY);
    assert_eq!(take(&mut world), []);
    world.advance(end + 2 * DAY);
    let told = take(&mut world);
    assert_eq!(names(&told), [("A1", QuotaState::Blocked)]);
    assert_eq!(told[0], AccountStatus::forgotten("A1"), "nothing is known of it any more");
}

#[test]
fn a_cap_is_told_when_it_leaves_nothing_and_when_it_has_room_again() {
    let mut world = World::new(json!([package(
        "capped",
        json!({"caps": [{"window": "day", "limit_micro": 10 * MICRO}], "overflow": "throttle"})
    )]));
    world.quota.see_clock(APRIL);
    world.buy("b1", "capped", APRIL);
    take(&mut world);
    world.use_at(10, APRIL + HOUR);
    assert_eq!(names(&take(&mut world)), [("A1", QuotaState::Exhausted)]);
    world.quota.see_clock(APRIL + DAY - 1);
    assert_eq!(take(&mut world), []);
    world.quota.see_clock(APRIL + DAY);
    assert_eq!(names(&take(&mut world)), [("A1", QuotaState::Ok)]);
}

fn capped() -> World {
    World::new(json!([package(
        "capped",
        json!({"caps": [{"window": "rolling_5h", "limit_micro": 10 * MICRO}],
               "overflow": "throttle"})
    )]))
}

/// A new owner reads what is stored and knows that all is seen up to an instant.
fn taken_over(world: &mut World, seen_ms: i64) {
    let stored: Vec<(String, Vec<u8>)> =
        world.quota.all().map(|(name, bytes)| (name.into(), bytes.into_owned())).collect();
    world.quota = Quota::new(world.quota.reference().clone());
    world.quota.see_clock(seen_ms);
    for (account, bytes) in &stored {
        world.quota.restore(account, bytes).unwrap();
    }
}

#[test]
fn an_alert_of_a_window_after_a_new_owners_clock_is_over_in_time() {
    let spikes = json!({"thresholds": thresholds("spike", &[5 * MICRO])});
    let mut world = World::new(json!([package("watched", spikes)]));
    world.quota.see_clock(APRIL);
    world.buy("b1", "watched", APRIL);
    take(&mut world);
    world.quota.see_clock(APRIL + 2 * HOUR);
    world.use_at(9, APRIL + 2 * HOUR);
    assert_eq!(names(&take(&mut world)), [("A1", QuotaState::Warned)]);
    taken_over(&mut world, APRIL + HOUR);
    world.quota.see_clock(APRIL + 3 * HOUR);
    assert_eq!(names(&take(&mut world)), [("A1", QuotaState::Ok)]);
}

#[test]
fn an_account_is_told_when_its_tariff_moves_to_another_region_and_back() {
    let version = |from_ms: i64, region: Value| {
        tariff("payg", json!({"region": region, "known_from": from_ms, "approved_at": from_ms}))
    };
    let mut versions = vec![version(0, Value::Null)];
    let mut world = World::with_tariffs(json!([]), versions.clone().into());
    world.quota.see_clock(APRIL);
    for (account, tariff) in [("A1", Value::from("payg")), ("A2", Value::Null)] {
        world.command(json!({"command": "set_flags", "id": "f", "at": APRIL, "account": account,
                             "flags": {"overflow": tariff}}));
    }
    assert_eq!(names(&take(&mut world))[0], ("A1", QuotaState::Ok));
    let mut approved = |world: &mut World, version: Value| {
        versions.push(version);
        let newer = reference_of(json!([]), versions.clone().into());
        world.quota.set_reference(newer).unwrap();
    };
    approved(&mut world, version(APRIL + 1, Value::Null));
    assert_eq!(take(&mut world), [], "another price is nothing to a gateway");
    approved(&mut world, version(APRIL + HOUR, "sg".into()));
    approved(&mut world, version(APRIL + 2 * HOUR, Value::Null));
    assert_eq!(names(&take(&mut world)), [("A1", QuotaState::Ok)]);
    for (at_ms, turned) in [
        (APRIL + HOUR - 1, None),
        (APRIL + HOUR, Some(("A1", QuotaState::Blocked))),
        (APRIL + 2 * HOUR - 1, None),
        (APRIL + 2 * HOUR, Some(("A1", QuotaState::Ok))),
    ] {
        world.quota.see_clock(at_ms);
        assert_eq!(names(&take(&mut world)), Vec::from_iter(turned));
    }
}

#[test]
fn a_cap_that_was_filled_after_a_new_owners_clock_has_room_again_in_time() {
    for looks_at_once in [true, false] {
        let mut world = capped();
        world.quota.see_clock(APRIL);
        world.buy("b1", "capped", APRIL);
        take(&mut world);
        world.quota.see_clock(APRIL + HOUR);
        world.use_at(10, APRIL + HOUR);
        assert_eq!(names(&take(&mut world)), [("A1", QuotaState::Exhausted)]);
        // Its clock begins before the usage.
        taken_over(&mut world, APRIL + HOUR / 2);
        if looks_at_once {
            world.quota.see_clock(APRIL + 2 * HOUR);
            assert_eq!(names(&take(&mut world)), [("A1", QuotaState::Exhausted)]);
        }
        world.quota.see_clock(APRIL + 6 * HOUR);
        assert_eq!(names(&take(&mut world)), [("A1", QuotaState::Ok)]);
    }
}

#[test]
fn a_cap_that_an_event_of_a_fast_clock_fills_is_told_when_its_window_begins() {
    let mut world = capped();
    world.quota.see_clock(APRIL);
    world.buy("b1", "capped", APRIL);
    take(&mut world);
    world.use_at(10, APRIL + HOUR);
    assert_eq!(take(&mut world), [], "the window of now has room");
    world.quota.see_clock(APRIL + HOUR - 1);
    assert_eq!(take(&mut world), []);
    world.quota.see_clock(APRIL + HOUR);
    assert_eq!(names(&take(&mut world)), [("A1", QuotaState::Exhausted)]);
    world.quota.see_clock(APRIL + 6 * HOUR);
    assert_eq!(names(&take(&mut world)), [("A1", QuotaState::Ok)]);
}

#[test]
fn numbers_alone_are_told_where_they_are_followed() {
    let mut world = metered();
    world.use_at(1, APRIL + 1);
    world.quota.tell_moved();
    assert_eq!(take(&mut world), []);
    world.quota.follow_numbers(true);
    world.use_at(1, APRIL + 2);
    world.use_at(1, APRIL + 3);
    assert_eq!(take(&mut world), []);
    world.quota.tell_moved();
    let told = take(&mut world);
    assert_eq!(names(&told), [("A1", QuotaState::Ok)]);
    assert_eq!(told[0].buckets[0].used_micro, 3 * i128::from(MICRO));
    world.quota.tell_moved();
    assert_eq!(take(&mut world), []);
}

#[test]
fn so_many_as_are_asked_for_are_taken() {
    let mut world = metered();
    for account in ["A5", "A4", "A3"] {
        world.command(json!({"command": "purchase", "id": "p", "account": account,
                             "package": "month", "at": APRIL}));
    }
    let told = world.quota.take_statuses(2, None);
    assert_eq!(names(&told), [("A3", QuotaState::Ok), ("A4", QuotaState::Ok)]);
    assert_eq!(names(&take(&mut world)), [("A5", QuotaState::Ok)]);
}
