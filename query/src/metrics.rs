//! Metrics of queries.

use std::time::Instant;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::error::ErrorKind;

type Outcome = [(&'static str, &'static str); 1];

/// Times of queries by outcome, and how many run. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct QueryMetrics {
    seconds: Family<Outcome, Histogram, fn() -> Histogram>,
    running: Gauge,
}

impl QueryMetrics {
    pub(crate) fn new() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.002, 2.0, 16));
        Self { seconds: Family::new_with_constructor(histogram), running: Gauge::default() }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "tally_query_seconds",
            "Time from a query's admission to its last row, by outcome: ok, abandoned by its reader, or the kind of its error",
            self.seconds.clone(),
        );
        registry.register(
            "tally_queries_running",
            "Queries that run or wait for their reader",
            self.running.clone(),
        );
    }

    /// Begins to measure a query.
    pub(crate) fn begin(&self) -> Measured {
        self.running.inc();
        Measured { metrics: self.clone(), begun: Instant::now(), outcome: "abandoned" }
    }
}

/// A query that runs. What ends without being told how was given up by its reader.
#[derive(Debug)]
pub(crate) struct Measured {
    metrics: QueryMetrics,
    begun: Instant,
    outcome: &'static str,
}

impl Measured {
    /// Notes that the query ran to its end, or why it did not.
    pub(crate) fn ended(&mut self, failure: Option<ErrorKind>) {
        self.outcome = failure.map_or("ok", ErrorKind::name);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.metrics.running.dec();
        let seconds = self.begun.elapsed().as_secs_f64();
        self.metrics.seconds.get_or_create(&[("outcome", self.outcome)]).observe(seconds);
    }
}
