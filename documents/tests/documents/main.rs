//! Every format against the statement that it is made of.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

mod focus;
mod formats;
mod parquet;
mod readers;
mod support;
mod xlsx;
