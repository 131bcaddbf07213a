//! The door as a gateway sees it, over a log that the test controls.

#![allow(clippy::unwrap_used, reason = "a helper of a test stops at the first surprise")]

mod answers;
mod batching;
mod client;
mod commands;
mod controlled_log;
mod formats;
mod limits;
mod service;
