//! One partition's state machine: records in, an epoch out. A pure function of the state, the
//! records and the reference data, so that a replay is identical.

mod charging;
mod control_total;
mod corrections;
mod parting;
mod references;
mod resolutions;
mod statuses;
mod stored_state;

use std::sync::Arc;

use tally_log::{Record, RecordKind};
use tally_rating::attribute;
use tally_schemas::{
    AggregateConfig, Amounts, CONTROL_TOTAL, CORRECT, ControlTotals, Corrects, Currency, LogClock,
    LogPlace, ParsedEvent, RECYCLE, ReferenceVersion, SuspenseReason, UsageCounts, UsageEvent,
    WRITE_OFF, parse_event,
};

pub(crate) use self::parting::WholeState;
pub use self::statuses::QuotaPicture;
use self::statuses::StatusClock;
use crate::core::base_policy::BasePolicy;
use crate::core::batch_reader::{NotProtobuf, parse_message, split_batch};
use crate::core::dedupe::{Dedupe, DedupeLimits, Segment, SegmentRef, Verdict};
use crate::core::epoch::{ClosedEpoch, Epoch, EpochState, SpareColumns};
use crate::core::event_columns::{AcceptedEvent, RowCorrection, RowKind};
use crate::core::event_rating::{EventRater, ReferenceData};
use crate::core::last_outcome::LastOutcome;
use crate::core::message_text::message_text;
use crate::core::model_windows::{Addition, ModelWindows};
use crate::core::notice::Notice;
use crate::core::quota_rows::Cause;
use crate::core::quota_stage::{Mover, QuotaStage};
use crate::core::reference_record::REFERENCE;
use crate::core::state_codec::{BadState, decode_segment, encode_segment};
#[cfg(test)]
use crate::core::subscriber_windows::OpenWindow;
use crate::core::subscriber_windows::{SubscriberKey, SubscriberWindows, WindowedModel};
use crate::core::suspense_rows::{SuspenseRow, raw_text};
use crate::core::tick::TICK;
use crate::planted::{Bug, planted};

/// Largest record that is read; a larger one is held back whole.
const RECORD_MAX_BYTES: usize = 16 << 20;

/// Which partition this is and how it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionConfig {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Partitions of the topic.
    pub partition_count: u32,
    /// The topic that offsets are of, where it is not the one that the ledger is named after.
    pub log: Option<LogPlace>,
    /// Settings of the stream.
    pub aggregate: AggregateConfig,
}

/// What a record needs before it can be taken. Nothing is lost: push the same record again
/// afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A sealed bucket's segments.
    Segments(NeedSegments),
    /// What follows is rated by this version: [`Partition::close`] the epoch, which names it for
    /// what comes next, and [`Partition::set_reference`] it; or, where nobody approved such a
    /// version, [`Partition::refuse_reference`] it.
    Reference(ReferenceVersion),
}

impl From<NeedSegments> for Need {
    fn from(need: NeedSegments) -> Self {
        Self::Segments(need)
    }
}

/// The record needs a sealed bucket's segments: load them, [`Partition::provide`] them, and push
/// the same record again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedSegments {
    /// The bucket.
    pub bucket: i64,
    /// Its segments.
    pub segments: Vec<SegmentRef>,
}

/// Whether a state object holds everything, or only what one epoch changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateForm {
    Base,
    Delta,
}

/// Bytes of loaded segments that are kept; in tests so few that they are let go and loaded again.
const SEGMENTS_KEPT_BYTES: usize = if cfg!(test) { 512 } else { 64 << 20 };

