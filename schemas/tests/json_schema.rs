//! The published JSON Schema says the same as the reader, wherever JSON Schema can say it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tally_schemas::{
    ALERT_JSON_SCHEMA, AlertEvent, AlertMessage, COUNT_MAX, EVENT_FIELDS, LABELS_MAX, LogPosition,
    TEXT_MAX_BYTES, TokenClass, USAGE_EVENT_JSON_SCHEMA, Whole, parse_event,
};

/// Judges a value by the keywords of JSON Schema that the published schema uses; an unknown
/// keyword stops the test.
fn is_valid(schema: &Value, root: &Value, value: &Value) -> bool {
    let Some(keywords) = schema.as_object() else { return schema == &json!(true) };
    keywords.iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "$id" | "$defs" | "title" | "description" | "default" | "format" => true,
        "$ref" => {
            let pointer = rule.as_str().unwrap().trim_start_matches('#');
            is_valid(root.pointer(pointer).unwrap(), root, value)
        }
        "type" => match rule {
            Value::String(name) => is_type(name, value),
            names => names.as_array().unwrap().iter().any(|n| is_type(n.as_str().unwrap(), value)),
        },
        "enum" => rule.as_array().unwrap().contains(value),
        "anyOf" => rule.as_array().unwrap().iter().any(|schema| is_valid(schema, root, value)),
        "not" => !is_valid(rule, root, value),
        "required" => value.as_object().is_none_or(|object| {
            rule.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            object.iter().all(|(name, value)| {
                rule.get(name).is_none_or(|schema| is_valid(schema, root, value))
            })
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = keywords.get("properties");
            object
                .iter()
                .filter(|(name, _)| known.is_none_or(|known| known.get(name).is_none()))
                .all(|(_, value)| is_valid(rule, root, value))
        }),
        "propertyNames" => value
            .as_object()
            .is_none_or(|object| object.keys().all(|name| is_valid(rule, root, &json!(name)))),
        "maxProperties" => value
            .as_object()
            .is_none_or(|o| u64::try_from(o.len()).unwrap() <= rule.as_u64().unwrap()),
        "minLength" => length(value).is_none_or(|length| length >= rule.as_u64().unwrap()),
        "maxLength" => length(value).is_none_or(|length| length <= rule.as_u64().unwrap()),
        "minimum" => {
            !value.is_number() || value.as_u64().is_some_and(|n| n >= rule.as_u64().unwrap())
        }
        "maximum" => {
            !value.is_number() || value.as_u64().is_some_and(|n| n <= rule.as_u64().unwrap())
        }
        "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
        other => panic!("the test does not know the keyword {other}"),
    })
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("the test does not know the type {other}"),
    }
}

fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| u64::try_from(text.chars().count()).unwrap())
}

/// The patterns of the schemas, in words.
fn matches(pattern: &str, text: &str) -> bool {
    if pattern == "^1[0-9]{10}$" {
        return text.len() == 11
            && text.starts_with('1')
            && text.bytes().all(|byte| byte.is_ascii_digit());
    }
    if pattern == "^-?[0-9]+$" {
        let digits = text.strip_prefix('-').unwrap_or(text);
        return !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    }
    assert!(pattern.starts_with("^[0-9]{4}-[0-9]{2}-[0-9]{2}"), "unknown pattern {pattern}");
    let shape: String = text
        .chars()
        .map(|letter| if letter.is_ascii_digit() { '0' } else { letter })
        .take(16)
        .collect();
    let rest = text.get(16..).unwrap_or_default();
    (shape == "0000-00-00T00:00" || shape == "0000-00-00 00:00")
        && (rest.contains('+') || rest.contains('-') || rest.ends_with('Z'))
}

/// What the Python package `jsonschema` says of samples: it does not read a schema as we do.
fn judged_by_others(schema: &Value, samples: &[Value]) -> Vec<bool> {
    let python =
        std::env::var("TALLY_TEST_PYTHON").expect("TALLY_TEST_PYTHON is not set: run `make test`");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/check_json_schema.py");
    let mut judge = Command::new(python)
        .arg(script)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = json!({"schema": schema, "samples": samples}).to_string();
    judge.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
    let answer = judge.wait_with_output().unwrap();
    assert!(answer.status.success(), "check_json_schema.py says above what is wrong");
    serde_json::from_slice(&answer.stdout).unwrap()
}

