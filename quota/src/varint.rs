//! Integers and texts in as few bytes as they need.

use crate::bucket::checked_product;

/// Bytes that end too early, or a number that is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Seven bits a byte, the lowest first.
pub(crate) fn put_unsigned(out: &mut Vec<u8>, value: u128) {
    if let Ok(value) = u64::try_from(value) {
        put_small(out, value);
        return;
    }
    let mut value = value;
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// The same of 64 bits, which nearly every number has: room for all of it is made once.
fn put_small(out: &mut Vec<u8>, mut value: u64) {
    if value < 0x80 {
        out.push((value & 0x7f) as u8);
        return;
    }
    let (mut bytes, mut length) = ([0_u8; 10], 0);
    while value >= 0x80 {
        bytes[length] = (value & 0x7f) as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = (value & 0x7f) as u8;
    out.extend_from_slice(&bytes[..=length]);
}

/// A number of either sign that is mostly small.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i128) {
    put_unsigned(out, ((value << 1) ^ (value >> 127)).cast_unsigned());
}

/// A number that often is a multiple of a million, as points and prices are.
pub(crate) fn put_micro(out: &mut Vec<u8>, value: i128) {
    // A sign, a bit for the unit, and the number: 126 bits are more than any amount needs.
    match millions(value) {
        Some(millions) => put_signed(out, millions << 1 | 1),
        None => put_signed(out, value << 1),
    }
}

/// How many millions a number is, where it is a multiple of them. Divided by multiplication where
/// it fits 64 bits.
fn millions(value: i128) -> Option<i128> {
    const MILLION: i64 = 1_000_000;
    if let Ok(small) = i64::try_from(value) {
        return (small % MILLION == 0).then_some(i128::from(small / MILLION));
    }
    (value % i128::from(MILLION) == 0).then_some(value / i128::from(MILLION))
}

/// A length and the text.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_unsigned(out, text.len() as u128);
    out.extend_from_slice(text.as_bytes());
}

/// Reads what was put.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// What is not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Unreadable> {
        let (first, rest) = self.bytes.split_first().ok_or(Unreadable)?;
        self.bytes = rest;
        Ok(*first)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (bytes, rest) = self.bytes.split_at_checked(count).ok_or(Unreadable)?;
        self.bytes = rest;
        Ok(bytes)
    }

    pub(crate) fn hash(&mut self) -> Result<u64, Unreadable> {
        let bytes = self.bytes(8)?.try_into().map_err(|_| Unreadable)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn unsigned(&mut self) -> Result<u128, Unreadable> {
        // Nearly every number has at most nine bytes.
        let mut low = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            low |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(u128::from(low));
            }
        }
        let mut value = u128::from(low);
        for shift in (63..126).step_by(7) {
            let byte = self.byte()?;
            value |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        let byte = self.byte()?;
        if byte > 3 {
            return Err(Unreadable);
        }
        Ok(value | u128::from(byte) << 126)
    }

    pub(crate) fn signed(&mut self) -> Result<i128, Unreadable> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(crate) fn micro(&mut self) -> Result<i128, Unreadable> {
        let value = self.signed()?;
        let number = value >> 1;
        if value & 1 == 0 {
            return Ok(number);
        }
        checked_product(number, 1_000_000).ok_or(Unreadable)
    }

    /// A number that fits the type asked for.
    pub(crate) fn small<T: TryFrom<u128>>(&mut self) -> Result<T, Unreadable> {
        self.unsigned()?.try_into().map_err(|_| Unreadable)
    }

    pub(crate) fn time(&mut self) -> Result<i64, Unreadable> {
        self.signed()?.try_into().map_err(|_| Unreadable)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Unreadable> {
        let length = self.small()?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(value in any::<i128>(), shift in 2_u32..127, micro in any::<bool>()) {
            let value = value >> shift;
            let value = if micro { value / 1_000_000 * 1_000_000 } else { value };
            let mut out = Vec::new();
            put_signed(&mut out, value);
            put_micro(&mut out, value);
            put_unsigned(&mut out, value.unsigned_abs());
            put_text(&mut out, "电信");
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.signed(), Ok(value));
            prop_assert_eq!(reader.micro(), Ok(value));
            prop_assert_eq!(reader.unsigned(), Ok(value.unsigned_abs()));
            prop_assert_eq!(reader.text(), Ok("电信"));
            prop_assert!(reader.rest().is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = Reader::new(&bytes);
            while reader.micro().is_ok() && !reader.rest().is_empty() {}
        }
    }
}
