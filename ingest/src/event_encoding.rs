//! Writes a usage event as an element of a protobuf `UsageBatch`, straight from borrowed text.

use tally_schemas::{
    CorrectionKind, CorrectionKindCode, Corrects, TokenClass, UsageEvent, UsageSource,
    UsageSourceCode,
};

/// Wire types of protobuf.
const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;
/// Field of `UsageBatch.events`.
const EVENTS: u32 = 1;

/// Appends `event` to `batch` as one element of `UsageBatch.events`: the bytes that
/// `UsageEventMessage::from_event` would give, without allocating its strings. So batches join by
/// concatenation. `scratch` is only reused memory.
pub(crate) fn append_event(
    batch: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
    event: &UsageEvent<'_>,
    corrects: Option<&Corrects>,
) {
    scratch.clear();
    encode_event(scratch, event, corrects);
    put_bytes(batch, EVENTS, scratch);
}

fn encode_event(out: &mut Vec<u8>, event: &UsageEvent<'_>, corrects: Option<&Corrects>) {
    put_text(out, 1, &event.source);
    put_text(out, 2, &event.id);
    put_text(out, 3, &event.account);
    put_optional(out, 4, event.subscriber.as_deref());
    put_text(out, 5, &event.model);
    put_optional(out, 6, event.billed_model.as_deref());
    put_optional(out, 7, event.vendor.as_deref());
    put_optional(out, 8, event.supplier.as_deref());
    put_time(out, 9, event.started_at_ms);
    put_time(out, 10, event.completed_at_ms);
    // What only takes another event back has none.
    if corrects.is_none_or(|corrects| corrects.kind == CorrectionKind::Replace) {
        encode_usage(out, event);
    }
    let usage_source = match event.usage_source {
        UsageSource::Reported => UsageSourceCode::Unspecified,
        UsageSource::Partial => UsageSourceCode::Partial,
        UsageSource::Estimated => UsageSourceCode::Estimated,
        UsageSource::VendorBill => UsageSourceCode::VendorBill,
    };
    if usage_source != UsageSourceCode::Unspecified {
        put_varint_field(out, 12, i64::from(i32::from(usage_source)).cast_unsigned());
    }
    put_optional(out, 13, event.finish_reason.as_deref());
    put_optional(out, 14, event.service_tier.as_deref());
    put_optional(out, 15, event.region.as_deref());
    put_optional(out, 16, event.channel.as_deref());
    put_optional(out, 17, event.product.as_deref());
    put_optional(out, 18, event.vendor_request_id.as_deref());
    for (field, number) in [(19, event.gateway_epoch), (20, event.gateway_seq)] {
        if let Some(number) = number {
            put_varint_field(out, field, number);
        }
    }
    for (key, value) in &event.labels {
        let mut entry = Vec::with_capacity(key.len() + value.len() + 8);
        put_text(&mut entry, 1, key);
        put_text(&mut entry, 2, value);
        put_bytes(out, 21, &entry);
    }
    if let Some(Corrects { source, id, kind }) = corrects {
        let code = match kind {
            CorrectionKind::Void => CorrectionKindCode::Void,
            CorrectionKind::Replace => CorrectionKindCode::Replace,
        };
        let mut entry = Vec::with_capacity(source.len() + id.len() + 10);
        put_text(&mut entry, 1, source);
        put_text(&mut entry, 2, id);
        put_varint_field(&mut entry, 3, i64::from(i32::from(code)).cast_unsigned());
        put_bytes(out, 22, &entry);
    }
}

/// Field of `UsageEvent.usage`.
const USAGE: u32 = 11;

fn encode_usage(out: &mut Vec<u8>, event: &UsageEvent<'_>) {
    // Fourteen counts of at most 2^53 (8 bytes) with a one-byte key: below 128, so that the
    // length takes one byte, which is filled in afterwards.
    put_varint(out, u64::from(USAGE << 3 | LENGTH_DELIMITED));
    let length_at = out.len();
    out.push(0);
    for (field, class) in (1_u32..).zip(TokenClass::ALL) {
        let count = event.usage.get(class);
        let said = match class {
            // Sent even where 0, so that usage names a class.
            TokenClass::Input => true,
            TokenClass::Requests => count != 1,
            _ => count != 0,
        };
        if said {
            put_varint_field(out, field, count);
        }
    }
    let length = out.len() - length_at - 1;
    if let Ok(length @ 0..=127) = u8::try_from(length) {
        out[length_at] = length;
    } else {
        // Only counts above 2^53 come here, which no accepted event has.
        let body = out.split_off(length_at + 1);
        out.truncate(length_at);
        put_varint(out, wide(body.len()));
        out.extend_from_slice(&body);
    }
}

