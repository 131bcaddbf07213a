//! Lets the clock into a log that is idle: where something is due by now and nothing comes that
//! would raise the watermark, the partition's owner appends a tick.

use std::sync::Arc;

use bytes::Bytes;
use tally_log::{LogProducer, Outgoing, RecordKind};

use crate::core::{Partition, write_tick};

/// Appends ticks for one partition.
pub(crate) struct Ticker {
    producer: Arc<dyn LogProducer>,
    every_ms: i64,
    lateness_ms: i64,
    last_ms: Option<i64>,
}

impl std::fmt::Debug for Ticker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticker").field("every_ms", &self.every_ms).finish_non_exhaustive()
    }
}

impl Ticker {
    /// Every `every_ms` milliseconds at most.
    pub(crate) fn new(producer: Arc<dyn LogProducer>, every_ms: u64, lateness_ms: u64) -> Self {
        let (every_ms, lateness_ms) = (every_ms.cast_signed(), lateness_ms.cast_signed());
        Self { producer, every_ms, lateness_ms, last_ms: None }
    }

    /// What to append for a partition whose log has had nothing new since `idle_since_ms`: a tick,
    /// where something is due.
    pub(crate) fn due(
        &mut self,
        state: &Partition,
        partition: u32,
        idle_since_ms: i64,
        now_ms: i64,
    ) -> Option<Outgoing> {
        let since_ms = self.last_ms.map_or(idle_since_ms, |last| last.max(idle_since_ms));
        if now_ms.saturating_sub(since_ms) < self.every_ms {
            return None;
        }
        let at_ms = state.log_time_ms(now_ms)?;
        if state.next_due_ms()? > at_ms.saturating_sub(self.lateness_ms) {
            return None;
        }
        self.last_ms = Some(now_ms);
        let value = Bytes::from(write_tick(at_ms));
        Some(Outgoing { partition, key: None, value, kind: RecordKind::Single })
    }

    /// Appends in the background. What does not arrive is due again.
    pub(crate) fn append(&self, tick: Outgoing, runtime: &tokio::runtime::Handle) {
        let partition = tick.partition;
        let appended = self.producer.append(tick);
        runtime.spawn(async move {
            if let Err(error) = appended.await {
                tracing::debug!(partition, %error, "a tick was not appended");
            }
        });
    }
}
