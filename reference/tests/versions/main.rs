//! Versions of reference data in a store: what importing and approving do, and what they refuse.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

mod approvals;
mod bitemporal;
mod damage;
mod imports;
mod litellm;
mod old_holes;
mod terms;
mod thresholds;
mod world;
