//! Records in temporary files, apart by their keys: the keys of a file are a range, and the ranges
//! of the files follow each other, so that reading one file after the other goes through the keys
//! in the same order whatever the number of files.

use std::io::{self, Read, Write};

use super::record::{Key, Record, Side, record_key, record_length};
use super::{CompareBug, planted};

/// Where temporary files are kept. The crate itself does no I/O: the edge hands a folder in, tests
/// memory.
pub trait Shelf {
    /// Starts a file.
    ///
    /// # Errors
    /// What the machine says.
    fn create(&mut self, name: &str) -> io::Result<Box<dyn Write>>;

    /// Opens a file that was written.
    ///
    /// # Errors
    /// What the machine says.
    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read>>;

    /// Throws a file away.
    ///
    /// # Errors
    /// What the machine says.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// Bytes that are collected before a file is written.
const BUFFER_BYTES: usize = 64 << 10;

/// The keys of a file: their upper 64 bits are in `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyRange {
    from: u128,
    to: u128,
}

impl KeyRange {
    /// Every key.
    pub(crate) const ALL: Self = Self { from: 0, to: 1 << 64 };

    /// Which of `parts` equal parts of the range a key is in.
    fn part(&self, key: Key, parts: u32) -> usize {
        let offset = (key >> 64).saturating_sub(self.from);
        let part = offset * u128::from(parts) / (self.to - self.from);
        usize::try_from(part).unwrap_or(usize::MAX).min(part_last(parts))
    }

    /// A part of the range.
    fn sub(&self, part: u32, parts: u32) -> Self {
        let width = self.to - self.from;
        let edge = |part: u32| {
            // The first offset that `part` maps to this part or a later one.
            self.from + (u128::from(part) * width).div_ceil(u128::from(parts))
        };
        Self { from: edge(part), to: edge(part + 1) }
    }

    /// Whether it can be divided.
    pub(crate) const fn is_divisible(&self) -> bool {
        self.to - self.from > 1
    }
}

fn part_last(parts: u32) -> usize {
    usize::try_from(parts).unwrap_or(1).saturating_sub(1)
}

/// One file of a side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpoolFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) range: KeyRange,
}

struct Partition {
    file: Box<dyn Write>,
    buffer: Vec<u8>,
    bytes: u64,
}

/// The records of one side while they are written.
pub struct Spool {
    prefix: String,
    range: KeyRange,
    parts: u32,
    partitions: Vec<Partition>,
    scratch: Vec<u8>,
    /// Records that were added.
    pub records: u64,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Spool {
    /// Starts the files of a side.
    ///
    /// # Errors
    /// What the shelf says.
    pub fn new(shelf: &mut dyn Shelf, side: Side, parts: u32) -> io::Result<Self> {
        let prefix = match side {
            Side::Ours => "ours",
            Side::Theirs => "theirs",
        };
        Self::in_range(shelf, prefix.to_owned(), KeyRange::ALL, parts.max(1))
    }

    fn in_range(
        shelf: &mut dyn Shelf,
        prefix: String,
        range: KeyRange,
        parts: u32,
    ) -> io::Result<Self> {
        let partitions: io::Result<Vec<Partition>> = (0..parts)
            .map(|part| {
                let file = shelf.create(&format!("{prefix}.{part}"))?;
                Ok(Partition { file, buffer: Vec::new(), bytes: 0 })
            })
            .collect();
        let partitions = partitions?;
        Ok(Self { prefix, range, parts, partitions, scratch: Vec::new(), records: 0 })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// What writing ran into.
    pub fn add(&mut self, record: &Record<'_>) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        record.write(&mut scratch);
        let added = self.add_bytes(&scratch);
        self.scratch = scratch;
        added
    }

    fn add_bytes(&mut self, record: &[u8]) -> io::Result<()> {
        let key = record_key(record).unwrap_or_default();
        let part = self.range.part(key, self.parts);
        let Some(partition) = self.partitions.get_mut(part) else { return Ok(()) };
        if partition.buffer.len() + record.len() > BUFFER_BYTES {
            partition.file.write_all(&partition.buffer)?;
            partition.buffer.clear();
        }
        partition.buffer.extend_from_slice(record);
        partition.bytes += u64::try_from(record.len()).unwrap_or(0);
        self.records += 1;
        Ok(())
    }

    /// Ends the files.
    pub(crate) fn finish(mut self) -> io::Result<Vec<SpoolFile>> {
        let mut files = Vec::with_capacity(self.partitions.len());
        for (part, partition) in (0..self.parts).zip(&mut self.partitions) {
            if !planted(CompareBug::BufferLost) {
                partition.file.write_all(&partition.buffer)?;
            }
            partition.file.flush()?;
            files.push(SpoolFile {
                name: format!("{}.{part}", self.prefix),
                bytes: partition.bytes,
                range: self.range.sub(part, self.parts),
            });
        }
        Ok(files)
    }
}

/// Reads a whole file and throws it away.
pub(crate) fn take(shelf: &mut dyn Shelf, file: &SpoolFile) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(file.bytes).unwrap_or(0));
    shelf.open(&file.name)?.read_to_end(&mut bytes)?;
    shelf.remove(&file.name)?;
    Ok(bytes)
}

/// Divides a file into smaller ones by the keys.
pub(crate) fn divide(
    shelf: &mut dyn Shelf,
    file: &SpoolFile,
    parts: u32,
) -> io::Result<Vec<SpoolFile>> {
    let mut smaller = Spool::in_range(shelf, file.name.clone(), file.range, parts)?;
    let mut input = io::BufReader::with_capacity(BUFFER_BYTES, shelf.open(&file.name)?);
    let mut record = Vec::new();
    loop {
        record.resize(2, 0);
        match input.read_exact(&mut record) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            other => other?,
        }
        let length = record_length(&record).unwrap_or(2);
        record.resize(length, 0);
        input.read_exact(&mut record[2..])?;
        smaller.add_bytes(&record)?;
    }
    drop(input);
    shelf.remove(&file.name)?;
    smaller.finish()
}

/// Temporary files in memory.
#[derive(Debug, Default)]
pub struct MemoryShelf(std::sync::Arc<std::sync::Mutex<Files>>);

type Files = std::collections::BTreeMap<String, Vec<u8>>;

struct MemoryFile(std::sync::Arc<std::sync::Mutex<Files>>, String);

fn poisoned<T>(_: T) -> io::Error {
    io::Error::other("another user of the memory shelf panicked")
}

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut files = self.0.lock().map_err(poisoned)?;
        files.entry(self.1.clone()).or_default().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shelf for MemoryShelf {
    fn create(&mut self, name: &str) -> io::Result<Box<dyn Write>> {
        self.0.lock().map_err(poisoned)?.insert(name.to_owned(), Vec::new());
        Ok(Box::new(MemoryFile(std::sync::Arc::clone(&self.0), name.to_owned())))
    }

    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read>> {
        let files = self.0.lock().map_err(poisoned)?;
        let bytes = files.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(bytes)))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.lock().map_err(poisoned)?.remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_are_ranges_that_follow_each_other(
            key in any::<u128>(),
            parts in 1..300_u32,
            again in 1..300_u32,
        ) {
            let part = KeyRange::ALL.part(key, parts);
            let part = u32::try_from(part).unwrap();
            let range = KeyRange::ALL.sub(part, parts);
            let upper = key >> 64;
            prop_assert!(range.from <= upper && upper < range.to);
            let inner = u32::try_from(range.part(key, again)).unwrap();
            let range = range.sub(inner, again);
            prop_assert!(range.from <= upper && upper < range.to);
        }
    }
}
