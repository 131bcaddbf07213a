//! What the ledger alone shows: I1, I3, I11.

use std::collections::BTreeSet;

use tally_aggregate::ledger::StoredEntry;
use tally_schemas::{ControlTotals, EntryKind, LedgerEntry, Table};

use super::{Check, Finding};
use crate::ledger_view::PartitionLedger;

/// Every check of the ledger.
pub(super) fn all(ledgers: &[PartitionLedger]) -> Vec<Check> {
    vec![
        conservation(ledgers),
        chain(ledgers),
        offsets(ledgers),
        owners(ledgers),
        watermarks(ledgers),
        file_rows(ledgers),
    ]
}

fn entries(ledgers: &[PartitionLedger]) -> String {
    let count: usize = ledgers.iter().map(|ledger| ledger.entries.len()).sum();
    format!("{count} entries of {} partitions", ledgers.len())
}

fn place(entry: &LedgerEntry) -> String {
    format!("partition {} entry {}", entry.partition, entry.n)
}

/// Each entry that still exists, with the one before it.
fn pairs(ledger: &PartitionLedger) -> impl Iterator<Item = (Option<&StoredEntry>, &StoredEntry)> {
    let before = std::iter::once(None).chain(ledger.entries.iter().map(Some));
    before.zip(&ledger.entries)
}

fn conservation(ledgers: &[PartitionLedger]) -> Check {
    let mut finding = Finding::new(
        "I1",
        "received + recycled = accepted + suspended + duplicates + voids in events and tokens of each class, in every ledger entry and cumulatively",
    );
    for ledger in ledgers {
        for (before, StoredEntry { entry, .. }) in pairs(ledger) {
            finding.expect(entry.totals.conserved(), || {
                format!("{}: its totals do not add up", place(entry))
            });
            finding.expect(entry.cumulative.conserved(), || {
                format!("{}: its cumulative totals do not add up", place(entry))
            });
            let mut expected = match before {
                Some(before) => before.entry.cumulative.clone(),
                None if entry.n == 0 => ControlTotals::default(),
                None => continue,
            };
            expected.merge(&entry.totals);
            finding.expect(expected == entry.cumulative, || {
                format!("{}: cumulative totals are not those before plus its own", place(entry))
            });
        }
    }
    finding.done(entries(ledgers))
}

fn chain(ledgers: &[PartitionLedger]) -> Check {
    let mut finding = Finding::new("I3", "each ledger entry carries the hash of the one before it");
    for ledger in ledgers {
        for (before, StoredEntry { entry, .. }) in pairs(ledger) {
            match before {
                Some(before) => finding.expect(entry.previous == before.hash, || {
                    format!("{}: not the hash of entry {}", place(entry), before.entry.n)
                }),
                None => finding.expect(entry.n > 0 || entry.previous.is_empty(), || {
                    format!("{}: the first entry names one before it", place(entry))
                }),
            }
        }
    }
    finding.done(entries(ledgers))
}

fn offsets(ledgers: &[PartitionLedger]) -> Check {
    let mut finding =
        Finding::new("I3", "offset ranges of a partition are disjoint and leave no gap");
    let lasts = || ledgers.iter().filter_map(|of| of.entries.last()).map(|stored| &stored.entry);
    let waiting = not_moved(ledgers);
    finding.expect(waiting.is_empty(), || {
        format!(
            "partitions {waiting:?} have no entry of the topic that the stream was moved to: the change of the partition count is not carried out"
        )
    });
    let mut counts = lasts().filter(|last| !last.is_left_behind(lasts()));
    if let Some(first) = counts.next().filter(|_| waiting.is_empty()) {
        let of = |entry: &LedgerEntry| (entry.partition_count, entry.log.clone());
        finding.expect(counts.all(|last| of(last) == of(first)), || {
            "the partitions are not of the same topic and partition count".to_owned()
        });
    }
    for ledger in ledgers {
        if ledger.floor > 0 && ledger.entries.is_empty() {
            finding.add(format!(
                "partition {}: its ledger begins at entry {}, which is missing",
                ledger.partition, ledger.floor
            ));
        }
        for (before, StoredEntry { entry, .. }) in pairs(ledger) {
            finding.expect(entry.from <= entry.to, || {
                format!("{}: from {} is beyond to {}", place(entry), entry.from, entry.to)
            });
            if entry.kind == EntryKind::Moved {
                finding.expect(begins_its_topic(entry, ledgers), || {
                    format!("{}: does not begin above all that was before", place(entry))
                });
            } else if let Some(StoredEntry { entry: before, .. }) = before {
                finding.expect(entry.from == before.to, || {
                    format!(
                        "{}: starts at offset {}, the entry before it ended at {}",
                        place(entry),
                        entry.from,
                        before.to
                    )
                });
                let of = |entry: &LedgerEntry| (entry.partition_count, entry.log.clone());
                finding.expect(of(entry) == of(before), || {
                    format!("{}: of another topic or partition count by itself", place(entry))
                });
            }
        }
    }
    finding.done(entries(ledgers))
}

