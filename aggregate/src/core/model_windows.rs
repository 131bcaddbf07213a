//! Windows by model, vendor, supplier, region, channel and tier. They are few: each epoch writes
//! what it adds, so nothing has to be kept.

use hashbrown::HashTable;
use tally_schemas::UsageCounts;
use xxhash_rust::xxh3::Xxh3Default;

use crate::core::interner::{ABSENT, Interner};
use crate::core::window_rows::WindowRows;
use crate::core::window_sums::WindowSums;

/// Key columns: model, vendor, supplier, region, channel, service tier.
pub(crate) type ModelRows = WindowRows<6>;

#[derive(Debug, Clone)]
struct Entry {
    hash: u64,
    start_ms: i64,
    late: bool,
    key: [u32; 6],
    sums: WindowSums,
}

/// What one epoch adds to the windows of a partition.
#[derive(Debug, Clone)]
pub(crate) struct ModelWindows {
    width_ms: i64,
    texts: Interner,
    index: HashTable<u32>,
    entries: Vec<Entry>,
}

impl ModelWindows {
    pub(crate) fn new(width_ms: i64) -> Self {
        Self { width_ms, texts: Interner::default(), index: HashTable::new(), entries: Vec::new() }
    }

    /// Adds one event; `watermark_ms` is the watermark before it.
    pub(crate) fn add(
        &mut self,
        key: [Option<&str>; 6],
        at_ms: i64,
        watermark_ms: Option<i64>,
        counts: &UsageCounts,
        rows: &mut ModelRows,
    ) {
        let start_ms = at_ms.div_euclid(self.width_ms) * self.width_ms;
        let late = watermark_ms.is_some_and(|watermark| start_ms + self.width_ms <= watermark);
        let key = key.map(|text| text.map_or(ABSENT, |text| self.texts.intern(text)));
        let mut hasher = Xxh3Default::new();
        let mut bytes = [0_u8; 33];
        for (slot, number) in bytes.chunks_exact_mut(4).zip(key) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        bytes[24..32].copy_from_slice(&start_ms.to_le_bytes());
        bytes[32] = u8::from(late);
        hasher.update(&bytes);
        let hash = hasher.digest();
        let Self { index, entries, texts, .. } = self;
        let found = index.find(hash, |number| {
            let entry = &entries[*number as usize];
            entry.key == key && entry.start_ms == start_ms && entry.late == late
        });
        let number = match found {
            Some(number) => *number,
            None => {
                let number = u32::try_from(entries.len()).unwrap_or(u32::MAX);
                entries.push(Entry { hash, start_ms, late, key, sums: WindowSums::default() });
                index.insert_unique(hash, number, |n| entries[*n as usize].hash);
                number
            }
        };
        let entry = &mut entries[number as usize];
        if entry.sums.add(counts).is_err() {
            let full = std::mem::take(&mut entry.sums);
            let fits = entry.sums.add(counts);
            debug_assert!(fits.is_ok());
            rows.push(start_ms, late, texts_of(texts, key), &full);
        }
    }

    /// Ends an epoch: writes what it added.
    pub(crate) fn end_epoch(&mut self, rows: &mut ModelRows) {
        for entry in &self.entries {
            rows.push(entry.start_ms, entry.late, texts_of(&self.texts, entry.key), &entry.sums);
        }
        *self = Self::new(self.width_ms);
    }

    /// Bytes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.texts.memory_bytes()
    }
}

fn texts_of(texts: &Interner, key: [u32; 6]) -> [Option<&str>; 6] {
    key.map(|number| (number != ABSENT).then(|| texts.get(number)))
}
