//! All accounts of a partition: encoded records in an arena, found by the hash of their name, and a
//! cache of decoded ones, as busy accounts come again and again.

use std::borrow::Cow;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::account::{Account, FiredInPeriod};
use crate::account_codec::{BadAccount, decode, encode};
use crate::arena::Arena;
use crate::bucket::Bucket;
use crate::number_set::NumberSet;
use crate::reference::{QuotaReference, VersionLost};
use crate::status::next_turn_ms;

/// A place in the cache instead of one in the arena.
const CACHED: u32 = 1 << 31;
/// No account has this number now.
const NOWHERE: u32 = u32::MAX;
/// Pairs of slots of the cache, each for the accounts of some hashes; few in tests and where inputs
/// are made up, so that accounts push each other out. Powers of two.
const PAIRS_AT_FIRST: usize = if cfg!(any(test, feature = "fuzz")) { 2 } else { 1 << 8 };
/// The most there are: most of 10,000 busy accounts stay decoded, in some ten megabytes.
const PAIRS_AT_MOST: usize = if cfg!(any(test, feature = "fuzz")) { 8 } else { 1 << 12 };
/// Accounts for each pair from which on there are twice as many pairs.
const CROWDED: usize = 4;

/// The accounts.
#[derive(Debug, Clone)]
pub(crate) struct AccountStore {
    /// Numbers of accounts by the hash of their name.
    index: HashTable<u32>,
    /// Where the account of each number is.
    places: Vec<u32>,
    /// Numbers that are free.
    free: Vec<u32>,
    arena: Arena,
    cache: Vec<Slot>,
    /// The slot of each pair that was asked for last: the other one is given away.
    recent: Vec<bool>,
    /// Accounts whose records were written since the last settling.
    written: NumberSet,
    /// Those of them of which nothing was known when they were written; some twice.
    blank: Vec<u32>,
    /// Bytes of decoded accounts when the state was last settled.
    decoded_bytes: usize,
    /// Bytes to be written.
    scratch: Vec<u8>,
}

/// A slot of the cache. Its account is that of `account.number`, where it is in use.
#[derive(Debug, Clone, Default)]
struct Slot {
    account: Account,
    hash: u64,
    /// Its record in the arena, which is behind where the account is dirty.
    record: Option<u32>,
    in_use: bool,
}

/// An account that was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Restored {
    pub(crate) number: u32,
    /// When something of it is due.
    pub(crate) due_ms: Option<i64>,
    /// When its status turns by time alone.
    pub(crate) turn_ms: Option<i64>,
}

impl Default for AccountStore {
    fn default() -> Self {
        Self {
            index: HashTable::new(),
            places: Vec::new(),
            free: Vec::new(),
            arena: Arena::default(),
            cache: vec![Slot::default(); 2 * PAIRS_AT_FIRST],
            recent: vec![false; PAIRS_AT_FIRST],
            written: NumberSet::default(),
            blank: Vec::new(),
            decoded_bytes: 0,
            scratch: Vec::new(),
        }
    }
}

fn name_at<'a>(arena: &'a Arena, cache: &'a [Slot], place: u32) -> &'a str {
    match slot_of(place) {
        Some(slot) => cache[slot].account.name(),
        None => arena.get(place).0,
    }
}

fn slot_of(place: u32) -> Option<usize> {
    (place & CACHED != 0).then_some((place & !CACHED) as usize)
}

fn cached(slot: usize) -> u32 {
    CACHED | u32::try_from(slot).unwrap_or_default()
}

impl AccountStore {
    fn find(&self, name: &str, hash: u64) -> Option<u32> {
        let same = |number: &u32| {
            let place = self.places[*number as usize];
            match slot_of(place) {
                Some(slot) => self.cache[slot].account.name() == name,
                None => self.arena.body_of(place, name).is_some(),
            }
        };
        self.index.find(hash, same).copied()
    }

    fn place(&self, number: u32) -> Option<u32> {
        self.places.get(number as usize).copied().filter(|place| *place != NOWHERE)
    }

