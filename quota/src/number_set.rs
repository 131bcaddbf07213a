//! A set of account numbers: a bit each, as an epoch may change any of them, many of them often.

/// Numbers, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct NumberSet(Vec<u64>);

impl NumberSet {
    /// Adds a number, which may be there.
    pub(crate) fn insert(&mut self, number: u32) {
        let word = (number / u64::BITS) as usize;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % u64::BITS);
    }

    /// Takes all numbers out.
    pub(crate) fn clear(&mut self) {
        self.0.fill(0);
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }
}

impl IntoIterator for NumberSet {
    type Item = u32;
    type IntoIter = Numbers;

    fn into_iter(self) -> Numbers {
        Numbers { words: self.0, word: 0 }
    }
}

/// The numbers of a set, the lowest first.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// Without the numbers that were told.
    words: Vec<u64>,
    word: usize,
}

impl Iterator for Numbers {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            let rest = self.words.get_mut(self.word)?;
            if *rest != 0 {
                let bit = rest.trailing_zeros();
                *rest &= *rest - 1;
                return u32::try_from(self.word).ok().map(|word| word * u64::BITS + bit);
            }
            self.word += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_once_and_in_order() {
        let mut set = NumberSet::default();
        for number in [1_000, 63, 64, 0, 63, 1_000, 127] {
            set.insert(number);
        }
        assert_eq!(set.clone().into_iter().collect::<Vec<_>>(), [0, 63, 64, 127, 1_000]);
        set.clear();
        assert_eq!(set.into_iter().next(), None);
    }
}
