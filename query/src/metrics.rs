//! Metrics of queries.

use std::time::Instant;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::error::ErrorKind;

type Outcome = [(&'static str, &'static str); 1];

/// The outcome of a query that ran to its end.
const OK: &str = "ok";
/// That of one that its reader gave up.
const ABANDONED: &str = "abandoned";

/// Times of queries by outcome, and how many run. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct QueryMetrics {
    seconds: Family<Outcome, Histogram, fn() -> Histogram>,
    running: Gauge,
}

impl QueryMetrics {
    pub(crate) fn new() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.002, 2.0, 16));
        let seconds: Family<Outcome, Histogram, _> = Family::new_with_constructor(histogram);
        // Each is there from the start: a rate of one that comes with its first query misses it.
        for outcome in [OK, ABANDONED].into_iter().chain(ErrorKind::ALL.map(ErrorKind::name)) {
            drop(seconds.get_or_create(&[("outcome", outcome)]));
        }
        Self { seconds, running: Gauge::default() }
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
        Measured { metrics: self.clone(), begun: Instant::now(), outcome: ABANDONED }
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
        self.outcome = failure.map_or(OK, ErrorKind::name);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.metrics.running.dec();
        let seconds = self.begun.elapsed().as_secs_f64();
        self.metrics.seconds.get_or_create(&[("outcome", self.outcome)]).observe(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_there_from_the_start() {
        let metrics = QueryMetrics::new();
        metrics.begin().ended(Some(ErrorKind::Retry));
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for (outcome, count) in [("ok", 0), ("abandoned", 0), ("retry", 1), ("internal", 0)] {
            let line = format!("tally_query_seconds_count{{outcome=\"{outcome}\"}} {count}");
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
