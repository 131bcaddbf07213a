//! Native JSON: one event, an array of events, or `{"events":[…]}`.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tally_schemas::EventSeed;

use super::{BodyError, complete};
use crate::intake::{Intake, Verdict};
use crate::known_fields::KnownFieldsSeed;

/// Field of an object that holds events.
const EVENTS: &str = "events";

/// Reads the body.
///
/// # Errors
/// A body that is not JSON, with the position; too many events.
pub(super) fn read(body: &[u8], intake: &mut Intake) -> Result<(), BodyError> {
    match shape_of(body) {
        Shape::Array => read_elements(body, intake, ArraySeed),
        Shape::Envelope => read_elements(body, intake, EnvelopeSeed),
        Shape::Object => {
            let mut reader = serde_json::Deserializer::from_slice(body);
            let mut parsed = EventSeed.deserialize(&mut reader).map_err(unparseable)?;
            reader.end().map_err(unparseable)?;
            if parsed.unknown_fields.iter().any(|field| field == EVENTS) {
                return read_elements(body, intake, EnvelopeSeed);
            }
            complete(&mut parsed);
            if let Verdict::Held(index) = intake.event(&parsed)? {
                let mut reader = serde_json::Deserializer::from_slice(body);
                let fields = KnownFieldsSeed.deserialize(&mut reader).map_err(unparseable)?;
                intake.hold(index, &fields);
            }
            Ok(())
        }
    }
}

/// What a body looks like from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Array,
    /// `{"events"…`; an object with `events` further on is found to be one after a first reading.
    Envelope,
    Object,
}

fn shape_of(body: &[u8]) -> Shape {
    let body = body.trim_ascii_start();
    match body.split_first() {
        Some((b'[', _)) => Shape::Array,
        Some((b'{', rest)) if rest.trim_ascii_start().starts_with(b"\"events\"") => Shape::Envelope,
        _ => Shape::Object,
    }
}

/// Words a JSON error, position included.
pub(super) fn unparseable(error: serde_json::Error) -> BodyError {
    BodyError::Unparseable(format!("not JSON: {error}"))
}

/// What is done with each element of an array of events.
pub(super) trait Elements<'de> {
    /// Reads the element at `index`.
    fn element<D: Deserializer<'de>>(&mut self, index: u64, reader: D) -> Result<(), D::Error>;

    /// Whether anything is left to be done.
    fn goes_on(&self) -> bool {
        true
    }

    /// Takes the names of fields beside the array.
    fn unknown_field(&mut self, _name: String) {}
}

/// How the array of events is found in a body. `Copy`, as a body may be read twice.
pub(super) trait Document: Copy {
    /// Hands every element to `elements`.
    fn walk<'de, D: Deserializer<'de>, E: Elements<'de>>(
        self,
        reader: D,
        elements: &mut E,
    ) -> Result<(), D::Error>;
}

/// The body is the array.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArraySeed;

impl Document for ArraySeed {
    fn walk<'de, D: Deserializer<'de>, E: Elements<'de>>(
        self,
        reader: D,
        elements: &mut E,
    ) -> Result<(), D::Error> {
        reader.deserialize_seq(ArrayVisitor(elements))
    }
}

/// The array is in the field `events` of the body.
#[derive(Debug, Clone, Copy)]
struct EnvelopeSeed;

impl Document for EnvelopeSeed {
    fn walk<'de, D: Deserializer<'de>, E: Elements<'de>>(
        self,
        reader: D,
        elements: &mut E,
    ) -> Result<(), D::Error> {
        reader.deserialize_map(EnvelopeVisitor(elements))
    }
}

/// Visits the array of events.
struct ArrayVisitor<'e, E>(&'e mut E);

impl<'de, E: Elements<'de>> Visitor<'de> for ArrayVisitor<'_, E> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for index in 0.. {
            if seq.next_element_seed(ElementSeed(self.0, index))?.is_none() {
                break;
            }
        }
        Ok(())
    }
}

impl<'de, E: Elements<'de>> DeserializeSeed<'de> for ArrayVisitor<'_, E> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

struct ElementSeed<'e, E>(&'e mut E, u64);

impl<'de, E: Elements<'de>> DeserializeSeed<'de> for ElementSeed<'_, E> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.0.goes_on() {
            self.0.element(self.1, deserializer)
        } else {
            deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ())
        }
    }
}

struct EnvelopeVisitor<'e, E>(&'e mut E);

impl<'de, E: Elements<'de>> Visitor<'de> for EnvelopeVisitor<'_, E> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an array of events in \"events\"")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(name) = map.next_key::<String>()? {
            if name != EVENTS {
                map.next_value::<IgnoredAny>()?;
                self.0.unknown_field(name);
            } else if found {
                return Err(A::Error::duplicate_field(EVENTS));
            } else {
                found = true;
                map.next_value_seed(ArrayVisitor(&mut *self.0))?;
            }
        }
        Ok(())
    }
}

/// First reading: every element goes to the intake.
struct TakeEvents<'i> {
    intake: &'i mut Intake,
    unknown_fields: Vec<String>,
    failed: Option<BodyError>,
}

impl<'de> Elements<'de> for TakeEvents<'_> {
    fn element<D: Deserializer<'de>>(&mut self, _: u64, reader: D) -> Result<(), D::Error> {
        let mut parsed = EventSeed.deserialize(reader)?;
        complete(&mut parsed);
        if let Err(error) = self.intake.event(&parsed) {
            self.failed = Some(error.into());
            return Err(D::Error::custom("too many events"));
        }
        Ok(())
    }
    fn unknown_field(&mut self, name: String) {
        self.unknown_fields.push(name);
    }
}

/// Second reading, where there is need: the known fields of events that have defects.
struct HoldEvents<'i>(&'i mut Intake);

impl<'de> Elements<'de> for HoldEvents<'_> {
    fn element<D: Deserializer<'de>>(&mut self, index: u64, reader: D) -> Result<(), D::Error> {
        if self.0.wants_fields(index) {
            let fields = KnownFieldsSeed.deserialize(reader)?;
            self.0.hold(index, &fields);
        } else {
            reader.deserialize_ignored_any(IgnoredAny)?;
        }
        Ok(())
    }
    fn goes_on(&self) -> bool {
        self.0.wants_any_fields()
    }
}

fn read_elements<D: Document>(
    body: &[u8],
    intake: &mut Intake,
    document: D,
) -> Result<(), BodyError> {
    let mut take = TakeEvents { intake, unknown_fields: Vec::new(), failed: None };
    let result = walk(body, document, &mut take);
    let TakeEvents { intake, unknown_fields, failed } = take;
    if let Some(error) = failed {
        return Err(error);
    }
    result?;
    intake.note_unknown_fields(&unknown_fields);
    if intake.wants_any_fields() {
        walk(body, document, &mut HoldEvents(intake))?;
    }
    Ok(())
}

/// Hands every element of a body to `elements`.
pub(super) fn walk<'de, D: Document, E: Elements<'de>>(
    body: &'de [u8],
    document: D,
    elements: &mut E,
) -> Result<(), BodyError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    document.walk(&mut reader, elements).map_err(unparseable)?;
    reader.end().map_err(unparseable)
}
