//! What is written of a status is what the published schema says.

use serde_json::{Value, json};
use tally_schemas::QUOTA_STATUS_JSON_SCHEMA;

use super::world::*;
use crate::{AccountStatus, AsOf, BucketStatus, CapStatus, quota_answer, quota_message};

const AS_OF: AsOf = AsOf { partition: 3, offset: 41, time_ms: APRIL + HOUR };

/// Judges a value by the keywords of JSON Schema that the schema uses; an unknown keyword stops
/// the test.
fn is_valid(schema: &Value, root: &Value, value: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "$id" | "$defs" | "title" | "description" | "additionalProperties" => true,
        "$ref" => {
            let pointer = rule.as_str().unwrap().trim_start_matches('#');
            is_valid(root.pointer(pointer).unwrap(), root, value)
        }
        "type" => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "null" => value.is_null(),
            other => panic!("the test does not know the type {other}"),
        },
        "enum" => rule.as_array().unwrap().contains(value),
        "anyOf" => rule.as_array().unwrap().iter().any(|schema| is_valid(schema, root, value)),
        "required" => {
            rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some())
        }
        // Every member is named: what is written and what the schema says do not drift apart.
        "properties" => value.as_object().is_none_or(|object| {
            object.iter().all(|(name, value)| {
                rule.get(name).is_some_and(|schema| is_valid(schema, root, value))
            })
        }),
        "items" => {
            value.as_array().is_none_or(|items| items.iter().all(|item| is_valid(rule, root, item)))
        }
        "minLength" => length(value).is_none_or(|length| length >= rule.as_u64().unwrap()),
        "maxLength" => length(value).is_none_or(|length| length <= rule.as_u64().unwrap()),
        "minimum" => value.as_u64().is_some_and(|number| number >= rule.as_u64().unwrap()),
        "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
        other => panic!("the test does not know the keyword {other}"),
    })
}

fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| u64::try_from(text.chars().count()).unwrap())
}

/// The patterns of the schema, in words.
fn matches(pattern: &str, text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match pattern {
        "^-?[0-9]{16,40}$" => {
            let text = text.trim_start_matches('-');
            (16..=40).contains(&text.len()) && digits(text)
        }
        "^[0-9]+[.][0-9]{12}$" => text
            .split_once('.')
            .is_some_and(|(whole, part)| digits(whole) && digits(part) && part.len() == 12),
        "^[A-Z]{3}$" => text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()),
        other => panic!("unknown pattern {other}"),
    }
}

/// An account with everything: a bucket that rolls over, one beyond 2^53, caps, a tariff.
fn everything() -> AccountStatus {
    let mut world = World::new(json!([
        package(
            "huge",
            json!({"allowance_micro": "9007199254740993", "kind": "free",
                               "price_micro": 0, "period": {"hours": 1}})
        ),
        package(
            "rolling",
            json!({"rollover": "next_period", "allowance_micro": 100 * MICRO,
                                  "caps": [{"window": "rolling_5h", "limit_micro": 60 * MICRO}]})
        ),
    ]));
    world.buy("b1", "huge", APRIL - 2 * HOUR);
    world.buy("b2", "rolling", APRIL);
    world.consent("payg");
    world.command(json!({"command": "set_flags", "id": "f", "at": APRIL, "flags": {"members":
        {"S2": {"caps": [{"window": "month", "limit_micro": 5 * MICRO}]}}}}));
    world.charge(&Use { subscriber: "S2", ..usage(7, APRIL + HOUR) });
    world.use_at(60, APRIL + HOUR);
    world.quota.status("A1", AS_OF.time_ms, None).unwrap().unwrap()
}

#[test]
fn a_message_is_as_the_schema_says() {
    let schema: Value = serde_json::from_str(QUOTA_STATUS_JSON_SCHEMA).unwrap();
    for status in [everything(), AccountStatus::forgotten("A2")] {
        let message: Value = serde_json::from_str(&quota_message(&status, AS_OF)).unwrap();
        assert!(is_valid(&schema, &schema, &message), "{message:#}");
        for missing in schema["required"].as_array().unwrap() {
            let mut message = message.clone();
            message.as_object_mut().unwrap().remove(missing.as_str().unwrap());
            assert!(!is_valid(&schema, &schema, &message), "without {missing}");
        }
        let mut message = message;
        message["status"] = "fine".into();
        assert!(!is_valid(&schema, &schema, &message));
    }
}

