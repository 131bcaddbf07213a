//! Events that must be held back, one kind for each reason that a single event can earn.

use std::borrow::Cow;

use serde_json::{Value, json};
use tally_schemas::{COUNT_MAX, SuspenseReason, UsageEvent};

use crate::json::encode_json;
use crate::traffic::EventBody;

/// A way in which an event is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PoisonKind {
    /// The bytes end in the middle.
    Truncated,
    /// Not JSON at all.
    NotJson,
    /// A field is given twice.
    RepeatedField,
    /// No id.
    NoId,
    /// No account.
    NoAccount,
    /// No time.
    NoTime,
    /// No usage.
    NoUsage,
    /// No model.
    NoModel,
    /// A number where a text belongs.
    WrongType,
    /// A text longer than the limit.
    LongText,
    /// Started after it was completed.
    StartAfterEnd,
    /// A time as a fraction of a second.
    FloatTime,
    /// A negative count.
    NegativeCount,
    /// A count with a fraction.
    FloatCount,
    /// A count above 2^53.
    HugeCount,
    /// A class that nobody knows.
    UnknownClass,
    /// A total that is not the sum.
    WrongTotal,
    /// More reasoning than output.
    ReasoningAboveOutput,
    /// A phone number as the account.
    PhoneNumber,
    /// A model without a vendor that no alias names.
    UnknownModel,
    /// Completed in the far future.
    Future,
    /// The id of an event that was sent before, with other counts.
    Conflict,
}

/// What a gateway sends as the account that should not be one.
const PHONE_NUMBER: &str = "13800138000";

