//! What the door answers for each event.

use prost::Message;
use serde_json::{Value, json};
use tally_schemas::{Usage, UsageBatch, UsageEventMessage};

use crate::client::{Bench, CLOUD_EVENT_BATCH, JSON, NDJSON, PROTOBUF, event};

fn with(changes: Value) -> Value {
    let mut event = event("ev-1", "A1");
    for (name, value) in changes.as_object().unwrap() {
        if value == "-" {
            event.as_object_mut().unwrap().remove(name);
        } else {
            event[name] = value.clone();
        }
    }
    event
}

#[tokio::test]
async fn an_event_that_cannot_be_attributed_is_refused_with_every_defect() {
    let cases = [
        (json!({"source": "-"}), "missing_source"),
        (json!({"id": ""}), "missing_id"),
        (json!({"account": null}), "missing_account"),
        (json!({"completed_at": "-"}), "missing_completed_at"),
        (json!({"completed_at": 1.5}), "invalid_time"),
        (json!({"completed_at": "yesterday"}), "invalid_time"),
        (json!({"account": 17}), "invalid_type"),
        (json!({"id": "x".repeat(300)}), "text_too_long"),
        (json!({"account": "13800138000"}), "phone_number"),
        (json!({"subscriber": "13800138000"}), "phone_number"),
    ];
    for (changes, code) in cases {
        let bench = Bench::new();
        let mut bad = with(changes);
        bad["usage"]["input"] = json!(-1);
        let body = json!([event("ev-0", "A0"), bad, event("ev-2", "A2")]).to_string();
        let answer = bench.accept(JSON, body).await;
        assert_eq!(answer["accepted"], 2, "{bad}");
        let refused = &answer["rejected"][0];
        assert_eq!(refused["index"], 1);
        assert_eq!(refused["code"], code, "{refused}");
        let codes: Vec<&str> = refused["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["code"].as_str().unwrap())
            .collect();
        assert!(codes.contains(&code) && codes.contains(&"count_negative"), "{codes:?}");
        assert!(bench.log.singles().is_empty());
        assert_eq!(bench.log.batched_events().len(), 2);
    }
}

#[tokio::test]
async fn an_event_with_a_defect_goes_on_alone_without_foreign_fields() {
    let cases = [
        (json!({"model": "-"}), "missing_model"),
        (json!({"usage": "-"}), "missing_usage"),
        (json!({"usage": {"input": 1.5}}), "count_not_integer"),
        (json!({"usage": {"input": -3}}), "count_negative"),
        (json!({"usage": {"input": 9_007_199_254_740_993_u64}}), "count_out_of_range"),
        (json!({"usage": {"input": 1, "tool_tokens": 5}}), "unknown_usage_class"),
        (json!({"usage": {"input": 1, "total": 5}}), "total_mismatch"),
        (json!({"usage": {"reasoning": 1}}), "reasoning_exceeds_output"),
        (json!({"started_at": 1_790_000_000_001_i64}), "started_after_completed"),
        (json!({"usage_source": "guess"}), "invalid_usage_source"),
        (json!({"region": ["sh"]}), "invalid_type"),
        (json!({"product": "x".repeat(400)}), "text_too_long"),
    ];
    for (changes, code) in cases {
        let mut bad = with(changes);
        bad["messages"] = json!([{"role": "user", "content": "SECRET"}]);
        let mut data = bad.clone();
        data.as_object_mut().unwrap().remove("id");
        let envelope = json!({"specversion": "1.0", "type": "t", "source": "gw-sh-01", "id": "ev-1", "data": data});
        let bodies = [
            (JSON, bad.to_string()),
            (JSON, json!([bad]).to_string()),
            (JSON, json!({"events": [bad]}).to_string()),
            (NDJSON, format!("{bad}\n")),
            (CLOUD_EVENT_BATCH, json!([envelope]).to_string()),
        ];
        for (content_type, body) in bodies {
            let bench = Bench::new();
            let answer = bench.accept(content_type, body).await;
            assert_eq!(answer["accepted"], 1, "{answer}");
            assert_eq!(answer["rejected"], json!([]));
            assert_eq!(answer["warnings"][0]["code"], code, "{answer}");
            assert_eq!(answer["warnings"][0]["index"], 0);
            assert_eq!(answer["warnings"][0]["id"], "ev-1");
            let singles = bench.log.singles();
            assert_eq!(singles.len(), 1, "{content_type}");
            assert_eq!(singles[0]["id"], "ev-1");
            assert_eq!(singles[0]["source"], "gw-sh-01");
            let again = singles[0].to_string();
            let found = tally_schemas::parse_event(again.as_bytes()).errors;
            assert_eq!(found[0].code.as_str(), code, "the aggregator finds the same: {again}");
            assert!(!again.contains("SECRET"), "{again}");
            assert!(bench.log.batched_events().is_empty());
        }
    }
}

#[tokio::test]
async fn a_protobuf_event_with_a_defect_goes_on_as_json() {
    let message = UsageEventMessage {
        source: "gw".to_owned(),
        id: "ev-1".to_owned(),
        account: "A1".to_owned(),
        model: "m".to_owned(),
        completed_at: Some(5),
        usage_source: 17,
        usage: Some(Usage { input: Some(u64::MAX), total: Some(3), ..Usage::default() }),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        ..UsageEventMessage::default()
    };
    let unattributable = UsageEventMessage { completed_at: Some(-1), ..message.clone() };
    let bench = Bench::new();
    let body = UsageBatch { events: vec![message, unattributable] }.encode_to_vec();
    let answer = bench.accept(PROTOBUF, body).await;
    assert_eq!(answer["accepted"], 1, "{answer}");
    assert_eq!(answer["rejected"][0]["index"], 1);
    assert_eq!(answer["rejected"][0]["code"], "invalid_time");
    let singles = bench.log.singles();
    assert_eq!(singles.len(), 1);
    let text = singles[0].to_string();
    let found: Vec<_> = tally_schemas::parse_event(text.as_bytes())
        .errors
        .iter()
        .map(|e| e.code.as_str())
        .collect();
    assert!(found.contains(&"count_out_of_range"), "{text}: {found:?}");
    assert!(found.contains(&"invalid_usage_source"), "{text}: {found:?}");
    assert_eq!(singles[0]["labels"], json!({"a": "b"}));
}

#[tokio::test]
async fn unknown_fields_are_ignored_counted_and_named() {
    let bench = Bench::new();
    let events = [with(json!({"colour": 1})), with(json!({"colour": 2, "prompt": "SECRET"}))];
    let body = json!({"events": events, "tenant": "t"}).to_string();
    let answer = bench.accept(JSON, body).await;
    assert_eq!(answer["accepted"], 2);
    let warnings = answer["warnings"].as_array().unwrap();
    let named: Vec<&str> = warnings.iter().map(|w| w["field"].as_str().unwrap()).collect();
    assert_eq!(named, ["colour", "prompt", "tenant"]);
    assert!(warnings[0]["message"].as_str().unwrap().contains('2'), "{answer}");
    for record in bench.log.records() {
        assert!(!record.value.windows(6).any(|window| window == b"SECRET"));
    }
    let metrics = String::from_utf8(bench.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("tally_ingest_unknown_fields_total 4\n"), "{metrics}");
}

#[tokio::test]
async fn an_element_that_is_no_object_is_refused_alone() {
    let bench = Bench::new();
    let body = json!([1, "x", null, [event("a", "A")], true, -1, 0.5, event("ev-7", "A1")]);
    let answer = bench.accept(JSON, body.to_string()).await;
    assert_eq!(answer["accepted"], 1);
    let rejected = answer["rejected"].as_array().unwrap();
    assert_eq!(rejected.len(), 7);
    for (index, refused) in rejected.iter().enumerate() {
        assert_eq!(refused["index"], index);
        assert_eq!(refused["code"], "malformed");
        assert_eq!(refused["id"], Value::Null);
    }
}

#[tokio::test]
async fn a_line_that_is_no_json_is_refused_alone() {
    let bench = Bench::new();
    let body = format!("{}\n\n{{\"source\":NaN}}\n{}\n{{", event("a", "A"), event("b", "B"));
    let answer = bench.accept(NDJSON, body).await;
    assert_eq!(answer["accepted"], 2);
    assert_eq!(answer["rejected"][0]["index"], 1);
    assert_eq!(answer["rejected"][1]["index"], 3);
    assert_eq!(answer["rejected"][1]["code"], "malformed");
}

#[tokio::test]
async fn a_field_given_twice_is_refused() {
    let bench = Bench::new();
    let body = r#"{"source":"g","id":"1","account":"A","account":"B","model":"m","completed_at":1,"usage":{"input":1}}"#;
    let answer = bench.accept(JSON, body).await;
    assert_eq!(answer["rejected"][0]["code"], "duplicate_field");
}

#[tokio::test]
async fn an_account_command_is_sent_elsewhere() {
    for command in [json!("purchase"), json!("reference"), json!(5)] {
        let bench = Bench::new();
        let body = json!({"command": command, "id": "c1", "account": "A1", "at": 1}).to_string();
        let answer = bench.accept(JSON, body).await;
        assert_eq!(answer["accepted"], 0);
        assert_eq!(answer["rejected"][0]["code"], "command_not_here");
        assert_eq!(answer["rejected"][0]["id"], "c1");
        assert!(bench.log.records().is_empty());
    }
}

#[tokio::test]
async fn a_time_in_the_future_is_accepted_with_a_warning() {
    let bench = Bench::new();
    let body = with(json!({"completed_at": "9000-01-01T00:00:00Z"})).to_string();
    let answer = bench.accept(JSON, body).await;
    assert_eq!(answer["accepted"], 1);
    assert_eq!(answer["warnings"][0]["code"], "time_in_future");
    assert_eq!(answer["warnings"][0]["id"], "ev-1");
}

#[tokio::test]
async fn an_answer_stays_small_whatever_was_sent() {
    let name = "n".repeat(100_000);
    let many: String = (0..10_000).map(|n| format!("\"c{n}\":1,")).collect();
    let bodies = [
        with(json!({"usage": {name.clone(): 1}})).to_string(),
        with(json!({name.clone(): 1})).to_string(),
        with(json!({"id": name.clone(), "usage_source": name})).to_string(),
        with(json!({"usage": {"input": 1}}))
            .to_string()
            .replace("\"input\"", &format!("{many}\"input\"")),
    ];
    for body in bodies {
        let reply = Bench::new().post(JSON, body).await;
        assert_eq!(reply.status, 200);
        assert!(reply.body.len() < 64_000, "{} bytes", reply.body.len());
    }
    let body = json!(vec![json!({"usage": {"a": 1, "b": 2, "c": 3}}); 20_000]).to_string();
    let answer = Bench::new().accept(JSON, body).await;
    let rejected = answer["rejected"].as_array().unwrap();
    assert_eq!(rejected.len(), 20_000, "each has its result");
    let listed: usize = rejected.iter().map(|r| r["errors"].as_array().unwrap().len()).sum();
    assert_eq!(listed, 10_000);
}

#[tokio::test]
async fn an_empty_batch_is_accepted_with_a_warning() {
    for (content_type, body) in [
        (JSON, "[]"),
        (JSON, " {\"events\": []}"),
        (NDJSON, ""),
        (NDJSON, "\n \n"),
        (CLOUD_EVENT_BATCH, "[]"),
        (PROTOBUF, ""),
    ] {
        let bench = Bench::new();
        let answer = bench.accept(content_type, body).await;
        assert_eq!(answer["accepted"], 0);
        assert_eq!(answer["warnings"][0]["code"], "empty_batch", "{content_type} {body:?}");
        assert!(bench.log.records().is_empty());
    }
}
