//! Windows by account, subscriber and model: kept in memory while open, written when the
//! watermark passes their end; what comes later is written as a correction with its epoch.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use tally_schemas::{CLASS_COUNT, UsageCounts};
use xxhash_rust::xxh3::xxh3_64;

use crate::core::interner::Interner;
use crate::core::model_windows::mixed;
use crate::core::window_rows::WindowRows;
use crate::core::window_sums::WindowSums;

/// Key columns: account, subscriber, model, vendor.
pub(crate) type SubscriberRows = WindowRows<2, 4>;

/// Whose usage a window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubscriberKey<'a> {
    pub(crate) account: &'a str,
    pub(crate) subscriber: &'a str,
    pub(crate) model: &'a str,
    pub(crate) vendor: &'a str,
    /// [`holder_hash`] of account and subscriber.
    pub(crate) holder_hash: u64,
}

/// A hash of account and subscriber, from the XXH3 of each.
pub(crate) const fn holder_hash(account: u64, subscriber: u64) -> u64 {
    account.rotate_left(32) ^ subscriber
}

/// Numbers of a model and its vendor that hold for one epoch, and the number of the pair here.
#[derive(Debug, Clone, Copy)]
struct KnownPair {
    names: (u32, u32),
    pair: u32,
}

/// Models with their vendors that are remembered whether or not a window names them; few in
/// tests, so that a simulated run forgets some.
const MODELS_KEPT: usize = if cfg!(test) { 4 } else { 4_096 };

/// Pairs that are known by their numbers; more models than this in turn are looked up by name.
const KNOWN_PAIRS: usize = 256;

#[derive(Debug, Clone)]
struct Entry {
    hash: u64,
    /// Where the account begins in `Slot::texts`; the subscriber follows it.
    text_at: u32,
    account_len: u16,
    subscriber_len: u16,
    /// Number of the model and vendor.
    model: u32,
    dirty: bool,
    sums: WindowSums,
}

/// All keys of one window.
#[derive(Debug, Clone, Default)]
struct Slot {
    index: HashTable<u32>,
    entries: Vec<Entry>,
    texts: String,
    /// Entries changed since the epoch began.
    dirty: Vec<u32>,
}

impl Slot {
    fn add(
        &mut self,
        key: SubscriberKey<'_>,
        model: u32,
        counts: &UsageCounts,
    ) -> Option<WindowSums> {
        let hash = mixed(key.holder_hash, model);
        let Self { index, entries, texts, dirty } = self;
        let same = |number: &u32| {
            let entry = &entries[*number as usize];
            entry.hash == hash && entry.model == model && {
                let (account, subscriber) = texts_of(entry, texts);
                account == key.account && subscriber == key.subscriber
            }
        };
        let number = match index.find(hash, same) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(entries.len()).unwrap_or(u32::MAX);
                entries.push(Entry {
                    hash,
                    text_at: u32::try_from(texts.len()).unwrap_or(u32::MAX),
                    // Texts are at most 256 bytes.
                    account_len: u16::try_from(key.account.len()).unwrap_or(u16::MAX),
                    subscriber_len: u16::try_from(key.subscriber.len()).unwrap_or(u16::MAX),
                    model,
                    dirty: false,
                    sums: WindowSums::default(),
                });
                texts.push_str(key.account);
                texts.push_str(key.subscriber);
                index.insert_unique(hash, number, |n| entries[*n as usize].hash);
                number
            }
        };
        let entry = &mut entries[number as usize];
        if !entry.dirty {
            entry.dirty = true;
            dirty.push(number);
        }
        let mut full = None;
        if entry.sums.add(counts).is_err() {
            full = Some(std::mem::take(&mut entry.sums));
            // A single event always fits empty sums.
            let fits = entry.sums.add(counts);
            debug_assert!(fits.is_ok());
        }
        full
    }

    fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.index.capacity() * 5
            + self.texts.capacity()
            + self.dirty.capacity() * 4
    }
}

fn texts_of<'t>(entry: &Entry, texts: &'t str) -> (&'t str, &'t str) {
    let at = entry.text_at as usize;
    let middle = at + usize::from(entry.account_len);
    (&texts[at..middle], &texts[middle..middle + usize::from(entry.subscriber_len)])
}

