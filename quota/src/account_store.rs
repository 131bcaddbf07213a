//! All accounts of a partition. Those that something happened to since the last settling are
//! decoded; the others are encoded records in an arena, found by the hash of their name.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::account::Account;
use crate::account_codec::{BadAccount, decode, encode};
use crate::arena::Arena;
use crate::reference::{QuotaReference, VersionLost};

/// A place in `hot` instead of one in the arena.
const HOT: u32 = 1 << 31;
/// No account has this number now.
const NOWHERE: u32 = u32::MAX;
/// Accounts that are kept to be filled again.
const SPARE_MAX: usize = 4_096;

/// The accounts.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccountStore {
    /// Numbers of accounts by the hash of their name.
    index: HashTable<u32>,
    /// Where the account of each number is.
    places: Vec<u32>,
    /// Numbers that are free.
    free: Vec<u32>,
    arena: Arena,
    hot: Vec<HotAccount>,
    /// Emptied accounts, so that their memory is used again.
    spare: Vec<Account>,
}

#[derive(Debug, Clone)]
struct HotAccount {
    account: Account,
    hash: u64,
    /// Its record in the arena, which holds as long as the account is not changed.
    record: Option<u32>,
}

fn name_at<'a>(arena: &'a Arena, hot: &'a [HotAccount], place: u32) -> &'a str {
    if place & HOT != 0 { hot[(place & !HOT) as usize].account.name() } else { arena.get(place).0 }
}

impl AccountStore {
    fn find(&self, name: &str, hash: u64) -> Option<u32> {
        let same = |number: &u32| {
            name_at(&self.arena, &self.hot, self.places[*number as usize]) == name
        };
        self.index.find(hash, same).copied()
    }

    fn add_number(&mut self, hash: u64, place: u32) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            if self.places.len() == self.places.capacity() {
                // By an eighth: four bytes an account stay about four.
                self.places.reserve_exact(self.places.len() / 8 + 16);
            }
            self.places.push(NOWHERE);
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        self.places[number as usize] = place;
        let (arena, hot, places) = (&self.arena, &self.hot, &self.places);
        self.index.insert_unique(hash, number, |number| {
            xxh3_64(name_at(arena, hot, places[*number as usize]).as_bytes())
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

    /// Decodes an account, or adds a blank one, and tells its slot.
    pub(crate) fn heat(
        &mut self,
        name: &str,
        reference: &QuotaReference,
    ) -> Result<usize, BadAccount> {
        let hash = xxh3_64(name.as_bytes());
        match self.find(name, hash) {
            Some(number) => self.heat_number(number, hash, reference),
            None => {
                let mut account = self.spare.pop().unwrap_or_default();
                account.reset(name);
                let slot = self.hot.len();
                self.hot.push(HotAccount { account, hash, record: None });
                let number = self.add_number(hash, hot_place(slot));
                self.hot[slot].account.number = number;
                Ok(slot)
            }
        }
    }

    /// Decodes the account of a number and tells its slot; none where no account has it.
    pub(crate) fn heat_due(&mut self, number: u32, reference: &QuotaReference) -> Option<usize> {
        let place = *self.places.get(number as usize)?;
        if place == NOWHERE {
            return None;
        }
        let hash = xxh3_64(name_at(&self.arena, &self.hot, place).as_bytes());
        self.heat_number(number, hash, reference).ok()
    }

    fn heat_number(
        &mut self,
        number: u32,
        hash: u64,
        reference: &QuotaReference,
    ) -> Result<usize, BadAccount> {
        let place = self.places[number as usize];
        if place & HOT != 0 {
            return Ok((place & !HOT) as usize);
        }
        let mut account = self.spare.pop().unwrap_or_default();
        let (name, body) = self.arena.get(place);
        decode(name, body, reference, &mut account)?;
        account.number = number;
        let slot = self.hot.len();
        self.hot.push(HotAccount { account, hash, record: Some(place) });
        self.places[number as usize] = hot_place(slot);
        Ok(slot)
    }

    /// The account in a slot.
    pub(crate) fn hot(&self, slot: usize) -> &Account {
        &self.hot[slot].account
    }

    /// The account in a slot.
    pub(crate) fn hot_mut(&mut self, slot: usize) -> &mut Account {
        &mut self.hot[slot].account
    }

    /// When the account of a number is due, without decoding it for good.
    pub(crate) fn next_due_ms(&mut self, number: u32, reference: &QuotaReference) -> Option<i64> {
        let place = *self.places.get(number as usize)?;
        if place == NOWHERE {
            return None;
        }
        if place & HOT != 0 {
            return self.hot[(place & !HOT) as usize].account.next_due_ms(reference);
        }
        let mut account = self.spare.pop().unwrap_or_default();
        let (name, body) = self.arena.get(place);
        let due = match decode(name, body, reference, &mut account) {
            Ok(()) => account.next_due_ms(reference),
            Err(_) => None,
        };
        self.keep_spare(account);
        due
    }

    fn keep_spare(&mut self, account: Account) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(account);
        }
    }

