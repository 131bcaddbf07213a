//! Pure functions over reference data: which vendor and which billed model a request belongs to.
//! No clock, no randomness, no I/O.

mod aliases;

pub use aliases::{ModelAliases, Resolved};
