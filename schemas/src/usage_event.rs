//! The usage event, version 1, as it is held while it is read: text borrowed from the message.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use crate::token_class::{CLASS_COUNT, UsageCounts};

/// Where the counts of an event come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UsageSource {
    /// The vendor's own figures at the end of the call.
    #[default]
    Reported,
    /// Figures of a call that ended early.
    Partial,
    /// The gateway's estimate.
    Estimated,
    /// Taken from the vendor's bill.
    VendorBill,
}

impl UsageSource {
    /// Name in JSON and SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Partial => "partial",
            Self::Estimated => "estimated",
            Self::VendorBill => "vendor_bill",
        }
    }

    /// The source of a JSON name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "reported" => Self::Reported,
            "partial" => Self::Partial,
            "estimated" => Self::Estimated,
            "vendor_bill" => Self::VendorBill,
            _ => return None,
        })
    }
}

/// What one model call consumed. Optional texts are `None` where the gateway said nothing;
/// required ones are empty only in an event that also carries errors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageEvent<'a> {
    /// Gateway that reports the event; identity together with `id`.
    pub source: Cow<'a, str>,
    /// Id of the event at its source.
    pub id: Cow<'a, str>,
    /// Who holds the buckets; the Kafka key.
    pub account: Cow<'a, str>,
    /// Who consumed; the account where absent.
    pub subscriber: Option<Cow<'a, str>>,
    /// Requested model.
    pub model: Cow<'a, str>,
    /// Model that the vendor bills.
    pub billed_model: Option<Cow<'a, str>>,
    /// Vendor of the model; from the model aliases where absent.
    pub vendor: Option<Cow<'a, str>>,
    /// Who supplies the vendor's model; the vendor where absent.
    pub supplier: Option<Cow<'a, str>>,
    /// Start of the call, milliseconds UTC; `completed_at_ms` where absent.
    pub started_at_ms: Option<i64>,
    /// End of the call, milliseconds UTC. `None` only beside an error.
    pub completed_at_ms: Option<i64>,
    /// Counts by class.
    pub usage: UsageCounts,
    /// Where the counts come from.
    pub usage_source: UsageSource,
    /// Why the call ended.
    pub finish_reason: Option<Cow<'a, str>>,
    /// Service tier; `standard` where absent.
    pub service_tier: Option<Cow<'a, str>>,
    /// Region.
    pub region: Option<Cow<'a, str>>,
    /// Sales channel.
    pub channel: Option<Cow<'a, str>>,
    /// Product.
    pub product: Option<Cow<'a, str>>,
    /// The vendor's own id of the call.
    pub vendor_request_id: Option<Cow<'a, str>>,
    /// Start number of the gateway process.
    pub gateway_epoch: Option<u64>,
    /// Running number of the event within the gateway's epoch.
    pub gateway_seq: Option<u64>,
    /// Free labels, sorted by key, keys unique.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl UsageEvent<'_> {
    /// Who consumed.
    pub fn subscriber(&self) -> &str {
        self.subscriber.as_deref().unwrap_or(&self.account)
    }

    /// Start of the call, milliseconds UTC.
    pub fn started_at_ms(&self) -> Option<i64> {
        self.started_at_ms.or(self.completed_at_ms)
    }

    /// Service tier.
    pub fn service_tier(&self) -> &str {
        self.service_tier.as_deref().unwrap_or("standard")
    }

    /// Labels as a JSON object with sorted keys; `None` where there are none.
    pub fn labels_json(&self) -> Option<String> {
        if self.labels.is_empty() {
            return None;
        }
        let map: std::collections::BTreeMap<&str, &str> =
            self.labels.iter().map(|(k, v)| (k.as_ref(), v.as_ref())).collect();
        serde_json::to_string(&map).ok()
    }

    /// 64-bit XXH3 of the identity (`source`, `id`), the length of each mixed in so that no two
    /// pairs share their bytes. Stable: it is stored for the whole dedupe horizon. `scratch` is
    /// the caller's to reuse.
    pub fn identity_hash(&self, scratch: &mut Vec<u8>) -> u64 {
        scratch.clear();
        put_text(scratch, &self.source);
        put_text(scratch, &self.id);
        xxh3_64(scratch)
    }

    /// 64-bit XXH3 of everything else that the event says, with defaults applied, so that the
    /// same event has the same hash in JSON, CloudEvents and protobuf. Stable, as it is stored.
    /// `scratch` is the caller's to reuse.
    pub fn content_hash(&self, scratch: &mut Vec<u8>) -> u64 {
        scratch.clear();
        put_text(scratch, &self.account);
        put_text(scratch, self.subscriber());
        put_text(scratch, &self.model);
        for text in [
            &self.billed_model,
            &self.vendor,
            &self.supplier,
            &self.finish_reason,
            &self.region,
            &self.channel,
            &self.product,
            &self.vendor_request_id,
        ] {
            match text {
                Some(text) => put_text(scratch, text),
                None => scratch.extend_from_slice(&u32::MAX.to_le_bytes()),
            }
        }
        put_text(scratch, self.service_tier());
        for instant in [self.started_at_ms(), self.completed_at_ms] {
            scratch.extend_from_slice(&instant.unwrap_or(0).to_le_bytes());
        }
        for number in [self.gateway_epoch, self.gateway_seq] {
            scratch.extend_from_slice(&number.unwrap_or(0).to_le_bytes());
            scratch.push(u8::from(number.is_some()));
        }
        let mut counts = [0; 8 * CLASS_COUNT];
        for (bytes, count) in counts.chunks_exact_mut(8).zip(self.usage.0) {
            bytes.copy_from_slice(&count.to_le_bytes());
        }
        scratch.extend_from_slice(&counts);
        scratch.push(self.usage_source as u8);
        for (key, value) in &self.labels {
            put_text(scratch, key);
            put_text(scratch, value);
        }
        xxh3_64(scratch)
    }
}

fn put_text(scratch: &mut Vec<u8>, text: &str) {
    // Texts are limited to a few hundred bytes; `u32::MAX` stands for an absent one.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX - 1);
    scratch.extend_from_slice(&length.to_le_bytes());
    scratch.extend_from_slice(text.as_bytes());
}
