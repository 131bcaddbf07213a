//! What must come out, computed from what the gateways meant: written from the rules of the design
//! with ordered maps of whole events, sharing no code and no hash with the core.

use std::collections::BTreeMap;

use tally_schemas::{AggregateConfig, CLASS_COUNT, TokenClass};

use super::simulated_log::{Content, Defect, Logged, Sent, SimulatedLog};

/// Where an event lies: offset and position within its batch.
pub(super) type Place = (u64, u32);

/// A number of events and their sums by class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) events: u64,
    pub(super) counts: [u128; CLASS_COUNT],
}

impl Sum {
    pub(super) fn add(&mut self, counts: &[u64; CLASS_COUNT]) {
        self.events += 1;
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum += u128::from(*count);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.events += other.events;
        for (sum, more) in self.counts.iter_mut().zip(other.counts) {
            *sum += more;
        }
    }
}

/// A row of `usage_events`, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AcceptedRow {
    pub(super) source: String,
    pub(super) id: String,
    pub(super) account: String,
    pub(super) subscriber: String,
    pub(super) model: String,
    pub(super) vendor: String,
    pub(super) supplier: String,
    pub(super) completed_at_ms: i64,
    pub(super) counts: [u64; CLASS_COUNT],
}

/// Window start, whether it was late, and the key texts with `None` for an absent one.
pub(super) type WindowKey = (i64, bool, Vec<Option<String>>);

/// Everything that must be in the tables and the ledger.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) records: u64,
    pub(super) received: Sum,
    pub(super) accepted: Sum,
    pub(super) suspended: Sum,
    pub(super) duplicates: Sum,
    pub(super) rows: BTreeMap<Place, AcceptedRow>,
    pub(super) held_back: BTreeMap<Place, String>,
    pub(super) by_subscriber: BTreeMap<WindowKey, Sum>,
    pub(super) by_model: BTreeMap<WindowKey, Sum>,
}

/// Who is behind a model without a vendor of its own.
fn vendor_of(event: &Sent) -> Option<&'static str> {
    event.vendor.or(match event.model {
        "glm-5" => Some("zhipu"),
        "qwen3-max" => Some("qwen"),
        _ => None,
    })
}

struct Oracle<'a> {
    settings: &'a AggregateConfig,
    log: &'a SimulatedLog,
    newest_ms: Option<i64>,
    /// Every event that was noted under an identity.
    known: BTreeMap<(&'static str, String), Vec<Sent>>,
    truth: Truth,
}

/// What must come of a log.
pub(super) fn truth_of(log: &SimulatedLog, settings: &AggregateConfig) -> Truth {
    let mut oracle =
        Oracle { settings, log, newest_ms: None, known: BTreeMap::new(), truth: Truth::default() };
    for record in &log.records {
        oracle.record(record);
    }
    oracle.truth
}

