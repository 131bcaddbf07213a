//! The objects that say that a stream goes on with another topic of another number of partitions.
//! All are created once and never changed; see `docs/adr/0027-partition-count.md`.

use serde::{Deserialize, Serialize};

use crate::ledger_entry::entry_path;

/// Says of a topic that it belongs to a ledger of another name. It lies where the first entry of a
/// ledger of the topic's own name would be, so that none can begin there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveIntent {
    /// Format version of ledger entries.
    pub format: u32,
    /// The topic that the stream is to go on with.
    pub topic: String,
    /// Partition of that topic.
    pub partition: u32,
    /// Partitions of that topic.
    pub partition_count: u32,
    /// Name of the ledger.
    pub ledger: String,
    /// The topic that the stream comes from.
    pub from_topic: String,
    /// Partitions of that topic.
    pub from_partition_count: u32,
}

/// Whether the stream goes on with a topic: the one object that decides it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveDecision {
    /// Format version of ledger entries.
    pub format: u32,
    /// The topic.
    pub topic: String,
    /// Name of the ledger.
    pub ledger: String,
    /// What was decided.
    #[serde(flatten)]
    pub outcome: MoveOutcome,
}

/// What was decided of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum MoveOutcome {
    /// The stream goes on with it.
    Continues {
        /// Its partitions.
        partition_count: u32,
        /// Partitions of the topic before it: they are the first of `ends`, all frozen.
        from_partition_count: u32,
        /// What its first offset counts as.
        first_offset: u64,
        /// The last entry of each partition's ledger; null where there is none yet.
        ends: Vec<Option<LedgerEnd>>,
    },
    /// It never will.
    Abandoned,
}

/// The last entry of a partition's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEnd {
    /// Its number.
    pub n: u64,
    /// BLAKE3 of its bytes, in hex.
    pub hash: String,
}

/// Path of the intent for a partition of a topic.
pub fn intent_path(topic: &str, partition: u32) -> String {
    entry_path(topic, partition, 0)
}

/// Path of what was decided of a topic.
pub fn decision_path(topic: &str) -> String {
    format!("ledger/{topic}/decision.json")
}