/// Hash in hex.
pub(crate) fn blake3_hex(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// One partition.
#[derive(Clone)]
pub struct Partition {
    config: PartitionConfig,
    reference: ReferenceData,
    /// What the next record names and nobody approved, and why.
    refused: Option<(ReferenceVersion, String)>,
    rater: EventRater,
    accounts: QuotaStage,
    dedupe: Dedupe,
    subscriber_windows: SubscriberWindows,
    model_windows: ModelWindows,
    newest_ms: Option<i64>,
    watermark_ms: Option<i64>,
    clock: Option<LogClock>,
    status_clock: StatusClock,
    cumulative: ControlTotals,
    /// Absolute sums of what every event since the first offset came to, whatever the currency: as
    /// long as tables hold these, they hold every other sum.
    amounts: Amounts,
    next: u64,
    /// The first offset of the topic; what has a lower one came by another topic, and was of
    /// whatever partition its account had then.
    topic_begins_at: u64,
    epoch: Epoch,
    /// Events of the current record that were judged before it needed segments.
    done_of_record: u32,
    policy: BasePolicy,
    /// Columns for the next epoch.
    spare: SpareColumns,
    /// Bytes to be hashed.
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition")
            .field("partition", &self.config.partition)
            .field("next", &self.next)
            .field("watermark_ms", &self.watermark_ms)
            .finish_non_exhaustive()
    }
}

/// Where an event lies in the log.
#[derive(Clone, Copy)]
struct Position {
    offset: u64,
    timestamp_ms: i64,
    batch_index: u32,
}

