//! Takes accepted events back, each once, and counts others in their stead.
//!
//! What an event was charged is not in the state, so the record that carries a correction out says
//! it. What the state knows is asked: that the event came, that it was not taken back before, and
//! that the event which asks for it is held back here. See `docs/adr/0020-corrections.md`.

use std::borrow::Cow;
use std::sync::Arc;

use tally_quota::Reversal;
use tally_schemas::{
    Amounts, Correction, CorrectionKind, CorrectionRequest, Currency, Flow, HeldPosition,
    ParsedEvent, RatedTotals, StoredRating, SuspenseReason, UsageCounts, UsageEvent, parse_event,
    partition_of, reversal_id,
};

use super::resolutions::Standing;
use super::{NeedSegments, Partition, Position, Raw};
use crate::core::dedupe::Verdict;
use crate::core::epoch::Epoch;
use crate::core::event_columns::{AcceptedEvent, RowCorrection, RowKind};
use crate::core::event_rating::EventRating;
use crate::core::held_payload::HeldPayload;
use crate::core::model_windows::Addition;
use crate::core::resolution_rows::{Recycled, ResolutionRow, Way};
use crate::core::subscriber_windows::{SubscriberKey, WindowedModel};
use crate::core::suspense_rows::SuspenseRow;
use crate::planted::{Bug, planted};

/// Position of the replacement within its record; that of the reversal is 0.
const REPLACEMENT_INDEX: u32 = 1;

/// An event that is taken back, and what dedupe knows it and its reversal by.
struct TakenBack<'a> {
    event: &'a UsageEvent<'a>,
    at_ms: i64,
    rating: Option<&'a StoredRating>,
    reversal: UsageEvent<'a>,
    reversal_hash: u64,
}

/// What came of a correction.
enum Outcome {
    CarriedOut,
    /// The same was carried out before.
    Repeated,
    Refused,
}

impl Partition {
    /// Hash of what an event says, and of which other it corrects.
    pub(super) fn content_of(&mut self, parsed: &ParsedEvent<'_>) -> u64 {
        let content = parsed.event.content_hash(&mut self.scratch);
        parsed.corrects.as_ref().map_or(content, |corrects| corrects.mixed_into(content))
    }

    /// Carries out a record that takes an event back. What cannot be carried out changes nothing and
    /// is counted; only a record that cannot be read is held back itself.
    pub(super) fn correction(
        &mut self,
        bytes: &[u8],
        event: &UsageEvent<'_>,
        position: Position,
    ) -> Result<(), NeedSegments> {
        let wrong = match Correction::parse(bytes) {
            Err(words) => words,
            Ok(record) => {
                let home = partition_of(&record.account, self.config.partition_count);
                if home == self.config.partition {
                    match self.correct(&record, position)? {
                        Outcome::CarriedOut => {}
                        Outcome::Repeated => self.epoch.totals.duplicate_commands += 1,
                        Outcome::Refused => self.epoch.totals.corrections_refused += 1,
                    }
                    return Ok(());
                }
                format!("belongs to partition {home}")
            }
        };
        let mut row = SuspenseRow::of(SuspenseReason::BadCommand, event);
        row.subreason = Some(format!("bad_command: {wrong}"));
        self.hold_back(row, position, Some(Raw::Bytes(bytes)), &UsageCounts::default());
        Ok(())
    }

    fn correct(
        &mut self,
        record: &Correction,
        position: Position,
    ) -> Result<Outcome, NeedSegments> {
        let parsed = parse_event(record.event.as_bytes());
        let event = &parsed.event;
        let whole = parsed.command.is_none()
            && parsed.corrects.is_none()
            && parsed.errors.is_empty()
            && event.account == record.account.as_str()
            && record.rating.is_some() == self.config.aggregate.rate;
        let Some(at_ms) = event.completed_at_ms.filter(|_| whole) else {
            return Ok(Outcome::Refused);
        };
        if self.out_of_place(event, at_ms, position).is_some() {
            return Ok(Outcome::Refused);
        }
        let identity = event.identity_hash(&mut self.scratch);
        let reversal = reversal_of(event, identity, record);
        let reversal_hash = reversal.identity_hash(&mut self.scratch);
        match self.look(reversal_hash, record.content_hash(), at_ms)? {
            Verdict::New => {}
            Verdict::Duplicate => return Ok(Outcome::Repeated),
            _ => return Ok(Outcome::Refused),
        }
        // Its content is not compared: the row says what was found out about the event, not what
        // came. That the row is as it was written is checked by `tally verify`.
        let is_known = self.dedupe.knows(identity, at_ms).map_err(|bucket| {
            let segments = self.dedupe.segments_of(bucket).to_vec();
            NeedSegments { bucket, segments }
        })?;
        if !is_known && !planted(Bug::UnknownTakenBack) {
            return Ok(Outcome::Refused);
        }
        let payload = record.request.as_ref().map(|request| HeldPayload::of(&request.raw));
        let asking = payload.as_ref().map(HeldPayload::parse);
        if let (Some(request), Some(asking)) = (&record.request, &asking)
            && !self.may_ask(request, asking, event)?
        {
            return Ok(Outcome::Refused);
        }
        let taken =
            TakenBack { event, at_ms, rating: record.rating.as_ref(), reversal, reversal_hash };
        if !self.take_back(&taken, position) {
            return Ok(Outcome::Refused);
        }
        if !planted(Bug::ReversalForgotten) {
            let content = record.content_hash();
            self.dedupe.note(taken.reversal_hash, content, at_ms, self.watermark_ms);
        }
        if let (Some(request), Some(asking)) = (&record.request, &asking) {
            self.count_request(record, request, asking, position);
        }
        Ok(Outcome::CarriedOut)
    }

