//! Health, metrics, the schema, closing, and settings.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tally_ingest::{Door, DoorErrorKind};
use tally_log::EventLog;
use tally_schemas::IngestConfig;

use crate::client::{Bench, JSON, event, post};
use crate::controlled_log::{Answering, ControlledLog};

#[tokio::test]
async fn metrics_count_what_the_answers_said() {
    let bench = Bench::new();
    let mut bad = event("b", "B");
    bad["usage"]["input"] = json!(-1);
    bench.accept(JSON, json!([event("a", "A"), bad, {"id": "c"}]).to_string()).await;
    bench.post(JSON, "[").await;
    let reply = bench.get("/metrics").await;
    let text = String::from_utf8(reply.body).unwrap();
    for line in [
        "tally_ingest_events_received_total{format=\"json\"} 3",
        "tally_ingest_events_accepted_total 2",
        "tally_ingest_events_rejected_total{code=\"missing_source\"} 1",
        "tally_ingest_events_held_total{code=\"count_negative\"} 1",
        "tally_ingest_requests_total{status=\"200\"} 1",
        "tally_ingest_requests_total{status=\"400\"} 1",
        "tally_ingest_batch_events_count 1",
        "tally_ingest_ack_seconds_count 2",
        "tally_ingest_in_flight_bytes 0",
        "tally_ingest_in_flight_max_bytes 134217728",
    ] {
        // `rejected` goes by the first defect that made it unattributable.
        let line = line.replace("missing_source", first_rejected(&text));
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

fn first_rejected(text: &str) -> &str {
    let after = text.split("tally_ingest_events_rejected_total{code=\"").nth(1).unwrap();
    after.split('"').next().unwrap()
}

#[tokio::test]
async fn the_schema_of_the_event_is_published() {
    let reply = Bench::new().get("/v1/schema/usage-event.json").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "application/schema+json");
    let schema: Value = reply.json();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let bench = Bench::new();
    bench.get("/v2/events").await.assert_problem(404, "not_found");
    bench.get("/v1/events").await.assert_problem(405, "method_not_allowed");
    let request = Request::delete("/healthz").body(Body::empty()).unwrap();
    bench.send(request).await.assert_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let bench = Bench::new();
    bench.log.answer_with(Answering::Hold);
    let router = bench.router.clone();
    let request = post(JSON, event("a", "A").to_string());
    let in_flight = tokio::spawn(tower::ServiceExt::oneshot(router, request));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let error = bench.door.drain(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.kind(), DoorErrorKind::Retry, "{error}");
    bench.post(JSON, event("b", "B").to_string()).await.assert_problem(503, "draining");
    bench.get("/readyz").await.assert_problem(503, "draining");
    assert_eq!(bench.get("/healthz").await.status, 200);
    let door = bench.door.clone();
    let drained = tokio::spawn(async move { door.drain(Duration::from_secs(5)).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!drained.is_finished());
    bench.log.answer_with(Answering::Acknowledge);
    drained.await.unwrap().unwrap();
    assert_eq!(in_flight.await.unwrap().unwrap().status(), 200);
    assert_eq!(bench.log.batched_events().len(), 1);
}

#[tokio::test]
async fn a_log_that_never_answers_is_a_stall() {
    let bench = Bench::with(IngestConfig { ack_timeout_ms: 1, ..IngestConfig::default() });
    assert_eq!(bench.get("/healthz").await.status, 200);
    bench.log.answer_with(Answering::Hold);
    bench.post(JSON, event("a", "A").to_string()).await.assert_problem(503, "log_unavailable");
    tokio::time::sleep(Duration::from_millis(20)).await;
    bench.get("/healthz").await.assert_problem(503, "stalled");
    bench.get("/readyz").await.assert_problem(503, "stalled");
    bench.log.answer_with(Answering::Acknowledge);
    bench.door.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(bench.get("/healthz").await.status, 200);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let log: Arc<dyn EventLog> = ControlledLog::new(1);
    let usual = IngestConfig::default();
    for (config, setting) in [
        (
            IngestConfig { in_flight_max_bytes: usual.body_max_bytes, ..usual.clone() },
            "ingest.in_flight_max_bytes",
        ),
        (IngestConfig { batch_max_bytes: 0, ..usual.clone() }, "ingest.batch_max_bytes"),
        (IngestConfig { ack_timeout_ms: 0, ..usual }, "ingest.ack_timeout_ms"),
    ] {
        let error = Door::new(config, 3_600_000, &log, Arc::new(Mutex::default())).unwrap_err();
        assert_eq!(error.kind(), DoorErrorKind::Invalid);
        assert!(error.to_string().starts_with(setting), "{error}");
    }
}
