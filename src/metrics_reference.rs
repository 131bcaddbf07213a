//! Keeps `docs/metrics.md` as the metrics of every role are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use object_store::memory::InMemory;
use prometheus_client::registry::Registry;
use tally_access::SignIns;
use tally_aggregate::{
    Aggregator, BudgetGauge, Extent, NoticeTopics, ReferenceData, StageFigures, StageStatus,
    Surroundings, SystemEdge,
};
use tally_ingest::Door;
use tally_log::{EventLog, MemoryLog};
use tally_query::{BudgetSource, EngineOptions, QueryEngine};
use tally_schemas::Config;
use tally_tables::TableSet;
use tally_webhooks::{ReceiverStatus, WebhookStatus};
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
        let receiver = ("ops".to_owned(), ReceiverStatus::default());
        webhooks::register_metrics(&mut registry, &WebhookStatus::from_iter([receiver]));
        engine.register_metrics(&mut registry);
        SignIns::default().register(&mut registry);
        JanitorFigures::default().register(&mut registry);
        HostWatch::for_reference().register(&mut registry);
        TableWatch::for_reference().register(&mut registry);
    }
    let budget = BudgetGauge { budget: "monthly".to_owned(), percent: 0 };
    let figures = StageFigures { budgets: vec![budget], ..StageFigures::default() };
    budgets::register(&registry, &StageStatus::from(figures));
    aggregator.status().counters().alerts.lock().insert("cap".to_owned(), 0);
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

/// A metric as it is shown.
#[derive(Debug, Default)]
struct Shown {
    help: String,
    kind: String,
    /// Values that were seen, by label.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// Labels whose values are all there from the start.
const KNOWN_VALUES: [(&str, &str); 6] = [
    ("tally_janitor_objects_removed_total", "kind"),
    ("tally_query_seconds", "outcome"),
    ("tally_sign_ins_total", "door"),
    ("tally_sign_ins_total", "outcome"),
    ("tally_stream_suspended_total", "reason"),
    ("tally_trouble", "cause"),
];

/// Every metric by its name.
fn metrics(exposition: &str) -> BTreeMap<String, Shown> {
    let mut metrics: BTreeMap<String, Shown> = BTreeMap::new();
    let (mut name, mut help) = (String::new(), String::new());
    for line in exposition.lines() {
        if let Some((of, words)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            (name, help) = (of.to_owned(), words.trim_end_matches('.').to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ").and_then(|l| l.rsplit(' ').next()) {
            // A counter's samples carry this suffix.
            name.push_str(if kind == "counter" { "_total" } else { "" });
            let shown = metrics.entry(name.clone()).or_default();
            (shown.help, shown.kind) = (help.clone(), kind.to_owned());
        } else if let Some((_, mut rest)) = line.split_once('{')
            && let Some(shown) = metrics.get_mut(&name)
        {
            while let Some((label, after)) = rest.split_once("=\"") {
                let (value, left) = after.split_once('"').unwrap();
                let label = label.trim_start_matches(',');
                if label != "le" {
                    shown.labels.entry(label.to_owned()).or_default().insert(value.to_owned());
                }
                rest = left;
            }
        }
    }
    metrics
}

/// One row a metric, sorted by name.
fn reference(metrics: &BTreeMap<String, Shown>) -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         `GET /metrics` of every role, in the OpenMetrics text format that Prometheus reads. Times are in \
         seconds, sizes in bytes, what is used of a budget in whole percent, as its thresholds are. \
         `tally up` has all of them, `tally ingest` those of the door (`tally_ingest_…`), \
         `tally query` those of queries and, where there are users, of the audit log \
         (`tally_audit_…`), `tally janitor --listen ADDR` those of the janitor, \
         `tally aggregate --listen ADDR` the others; each counts those who came to its doors \
         (`tally_sign_ins_total`), sees its own disks and certificate, and what keeps it from running well \
         (`tally_trouble`).\n\n\
         This page is generated: `TALLY_UPDATE_DOCS=1 cargo test -p tally --bin tally metrics`.\n\n\
         | metric | type | labels | |\n| --- | --- | --- | --- |\n",
    );
    for (name, Shown { help, kind, labels }) in metrics {
        let labels = in_ticks(labels.keys());
        writeln!(out, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
    }
    out.push_str(
        "\n## Values of labels\n\n\
         All of them are there from the start, with 0: a rate sees the first of its kind.\n\n\
         | metric | label | values |\n| --- | --- | --- |\n",
    );
    for (name, label) in KNOWN_VALUES {
        let values = in_ticks(&metrics[name].labels[label]);
        writeln!(out, "| `{name}` | `{label}` | {values} |").unwrap();
    }
    out
}

fn in_ticks<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn the_metrics_page_lists_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let exposed = exposition().await;
    // Prometheus knows no other word for it.
    assert!(exposed.contains("le=\"+Inf\"") && !exposed.contains("le=\"inf\""), "{exposed}");
    let metrics = metrics(&exposed);
    assert!(metrics.len() > 25, "{exposed}");
    for (name, shown) in &metrics {
        assert!(name.starts_with("tally_"), "{name}");
        // A metric of which nothing was made to happen shows no labels: it would be missed here.
        assert!(!shown.help.contains(", by ") || !shown.labels.is_empty(), "{name}: no label");
    }
    let wanted = reference(&metrics);
    if std::env::var_os("TALLY_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/metrics.md is out of date: TALLY_UPDATE_DOCS=1 cargo test -p tally --bin tally metrics"
    );
}
