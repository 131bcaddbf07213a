//! `GET /v1/accounts/{account}/quota`, and the schema of what is told of accounts.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use serde_json::json;
use tally_aggregate::{Aggregator, NoQuota, PartitionOwner, QuotaPicture};
use tally_schemas::{QUOTA_STATUS_JSON_SCHEMA, TEXT_MAX_BYTES, is_phone_number};

/// Seconds after which a partition that is being recovered, or is busy, may be asked again.
const RETRY_AFTER_S: &str = "1";

/// The routes of an aggregator's process. Its metrics go to `registry`.
pub(crate) fn routes(aggregator: &Arc<Aggregator>, registry: &Mutex<Registry>) -> Router {
    let metrics = Metrics::default();
    if let Ok(mut registry) = registry.lock() {
        metrics.register(&mut registry);
    }
    let asked = Asked { aggregator: Arc::clone(aggregator), metrics };
    Router::new()
        .route("/v1/accounts/{account}/quota", get(quota))
        .with_state(asked)
        .route("/v1/schema/quota-status.json", get(schema))
}

#[derive(Clone)]
struct Asked {
    aggregator: Arc<Aggregator>,
    metrics: Metrics,
}

/// Counters of the answers. Clones share them.
#[derive(Clone)]
struct Metrics {
    requests: Family<[(&'static str, &'static str); 1], Counter>,
    seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        // 16 µs to half a second.
        let seconds = Histogram::new(exponential_buckets(0.000_016, 2.0, 16));
        Self { requests: Family::default(), seconds }
    }
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "tally_quota_requests",
            "Requests for an account's quota, by outcome: ok, or the code of the problem",
            self.requests.clone(),
        );
        registry.register(
            "tally_quota_request_seconds",
            "Time from a request for an account's quota to its answer, without the network",
            self.seconds.clone(),
        );
    }

    fn count(&self, outcome: &'static str, began: Instant) {
        self.requests.get_or_create(&[("outcome", outcome)]).inc();
        self.seconds.observe(began.elapsed().as_secs_f64());
    }
}

async fn quota(
    State(Asked { aggregator, metrics }): State<Asked>,
    uri: Uri,
    account: Result<Path<String>, PathRejection>,
) -> Response {
    let began = Instant::now();
    let answer = look(&aggregator, account).await;
    let outcome = answer.as_ref().map_or_else(Problem::code, |_| "ok");
    metrics.count(outcome, began);
    match answer {
        Ok(picture) => {
            let json = HeaderValue::from_static("application/json");
            // What is told now is not what a cache may tell later.
            let fresh = HeaderValue::from_static("no-store");
            let headers = [(header::CONTENT_TYPE, json), (header::CACHE_CONTROL, fresh)];
            (headers, picture.to_json()).into_response()
        }
        Err(problem) => problem.response(&uri),
    }
}

async fn look(
    aggregator: &Aggregator,
    account: Result<Path<String>, PathRejection>,
) -> Result<QuotaPicture, Problem> {
    let Path(account) = account.map_err(|error| Problem::BadAccount(error.body_text()))?;
    if is_phone_number(&account) {
        return Err(Problem::BadAccount("a phone number is not accepted as an id".to_owned()));
    }
    if account.is_empty() || account.len() > TEXT_MAX_BYTES {
        return Err(Problem::BadAccount(format!("an id has 1 to {TEXT_MAX_BYTES} bytes")));
    }
    aggregator.quota(&account).await.map_err(Problem::No)
}

/// Why a request is not answered with a quota.
enum Problem {
    /// The account of the path cannot be one.
    BadAccount(String),
    /// The aggregator does not tell.
    No(NoQuota),
}

impl Problem {
    const fn code(&self) -> &'static str {
        match self {
            Self::BadAccount(_) => "invalid_account",
            Self::No(NoQuota::UnknownAccount) => "unknown_account",
            Self::No(NoQuota::Recovering { .. }) => "recovering",
            Self::No(NoQuota::Elsewhere { owner, .. }) => match owner {
                Some(PartitionOwner { address: Some(_), .. }) => "redirected",
                _ => "elsewhere",
            },
            Self::No(NoQuota::Busy { .. }) => "busy",
            Self::No(NoQuota::Damaged) => "damaged",
        }
    }

    const fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadAccount(_) => (StatusCode::BAD_REQUEST, "This cannot be an account"),
            Self::No(NoQuota::UnknownAccount) => {
                (StatusCode::NOT_FOUND, "Nothing is known of this account")
            }
            Self::No(NoQuota::Recovering { .. } | NoQuota::Busy { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "The partition cannot answer yet")
            }
            Self::No(NoQuota::Elsewhere { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "The partition is not processed here")
            }
            Self::No(NoQuota::Damaged) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "The account's state is damaged")
            }
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::BadAccount(why) => why.clone(),
            Self::No(no @ NoQuota::Elsewhere { owner: Some(owner), .. }) => {
                format!("{no}; by its ledger {} has it", owner.owner)
            }
            Self::No(no) => no.to_string(),
        }
    }

    /// RFC 9457, or the way to the process that has the account's partition.
    fn response(&self, uri: &Uri) -> Response {
        let owner = match self {
            Self::No(NoQuota::Elsewhere { owner, .. }) => owner.as_ref(),
            _ => None,
        };
        let location = owner.and_then(|owner| owner.address.as_deref()).and_then(|address| {
            let url = format!("{}{}", address.trim_end_matches('/'), uri.path());
            HeaderValue::try_from(url).ok()
        });
        if let Some(location) = location {
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)])
                .into_response();
        }
        let (status, title) = self.status();
        let mut body = json!({
            "type": format!("urn:tally:problem:{}", self.code()),
            "title": title,
            "status": status.as_u16(),
            "code": self.code(),
            "detail": self.detail(),
        });
        if let Some(owner) = owner {
            body["owner"] = owner.owner.as_str().into();
        }
        let mut response = (status, Json(body)).into_response();
        let mut set = |name: HeaderName, value: &'static str| {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        };
        set(header::CONTENT_TYPE, "application/problem+json");
        if status == StatusCode::SERVICE_UNAVAILABLE {
            set(header::RETRY_AFTER, RETRY_AFTER_S);
        }
        response
    }
}

async fn schema() -> Response {
    let kind = [(header::CONTENT_TYPE, "application/schema+json")];
    (kind, QUOTA_STATUS_JSON_SCHEMA).into_response()
}
