//! What a seed decides before its run begins: settings small enough that a few dozen events seal
//! buckets, close windows and write bases; traffic; faults.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tally_schemas::AggregateConfig;

use super::price_book::EDITIONS;
use super::workload::Traffic;

/// How badly the store behaves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// Calls of a thousand that go wrong.
    pub(super) per_mille: u32,
    /// Longest time that a call takes, ticks; a few take ten times as long.
    pub(super) latency_max: u64,
    /// Every call fails before this tick.
    pub(super) down_until: u64,
}

/// Everything about a run that its seed decides beforehand.
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) settings: AggregateConfig,
    pub(super) traffic: Traffic,
    pub(super) partition_count: u32,
    pub(super) faults: Faults,
    pub(super) disturbances: u64,
    /// Ticks at which newer reference data is approved.
    pub(super) approvals: [u64; EDITIONS - 1],
}

impl Plan {
    /// The plan of a seed.
    pub(super) fn of(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let tight = random.random_ratio(1, 5);
        let large = random.random_ratio(1, 40);
        let records = if large { 300 } else { random.random_range(16..72) };
        let settings = AggregateConfig {
            epoch_max_events: random.random_range(8..48),
            lateness_ms: random.random_range(2_000..12_000),
            model_window_ms: 10_000,
            subscriber_window_ms: 20_000,
            dedupe_bucket_ms: *[5_000, 10_000, 30_000].choose(&mut random).unwrap(),
            dedupe_open_ms: random.random_range(0..20_000),
            dedupe_open_max_bytes: if tight { 2_000 } else { 1 << 30 },
            dedupe_horizon_days: 1,
            windows_open_max_bytes: if random.random_ratio(1, 5) { 1_500 } else { 1 << 30 },
            future_max_ms: 15_000,
            reference_poll_ms: 40,
            ..AggregateConfig::default()
        };
        let traffic = Traffic {
            records,
            resent: *[5, 25, 60].choose(&mut random).unwrap(),
            poison: *[0, 10, 40].choose(&mut random).unwrap(),
            batches: *[0, 15, 50].choose(&mut random).unwrap(),
            restamped: !tight,
            days_pass: random.random_ratio(1, 6),
            ticks: random.random_range(100..1_500),
        };
        let faults = Faults {
            per_mille: *[0, 20, 80, 250].choose(&mut random).unwrap(),
            latency_max: *[1, 6, 25].choose(&mut random).unwrap(),
            down_until: 0,
        };
        let partition_count = if random.random_ratio(1, 12) { 2 } else { 1 };
        let disturbances = random.random_range(0..9);
        let mut approvals = [0; EDITIONS - 1].map(|_: u64| random.random_range(0..traffic.ticks));
        approvals.sort_unstable();
        Self { seed, settings, traffic, partition_count, faults, disturbances, approvals }
    }
}
