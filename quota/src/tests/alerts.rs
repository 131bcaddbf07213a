//! Alerts: each once, superseded, armed again, taken back, and by the watermark alone.

use serde_json::{Value, json};

use super::world::*;

fn with(fields: Value) -> World {
    let mut fields = fields;
    fields["allowance_micro"] = (1_000 * MICRO).into();
    World::new(json!([package("p", fields)]))
}

fn adjust(id: &str, points: i64, at_ms: i64) -> Value {
    json!({"command": "adjust", "id": id, "bucket": "b1", "points_micro": points * MICRO,
           "reason": "complaint", "approver": "desk", "at": at_ms})
}

#[test]
pub(super) fn a_threshold_is_reached_not_exceeded_and_sent_once() {
    let mut world = with(json!({"thresholds": thresholds("percent_used", &[50, 80, 100])}));
    world.buy("b1", "p", APRIL);
    assert!(world.use_at(499, APRIL).alerts.is_empty());
    let told = world.use_at(1, APRIL + 1);
    assert_eq!(told.sent(), [("percent_used", 50)]);
    let alert = &told.alerts[0];
    assert_eq!(alert.counter, "percent_used:0");
    assert_eq!((alert.used, alert.allowance), (500_000_000, Some(1_000_000_000)));
    assert_eq!((alert.period_ms, alert.at_ms), (APRIL, APRIL + 1));
    assert!(world.use_at(1, APRIL + 2).alerts.is_empty());
}

#[test]
fn one_event_over_several_thresholds_sends_the_gravest() {
    let both = json!([
        {"kind": "percent_used", "at": 50}, {"kind": "points_left", "at": 300 * MICRO},
        {"kind": "percent_used", "at": 80}, {"kind": "points_left", "at": 100 * MICRO},
    ]);
    let mut world = with(json!({"thresholds": both}));
    world.buy("b1", "p", APRIL);
    let told = world.use_at(950, APRIL);
    assert_eq!(told.sent(), [("percent_used", 80), ("points_left", 100 * MICRO)]);
    assert_eq!(told.alerts.len(), 4);
    assert_eq!(told.alerts[1].superseded_by.as_ref(), Some(&told.alerts[0].id));
    assert_eq!(told.alerts[3].superseded_by.as_ref(), Some(&told.alerts[2].id));
    world.command(adjust("a", 900, APRIL));
    assert!(world.use_at(600, APRIL).alerts.is_empty(), "superseded is not sent later");
}

#[test]
fn a_top_up_arms_again_with_another_identity() {
    let mut world = with(json!({"thresholds": thresholds("percent_used", &[50])}));
    world.buy("b1", "p", APRIL);
    let first = world.use_at(500, APRIL).alerts;
    world.command(json!({"command": "top_up", "id": "t1", "bucket": "b1", "at": APRIL,
        "points_micro": 1_000 * MICRO}));
    let second = world.use_at(500, APRIL).alerts;
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first[0].id, second[0].id);
    assert_eq!(second[0].counter, "percent_used:1");
    // Crossed already when it is armed: not sent.
    world.command(json!({"command": "top_up", "id": "t2", "bucket": "b1", "at": APRIL,
        "points_micro": MICRO / 1_000}));
    world.use_at(500, APRIL);
    assert!(world.use_at(400, APRIL).alerts.is_empty());
}

#[test]
fn a_transfer_arms_the_receiver_again() {
    let mut world = with(json!({"thresholds": thresholds("percent_used", &[50]),
                                "stacking": "parallel"}));
    world.buy("b1", "p", APRIL);
    world.buy("b2", "p", APRIL);
    assert_eq!(world.use_at(500, APRIL).sent().len(), 1);
    world.command(json!({"command": "transfer", "id": "t", "from_bucket": "b2", "to_bucket": "b1",
        "at": APRIL, "points_micro": 200 * MICRO}));
    assert_eq!(world.use_at(100, APRIL).sent(), [("percent_used", 50)]);
}

