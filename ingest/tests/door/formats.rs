//! Every format carries the same events to the same records.

use axum::body::Body;
use axum::http::Request;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use tally_log::RecordKind;
use tally_schemas::{COUNT_MAX, TokenClass, UsageBatch, UsageEventMessage, parse_event};

use crate::client::{Bench, CLOUD_EVENT, CLOUD_EVENT_BATCH, JSON, NDJSON, PROTOBUF, event};

fn messages(events: &[Value]) -> Vec<UsageEventMessage> {
    let mut out: Vec<_> = events
        .iter()
        .map(|event| {
            let text = event.to_string();
            let parsed = parse_event(text.as_bytes());
            assert_eq!(parsed.errors, [], "{text}");
            UsageEventMessage::from_event(&parsed.event)
        })
        .collect();
    sort(&mut out);
    out
}

fn sort(messages: &mut [UsageEventMessage]) {
    messages.sort_by(|a, b| (&a.source, &a.id).cmp(&(&b.source, &b.id)));
}

/// The event as a CloudEvent: identity in the envelope, everything else in `data`.
fn cloud_event(event: &Value) -> Value {
    let mut data = event.clone();
    let fields = data.as_object_mut().unwrap();
    let id = fields.remove("id").unwrap();
    let source = fields.remove("source").unwrap();
    json!({"specversion": "1.0", "type": "tally.usage", "data": data, "id": id, "source": source,
           "traceparent": "00-1-2-01"})
}

/// Every way to send `events`, as content type and body.
fn bodies(events: &[Value]) -> Vec<(&'static str, Vec<u8>)> {
    let mut ndjson = String::new();
    for event in events {
        ndjson.push_str(&event.to_string());
        ndjson.push_str("\r\n\n");
    }
    let envelopes: Vec<Value> = events.iter().map(cloud_event).collect();
    let batch = UsageBatch { events: messages(events) };
    vec![
        (JSON, json!(events).to_string().into_bytes()),
        (JSON, json!({ "events": events }).to_string().into_bytes()),
        (JSON, format!(" {{\"about\":1, \"events\":{}}}", json!(events)).into_bytes()),
        (NDJSON, ndjson.into_bytes()),
        (CLOUD_EVENT_BATCH, json!(envelopes).to_string().into_bytes()),
        (PROTOBUF, batch.encode_to_vec()),
    ]
}

async fn assert_all_formats_agree(events: Vec<Value>) {
    let expected = messages(&events);
    for (content_type, body) in bodies(&events) {
        let bench = Bench::new();
        let answer = bench.accept(content_type, body).await;
        assert_eq!(answer["accepted"], events.len(), "{content_type}: {answer}");
        assert_eq!(answer["rejected"], json!([]));
        let mut stored = bench.log.batched_events();
        sort(&mut stored);
        assert_eq!(stored, expected, "{content_type}");
        assert!(bench.log.singles().is_empty());
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9-]{1,12}", "\\PC{1,20}", Just("引号\"\\\n".to_owned())]
}

