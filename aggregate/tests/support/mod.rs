//! What tests of a running aggregator share.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::disallowed_methods, reason = "a test waits for real threads")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tally_aggregate::{AggregateError, Edge};

/// A clock that stands still until it is set.
#[derive(Debug)]
pub(crate) struct SetClock(AtomicI64);

impl SetClock {
    pub(crate) fn at(now_ms: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now_ms)))
    }

    pub(crate) fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }
}

impl Edge for SetClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn new_owner(&self) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }

    fn pause(&self, _: u32, _: &AggregateError) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(5)))
    }
}

/// Asks until there is an answer, for two minutes at most.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{what}: has not happened");
        std::thread::sleep(Duration::from_millis(5));
    }
}
