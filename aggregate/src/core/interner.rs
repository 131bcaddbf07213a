//! Texts of one epoch, each stored once and named by a number.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// Number that stands for an absent text.
pub(crate) const ABSENT: u32 = u32::MAX;

/// A set of texts with stable numbers from 0 in order of first appearance.
#[derive(Debug, Default, Clone)]
pub(crate) struct Interner {
    table: HashTable<u32>,
    bytes: String,
    /// End and hash of each text.
    texts: Vec<(usize, u64)>,
}

impl Interner {
    /// The number of a text, new where it has none. More than 2^32 - 2 texts do not occur in an
    /// epoch, whose size is limited far below.
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        let hash = xxh3_64(text.as_bytes());
        let Self { table, bytes, texts } = self;
        let same = |number: &u32| {
            let number = *number as usize;
            texts[number].1 == hash && slice(bytes, texts, number) == text
        };
        if let Some(number) = table.find(hash, same) {
            return *number;
        }
        let number = u32::try_from(texts.len()).unwrap_or(ABSENT - 1);
        bytes.push_str(text);
        texts.push((bytes.len(), hash));
        table.insert_unique(hash, number, |number| texts[*number as usize].1);
        number
    }

    /// The hash of a text, by its number.
    pub(crate) fn hash_of(&self, number: u32) -> u64 {
        self.texts[number as usize].1
    }

    /// The text of a number that [`Interner::intern`] gave.
    pub(crate) fn get(&self, number: u32) -> &str {
        slice(&self.bytes, &self.texts, number as usize)
    }

    /// The texts in the order of their numbers.
    pub(crate) fn array(&self) -> arrow::array::StringArray {
        (0..self.texts.len()).map(|number| Some(slice(&self.bytes, &self.texts, number))).collect()
    }

    /// Forgets every text and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.bytes.clear();
        self.texts.clear();
    }

    /// Number of texts.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Bytes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.texts.capacity() * 16 + self.table.capacity() * 5
    }

    /// Rank of each number when the texts are sorted.
    pub(crate) fn ranks(&self) -> Vec<u32> {
        // The first sixteen bytes as one integer decide nearly always.
        let prefix = |number: u32| {
            let mut first = [0_u8; 16];
            let text = self.get(number).as_bytes();
            let length = text.len().min(16);
            first[..length].copy_from_slice(&text[..length]);
            u128::from_be_bytes(first)
        };
        let numbers = 0..u32::try_from(self.len()).unwrap_or(ABSENT);
        let mut order: Vec<(u128, u32)> = numbers.map(|number| (prefix(number), number)).collect();
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.get(a.1).cmp(self.get(b.1))));
        let mut ranks = vec![0; order.len()];
        for (rank, (_, number)) in (0_u32..).zip(order) {
            ranks[number as usize] = rank;
        }
        ranks
    }
}

fn slice<'b>(bytes: &'b str, texts: &[(usize, u64)], number: usize) -> &'b str {
    let start = if number == 0 { 0 } else { texts[number - 1].0 };
    &bytes[start..texts[number].0]
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
        let mut sorted = texts.clone();
        sorted.sort_unstable();
        sorted.dedup();
        for (rank, text) in (0_u32..).zip(&sorted) {
            assert_eq!(ranks[interner.intern(text) as usize], rank, "{text}");
        }
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
