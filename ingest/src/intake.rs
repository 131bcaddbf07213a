//! Takes the events of one request in: decides for each, and sorts the accepted ones by partition.

use std::collections::BTreeMap;

use bytes::Bytes;
use tally_schemas::{EventErrorCode, ParsedEvent, partition_of};

use crate::answer::{Answer, Defect, Rejection, Warning, shortened};
use crate::event_encoding::append_event;
use crate::gateways::{self, Heard};
use crate::known_fields::KnownFields;

/// Most events of one request. An event that says what it must takes about 100 bytes, so at the
/// default body limit only input that is no event at all gets here; it bounds the answer.
pub(crate) const EVENTS_MAX: u64 = 100_000;
/// Most different unknown fields that one answer names.
const UNKNOWN_FIELDS_MAX: usize = 100;
/// Longest name of an unknown field in an answer, in bytes.
const FIELD_NAME_MAX_BYTES: usize = 64;
/// Code of an account command that was sent as an event.
const COMMAND_CODE: &str = "command_not_here";

/// Settings that the intake needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IntakeRules {
    /// Partitions of the topic.
    pub(crate) partition_count: u32,
    /// Largest batch in bytes; a request with more for one partition is split between events.
    pub(crate) batch_max_bytes: usize,
    /// Latest time that is not called future, milliseconds UTC.
    pub(crate) future_after_ms: i64,
}

/// Events of one partition, encoded as the body of a `UsageBatch`.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    /// Elements of `UsageBatch.events`, one after the other.
    pub(crate) bytes: Vec<u8>,
    /// How many.
    pub(crate) events: u64,
}

/// One JSON record that is appended on its own.
#[derive(Debug)]
pub(crate) struct SingleRecord {
    /// Partition of the account.
    pub(crate) partition: u32,
    /// The account.
    pub(crate) key: Bytes,
    /// One JSON event or command.
    pub(crate) value: Bytes,
}

/// What an adapter is to do next about an event that it handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it was taken or refused.
    Settled,
    /// Hand over its [`KnownFields`] with [`Intake::hold`]: it has defects, but belongs to an
    /// account, so it goes on and ends in suspense.
    Held(u64),
}

/// Why a request ends without a look at all of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyEvents;

/// The events of one request.
#[derive(Debug)]
pub(crate) struct Intake {
    rules: IntakeRules,
    slices: Vec<Vec<Slice>>,
    singles: Vec<SingleRecord>,
    answer: Answer,
    unknown_fields: BTreeMap<String, u64>,
    unknown_fields_seen: u64,
    held: BTreeMap<u64, String>,
    held_codes: BTreeMap<&'static str, u64>,
    events: u64,
    heard: Heard,
    /// Defects that the answer lists so far.
    details: usize,
    scratch: Vec<u8>,
}

/// A request's events, ready for the log.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The answer once the log has everything.
    pub(crate) answer: Answer,
    /// Slices by partition.
    pub(crate) slices: Vec<(u32, Slice)>,
    /// Records of their own.
    pub(crate) singles: Vec<SingleRecord>,
    /// Events of the request, accepted or not.
    pub(crate) events: u64,
    /// Events that go on with a defect, by their first code.
    pub(crate) held_codes: BTreeMap<&'static str, u64>,
    /// Unknown fields, counted once an event.
    pub(crate) unknown_fields: u64,
    /// Gateways of accepted events.
    pub(crate) heard: Heard,
}

impl Intake {
    /// An empty intake.
    pub(crate) fn new(rules: IntakeRules) -> Self {
        let partitions = usize::try_from(rules.partition_count).unwrap_or(usize::MAX);
        Self {
            rules,
            slices: std::iter::repeat_with(Vec::new).take(partitions).collect(),
            singles: Vec::new(),
            answer: Answer::default(),
            unknown_fields: BTreeMap::new(),
            unknown_fields_seen: 0,
            held: BTreeMap::new(),
            held_codes: BTreeMap::new(),
            events: 0,
            heard: Heard::new(),
            details: 0,
            scratch: Vec::with_capacity(512),
        }
    }

