//! Metrics of the door. Each is documented by its help text; all start with `tally_ingest_`.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::budget::Budget;
use crate::error::DoorError;
use crate::gateways::{GatewayCollector, Gateways, Heard};
use crate::intake::Taken;

/// Answers that are counted from the start, as alerts watch their rates: a rate of one that comes
/// with its first request misses it.
const WATCHED_STATUSES: [u16; 4] = [200, 429, 500, 503];

/// A label with a name and a value that are known at build time.
type Label = [(&'static str, &'static str); 1];

/// Counters and histograms of the door. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    received: Family<Label, Counter>,
    accepted: Counter,
    rejected: Family<Label, Counter>,
    held: Family<Label, Counter>,
    unknown_fields: Counter,
    requests: Family<[(&'static str, String); 1], Counter>,
    batch_events: Histogram,
    batch_bytes: Histogram,
    ack_seconds: Histogram,
    append_failures: Counter,
    gateways: Arc<Gateways>,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// Where the registry is poisoned.
    pub(crate) fn register(
        registry: &Mutex<Registry>,
        budget: &Arc<Budget>,
    ) -> Result<Self, DoorError> {
        let metrics = Self {
            received: Family::default(),
            accepted: Counter::default(),
            rejected: Family::default(),
            held: Family::default(),
            unknown_fields: Counter::default(),
            requests: Family::default(),
            batch_events: Histogram::new(exponential_buckets(1.0, 4.0, 9)),
            batch_bytes: Histogram::new(exponential_buckets(256.0, 4.0, 8)),
            ack_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
            append_failures: Counter::default(),
            gateways: Arc::default(),
        };
        for status in WATCHED_STATUSES {
            drop(metrics.requests.get_or_create(&[("status", status.to_string())]));
        }
        let mut registry = registry.lock().map_err(|_| DoorError::Registry)?;
        add(
            &mut registry,
            "events_received",
            "Events of readable requests, by format, whatever became of them",
            &metrics.received,
        );
        add(
            &mut registry,
            "events_accepted",
            "Events that the log has acknowledged, those held back later included",
            &metrics.accepted,
        );
        add(
            &mut registry,
            "events_rejected",
            "Events refused at the door because they cannot be attributed, by code",
            &metrics.rejected,
        );
        add(
            &mut registry,
            "events_held",
            "Accepted events with a defect, which end in suspense, by the code of the first defect",
            &metrics.held,
        );
        add(
            &mut registry,
            "unknown_fields",
            "Fields that the schema does not have; they are ignored",
            &metrics.unknown_fields,
        );
        add(
            &mut registry,
            "requests",
            "Requests with events or commands, by status",
            &metrics.requests,
        );
        add(
            &mut registry,
            "batch_events",
            "Events of one batch sent to the log",
            &metrics.batch_events,
        );
        add(
            &mut registry,
            "batch_bytes",
            "Bytes of one batch sent to the log",
            &metrics.batch_bytes,
        );
        add(
            &mut registry,
            "ack_seconds",
            "Time from the append of a record to the log's answer",
            &metrics.ack_seconds,
        );
        add(
            &mut registry,
            "append_failures",
            "Records that the log did not acknowledge",
            &metrics.append_failures,
        );
        registry.register_collector(Box::new(InFlight(Arc::clone(budget))));
        registry.register_collector(Box::new(GatewayCollector(Arc::clone(&metrics.gateways))));
        Ok(metrics)
    }

    /// Counts a request that was read.
    pub(crate) fn read(&self, format: &'static str, taken: &Taken) {
        self.received.get_or_create(&[("format", format)]).inc_by(taken.events);
        for rejection in &taken.answer.rejected {
            self.rejected.get_or_create(&[("code", rejection.code)]).inc();
        }
        for (code, count) in &taken.held_codes {
            self.held.get_or_create(&[("code", *code)]).inc_by(*count);
        }
        self.unknown_fields.inc_by(taken.unknown_fields);
    }

    /// Counts events that the log has acknowledged, and notes whose they are.
    pub(crate) fn accepted(&self, events: u64, heard: &Heard) {
        self.accepted.inc_by(events);
        self.gateways.heard(heard, Timestamp::now().as_second());
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, status: u16) {
        self.requests.get_or_create(&[("status", status.to_string())]).inc();
    }

    /// Measures a batch that goes to the log.
    pub(crate) fn batch(&self, events: u64, bytes: usize) {
        self.batch_events.observe(approximate(events));
        self.batch_bytes.observe(approximate(u64::try_from(bytes).unwrap_or(u64::MAX)));
    }

    /// Measures an answer of the log.
    pub(crate) fn acknowledged(&self, after: Duration, ok: bool) {
        self.ack_seconds.observe(after.as_secs_f64());
        if !ok {
            self.append_failures.inc();
        }
    }
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: &M) {
    registry.register(format!("tally_ingest_{name}"), help, metric.clone());
}

/// A size as histograms take it. Sizes are far below 2^32, so nothing is lost.
fn approximate(size: u64) -> f64 {
    f64::from(u32::try_from(size).unwrap_or(u32::MAX))
}

/// The bytes in flight, read when metrics are.
#[derive(Debug)]
struct InFlight(Arc<Budget>);

impl Collector for InFlight {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in [
            ("tally_ingest_in_flight", "Bytes received and not yet acknowledged", self.0.used()),
            (
                "tally_ingest_in_flight_max",
                "Bytes in flight beyond which the door answers 429",
                self.0.limit(),
            ),
        ] {
            let gauge = ConstGauge::<u64>::new(value);
            let metric = encoder.encode_descriptor(
                name,
                help,
                Some(&Unit::Bytes),
                EncodeMetric::metric_type(&gauge),
            )?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
