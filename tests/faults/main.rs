//! Faults on real Kafka and real S3 with real processes: the R-numbers of `docs/reliability.md`.
//!
//! Small counts here, the full ones with `make soak`. After every fault the tables must equal the
//! truth that the generator wrote, by `tally verify` and by a check without any of our code.

#[path = "../support/mod.rs"]
mod support;

mod commit_unknown;
mod door;
mod duplicates;
mod kill;
mod members;
mod poison;
mod poison_kinds;
mod proxy;
mod retention;
mod store_errors;
mod two_writers;
mod zombie;