/// An open window's key and sums, as they are stored in state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenWindow<'a> {
    pub(crate) start_ms: i64,
    pub(crate) account: &'a str,
    pub(crate) subscriber: &'a str,
    pub(crate) model: &'a str,
    pub(crate) vendor: &'a str,
    pub(crate) sums: [u64; CLASS_COUNT],
    pub(crate) events: u64,
}

/// The windows of one partition.
#[derive(Debug, Clone)]
pub(crate) struct SubscriberWindows {
    width_ms: i64,
    open_max_bytes: usize,
    open: BTreeMap<i64, Slot>,
    late: BTreeMap<i64, Slot>,
    models: Interner,
    known_pairs: Vec<Option<KnownPair>>,
    /// Windows that end at or before this are written.
    closed_until_ms: i64,
    /// Starts of windows closed since the epoch began.
    closed: Vec<i64>,
}

impl SubscriberWindows {
    pub(crate) fn new(width_ms: i64, open_max_bytes: usize) -> Self {
        Self {
            width_ms,
            open_max_bytes,
            open: BTreeMap::new(),
            late: BTreeMap::new(),
            models: Interner::default(),
            known_pairs: vec![None; KNOWN_PAIRS],
            closed_until_ms: i64::MIN,
            closed: Vec::new(),
        }
    }

    /// Adds one event. `names` are the numbers of model and vendor in this epoch.
    pub(crate) fn add(
        &mut self,
        key: SubscriberKey<'_>,
        names: (u32, u32),
        at_ms: i64,
        counts: &UsageCounts,
        rows: &mut SubscriberRows,
    ) {
        let start = at_ms.div_euclid(self.width_ms) * self.width_ms;
        let late = start + self.width_ms <= self.closed_until_ms;
        let model = self.pair_number(key, names);
        let slots = if late { &mut self.late } else { &mut self.open };
        if let Some(full) = slots.entry(start).or_default().add(key, model, counts) {
            rows.push(start, late, columns_of(key), &full);
        }
    }

    fn pair_number(&mut self, key: SubscriberKey<'_>, names: (u32, u32)) -> u32 {
        let at = names.0.wrapping_mul(31).wrapping_add(names.1) as usize % KNOWN_PAIRS;
        match self.known_pairs[at] {
            Some(known) if known.names == names => known.pair,
            _ => {
                let mut text = [0_u8; 520];
                let pair = self.models.intern(joined(&mut text, key.model, key.vendor));
                self.known_pairs[at] = Some(KnownPair { names, pair });
                pair
            }
        }
    }

    /// Writes the windows that the watermark has passed.
    pub(crate) fn advance(&mut self, watermark_ms: i64, rows: &mut SubscriberRows) {
        let until = watermark_ms.div_euclid(self.width_ms) * self.width_ms;
        if until <= self.closed_until_ms {
            return;
        }
        self.closed_until_ms = until;
        self.write_until(until, rows);
    }

    /// Writes the windows that end by `until_ms`; what comes for them later is added in further
    /// rows. Tells whether there were any.
    pub(crate) fn write_until(&mut self, until_ms: i64, rows: &mut SubscriberRows) -> bool {
        let mut any = false;
        while let Some(first) = self.open.first_entry()
            && first.key().saturating_add(self.width_ms) <= until_ms
        {
            let (start, slot) = first.remove_entry();
            self.closed.push(start);
            write_slot(&self.models, start, false, &slot, rows);
            any = true;
        }
        any
    }

    /// Ends an epoch: writes what came late, and the oldest windows beyond the memory limit (they
    /// stay open: what comes for them is added in further rows).
    pub(crate) fn end_epoch(&mut self, rows: &mut SubscriberRows) {
        for (start, slot) in std::mem::take(&mut self.late) {
            write_slot(&self.models, start, true, &slot, rows);
        }
        while self.memory_bytes() > self.open_max_bytes {
            let Some((start, slot)) = self.open.pop_first() else { break };
            self.closed.push(start);
            write_slot(&self.models, start, false, &slot, rows);
        }
        self.known_pairs.fill(None);
    }

    /// Starts of the windows that were written and emptied since the last
    /// [`SubscriberWindows::settle`].
    pub(crate) fn closed(&self) -> &[i64] {
        &self.closed
    }

