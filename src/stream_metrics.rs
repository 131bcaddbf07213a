//! Metrics of the stream, read from its status when they are asked for.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tally_aggregate::{Aggregator, Times};
use tally_schemas::SuspenseReason;

/// A registry with the metrics of one aggregator.
pub(crate) fn registry_of(aggregator: &Arc<Aggregator>) -> Arc<Mutex<Registry>> {
    let mut registry = Registry::default();
    register(&mut registry, aggregator);
    Arc::new(Mutex::new(registry))
}

/// Adds the metrics of one aggregator.
pub(crate) fn register(registry: &mut Registry, aggregator: &Arc<Aggregator>) {
    registry.register_collector(Box::new(StreamCollector(Arc::clone(aggregator))));
}

#[derive(Debug)]
struct StreamCollector(Arc<Aggregator>);

impl Collector for StreamCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = self.0.status();
        let counters = status.counters();
        for (name, help, counter) in [
            ("tally_stream_records", "Log records committed", &counters.records),
            ("tally_stream_accepted", "Events accepted and committed", &counters.accepted),
            ("tally_stream_duplicates", "Exact duplicates dropped", &counters.duplicates),
            (
                "tally_suspense_recycled",
                "Held-back events that were taken in again",
                &counters.recycled,
            ),
            (
                "tally_suspense_written_off",
                "Held-back events that were given up",
                &counters.written_off,
            ),
            (
                "tally_suspense_left_open",
                "Records that asked to recycle or write off a row, and left it open",
                &counters.left_open,
            ),
            ("tally_corrections", "Accepted events that were taken back", &counters.corrected),
            (
                "tally_corrections_refused",
                "Records that asked to take an event back that is not known, or was taken back",
                &counters.corrections_refused,
            ),
            ("tally_epoch_commits", "Ledger entries created", &counters.commits),
            (
                "tally_quota_statuses",
                "Statuses of accounts acknowledged by the log",
                &counters.statuses,
            ),
            (
                "tally_ledger_conflicts",
                "Times that another owner had a partition",
                &counters.fenced,
            ),
        ] {
            let value = ConstCounter::new(counter.load(Ordering::Relaxed));
            value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)?;
        }
        encode_times(
            &mut encoder,
            ("tally_epoch_commit_seconds", "Time from the end of an epoch to its ledger entry"),
            &counters.commit_times,
        )?;
        encode_times(
            &mut encoder,
            (
                "tally_alert_latency_seconds",
                "Time from when the log received an event to when it acknowledged the alert that the event caused",
            ),
            &counters.alert_times,
        )?;
        let zero = ConstCounter::new(0_u64);
        let mut by_reason = encoder.encode_descriptor(
            "tally_stream_suspended",
            "Events held back, by reason",
            None,
            zero.metric_type(),
        )?;
        // Each is there from the start: a rate of one that comes with its first event misses it.
        let suspended = counters.suspended.lock();
        for reason in SuspenseReason::ALL.map(SuspenseReason::as_str) {
            let events = suspended.get(reason).copied().unwrap_or(0);
            ConstCounter::new(events).encode(by_reason.encode_family(&[("reason", reason)])?)?;
        }
        drop(suspended);
        let mut by_kind = encoder.encode_descriptor(
            "tally_alerts",
            "Alerts that the log acknowledged, by kind",
            None,
            zero.metric_type(),
        )?;
        for (kind, alerts) in counters.alerts.lock().iter() {
            let labels = [("kind", kind.as_str())];
            ConstCounter::new(*alerts).encode(by_kind.encode_family(&labels)?)?;
        }
        let partitions = status.partitions();
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        let age_seconds = |since_ms: i64| now_ms.saturating_sub(since_ms).max(0) / 1_000;
        let lag: u64 =
            partitions.values().map(|p| p.end_offset.saturating_sub(p.committed_offset)).sum();
        let oldest = partitions.values().filter_map(|p| p.oldest_uncommitted_ms).min();
        let watermark = partitions.values().filter_map(|p| p.watermark_ms).min();
        let waiting = partitions.values().filter(|p| p.waiting.is_some()).count();
        let owned = partitions.values().filter(|p| p.stopped.is_none()).count();
        let notices: u64 = partitions.values().map(|p| p.notices_waiting).sum();
        let state: u64 = partitions.values().map(|p| p.state_bytes).sum();
        for (name, help, value) in [
            ("tally_lag_events", "End of the log minus committed, records", signed(lag)),
            (
                "tally_oldest_uncommitted_age_seconds",
                "Time since the log received the oldest record that was read and is not committed",
                oldest.map_or(0, age_seconds),
            ),
            (
                "tally_watermark_age_seconds",
                "How far the slowest partition's watermark is behind the clock",
                watermark.map_or(0, age_seconds),
            ),
            (
                "tally_notices_waiting",
                "Alerts and quota statuses that the log has not acknowledged",
                signed(notices),
            ),
            ("tally_state_bytes", "Dedupe buckets and windows in memory", signed(state)),
            (
                "tally_partitions_waiting",
                "Partitions for which the store or the log does not answer",
                i64::try_from(waiting).unwrap_or(i64::MAX),
            ),
            (
                "tally_partitions_owned",
                "Partitions that this process holds and processes",
                i64::try_from(owned).unwrap_or(i64::MAX),
            ),
            (
                "tally_partitions",
                "Partitions of the topic of usage events, which some process should hold",
                i64::from(self.0.partition_count()),
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

fn encode_times(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    times: &Times,
) -> Result<(), std::fmt::Error> {
    let counts = times.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
    // The largest number is written as +Inf.
    let bounds = times.bounds_ms.into_iter().map(seconds).chain([f64::MAX]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let sum = seconds(times.sum_ms.load(Ordering::Relaxed));
    encoder
        .encode_descriptor(name, help, None, MetricType::Histogram)?
        .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