fn put_time(out: &mut Vec<u8>, field: u32, ms: Option<i64>) {
    if let Some(ms) = ms {
        put_varint_field(out, field, ms.cast_unsigned());
    }
}

fn put_optional(out: &mut Vec<u8>, field: u32, text: Option<&str>) {
    if let Some(text) = text {
        put_bytes(out, field, text.as_bytes());
    }
}

/// A text without presence: left out where empty, as proto3 has it.
fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field << 3 | LENGTH_DELIMITED));
    put_varint(out, wide(bytes.len()));
    out.extend_from_slice(bytes);
}

fn put_varint_field(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field << 3 | VARINT));
    put_varint(out, value);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tally_schemas::{COUNT_MAX, UsageBatch, UsageEventMessage, parse_event};

    use super::*;

    #[test]
    fn bytes_equal_what_the_generated_message_encodes() {
        let samples: [&[u8]; 3] = [
            br#"{"source":"g","id":"1","account":"A","model":"m","completed_at":1,"usage":{"input":0}}"#,
            br#"{"source":"g","id":"1","account":"A","subscriber":"S","model":"m","billed_model":"b",
                "vendor":"v","supplier":"p","started_at":1,"completed_at":253402300799999,
                "usage":{"input":1,"cached_input":200,"output":9007199254740992,"requests":0,"characters":5},
                "usage_source":"vendor_bill","finish_reason":"stop","service_tier":"t","region":"r",
                "channel":"c","product":"p","vendor_request_id":"v","gateway_epoch":0,
                "gateway_seq":9007199254740992,"labels":{"a":"","b":"c"}}"#,
            br#"{"source":"g","id":"1","account":"A","model":"m","completed_at":1,"usage":{"images":3},"usage_source":"partial"}"#,
        ];
        let mut batch = Vec::new();
        let mut scratch = Vec::new();
        let mut expected = UsageBatch::default();
        for sample in samples {
            let parsed = parse_event(sample);
            assert_eq!(parsed.errors, []);
            append_event(&mut batch, &mut scratch, &parsed.event, None);
            expected.events.push(UsageEventMessage::from_event(&parsed.event));
        }
        assert_eq!(batch, expected.encode_to_vec());
    }

    #[test]
    fn what_is_corrected_goes_with_the_event() {
        let corrects = |kind| Corrects { source: "g".into(), id: "0".into(), kind };
        let event = UsageEvent { source: "g".into(), id: "1".into(), ..UsageEvent::default() };
        for (kind, code, has_usage) in [
            (CorrectionKind::Void, CorrectionKindCode::Void, false),
            (CorrectionKind::Replace, CorrectionKindCode::Replace, true),
        ] {
            let mut batch = Vec::new();
            append_event(&mut batch, &mut Vec::new(), &event, Some(&corrects(kind)));
            let decoded = UsageBatch::decode(batch.as_slice()).unwrap();
            let message = &decoded.events[0];
            let told = message.corrects.as_ref().unwrap();
            assert_eq!((told.source.as_str(), told.id.as_str()), ("g", "0"));
            assert_eq!((told.kind(), message.usage.is_some()), (code, has_usage));
        }
    }

    #[test]
    fn counts_of_any_size_keep_their_length() {
        for count in [COUNT_MAX, u64::MAX] {
            let mut event = UsageEvent::default();
            for class in TokenClass::ALL {
                event.usage.set(class, count);
            }
            let mut batch = Vec::new();
            append_event(&mut batch, &mut Vec::new(), &event, None);
            let decoded = UsageBatch::decode(batch.as_slice()).unwrap();
            assert_eq!(decoded.events, [UsageEventMessage::from_event(&event)]);
        }
    }
}
