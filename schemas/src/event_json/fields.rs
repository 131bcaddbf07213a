//! The fields of an event, and the values that they may have.

use std::borrow::Cow;

use super::scalar::Scalar;
use super::{ParsedEvent, TEXT_MAX_BYTES};
use crate::event_error::EventErrorCode as Code;
use crate::token_class::COUNT_MAX;
use crate::usage_event::UsageSource;

/// Names of the fields of an event.
pub const FIELDS: [&str; 21] = [
    "source",
    "id",
    "account",
    "subscriber",
    "model",
    "vendor",
    "started_at",
    "completed_at",
    "usage",
    "finish_reason",
    "region",
    "channel",
    "gateway_seq",
    "gateway_epoch",
    "billed_model",
    "supplier",
    "usage_source",
    "service_tier",
    "product",
    "vendor_request_id",
    "labels",
];

/// A field of an event, in the order of [`FIELDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Source,
    Id,
    Account,
    Subscriber,
    Model,
    Vendor,
    StartedAt,
    CompletedAt,
    Usage,
    FinishReason,
    Region,
    Channel,
    GatewaySeq,
    GatewayEpoch,
    BilledModel,
    Supplier,
    UsageSource,
    ServiceTier,
    Product,
    VendorRequestId,
    Labels,
}

impl Field {
    /// Every field, in the order of [`FIELDS`].
    pub(crate) const ALL: [Self; FIELDS.len()] = [
        Self::Source,
        Self::Id,
        Self::Account,
        Self::Subscriber,
        Self::Model,
        Self::Vendor,
        Self::StartedAt,
        Self::CompletedAt,
        Self::Usage,
        Self::FinishReason,
        Self::Region,
        Self::Channel,
        Self::GatewaySeq,
        Self::GatewayEpoch,
        Self::BilledModel,
        Self::Supplier,
        Self::UsageSource,
        Self::ServiceTier,
        Self::Product,
        Self::VendorRequestId,
        Self::Labels,
    ];

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "source" => Self::Source,
            "id" => Self::Id,
            "account" => Self::Account,
            "subscriber" => Self::Subscriber,
            "model" => Self::Model,
            "vendor" => Self::Vendor,
            "started_at" => Self::StartedAt,
            "completed_at" => Self::CompletedAt,
            "usage" => Self::Usage,
            "finish_reason" => Self::FinishReason,
            "region" => Self::Region,
            "channel" => Self::Channel,
            "gateway_seq" => Self::GatewaySeq,
            "gateway_epoch" => Self::GatewayEpoch,
            "billed_model" => Self::BilledModel,
            "supplier" => Self::Supplier,
            "usage_source" => Self::UsageSource,
            "service_tier" => Self::ServiceTier,
            "product" => Self::Product,
            "vendor_request_id" => Self::VendorRequestId,
            "labels" => Self::Labels,
            _ => return None,
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        FIELDS[self as usize]
    }
}

pub(crate) fn set_field<'a>(parsed: &mut ParsedEvent<'a>, field: Field, value: Scalar<'a>) {
    match field {
        Field::StartedAt => parsed.event.started_at_ms = time(parsed, field.name(), value),
        Field::CompletedAt => parsed.event.completed_at_ms = time(parsed, field.name(), value),
        Field::GatewayEpoch => {
            parsed.event.gateway_epoch = optional_count(parsed, field.name(), value);
        }
        Field::GatewaySeq => parsed.event.gateway_seq = optional_count(parsed, field.name(), value),
        Field::UsageSource => set_usage_source(parsed, value),
        _ => {
            let value = text(parsed, field.name(), value);
            let event = &mut parsed.event;
            match field {
                Field::Source => event.source = value.unwrap_or_default(),
                Field::Id => event.id = value.unwrap_or_default(),
                Field::Account => event.account = value.unwrap_or_default(),
                Field::Model => event.model = value.unwrap_or_default(),
                Field::Subscriber => event.subscriber = value,
                Field::Vendor => event.vendor = value,
                Field::BilledModel => event.billed_model = value,
                Field::Supplier => event.supplier = value,
                Field::FinishReason => event.finish_reason = value,
                Field::Region => event.region = value,
                Field::Channel => event.channel = value,
                Field::ServiceTier => event.service_tier = value,
                Field::Product => event.product = value,
                _ => event.vendor_request_id = value,
            }
        }
    }
}

