//! Seeded randomness, and how much of it a run wants.

use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Random draws of one seed. The seed is printed; `TALLY_TEST_SEED` sets it. With real processes
/// it repeats what was done, not the exact instant at which it hit.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    seed: u64,
    began: Instant,
    draws: ChaCha8Rng,
}

impl Dice {
    /// The dice of a test, by the seed of the environment or of the clock.
    pub(crate) fn of(test: &str) -> Self {
        let seed = std::env::var("TALLY_TEST_SEED").ok().map_or_else(
            || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                now.as_nanos() as u64 % 1_000_000_000
            },
            |text| text.parse().expect("TALLY_TEST_SEED is a whole number"),
        );
        println!("{test}: seed {seed} (TALLY_TEST_SEED={seed} makes the same draws)");
        Self { seed, began: Instant::now(), draws: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The seed.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// When the test began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// A seed for something else that is random.
    pub(crate) fn next_seed(&mut self) -> u64 {
        self.draws.random_range(1..1_000_000_000)
    }

    /// A number from `from` up to, not including, `to`.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        self.draws.random_range(from..to)
    }

    /// One of `count` things.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        self.draws.random_range(0..count)
    }

    /// True in `percent` of 100 draws.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.draws.random_range(0..100) < percent
    }

    /// Waits for a random time: the instant of a fault.
    pub(crate) fn pause(&mut self, from_ms: u64, to_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.between(from_ms, to_ms)));
    }
}

/// `small` in `make test`, `full` in `make soak`.
pub(crate) fn at_scale(small: u64, full: u64) -> u64 {
    if std::env::var("TALLY_SOAK").is_ok_and(|soak| soak == "1") { full } else { small }
}

/// The same of rounds that need not all be of one run: with `TALLY_SOAK_SHARES=4` a run makes a
/// quarter of the full count, so that four runs, each by a seed of its own, make it together.
pub(crate) fn rounds_at_scale(small: u64, full: u64) -> u64 {
    at_scale(small, full.div_ceil(shares()))
}

/// How many runs make a full count together.
pub(crate) fn shares() -> u64 {
    std::env::var("TALLY_SOAK_SHARES").map_or(1, |shares| {
        shares.parse::<NonZeroU64>().expect("TALLY_SOAK_SHARES is a number from 1 on").get()
    })
}
