//! Traces: from a request at the door, through the log, to the epoch that commits its events, sent to
//! an OpenTelemetry collector. Off unless `traces.otlp_endpoint` is set.
//!
//! One request in so many is followed (`traces.one_in`), and every one whose client says so with a
//! `traceparent` header. The records that a followed request's events go into carry its trace as a
//! header; who commits them adds a span. No payload and no identity of an event is in a span.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use opentelemetry::trace::{
    Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tally_aggregate::{HearsTraces, TracedEpoch};
use tally_log::{TRACE_HEADER, TraceParent};
use tally_schemas::Config;
use tokio::runtime::Handle;

use crate::exit::Failure;

/// How long a collector may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Spans go to a collector.
#[derive(Clone)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}

/// Sends on the threads of the runtime: the exporter's own thread has none.
#[derive(Debug)]
struct OnRuntime {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait::async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(
        &self,
        request: axum::http::Request<Bytes>,
    ) -> Result<axum::http::Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}

impl Traces {
    /// Traces of a process, where they are wanted. `role` is its name beside others.
    ///
    /// # Errors
    /// For an address that is none.
    pub(crate) fn of(config: &Config, role: &'static str) -> Result<Option<Self>, Failure> {
        let settings = &config.traces;
        if settings.otlp_endpoint.is_empty() {
            return Ok(None);
        }
        let wrong = |error: &dyn fmt::Display| {
            Failure::usage(format!("traces.otlp_endpoint {}: {error}", settings.otlp_endpoint))
        };
        let client = reqwest::Client::builder().timeout(TIMEOUT).build();
        let client = client.map_err(|error| wrong(&error))?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(OnRuntime { client, runtime: Handle::current() })
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(spans_url(&settings.otlp_endpoint))
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| wrong(&error))?;
        let one_in = u32::try_from(settings.one_in).unwrap_or(u32::MAX);
        let root = match one_in {
            0 => Sampler::AlwaysOff,
            1 => Sampler::AlwaysOn,
            // A share, and no amount of anything.
            many => Sampler::TraceIdRatioBased(1.0 / f64::from(many)),
        };
        let resource = Resource::builder()
            .with_service_name("tally")
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("tally.role", role),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(root)))
            .with_resource(resource)
            .with_batch_exporter(exporter)
            .build();
        let tracer = provider.tracer("tally");
        Ok(Some(Self { provider, tracer }))
    }

    /// Follows requests of these routes that are chosen.
    pub(crate) fn follow(&self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(self.clone(), follow))
    }

    /// Sends what is left. What a collector does not take in time is lost: usage does not wait for
    /// it.
    pub(crate) async fn finish(self) {
        let provider = self.provider;
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(TIMEOUT));
        match ended.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans were not sent"),
            Err(error) => tracing::warn!(%error, "the last spans were not sent"),
        }
    }
}

/// Where a collector takes spans.
pub(crate) fn spans_url(endpoint: &str) -> String {
    format!("{}/v1/traces", endpoint.trim_end_matches('/'))
}

/// The trace that a request is part of, whether it is followed or not.
fn parent_of(headers: &HeaderMap) -> Context {
    let parent = headers.get(TRACE_HEADER).and_then(|value| TraceParent::of(value.as_bytes()));
    parent.map_or_else(Context::new, |parent| remote(&parent).unwrap_or_default())
}

fn remote(parent: &TraceParent) -> Option<Context> {
    let trace = TraceId::from_hex(parent.trace()).ok()?;
    let span = SpanId::from_hex(parent.span()).ok()?;
    let context = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default());
    Some(Context::new().with_remote_span_context(context))
}

async fn follow(State(traces): State<Traces>, mut request: Request, next: Next) -> Response {
    let parent = parent_of(request.headers());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let name = format!("{} {}", request.method(), route.as_deref().unwrap_or("nothing"));
    let builder = traces.tracer.span_builder(name).with_kind(SpanKind::Server);
    let mut span = traces.tracer.build_with_context(builder, &parent);
    let context = span.span_context().clone();
    if !context.is_sampled() {
        return next.run(request).await;
    }
    let text = format!("00-{}-{}-01", context.trace_id(), context.span_id());
    if let Some(own) = TraceParent::of(text.as_bytes()) {
        request.extensions_mut().insert(own);
    }
    span.set_attribute(KeyValue::new("http.request.method", request.method().to_string()));
    if let Some(route) = route {
        span.set_attribute(KeyValue::new("http.route", route));
    }
    let response = next.run(request).await;
    let status = response.status();
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        span.set_status(Status::error(status.canonical_reason().unwrap_or("error")));
    }
    span.end();
    response
}

impl HearsTraces for Traces {
    fn committed(&self, epoch: &TracedEpoch) {
        let TracedEpoch { partition, epoch: number, committed_ms, records } = epoch;
        for (record, read_ms) in records {
            let Some(parent) = remote(&record.parent) else { continue };
            let builder = self
                .tracer
                .span_builder("commit epoch")
                .with_kind(SpanKind::Consumer)
                .with_start_time(at(*read_ms))
                .with_attributes([
                    KeyValue::new("messaging.system", "kafka"),
                    KeyValue::new("messaging.destination.partition.id", partition.to_string()),
                    KeyValue::new("messaging.kafka.offset", record.offset.to_string()),
                    KeyValue::new("tally.epoch", number.to_string()),
                ]);
            let mut span = self.tracer.build_with_context(builder, &parent);
            span.end_with_timestamp(at(*committed_ms));
        }
    }
}

/// As the stream hears of traces.
pub(crate) fn hearing(traces: Option<&Traces>) -> Option<Arc<dyn HearsTraces>> {
    traces.map(|traces| Arc::new(traces.clone()) as Arc<dyn HearsTraces>)
}

fn at(ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms.max(0).cast_unsigned())
}
