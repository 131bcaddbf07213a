//! Reads one usage event from JSON in one pass, borrowing its text and collecting every defect.

mod corrects;
mod fields;
mod scalar;
mod usage;

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use self::corrects::read_corrects;
pub(crate) use self::corrects::{CORRECTS, note_corrects};
pub use self::fields::FIELDS;
use self::fields::text;
pub(crate) use self::fields::{Field, TIME_MAX_MS, set_field};
pub(crate) use self::scalar::Scalar;
use self::scalar::{Key, ScalarSeed};
use self::usage::{LabelsSeed, UsageSeed};
use crate::correction::{CorrectionKind, Corrects};
use crate::event_error::{EventError, EventErrorCode as Code};
use crate::plain_event::read_plain;
use crate::token_class::TokenClass;
use crate::usage_event::UsageEvent;

/// Longest text of an identity or a name, in bytes.
pub const TEXT_MAX_BYTES: usize = 256;
/// Most labels an event may carry.
pub const LABELS_MAX: usize = 64;
/// Defects of one event that are told; beyond them one of each kind.
const DEFECTS_MAX: usize = 64;

/// An event as it was read, with everything that is wrong with it. `event` is complete where
/// `errors` is empty, else it holds what could be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedEvent<'a> {
    /// What could be read.
    pub event: UsageEvent<'a>,
    /// Every defect, in the order found; of very many the first, and one of each kind.
    pub errors: Vec<EventError>,
    /// Names of fields that the schema does not have, in order; they are ignored.
    pub unknown_fields: Vec<String>,
    /// The name of the account command, where the object is one instead of an event.
    pub command: Option<String>,
    /// The earlier event that it voids or replaces.
    pub corrects: Option<Corrects>,
}

impl ParsedEvent<'_> {
    /// Whether it only takes another event back, and so has neither model nor usage.
    pub fn is_void(&self) -> bool {
        self.corrects.as_ref().is_some_and(|corrects| corrects.kind == CorrectionKind::Void)
    }

    /// Notes a defect. An event of a few megabytes may have a million of them: they are told as far
    /// as somebody may want to read them, so that memory stays what the event itself needs.
    pub fn fail(&mut self, code: Code, field: &str, message: impl Into<String>) {
        if self.errors.len() < DEFECTS_MAX || self.errors.iter().all(|error| error.code != code) {
            self.errors.push(EventError::new(code, field, message));
        }
    }
}

/// Reads one event. Bytes that are not one JSON object give a single `malformed` error.
pub fn parse_event(bytes: &[u8]) -> ParsedEvent<'_> {
    let mut parsed = ParsedEvent::default();
    if !read_plain(bytes, &mut parsed) {
        parsed = parse_event_by_serde(bytes);
    }
    parsed
}

/// Reads any JSON, and says what is wrong with it.
pub(crate) fn parse_event_by_serde(bytes: &[u8]) -> ParsedEvent<'_> {
    let mut parsed = ParsedEvent::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let result = reader.deserialize_any(EventVisitor(&mut parsed)).and_then(|()| reader.end());
    match result {
        Ok(()) => check_event(&mut parsed),
        Err(error) => {
            parsed.fail(Code::Malformed, "", format!("not a JSON object: {error}"));
        }
    }
    parsed
}

/// Reads one event where it stands in a larger document, such as an element of an array, without
/// copying it. A value that is no object gives a `malformed` error instead of ending the document.
/// The caller adds what [`check_event`] finds.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventSeed;

impl<'de> DeserializeSeed<'de> for EventSeed {
    type Value = ParsedEvent<'de>;
    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<ParsedEvent<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn not_an_object<'a>(found: &Scalar<'_>) -> ParsedEvent<'a> {
    let mut parsed = ParsedEvent::default();
    parsed.fail(Code::Malformed, "", format!("expected an object, found {}", found.kind()));
    parsed
}

impl<'de> Visitor<'de> for EventSeed {
    type Value = ParsedEvent<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one usage event")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ParsedEvent<'de>, A::Error> {
        let mut parsed = ParsedEvent::default();
        EventVisitor(&mut parsed).visit_map(map)?;
        Ok(parsed)
    }
    fn visit_unit<E>(self) -> Result<ParsedEvent<'de>, E> {
        Ok(not_an_object(&Scalar::Null))
    }
    fn visit_bool<E>(self, _: bool) -> Result<ParsedEvent<'de>, E> {
        Ok(not_an_object(&Scalar::Bool))
    }
    fn visit_u64<E>(self, value: u64) -> Result<ParsedEvent<'de>, E> {
        Ok(not_an_object(&Scalar::Unsigned(value)))
    }
    fn visit_i64<E>(self, value: i64) -> Result<ParsedEvent<'de>, E> {
        Ok(not_an_object(&Scalar::Negative(value)))
    }
    fn visit_f64<E>(self, _: f64) -> Result<ParsedEvent<'de>, E> {
        Ok(not_an_object(&Scalar::Float { whole_and_large: false }))
    }
    fn visit_str<E>(self, _: &str) -> Result<ParsedEvent<'de>, E> {
        Ok(not_an_object(&Scalar::Text(Cow::Borrowed(""))))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<ParsedEvent<'de>, A::Error> {
        ScalarSeed.visit_seq(seq).map(|found| not_an_object(&found))
    }
}

