//! Reads a protobuf `UsageBatch` in place: texts are borrowed from the message, nothing is
//! allocated for an event without labels. A test holds it equal to the generated decoder.

use std::borrow::Cow;

use tally_schemas::{
    EventError, EventErrorCode as Code, ParsedEvent, check_message, usage_class_of, usage_source_of,
};

/// The bytes are not the protobuf that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotProtobuf(pub(crate) &'static str);

/// A field of a message.
enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, NotProtobuf> {
        let mut value = 0_u64;
        for (position, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                if position == 9 && *byte > 1 {
                    return Err(NotProtobuf("varint beyond 64 bits"));
                }
                self.rest = &self.rest[position + 1..];
                return Ok(value);
            }
        }
        Err(NotProtobuf("varint without an end"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], NotProtobuf> {
        if length > self.rest.len() {
            return Err(NotProtobuf("field longer than its message"));
        }
        let (head, tail) = self.rest.split_at(length);
        self.rest = tail;
        Ok(head)
    }

    fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, NotProtobuf> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| NotProtobuf("field number too large"))?;
        if number == 0 {
            return Err(NotProtobuf("field number 0"));
        }
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?)
                    .map_err(|_| NotProtobuf("field longer than its message"))?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Fixed)?,
            _ => return Err(NotProtobuf("unknown wire type")),
        };
        Ok(Some((number, field)))
    }
}

/// Splits a `UsageBatch` into the bytes of its events. All of the framing is read first, so that
/// a torn batch is refused as a whole.
pub(crate) fn split_batch(bytes: &[u8]) -> Result<Vec<&[u8]>, NotProtobuf> {
    let mut fields = Fields { rest: bytes };
    let mut events = Vec::new();
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(event)) => events.push(event),
            (1, _) => return Err(NotProtobuf("events is not a message")),
            _ => {}
        }
    }
    if events.is_empty() {
        return Err(NotProtobuf("a batch without events"));
    }
    Ok(events)
}

/// Reads one `UsageEvent` message. Bytes that are not one give a single `malformed` error.
pub(crate) fn parse_message(bytes: &[u8]) -> ParsedEvent<'_> {
    let mut parsed = ParsedEvent::default();
    let mut classes = 0;
    let mut total = None;
    match read_event(bytes, &mut parsed, &mut classes, &mut total) {
        Ok(()) => check_message(&mut parsed, classes, total),
        Err(NotProtobuf(why)) => parsed.errors.push(EventError::new(
            Code::Malformed,
            "",
            format!("not a UsageEvent message: {why}"),
        )),
    }
    parsed
}

fn read_event<'a>(
    bytes: &'a [u8],
    parsed: &mut ParsedEvent<'a>,
    classes: &mut u32,
    total: &mut Option<u64>,
) -> Result<(), NotProtobuf> {
    let mut fields = Fields { rest: bytes };
    while let Some((number, field)) = fields.next()? {
        let event = &mut parsed.event;
        match (number, field) {
            (1, Field::Bytes(bytes)) => event.source = text(bytes)?,
            (2, Field::Bytes(bytes)) => event.id = text(bytes)?,
            (3, Field::Bytes(bytes)) => event.account = text(bytes)?,
            (4, Field::Bytes(bytes)) => event.subscriber = optional(bytes)?,
            (5, Field::Bytes(bytes)) => event.model = text(bytes)?,
            (6, Field::Bytes(bytes)) => event.billed_model = optional(bytes)?,
            (7, Field::Bytes(bytes)) => event.vendor = optional(bytes)?,
            (8, Field::Bytes(bytes)) => event.supplier = optional(bytes)?,
            (9, Field::Varint(value)) => event.started_at_ms = Some(value.cast_signed()),
            (10, Field::Varint(value)) => event.completed_at_ms = Some(value.cast_signed()),
            (11, Field::Bytes(bytes)) => read_usage(bytes, parsed, classes, total)?,
            (12, Field::Varint(value)) => {
                match i32::try_from(value).ok().and_then(usage_source_of) {
                    Some(source) => event.usage_source = source,
                    None => parsed.errors.push(EventError::new(
                        Code::InvalidUsageSource,
                        "usage_source",
                        format!("code {value} is not known"),
                    )),
                }
            }
            (13, Field::Bytes(bytes)) => event.finish_reason = optional(bytes)?,
            (14, Field::Bytes(bytes)) => event.service_tier = optional(bytes)?,
            (15, Field::Bytes(bytes)) => event.region = optional(bytes)?,
            (16, Field::Bytes(bytes)) => event.channel = optional(bytes)?,
            (17, Field::Bytes(bytes)) => event.product = optional(bytes)?,
            (18, Field::Bytes(bytes)) => event.vendor_request_id = optional(bytes)?,
            (19, Field::Varint(value)) => event.gateway_epoch = Some(value),
            (20, Field::Varint(value)) => event.gateway_seq = Some(value),
            (21, Field::Bytes(bytes)) => read_label(bytes, parsed)?,
            (1..=21, _) => return Err(NotProtobuf("a field of the wrong type")),
            (_, _) => {}
        }
    }
    Ok(())
}

fn read_usage<'a>(
    bytes: &'a [u8],
    parsed: &mut ParsedEvent<'a>,
    classes: &mut u32,
    total: &mut Option<u64>,
) -> Result<(), NotProtobuf> {
    let mut fields = Fields { rest: bytes };
    if *classes == 0 {
        parsed.event.usage.set(tally_schemas::TokenClass::Requests, 1);
    }
    while let Some((number, field)) = fields.next()? {
        match (usage_class_of(number), number, field) {
            (Some(class), _, Field::Varint(count)) => {
                *classes += 1;
                parsed.event.usage.set(class, count);
            }
            (None, 15, Field::Varint(sum)) => *total = Some(sum),
            (None, 16.., _) => parsed.errors.push(EventError::new(
                Code::UnknownUsageClass,
                format!("usage.#{number}"),
                "not a known class; its price is not known either",
            )),
            _ => return Err(NotProtobuf("a count of the wrong type")),
        }
    }
    Ok(())
}

fn read_label<'a>(bytes: &'a [u8], parsed: &mut ParsedEvent<'a>) -> Result<(), NotProtobuf> {
    let mut fields = Fields { rest: bytes };
    let (mut key, mut value) = (Cow::Borrowed(""), Cow::Borrowed(""));
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => key = text(bytes)?,
            (2, Field::Bytes(bytes)) => value = text(bytes)?,
            _ => return Err(NotProtobuf("a label of the wrong type")),
        }
    }
    let labels = &mut parsed.event.labels;
    match labels.iter_mut().find(|(other, _)| *other == key) {
        // The last one wins, as in every protobuf map.
        Some(label) => label.1 = value,
        None => labels.push((key, value)),
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<Cow<'_, str>, NotProtobuf> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| NotProtobuf("text is not UTF-8"))
}

/// An empty text is an absent one, as in JSON.
fn optional(bytes: &[u8]) -> Result<Option<Cow<'_, str>>, NotProtobuf> {
    if bytes.is_empty() { Ok(None) } else { text(bytes).map(Some) }
}
