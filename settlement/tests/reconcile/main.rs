//! Vendors' bills against our rows: planted differences, order, memory, bad input.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests stop at the first surprise")]

mod bad_bills;
mod damaged;
mod order;
mod outcome;
mod planted;
mod planted_groups;
mod shapes;
mod support;
