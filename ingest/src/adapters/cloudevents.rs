//! CloudEvents 1.0: structured, batch, and binary mode. `data` is the event; its `source` and `id`
//! are those of the envelope.

use std::borrow::Cow;
use std::fmt;

use axum::http::{HeaderMap, HeaderName};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use tally_schemas::{EventError, EventErrorCode as Code, EventSeed, ParsedEvent, TEXT_MAX_BYTES};

use super::json::{ArraySeed, Elements, unparseable, walk};
use super::{BodyError, complete};
use crate::answer::Warning;
use crate::intake::{Intake, TooManyEvents, Verdict};
use crate::known_fields::{KeptScalar, KnownFields, KnownFieldsSeed};

/// Reads one structured CloudEvent.
///
/// # Errors
/// A body that is not JSON.
pub(super) fn read_one(body: &[u8], intake: &mut Intake) -> Result<(), BodyError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let envelope = Envelope(EventSeed).deserialize(&mut reader).map_err(unparseable)?;
    reader.end().map_err(unparseable)?;
    if let Verdict::Held(index) = take(intake, envelope)? {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let envelope = Envelope(KnownFieldsSeed).deserialize(&mut reader).map_err(unparseable)?;
        intake.hold(index, &known_fields_of(envelope));
    }
    Ok(())
}

/// Reads an array of structured CloudEvents.
///
/// # Errors
/// A body that is not a JSON array; too many events.
pub(super) fn read_batch(body: &[u8], intake: &mut Intake) -> Result<(), BodyError> {
    let mut events = TakeEnvelopes { intake, failed: None };
    let result = walk(body, ArraySeed, &mut events);
    let TakeEnvelopes { intake, failed } = events;
    if let Some(error) = failed {
        return Err(error);
    }
    result?;
    if intake.wants_any_fields() {
        walk(body, ArraySeed, &mut HoldEnvelopes(intake))?;
    }
    Ok(())
}

/// Reads one CloudEvent in binary mode: the body is the event, `envelope` comes from the headers.
///
/// # Errors
/// A body that is not JSON.
pub(super) fn read_binary(
    body: &[u8],
    envelope: &BinaryEnvelope,
    intake: &mut Intake,
) -> Result<(), BodyError> {
    let attributes = Attributes {
        specversion: envelope.specversion.clone().map(Value::String),
        source: envelope.source.clone().map(Value::String),
        id: envelope.id.clone().map(Value::String),
        data_base64: false,
        fault: None,
    };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let data = EventSeed.deserialize(&mut reader).map_err(unparseable)?;
    reader.end().map_err(unparseable)?;
    let verdict = take(intake, Enveloped { attributes: attributes.clone(), data: Some(data) })?;
    if let Verdict::Held(index) = verdict {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let data = KnownFieldsSeed.deserialize(&mut reader).map_err(unparseable)?;
        intake.hold(index, &known_fields_of(Enveloped { attributes, data: Some(data) }));
    }
    Ok(())
}

/// The `ce-…` headers of binary mode that an event needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BinaryEnvelope {
    specversion: Option<String>,
    source: Option<String>,
    id: Option<String>,
}

const CE_SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");
const CE_SOURCE: HeaderName = HeaderName::from_static("ce-source");
const CE_ID: HeaderName = HeaderName::from_static("ce-id");

impl BinaryEnvelope {
    /// Whether a request is a CloudEvent in binary mode.
    pub(crate) fn is_in(headers: &HeaderMap) -> bool {
        headers.contains_key(CE_SPECVERSION)
    }

    /// Reads the headers, with the percent encoding of the HTTP binding undone.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            headers
                .get(name)
                .map(|value: &axum::http::HeaderValue| percent_decoded(value.as_bytes()))
        };
        Self { specversion: text(CE_SPECVERSION), source: text(CE_SOURCE), id: text(CE_ID) }
    }
}

fn percent_decoded(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        let encoded = after
            .get(..2)
            .filter(|_| *byte == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match encoded {
            Some(decoded) => {
                out.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The attributes of an envelope that matter here; all others are context and are left alone.
#[derive(Debug, Clone, Default)]
struct Attributes {
    specversion: Option<Value>,
    source: Option<Value>,
    id: Option<Value>,
    data_base64: bool,
    /// What makes the element no envelope at all.
    fault: Option<String>,
}

/// An envelope and its data.
#[derive(Debug)]
struct Enveloped<T> {
    attributes: Attributes,
    data: Option<T>,
}

/// Reads an envelope, its `data` with the seed inside.
#[derive(Debug, Clone, Copy)]
struct Envelope<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Envelope<S> {
    type Value = Enveloped<S::Value>;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<S> Envelope<S> {
    fn not_an_object<T>(found: &str) -> Enveloped<T> {
        let fault = Some(format!("expected an object, found {found}"));
        Enveloped { attributes: Attributes { fault, ..Attributes::default() }, data: None }
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Envelope<S> {
    type Value = Enveloped<S::Value>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvent")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut attributes = Attributes::default();
        let mut data = None;
        let mut seed = Some(self.0);
        while let Some(name) = map.next_key::<String>()? {
            let slot = match name.as_str() {
                "specversion" => &mut attributes.specversion,
                "source" => &mut attributes.source,
                "id" => &mut attributes.id,
                "data" => {
                    let Some(seed) = seed.take() else {
                        return Err(A::Error::duplicate_field("data"));
                    };
                    data = Some(map.next_value_seed(seed)?);
                    continue;
                }
                other => {
                    attributes.data_base64 |= other == "data_base64";
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.is_some() {
                attributes.fault = Some(format!("{name} is given twice"));
                map.next_value::<IgnoredAny>()?;
            } else {
                *slot = Some(map.next_value::<KeptScalar>()?.0);
            }
        }
        Ok(Enveloped { attributes, data })
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Self::not_an_object("null"))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Self::not_an_object("a boolean"))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Self::not_an_object("a number"))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Self::not_an_object("a number"))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Self::not_an_object("a number"))
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Self::not_an_object("a text"))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::not_an_object("an array"))
    }
}

/// First reading of a batch.
struct TakeEnvelopes<'i> {
    intake: &'i mut Intake,
    failed: Option<BodyError>,
}