/// The partitions of the topic that the stream was moved to which have no entry of it.
pub(super) fn not_moved(ledgers: &[PartitionLedger]) -> Vec<u32> {
    let lasts = || ledgers.iter().filter_map(|of| of.entries.last()).map(|stored| &stored.entry);
    let Some(newest) = LedgerEntry::newest_topic(lasts()) else { return Vec::new() };
    let there: BTreeSet<u32> =
        lasts().filter(|last| last.log == newest.log).map(|last| last.partition).collect();
    (0..newest.partition_count).filter(|partition| !there.contains(partition)).collect()
}

/// Whether the first entry of a topic is where the topic begins, and that is above every offset of
/// the topics before it, in all partitions: so positions name one record each, and rise.
fn begins_its_topic(moved: &LedgerEntry, ledgers: &[PartitionLedger]) -> bool {
    let Some(log) = &moved.log else { return false };
    let is_earlier = |entry: &LedgerEntry| {
        entry.log.as_ref().is_none_or(|at| at.first_offset < log.first_offset)
    };
    let mut earlier = ledgers
        .iter()
        .flat_map(|ledger| &ledger.entries)
        .map(|stored| &stored.entry)
        .filter(|entry| is_earlier(entry));
    (moved.from, moved.to) == (log.first_offset, log.first_offset)
        && earlier.all(|entry| entry.to < log.first_offset)
}

fn owners(ledgers: &[PartitionLedger]) -> Check {
    let mut finding = Finding::new(
        "I3",
        "the owner of a partition changes only by a claim, which changes nothing else",
    );
    for ledger in ledgers {
        for (before, StoredEntry { entry, .. }) in pairs(ledger) {
            if entry.kind != EntryKind::Epoch {
                let nothing = entry.files.is_empty()
                    && entry.from == entry.to
                    && entry.totals == ControlTotals::default();
                finding.expect(nothing, || format!("{}: a claim with contents", place(entry)));
                finding
                    .expect((entry.kind == EntryKind::Frozen) == entry.moving_to.is_some(), || {
                        format!("{}: is not frozen, and goes elsewhere", place(entry))
                    });
            }
            let Some(StoredEntry { entry: before, .. }) = before else {
                let begins = matches!(entry.kind, EntryKind::Claim | EntryKind::Moved);
                finding.expect(entry.n > 0 || begins, || {
                    format!("{}: the first entry is not a claim", place(entry))
                });
                continue;
            };
            match entry.kind {
                EntryKind::Epoch => finding.expect(entry.owner == before.owner, || {
                    format!(
                        "{}: written by {}, but {} owned the partition",
                        place(entry),
                        entry.owner,
                        before.owner
                    )
                }),
                EntryKind::Claim | EntryKind::Frozen => {
                    finding.expect(entry.state == before.state, || {
                        format!("{}: a claim that changes the state", place(entry))
                    });
                }
                EntryKind::Moved => finding.expect(before.kind == EntryKind::Frozen, || {
                    format!("{}: moved, and was not frozen", place(entry))
                }),
            }
        }
    }
    finding.done(entries(ledgers))
}

fn watermarks(ledgers: &[PartitionLedger]) -> Check {
    let mut finding = Finding::new("I11", "the watermark of a partition only rises");
    for ledger in ledgers {
        for (before, StoredEntry { entry, .. }) in pairs(ledger) {
            let Some(StoredEntry { entry: before, .. }) = before else { continue };
            finding.expect(entry.watermark_ms >= before.watermark_ms, || {
                format!(
                    "{}: {:?} after {:?}",
                    place(entry),
                    entry.watermark_ms,
                    before.watermark_ms
                )
            });
        }
    }
    finding.done(entries(ledgers))
}

/// Rows that an entry's files have in a table.
pub(super) fn rows_in_files(entry: &LedgerEntry, table: Table) -> u64 {
    entry.files.iter().filter(|file| file.table == table.name()).map(|file| file.rows).sum()
}

fn file_rows(ledgers: &[PartitionLedger]) -> Check {
    let mut finding = Finding::new(
        "I1",
        "the files of each ledger entry have one row an accepted, a corrected, a suspended and a resolved event",
    );
    for stored in ledgers.iter().flat_map(|ledger| &ledger.entries) {
        let entry = &stored.entry;
        for (table, events) in [
            (Table::UsageEvents, entry.totals.accepted.events + entry.totals.corrected.flow.events),
            (Table::Suspense, entry.totals.suspended.events),
            (Table::SuspenseResolutions, entry.totals.resolved_events()),
        ] {
            let rows = rows_in_files(entry, table);
            finding.expect(rows == events, || {
                format!("{}: {events} events, {rows} rows of {}", place(entry), table.name())
            });
        }
    }
    finding.done(entries(ledgers))
}