fn set_usage_source<'a>(parsed: &mut ParsedEvent<'a>, value: Scalar<'a>) {
    let Some(name) = text(parsed, Field::UsageSource.name(), value) else { return };
    match UsageSource::from_name(&name) {
        Some(source) => parsed.event.usage_source = source,
        None => parsed.fail(
            Code::InvalidUsageSource,
            Field::UsageSource.name(),
            format!("{name:?} is none of reported, partial, estimated, vendor_bill"),
        ),
    }
}

/// A text of at most [`TEXT_MAX_BYTES`]; null and the empty text are absent.
pub(super) fn text<'a>(
    parsed: &mut ParsedEvent<'a>,
    field: &str,
    value: Scalar<'a>,
) -> Option<Cow<'a, str>> {
    match value {
        Scalar::Text(text) if text.len() > TEXT_MAX_BYTES => {
            parsed.fail(
                Code::TextTooLong,
                field,
                format!("{} bytes, at most {TEXT_MAX_BYTES}", text.len()),
            );
            None
        }
        Scalar::Text(text) if text.is_empty() => None,
        Scalar::Text(text) => Some(text),
        Scalar::Null => None,
        other => {
            parsed.fail(
                Code::InvalidType,
                field,
                format!("expected a text, found {}", other.kind()),
            );
            None
        }
    }
}

/// Latest time that is read: the end of the year 9999, which every table reader can hold.
pub(crate) const TIME_MAX_MS: i64 = 253_402_300_799_999;

fn time(parsed: &mut ParsedEvent<'_>, field: &str, value: Scalar<'_>) -> Option<i64> {
    match value {
        Scalar::Null => None,
        Scalar::Unsigned(ms) if ms <= TIME_MAX_MS.cast_unsigned() => Some(ms.cast_signed()),
        Scalar::Text(text) => match text.parse::<jiff::Timestamp>() {
            Ok(at) if at.as_millisecond() >= 0 => Some(at.as_millisecond()),
            Ok(_) => {
                parsed.fail(Code::InvalidTime, field, "before 1970");
                None
            }
            Err(error) => {
                parsed.fail(
                    Code::InvalidTime,
                    field,
                    format!("not RFC 3339 with an offset: {error}"),
                );
                None
            }
        },
        other => {
            parsed.fail(
                Code::InvalidTime,
                field,
                format!(
                    "expected integer milliseconds since 1970 UTC or RFC 3339 with an offset, found {}",
                    other.kind()
                ),
            );
            None
        }
    }
}

fn optional_count(parsed: &mut ParsedEvent<'_>, field: &str, value: Scalar<'_>) -> Option<u64> {
    if matches!(value, Scalar::Null) { None } else { count(parsed, field, value) }
}

/// A whole number from 0 to 2^53.
pub(super) fn count(parsed: &mut ParsedEvent<'_>, field: &str, value: Scalar<'_>) -> Option<u64> {
    let (code, message) = match value {
        Scalar::Unsigned(count) if count <= COUNT_MAX => return Some(count),
        Scalar::Unsigned(count) => (Code::CountOutOfRange, format!("{count} is above 2^53")),
        Scalar::Negative(count) => (Code::CountNegative, format!("{count} is negative")),
        Scalar::Float { whole_and_large: true } => (Code::CountOutOfRange, "above 2^53".to_owned()),
        other => {
            (Code::CountNotInteger, format!("expected a whole number, found {}", other.kind()))
        }
    };
    parsed.fail(code, field, message);
    None
}
