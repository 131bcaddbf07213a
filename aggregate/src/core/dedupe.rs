//! Whether an event was seen before: open buckets in memory, sealed segments in the store.
//!
//! Buckets are by event time. A bucket takes ids until the watermark has passed it by the time
//! that buckets stay open; then it is sealed as a sorted segment. An event whose bucket is sealed
//! needs the bucket's segments, which the caller loads; nothing here does I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use tally_schemas::StateFile;

use crate::core::id_table::{IdEntry, IdTable, Seen};
use crate::planted::{Bug, planted};

/// A sealed, sorted run of ids of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRef {
    /// Where it is.
    pub file: StateFile,
    /// Number of ids.
    pub ids: u64,
}

/// Ids of a segment, sorted.
pub(crate) type Segment = Arc<Vec<IdEntry>>;

/// What dedupe says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Never seen: now noted.
    New,
    /// Seen with the same content.
    Duplicate,
    /// Seen with other content.
    Conflict,
    /// The segments of this sealed bucket are needed to tell.
    Need(i64),
}

/// How buckets are cut and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DedupeLimits {
    pub(crate) bucket_ms: i64,
    pub(crate) open_ms: i64,
    pub(crate) open_max_bytes: usize,
    pub(crate) horizon_ms: i64,
    /// Bytes of loaded segments to keep.
    pub(crate) cache_max_bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct OpenBucket {
    ids: IdTable,
    /// Sealed when the watermark reaches this.
    seal_at_ms: i64,
}

/// A bucket that an epoch seals.
#[derive(Debug, Clone)]
pub(crate) struct SealedBucket {
    pub(crate) bucket: i64,
    pub(crate) ids: Vec<IdEntry>,
}

/// Dedupe of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Dedupe {
    limits: DedupeLimits,
    open: BTreeMap<i64, OpenBucket>,
    sealed: BTreeMap<i64, Vec<SegmentRef>>,
    loaded: BTreeMap<i64, Vec<Segment>>,
    loaded_bytes: usize,
    /// Ids noted since the epoch began, with their buckets: what its delta is made of. 24 bytes an
    /// id of one epoch, twice as much where it has just grown; not part of the limit of open buckets,
    /// which sealing early would not make smaller.
    fresh: Vec<(i64, IdEntry)>,
}

impl Dedupe {
    pub(crate) fn new(limits: DedupeLimits) -> Self {
        Self {
            limits,
            open: BTreeMap::new(),
            sealed: BTreeMap::new(),
            loaded: BTreeMap::new(),
            loaded_bytes: 0,
            fresh: Vec::new(),
        }
    }

    fn bucket_of(&self, at_ms: i64) -> i64 {
        at_ms.div_euclid(self.limits.bucket_ms)
    }

    fn regular_seal_at(&self, bucket: i64) -> i64 {
        (bucket + 1) * self.limits.bucket_ms + self.limits.open_ms
    }

    /// Judges an identity and notes it if it is new. `watermark_ms` is the watermark before the
    /// event.
    pub(crate) fn judge(
        &mut self,
        id: u64,
        content: u64,
        at_ms: i64,
        watermark_ms: Option<i64>,
    ) -> Verdict {
        let verdict = self.look(id, content, at_ms, watermark_ms);
        if verdict == Verdict::New {
            self.note(id, content, at_ms, watermark_ms);
        }
        verdict
    }

    /// Judges an identity, and notes nothing: what is new stays so.
    pub(crate) fn look(
        &self,
        id: u64,
        content: u64,
        at_ms: i64,
        watermark_ms: Option<i64>,
    ) -> Verdict {
        let bucket = self.bucket_of(at_ms);
        let own = self.open.get(&bucket).map_or(Seen::No, |b| b.ids.look_up(id, content));
        match own {
            Seen::Same => return Verdict::Duplicate,
            Seen::Other => return Verdict::Conflict,
            Seen::No => {}
        }
        if self.sealed.contains_key(&bucket) && !planted(Bug::SealedBucketForgotten) {
            let Some(segments) = self.loaded.get(&bucket) else { return Verdict::Need(bucket) };
            for segment in segments {
                if let Ok(found) = segment.binary_search_by_key(&id.max(1), |entry| entry.0) {
                    return if segment[found].1 == content {
                        Verdict::Duplicate
                    } else {
                        Verdict::Conflict
                    };
                }
            }
        }
        // A resend that was stamped with another time, while its id is in the recent window.
        let oldest_recent = watermark_ms.map_or(i64::MIN, |watermark| {
            self.bucket_of(watermark.saturating_sub(self.limits.open_ms))
        });
        for (other, open) in self.open.range(oldest_recent..) {
            if *other != bucket && open.ids.look_up(id, content) != Seen::No {
                // The content hash covers the time, so it cannot be the same event.
                return Verdict::Conflict;
            }
        }
        Verdict::New
    }

