//! Reference data: each epoch is rated by the version that was named before it began, and every
//! version that is named can be had.

use std::collections::BTreeSet;

use tally_reference::ReferenceStore;
use tally_schemas::{EntryKind, ReferenceVersion};

use super::{Check, Finding};
use crate::ledger_view::PartitionLedger;

/// Every check of reference data.
pub(super) async fn all(ledgers: &[PartitionLedger], store: &ReferenceStore) -> Vec<Check> {
    vec![named_before(ledgers), still_there(ledgers, store).await]
}

fn named_before(ledgers: &[PartitionLedger]) -> Check {
    let mut finding = Finding::new(
        "I4",
        "each epoch is rated by the reference data that the entry before it names, and it only grows newer",
    );
    let mut epochs = 0_usize;
    for ledger in ledgers {
        for pair in ledger.entries.windows(2) {
            let (before, entry) = (&pair[0].entry, &pair[1].entry);
            // Releases from before there were editions name nothing.
            let (Some(named), Some(next)) = (&before.next_reference, &entry.next_reference) else {
                continue;
            };
            let place = format!("partition {} entry {}", entry.partition, entry.n);
            if entry.kind == EntryKind::Epoch {
                epochs += 1;
                finding.expect(entry.reference_version == named.to_string(), || {
                    format!("{place}: rated by {}, not by {named}", entry.reference_version)
                });
            }
            let follows = match entry.kind {
                EntryKind::Claim | EntryKind::Frozen => next == named,
                EntryKind::Epoch | EntryKind::Moved => next >= named,
            };
            finding.expect(follows, || {
                format!("{place}: names {next} for what comes next, after {named}")
            });
        }
    }
    finding.done(format!("{epochs} epochs of {} partitions", ledgers.len()))
}

async fn still_there(ledgers: &[PartitionLedger], store: &ReferenceStore) -> Check {
    let mut finding = Finding::new(
        "I4",
        "every version of the reference data that the ledger names is in the store, as it was",
    );
    let entries = ledgers.iter().flat_map(|ledger| &ledger.entries);
    let named: BTreeSet<(u64, &str)> = entries
        .filter_map(|stored| stored.entry.next_reference.as_ref())
        .map(|ReferenceVersion { edition, hash, .. }| (*edition, hash.as_str()))
        .collect();
    for (edition, hash) in &named {
        let whole = match store.edition(*edition).await {
            Ok(Some(stored)) if stored.read_at(0).hash == *hash => store.whole(stored).await,
            Ok(Some(stored)) => {
                let found = stored.hash;
                finding.add(format!("edition {edition}: has hash {found}, not {hash}"));
                continue;
            }
            Ok(None) => {
                finding.add(format!("edition {edition}: is missing"));
                continue;
            }
            Err(error) => Err(error),
        };
        if let Err(error) = whole {
            finding.add(format!("edition {edition}: {error}"));
        }
    }
    finding.done(format!("{} editions", named.len()))
}