#[test]
fn giving_back_takes_a_sent_alert_back_once() {
    let mut world = with(json!({"thresholds": thresholds("percent_used", &[50, 80])}));
    world.buy("b1", "p", APRIL);
    let sent = world.use_at(800, APRIL).alerts;
    let told = world.command(adjust("a1", 10, APRIL + 5));
    assert_eq!(told.alerts.len(), 1, "50 is still reached, and was superseded");
    let alert = &told.alerts[0];
    assert_eq!((alert.kind.as_str(), alert.threshold), ("corrected", 80));
    assert_eq!(alert.corrects.as_ref(), Some(&sent[0].id));
    assert_ne!(alert.id, sent[0].id);
    assert_eq!((alert.used, alert.at_ms), (790_000_000, APRIL + 5));
    assert!(world.use_at(10, APRIL).alerts.is_empty(), "giving back does not arm");
    assert!(world.command(adjust("a2", 10, APRIL)).alerts.is_empty(), "once for each alert");
}

#[test]
fn points_taken_by_hand_alert_as_usage_does() {
    let mut world = with(json!({"thresholds": thresholds("percent_used", &[50])}));
    world.buy("b1", "p", APRIL);
    let told = world.command(adjust("a1", -600, APRIL + 5));
    assert_eq!(told.sent(), [("percent_used", 50)]);
    assert_eq!(told.alerts[0].event, None);
    assert_eq!(world.command(adjust("a2", 600, APRIL + 6)).alerts[0].kind, "corrected");
}

#[test]
fn a_late_event_alerts_only_while_the_period_is_open() {
    for (watermark, alerts) in [(APRIL + DAY - 1, 1), (APRIL + DAY, 0)] {
        let mut world = with(json!({"thresholds": thresholds("percent_used", &[50]),
                                    "period": {"days": 1}}));
        world.buy("b1", "p", APRIL);
        world.advance(watermark);
        assert_eq!(world.use_at(500, APRIL).alerts.len(), alerts);
    }
}

#[test]
fn expiry_is_told_by_the_watermark_alone_in_the_order_of_due_time() {
    let mut world = with(json!({"thresholds": thresholds("expires_soon", &[1, 3]),
                                "period": {"days": 10}, "stacking": "parallel"}));
    world.advance(APRIL);
    for id in ["b2", "b1"] {
        world.buy(id, "p", APRIL);
    }
    world.command(json!({"command": "purchase", "id": "b0", "account": "A0", "package": "p",
        "at": APRIL}));
    assert!(world.advance(APRIL + 7 * DAY - 1).alerts.is_empty());
    let told = world.advance(APRIL + 7 * DAY);
    let order: Vec<_> = told.alerts.iter().map(|alert| alert.bucket.as_deref().unwrap()).collect();
    assert_eq!(order, ["b0", "b1", "b2"]);
    assert!(told.alerts.iter().all(|alert| alert.at_ms == APRIL + 7 * DAY));
    assert!(world.advance(APRIL + 8 * DAY).alerts.is_empty());
    world.use_at(1_000, APRIL + 8 * DAY);
    let told = world.advance(APRIL + 30 * DAY);
    let order: Vec<_> = told.alerts.iter().map(|a| (a.threshold, a.account.as_str())).collect();
    assert_eq!(order, [(1, "A0"), (1, "A1")], "of b1 nothing is left");
    // Points and revenue of the other two are written off; of b2, used up, it is said that it closed.
    assert_eq!(told.rows.len(), 5, "{told:?}");
}

#[test]
fn expiry_that_is_near_when_bought_or_cancelled_is_not_told() {
    let mut world = with(json!({"thresholds": thresholds("expires_soon", &[3]),
                                "period": {"days": 10}}));
    world.advance(APRIL + 8 * DAY);
    world.buy("b1", "p", APRIL);
    assert!(world.advance(APRIL + 9 * DAY).alerts.is_empty());
    let mut world = with(json!({"thresholds": thresholds("expires_soon", &[3]),
                                "period": {"days": 10}}));
    world.advance(APRIL);
    world.buy("b1", "p", APRIL);
    world.command(json!({"command": "cancel", "id": "c", "bucket": "b1", "at": APRIL + DAY}));
    assert!(world.advance(APRIL + 9 * DAY).alerts.is_empty());
}

