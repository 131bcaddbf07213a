//! `POST /v1/sql`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use futures::StreamExt;
use serde::Deserialize;
use tally_access::Caller;
use tally_tables::PinnedTables;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::answer::Answer;
use crate::encode::{Encoder, Format};
use crate::engine::QueryEngine;
use crate::error::{ErrorKind, QueryError};
use crate::pin::parse_as_of;
use crate::sight::Sight;

/// Bytes of an answer that are held back, so that an error among them is still an HTTP status.
/// An error after them breaks the connection off: a cut answer never looks whole.
const HELD_BACK_BYTES: usize = 256 << 10;

/// Chunks that wait for a slow client.
const CHUNKS_AHEAD: usize = 4;

/// How long past its time a query may take to say so itself.
const GRACE: Duration = Duration::from_millis(250);

/// Seconds after which a client may try again.
const RETRY_AFTER_S: &str = "1";

/// Header that names the version of each table that an answer was read from.
pub const VERSIONS_HEADER: &str = "tally-table-versions";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlRequest {
    query: String,
    #[serde(default)]
    as_of: Option<AsOfText>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum AsOfText {
    Version(u64),
    Text(String),
}

/// The routes of SQL over HTTP. Whoever serves them says who asks, as an extension of the request
/// ([`Caller`]); without one nothing is answered.
pub fn router(engine: Arc<QueryEngine>) -> Router {
    Router::new().route("/v1/sql", post(sql)).with_state(engine)
}

async fn sql(
    State(engine): State<Arc<QueryEngine>>,
    caller: Option<Extension<Caller>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(Extension(caller)) = caller else {
        return problem(&QueryError::Denied("who asks is not known".to_owned()));
    };
    answer(&engine, &caller, &headers, &body).await.unwrap_or_else(|error| problem(&error))
}

async fn answer(
    engine: &QueryEngine,
    caller: &Caller,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, QueryError> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let Some(format) = Format::accepted(accept) else {
        return Ok(problem_response(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "answers are application/json, text/csv, application/vnd.apache.arrow.stream or application/vnd.apache.parquet",
            None,
        ));
    };
    let request: SqlRequest = serde_json::from_slice(body)
        .map_err(|error| QueryError::Invalid(format!("the request: {error}")))?;
    let as_of = match request.as_of {
        None => None,
        Some(AsOfText::Version(version)) => Some(parse_as_of(&version.to_string())?),
        Some(AsOfText::Text(text)) => Some(parse_as_of(&text)?),
    };
    let limits = engine.limits();
    let deadline = Instant::now() + limits.timeout + GRACE;
    let answer = engine.run_as(caller, &request.query, as_of, limits).await?;
    let versions = versions_header(&answer.pin, caller);
    let mut chunks = encode(engine, answer, format);
    let mut held = Vec::new();
    let mut whole = false;
    while held.len() < HELD_BACK_BYTES {
        match timeout_at(deadline, chunks.recv()).await {
            Err(_) => return Err(limits.timed_out("running")),
            Ok(Some(Ok(Some(chunk)))) => held.extend_from_slice(&chunk),
            Ok(Some(Err(error))) => return Err(error),
            Ok(Some(Ok(None))) => {
                whole = true;
                break;
            }
            Ok(None) => {
                return Err(QueryError::Internal("the answer was not finished".to_owned()));
            }
        }
    }
    let body = if whole { Body::from(held) } else { streamed(held, chunks) };
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    if let Ok(versions) = HeaderValue::from_str(&versions) {
        response.headers_mut().insert(VERSIONS_HEADER, versions);
    }
    Ok(response)
}

/// The versions of the tables that the caller sees.
fn versions_header(pin: &PinnedTables, caller: &Caller) -> String {
    let sight = Sight::of(caller);
    let seen = |name: &str| sight.as_ref().is_some_and(|sight| sight.sees("public", name));
    let versions: Vec<String> = pin
        .iter()
        .filter(|table| seen(table.table.name()))
        .filter_map(|table| Some(format!("{}={}", table.table.name(), table.version?)))
        .collect();
    versions.join(", ")
}

/// `None` ends an answer: a channel that closes without it means that the answer is cut.
type Chunk = Result<Option<Vec<u8>>, QueryError>;

/// Writes the answer on the query's threads, not on those of the listener.
fn encode(engine: &QueryEngine, answer: Answer, format: Format) -> mpsc::Receiver<Chunk> {
    let (out, chunks) = mpsc::channel(CHUNKS_AHEAD);
    engine.spawn(async move {
        let end = encode_to(answer, format, &out).await;
        // The client may be gone, which ends the query as well.
        drop(out.send(end.map(|()| None)).await);
    });
    chunks
}

async fn encode_to(
    mut answer: Answer,
    format: Format,
    out: &mpsc::Sender<Chunk>,
) -> Result<(), QueryError> {
    let mut encoder = Encoder::new(format, Arc::clone(&answer.schema))?;
    while let Some(batch) = answer.rows.next().await {
        let bytes = encoder.write(&batch?)?;
        if !bytes.is_empty() && out.send(Ok(Some(bytes))).await.is_err() {
            return Ok(());
        }
    }
    let rest = encoder.finish()?;
    drop(out.send(Ok(Some(rest))).await);
    Ok(())
}

fn streamed(held: Vec<u8>, chunks: mpsc::Receiver<Chunk>) -> Body {
    let rest = futures::stream::unfold(Some(chunks), |chunks| async move {
        let mut chunks = chunks?;
        match chunks.recv().await {
            Some(Ok(Some(bytes))) => Some((Ok(Bytes::from(bytes)), Some(chunks))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some((Err(error), None)),
            None => {
                let error = QueryError::Internal("the answer was not finished".to_owned());
                Some((Err(error), None))
            }
        }
    });
    let first = futures::stream::once(async move { Ok(Bytes::from(held)) });
    Body::from_stream(first.chain(rest))
}

/// An error as RFC 9457.
fn problem(error: &QueryError) -> Response {
    let (status, limit) = match error {
        QueryError::Limit { setting, .. } if *setting == "query.concurrency" => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(*setting))
        }
        QueryError::Limit { setting, .. } => (StatusCode::UNPROCESSABLE_ENTITY, Some(*setting)),
        other => match other.kind() {
            ErrorKind::Retry => (StatusCode::SERVICE_UNAVAILABLE, None),
            ErrorKind::Invalid => (StatusCode::BAD_REQUEST, None),
            ErrorKind::Denied => (StatusCode::FORBIDDEN, None),
            ErrorKind::Limit | ErrorKind::Data | ErrorKind::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, None)
            }
        },
    };
    problem_response(status, error.kind().name(), &error.to_string(), limit)
}

fn problem_response(status: StatusCode, kind: &str, detail: &str, limit: Option<&str>) -> Response {
    let mut document = serde_json::json!({
        "type": format!("urn:tally:problem:{kind}"),
        "title": status.canonical_reason().unwrap_or("error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    if let (Some(limit), Some(object)) = (limit, document.as_object_mut()) {
        object.insert("limit".to_owned(), limit.into());
    }
    let mut response = Response::new(Body::from(document.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    response
}
