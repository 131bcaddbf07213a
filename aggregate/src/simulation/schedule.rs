//! Which reference data rates which part of a log: what the first owner began with, and from each
//! record on that names a newer version that was approved, that. The ledger must say the same.

use std::collections::BTreeSet;

use tally_schemas::{EntryKind, LedgerEntry, ReferenceVersion};

use super::approvals::Approvals;
use super::simulated_log::{Content, Logged, SimulatedLog};
use crate::core::ReferenceData;

/// The reference data of each part of a log.
#[derive(Debug)]
pub(super) struct Schedule {
    first: ReferenceData,
    /// Offsets of the records that change it, and to what.
    changes: Vec<(u64, ReferenceData)>,
    /// Offsets of those that name what nobody approved.
    refused: BTreeSet<u64>,
    repeats: u64,
}

impl Schedule {
    /// Reads the schedule from a log, and checks that the ledger follows it.
    pub(super) fn of(
        log: &SimulatedLog,
        entries: &[LedgerEntry],
        approvals: &Approvals,
    ) -> Result<Self, String> {
        let first = entries.first().and_then(|entry| entry.next_reference.as_ref());
        let first = first.and_then(|version| approvals.edition(version)).cloned();
        let first = first.ok_or("entry 0 names no reference data")?;
        let (changes, refused, repeats) = (Vec::new(), BTreeSet::new(), 0);
        let mut schedule = Self { first, changes, refused, repeats };
        let records = log.records();
        for record in &records {
            if let Content::Reference(version) = &record.content {
                schedule.named(record, version, approvals);
            }
        }
        schedule.check(&records, entries)?;
        Ok(schedule)
    }

    fn named(&mut self, record: &Logged, version: &ReferenceVersion, approvals: &Approvals) {
        let current = &self.last().version;
        let is_newer = version.known_at_ms == current.known_at_ms
            && version.edition > current.edition
            && version.known_at_ms <= record.timestamp_ms;
        match approvals.edition(version) {
            Some(data) if is_newer => self.changes.push((record.offset, data.clone())),
            None if is_newer => {
                self.refused.insert(record.offset);
            }
            _ => self.repeats += 1,
        }
    }

    /// What each entry says must be what the log says: by what its records were rated, and by what
    /// the next one is.
    fn check(&self, records: &[Logged], entries: &[LedgerEntry]) -> Result<(), String> {
        let mut next: Option<&ReferenceVersion> = None;
        for entry in entries {
            let n = entry.n;
            let named =
                entry.next_reference.as_ref().ok_or(format!("entry {n} names no version"))?;
            match (entry.kind, next) {
                (EntryKind::Claim, Some(before)) if before != named => {
                    return Err(format!("entry {n}: a claim changes {before} to {named}"));
                }
                (EntryKind::Claim | EntryKind::Frozen | EntryKind::Moved, _) => {}
                (EntryKind::Epoch, Some(before))
                    if entry.reference_version == before.to_string() => {}
                (EntryKind::Epoch, before) => {
                    let rated_by = &entry.reference_version;
                    return Err(format!("entry {n} was rated by {rated_by}, not by {before:?}"));
                }
            }
            let of_entry = records.iter().filter(|r| (entry.from..entry.to).contains(&r.offset));
            for record in of_entry {
                let must = self.at(record.offset).version.to_string();
                if entry.reference_version != must {
                    let (is, at) = (&entry.reference_version, record.offset);
                    return Err(format!("entry {n}: {at} was rated by {is}, must be by {must}"));
                }
            }
            // A record that changes it may be the next to be read, and ends the epoch before it.
            let after = records.iter().find(|r| r.offset >= entry.to);
            let after = after.map_or(self.last(), |r| self.at(r.offset));
            let before = self.before(entry.to);
            if *named != after.version && *named != before.version {
                let must = &after.version;
                return Err(format!("entry {n} names {named} for what comes next, not {must}"));
            }
            next = Some(named);
        }
        Ok(())
    }

    /// What a record was rated by.
    pub(super) fn at(&self, offset: u64) -> &ReferenceData {
        let change = self.changes.iter().rev().find(|(from, _)| *from <= offset);
        change.map_or(&self.first, |(_, data)| data)
    }

    /// What the records before an offset were rated by in the end.
    fn before(&self, offset: u64) -> &ReferenceData {
        let change = self.changes.iter().rev().find(|(from, _)| *from < offset);
        change.map_or(&self.first, |(_, data)| data)
    }

    /// Whether a record names what nobody approved.
    pub(super) fn refuses(&self, offset: u64) -> bool {
        self.refused.contains(&offset)
    }

    /// How many records named what was in use already, or what is not to be used.
    pub(super) fn repeats(&self) -> u64 {
        self.repeats
    }

    /// What comes next is rated by this.
    pub(super) fn last(&self) -> &ReferenceData {
        self.changes.last().map_or(&self.first, |(_, data)| data)
    }
}
