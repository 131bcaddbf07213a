//! What a gateway says it sent in an hour: the control total that completeness is measured by.

use std::collections::BTreeMap;

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::event_json::{TEXT_MAX_BYTES, TIME_MAX_MS, is_phone_number};
use crate::token_class::{COUNT_MAX, TokenClass, UsageCounts};

/// Name of the record in the log, in its member `command`.
pub const CONTROL_TOTAL: &str = "control_total";

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

/// Events and usage that one gateway process numbered in one hour of `completed_at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayTotal {
    /// The gateway: `source` of its events.
    pub source: String,
    /// Start number of its process, where it has one.
    pub gateway_epoch: Option<u64>,
    /// Start of the hour, milliseconds UTC, a whole hour.
    pub hour_ms: i64,
    /// Events that it sent, each once however often it was sent again.
    pub events: u64,
    /// First and last `gateway_seq` of these events; absent where it does not number them, or sent
    /// none.
    pub seqs: Option<(u64, u64)>,
    /// Sums by class over these events, at most 2^53 each.
    pub usage: UsageCounts,
}

/// The shape in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    command: Option<String>,
    source: String,
    gateway_epoch: Option<u64>,
    hour: Instant,
    events: u64,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    usage: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Instant {
    Milliseconds(u64),
    Text(String),
}

