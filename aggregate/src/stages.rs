//! Stages of the core one by one, for measurements alone: the feature `stages` opens them, the
//! program is built without it.

use tally_schemas::{Amounts, UsageCounts};
use xxhash_rust::xxh3::xxh3_64;

use crate::core::dedupe::{Dedupe, DedupeLimits, Verdict};
use crate::core::model_windows::Addition;
use crate::core::subscriber_windows::{
    SubscriberKey, SubscriberRows, SubscriberWindows, WindowedModel, holder_hash,
};

/// Dedupe of one partition, with buckets of an hour that stay open for a day.
#[derive(Debug, Clone)]
pub struct DedupeStage(Dedupe);

impl Default for DedupeStage {
    fn default() -> Self {
        const HOUR_MS: i64 = 3_600_000;
        Self(Dedupe::new(DedupeLimits {
            bucket_ms: HOUR_MS,
            open_ms: 24 * HOUR_MS,
            open_max_bytes: usize::MAX,
            horizon_ms: 35 * 24 * HOUR_MS,
            cache_max_bytes: 0,
        }))
    }
}

impl DedupeStage {
    /// Whether an id, as its hash, is new; it is noted then.
    pub fn is_new(&mut self, id: u64, content: u64, at_ms: i64) -> bool {
        self.0.judge(id, content, at_ms, None) == Verdict::New
    }
}

/// Windows by subscriber of one partition, a minute long.
#[derive(Debug, Clone)]
pub struct WindowStage {
    windows: SubscriberWindows,
    rows: SubscriberRows,
}

impl Default for WindowStage {
    fn default() -> Self {
        let windows = SubscriberWindows::new(60_000, usize::MAX);
        Self { windows, rows: SubscriberRows::default() }
    }
}

impl WindowStage {
    /// Adds usage of an account's only subscriber.
    pub fn add(&mut self, account: &str, at_ms: i64, counts: &UsageCounts) {
        let hash = xxh3_64(account.as_bytes());
        let key = SubscriberKey {
            account,
            subscriber: account,
            what: WindowedModel {
                model: "glm-5",
                vendor: "zhipu",
                retail_currency: None,
                wholesale_currency: Some("CNY"),
            },
            holder_hash: holder_hash(hash, hash),
        };
        let amounts = Amounts { points_micro: 1, retail_pico: 0, wholesale_pico: 1 };
        let addition = Addition { at_ms, counts, amounts };
        self.windows.add(key, [0, 1, 2, 3], addition, &mut self.rows);
    }
}
