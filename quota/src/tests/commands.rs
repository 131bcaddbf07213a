//! Every command and every code with which one is held back.

use serde_json::{Value, json};

use super::world::*;
use crate::{Command, CommandError, EntryKind};

fn two() -> World {
    let mut world = World::new(json!([
        package(
            "p",
            json!({"stacking": "parallel", "allowance_micro": 100 * MICRO,
                            "period": {"days": 10}})
        ),
        package("usd", json!({"currency": "USD"})),
        package("bj", json!({"region": "bj"})),
        package("draft", json!({"approved_by": null, "approved_at": null})),
        package("old", json!({"valid_to": APRIL})),
        package("new", json!({"known_from": APRIL + DAY})),
    ]));
    world.buy("b1", "p", APRIL);
    world.buy("b2", "p", APRIL);
    world
}

fn state(world: &World) -> Vec<(String, Vec<u8>)> {
    world.quota.all().map(|(name, bytes)| (name.to_owned(), bytes.into_owned())).collect()
}

#[test]
fn held_back_commands_have_a_code_and_change_nothing() {
    let mut world = two();
    world.use_at(30, APRIL);
    let before = state(&world);
    let ended = APRIL + 10 * DAY;
    let buy =
        |package: &str| json!({"command": "purchase", "id": "x", "package": package, "at": APRIL});
    let top_up = |bucket: &str, points: Value, at_ms: i64| {
        json!({"command": "top_up", "id": "x", "bucket": bucket, "points_micro": points,
               "amount_micro": "9223372036854775807", "at": at_ms})
    };
    let transfer = |from: &str, to: &str, points: i64, at_ms: i64| {
        json!({"command": "transfer", "id": "x", "from_bucket": from, "to_bucket": to,
               "points_micro": points * MICRO, "at": at_ms})
    };
    let adjust = |bucket: &str, points: i64| {
        json!({"command": "adjust", "id": "x", "bucket": bucket, "points_micro": points * MICRO,
               "reason": "r", "approver": "a", "at": APRIL})
    };
    let flags = |flags: Value| json!({"command": "set_flags", "id": "x", "at": 0, "flags": flags});
    for (command, code) in [
        (buy("nothing"), "unknown_package"),
        (buy("draft"), "unknown_package"),
        (buy("bj"), "package_not_sold"),
        (buy("old"), "package_not_sold"),
        (buy("new"), "package_not_sold"),
        (
            json!({"command": "purchase", "id": "b1", "package": "p", "at": APRIL}),
            "conflicting_duplicate",
        ),
        (top_up("b9", 1.into(), APRIL), "unknown_bucket"),
        (top_up("b1", 1.into(), ended), "bucket_expired"),
        (top_up("b1", "9223372036854775807".into(), APRIL), "amount_overflow"),
        (transfer("b9", "b1", 1, APRIL), "unknown_bucket"),
        (transfer("b1", "b9", 1, APRIL), "unknown_bucket"),
        (transfer("b1", "b2", 1, ended), "bucket_expired"),
        (transfer("b1", "b2", 71, APRIL), "transfer_out_of_range"),
        (transfer("b1", "b1", 1, APRIL), "bad_command"),
        (json!({"command": "cancel", "id": "x", "bucket": "b9", "at": APRIL}), "unknown_bucket"),
        (adjust("b9", 1), "unknown_bucket"),
        (adjust("b1", 31), "adjust_out_of_range"),
        (adjust("b1", -71), "adjust_out_of_range"),
        (adjust("b1", 0), "bad_command"),
        (flags(json!({"overflow": "nothing"})), "unknown_tariff"),
        (flags(json!({"overdraft": true})), "unknown_flag"),
        (flags(json!({"overdraft": true, "region": 5})), "bad_command"),
    ] {
        assert_eq!(world.refused(command.clone()), code, "{command}");
        assert_eq!(state(&world), before, "{command}");
    }
    world.buy("dollars", "usd", APRIL);
    // The first of the codes that hold.
    assert_eq!(world.refused(transfer("b1", "dollars", 71, APRIL)), "currency_mismatch");
    assert_eq!(world.refused(transfer("b1", "dollars", 71, ended)), "bucket_expired");
    assert_eq!(world.refused(transfer("b1", "b9", 71, ended)), "unknown_bucket");
    let known = json!({"command": "purchase", "id": "b1", "package": "nothing", "at": APRIL});
    assert_eq!(world.refused(known), "conflicting_duplicate");
}

