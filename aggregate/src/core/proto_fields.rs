//! What protobuf messages are made of, read in place: keys, varints, fields with a length, texts.

use std::borrow::Cow;

/// The bytes are not the protobuf that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotProtobuf(pub(crate) &'static str);

/// A field of a message.
pub(crate) enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a message one after the other.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Bytes that are not read yet.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, NotProtobuf> {
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.longer_varint(),
        }
    }

    /// A varint of several bytes.
    #[inline(never)]
    fn longer_varint(&mut self) -> Result<u64, NotProtobuf> {
        let eight = self.rest.first_chunk().copied().map(u64::from_le_bytes);
        match eight.and_then(short_varint) {
            Some((value, length)) => {
                self.rest = &self.rest[length..];
                Ok(value)
            }
            None => self.any_varint(),
        }
    }

    /// A varint of any length, byte by byte.
    fn any_varint(&mut self) -> Result<u64, NotProtobuf> {
        let mut value = 0_u64;
        for (position, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                if position == 9 && *byte > 1 {
                    return Err(NotProtobuf("varint beyond 64 bits"));
                }
                self.rest = &self.rest[position + 1..];
                return Ok(value);
            }
        }
        Err(NotProtobuf("varint without an end"))
    }

    #[inline(always)]
    fn take(&mut self, length: usize) -> Result<&'a [u8], NotProtobuf> {
        if length > self.rest.len() {
            return Err(NotProtobuf("field longer than its message"));
        }
        let (head, tail) = self.rest.split_at(length);
        self.rest = tail;
        Ok(head)
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, NotProtobuf> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        // A key has 32 bits: three of them are the wire type.
        let number = u32::try_from(key).map_err(|_| NotProtobuf("field number too large"))? >> 3;
        if number == 0 {
            return Err(NotProtobuf("field number 0"));
        }
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?)
                    .map_err(|_| NotProtobuf("field longer than its message"))?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Fixed)?,
            _ => return Err(NotProtobuf("unknown wire type")),
        };
        Ok(Some((number, field)))
    }
}

/// A varint of at most eight bytes, of which `bytes` has the first in its lowest bits, and its length.
/// The groups of seven bits are joined to fourteen, those to 28, those to 56.
fn short_varint(bytes: u64) -> Option<(u64, usize)> {
    let ends = !bytes & 0x8080_8080_8080_8080;
    if ends == 0 {
        return None;
    }
    let last = ends.trailing_zeros();
    let sevens = bytes & (u64::MAX >> (63 - last)) & 0x7f7f_7f7f_7f7f_7f7f;
    let joined = |groups: u64, low: u64, gap: u32| (groups & low) | (groups & !low) >> gap;
    let fourteens = joined(sevens, 0x007f_007f_007f_007f, 1);
    let halves = joined(fourteens, 0x0000_3fff_0000_3fff, 2);
    let value = joined(halves, 0x0000_0000_0fff_ffff, 4);
    Some((value, (last / 8) as usize + 1))
}

/// Texts follow one another in a message, with a byte or two between them: what is ASCII from a text
/// on is looked at once, and the next ones are cut out of it.
pub(crate) struct AsciiRun<'a> {
    message: &'a [u8],
    from: usize,
    known: &'a str,
}

impl<'a> AsciiRun<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { message, from: 0, known: "" }
    }

    /// A text of the message, which ends at `end`.
    #[inline]
    pub(crate) fn text(&mut self, text: &'a [u8], end: usize) -> Result<Cow<'a, str>, NotProtobuf> {
        let start = end - text.len();
        if end > self.from + self.known.len() {
            let rest = &self.message[start..];
            let ascii = ascii_length(rest);
            if ascii < text.len() {
                return any_text(text);
            }
            self.from = start;
            self.known = std::str::from_utf8(&rest[..ascii]).unwrap_or_default();
        }
        let known = self.known.get(start - self.from..end - self.from);
        known.map_or_else(|| any_text(text), |text| Ok(Cow::Borrowed(text)))
    }
}

/// How many bytes are ASCII before any other.
fn ascii_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let others = u64::from_le_bytes(*eight) & 0x8080_8080_8080_8080;
        if others != 0 {
            return at + (others.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + bytes[at..].iter().take_while(|byte| byte.is_ascii()).count()
}

/// A text of any characters.
pub(crate) fn any_text(bytes: &[u8]) -> Result<Cow<'_, str>, NotProtobuf> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| NotProtobuf("text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_come_back(values in prop::collection::vec((any::<u64>(), 0..64_u32), 1..20), cut in 0..12_usize) {
            let values: Vec<u64> = values.into_iter().map(|(value, shift)| value >> shift).collect();
            let mut bytes = Vec::new();
            for value in &values {
                prost::encoding::encode_varint(*value, &mut bytes);
            }
            let mut fields = Fields::of(&bytes);
            for value in &values {
                prop_assert_eq!(fields.varint(), Ok(*value));
            }
            prop_assert!(fields.varint().is_err());
            // What is cut off, or goes on for too long, is read alike.
            let end = bytes.len().saturating_sub(cut);
            for bytes in [&bytes[..end], &[bytes.as_slice(), &[0xff; 11]].concat()] {
                let (mut fields, mut slow) = (Fields::of(bytes), Fields::of(bytes));
                for _ in 0..=values.len() {
                    prop_assert_eq!(fields.varint(), slow.any_varint());
                    prop_assert_eq!(fields.rest, slow.rest);
                }
            }
        }

        /// Texts between other bytes are what they are one by one.
        #[test]
        fn texts_of_a_message_are_cut_out_of_it(
            texts in prop::collection::vec(("[a-z]{0,12}", prop::sample::select(vec!["", "上海", "é", "z"]), prop::sample::select(vec![&[10_u8, 7][..], &[0x82, 1, 3], &[0xff], &[]])), 0..12),
            spoilt in any::<prop::sample::Index>(),
            spoils in any::<bool>(),
        ) {
            let (mut message, mut ends) = (Vec::new(), Vec::new());
            for (ascii, other, between) in &texts {
                message.extend_from_slice(between);
                let start = message.len();
                message.extend_from_slice(ascii.as_bytes());
                message.extend_from_slice(other.as_bytes());
                ends.push((start, message.len()));
            }
            if spoils && !message.is_empty() {
                let at = spoilt.index(message.len());
                message[at] ^= 0x80;
            }
            let mut run = AsciiRun::of(&message);
            for (start, end) in ends {
                let text = &message[start..end];
                prop_assert_eq!(run.text(text, end), any_text(text));
            }
        }
    }
}
