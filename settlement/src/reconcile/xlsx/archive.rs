//! The ZIP archive that a workbook is: parts by name, checked against their sums.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::broken;
use crate::reconcile::rows::Stop;

/// Largest part that is unpacked: a full sheet of a million rows is smaller.
const PART_MAX_BYTES: u64 = 1 << 30;

/// How the last record of an archive begins, and its length without the comment.
const END: (&[u8], usize) = (b"PK\x05\x06", 22);

#[derive(Debug)]
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    parts: BTreeMap<String, Part>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    method: u16,
    crc: u32,
    packed: usize,
    size: u64,
    header: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    u32_at(bytes, at).and_then(|length| usize::try_from(length).ok())
}

impl<'a> Archive<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Stop> {
        let parts = directory(bytes)
            .ok_or_else(|| broken("the file is no workbook: its list of parts cannot be read"))?;
        Ok(Self { bytes, parts })
    }

    /// A part as text.
    pub(super) fn text(&self, name: &str) -> Result<String, Stop> {
        self.optional_text(name)?
            .ok_or_else(|| broken(format!("the workbook has no part {name:?}")))
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<String>, Stop> {
        let Some(part) = self.parts.get(name) else { return Ok(None) };
        let damaged = || broken(format!("part {name:?} of the workbook is damaged"));
        if part.size > PART_MAX_BYTES {
            return Err(broken(format!("part {name:?} of the workbook is larger than 1 GiB")));
        }
        let packed = self.packed(part).ok_or_else(damaged)?;
        let mut text = Vec::new();
        let unpacked = match part.method {
            0 => packed.take(part.size + 1).read_to_end(&mut text),
            // One byte more than told, so that a part that does not end there is noticed.
            8 => DeflateDecoder::new(packed).take(part.size + 1).read_to_end(&mut text),
            method => {
                return Err(broken(format!("part {name:?} is packed by method {method}")));
            }
        };
        let mut crc = Crc::new();
        crc.update(&text);
        let whole = u64::try_from(text.len()).is_ok_and(|length| length == part.size);
        if unpacked.is_err() || !whole || crc.sum() != part.crc {
            return Err(damaged());
        }
        String::from_utf8(text).map(Some).map_err(|_| damaged())
    }

    fn packed(&self, part: &Part) -> Option<&'a [u8]> {
        let header = self.bytes.get(part.header..)?;
        header.starts_with(b"PK\x03\x04").then_some(())?;
        let name = usize::from(u16_at(header, 26)?);
        let extra = usize::from(u16_at(header, 28)?);
        header.get(30 + name + extra..)?.get(..part.packed)
    }
}

/// The parts, from the directory at the end of the archive.
fn directory(bytes: &[u8]) -> Option<BTreeMap<String, Part>> {
    let (signature, length) = END;
    let last = bytes.len().checked_sub(length)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let end = (first..=last).rev().find(|at| bytes[*at..].starts_with(signature))?;
    let count = u16_at(bytes, end + 10)?;
    let mut at = length_at(bytes, end + 16)?;
    let mut parts = BTreeMap::new();
    for _ in 0..count {
        let entry = bytes.get(at..)?;
        entry.starts_with(b"PK\x01\x02").then_some(())?;
        let name_length = usize::from(u16_at(entry, 28)?);
        let name = std::str::from_utf8(entry.get(46..46 + name_length)?).ok()?;
        let part = Part {
            method: u16_at(entry, 10)?,
            crc: u32_at(entry, 16)?,
            packed: length_at(entry, 20)?,
            size: u64::from(u32_at(entry, 24)?),
            header: length_at(entry, 42)?,
        };
        parts.insert(name.to_owned(), part);
        let rest = usize::from(u16_at(entry, 30)?) + usize::from(u16_at(entry, 32)?);
        at = at.checked_add(46 + name_length + rest)?;
    }
    Some(parts)
}
