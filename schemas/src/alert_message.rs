//! The message of the topic `usage.alerts`: one alert as receivers get it, in JSON. Its JSON Schema
//! is [`ALERT_JSON_SCHEMA`]; `docs/alerts.md` explains it.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use serde::{Deserialize as DeriveDeserialize, Serialize as DeriveSerialize};

/// The JSON Schema (2020-12) of the message.
pub const ALERT_JSON_SCHEMA: &str = include_str!("../json/alert.v1.schema.json");

/// The largest whole number that every reader of JSON takes without loss.
const NUMBER_MAX: i128 = 1 << 53;

/// A whole number: a JSON number up to 2^53 either way, a text of digits beyond, as many readers
/// would round it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Whole(pub i128);

/// One alert. What it has none of is null.
#[derive(Debug, Clone, PartialEq, Eq, Default, DeriveSerialize, DeriveDeserialize)]
pub struct AlertMessage {
    /// Identity: the same crossing has the same one, however often it is sent.
    pub id: String,
    /// Kind of the threshold, or `corrected`.
    pub kind: String,
    /// Account; none where the alert is about a model.
    pub account: Option<String>,
    /// Whose usage crossed the threshold; none where a command or the clock did.
    pub subscriber: Option<String>,
    /// Model, vendor or supplier that a budget or commitment is for, or `*`.
    pub model: Option<String>,
    /// Package, or the tariff of pay as you go; the id of a budget or commitment.
    pub package: Option<String>,
    /// Bucket.
    pub bucket: Option<String>,
    /// Start of the bucket, or of the window's period, milliseconds UTC.
    pub period_start: i64,
    /// What is counted, and how often the bucket was armed again.
    pub counter: String,
    /// The threshold's value, in the unit of its kind.
    pub threshold: Whole,
    /// What is used, micro-points; micro-currency for `overflow_spent`.
    pub used: Whole,
    /// The bucket's allowance or the cap's limit, micro-points.
    pub allowance: Option<Whole>,
    /// When it happened, milliseconds UTC: the event's `completed_at`, the command's `at`, or when
    /// the timer was due.
    pub at: i64,
    /// The event that crossed the threshold.
    pub event: Option<AlertEvent>,
    /// Id of the account command that did.
    pub command: Option<String>,
    /// The id of the alert that does not hold any more, where the kind is `corrected`.
    pub corrects: Option<String>,
    /// Where the record lies that caused it: in the topic of usage events; of a budget or
    /// commitment in that of increments.
    pub position: Option<LogPosition>,
}

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, DeriveSerialize, DeriveDeserialize)]
pub struct LogPosition {
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
}

/// The identity of an event.
#[derive(Debug, Clone, PartialEq, Eq, Default, DeriveSerialize, DeriveDeserialize)]
pub struct AlertEvent {
    /// Source.
    pub source: String,
    /// Id within the source.
    pub id: String,
}

impl AlertMessage {
    /// The message as it is sent.
    ///
    /// # Errors
    /// None that is known: texts and whole numbers can always be written.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Who and where, in the bytes of a message; none where they are no message that has both.
    pub fn sent_at(bytes: &[u8]) -> Option<SentAlert> {
        #[derive(DeriveDeserialize)]
        struct Sent {
            id: String,
            kind: String,
            position: LogPosition,
        }
        let Sent { id, kind, position } = serde_json::from_slice(bytes).ok()?;
        Some(SentAlert { id, of_budget: BUDGET_KINDS.contains(&kind.as_str()), position })
    }
}

/// Kinds of alerts that span accounts.
pub const BUDGET_KINDS: [&str; 2] = ["budget", "commitment"];

/// What a sender needs to know of an alert that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentAlert {
    /// Identity.
    pub id: String,
    /// Whether it is of a budget or commitment: then the position is in the topic of increments.
    pub of_budget: bool,
    /// Where the record lies that caused it.
    pub position: LogPosition,
}

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(number) if self.0.abs() <= NUMBER_MAX => serializer.serialize_i64(number),
            _ => serializer.collect_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor;
        impl Visitor<'_> for WholeVisitor {
            type Value = Whole;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number, or one in a text of digits")
            }
            fn visit_i64<E>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number.into()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number.into()))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Whole, E> {
                text.parse().map(Whole).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(WholeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_beyond_2_pow_53_are_texts_and_come_back() {
        for (number, text) in [
            (0, "0"),
            (NUMBER_MAX, "9007199254740992"),
            (-NUMBER_MAX, "-9007199254740992"),
            (NUMBER_MAX + 1, "\"9007199254740993\""),
            (-(1 << 100), "\"-1267650600228229401496703205376\""),
        ] {
            assert_eq!(serde_json::to_string(&Whole(number)).unwrap(), text);
            assert_eq!(serde_json::from_str::<Whole>(text).unwrap(), Whole(number));
        }
        assert!(serde_json::from_str::<Whole>("1.5").is_err());
        assert!(serde_json::from_str::<Whole>("\"1.5\"").is_err());
    }

    #[test]
    fn identity_and_position_are_found_in_the_bytes() {
        let position = LogPosition { partition: 3, offset: 1 << 40 };
        let id = "a1".to_owned();
        let message = AlertMessage { id, position: Some(position), ..AlertMessage::default() };
        let bytes = message.to_json().unwrap();
        let sent = AlertMessage::sent_at(&bytes).unwrap();
        assert_eq!((sent.id.as_str(), sent.of_budget, sent.position), ("a1", false, position));
        let of_budget = AlertMessage { kind: "budget".to_owned(), ..message.clone() };
        assert!(AlertMessage::sent_at(&of_budget.to_json().unwrap()).unwrap().of_budget);
        assert_eq!(serde_json::from_slice::<AlertMessage>(&bytes).unwrap(), message);
        let nowhere = AlertMessage { position: None, ..message };
        assert_eq!(AlertMessage::sent_at(&nowhere.to_json().unwrap()), None);
        assert_eq!(AlertMessage::sent_at(b"not json"), None);
    }
}
