//! Reads one usage event from JSON in one pass, borrowing its text and collecting every defect.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::correction::{CorrectionKind, Corrects};
use crate::event_error::{EventError, EventErrorCode as Code};
use crate::plain_event::read_plain;
use crate::token_class::{COUNT_MAX, TokenClass};
use crate::usage_event::{UsageEvent, UsageSource};

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

/// A JSON value as far as an event needs it.
pub(crate) enum Scalar<'a> {
    Null,
    Bool,
    Unsigned(u64),
    Negative(i64),
    Float { whole_and_large: bool },
    Text(Cow<'a, str>),
    Composite,
}

impl Scalar<'_> {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Unsigned(_) | Self::Negative(_) => "an integer",
            Self::Float { .. } => "a floating-point number",
            Self::Text(_) => "a text",
            Self::Composite => "an object or array",
        }
    }
}

struct ScalarSeed;

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Scalar<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Scalar<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Bool)
    }
    fn visit_u64<E>(self, value: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Unsigned(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Scalar<'de>, E> {
        Ok(u64::try_from(value).map_or(Scalar::Negative(value), Scalar::Unsigned))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Scalar<'de>, E> {
        // Only to word the error: an integer beyond u64 arrives here as a float.
        Ok(Scalar::Float { whole_and_large: value.fract() == 0.0 && value.abs() > 9.0e15 })
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(value)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Composite)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Composite)
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
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

/// Name of the member that says which earlier event is corrected.
pub(crate) const CORRECTS: &str = "corrects";

/// Reads which earlier event is corrected. Where the kind is not given, an event with usage replaces
/// and one without voids.
fn read_corrects(parsed: &mut ParsedEvent<'_>, value: &serde_json::Value, has_usage: bool) {
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    let kind = match value.get("kind") {
        None | Some(serde_json::Value::Null) => None,
        Some(_) => Some(text("kind").unwrap_or_default()),
    };
    let [source, id] = ["source", "id"].map(|name| text(name).unwrap_or_default());
    note_corrects(parsed, (source, id), kind, has_usage);
}

/// Notes which earlier event is corrected, or what is wrong with it.
pub(crate) fn note_corrects(
    parsed: &mut ParsedEvent<'_>,
    (source, id): (&str, &str),
    kind: Option<&str>,
    has_usage: bool,
) {
    let implied = if has_usage { CorrectionKind::Replace } else { CorrectionKind::Void };
    let Some(kind) = kind.map_or(Some(implied), CorrectionKind::from_name) else {
        return parsed.fail(Code::InvalidType, "corrects.kind", "expected void or replace");
    };
    for (field, text) in [("corrects.source", source), ("corrects.id", id)] {
        if text.is_empty() || text.len() > TEXT_MAX_BYTES {
            let words = format!("expected a text of 1 to {TEXT_MAX_BYTES} bytes");
            return parsed.fail(Code::InvalidType, field, words);
        }
    }
    if kind == CorrectionKind::Void && has_usage {
        parsed.fail(Code::InvalidType, "usage", "an event that voids another has no usage");
    }
    parsed.corrects = Some(Corrects { source: source.to_owned(), id: id.to_owned(), kind });
}

/// Names of the fields of an event.
pub const FIELDS: [&str; 21] = [
    "source",
    "id",
    "account",
    "subscriber",
    "model",
    "vendor",
    "started_at",
    "completed_at",
    "usage",
    "finish_reason",
    "region",
    "channel",
    "gateway_seq",
    "gateway_epoch",
    "billed_model",
    "supplier",
    "usage_source",
    "service_tier",
    "product",
    "vendor_request_id",
    "labels",
];

/// A field of an event, in the order of [`FIELDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Source,
    Id,
    Account,
    Subscriber,
    Model,
    Vendor,
    StartedAt,
    CompletedAt,
    Usage,
    FinishReason,
    Region,
    Channel,
    GatewaySeq,
    GatewayEpoch,
    BilledModel,
    Supplier,
    UsageSource,
    ServiceTier,
    Product,
    VendorRequestId,
    Labels,
}

