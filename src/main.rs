//! The one binary: thin, a file a subcommand.

mod aggregate;
mod audit;
mod backlog;
mod budgets;
mod cli;
mod config;
mod correct;
mod disks;
mod doctor;
mod event_log;
mod exit;
mod flight;
mod gate;
mod generate;
mod host_metrics;
mod ingest;
mod janitor;
mod log_record;
mod looks;
#[cfg(test)]
mod metrics_reference;
mod pace;
mod partitions;
mod patience;
mod phone_bill;
mod probes;
mod progress;
mod query;
mod quota;
mod rate;
mod reference;
mod reference_words;
mod replay;
mod running;
mod security;
mod server;
mod settle;
mod settle_adjust;
mod settle_close;
mod settle_dispute;
mod settle_documents;
mod settle_events;
mod settle_reconcile;
mod settle_report;
mod settle_rerate;
mod settle_terms;
mod sink;
mod sql;
mod sql_session;
mod status;
mod stdout;
mod stop;
mod store_clock;
mod store_watch;
mod stream_metrics;
mod suspense;
mod suspense_log;
mod suspense_words;
mod table_metrics;
mod topics;
mod traces;
mod traffic_run;
mod trouble;
mod up;
mod user;
mod verify;
mod webhooks;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
