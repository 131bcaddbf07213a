//! Queries over a small store, through every door.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

mod answers;
mod http;
mod invariants;
mod limits;
mod psql;
mod world;