    fn add_number(&mut self, hash: u64, place: u32) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            if self.places.len() == self.places.capacity() {
                // By an eighth: four bytes an account stay about four.
                self.places.reserve_exact(self.places.len() / 8 + 16);
            }
            self.places.push(NOWHERE);
            u32::try_from(self.places.len() - 1).unwrap_or(NOWHERE)
        });
        self.places[number as usize] = place;
        let (arena, cache, places) = (&self.arena, &self.cache, &self.places);
        self.index.insert_unique(hash, number, |number| {
            xxh3_64(name_at(arena, cache, places[*number as usize]).as_bytes())
        });
        number
    }

    fn remove_number(&mut self, hash: u64, number: u32) {
        if let Ok(entry) = self.index.find_entry(hash, |found| *found == number) {
            entry.remove();
        }
        self.places[number as usize] = NOWHERE;
        self.free.push(number);
    }

    /// Writes the account of a slot to the arena, where its record is behind. Err where the arena
    /// is full; then nothing has changed.
    fn write_back(&mut self, slot: usize, reference: &QuotaReference) -> Result<(), BadAccount> {
        let Slot { account, record, .. } = &mut self.cache[slot];
        if !account.dirty {
            return Ok(());
        }
        self.scratch.clear();
        encode(account, reference, &mut self.scratch);
        let written = self.arena.replace(*record, account.name(), &self.scratch);
        *record = Some(written.ok_or(BadAccount::Full)?);
        account.dirty = false;
        self.written.insert(account.number);
        if self.scratch.is_empty() {
            self.blank.push(account.number);
        }
        Ok(())
    }

    /// Empties a slot.
    fn evict(&mut self, slot: usize, reference: &QuotaReference) -> Result<(), BadAccount> {
        if !self.cache[slot].in_use {
            return Ok(());
        }
        self.write_back(slot, reference)?;
        let Slot { account, hash, record, in_use } = &mut self.cache[slot];
        *in_use = false;
        let (number, hash) = (account.number, *hash);
        match *record {
            Some(record) => self.places[number as usize] = record,
            // Looked at and left blank.
            None => self.remove_number(hash, number),
        }
        Ok(())
    }

    /// The pair of slots that accounts of this hash may have.
    fn pair_of(&self, hash: u64) -> usize {
        // The low bits choose the place in the index.
        usize::try_from(hash >> 32).unwrap_or_default() & (self.recent.len() - 1)
    }

    /// Doubles the pairs where there are many accounts for each. All slots are emptied, as their
    /// accounts belong to other pairs then.
    fn make_pairs(&mut self, reference: &QuotaReference) -> Result<(), BadAccount> {
        let pairs = self.recent.len();
        if pairs >= PAIRS_AT_MOST || self.len() < CROWDED * pairs {
            return Ok(());
        }
        for slot in 0..self.cache.len() {
            self.evict(slot, reference)?;
        }
        self.cache.resize(4 * pairs, Slot::default());
        self.recent.resize(2 * pairs, false);
        Ok(())
    }

    /// Empties one of the slots that accounts of this hash may have.
    fn make_room(&mut self, hash: u64, reference: &QuotaReference) -> Result<usize, BadAccount> {
        self.make_pairs(reference)?;
        let pair = self.pair_of(hash);
        let second = !self.recent[pair];
        let slot = 2 * pair + usize::from(second);
        self.evict(slot, reference)?;
        self.recent[pair] = second;
        Ok(slot)
    }

    /// Decodes an account, or adds a blank one, and tells its slot. The slot is that account's
    /// until another one is asked for.
    pub(crate) fn heat(
        &mut self,
        name: &str,
        reference: &QuotaReference,
    ) -> Result<usize, BadAccount> {
        let hash = xxh3_64(name.as_bytes());
        if let Some(number) = self.find(name, hash) {
            return self.decode_into_cache(number, Some(name), hash, reference);
        }
        let slot = self.make_room(hash, reference)?;
        let Slot { account, .. } = &mut self.cache[slot];
        account.reset(name);
        (self.cache[slot].hash, self.cache[slot].record) = (hash, None);
        self.cache[slot].in_use = true;
        self.cache[slot].account.number = self.add_number(hash, cached(slot));
        Ok(slot)
    }

    /// Decodes the account of a number and tells its slot; none where no account has it.
    pub(crate) fn heat_number(&mut self, number: u32, reference: &QuotaReference) -> Option<usize> {
        let place = self.place(number)?;
        let hash = xxh3_64(name_at(&self.arena, &self.cache, place).as_bytes());
        self.decode_into_cache(number, None, hash, reference).ok()
    }

    /// Decodes the account of a number, whose name the caller may know, and tells its slot.
    fn decode_into_cache(
        &mut self,
        number: u32,
        name: Option<&str>,
        hash: u64,
        reference: &QuotaReference,
    ) -> Result<usize, BadAccount> {
        let place = self.places[number as usize];
        if let Some(slot) = slot_of(place) {
            self.recent[slot / 2] = slot % 2 == 1;
            return Ok(slot);
        }
        let slot = self.make_room(hash, reference)?;
        let known = name.and_then(|name| Some((name, self.arena.body_of(place, name)?)));
        let (name, body) = known.unwrap_or_else(|| self.arena.get(place));
        let Slot { account, .. } = &mut self.cache[slot];
        decode(name, body, reference, account)?;
        account.number = number;
        (self.cache[slot].hash, self.cache[slot].record) = (hash, Some(place));
        self.cache[slot].in_use = true;
        self.places[number as usize] = cached(slot);
        Ok(slot)
    }

    /// Name of the account of a number; none where no account has it.
    pub(crate) fn name_of(&self, number: u32) -> Option<&str> {
        self.place(number).map(|place| name_at(&self.arena, &self.cache, place))
    }

    /// The account in a slot.
    pub(crate) fn account(&self, slot: usize) -> &Account {
        &self.cache[slot].account
    }

    /// The account in a slot.
    pub(crate) fn account_mut(&mut self, slot: usize) -> &mut Account {
        &mut self.cache[slot].account
    }

    /// A copy of an account, to look at.
    pub(crate) fn look_at(
        &self,
        name: &str,
        reference: &QuotaReference,
    ) -> Result<Option<Account>, BadAccount> {
        let Some(number) = self.find(name, xxh3_64(name.as_bytes())) else { return Ok(None) };
        let place = self.places[number as usize];
        if let Some(slot) = slot_of(place) {
            return Ok(Some(self.cache[slot].account.clone()));
        }
        let mut account = Account::default();
        let (name, body) = self.arena.get(place);
        decode(name, body, reference, &mut account)?;
        Ok(Some(account))
    }

    fn bytes_at(&self, place: u32, reference: &QuotaReference) -> (&str, Cow<'_, [u8]>) {
        let Some(slot) = slot_of(place) else {
            let (name, body) = self.arena.get(place);
            return (name, body.into());
        };
        let Slot { account, record, .. } = &self.cache[slot];
        match record {
            Some(record) if !account.dirty => (account.name(), self.arena.get(*record).1.into()),
            _ => {
                let mut bytes = Vec::with_capacity(128);
                encode(account, reference, &mut bytes);
                (account.name(), bytes.into())
            }
        }
    }

    /// Accounts that changed since the last settling, with their bytes; none where nothing is
    /// known of one any more.
    pub(crate) fn changed<'a>(
        &'a self,
        reference: &'a QuotaReference,
    ) -> impl Iterator<Item = (&'a str, Cow<'a, [u8]>)> {
        let mut numbers = self.written.clone();
        for slot in self.cache.iter().filter(|slot| slot.in_use && slot.account.dirty) {
            numbers.insert(slot.account.number);
        }
        numbers.into_iter().map(|number| self.bytes_at(self.places[number as usize], reference))
    }

    /// Every account with its bytes.
    pub(crate) fn all<'a>(
        &'a self,
        reference: &'a QuotaReference,
    ) -> impl Iterator<Item = (&'a str, Cow<'a, [u8]>)> {
        let places = self.places.iter().filter(|place| **place != NOWHERE);
        let accounts = places.map(|place| self.bytes_at(*place, reference));
        accounts.filter(|(_, bytes)| !bytes.is_empty())
    }

    /// The state is stored as it is now: nothing has changed since, and what is blank is forgotten.
    pub(crate) fn settle(&mut self, reference: &QuotaReference) {
        for slot in 0..self.cache.len() {
            let Slot { account, record, in_use, .. } = &self.cache[slot];
            let looked_at = !account.dirty && record.is_none();
            let settled = match in_use {
                false => Ok(()),
                true if looked_at => self.evict(slot, reference),
                true => self.write_back(slot, reference),
            };
            if settled.is_err() {
                // The arena is full: it stays in the cache, and in what changed.
                continue;
            }
        }
        self.written.clear();
        let mut blank = std::mem::take(&mut self.blank);
        blank.sort_unstable();
        blank.dedup();
        for number in blank {
            self.forget_if_blank(number);
        }
        while let Some(chunk) = self.arena.take_sparse() {
            for (address, name, body) in chunk.records() {
                self.move_record(address, name, body);
            }
        }
        self.decoded_bytes = self.count_decoded();
    }

    fn forget_if_blank(&mut self, number: u32) {
        let Some(place) = self.place(number) else { return };
        let slot = slot_of(place);
        let record = match slot {
            Some(slot) if self.cache[slot].account.dirty => return,
            Some(slot) => self.cache[slot].record,
            None => Some(place),
        };
        let Some(record) = record else { return };
        let (name, body) = self.arena.get(record);
        if !body.is_empty() {
            return;
        }
        let hash = xxh3_64(name.as_bytes());
        self.arena.kill(record);
        if let Some(slot) = slot {
            self.cache[slot].in_use = false;
        }
        self.remove_number(hash, number);
    }

    /// Pushes the record of an account whose chunk is emptied, unless the record is dead.
    fn move_record(&mut self, address: u32, name: &str, body: &[u8]) {
        let Self { index, places, cache, arena, .. } = self;
        // Dead records may carry the name of an account that lives elsewhere.
        let record = |number: u32| {
            let place = places[number as usize];
            slot_of(place).map_or(Some(place), |slot| cache[slot].record)
        };
        let found = index.find(xxh3_64(name.as_bytes()), |number| record(*number) == Some(address));
        let Some(number) = found.copied() else { return };
        // A chunk's worth of room has just become free.
        let Some(moved) = arena.push(name, body) else { return };
        match slot_of(places[number as usize]) {
            Some(slot) => cache[slot].record = Some(moved),
            None => places[number as usize] = moved,
        }
    }

    /// Takes over an account's bytes, replacing what was known of it, and tells its number and
    /// when it is due, and turns after `now_ms`. No bytes: nothing is known of it any more.
    pub(crate) fn restore(
        &mut self,
        name: &str,
        bytes: &[u8],
        reference: &QuotaReference,
        now_ms: i64,
    ) -> Result<Option<Restored>, BadAccount> {
        let mut account = Account::default();
        decode(name, bytes, reference, &mut account)?;
        let hash = xxh3_64(name.as_bytes());
        let known = self.find(name, hash);
        let place = known.and_then(|number| self.place(number));
        let record = match place.and_then(slot_of) {
            Some(slot) => {
                self.cache[slot].in_use = false;
                self.cache[slot].record.take()
            }
            None => place,
        };
        if bytes.is_empty() {
            if let Some(record) = record {
                self.arena.kill(record);
            }
            if let Some(number) = known {
                self.remove_number(hash, number);
            }
            return Ok(None);
        }
        let record = self.arena.replace(record, name, bytes).ok_or(BadAccount::Full)?;
        let number = match known {
            Some(number) => {
                self.places[number as usize] = record;
                number
            }
            None => self.add_number(hash, record),
        };
        Ok(Some(Restored {
            number,
            due_ms: account.next_due_ms(reference),
            turn_ms: next_turn_ms(&account, reference, now_ms),
        }))
    }

    /// Lets decoded accounts refer to packages by their positions in newer reference data.
    pub(crate) fn move_to(
        &mut self,
        older: &QuotaReference,
        newer: &QuotaReference,
    ) -> Result<(), VersionLost> {
        older.is_kept_by(newer)?;
        for slot in self.cache.iter_mut().filter(|slot| slot.in_use) {
            for bucket in &mut slot.account.buckets {
                let hash = older.package(bucket.package).hash;
                bucket.package = newer.position(hash).unwrap_or(bucket.package);
            }
        }
        Ok(())
    }

    /// Every number that an account may have.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        (0_u32..).take(self.places.len())
    }

    /// Number of accounts.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Bytes in memory; what decoded accounts have beside their slots as of the last settling, as
    /// this is asked for with every read of the log.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.index.allocation_size()
            + (self.places.capacity() + self.free.capacity() + self.blank.capacity()) * 4
            + self.written.memory_bytes()
            + self.arena.memory_bytes()
            + self.cache.capacity() * size_of::<Slot>()
            + self.decoded_bytes
    }

    /// Bytes that decoded accounts have beside their slots.
    fn count_decoded(&self) -> usize {
        let decoded = |slot: &Slot| {
            let account = &slot.account;
            account.text.capacity()
                + account.buckets.capacity() * size_of::<Bucket>()
                + account.usages.iter().map(|usage| 48 + usage.slots.capacity() * 32).sum::<usize>()
                + account.fired.capacity() * size_of::<FiredInPeriod>()
                + account.members.iter().map(|m| 64 + m.subscriber.capacity()).sum::<usize>()
        };
        self.cache.iter().map(decoded).sum()
    }
}
