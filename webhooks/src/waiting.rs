//! What a receiver has yet to get: in memory, with when to try each again. The position to be
//! stored follows from it.

use std::collections::BTreeMap;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Where a record lies: partition and offset.
pub(crate) type Place = (u32, u64);

/// An alert that was read.
#[derive(Debug)]
pub(crate) struct NewAlert {
    pub(crate) id: String,
    pub(crate) body: Bytes,
    /// When the log received it, milliseconds UTC.
    pub(crate) logged_at_ms: i64,
    pub(crate) room: OwnedSemaphorePermit,
}

/// An alert that is not delivered.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) id: String,
    pub(crate) body: Bytes,
    /// When the log received it, milliseconds UTC.
    pub(crate) logged_at_ms: i64,
    /// Let go with the alert.
    _room: OwnedSemaphorePermit,
    delays: ExponentialBackoff,
    next_try: Instant,
    in_flight: bool,
}

/// Everything that is not delivered, and how far each partition was read.
#[derive(Debug)]
pub(crate) struct WaitingRoom {
    delays: ExponentialBuilder,
    alerts: BTreeMap<Place, Waiting>,
    next_read: BTreeMap<u32, u64>,
}

/// Delays that double, with jitter, from the shortest to the longest.
pub(crate) fn delays(min: Duration, max: Duration) -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(min)
        .with_max_delay(max)
        .without_max_times()
        .with_jitter()
}

impl WaitingRoom {
    /// An empty one.
    pub(crate) fn new(delays: ExponentialBuilder) -> Self {
        Self { delays, alerts: BTreeMap::new(), next_read: BTreeMap::new() }
    }

    /// Number of alerts.
    pub(crate) fn len(&self) -> usize {
        self.alerts.len()
    }

    /// A partition is read from an offset on.
    pub(crate) fn begin(&mut self, partition: u32, next: u64) {
        self.end(partition);
        self.next_read.insert(partition, next);
    }

    /// A partition is another's: what waits of it is his.
    pub(crate) fn end(&mut self, partition: u32) {
        self.next_read.remove(&partition);
        self.alerts.retain(|place, _| place.0 != partition);
    }

    /// A record was read; an alert in it waits.
    pub(crate) fn add(&mut self, place: Place, alert: Option<NewAlert>) {
        let Some(next) = self.next_read.get_mut(&place.0) else { return };
        if place.1 < *next {
            return;
        }
        *next = place.1 + 1;
        if let Some(NewAlert { id, body, logged_at_ms, room }) = alert {
            let waiting = Waiting {
                id,
                body,
                logged_at_ms,
                _room: room,
                delays: self.delays.build(),
                next_try: Instant::now(),
                in_flight: false,
            };
            self.alerts.insert(place, waiting);
        }
    }

    /// Takes the next one that is due into flight.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Place, &Waiting)> {
        let mut alerts = self.alerts.iter_mut();
        let (place, waiting) =
            alerts.find(|(_, waiting)| !waiting.in_flight && waiting.next_try <= now)?;
        waiting.in_flight = true;
        Some((*place, waiting))
    }

    /// When the next one is due, of those that are not in flight.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let still = self.alerts.values().filter(|waiting| !waiting.in_flight);
        still.map(|waiting| waiting.next_try).min()
    }

    /// An alert that is in flight; none where its partition is another's since.
    pub(crate) fn get(&self, place: Place) -> Option<&Waiting> {
        self.alerts.get(&place)
    }

    /// An alert is delivered or given up.
    pub(crate) fn done(&mut self, place: Place) {
        self.alerts.remove(&place);
    }

    /// An attempt failed: another one follows, not before `not_before` from now.
    pub(crate) fn failed(&mut self, place: Place, not_before: Option<Duration>) {
        if let Some(waiting) = self.alerts.get_mut(&place) {
            let delay = waiting.delays.next().unwrap_or_default();
            waiting.next_try = Instant::now() + delay.max(not_before.unwrap_or_default());
            waiting.in_flight = false;
        }
    }

    /// Of each partition, the offset before which nothing waits.
    pub(crate) fn positions(&self) -> BTreeMap<u32, u64> {
        let mut positions = self.next_read.clone();
        for (partition, offset) in self.alerts.keys() {
            if let Some(next) = positions.get_mut(partition) {
                *next = (*next).min(*offset);
            }
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    fn room() -> WaitingRoom {
        WaitingRoom::new(delays(Duration::from_secs(1), Duration::from_secs(8)))
    }

    fn alert(id: &str) -> Option<NewAlert> {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let body = Bytes::from_static(b"{}");
        Some(NewAlert { id: id.to_owned(), body, logged_at_ms: 0, room })
    }

    #[tokio::test]
    async fn the_position_stays_before_what_waits() {
        let mut room = room();
        room.begin(0, 10);
        room.begin(1, 0);
        for offset in 10..15 {
            room.add((0, offset), (offset != 12).then(|| alert("a")).flatten());
        }
        assert_eq!(room.positions(), BTreeMap::from([(0, 10), (1, 0)]));
        room.done((0, 11));
        assert_eq!(room.positions()[&0], 10);
        room.done((0, 10));
        assert_eq!(room.positions()[&0], 13);
        room.done((0, 13));
        room.done((0, 14));
        assert_eq!(room.positions()[&0], 15);
        // Read again after a partition came back: not twice.
        room.add((0, 14), alert("a"));
        assert_eq!(room.len(), 0);
        room.end(0);
        room.add((0, 20), alert("a"));
        assert_eq!(room.positions(), BTreeMap::from([(1, 0)]));
    }

    #[tokio::test]
    async fn what_failed_waits_longer_each_time() {
        let mut room = room();
        room.begin(0, 0);
        room.add((0, 0), alert("a"));
        let mut delays = Vec::new();
        for _ in 0..6 {
            let now = Instant::now() + Duration::from_secs(1_000);
            assert!(room.take_due(now).is_some());
            assert!(room.take_due(now).is_none(), "in flight already");
            let began = Instant::now();
            room.failed((0, 0), None);
            delays.push(room.next_due().unwrap() - began);
        }
        assert!(delays[0] >= Duration::from_secs(1), "{delays:?}");
        assert!(delays[3] >= Duration::from_secs(8), "{delays:?}");
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(17)), "{delays:?}");
        room.failed((0, 0), Some(Duration::from_secs(500)));
        assert!(room.next_due().unwrap() > Instant::now() + Duration::from_secs(499));
    }
}
