//! Runs actors one poll at a time, in an order drawn from the seed. An actor can be killed at any
//! of its awaits (a crash) or be stopped for a while (a zombie).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::world::World;

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An actor that has not ended.
pub(super) struct Actor<T, O> {
    /// Who it is.
    pub(super) tag: T,
    /// It is not polled before this tick.
    pub(super) stopped_until: u64,
    future: Pin<Box<dyn Future<Output = O>>>,
    woken: Arc<Woken>,
}

/// All actors of a run.
pub(super) struct Actors<T, O> {
    world: World,
    /// Those that have not ended.
    pub(super) alive: Vec<Actor<T, O>>,
    /// Polls so far.
    pub(super) polls: u64,
}

/// Nothing can happen any more, but somebody waits.
#[derive(Debug)]
pub(super) struct Stuck;

impl<T, O> Actors<T, O> {
    /// None yet.
    pub(super) fn new(world: &World) -> Self {
        Self { world: world.clone(), alive: Vec::new(), polls: 0 }
    }

    /// Adds an actor.
    pub(super) fn start(&mut self, tag: T, future: impl Future<Output = O> + 'static) {
        self.alive.push(Actor {
            tag,
            stopped_until: 0,
            future: Box::pin(future),
            woken: Arc::new(Woken(AtomicBool::new(true))),
        });
    }

    /// Polls one actor that can go on, or moves the time to where one can. Returns the tag and the
    /// output of an actor that has ended.
    pub(super) fn step(&mut self) -> Result<Option<(T, O)>, Stuck> {
        let tick = self.world.tick();
        let can: Vec<usize> = (0..self.alive.len())
            .filter(|n| self.alive[*n].woken.0.load(Ordering::Relaxed))
            .filter(|n| self.alive[*n].stopped_until <= tick)
            .collect();
        if can.is_empty() {
            let resumed = self
                .alive
                .iter()
                .filter(|actor| actor.woken.0.load(Ordering::Relaxed))
                .map(|actor| actor.stopped_until);
            let next = resumed.chain(self.world.next_due()).min().ok_or(Stuck)?;
            self.world.skip_to(next);
            return Ok(None);
        }
        self.polls += 1;
        let chosen = can[usize::try_from(self.world.draw(0..can.len() as u64)).unwrap()];
        let actor = &mut self.alive[chosen];
        actor.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&actor.woken));
        let polled = actor.future.as_mut().poll(&mut Context::from_waker(&waker));
        self.world.pass();
        Ok(match polled {
            Poll::Pending => None,
            Poll::Ready(output) => Some((self.alive.remove(chosen).tag, output)),
        })
    }
}

/// Runs one future alone to its end.
pub(super) fn run_alone<O: 'static>(world: &World, future: impl Future<Output = O> + 'static) -> O {
    let mut actors = Actors::new(world);
    actors.start((), future);
    loop {
        if let Some(((), output)) = actors.step().expect("a future that nothing wakes") {
            return output;
        }
    }
}
