//! How far runs get: a simulation that never seals a bucket would hold as well.

use std::collections::BTreeSet;

use tally_schemas::{EntryKind, LedgerEntry};

use super::invariants::Objects;
use super::oracle::Truth;
use super::world::World;

/// How much of the machinery a run has reached.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Reach {
    pub(super) entries: u64,
    pub(super) claims: u64,
    pub(super) fenced: u64,
    pub(super) bases: u64,
    pub(super) segments: u64,
    pub(super) segments_read: u64,
    pub(super) late_rows: u64,
    pub(super) accepted: u64,
    pub(super) suspended: u64,
    pub(super) duplicates: u64,
    pub(super) recycled: u64,
    pub(super) written_off: u64,
    pub(super) corrected: u64,
    pub(super) corrections_refused: u64,
    /// Alerts that had to be sent.
    pub(super) alerts: u64,
    pub(super) reference_changes: u64,
    /// Records that name reference data and change nothing: of two owners, or forged.
    pub(super) reference_repeats: u64,
    pub(super) statuses: u64,
}

impl Reach {
    /// Counts what lies in the store after a run.
    pub(super) fn count(
        &mut self,
        objects: &Objects,
        entries: &[LedgerEntry],
        truth: &Truth,
        world: &World,
    ) {
        let with = |part: &str| objects.keys().filter(|path| path.contains(part)).count() as u64;
        self.entries += entries.len() as u64;
        self.claims += entries.iter().filter(|e| e.kind == EntryKind::Claim).count() as u64;
        self.bases = with("/base-");
        self.segments = with("/segments/");
        self.segments_read = world.inside().reads_below("/segments/");
        self.late_rows += truth.by_subscriber.keys().filter(|key| key.1).count() as u64;
        self.accepted += truth.accepted.events.unsigned_abs();
        self.suspended += truth.suspended.events.unsigned_abs();
        self.duplicates += truth.duplicates.events.unsigned_abs();
        self.recycled += truth.recycled.events.unsigned_abs();
        self.written_off += truth.written_off.events.unsigned_abs();
        self.corrected += truth.corrected.events.unsigned_abs();
        self.corrections_refused += truth.corrections_refused;
        let rated = |entry: &&LedgerEntry| entry.to > entry.from;
        let versions: BTreeSet<&str> =
            entries.iter().filter(rated).map(|entry| entry.reference_version.as_str()).collect();
        self.reference_changes += versions.len().saturating_sub(1) as u64;
    }

    /// Adds what another run has reached.
    pub(super) fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.claims += other.claims;
        self.fenced += other.fenced;
        self.bases += other.bases;
        self.segments += other.segments;
        self.segments_read += other.segments_read;
        self.late_rows += other.late_rows;
        self.accepted += other.accepted;
        self.suspended += other.suspended;
        self.duplicates += other.duplicates;
        self.recycled += other.recycled;
        self.written_off += other.written_off;
        self.corrected += other.corrected;
        self.corrections_refused += other.corrections_refused;
        self.alerts += other.alerts;
        self.reference_changes += other.reference_changes;
        self.reference_repeats += other.reference_repeats;
        self.statuses += other.statuses;
    }
}