impl PoisonKind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::Truncated,
        Self::NotJson,
        Self::RepeatedField,
        Self::NoId,
        Self::NoAccount,
        Self::NoTime,
        Self::NoUsage,
        Self::NoModel,
        Self::WrongType,
        Self::LongText,
        Self::StartAfterEnd,
        Self::FloatTime,
        Self::NegativeCount,
        Self::FloatCount,
        Self::HugeCount,
        Self::UnknownClass,
        Self::WrongTotal,
        Self::ReasoningAboveOutput,
        Self::PhoneNumber,
        Self::UnknownModel,
        Self::Future,
        Self::Conflict,
    ];

    /// The reason for which the event must be held back.
    pub const fn reason(self) -> SuspenseReason {
        match self {
            Self::Truncated | Self::NotJson | Self::RepeatedField => SuspenseReason::Malformed,
            Self::NoId | Self::NoAccount | Self::NoTime => SuspenseReason::MissingIdentity,
            Self::NoUsage | Self::NoModel => SuspenseReason::Incomplete,
            Self::WrongType | Self::LongText => SuspenseReason::InvalidField,
            Self::StartAfterEnd | Self::FloatTime => SuspenseReason::InvalidTime,
            Self::NegativeCount | Self::FloatCount | Self::HugeCount => {
                SuspenseReason::InvalidCount
            }
            Self::UnknownClass => SuspenseReason::UnknownUsageClass,
            Self::WrongTotal | Self::ReasoningAboveOutput => SuspenseReason::ClassesDoNotAddUp,
            Self::PhoneNumber => SuspenseReason::PhoneNumber,
            Self::UnknownModel => SuspenseReason::UnknownModel,
            Self::Future => SuspenseReason::TimeInFuture,
            Self::Conflict => SuspenseReason::ConflictingDuplicate,
        }
    }

    /// Whether the HTTP door already refuses such an event, because it cannot be attributed or
    /// spoils the body that it travels in; it can then only come through Kafka.
    pub const fn refused_at_door(self) -> bool {
        // A time that cannot be read leaves the event without one.
        matches!(self, Self::FloatTime)
            || matches!(
                self.reason(),
                SuspenseReason::Malformed
                    | SuspenseReason::MissingIdentity
                    | SuspenseReason::PhoneNumber
            )
    }

    /// The account that a bad event of `account` names, by which its record is keyed.
    pub(crate) fn account_named(self, account: String) -> String {
        if self == Self::PhoneNumber { PHONE_NUMBER.to_owned() } else { account }
    }

    /// A good event made bad. Milliseconds of a century are added for the future, so that it is
    /// the future on any machine.
    pub(crate) fn spoil(self, mut event: UsageEvent<'static>) -> EventBody {
        const CENTURY_MS: i64 = 100 * 365 * 86_400_000;
        match self {
            Self::UnknownModel => {
                event.model = Cow::Borrowed("unlisted-model-7");
                event.vendor = None;
                event.supplier = None;
                event.billed_model = None;
                return EventBody::Event(Box::new(event));
            }
            Self::Future => {
                event.completed_at_ms = event.completed_at_ms.map(|at| at + CENTURY_MS);
                event.started_at_ms = event.started_at_ms.map(|at| at + CENTURY_MS);
                return EventBody::Event(Box::new(event));
            }
            Self::Conflict => return EventBody::Event(Box::new(conflicting(event))),
            _ => {}
        }
        let mut bytes = Vec::with_capacity(512);
        // Writing into a vector cannot fail; an empty body would be malformed all the same.
        if encode_json(&event, &mut bytes).is_err() {
            return EventBody::Raw(Vec::new());
        }
        match self {
            Self::Truncated => {
                bytes.truncate(bytes.len() * 2 / 3);
                return EventBody::Raw(bytes);
            }
            Self::NotJson => return EventBody::Raw(b"\xff\xfe\x00 usage=12 tokens".to_vec()),
            Self::RepeatedField => {
                bytes.truncate(bytes.len() - 1);
                bytes.extend_from_slice(b",\"model\":\"another\"}");
                return EventBody::Raw(bytes);
            }
            _ => {}
        }
        let mut value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        self.change(&mut value);
        EventBody::Raw(value.to_string().into_bytes())
    }

    fn change(self, value: &mut Value) {
        let completed_at = value["completed_at"].as_i64().unwrap_or(0);
        let Some(event) = value.as_object_mut() else { return };
        let remove = match self {
            Self::NoId => Some("id"),
            Self::NoAccount => Some("account"),
            Self::NoTime => Some("completed_at"),
            Self::NoUsage => Some("usage"),
            Self::NoModel => Some("model"),
            _ => None,
        };
        if let Some(name) = remove {
            event.remove(name);
        }
        if self == Self::NoTime {
            event.remove("started_at");
        }
        let mut put = |name: &str, value: Value| drop(event.insert(name.to_owned(), value));
        match self {
            Self::WrongType => put("region", json!(31)),
            Self::LongText => put("product", json!("p".repeat(1_000))),
            Self::StartAfterEnd => put("started_at", json!(completed_at + 1)),
            Self::FloatTime => {
                let (seconds, fraction) = (completed_at / 1_000, completed_at % 1_000);
                let text = format!("{seconds}.{fraction:03}5");
                put("completed_at", serde_json::from_str(&text).unwrap_or(Value::Null));
            }
            Self::PhoneNumber => put("account", json!(PHONE_NUMBER)),
            _ => {}
        }
        let Some(usage) = event.get_mut("usage").and_then(Value::as_object_mut) else { return };
        let mut put = |name: &str, value: Value| drop(usage.insert(name.to_owned(), value));
        match self {
            Self::NegativeCount => put("input", json!(-5)),
            Self::FloatCount => put("input", json!(12.5)),
            Self::HugeCount => put("input", json!(COUNT_MAX + 1)),
            Self::UnknownClass => put("video_output", json!(40)),
            Self::WrongTotal => put("total", json!(1)),
            Self::ReasoningAboveOutput => {
                put("output", json!(10));
                put("reasoning", json!(11));
            }
            _ => {}
        }
    }
}

/// The same identity with other content: a class that every event has differs.
fn conflicting(mut event: UsageEvent<'static>) -> UsageEvent<'static> {
    event.usage.0[0] += 7;
    event
}
