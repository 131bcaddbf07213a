//! Speaks to a door without a socket.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tally_ingest::{Door, router};
use tally_log::EventLog;
use tally_schemas::IngestConfig;
use tower::ServiceExt;

use crate::controlled_log::ControlledLog;

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";
pub(crate) const CLOUD_EVENT: &str = "application/cloudevents+json";
pub(crate) const CLOUD_EVENT_BATCH: &str = "application/cloudevents-batch+json";
pub(crate) const PROTOBUF: &str = "application/x-protobuf";

/// A door, its log, and its paths.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) door: Door,
    pub(crate) log: Arc<ControlledLog>,
    pub(crate) router: Router,
}

/// A received answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that the answer is a problem as RFC 9457 has it, with this status and code.
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let body = self.json();
        assert_eq!(body["status"], status);
        assert_eq!(body["code"], code, "{text}");
        assert_eq!(body["type"], format!("urn:tally:problem:{code}"));
        assert!(body["title"].is_string() && body["detail"].is_string(), "{text}");
        let retry = matches!(status, 429) || matches!(code, "draining" | "log_unavailable");
        assert_eq!(self.headers.contains_key("retry-after"), retry, "Retry-After of {code}");
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(IngestConfig::default())
    }

    pub(crate) fn with(config: IngestConfig) -> Self {
        let log = ControlledLog::new(4);
        let events: Arc<dyn EventLog> = log.clone();
        let door = Door::new(config, 3_600_000, &events, Arc::new(Mutex::default())).unwrap();
        let router = router(door.clone());
        Self { door, log, router }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, content_type: &str, body: impl Into<Body>) -> Reply {
        self.send(post(content_type, body)).await
    }

    /// Posts and checks for 200; gives the answer.
    pub(crate) async fn accept(&self, content_type: &str, body: impl Into<Body>) -> Value {
        let reply = self.post(content_type, body).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", String::from_utf8_lossy(&reply.body));
        reply.json()
    }
}

pub(crate) fn post(content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post("/v1/events").header("content-type", content_type).body(body.into()).unwrap()
}

/// A valid event of an account.
pub(crate) fn event(id: &str, account: &str) -> Value {
    serde_json::json!({
        "source": "gw-sh-01", "id": id, "account": account, "model": "deepseek-v4-flash",
        "completed_at": 1_790_000_000_000_i64, "usage": {"input": 434, "output": 345},
    })
}
