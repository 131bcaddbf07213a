//! One attempt to deliver an alert.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};
use tally_schemas::with_causes;

use crate::address::PublicOnly;
use crate::error::WebhookError;
use crate::receiver::Receiver;

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The receiver has it (2xx).
    Delivered,
    /// The receiver wants no more, ever (410).
    Gone,
    /// Nobody knows that the receiver has it: to be tried again, not before it asked to be.
    Failed { why: String, not_before: Option<Duration> },
}

/// The client of one receiver. It follows no redirect and no proxy: it talks to who was checked.
pub(crate) fn client(timeout: Duration, allow_private: bool) -> Result<Client, WebhookError> {
    let mut builder = Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("tally/", env!("CARGO_PKG_VERSION")));
    if !allow_private {
        builder = builder.dns_resolver(std::sync::Arc::new(PublicOnly));
    }
    builder.build().map_err(|error| WebhookError::Invalid(reason(&error)))
}

/// Sends an alert once.
pub(crate) async fn attempt(
    client: &Client,
    receiver: &Receiver,
    id: &str,
    body: Bytes,
) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let request = client
        .post(receiver.url.clone())
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", now)
        .header("webhook-signature", receiver.key.sign(id, now, &body))
        .body(body);
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Outcome::Delivered,
        Ok(answer) if answer.status() == StatusCode::GONE => Outcome::Gone,
        Ok(answer) => {
            let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let not_before = asked.and_then(|text| text.parse().ok()).map(Duration::from_secs);
            Outcome::Failed { why: format!("answered {}", answer.status()), not_before }
        }
        Err(error) => Outcome::Failed { why: reason(&error), not_before: None },
    }
}

/// An error with what is behind it, without the URL, which may have a secret in it.
fn reason(error: &reqwest::Error) -> String {
    let words = if error.is_timeout() { "timed out" } else { "no answer" };
    with_causes(words.to_owned(), error)
}
