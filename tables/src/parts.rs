//! How far a job of several parts is, for whoever waits for it.

use std::sync::{Mutex, PoisonError};

/// The part that a job is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// Parts that were done before it.
    pub done: u64,
    /// How many there are.
    pub of: u64,
}

/// Written by the job with [`Parts::expect`] and [`Parts::begin`], read by who shows how far it is.
#[derive(Debug, Default)]
pub struct Parts(Mutex<Part>);

impl Parts {
    /// The job begins, and has so many parts.
    pub fn expect(&self, of: usize) {
        self.set(Part { of: u64::try_from(of).unwrap_or(u64::MAX), ..Part::default() });
    }

    /// The next part begins: what was before it is done.
    pub fn begin(&self, name: &'static str) {
        let before = self.look();
        let done = if before.name.is_empty() { 0 } else { before.done + 1 };
        self.set(Part { name, done, ..before });
    }

    /// The part that is being done.
    pub fn look(&self) -> Part {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, part: Part) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_begins_ends_the_one_before() {
        let parts = Parts::default();
        parts.expect(3);
        assert_eq!(parts.look(), Part { name: "", done: 0, of: 3 });
        parts.begin("ledger");
        assert_eq!(parts.look(), Part { name: "ledger", done: 0, of: 3 });
        parts.begin("vacuum");
        assert_eq!(parts.look(), Part { name: "vacuum", done: 1, of: 3 });
        // The next run of the same job.
        parts.expect(2);
        assert_eq!(parts.look(), Part { name: "", done: 0, of: 2 });
    }
}
