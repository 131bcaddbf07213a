//! Windows by account, subscriber, model and currencies: kept in memory while open, written when the
//! watermark passes their end; what comes later is written as a correction with its epoch.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use tally_schemas::{Amounts, CLASS_COUNT, UsageCounts};
use xxhash_rust::xxh3::xxh3_64;

use crate::core::interner::Interner;
use crate::core::model_windows::{Addition, mixed};
use crate::core::window_rows::{CommonNames, WindowRows};
use crate::core::window_sums::WindowSums;

/// Key columns: account, subscriber, model, vendor, retail and wholesale currency.
pub(crate) type SubscriberRows = WindowRows<2, 6>;

/// What was used, and in which currencies it was paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowedModel<'a> {
    pub(crate) model: &'a str,
    pub(crate) vendor: &'a str,
    /// Absent where it was charged to nothing, or only counted.
    pub(crate) retail_currency: Option<&'a str>,
    /// Absent where it was only counted.
    pub(crate) wholesale_currency: Option<&'a str>,
}

/// Room for a [`WindowedModel`] in one text.
type JoinedText = [u8; 528];

/// An absent currency.
const NO_CURRENCY: &str = "---";

impl<'a> WindowedModel<'a> {
    /// All of it in one text, in a buffer of the caller: the model's length in three digits, the
    /// model, the vendor, three letters a currency. Model and vendor are at most 256 bytes.
    fn joined<'b>(&self, buffer: &'b mut JoinedText) -> &'b str {
        let (model, vendor) = (self.model, self.vendor);
        let digits = [model.len() / 100, model.len() / 10 % 10, model.len() % 10];
        let digits = digits.map(|digit| b'0' + u8::try_from(digit).unwrap_or(0));
        let [retail, wholesale] =
            [self.retail_currency, self.wholesale_currency].map(|c| c.unwrap_or(NO_CURRENCY));
        let parts = [digits.as_slice()];
        let texts = [model, vendor, retail, wholesale].map(str::as_bytes);
        let mut length = 0;
        for byte in parts.into_iter().chain(texts).flatten().take(buffer.len()) {
            buffer[length] = *byte;
            length += 1;
        }
        std::str::from_utf8(&buffer[..length]).unwrap_or_default()
    }

    /// What was [`joined`](Self::joined).
    fn split(joined: &'a str) -> Self {
        let (digits, texts) = joined.split_at(3);
        let (texts, currencies) = texts.split_at(texts.len().saturating_sub(6));
        let (model, vendor) = texts.split_at(digits.parse().unwrap_or(texts.len()));
        let (retail, wholesale) = currencies.split_at(3);
        let given = |code: &'a str| Some(code).filter(|code| *code != NO_CURRENCY);
        let (retail_currency, wholesale_currency) = (given(retail), given(wholesale));
        Self { model, vendor, retail_currency, wholesale_currency }
    }
}

/// Whose usage a window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubscriberKey<'a> {
    pub(crate) account: &'a str,
    pub(crate) subscriber: &'a str,
    pub(crate) what: WindowedModel<'a>,
    /// [`holder_hash`] of account and subscriber.
    pub(crate) holder_hash: u64,
}

/// A hash of account and subscriber, from the XXH3 of each.
pub(crate) const fn holder_hash(account: u64, subscriber: u64) -> u64 {
    account.rotate_left(32) ^ subscriber
}

/// Numbers of a model, its vendor and the currencies that hold for one epoch.
pub(crate) type WindowedNumbers = [u32; 4];

/// Such numbers, and the number of what they stand for here.
#[derive(Debug, Clone, Copy)]
struct KnownModel {
    names: WindowedNumbers,
    number: u32,
}

/// Models with their vendors that are remembered whether or not a window names them; few in
/// tests, so that a simulated run forgets some.
const MODELS_KEPT: usize = if cfg!(test) { 4 } else { 4_096 };

/// Models that are known by their numbers; more than this in turn are looked up by name.
const KNOWN_MODELS: usize = 256;

#[derive(Debug, Clone)]
struct Entry {
    hash: u64,
    /// Where the account begins in `Slot::texts`; the subscriber follows it.
    text_at: u32,
    account_len: u16,
    subscriber_len: u16,
    /// Number of the model, vendor and currencies.
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
    /// Bytes of sums of rare classes, which are beside the entries.
    rare_bytes: usize,
}

