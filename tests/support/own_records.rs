//! Events that a test sends itself, and the truth about those of them that must be in the tables:
//! read from their JSON without any of our code.

use std::collections::BTreeMap;

use serde::Deserialize;
use tally_generate::{MODELS, ModelTruth, Sum, Truth};
use tally_schemas::partition_of;

use super::topic::Payload;

/// An event, as far as the truth has it.
#[derive(Debug, Deserialize)]
pub(crate) struct OwnEvent {
    account: String,
    model: String,
    usage: BTreeMap<String, Option<u64>>,
}

impl OwnEvent {
    /// An event of a line of JSON.
    pub(crate) fn of(line: &[u8]) -> Self {
        serde_json::from_slice(line).unwrap()
    }

    /// Where it belongs, as it is.
    pub(crate) fn payload(line: &str, partitions: u32) -> Payload {
        let partition = partition_of(&Self::of(line.as_bytes()).account, partitions);
        Payload { partition, value: Some(line.as_bytes().to_vec()), batch: false }
    }

    /// Tokens by class. A request that is not counted is one.
    fn tokens(&self) -> BTreeMap<String, u64> {
        let mut tokens = BTreeMap::from([("requests".to_owned(), 1)]);
        let given = self.usage.iter().filter(|(class, _)| *class != "total");
        tokens.extend(given.filter_map(|(class, count)| Some((class.clone(), (*count)?))));
        tokens
    }

    /// Counts it as sent and accepted.
    pub(crate) fn add_to(&self, truth: &mut Truth) {
        // Gateways may leave the vendor out.
        let vendor = MODELS.iter().find(|model| model.name == self.model).unwrap().vendor;
        add_accepted(truth, &self.model, vendor, &self.tokens());
    }
}

/// Counts an event as sent and accepted.
pub(crate) fn add_accepted(
    truth: &mut Truth,
    model: &str,
    vendor: &str,
    tokens: &BTreeMap<String, u64>,
) {
    let tokens: BTreeMap<String, Sum> = tokens
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(class, count)| (class.clone(), Sum(u128::from(*count))))
        .collect();
    let (model, vendor) = (model.to_owned(), vendor.to_owned());
    let one = Truth {
        sent: 1,
        accepted: 1,
        tokens: tokens.clone(),
        by_model: vec![ModelTruth { model, vendor, events: 1, tokens }],
        ..Truth::default()
    };
    truth.merge(&one).unwrap();
}
