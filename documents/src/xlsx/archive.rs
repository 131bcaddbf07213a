//! A ZIP archive whose bytes depend on what is in it alone: its members have no time.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use crate::error::DocumentError;

/// The first day that the format can name; a member needs one.
const FIRST_DAY: u16 = (1 << 5) | 1;
/// The version of the format that a reader must know: deflate.
const VERSION: u16 = 20;
const DEFLATE: u16 = 8;

/// An archive that is being written.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    members: u16,
}

fn too_large<E>(_: E) -> DocumentError {
    DocumentError::Format("the workbook is larger than its archive format can hold".to_owned())
}

impl Archive {
    /// Adds a member.
    pub(super) fn add(&mut self, name: &str, content: &str) -> Result<(), DocumentError> {
        let format = |error: std::io::Error| DocumentError::Format(error.to_string());
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(content.as_bytes()).map_err(format)?;
        let packed = encoder.finish().map_err(format)?;
        let mut crc = Crc::new();
        crc.update(content.as_bytes());

        let offset = u32::try_from(self.bytes.len()).map_err(too_large)?;
        let name_bytes = u16::try_from(name.len()).map_err(too_large)?;
        // What both headers have.
        let mut facts = Vec::new();
        for field in [VERSION, 0, DEFLATE, 0, FIRST_DAY] {
            facts.extend(field.to_le_bytes());
        }
        facts.extend(crc.sum().to_le_bytes());
        facts.extend(u32::try_from(packed.len()).map_err(too_large)?.to_le_bytes());
        facts.extend(u32::try_from(content.len()).map_err(too_large)?.to_le_bytes());
        facts.extend(name_bytes.to_le_bytes());
        facts.extend(0_u16.to_le_bytes());

        self.bytes.extend(b"PK\x03\x04");
        self.bytes.extend(&facts);
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(&packed);

        self.directory.extend(b"PK\x01\x02");
        self.directory.extend(VERSION.to_le_bytes());
        self.directory.extend(&facts);
        // No comment, the first disk, no attributes.
        self.directory.extend([0; 10]);
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.members = self.members.checked_add(1).ok_or_else(|| too_large(()))?;
        Ok(())
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, DocumentError> {
        let offset = u32::try_from(self.bytes.len()).map_err(too_large)?;
        let length = u32::try_from(self.directory.len()).map_err(too_large)?;
        self.bytes.append(&mut self.directory);
        self.bytes.extend(b"PK\x05\x06\0\0\0\0");
        self.bytes.extend(self.members.to_le_bytes());
        self.bytes.extend(self.members.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(offset.to_le_bytes());
        self.bytes.extend(0_u16.to_le_bytes());
        Ok(self.bytes)
    }
}