impl Slot {
    fn add(
        &mut self,
        key: SubscriberKey<'_>,
        model: u32,
        event: Addition<'_>,
    ) -> Option<WindowSums> {
        let hash = mixed(key.holder_hash, model);
        let Self { index, entries, texts, dirty, rare_bytes } = self;
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
                make_room(entries);
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
                let length = key.account.len() + key.subscriber.len();
                if texts.capacity() - texts.len() < length {
                    texts.reserve_exact(length.max(texts.len() / 4));
                }
                texts.push_str(key.account);
                texts.push_str(key.subscriber);
                index.insert_unique(hash, number, |n| entries[*n as usize].hash);
                number
            }
        };
        let entry = &mut entries[number as usize];
        if !entry.dirty {
            entry.dirty = true;
            make_room(dirty);
            dirty.push(number);
        }
        let mut full = None;
        *rare_bytes -= entry.sums.rare_bytes();
        if entry.sums.add(event.counts, &event.amounts).is_err() {
            full = Some(std::mem::take(&mut entry.sums));
            // A single event always fits empty sums.
            let fits = entry.sums.add(event.counts, &event.amounts);
            debug_assert!(fits.is_ok());
        }
        *rare_bytes += entry.sums.rare_bytes();
        full
    }

    fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.index.capacity() * 5
            + self.texts.capacity()
            + self.dirty.capacity() * 4
            + self.rare_bytes
    }
}

/// Makes room for a quarter more where there is none: what doubles has half of its memory for
/// nothing just after.
fn make_room<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 4).max(4));
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
    pub(crate) what: WindowedModel<'a>,
    pub(crate) sums: [u64; CLASS_COUNT],
    pub(crate) events: u64,
    pub(crate) amounts: Amounts,
}

/// The windows of one partition.
#[derive(Debug, Clone)]
pub(crate) struct SubscriberWindows {
    width_ms: i64,
    open_max_bytes: usize,
    open: BTreeMap<i64, Slot>,
    late: BTreeMap<i64, Slot>,
    models: Interner,
    known_models: Vec<Option<KnownModel>>,
    /// Windows that end at or before this are written.
    closed_until_ms: i64,
    /// Starts of windows closed since the epoch began.
    closed: Vec<i64>,
}

impl SubscriberWindows {
    /// Takes one event back, in a row of its own: rows are additive, whether its window is open or
    /// was written.
    pub(crate) fn take_back(
        &self,
        key: SubscriberKey<'_>,
        event: Addition<'_>,
        rows: &mut SubscriberRows,
    ) {
        let start_ms = event.at_ms.div_euclid(self.width_ms) * self.width_ms;
        let columns = columns_of(key.account, key.subscriber, key.what);
        rows.push_reversal(start_ms, columns, event.counts, event.amounts);
    }

    pub(crate) fn new(width_ms: i64, open_max_bytes: usize) -> Self {
        Self {
            width_ms,
            open_max_bytes,
            open: BTreeMap::new(),
            late: BTreeMap::new(),
            models: Interner::default(),
            known_models: vec![None; KNOWN_MODELS],
            closed_until_ms: i64::MIN,
            closed: Vec::new(),
        }
    }

    /// Changes how many bytes open windows may have; looked at when an epoch ends.
    pub(crate) fn bound_memory(&mut self, open_max_bytes: usize) {
        self.open_max_bytes = open_max_bytes;
    }

    /// Adds one event. `names` are the numbers of what the key says was used in this epoch.
    pub(crate) fn add(
        &mut self,
        key: SubscriberKey<'_>,
        names: WindowedNumbers,
        event: Addition<'_>,
        rows: &mut SubscriberRows,
    ) {
        let start = event.at_ms.div_euclid(self.width_ms) * self.width_ms;
        let late = start + self.width_ms <= self.closed_until_ms;
        let model = self.model_number(key, names);
        let slots = if late { &mut self.late } else { &mut self.open };
        if let Some(full) = slots.entry(start).or_default().add(key, model, event) {
            rows.push(start, late, columns_of(key.account, key.subscriber, key.what), &full);
        }
    }