fn event(changes: &Value) -> Value {
    let mut event = json!({
        "source": "gw", "id": "1", "account": "A", "model": "m", "completed_at": 5,
        "usage": {"input": 1},
    });
    for (name, value) in changes.as_object().unwrap() {
        if value == "absent" {
            event.as_object_mut().unwrap().remove(name);
        } else {
            event[name] = value.clone();
        }
    }
    event
}

/// Events, and whether they are valid.
fn samples() -> Vec<(bool, Value)> {
    let long = "x".repeat(TEXT_MAX_BYTES + 1);
    let longest = "x".repeat(TEXT_MAX_BYTES);
    let labels = |count: usize| -> Value {
        json!(
            (0..count)
                .map(|n| (format!("k{n}"), "v".to_owned()))
                .collect::<std::collections::BTreeMap<_, _>>()
        )
    };
    let changes = [
        (true, json!({})),
        (true, json!({"note": 1})),
        (true, json!({"subscriber": null, "region": "", "labels": null, "gateway_seq": null})),
        (true, json!({"started_at": null, "usage_source": null})),
        (true, json!({"usage_source": "vendor_bill"})),
        (true, json!({"completed_at": "2026-11-22T14:22:37.827+08:00", "started_at": 1})),
        (true, json!({"completed_at": "2026-11-22T14:22:37Z"})),
        (true, json!({"completed_at": 253_402_300_799_999_u64})),
        (true, json!({"usage": {"input": COUNT_MAX, "output": null}})),
        (true, json!({"usage": {"characters": 0}})),
        (true, json!({"usage": {"input": 2, "output": 3, "reasoning": 3, "total": 5}})),
        (true, json!({"labels": labels(LABELS_MAX), "product": longest})),
        (true, json!({"account": "23800138000", "subscriber": "138001380001"})),
        (true, json!({"corrects": null})),
        (true, json!({"corrects": {"source": "gw", "id": "0"}})),
        (true, json!({"corrects": {"source": "gw", "id": "0", "kind": "replace"}})),
        (
            true,
            json!({"corrects": {"source": "gw", "id": "0"}, "model": "absent", "usage": "absent"}),
        ),
        (true, json!({"corrects": {"source": "gw", "id": "0", "kind": "void"}, "usage": "absent"})),
        (false, json!({"corrects": {"source": "gw"}})),
        (false, json!({"corrects": {"source": "gw", "id": ""}})),
        (false, json!({"corrects": {"source": "gw", "id": long}})),
        (false, json!({"corrects": {"source": "gw", "id": "0", "kind": "undo"}})),
        (
            false,
            json!({"corrects": {"source": "gw", "id": "0", "kind": "replace"}, "usage": "absent"}),
        ),
        (false, json!({"corrects": 5})),
        (false, json!({"source": "absent"})),
        (false, json!({"id": ""})),
        (false, json!({"account": null})),
        (false, json!({"model": 5})),
        (false, json!({"completed_at": "absent"})),
        (false, json!({"completed_at": null})),
        (false, json!({"completed_at": 5.5})),
        (false, json!({"completed_at": -1})),
        (false, json!({"completed_at": 253_402_300_800_000_u64})),
        (false, json!({"completed_at": "2026-11-22T14:22:37"})),
        (false, json!({"completed_at": "soon"})),
        (false, json!({"completed_at": true})),
        (false, json!({"started_at": []})),
        (false, json!({"usage": "absent"})),
        (false, json!({"usage": null})),
        (false, json!({"usage": {}})),
        (false, json!({"usage": {"total": 0}})),
        (false, json!({"usage": 5})),
        (false, json!({"usage": [1]})),
        (false, json!({"usage": {"input": -1}})),
        (false, json!({"usage": {"input": 1.5}})),
        (false, json!({"usage": {"input": "1"}})),
        (false, json!({"usage": {"input": COUNT_MAX + 1}})),
        (false, json!({"usage": {"input": 1, "tool": 1}})),
        (false, json!({"usage_source": "guess"})),
        (false, json!({"usage_source": 1})),
        (false, json!({"region": {}})),
        (false, json!({"product": long})),
        (false, json!({"account": "13800138000"})),
        (false, json!({"subscriber": "13800138000"})),
        (false, json!({"gateway_seq": -1})),
        (false, json!({"gateway_epoch": "1"})),
        (false, json!({"labels": {"a": 1}})),
        (false, json!({"labels": labels(LABELS_MAX + 1)})),
        (false, json!({"labels": [1]})),
    ];
    changes.into_iter().map(|(expected, changes)| (expected, event(&changes))).collect()
}

