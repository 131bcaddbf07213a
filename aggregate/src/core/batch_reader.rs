//! Reads a protobuf `UsageBatch` in place: texts are borrowed from the message, nothing is
//! allocated for an event without labels. A test holds it equal to the generated decoder.

use std::borrow::Cow;

use tally_schemas::{
    EventErrorCode as Code, ParsedEvent, check_message, note_message_corrects, usage_class_of,
    usage_source_of,
};

pub(crate) use crate::core::proto_fields::NotProtobuf;
use crate::core::proto_fields::{AsciiRun, Field, Fields, any_text};

/// Splits a `UsageBatch` into the bytes of its events. All of the framing is read first, so that
/// a torn batch is refused as a whole.
pub(crate) fn split_batch(bytes: &[u8]) -> Result<Vec<&[u8]>, NotProtobuf> {
    let mut fields = Fields::of(bytes);
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
    let mut corrects = None;
    match read_event(bytes, &mut parsed, (&mut classes, &mut total), &mut corrects) {
        Ok(()) => {
            keep_last_of_each(&mut parsed.event.labels);
            if let Some(CorrectsFields { source, id, kind }) = corrects {
                note_message_corrects(&mut parsed, (&source, &id), kind, classes);
            }
            check_message(&mut parsed, classes, total);
        }
        Err(NotProtobuf(why)) => {
            parsed.fail(Code::Malformed, "", format!("not a UsageEvent message: {why}"));
        }
    }
    parsed
}

/// An empty text is an absent one, as in JSON.
fn present(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    Some(text).filter(|text| !text.is_empty())
}

fn read_event<'a>(
    bytes: &'a [u8],
    parsed: &mut ParsedEvent<'a>,
    (classes, total): (&mut u32, &mut Option<u64>),
    corrects: &mut Option<CorrectsFields<'a>>,
) -> Result<(), NotProtobuf> {
    let mut fields = Fields::of(bytes);
    let mut texts = AsciiRun::of(bytes);
    while let Some((number, field)) = fields.next()? {
        let event = &mut parsed.event;
        // Where the field ends that was just read.
        let end = bytes.len() - fields.left();
        let mut text = |text: &'a [u8]| texts.text(text, end);
        match (number, field) {
            (1, Field::Bytes(bytes)) => event.source = text(bytes)?,
            (2, Field::Bytes(bytes)) => event.id = text(bytes)?,
            (3, Field::Bytes(bytes)) => event.account = text(bytes)?,
            (4, Field::Bytes(bytes)) => event.subscriber = present(text(bytes)?),
            (5, Field::Bytes(bytes)) => event.model = text(bytes)?,
            (6, Field::Bytes(bytes)) => event.billed_model = present(text(bytes)?),
            (7, Field::Bytes(bytes)) => event.vendor = present(text(bytes)?),
            (8, Field::Bytes(bytes)) => event.supplier = present(text(bytes)?),
            (9, Field::Varint(value)) => event.started_at_ms = Some(value.cast_signed()),
            (10, Field::Varint(value)) => event.completed_at_ms = Some(value.cast_signed()),
            (11, Field::Bytes(bytes)) => read_usage(bytes, parsed, classes, total)?,
            (12, Field::Varint(value)) => {
                match i32::try_from(value).ok().and_then(usage_source_of) {
                    Some(source) => event.usage_source = source,
                    None => parsed.fail(
                        Code::InvalidUsageSource,
                        "usage_source",
                        format!("code {value} is not known"),
                    ),
                }
            }
            (13, Field::Bytes(bytes)) => event.finish_reason = present(text(bytes)?),
            (14, Field::Bytes(bytes)) => event.service_tier = present(text(bytes)?),
            (15, Field::Bytes(bytes)) => event.region = present(text(bytes)?),
            (16, Field::Bytes(bytes)) => event.channel = present(text(bytes)?),
            (17, Field::Bytes(bytes)) => event.product = present(text(bytes)?),
            (18, Field::Bytes(bytes)) => event.vendor_request_id = present(text(bytes)?),
            (19, Field::Varint(value)) => event.gateway_epoch = Some(value),
            (20, Field::Varint(value)) => event.gateway_seq = Some(value),
            (21, Field::Bytes(bytes)) => read_label(bytes, parsed)?,
            (22, Field::Bytes(bytes)) => {
                read_corrects(bytes, corrects.get_or_insert_with(Default::default))?;
            }
            (1..=22, _) => return Err(NotProtobuf("a field of the wrong type")),
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
    let mut fields = Fields::of(bytes);
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
            (None, 16.., _) => parsed.fail(
                Code::UnknownUsageClass,
                &format!("usage.#{number}"),
                "not a known class; its price is not known either",
            ),
            _ => return Err(NotProtobuf("a count of the wrong type")),
        }
    }
    Ok(())
}

/// Which earlier event a message corrects.
#[derive(Default)]
struct CorrectsFields<'a> {
    source: Cow<'a, str>,
    id: Cow<'a, str>,
    kind: i32,
}

