//! Takes held-back events out of suspense, each once: recycles them, or writes them off.
//!
//! A record is not trusted. Whether a row is held back here, and for what, dedupe remembers beside
//! the identity of its event; and that it was taken out, once it is. See
//! `docs/adr/0018-suspense.md`.

use tally_reference::same_person;
use tally_schemas::{
    HeldPosition, Recycle, Recycling, Resolution, SuspenseReason, UsageCounts, UsageEvent, WriteOff,
};
use xxhash_rust::xxh3::xxh3_64;

use super::{NeedSegments, Partition, Position, Raw};
use crate::core::dedupe::Verdict;
use crate::core::held_payload::HeldPayload;
use crate::core::resolution_rows::{Recycled, ResolutionRow, Way};
use crate::core::suspense_rows::SuspenseRow;
use crate::planted::{Bug, planted};

/// The content under which a position is remembered as taken out, whatever took it out: nothing
/// does so twice.
const TAKEN_OUT: u64 = 1;

/// The content of the mark of a held-back event: for what reason, and which event.
fn held_content(reason: SuspenseReason, identity: u64) -> u64 {
    let mut bytes = [0; 64];
    let name = reason.as_str().as_bytes();
    let length = name.len().min(bytes.len() - 8);
    bytes[..length].copy_from_slice(&name[..length]);
    bytes[56..].copy_from_slice(&identity.to_le_bytes());
    xxh3_64(&bytes)
}

/// Whether a row can be taken out.
pub(super) enum Standing {
    Open,
    TakenOut,
    /// Not held back here, not for this, or by another event.
    Unknown,
}

impl Partition {
    /// Remembers that an event whose identity is noted is held back for want of reference data, or
    /// until a correction is carried out.
    pub(super) fn mark_held(&mut self, row: &SuspenseRow, position: Position, identity: u64) {
        let Some(at_ms) = row.completed_at_ms else { return };
        if row.reason.is_marked() {
            let held = self.held_position(position);
            let content = held_content(row.reason, identity);
            self.dedupe.note(held.held_hash(), content, at_ms, self.watermark_ms);
        }
    }

    /// Carries out a record that takes a row out of suspense. What cannot be carried out leaves the
    /// row open, and is counted; only a record that cannot be read is held back itself.
    pub(super) fn resolution(
        &mut self,
        bytes: &[u8],
        event: &UsageEvent<'_>,
        position: Position,
    ) -> Result<(), NeedSegments> {
        let count = self.config.partition_count;
        let wrong = match Resolution::parse(bytes) {
            Err(words) => words,
            Ok(record) if record.home(count) != self.config.partition => {
                format!("belongs to partition {}", record.home(count))
            }
            Ok(Resolution::WriteOff(off)) if same_person(&off.by, &off.approved_by) => {
                "approved_by: somebody else must approve it (four eyes)".to_owned()
            }
            Ok(Resolution::Recycle(recycle)) => return self.recycle(&recycle, position),
            Ok(Resolution::WriteOff(off)) => return self.write_off(off, position),
        };
        let mut row = SuspenseRow::of(SuspenseReason::BadCommand, event);
        row.subreason = Some(format!("bad_command: {wrong}"));
        self.hold_back(row, position, Some(Raw::Bytes(bytes)), &UsageCounts::default());
        Ok(())
    }

    fn recycle(&mut self, recycle: &Recycle, position: Position) -> Result<(), NeedSegments> {
        let payload = HeldPayload::of(&recycle.raw);
        let parsed = payload.parse();
        let event = &parsed.event;
        let elsewhere = recycle.position.partition != self.config.partition;
        // Of what came by a topic with another number of partitions the partition says nothing.
        let came_before = recycle.position.offset < self.topic_begins_at;
        let whole = parsed.command.is_none()
            && parsed.errors.is_empty()
            && event.account == recycle.account.as_str()
            && (came_before || elsewhere == (recycle.reason == SuspenseReason::WrongPartition));
        let Some(at_ms) = event.completed_at_ms.filter(|_| whole) else {
            return self.leave_open();
        };
        if self.out_of_place(event, at_ms, position).is_some() {
            return self.leave_open();
        }
        let identity = event.identity_hash(&mut self.scratch);
        let content = self.content_of(&parsed);
        let how = recycle.reason.recycling();
        // What corrects another is carried out with it, and is no usage before that.
        if parsed.corrects.is_some() && how != Recycling::Again {
            return self.leave_open();
        }
        match self.standing(recycle.position, recycle.reason, identity, at_ms)? {
            Standing::Open => {}
            Standing::TakenOut => return self.taken_out_before(),
            Standing::Unknown => return self.leave_open(),
        }
        let seen = self.look(identity, content, at_ms)?;
        let outcome = match (how, seen) {
            // Judged when it was held back; that nobody else came under its identity since, and
            // that this is what came, is what the same content says.
            (Recycling::Again, Verdict::Duplicate) | (Recycling::AsNew, Verdict::New) => {
                let as_of_ms =
                    if planted(Bug::RecycledAsOfItsRecord) { position.timestamp_ms } else { at_ms };
                if self.take(event, parsed.corrects.as_ref(), as_of_ms, position).is_err() {
                    return self.leave_open();
                }
                Recycled::Accepted
            }
            (Recycling::AsNew, Verdict::Duplicate) => {
                self.epoch.totals.duplicates.add(&event.usage);
                Recycled::Duplicate
            }
            _ => return self.leave_open(),
        };
        if seen == Verdict::New {
            self.dedupe.note(identity, content, at_ms, self.watermark_ms);
        }
        self.epoch.totals.recycled.add(&event.usage);
        self.take_out(
            ResolutionRow {
                held: recycle.position,
                reason: recycle.reason,
                way: Way::Recycled(outcome),
                by: recycle.by.clone(),
                usage: event.usage,
                at_ms: position.timestamp_ms,
                offset: position.offset,
            },
            at_ms,
        );
        Ok(())
    }

