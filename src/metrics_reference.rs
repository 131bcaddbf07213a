//! Keeps `docs/metrics.md` as the metrics of every role are.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use object_store::memory::InMemory;
use prometheus_client::registry::Registry;
use tally_access::SignIns;
use tally_aggregate::{
    Aggregator, Extent, NoticeTopics, ReferenceData, StageStatus, Surroundings, SystemEdge,
};
use tally_ingest::Door;
use tally_log::{EventLog, MemoryLog};
use tally_query::{BudgetSource, EngineOptions, QueryEngine};
use tally_schemas::Config;
use tally_tables::TableSet;
use tally_webhooks::WebhookStatus;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::host_metrics::HostWatch;
use crate::janitor::JanitorFigures;
use crate::table_metrics::TableWatch;
use crate::{budgets, stream_metrics, webhooks};

/// The metrics of a process with every role.
async fn exposition() -> String {
    let config = Config::default();
    let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new("usage.events", 2));
    let store = Arc::new(InMemory::new());
    let aggregator = Aggregator::new(
        Arc::clone(&log),
        Surroundings {
            store: store.clone(),
            edge: Arc::new(SystemEdge::default()),
            notices: NoticeTopics::default(),
        },
        config.aggregate,
        Arc::new(ReferenceData::shipped().unwrap()),
        tokio::runtime::Handle::current(),
        CancellationToken::new(),
        Extent::Endless,
    )
    .unwrap();
    let engine = QueryEngine::open(EngineOptions {
        tables: Arc::new(TableSet::open(store.clone())),
        store,
        topic: "usage.events".to_owned(),
        budgets: BudgetSource::default(),
        config: config.query,
        settings: Vec::new(),
    })
    .await
    .unwrap()
    .with_audit_log();
    let registry = Arc::new(Mutex::new(Registry::default()));
    {
        let mut registry = registry.lock().unwrap();
        stream_metrics::register(&mut registry, &aggregator);
        webhooks::register_metrics(&mut registry, &WebhookStatus::default());
        engine.register_metrics(&mut registry);
        SignIns::default().register(&mut registry);
        JanitorFigures::default().register(&mut registry);
        HostWatch::for_reference().register(&mut registry);
        TableWatch::for_reference().register(&mut registry);
    }
    budgets::register(&registry, &StageStatus::default());
    let quota = crate::quota::routes(&aggregator, &registry);
    let request = Request::get("/v1/accounts/a/quota").body(Body::empty()).unwrap();
    assert!(quota.oneshot(request).await.unwrap().status().is_server_error());
    let door = Door::new(config.ingest, 0, &log, Arc::clone(&registry)).unwrap();
    // Some metrics with labels are shown once there is something to label: an event that is refused,
    // one that is held back, and a quota that is asked for.
    let events = r#"[{}, {"source":"s","id":"i","account":"a","completed_at":1}]"#;
    let request = Request::post("/v1/events").header("content-type", "application/json");
    let request = request.body(Body::from(events)).unwrap();
    assert!(tally_ingest::router(door).oneshot(request).await.unwrap().status().is_success());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry.lock().unwrap()).unwrap();
    text
}

/// One row a metric, sorted by name.
fn reference(exposition: &str) -> String {
    let mut rows: Vec<(String, String, &str)> = Vec::new();
    let lines: Vec<&str> = exposition.lines().collect();
    for pair in lines.windows(2) {
        let Some((name, help)) = pair[0].strip_prefix("# HELP ").and_then(|l| l.split_once(' '))
        else {
            continue;
        };
        let kind = pair[1].rsplit(' ').next().unwrap();
        // A counter's samples carry this suffix.
        let suffix = if kind == "counter" { "_total" } else { "" };
        rows.push((format!("{name}{suffix}"), help.trim_end_matches('.').to_owned(), kind));
    }
    rows.sort();
    let mut out = String::from(
        "# Metrics\n\n\
         `GET /metrics` of every role, in the OpenMetrics text format that Prometheus reads. Times are in \
         seconds, sizes in bytes. `tally up` has all of them, `tally ingest` those of the door \
         (`tally_ingest_…`), `tally query` those of queries and, where there \
         are users, of the audit log (`tally_audit_…`), `tally janitor --listen ADDR` those of the janitor, \
         `tally aggregate --listen ADDR` the others; each counts those who came to its doors \
         (`tally_sign_ins_total`), sees its own disks and certificate, and what keeps it from running well \
         (`tally_trouble`).\n\n\
         This page is generated: `TALLY_UPDATE_DOCS=1 cargo test -p tally --bin tally metrics`.\n\n\
         | metric | type | |\n| --- | --- | --- |\n",
    );
    for (name, help, kind) in rows {
        writeln!(out, "| `{name}` | {kind} | {help} |").unwrap();
    }
    out
}

#[tokio::test]
async fn the_metrics_page_lists_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let exposed = exposition().await;
    // Prometheus knows no other word for it.
    assert!(exposed.contains("le=\"+Inf\"") && !exposed.contains("le=\"inf\""), "{exposed}");
    let wanted = reference(&exposed);
    assert!(wanted.lines().count() > 25, "{wanted}");
    for line in wanted.lines().filter(|line| line.starts_with("| `")) {
        assert!(line.starts_with("| `tally_"), "{line}");
    }
    if std::env::var_os("TALLY_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/metrics.md is out of date: TALLY_UPDATE_DOCS=1 cargo test -p tally --bin tally metrics"
    );
}