impl Oracle<'_> {
    fn record(&mut self, record: &Logged) {
        self.truth.records += 1;
        let place = (record.offset, 0);
        let nothing = [0; CLASS_COUNT];
        match &record.content {
            Content::Tombstone => self.hold_back(place, "tombstone", &nothing),
            Content::Unreadable => self.hold_back(place, "malformed", &nothing),
            Content::Command => self.hold_back(place, "unsupported_command", &nothing),
            Content::Events(events) => {
                for (index, event) in (0..).zip(events) {
                    self.event((record.offset, index), record.timestamp_ms, event);
                }
            }
        }
    }

    fn hold_back(&mut self, place: Place, reason: &str, counts: &[u64; CLASS_COUNT]) {
        self.truth.received.add(counts);
        self.truth.suspended.add(counts);
        self.truth.held_back.insert(place, reason.to_owned());
    }

    fn event(&mut self, place: Place, received_ms: i64, event: &Sent) {
        let horizon_ms = self.settings.dedupe_horizon_days.cast_signed() * 86_400_000;
        let ahead_ms = event.completed_at_ms - received_ms;
        let stranger = self.log.partition_count > 1
            && tally_schemas::partition_of(&event.account, self.log.partition_count)
                != self.log.partition;
        let outside = match event.defect {
            Defect::NoId => Some("missing_identity"),
            _ if stranger => Some("wrong_partition"),
            _ if ahead_ms > self.settings.future_max_ms.cast_signed() => Some("time_in_future"),
            _ if ahead_ms < -horizon_ms => Some("too_old"),
            _ => None,
        };
        if let Some(reason) = outside {
            return self.hold_back(place, reason, &event.counts);
        }
        match self.seen(event) {
            Some(true) => {
                self.truth.received.add(&event.counts);
                self.truth.duplicates.add(&event.counts);
                return;
            }
            Some(false) => return self.hold_back(place, "conflicting_duplicate", &event.counts),
            None => {}
        }
        let identity = (event.source, event.id.clone());
        self.known.entry(identity).or_default().push(event.clone());
        let defect = match event.defect {
            Defect::None if vendor_of(event).is_none() => Some("unknown_model"),
            Defect::None => None,
            Defect::NoId => Some("missing_identity"),
            Defect::NoModel => Some("incomplete"),
            Defect::NegativeCount | Defect::FloatCount | Defect::CountTooLarge => {
                Some("invalid_count")
            }
            Defect::UnknownClass => Some("unknown_usage_class"),
            Defect::WrongTotal | Defect::ReasoningBeyondOutput => Some("classes_do_not_add_up"),
            Defect::PhoneNumber => Some("phone_number"),
        };
        match (defect, vendor_of(event)) {
            (None, Some(vendor)) => self.accept(place, event, vendor),
            (reason, _) => self.hold_back(place, reason.unwrap(), &event.counts),
        }
    }

    fn watermark_ms(&self) -> Option<i64> {
        self.newest_ms.map(|newest| newest - self.settings.lateness_ms.cast_signed())
    }

    /// Whether the identity was seen: with the same content (`true`) or another. An id is known for
    /// good under its own time, and under other times while those are recent.
    fn seen(&self, event: &Sent) -> Option<bool> {
        let width_ms = self.settings.dedupe_bucket_ms.cast_signed();
        let bucket = |at_ms: i64| at_ms.div_euclid(width_ms);
        let known = self.known.get(&(event.source, event.id.clone()))?;
        let own = bucket(event.completed_at_ms);
        if let Some(same_time) = known.iter().find(|k| bucket(k.completed_at_ms) == own) {
            return Some(same_time == event);
        }
        let open_ms = self.settings.dedupe_open_ms.cast_signed();
        let recent = self.watermark_ms().map_or(i64::MIN, |w| bucket(w - open_ms));
        known.iter().any(|k| bucket(k.completed_at_ms) >= recent).then_some(false)
    }

    fn accept(&mut self, place: Place, event: &Sent, vendor: &str) {
        let truth = &mut self.truth;
        truth.received.add(&event.counts);
        truth.accepted.add(&event.counts);
        let subscriber = event.subscriber.as_deref().unwrap_or(&event.account);
        let supplier = event.supplier.unwrap_or(vendor);
        truth.rows.insert(
            place,
            AcceptedRow {
                source: event.source.to_owned(),
                id: event.id.clone(),
                account: event.account.clone(),
                subscriber: subscriber.to_owned(),
                model: event.model.to_owned(),
                vendor: vendor.to_owned(),
                supplier: supplier.to_owned(),
                completed_at_ms: event.completed_at_ms,
                counts: event.counts,
            },
        );
        let watermark_ms = self.watermark_ms();
        let window = |width_ms: u64| {
            let width_ms = width_ms.cast_signed();
            let start_ms = event.completed_at_ms.div_euclid(width_ms) * width_ms;
            (start_ms, watermark_ms.is_some_and(|watermark| start_ms + width_ms <= watermark))
        };
        let own = |texts: &[Option<&str>]| texts.iter().map(|t| t.map(str::to_owned)).collect();
        let (start_ms, late) = window(self.settings.subscriber_window_ms);
        let key = own(&[Some(&event.account), Some(subscriber), Some(event.model), Some(vendor)]);
        let truth = &mut self.truth;
        truth.by_subscriber.entry((start_ms, late, key)).or_default().add(&event.counts);
        let (start_ms, late) = window(self.settings.model_window_ms);
        let tier = event.tier.unwrap_or("standard");
        let key =
            own(&[Some(event.model), Some(vendor), Some(supplier), event.region, None, Some(tier)]);
        truth.by_model.entry((start_ms, late, key)).or_default().add(&event.counts);
        self.newest_ms = self.newest_ms.max(Some(event.completed_at_ms));
    }
}

/// Names of the classes in column order, for reading tables.
pub(super) fn class_names() -> [&'static str; CLASS_COUNT] {
    TokenClass::ALL.map(TokenClass::name)
}