    /// A copy of an account, to look at.
    pub(crate) fn look_at(
        &self,
        name: &str,
        reference: &QuotaReference,
    ) -> Result<Option<Account>, BadAccount> {
        let Some(number) = self.find(name, xxh3_64(name.as_bytes())) else { return Ok(None) };
        let place = self.places[number as usize];
        if place & HOT != 0 {
            return Ok(Some(self.hot[(place & !HOT) as usize].account.clone()));
        }
        let mut account = Account::default();
        let (name, body) = self.arena.get(place);
        decode(name, body, reference, &mut account)?;
        Ok(Some(account))
    }

    /// Accounts that changed since the last settling, with their bytes; none where nothing is
    /// known of one any more.
    pub(crate) fn changed<'a>(
        &'a self,
        reference: &'a QuotaReference,
    ) -> impl Iterator<Item = (&'a str, Vec<u8>)> {
        self.hot.iter().filter(|hot| hot.account.dirty).map(move |hot| {
            let mut bytes = Vec::with_capacity(128);
            encode(&hot.account, reference, &mut bytes);
            (hot.account.name(), bytes)
        })
    }

    /// Every account with its bytes.
    pub(crate) fn all<'a>(
        &'a self,
        reference: &'a QuotaReference,
    ) -> impl Iterator<Item = (&'a str, std::borrow::Cow<'a, [u8]>)> {
        let places = self.places.iter().filter(|place| **place != NOWHERE);
        let records = places.map(move |place| {
            if place & HOT == 0 {
                let (name, body) = self.arena.get(*place);
                return (name, body.into());
            }
            let account = &self.hot[(place & !HOT) as usize].account;
            let mut bytes = Vec::with_capacity(128);
            encode(account, reference, &mut bytes);
            (account.name(), bytes.into())
        });
        records.filter(|(_, bytes): &(&str, std::borrow::Cow<'_, [u8]>)| !bytes.is_empty())
    }

    /// The state is stored as it is now: encodes what is decoded, forgets what is blank.
    pub(crate) fn settle(&mut self, reference: &QuotaReference) {
        let mut body = Vec::with_capacity(256);
        let mut kept = Vec::new();
        for mut hot in std::mem::take(&mut self.hot) {
            let number = hot.account.number;
            let unchanged = hot.record.filter(|_| !hot.account.dirty);
            if let Some(record) = unchanged {
                self.places[number as usize] = record;
                self.keep_spare(hot.account);
                continue;
            }
            if let Some(record) = hot.record.take() {
                self.arena.kill(record);
            }
            hot.account.dirty = false;
            if hot.account.is_blank() {
                self.remove_number(hot.hash, number);
                self.keep_spare(hot.account);
                continue;
            }
            body.clear();
            encode(&hot.account, reference, &mut body);
            match self.arena.push(hot.account.name(), &body) {
                Some(record) => {
                    self.places[number as usize] = record;
                    self.keep_spare(hot.account);
                }
                None => {
                    self.places[number as usize] = hot_place(kept.len());
                    kept.push(hot);
                }
            }
        }
        self.hot = kept;
        self.compact();
    }

    fn compact(&mut self) {
        while let Some(chunk) = self.arena.take_sparse() {
            for (address, name, body) in chunk.records() {
                // Dead records may carry the name of an account that lives elsewhere.
                let hash = xxh3_64(name.as_bytes());
                let places = &self.places;
                let at = |number: &u32| places[*number as usize] == address;
                let Some(number) = self.index.find(hash, at).copied() else { continue };
                // A chunk's worth of room has just become free.
                if let Some(record) = self.arena.push(name, body) {
                    self.places[number as usize] = record;
                }
            }
        }
    }

    /// Takes over an account's bytes, replacing what was known of it, and tells its number and
    /// when it is due. No bytes: nothing is known of it any more.
    pub(crate) fn restore(
        &mut self,
        name: &str,
        bytes: &[u8],
        reference: &QuotaReference,
    ) -> Result<Option<(u32, i64)>, BadAccount> {
        let mut account = self.spare.pop().unwrap_or_default();
        decode(name, bytes, reference, &mut account)?;
        let due = account.next_due_ms(reference);
        let hash = xxh3_64(name.as_bytes());
        let known = self.find(name, hash);
        if let Some(number) = known {
            let place = self.places[number as usize];
            if place & HOT == 0 {
                self.arena.kill(place);
            } else {
                let hot = &mut self.hot[(place & !HOT) as usize];
                account.number = number;
                account.dirty = false;
                let record = hot.record.take();
                std::mem::swap(&mut hot.account, &mut account);
                if let Some(record) = record {
                    self.arena.kill(record);
                }
                self.keep_spare(account);
                return Ok(due.map(|due| (number, due)));
            }
        }
        self.keep_spare(account);
        if bytes.is_empty() {
            if let Some(number) = known {
                self.remove_number(hash, number);
            }
            return Ok(None);
        }
        let record = self.arena.push(name, bytes).ok_or(BadAccount::Full)?;
        let number = match known {
            Some(number) => {
                self.places[number as usize] = record;
                number
            }
            None => self.add_number(hash, record),
        };
        Ok(due.map(|due| (number, due)))
    }

    /// Lets decoded accounts refer to packages by their positions in newer reference data.
    pub(crate) fn move_to(
        &mut self,
        older: &QuotaReference,
        newer: &QuotaReference,
    ) -> Result<(), VersionLost> {
        older.is_kept_by(newer)?;
        for hot in &mut self.hot {
            for bucket in &mut hot.account.buckets {
                let hash = older.package(bucket.package).hash;
                bucket.package = newer.position(hash).unwrap_or(bucket.package);
            }
        }
        Ok(())
    }

    /// Number of accounts.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Bytes in memory, roughly for accounts that are decoded.
    pub(crate) fn memory_bytes(&self) -> usize {
        let decoded = |account: &Account| {
            size_of::<HotAccount>()
                + account.text.capacity()
                + account.buckets.capacity() * size_of::<crate::bucket::Bucket>()
                + account.usages.iter().map(|u| 48 + u.slots.capacity() * 32).sum::<usize>()
                + account.fired.capacity() * size_of::<crate::account::FiredInPeriod>()
                + account.members.iter().map(|m| 64 + m.subscriber.capacity()).sum::<usize>()
        };
        self.index.allocation_size()
            + (self.places.capacity() + self.free.capacity()) * 4
            + self.arena.memory_bytes()
            + self.hot.iter().map(|hot| decoded(&hot.account)).sum::<usize>()
            + self.spare.iter().map(decoded).sum::<usize>()
    }
}

fn hot_place(slot: usize) -> u32 {
    HOT | u32::try_from(slot).unwrap_or(!HOT)
}
