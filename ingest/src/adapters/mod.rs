//! The formats in which events arrive, one adapter a file. Each turns a body into events, in
//! order, and hands them to the [`Intake`]; none knows what becomes of them.

mod cloudevents;
mod json;
mod ndjson;
mod protobuf;

use axum::http::HeaderMap;
use tally_schemas::{EventErrorCode, ParsedEvent, check_event};

use crate::intake::{Intake, TooManyEvents};

pub(crate) use cloudevents::BinaryEnvelope;

/// A format of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// `application/json`: an object, an array, or `{"events":[…]}`.
    Json,
    /// `application/x-ndjson`: one object a line.
    Ndjson,
    /// `application/cloudevents+json`: one structured CloudEvent.
    CloudEvent,
    /// `application/cloudevents-batch+json`: an array of them.
    CloudEventBatch,
    /// `application/json` with `ce-…` headers: one CloudEvent in binary mode.
    CloudEventBinary,
    /// `application/x-protobuf`: one `tally.v1.UsageBatch`.
    Protobuf,
}

impl Format {
    /// Content types, for the answer to an unknown one.
    pub(crate) const CONTENT_TYPES: &'static str = "application/json, application/x-ndjson, \
        application/cloudevents+json, application/cloudevents-batch+json, application/x-protobuf";

    /// The format of a request; `None` where the content type is absent or unknown.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(axum::http::header::CONTENT_TYPE)?.to_str().ok()?;
        let essence = content_type.split(';').next()?.trim().to_ascii_lowercase();
        Some(match essence.as_str() {
            "application/json" if BinaryEnvelope::is_in(headers) => Self::CloudEventBinary,
            "application/json" => Self::Json,
            "application/x-ndjson" => Self::Ndjson,
            "application/cloudevents+json" => Self::CloudEvent,
            "application/cloudevents-batch+json" => Self::CloudEventBatch,
            "application/x-protobuf" => Self::Protobuf,
            _ => return None,
        })
    }

    /// Name in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::CloudEvent => "cloudevent",
            Self::CloudEventBatch => "cloudevent_batch",
            Self::CloudEventBinary => "cloudevent_binary",
            Self::Protobuf => "protobuf",
        }
    }

    /// Reads a whole body. `envelope` is that of [`Format::CloudEventBinary`].
    ///
    /// # Errors
    /// Where the body as a whole cannot be read; the intake is then of no use.
    pub(crate) fn read(
        self,
        body: &[u8],
        envelope: Option<&BinaryEnvelope>,
        intake: &mut Intake,
    ) -> Result<(), BodyError> {
        match self {
            Self::Json => json::read(body, intake),
            Self::Ndjson => ndjson::read(body, intake),
            Self::CloudEvent => cloudevents::read_one(body, intake),
            Self::CloudEventBatch => cloudevents::read_batch(body, intake),
            Self::CloudEventBinary => {
                cloudevents::read_binary(body, &envelope.cloned().unwrap_or_default(), intake)
            }
            Self::Protobuf => protobuf::read(body, intake),
        }
    }
}

/// Why a body as a whole is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// It cannot be read.
    #[error("{0}")]
    Unparseable(String),
    /// It has too many events.
    #[error("more than {} events in one request", crate::intake::EVENTS_MAX)]
    TooManyEvents,
}

impl From<TooManyEvents> for BodyError {
    fn from(_: TooManyEvents) -> Self {
        Self::TooManyEvents
    }
}

/// Completes an event that was read in place with the defects that only the whole event shows.
fn complete(parsed: &mut ParsedEvent<'_>) {
    if !parsed.errors.iter().any(|error| error.code == EventErrorCode::Malformed) {
        check_event(parsed);
    }
}
