//! What the stream is doing, for `tally status`, metrics and probes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use tally_schemas::ControlTotals;

use crate::error::AggregateError;

/// One partition that this process holds or held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// Owner id of this process for the partition.
    pub owner: String,
    /// Number of the last committed ledger entry.
    pub epoch: u64,
    /// Next offset after the last commit.
    pub committed_offset: u64,
    /// Next offset to be read.
    pub next_offset: u64,
    /// End of the log, as far as known.
    pub end_offset: u64,
    /// Watermark, milliseconds UTC.
    pub watermark_ms: Option<i64>,
    /// When the log received the oldest record that was read and is not committed, milliseconds UTC.
    pub oldest_uncommitted_ms: Option<i64>,
    /// Bytes of dedupe buckets and windows in memory.
    pub state_bytes: u64,
    /// Ids in open dedupe buckets.
    pub open_ids: u64,
    /// Open subscriber windows.
    pub open_windows: u64,
    /// Alerts and statuses that were handed over and that the log has not acknowledged.
    pub notices_waiting: u64,
    /// What the partition waits for, where it does.
    pub waiting: Option<Waiting>,
    /// Why the partition is not being processed, where it is not.
    pub stopped: Option<String>,
    /// When the partition's thread last looked for records, or something that it waits for was tried,
    /// milliseconds UTC; none before it runs.
    pub turned_ms: Option<i64>,
    /// Since when an epoch is being stored, or when that was last tried, milliseconds UTC.
    pub storing_ms: Option<i64>,
}

impl PartitionStatus {
    /// Why the partition makes no progress, where nothing has said what it waits for: then something
    /// in this process is stuck, and only a new one helps.
    pub fn stalled(&self, now_ms: i64, limit_ms: i64) -> Option<String> {
        let over = |since_ms: Option<i64>| {
            let ms = now_ms.saturating_sub(since_ms?);
            (ms > limit_ms).then_some(ms / 1_000)
        };
        if let Some(seconds) = over(self.turned_ms) {
            return Some(format!("its thread has not moved for {seconds} s"));
        }
        let seconds = over(self.storing_ms)?;
        Some(format!("an epoch is being stored for {seconds} s, and nothing says why"))
    }
}

/// The store or the log does not answer, and is asked again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Since when, milliseconds UTC.
    pub since_ms: i64,
    /// Attempts that failed.
    pub attempts: u64,
    /// What the last one failed with.
    pub why: String,
}

/// Bounds of a histogram.
const BOUNDS: usize = 12;
const COMMIT_BOUNDS_MS: [u64; BOUNDS] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];
const ALERT_BOUNDS_MS: [u64; BOUNDS] = [1, 2, 5, 10, 20, 50, 100, 250, 500, 1_000, 5_000, 15_000];

/// A histogram of how long something took.
#[derive(Debug)]
pub struct Times {
    /// Upper bounds of the buckets, milliseconds; the last bucket has none.
    pub bounds_ms: [u64; BOUNDS],
    /// How often by bucket, each time counted once.
    pub buckets: [AtomicU64; BOUNDS + 1],
    /// Sum of all times, milliseconds.
    pub sum_ms: AtomicU64,
}

impl Times {
    fn new(bounds_ms: [u64; BOUNDS]) -> Self {
        Self { bounds_ms, buckets: Default::default(), sum_ms: AtomicU64::default() }
    }

