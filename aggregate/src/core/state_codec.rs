//! The bytes of state objects: a base holds all of a partition's state, a delta what one epoch
//! changed. Integers are little-endian; the ledger entry holds the BLAKE3 of the whole object,
//! which is checked before anything is read here.

use tally_schemas::{CLASS_COUNT, StateFile};

use crate::core::dedupe::SegmentRef;
use crate::core::id_table::IdEntry;
use crate::core::subscriber_windows::OpenWindow;
use crate::core::window_sums::WindowSums;

const MAGIC: &[u8; 8] = b"TALLYST1";

/// A state object does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadState(pub(crate) &'static str);

/// Ids of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketIds {
    pub(crate) bucket: i64,
    pub(crate) seal_at_ms: i64,
    pub(crate) ids: Vec<IdEntry>,
}

/// What a base or a delta says. Applying it: sealed buckets leave the open ones and gain a
/// segment, ids are added to open buckets, closed windows are forgotten, windows are replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StateChange {
    pub(crate) watermark_ms: Option<i64>,
    pub(crate) newest_ms: Option<i64>,
    pub(crate) closed_until_ms: i64,
    pub(crate) sealed: Vec<(i64, SegmentRef)>,
    pub(crate) ids: Vec<BucketIds>,
    pub(crate) closed_windows: Vec<i64>,
    pub(crate) windows: Vec<OpenWindow>,
}

struct Writer(Vec<u8>);

impl Writer {
    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.u64(value.cast_unsigned());
    }

    fn length(&mut self, value: usize) {
        self.u64(value as u64);
    }

    fn optional(&mut self, value: Option<i64>) {
        self.0.push(u8::from(value.is_some()));
        self.i64(value.unwrap_or(0));
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BadState> {
        if length > self.0.len() {
            return Err(BadState("ends too early"));
        }
        let (head, tail) = self.0.split_at(length);
        self.0 = tail;
        Ok(head)
    }

    fn u64(&mut self) -> Result<u64, BadState> {
        let bytes = self.take(8)?.try_into().map_err(|_| BadState("ends too early"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn i64(&mut self) -> Result<i64, BadState> {
        self.u64().map(u64::cast_signed)
    }

    /// A count of items that take at least `item_bytes` each, so that no damaged count can ask
    /// for more memory than the object's own size.
    fn count(&mut self, item_bytes: usize) -> Result<usize, BadState> {
        let count = usize::try_from(self.u64()?).map_err(|_| BadState("count too large"))?;
        if count > self.0.len() / item_bytes.max(1) {
            return Err(BadState("count beyond the object"));
        }
        Ok(count)
    }

    fn optional(&mut self) -> Result<Option<i64>, BadState> {
        let present = self.take(1)?[0] == 1;
        let value = self.i64()?;
        Ok(present.then_some(value))
    }

    fn text(&mut self) -> Result<String, BadState> {
        let length = self.count(1)?;
        let text = std::str::from_utf8(self.take(length)?);
        text.map(str::to_owned).map_err(|_| BadState("text is not UTF-8"))
    }
}

impl StateChange {
    /// Bytes of the object.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let ids: usize = self.ids.iter().map(|bucket| bucket.ids.len()).sum();
        let mut out = Writer(Vec::with_capacity(ids * 16 + self.windows.len() * 160 + 256));
        out.0.extend_from_slice(MAGIC);
        out.optional(self.watermark_ms);
        out.optional(self.newest_ms);
        out.i64(self.closed_until_ms);
        out.length(self.sealed.len());
        for (bucket, segment) in &self.sealed {
            out.i64(*bucket);
            out.u64(segment.ids);
            out.u64(segment.file.bytes);
            out.text(&segment.file.path);
            out.text(&segment.file.hash);
        }
        out.length(self.ids.len());
        for bucket in &self.ids {
            out.i64(bucket.bucket);
            out.i64(bucket.seal_at_ms);
            out.length(bucket.ids.len());
            for (id, content) in &bucket.ids {
                out.u64(*id);
                out.u64(*content);
            }
        }
        out.length(self.closed_windows.len());
        for start in &self.closed_windows {
            out.i64(*start);
        }
        out.length(self.windows.len());
        for window in &self.windows {
            out.i64(window.start_ms);
            out.text(&window.account);
            out.text(&window.subscriber);
            out.text(&window.model);
            out.text(&window.vendor);
            out.u64(window.sums.events);
            for sum in window.sums.all() {
                out.u64(sum);
            }
        }
        out.0
    }

    /// Reads an object whose hash was checked.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadState> {
        let mut input = Reader(bytes);
        if input.take(8)? != MAGIC {
            return Err(BadState("is not a state object of this format"));
        }
        let mut change = Self {
            watermark_ms: input.optional()?,
            newest_ms: input.optional()?,
            closed_until_ms: input.i64()?,
            ..Self::default()
        };
        for _ in 0..input.count(40)? {
            let bucket = input.i64()?;
            let (ids, bytes) = (input.u64()?, input.u64()?);
            let file = StateFile { path: input.text()?, bytes, hash: input.text()? };
            change.sealed.push((bucket, SegmentRef { file, ids }));
        }
        for _ in 0..input.count(24)? {
            let (bucket, seal_at_ms) = (input.i64()?, input.i64()?);
            let ids = read_ids(&mut input)?;
            change.ids.push(BucketIds { bucket, seal_at_ms, ids });
        }
        for _ in 0..input.count(8)? {
            change.closed_windows.push(input.i64()?);
        }
        for _ in 0..input.count(8 * (6 + CLASS_COUNT))? {
            let start_ms = input.i64()?;
            let (account, subscriber) = (input.text()?, input.text()?);
            let (model, vendor) = (input.text()?, input.text()?);
            let events = input.u64()?;
            let mut all = [0; CLASS_COUNT];
            for sum in &mut all {
                *sum = input.u64()?;
            }
            let sums = WindowSums::from_all(&all, events);
            change.windows.push(OpenWindow { start_ms, account, subscriber, model, vendor, sums });
        }
        if !input.0.is_empty() {
            return Err(BadState("goes on after its end"));
        }
        Ok(change)
    }
}

fn read_ids(input: &mut Reader<'_>) -> Result<Vec<IdEntry>, BadState> {
    let count = input.count(16)?;
    let bytes = input.take(count * 16)?;
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or(0);
    Ok(bytes.chunks_exact(16).map(|entry| (word(&entry[..8]), word(&entry[8..]))).collect())
}

/// Bytes of a segment: sorted ids.
pub(crate) fn encode_segment(ids: &[IdEntry]) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(ids.len() * 16 + 16));
    out.0.extend_from_slice(MAGIC);
    out.length(ids.len());
    for (id, content) in ids {
        out.u64(*id);
        out.u64(*content);
    }
    out.0
}

/// Reads a segment whose hash was checked.
pub(crate) fn decode_segment(bytes: &[u8]) -> Result<Vec<IdEntry>, BadState> {
    let mut input = Reader(bytes);
    if input.take(8)? != MAGIC {
        return Err(BadState("is not a segment of this format"));
    }
    let ids = read_ids(&mut input)?;
    if !input.0.is_empty() || !ids.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(BadState("segment is not sorted"));
    }
    Ok(ids)
}
