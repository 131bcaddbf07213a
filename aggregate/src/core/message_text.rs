//! A protobuf event as people read it, for `suspense.raw`.

use tally_schemas::{Corrects, EventErrorCode, TokenClass};

use crate::core::batch_reader::parse_message;

/// An event message as JSON, so that people can read it and it can be sent again as it is.
pub(crate) fn message_text(message: &[u8]) -> String {
    let parsed = parse_message(message);
    let event = &parsed.event;
    // What the event does not hold as it came must not get lost in its text.
    let readable = !parsed.errors.iter().any(|error| {
        matches!(
            error.code,
            EventErrorCode::Malformed
                | EventErrorCode::UnknownUsageClass
                | EventErrorCode::InvalidUsageSource
                | EventErrorCode::InvalidTime
                | EventErrorCode::CountOutOfRange
                | EventErrorCode::TotalMismatch
        )
    });
    if !readable {
        let mut text = String::from("hex:");
        for byte in message {
            text.push_str(&format!("{byte:02x}"));
        }
        return text;
    }
    // Where no class was named, none is in the text either: it would be counted when it is sent again.
    let names_none = parsed.errors.iter().any(|error| error.code == EventErrorCode::MissingUsage);
    let mut usage = serde_json::Map::new();
    for class in TokenClass::ALL {
        let count = event.usage.get(class);
        // A count of requests that is not given is 1.
        if !names_none && (count > 0 || class == TokenClass::Requests) {
            usage.insert(class.name().to_owned(), count.into());
        }
    }
    let mut object = serde_json::Map::new();
    let mut put = |key: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            object.insert(key.to_owned(), value);
        }
    };
    let text = |text: &str| (!text.is_empty()).then(|| text.into());
    put("source", text(&event.source));
    put("id", text(&event.id));
    put("account", text(&event.account));
    put("subscriber", event.subscriber.as_deref().map(Into::into));
    put("model", text(&event.model));
    put("billed_model", event.billed_model.as_deref().map(Into::into));
    put("vendor", event.vendor.as_deref().map(Into::into));
    put("supplier", event.supplier.as_deref().map(Into::into));
    put("started_at", event.started_at_ms.map(Into::into));
    put("completed_at", event.completed_at_ms.map(Into::into));
    put("usage", (!parsed.is_void()).then(|| usage.into()));
    put("usage_source", Some(event.usage_source.name().into()));
    put("finish_reason", event.finish_reason.as_deref().map(Into::into));
    put("service_tier", event.service_tier.as_deref().map(Into::into));
    put("region", event.region.as_deref().map(Into::into));
    put("channel", event.channel.as_deref().map(Into::into));
    put("product", event.product.as_deref().map(Into::into));
    put("vendor_request_id", event.vendor_request_id.as_deref().map(Into::into));
    put("gateway_epoch", event.gateway_epoch.map(Into::into));
    put("gateway_seq", event.gateway_seq.map(Into::into));
    put("labels", event.labels_json().and_then(|json| serde_json::from_str(&json).ok()));
    put(
        "corrects",
        parsed.corrects.as_ref().map(|corrects| {
            let Corrects { source, id, kind } = corrects;
            serde_json::json!({"source": source, "id": id, "kind": kind.name()})
        }),
    );
    serde_json::Value::Object(object).to_string()
}
