//! What must come out, summed by code that shares nothing with the stream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tally_schemas::{TokenClass, UsageCounts};

use crate::traffic::{EventBody, GeneratedEvent, Outcome};

/// The exact totals of a run. Sums are `u128`, written as decimal texts; tokens are those of the
/// accepted events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Truth {
    /// Seed of the run; 0 for recorded traffic.
    pub seed: u64,
    /// Records sent, each resend counted.
    pub sent: u64,
    /// Events that must be rows of `usage_events`.
    pub accepted: u64,
    /// Exact resends that must be dropped.
    pub duplicates: u64,
    /// Events that must be in suspense, by reason.
    pub suspended: BTreeMap<String, u64>,
    /// Accepted tokens by class; a class without any is left out.
    pub tokens: BTreeMap<String, Sum>,
    /// Accepted events and tokens by model and vendor, sorted.
    pub by_model: Vec<ModelTruth>,
}

/// What must come out for one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelTruth {
    /// Requested model.
    pub model: String,
    /// Vendor.
    pub vendor: String,
    /// Accepted events.
    pub events: u64,
    /// Accepted tokens by class.
    pub tokens: BTreeMap<String, Sum>,
}

/// A sum, in JSON a decimal text, as it may pass 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Sum(pub u128);

impl Serialize for Sum {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| {
            serde::de::Error::custom(format!("expected a whole number as text, found {text:?}"))
        })
    }
}

/// A truth that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TruthError {
    /// An accepted event must be readable and name its model and vendor.
    #[error("the truth about event {id} is not known: {missing}")]
    Unknown {
        /// Id of the event.
        id: String,
        /// What is missing.
        missing: &'static str,
    },
    /// More than 2^128 tokens, or 2^64 events.
    #[error("a sum is too large")]
    Overflow,
}

impl Truth {
    /// An empty truth of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Counts one record that was sent.
    ///
    /// # Errors
    /// An accepted event without a vendor, or bytes that should be accepted.
    pub fn add(&mut self, event: &GeneratedEvent) -> Result<(), TruthError> {
        let unknown = |id: &str, missing| TruthError::Unknown { id: id.to_owned(), missing };
        match event.expected {
            Outcome::Unjudged => Err(unknown("?", "what must become of it")),
            Outcome::Accepted => {
                let EventBody::Event(usage_event) = &event.body else {
                    return Err(unknown("?", "its bytes were not read"));
                };
                let vendor = match event.vendor {
                    Some(vendor) => vendor,
                    None => usage_event
                        .vendor
                        .as_deref()
                        .ok_or_else(|| unknown(&usage_event.id, "its vendor"))?,
                };
                self.add_accepted(&usage_event.model, vendor, &usage_event.usage)
            }
            Outcome::Duplicate => {
                self.sent = self.sent.checked_add(1).ok_or(TruthError::Overflow)?;
                self.duplicates = self.duplicates.checked_add(1).ok_or(TruthError::Overflow)?;
                Ok(())
            }
            Outcome::Suspended(reason) => {
                self.sent = self.sent.checked_add(1).ok_or(TruthError::Overflow)?;
                let count = self.suspended.entry(reason.as_str().to_owned()).or_default();
                *count = count.checked_add(1).ok_or(TruthError::Overflow)?;
                Ok(())
            }
        }
    }

    fn add_accepted(
        &mut self,
        model: &str,
        vendor: &str,
        counts: &UsageCounts,
    ) -> Result<(), TruthError> {
        self.sent = self.sent.checked_add(1).ok_or(TruthError::Overflow)?;
        self.accepted = self.accepted.checked_add(1).ok_or(TruthError::Overflow)?;
        let place = self.by_model.binary_search_by(|row| {
            (row.model.as_str(), row.vendor.as_str()).cmp(&(model, vendor))
        });
        let place = place.unwrap_or_else(|place| {
            let row = ModelTruth {
                model: model.to_owned(),
                vendor: vendor.to_owned(),
                events: 0,
                tokens: BTreeMap::new(),
            };
            self.by_model.insert(place, row);
            place
        });
        let row = &mut self.by_model[place];
        row.events = row.events.checked_add(1).ok_or(TruthError::Overflow)?;
        for class in TokenClass::ALL {
            let count = u128::from(counts.get(class));
            if count != 0 {
                add_to(&mut self.tokens, class.name(), count)?;
                add_to(&mut row.tokens, class.name(), count)?;
            }
        }
        Ok(())
    }

    /// Adds the truth of another run against the same tables. The runs must not share events.
    ///
    /// # Errors
    /// `Overflow`.
    pub fn merge(&mut self, other: &Self) -> Result<(), TruthError> {
        let sum = |left: u64, right: u64| left.checked_add(right).ok_or(TruthError::Overflow);
        self.sent = sum(self.sent, other.sent)?;
        self.accepted = sum(self.accepted, other.accepted)?;
        self.duplicates = sum(self.duplicates, other.duplicates)?;
        for (reason, events) in &other.suspended {
            let count = self.suspended.entry(reason.clone()).or_default();
            *count = sum(*count, *events)?;
        }
        for (class, tokens) in &other.tokens {
            add_to(&mut self.tokens, class, tokens.0)?;
        }
        for row in &other.by_model {
            let key = (row.model.as_str(), row.vendor.as_str());
            match self
                .by_model
                .binary_search_by(|own| (own.model.as_str(), own.vendor.as_str()).cmp(&key))
            {
                Err(place) => self.by_model.insert(place, row.clone()),
                Ok(place) => {
                    let own = &mut self.by_model[place];
                    own.events = sum(own.events, row.events)?;
                    for (class, tokens) in &row.tokens {
                        add_to(&mut own.tokens, class, tokens.0)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn add_to(tokens: &mut BTreeMap<String, Sum>, class: &str, count: u128) -> Result<(), TruthError> {
    // Looked up before inserted: the key is only copied once.
    if let Some(sum) = tokens.get_mut(class) {
        sum.0 = sum.0.checked_add(count).ok_or(TruthError::Overflow)?;
    } else {
        tokens.insert(class.to_owned(), Sum(count));
    }
    Ok(())
}