    /// Whether an identity was noted under a time.
    ///
    /// # Errors
    /// The sealed bucket whose segments are needed to tell.
    pub(crate) fn knows(&self, id: u64, at_ms: i64) -> Result<bool, i64> {
        let bucket = self.bucket_of(at_ms);
        if self.open.get(&bucket).is_some_and(|open| open.ids.look_up(id, 0) != Seen::No) {
            return Ok(true);
        }
        if !self.sealed.contains_key(&bucket) {
            return Ok(false);
        }
        let segments = self.loaded.get(&bucket).ok_or(bucket)?;
        let found = |segment: &Segment| segment.binary_search_by_key(&id.max(1), |e| e.0).is_ok();
        Ok(segments.iter().any(found))
    }

    /// Notes an identity that is new.
    pub(crate) fn note(&mut self, id: u64, content: u64, at_ms: i64, watermark_ms: Option<i64>) {
        let bucket = self.bucket_of(at_ms);
        let regular = self.regular_seal_at(bucket);
        let later = watermark_ms.map_or(i64::MIN, |w| w.saturating_add(self.limits.bucket_ms));
        let open = self.open.entry(bucket).or_insert_with(|| OpenBucket {
            ids: IdTable::default(),
            seal_at_ms: regular.max(later),
        });
        open.ids.insert(id, content);
        self.fresh.push((bucket, (id.max(1), content)));
    }

    /// The segments of a sealed bucket, to be loaded for [`Dedupe::provide`].
    pub(crate) fn segments_of(&self, bucket: i64) -> &[SegmentRef] {
        self.sealed.get(&bucket).map(Vec::as_slice).unwrap_or_default()
    }

    /// Hands over the loaded segments of a bucket. Others are let go where they are too many;
    /// that changes what is loaded, never what is judged.
    pub(crate) fn provide(&mut self, bucket: i64, segments: Vec<Segment>) {
        let bytes = |segments: &[Segment]| segments.iter().map(|s| s.len() * 16).sum::<usize>();
        let added = bytes(&segments);
        while self.loaded_bytes + added > self.limits.cache_max_bytes {
            let Some((_, oldest)) = self.loaded.pop_first() else { break };
            self.loaded_bytes -= bytes(&oldest);
        }
        self.loaded_bytes += added;
        if let Some(before) = self.loaded.insert(bucket, segments) {
            self.loaded_bytes -= bytes(&before);
        }
    }

    /// Changes how many bytes open buckets may have; looked at when an epoch ends.
    pub(crate) fn bound_memory(&mut self, open_max_bytes: usize) {
        self.limits.open_max_bytes = open_max_bytes;
    }

    /// Ends an epoch: takes the buckets to be sealed with it (those that the watermark has passed;
    /// the oldest ones beyond the memory limit too).
    pub(crate) fn end_epoch(&mut self, watermark_ms: Option<i64>) -> Vec<SealedBucket> {
        let Some(watermark) = watermark_ms else { return Vec::new() };
        let mut due: Vec<i64> = self
            .open
            .iter()
            .filter(|(_, open)| open.seal_at_ms <= watermark)
            .map(|(bucket, _)| *bucket)
            .collect();
        let mut bytes: usize = self.memory_bytes();
        for (bucket, open) in &self.open {
            if bytes <= self.limits.open_max_bytes {
                break;
            }
            bytes -= open.ids.memory_bytes();
            if !due.contains(bucket) {
                due.push(*bucket);
            }
        }
        due.sort_unstable();
        due.into_iter()
            .filter_map(|bucket| {
                let open = self.open.remove(&bucket)?;
                Some(SealedBucket { bucket, ids: open.ids.iter().collect() })
            })
            .collect()
    }

    /// Ids noted since the last [`Dedupe::settle`], by bucket; those of buckets that were sealed
    /// are in their segments.
    pub(crate) fn fresh(&mut self) -> impl Iterator<Item = (i64, i64, &[(i64, IdEntry)])> {
        // Mostly of one bucket, or in their order already.
        if !self.fresh.is_sorted_by_key(|(bucket, _)| *bucket) {
            self.fresh.sort_by_key(|(bucket, _)| *bucket);
        }
        let (fresh, open) = (&self.fresh, &self.open);
        fresh.chunk_by(|a, b| a.0 == b.0).filter_map(|ids| {
            let bucket = ids.first()?.0;
            Some((bucket, open.get(&bucket)?.seal_at_ms, ids))
        })
    }

    /// The state is stored as it is now.
    pub(crate) fn settle(&mut self) {
        self.fresh.clear();
    }

    /// Notes where a sealed bucket went. Its loaded segments, if any, are let go: they no longer
    /// are all of the bucket.
    pub(crate) fn note_segment(&mut self, bucket: i64, segment: SegmentRef) {
        self.open.remove(&bucket);
        if let Some(before) = self.loaded.remove(&bucket) {
            self.loaded_bytes -= before.iter().map(|s| s.len() * 16).sum::<usize>();
        }
        self.sealed.entry(bucket).or_default().push(segment);
    }