fn read_corrects<'a>(bytes: &'a [u8], into: &mut CorrectsFields<'a>) -> Result<(), NotProtobuf> {
    let mut fields = Fields::of(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => into.source = any_text(bytes)?,
            (2, Field::Bytes(bytes)) => into.id = any_text(bytes)?,
            (3, Field::Varint(kind)) => into.kind = i32::try_from(kind).unwrap_or(i32::MAX),
            (1..=3, _) => return Err(NotProtobuf("corrects has a field of the wrong type")),
            (_, _) => {}
        }
    }
    Ok(())
}

fn read_label<'a>(bytes: &'a [u8], parsed: &mut ParsedEvent<'a>) -> Result<(), NotProtobuf> {
    let mut fields = Fields::of(bytes);
    let (mut key, mut value) = (Cow::Borrowed(""), Cow::Borrowed(""));
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => key = any_text(bytes)?,
            (2, Field::Bytes(bytes)) => value = any_text(bytes)?,
            _ => return Err(NotProtobuf("a label of the wrong type")),
        }
    }
    parsed.event.labels.push((key, value));
    Ok(())
}

/// Of labels with one key the last one wins, as in every protobuf map. By sorting, as a message may
/// carry a hundred thousand before it is found to have too many.
fn keep_last_of_each(labels: &mut Vec<(Cow<'_, str>, Cow<'_, str>)>) {
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    labels.reverse();
    labels.dedup_by(|a, b| a.0 == b.0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use tally_schemas::{
        CLASS_COUNT, CorrectionKindCode, CorrectsMessage, Usage, UsageBatch, UsageCounts,
        UsageEvent, UsageEventMessage, UsageSource, parse_event,
    };

    use super::*;

    fn text() -> impl Strategy<Value = Cow<'static, str>> {
        "[a-zA-Z0-9_./\u{4e00}-\u{4e20}-]{1,24}".prop_map(Cow::Owned)
    }

    prop_compose! {
        fn event()(
            texts in prop::array::uniform4(text()),
            optional in prop::array::uniform10(prop::option::of(text())),
            completed in 1_000_000_000_000_i64..2_000_000_000_000,
            duration in prop::option::of(0_i64..1_000_000),
            counts in prop::array::uniform14(prop_oneof![Just(0_u64), 0..COUNT_MAX, 0_u64..5_000]),
            gateway in prop::option::of((0_u64..1_000, 0..COUNT_MAX)),
            labels in prop::collection::btree_map("[a-z]{1,6}", "[a-z ]{0,9}", 0..4),
            source in 0..4_usize,
        ) -> UsageEvent<'static> {
            let [source_name, id, account, model] = texts;
            let [subscriber, billed_model, vendor, supplier, finish_reason, service_tier, region, channel, product, vendor_request_id] = optional;
            let mut usage = UsageCounts(counts);
            let reasoning = TokenClass::Reasoning;
            usage.set(reasoning, usage.get(reasoning).min(usage.get(TokenClass::Output)));
            UsageEvent {
                source: source_name, id, account, subscriber, model, billed_model, vendor, supplier,
                started_at_ms: duration.map(|d| completed - d),
                completed_at_ms: Some(completed),
                usage,
                usage_source: [UsageSource::Reported, UsageSource::Partial, UsageSource::Estimated, UsageSource::VendorBill][source],
                finish_reason, service_tier, region, channel, product, vendor_request_id,
                gateway_epoch: gateway.map(|g| g.0),
                gateway_seq: gateway.map(|g| g.1),
                labels: labels.into_iter().map(|(k, v)| (Cow::Owned(k), Cow::Owned(v))).collect(),
            }
        }
    }
    use tally_schemas::{COUNT_MAX, TokenClass};

    proptest! {
        #[test]
        fn reads_what_the_generated_encoder_writes(events in prop::collection::vec(event(), 1..6)) {
            let batch = UsageBatch { events: events.iter().map(UsageEventMessage::from_event).collect() };
            let bytes = batch.encode_to_vec();
            let split = split_batch(&bytes).unwrap();
            prop_assert_eq!(split.len(), events.len());
            for (message, event) in split.into_iter().zip(&events) {
                let parsed = parse_message(message);
                prop_assert_eq!(&parsed.errors, &vec![]);
                prop_assert_eq!(&parsed.event, event);
                let scratch = &mut Vec::new();
                prop_assert_eq!(parsed.event.content_hash(scratch), event.content_hash(scratch));
            }
        }

        #[test]
        fn json_and_protobuf_are_the_same_event(event in event()) {
            let mut json = serde_json::json!({
                "source": event.source, "id": event.id, "account": event.account, "model": event.model,
                "completed_at": event.completed_at_ms, "usage_source": event.usage_source.name(),
                "subscriber": event.subscriber, "vendor": event.vendor, "region": event.region,
                "started_at": event.started_at_ms, "billed_model": event.billed_model,
                "supplier": event.supplier, "finish_reason": event.finish_reason,
                "service_tier": event.service_tier, "channel": event.channel, "product": event.product,
                "vendor_request_id": event.vendor_request_id, "gateway_epoch": event.gateway_epoch,
                "gateway_seq": event.gateway_seq,
                "labels": event.labels.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            });
            let mut usage = serde_json::Map::new();
            for class in TokenClass::ALL {
                usage.insert(class.name().to_owned(), event.usage.get(class).into());
            }
            json["usage"] = usage.into();
            let bytes = json.to_string();
            let parsed = parse_event(bytes.as_bytes());
            prop_assert_eq!(&parsed.errors, &vec![]);
            let scratch = &mut Vec::new();
                prop_assert_eq!(parsed.event.content_hash(scratch), event.content_hash(scratch));
            prop_assert_eq!(parsed.event.identity_hash(scratch), event.identity_hash(scratch));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(events) = split_batch(&bytes) {
                prop_assert!(UsageBatch::decode(bytes.as_slice()).is_ok() || events.iter().any(|e| !parse_message(e).errors.is_empty()));
            }
            parse_event(&bytes);
        }
    }

    /// Bytes of labels, in which the last of each key counts, and a great many of them.
    #[test]
    fn the_last_of_each_label_counts_however_many_there_are() {
        let label = |key: &str, value: &str| {
            let text = |field: u8, text: &str| {
                [&[field << 3 | 2, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
            };
            let entry = [text(1, key), text(2, value)].concat();
            // Field 21, a message.
            [&[0xaa, 0x01, u8::try_from(entry.len()).unwrap()][..], &entry].concat()
        };
        let few = [label("b", "1"), label("a", "2"), label("b", "3"), label("", "4")].concat();
        let generated = UsageEventMessage::decode(few.as_slice()).unwrap();
        let read: Vec<(String, String)> = parse_message(&few)
            .event
            .labels
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        assert_eq!(read, generated.labels.into_iter().collect::<Vec<_>>());
        // A search for each would take minutes.
        let many: Vec<u8> = (0..300_000).flat_map(|n| label(&n.to_string(), "x")).collect();
        let parsed = parse_message(&many);
        assert!(parsed.errors.iter().any(|error| error.message == "at most 64 labels"));
    }

    #[test]
    fn what_is_corrected_is_read_as_the_generated_message_has_it() {
        for (kind, usage, is_void) in [
            (CorrectionKindCode::Unspecified, None, Some(true)),
            (CorrectionKindCode::Void, None, Some(true)),
            (CorrectionKindCode::Replace, Some(7), Some(false)),
            (CorrectionKindCode::Unspecified, Some(7), Some(false)),
            (CorrectionKindCode::Replace, None, None),
            (CorrectionKindCode::Void, Some(7), None),
        ] {
            let message = UsageEventMessage {
                source: "g".into(),
                id: "1".into(),
                account: "A".into(),
                model: "m".into(),
                completed_at: Some(1),
                usage: usage.map(|input| Usage { input: Some(input), ..Usage::default() }),
                corrects: Some(CorrectsMessage {
                    source: "g".into(),
                    id: "0".into(),
                    kind: kind.into(),
                }),
                ..UsageEventMessage::default()
            };
            let bytes = message.encode_to_vec();
            let parsed = parse_message(&bytes);
            assert_eq!(parsed.errors.is_empty(), is_void.is_some(), "{:?}", parsed.errors);
            let Some(is_void) = is_void else { continue };
            assert_eq!(parsed.is_void(), is_void);
            let corrects = parsed.corrects.as_ref().unwrap();
            assert_eq!((corrects.source.as_str(), corrects.id.as_str()), ("g", "0"));
            // As people read it, it says the same.
            let text = crate::core::message_text::message_text(&bytes);
            let again = parse_event(text.as_bytes());
            assert_eq!((&again.errors, &again.corrects), (&vec![], &parsed.corrects), "{text}");
            let scratch = &mut Vec::new();
            let content = parsed.event.content_hash(scratch);
            assert_eq!(again.event.content_hash(scratch), content, "{text}");
        }
    }

    #[test]
    fn field_numbers_have_29_bits() {
        for (key, fits) in [(u64::from(u32::MAX) - 7, true), (u64::from(u32::MAX) + 1, false)] {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(key, &mut bytes);
            bytes.push(0);
            assert_eq!(UsageEventMessage::decode(bytes.as_slice()).is_ok(), fits);
            let malformed = parse_message(&bytes).errors.iter().any(|e| e.code == Code::Malformed);
            assert_eq!(!malformed, fits, "{key}");
        }
    }

    #[test]
    fn the_number_of_classes_is_the_proto_s() {
        assert!((1..=14).all(|field| usage_class_of(field).is_some()));
        assert_eq!((usage_class_of(0), usage_class_of(15), CLASS_COUNT), (None, None, 14));
    }
}
