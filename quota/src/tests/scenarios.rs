//! S1, S2 and S3 of the domain, with their exact numbers.

use serde_json::json;
use tally_schemas::decimal_text;

use super::world::*;
use crate::{EntryKind, OverrunCause};

#[test]
fn s1_a_package_is_used_up_event_by_event() {
    for consented in [false, true] {
        let mut world = World::new(json!([package(
            "telecom-10m",
            json!({"thresholds": thresholds("percent_used", &[50, 80, 100])})
        )]));
        world.buy("b1", "telecom-10m", APRIL);
        if consented {
            world.consent("payg");
        }
        let (mut allocated, mut alerts) = (0, Vec::new());
        for number in 1..=8_104 {
            let told = world.use_at(1_234, APRIL + number * 1_000);
            allocated += told.of_kind(EntryKind::Debit).map(|row| row.amount).sum::<i128>();
            alerts.extend(told.alerts.iter().cloned().map(|alert| (number, alert)));
            if number < 8_104 {
                assert_eq!(told.rows.len(), 1);
                continue;
            }
            assert_eq!(told.debits(), [("b1", 898)]);
            assert_eq!(told.rows[1].points, -336 * i128::from(MICRO));
            if consented {
                assert_eq!(told.rows[1].kind, EntryKind::Payg);
                assert_eq!(decimal_text(told.rows[1].amount, 12), "0.001344000000");
            } else {
                assert_eq!(told.rows[1].kind, EntryKind::Overrun);
                assert_eq!(told.rows[1].cause, Some(OverrunCause::InFlight));
            }
        }
        assert_eq!(decimal_text(allocated, 12), "9.900000000000");
        let alerts: Vec<_> =
            alerts.iter().map(|(n, a)| (*n, a.threshold, a.used / i128::from(MICRO))).collect();
        assert_eq!(
            alerts,
            [(4_052, 50, 5_000_168), (6_483, 80, 8_000_022), (8_104, 100, 10_000_000)]
        );
    }
}

#[test]
fn s2_a_trial_is_used_before_what_was_bought() {
    let mut world = World::new(json!([
        package(
            "trial-25m",
            json!({"kind": "trial", "price_micro": 0, "allowance_micro": "25000000000000",
                   "period": {"months": 2}})
        ),
        package("telecom-10m", json!({})),
    ]));
    world.buy("bought", "telecom-10m", APRIL);
    world.buy("trial", "trial-25m", APRIL + 1);
    let told = world.use_at(24_999_999, APRIL + HOUR);
    assert_eq!(told.debits(), [("trial", 24_999_999)]);
    let told = world.use_at(3, APRIL + HOUR);
    assert_eq!(told.debits(), [("trial", 1), ("bought", 2)]);
}

#[test]
fn s3_the_17th_photo_is_split() {
    let mut world = World::new(json!([
        package(
            "mobile-gift-500k",
            json!({"kind": "free", "price_micro": 0, "allowance_micro": 500_000 * MICRO})
        ),
        package("telecom-10m", json!({})),
    ]));
    world.buy("gift", "mobile-gift-500k", APRIL);
    world.buy("bought", "telecom-10m", APRIL);
    for _ in 0..16 {
        assert_eq!(world.use_at(31_000, APRIL + 1).debits(), [("gift", 31_000)]);
    }
    assert_eq!(world.use_at(31_000, APRIL + 1).debits(), [("gift", 4_000), ("bought", 27_000)]);
}

#[test]
fn the_event_is_weighed_once_by_the_first_bucket() {
    let mut world = World::new(json!([
        package(
            "double",
            json!({"weights": "double", "allowance_micro": 10 * MICRO,
                                 "priority": 1})
        ),
        package("single", json!({})),
        package("unweighed", json!({"weights": "none", "kind": "free", "price_micro": 0})),
    ]));
    world.buy("double", "double", APRIL);
    world.buy("single", "single", APRIL);
    assert_eq!(world.use_at(7, APRIL).debits(), [("double", 10), ("single", 4)]);
    assert_eq!(world.use_at(7, APRIL).debits(), [("single", 14)], "room or not");
    assert!(world.use_at(0, APRIL).rows.is_empty());
    world.buy("free", "unweighed", APRIL);
    assert_eq!(world.try_charge(&usage(7, APRIL)).unwrap_err().code(), "unknown_weights");
}

#[test]
fn what_a_bucket_is_not_for_it_does_not_take() {
    let mut world = World::new(json!([
        package("glm", json!({"models": ["glm-*"], "priority": 1})),
        package("photo", json!({"products": ["photo-cutout"], "directed": true})),
        package("all", json!({"models": ["*"]})),
    ]));
    for id in ["glm", "photo", "all"] {
        world.buy(id, id, APRIL);
    }
    let with =
        |model, billed_model, product| Use { model, billed_model, product, ..usage(1, APRIL) };
    assert_eq!(world.charge(&with("glm-5", "x", None)).debits(), [("glm", 1)]);
    assert_eq!(world.charge(&with("x", "glm-5", None)).debits(), [("glm", 1)]);
    assert_eq!(world.charge(&with("x", "gl", None)).debits(), [("all", 1)]);
    assert_eq!(
        world.charge(&with("glm-5", "glm-5", Some("photo-cutout"))).debits(),
        [("photo", 1)]
    );
}

#[test]
fn another_currency_than_the_first_is_passed_over() {
    let mut world = World::with_tariffs(
        json!([
            package("yuan", json!({"allowance_micro": 10 * MICRO, "priority": 1})),
            package("dollar", json!({"currency": "USD", "priority": 2})),
            package("more", json!({"allowance_micro": 10 * MICRO, "priority": 3})),
        ]),
        json!([tariff("usd", json!({"currency": "USD"}))]),
    );
    for id in ["yuan", "dollar", "more"] {
        world.buy(id, id, APRIL);
    }
    world.consent("usd");
    let (charged, told) = world.try_charge(&usage(25, APRIL)).unwrap();
    assert_eq!(told.debits(), [("yuan", 10), ("more", 10)]);
    assert_eq!(told.rows[2].kind, EntryKind::Overrun);
    assert_eq!(charged.retail_pico, 2 * 9_900_000_000_000);
    assert_eq!(world.use_at(5, APRIL).debits(), [("dollar", 5)]);
}

/// Of 7 points for 0.000001 yuan none is worth a whole number of pico-yuan.
#[test]
pub(super) fn s1_a_package_is_used_up_event_by_event_oddly() {
    let mut world = World::new(json!([package(
        "odd",
        json!({"price_micro": 1, "allowance_micro": 7 * MICRO})
    )]));
    world.buy("b1", "odd", APRIL);
    let allocated: i128 = (0..7).map(|n| world.use_at(1, APRIL + n).rows[0].amount).sum();
    assert_eq!(allocated, 1_000_000);
}
