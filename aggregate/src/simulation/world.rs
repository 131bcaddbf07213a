//! Time, chance and the order of things in a simulated run. Every draw comes from one seeded
//! generator, and everything runs on one thread, so a seed always gives the same run.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::faulty_store::Call;
use super::plan::Faults;
use super::simulated_alerts::AlertRecord;
use super::simulated_statuses::StatusRecord;
use crate::error::AggregateError;
use crate::owner::Edge;

/// The simulated world. Clones are the same one.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<Inside>>);

/// What the world knows.
pub(super) struct Inside {
    pub(super) random: ChaCha8Rng,
    pub(super) tick: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Due>,
    pub(super) calls: Vec<Call>,
    pub(super) objects: BTreeMap<String, Bytes>,
    /// Every write that took effect, in order (R21).
    pub(super) writes: Vec<(String, Bytes)>,
    /// The topic of alerts, in the order of arrival.
    pub(super) alerts: Vec<AlertRecord>,
    /// The topic of statuses, in the order of arrival.
    pub(super) statuses: Vec<StatusRecord>,
    pub(super) faults: Faults,
    owners: u64,
    trace: bool,
}

/// What happens at a tick.
pub(super) enum Due {
    /// Somebody who waits goes on.
    Wake(Waker),
    /// A store call takes effect.
    Apply(usize),
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

impl Inside {
    /// Lets something happen at `tick`.
    pub(super) fn at(&mut self, tick: u64, due: Due) {
        self.sequence += 1;
        self.queue.insert((tick, self.sequence), due);
    }

    fn fire(&mut self) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > self.tick {
                break;
            }
            match entry.remove() {
                Due::Wake(waker) => waker.wake(),
                Due::Apply(call) => self.apply(call),
            }
        }
    }

    /// Says something in a run that is traced.
    pub(super) fn note(&self, words: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>7}  {}", self.tick, words());
        }
    }
}

impl World {
    /// A world at tick 0.
    pub(super) fn new(seed: u64, faults: Faults, trace: bool) -> Self {
        Self(Arc::new(Mutex::new(Inside {
            random: ChaCha8Rng::seed_from_u64(seed),
            tick: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            calls: Vec::new(),
            objects: BTreeMap::new(),
            writes: Vec::new(),
            alerts: Vec::new(),
            statuses: Vec::new(),
            faults,
            owners: 0,
            trace,
        })))
    }

    /// The inside, locked.
    pub(super) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock()
    }

    /// The tick.
    pub(super) fn tick(&self) -> u64 {
        self.0.lock().tick
    }

    /// A number from `range`.
    pub(super) fn draw(&self, range: std::ops::Range<u64>) -> u64 {
        self.0.lock().random.random_range(range)
    }

    /// `true` once in `times`.
    pub(super) fn once_in(&self, times: u64) -> bool {
        self.draw(0..times) == 0
    }

    /// Says something in a run that is traced.
    pub(super) fn note(&self, words: impl FnOnce() -> String) {
        self.0.lock().note(words);
    }

    /// Lets one tick pass.
    pub(super) fn pass(&self) {
        let mut inside = self.0.lock();
        inside.tick += 1;
        inside.fire();
    }

    /// The tick of the next thing to happen by itself.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.0.lock().queue.first_key_value().map(|(at, _)| at.0)
    }

    /// Goes on to `tick`.
    pub(super) fn skip_to(&self, tick: u64) {
        let mut inside = self.0.lock();
        inside.tick = inside.tick.max(tick);
        inside.fire();
    }

    /// A wait of some ticks.
    pub(super) fn sleep(&self, ticks: u64) -> Sleep {
        Sleep { world: self.clone(), until: self.tick() + ticks }
    }

    /// Begins with `objects` and what was told, after those who wrote it: with other ids, when the
    /// log has ended.
    pub(super) fn begin_with(
        &self,
        objects: BTreeMap<String, Bytes>,
        (alerts, statuses): (Vec<AlertRecord>, Vec<StatusRecord>),
    ) {
        let mut inside = self.0.lock();
        inside.objects = objects;
        (inside.alerts, inside.statuses) = (alerts, statuses);
        inside.owners = 5_000;
        inside.tick = 1_000_000;
    }

    /// The next owner id, or whatever else must be new.
    pub(super) fn fresh_id(&self) -> u64 {
        let mut inside = self.0.lock();
        inside.owners += 1;
        inside.owners
    }
}

/// Ready when its tick has come.
pub(super) struct Sleep {
    world: World,
    until: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut inside = self.world.inside();
        if inside.tick >= self.until {
            return Poll::Ready(());
        }
        inside.at(self.until, Due::Wake(context.waker().clone()));
        Poll::Pending
    }
}

/// Clock, ids and pauses of the simulated world.
#[derive(Debug)]
pub(super) struct SimulatedEdge(pub(super) World);

impl Edge for SimulatedEdge {
    fn now_ms(&self) -> i64 {
        super::workload::BEGIN_MS + i64::try_from(self.0.tick()).unwrap()
    }

    fn new_owner(&self) -> String {
        format!("owner-{:04}", self.0.fresh_id())
    }

    fn pause(&self, attempt: u32, why: &AggregateError) -> BoxFuture<'static, ()> {
        self.0.note(|| format!("pause {attempt}: {why}"));
        Box::pin(self.0.sleep(1 << attempt.min(6)))
    }
}
