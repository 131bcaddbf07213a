//! Parquet's hybrid of run lengths and bit packing, for dictionary indices and definition levels.
//! (Parquet format, Encodings.md, "Run Length Encoding / Bit-Packing Hybrid".)

/// Bits that every number up to `largest` fits in; at least one, as some readers want.
pub(crate) fn width_for(largest: u32) -> u32 {
    (u32::BITS - largest.leading_zeros()).max(1)
}

/// Appends `numbers`, each below 2^`width`. Runs of at least eight equal ones become run lengths,
/// what lies between is packed in groups of eight.
pub(crate) fn encode_hybrid(out: &mut Vec<u8>, numbers: &[u32], width: u32) {
    let mut packed_from = 0;
    let mut at = 0;
    while at < numbers.len() {
        let run = numbers[at..].iter().take_while(|n| **n == numbers[at]).count();
        // A packed stretch ends after whole groups, so it may take the first numbers of the run.
        let filling = (at - packed_from).wrapping_neg() % 8;
        if run >= filling + 8 {
            pack(out, &numbers[packed_from..at + filling], width);
            let header = (run - filling) as u64;
            put_varint(out, header << 1);
            out.extend_from_slice(&numbers[at].to_le_bytes()[..width.div_ceil(8) as usize]);
            packed_from = at + run;
        }
        at += run;
    }
    pack(out, &numbers[packed_from..], width);
}

/// A packed stretch; only the last of a page may be no multiple of eight, and is filled up.
fn pack(out: &mut Vec<u8>, numbers: &[u32], width: u32) {
    if numbers.is_empty() {
        return;
    }
    let groups = numbers.len().div_ceil(8);
    put_varint(out, (groups as u64) << 1 | 1);
    let end = out.len() + groups * width as usize;
    let (mut bits, mut filled) = (0_u64, 0);
    for number in numbers {
        bits |= u64::from(*number) << filled;
        filled += width;
        if filled >= 32 {
            out.extend_from_slice(&bits.to_le_bytes()[..4]);
            bits >>= 32;
            filled -= 32;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes());
    out.resize(end, 0);
}

/// An unsigned integer, seven bits a byte, the lowest first.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A plain reading of the format, number by number.
    fn decode(bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        let mut at = 0;
        let varint = |at: &mut usize| {
            let (mut value, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[*at];
                *at += 1;
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        };
        while numbers.len() < count {
            let header = varint(&mut at);
            if header & 1 == 0 {
                let size = width.div_ceil(8) as usize;
                let mut value = [0; 4];
                value[..size].copy_from_slice(&bytes[at..at + size]);
                at += size;
                numbers.extend((0..header >> 1).map(|_| u32::from_le_bytes(value)));
            } else {
                for number in 0..(header >> 1) * 8 {
                    let bit = |n: u64| u32::from(bytes[at + (n / 8) as usize] >> (n % 8) & 1);
                    let first = number * u64::from(width);
                    numbers.push((0..width).map(|n| bit(first + u64::from(n)) << n).sum());
                }
                at += (header >> 1) as usize * width as usize;
            }
        }
        assert_eq!(at, bytes.len());
        assert!(numbers.len() < count + 8);
        numbers.truncate(count);
        numbers
    }

    proptest! {
        #[test]
        fn numbers_come_back(runs in prop::collection::vec((any::<u32>(), 1..40_usize), 0..60), width in 1..=32_u32) {
            let mask = u32::MAX >> (32 - width);
            let numbers: Vec<u32> = runs.into_iter().flat_map(|(n, run)| vec![n & mask; run]).collect();
            let mut bytes = Vec::new();
            encode_hybrid(&mut bytes, &numbers, width);
            prop_assert_eq!(decode(&bytes, width, numbers.len()), numbers);
        }
    }

    #[test]
    fn a_long_run_takes_no_room() {
        let mut bytes = Vec::new();
        encode_hybrid(&mut bytes, &[3; 100_000], 2);
        assert_eq!(bytes.len(), 4);
        assert_eq!((width_for(0), width_for(1), width_for(2), width_for(255)), (1, 1, 2, 8));
    }
}
