//! When state is stored as a whole again, and when only what changed.

/// Deltas after which a new base is written, however small they are. Fewer in tests, so that a
/// simulated run of a few hundred events writes several bases.
const DELTAS_MAX: usize = if cfg!(test) { 3 } else { 64 };
/// Bytes of deltas that never call for a new base.
const DELTAS_MIN_BYTES: usize = if cfg!(test) { 2 << 10 } else { 8 << 20 };

/// When a rolling base is due: when the deltas outweigh it, so that a recovery reads at most
/// about twice the state and bases cost at most as much as the deltas.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BasePolicy {
    base_bytes: usize,
    deltas: usize,
    delta_bytes: usize,
}

impl BasePolicy {
    pub(crate) fn base_is_due(&self) -> bool {
        self.deltas >= DELTAS_MAX || self.delta_bytes > self.base_bytes.max(DELTAS_MIN_BYTES)
    }

    pub(crate) fn note_base(&mut self, bytes: usize) {
        *self = Self { base_bytes: bytes, deltas: 0, delta_bytes: 0 };
    }

    pub(crate) fn note_delta(&mut self, bytes: usize) {
        self.deltas += 1;
        self.delta_bytes += bytes;
    }

    /// Size of the last base.
    pub(crate) fn base_bytes(&self) -> usize {
        self.base_bytes
    }

    /// Size of a delta, from those since the last base.
    pub(crate) fn mean_delta_bytes(&self) -> usize {
        self.delta_bytes / self.deltas.max(1)
    }
}