impl<'de> Elements<'de> for TakeEnvelopes<'_> {
    fn element<D: Deserializer<'de>>(&mut self, _: u64, reader: D) -> Result<(), D::Error> {
        let envelope = Envelope(EventSeed).deserialize(reader)?;
        if let Err(error) = take(self.intake, envelope) {
            self.failed = Some(error.into());
            return Err(D::Error::custom("too many events"));
        }
        Ok(())
    }
}

/// Second reading, where there is need.
struct HoldEnvelopes<'i>(&'i mut Intake);

impl<'de> Elements<'de> for HoldEnvelopes<'_> {
    fn element<D: Deserializer<'de>>(&mut self, index: u64, reader: D) -> Result<(), D::Error> {
        if self.0.wants_fields(index) {
            let envelope = Envelope(KnownFieldsSeed).deserialize(reader)?;
            self.0.hold(index, &known_fields_of(envelope));
        } else {
            reader.deserialize_ignored_any(IgnoredAny)?;
        }
        Ok(())
    }
    fn goes_on(&self) -> bool {
        self.0.wants_any_fields()
    }
}

/// Gives the event of an envelope its identity and hands it to the intake.
fn take(
    intake: &mut Intake,
    envelope: Enveloped<ParsedEvent<'_>>,
) -> Result<Verdict, TooManyEvents> {
    let Enveloped { attributes, data } = envelope;
    let fault = attributes.fault.or_else(|| match &attributes.specversion {
        Some(Value::String(version)) if version == "1.0" => None,
        Some(other) => Some(format!("specversion is {other}, not \"1.0\"")),
        None => Some("specversion is required".to_owned()),
    });
    let fault = fault.or_else(|| match (&data, attributes.data_base64) {
        (_, true) => Some("data_base64 is not accepted; send the event as JSON in data".to_owned()),
        (None, false) => Some("data is required".to_owned()),
        (Some(_), false) => None,
    });
    let mut parsed = data.unwrap_or_default();
    let inner_id = std::mem::take(&mut parsed.event.id);
    let inner_source = std::mem::take(&mut parsed.event.source);
    parsed.errors.retain(|error| error.field != "id" && error.field != "source");
    if let Some(id) = identity(&mut parsed.errors, "id", attributes.id) {
        parsed.event.id = id;
    }
    if let Some(source) = identity(&mut parsed.errors, "source", attributes.source) {
        parsed.event.source = source;
    }
    for (field, inner, outer) in [
        ("data.id", inner_id, &parsed.event.id),
        ("data.source", inner_source, &parsed.event.source),
    ] {
        if !inner.is_empty() && inner != *outer {
            intake.warn(Warning {
                index: Some(intake.next_index()),
                id: Some(parsed.event.id.to_string()),
                code: "identity_of_envelope",
                field: Some(field.to_owned()),
                message: format!("{field} differs from the envelope, which counts"),
            });
        }
    }
    if let Some(fault) = fault {
        parsed
            .errors
            .insert(0, EventError::new(Code::Malformed, "", format!("not a CloudEvent: {fault}")));
    }
    complete(&mut parsed);
    intake.event(&parsed)
}

/// The text of an identity attribute; `None`, with an error where there is one to report.
fn identity<'a>(
    errors: &mut Vec<EventError>,
    field: &str,
    value: Option<Value>,
) -> Option<Cow<'a, str>> {
    match value? {
        Value::String(text) if text.len() > TEXT_MAX_BYTES => {
            let message = format!("longer than {TEXT_MAX_BYTES} bytes");
            errors.push(EventError::new(Code::TextTooLong, field, message));
            None
        }
        Value::String(text) => Some(Cow::Owned(text)),
        Value::Null => None,
        _ => {
            errors.push(EventError::new(Code::InvalidType, field, "expected a text"));
            None
        }
    }
}

fn known_fields_of(envelope: Enveloped<KnownFields>) -> KnownFields {
    let mut fields = envelope.data.unwrap_or_default();
    for (name, value) in [("id", envelope.attributes.id), ("source", envelope.attributes.source)] {
        fields.insert(name.to_owned(), value.unwrap_or(Value::Null));
    }
    fields
}