#[test]
fn a_message_and_an_answer_have_these_members_and_values() {
    let status = everything();
    let message: Value = serde_json::from_str(&quota_message(&status, AS_OF)).unwrap();
    let buckets = json!([
        {"bucket": "b1", "package": "huge", "valid_from": APRIL - 2 * HOUR,
         "valid_to": APRIL - HOUR, "allowance_micro": "9007199254740993", "used_micro": 0,
         "remaining_micro": 0},
        {"bucket": "b2", "package": "rolling", "valid_from": APRIL, "valid_to": APRIL + 30 * DAY,
         "rolled_to": APRIL + 61 * DAY, "allowance_micro": 100_000_000, "used_micro": 60_000_000,
         "remaining_micro": 40_000_000},
    ]);
    let caps = json!([
        {"package": "rolling", "window": "rolling_5h", "limit_micro": 60_000_000,
         "used_micro": 60_000_000, "remaining_micro": 0},
        {"subscriber": "S2", "window": "month", "limit_micro": 5_000_000, "used_micro": 5_000_000,
         "remaining_micro": 0},
    ]);
    // 5 of the member's 7 points came from the bucket; of the 60 the bucket gave 55.
    let overflow = json!({"tariff": "payg", "points_micro": 5_000_000,
                          "amount": "0.000020000000", "currency": "CNY"});
    let mut expected = json!({"account": "A1", "status": "ok", "buckets": buckets, "caps": caps,
                              "overflow": overflow});
    let mut with = expected.clone();
    with["as_of_offset"] = 41.into();
    with["as_of"] = (APRIL + HOUR).into();
    assert_eq!(message, with);
    expected["overrun_micro"] = 2_000_000.into();
    expected["as_of"] = json!({"partition": 3, "offset": 41, "time": APRIL + HOUR});
    let answer: Value = serde_json::from_str(&quota_answer(&status, AS_OF)).unwrap();
    assert_eq!(answer, expected);
}

#[test]
fn a_message_stays_below_what_a_broker_takes() {
    let schema: Value = serde_json::from_str(QUOTA_STATUS_JSON_SCHEMA).unwrap();
    let long = "x".repeat(261);
    let mut status = everything();
    let bucket = |number: i128| BucketStatus {
        bucket: format!("{number}{}", &long[5..]),
        package: long.clone(),
        remaining_micro: i128::from(number % 10 == 9),
        ..status.buckets[0].clone()
    };
    let cap = |number: i128| CapStatus {
        subscriber: Some(format!("{number}{}", &long[5..])),
        package: None,
        limit_micro: i64::from(number % 10 != 9),
        used_micro: 0,
        ..status.caps[0].clone()
    };
    let (buckets, caps) = ((0..4_000).map(bucket).collect(), (0..4_000).map(cap).collect());
    (status.buckets, status.caps) = (buckets, caps);
    let text = quota_message(&status, AS_OF);
    assert!(text.len() < 1_000_000, "{} bytes", text.len());
    let message: Value = serde_json::from_str(&text).unwrap();
    assert!(is_valid(&schema, &schema, &message));
    assert_eq!(
        (&message["buckets_left_out"], &message["caps_left_out"]),
        (&json!(3_500), &json!(3_500))
    );
    let buckets = message["buckets"].as_array().unwrap();
    let usable = buckets.iter().filter(|bucket| bucket["remaining_micro"] == 1).count();
    assert_eq!((buckets.len(), usable), (500, 400), "all that can be used");
    let caps = message["caps"].as_array().unwrap();
    let reached = caps.iter().filter(|cap| cap["limit_micro"] == 0).count();
    assert_eq!((caps.len(), reached), (500, 400), "all that leave nothing");
    let answer: Value = serde_json::from_str(&quota_answer(&status, AS_OF)).unwrap();
    assert_eq!(answer["buckets"].as_array().unwrap().len(), 4_000);
}

#[test]
fn an_integer_is_a_text_only_beyond_what_every_reader_takes_exactly() {
    let mut status = AccountStatus::forgotten("A1");
    for (micro, written) in [
        (1_i128 << 53, json!(1_i64 << 53)),
        ((1 << 53) + 1, json!("9007199254740993")),
        (1 << 100, json!("1267650600228229401496703205376")),
    ] {
        status.overrun_micro = micro;
        let answer: Value = serde_json::from_str(&quota_answer(&status, AS_OF)).unwrap();
        assert_eq!(answer["overrun_micro"], written);
    }
    assert_eq!(
        serde_json::from_str::<Value>(&quota_answer(&status, AS_OF)).unwrap()["overflow"],
        Value::Null
    );
}
