//! Random runs: packages of every sort, commands, events on time and late, and the watermark.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::*;
use crate::{Charged, Quota};

/// One line of a run.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Advance(i64),
    Command(Value),
    Use(Use),
}

pub(super) fn packages() -> Value {
    let alerts = json!([
        {"kind": "percent_used", "at": 50}, {"kind": "percent_used", "at": 100},
        {"kind": "points_left", "at": 20 * MICRO}, {"kind": "expires_soon", "at": 1},
        {"kind": "cap", "at": 80}, {"kind": "spike", "at": 60 * MICRO},
        {"kind": "forecast", "at": 24},
    ]);
    let small = 100 * MICRO;
    json!([
        package(
            "queue",
            json!({"period": {"days": 2}, "allowance_micro": small,
                                "thresholds": alerts})
        ),
        package(
            "parallel",
            json!({"period": {"hours": 30}, "allowance_micro": small,
                                   "stacking": "parallel", "priority": 50, "price_micro": 7})
        ),
        package(
            "rolling",
            json!({"period": {"days": 1}, "allowance_micro": small,
                                  "rollover": "next_period", "rollover_max_micro": 30 * MICRO,
                                  "thresholds": alerts, "price_micro": 1_000_003})
        ),
        package(
            "capped",
            json!({"period": {"days": 3}, "allowance_micro": 5 * small,
                                 "thresholds": alerts, "anchor": "calendar",
                                 "caps": [{"window": "rolling_5h", "limit_micro": 40 * MICRO},
                                          {"window": "day", "limit_micro": 90 * MICRO}]})
        ),
        package(
            "trial",
            json!({"kind": "trial", "price_micro": 0, "period": {"days": 4},
                                "allowance_micro": small})
        ),
        package(
            "glm",
            json!({"models": ["glm-*"], "directed": true, "period": {"days": 1},
                              "allowance_micro": small, "currency": "USD"})
        ),
        package(
            "nothing",
            json!({"allowance_micro": 0, "overflow": "payg",
                                  "thresholds": alerts})
        ),
    ])
}

pub(super) fn tariffs() -> Value {
    json!([tariff(
        "payg",
        json!({"price_micro_per_million_points": 3_333_337,
               "thresholds": [{"kind": "overflow_spent", "at": 300},
                              {"kind": "overrun", "at": 50 * MICRO}]})
    )])
}

/// Most steps are of one account; the others push it out of the cache.
pub(super) const ACCOUNTS: [&str; 6] = ["A1", "A2", "A3", "A4", "A5", "A6"];

fn account() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just(ACCOUNTS[0]), 1 => prop::sample::select(ACCOUNTS.to_vec())]
}

fn command(number: usize, at_ms: i64) -> impl Strategy<Value = Step> {
    let names = ["queue", "parallel", "rolling", "capped", "trial", "glm", "nothing"];
    let bucket = (0..number.max(1)).prop_map(|number| format!("c{number}"));
    let points = prop_oneof![1..50 * MICRO, Just(MICRO)];
    let package = prop::sample::select(names.to_vec());
    (0..13_u32, package, bucket.clone(), bucket, points, account()).prop_map(
        move |(kind, package, bucket, other, points, account)| {
            let id = format!("c{number}");
            let mut value = match kind {
                0..5 => json!({"command": "purchase", "package": package,
                               "quantity": if kind == 0 { 2 } else { 1 }}),
                5 => json!({"command": "top_up", "bucket": bucket, "points_micro": points,
                            "amount_micro": points / 7}),
                6 => json!({"command": "transfer", "from_bucket": bucket, "to_bucket": other,
                            "points_micro": points}),
                7 => json!({"command": "cancel", "bucket": bucket}),
                8 => json!({"command": "adjust", "bucket": bucket, "points_micro": points,
                            "reason": "r", "approver": "a"}),
                9 => json!({"command": "adjust", "bucket": bucket, "points_micro": -points,
                            "reason": "r", "approver": "a"}),
                10 => json!({"command": "adjust", "bucket": bucket, "points_micro": -points,
                             "refund": true, "reason": "r", "approver": "a"}),
                11 => json!({"command": "set_flags", "flags": {
                    "overflow": if points % 3 == 0 { Value::Null } else { "payg".into() }}}),
                _ => json!({"command": "set_flags", "flags": {"members": {"S2":
                    {"caps": [{"window": "rolling_day", "limit_micro": points}]}}}}),
            };
            value["id"] = id.into();
            value["account"] = account.into();
            value["at"] = at_ms.into();
            Step::Command(value)
        },
    )
}

