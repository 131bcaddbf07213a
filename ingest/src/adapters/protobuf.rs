//! Protobuf: one `tally.v1.UsageBatch`. A single event is sent as a batch of one, since the bytes
//! of a bare `UsageEvent` cannot be told from those of a batch. Fields of unknown numbers are not
//! forwarded.

use std::borrow::Cow;

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tally_schemas::{
    EventError, EventErrorCode, ParsedEvent, TokenClass, Usage, UsageEvent, UsageEventMessage,
    check_message, note_message_corrects, usage_source_of,
};

use super::BodyError;
use crate::intake::{Intake, Verdict};
use crate::known_fields;

/// Field of `UsageBatch.events`.
const EVENTS: u32 = 1;

/// Reads the body. An element that cannot be read is refused alone.
///
/// # Errors
/// A body that is not protobuf; too many events.
pub(super) fn read(mut body: &[u8], intake: &mut Intake) -> Result<(), BodyError> {
    while !body.is_empty() {
        let (field, wire_type) = decode_key(&mut body).map_err(unparseable)?;
        if field != EVENTS || wire_type != WireType::LengthDelimited {
            skip_field(wire_type, field, &mut body, DecodeContext::default())
                .map_err(unparseable)?;
            intake.note_unknown_fields(&[format!("field {field}")]);
            continue;
        }
        let length = decode_varint(&mut body).map_err(unparseable)?;
        let element = usize::try_from(length).ok().and_then(|length| body.split_at_checked(length));
        let Some((element, rest)) = element else {
            return Err(BodyError::Unparseable(format!(
                "not protobuf: an event of {length} bytes where {} are left",
                body.len()
            )));
        };
        body = rest;
        read_event(element, intake)?;
    }
    Ok(())
}

fn unparseable(error: prost::DecodeError) -> BodyError {
    BodyError::Unparseable(format!("not protobuf: {error}"))
}

fn read_event(bytes: &[u8], intake: &mut Intake) -> Result<(), BodyError> {
    let message = match UsageEventMessage::decode(bytes) {
        Ok(message) => message,
        Err(error) => {
            let mut parsed = ParsedEvent::default();
            parsed.errors.push(EventError::new(
                EventErrorCode::Malformed,
                "",
                format!("not a UsageEvent: {error}"),
            ));
            intake.event(&parsed)?;
            return Ok(());
        }
    };
    if let Verdict::Held(index) = intake.event(&parsed_of(&message))? {
        intake.hold(index, &known_fields::of_message(&message));
    }
    Ok(())
}

/// The event of a message, with everything that is wrong with it.
fn parsed_of(message: &UsageEventMessage) -> ParsedEvent<'_> {
    let mut parsed = ParsedEvent {
        event: UsageEvent {
            source: Cow::Borrowed(&message.source),
            id: Cow::Borrowed(&message.id),
            account: Cow::Borrowed(&message.account),
            subscriber: borrowed(&message.subscriber),
            model: Cow::Borrowed(&message.model),
            billed_model: borrowed(&message.billed_model),
            vendor: borrowed(&message.vendor),
            supplier: borrowed(&message.supplier),
            started_at_ms: message.started_at,
            completed_at_ms: message.completed_at,
            finish_reason: borrowed(&message.finish_reason),
            service_tier: borrowed(&message.service_tier),
            region: borrowed(&message.region),
            channel: borrowed(&message.channel),
            product: borrowed(&message.product),
            vendor_request_id: borrowed(&message.vendor_request_id),
            gateway_epoch: message.gateway_epoch,
            gateway_seq: message.gateway_seq,
            labels: message
                .labels
                .iter()
                .map(|(key, value)| (Cow::Borrowed(key.as_str()), Cow::Borrowed(value.as_str())))
                .collect(),
            ..UsageEvent::default()
        },
        ..ParsedEvent::default()
    };
    match usage_source_of(message.usage_source) {
        Some(source) => parsed.event.usage_source = source,
        None => parsed.errors.push(EventError::new(
            EventErrorCode::InvalidUsageSource,
            "usage_source",
            format!("code {} is not known", message.usage_source),
        )),
    }
    let usage = message.usage.unwrap_or_default();
    let mut classes = 0;
    if message.usage.is_some() {
        parsed.event.usage.set(TokenClass::Requests, 1);
    }
    for class in TokenClass::ALL {
        if let Some(count) = count_of(&usage, class) {
            classes += 1;
            parsed.event.usage.set(class, count);
        }
    }
    if let Some(corrects) = &message.corrects {
        let of = (corrects.source.as_str(), corrects.id.as_str());
        note_message_corrects(&mut parsed, of, corrects.kind, classes);
    }
    check_message(&mut parsed, classes, usage.total);
    parsed
}

/// An absent and an empty text are the same, as in JSON.
fn borrowed(text: &Option<String>) -> Option<Cow<'_, str>> {
    text.as_deref().filter(|text| !text.is_empty()).map(Cow::Borrowed)
}

const fn count_of(usage: &Usage, class: TokenClass) -> Option<u64> {
    match class {
        TokenClass::Input => usage.input,
        TokenClass::CachedInput => usage.cached_input,
        TokenClass::CacheWrite5m => usage.cache_write_5m,
        TokenClass::CacheWrite1h => usage.cache_write_1h,
        TokenClass::Output => usage.output,
        TokenClass::Reasoning => usage.reasoning,
        TokenClass::AudioInput => usage.audio_input,
        TokenClass::AudioOutput => usage.audio_output,
        TokenClass::ImageInput => usage.image_input,
        TokenClass::ImageOutput => usage.image_output,
        TokenClass::Requests => usage.requests,
        TokenClass::Images => usage.images,
        TokenClass::Seconds => usage.seconds,
        TokenClass::Characters => usage.characters,
    }
}
