//! Simulated events as gateways write them: JSON, or a message of a batch.

use serde_json::{Map, Value, json};
use tally_schemas::{TokenClass, Usage, UsageEventMessage};

use super::simulated_log::{Defect, Sent};

/// More than the counts that an event may carry.
const TOO_LARGE: u64 = (1 << 53) + 1;

/// Whether a protobuf message cannot have the defect.
pub(super) const fn json_only(defect: Defect) -> bool {
    matches!(defect, Defect::NegativeCount | Defect::FloatCount | Defect::UnknownClass)
}

fn total_of(event: &Sent) -> u64 {
    let classes = TokenClass::ALL.into_iter().filter(|class| class.in_total());
    classes.map(|class| event.counts[class.index()]).sum()
}

/// The event as JSON.
pub(super) fn json_of(event: &Sent) -> Value {
    let mut usage = Map::new();
    for class in TokenClass::ALL {
        let count = event.counts[class.index()];
        if count > 0 || class == TokenClass::Input {
            usage.insert(class.name().to_owned(), count.into());
        }
    }
    let broken = match event.defect {
        Defect::NegativeCount => Some(("cached_input", json!(-1))),
        Defect::FloatCount => Some(("cached_input", json!(1.5))),
        Defect::CountTooLarge => Some(("cached_input", json!(TOO_LARGE))),
        Defect::UnknownClass => Some(("video", json!(3))),
        Defect::WrongTotal => Some(("total", json!(total_of(event) + 1))),
        _ => None,
    };
    if let Some((key, value)) = broken {
        usage.insert(key.to_owned(), value);
    }
    let mut object = json!({
        "source": event.source, "id": event.id, "account": event.account, "model": event.model,
        "completed_at": event.completed_at_ms, "usage": usage,
    });
    let optional = [
        ("subscriber", event.subscriber.as_deref()),
        ("vendor", event.vendor),
        ("supplier", event.supplier),
        ("region", event.region),
        ("service_tier", event.tier),
    ];
    for (key, text) in optional {
        if let Some(text) = text {
            object[key] = text.into();
        }
    }
    object
}

/// The event as a protobuf message.
pub(super) fn message_of(event: &Sent) -> UsageEventMessage {
    let own = |text: Option<&str>| text.map(str::to_owned);
    let count = |class: TokenClass| Some(event.counts[class.index()]).filter(|count| *count > 0);
    UsageEventMessage {
        source: event.source.to_owned(),
        id: event.id.clone(),
        account: event.account.clone(),
        subscriber: event.subscriber.clone(),
        model: event.model.to_owned(),
        vendor: own(event.vendor),
        supplier: own(event.supplier),
        region: own(event.region),
        service_tier: own(event.tier),
        completed_at: Some(event.completed_at_ms),
        usage: Some(Usage {
            input: Some(event.counts[TokenClass::Input.index()]),
            cached_input: match event.defect {
                Defect::CountTooLarge => Some(TOO_LARGE),
                _ => count(TokenClass::CachedInput),
            },
            output: count(TokenClass::Output),
            reasoning: count(TokenClass::Reasoning),
            requests: count(TokenClass::Requests),
            images: count(TokenClass::Images),
            total: (event.defect == Defect::WrongTotal).then(|| total_of(event) + 1),
            ..Usage::default()
        }),
        ..UsageEventMessage::default()
    }
}
