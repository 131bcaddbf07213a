//! What must come out, computed from what the gateways meant: written from the rules of the design
//! with ordered maps of whole events, sharing no code and no hash with the core.

use std::collections::{BTreeMap, BTreeSet};

use tally_schemas::{AggregateConfig, CLASS_COUNT, SuspenseReason, TokenClass};

use super::price_book;
use super::schedule::Schedule;
use super::simulated_log::{
    Content, Defect, Logged, Out, Sent, SentCommand, SentCorrection, SentResolution, SimulatedLog,
};
use super::straight_run::Retail;

/// Where an event lies: offset and position within its batch.
pub(super) type Place = (u64, u32);

/// A number of events and their sums by class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) events: i64,
    pub(super) counts: [i128; CLASS_COUNT],
    /// Micro-points and pico-currency.
    pub(super) points_micro: i128,
    pub(super) wholesale_pico: i128,
    pub(super) retail_pico: i128,
}

impl Sum {
    pub(super) fn add(&mut self, counts: &[u64; CLASS_COUNT]) {
        self.events += 1;
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum += i128::from(*count);
        }
    }

    /// The same below 0.
    fn negated(&self) -> Self {
        Self {
            events: -self.events,
            counts: self.counts.map(|count| -count),
            points_micro: -self.points_micro,
            wholesale_pico: -self.wholesale_pico,
            retail_pico: -self.retail_pico,
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.events += other.events;
        self.points_micro += other.points_micro;
        self.wholesale_pico += other.wholesale_pico;
        self.retail_pico += other.retail_pico;
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
    pub(super) counts: [i64; CLASS_COUNT],
    pub(super) points_micro: i128,
    pub(super) wholesale: (String, i128),
    /// Id of the event that it takes back or replaces.
    pub(super) corrects: Option<String>,
}

/// Window start, whether it was late, and the key texts with `None` for an absent one.
pub(super) type WindowKey = (i64, bool, Vec<Option<String>>);

/// Everything that must be in the tables and the ledger.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) records: u64,
    pub(super) commands: u64,
    pub(super) duplicate_commands: u64,
    pub(super) ticks: u64,
    /// Records that leave their row in suspense.
    pub(super) left_open: u64,
    pub(super) received: Sum,
    pub(super) accepted: Sum,
    pub(super) suspended: Sum,
    pub(super) duplicates: Sum,
    pub(super) recycled: Sum,
    pub(super) written_off: Sum,
    /// What was taken back.
    pub(super) corrected: Sum,
    pub(super) corrections_refused: u64,
    /// Of accepted events, by currency.
    pub(super) wholesale_pico: BTreeMap<&'static str, i128>,
    pub(super) retail_pico: BTreeMap<String, i128>,
    pub(super) rows: BTreeMap<Place, AcceptedRow>,
    pub(super) held_back: BTreeMap<Place, String>,
    /// How each row came out of suspense, by its own place: the words, and the place of the record.
    pub(super) resolutions: BTreeMap<Place, (String, Place)>,
    pub(super) by_subscriber: BTreeMap<WindowKey, Sum>,
    pub(super) by_model: BTreeMap<WindowKey, Sum>,
}

