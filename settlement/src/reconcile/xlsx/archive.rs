//! The parts of a workbook by name. The `zip` crate reads the archive, and checks each part against
//! its sum and its size.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::broken;
use crate::reconcile::rows::Stop;

/// Largest part that is unpacked: a full sheet of a million rows is smaller.
const PART_MAX_BYTES: u64 = 1 << 30;

#[derive(Debug)]
pub(super) struct Archive<'a>(ZipArchive<Cursor<&'a [u8]>>);

impl<'a> Archive<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Stop> {
        let archive = ZipArchive::new(Cursor::new(bytes));
        archive.map(Self).map_err(|error| {
            broken(format!("the file is no workbook: its list of parts cannot be read: {error}"))
        })
    }

    /// A part as text.
    pub(super) fn text(&mut self, name: &str) -> Result<String, Stop> {
        self.optional_text(name)?
            .ok_or_else(|| broken(format!("the workbook has no part {name:?}")))
    }

    pub(super) fn optional_text(&mut self, name: &str) -> Result<Option<String>, Stop> {
        let damaged = |why: &dyn std::fmt::Display| {
            broken(format!("part {name:?} of the workbook is damaged: {why}"))
        };
        let part = match self.0.by_name(name) {
            Ok(part) => part,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(damaged(&error)),
        };
        let size = part.size();
        if size > PART_MAX_BYTES {
            return Err(broken(format!("part {name:?} of the workbook is larger than 1 GiB")));
        }
        let mut text = String::new();
        // One byte more than told, so that a part that does not end there is noticed.
        part.take(size + 1).read_to_string(&mut text).map_err(|error| damaged(&error))?;
        if u64::try_from(text.len()).ok() != Some(size) {
            return Err(damaged(&"its length is not the one that is told"));
        }
        Ok(Some(text))
    }
}
