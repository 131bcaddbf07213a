//! Points at which the fault tests let a process die, as a `kill -9` there would.
//!
//! `TALLY_CRASH_AT=NAME:N` in the environment ends the process the Nth time that it comes by the
//! point. Only builds with debug assertions have the points; a release build has nothing of them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where to die, and how many times to come by before.
struct Crash {
    name: String,
    left: AtomicU64,
}

/// Ends the process where the environment says so.
pub fn crash_point(name: &str) {
    static CRASH: OnceLock<Option<Crash>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return;
    }
    if let Some(crash) = CRASH.get_or_init(from_environment)
        && crash.name == name
        && crash.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test says from outside where to die")]
fn from_environment() -> Option<Crash> {
    let text = std::env::var("TALLY_CRASH_AT").ok()?;
    let (name, times) = text.split_once(':')?;
    Some(Crash { name: name.to_owned(), left: AtomicU64::new(times.parse().ok()?) })
}
