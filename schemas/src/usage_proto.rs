//! The protobuf forms of usage, generated from `proto/tally/v1/usage.proto`, and their
//! conversion to and from [`UsageEvent`].

use std::borrow::Cow;

use crate::correction::CorrectionKind;
use crate::event_error::{EventError, EventErrorCode as Code};
use crate::event_json::{
    LABELS_MAX, ParsedEvent, TEXT_MAX_BYTES, TIME_MAX_MS, check_event, note_corrects,
};
use crate::token_class::{COUNT_MAX, TokenClass};
use crate::usage_event::{UsageEvent, UsageSource};

#[allow(missing_docs, clippy::all, clippy::pedantic, missing_debug_implementations)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/tally.v1.rs"));
}

pub use generated::{
    CorrectionKind as CorrectionKindCode, Corrects as CorrectsMessage, Usage, UsageBatch,
    UsageEvent as UsageEventMessage, UsageSource as UsageSourceCode,
};

impl UsageEventMessage {
    /// The message of an event that has no errors. Defaults stay unset.
    pub fn from_event(event: &UsageEvent<'_>) -> Self {
        let own = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let count = |class| Some(event.usage.get(class)).filter(|count| *count != 0);
        Self {
            source: event.source.to_string(),
            id: event.id.to_string(),
            account: event.account.to_string(),
            subscriber: own(&event.subscriber),
            model: event.model.to_string(),
            billed_model: own(&event.billed_model),
            vendor: own(&event.vendor),
            supplier: own(&event.supplier),
            started_at: event.started_at_ms,
            completed_at: event.completed_at_ms,
            usage: Some(Usage {
                // Sent even where 0: usage must name a class, and requests defaults to 1.
                input: Some(event.usage.get(TokenClass::Input)),
                cached_input: count(TokenClass::CachedInput),
                cache_write_5m: count(TokenClass::CacheWrite5m),
                cache_write_1h: count(TokenClass::CacheWrite1h),
                output: count(TokenClass::Output),
                reasoning: count(TokenClass::Reasoning),
                audio_input: count(TokenClass::AudioInput),
                audio_output: count(TokenClass::AudioOutput),
                image_input: count(TokenClass::ImageInput),
                image_output: count(TokenClass::ImageOutput),
                requests: Some(event.usage.get(TokenClass::Requests)).filter(|count| *count != 1),
                images: count(TokenClass::Images),
                seconds: count(TokenClass::Seconds),
                characters: count(TokenClass::Characters),
                total: None,
            }),
            usage_source: match event.usage_source {
                UsageSource::Reported => UsageSourceCode::Unspecified,
                UsageSource::Partial => UsageSourceCode::Partial,
                UsageSource::Estimated => UsageSourceCode::Estimated,
                UsageSource::VendorBill => UsageSourceCode::VendorBill,
            }
            .into(),
            finish_reason: own(&event.finish_reason),
            service_tier: own(&event.service_tier),
            region: own(&event.region),
            channel: own(&event.channel),
            product: own(&event.product),
            vendor_request_id: own(&event.vendor_request_id),
            gateway_epoch: event.gateway_epoch,
            gateway_seq: event.gateway_seq,
            labels: event.labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            corrects: None,
        }
    }
}

/// The source of counts of a protobuf code; `None` for a code that this build does not know.
pub fn usage_source_of(code: i32) -> Option<UsageSource> {
    Some(match UsageSourceCode::try_from(code).ok()? {
        UsageSourceCode::Unspecified | UsageSourceCode::Reported => UsageSource::Reported,
        UsageSourceCode::Partial => UsageSource::Partial,
        UsageSourceCode::Estimated => UsageSource::Estimated,
        UsageSourceCode::VendorBill => UsageSource::VendorBill,
    })
}