    /// The windows that changed since the last [`SubscriberWindows::settle`] and are open.
    pub(crate) fn changed(&self) -> impl Iterator<Item = OpenWindow<'_>> {
        self.open.iter().flat_map(|(start, slot)| {
            slot.dirty.iter().map(|number| {
                open_window(&self.models, *start, &slot.entries[*number as usize], &slot.texts)
            })
        })
    }

    /// The state is stored as it is now.
    pub(crate) fn settle(&mut self) {
        self.closed.clear();
        for slot in self.open.values_mut() {
            for number in slot.dirty.drain(..) {
                slot.entries[number as usize].dirty = false;
            }
        }
        self.forget_models();
    }

    /// Forgets models that no open window names: a sender may make up a new one for each event.
    fn forget_models(&mut self) {
        if self.models.len() <= MODELS_KEPT {
            return;
        }
        let mut used = vec![false; self.models.len()];
        for entry in self.open.values().flat_map(|slot| &slot.entries) {
            used[entry.model as usize] = true;
        }
        if used.iter().filter(|used| **used).count() > used.len() / 2 {
            return;
        }
        let mut kept = Self::new(self.width_ms, self.open_max_bytes);
        kept.closed_until_ms = self.closed_until_ms;
        for window in self.open_windows() {
            kept.restore(&window);
        }
        *self = kept;
    }

    /// Every open window, for a base.
    pub(crate) fn open_windows(&self) -> impl Iterator<Item = OpenWindow<'_>> {
        self.open.iter().flat_map(|(start, slot)| {
            slot.entries.iter().map(|entry| open_window(&self.models, *start, entry, &slot.texts))
        })
    }

    /// Up to when windows are written.
    pub(crate) fn closed_until_ms(&self) -> i64 {
        self.closed_until_ms
    }

    /// Restores up to when windows are written.
    pub(crate) fn restore_closed_until(&mut self, until_ms: i64) {
        self.closed_until_ms = until_ms;
    }

    /// Forgets a window that was written.
    pub(crate) fn forget(&mut self, start_ms: i64) {
        self.open.remove(&start_ms);
    }

    /// Restores a window's sums, replacing what was known of it.
    pub(crate) fn restore(&mut self, window: &OpenWindow<'_>) {
        let mut pair = [0_u8; 520];
        let model = self.models.intern(joined(&mut pair, window.model, window.vendor));
        let slot = self.open.entry(window.start_ms).or_default();
        let key = SubscriberKey {
            account: window.account,
            subscriber: window.subscriber,
            model: window.model,
            vendor: window.vendor,
            holder_hash: holder_hash(
                xxh3_64(window.account.as_bytes()),
                xxh3_64(window.subscriber.as_bytes()),
            ),
        };
        slot.add(key, model, &UsageCounts::default());
        // The entry just touched is the newest dirty one: it is restored, not changed.
        if let Some(number) = slot.dirty.pop() {
            let entry = &mut slot.entries[number as usize];
            entry.dirty = false;
            entry.sums = WindowSums::from_all(&window.sums, window.events);
        }
    }

    /// Number of open windows.
    pub(crate) fn len(&self) -> usize {
        self.open.values().map(|slot| slot.entries.len()).sum()
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.open.values().chain(self.late.values()).map(Slot::memory_bytes).sum::<usize>()
            + self.models.memory_bytes()
    }
}

fn columns_of(key: SubscriberKey<'_>) -> [Option<&str>; 4] {
    [Some(key.account), Some(key.subscriber), Some(key.model), Some(key.vendor)]
}

/// Model and vendor in one text, in a buffer of the caller: the model's length in three digits,
/// the model, the vendor. Both are at most 256 bytes.
fn joined<'b>(buffer: &'b mut [u8; 520], model: &str, vendor: &str) -> &'b str {
    let digits = [model.len() / 100, model.len() / 10 % 10, model.len() % 10];
    let mut length = 0;
    let parts = digits.iter().map(|digit| b'0' + u8::try_from(*digit).unwrap_or(0));
    for byte in parts.chain(model.bytes()).chain(vendor.bytes()).take(buffer.len()) {
        buffer[length] = byte;
        length += 1;
    }
    std::str::from_utf8(&buffer[..length]).unwrap_or_default()
}

fn write_slot(models: &Interner, start: i64, late: bool, slot: &Slot, rows: &mut SubscriberRows) {
    for entry in &slot.entries {
        let (account, subscriber) = texts_of(entry, &slot.texts);
        let (model, vendor) = split_pair(models.get(entry.model));
        if entry.sums.events > 0 {
            let keys = [Some(account), Some(subscriber), Some(model), Some(vendor)];
            rows.push(start, late, keys, &entry.sums);
        }
    }
}

