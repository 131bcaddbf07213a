//! Records of accounts that nothing happens to, packed in chunks. A record is never changed: a new
//! one is written and the old one is dead. A chunk of which half is dead is emptied by moving what
//! lives in it, so that the arena is at most about twice what lives.

use crate::varint::{put_text, put_unsigned};

/// Bytes of a chunk; a larger record has a chunk of its own.
const CHUNK_BYTES: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 20;
/// Records begin at multiples of four bytes, so that 31 bits address 8 GiB.
const ALIGN: usize = 4;
const CHUNKS_MAX: usize = 1 << (31 + 2 - CHUNK_BITS);

#[derive(Debug, Clone, Default)]
struct Chunk {
    bytes: Vec<u8>,
    dead: usize,
}

/// The chunks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arena {
    chunks: Vec<Chunk>,
    /// The chunk that is written to.
    current: usize,
    /// Chunks without records.
    empty: Vec<usize>,
}

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN)
}

fn varint_len(value: usize) -> usize {
    if value < 0x80 { 1 } else { 1 + varint_len(value >> 7) }
}

fn record_len(name: &str, body: &[u8]) -> usize {
    padded(varint_len(name.len()) + name.len() + varint_len(body.len()) + body.len())
}

/// The lowest seven bits.
fn low_bits(value: usize) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or_default()
}

/// A length and the bytes behind it.
fn split_len(bytes: &[u8]) -> (usize, &[u8]) {
    let (mut value, mut shift) = (0, 0);
    for (byte, at) in bytes.iter().zip(1..) {
        value |= usize::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return (value, &bytes[at..]);
        }
        shift += 7;
    }
    (0, &[])
}

/// Name and body of the record at the beginning of the bytes, and its padded length.
fn parse(bytes: &[u8]) -> (&[u8], &[u8], usize) {
    let (name_len, rest) = split_len(bytes);
    let (name, rest) = rest.split_at(name_len.min(rest.len()));
    let (body_len, rest) = split_len(rest);
    let body = &rest[..body_len.min(rest.len())];
    let head = varint_len(name_len) + name_len + varint_len(body_len);
    (name, body, padded(head + body_len))
}

/// The text of a record's name.
fn text(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default()
}

impl Arena {
    /// Writes a record. None where the arena is full.
    pub(crate) fn push(&mut self, name: &str, body: &[u8]) -> Option<u32> {
        let length = record_len(name, body);
        let fits = |chunk: &Chunk| chunk.bytes.len() + length <= CHUNK_BYTES;
        if !self.chunks.get(self.current).is_some_and(fits) {
            self.current = match self.empty.pop() {
                Some(chunk) => chunk,
                None if self.chunks.len() < CHUNKS_MAX => {
                    self.chunks.push(Chunk::default());
                    self.chunks.len() - 1
                }
                None => return None,
            };
            let bytes = &mut self.chunks[self.current].bytes;
            bytes.reserve_exact(length.max(CHUNK_BYTES));
        }
        let bytes = &mut self.chunks[self.current].bytes;
        let at = bytes.len();
        put_text(bytes, name);
        put_unsigned(bytes, body.len() as u128);
        bytes.extend_from_slice(body);
        bytes.resize(at + length, 0);
        u32::try_from((self.current << CHUNK_BITS | at) / ALIGN).ok()
    }

    /// Writes a record in the place of another one of the same name, at the same address where it
    /// is as long. None where the arena is full; then the other one is still there.
    pub(crate) fn replace(&mut self, old: Option<u32>, name: &str, body: &[u8]) -> Option<u32> {
        let Some(old) = old else { return self.push(name, body) };
        let (chunk, at) = Self::split(old);
        let bytes = &mut self.chunks[chunk].bytes;
        if parse(&bytes[at..]).2 != record_len(name, body) {
            let new = self.push(name, body)?;
            self.kill(old);
            return Some(new);
        }
        // Behind the name stand the body's length, the body, and nothing that counts.
        let at = at + varint_len(name.len()) + name.len();
        let length_len = varint_len(body.len());
        let mut length = body.len();
        for byte in &mut bytes[at..at + length_len] {
            *byte = low_bits(length) | if length < 0x80 { 0 } else { 0x80 };
            length >>= 7;
        }
        let at = at + length_len;
        bytes[at..at + body.len()].copy_from_slice(body);
        Some(old)
    }

    fn split(address: u32) -> (usize, usize) {
        let at = address as usize * ALIGN;
        (at >> CHUNK_BITS, at & (CHUNK_BYTES - 1))
    }