    /// Whether the event that asks for a correction is about this event, and either waits for it
    /// here or is new.
    fn may_ask(
        &mut self,
        request: &CorrectionRequest,
        asking: &ParsedEvent<'_>,
        event: &UsageEvent<'_>,
    ) -> Result<bool, NeedSegments> {
        let about = asking.corrects.as_ref().is_some_and(|corrects| {
            (corrects.source.as_str(), corrects.id.as_str()) == (&*event.source, &*event.id)
        });
        // Of the same time, so that one bucket of dedupe knows of all of it.
        let whole = asking.command.is_none()
            && asking.errors.is_empty()
            && asking.event.account == event.account
            && asking.event.completed_at_ms == event.completed_at_ms;
        let Some(at_ms) = asking.event.completed_at_ms.filter(|_| about && whole) else {
            return Ok(false);
        };
        let identity = asking.event.identity_hash(&mut self.scratch);
        let content = self.content_of(asking);
        let seen = self.look(identity, content, at_ms)?;
        let Some(held) = request.held else { return Ok(seen == Verdict::New) };
        let reason = SuspenseReason::CorrectionPending;
        let standing = self.standing(held, reason, identity, at_ms)?;
        Ok(matches!(standing, Standing::Open) && seen == Verdict::Duplicate)
    }

    /// Posts the reversal of an event. False where its account is damaged, or the sums would leave
    /// what tables can hold; then nothing has changed.
    fn take_back(&mut self, taken: &TakenBack<'_>, position: Position) -> bool {
        let &TakenBack { event, at_ms, rating, ref reversal, .. } = taken;
        let amounts = rating.map_or(Amounts::default(), |rating| Amounts {
            points_micro: rating.points_micro,
            retail_pico: rating.retail_pico,
            wholesale_pico: rating.wholesale_pico,
        });
        let Some(sums) = self.amounts.plus(&amounts) else { return false };
        let mover = self.mover(position);
        if let Some(rating) = rating {
            let Epoch { quota_ledger, alerts, .. } = &mut self.epoch;
            let charged = Reversal {
                row: (&reversal.source, &reversal.id),
                account: &event.account,
                subscriber: event.subscriber(),
                completed_at_ms: at_ms,
                charges: &rating.charges,
            };
            let rows = (quota_ledger, alerts);
            if self.accounts.reverse(&charged, self.watermark_ms, rows, mover).is_err() {
                return false;
            }
        }
        self.amounts = sums;
        self.push_reversal(taken, amounts, position);
        true
    }

