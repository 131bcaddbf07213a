//! The totals that must have come out, as the generator counted them on its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tally_schemas::{ControlTotals, Flow, TokenClass};

use super::table_checks::difference;
use super::{Check, Evidence, Finding};

/// A truth file. Sums are decimal strings; classes that are left out are zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// Events that were sent, duplicates and faulty ones included.
    pub sent: u64,
    /// Events that must be rows of `usage_events`.
    pub accepted: u64,
    /// Exact duplicates.
    pub duplicates: u64,
    /// Events that must be held back, by reason.
    #[serde(default)]
    pub suspended: BTreeMap<String, u64>,
    /// Tokens of the accepted events by class.
    #[serde(default)]
    pub tokens: BTreeMap<String, String>,
    /// The accepted events by model and vendor.
    #[serde(default)]
    pub by_model: Vec<TruthModel>,
}

/// The accepted events of one model of one vendor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthModel {
    /// Requested model.
    pub model: String,
    /// Vendor.
    pub vendor: String,
    /// Number of events.
    pub events: u64,
    /// Tokens by class.
    #[serde(default)]
    pub tokens: BTreeMap<String, String>,
}

fn flow_of(finding: &mut Finding, events: u64, tokens: &BTreeMap<String, String>) -> Flow {
    let mut flow = Flow { events, ..Flow::default() };
    for (name, sum) in tokens {
        match (TokenClass::from_name(name), sum.parse()) {
            (Some(class), Ok(sum)) => flow.tokens[class.index()] = sum,
            _ => finding.add(format!("the truth file has {name} = {sum}")),
        }
    }
    flow
}

/// Every check against the truth.
pub(super) fn all(evidence: &Evidence, truth: &Truth) -> Vec<Check> {
    vec![ledger_totals(evidence, truth), table_totals(evidence, truth), models(evidence, truth)]
}

fn ledger_totals(evidence: &Evidence, truth: &Truth) -> Check {
    let mut finding = Finding::new(
        "truth",
        "the ledger's totals are those of the generator, tokens by class too",
    );
    let mut totals = ControlTotals::default();
    for last in evidence.ledgers.iter().filter_map(|ledger| ledger.entries.last()) {
        totals.merge(&last.entry.cumulative);
    }
    for (what, found, expected) in [
        ("received", totals.received.events, truth.sent),
        ("accepted", totals.accepted.events, truth.accepted),
        ("duplicates", totals.duplicates.events, truth.duplicates),
    ] {
        finding.expect(found == expected, || format!("{what}: {found} for {expected}"));
    }
    let reasons: BTreeSet<&String> =
        totals.suspended_by_reason.keys().chain(truth.suspended.keys()).collect();
    for reason in reasons {
        let found = totals.suspended_by_reason.get(reason).copied().unwrap_or(0);
        let expected = truth.suspended.get(reason).copied().unwrap_or(0);
        finding.expect(found == expected, || {
            format!("suspended for {reason}: {found} for {expected}")
        });
    }
    let expected = flow_of(&mut finding, truth.accepted, &truth.tokens);
    finding.expect(totals.accepted.tokens == expected.tokens, || {
        format!("accepted tokens: {}", difference(&totals.accepted, &expected))
    });
    finding.done(format!("{} events received", totals.received.events))
}

fn table_totals(evidence: &Evidence, truth: &Truth) -> Check {
    let mut finding =
        Finding::new("truth", "usage_events sums to the generator's totals, tokens by class too");
    let expected = flow_of(&mut finding, truth.accepted, &truth.tokens);
    match &evidence.sums.events_by_model {
        Err(error) => {
            finding.add(error.to_string());
            finding.done("nothing")
        }
        Ok(found) => {
            let mut sum = Flow::default();
            for sums in found.values() {
                sum.merge(&sums.flow);
            }
            finding.expect(sum == expected, || difference(&sum, &expected));
            finding.done(format!("{} events", sum.events))
        }
    }
}

fn models(evidence: &Evidence, truth: &Truth) -> Check {
    let mut finding =
        Finding::new("truth", "usage_by_model has the generator's events and tokens of each model");
    let found = match &evidence.sums.windows_by_model {
        Ok(found) => found,
        Err(error) => {
            finding.add(error.to_string());
            return finding.done("nothing");
        }
    };
    let mut expected = BTreeMap::new();
    for model in &truth.by_model {
        let flow = flow_of(&mut finding, model.events, &model.tokens);
        expected.insert((model.model.clone(), model.vendor.clone()), flow);
    }
    let none = Flow::default();
    let keys: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    for key in &keys {
        let found = found.get(*key).map_or(&none, |sums| &sums.flow);
        let expected = expected.get(*key).unwrap_or(&none);
        finding.expect(found == expected, || {
            format!("{} of {}: {}", key.0, key.1, difference(found, expected))
        });
    }
    finding.done(format!("{} models", keys.len()))
}