fn open_window<'a>(
    models: &'a Interner,
    start_ms: i64,
    entry: &Entry,
    texts: &'a str,
) -> OpenWindow<'a> {
    let (account, subscriber) = texts_of(entry, texts);
    let (model, vendor) = split_pair(models.get(entry.model));
    let (sums, events) = (entry.sums.all(), entry.sums.events);
    OpenWindow { start_ms, account, subscriber, model, vendor, sums, events }
}

fn split_pair(pair: &str) -> (&str, &str) {
    let (digits, texts) = pair.split_at(3);
    texts.split_at(digits.parse().unwrap_or(texts.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(account: &str) -> SubscriberKey<'_> {
        let hash = xxh3_64(account.as_bytes());
        let holder_hash = holder_hash(hash, hash);
        SubscriberKey { account, subscriber: account, model: "glm-5", vendor: "zhipu", holder_hash }
    }

    fn counts(input: u64) -> UsageCounts {
        let mut counts = UsageCounts::default();
        counts.set(tally_schemas::TokenClass::Input, input);
        counts
    }

    #[test]
    fn a_window_is_written_once_and_late_usage_is_added_to_it() {
        let mut windows = SubscriberWindows::new(60_000, usize::MAX);
        let mut rows = SubscriberRows::default();
        windows.add(key("a"), (0, 1), 10, &counts(1), &mut rows);
        windows.add(key("a"), (0, 1), 59_999, &counts(2), &mut rows);
        windows.add(key("a"), (0, 1), 60_000, &counts(4), &mut rows);
        windows.advance(59_999, &mut rows);
        assert_eq!(rows.len(), 0);
        windows.advance(60_000, &mut rows);
        assert_eq!(rows.len(), 1);
        windows.add(key("a"), (0, 1), 30_000, &counts(8), &mut rows);
        windows.end_epoch(&mut rows);
        assert_eq!((rows.len(), windows.closed()), (2, [0].as_slice()));
        assert_eq!(windows.changed().map(|window| window.sums[0]).collect::<Vec<_>>(), [4]);
        windows.settle();
        assert_eq!((windows.closed().len(), windows.changed().count()), (0, 0));
    }

    #[test]
    fn restored_windows_equal_the_ones_that_were_kept() {
        let mut windows = SubscriberWindows::new(60_000, usize::MAX);
        let mut rows = SubscriberRows::default();
        for i in 0..1_000_i64 {
            let name = format!("a{}", i % 37);
            windows.add(key(&name), (0, 1), i * 100, &counts(i.unsigned_abs()), &mut rows);
        }
        let mut again = SubscriberWindows::new(60_000, usize::MAX);
        for window in windows.open_windows() {
            again.restore(&window);
        }
        assert!(again.open_windows().eq(windows.open_windows()));
        assert_eq!(again.changed().count(), 0);
    }

    #[test]
    fn models_that_no_window_names_are_forgotten() {
        let mut windows = SubscriberWindows::new(60_000, usize::MAX);
        let mut rows = SubscriberRows::default();
        for i in 0..100_u32 {
            let model = format!("made-up-{i}");
            let key = SubscriberKey { model: &model, ..key("a") };
            windows.add(key, (i, 1), i64::from(i) * 60_000, &counts(1), &mut rows);
        }
        windows.advance(99 * 60_000, &mut rows);
        windows.end_epoch(&mut rows);
        let before: Vec<String> = windows.open_windows().map(|w| format!("{w:?}")).collect();
        windows.settle();
        assert_eq!(windows.models.len(), 1);
        assert_eq!(windows.changed().count() + windows.closed().len(), 0);
        assert!(windows.open_windows().map(|w| format!("{w:?}")).eq(before));
        windows.add(key("a"), (0, 1), 30_000, &counts(1), &mut rows);
        windows.end_epoch(&mut rows);
        assert_eq!(rows.len(), 100, "what was closed before is late still");
    }

    #[test]
    fn an_open_window_costs_at_most_200_bytes() {
        let mut windows = SubscriberWindows::new(60_000, usize::MAX);
        let mut rows = SubscriberRows::default();
        for i in 0..200_000 {
            let name = format!("A{i:09}");
            windows.add(key(&name), (0, 1), 0, &counts(1), &mut rows);
        }
        assert!(windows.memory_bytes() <= 200 * windows.len(), "{}", windows.memory_bytes());
    }
}
