//! Events as requests to the HTTP door: newline-delimited JSON, 500 events each.

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use tally_generate::GeneratedEvent;
use tally_schemas::partition_of;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::{Delivered, TOKEN_VARIABLE, put_json};
use crate::exit::{Failure, FailureKind};

/// Events of a request.
const EVENTS_PER_REQUEST: u32 = 500;

/// Requests at a time. Events of one account share a lane, so that they stay in order.
const LANES: u32 = 4;

/// How long the door may be away or busy before the run is given up.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct HttpSink {
    lanes: Vec<Lane>,
}

struct Lane {
    body: Vec<u8>,
    events: u32,
    requests: Sender<Vec<u8>>,
    task: JoinHandle<Result<Delivered, Failure>>,
}

impl HttpSink {
    /// Opens the way to a door, with the token that it asks for.
    pub(super) fn open(url: String, token: Option<&str>) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Failure::usage(format!("{TOKEN_VARIABLE} is not a token")))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let client = Client::builder()
            .default_headers(headers)
            .timeout(Duration::from_secs(60))
            .build()
            .map_err(|error| Failure::internal(error.to_string()))?;
        let lanes = (0..LANES)
            .map(|_| {
                let (requests, inbox) = channel(2);
                let task = tokio::spawn(post_all(client.clone(), url.clone(), inbox));
                Lane { body: Vec::new(), events: 0, requests, task }
            })
            .collect();
        Ok(Self { lanes })
    }

    pub(super) async fn send(&mut self, event: GeneratedEvent) -> Result<(), Failure> {
        let lane = usize::try_from(partition_of(&event.account, LANES)).unwrap_or(0);
        let lane = &mut self.lanes[lane];
        put_json(&event.body, &mut lane.body)?;
        lane.body.push(b'\n');
        lane.events += 1;
        if lane.events >= EVENTS_PER_REQUEST { lane.hand_over().await } else { Ok(()) }
    }

    pub(super) async fn idle(&mut self) -> Result<(), Failure> {
        for lane in &mut self.lanes {
            lane.hand_over().await?;
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<Delivered, Failure> {
        self.idle().await?;
        let mut delivered = Delivered::default();
        for Lane { requests, task, .. } in self.lanes {
            drop(requests);
            let of_lane = task.await.map_err(|error| Failure::internal(error.to_string()))??;
            delivered.messages += of_lane.messages;
            delivered.refused += of_lane.refused;
        }
        Ok(delivered)
    }
}

impl Lane {
    async fn hand_over(&mut self) -> Result<(), Failure> {
        if self.events == 0 {
            return Ok(());
        }
        self.events = 0;
        let body = std::mem::take(&mut self.body);
        if self.requests.send(body).await.is_ok() {
            return Ok(());
        }
        // The lane has ended, which it only does with a failure.
        match (&mut self.task).await {
            Ok(Err(failure)) => Err(failure),
            Ok(Ok(_)) => Err(Failure::internal("a lane ended early")),
            Err(error) => Err(Failure::internal(error.to_string())),
        }
    }
}

/// The door's answer, as far as it matters here.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    rejected: Vec<Rejected>,
}

#[derive(Deserialize)]
struct Rejected {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

async fn post_all(
    client: Client,
    url: String,
    mut inbox: Receiver<Vec<u8>>,
) -> Result<Delivered, Failure> {
    let mut delivered = Delivered::default();
    while let Some(body) = inbox.recv().await {
        let answer = post(&client, &url, body).await?;
        if let (Some(first), 0) = (answer.rejected.first(), delivered.refused) {
            tracing::warn!(code = first.code, message = first.message, "the door refused an event");
        }
        delivered.messages += 1;
        delivered.refused += u64::try_from(answer.rejected.len()).unwrap_or(u64::MAX);
    }
    Ok(delivered)
}

/// Posts one body until the door has taken it. A door that says how long it wants to be left alone
/// is left alone for that long.
async fn post(client: &Client, url: &str, body: Vec<u8>) -> Result<Answer, Failure> {
    let started = Instant::now();
    let body = bytes::Bytes::from(body);
    let mut pause = Duration::from_millis(100);
    loop {
        let request =
            client.post(url).header(CONTENT_TYPE, "application/x-ndjson").body(body.clone());
        let (wait, failure) = match request.send().await {
            Ok(response) => match response.status() {
                StatusCode::OK => {
                    return response.json().await.map_err(|error| {
                        Failure::internal(format!("{url}: the answer cannot be read: {error}"))
                    });
                }
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    let wait = retry_after(&response).unwrap_or(pause);
                    (wait, refusal(url, response).await)
                }
                _ => return Err(refusal(url, response).await),
            },
            Err(error) if error.is_builder() => {
                return Err(Failure::usage(format!("{url}: {error}")));
            }
            Err(error) => {
                (pause, Failure::new(FailureKind::Retry, format!("{url}: {}", root_cause(&error))))
            }
        };
        if started.elapsed() + wait > PATIENCE {
            return Err(failure);
        }
        tracing::debug!(failure = failure.message, "posting again");
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// The words at the bottom of an error, such as "connection refused".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut bottom = error;
    while let Some(below) = bottom.source() {
        bottom = below;
    }
    bottom.to_string()
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What an answer other than 200 means.
async fn refusal(url: &str, response: Response) -> Failure {
    let status = response.status();
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => FailureKind::Retry,
        status if status.is_client_error() => FailureKind::Data,
        _ => FailureKind::Internal,
    };
    let text = response.text().await.unwrap_or_default();
    Failure::new(kind, format!("{url}: {status}: {}", text.trim()))
}
