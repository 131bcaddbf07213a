//! What the operator owes its vendors: settlement terms, statements that foot, sealed periods, and
//! the comparison with the vendor's bill. No clock, no randomness, no I/O, no floats.
//!
//! The rules are in `docs/settlement.md`.

pub mod reconcile;
