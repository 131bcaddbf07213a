//! A table of 64-bit id hashes, each with a 64-bit content hash, at 16 bytes a slot.
//!
//! Open addressing in which a hash's home is proportional to its value, so that the occupied
//! slots are sorted: sealing a bucket is one pass, and so is loading one. It grows by two fifths
//! at a load of three quarters, so that an id costs between 21.4 and 30 bytes; while it grows, for
//! as long as one pass takes, the old slots are there too.

/// An id hash and a content hash.
pub(crate) type IdEntry = (u64, u64);

/// What a table knows about an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Not there.
    No,
    /// There, with the same content.
    Same,
    /// There, with other content.
    Other,
}

/// Slots behind the last home, so that a probe needs no wrap-around.
const TAIL: usize = 64;

/// The table.
#[derive(Debug, Clone, Default)]
pub(crate) struct IdTable {
    /// `(0, _)` is an empty slot.
    slots: Vec<IdEntry>,
    homes: usize,
    len: usize,
}

/// 0 marks an empty slot; the one hash in 2^64 that is 0 shares its place with 1, and the content
/// hash tells the two apart.
const fn nonzero(id: u64) -> u64 {
    if id == 0 { 1 } else { id }
}

impl IdTable {
    /// A table of entries that are sorted by id, each id once.
    pub(crate) fn from_sorted(entries: &[IdEntry]) -> Self {
        let mut table = Self::with_homes(entries.len().saturating_mul(3) / 2 + 16);
        table.fill(entries.iter().copied());
        table
    }

    fn with_homes(homes: usize) -> Self {
        Self { slots: vec![(0, 0); homes + TAIL], homes, len: 0 }
    }

    fn home(&self, id: u64) -> usize {
        // The high half of the product is below `homes`.
        usize::try_from((u128::from(id) * self.homes as u128) >> 64).unwrap_or(0)
    }

    /// Number of ids.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<IdEntry>()
    }

    /// What is known about an id.
    pub(crate) fn look_up(&self, id: u64, content: u64) -> Seen {
        if self.homes == 0 {
            return Seen::No;
        }
        let id = nonzero(id);
        for slot in &self.slots[self.home(id)..] {
            if slot.0 == id {
                return if slot.1 == content { Seen::Same } else { Seen::Other };
            }
            if slot.0 == 0 || slot.0 > id {
                return Seen::No;
            }
        }
        Seen::No
    }

    /// Adds an id that is not there; one that is there keeps its content.
    pub(crate) fn insert(&mut self, id: u64, content: u64) {
        if (self.len + 1) * 4 > self.homes * 3 {
            self.grow();
        }
        let id = nonzero(id);
        let mut at = self.home(id);
        while at < self.slots.len() && self.slots[at].0 != 0 && self.slots[at].0 < id {
            at += 1;
        }
        if at < self.slots.len() && self.slots[at].0 == id {
            return;
        }
        let free = (at..self.slots.len()).find(|free| self.slots[*free].0 == 0);
        let free = free.unwrap_or_else(|| {
            // The run reaches the end, however large the table is: it needs a longer tail.
            let end = self.slots.len();
            self.slots.resize(end + TAIL, (0, 0));
            end
        });
        self.slots.copy_within(at..free, at + 1);
        self.slots[at] = (id, content);
        self.len += 1;
    }

    fn grow(&mut self) {
        let mut larger = Self::with_homes(self.homes * 7 / 5 + 16);
        larger.fill(self.iter());
        *self = larger;
    }

    /// Fills an empty table with sorted entries.
    fn fill(&mut self, entries: impl Iterator<Item = IdEntry>) {
        let mut free = 0;
        for (id, content) in entries {
            let at = self.home(id).max(free);
            if at >= self.slots.len() {
                self.slots.resize(at + TAIL, (0, 0));
            }
            self.slots[at] = (nonzero(id), content);
            free = at + 1;
            self.len += 1;
        }
    }

    /// Entries in ascending order of id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = IdEntry> + '_ {
        self.slots.iter().copied().filter(|slot| slot.0 != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_map(ids in prop::collection::vec((any::<u64>(), 0_u64..3), 0..600), clustered in any::<bool>()) {
            let mut table = IdTable::default();
            let mut map = BTreeMap::new();
            for (id, content) in ids {
                let id = if clustered { id % 97 + (u64::MAX - 97) } else { id };
                let expected = match map.get(&nonzero(id)) {
                    None => Seen::No,
                    Some(other) if *other == content => Seen::Same,
                    Some(_) => Seen::Other,
                };
                prop_assert_eq!(table.look_up(id, content), expected);
                table.insert(id, content);
                map.entry(nonzero(id)).or_insert(content);
            }
            prop_assert_eq!(table.len(), map.len());
            prop_assert!(table.iter().eq(map.iter().map(|(id, content)| (*id, *content))));
            let sorted: Vec<IdEntry> = table.iter().collect();
            let again = IdTable::from_sorted(&sorted);
            prop_assert!(again.iter().eq(sorted.iter().copied()));
        }
    }

    #[test]
    fn an_id_costs_at_most_32_bytes() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let mut table = IdTable::default();
        for count in 1..300_000_usize {
            table.insert(random.random(), 1);
            if count > 5_000 {
                assert!(table.memory_bytes() <= 32 * count, "{count}: {}", table.memory_bytes());
            }
        }
    }

    /// Only one bucket grows at a time, and a bucket is ten minutes of a partition.
    #[test]
    fn a_table_that_grows_has_at_most_52_bytes_an_id() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let mut table = IdTable::default();
        let mut growths = 0;
        for count in 1..300_000_usize {
            let before = table.memory_bytes();
            table.insert(random.random(), 1);
            let after = table.memory_bytes();
            if after != before && count > 5_000 {
                growths += 1;
                assert!(before + after <= 52 * count, "{count}: {before} and {after}");
            }
        }
        assert!(growths > 8, "{growths}");
    }
}