impl Field {
    /// Every field, in the order of [`FIELDS`].
    pub(crate) const ALL: [Self; FIELDS.len()] = [
        Self::Source,
        Self::Id,
        Self::Account,
        Self::Subscriber,
        Self::Model,
        Self::Vendor,
        Self::StartedAt,
        Self::CompletedAt,
        Self::Usage,
        Self::FinishReason,
        Self::Region,
        Self::Channel,
        Self::GatewaySeq,
        Self::GatewayEpoch,
        Self::BilledModel,
        Self::Supplier,
        Self::UsageSource,
        Self::ServiceTier,
        Self::Product,
        Self::VendorRequestId,
        Self::Labels,
    ];

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "source" => Self::Source,
            "id" => Self::Id,
            "account" => Self::Account,
            "subscriber" => Self::Subscriber,
            "model" => Self::Model,
            "vendor" => Self::Vendor,
            "started_at" => Self::StartedAt,
            "completed_at" => Self::CompletedAt,
            "usage" => Self::Usage,
            "finish_reason" => Self::FinishReason,
            "region" => Self::Region,
            "channel" => Self::Channel,
            "gateway_seq" => Self::GatewaySeq,
            "gateway_epoch" => Self::GatewayEpoch,
            "billed_model" => Self::BilledModel,
            "supplier" => Self::Supplier,
            "usage_source" => Self::UsageSource,
            "service_tier" => Self::ServiceTier,
            "product" => Self::Product,
            "vendor_request_id" => Self::VendorRequestId,
            "labels" => Self::Labels,
            _ => return None,
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        FIELDS[self as usize]
    }
}

pub(crate) fn set_field<'a>(parsed: &mut ParsedEvent<'a>, field: Field, value: Scalar<'a>) {
    match field {
        Field::StartedAt => parsed.event.started_at_ms = time(parsed, field.name(), value),
        Field::CompletedAt => parsed.event.completed_at_ms = time(parsed, field.name(), value),
        Field::GatewayEpoch => {
            parsed.event.gateway_epoch = optional_count(parsed, field.name(), value);
        }
        Field::GatewaySeq => parsed.event.gateway_seq = optional_count(parsed, field.name(), value),
        Field::UsageSource => set_usage_source(parsed, value),
        _ => {
            let value = text(parsed, field.name(), value);
            let event = &mut parsed.event;
            match field {
                Field::Source => event.source = value.unwrap_or_default(),
                Field::Id => event.id = value.unwrap_or_default(),
                Field::Account => event.account = value.unwrap_or_default(),
                Field::Model => event.model = value.unwrap_or_default(),
                Field::Subscriber => event.subscriber = value,
                Field::Vendor => event.vendor = value,
                Field::BilledModel => event.billed_model = value,
                Field::Supplier => event.supplier = value,
                Field::FinishReason => event.finish_reason = value,
                Field::Region => event.region = value,
                Field::Channel => event.channel = value,
                Field::ServiceTier => event.service_tier = value,
                Field::Product => event.product = value,
                _ => event.vendor_request_id = value,
            }
        }
    }
}

fn set_usage_source<'a>(parsed: &mut ParsedEvent<'a>, value: Scalar<'a>) {
    let Some(name) = text(parsed, Field::UsageSource.name(), value) else { return };
    match UsageSource::from_name(&name) {
        Some(source) => parsed.event.usage_source = source,
        None => parsed.fail(
            Code::InvalidUsageSource,
            Field::UsageSource.name(),
            format!("{name:?} is none of reported, partial, estimated, vendor_bill"),
        ),
    }
}

/// A text of at most [`TEXT_MAX_BYTES`]; null and the empty text are absent.
fn text<'a>(parsed: &mut ParsedEvent<'a>, field: &str, value: Scalar<'a>) -> Option<Cow<'a, str>> {
    match value {
        Scalar::Text(text) if text.len() > TEXT_MAX_BYTES => {
            parsed.fail(
                Code::TextTooLong,
                field,
                format!("{} bytes, at most {TEXT_MAX_BYTES}", text.len()),
            );
            None
        }
        Scalar::Text(text) if text.is_empty() => None,
        Scalar::Text(text) => Some(text),
        Scalar::Null => None,
        other => {
            parsed.fail(
                Code::InvalidType,
                field,
                format!("expected a text, found {}", other.kind()),
            );
            None
        }
    }
}

/// Latest time that is read: the end of the year 9999, which every table reader can hold.
pub(crate) const TIME_MAX_MS: i64 = 253_402_300_799_999;

fn time(parsed: &mut ParsedEvent<'_>, field: &str, value: Scalar<'_>) -> Option<i64> {
    match value {
        Scalar::Null => None,
        Scalar::Unsigned(ms) if ms <= TIME_MAX_MS.cast_unsigned() => Some(ms.cast_signed()),
        Scalar::Text(text) => match text.parse::<jiff::Timestamp>() {
            Ok(at) if at.as_millisecond() >= 0 => Some(at.as_millisecond()),
            Ok(_) => {
                parsed.fail(Code::InvalidTime, field, "before 1970");
                None
            }
            Err(error) => {
                parsed.fail(
                    Code::InvalidTime,
                    field,
                    format!("not RFC 3339 with an offset: {error}"),
                );
                None
            }
        },
        other => {
            parsed.fail(
                Code::InvalidTime,
                field,
                format!(
                    "expected integer milliseconds since 1970 UTC or RFC 3339 with an offset, found {}",
                    other.kind()
                ),
            );
            None
        }
    }
}