    /// Takes the next event. `parsed` has been through `check_event`.
    ///
    /// # Errors
    /// Where the request has more than [`EVENTS_MAX`] events.
    pub(crate) fn event(&mut self, parsed: &ParsedEvent<'_>) -> Result<Verdict, TooManyEvents> {
        let index = self.events;
        if index >= EVENTS_MAX {
            return Err(TooManyEvents);
        }
        self.events += 1;
        self.note_unknown_fields(&parsed.unknown_fields);
        if parsed.command.is_some() || parsed.errors.iter().any(|e| e.field == "command") {
            self.reject_command(index, parsed);
            return Ok(Verdict::Settled);
        }
        if parsed.errors.is_empty() {
            self.accept(index, parsed);
            return Ok(Verdict::Settled);
        }
        if is_refused(parsed) {
            self.reject(index, parsed);
            return Ok(Verdict::Settled);
        }
        self.warn_of_defects(index, parsed);
        gateways::note(&mut self.heard, &parsed.event.source);
        self.held.insert(index, parsed.event.account.to_string());
        Ok(Verdict::Held(index))
    }

    /// Takes the known fields of an event whose verdict was [`Verdict::Held`].
    pub(crate) fn hold(&mut self, index: u64, fields: &KnownFields) {
        let Some(account) = self.held.remove(&index) else { return };
        let value = serde_json::Value::from(fields.clone()).to_string();
        self.singles.push(SingleRecord {
            partition: partition_of(&account, self.rules.partition_count),
            key: account.into(),
            value: value.into(),
        });
        self.answer.accepted += 1;
    }

    /// Whether known fields are still to be handed over for the event at `index`.
    pub(crate) fn wants_fields(&self, index: u64) -> bool {
        self.held.contains_key(&index)
    }

    /// Whether known fields are still to be handed over for any event.
    pub(crate) fn wants_any_fields(&self) -> bool {
        !self.held.is_empty()
    }

    /// Counts fields that belong to the request and not to an event.
    pub(crate) fn note_unknown_fields(&mut self, names: &[String]) {
        for name in names {
            self.unknown_fields_seen += 1;
            let name = &name[..name.floor_char_boundary(FIELD_NAME_MAX_BYTES)];
            if let Some(count) = self.unknown_fields.get_mut(name) {
                *count += 1;
            } else if self.unknown_fields.len() < UNKNOWN_FIELDS_MAX {
                self.unknown_fields.insert(name.to_owned(), 1);
            }
        }
    }

    /// Adds a warning about one event.
    pub(crate) fn warn(&mut self, warning: Warning) {
        self.answer.warnings.push(warning);
    }

    /// Index that the next event will have.
    pub(crate) fn next_index(&self) -> u64 {
        self.events
    }

    /// Ends the intake.
    pub(crate) fn finish(mut self) -> Taken {
        if self.events == 0 {
            self.warn(Warning::of_request("empty_batch", "the request carries no event"));
        }
        for (field, count) in self.unknown_fields {
            self.answer.warnings.push(Warning {
                field: Some(field.clone()),
                ..Warning::of_request(
                    "unknown_field",
                    format!("unknown field {field:?} was ignored, {count} times"),
                )
            });
        }
        let slices = (0_u32..)
            .zip(self.slices)
            .flat_map(|(partition, slices)| slices.into_iter().map(move |s| (partition, s)))
            .collect();
        Taken {
            answer: self.answer,
            slices,
            singles: self.singles,
            events: self.events,
            held_codes: self.held_codes,
            unknown_fields: self.unknown_fields_seen,
            heard: self.heard,
        }
    }

