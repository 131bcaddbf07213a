//! `POST /v1/events`. Where the request is traced, whoever serves it says so by an extension
//! ([`TraceParent`]), and the records that its events go into carry it on.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use tally_log::TraceParent;

use crate::adapters::{BinaryEnvelope, Format};
use crate::answer::Answer;
use crate::body::read_body;
use crate::door::Door;
use crate::problem::{Problem, ProblemKind};

/// Takes the events of one request.
pub(crate) async fn post_events(State(door): State<Door>, request: Request) -> Response {
    let response = match take(&door, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(problem) => problem.into_response(),
    };
    door.metrics().answered(response.status().as_u16());
    response
}

async fn take(door: &Door, request: Request) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let Some(format) = Format::of(&parts.headers) else {
        return Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            format!("send one of {}", Format::CONTENT_TYPES),
        ));
    };
    let mut reservation = door.admit()?;
    let body = read_body(&parts.headers, body, door.body_max_bytes(), &mut reservation).await?;
    let envelope = (format == Format::CloudEventBinary).then(|| BinaryEnvelope::of(&parts.headers));
    let parent = parts.extensions.get::<TraceParent>();
    door.take_events(format, envelope, body, parent, reservation).await
}
