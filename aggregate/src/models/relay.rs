//! Takes committed epochs from the partitions' ledgers to the topic `usage.models`.
//!
//! What is due is what the second stage has not added: its ledger says so, and from there on this
//! relay remembers what it has sent. So nothing is left out by a crash, and what is sent again is
//! added once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tally_log::{LogProducer, Outgoing, RecordKind};
use tally_schemas::{EpochIncrements, SourcePosition};

use crate::crash_point::crash_point;
use crate::error::AggregateError;
use crate::ledger;
use crate::models::budget_owner::StageConfig;
use crate::owner::Surroundings;

/// Sends the epochs of the partitions that a process holds.
pub struct Relay {
    surroundings: Surroundings,
    config: StageConfig,
    producer: Arc<dyn LogProducer>,
    /// Next epoch to send of each partition.
    next: BTreeMap<u32, u64>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Relay {
    /// A relay that has sent nothing. Does no I/O.
    pub fn new(
        surroundings: Surroundings,
        config: StageConfig,
        producer: Arc<dyn LogProducer>,
    ) -> Self {
        Self { surroundings, config, producer, next: BTreeMap::new() }
    }

    /// Forgets the partitions that are not among these: somebody else sends their epochs, and it
    /// is asked anew where to go on when they come back.
    pub fn keep(&mut self, held: impl Fn(u32) -> bool) {
        self.next.retain(|partition, _| held(*partition));
    }

    /// Sends the next epoch of a partition that is committed and not known to be sent, up to entry
    /// `last` where that is known. Whether there was one.
    ///
    /// # Errors
    /// `Retry` while the store or the log is away: what was sent stays sent, call again. `Data`
    /// where an entry that is due is damaged or gone.
    pub async fn send_next(
        &mut self,
        partition: u32,
        last: Option<u64>,
    ) -> Result<bool, AggregateError> {
        let n = match self.next.get(&partition) {
            Some(next) => *next,
            None => {
                let next = self.first_due(partition).await?;
                self.next.insert(partition, next);
                next
            }
        };
        if last.is_some_and(|last| n > last) {
            return Ok(false);
        }
        let store = self.surroundings.store.as_ref();
        let entry = ledger::read_entry(store, &self.config.source_topic, partition, n).await?;
        let Some(stored) = entry else {
            // Others may have sent it, the stage added it, and the janitor removed it, while
            // this process slept.
            if ledger::floor(store, &self.config.source_topic, partition).await? > n {
                self.next.remove(&partition);
            }
            return Ok(false);
        };
        let message = EpochIncrements::of_entry(&stored.entry, &stored.hash);
        let value = serde_json::to_vec(&message)
            .map_err(|error| AggregateError::Invalid(error.to_string()))?;
        crash_point("relaying");
        let appended = self.producer.append(Outgoing {
            partition: 0,
            key: Some(Bytes::from(partition.to_string())),
            value: Bytes::from(value),
            kind: RecordKind::Single,
        });
        // One after the other, so that a partition's epochs are in their order.
        appended.await?;
        crash_point("relayed");
        self.next.insert(partition, n + 1);
        Ok(true)
    }

    /// Where a partition is to be sent from: what the second stage has not added.
    async fn first_due(&self, partition: u32) -> Result<u64, AggregateError> {
        let store = self.surroundings.store.as_ref();
        let stage = ledger::find_last(store, &self.config.topic, 0).await?;
        let sources: &[SourcePosition] =
            stage.as_ref().map_or(&[], |stage| stage.entry.sources.as_slice());
        match sources.iter().find(|source| source.partition == partition) {
            Some(source) => Ok(source.next),
            None => ledger::floor(store, &self.config.source_topic, partition).await,
        }
    }
}
