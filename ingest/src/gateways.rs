//! When each gateway was last heard from.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// Most gateways that are told apart: who makes up a new name for each event must not fill the
/// memory, here or in what collects the metrics.
const GATEWAYS_MAX: usize = 1_000;

/// Most gateways that are noted of one request: each event is compared with all of them.
const REQUEST_GATEWAYS_MAX: usize = 64;

/// Names of gateways that sent an accepted event in one request; mostly one.
pub(crate) type Heard = Vec<String>;

/// Adds the gateway of an event to those of its request.
pub(crate) fn note(heard: &mut Heard, source: &str) {
    // Requests come from one gateway, or in runs of one.
    if heard.last().is_some_and(|last| last == source) {
        return;
    }
    if heard.len() < REQUEST_GATEWAYS_MAX && !heard.iter().any(|known| known == source) {
        heard.push(source.to_owned());
    }
}

/// Unix times in seconds, by name.
#[derive(Debug, Default)]
pub(crate) struct Gateways(RwLock<BTreeMap<String, AtomicI64>>);

impl Gateways {
    /// Notes that the log has events of these gateways.
    pub(crate) fn heard(&self, names: &Heard, now_s: i64) {
        let mut unknown = Vec::new();
        {
            let known = self.0.read();
            for name in names {
                match known.get(name) {
                    Some(at) => drop(at.fetch_max(now_s, Ordering::Relaxed)),
                    None => unknown.push(name),
                }
            }
            if unknown.is_empty() || known.len() >= GATEWAYS_MAX {
                return;
            }
        }
        let mut known = self.0.write();
        for name in unknown {
            if known.len() < GATEWAYS_MAX {
                let at = known.entry(name.clone()).or_default();
                at.fetch_max(now_s, Ordering::Relaxed);
            }
        }
    }
}

/// Shows the times. A door that has just started knows no gateway yet.
#[derive(Debug)]
pub(crate) struct GatewayCollector(pub(crate) std::sync::Arc<Gateways>);

impl Collector for GatewayCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let known = self.0.0.read();
        let mut family = encoder.encode_descriptor(
            "tally_ingest_gateway_last_event_timestamp_seconds",
            "When this process last accepted an event of a gateway (source), Unix time; the first thousand gateways",
            None,
            MetricType::Gauge,
        )?;
        for (name, at) in known.iter() {
            let labels = [("source", name.as_str())];
            ConstGauge::new(at.load(Ordering::Relaxed)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(gateways: &Gateways) -> Vec<(String, i64)> {
        let known = gateways.0.read();
        known.iter().map(|(name, at)| (name.clone(), at.load(Ordering::Relaxed))).collect()
    }

    #[test]
    fn the_last_time_of_each_is_known() {
        let mut heard = Heard::new();
        for source in ["a", "a", "b", "a"] {
            note(&mut heard, source);
        }
        assert_eq!(heard, ["a", "b"]);
        let gateways = Gateways::default();
        gateways.heard(&heard, 100);
        gateways.heard(&vec!["b".to_owned()], 200);
        // Requests end out of order.
        gateways.heard(&vec!["b".to_owned()], 150);
        assert_eq!(times(&gateways), [("a".to_owned(), 100), ("b".to_owned(), 200)]);
    }

    #[test]
    fn made_up_names_end_somewhere_and_known_ones_go_on() {
        let gateways = Gateways::default();
        for n in 0..2 * GATEWAYS_MAX {
            gateways.heard(&vec![format!("g{n:05}")], 1);
        }
        gateways.heard(&vec!["g00000".to_owned()], 2);
        let times = times(&gateways);
        assert_eq!(times.len(), GATEWAYS_MAX);
        assert_eq!(times[0], ("g00000".to_owned(), 2));
        let mut heard = Heard::new();
        (0..2 * GATEWAYS_MAX).for_each(|n| note(&mut heard, &n.to_string()));
        assert_eq!(heard.len(), REQUEST_GATEWAYS_MAX);
    }
}
