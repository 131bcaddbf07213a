//! When events arrive: a day curve in China's time, with bursts.

use crate::draws::mix;

/// Relative traffic by hour of the day in Shanghai: a trough at four, peaks before noon, in the
/// afternoon and in the evening.
const BY_HOUR: [u64; 24] = [
    34, 22, 15, 11, 9, 10, 16, 30, 58, 88, 98, 94, 76, 84, 97, 100, 96, 88, 74, 78, 90, 92, 78, 54,
];
const SHANGHAI_OFFSET_MS: i64 = 8 * 3_600_000;
const HOUR_MS: i64 = 3_600_000;

/// Arrival times of a run, in order: the number of events is spread over the span in proportion to
/// the day curve and to bursts of up to three times the usual traffic.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    start_ms: i64,
    span_ms: u64,
    events: u64,
    /// Sums of weights up to the end of each slot.
    cumulative: Vec<u64>,
    /// Slot that the last arrival was in.
    slot: usize,
}

impl Arrivals {
    pub(crate) fn new(seed: u64, start_ms: i64, span_ms: u64, events: u64) -> Self {
        // At most an hour's tenth a slot, at least a second.
        let slots = (span_ms / 360_000).clamp(240, 100_000).min((span_ms / 1_000).max(1));
        let mut cumulative = Vec::new();
        let (mut sum, mut burst_left) = (0, 0_u64);
        for slot in 0..slots {
            let at_ms = start_ms + i64::try_from(span_ms / slots * slot).unwrap_or(0);
            let hour = (at_ms + SHANGHAI_OFFSET_MS).div_euclid(HOUR_MS).rem_euclid(24);
            let luck = mix(seed ^ mix(slot ^ 0xb1e5));
            if luck.is_multiple_of(60) {
                burst_left = 1 + (luck >> 32) % 4;
            }
            let usual = BY_HOUR[usize::try_from(hour).unwrap_or(0)] * 10;
            let wobble = 90 + (luck >> 8) % 21;
            let burst = if burst_left > 0 { 3 } else { 1 };
            burst_left = burst_left.saturating_sub(1);
            sum += usual * wobble * burst;
            cumulative.push(sum);
        }
        Self { start_ms, span_ms, events, cumulative, slot: 0 }
    }

    /// Arrival of event `index`, milliseconds UTC. Indexes must not fall.
    pub(crate) fn at_ms(&mut self, index: u64) -> i64 {
        let total = self.cumulative.last().copied().unwrap_or(1);
        // Position of the event in units of weight, in thousandths for an even spread.
        let position =
            u128::from(index) * u128::from(total) * 1_000 / u128::from(self.events.max(1));
        let end_of = |slot: usize| u128::from(self.cumulative[slot]) * 1_000;
        while self.slot + 1 < self.cumulative.len() && position >= end_of(self.slot) {
            self.slot += 1;
        }
        let before = if self.slot == 0 { 0 } else { end_of(self.slot - 1) };
        let width = end_of(self.slot) - before;
        let slots = u128::try_from(self.cumulative.len()).unwrap_or(1);
        let slot = u128::try_from(self.slot).unwrap_or(0);
        let within = position.saturating_sub(before);
        let offset_ms = (slot * width + within) * u128::from(self.span_ms) / (slots * width.max(1));
        self.start_ms + i64::try_from(offset_ms).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_rise_within_the_span() {
        for (span_ms, events) in [(1, 10), (1_000, 1_000), (3_600_000, 5_000), (86_400_000, 3)] {
            let mut arrivals = Arrivals::new(3, 1_000_000, span_ms, events);
            let times: Vec<i64> = (0..events).map(|index| arrivals.at_ms(index)).collect();
            assert!(times.is_sorted(), "span {span_ms}");
            assert!(times[0] >= 1_000_000);
            assert!(times[times.len() - 1] <= 1_000_000 + i64::try_from(span_ms).unwrap());
        }
    }

    #[test]
    fn the_night_is_quiet() {
        // Midnight in Shanghai is 16:00 UTC.
        let midnight_ms = 16 * HOUR_MS;
        let mut arrivals = Arrivals::new(9, midnight_ms, 86_400_000, 100_000);
        let mut by_hour = [0_u32; 24];
        for index in 0..100_000 {
            let hour = (arrivals.at_ms(index) - midnight_ms) / HOUR_MS;
            by_hour[usize::try_from(hour).unwrap()] += 1;
        }
        assert!(by_hour[15] > 4 * by_hour[4], "{by_hour:?}");
        assert!(by_hour.iter().all(|count| *count > 0));
    }

    #[test]
    fn bursts_are_three_times_the_usual_and_short() {
        const SLOT_MS: i64 = 15_000;
        let (mut slots, mut in_bursts) = (0, 0);
        for seed in 0..20 {
            // An hour of one weight: what differs is chance, within a tenth, and bursts.
            let mut arrivals = Arrivals::new(seed, 6 * HOUR_MS, 3_600_000, 240_000);
            let mut by_slot = [0_u32; 240];
            for index in 0..240_000 {
                let slot = (arrivals.at_ms(index) - 6 * HOUR_MS) / SLOT_MS;
                by_slot[usize::try_from(slot).unwrap().min(239)] += 1;
            }
            let mut sorted = by_slot;
            sorted.sort_unstable();
            let usual = sorted[120];
            let bursts = by_slot.iter().filter(|events| **events > 2 * usual).count();
            for events in by_slot {
                let tenths = events * 10 / usual;
                let as_told = (8..=13).contains(&tenths) || (23..=38).contains(&tenths);
                assert!(as_told, "seed {seed}: {events} events in a slot, usually {usual}");
            }
            slots += by_slot.len();
            in_bursts += bursts;
        }
        // One slot in sixty begins a burst of one to four.
        assert!((1..=15).contains(&(in_bursts * 100 / slots)), "{in_bursts} of {slots} slots");
    }
}
