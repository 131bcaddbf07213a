//! The two wire formats of an event: one JSON object, and a protobuf `UsageBatch` of many.

use prost::Message;
use serde::ser::{Serialize, SerializeMap, Serializer};
use tally_schemas::{
    TokenClass, UsageBatch, UsageCounts, UsageEvent, UsageEventMessage, UsageSource,
};

/// Appends an event as one JSON object without line breaks. Absent fields and classes of 0 are
/// left out; reading it back gives the same event.
///
/// # Errors
/// None that a `Vec` can cause; the error of `serde_json` is passed on.
pub fn encode_json(event: &UsageEvent<'_>, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    serde_json::to_writer(out, &EventJson(event))
}

/// The bytes of a protobuf `UsageBatch` of events without errors.
pub fn encode_batch<'e>(events: impl IntoIterator<Item = &'e UsageEvent<'e>>) -> Vec<u8> {
    let events = events.into_iter().map(UsageEventMessage::from_event).collect();
    UsageBatch { events }.encode_to_vec()
}

struct EventJson<'e>(&'e UsageEvent<'e>);

impl Serialize for EventJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("source", &*event.source)?;
        map.serialize_entry("id", &*event.id)?;
        map.serialize_entry("account", &*event.account)?;
        if let Some(subscriber) = &event.subscriber {
            map.serialize_entry("subscriber", &**subscriber)?;
        }
        map.serialize_entry("model", &*event.model)?;
        for (name, text) in [
            ("billed_model", &event.billed_model),
            ("vendor", &event.vendor),
            ("supplier", &event.supplier),
        ] {
            if let Some(text) = text {
                map.serialize_entry(name, &**text)?;
            }
        }
        if let Some(started_at_ms) = event.started_at_ms {
            map.serialize_entry("started_at", &started_at_ms)?;
        }
        if let Some(completed_at_ms) = event.completed_at_ms {
            map.serialize_entry("completed_at", &completed_at_ms)?;
        }
        map.serialize_entry("usage", &UsageJson(&event.usage))?;
        if event.usage_source != UsageSource::Reported {
            map.serialize_entry("usage_source", event.usage_source.name())?;
        }
        for (name, text) in [
            ("finish_reason", &event.finish_reason),
            ("service_tier", &event.service_tier),
            ("region", &event.region),
            ("channel", &event.channel),
            ("product", &event.product),
            ("vendor_request_id", &event.vendor_request_id),
        ] {
            if let Some(text) = text {
                map.serialize_entry(name, &**text)?;
            }
        }
        for (name, number) in
            [("gateway_epoch", event.gateway_epoch), ("gateway_seq", event.gateway_seq)]
        {
            if let Some(number) = number {
                map.serialize_entry(name, &number)?;
            }
        }
        if !event.labels.is_empty() {
            map.serialize_entry("labels", &LabelsJson(event))?;
        }
        map.end()
    }
}

struct UsageJson<'e>(&'e UsageCounts);

impl Serialize for UsageJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for class in TokenClass::ALL {
            let count = self.0.get(class);
            // `input` always, as usage must name a class; `requests` is 1 where it is absent.
            let absent = match class {
                TokenClass::Input => None,
                TokenClass::Requests => Some(1),
                _ => Some(0),
            };
            if absent != Some(count) {
                map.serialize_entry(class.name(), &count)?;
            }
        }
        map.end()
    }
}

struct LabelsJson<'e>(&'e UsageEvent<'e>);

impl Serialize for LabelsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.labels.iter().map(|(key, value)| (&**key, &**value)))
    }
}
