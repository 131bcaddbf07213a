//! `GET /healthz`, `/readyz`, `/metrics` and the published JSON Schema.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tally_schemas::USAGE_EVENT_JSON_SCHEMA;

use crate::door::{Door, DoorStatus};
use crate::problem::{Problem, ProblemKind};

/// Alive: what was handed to the log gets answered. A log that answers with errors is no reason
/// to restart the door; one that never answers is.
pub(crate) async fn healthz(State(door): State<Door>) -> Response {
    let status = door.status();
    if status.stalled {
        let waited_ms = status.oldest_wait.unwrap_or_default().as_millis();
        let detail = format!("a record has been waiting for the log for {waited_ms} ms");
        return Problem::new(ProblemKind::Stalled, detail).into_response();
    }
    described("alive", &status)
}

/// Ready: open, with room for a body of the largest size, and the log answers.
pub(crate) async fn readyz(State(door): State<Door>) -> Response {
    let status = door.status();
    let problem = if status.draining {
        Problem::new(ProblemKind::Draining, "the door is closing")
    } else if status.stalled {
        Problem::new(ProblemKind::Stalled, "the log does not answer")
    } else if let Some(error) = &status.failure {
        Problem::new(ProblemKind::LogUnavailable, error.to_string())
    } else if !status.has_room {
        let detail = format!("{} bytes wait for the log", status.in_flight_bytes);
        Problem::new(ProblemKind::Stalled, detail)
    } else {
        return described("ready", &status);
    };
    problem.into_response()
}

fn described(word: &str, status: &DoorStatus) -> Response {
    let oldest_ms = status.oldest_wait.and_then(|wait| u64::try_from(wait.as_millis()).ok());
    let body = json!({
        "status": word,
        "in_flight_bytes": status.in_flight_bytes,
        "oldest_unacknowledged_ms": oldest_ms,
    });
    Json(body).into_response()
}

/// Every metric of the process.
pub(crate) async fn metrics(State(door): State<Door>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match door.metrics_text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => Problem::new(ProblemKind::Internal, error.to_string()).into_response(),
    }
}

/// The JSON Schema of the usage event.
pub(crate) async fn usage_event_schema() -> Response {
    ([(header::CONTENT_TYPE, "application/schema+json")], USAGE_EVENT_JSON_SCHEMA).into_response()
}