#[test]
fn spikes_are_of_all_buckets_of_a_package_in_an_hour() {
    let mut world = with(json!({"thresholds": thresholds("spike", &[100 * MICRO])}));
    world.buy("b1", "p", APRIL);
    assert!(world.use_at(99, APRIL).alerts.is_empty());
    assert!(world.use_at(99, APRIL + HOUR).alerts.is_empty(), "six slices later");
    let told = world.use_at(1, APRIL + HOUR + 1);
    assert_eq!(told.sent(), [("spike", 100 * MICRO)]);
    assert_eq!((told.alerts[0].used, told.alerts[0].allowance), (100_000_000, None));
    assert_eq!(told.alerts[0].package.as_deref(), Some("p"));
}

#[test]
fn the_forecast_waits_an_hour_and_then_tells_the_nearest() {
    let mut world = with(json!({"thresholds": thresholds("forecast", &[4, 48]),
                                "period": {"days": 10}}));
    world.buy("b1", "p", APRIL);
    assert!(world.use_at(300, APRIL + HOUR - 1).alerts.is_empty());
    // 301 of 1,000 in an hour: used up in 2.3 hours.
    let told = world.use_at(1, APRIL + HOUR);
    assert_eq!(told.sent(), [("forecast", 4)]);
    assert_eq!(told.alerts[1].threshold, 48);
    let mut world = with(json!({"thresholds": thresholds("forecast", &[48]),
                                "period": {"days": 10}}));
    world.buy("b1", "p", APRIL);
    // 50 in a day: 20 days, which is after the period.
    assert!(world.use_at(50, APRIL + DAY).alerts.is_empty());
    // 300 in two days: after 6.6 days.
    assert!(world.use_at(250, APRIL + 2 * DAY).alerts.is_empty(), "more than 48 hours away");
    assert_eq!(world.use_at(250, APRIL + 2 * DAY).sent(), [("forecast", 48)]);
}

#[test]
fn money_spent_and_overrun_are_watched_by_the_month() {
    let mut world = World::with_tariffs(
        json!([]),
        json!([tariff("payg", json!({"thresholds": thresholds("overflow_spent", &[4, 8])}))]),
    );
    let told = world.use_at(999, APRIL);
    assert!(told.alerts.is_empty());
    let told = world.use_at(4_001, APRIL);
    assert_eq!(told.sent(), [("overrun", 5_000 * MICRO)], "thresholds of all accounts");
    assert_eq!((told.alerts.len(), told.alerts[0].package.as_deref()), (2, None));
    assert_eq!((told.alerts[0].period_ms, told.alerts[0].used), (APRIL, 5_000_000_000));
    world.consent("payg");
    assert!(world.use_at(0, APRIL).alerts.is_empty());
    let told = world.use_at(1, APRIL);
    assert_eq!(told.sent(), [("overflow_spent", 4)], "a point costs 4 micro-yuan");
    assert_eq!((told.alerts[0].used, told.alerts[0].package.as_deref()), (4, Some("payg")));
    assert_eq!(world.use_at(1, APRIL + 40 * DAY).sent(), [("overflow_spent", 4)], "next month");
}

#[test]
pub(super) fn the_identity_is_that_of_the_bucket_period_counter_and_threshold() {
    let run = || {
        let mut world = with(json!({"thresholds": thresholds("percent_used", &[50])}));
        world.buy("b1", "p", APRIL);
        world.use_at(600, APRIL).alerts.remove(0).id
    };
    assert_eq!(run(), run());
    assert_eq!(
        run(),
        crate::alert_identity::alert_identity("A1", "b1", APRIL, "percent_used:0", 50)
    );
}