/// Adds the defects that only the whole event shows: absent fields, order of times, the limits of
/// texts. Adapters that fill an event from another format call it too.
pub fn check_event(parsed: &mut ParsedEvent<'_>) {
    if parsed.command.is_some() {
        return;
    }
    let is_void = parsed.is_void();
    let missing = |has: bool, code: Code, field: &str, errors: &mut Vec<EventError>| {
        if !has && !errors.iter().any(|e| e.field == field) {
            errors.push(EventError::new(code, field, format!("{field} is required")));
        }
    };
    let ParsedEvent { event, errors, .. } = parsed;
    let [source, id, account] = [&event.source, &event.id, &event.account].map(|t| !t.is_empty());
    let model = is_void || !event.model.is_empty();
    let completed_at = event.completed_at_ms.is_some();
    if !(source & id & account & model & completed_at) {
        missing(source, Code::MissingSource, "source", errors);
        missing(id, Code::MissingId, "id", errors);
        missing(account, Code::MissingAccount, "account", errors);
        missing(model, Code::MissingModel, "model", errors);
        missing(completed_at, Code::MissingCompletedAt, "completed_at", errors);
    }
    if let (Some(started), Some(completed)) = (event.started_at_ms, event.completed_at_ms)
        && started > completed
    {
        errors.push(EventError::new(
            Code::StartedAfterCompleted,
            "started_at",
            format!("started_at {started} is after completed_at {completed}"),
        ));
    }
    for (field, text) in
        [("account", Some(&event.account)), ("subscriber", event.subscriber.as_ref())]
    {
        if text.is_some_and(|text| is_phone_number(text)) {
            errors.push(EventError::new(
                Code::PhoneNumber,
                field,
                "a phone number is not accepted as an id; send an opaque id",
            ));
        }
    }
    let reasoning = event.usage.get(TokenClass::Reasoning);
    let output = event.usage.get(TokenClass::Output);
    if reasoning > output {
        errors.push(EventError::new(
            Code::ReasoningExceedsOutput,
            "usage.reasoning",
            format!("reasoning {reasoning} is a part of output, which is {output}"),
        ));
    }
}

/// Whether a text is a mainland mobile number: 11 digits, the first a 1.
pub fn is_phone_number(text: &str) -> bool {
    text.len() == 11 && text.starts_with('1') && text.bytes().all(|b| b.is_ascii_digit())
}

struct EventVisitor<'p, 'a>(&'p mut ParsedEvent<'a>);

impl<'de> Visitor<'de> for EventVisitor<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one usage event")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let parsed = self.0;
        let mut seen = 0_u32;
        let mut has_usage = false;
        let mut corrects = None;
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let Some(field) = Field::from_name(&key) else {
                if key == "command" {
                    let value = map.next_value_seed(ScalarSeed)?;
                    parsed.command = text(parsed, "command", value).map(Cow::into_owned);
                } else if key == CORRECTS {
                    if corrects.is_some() {
                        parsed.fail(Code::DuplicateField, CORRECTS, "given twice");
                    }
                    corrects = Some(map.next_value::<serde_json::Value>()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                    parsed.unknown_fields.push(key.into_owned());
                }
                continue;
            };
            let bit = 1_u32 << field as u32;
            if seen & bit != 0 {
                parsed.fail(Code::DuplicateField, field.name(), "given twice");
            }
            seen |= bit;
            match field {
                Field::Usage => {
                    has_usage = true;
                    map.next_value_seed(UsageSeed(parsed))?;
                }
                Field::Labels => map.next_value_seed(LabelsSeed(parsed))?,
                field => {
                    let value = map.next_value_seed(ScalarSeed)?;
                    set_field(parsed, field, value);
                }
            }
        }
        if parsed.command.is_none() {
            if let Some(value) = corrects.filter(|value| !value.is_null()) {
                read_corrects(parsed, &value, has_usage);
            }
            if !has_usage && !parsed.is_void() {
                let words = "usage is required, with at least one class";
                parsed.fail(Code::MissingUsage, "usage", words);
            }
        }
        Ok(())
    }
}
