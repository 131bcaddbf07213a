//! The bounds of a partition, and waiting for its end to move.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::Bounds;

/// Only the writer moves it.
#[derive(Debug)]
pub(super) struct Tail {
    bounds: Mutex<Bounds>,
    moved: Condvar,
}

impl Tail {
    pub(super) fn new(start: u64, end: u64) -> Self {
        Self { bounds: Mutex::new(Bounds { start, end }), moved: Condvar::new() }
    }

    pub(super) fn bounds(&self) -> Bounds {
        *self.bounds.lock()
    }

    /// Shows durable records to the readers.
    pub(super) fn set_end(&self, end: u64) {
        self.bounds.lock().end = end;
        self.moved.notify_all();
    }

    pub(super) fn set_start(&self, start: u64) {
        self.bounds.lock().start = start;
    }

    /// Waits until the end is past `offset`, or for the deadline.
    pub(super) fn wait_past(&self, offset: u64, deadline: Instant) -> Bounds {
        let mut bounds = self.bounds.lock();
        while bounds.end <= offset && !self.moved.wait_until(&mut bounds, deadline).timed_out() {}
        *bounds
    }
}
