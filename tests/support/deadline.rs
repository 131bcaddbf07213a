//! Waiting for a condition. A deadline only says when something hangs; it measures nothing.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `probe` finds something.
///
/// Panics where it has not after `within`, saying `what` was waited for.
pub(crate) fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < within, "{what}: has not happened within {within:?}");
        std::thread::sleep(INTERVAL);
    }
}
