//! A set of texts, each stored once and named by a number.

use std::ops::Range;

use arrow::array::StringArray;
use arrow::buffer::OffsetBuffer;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// Number that stands for an absent text.
pub(crate) const ABSENT: u32 = u32::MAX;

/// Places for texts that were asked for lately.
const RECENT: usize = 256;

/// A text of at most 32 bytes as integers: two of them are equal exactly where the texts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Short {
    words: [u64; 4],
    length: usize,
}

impl Short {
    fn of(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let length = text.len();
        // The first and last chunks overlap where the length is between two sizes, and cover
        // every byte; with the length, they stand for the text.
        let words = match length {
            0 => [0; 4],
            1..4 => [text.first()?, text.get(length / 2)?, text.last()?, &0].map(|b| u64::from(*b)),
            4..8 => {
                let [first, last] = [text.first_chunk()?, text.last_chunk()?]
                    .map(|chunk| u64::from(u32::from_le_bytes(*chunk)));
                [first, last, 0, 0]
            }
            8..17 => {
                let [first, last] = [text.first_chunk()?, text.last_chunk()?]
                    .map(|chunk| u64::from_le_bytes(*chunk));
                [first, last, 0, 0]
            }
            17..33 => {
                let (first, last): (&[u8; 16], &[u8; 16]) =
                    (text.first_chunk()?, text.last_chunk()?);
                [first.first_chunk()?, first.last_chunk()?, last.first_chunk()?, last.last_chunk()?]
                    .map(|chunk| u64::from_le_bytes(*chunk))
            }
            _ => return None,
        };
        Some(Self { words, length })
    }

    /// Multiplied side by side, not one after the other: this is done a dozen times an event.
    fn place(&self) -> usize {
        const ODD: [u64; 4] = [
            0x9e37_79b9_7f4a_7c15,
            0xc2b2_ae3d_27d4_eb4f,
            0x1656_67b1_9e37_79f9,
            0x27d4_eb2f_1656_67c5,
        ];
        let [a, b, c, d] = self.words;
        let pairs = (a.wrapping_mul(ODD[0]) ^ b.wrapping_mul(ODD[1]).rotate_left(23))
            .wrapping_add(c.wrapping_mul(ODD[2]) ^ d.wrapping_mul(ODD[3]).rotate_left(41))
            .wrapping_add(self.length as u64);
        let hash = pairs.wrapping_mul(ODD[0]) >> 32;
        usize::try_from(hash % RECENT as u64).unwrap_or(0)
    }
}

/// A set of texts with stable numbers from 0 in order of first appearance.
#[derive(Debug, Default, Clone)]
pub(crate) struct Interner {
    table: HashTable<u32>,
    bytes: String,
    /// End and hash of each text.
    texts: Vec<(usize, u64)>,
    /// Short texts that were asked for lately, with their numbers.
    recent: Vec<Option<(Short, u32)>>,
}

impl Interner {
    /// [`Interner::intern`] for texts that recur within a few hundred.
    pub(crate) fn intern_recurring(&mut self, text: &str) -> u32 {
        let Some(short) = Short::of(text) else { return self.intern(text) };
        let place = short.place();
        if let Some(Some((known, number))) = self.recent.get(place)
            && *known == short
        {
            return *number;
        }
        let number = self.intern(text);
        self.recent.resize(RECENT, None);
        self.recent[place] = Some((short, number));
        number
    }

    /// The number of a text, new where it has none. More than 2^32 - 2 texts do not occur in an
    /// epoch, whose size is limited far below.
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        let hash = xxh3_64(text.as_bytes());
        let Self { table, bytes, texts, .. } = self;
        let same = |number: &u32| {
            let number = *number as usize;
            texts[number].1 == hash && bytes.as_bytes()[place(texts, number)] == *text.as_bytes()
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
    pub(crate) fn array(&self) -> StringArray {
        let lengths = (0..self.texts.len()).map(|n| place(&self.texts, n).len());
        let offsets = OffsetBuffer::from_lengths(lengths);
        StringArray::new(offsets, self.bytes.as_bytes().to_vec().into(), None)
    }

    /// Forgets every text and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.bytes.clear();
        self.texts.clear();
        self.recent.clear();
    }

    /// Number of texts.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Bytes in use, roughly: what is kept for reuse is not counted.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.texts.len() * 24
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
        order.sort_unstable();
        for same in order.chunk_by_mut(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            same.sort_unstable_by_key(|(_, number)| self.get(*number));
        }
        let mut ranks = vec![0; order.len()];
        for (rank, (_, number)) in (0_u32..).zip(order) {
            ranks[number as usize] = rank;
        }
        ranks
    }
}

fn slice<'b>(bytes: &'b str, texts: &[(usize, u64)], number: usize) -> &'b str {
    &bytes[place(texts, number)]
}

fn place(texts: &[(usize, u64)], number: usize) -> Range<usize> {
    let start = if number == 0 { 0 } else { texts[number - 1].0 };
    start..texts[number].0
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
    fn recurring_texts_have_the_same_numbers() {
        let mut interner = Interner::default();
        // Every length up to beyond the short ones, and texts that differ in one byte only.
        let mut texts = vec![String::new()];
        for length in 1..40_usize {
            let plain = "a".repeat(length);
            for at in 0..length {
                let mut changed = plain.clone();
                changed.replace_range(at..=at, "b");
                texts.push(changed);
            }
            texts.push(plain);
        }
        let numbers: Vec<u32> = texts.iter().map(|text| interner.intern_recurring(text)).collect();
        assert_eq!(interner.len(), texts.len());
        for (text, number) in texts.iter().zip(numbers) {
            assert_eq!(interner.get(number), text);
            assert_eq!(interner.intern_recurring(text), number, "{text}");
            assert_eq!(interner.intern(text), number, "{text}");
        }
        interner.clear();
        assert_eq!(interner.intern_recurring("ab"), 0);
        assert_eq!(interner.intern_recurring("a"), 1);
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
