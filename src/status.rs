//! `tally status`: how far the stream is, what is held back, and what is wrong.
//!
//! It reads the ledger, the tables and the ends of the log, and writes nothing; nothing has to run
//! for it. The embedded log belongs to one process: where that runs, it is asked. With Kafka, the
//! processes are asked for what only they know, such as what a store says to who writes to it.

mod log_ends;
mod observe;
mod processes;
mod report;

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use jiff::Timestamp;
use object_store::ObjectStore;
use tally_aggregate::{StageStatus, StreamPlace, StreamStatus, stream_of};
use tally_log::EventLog;
use tally_schemas::Config;
use tokio::time::timeout;

use self::log_ends::{ends_of_log, read_ends};
use self::observe::observe;
pub(crate) use self::observe::{WebhookLook, unpublished};
use self::processes::{Told, waits};
use self::report::{Status, TroubleRow, advised, in_words, owners};
use crate::cli::{GlobalArgs, PlaceArgs};
use crate::exit::{Failure, FailureKind};
use crate::host_metrics::HostWatch;
use crate::looks::{Depends, look, of_log, table_trouble};
use crate::running::Running;
use crate::security::Security;
use crate::trouble::{Cause, Trouble};
use crate::{config, stdout};

/// How long the rest may take where something is wrong.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Ask the process at this address too what its partitions wait for; may be repeated
    // With Kafka, a process of this machine at `http.listen` is asked anyway, and those whose
    // `http.advertise` is in the ledger.
    #[arg(long, value_name = "URL")]
    ask: Vec<String>,
}

pub(crate) async fn run(global: &GlobalArgs, args: StatusArgs) -> Result<(), Failure> {
    let config = config::load(global, &args.place.settings())?;
    // The one process that has the embedded log tells everything at once.
    let many = !config.log.kafka.is_empty() || !args.ask.is_empty();
    let telling = async { if many { Told::of(&config, &args.ask).await } else { Told::default() } };
    let (mut told, (seen, troubles)) = tokio::join!(telling, seen(&config));
    // Where nothing else is known, then why.
    let mut status =
        seen.map_err(|failure| with_words(with_troubles(failure, &troubles), &told.in_words()))?;
    status.add_troubles(troubles.iter().map(TroubleRow::from));
    if many {
        told.ask_owners(owners(&status.partitions)).await;
        status.add(&told);
    }
    if global.json {
        stdout::print(serde_json::to_string_pretty(&status)?)
    } else {
        stdout::print(in_words(&status).trim_end())
    }
}

async fn asked(config: &Config) -> Result<Status, Failure> {
    if let Some(status) = ask_running(config).await {
        return Ok(status);
    }
    let store = tally_aggregate::open_store(&config.store_url(), &config.store.s3_options)?;
    let look = WebhookLook::of(config, None)?;
    let place = stream_of(store.as_ref(), &config.log.topic).await?;
    let ends = ends_of_log(config, &place).await;
    observe(&place, ends, store, Timestamp::now(), &look).await
}

/// What there is to see of the stream, and what is wrong with what it depends on.
async fn seen(config: &Config) -> (Result<Status, Failure>, Vec<Trouble>) {
    let mut asking = pin!(asked(config));
    let mut looking = pin!(troubles(config));
    let mut early = None;
    let troubles = loop {
        tokio::select! {
            troubles = &mut looking => break troubles,
            asked = &mut asking, if early.is_none() => early = Some(asked),
        }
    };
    let asked = match early {
        Some(asked) => asked,
        None if troubles.is_empty() => asking.await,
        // What is wrong is known, and is not kept back for the rest.
        None => timeout(PATIENCE, asking).await.unwrap_or_else(|_| {
            let words = format!("no more is known: no answer within {} s", PATIENCE.as_secs());
            Err(Failure::new(FailureKind::Retry, words))
        }),
    };
    (asked, troubles)
}