    /// Adds what another partition knows of a bucket, open here too or not.
    pub(crate) fn add_to_open(
        &mut self,
        bucket: i64,
        seal_at_ms: i64,
        ids: impl Iterator<Item = IdEntry>,
    ) {
        let open = self.open.entry(bucket).or_default();
        open.seal_at_ms = open.seal_at_ms.max(seal_at_ms);
        for (id, content) in ids {
            open.ids.insert(id, content);
        }
    }

    /// Adds a segment of a bucket, and leaves what is open of it.
    pub(crate) fn add_segment(&mut self, bucket: i64, segment: SegmentRef) {
        self.sealed.entry(bucket).or_default().push(segment);
    }

    /// Forgets the segments of a bucket, where others are to take their place.
    pub(crate) fn forget_segments(&mut self, bucket: i64) {
        self.sealed.remove(&bucket);
    }

    /// Forgets the sealed buckets that lie beyond the horizon.
    pub(crate) fn expire(&mut self, watermark_ms: Option<i64>) {
        if let Some(watermark) = watermark_ms {
            // One day more than events are accepted for, as they are judged by the log's clock.
            let kept_ms = self.limits.horizon_ms.saturating_add(86_400_000);
            let oldest = watermark.saturating_sub(kept_ms);
            self.sealed = self.sealed.split_off(&self.bucket_of(oldest));
        }
    }

    /// Open buckets with their ids in ascending order, for a base.
    pub(crate) fn open_buckets(
        &self,
    ) -> impl Iterator<Item = (i64, i64, usize, impl Iterator<Item = IdEntry> + '_)> {
        self.open.iter().map(|(b, open)| (*b, open.seal_at_ms, open.ids.len(), open.ids.iter()))
    }

    /// Sealed buckets with their segments, for a base.
    pub(crate) fn sealed_buckets(&self) -> &BTreeMap<i64, Vec<SegmentRef>> {
        &self.sealed
    }

    /// Restores an open bucket from ids sorted or not.
    pub(crate) fn restore(&mut self, bucket: i64, seal_at_ms: i64, ids: &[IdEntry]) {
        if planted(Bug::DedupeLostAtRestart) {
            return;
        }
        let open = self.open.entry(bucket).or_default();
        open.seal_at_ms = seal_at_ms;
        // 0 shares its place with 1.
        if open.ids.len() == 0 && ids.is_sorted_by(|a, b| a.0.max(1) < b.0) {
            open.ids = IdTable::from_sorted(ids);
        } else {
            for (id, content) in ids {
                open.ids.insert(*id, *content);
            }
        }
    }

    /// Number of ids in open buckets.
    pub(crate) fn open_ids(&self) -> usize {
        self.open.values().map(|open| open.ids.len()).sum()
    }

    /// Bytes of open buckets.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.open.values().map(|open| open.ids.memory_bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};

    use super::*;

    const MINUTE_MS: i64 = 60_000;
    const EPOCH_IDS: usize = 100_000;

    /// What an id costs: in its open bucket for as long as that is open, and once more in the epoch
    /// that it came with.
    #[test]
    fn an_id_costs_32_bytes_in_its_bucket_and_at_most_48_in_its_epoch() {
        let limits = DedupeLimits {
            bucket_ms: 10 * MINUTE_MS,
            open_ms: 10 * MINUTE_MS,
            open_max_bytes: usize::MAX,
            horizon_ms: 400 * 24 * 60 * MINUTE_MS,
            cache_max_bytes: 0,
        };
        let mut dedupe = Dedupe::new(limits);
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(11);
        let fresh_bytes = |dedupe: &Dedupe| dedupe.fresh.capacity() * size_of::<(i64, IdEntry)>();
        let mut largest = 0;
        for epoch in 0..5 {
            // Of three buckets: what comes in an epoch is not of one time.
            for count in 1..=EPOCH_IDS {
                let at_ms = random.random_range(0..30 * MINUTE_MS);
                assert_eq!(dedupe.judge(random.random(), 1, at_ms, None), Verdict::New);
                let fresh = fresh_bytes(&dedupe);
                assert!(fresh <= (48 * count).max(largest).max(256), "{count}: {fresh}");
                let ids = dedupe.open_ids();
                if count.is_multiple_of(997) && ids > 20_000 {
                    let bytes = dedupe.memory_bytes();
                    assert!(bytes <= 32 * ids, "{ids} in epoch {epoch}: {bytes}");
                }
            }
            assert_eq!(dedupe.fresh().map(|(_, _, ids)| ids.len()).sum::<usize>(), EPOCH_IDS);
            // It is kept for the next epoch, which needs about as much.
            largest = fresh_bytes(&dedupe);
            dedupe.settle();
            assert_eq!(fresh_bytes(&dedupe), largest);
        }
        // An epoch ends at 100,000 events by default: 3 MiB a partition.
        assert!(largest <= 3 << 20, "{largest}");
        assert_eq!(dedupe.open_ids(), 5 * EPOCH_IDS);
    }
}
