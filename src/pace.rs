//! When the next event of a run is due.

use std::time::Duration;

use tokio::time::Instant;

/// The pace of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as the receiver takes them.
    Max,
    /// So many events a second.
    PerSecond(u64),
    /// As recorded, so many times faster.
    Recorded { times_faster: u32 },
}

/// Holds events back until they are due.
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Pace,
    started: Instant,
    due: Instant,
    events: u64,
    first_ms: Option<i64>,
}

/// Waits shorter than this are saved up: a timer is no finer.
const SHORTEST_WAIT: Duration = Duration::from_millis(2);

impl Pacer {
    pub(crate) fn new(pace: Pace) -> Self {
        let now = Instant::now();
        Self { pace, started: now, due: now, events: 0, first_ms: None }
    }

    /// How long after the start an event that arrived at `arrival_ms` is due.
    fn due_after(&mut self, arrival_ms: i64) -> Duration {
        let event = self.events;
        self.events += 1;
        match self.pace {
            Pace::Max => Duration::ZERO,
            Pace::PerSecond(rate) => {
                let micros = u128::from(event) * 1_000_000 / u128::from(rate.max(1));
                Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
            }
            Pace::Recorded { times_faster } => {
                let first_ms = *self.first_ms.get_or_insert(arrival_ms);
                let after_ms = u64::try_from(arrival_ms - first_ms).unwrap_or(0);
                Duration::from_millis(after_ms) / times_faster.max(1)
            }
        }
    }

    /// Whether an event that arrived at `arrival_ms` is not due yet.
    pub(crate) fn is_early(&mut self, arrival_ms: i64) -> bool {
        if self.pace == Pace::Max {
            return false;
        }
        self.due = self.started + self.due_after(arrival_ms);
        self.due.saturating_duration_since(Instant::now()) >= SHORTEST_WAIT
    }

    /// Waits until the event that was asked about is due.
    pub(crate) async fn wait(&self) {
        tokio::time::sleep_until(self.due).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_distances_are_kept_and_shortened() {
        for (times_faster, wanted_ms) in [(1, [0, 60_000, 90_000]), (60, [0, 1_000, 1_500])] {
            let mut pacer = Pacer::new(Pace::Recorded { times_faster });
            let due = [5_000, 65_000, 95_000].map(|at| pacer.due_after(at).as_millis());
            assert_eq!(due, wanted_ms);
        }
    }

    #[test]
    fn a_rate_spreads_events_evenly_without_drift() {
        let mut pacer = Pacer::new(Pace::PerSecond(3));
        let due: Vec<u128> = (0..7).map(|_| pacer.due_after(0).as_micros()).collect();
        assert_eq!(due, [0, 333_333, 666_666, 1_000_000, 1_333_333, 1_666_666, 2_000_000]);
    }

    #[test]
    fn an_event_out_of_order_is_due_at_once() {
        let mut pacer = Pacer::new(Pace::Recorded { times_faster: 1 });
        assert_eq!(pacer.due_after(10_000), Duration::ZERO);
        assert_eq!(pacer.due_after(9_000), Duration::ZERO);
    }
}
