//! What is forwarded of an event that has defects: the known fields only, so that the aggregator
//! finds the same defects, a person can repair it, and no prompt or answer text passes.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};
use tally_schemas::{
    CorrectionKind, CorrectionKindCode, EVENT_FIELDS, LABELS_MAX, TEXT_MAX_BYTES, TokenClass,
    UsageEventMessage, UsageSourceCode,
};

/// Most unknown classes of `usage` that are forwarded; one is enough to hold the event back.
const UNKNOWN_CLASSES_MAX: usize = 16;
/// Marks a text that was cut. With it the text is still too long, so the defect stays.
const CUT_MARK: &str = "…";

/// The known fields of one event, as JSON scalars.
pub(crate) type KnownFields = Map<String, Value>;

/// Reads the [`KnownFields`] of an event where it stands. Texts beyond the limit are cut, objects
/// and arrays where a scalar belongs are emptied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownFieldsSeed;

impl<'de> DeserializeSeed<'de> for KnownFieldsSeed {
    type Value = KnownFields;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<KnownFields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for KnownFieldsSeed {
    type Value = KnownFields;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one usage event")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KnownFields, A::Error> {
        let mut fields = KnownFields::new();
        while let Some(name) = map.next_key::<String>()? {
            if !EVENT_FIELDS.contains(&name.as_str()) && name != "corrects" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = match name.as_str() {
                "usage" => map.next_value_seed(Kept(Inside::Usage))?,
                "labels" => map.next_value_seed(Kept(Inside::Labels))?,
                "corrects" => map.next_value_seed(Kept(Inside::Corrects))?,
                _ => map.next_value_seed(Kept(Inside::Nothing))?,
            };
            fields.insert(name, value);
        }
        Ok(fields)
    }
}

/// Which members of an object are kept.
#[derive(Debug, Clone, Copy)]
enum Inside {
    Nothing,
    Usage,
    Labels,
    Corrects,
}

/// Reads a value, keeping scalars and of an object only what [`Inside`] says.
#[derive(Debug, Clone, Copy)]
struct Kept(Inside);

/// Reads a scalar; an object or array comes out empty.
#[derive(Debug)]
pub(crate) struct KeptScalar(pub(crate) Value);

impl<'de> Deserialize<'de> for KeptScalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Kept(Inside::Nothing).deserialize(deserializer).map(Self)
    }
}

impl<'de> DeserializeSeed<'de> for Kept {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Kept {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(cut(value)))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array(Vec::new()))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        let mut unknown = 0;
        while let Some(name) = map.next_key::<String>()? {
            let known = TokenClass::from_name(&name).is_some() || name == "total";
            match self.0 {
                Inside::Usage if known => {
                    kept.insert(name, map.next_value::<KeptScalar>()?.0);
                }
                Inside::Usage if unknown < UNKNOWN_CLASSES_MAX => {
                    unknown += 1;
                    let KeptScalar(value) = map.next_value()?;
                    // The name and a number are what a repair needs; a text could be anything.
                    kept.insert(cut(&name), if value.is_number() { value } else { Value::Null });
                }
                // One more than allowed is kept, so that the defect stays.
                Inside::Labels if kept.len() <= LABELS_MAX => {
                    kept.insert(cut(&name), map.next_value::<KeptScalar>()?.0);
                }
                Inside::Corrects if ["source", "id", "kind"].contains(&name.as_str()) => {
                    kept.insert(name, map.next_value::<KeptScalar>()?.0);
                }
                Inside::Nothing | Inside::Usage | Inside::Labels | Inside::Corrects => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(kept))
    }
}

/// The text, or where it is longer than allowed, its beginning and [`CUT_MARK`].
fn cut(text: &str) -> String {
    if text.len() <= TEXT_MAX_BYTES {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TEXT_MAX_BYTES);
    let mut out = text[..end].to_owned();
    // At a boundary below the limit one mark could fit: pad until the text is too long again.
    while out.len() <= TEXT_MAX_BYTES {
        out.push_str(CUT_MARK);
    }
    out
}