fn valid_event() -> impl Strategy<Value = Value> {
    let optional = proptest::collection::btree_map(
        prop_oneof![
            Just("subscriber"),
            Just("billed_model"),
            Just("vendor"),
            Just("supplier"),
            Just("finish_reason"),
            Just("service_tier"),
            Just("region"),
            Just("channel"),
            Just("product"),
            Just("vendor_request_id"),
        ],
        text(),
        0..10,
    );
    let counts = proptest::collection::btree_map(
        (0..TokenClass::ALL.len()).prop_map(|at| TokenClass::ALL[at]),
        prop_oneof![0..10_000_u64, Just(COUNT_MAX)],
        1..6,
    );
    let labels = proptest::option::of(proptest::collection::btree_map(text(), "\\PC{0,9}", 0..4));
    let sequence = proptest::option::of(0..=COUNT_MAX);
    let source =
        prop_oneof![Just("reported"), Just("partial"), Just("estimated"), Just("vendor_bill")];
    let times = (0..253_402_300_799_999_i64, proptest::option::of(0..100_000_i64));
    (text(), text(), text(), optional, counts, labels, sequence, source, times).prop_map(
        |(gateway, account, model, optional, counts, labels, sequence, usage_source, times)| {
            let (completed_at, lasted) = times;
            let mut event = json!({
                "source": gateway, "id": "", "account": account, "model": model,
                "completed_at": completed_at, "usage_source": usage_source,
            });
            let mut usage: serde_json::Map<String, Value> =
                counts.iter().map(|(class, n)| (class.name().to_owned(), json!(n))).collect();
            // Reasoning is a part of output.
            usage.remove("reasoning");
            if let Some(output) = counts.get(&TokenClass::Output) {
                usage.insert("reasoning".to_owned(), json!(output / 2));
            }
            if usage.is_empty() {
                usage.insert("requests".to_owned(), json!(3));
            }
            event["usage"] = Value::Object(usage);
            for (name, value) in optional {
                event[name] = json!(value);
            }
            if let Some(labels) = labels {
                event["labels"] = json!(labels);
            }
            if let Some(sequence) = sequence {
                event["gateway_seq"] = json!(sequence);
                event["gateway_epoch"] = json!(0);
            }
            if let Some(lasted) = lasted {
                event["started_at"] = json!((completed_at - lasted).max(0));
            }
            event
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_valid_events_come_through_every_format_alike(
        mut events in proptest::collection::vec(valid_event(), 1..20)
    ) {
        for (number, event) in events.iter_mut().enumerate() {
            event["id"] = json!(format!("ev-{number:03}"));
        }
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(assert_all_formats_agree(events));
    }
}

#[tokio::test]
async fn a_single_event_comes_as_object_cloud_event_or_binary_cloud_event() {
    let sent = event("ev-1", "A1");
    let expected = messages(std::slice::from_ref(&sent));
    let envelope = cloud_event(&sent);
    let binary = Request::post("/v1/events")
        .header("content-type", "application/json; charset=utf-8")
        .header("ce-specversion", "1.0")
        .header("ce-type", "tally.usage")
        .header("ce-source", "gw%2Dsh-01")
        .header("ce-id", "ev-1")
        .body(Body::from(envelope["data"].to_string()))
        .unwrap();
    let requests = [
        crate::client::post(JSON, sent.to_string()),
        crate::client::post(CLOUD_EVENT, envelope.to_string()),
        binary,
    ];
    for request in requests {
        let bench = Bench::new();
        let reply = bench.send(request).await;
        assert_eq!(reply.json(), json!({"accepted": 1, "rejected": [], "warnings": []}));
        assert_eq!(bench.log.batched_events(), expected);
    }
}

#[tokio::test]
async fn the_envelope_of_a_cloud_event_gives_the_identity() {
    let mut envelope = cloud_event(&event("ev-1", "A1"));
    envelope["data"]["id"] = json!("inner");
    let bench = Bench::new();
    let answer = bench.accept(CLOUD_EVENT, envelope.to_string()).await;
    assert_eq!(answer["accepted"], 1);
    assert_eq!(answer["warnings"][0]["code"], "identity_of_envelope");
    assert_eq!(bench.log.batched_events()[0].id, "ev-1");
}

#[tokio::test]
async fn what_is_no_cloud_event_is_refused_alone() {
    let good = cloud_event(&event("ev-1", "A1"));
    let change = |name: &str, value: Option<Value>| {
        let mut envelope = good.clone();
        let fields = envelope.as_object_mut().unwrap();
        match value {
            Some(value) => fields.insert(name.to_owned(), value),
            None => fields.remove(name),
        };
        envelope
    };
    let cases = [
        (change("specversion", None), "malformed"),
        (change("specversion", Some(json!("0.3"))), "malformed"),
        (change("data", None), "malformed"),
        (change("data", Some(json!("text"))), "malformed"),
        (change("data_base64", Some(json!("e30="))), "malformed"),
        (change("id", None), "missing_id"),
        (change("source", Some(json!(""))), "missing_source"),
        (change("id", Some(json!(7))), "invalid_type"),
        (change("id", Some(json!("x".repeat(257)))), "text_too_long"),
        (json!(3), "malformed"),
        (json!([good.clone()]), "malformed"),
    ];
    for (bad, code) in cases {
        let bench = Bench::new();
        let body = json!([bad, good]).to_string();
        let answer = bench.accept(CLOUD_EVENT_BATCH, body).await;
        assert_eq!(answer["accepted"], 1, "{bad}");
        assert_eq!(answer["rejected"][0]["index"], 0);
        assert_eq!(answer["rejected"][0]["code"], code, "{bad}: {answer}");
    }
}

#[tokio::test]
async fn a_bad_element_of_a_usage_batch_is_refused_alone() {
    let good = UsageBatch { events: messages(&[event("ev-1", "A1")]) }.encode_to_vec();
    let mut body = vec![0x0a, 2, 0xff, 0xff];
    body.extend_from_slice(&good);
    // An unknown field of the batch is skipped and named.
    body.extend_from_slice(&[0x12, 1, b'x']);
    let bench = Bench::new();
    let answer = bench.accept(PROTOBUF, body).await;
    assert_eq!(answer["accepted"], 1);
    assert_eq!(answer["rejected"][0]["code"], "malformed");
    assert_eq!(answer["warnings"][0]["code"], "unknown_field");

    for cut in [vec![0x0a, 200, 1, 0], vec![0x0b], vec![0x00], vec![0x0a]] {
        Bench::new().post(PROTOBUF, cut).await.assert_problem(400, "unparseable");
    }
}

/// A body of each content type that is sound.
fn sound_bodies() -> [(&'static str, Vec<u8>); 5] {
    let (first, second) = (event("ev-1", "A1"), event("ev-2", "A2"));
    [
        (JSON, json!({"events": [first, second]}).to_string().into_bytes()),
        (NDJSON, format!("{first}\n{second}\n").into_bytes()),
        (CLOUD_EVENT, cloud_event(&first).to_string().into_bytes()),
        (
            CLOUD_EVENT_BATCH,
            json!([cloud_event(&first), cloud_event(&second)]).to_string().into_bytes(),
        ),
        (PROTOBUF, UsageBatch { events: messages(&[first, second]) }.encode_to_vec()),
    ]
}

/// What a body is spoilt with.
const SPOILERS: [&[u8]; 16] = [
    b"",
    b" ",
    b"\"",
    b"\\",
    b",",
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"\xff",
    b"\x00",
    b"\x0a\x80\x80",
    b"-1",
    b"\n",
];

/// Posts a body; the answer must be one that the interface has, whatever the body is.
async fn assert_answered(content_type: &str, body: Vec<u8>) {
    let sent = String::from_utf8_lossy(&body).into_owned();
    let bench = Bench::new();
    let reply = bench.post(content_type, body).await;
    let answer = reply.json();
    match reply.status.as_u16() {
        200 => {
            let accepted = usize::try_from(answer["accepted"].as_u64().unwrap()).unwrap();
            assert!(answer["rejected"].is_array() && answer["warnings"].is_array(), "{answer}");
            // What has a defect goes on alone and as it came, to be held back.
            let records = bench.log.records();
            let singles = records.iter().filter(|record| record.kind == RecordKind::Single);
            let logged = bench.log.batched_events().len() + singles.count();
            assert_eq!(logged, accepted, "{sent}");
        }
        400 | 413 => {
            assert_eq!(reply.headers["content-type"], "application/problem+json", "{sent}");
            assert_eq!(answer["status"], reply.status.as_u16());
        }
        other => panic!("{other} for {sent}: {answer}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_body_is_answered_as_the_interface_says(
        format in 0..5_usize,
        spots in proptest::collection::vec((any::<proptest::sample::Index>(), 0..SPOILERS.len(), 0..4_usize), 0..4),
        noise in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let (content_type, mut body) = sound_bodies()[format].clone();
        for (at, spoiler, removed) in &spots {
            let start = at.index(body.len() + 1);
            let end = (start + removed).min(body.len());
            body.splice(start..end, SPOILERS[*spoiler].iter().copied());
        }
        let posts = async {
            assert_answered(content_type, body).await;
            assert_answered(content_type, noise).await;
        };
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(posts);
    }
}