#[test]
fn schema_and_reader_agree() {
    let schema: Value = serde_json::from_str(USAGE_EVENT_JSON_SCHEMA).unwrap();
    for (expected, event) in samples() {
        let text = event.to_string();
        let errors = parse_event(text.as_bytes()).errors;
        assert_eq!(errors.is_empty(), expected, "reader: {text} {errors:?}");
        assert_eq!(is_valid(&schema, &schema, &event), expected, "schema: {text}");
    }
    for value in [json!(5), json!([]), json!(null)] {
        assert!(!is_valid(&schema, &schema, &value));
    }
}

#[test]
fn another_validator_judges_the_same() {
    let schema: Value = serde_json::from_str(USAGE_EVENT_JSON_SCHEMA).unwrap();
    let (mut expected, mut events): (Vec<bool>, Vec<Value>) = samples().into_iter().unzip();
    expected.extend([false; 3]);
    events.extend([json!(5), json!([]), json!(null)]);
    let judged = judged_by_others(&schema, &events);
    assert_eq!(judged.len(), expected.len());
    for ((judged, expected), event) in judged.iter().zip(&expected).zip(&events) {
        assert_eq!(judged, expected, "{event}");
    }
}

#[test]
fn schema_names_every_field_and_class() {
    let schema: Value = serde_json::from_str(USAGE_EVENT_JSON_SCHEMA).unwrap();
    let names = |value: &Value| -> Vec<String> {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    let mut fields = EVENT_FIELDS.map(str::to_owned).to_vec();
    fields.push("corrects".to_owned());
    fields.sort();
    assert_eq!(names(&schema["properties"]), fields);
    let mut classes: Vec<String> = TokenClass::ALL.iter().map(|c| c.name().to_owned()).collect();
    classes.push("total".to_owned());
    classes.sort();
    assert_eq!(names(&schema["$defs"]["usage"]["properties"]), classes);
}

/// An alert with everything, and one with nothing that may be absent.
fn alerts() -> [AlertMessage; 2] {
    let text = |text: &str| Some(text.to_owned());
    let full = AlertMessage {
        id: "5f2b".to_owned(),
        kind: "percent_used".to_owned(),
        account: text("A1"),
        subscriber: text("S1"),
        model: text("glm-5"),
        package: text("telecom-10m"),
        bucket: text("b1"),
        period_start: 1_795_326_000_000,
        counter: "percent_used:0".to_owned(),
        threshold: Whole(80),
        used: Whole(1 << 60),
        allowance: Some(Whole(1 << 70)),
        at: 1_795_329_755_827,
        event: Some(AlertEvent { source: "gw".to_owned(), id: "1".to_owned() }),
        command: text("c1"),
        corrects: text("5f2a"),
        position: Some(LogPosition { partition: 3, offset: 7 }),
    };
    let bare = AlertMessage {
        id: "1".to_owned(),
        kind: "budget".to_owned(),
        used: Whole(-1),
        ..AlertMessage::default()
    };
    [full, bare]
}

#[test]
fn alerts_are_as_their_schema_says() {
    let schema: Value = serde_json::from_str(ALERT_JSON_SCHEMA).unwrap();
    let names = |value: &Value| -> Vec<String> {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    let (mut ours, mut spoilt) = (Vec::new(), Vec::new());
    for alert in alerts() {
        let value: Value = serde_json::from_slice(&alert.to_json().unwrap()).unwrap();
        assert!(is_valid(&schema, &schema, &value), "{value}");
        assert_eq!(names(&value), names(&schema["properties"]), "every field, and no other");
        let mut required: Vec<&str> =
            schema["required"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        required.sort_unstable();
        assert_eq!(names(&value), required);
        for (field, wrong) in [
            ("id", json!("")),
            ("id", Value::Null),
            ("kind", json!("birthday")),
            ("account", json!(5)),
            ("period_start", json!("2026-11-22")),
            ("threshold", json!(1.5)),
            ("used", json!("12 points")),
            ("used", json!("")),
            ("allowance", json!(true)),
            ("event", json!({"source": "gw"})),
            ("position", json!({"partition": -1, "offset": 0})),
            ("corrects", json!([])),
        ] {
            let mut changed = value.clone();
            changed[field] = wrong;
            assert!(!is_valid(&schema, &schema, &changed), "{changed}");
            spoilt.push(changed);
        }
        ours.push(value);
    }
    assert!(judged_by_others(&schema, &ours).iter().all(|valid| *valid));
    assert!(!judged_by_others(&schema, &spoilt).iter().any(|valid| *valid));
}
