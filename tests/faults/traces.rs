//! A trace from the request of a gateway through Kafka to the epoch that commits its event, as an
//! OpenTelemetry collector gets it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;

use crate::door::address;
use crate::support::{Stream, block_on, eventually};

const PATIENCE: Duration = Duration::from_secs(60);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const GATEWAY_SPAN: &str = "00f067aa0ba902b7";

/// Spans that came, each with the service that it is of.
type Spans = Arc<Mutex<Vec<(String, Span)>>>;

async fn collect(State(spans): State<Spans>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for of_process in request.resource_spans {
        let attributes = of_process.resource.unwrap().attributes;
        let role = attributes.iter().find(|attribute| attribute.key == "tally.role").unwrap();
        let role = format!("{:?}", role.value);
        for span in of_process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.lock().unwrap().push((role.clone(), span));
        }
    }
}

/// A collector of its own.
fn collector() -> (String, Spans) {
    let spans = Spans::default();
    let routes = Router::new().route("/v1/traces", post(collect)).with_state(Arc::clone(&spans));
    let listener = block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || block_on(async move { axum::serve(listener, routes).await }));
    (url, spans)
}

/// A number that a span has, in words.
fn number(span: &Span, key: &str) -> u64 {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key);
    let value = attribute.and_then(|attribute| attribute.value.as_ref()?.value.as_ref());
    match value {
        Some(Value::StringValue(text)) => text.parse().unwrap(),
        other => panic!("{key} is {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_request_is_followed_to_the_epoch_that_commits_it() {
    let (collector, spans) = collector();
    let mut stream = Stream::new("traces", 1, 2);
    stream.set("traces.otlp_endpoint", collector);
    stream.set("traces.one_in", 0);
    let (aggregate, door) = (stream.tally(&["aggregate"]), stream.tally(&["ingest"]));
    let mut aggregate = stream.start("aggregate", aggregate);
    let mut door = stream.start("ingest", door);
    let url = format!("http://{}/v1/events", address(&door.says("http://", PATIENCE)));
    let event = |id: &str| {
        json!({"source": "gw-1", "id": id, "account": "A-secret", "model": "glm-5",
               "completed_at": "2026-11-22T14:22:37.827+08:00", "usage": {"input": 7, "output": 3}})
    };
    let send = |id: &str, parent: Option<&str>| {
        let request =
            reqwest::Client::builder().no_proxy().build().unwrap().post(&url).json(&event(id));
        let request =
            parent.iter().fold(request, |request, text| request.header("traceparent", *text));
        assert_eq!(block_on(request.send()).unwrap().status(), 200);
    };
    send("followed", Some(&format!("00-{TRACE}-{GATEWAY_SPAN}-01")));
    // Neither asked for, nor chosen.
    send("alone", None);
    send("not-followed", Some("00-11111111111111111111111111111111-2222222222222222-00"));
    send("nonsense", Some("nonsense"));
    let found = eventually("both spans", PATIENCE, || {
        let spans = spans.lock().unwrap();
        (spans.len() >= 2).then(|| spans.clone())
    });
    let of = |name: &str| {
        found
            .iter()
            .find(|(_, span)| span.name == name)
            .unwrap_or_else(|| panic!("no {name}: {found:?}"))
    };
    let (door_role, request) = of("POST /v1/events");
    let (stream_role, commit) = of("commit epoch");
    assert!(door_role.contains("ingest") && stream_role.contains("aggregate"));
    assert_eq!(hex(&request.trace_id), TRACE);
    assert_eq!(hex(&request.parent_span_id), GATEWAY_SPAN);
    assert_eq!(hex(&commit.trace_id), TRACE);
    assert_eq!(commit.parent_span_id, request.span_id);
    assert!(commit.start_time_unix_nano <= commit.end_time_unix_nano);
    let partition = u32::try_from(number(commit, "messaging.destination.partition.id")).unwrap();
    let (offset, epoch) = (number(commit, "messaging.kafka.offset"), number(commit, "tally.epoch"));
    let entries = stream.ledger().entries(partition);
    let entry = entries.iter().find(|entry| entry.n == epoch).unwrap();
    assert!((entry.from..entry.to).contains(&offset), "{offset} is not of {entry:?}");
    assert!(door.terminate(PATIENCE).success());
    assert!(aggregate.terminate(PATIENCE).success());
    let all = spans.lock().unwrap();
    assert_eq!(all.len(), 2, "{all:?}");
    // What was used, and by whom, is nobody's business who watches traces.
    assert!(!format!("{all:?}").contains("secret"), "{all:?}");
}

/// A door that follows every request begins the traces that nobody else has begun.
#[test]
fn a_door_chooses_requests_by_itself() {
    let (collector, spans) = collector();
    let mut stream = Stream::new("traces-chosen", 2, 1);
    stream.set("traces.otlp_endpoint", collector);
    stream.set("traces.one_in", 1);
    let (aggregate, door) = (stream.tally(&["aggregate"]), stream.tally(&["ingest"]));
    let mut aggregate = stream.start("aggregate", aggregate);
    let mut door = stream.start("ingest", door);
    let url = format!("http://{}/v1/events", address(&door.says("http://", PATIENCE)));
    let event = json!({"source": "gw-1", "id": "chosen", "account": "A1", "model": "glm-5",
                       "completed_at": "2026-11-22T14:22:37.827+08:00", "usage": {"input": 7}});
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(block_on(client.post(&url).json(&event).send()).unwrap().status(), 200);
    let found = eventually("both spans", PATIENCE, || {
        let spans = spans.lock().unwrap();
        (spans.len() >= 2).then(|| spans.clone())
    });
    let of = |name: &str| &found.iter().find(|(_, span)| span.name == name).unwrap().1;
    let (request, commit) = (of("POST /v1/events"), of("commit epoch"));
    assert!(request.parent_span_id.is_empty(), "{request:?}");
    assert_eq!(commit.trace_id, request.trace_id);
    assert_eq!(commit.parent_span_id, request.span_id);
    assert!(door.terminate(PATIENCE).success());
    assert!(aggregate.terminate(PATIENCE).success());
}
