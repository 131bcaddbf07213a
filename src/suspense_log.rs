//! How records that take rows out of suspense, and those that carry corrections out, get into the
//! log: directly, or by the process that has the embedded log.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures::future::join_all;
use serde_json::json;
use tally_aggregate::announcement;
use tally_log::{EventLog, LogErrorKind, LogProducer, Outgoing};
use tally_schemas::{Config, ReferenceVersion, in_full};

use crate::event_log;
use crate::exit::{Failure, FailureKind};
use crate::log_record::LogRecord;
use crate::running::{LogToken, Running, TOKEN_HEADER};

/// Where the process that has the embedded log takes records.
const PATH: &str = "/v1/suspense/resolutions";

/// Most records, and roughly most bytes, that are sent at a time.
const CHUNK_RECORDS: usize = 500;
const CHUNK_BYTES: usize = 4 << 20;

/// Largest body that is taken: a chunk, and a record that is as large as records can be.
const BODY_MAX_BYTES: usize = 64 << 20;

/// How often a record is sent again before the log counts as away.
const ATTEMPTS: u32 = 20;

/// The log, open or asked for.
pub(crate) enum ResolutionLog {
    Open(OpenLog),
    Asked(Running, reqwest::Client),
}

/// A log that this process has.
#[derive(Clone)]
pub(crate) struct OpenLog {
    /// Kept open as long as its producer.
    log: Arc<dyn EventLog>,
    producer: Arc<dyn LogProducer>,
}

impl OpenLog {
    fn new(log: Arc<dyn EventLog>) -> Result<Self, Failure> {
        let producer = log.producer()?;
        Ok(Self { log, producer })
    }

    /// Appends records, as [`OpenLog::send`] does. One that the log took more than once is dropped
    /// by the stream: a row comes out of suspense once, and an event is taken back once.
    async fn append(&self, records: &[LogRecord]) -> Result<(), Failure> {
        let count = self.log.partition_count();
        self.send(records.iter().map(|record| record.outgoing(count)).collect()).await
    }