fn usage_step(now_ms: i64) -> impl Strategy<Value = Step> {
    let late = prop_oneof![4 => 0..HOUR, 1 => 0..50 * HOUR];
    let points = prop_oneof![1..30 * i128::from(MICRO), Just(MICRO.into()), Just(0)];
    let model = prop::sample::select(vec!["glm-5", "kimi"]);
    let subscriber = prop::sample::select(vec!["S1", "S2"]);
    (late, points, model, subscriber, 0..10_000_i64, account()).prop_map(
        move |(late, points_micro, model, subscriber, lasted, account)| {
            let at_ms = now_ms - late;
            Step::Use(Use {
                account,
                points_micro,
                started_ms: at_ms - lasted,
                subscriber,
                model,
                billed_model: model,
                wholesale_pico: points_micro * 3 + 1,
                ..usage(0, at_ms)
            })
        },
    )
}

/// Runs of up to `length` steps; time goes on by up to some hours with each.
pub(super) fn runs(length: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..8 * HOUR, 0..10_u32), 1..length).prop_flat_map(|ticks| {
        let mut now_ms = APRIL;
        let steps: Vec<BoxedStrategy<Step>> = ticks
            .into_iter()
            .enumerate()
            .map(|(number, (tick, kind))| {
                now_ms += if kind < 3 { tick } else { tick / 20 };
                match kind {
                    0..3 => Just(Step::Advance(now_ms)).boxed(),
                    3..6 => command(number, now_ms).boxed(),
                    _ => usage_step(now_ms).boxed(),
                }
            })
            .collect();
        steps
    })
}

/// Where the accounts of a run are settled and restored into another quota.
pub(super) type Restarts<'a> = &'a dyn Fn(usize) -> bool;

/// Carries a run out and tells what each step told.
pub(super) fn carry_out(
    steps: &[Step],
    restarts: Restarts<'_>,
) -> (World, Vec<(Recorder, Option<Charged>)>) {
    let mut world = World::with_tariffs(packages(), tariffs());
    let mut told = Vec::new();
    let mut stored: std::collections::BTreeMap<String, Vec<u8>> = Default::default();
    for (step, number) in steps.iter().zip(0..) {
        told.push(match step {
            Step::Advance(to_ms) => (world.advance(*to_ms), None),
            Step::Command(command) => {
                (world.try_command(command.clone()).unwrap_or_default(), None)
            }
            Step::Use(usage) => {
                let (charged, told) = world.try_charge(usage).unwrap();
                (told, Some(charged))
            }
        });
        if restarts(number) {
            // As the stream does it: what changed is stored, and a later owner reads it.
            for (account, bytes) in world.quota.changed() {
                stored.insert(account.to_owned(), bytes.into_owned());
            }
            world.quota.settle();
            let all: std::collections::BTreeMap<String, Vec<u8>> =
                world.quota.all().map(|(n, b)| (n.to_owned(), b.into_owned())).collect();
            stored.retain(|_, bytes| !bytes.is_empty());
            assert_eq!(all, stored, "what changed since the last settling is all that changed");
            world.quota = Quota::new(world.quota.reference().clone());
            for (account, bytes) in &stored {
                world.quota.restore(account, bytes).unwrap();
            }
        }
    }
    (world, told)
}