    /// The rows that take an event out of the sums of events and windows.
    fn push_reversal(&mut self, taken: &TakenBack<'_>, amounts: Amounts, position: Position) {
        let &TakenBack { event, at_ms, rating, ref reversal, .. } = taken;
        let negated = rating.and_then(|rating| {
            Some(EventRating {
                amounts: Amounts {
                    points_micro: -amounts.points_micro,
                    retail_pico: -amounts.retail_pico,
                    wholesale_pico: -amounts.wholesale_pico,
                },
                wholesale_currency: Currency::parse(&rating.wholesale_currency)?,
                wholesale_price_ids: Arc::from(rating.wholesale_price_ids.as_str()),
                retail_currency: rating.retail_currency,
                payers: rating.retail_price_ids.clone().unwrap_or_default(),
            })
        });
        let vendor = event.vendor.as_deref().unwrap_or_default();
        let book_version = rating.map_or("", |rating| &rating.price_book_version);
        let retail = negated.as_ref().and_then(|rating| rating.retail_currency);
        let wholesale = negated.as_ref().map(|rating| rating.wholesale_currency);
        let Epoch { events, subscriber_rows, model_rows, totals, .. } = &mut self.epoch;
        let known = events.push(&AcceptedEvent {
            event: reversal,
            vendor,
            supplier: event.supplier.as_deref().unwrap_or(vendor),
            billed_model: event.billed_model.as_deref().unwrap_or(&event.model),
            rating: negated.as_ref(),
            correction: Some(RowCorrection {
                kind: RowKind::Reversal { book_version },
                source: &event.source,
                id: &event.id,
            }),
            completed_at_ms: at_ms,
            offset: position.offset,
            batch_index: position.batch_index,
        });
        let addition = Addition { at_ms, counts: &event.usage, amounts };
        let key = SubscriberKey {
            account: &event.account,
            subscriber: event.subscriber(),
            what: WindowedModel {
                model: &event.model,
                vendor,
                retail_currency: retail.as_ref().map(Currency::code),
                wholesale_currency: wholesale.as_ref().map(Currency::code),
            },
            holder_hash: known.holder_hash,
        };
        self.subscriber_windows.take_back(key, addition, subscriber_rows);
        self.model_windows.take_back(known.model_key(), events.names(), addition, model_rows);
        let mut flow = Flow::default();
        flow.add(&event.usage);
        totals.corrected.flow.merge(&flow);
        let mut rated = RatedTotals::default();
        if let Some(wholesale) = wholesale {
            rated.points_micro = amounts.points_micro;
            rated.wholesale_pico.insert(wholesale, amounts.wholesale_pico);
            if let Some(retail) = retail {
                rated.retail_pico.insert(retail, amounts.retail_pico);
            }
        }
        totals.corrected.rated.merge(&rated);
    }

    /// Takes the event that asked for the correction: out of suspense where it waited there, and in
    /// the stead of the corrected one where it replaces it. One that cannot be rated is held back
    /// for that, and recycled once it can.
    fn count_request(
        &mut self,
        record: &Correction,
        request: &CorrectionRequest,
        asking: &ParsedEvent<'_>,
        position: Position,
    ) {
        let event = &asking.event;
        let (Some(at_ms), Some(corrects)) = (event.completed_at_ms, &asking.corrects) else {
            return;
        };
        let is_void = corrects.kind == CorrectionKind::Void;
        if let Some(held) = request.held {
            self.epoch.totals.recycled.add(&event.usage);
            self.epoch.totals.voids += u64::from(is_void);
            let row = ResolutionRow {
                held,
                reason: SuspenseReason::CorrectionPending,
                way: Way::Recycled(Recycled::Corrected),
                by: record.by.clone(),
                usage: event.usage,
                at_ms: position.timestamp_ms,
                offset: position.offset,
            };
            self.take_out(row, at_ms);
        } else if !is_void {
            self.epoch.totals.received.add(&event.usage);
            let identity = event.identity_hash(&mut self.scratch);
            let content = self.content_of(asking);
            self.dedupe.note(identity, content, at_ms, self.watermark_ms);
        }
        if is_void {
            return;
        }
        let position = Position { batch_index: REPLACEMENT_INDEX, ..position };
        if let Err(row) = self.take(event, asking.corrects.as_ref(), at_ms, position) {
            let identity = event.identity_hash(&mut self.scratch);
            self.mark_held(&row, position, identity);
            let raw = Some(Raw::Bytes(request.raw.as_bytes()));
            self.hold_row(*row, position, raw, &event.usage);
        }
    }

    /// Remembers that an event waits to correct another.
    pub(super) fn hold_correction(
        &mut self,
        parsed: &ParsedEvent<'_>,
        raw: Raw<'_>,
        position: Position,
        identity: u64,
    ) {
        let event = &parsed.event;
        let mut row = SuspenseRow::of(SuspenseReason::CorrectionPending, event);
        row.subreason = parsed.corrects.as_ref().map(|corrects| {
            format!("to {} {} of {}", corrects.kind.name(), corrects.id, corrects.source)
        });
        self.mark_held(&row, position, identity);
        self.hold_back(row, position, Some(raw), &event.usage);
    }

    /// The place of a row of this partition.
    pub(super) fn held_position(&self, position: Position) -> HeldPosition {
        HeldPosition {
            partition: self.config.partition,
            offset: position.offset,
            batch_index: position.batch_index,
        }
    }
}

/// The event that the row of a reversal shows: the corrected one under the reversal's id, with the
/// person and the reason as labels, and without the number that its gateway gave it.
fn reversal_of<'a>(
    event: &UsageEvent<'a>,
    identity: u64,
    record: &'a Correction,
) -> UsageEvent<'a> {
    let label = |key: &'static str, text: &'a str| (Cow::Borrowed(key), Cow::Borrowed(text));
    UsageEvent {
        id: Cow::Owned(reversal_id(identity)),
        gateway_epoch: None,
        gateway_seq: None,
        labels: vec![label("corrected_by", &record.by), label("why", &record.why)],
        ..event.clone()
    }
}