    fn write_off(&mut self, off: WriteOff, position: Position) -> Result<(), NeedSegments> {
        let WriteOff { position: held, reason, at_ms, usage, .. } = off;
        let horizon_ms = self.config.aggregate.dedupe_horizon_days.cast_signed() * 86_400_000;
        // Beyond the horizon it is not remembered whether the row was taken out.
        if position.timestamp_ms.saturating_sub(at_ms) > horizon_ms {
            return self.leave_open();
        }
        let named = UsageEvent {
            source: off.source.unwrap_or_default().into(),
            id: off.id.unwrap_or_default().into(),
            ..UsageEvent::default()
        };
        let identity = named.identity_hash(&mut self.scratch);
        match self.standing(held, reason, identity, at_ms)? {
            Standing::Open => {}
            Standing::TakenOut => return self.taken_out_before(),
            Standing::Unknown => return self.leave_open(),
        }
        self.epoch.totals.written_off.add(&usage);
        let way = Way::WrittenOff { why: off.why, approved_by: off.approved_by };
        self.take_out(
            ResolutionRow {
                held,
                reason,
                way,
                by: off.by,
                usage,
                at_ms: position.timestamp_ms,
                offset: position.offset,
            },
            at_ms,
        );
        Ok(())
    }

    /// How a row stands. `at_ms` is the end of its call, or where that is not known when it came:
    /// the time under which dedupe keeps what it remembers of the row.
    pub(super) fn standing(
        &self,
        held: HeldPosition,
        reason: SuspenseReason,
        identity: u64,
        at_ms: i64,
    ) -> Result<Standing, NeedSegments> {
        if self.look(held.resolved_hash(), TAKEN_OUT, at_ms)? != Verdict::New {
            return Ok(Standing::TakenOut);
        }
        let content = held_content(reason, identity);
        let mark = self.look(held.held_hash(), content, at_ms)?;
        let must_be = if reason.is_marked() { Verdict::Duplicate } else { Verdict::New };
        let as_told = mark == must_be || planted(Bug::HeldMarkNotAsked);
        Ok(if as_told { Standing::Open } else { Standing::Unknown })
    }

    /// What dedupe says, never [`Verdict::Need`].
    pub(super) fn look(&self, id: u64, content: u64, at_ms: i64) -> Result<Verdict, NeedSegments> {
        match self.dedupe.look(id, content, at_ms, self.watermark_ms) {
            Verdict::Need(bucket) => {
                let segments = self.dedupe.segments_of(bucket).to_vec();
                Err(NeedSegments { bucket, segments })
            }
            verdict => Ok(verdict),
        }
    }

    pub(super) fn take_out(&mut self, row: ResolutionRow, at_ms: i64) {
        if !planted(Bug::TakenOutForgotten) {
            let id = row.held.resolved_hash();
            self.dedupe.note(id, TAKEN_OUT, at_ms, self.watermark_ms);
        }
        let by_reason = &mut self.epoch.totals.resolved_by_reason;
        *by_reason.entry(row.reason.as_str().to_owned()).or_default() += 1;
        self.epoch.resolutions.push(row);
    }

    fn taken_out_before(&mut self) -> Result<(), NeedSegments> {
        self.epoch.totals.duplicate_commands += 1;
        Ok(())
    }

    fn leave_open(&mut self) -> Result<(), NeedSegments> {
        self.epoch.totals.left_open += 1;
        Ok(())
    }
}
