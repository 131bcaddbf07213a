//! The HTTP listener: loopback only, routes of the roles that run here, health and metrics.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tally_aggregate::Aggregator;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// Binds an address, which must be loopback: there is no authentication yet.
pub(crate) async fn bind(address: &str) -> Result<TcpListener, Failure> {
    let resolved: Vec<SocketAddr> = address
        .to_socket_addrs()
        .map_err(|e| Failure::usage(format!("listen address {address}: {e}")))?
        .collect();
    if resolved.is_empty() || resolved.iter().any(|a| !a.ip().is_loopback()) {
        return Err(Failure::usage(format!(
            "{address} is not a loopback address, and this version has no authentication: listen on 127.0.0.1 and put a proxy that authenticates in front"
        )));
    }
    TcpListener::bind(resolved.as_slice())
        .await
        .map_err(|e| Failure::usage(format!("cannot listen on {address}: {e}")))
}

/// Serves until stopped; requests in flight are finished.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: CancellationToken,
) -> Result<(), Failure> {
    use axum::serve::ListenerExt as _;
    let listener = listener.tap_io(|io| {
        // Without it a small answer waits for the peer's delayed acknowledgement.
        if let Err(error) = io.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
    });
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .map_err(Failure::from)
}

#[derive(Clone)]
struct Watch {
    registry: Arc<Mutex<Registry>>,
    aggregator: Option<Arc<Aggregator>>,
}

/// `/healthz`, `/readyz` and `/metrics` of a process without a door.
pub(crate) fn watch_routes(
    registry: Arc<Mutex<Registry>>,
    aggregator: Option<Arc<Aggregator>>,
) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(Watch { registry, aggregator })
}

/// Unhealthy where a partition that this process holds is not being processed.
async fn healthz(State(watch): State<Watch>) -> Response {
    let partitions = watch.aggregator.map(|a| a.status().partitions()).unwrap_or_default();
    let stopped: Vec<String> = partitions
        .iter()
        .filter_map(|(p, status)| Some(format!("partition {p}: {}", status.stopped.as_ref()?)))
        .collect();
    if stopped.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, stopped.join("\n")).into_response()
}

async fn metrics(State(watch): State<Watch>) -> Response {
    let mut text = String::new();
    let Ok(registry) = watch.registry.lock() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
