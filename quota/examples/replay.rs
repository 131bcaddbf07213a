//! Charges the lines of the protocol in `docs/quota.md`, for comparison with the oracle: one JSON
//! object a line on standard input, one on standard output. With the feature `planted`,
//! `TALLY_QUOTA_BUG` switches a known bug on, which the comparison must find.

#![allow(
    clippy::disallowed_methods,
    reason = "an example is the edge: it reads the environment and standard input"
)]

#[path = "../tests/protocol/mod.rs"]
#[allow(dead_code, reason = "only the comparison restarts")]
mod protocol;

use std::io::{BufRead, BufWriter, Write};

use crate::protocol::Replay;

fn main() -> std::io::Result<()> {
    #[cfg(feature = "planted")]
    if let Ok(name) = std::env::var("TALLY_QUOTA_BUG") {
        let bug = tally_quota::Bug::ALL.into_iter().find(|bug| bug.name() == name);
        let bug = bug.ok_or_else(|| std::io::Error::other("no such bug"))?;
        tally_quota::Quota::plant(Some(bug));
    }
    let mut replay = Replay::default();
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        writeln!(out, "{}", replay.answer(&line?)?)?;
    }
    out.flush()
}
