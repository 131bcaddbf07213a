//! Windows by model, vendor, supplier, region, channel, tier and currencies. They are few: each
//! epoch writes what it adds, so nothing has to be kept.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use tally_schemas::{
    Amounts, Currency, ModelDay, ModelIncrement, ModelSums, ShanghaiDay, UsageCounts,
};

use crate::core::interner::{ABSENT, Interner};
use crate::core::window_rows::WindowRows;
use crate::core::window_sums::WindowSums;
use crate::planted::{Bug, planted};

/// Key columns: model, vendor, supplier, region, channel, service tier, retail and wholesale
/// currency.
pub(crate) type ModelRows = WindowRows<0, KEYS>;

const KEYS: usize = 8;

/// What an event adds to a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addition<'a> {
    /// End of the call, milliseconds UTC.
    pub(crate) at_ms: i64,
    pub(crate) counts: &'a UsageCounts,
    /// Zero where events are only counted.
    pub(crate) amounts: Amounts,
}

#[derive(Debug, Clone)]
struct Entry {
    hash: u64,
    start_ms: i64,
    late: bool,
    key: [u32; KEYS],
    sums: WindowSums,
}

/// What one epoch adds to the windows of a partition.
#[derive(Debug, Clone)]
pub(crate) struct ModelWindows {
    width_ms: i64,
    index: HashTable<u32>,
    entries: Vec<Entry>,
}

impl ModelWindows {
    pub(crate) fn new(width_ms: i64) -> Self {
        Self { width_ms, index: HashTable::new(), entries: Vec::new() }
    }

    /// Adds one event; `watermark_ms` is the watermark before it. The key is in numbers of
    /// `names`, which must be the same for the whole epoch.
    pub(crate) fn add(
        &mut self,
        key: [u32; KEYS],
        names: &Interner,
        watermark_ms: Option<i64>,
        event: Addition<'_>,
        rows: &mut ModelRows,
    ) {
        let start_ms = event.at_ms.div_euclid(self.width_ms) * self.width_ms;
        let late = watermark_ms.is_some_and(|watermark| start_ms + self.width_ms <= watermark);
        let mut hash = start_ms.cast_unsigned() ^ u64::from(late);
        for number in key {
            hash = mixed(hash, number);
        }
        let Self { index, entries, .. } = self;
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
        if entry.sums.add(event.counts, &event.amounts).is_err() {
            let full = std::mem::take(&mut entry.sums);
            let fits = entry.sums.add(event.counts, &event.amounts);
            debug_assert!(fits.is_ok());
            rows.push(start_ms, late, texts_of(names, key), &full);
        }
    }

    /// Takes one event back, in a row of its own.
    pub(crate) fn take_back(
        &self,
        key: [u32; KEYS],
        names: &Interner,
        event: Addition<'_>,
        rows: &mut ModelRows,
    ) {
        let start_ms = event.at_ms.div_euclid(self.width_ms) * self.width_ms;
        rows.push_reversal(start_ms, texts_of(names, key), event.counts, event.amounts);
    }

    /// Ends an epoch: writes what it added.
    pub(crate) fn end_epoch(&mut self, names: &Interner, rows: &mut ModelRows) {
        for entry in &self.entries {
            rows.push(entry.start_ms, entry.late, texts_of(names, entry.key), &entry.sums);
        }
        *self = Self::new(self.width_ms);
    }

    /// Bytes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

impl ModelRows {
    /// What the rows come to by model and day, for what spans accounts and so partitions. Made of
    /// the rows and not beside them, so that it is what a `SUM` over the table gives. `None` where
    /// a sum would pass an `i128`, which nothing that fits tables does.
    pub(crate) fn increments(&self) -> Option<Vec<ModelIncrement>> {
        let mut sums: BTreeMap<ModelDay, ModelSums> = BTreeMap::new();
        for row in 0..self.len() {
            let [model, vendor, supplier, _, _, _, retail, wholesale] = self.key(row);
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            let of = ModelDay {
                day: day_of(self.start_ms(row)),
                model: text(model),
                vendor: text(vendor),
                supplier: text(supplier),
                retail_currency: retail.and_then(Currency::parse),
                wholesale_currency: wholesale.and_then(Currency::parse),
            };
            let sum = sums.entry(of).or_default();
            *sum = sum.plus(&self.row_sums(row))?;
        }
        Some(sums.into_iter().map(|(of, sums)| ModelIncrement { of, sums }).collect())
    }
}

fn day_of(start_ms: i64) -> ShanghaiDay {
    let ahead_ms = if planted(Bug::IncrementsByUtcDay) { 8 * 3_600_000 } else { 0 };
    ShanghaiDay::of_instant(start_ms - ahead_ms)
}

/// Mixes a number into a hash that is only used in memory (Fibonacci hashing, with a rotation so
/// that every number reaches the upper bits).
pub(crate) const fn mixed(hash: u64, number: u32) -> u64 {
    (hash ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

fn texts_of(texts: &Interner, key: [u32; KEYS]) -> [Option<&str>; KEYS] {
    key.map(|number| (number != ABSENT).then(|| texts.get(number)))
}