impl GatewayTotal {
    /// Reads a control total; the member `command`, where it is there, must be [`CONTROL_TOTAL`].
    ///
    /// # Errors
    /// Everything that is wrong with it, each with the name of its member.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<String>> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| vec![error.to_string()])?;
        let mut wrong = Vec::new();
        if wire.command.is_some_and(|command| command != CONTROL_TOTAL) {
            wrong.push(format!("command: expected {CONTROL_TOTAL:?}"));
        }
        if wire.source.is_empty() || wire.source.len() > TEXT_MAX_BYTES {
            wrong.push(format!("source: expected a text of 1 to {TEXT_MAX_BYTES} bytes"));
        } else if is_phone_number(&wire.source) {
            wrong.push("source: a phone number is not accepted as an id".to_owned());
        }
        let hour_ms = match wire.hour {
            Instant::Milliseconds(ms) => i64::try_from(ms).ok(),
            Instant::Text(text) => {
                text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond())
            }
        };
        let hour_ms = hour_ms.filter(|ms| (0..=TIME_MAX_MS).contains(ms));
        match hour_ms {
            None => wrong.push(
                "hour: expected integer milliseconds since 1970 UTC or RFC 3339 with an offset"
                    .to_owned(),
            ),
            Some(ms) if ms % HOUR_MS != 0 => {
                wrong.push("hour: expected the start of an hour".to_owned());
            }
            Some(_) => {}
        }
        let bounded = [
            ("gateway_epoch", wire.gateway_epoch),
            ("events", Some(wire.events)),
            ("first_seq", wire.first_seq),
            ("last_seq", wire.last_seq),
        ];
        for (field, count) in bounded {
            if count.is_some_and(|count| count > COUNT_MAX) {
                wrong.push(format!("{field}: above 2^53"));
            }
        }
        let seqs = match (wire.first_seq, wire.last_seq) {
            (None, None) => None,
            (Some(first), Some(last)) if first <= last => Some((first, last)),
            (Some(_), Some(_)) => {
                wrong.push("last_seq: below first_seq".to_owned());
                None
            }
            _ => {
                wrong.push("first_seq, last_seq: give both or none".to_owned());
                None
            }
        };
        let mut usage = UsageCounts::default();
        for (name, count) in wire.usage {
            match TokenClass::from_name(&name) {
                None => wrong.push(format!("usage.{name}: no such class")),
                Some(_) if count > COUNT_MAX => wrong.push(format!("usage.{name}: above 2^53")),
                Some(class) => usage.set(class, count),
            }
        }
        match hour_ms {
            Some(hour_ms) if wrong.is_empty() => Ok(Self {
                source: wire.source,
                gateway_epoch: wire.gateway_epoch,
                hour_ms,
                events: wire.events,
                seqs,
                usage,
            }),
            _ => Err(wrong),
        }
    }

    /// The record's value in the log. [`GatewayTotal::parse`] gives the same total again.
    pub fn to_json(&self) -> String {
        let usage: serde_json::Map<String, serde_json::Value> = TokenClass::ALL
            .into_iter()
            .filter(|class| self.usage.get(*class) > 0)
            .map(|class| (class.name().to_owned(), self.usage.get(class).into()))
            .collect();
        serde_json::json!({
            "command": CONTROL_TOTAL,
            "source": self.source,
            "gateway_epoch": self.gateway_epoch,
            "hour": self.hour_ms,
            "events": self.events,
            "first_seq": self.seqs.map(|seqs| seqs.0),
            "last_seq": self.seqs.map(|seqs| seqs.1),
            "usage": usage,
        })
        .to_string()
    }

    /// First millisecond after the hour.
    pub const fn end_ms(&self) -> i64 {
        self.hour_ms + HOUR_MS
    }

    /// Hash of what there may be one total of: gateway, its start, the hour. Never that of an event
    /// or a command, as a length stands first there.
    pub fn identity_hash(&self) -> u64 {
        let mut bytes = vec![0xff];
        bytes.extend_from_slice(&self.hour_ms.to_le_bytes());
        bytes.extend_from_slice(&self.gateway_epoch.map_or(u64::MAX, |epoch| epoch).to_le_bytes());
        bytes.extend_from_slice(self.source.as_bytes());
        xxh3_64(&bytes)
    }

    /// Hash of everything else.
    pub fn content_hash(&self) -> u64 {
        let mut bytes = Vec::with_capacity(160);
        let (first, last) = self.seqs.unwrap_or((u64::MAX, u64::MAX));
        for number in [self.events, first, last].into_iter().chain(self.usage.0) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        xxh3_64(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: &str = r#"{"command":"control_total","source":"gw-sh-01","gateway_epoch":3,
        "hour":"2026-11-22T14:00:00+08:00","events":1000,"first_seq":17,"last_seq":1016,
        "usage":{"input":434000,"output":345000,"requests":1000}}"#;

    #[test]
    fn a_total_is_read_and_written() {
        let total = GatewayTotal::parse(TOTAL.as_bytes()).unwrap();
        assert_eq!((total.hour_ms, total.seqs), (1_795_327_200_000, Some((17, 1016))));
        assert_eq!(total.usage.get(TokenClass::Output), 345_000);
        assert_eq!(GatewayTotal::parse(total.to_json().as_bytes()), Ok(total.clone()));
        let unnumbered = GatewayTotal { gateway_epoch: None, seqs: None, ..total.clone() };
        assert_eq!(GatewayTotal::parse(unnumbered.to_json().as_bytes()), Ok(unnumbered.clone()));
        assert_ne!(unnumbered.identity_hash(), total.identity_hash());
        let other = GatewayTotal { events: 999, ..total.clone() };
        assert_eq!(other.identity_hash(), total.identity_hash());
        assert_ne!(other.content_hash(), total.content_hash());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, said) in [
            ("gw-sh-01", "", "source: expected"),
            ("gw-sh-01", "13812345678", "source: a phone number"),
            ("14:00:00+08:00", "14:00:01+08:00", "hour: expected the start"),
            ("T14:00:00+08:00", "", "hour: expected integer"),
            ("\"first_seq\":17,", "", "first_seq, last_seq: give both"),
            ("\"last_seq\":1016", "\"last_seq\":16", "last_seq: below"),
            ("\"input\"", "\"prompt\"", "usage.prompt: no such class"),
            ("434000", "9007199254740993", "usage.input: above 2^53"),
            ("434000", "-1", "invalid value"),
            ("434000", "1.5", "invalid type"),
            ("\"events\":1000", "\"event\":1000", "unknown field"),
            ("\"command\":\"control_total\"", "\"command\":\"tick\"", "command: expected"),
        ] {
            let text = TOTAL.replace(from, to);
            let wrong = GatewayTotal::parse(text.as_bytes()).unwrap_err();
            assert!(wrong.iter().any(|words| words.contains(said)), "{to}: {wrong:?}");
        }
    }
}
