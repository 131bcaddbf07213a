//! Bytes looked at eight and sixteen at a time, as integers: names that are expected, numbers, the
//! ends of texts.

/// The lowest bit of each byte of eight, and the highest.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// A text of at most 24 bytes as integers, each with which of its bits count.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    pub(crate) length: usize,
    /// The first sixteen bytes.
    head: u128,
    head_mask: u128,
    /// The other eight.
    tail: u64,
    tail_mask: u64,
}

impl Words {
    pub(crate) const fn of_all<const N: usize>(texts: [&str; N]) -> [Self; N] {
        let mut words = [Self::of(""); N];
        let mut at = 0;
        while at < N {
            words[at] = Self::of(texts[at]);
            at += 1;
        }
        words
    }

    const fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        assert!(bytes.len() <= 24);
        let (mut head, mut head_mask, mut tail, mut tail_mask) = (0, 0, 0, 0);
        let mut at = 0;
        while at < bytes.len() {
            if at < 16 {
                head |= (bytes[at] as u128) << (8 * at);
                head_mask |= 0xff_u128 << (8 * at);
            } else {
                tail |= (bytes[at] as u64) << (8 * (at - 16));
                tail_mask |= 0xff_u64 << (8 * (at - 16));
            }
            at += 1;
        }
        Self { length: bytes.len(), head, head_mask, tail, tail_mask }
    }

    /// Whether `bytes` begin with the text. `false` too where they end within the sixteen or, of a
    /// longer text, 24 bytes from their start.
    pub(crate) fn begins(&self, bytes: &[u8]) -> bool {
        let Some((head, rest)) = bytes.split_first_chunk() else { return false };
        if (u128::from_le_bytes(*head) ^ self.head) & self.head_mask != 0 {
            return false;
        }
        if self.tail_mask == 0 {
            return true;
        }
        let tail = rest.first_chunk().copied().map(u64::from_le_bytes);
        tail.is_some_and(|tail| (tail ^ self.tail) & self.tail_mask == 0)
    }
}

/// Powers of ten.
pub(crate) const POWERS_OF_TEN: [u64; 9] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// How many of eight characters, the first in the lowest byte, are digits before any other, and the
/// number that they are. All at once: neighbours are joined to pairs, those to fours, those to
/// eight.
pub(crate) fn leading_number(characters: u64) -> (usize, u64) {
    let values = characters ^ (ONES * u64::from(b'0'));
    // Of ten and more, adding 118 sets the highest bit; it carries into later characters only.
    let others = (values.wrapping_add(ONES * 118) | values) & HIGHS;
    let digits = others.trailing_zeros() / 8;
    // Zeros before the digits instead of what is behind them.
    let values = values.checked_shl(64 - 8 * digits).unwrap_or(0);
    let pairs = (values.wrapping_mul(10).wrapping_add(values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let number = (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff;
    (digits as usize, number)
}

/// Whether no byte needs a closer look: without backslashes and control characters, white space
/// other than blanks included, a text ends at the next quote. All bytes are looked at, as many at
/// once as the processor can.
pub(crate) fn are_simple(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |found, byte| found | u8::from(*byte < 0x20) | u8::from(*byte == b'\\'))
        == 0
}

/// Where the next quote is. Eight bytes at a time (Mycroft's test for a zero byte: bytes above the
/// first hit may be marked in error, those below are not).
#[inline]
pub(crate) fn next_quote(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk) ^ (ONES * u64::from(b'"'));
        let found = word.wrapping_sub(ONES) & !word & HIGHS;
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|byte| *byte == b'"').map(|length| at + length)
}

/// Where a plain text ends: at a quote, or at what makes it not plain.
pub(crate) fn end_of_text(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_is_found_wherever_it_is() {
        for length in 0..40 {
            for (last, filler) in [(b'"', b'x'), (b'\\', 0xff), (0x1f, 0x20), (b'"', 0x80)] {
                let mut bytes = vec![filler; length];
                assert_eq!((end_of_text(&bytes), next_quote(&bytes)), (None, None));
                assert!(are_simple(&bytes));
                bytes.push(last);
                let is_quote = last == b'"';
                assert_eq!(are_simple(&bytes), is_quote, "{last} after {length} of {filler}");
                bytes.extend([b'"'; 9]);
                assert_eq!(end_of_text(&bytes), Some(length), "{last} after {length} of {filler}");
                let quote = if is_quote { length } else { length + 1 };
                assert_eq!(next_quote(&bytes), Some(quote), "{last} after {length} of {filler}");
            }
        }
    }

    #[test]
    fn leading_digits_are_read_and_nothing_else() {
        for other in u8::MIN..=u8::MAX {
            for at in 0..8 {
                let mut characters = *b"00987654";
                characters[at] = other;
                let digits = characters.iter().take_while(|c| c.is_ascii_digit()).count();
                let number =
                    characters[..digits].iter().fold(0, |n, c| n * 10 + u64::from(c - b'0'));
                let read = leading_number(u64::from_le_bytes(characters));
                assert_eq!(read, (digits, number), "{other} at {at}");
            }
        }
    }
}
