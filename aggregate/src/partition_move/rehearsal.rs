//! What a move rehearses: everything that is frozen is read, and the new partitions' states are made
//! of it, as long as there is a way back.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, path::Path};
use tally_schemas::{ReferenceVersion, StateFile};

use super::PartitionMove;
use crate::core::{PartitionConfig, SegmentRef, WholeState};
use crate::crash_point::crash_point;
use crate::error::AggregateError;
use crate::ledger::StoredEntry;
use crate::owner::{named_by_ledger, read_all_checked, recover};

/// Buckets whose segments are joined at once.
const JOINS_AT_ONCE: usize = 4;

/// What the new partitions begin with, of what was frozen: everything that may be missing, damaged
/// or too much is read and put together, as long as there is a way back.
pub struct Rehearsal {
    pub(super) frozen: Vec<StoredEntry>,
    /// The new partitions' states, in their order.
    pub(super) states: Vec<Vec<u8>>,
    pub(super) watermark_ms: Option<i64>,
    pub(super) reference: Option<ReferenceVersion>,
    pub(super) segments: u64,
}

impl std::fmt::Debug for Rehearsal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rehearsal").field("frozen", &self.frozen.len()).finish_non_exhaustive()
    }
}

impl PartitionMove {
    /// Reads what was frozen and makes the new states of it. Stores the segments that they refer to,
    /// which no entry names yet.
    ///
    /// # Errors
    /// `Data` where stored state is missing or damaged; `Invalid` where what partitions are rated by
    /// does not follow on each other; `Retry` while the store is away.
    pub async fn rehearse(&self, frozen: Vec<StoredEntry>) -> Result<Rehearsal, AggregateError> {
        let reference = newest_of(&frozen)?;
        let mut whole = self.whole_state(&frozen).await?;
        let segments = self.put_segments(&mut whole).await?;
        crash_point("move_segments_stored");
        let (states, watermark_ms) = (whole.parts(), whole.watermark_ms());
        Ok(Rehearsal { frozen, states, watermark_ms, reference, segments })
    }

    /// The state of all partitions as they were frozen.
    async fn whole_state(&self, frozen: &[StoredEntry]) -> Result<WholeState, AggregateError> {
        let mut states = Vec::new();
        for StoredEntry { entry, .. } in frozen {
            let reference = match &entry.next_reference {
                Some(version) => named_by_ledger(self.references.as_ref(), version).await?,
                None => self.references.newest(),
            };
            let config = PartitionConfig {
                topic: self.plan.from.ledger.clone(),
                partition: entry.partition,
                partition_count: entry.partition_count,
                log: entry.log.clone(),
                aggregate: self.settings.clone(),
            };
            states.push(recover(self.store(), &config, &reference, entry).await?);
        }
        Ok(WholeState::of(states, &self.plan.from.ledger, self.plan.partition_count))
    }

    /// Stores the segments that the new states refer to, one a bucket, but for those that are there
    /// from an earlier attempt. Returns how many it stored.
    async fn put_segments(&self, whole: &mut WholeState) -> Result<u64, AggregateError> {
        let folder = Path::from(whole.segments_folder());
        let there = self.store().list(Some(&folder)).map_ok(|object| object.location);
        let there: BTreeSet<Path> = there.try_collect().await?;
        let mut count = 0;
        for (path, bytes) in whole.seal() {
            count += u64::from(self.put_segment(&there, &path, bytes).await?);
        }
        let scattered = whole.scattered();
        let mut loaded = futures::stream::iter(scattered)
            .map(|(bucket, segments)| self.load(bucket, segments))
            .buffered(JOINS_AT_ONCE);
        while let Some((bucket, segments)) = loaded.try_next().await? {
            let joined = whole.join(bucket, &segments);
            let (path, bytes) = joined
                .map_err(|bad| AggregateError::Damaged(format!("bucket {bucket}: {}", bad.0)))?;
            count += u64::from(self.put_segment(&there, &path, bytes).await?);
        }
        Ok(count)
    }

    /// Stores a segment, unless it is there: its name has the hash of its bytes. Returns whether it
    /// did.
    async fn put_segment(
        &self,
        there: &BTreeSet<Path>,
        path: &str,
        bytes: Bytes,
    ) -> Result<bool, AggregateError> {
        let at = Path::from(path);
        // One that a machine wrote as it died may have the name and not the bytes.
        if there.contains(&at) && self.store().get(&at).await?.bytes().await? == bytes {
            return Ok(false);
        }
        self.put(path, bytes).await?;
        Ok(true)
    }

    async fn load(
        &self,
        bucket: i64,
        segments: Vec<SegmentRef>,
    ) -> Result<(i64, Vec<Bytes>), AggregateError> {
        let files: Vec<&StateFile> = segments.iter().map(|segment| &segment.file).collect();
        Ok((bucket, read_all_checked(self.store(), &files).await?))
    }
}

/// The newest version of the reference data that a partition's next record was to be rated by. As
/// if it had been announced to those that were to be rated by an older one.
fn newest_of(frozen: &[StoredEntry]) -> Result<Option<ReferenceVersion>, AggregateError> {
    let named = || frozen.iter().filter_map(|stored| stored.entry.next_reference.as_ref());
    let Some(newest) = named().max() else { return Ok(None) };
    match named().find(|other| *other != newest && !newest.exceeds(other)) {
        None => Ok(Some(newest.clone())),
        Some(other) => Err(AggregateError::Invalid(format!(
            "partitions are rated by reference data {newest} and {other}, neither of which follows the other"
        ))),
    }
}
