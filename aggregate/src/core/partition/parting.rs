//! The state of all partitions, parted anew for another number of them.
//!
//! Accounts and open windows go where their account goes. What dedupe knows is not told apart by
//! account: each new partition gets all of it, which is right, as an identity means one event,
//! whoever reads it.

use std::collections::BTreeSet;

use bytes::Bytes;
use tally_schemas::{AggregateConfig, StateFile, partition_of};

use super::{Partition, PartitionConfig, blake3_hex, dedupe_limits, segment_path, segments_folder};
use crate::core::dedupe::{Dedupe, SegmentRef};
use crate::core::id_table::IdEntry;
use crate::core::state_codec::{BadState, StateHead, StateWriter, decode_segment, encode_segment};

/// An object that the new states refer to: its path and its bytes.
pub(crate) type NewObject = (String, Bytes);

/// The partitions of a stream, together.
pub(crate) struct WholeState {
    partitions: Vec<Partition>,
    /// What all of them know.
    dedupe: Dedupe,
    head: StateHead,
    /// Where segments go: all new partitions share them, and the first one keeps them.
    home: PartitionConfig,
    partition_count: u32,
}

impl std::fmt::Debug for WholeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WholeState")
            .field("partitions", &self.partitions.len())
            .field("partition_count", &self.partition_count)
            .finish_non_exhaustive()
    }
}

impl WholeState {
    /// Puts the partitions of a ledger together, to be parted into `partition_count`.
    ///
    /// The watermark is the greatest: no partition's falls (I11), and no window that was written
    /// and no timer that has fired comes again. What one that was behind still has open is written,
    /// and fires, with the first record that it reads.
    pub(crate) fn of(partitions: Vec<Partition>, ledger: &str, partition_count: u32) -> Self {
        let settings = partitions
            .first()
            .map_or_else(AggregateConfig::default, |first| first.config.aggregate.clone());
        let mut dedupe = Dedupe::new(dedupe_limits(&settings));
        // Those of an earlier change are all partitions' together.
        let mut noted: BTreeSet<&str> = BTreeSet::new();
        for partition in &partitions {
            for (bucket, segments) in partition.dedupe.sealed_buckets() {
                for segment in segments {
                    if noted.insert(&segment.file.path) {
                        dedupe.note_segment(*bucket, segment.clone());
                    }
                }
            }
        }
        for partition in &partitions {
            for (bucket, seal_at_ms, _, ids) in partition.dedupe.open_buckets() {
                dedupe.add_to_open(bucket, seal_at_ms, ids);
            }
        }
        let head = StateHead {
            watermark_ms: partitions.iter().map(|p| p.watermark_ms).max().flatten(),
            newest_ms: partitions.iter().map(|p| p.newest_ms).max().flatten(),
            closed_until_ms: partitions
                .iter()
                .map(|p| p.subscriber_windows.closed_until_ms())
                .max()
                .unwrap_or(i64::MIN),
        };
        // What one that was behind still has may be gone: the janitor of the others went by theirs.
        dedupe.expire(head.watermark_ms);
        let home = PartitionConfig {
            topic: ledger.to_owned(),
            partition: 0,
            partition_count,
            log: None,
            aggregate: settings,
        };
        Self { partitions, dedupe, head, home, partition_count }
    }

    /// The watermark that every partition begins with.
    pub(crate) fn watermark_ms(&self) -> Option<i64> {
        self.head.watermark_ms
    }

    /// Where the segments are that are sealed and joined here.
    pub(crate) fn segments_folder(&self) -> String {
        segments_folder(&self.home)
    }

    /// Seals what all partitions together must not keep open, as each will have all of it, and
    /// returns the segments, to be stored.
    pub(crate) fn seal(&mut self) -> Vec<NewObject> {
        let all = usize::try_from(self.home.aggregate.dedupe_open_max_bytes).unwrap_or(usize::MAX);
        let parts = usize::try_from(self.partition_count.max(1)).unwrap_or(usize::MAX);
        self.dedupe.bound_memory(all / parts);
        let sealed = self.dedupe.end_epoch(self.head.watermark_ms);
        sealed.into_iter().map(|sealed| self.keep(sealed.bucket, &sealed.ids)).collect()
    }

    /// The buckets that have several segments, which [`Self::join`] makes one of: each new
    /// partition would have those of all.
    pub(crate) fn scattered(&self) -> Vec<(i64, Vec<SegmentRef>)> {
        let buckets = self.dedupe.sealed_buckets().iter();
        buckets
            .filter(|(_, segments)| segments.len() > 1)
            .map(|(bucket, segments)| (*bucket, segments.clone()))
            .collect()
    }

    /// Makes one segment of those of a bucket, whose bytes are given in their order.
    ///
    /// # Errors
    /// Where one does not parse.
    pub(crate) fn join(&mut self, bucket: i64, segments: &[Bytes]) -> Result<NewObject, BadState> {
        let mut ids: Vec<IdEntry> = Vec::new();
        for bytes in segments {
            ids.extend(decode_segment(bytes)?);
        }
        // Stable: of an id that several have, what was looked at first stays.
        ids.sort_by_key(|entry| entry.0);
        ids.dedup_by_key(|entry| entry.0);
        self.dedupe.forget_segments(bucket);
        Ok(self.keep(bucket, &ids))
    }

    fn keep(&mut self, bucket: i64, ids: &[IdEntry]) -> NewObject {
        let bytes = encode_segment(ids);
        let hash = blake3_hex(&bytes);
        let path = segment_path(&self.home, bucket, &hash);
        let file = StateFile { path: path.clone(), bytes: bytes.len() as u64, hash };
        self.dedupe.add_segment(bucket, SegmentRef { file, ids: ids.len() as u64 });
        (path, Bytes::from(bytes))
    }

    /// The bases of the new partitions, in their order.
    pub(crate) fn parts(&self) -> Vec<Vec<u8>> {
        let mut writers: Vec<StateWriter> =
            (0..self.partition_count.max(1)).map(|_| StateWriter::new(self.head, 0)).collect();
        for writer in &mut writers {
            for (bucket, segments) in self.dedupe.sealed_buckets() {
                segments.iter().for_each(|segment| writer.sealed(*bucket, segment));
            }
            for (bucket, seal_at_ms, count, ids) in self.dedupe.open_buckets() {
                writer.ids(bucket, seal_at_ms, count, ids);
            }
        }
        let home = |account: &str| {
            usize::try_from(partition_of(account, self.partition_count)).unwrap_or(usize::MAX)
        };
        for partition in &self.partitions {
            for window in partition.subscriber_windows.open_windows() {
                if let Some(writer) = writers.get_mut(home(window.account)) {
                    writer.window(&window);
                }
            }
            for (account, bytes) in partition.accounts.quota.all() {
                if let Some(writer) = writers.get_mut(home(account)) {
                    writer.account(account, &bytes);
                }
            }
        }
        writers.into_iter().map(StateWriter::finish).collect()
    }
}
