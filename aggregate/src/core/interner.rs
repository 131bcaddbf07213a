//! Texts of one epoch, each stored once and named by a number.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// Number that stands for an absent text.
pub(crate) const ABSENT: u32 = u32::MAX;

/// A set of texts with stable numbers from 0 in order of first appearance.
#[derive(Debug, Default, Clone)]
pub(crate) struct Interner {
    table: HashTable<(u32, u32)>,
    bytes: String,
    ends: Vec<usize>,
}

impl Interner {
    /// The number of a text, new where it has none. More than 2^32 - 2 texts do not occur in an
    /// epoch, whose size is limited far below.
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        let hash = xxh3_64(text.as_bytes());
        let tag = (hash >> 32) as u32;
        let Self { table, bytes, ends, .. } = self;
        let slice = |number: u32| {
            let number = number as usize;
            let start = if number == 0 { 0 } else { ends[number - 1] };
            &bytes[start..ends[number]]
        };
        if let Some((_, number)) =
            table.find(hash, |(other, number)| *other == tag && slice(*number) == text)
        {
            return *number;
        }
        let number = u32::try_from(ends.len()).unwrap_or(ABSENT - 1);
        bytes.push_str(text);
        ends.push(bytes.len());
        let (bytes, ends) = (&*bytes, &*ends);
        table.insert_unique(hash, (tag, number), |(_, number)| {
            let number = *number as usize;
            let start = if number == 0 { 0 } else { ends[number - 1] };
            xxh3_64(&bytes.as_bytes()[start..ends[number]])
        });
        number
    }

    /// The text of a number that [`Interner::intern`] gave.
    pub(crate) fn get(&self, number: u32) -> &str {
        self.slice(number as usize)
    }

    /// The texts in the order of their numbers.
    pub(crate) fn array(&self) -> arrow::array::StringArray {
        (0..self.ends.len()).map(|number| Some(self.slice(number))).collect()
    }

    fn slice(&self, number: usize) -> &str {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.bytes[start..self.ends[number]]
    }

    /// Number of texts.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 8 + self.table.capacity() * 9
    }

    /// Rank of each number when the texts are sorted.
    pub(crate) fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..u32::try_from(self.len()).unwrap_or(ABSENT)).collect();
        order.sort_unstable_by(|a, b| self.get(*a).cmp(self.get(*b)));
        let mut ranks = vec![0; order.len()];
        for (rank, number) in (0_u32..).zip(order) {
            ranks[number as usize] = rank;
        }
        ranks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_and_texts_come_back() {
        let mut interner = Interner::default();
        let texts: Vec<String> = (0..5_000).map(|i| format!("text-{}", i % 1_733)).collect();
        let numbers: Vec<u32> = texts.iter().map(|text| interner.intern(text)).collect();
        assert_eq!(interner.len(), 1_733);
        for (text, number) in texts.iter().zip(&numbers) {
            assert_eq!(interner.get(*number), text);
            assert_eq!(interner.intern(text), *number);
        }
        let ranks = interner.ranks();
        assert!(
            ranks[interner.intern("text-9") as usize] > ranks[interner.intern("text-100") as usize]
        );
    }

    #[test]
    fn the_empty_text_is_a_text() {
        let mut interner = Interner::default();
        let empty = interner.intern("");
        assert_eq!(interner.get(empty), "");
        assert_eq!(interner.intern("a"), 1);
        assert_eq!(interner.intern(""), empty);
    }
}
