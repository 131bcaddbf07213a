//! Errors of a request as RFC 9457 `application/problem+json`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::answer::Defect;

/// Why a request as a whole failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    kind: ProblemKind,
    detail: String,
    errors: Vec<Defect>,
}

/// Kinds of problems; each has a stable code, a status, and where trying again helps, a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// The body or its encoding cannot be read.
    Unparseable,
    /// A command, or its account, that cannot be taken.
    InvalidCommand,
    /// A gateway's control total that cannot be taken.
    InvalidControlTotal,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is larger than the limit.
    TooLarge,
    /// The content type or encoding is not known.
    UnsupportedMediaType,
    /// Too many bytes wait for the log.
    TooMuchInFlight,
    /// The door is closing.
    Draining,
    /// The log is away, or did not acknowledge in time.
    LogUnavailable,
    /// The log refuses the record for good.
    LogRefused,
    /// Nothing moves.
    Stalled,
    /// No such path.
    NotFound,
    /// The path has no such method.
    MethodNotAllowed,
    /// A fault of this program.
    Internal,
}

impl ProblemKind {
    const fn status(self) -> StatusCode {
        match self {
            Self::Unparseable => StatusCode::BAD_REQUEST,
            Self::InvalidCommand | Self::InvalidControlTotal => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooMuchInFlight => StatusCode::TOO_MANY_REQUESTS,
            Self::Draining | Self::LogUnavailable | Self::Stalled => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::LogRefused | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Unparseable => "unparseable",
            Self::InvalidCommand => "invalid_command",
            Self::InvalidControlTotal => "invalid_control_total",
            Self::BodyTimeout => "body_timeout",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::TooMuchInFlight => "too_much_in_flight",
            Self::Draining => "draining",
            Self::LogUnavailable => "log_unavailable",
            Self::LogRefused => "log_refused",
            Self::Stalled => "stalled",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Internal => "internal",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Unparseable => "The body cannot be read",
            Self::InvalidCommand => "The command cannot be taken",
            Self::InvalidControlTotal => "The control totals cannot be taken",
            Self::BodyTimeout => "The body did not arrive in time",
            Self::TooLarge => "The request is too large",
            Self::UnsupportedMediaType => "The content type or encoding is not known",
            Self::TooMuchInFlight => "Too much is waiting for the log",
            Self::Draining => "The door is closing",
            Self::LogUnavailable => "The log did not acknowledge",
            Self::LogRefused => "The log refused the record",
            Self::Stalled => "Nothing moves",
            Self::NotFound => "There is nothing here",
            Self::MethodNotAllowed => "The method is not known here",
            Self::Internal => "Internal error",
        }
    }

    /// Seconds after which trying again may help: soon where others only have to be finished
    /// with, later where a part has to come back.
    const fn retry_after_s(self) -> Option<&'static str> {
        match self {
            Self::TooMuchInFlight => Some("1"),
            Self::Draining | Self::LogUnavailable => Some("5"),
            _ => None,
        }
    }
}

impl Problem {
    /// A problem in words for a person.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new() }
    }

    /// The same with every defect.
    pub(crate) fn with_errors(self, errors: Vec<Defect>) -> Self {
        Self { errors, ..self }
    }

    /// Status of the answer.
    pub(crate) const fn status(&self) -> StatusCode {
        self.kind.status()
    }
}

/// The body of the answer.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[Defect]>::is_empty")]
    errors: &'a [Defect],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: format!("urn:tally:problem:{}", self.kind.code()),
            title: self.kind.title(),
            status: self.status().as_u16(),
            code: self.kind.code(),
            detail: &self.detail,
            errors: &self.errors,
        };
        let mut response = (self.status(), axum::Json(&body)).into_response();
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, content_type);
        if let Some(seconds) = self.kind.retry_after_s() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }
}
