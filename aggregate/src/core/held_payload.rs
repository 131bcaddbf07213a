//! The payload of a held-back row, read back from `suspense.raw`.

use tally_schemas::{EventErrorCode, ParsedEvent, UsageCounts, parse_event};

use crate::core::batch_reader::parse_message;

/// What stands before bytes in hex.
const HEX: &str = "hex:";

/// The bytes behind a text of `suspense.raw`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeldPayload<'a> {
    /// As it came; or a protobuf event as JSON, which says the same.
    Json(&'a [u8]),
    /// What could not be shown as text.
    Bytes(Vec<u8>),
}

impl<'a> HeldPayload<'a> {
    /// Reads the text. What looks like hex and is not is taken as it stands.
    pub(crate) fn of(raw: &'a str) -> Self {
        match raw.strip_prefix(HEX).and_then(bytes_of_hex) {
            Some(bytes) => Self::Bytes(bytes),
            None => Self::Json(raw.as_bytes()),
        }
    }

    /// Reads the event. Bytes are a protobuf event where they can be read as one, as JSON would
    /// have been kept as text.
    pub(crate) fn parse(&self) -> ParsedEvent<'_> {
        let bytes = match self {
            Self::Json(text) => return parse_event(text),
            Self::Bytes(bytes) => bytes,
        };
        let message = parse_message(bytes);
        if message.errors.iter().any(|error| error.code == EventErrorCode::Malformed) {
            return parse_event(bytes);
        }
        message
    }
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// What a person who looks at a held-back row wants to know of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldReading {
    /// Counts by class, as far as they can be read.
    pub usage: UsageCounts,
    /// Whether it is a command, and no usage.
    pub is_command: bool,
    /// Whether it is text that can be sent again as it is.
    pub is_text: bool,
}

impl HeldReading {
    /// Reads a text of `suspense.raw`.
    pub fn of(raw: &str) -> Self {
        let payload = HeldPayload::of(raw);
        let parsed = payload.parse();
        Self {
            usage: parsed.event.usage,
            is_command: parsed.command.is_some(),
            is_text: matches!(payload, HeldPayload::Json(_)),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tally_schemas::{EventErrorCode, TokenClass, Usage, UsageEventMessage};

    use super::*;
    use crate::core::message_text::message_text;
    use crate::core::suspense_rows::raw_text;

    fn message() -> Vec<u8> {
        UsageEventMessage {
            source: "gw".into(),
            id: "1".into(),
            account: "A1".into(),
            model: "nobody-1".into(),
            completed_at: Some(1_795_326_157_827),
            usage: Some(Usage { output: Some(7), requests: Some(0), ..Usage::default() }),
            ..UsageEventMessage::default()
        }
        .encode_to_vec()
    }

    /// What was a message is the same event in every form in which it is kept: a recycled row has
    /// the identity and the content that dedupe knows.
    #[test]
    fn a_message_is_the_same_event_as_text_and_in_hex() {
        let bytes = message();
        let event = parse_message(&bytes).event;
        let text = message_text(&bytes);
        let hex = format!("hex:{}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>());
        for raw in [text, hex] {
            let payload = HeldPayload::of(&raw);
            let parsed = payload.parse();
            assert_eq!(parsed.errors, vec![], "{raw}");
            let scratch = &mut Vec::new();
            assert_eq!(parsed.event.content_hash(scratch), event.content_hash(scratch), "{raw}");
            assert_eq!(parsed.event.identity_hash(scratch), event.identity_hash(scratch), "{raw}");
        }
    }

    /// A class that nobody named is not in the text: as it is, it is held back again.
    #[test]
    fn a_message_without_usage_has_none_as_text() {
        let named = UsageEventMessage::decode(message().as_slice()).unwrap();
        for usage in [None, Some(Usage::default())] {
            let bytes = UsageEventMessage { usage, ..named.clone() }.encode_to_vec();
            let text = message_text(&bytes);
            let payload = HeldPayload::of(&text);
            let parsed = payload.parse();
            let codes: Vec<_> = parsed.errors.iter().map(|error| error.code).collect();
            assert_eq!(codes, [EventErrorCode::MissingUsage], "{text}");
        }
    }

    #[test]
    fn what_can_be_read_of_a_payload_is_read() {
        let json = r#"{"source":"gw","id":"1","usage":{"output":7}}"#;
        let reading = HeldReading::of(json);
        assert_eq!(reading.usage.get(TokenClass::Output), 7);
        assert!(reading.is_text && !reading.is_command);
        assert!(HeldReading::of(r#"{"command":"purchase","id":"c"}"#).is_command);
        // Bytes that are no text: JSON with a stray byte, a torn batch, nothing at all.
        let stray = [b"{\"usage\":{\"output\":7},\"id\":\"", &[0xff][..], b"\"}"].concat();
        for bytes in [stray.as_slice(), &[0x0a, 0x7f, 0xff], &[0xff]] {
            let reading = HeldReading::of(&raw_text(bytes));
            assert!(!reading.is_text && !reading.is_command, "{bytes:?}");
        }
        for raw in ["", "hex:", "hex:0", "hex:zz", "hex:é"] {
            assert_eq!(HeldReading::of(raw).usage.get(TokenClass::Output), 0, "{raw}");
        }
    }
}
