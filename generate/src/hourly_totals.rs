//! What the gateways of a run would say they sent: their control totals, hour by hour.

use std::collections::BTreeMap;

use tally_schemas::{COUNT_MAX, GatewayTotal, SuspenseReason, TokenClass, UsageCounts};

use crate::traffic::{EventBody, GeneratedEvent, Outcome};
use crate::truth::TruthError;

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

/// A gateway, its start, and an hour.
type Key = (String, Option<u64>, i64);

/// Control totals of a run. What cannot be read as an event has no number and no hour: no gateway
/// counts it.
#[derive(Debug, Clone, Default)]
pub struct HourlyTotals(BTreeMap<Key, GatewayTotal>);

impl HourlyTotals {
    /// Adds an event, unless it is one that was sent before.
    ///
    /// # Errors
    /// Where a sum passes 2^53.
    pub fn add(&mut self, sent: &GeneratedEvent) -> Result<(), TruthError> {
        let again = matches!(
            sent.expected,
            Outcome::Duplicate | Outcome::Suspended(SuspenseReason::ConflictingDuplicate)
        );
        let EventBody::Event(event) = &sent.body else { return Ok(()) };
        let Some(at_ms) = event.completed_at_ms.filter(|_| !again) else { return Ok(()) };
        let hour_ms = at_ms.div_euclid(HOUR_MS) * HOUR_MS;
        let key = (event.source.to_string(), event.gateway_epoch, hour_ms);
        let total = self.0.entry(key).or_insert_with_key(|key| GatewayTotal {
            source: key.0.clone(),
            gateway_epoch: key.1,
            hour_ms,
            events: 0,
            seqs: None,
            usage: UsageCounts::default(),
        });
        total.events += 1;
        if let Some(seq) = event.gateway_seq {
            let (first, last) = total.seqs.unwrap_or((seq, seq));
            total.seqs = Some((first.min(seq), last.max(seq)));
        }
        for class in TokenClass::ALL {
            let sum = total.usage.get(class).checked_add(event.usage.get(class));
            let sum = sum.filter(|sum| *sum <= COUNT_MAX).ok_or(TruthError::Overflow)?;
            total.usage.set(class, sum);
        }
        Ok(())
    }

    /// The totals in the order of gateways, starts and hours, one JSON object a line: a body of
    /// `POST /v1/control-totals`.
    pub fn ndjson(&self) -> String {
        self.0.values().map(|total| total.to_json() + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Share;
    use crate::traffic::{Traffic, TrafficParams};

    #[test]
    fn totals_count_every_distinct_event_once() {
        let params = TrafficParams {
            seed: 5,
            events: 4_000,
            accounts: 50,
            start_ms: 1_795_190_400_000,
            span_ms: 3 * 3_600_000,
            resent: "0.1".parse::<Share>().unwrap(),
            late: "0.01".parse::<Share>().unwrap(),
            bad: Share::NONE,
            poison: Vec::new(),
        };
        let mut totals = HourlyTotals::default();
        let mut sent = 0;
        for event in Traffic::new(params) {
            sent += 1;
            totals.add(&event).unwrap();
        }
        assert!(sent > 4_000);
        let text = totals.ndjson();
        let read: Vec<GatewayTotal> =
            text.lines().map(|line| GatewayTotal::parse(line.as_bytes()).unwrap()).collect();
        assert_eq!(read.iter().map(|total| total.events).sum::<u64>(), 4_000);
        let requests = |total: &GatewayTotal| total.usage.get(TokenClass::Requests);
        assert_eq!(read.iter().map(requests).sum::<u64>(), 4_000);
        // The numbers of a gateway's start begin where it began and leave none out.
        let mut by_start: BTreeMap<_, (u64, u64, u64)> = BTreeMap::new();
        for total in &read {
            let (first, last) = total.seqs.unwrap();
            let start = (total.source.clone(), total.gateway_epoch);
            let all = by_start.entry(start).or_insert((u64::MAX, 0, 0));
            *all = (all.0.min(first), all.1.max(last), all.2 + total.events);
        }
        for (start, (first, last, events)) in by_start {
            assert_eq!(last - first + 1, events, "{start:?}");
        }
    }
}