    fn model_number(&mut self, key: SubscriberKey<'_>, names: WindowedNumbers) -> u32 {
        let hash = names.into_iter().fold(0, mixed);
        let at = usize::try_from(hash >> 32).unwrap_or(0) % KNOWN_MODELS;
        match self.known_models[at] {
            Some(known) if known.names == names => known.number,
            _ => {
                let number = self.models.intern(key.what.joined(&mut [0; 528]));
                self.known_models[at] = Some(KnownModel { names, number });
                number
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
        self.known_models.fill(None);
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
        let model = self.models.intern(window.what.joined(&mut [0; 528]));
        let slot = self.open.entry(window.start_ms).or_default();
        let key = SubscriberKey {
            account: window.account,
            subscriber: window.subscriber,
            what: window.what,
            holder_hash: holder_hash(
                xxh3_64(window.account.as_bytes()),
                xxh3_64(window.subscriber.as_bytes()),
            ),
        };
        let nothing = UsageCounts::default();
        slot.add(
            key,
            model,
            Addition { at_ms: window.start_ms, counts: &nothing, amounts: Amounts::default() },
        );
        // The entry just touched is the newest dirty one: it is restored, not changed.
        if let Some(number) = slot.dirty.pop() {
            let entry = &mut slot.entries[number as usize];
            entry.dirty = false;
            slot.rare_bytes -= entry.sums.rare_bytes();
            entry.sums = WindowSums::from_all(&window.sums, window.events, window.amounts);
            slot.rare_bytes += entry.sums.rare_bytes();
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

/// The key columns of a row.
pub(crate) fn columns_of<'a>(
    account: &'a str,
    subscriber: &'a str,
    what: WindowedModel<'a>,
) -> [Option<&'a str>; 6] {
    let WindowedModel { model, vendor, retail_currency, wholesale_currency } = what;
    let texts = [account, subscriber, model, vendor].map(Some);
    [texts[0], texts[1], texts[2], texts[3], retail_currency, wholesale_currency]
}

fn write_slot(models: &Interner, start: i64, late: bool, slot: &Slot, rows: &mut SubscriberRows) {
    // By the number of the model: most windows have one of few.
    let mut known: Vec<Option<CommonNames>> = vec![None; models.len()];
    for entry in slot.entries.iter().filter(|entry| entry.sums.events > 0) {
        let names = *known[entry.model as usize].get_or_insert_with(|| {
            let what = WindowedModel::split(models.get(entry.model));
            let WindowedModel { model, vendor, retail_currency, wholesale_currency } = what;
            rows.number_names([Some(model), Some(vendor), retail_currency, wholesale_currency])
        });
        rows.push_named((start, late), texts_of(entry, &slot.texts), names, &entry.sums);
    }
}

fn open_window<'a>(
    models: &'a Interner,
    start_ms: i64,
    entry: &Entry,
    texts: &'a str,
) -> OpenWindow<'a> {
    let (account, subscriber) = texts_of(entry, texts);
    let what = WindowedModel::split(models.get(entry.model));
    OpenWindow {
        start_ms,
        account,
        subscriber,
        what,
        sums: entry.sums.all(),
        events: entry.sums.events,
        amounts: entry.sums.amounts(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(account: &str) -> SubscriberKey<'_> {
        let hash = xxh3_64(account.as_bytes());
        let holder_hash = holder_hash(hash, hash);
        SubscriberKey { account, subscriber: account, what: WHAT, holder_hash }
    }

    const WHAT: WindowedModel<'static> = WindowedModel {
        model: "glm-5",
        vendor: "zhipu",
        retail_currency: None,
        wholesale_currency: Some("CNY"),
    };
    const NAMES: WindowedNumbers = [0, 1, u32::MAX, 2];

    /// Adds `input` tokens and as many micro-points and pico-yuan.
    fn add(
        windows: &mut SubscriberWindows,
        (key, names): (SubscriberKey<'_>, WindowedNumbers),
        at_ms: i64,
        input: u64,
        rows: &mut SubscriberRows,
    ) {
        let mut counts = UsageCounts::default();
        counts.set(tally_schemas::TokenClass::Input, input);
        let pico = i128::from(input);
        let amounts = Amounts { points_micro: pico, retail_pico: 0, wholesale_pico: -pico };
        windows.add(key, names, Addition { at_ms, counts: &counts, amounts }, rows);
    }

    #[test]
    fn a_window_is_written_once_and_late_usage_is_added_to_it() {
        let mut windows = SubscriberWindows::new(60_000, usize::MAX);
        let mut rows = SubscriberRows::default();
        add(&mut windows, (key("a"), NAMES), 10, 1, &mut rows);
        add(&mut windows, (key("a"), NAMES), 59_999, 2, &mut rows);
        add(&mut windows, (key("a"), NAMES), 60_000, 4, &mut rows);
        windows.advance(59_999, &mut rows);
        assert_eq!(rows.len(), 0);
        windows.advance(60_000, &mut rows);
        assert_eq!(rows.len(), 1);
        add(&mut windows, (key("a"), NAMES), 30_000, 8, &mut rows);
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
            add(&mut windows, (key(&name), NAMES), i * 100, i.unsigned_abs(), &mut rows);
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
            let what = WindowedModel { model: &model, ..WHAT };
            let key = SubscriberKey { what, ..key("a") };
            add(&mut windows, (key, [i, 1, 2, 3]), i64::from(i) * 60_000, 1, &mut rows);
        }
        windows.advance(99 * 60_000, &mut rows);
        windows.end_epoch(&mut rows);
        let before: Vec<String> = windows.open_windows().map(|w| format!("{w:?}")).collect();
        windows.settle();
        assert_eq!(windows.models.len(), 1);
        assert_eq!(windows.changed().count() + windows.closed().len(), 0);
        assert!(windows.open_windows().map(|w| format!("{w:?}")).eq(before));
        add(&mut windows, (key("a"), NAMES), 30_000, 1, &mut rows);
        windows.end_epoch(&mut rows);
        assert_eq!(rows.len(), 100, "what was closed before is late still");
    }

    #[test]
    fn an_open_window_costs_at_most_200_bytes() {
        let mut windows = SubscriberWindows::new(60_000, usize::MAX);
        let mut rows = SubscriberRows::default();
        // Just after a growth, too.
        for count in 1..300_000_usize {
            let name = format!("A{count:09}");
            add(&mut windows, (key(&name), NAMES), 0, 1, &mut rows);
            if count > 5_000 {
                let bytes = windows.memory_bytes();
                assert!(bytes <= 200 * count, "{count}: {bytes}");
            }
        }
    }

    /// Names of the lengths that senders use, several models of a subscriber, and classes that few
    /// models have. The texts are all that grows with a name; they count towards the limit.
    #[test]
    fn an_open_window_costs_what_its_names_and_classes_come_to() {
        let models: Vec<String> = (0..30).map(|n| format!("vendor-{n}-large-2026-11-22")).collect();
        let uuid = |n: usize| format!("{n:08x}-7b1c-4f6e-9a3d-{:012x}", n * 7_919);
        let short = |n: usize| [format!("A{n:09}"), format!("S{n:09}")];
        type Names<'a> = &'a dyn Fn(usize) -> [String; 2];
        let uuids = |n| [uuid(n), uuid(n + 1)];
        let longest = |n: usize| [format!("{n:0>256}"), format!("{n:1>256}")];
        let names: [(Names<'_>, usize); 3] = [(&short, 20), (&uuids, 72), (&longest, 512)];
        for (rare, (names, length)) in [false, true].into_iter().flat_map(|r| names.map(|n| (r, n)))
        {
            let mut windows = SubscriberWindows::new(60_000, usize::MAX);
            let mut rows = SubscriberRows::default();
            for count in 1..40_000_usize {
                let [account, subscriber] = names(count / 3);
                let number = count % models.len();
                let what = WindowedModel { model: &models[number], ..WHAT };
                let hashes = [&account, &subscriber].map(|text| xxh3_64(text.as_bytes()));
                let holder_hash = holder_hash(hashes[0], hashes[1]);
                let key =
                    SubscriberKey { account: &account, subscriber: &subscriber, what, holder_hash };
                let mut counts = UsageCounts::default();
                counts.set(tally_schemas::TokenClass::Output, 345);
                if rare {
                    counts.set(tally_schemas::TokenClass::CacheWrite5m, 800);
                }
                let amounts = Amounts { points_micro: 5, retail_pico: 7, wholesale_pico: 9 };
                let names = [u32::try_from(number).unwrap(), 1, 3, 2];
                let event = Addition { at_ms: 0, counts: &counts, amounts };
                windows.add(key, names, event, &mut rows);
                if count > 5_000 {
                    let most = 160 + length * 5 / 4 + if rare { 192 } else { 0 };
                    let bytes = windows.memory_bytes();
                    assert!(bytes <= most * count, "{length} {rare} {count}: {bytes}");
                    assert!(bytes >= (length + if rare { 260 } else { 100 }) * count);
                }
            }
            assert_eq!(windows.len(), 39_999);
        }
    }

    #[test]
    fn what_rare_classes_cost_goes_with_their_windows() {
        let mut windows = SubscriberWindows::new(60_000, usize::MAX);
        let mut rows = SubscriberRows::default();
        let mut counts = UsageCounts::default();
        counts.set(tally_schemas::TokenClass::Images, 1 << 53);
        // Sums that are full go to a row, and begin anew.
        for _ in 0..3_000 {
            let event = Addition { at_ms: 0, counts: &counts, amounts: Amounts::default() };
            windows.add(key("a"), NAMES, event, &mut rows);
        }
        assert_eq!(rows.len(), 2);
        let rare = |windows: &SubscriberWindows| -> usize {
            windows.open.values().map(|slot| slot.rare_bytes).sum()
        };
        assert!((100..400).contains(&rare(&windows)), "{}", rare(&windows));
        let mut again = SubscriberWindows::new(60_000, usize::MAX);
        for window in windows.open_windows().collect::<Vec<_>>() {
            again.restore(&window);
            again.restore(&window);
        }
        assert_eq!(rare(&again), rare(&windows));
    }
}