    fn accept(&mut self, index: u64, parsed: &ParsedEvent<'_>) {
        let event = &parsed.event;
        if event.completed_at_ms.is_some_and(|at| at > self.rules.future_after_ms) {
            self.answer.warnings.push(Warning {
                index: Some(index),
                id: Some(event.id.to_string()),
                code: "time_in_future",
                field: Some("completed_at".to_owned()),
                message: "completed too far in the future; the event will be held in suspense"
                    .to_owned(),
            });
        }
        let partition = partition_of(&event.account, self.rules.partition_count);
        let Some(slices) =
            usize::try_from(partition).ok().and_then(|partition| self.slices.get_mut(partition))
        else {
            return;
        };
        if slices.last().is_none_or(|slice| slice.bytes.len() >= self.rules.batch_max_bytes) {
            slices.push(Slice::default());
        }
        let Some(slice) = slices.last_mut() else { return };
        let before = slice.bytes.len();
        append_event(&mut slice.bytes, &mut self.scratch, event, parsed.corrects.as_ref());
        slice.events += 1;
        if before > 0 && slice.bytes.len() > self.rules.batch_max_bytes {
            let bytes = slice.bytes.split_off(before);
            slice.events -= 1;
            slices.push(Slice { bytes, events: 1 });
        }
        gateways::note(&mut self.heard, &event.source);
        self.answer.accepted += 1;
    }

    /// How many of `defects` may be listed.
    fn take_details(&mut self, defects: usize) -> usize {
        let listed = defects.min(DEFECTS_MAX).min(DETAILS_MAX.saturating_sub(self.details));
        self.details += listed;
        listed
    }

    fn reject_command(&mut self, index: u64, parsed: &ParsedEvent<'_>) {
        let message = "an account command; use POST /v1/accounts/{account}/commands".to_owned();
        self.answer.rejected.push(Rejection {
            index,
            id: id_of(parsed),
            code: COMMAND_CODE,
            message: message.clone(),
            errors: vec![Defect { code: COMMAND_CODE, field: "command".to_owned(), message }],
        });
    }

    fn reject(&mut self, index: u64, parsed: &ParsedEvent<'_>) {
        let cause = parsed
            .errors
            .iter()
            .find(|error| error.code.refused_at_door())
            .or_else(|| parsed.errors.iter().find(|error| is_identity(&error.field)))
            .or(parsed.errors.first());
        let Some(cause) = cause else { return };
        let listed = self.take_details(parsed.errors.len());
        self.answer.rejected.push(Rejection {
            index,
            id: id_of(parsed),
            code: cause.code.as_str(),
            message: Defect::from(cause).to_string(),
            errors: parsed.errors.iter().take(listed).map(Defect::from).collect(),
        });
    }

    fn warn_of_defects(&mut self, index: u64, parsed: &ParsedEvent<'_>) {
        // At least the first is told, however many there were before.
        let listed = self.take_details(parsed.errors.len()).max(1);
        for error in parsed.errors.iter().take(listed) {
            self.answer.warnings.push(Warning {
                index: Some(index),
                id: id_of(parsed),
                code: error.code.as_str(),
                field: Some(shortened(&error.field)),
                message: format!("{}; the event will be held in suspense", Defect::from(error)),
            });
        }
        if let Some(first) = parsed.errors.first() {
            *self.held_codes.entry(first.code.as_str()).or_default() += 1;
        }
    }
}

/// Most defects of one event that an answer lists: more than the schema has fields.
const DEFECTS_MAX: usize = 64;
/// Most defects that one answer lists; events after that have their first one only.
const DETAILS_MAX: usize = 10_000;

fn id_of(parsed: &ParsedEvent<'_>) -> Option<String> {
    Some(parsed.event.id.to_string()).filter(|id| !id.is_empty())
}

fn is_identity(field: &str) -> bool {
    matches!(field, "source" | "id" | "account" | "completed_at")
}

/// Whether an event with defects cannot be attributed: it has no source, id, account or time,
/// or one that cannot be read, or it is not readable at all.
fn is_refused(parsed: &ParsedEvent<'_>) -> bool {
    let event = &parsed.event;
    event.source.is_empty()
        || event.id.is_empty()
        || event.account.is_empty()
        || event.completed_at_ms.is_none()
        || parsed.errors.iter().map(|error| error.code).any(EventErrorCode::refused_at_door)
}
