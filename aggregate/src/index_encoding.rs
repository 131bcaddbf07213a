//! Parquet's hybrid of run lengths and bit packing, for dictionary indices and definition levels.
//! (Parquet format, Encodings.md, "Run Length Encoding / Bit-Packing Hybrid".)

/// Bits that every number up to `largest` fits in; at least one, as some readers want.
pub(crate) fn width_for(largest: u32) -> u32 {
    (u32::BITS - largest.leading_zeros()).max(1)
}

/// Every run of eight has a number at a multiple of this that is the same as the one so many places
/// on.
const STEP: usize = 4;

/// Appends `numbers`, each below 2^`width`. Runs of at least eight equal ones become run lengths,
/// what lies between is packed in groups of eight.
pub(crate) fn encode_hybrid(out: &mut Vec<u8>, numbers: &[u32], width: u32) {
    let mut packed_from = 0;
    let mut at = 0;
    while at + STEP < numbers.len() {
        let number = numbers[at];
        if numbers[at + STEP] != number {
            at += STEP;
            continue;
        }
        let before = numbers[packed_from..at].iter().rev().take_while(|n| **n == number).count();
        let start = at - before;
        let run = before + run_length(&numbers[at..], number);
        // A packed stretch ends after whole groups, so it may take the first numbers of the run.
        let filling = (start - packed_from).wrapping_neg() % 8;
        if run >= filling + 8 {
            pack(out, &numbers[packed_from..start + filling], width);
            put_run(out, number, run - filling, width);
            packed_from = start + run;
        }
        at = (start + run).next_multiple_of(STEP);
    }
    pack(out, &numbers[packed_from..], width);
}

/// The same for one number that stands `count` times.
pub(crate) fn encode_run(out: &mut Vec<u8>, number: u32, count: usize, width: u32) {
    if count >= 8 {
        put_run(out, number, count, width);
    } else {
        pack(out, &[number; 8][..count], width);
    }
}

fn put_run(out: &mut Vec<u8>, number: u32, count: usize, width: u32) {
    put_varint(out, (count as u64) << 1);
    out.extend_from_slice(&number.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// How many of the first numbers are `number`.
fn run_length(numbers: &[u32], number: u32) -> usize {
    let is_same = |eight: &&[u32]| eight.iter().fold(0, |differ, n| differ | (n ^ number)) == 0;
    let whole = numbers.chunks_exact(8).take_while(is_same).count() * 8;
    whole + numbers[whole..].iter().take_while(|n| **n == number).count()
}

/// A packed stretch; only the last of a page may be no multiple of eight, and is filled up.
fn pack(out: &mut Vec<u8>, numbers: &[u32], width: u32) {
    if numbers.is_empty() {
        return;
    }
    let groups = numbers.len().div_ceil(8);
    put_varint(out, (groups as u64) << 1 | 1);
    let start = out.len();
    let end = start + groups * width as usize;
    if width <= 16 {
        // A group is `width` bytes; each is written with what is behind it.
        out.resize(end + 16, 0);
        let mut eight = [0; 8];
        for (group, numbers) in numbers.chunks(8).enumerate() {
            eight[..numbers.len()].copy_from_slice(numbers);
            eight[numbers.len()..].fill(0);
            let at = start + group * width as usize;
            out[at..at + 16].copy_from_slice(&packed_group(eight, width).to_le_bytes());
        }
        out.truncate(end);
        return;
    }
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

/// Eight numbers of at most sixteen bits side by side.
fn packed_group(numbers: [u32; 8], width: u32) -> u128 {
    let four = |a: u32, b: u32, c: u32, d: u32| {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << width;
        pair(a, b) | pair(c, d) << (2 * width)
    };
    let [a, b, c, d, e, f, g, h] = numbers;
    u128::from(four(a, b, c, d)) | u128::from(four(e, f, g, h)) << (4 * width)
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
            prop_assert_eq!(decode(&bytes, width, numbers.len()), &*numbers);
            prop_assert_eq!(bytes, encoded_run_by_run(&numbers, width));
        }

        #[test]
        fn a_run_is_what_its_numbers_are(number in any::<u32>(), count in 0..40_usize, width in 1..=32_u32) {
            let number = number & (u32::MAX >> (32 - width));
            let (mut run, mut numbers) = (Vec::new(), Vec::new());
            encode_run(&mut run, number, count, width);
            encode_hybrid(&mut numbers, &vec![number; count], width);
            prop_assert_eq!(run, numbers);
        }
    }

    /// The same bytes by looking at one run after the other, and packing bit by bit.
    fn encoded_run_by_run(numbers: &[u32], width: u32) -> Vec<u8> {
        fn put_packed(out: &mut Vec<u8>, numbers: &[u32], width: u32) {
            if numbers.is_empty() {
                return;
            }
            let groups = numbers.len().div_ceil(8);
            put_varint(out, (groups as u64) << 1 | 1);
            let mut bytes = vec![0_u8; groups * width as usize];
            for (place, number) in numbers.iter().enumerate() {
                for bit in 0..width as usize {
                    let at = place * width as usize + bit;
                    bytes[at / 8] |= u8::from(number >> bit & 1 == 1) << (at % 8);
                }
            }
            out.extend(bytes);
        }
        let mut out = Vec::new();
        let (mut packed_from, mut at) = (0, 0);
        while at < numbers.len() {
            let run = numbers[at..].iter().take_while(|n| **n == numbers[at]).count();
            let filling = (at - packed_from).wrapping_neg() % 8;
            if run >= filling + 8 {
                put_packed(&mut out, &numbers[packed_from..at + filling], width);
                put_run(&mut out, numbers[at], run - filling, width);
                packed_from = at + run;
            }
            at += run;
        }
        put_packed(&mut out, &numbers[packed_from..], width);
        out
    }

    #[test]
    fn a_long_run_takes_no_room() {
        let mut bytes = Vec::new();
        encode_hybrid(&mut bytes, &[3; 100_000], 2);
        assert_eq!(bytes.len(), 4);
        assert_eq!((width_for(0), width_for(1), width_for(2), width_for(255)), (1, 1, 2, 8));
    }
}