    /// Appends records, and again those that a log that is away did not take.
    async fn send(&self, mut left: Vec<Outgoing>) -> Result<(), Failure> {
        let mut pause = Duration::from_millis(100);
        for attempt in 1.. {
            let appended = left.iter().map(|record| self.producer.append(record.clone()));
            let outcomes = join_all(appended).await;
            let mut again = Vec::new();
            for (record, outcome) in left.into_iter().zip(outcomes) {
                match outcome {
                    Ok(_) => {}
                    Err(error) if error.kind() == LogErrorKind::Retry && attempt < ATTEMPTS => {
                        again.push(record);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if again.is_empty() {
                break;
            }
            tracing::warn!(records = again.len(), "the log is not available, sending again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
            left = again;
        }
        Ok(())
    }
}

impl ResolutionLog {
    /// The log of the configuration. Where another process has the embedded one, that is asked.
    pub(crate) async fn open(config: &Config) -> Result<Self, Failure> {
        if let Some(running) = Running::find(config)
            && let Some(client) = running.client()
            && client.get(running.url("/healthz")).send().await.is_ok()
        {
            return Ok(Self::Asked(running, client));
        }
        Ok(Self::Open(OpenLog::new(event_log::open(config).await?)?))
    }

    /// Says in the log by which version what follows is rated, as owners do, so that it does not
    /// matter who reads it and when. False where another process has the log: it says so itself.
    pub(crate) async fn announce(&self, version: &ReferenceVersion) -> Result<bool, Failure> {
        let Self::Open(open) = self else { return Ok(false) };
        let partitions = 0..open.log.partition_count();
        open.send(partitions.map(|partition| announcement(partition, version)).collect()).await?;
        Ok(true)
    }

    /// Appends records; resolves when the log has them.
    pub(crate) async fn append(&self, records: &[LogRecord]) -> Result<(), Failure> {
        let (running, client) = match self {
            Self::Open(open) => return open.append(records).await,
            Self::Asked(running, client) => (running, client),
        };
        let lines: Vec<String> = records.iter().map(LogRecord::to_json).collect();
        let url = running.url(PATH);
        let request =
            client.post(&url).header(TOKEN_HEADER, running.token()).body(lines.join("\n"));
        let away = |error: reqwest::Error| Failure::new(FailureKind::Retry, in_full(&error));
        let answer = request.send().await.map_err(away)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let words = answer.text().await.map_err(away)?;
        let kind = if status.is_server_error() { FailureKind::Retry } else { FailureKind::Fenced };
        Err(Failure::new(kind, format!("{url}: {status}: {}", words.trim())))
    }
}

/// Records that wait to be appended together.
#[derive(Default)]
pub(crate) struct Chunk {
    records: Vec<LogRecord>,
    bytes: usize,
}

impl Chunk {
    /// Adds a record, and appends what is gathered where it is enough.
    pub(crate) async fn push(
        &mut self,
        record: impl Into<LogRecord>,
        log: &ResolutionLog,
    ) -> Result<(), Failure> {
        let record = record.into();
        self.bytes += record.text_bytes();
        self.records.push(record);
        if self.records.len() >= CHUNK_RECORDS || self.bytes >= CHUNK_BYTES {
            self.flush(log).await?;
        }
        Ok(())
    }

    /// Appends what is gathered.
    pub(crate) async fn flush(&mut self, log: &ResolutionLog) -> Result<(), Failure> {
        if !self.records.is_empty() {
            log.append(&self.records).await?;
        }
        *self = Self::default();
        Ok(())
    }
}

#[derive(Clone)]
struct Taking {
    log: OpenLog,
    token: LogToken,
}

/// `POST /v1/suspense/resolutions` of the process that has the embedded log: records, one a line.
/// Whoever asks shows the token of the log's folder.
pub(crate) fn routes(log: &Arc<dyn EventLog>, token: LogToken) -> Result<Router, Failure> {
    let taking = Taking { log: OpenLog::new(Arc::clone(log))?, token };
    Ok(Router::new()
        .route(PATH, post(take))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(taking))
}

async fn take(State(taking): State<Taking>, headers: HeaderMap, body: String) -> Response {
    let shown = headers.get(TOKEN_HEADER).and_then(|value| value.to_str().ok());
    if !shown.is_some_and(|text| taking.token.is(text)) {
        let words = format!("{TOKEN_HEADER}: not the token of the log's folder\n");
        return (StatusCode::FORBIDDEN, words).into_response();
    }
    let read = |line: &str| LogRecord::parse(line.as_bytes());
    let records: Result<Vec<LogRecord>, String> = body.lines().map(read).collect();
    let records = match records {
        Ok(records) => records,
        Err(words) => return (StatusCode::UNPROCESSABLE_ENTITY, words).into_response(),
    };
    match taking.log.append(&records).await {
        Ok(()) => Json(json!({"appended": records.len()})).into_response(),
        Err(failure) => (StatusCode::SERVICE_UNAVAILABLE, failure.message).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tally_log::MemoryLog;
    use tally_schemas::{HeldPosition, Recycle, Resolution, SuspenseReason};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn only_who_can_read_the_folder_writes_to_the_log() {
        let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new("usage", 2));
        let token = LogToken::new();
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.log.data = folder.path().display().to_string();
        let _announced =
            crate::running::announce(&config, ([127, 0, 0, 1], 1).into(), &token).unwrap();
        let shown = Running::find(&config).unwrap().token().to_owned();
        let record = Resolution::Recycle(Recycle {
            position: HeldPosition { partition: 0, offset: 7, batch_index: 0 },
            reason: SuspenseReason::NoPrice,
            account: "A".to_owned(),
            raw: "{}".to_owned(),
            by: "alice".to_owned(),
        });
        let text = record.to_json();
        let lines = format!("{text}\n{text}");
        for (token_of, body, expected) in [
            (None, lines.as_str(), StatusCode::FORBIDDEN),
            (Some("0".repeat(64)), &lines, StatusCode::FORBIDDEN),
            (Some(shown.clone()), "{\"command\":\"tick\"}", StatusCode::UNPROCESSABLE_ENTITY),
            (Some(shown), &lines, StatusCode::OK),
        ] {
            let mut request = Request::post(PATH);
            if let Some(token) = token_of {
                request = request.header(TOKEN_HEADER, token);
            }
            let request = request.body(Body::from(body.to_owned())).unwrap();
            let routes = routes(&log, token.clone()).unwrap();
            assert_eq!(routes.oneshot(request).await.unwrap().status(), expected);
        }
        let ends: Vec<u64> = (0..2).map(|p| log.bounds(p).unwrap().end).collect();
        let mut expected = vec![0, 0];
        expected[usize::try_from(record.home(2)).unwrap()] = 2;
        assert_eq!(ends, expected);
    }

    #[tokio::test]
    async fn every_partition_hears_by_which_version_is_rated() {
        let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new("usage", 2));
        let open = ResolutionLog::Open(OpenLog::new(Arc::clone(&log)).unwrap());
        assert!(open.announce(&"1-8f14@5".parse().unwrap()).await.unwrap());
        let ends: Vec<u64> = (0..2).map(|p| log.bounds(p).unwrap().end).collect();
        assert_eq!(ends, [1, 1]);
    }
}
