//! The gateways that report: a few in each region, each numbering its events.

use crate::draws::{Draws, mix};

/// Regions, the busiest first.
pub(crate) const REGIONS: [&str; 8] = ["sh", "bj", "gd", "zj", "js", "sc", "hb", "ha"];

/// Gateways of a region.
pub(crate) const GATEWAYS_PER_REGION: usize = 3;

const SOURCES: [[&str; GATEWAYS_PER_REGION]; 8] = [
    ["gw-sh-01", "gw-sh-02", "gw-sh-03"],
    ["gw-bj-01", "gw-bj-02", "gw-bj-03"],
    ["gw-gd-01", "gw-gd-02", "gw-gd-03"],
    ["gw-zj-01", "gw-zj-02", "gw-zj-03"],
    ["gw-js-01", "gw-js-02", "gw-js-03"],
    ["gw-sc-01", "gw-sc-02", "gw-sc-03"],
    ["gw-hb-01", "gw-hb-02", "gw-hb-03"],
    ["gw-ha-01", "gw-ha-02", "gw-ha-03"],
];

/// Number of an event at its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GatewayNumber {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

/// The running numbers of every gateway. A gateway restarts now and then: its epoch rises and its
/// numbers start at 1 again.
#[derive(Debug, Clone)]
pub(crate) struct Gateways {
    numbers: [[GatewayNumber; GATEWAYS_PER_REGION]; REGIONS.len()],
}

/// One event in so many is the last before its gateway restarts.
const EVENTS_PER_RESTART: u64 = 200_000;

impl Gateways {
    pub(crate) fn new(seed: u64) -> Self {
        let mut numbers = [[GatewayNumber { epoch: 1, seq: 0 }; GATEWAYS_PER_REGION]; 8];
        for (region, row) in numbers.iter_mut().enumerate() {
            for (gateway, number) in row.iter_mut().enumerate() {
                let place = u64::try_from(region * GATEWAYS_PER_REGION + gateway).unwrap_or(0);
                number.epoch = 1 + mix(seed ^ place) % 9;
            }
        }
        Self { numbers }
    }

    /// Name of a gateway.
    pub(crate) const fn source(region: usize, gateway: usize) -> &'static str {
        SOURCES[region][gateway]
    }

    /// Takes the next number of a gateway.
    pub(crate) fn next(&mut self, region: usize, gateway: usize, event: u64) -> GatewayNumber {
        let number = &mut self.numbers[region][gateway];
        if number.seq > 0 && mix(event ^ 0x6a7e).is_multiple_of(EVENTS_PER_RESTART) {
            *number = GatewayNumber { epoch: number.epoch + 1, seq: 0 };
        }
        number.seq += 1;
        *number
    }

    /// A gateway of a region.
    pub(crate) fn pick(draws: &mut Draws) -> usize {
        usize::try_from(draws.below(3)).unwrap_or(0)
    }
}