struct Oracle<'a> {
    settings: &'a AggregateConfig,
    log: &'a SimulatedLog,
    schedule: &'a Schedule,
    newest_ms: Option<i64>,
    /// Every event that was noted under an identity.
    known: BTreeMap<(&'static str, String), Vec<Sent>>,
    /// Events that are held back for want of reference data, and for what.
    waiting: BTreeMap<Place, (&'static str, Sent)>,
    /// Account and id of every command.
    commands: BTreeSet<(String, String)>,
    /// What each event was charged.
    retail: &'a BTreeMap<Place, Retail>,
    truth: Truth,
}

/// What must come of a log.
pub(super) fn truth_of(
    log: &SimulatedLog,
    settings: &AggregateConfig,
    schedule: &Schedule,
    retail: &BTreeMap<Place, Retail>,
) -> Truth {
    let mut oracle = Oracle {
        settings,
        log,
        schedule,
        newest_ms: None,
        known: BTreeMap::new(),
        waiting: BTreeMap::new(),
        commands: BTreeSet::new(),
        retail,
        truth: Truth::default(),
    };
    for record in &log.records() {
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
            Content::Command(command) => self.command(place, record.timestamp_ms, command),
            Content::Tick(at_ms) => {
                self.truth.ticks += 1;
                // It is never later than when the log received it.
                self.newest_ms = self.newest_ms.max(Some((*at_ms).min(record.timestamp_ms)));
            }
            Content::Reference(_) => {
                if self.schedule.refuses(record.offset) {
                    self.hold_back(place, "bad_command", &nothing);
                }
            }
            Content::Resolution(record_of) => {
                self.resolution(place, record.timestamp_ms, record_of);
            }
            Content::Correction(record_of) => {
                self.correction(place, record.timestamp_ms, record_of);
            }
            Content::Events(events) => {
                for (index, event) in (0..).zip(events) {
                    self.event((record.offset, index), record.timestamp_ms, event);
                }
            }
        }
    }

    fn command(&mut self, place: Place, received_ms: i64, command: &SentCommand) {
        let horizon_ms = self.settings.dedupe_horizon_days.cast_signed() * 86_400_000;
        if command.refusal != Some("bad_command") && received_ms - command.at_ms > horizon_ms {
            return self.hold_back(place, "too_old", &[0; CLASS_COUNT]);
        }
        let is_new = self.commands.insert((command.account.clone(), command.id.clone()));
        // One that cannot be read has no identity.
        match command.refusal {
            Some("bad_command") => self.hold_back(place, "bad_command", &[0; CLASS_COUNT]),
            _ if !is_new => self.truth.duplicate_commands += 1,
            Some(reason) => self.hold_back(place, reason, &[0; CLASS_COUNT]),
            None => self.truth.commands += 1,
        }
    }

    fn hold_back(&mut self, place: Place, reason: &str, counts: &[u64; CLASS_COUNT]) {
        self.truth.received.add(counts);
        self.truth.suspended.add(counts);
        self.truth.held_back.insert(place, reason.to_owned());
    }

    /// Why an event cannot be of this partition or this time.
    fn outside(&self, received_ms: i64, event: &Sent) -> Option<&'static str> {
        let horizon_ms = self.settings.dedupe_horizon_days.cast_signed() * 86_400_000;
        let ahead_ms = event.completed_at_ms - received_ms;
        let stranger = self.log.partition_count > 1
            && tally_schemas::partition_of(&event.account, self.log.partition_count)
                != self.log.partition;
        match event.defect {
            Defect::NoId => Some("missing_identity"),
            _ if stranger => Some("wrong_partition"),
            _ if ahead_ms > self.settings.future_max_ms.cast_signed() => Some("time_in_future"),
            _ if ahead_ms < -horizon_ms => Some("too_old"),
            _ => None,
        }
    }

    /// A row comes out of suspense once, and for what it was held back for; recycled only where it
    /// can be rated by now.
    fn resolution(&mut self, place: Place, received_ms: i64, record: &SentResolution) {
        let horizon_ms = self.settings.dedupe_horizon_days.cast_signed() * 86_400_000;
        let SentResolution { held, reason, .. } = record;
        let readable = match (record.out, &record.event) {
            (Out::Recycled, Some(event)) => {
                event.defect == Defect::None && self.outside(received_ms, event).is_none()
            }
            (Out::WrittenOff, event) => {
                let at_ms = event.as_ref().map_or(record.received_ms, |e| e.completed_at_ms);
                received_ms - at_ms <= horizon_ms
            }
            (Out::Recycled, None) => false,
        };
        if !readable {
            self.truth.left_open += 1;
            return;
        }
        if self.truth.resolutions.contains_key(held) {
            self.truth.duplicate_commands += 1;
            return;
        }
        let waits = matches!(reason, SuspenseReason::UnknownModel | SuspenseReason::NoPrice);
        let is_as_told = match (self.waiting.get(held), &record.event) {
            (Some((why, event)), Some(told)) => {
                *why == reason.as_str() && (event.source, &event.id) == (told.source, &told.id)
            }
            (Some(_), None) => false,
            (None, _) => !waits,
        };
        if !is_as_told {
            self.truth.left_open += 1;
            return;
        }
        let counts = record.event.as_ref().map_or([0; CLASS_COUNT], |event| event.counts);
        let words = match (record.out, &record.event) {
            (Out::Recycled, Some(event)) => match (self.seen(event), waits) {
                (Some(true), false) => {
                    self.truth.duplicates.add(&counts);
                    "recycled duplicate"
                }
                (None, false) | (Some(true), true) if self.is_ratable(place, event) => {
                    if !waits {
                        let identity = (event.source, event.id.clone());
                        self.known.entry(identity).or_default().push(event.clone());
                    }
                    self.accept(place, event);
                    "recycled accepted"
                }
                _ => {
                    self.truth.left_open += 1;
                    return;
                }
            },
            _ => "written_off",
        };
        let sum = match record.out {
            Out::Recycled => &mut self.truth.recycled,
            Out::WrittenOff => &mut self.truth.written_off,
        };
        sum.add(&counts);
        self.truth.resolutions.insert(*held, (format!("{words} {reason}"), place));
    }

    /// An event is taken back once, where it came under its time; whatever was said of it then
    /// counts below 0. What replaces it is an event like any other.
    fn correction(&mut self, place: Place, received_ms: i64, record: &SentCorrection) {
        let SentCorrection { event, replacement, .. } = record;
        let width_ms = self.settings.dedupe_bucket_ms.cast_signed();
        let bucket = |at_ms: i64| at_ms.div_euclid(width_ms);
        let known = self.known.get(&(event.source, event.id.clone()));
        let is_known = known.is_some_and(|known| {
            known.iter().any(|k| bucket(k.completed_at_ms) == bucket(event.completed_at_ms))
        });
        let reversal = Sent {
            id: format!("reversal of {}", event.id),
            subscriber: Some(format!("{replacement:?}")),
            ..event.clone()
        };
        let outside = self.outside(received_ms, event).is_some();
        match self.seen(&reversal) {
            _ if outside => {}
            Some(true) => {
                self.truth.duplicate_commands += 1;
                return;
            }
            None if is_known && replacement.as_ref().is_none_or(|r| self.seen(r).is_none()) => {
                self.known
                    .entry((reversal.source, reversal.id.clone()))
                    .or_default()
                    .push(reversal);
                self.take_back(place, record);
                if let Some(replacement) = replacement {
                    self.replace((place.0, 1), replacement, &event.id);
                }
                return;
            }
            _ => {}
        }
        self.truth.corrections_refused += 1;
    }

    fn take_back(&mut self, place: Place, record: &SentCorrection) {
        let SentCorrection { event, .. } = record;
        let (vendor, supplier) = (event.vendor.unwrap(), event.supplier.unwrap());
        let subscriber = event.subscriber.as_deref().unwrap_or(&event.account);
        let mut sum = Sum {
            points_micro: record.points_micro,
            wholesale_pico: record.wholesale_pico,
            retail_pico: record.retail_pico,
            ..Sum::default()
        };
        sum.add(&event.counts);
        let truth = &mut self.truth;
        truth.corrected.merge(&sum);
        let sum = sum.negated();
        truth.rows.insert(
            place,
            AcceptedRow {
                source: event.source.to_owned(),
                id: "reversal".to_owned(),
                account: event.account.clone(),
                subscriber: subscriber.to_owned(),
                model: event.model.to_owned(),
                vendor: vendor.to_owned(),
                supplier: supplier.to_owned(),
                completed_at_ms: event.completed_at_ms,
                counts: event.counts.map(|count| -count.cast_signed()),
                points_micro: sum.points_micro,
                wholesale: ("CNY".to_owned(), sum.wholesale_pico),
                corrects: Some(event.id.clone()),
            },
        );
        let start = |width_ms: u64| {
            event.completed_at_ms.div_euclid(width_ms.cast_signed()) * width_ms.cast_signed()
        };
        let own = |texts: &[Option<&str>]| texts.iter().map(|t| t.map(str::to_owned)).collect();
        let key = own(&[
            Some(&event.account),
            Some(subscriber),
            Some(event.model),
            Some(vendor),
            record.retail_currency,
            Some("CNY"),
        ]);
        let key = (start(self.settings.subscriber_window_ms), true, key);
        truth.by_subscriber.entry(key).or_default().merge(&sum);
        let key = own(&[
            Some(event.model),
            Some(vendor),
            Some(supplier),
            event.region,
            None,
            Some(event.tier.unwrap_or("standard")),
            record.retail_currency,
            Some("CNY"),
        ]);
        let key = (start(self.settings.model_window_ms), true, key);
        truth.by_model.entry(key).or_default().merge(&sum);
    }

    /// Counts an event in another's stead, or holds it back for want of a price.
    fn replace(&mut self, place: Place, event: &Sent, corrects: &str) {
        self.known.entry((event.source, event.id.clone())).or_default().push(event.clone());
        let reason = match self.vendor(place, event) {
            None => "unknown_model",
            Some(_) if self.wholesale(place, event).is_none() => "no_price",
            Some(_) => {
                self.truth.received.add(&event.counts);
                self.accept(place, event);
                if let Some(row) = self.truth.rows.get_mut(&place) {
                    row.corrects = Some(corrects.to_owned());
                }
                return;
            }
        };
        self.waiting.insert(place, (reason, event.clone()));
        self.hold_back(place, reason, &event.counts);
    }

    fn event(&mut self, place: Place, received_ms: i64, event: &Sent) {
        if let Some(reason) = self.outside(received_ms, event) {
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
            Defect::None if self.vendor(place, event).is_none() => Some("unknown_model"),
            Defect::None if self.wholesale(place, event).is_none() => Some("no_price"),
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
        match defect {
            None => {
                self.truth.received.add(&event.counts);
                self.accept(place, event);
            }
            Some(reason) => {
                if event.defect == Defect::None {
                    self.waiting.insert(place, (reason, event.clone()));
                }
                self.hold_back(place, reason, &event.counts);
            }
        }
    }

    /// Who is behind its model by the edition that was in use at its place in the log.
    fn vendor(&self, place: Place, event: &Sent) -> Option<&'static str> {
        price_book::vendor(event, self.schedule.at(place.0).version.edition)
    }

    fn is_ratable(&self, place: Place, event: &Sent) -> bool {
        self.vendor(place, event).is_some() && self.wholesale(place, event).is_some()
    }

    /// What an event costs by the edition that was in use at its place in the log.
    fn wholesale(&self, place: Place, event: &Sent) -> Option<(&'static str, i128)> {
        price_book::wholesale(event, self.schedule.at(place.0).version.edition)
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

    fn accept(&mut self, place: Place, event: &Sent) {
        let vendor = self.vendor(place, event).unwrap();
        let (currency, wholesale_pico) = self.wholesale(place, event).unwrap();
        let truth = &mut self.truth;
        truth.accepted.add(&event.counts);
        let subscriber = event.subscriber.as_deref().unwrap_or(&event.account);
        let supplier = event.supplier.unwrap_or(vendor);
        let points_micro = price_book::points_micro(event);
        *truth.wholesale_pico.entry(currency).or_default() += wholesale_pico;
        let (retail_currency, retail_pico) = self.retail.get(&place).cloned().unwrap_or_default();
        if let Some(currency) = &retail_currency {
            *truth.retail_pico.entry(currency.clone()).or_default() += retail_pico;
        }
        let retail_currency = retail_currency.as_deref();
        let mut sum = Sum { points_micro, wholesale_pico, retail_pico, ..Sum::default() };
        sum.add(&event.counts);
        truth.accepted.points_micro += points_micro;
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
                counts: event.counts.map(u64::cast_signed),
                points_micro,
                wholesale: (currency.to_owned(), wholesale_pico),
                corrects: None,
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
        let key = own(&[
            Some(&event.account),
            Some(subscriber),
            Some(event.model),
            Some(vendor),
            retail_currency,
            Some(currency),
        ]);
        let truth = &mut self.truth;
        truth.by_subscriber.entry((start_ms, late, key)).or_default().merge(&sum);
        let (start_ms, late) = window(self.settings.model_window_ms);
        let tier = event.tier.unwrap_or("standard");
        let key = own(&[
            Some(event.model),
            Some(vendor),
            Some(supplier),
            event.region,
            None,
            Some(tier),
            retail_currency,
            Some(currency),
        ]);
        truth.by_model.entry((start_ms, late, key)).or_default().merge(&sum);
        self.newest_ms = self.newest_ms.max(Some(event.completed_at_ms));
    }
}

/// Names of the classes in column order, for reading tables.
pub(super) fn class_names() -> [&'static str; CLASS_COUNT] {
    TokenClass::ALL.map(TokenClass::name)
}