#[test]
fn every_defect_of_a_command_is_named() {
    let parse = |text: &str| match Command::parse(text.as_bytes()) {
        Err(CommandError::BadCommand(problems)) => {
            problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
        }
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(parse("5"), ["", "command", "id", "account", "at"].map(str::to_owned)[..1]);
    assert_eq!(parse("{"), [""]);
    assert_eq!(
        parse(r#"{"command":"purchase","id":"","at":"yesterday","quantity":1001,"typo":1}"#),
        ["id", "account", "at", "package", "quantity", "typo"]
    );
    assert_eq!(parse(r#"{"command":"steal","id":"x","account":"A","at":1}"#), ["command"]);
    assert_eq!(
        parse(
            r#"{"command":"top_up","id":"x","account":"A","at":1,"points_micro":0,"amount_micro":-1}"#
        ),
        ["bucket", "points_micro", "amount_micro"]
    );
    assert_eq!(
        parse(
            r#"{"command":"adjust","id":"x","account":"A","at":1,"bucket":"b","points_micro":"1e3"}"#
        ),
        ["points_micro", "reason", "approver"]
    );
    assert_eq!(
        parse(
            r#"{"command":"set_flags","id":"x","account":"A","at":1,"flags":{"overflow":1,"region":"",
                "members":{"S":{"caps":[{"window":"hour","limit_micro":-1},{"window":"day"}]},"T":5}}}"#
        ),
        [
            "flags.overflow",
            "flags.region",
            "flags.members.S.caps[0].window",
            "flags.members.S.caps[0].limit_micro",
            "flags.members.S.caps[1].limit_micro",
            "flags.members.T",
            "flags.members.T.caps"
        ]
    );
    for twice_or_fraction in [
        r#"{"command":"cancel","id":"x","id":"x","account":"A","at":1,"bucket":"b"}"#,
        r#"{"command":"cancel","id":"x","account":"A","at":1.0,"bucket":"b"}"#,
    ] {
        assert_eq!(parse(twice_or_fraction), [""]);
    }
    let long = "x".repeat(257);
    let text = format!(r#"{{"command":"cancel","id":"{long}","account":"A","at":1,"bucket":"b"}}"#);
    assert_eq!(parse(&text), ["id"]);
}

#[test]
fn the_same_command_has_the_same_hashes_however_it_is_written() {
    let parse = |text: &str| Command::parse(text.as_bytes()).unwrap();
    let one = parse(r#"{"command":"purchase","id":"x","account":"A","at":0,"package":"p"}"#);
    let same = parse(
        r#"{"quantity":"1","package":"p","at":"1970-01-01T08:00:00+08:00","account":"A","id":"x","command":"purchase"}"#,
    );
    assert_eq!(one, same);
    assert_eq!(one.content_hash(), same.content_hash());
    let other = parse(r#"{"command":"purchase","id":"x","account":"A","at":1,"package":"p"}"#);
    assert_eq!(one.identity_hash(), other.identity_hash());
    assert_ne!(one.content_hash(), other.content_hash());
    let elsewhere = parse(r#"{"command":"purchase","id":"Ax","account":"","at":0,"package":"p"}"#
        .replace("\"\"", "\"Ax\"").as_str());
    assert_ne!(one.identity_hash(), elsewhere.identity_hash());
}

#[test]
fn a_top_up_raises_allowance_and_price_and_leaves_what_was_allocated() {
    let mut world = two();
    let first = world.use_at(40, APRIL).rows[0].amount;
    assert_eq!(first, 9_900_000_000_000 * 40 / 100);
    let told = world.command(json!({"command": "top_up", "id": "t", "bucket": "b1", "at": APRIL,
        "points_micro": 20 * MICRO, "amount_micro": 3 * MICRO}));
    let row = &told.rows[0];
    assert_eq!((row.kind, row.points), (EntryKind::TopUp, 20_000_000));
    assert_eq!((row.amount, row.balance), (3_000_000_000_000, Some(80_000_000)));
    let rest = world.use_at(80, APRIL).rows[0].amount;
    assert_eq!(first + rest, 12_900_000_000_000, "used up: exactly what was paid");
}

#[test]
fn a_transfer_moves_points_and_their_part_of_the_price() {
    let mut world = two();
    world.use_at(40, APRIL);
    let told = world.command(json!({"command": "transfer", "id": "t", "from_bucket": "b1",
        "to_bucket": "b2", "at": APRIL, "points_micro": 30 * MICRO}));
    let rows: Vec<_> =
        told.rows.iter().map(|r| (r.kind, r.points, r.amount, r.balance.unwrap())).collect();
    let part = 9_900_000_000_000 * 30 / 100;
    assert_eq!(
        rows,
        [
            (EntryKind::TransferOut, -30_000_000, -part, 30_000_000),
            (EntryKind::TransferIn, 30_000_000, part, 130_000_000),
        ]
    );
    let told = world.use_at(160, APRIL);
    assert_eq!(told.debits(), [("b1", 30), ("b2", 130)]);
    assert_eq!(told.rows[1].amount, 9_900_000_000_000 + part);
}

#[test]
fn a_transfer_never_takes_price_that_was_allocated() {
    let mut world = two();
    world.use_at(100, APRIL);
    world.command(json!({"command": "top_up", "id": "t", "bucket": "b1", "at": APRIL,
        "points_micro": 100 * MICRO}));
    let told = world.command(json!({"command": "transfer", "id": "u", "from_bucket": "b1",
        "to_bucket": "b2", "at": APRIL, "points_micro": 100 * MICRO}));
    assert_eq!(told.rows[0].amount, 0, "all of the price was allocated before");
}

#[test]
fn an_adjustment_gives_back_and_takes_with_its_revenue() {
    let mut world = two();
    world.use_at(40, APRIL);
    let adjust = |id: &str, points: i64| {
        json!({"command": "adjust", "id": id, "bucket": "b1", "points_micro": points * MICRO,
               "reason": "r", "approver": "a", "at": APRIL})
    };
    let told = world.command(adjust("a1", 10));
    assert_eq!(told.rows[0].kind, EntryKind::Adjust);
    assert_eq!((told.rows[0].points, told.rows[0].amount), (10_000_000, -990_000_000_000));
    assert_eq!(told.rows[0].balance, Some(70_000_000));
    let told = world.command(adjust("a2", -70));
    assert_eq!((told.rows[0].points, told.rows[0].amount), (-70_000_000, 6_930_000_000_000));
    assert_eq!(told.rows[0].balance, Some(0));
}

#[test]
fn money_is_given_back_for_points_that_are_taken_and_for_no_others() {
    let mut world = two();
    world.use_at(40, APRIL);
    let refund = |id: &str, points: i64| {
        json!({"command": "adjust", "id": id, "bucket": "b1", "points_micro": points * MICRO,
               "refund": true, "reason": "r", "approver": "a", "at": APRIL + 2 * DAY})
    };
    let told = world.command(refund("a1", -10));
    assert_eq!(told.rows[0].kind, EntryKind::Refund);
    assert_eq!((told.rows[0].points, told.rows[0].amount), (-10_000_000, -990_000_000_000));
    assert_eq!(told.rows[0].balance, Some(50_000_000));
    // What is left is allocated as before: 9.90 over 100 points.
    assert_eq!(world.use_at(10, APRIL).rows[0].amount, 990_000_000_000);
    assert_eq!(world.refused(refund("a2", -41)), "adjust_out_of_range");
    assert_eq!(world.refused(refund("a3", 1)), "bad_command");
    // Cancelled, all that was not used is given back, and nothing lapses.
    world.command(json!({"command": "cancel", "id": "c", "bucket": "b1", "at": APRIL + DAY}));
    let told = world.command(refund("a4", -40));
    assert_eq!((told.rows[0].amount, told.rows[0].balance), (-3_960_000_000_000, Some(0)));
    let told = world.advance(APRIL + 4 * DAY);
    // It closes with nothing written off.
    let rows = told.rows.iter().filter(|row| row.bucket.as_deref() == Some("b1"));
    let rows: Vec<_> = rows.map(|row| (row.kind, row.points, row.amount)).collect();
    assert_eq!(rows, [(EntryKind::Expire, 0, 0)]);
    assert_eq!(world.refused(refund("a5", -1)), "unknown_bucket");
}

#[test]
fn what_was_given_points_for_nothing_gives_no_more_money_than_was_paid() {
    let mut world = two();
    world.use_at(50, APRIL);
    // Half of 9.90 is for 50 points; with 100 more for nothing each of the 150 is worth a third.
    world.command(json!({"command": "top_up", "id": "t", "bucket": "b1", "at": APRIL,
        "points_micro": 100 * MICRO}));
    let refund = |id: &str, points: i64| {
        json!({"command": "adjust", "id": id, "bucket": "b1", "points_micro": points * MICRO,
               "refund": true, "reason": "r", "approver": "a", "at": APRIL})
    };
    assert_eq!(world.command(refund("a1", -50)).rows[0].amount, -1_650_000_000_000);
    assert_eq!(world.command(refund("a2", -100)).rows[0].amount, -3_300_000_000_000);
}

#[test]
fn a_cancelled_bucket_stays_open_for_late_usage() {
    let mut world = two();
    let end = APRIL + DAY;
    let told = world.command(json!({"command": "cancel", "id": "c", "bucket": "b1", "at": end}));
    assert!(told.rows.is_empty());
    assert_eq!(world.use_at(1, end).debits(), [("b2", 1)]);
    assert_eq!(world.use_at(1, end - 1).debits(), [("b1", 1)]);
    // Later is no change.
    world.command(json!({"command": "cancel", "id": "d", "bucket": "b1", "at": end + DAY}));
    assert_eq!(world.period("b1").1, end);
    let told = world.advance(end + 2 * DAY);
    assert_eq!(told.rows[0].bucket.as_deref(), Some("b1"));
}

#[test]
fn a_cancellation_cuts_the_rolled_phase_too() {
    let mut world = World::new(json!([package(
        "p",
        json!({"period": {"days": 10}, "rollover": "next_period"})
    )]));
    world.buy("b1", "p", APRIL);
    world.command(json!({"command": "cancel", "id": "c", "bucket": "b1", "at": APRIL + 15 * DAY}));
    assert_eq!(world.use_at(1, APRIL + 15 * DAY - 1).debits(), [("b1", 1)]);
    assert!(world.use_at(1, APRIL + 15 * DAY).debits().is_empty());
    world.command(json!({"command": "cancel", "id": "d", "bucket": "b1", "at": APRIL + 5 * DAY}));
    assert!(world.use_at(1, APRIL + 6 * DAY).debits().is_empty());
}

#[test]
fn a_quantity_makes_numbered_buckets() {
    let mut world = two();
    let told = world.command(json!({"command": "purchase", "id": "q", "package": "p", "at": APRIL,
        "quantity": 3}));
    let ids: Vec<_> = told.rows.iter().map(|row| row.bucket.clone().unwrap()).collect();
    assert_eq!(ids, ["q/1", "q/2", "q/3"]);
    let clash = json!({"command": "purchase", "id": "q/2", "package": "p", "at": APRIL});
    assert_eq!(world.refused(clash), "conflicting_duplicate");
}

#[test]
fn what_is_bought_too_late_closes_at_once_in_the_order_of_timers() {
    let mut world =
        World::new(json!([package("p", json!({"stacking": "parallel", "period": {"days": 1}}))]));
    world.advance(APRIL + 3 * DAY);
    let told = world.command(json!({"command": "purchase", "id": "q", "package": "p", "at": APRIL,
        "quantity": 10}));
    let order: Vec<_> =
        told.rows[10..].iter().map(|row| (row.kind, row.bucket.as_deref().unwrap())).collect();
    assert_eq!(order[0], (EntryKind::Expire, "q/1"));
    assert_eq!(order[1], (EntryKind::Breakage, "q/1"));
    assert_eq!(order[2], (EntryKind::Expire, "q/10"));
    assert_eq!(order.len(), 20);
    assert!(told.rows[10..].iter().all(|row| row.at_ms == APRIL + 3 * DAY));
    assert_eq!(world.quota.status("A1", APRIL, world.watermark).unwrap(), None);
}

#[test]
fn a_purchase_takes_the_version_that_is_known() {
    let mut world = World::new(json!([
        package("p", json!({"price_micro": 1})),
        package("p", json!({"price_micro": 2, "known_from": APRIL})),
        package(
            "p",
            json!({"price_micro": 3, "known_from": APRIL + DAY, "approved_by": null,
                            "approved_at": null})
        ),
    ]));
    for (id, at_ms, price) in [("b1", APRIL - 1, 1), ("b2", APRIL, 2), ("b3", APRIL + 2 * DAY, 2)] {
        assert_eq!(world.buy(id, "p", at_ms).rows[0].amount, price * 1_000_000);
    }
}