/// The known fields of a protobuf event.
pub(crate) fn of_message(message: &UsageEventMessage) -> KnownFields {
    let mut fields = KnownFields::new();
    let mut put_text = |name: &str, text: Option<&str>| {
        if let Some(text) = text {
            fields.insert(name.to_owned(), Value::String(cut(text)));
        }
    };
    put_text("source", Some(&message.source));
    put_text("id", Some(&message.id));
    put_text("account", Some(&message.account));
    put_text("model", Some(&message.model));
    put_text("subscriber", message.subscriber.as_deref());
    put_text("billed_model", message.billed_model.as_deref());
    put_text("vendor", message.vendor.as_deref());
    put_text("supplier", message.supplier.as_deref());
    put_text("finish_reason", message.finish_reason.as_deref());
    put_text("service_tier", message.service_tier.as_deref());
    put_text("region", message.region.as_deref());
    put_text("channel", message.channel.as_deref());
    put_text("product", message.product.as_deref());
    put_text("vendor_request_id", message.vendor_request_id.as_deref());
    let usage_source = match UsageSourceCode::try_from(message.usage_source) {
        Ok(UsageSourceCode::Unspecified) => None,
        Ok(code) => Some(code.as_str_name().trim_start_matches("USAGE_SOURCE_").to_lowercase()),
        Err(_) => Some(message.usage_source.to_string()),
    };
    put_text("usage_source", usage_source.as_deref());
    let mut put_number = |name: &str, number: Option<Value>| {
        if let Some(number) = number {
            fields.insert(name.to_owned(), number);
        }
    };
    put_number("started_at", message.started_at.map(Value::from));
    put_number("completed_at", message.completed_at.map(Value::from));
    put_number("gateway_epoch", message.gateway_epoch.map(Value::from));
    put_number("gateway_seq", message.gateway_seq.map(Value::from));
    if let Some(usage) = &message.usage {
        let counts = [
            ("input", usage.input),
            ("cached_input", usage.cached_input),
            ("cache_write_5m", usage.cache_write_5m),
            ("cache_write_1h", usage.cache_write_1h),
            ("output", usage.output),
            ("reasoning", usage.reasoning),
            ("audio_input", usage.audio_input),
            ("audio_output", usage.audio_output),
            ("image_input", usage.image_input),
            ("image_output", usage.image_output),
            ("requests", usage.requests),
            ("images", usage.images),
            ("seconds", usage.seconds),
            ("characters", usage.characters),
            ("total", usage.total),
        ];
        let counts: Map<String, Value> = counts
            .into_iter()
            .filter_map(|(name, count)| Some((name.to_owned(), Value::from(count?))))
            .collect();
        fields.insert("usage".to_owned(), Value::Object(counts));
    }
    if let Some(corrects) = &message.corrects {
        let kind = match CorrectionKindCode::try_from(corrects.kind) {
            Ok(CorrectionKindCode::Unspecified) => Value::Null,
            Ok(CorrectionKindCode::Void) => CorrectionKind::Void.name().into(),
            Ok(CorrectionKindCode::Replace) => CorrectionKind::Replace.name().into(),
            Err(_) => corrects.kind.into(),
        };
        let mut told = Map::new();
        told.insert("source".to_owned(), Value::String(cut(&corrects.source)));
        told.insert("id".to_owned(), Value::String(cut(&corrects.id)));
        told.insert("kind".to_owned(), kind);
        fields.insert("corrects".to_owned(), Value::Object(told));
    }
    if !message.labels.is_empty() {
        let labels: Map<String, Value> = message
            .labels
            .iter()
            .take(LABELS_MAX + 1)
            .map(|(key, value)| (cut(key), Value::String(cut(value))))
            .collect();
        fields.insert("labels".to_owned(), Value::Object(labels));
    }
    fields
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tally_schemas::{EventErrorCode, parse_event};

    use super::*;

    fn codes(json: &str) -> BTreeSet<EventErrorCode> {
        parse_event(json.as_bytes()).errors.into_iter().map(|error| error.code).collect()
    }

    /// Whatever is wrong with an event is still wrong with its known fields, and nothing else is.
    #[test]
    fn known_fields_keep_every_defect_and_no_foreign_text() {
        let long = "长".repeat(100);
        let many: String = (0..100).map(|n| format!("\"k{n}\":\"v\",")).collect();
        let head = r#""source":"g","id":"1","account":"A""#;
        let samples = [
            format!(r#"{{{head},"completed_at":1,"usage":{{"input":-1}}}}"#),
            format!(
                r#"{{{head},"model":"m","completed_at":1,"usage":{{"input":1.5,"output":"7"}}}}"#
            ),
            format!(
                r#"{{{head},"model":"m","completed_at":1,"usage":{{"input":1e30,"output":99999999999999999999}}}}"#
            ),
            format!(
                r#"{{{head},"model":"m","completed_at":1,"usage":{{"input":1,"tool_tokens":2,"note":"SECRET"}}}}"#
            ),
            format!(
                r#"{{{head},"model":"m","completed_at":1,"usage":{{"input":1,"output":[1],"total":7}}}}"#
            ),
            format!(r#"{{{head},"model":["SECRET"],"completed_at":1,"usage":["SECRET"]}}"#),
            format!(
                r#"{{{head},"model":"{long}","completed_at":1,"usage":null,"prompt":"SECRET"}}"#
            ),
            format!(
                r#"{{{head},"model":"m","started_at":1.5,"completed_at":1,"usage":{{"input":1}},"labels":{{{many}"x":"y"}}}}"#
            ),
            format!(
                r#"{{{head},"model":"m","started_at":9,"completed_at":1,"usage":{{"reasoning":1}},"labels":{{"a":{{"b":"SECRET"}},"{long}":"x"}}}}"#
            ),
            format!(
                r#"{{{head},"completed_at":1,"corrects":{{"source":"g","id":"0","kind":"replace","note":"SECRET"}}}}"#
            ),
            format!(
                r#"{{{head},"completed_at":1,"corrects":{{"source":"g","id":[1],"kind":"x"}}}}"#
            ),
            format!(
                r#"{{{head},"model":"m","completed_at":1,"usage":{{"input":1}},"usage_source":"guess","messages":[{{"content":"SECRET"}}]}}"#
            ),
        ];
        for sample in samples {
            assert!(!codes(&sample).is_empty(), "{sample}");
            let mut reader = serde_json::Deserializer::from_str(&sample);
            let fields = KnownFieldsSeed.deserialize(&mut reader).unwrap();
            let rebuilt = serde_json::to_string(&fields).unwrap();
            assert_eq!(codes(&sample), codes(&rebuilt), "{sample}\n{rebuilt}");
            assert!(!rebuilt.contains("SECRET"), "{rebuilt}");
        }
    }

    #[test]
    fn a_cut_text_is_still_too_long_and_bounded() {
        for text in ["x".repeat(257), "长".repeat(1000), "é".repeat(129)] {
            let short = cut(&text);
            assert!(short.len() > TEXT_MAX_BYTES && short.len() < TEXT_MAX_BYTES + 8);
        }
    }
}