fn optional_count(parsed: &mut ParsedEvent<'_>, field: &str, value: Scalar<'_>) -> Option<u64> {
    if matches!(value, Scalar::Null) { None } else { count(parsed, field, value) }
}

/// A whole number from 0 to 2^53.
fn count(parsed: &mut ParsedEvent<'_>, field: &str, value: Scalar<'_>) -> Option<u64> {
    let (code, message) = match value {
        Scalar::Unsigned(count) if count <= COUNT_MAX => return Some(count),
        Scalar::Unsigned(count) => (Code::CountOutOfRange, format!("{count} is above 2^53")),
        Scalar::Negative(count) => (Code::CountNegative, format!("{count} is negative")),
        Scalar::Float { whole_and_large: true } => (Code::CountOutOfRange, "above 2^53".to_owned()),
        other => {
            (Code::CountNotInteger, format!("expected a whole number, found {}", other.kind()))
        }
    };
    parsed.fail(code, field, message);
    None
}

struct UsageSeed<'p, 'a>(&'p mut ParsedEvent<'a>);

impl<'de> DeserializeSeed<'de> for UsageSeed<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UsageSeed<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("usage as an object of counts by class")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let parsed = self.0;
        let mut seen = 0_u32;
        let mut total = None;
        let mut classes = 0_u32;
        let errors_before = parsed.errors.len();
        parsed.event.usage.set(TokenClass::Requests, 1);
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let value = map.next_value_seed(ScalarSeed)?;
            let class = TokenClass::from_name(&key);
            if class.is_none() && key != "total" {
                parsed.fail(
                    Code::UnknownUsageClass,
                    &format!("usage.{key}"),
                    "not a known class; its price is not known either",
                );
                continue;
            }
            let bit = 1_u32 << class.map_or(31, TokenClass::index);
            if seen & bit != 0 {
                parsed.fail(Code::DuplicateField, &format!("usage.{key}"), "given twice");
            }
            seen |= bit;
            if matches!(value, Scalar::Null) {
                continue;
            }
            let counted = match value {
                Scalar::Unsigned(count) if count <= COUNT_MAX => Some(count),
                value => count(parsed, &format!("usage.{key}"), value),
            };
            match class {
                Some(class) => {
                    classes += 1;
                    parsed.event.usage.set(class, counted.unwrap_or(0));
                }
                None => total = counted,
            }
        }
        if classes == 0 && parsed.errors.len() == errors_before {
            parsed.fail(Code::MissingUsage, "usage", "names no class");
        }
        let sum = parsed.event.usage.token_total();
        if let Some(total) = total.filter(|total| *total != sum) {
            parsed.fail(
                Code::TotalMismatch,
                "usage.total",
                format!("total {total} is not the sum of the token classes, {sum}"),
            );
        }
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.fail(Code::MissingUsage, "usage", "is null");
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.0.fail(Code::InvalidType, "usage", "expected an object, found a text");
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.0.fail(Code::InvalidType, "usage", "expected an object, found a number");
        Ok(())
    }
    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.visit_u64(0)
    }
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.visit_u64(0)
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.fail(Code::InvalidType, "usage", "expected an object, found a boolean");
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.0.fail(Code::InvalidType, "usage", "expected an object, found an array");
        Ok(())
    }
}

struct LabelsSeed<'p, 'a>(&'p mut ParsedEvent<'a>);

impl<'de> DeserializeSeed<'de> for LabelsSeed<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // Labels are rare: a map of values is clear enough, and a repeated key is seen.
        let value = <serde_json::Value as serde::Deserialize>::deserialize(deserializer)?;
        let parsed = self.0;
        match value {
            serde_json::Value::Null => {}
            serde_json::Value::Object(map) if map.len() <= LABELS_MAX => {
                for (key, value) in map {
                    match value {
                        serde_json::Value::String(text)
                            if text.len() <= TEXT_MAX_BYTES && key.len() <= TEXT_MAX_BYTES =>
                        {
                            parsed.event.labels.push((Cow::Owned(key), Cow::Owned(text)));
                        }
                        _ => parsed.fail(
                            Code::InvalidType,
                            "labels",
                            format!("a label is a text of at most {TEXT_MAX_BYTES} bytes"),
                        ),
                    }
                }
                parsed.event.labels.sort();
            }
            _ => parsed.fail(
                Code::InvalidType,
                "labels",
                format!("expected an object of at most {LABELS_MAX} texts"),
            ),
        }
        Ok(())
    }
}
