//! Faults on real Kafka and real S3 with real processes. R1, R2 and so on are the numbers that the
//! faults have in the project's list.
//!
//! Small counts with `make test`, the full ones with `make soak`. After every fault the tables must equal the
//! truth that the generator wrote, by `tally verify` and by a check without any of our code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

#[path = "../support/mod.rs"]
mod support;

mod alert_prices;
mod alerts;
mod attacks;
mod bad_certificates;
mod bad_days;
mod books;
mod budgets;
mod commit_unknown;
mod completeness;
mod corrections;
mod doctor;
mod door;
mod duplicates;
mod embedded;
mod kafka_outage;
mod kill;
mod members;
mod memory_limits;
mod partitions;
mod phone_bill;
mod place;
mod poison;
mod poison_kinds;
mod processes;
mod proxy;
mod quota;
mod quota_topic;
mod readers;
mod reference;
mod reference_imports;
mod removed_days;
mod rerate;
mod restore;
mod retention;
mod settle;
mod settle_kill;
mod settle_late;
mod settle_s3;
mod settle_same;
mod store_copy;
mod store_errors;
mod suspense;
mod traces;
mod two_writers;
mod webhooks;
mod zombie;