/// What is wrong with the store, the certificate and the disks, as seen from here by who only reads.
/// The log is asked for its ends anyway.
async fn troubles(config: &Config) -> Vec<Trouble> {
    let url = config.store_url();
    // A folder that is not there yet is made by the first process, and not by who looks.
    let is_there = url.contains("://") || Path::new(&url).exists();
    let open = || tally_aggregate::open_store(&url, &config.store.s3_options).ok();
    let store = is_there.then(open).flatten();
    let (certificate, unread) = match Security::of(config) {
        Ok(security) => (security.certificate, None),
        Err(failure) => (None, Some(Trouble::new(Cause::Certificate, failure.message))),
    };
    let depends =
        Depends { config: config.clone(), logs: Vec::new(), store, writes: false, certificate };
    let (seen, gone) = tokio::join!(look(&depends), table_trouble(&depends));
    seen.troubles.into_iter().chain(gone).chain(unread).collect()
}

fn with_troubles(failure: Failure, troubles: &[Trouble]) -> Failure {
    let mut words: Vec<String> = troubles.iter().map(|trouble| advised(&trouble.into())).collect();
    if words.is_empty() {
        return failure;
    }
    words.push(failure.message);
    Failure::new(failure.kind, words.join("\n"))
}

/// A failure, with what is known anyway.
fn with_words(failure: Failure, words: &[String]) -> Failure {
    if words.is_empty() {
        return failure;
    }
    Failure::new(failure.kind, format!("{}\n{}", failure.message, words.join("\n")))
}

/// Asks the process that has the embedded log. `None` where none answers: then nobody has it.
async fn ask_running(config: &Config) -> Option<Status> {
    let running = Running::find(config)?;
    let answer = running.client()?.get(running.url("/v1/status")).send().await.ok()?;
    let status: Status = answer.error_for_status().ok()?.json().await.ok()?;
    // Another process may have got the port since.
    (status.process == Some(running.process())).then_some(status)
}

/// The parts of the process that is asked.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) stream: StreamStatus,
    pub(crate) budgets: StageStatus,
    pub(crate) host: HostWatch,
}

/// `GET /v1/status` of a process that has the log open, and `GET /v1/status/process`.
pub(crate) fn routes(
    config: &Config,
    place: &StreamPlace,
    log: Arc<dyn EventLog>,
    store: Arc<dyn ObjectStore>,
    parts: Parts,
    webhooks: WebhookLook,
) -> axum::Router {
    let (config, place) = (config.clone(), place.clone());
    let own = processes::routes(config.log.topic.clone(), parts.clone(), webhooks.running());
    let whole = axum::Router::new().route(
        "/v1/status",
        get(move || async move {
            let log_failure = log.failure();
            let ends = read_ends(log, &config).await;
            let now = Timestamp::now();
            let waiting = waits(&parts.stream, now);
            match observe(&place, ends, store, now, &webhooks).await {
                Ok(mut status) => {
                    status.process = Some(std::process::id());
                    status.waiting = waiting;
                    let stopped = log_failure.map(|error| {
                        TroubleRow::from(&of_log(&config, &error.to_string(), error.kind()))
                    });
                    status.add_troubles(stopped);
                    status.add_troubles(parts.host.troubles().iter().map(TroubleRow::from));
                    status.budget_messages_ignored = Some(parts.budgets.figures().ignored);
                    status.alerts_by_kind = parts.stream.counters().alerts.lock().clone();
                    Json(status).into_response()
                }
                Err(failure) => unavailable(&failure, &waiting),
            }
        }),
    );
    whole.merge(own)
}

fn unavailable(failure: &Failure, waiting: &BTreeMap<u32, String>) -> Response {
    let mut words = format!("{}\n", failure.message);
    for (partition, why) in waiting {
        words.push_str(&format!("partition {partition} waits {why}\n"));
    }
    (axum::http::StatusCode::SERVICE_UNAVAILABLE, words).into_response()
}