/// The payload of one event, for `suspense.raw`.
#[derive(Clone, Copy)]
enum Raw<'a> {
    Bytes(&'a [u8]),
    Message(&'a [u8]),
}

impl Partition {
    /// A partition without state, at `next`.
    pub fn new(config: PartitionConfig, reference: ReferenceData, next: u64) -> Self {
        let settings = &config.aggregate;
        let dedupe = Dedupe::new(dedupe_limits(settings));
        let follows_numbers = settings.status_numbers_ms > 0;
        let open_max = usize::try_from(settings.windows_open_max_bytes).unwrap_or(usize::MAX);
        Self {
            subscriber_windows: SubscriberWindows::new(
                settings.subscriber_window_ms.cast_signed().max(1),
                open_max,
            ),
            model_windows: ModelWindows::new(settings.model_window_ms.cast_signed().max(1)),
            epoch: Epoch::new(next, SpareColumns::default()),
            spare: SpareColumns::default(),
            config,
            rater: EventRater::new(Arc::clone(&reference.card)),
            accounts: QuotaStage::new(Arc::clone(&reference.packages), follows_numbers),
            reference,
            refused: None,
            dedupe,
            newest_ms: None,
            watermark_ms: None,
            clock: None,
            status_clock: StatusClock::default(),
            cumulative: ControlTotals::default(),
            amounts: Amounts::default(),
            next,
            topic_begins_at: 0,
            done_of_record: 0,
            policy: BasePolicy::default(),
            scratch: Vec::new(),
        }
    }

    /// Next offset to be read.
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// What became of the last record, which was a single event.
    pub(crate) fn last_outcome(&self) -> LastOutcome {
        let offset = self.next.saturating_sub(1);
        if let Some(row) = self.epoch.events.last_of(offset) {
            return LastOutcome::Accepted(row);
        }
        match self.epoch.suspense.last_of(offset) {
            Some(row) => LastOutcome::HeldBack {
                reason: row.reason.as_str().to_owned(),
                why: row.subreason.clone(),
            },
            None => LastOutcome::Duplicate,
        }
    }

    /// Commands carried out since the epoch began, control totals and ticks.
    pub(crate) fn commands_carried_out(&self) -> u64 {
        self.epoch.totals.commands + self.epoch.totals.ticks
    }

    /// Whether there is anything to commit. Records without rows count too: their offsets must
    /// move on (I14).
    pub fn has_uncommitted(&self) -> bool {
        if planted(Bug::EmptyEpochSkipped) {
            return self.epoch.events.len() + self.epoch.suspense.len() > 0;
        }
        self.epoch.totals.records > 0 || self.epoch.subscriber_rows.len() > 0
    }

    /// Writes the open windows that end by `until_ms`, whatever the watermark is: where nothing
    /// comes that would raise it. What comes for them later is added in further rows. Tells
    /// whether there were any.
    pub fn write_windows(&mut self, until_ms: i64) -> bool {
        self.subscriber_windows.write_until(until_ms, &mut self.epoch.subscriber_rows)
    }

    /// Events read since the epoch began, out of suspense too.
    pub fn epoch_events(&self) -> u64 {
        let totals = &self.epoch.totals;
        totals.received.events + totals.resolved_events()
    }

    /// Bytes of rows gathered since the epoch began, roughly.
    pub fn epoch_bytes(&self) -> usize {
        self.epoch.events.memory_bytes()
            + self.epoch.subscriber_rows.memory_bytes()
            + self.epoch.model_rows.memory_bytes()
            + self.epoch.suspense.memory_bytes()
            + self.epoch.control_totals.memory_bytes()
            + self.epoch.resolutions.memory_bytes()
            + self.epoch.quota_ledger.memory_bytes()
            + self.epoch.alerts.memory_bytes()
            + self.model_windows.memory_bytes()
    }

    /// Bytes of state: open dedupe buckets and open windows.
    pub fn state_bytes(&self) -> usize {
        self.dedupe.memory_bytes()
            + self.subscriber_windows.memory_bytes()
            + self.accounts.quota.memory_bytes()
    }

    /// Ids in open dedupe buckets and open subscriber windows.
    pub fn state_sizes(&self) -> (usize, usize) {
        (self.dedupe.open_ids(), self.subscriber_windows.len())
    }

    /// The open subscriber windows one by one.
    #[cfg(test)]
    pub(crate) fn open_windows(&self) -> impl Iterator<Item = OpenWindow<'_>> {
        self.subscriber_windows.open_windows()
    }

    /// What time it is in the log when the clock says `now_ms`: the newest time that a record told,
    /// and what has passed since that record came. So the time of a log that is replayed from the
    /// past goes on from where it is, and does not jump to the clock. None before the first event
    /// or command.
    pub(crate) fn log_time_ms(&self, now_ms: i64) -> Option<i64> {
        let LogClock { at_ms, logged_at_ms } = self.clock?;
        let passed_ms = now_ms.saturating_sub(logged_at_ms).max(0);
        Some(at_ms.saturating_add(passed_ms).min(now_ms))
    }

    /// A watermark before which nothing is due by time alone; none where nothing ever is.
    pub(crate) fn next_due_ms(&self) -> Option<i64> {
        self.accounts.quota.next_due_ms()
    }

    /// The watermark.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark_ms
    }

    /// Hands over the loaded bytes of a bucket's segments, in the order of the request.
    ///
    /// # Errors
    /// Where a segment does not parse.
    pub(crate) fn provide(
        &mut self,
        bucket: i64,
        segments: &[bytes::Bytes],
    ) -> Result<(), BadState> {
        let mut loaded: Vec<Segment> = Vec::with_capacity(segments.len());
        for bytes in segments {
            loaded.push(Arc::new(decode_segment(bytes)?));
        }
        self.dedupe.provide(bucket, loaded);
        Ok(())
    }

    /// Processes one record. Offsets below the next one are ignored, so that a record may be
    /// offered twice.
    ///
    /// # Errors
    /// What it needs: nothing is lost, push the same record again afterwards.
    pub fn push(&mut self, record: Record<'_>) -> Result<(), Need> {
        if record.offset < self.next {
            return Ok(());
        }
        let position =
            Position { offset: record.offset, timestamp_ms: record.timestamp_ms, batch_index: 0 };
        self.see_record(record.timestamp_ms);
        match (record.value, record.kind) {
            (None, _) => self.hold_back(
                SuspenseRow::of(SuspenseReason::Tombstone, &Default::default()),
                position,
                None,
                &UsageCounts::default(),
            ),
            (Some(value), _) if value.len() > RECORD_MAX_BYTES => {
                let mut row = SuspenseRow::of(SuspenseReason::TooLarge, &Default::default());
                row.subreason = Some(format!("{} bytes, at most {RECORD_MAX_BYTES}", value.len()));
                self.hold_back(row, position, Some(Raw::Bytes(value)), &UsageCounts::default());
            }
            (Some(value), RecordKind::Single) => {
                self.event(&parse_event(value), Raw::Bytes(value), position)?;
            }
            (Some(value), RecordKind::Batch) => match split_batch(value) {
                Err(NotProtobuf(why)) => {
                    let mut row = SuspenseRow::of(SuspenseReason::Malformed, &Default::default());
                    row.subreason = Some(format!("malformed: not a UsageBatch: {why}"));
                    self.hold_back(row, position, Some(Raw::Bytes(value)), &UsageCounts::default());
                }
                Ok(events) => {
                    for (index, message) in (0_u32..).zip(events) {
                        if index < self.done_of_record {
                            continue;
                        }
                        let position = Position { batch_index: index, ..position };
                        self.event(&parse_message(message), Raw::Message(message), position)?;
                        self.done_of_record = index + 1;
                    }
                }
            },
        }
        self.hash_record(&record);
        self.done_of_record = 0;
        self.next = record.offset + 1;
        self.epoch.totals.records += 1;
        Ok(())
    }

    fn hash_record(&mut self, record: &Record<'_>) {
        let hash = &mut self.epoch.hash;
        let key = record.key.unwrap_or_default();
        let mut head = [0_u8; 25];
        head[..8].copy_from_slice(&record.offset.to_le_bytes());
        head[8..16].copy_from_slice(&record.timestamp_ms.to_le_bytes());
        head[16..24].copy_from_slice(&(key.len() as u64).to_le_bytes());
        head[24] = u8::from(record.value.is_some())
            | u8::from(record.kind == RecordKind::Batch) << 1
            | u8::from(record.key.is_some()) << 2;
        hash.update(&head);
        hash.update(key);
        hash.update(record.value.unwrap_or_default());
    }

    fn event(
        &mut self,
        parsed: &ParsedEvent<'_>,
        raw: Raw<'_>,
        position: Position,
    ) -> Result<(), Need> {
        let ParsedEvent { event, errors, command, .. } = parsed;
        if let Some(command) = command {
            return match raw {
                Raw::Bytes(bytes) if command == TICK => {
                    self.tick(bytes, event, position);
                    Ok(())
                }
                Raw::Bytes(bytes) if command == REFERENCE => {
                    self.reference_record(bytes, event, position)
                }
                Raw::Bytes(bytes) if command == CONTROL_TOTAL => {
                    Ok(self.control_total(bytes, event, position)?)
                }
                Raw::Bytes(bytes) if command == RECYCLE || command == WRITE_OFF => {
                    Ok(self.resolution(bytes, event, position)?)
                }
                Raw::Bytes(bytes) if command == CORRECT => {
                    Ok(self.correction(bytes, event, position)?)
                }
                _ => Ok(self.command(command, event, raw, position)?),
            };
        }
        let counts = event.usage;
        let row = errors.first().map(|first| {
            let mut row = SuspenseRow::of(first.code.reason(), event);
            let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
            row.subreason = Some(words.join("; "));
            row
        });
        // What could not be read to its end must not stand for its identity: the whole event may
        // follow, and would be dropped as its duplicate.
        let readable = !errors.iter().any(|e| e.code.reason() == SuspenseReason::Malformed);
        let identified = readable
            && !event.source.is_empty()
            && !event.id.is_empty()
            && !event.account.is_empty();
        let Some(completed_at_ms) = event.completed_at_ms.filter(|_| identified) else {
            let row =
                row.unwrap_or_else(|| SuspenseRow::of(SuspenseReason::MissingIdentity, event));
            self.hold_back(row, position, Some(raw), &counts);
            return Ok(());
        };
        if let Some(row) = self.out_of_place(event, completed_at_ms, position) {
            self.hold_back(row, position, Some(raw), &counts);
            return Ok(());
        }
        let watermark = self.watermark_ms;
        let identity = event.identity_hash(&mut self.scratch);
        let content = self.content_of(parsed);
        match self.dedupe.judge(identity, content, completed_at_ms, watermark) {
            Verdict::New => {}
            Verdict::Duplicate => {
                self.epoch.totals.received.add(&counts);
                self.epoch.totals.duplicates.add(&counts);
                return Ok(());
            }
            Verdict::Conflict => {
                let mut row = SuspenseRow::of(SuspenseReason::ConflictingDuplicate, event);
                row.subreason =
                    Some("same source and id as an earlier event, other content".into());
                self.hold_back(row, position, Some(raw), &counts);
                return Ok(());
            }
            Verdict::Need(bucket) => {
                let segments = self.dedupe.segments_of(bucket).to_vec();
                return Err(NeedSegments { bucket, segments }.into());
            }
        }
        if let Some(row) = row {
            self.hold_back(row, position, Some(raw), &counts);
            return Ok(());
        }
        if parsed.corrects.is_some() {
            self.hold_correction(parsed, raw, position, identity);
            return Ok(());
        }
        match self.take(event, None, completed_at_ms, position) {
            Ok(()) => self.epoch.totals.received.add(&counts),
            Err(row) => {
                self.mark_held(&row, position, identity);
                self.hold_back(*row, position, Some(raw), &counts);
            }
        }
        Ok(())
    }

    /// Rates, charges and accepts an event, which may replace another.
    ///
    /// # Errors
    /// The row that says why it is held back; then nothing is charged.
    fn take(
        &mut self,
        event: &UsageEvent<'_>,
        replaces: Option<&Corrects>,
        completed_at_ms: i64,
        position: Position,
    ) -> Result<(), Box<SuspenseRow>> {
        let card = self.rater.card();
        let Some(attribution) = attribute(&card, event, completed_at_ms) else {
            let mut row = SuspenseRow::of(SuspenseReason::UnknownModel, event);
            row.subreason =
                Some(format!("no vendor given and no alias for model {:?}", event.model));
            return Err(Box::new(row));
        };
        let rating =
            self.rate(event, &attribution, completed_at_ms, position).map_err(|unrated| {
                let mut row = SuspenseRow::of(unrated.reason, event);
                row.subreason = Some(unrated.what);
                Box::new(row)
            })?;
        self.see_clock(completed_at_ms, position.timestamp_ms);
        self.accept(&AcceptedEvent {
            event,
            vendor: attribution.vendor,
            supplier: attribution.supplier,
            billed_model: attribution.billed_model,
            rating: rating.as_ref(),
            correction: replaces.map(|corrects| RowCorrection {
                kind: RowKind::Replacement,
                source: &corrects.source,
                id: &corrects.id,
            }),
            completed_at_ms,
            offset: position.offset,
            batch_index: position.batch_index,
        });
        if let Some(rating) = rating {
            self.accounts.reuse(rating.payers);
        }
        Ok(())
    }

    fn accept(&mut self, accepted: &AcceptedEvent<'_>) {
        let event = accepted.event;
        let at_ms = accepted.completed_at_ms;
        let totals = &mut self.epoch.totals;
        totals.accepted.add(&event.usage);
        let mut amounts = Amounts::default();
        if let Some(rating) = accepted.rating {
            amounts = rating.amounts;
            totals.rated.points_micro += amounts.points_micro;
            *totals.rated.wholesale_pico.entry(rating.wholesale_currency).or_default() +=
                amounts.wholesale_pico;
            if let Some(currency) = rating.retail_currency {
                *totals.rated.retail_pico.entry(currency).or_default() += amounts.retail_pico;
            }
        }
        let retail = accepted.rating.and_then(|rating| rating.retail_currency);
        let wholesale = accepted.rating.map(|rating| rating.wholesale_currency);
        let addition = Addition { at_ms, counts: &event.usage, amounts };
        let Epoch { events, subscriber_rows, model_rows, .. } = &mut self.epoch;
        let known = events.push(accepted);
        let key = SubscriberKey {
            account: &event.account,
            subscriber: event.subscriber(),
            what: WindowedModel {
                model: &event.model,
                vendor: accepted.vendor,
                retail_currency: retail.as_ref().map(Currency::code),
                wholesale_currency: wholesale.as_ref().map(Currency::code),
            },
            holder_hash: known.holder_hash,
        };
        let model = [known.model, known.vendor, known.retail_currency, known.wholesale_currency];
        self.subscriber_windows.add(key, model, addition, subscriber_rows);
        let (names, watermark) = (events.names(), self.watermark_ms);
        self.model_windows.add(known.model_key(), names, watermark, addition, model_rows);
    }

    /// Raises the watermark: the newest event time less the lateness (I11).
    fn see_time(&mut self, at_ms: i64) {
        if self.newest_ms.is_some_and(|newest| newest >= at_ms) && !planted(Bug::WatermarkFalls) {
            return;
        }
        self.newest_ms = Some(at_ms);
        let watermark = at_ms - self.config.aggregate.lateness_ms.cast_signed();
        self.watermark_ms = Some(watermark);
        self.subscriber_windows.advance(watermark, &mut self.epoch.subscriber_rows);
        // What the watermark lets go of must not be looked at as of before it.
        self.accounts.quota.see_clock(watermark);
    }

    fn mover(&self, position: Position) -> Mover {
        let Position { offset, timestamp_ms, batch_index } = position;
        let cause = Cause { offset, batch_index };
        Mover { cause, partition: self.config.partition, logged_at_ms: timestamp_ms }
    }

    /// Notes the time that an accepted event, or a command that was carried out, tells. One from
    /// the future tells no more than when it came.
    fn see_clock(&mut self, at_ms: i64, logged_at_ms: i64) {
        let at_ms = at_ms.min(logged_at_ms);
        if self.clock.is_none_or(|clock| at_ms > clock.at_ms) {
            self.clock = Some(LogClock { at_ms, logged_at_ms });
        }
    }

    /// Holds a row back that came from the log.
    fn hold_back(
        &mut self,
        row: SuspenseRow,
        position: Position,
        raw: Option<Raw<'_>>,
        counts: &UsageCounts,
    ) {
        self.epoch.totals.received.add(counts);
        self.hold_row(row, position, raw, counts);
    }

    fn hold_row(
        &mut self,
        mut row: SuspenseRow,
        position: Position,
        raw: Option<Raw<'_>>,
        counts: &UsageCounts,
    ) {
        let totals = &mut self.epoch.totals;
        totals.suspended.add(counts);
        *totals.suspended_by_reason.entry(row.reason.as_str().to_owned()).or_default() += 1;
        row.first_seen_ms = position.timestamp_ms;
        row.offset = position.offset;
        row.batch_index = position.batch_index;
        row.raw = raw.map(|raw| match raw {
            Raw::Bytes(bytes) => raw_text(bytes),
            Raw::Message(bytes) => message_text(bytes),
        });
        if !planted(Bug::SuspenseRowLost) {
            self.epoch.suspense.push(row);
        }
    }

    /// Takes an equal share of the limits of memory, which are of a process that holds so many
    /// partitions; looked at when an epoch ends. What is kept open and what is sealed early differs
    /// with it, what comes out does not.
    pub fn share_memory(&mut self, partitions: usize) {
        let settings = &self.config.aggregate;
        let share = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX) / partitions.max(1);
        self.dedupe.bound_memory(share(settings.dedupe_open_max_bytes));
        self.subscriber_windows.bound_memory(share(settings.windows_open_max_bytes));
    }

    /// Takes what is to be said at once, in its order: what came of the records since the last
    /// time. Before [`Partition::close`], so that all of it belongs to the epoch that closes.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.accounts.notices)
    }

    /// Takes the columns of a stored epoch for the next one.
    pub fn reuse(&mut self, spare: SpareColumns) {
        self.spare = spare;
    }

    /// Ends the epoch: moves out what it gathered, seals the dedupe buckets that are due, writes
    /// the state object. The next epoch begins at once.
    pub fn close(&mut self) -> ClosedEpoch {
        let spare = std::mem::take(&mut self.spare);
        let next = Epoch::new(self.next, spare);
        let mut epoch = std::mem::replace(&mut self.epoch, next);
        self.model_windows.end_epoch(epoch.events.names(), &mut epoch.model_rows);
        self.subscriber_windows.end_epoch(&mut epoch.subscriber_rows);
        let sealed = self.dedupe.end_epoch(self.watermark_ms);
        let mut segments = Vec::with_capacity(sealed.len());
        let mut seals = Vec::with_capacity(sealed.len());
        for bucket in sealed {
            let bytes = encode_segment(&bucket.ids);
            let hash = blake3_hex(&bytes);
            let path = segment_path(&self.config, bucket.bucket, &hash);
            let file =
                tally_schemas::StateFile { path: path.clone(), bytes: bytes.len() as u64, hash };
            let segment = SegmentRef { file, ids: bucket.ids.len() as u64 };
            self.dedupe.note_segment(bucket.bucket, segment.clone());
            seals.push((bucket.bucket, segment));
            segments.push((path, bytes));
        }
        self.dedupe.expire(self.watermark_ms);
        self.cumulative.merge(&epoch.totals);
        let state = if self.policy.base_is_due() {
            let bytes = self.base();
            self.policy.note_base(bytes.len());
            EpochState::Base(bytes)
        } else {
            let bytes = self.delta(&seals);
            self.policy.note_delta(bytes.len());
            EpochState::Delta(bytes)
        };
        self.dedupe.settle();
        self.subscriber_windows.settle();
        self.accounts.quota.settle();
        ClosedEpoch {
            from: epoch.from,
            to: if planted(Bug::OffsetOffByOne) { self.next - 1 } else { self.next },
            input_hash: format!("{:032x}", epoch.hash.digest128()),
            totals: epoch.totals,
            cumulative: self.cumulative.clone(),
            watermark_ms: self.watermark_ms,
            clock: self.clock,
            reference: self.reference.version.clone(),
            next_reference: self.reference.version.clone(),
            price_book_version: self.rater.card().version().to_owned(),
            partition: self.config.partition,
            events: epoch.events,
            subscriber_rows: epoch.subscriber_rows,
            subscriber_window_ms: self.config.aggregate.subscriber_window_ms.cast_signed(),
            model_rows: epoch.model_rows,
            model_window_ms: self.config.aggregate.model_window_ms.cast_signed(),
            suspense: epoch.suspense,
            control_totals: epoch.control_totals,
            resolutions: epoch.resolutions,
            quota_ledger: epoch.quota_ledger,
            alerts: epoch.alerts,
            state,
            segments,
        }
    }
}

fn dedupe_limits(settings: &AggregateConfig) -> DedupeLimits {
    DedupeLimits {
        bucket_ms: settings.dedupe_bucket_ms.cast_signed().max(1),
        open_ms: settings.dedupe_open_ms.cast_signed(),
        open_max_bytes: usize::try_from(settings.dedupe_open_max_bytes).unwrap_or(usize::MAX),
        horizon_ms: settings.dedupe_horizon_days.cast_signed() * 86_400_000,
        cache_max_bytes: SEGMENTS_KEPT_BYTES,
    }
}

/// Where a segment is kept: below the UTC day of its bucket, so that the janitor can remove what
/// lies beyond the horizon by name. The hash makes the name unique to the content.
fn segment_path(config: &PartitionConfig, bucket: i64, hash: &str) -> String {
    let day = bucket * config.aggregate.dedupe_bucket_ms.cast_signed() / 86_400_000;
    format!("{}/{day}/{bucket}-{hash}.ids", segments_folder(config))
}

fn segments_folder(config: &PartitionConfig) -> String {
    format!("state/{}/{}/segments", config.topic, config.partition)
}

#[cfg(test)]
mod tests;
