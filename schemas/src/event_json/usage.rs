//! The members of an event that are objects: counts by class, and labels.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fields::count;
use super::scalar::{Key, Scalar, ScalarSeed};
use super::{LABELS_MAX, ParsedEvent, TEXT_MAX_BYTES};
use crate::event_error::EventErrorCode as Code;
use crate::token_class::{COUNT_MAX, TokenClass};

pub(super) struct UsageSeed<'p, 'a>(pub(super) &'p mut ParsedEvent<'a>);

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

pub(super) struct LabelsSeed<'p, 'a>(pub(super) &'p mut ParsedEvent<'a>);

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
