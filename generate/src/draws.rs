//! Random words that belong to one event.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Words of the generator that belong to one event: what ChaCha8 makes in one go.
const WORDS_PER_EVENT: u128 = 64;

/// Random words by event: event `i` has the same words however often and in whatever order events
/// are made, so that a resend is made anew from its number and need not be remembered.
#[derive(Debug, Clone)]
pub(crate) struct Draws {
    generator: ChaCha8Rng,
}

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self { generator: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Goes to the first word of an event.
    pub(crate) fn seek(&mut self, event: u64) {
        self.generator.set_word_pos(u128::from(event) * WORDS_PER_EVENT);
    }

    /// The next word.
    pub(crate) fn word(&mut self) -> u32 {
        self.generator.next_u32()
    }

    /// A number from 0 to `limit - 1`; 0 where the limit is 0.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        below(self.word(), limit)
    }

    /// Whether one in a million parts came up.
    pub(crate) fn chance_ppm(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < ppm
    }
}

/// A word mapped to 0 … `limit - 1`.
pub(crate) fn below(word: u32, limit: u32) -> u32 {
    u32::try_from((u64::from(word) * u64::from(limit)) >> 32).unwrap_or(0)
}

/// Mixes a number thoroughly (SplitMix64's finalizer): the same input, the same output, so that
/// what belongs to an account need not be stored.
pub(crate) const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The two words of a mixed number.
pub(crate) fn words_of(mixed: u64) -> (u32, u32) {
    let low = u32::try_from(mixed & 0xffff_ffff).unwrap_or(0);
    let high = u32::try_from(mixed >> 32).unwrap_or(0);
    (high, low)
}
