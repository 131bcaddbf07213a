//! The paths of the door.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::decompression::{DecompressionBody, RequestDecompressionLayer};

use crate::door::Door;
use crate::problem::{Problem, ProblemKind};
use crate::{commands, control_totals, events, health};

/// The `/v1/…` paths of the door alone, to be merged with the paths of other roles.
pub fn routes(door: Door) -> Router {
    // Only gzip: its window is 32 KiB, while a zstd frame may ask for 128 MiB that the budget of
    // bytes in flight would not see.
    let gunzip =
        RequestDecompressionLayer::new().gzip(true).no_zstd().pass_through_unaccepted(true);
    let rebox =
        MapRequestLayer::new(|request: Request<DecompressionBody<Body>>| request.map(Body::new));
    Router::new()
        .route("/v1/events", post(events::post_events))
        .route("/v1/accounts/{account}/commands", post(commands::post_command))
        .route("/v1/control-totals", post(control_totals::post_control_totals))
        .route("/v1/schema/usage-event.json", get(health::usage_event_schema))
        .method_not_allowed_fallback(method_not_allowed)
        .layer((CatchPanicLayer::custom(panicked), gunzip, rebox))
        .with_state(door)
}

/// Everything of the door: [`routes`], `/healthz`, `/readyz` and `/metrics` of its registry.
pub fn router(door: Door) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(door.clone())
        .merge(routes(door))
        .fallback(not_found)
}

async fn not_found(uri: Uri) -> Response {
    Problem::new(ProblemKind::NotFound, format!("no {}", uri.path())).into_response()
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let detail = format!("{method} {} is not known", uri.path());
    Problem::new(ProblemKind::MethodNotAllowed, detail).into_response()
}

/// What a panic said is not passed on, neither to the sender nor to the log: it may quote the
/// request. The panic hook of the process has told where it was.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request handler panicked");
    Problem::new(ProblemKind::Internal, "the request could not be handled").into_response()
}
