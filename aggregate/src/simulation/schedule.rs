//! Which reference data rated which part of the log, as the ledger says.

use tally_schemas::{EntryKind, LedgerEntry, ReferenceVersion};

use super::approvals::Approvals;
use super::invariants::Changes;
use crate::core::ReferenceData;

/// The reference data of each epoch that has records, by the offset after it.
#[derive(Debug)]
pub(super) struct Schedule {
    epochs: Vec<(u64, ReferenceData)>,
    last: ReferenceData,
}

impl Schedule {
    /// Reads the schedule from a ledger, which must follow it: what an entry names for what comes
    /// next is what the next epoch was rated by.
    pub(super) fn of(entries: &[LedgerEntry], approvals: &Approvals) -> Result<Self, String> {
        let mut epochs = Vec::new();
        let mut next: Option<ReferenceVersion> = None;
        for entry in entries {
            let n = entry.n;
            let named =
                entry.next_reference.clone().ok_or(format!("entry {n} names no version"))?;
            match (entry.kind, &next) {
                (EntryKind::Claim, Some(before)) if *before != named => {
                    return Err(format!("entry {n}: a claim changes {before} to {named}"));
                }
                (EntryKind::Claim, _) => {}
                (EntryKind::Epoch, Some(before))
                    if entry.reference_version == before.to_string() => {}
                (EntryKind::Epoch, before) => {
                    let rated_by = &entry.reference_version;
                    return Err(format!("entry {n} was rated by {rated_by}, not by {before:?}"));
                }
            }
            if entry.to > entry.from {
                let version = next.as_ref().and_then(|version| approvals.edition(version));
                let data = version.ok_or(format!("entry {n}: unknown reference data"))?;
                epochs.push((entry.to, data.clone()));
            }
            next = Some(named);
        }
        let last = next.as_ref().and_then(|version| approvals.edition(version)).cloned();
        Ok(Self { epochs, last: last.ok_or("the ledger names no reference data")? })
    }

    /// What a record was rated by.
    pub(super) fn at(&self, offset: u64) -> &ReferenceData {
        let epoch = self.epochs.iter().find(|(to, _)| offset < *to);
        epoch.map_or(&self.last, |(_, data)| data)
    }

    /// Whether it changed while records were rated.
    pub(super) fn changes(&self) -> Changes {
        let versions = self.epochs.iter().map(|(_, data)| &data.version);
        let mut versions = versions.chain([&self.last.version]);
        let first = versions.next();
        let same = versions.all(|version| Some(version) == first);
        if same { Changes::None } else { Changes::Some }
    }

    /// What comes next is rated by this.
    pub(super) fn last(&self) -> &ReferenceData {
        &self.last
    }
}