/// Notes what a message says of the event that it corrects. `classes` is how many classes of usage
/// it named.
pub fn note_message_corrects(
    parsed: &mut ParsedEvent<'_>,
    (source, id): (&str, &str),
    kind: i32,
    classes: u32,
) {
    let kind = match CorrectionKindCode::try_from(kind) {
        Ok(CorrectionKindCode::Unspecified) => None,
        Ok(CorrectionKindCode::Void) => Some(CorrectionKind::Void.name()),
        Ok(CorrectionKindCode::Replace) => Some(CorrectionKind::Replace.name()),
        Err(_) => Some(""),
    };
    note_corrects(parsed, (source, id), kind, classes > 0);
}

/// The class of a field number of `tally.v1.Usage`; field 15 is `total`.
pub const fn usage_class_of(field: u32) -> Option<TokenClass> {
    if field >= 1 && field <= 14 { Some(TokenClass::ALL[(field - 1) as usize]) } else { None }
}

/// Checks what the protobuf decoder alone does not: lengths, counts, the total, times, the labels;
/// then what [`check_event`] checks. `classes` is how many classes the message named, `total` its
/// `usage.total`.
pub fn check_message(parsed: &mut ParsedEvent<'_>, classes: u32, total: Option<u64>) {
    let is_void = parsed.is_void();
    let ParsedEvent { event, errors, .. } = parsed;
    if classes == 0 && !is_void {
        errors.push(EventError::new(Code::MissingUsage, "usage", "names no class"));
    }
    let largest = event.usage.0.iter().fold(0, |largest, count| largest.max(*count));
    for class in TokenClass::ALL.into_iter().filter(|_| largest > COUNT_MAX) {
        let count = event.usage.get(class);
        if count > COUNT_MAX {
            errors.push(EventError::new(
                Code::CountOutOfRange,
                format!("usage.{class}"),
                format!("{count} is above 2^53"),
            ));
            event.usage.set(class, 0);
        }
    }
    if let Some(total) = total {
        let sum = event.usage.token_total();
        if total != sum {
            errors.push(EventError::new(
                Code::TotalMismatch,
                "usage.total",
                format!("total {total} is not the sum of the token classes, {sum}"),
            ));
        }
    }
    let mut limit = |field: &str, text: &str| {
        if text.len() > TEXT_MAX_BYTES {
            errors.push(EventError::new(
                Code::TextTooLong,
                field,
                format!("{} bytes, at most {TEXT_MAX_BYTES}", text.len()),
            ));
        }
    };
    limit("source", &event.source);
    limit("id", &event.id);
    limit("account", &event.account);
    limit("model", &event.model);
    for (field, text) in [
        ("subscriber", &event.subscriber),
        ("billed_model", &event.billed_model),
        ("vendor", &event.vendor),
        ("supplier", &event.supplier),
        ("finish_reason", &event.finish_reason),
        ("service_tier", &event.service_tier),
        ("region", &event.region),
        ("channel", &event.channel),
        ("product", &event.product),
        ("vendor_request_id", &event.vendor_request_id),
    ] {
        if let Some(text) = text {
            limit(field, text);
        }
    }
    for (key, value) in &event.labels {
        limit("labels", key);
        limit("labels", value);
    }
    if event.labels.len() > LABELS_MAX {
        errors.push(EventError::new(
            Code::InvalidType,
            "labels",
            format!("at most {LABELS_MAX} labels"),
        ));
    }
    for (field, number) in
        [("gateway_epoch", event.gateway_epoch), ("gateway_seq", event.gateway_seq)]
    {
        if number.is_some_and(|number| number > COUNT_MAX) {
            errors.push(EventError::new(Code::CountOutOfRange, field, "above 2^53"));
        }
    }
    for (field, time) in
        [("started_at", &mut event.started_at_ms), ("completed_at", &mut event.completed_at_ms)]
    {
        // A time that no table can hold is none, as in JSON.
        let Some(ms) = time.filter(|ms| !(0..=TIME_MAX_MS).contains(ms)) else { continue };
        let message = if ms < 0 { "before 1970" } else { "after the year 9999" };
        errors.push(EventError::new(Code::InvalidTime, field, message));
        *time = None;
    }
    event.labels.sort();
    check_event(parsed);
}