    fn observe(&self, ms: u64) {
        let bucket = self.bounds_ms.partition_point(|bound| *bound < ms);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// Counters since the process began.
#[derive(Debug)]
pub struct StreamCounters {
    /// Records read.
    pub records: AtomicU64,
    /// Events accepted and committed.
    pub accepted: AtomicU64,
    /// Duplicates dropped.
    pub duplicates: AtomicU64,
    /// Ledger entries created.
    pub commits: AtomicU64,
    /// Statuses of accounts that the log acknowledged.
    pub statuses: AtomicU64,
    /// Times that another owner had taken a partition.
    pub fenced: AtomicU64,
    /// How long epochs took from their end to their ledger entry.
    pub commit_times: Times,
    /// Events held back, by reason.
    pub suspended: Mutex<BTreeMap<String, u64>>,
    /// Held-back events that were taken in again.
    pub recycled: AtomicU64,
    /// Held-back events that were given up.
    pub written_off: AtomicU64,
    /// Records that asked for either, and left their row open.
    pub left_open: AtomicU64,
    /// Accepted events that were taken back.
    pub corrected: AtomicU64,
    /// Records that asked for a correction which cannot be.
    pub corrections_refused: AtomicU64,
    /// Alerts that the log has acknowledged, by kind.
    pub alerts: Mutex<BTreeMap<String, u64>>,
    /// How long alerts took from when the log received the record that caused them to when it
    /// acknowledged them.
    pub alert_times: Times,
}

impl Default for StreamCounters {
    fn default() -> Self {
        Self {
            records: AtomicU64::default(),
            accepted: AtomicU64::default(),
            duplicates: AtomicU64::default(),
            commits: AtomicU64::default(),
            statuses: AtomicU64::default(),
            fenced: AtomicU64::default(),
            commit_times: Times::new(COMMIT_BOUNDS_MS),
            suspended: Mutex::default(),
            recycled: AtomicU64::default(),
            written_off: AtomicU64::default(),
            left_open: AtomicU64::default(),
            corrected: AtomicU64::default(),
            corrections_refused: AtomicU64::default(),
            alerts: Mutex::default(),
            alert_times: Times::new(ALERT_BOUNDS_MS),
        }
    }
}

/// Shared by the workers, read by whoever asks.
#[derive(Debug, Clone, Default)]
pub struct StreamStatus {
    partitions: Arc<Mutex<BTreeMap<u32, PartitionStatus>>>,
    counters: Arc<StreamCounters>,
}

impl StreamStatus {
    /// Every partition that this process holds.
    pub fn partitions(&self) -> BTreeMap<u32, PartitionStatus> {
        self.partitions.lock().clone()
    }

    /// How many partitions this process holds.
    pub(crate) fn held(&self) -> usize {
        self.partitions.lock().len()
    }

    /// Counters since the process began.
    pub fn counters(&self) -> &StreamCounters {
        &self.counters
    }

    pub(crate) fn update(&self, partition: u32, change: impl FnOnce(&mut PartitionStatus)) {
        change(self.partitions.lock().entry(partition).or_default());
    }

    /// Notes that an attempt failed at `now_ms`.
    pub(crate) fn waits(&self, partition: u32, now_ms: i64, why: &AggregateError) {
        self.update(partition, |status| {
            let before = status.waiting.take();
            let since_ms = before.as_ref().map_or(now_ms, |before| before.since_ms);
            let attempts = before.map_or(0, |before| before.attempts) + 1;
            status.waiting = Some(Waiting { since_ms, attempts, why: why.to_string() });
            for tried_ms in [&mut status.turned_ms, &mut status.storing_ms].into_iter().flatten() {
                *tried_ms = now_ms;
            }
        });
    }

    /// Number of the last committed ledger entry of a partition, once its owner has told it.
    pub(crate) fn last_epoch(&self, partition: u32) -> Option<u64> {
        let partitions = self.partitions.lock();
        let known = partitions.get(&partition).filter(|status| !status.owner.is_empty());
        known.map(|status| status.epoch)
    }

    /// The thread of a partition has ended: it need not move any more.
    pub(crate) fn ended(&self, partition: u32) {
        if let Some(status) = self.partitions.lock().get_mut(&partition) {
            (status.turned_ms, status.storing_ms) = (None, None);
        }
    }

    pub(crate) fn remove(&self, partition: u32) {
        self.partitions.lock().remove(&partition);
    }

    /// Counts an alert that the log acknowledged `ms` milliseconds after it received its cause.
    pub(crate) fn count_alert(&self, kind: &str, ms: u64) {
        self.counters.alert_times.observe(ms);
        let mut alerts = self.counters.alerts.lock();
        match alerts.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(alerts.insert(kind.to_owned(), 1)),
        }
    }

    /// Counts a status that the log acknowledged.
    pub(crate) fn count_status(&self) {
        self.counters.statuses.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a commit that took `ms` milliseconds from the end of its epoch.
    pub(crate) fn count_commit(&self, totals: &ControlTotals, ms: u64) {
        let counters = &self.counters;
        counters.commit_times.observe(ms);
        counters.records.fetch_add(totals.records, Ordering::Relaxed);
        counters.accepted.fetch_add(totals.accepted.events, Ordering::Relaxed);
        counters.duplicates.fetch_add(totals.duplicates.events, Ordering::Relaxed);
        counters.recycled.fetch_add(totals.recycled.events, Ordering::Relaxed);
        counters.written_off.fetch_add(totals.written_off.events, Ordering::Relaxed);
        counters.left_open.fetch_add(totals.left_open, Ordering::Relaxed);
        counters.corrected.fetch_add(totals.corrected.flow.events, Ordering::Relaxed);
        counters.corrections_refused.fetch_add(totals.corrections_refused, Ordering::Relaxed);
        counters.commits.fetch_add(1, Ordering::Relaxed);
        let mut suspended = counters.suspended.lock();
        for (reason, events) in &totals.suspended_by_reason {
            *suspended.entry(reason.clone()).or_default() += events;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_named_cause_is_not_stalled() {
        let status = StreamStatus::default();
        let stalled = |now_ms| status.partitions()[&0].stalled(now_ms, 1_000);
        let why = AggregateError::Invalid("the store is away".to_owned());
        // Being taken: no thread runs yet.
        status.waits(0, 0, &why);
        assert_eq!(stalled(10_000), None);
        status.update(0, |status| status.turned_ms = Some(10_000));
        assert_eq!(stalled(11_000), None);
        assert!(stalled(11_001).unwrap().contains("thread"));
        // The thread goes on, and what it sent does not come back.
        status.update(0, |status| {
            (status.turned_ms, status.storing_ms) = (Some(20_000), Some(15_000));
        });
        assert!(stalled(20_000).unwrap().contains("stored for 5 s"));
        // Each attempt that fails is a sign of life, until there are no more of them.
        status.waits(0, 20_000, &why);
        assert_eq!(stalled(21_000), None);
        assert!(stalled(21_001).is_some());
        status.ended(0);
        assert_eq!(stalled(99_000), None);
    }

    #[test]
    fn times_fall_into_the_bucket_that_bounds_them() {
        let times = Times::new(COMMIT_BOUNDS_MS);
        for ms in [0, 5, 6, 30_000, 30_001] {
            times.observe(ms);
        }
        let counts: Vec<u64> = times.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(times.sum_ms.load(Ordering::Relaxed), 60_012);
    }
}