    /// Name and body of the record at an address.
    pub(crate) fn get(&self, address: u32) -> (&str, &[u8]) {
        let (chunk, at) = Self::split(address);
        let (name, body, _) = parse(&self.chunks[chunk].bytes[at..]);
        (text(name), body)
    }

    /// Body of the record at an address, where the record is of this name. Its bytes are compared:
    /// whether they are UTF-8 need not be found out again for each event.
    pub(crate) fn body_of(&self, address: u32, name: &str) -> Option<&[u8]> {
        let (chunk, at) = Self::split(address);
        let (found, body, _) = parse(&self.chunks[chunk].bytes[at..]);
        (found == name.as_bytes()).then_some(body)
    }

    /// The record at an address is not needed any more.
    pub(crate) fn kill(&mut self, address: u32) {
        let (number, at) = Self::split(address);
        let chunk = &mut self.chunks[number];
        chunk.dead += parse(&chunk.bytes[at..]).2;
        if chunk.dead >= chunk.bytes.len() && number != self.current {
            self.free(number);
        }
    }

    fn free(&mut self, number: usize) {
        self.chunks[number] = Chunk::default();
        self.empty.push(number);
    }

    /// Takes out a chunk of which half is dead: its records with their addresses, dead ones too.
    /// The caller pushes those that live.
    pub(crate) fn take_sparse(&mut self) -> Option<SparseChunk> {
        let sparse = |chunk: &Chunk| chunk.dead > 0 && chunk.dead * 2 >= chunk.bytes.len();
        let number = (0..self.chunks.len())
            .find(|number| *number != self.current && sparse(&self.chunks[*number]))?;
        let bytes = std::mem::take(&mut self.chunks[number]).bytes;
        self.empty.push(number);
        Some(SparseChunk { bytes, first: number << CHUNK_BITS })
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.capacity()).sum::<usize>()
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.empty.capacity() * size_of::<usize>()
    }
}

/// A chunk that is taken out.
#[derive(Debug)]
pub(crate) struct SparseChunk {
    bytes: Vec<u8>,
    first: usize,
}

impl SparseChunk {
    /// Address, name and body of each record.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u32, &str, &[u8])> {
        let mut at = 0;
        std::iter::from_fn(move || {
            if at >= self.bytes.len() {
                return None;
            }
            let address = u32::try_from((self.first + at) / ALIGN).ok()?;
            let (name, body, length) = parse(&self.bytes[at..]);
            at += length.max(ALIGN);
            Some((address, text(name), body))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_replaced_where_it_is_if_it_is_as_long() {
        let mut arena = Arena::default();
        let first = arena.push("A1", &[1; 200]).unwrap();
        let next = arena.push("A2", &[2; 3]).unwrap();
        // A length of one byte instead of two, and padding, make up for three bytes.
        for (body, same) in [(vec![3; 201], true), (vec![4; 203], true), (vec![5; 120], false)] {
            let now = arena.replace(Some(first), "A1", &body).unwrap();
            assert_eq!((now == first, arena.get(now)), (same, ("A1", body.as_slice())));
            assert_eq!(arena.get(next), ("A2", [2; 3].as_slice()));
        }
    }

    #[test]
    fn records_come_back_and_sparse_chunks_give_theirs() {
        let mut arena = Arena::default();
        let body = |n: usize| vec![u8::try_from(n % 251).unwrap(); n % 300];
        let mut addresses = Vec::new();
        for n in 0..20_000 {
            addresses.push(arena.push(&format!("A{n:09}"), &body(n)).unwrap());
        }
        addresses.push(arena.push("large", &vec![7; CHUNK_BYTES * 2]).unwrap());
        addresses.push(arena.push("after", &[1]).unwrap());
        assert_eq!(arena.get(addresses[20_000]).1.len(), CHUNK_BYTES * 2);
        assert_eq!(arena.get(addresses[20_001]), ("after", [1].as_slice()));
        for (address, n) in addresses.iter().zip(0..20_000) {
            assert_eq!(arena.get(*address), (format!("A{n:09}").as_str(), body(n).as_slice()));
            if n % 2 == 0 || n < 9_000 {
                arena.kill(*address);
            }
        }
        let mut living = 0;
        while let Some(chunk) = arena.take_sparse() {
            for (address, name, body) in chunk.records() {
                let n: usize = name[1..].parse().unwrap();
                assert_eq!(addresses[n], address);
                if n % 2 == 1 && n >= 9_000 {
                    living += 1;
                    addresses[n] = arena.push(name, body).unwrap();
                }
            }
        }
        assert!(living > 1_000, "{living}");
        for n in (9_001..20_000).step_by(2) {
            assert_eq!(arena.get(addresses[n]).1, body(n));
        }
    }
}
