//! `tally status`: how far the stream is, and what is held back.
//!
//! It reads the ledger, the tables and the ends of the log; nothing has to run for it. The embedded
//! log belongs to one process: where that runs, it is asked. With Kafka, the processes are asked for
//! what only they know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use comfy_table::{Table as TextTable, presets};
use jiff::Timestamp;
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use tally_aggregate::ledger::{self, StoredEntry};
use tally_aggregate::{StageStatus, StreamPlace, StreamStatus, stream_of};
use tally_log::{EventLog, LogError, LogErrorKind};
use tally_query::LedgerView;
use tally_schemas::{Config, ControlTotals, EntryKind, Table};
use tally_tables::TableSet;
use tally_webhooks::{Receiver, ReceiverStatus, WebhookStatus, dead_letters, receivers_of};
use tokio::time::timeout;

use crate::cli::{GlobalArgs, PlaceArgs};
use crate::exit::{Failure, FailureKind};
use crate::looks::{Depends, look, of_log, table_trouble};
use crate::running::Running;
use crate::security::Security;
use crate::status_processes::{ProcessRow, Told, named, waiting_in_words, waits};
use crate::trouble::{Cause, Trouble};
use crate::{config, event_log, stdout};

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

/// The state of the whole stream. What cannot be known is null, and a note says why.
#[derive(Debug, Serialize, Deserialize)]
struct Status {
    /// Id of the process that answered, where one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
    topic: String,
    /// End of the log less committed, over all partitions.
    lag_events: Option<u64>,
    /// Ledger entries with rows that the tables do not have yet.
    unpublished_epochs: u64,
    /// Time since the last commit of a partition that lags: nothing older is uncommitted, but for
    /// what came while that commit was made.
    oldest_uncommitted_age_ms: Option<i64>,
    /// The lowest watermark of the partitions.
    watermark: Option<String>,
    partitions: Vec<PartitionRow>,
    /// Events that are held back and open, by reason.
    suspended: BTreeMap<String, u64>,
    tables: Vec<TableRow>,
    /// Receivers of alerts.
    #[serde(default)]
    webhooks: Vec<WebhookRow>,
    notes: Vec<String>,
    /// What is wrong with what the stream depends on.
    #[serde(default)]
    troubles: Vec<TroubleRow>,
    /// Messages of increments of budgets that no ledger confirms, since the process that was asked
    /// started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budget_messages_ignored: Option<u64>,
    /// Partitions for which the store or the log does not answer, where the process that has them
    /// was asked.
    #[serde(default)]
    waiting: BTreeMap<u32, String>,
    /// Partitions that are not being processed, and why; known as above.
    #[serde(default)]
    stopped: BTreeMap<u32, String>,
    /// Alerts in the table of alerts; null where a file of it does not say.
    #[serde(default)]
    alerts: Option<u64>,
    /// Alerts that left since the processes that were asked began, by kind.
    #[serde(default)]
    alerts_by_kind: BTreeMap<String, u64>,
    /// Processes that were asked and have answered, where the log is Kafka.
    #[serde(default)]
    processes: Vec<ProcessRow>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TroubleRow {
    cause: Cause,
    /// The cause in words, where, and what was said there.
    found: String,
    /// What to do.
    advice: String,
}

impl From<&Trouble> for TroubleRow {
    fn from(trouble: &Trouble) -> Self {
        let (cause, advice) = (trouble.cause, trouble.cause.advice().to_owned());
        Self { cause, found: trouble.to_string(), advice }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct PartitionRow {
    partition: u32,
    owner: Option<String>,
    /// Where the owner is reached, if it tells.
    #[serde(default)]
    address: Option<String>,
    epoch: Option<u64>,
    committed_offset: u64,
    end_offset: Option<u64>,
    lag_events: Option<u64>,
    watermark: Option<String>,
    committed_at: Option<String>,
    #[serde(skip)]
    watermark_ms: Option<i64>,
    #[serde(skip)]
    committed_at_ms: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TableRow {
    name: String,
    /// Delta version; null before the first.
    version: Option<u64>,
    files: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct WebhookRow {
    receiver: String,
    /// Alerts that were given up and still lie in the store.
    dead_letters: u64,
    /// What became of deliveries, where the process was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<ReceiverStatus>,
}

/// The receivers of alerts to be looked at.
#[derive(Debug, Clone)]
pub(crate) struct WebhookLook {
    topic: String,
    receivers: Vec<Receiver>,
    running: Option<WebhookStatus>,
}

impl WebhookLook {
    /// Those of the configuration, and what this process knows of them.
    pub(crate) fn of(config: &Config, running: Option<WebhookStatus>) -> Result<Self, Failure> {
        let receivers = receivers_of(&config.alerts)?;
        Ok(Self { topic: config.alerts.topic.clone(), receivers, running })
    }

    async fn rows(&self, store: &dyn ObjectStore) -> Result<Vec<WebhookRow>, Failure> {
        if self.receivers.is_empty() {
            return Ok(Vec::new());
        }
        let dead = dead_letters(store, &self.topic).await?;
        let running = self.running.as_ref().map(WebhookStatus::receivers).unwrap_or_default();
        let row = |receiver: &Receiver| WebhookRow {
            receiver: receiver.name().to_owned(),
            dead_letters: dead.get(receiver.id()).copied().unwrap_or(0),
            running: running.get(receiver.name()).cloned(),
        };
        Ok(self.receivers.iter().map(row).collect())
    }
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
    for trouble in &troubles {
        if status.troubles.iter().all(|known| known.cause != trouble.cause) {
            status.troubles.push(trouble.into());
        }
    }
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
    let store = tally_aggregate::open_store(&config.store_url())?;
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

/// What is wrong with the store, the clock, the certificate and the disks, as seen from here. The
/// log is asked for its ends anyway.
async fn troubles(config: &Config) -> Vec<Trouble> {
    let url = config.store_url();
    // A folder that is not there yet is made by the first process, and not by who looks.
    let is_there = url.contains("://") || Path::new(&url).exists();
    let store = is_there.then(|| tally_aggregate::open_store(&url).ok()).flatten();
    let (certificate, unread) = match Security::of(config) {
        Ok(security) => (security.certificate, None),
        Err(failure) => (None, Some(Trouble::new(Cause::Certificate, failure.message))),
    };
    let depends =
        Depends { config: config.clone(), logs: Vec::new(), store, writes: true, certificate };
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

fn advised(trouble: &TroubleRow) -> String {
    format!("{}\n→ {}", trouble.found, trouble.advice)
}

/// A failure, with what is known anyway.
fn with_words(failure: Failure, words: &[String]) -> Failure {
    if words.is_empty() {
        return failure;
    }
    Failure::new(failure.kind, format!("{}\n{}", failure.message, words.join("\n")))
}

/// Partitions by the address of their owner.
fn owners(rows: &[PartitionRow]) -> BTreeMap<String, BTreeSet<u32>> {
    let mut owners: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for row in rows {
        if let Some(address) = &row.address {
            owners.entry(address.clone()).or_default().insert(row.partition);
        }
    }
    owners
}

impl Status {
    /// Adds what only the processes know.
    fn add(&mut self, told: &Told) {
        self.waiting.extend(told.waiting());
        self.stopped.extend(told.stopped());
        self.alerts_by_kind.extend(told.alerts());
        self.processes = told.rows();
        for row in &mut self.webhooks {
            row.running = told.receiver(&row.receiver).or(row.running.take());
        }
        self.notes.extend(told.notes().iter().cloned());
        let answered = told.partitions();
        let lags = |row: &&PartitionRow| row.lag_events != Some(0);
        let silent = self.partitions.iter().filter(lags).map(|row| row.partition);
        let silent: BTreeSet<u32> = silent.filter(|n| !answered.contains(n)).collect();
        if !silent.is_empty() {
            self.notes.push(format!(
                "what {} wait for is not known, as no process that has them was asked: give --ask URL, or ask where it runs",
                named(&silent)
            ));
        }
    }
}

/// Asks the process that has the embedded log. `None` where none answers: then nobody has it.
async fn ask_running(config: &Config) -> Option<Status> {
    let running = Running::find(config)?;
    let answer = running.client()?.get(running.url("/v1/status")).send().await.ok()?;
    let status: Status = answer.error_for_status().ok()?.json().await.ok()?;
    // Another process may have got the port since.
    (status.process == Some(running.process())).then_some(status)
}

/// `GET /v1/status` of a process that has the log open.
pub(crate) fn routes(
    config: &Config,
    place: &StreamPlace,
    log: Arc<dyn EventLog>,
    store: Arc<dyn ObjectStore>,
    (stream, budgets): (StreamStatus, StageStatus),
    webhooks: WebhookLook,
) -> axum::Router {
    let (config, place) = (config.clone(), place.clone());
    axum::Router::new().route(
        "/v1/status",
        get(move || async move {
            let log_failure = log.failure();
            let ends = read_ends(log, &config).await;
            let now = Timestamp::now();
            let waiting = waits(&stream, now);
            match observe(&place, ends, store, now, &webhooks).await {
                Ok(mut status) => {
                    status.process = Some(std::process::id());
                    status.waiting = waiting;
                    let stopped = log_failure.map(|error| {
                        TroubleRow::from(&of_log(&config, &error.to_string(), error.kind()))
                    });
                    status.troubles.extend(stopped);
                    status.budget_messages_ignored = Some(budgets.figures().ignored);
                    status.alerts_by_kind = stream.counters().alerts.lock().clone();
                    Json(status).into_response()
                }
                Err(failure) => unavailable(&failure, &waiting),
            }
        }),
    )
}

fn unavailable(failure: &Failure, waiting: &BTreeMap<u32, String>) -> Response {
    let mut words = format!("{}\n", failure.message);
    for (partition, why) in waiting {
        words.push_str(&format!("partition {partition} waits {why}\n"));
    }
    (axum::http::StatusCode::SERVICE_UNAVAILABLE, words).into_response()
}

async fn observe(
    place: &StreamPlace,
    ends: Result<BTreeMap<u32, u64>, Unknown>,
    store: Arc<dyn ObjectStore>,
    now: Timestamp,
    webhooks: &WebhookLook,
) -> Result<Status, Failure> {
    let topic = place.ledger.as_str();
    let (mut notes, mut log_trouble) = (Vec::new(), None);
    let ends = match ends {
        Ok(ends) => ends,
        Err(Unknown { note, trouble }) => {
            notes.push(note);
            log_trouble = trouble;
            BTreeMap::new()
        }
    };
    let last: BTreeMap<u32, StoredEntry> = LedgerView::new(Arc::clone(&store), topic)
        .all_last()
        .await?
        .into_iter()
        .map(|stored| (stored.entry.partition, stored))
        .collect();
    let table_set = TableSet::open(Arc::clone(&store));
    let pinned = table_set.pin(None).await?;
    let mut unpublished_epochs = 0;
    for stored in last.values() {
        let partition = stored.entry.partition;
        let published = table_set.published(topic, partition).await?;
        unpublished_epochs += unpublished(store.as_ref(), topic, stored, &published).await?;
    }
    // Partitions that the topic had once have nothing to come.
    let is_there = |partition: &u32| {
        let lasts = || last.values().map(|stored| &stored.entry);
        last.get(partition).is_none_or(|stored| !stored.entry.is_left_behind(lasts()))
    };
    let numbers: BTreeSet<u32> = last.keys().chain(ends.keys()).copied().filter(is_there).collect();
    let partitions: Vec<PartitionRow> = numbers
        .into_iter()
        .map(|partition| row(partition, last.get(&partition), ends.get(&partition).copied()))
        .collect();
    let mut totals = ControlTotals::default();
    for stored in last.values() {
        totals.merge(&stored.entry.cumulative);
    }
    let waiting_since = partitions
        .iter()
        .filter(|row| row.lag_events.is_some_and(|lag| lag > 0))
        .filter_map(|row| row.committed_at_ms)
        .min();
    let lag_events = partitions.iter().map(|row| row.lag_events).sum();
    Ok(Status {
        process: None,
        topic: place.log.as_ref().map_or(topic, |log| log.topic.as_str()).to_owned(),
        lag_events,
        unpublished_epochs,
        oldest_uncommitted_age_ms: lag_events
            .map(|_| waiting_since.map_or(0, |at_ms| (now.as_millisecond() - at_ms).max(0))),
        watermark: partitions.iter().filter_map(|row| row.watermark_ms).min().and_then(words_of),
        partitions,
        suspended: totals.open_by_reason(),
        tables: pinned
            .iter()
            .map(|table| TableRow {
                name: table.table.name().to_owned(),
                version: table.version,
                files: table.files.len(),
            })
            .collect(),
        webhooks: webhooks.rows(store.as_ref()).await?,
        notes,
        troubles: log_trouble.iter().map(TroubleRow::from).collect(),
        budget_messages_ignored: None,
        waiting: BTreeMap::new(),
        stopped: BTreeMap::new(),
        alerts: pinned
            .iter()
            .filter(|table| table.table == Table::Alerts)
            .flat_map(|table| table.files.iter().map(|file| file.rows))
            .sum(),
        alerts_by_kind: BTreeMap::new(),
        processes: Vec::new(),
    })
}

fn row(partition: u32, stored: Option<&StoredEntry>, end_offset: Option<u64>) -> PartitionRow {
    let entry = stored.map(|stored| &stored.entry);
    let committed_offset = entry.map_or(0, |entry| entry.to);
    let watermark_ms = entry.and_then(|entry| entry.watermark_ms);
    let committed_at_ms = entry.map(|entry| entry.committed_at_ms);
    PartitionRow {
        partition,
        owner: entry.map(|entry| entry.owner.clone()),
        address: entry.and_then(|entry| entry.address.clone()),
        epoch: entry.map(|entry| entry.n),
        committed_offset,
        end_offset,
        lag_events: end_offset.map(|end| end.saturating_sub(committed_offset)),
        watermark: watermark_ms.and_then(words_of),
        committed_at: committed_at_ms.and_then(words_of),
        watermark_ms,
        committed_at_ms,
    }
}

/// RFC 3339 of milliseconds UTC.
fn words_of(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(|at| at.to_string())
}

/// How many entries of a partition have rows that some table lacks. `published` is the last entry
/// that each table says it has.
pub(crate) async fn unpublished(
    store: &dyn ObjectStore,
    topic: &str,
    last: &StoredEntry,
    published: &BTreeMap<Table, u64>,
) -> Result<u64, Failure> {
    let lacks = |stored: &StoredEntry| {
        stored.entry.kind == EntryKind::Epoch
            && stored.entry.files.iter().any(|file| {
                Table::from_name(&file.table)
                    .is_none_or(|table| published.get(&table).is_none_or(|n| *n < stored.entry.n))
            })
    };
    // Up to here every table has everything. A table that had no file for a while says less than
    // it has, so what lies above is looked at entry by entry.
    let known = Table::ALL.iter().map(|table| published.get(table).copied()).min().flatten();
    let floor = ledger::floor(store, topic, last.entry.partition).await?;
    let mut count = u64::from(lacks(last));
    let mut n = last.entry.n;
    while n > floor && known.is_none_or(|known| n > known + 1) {
        n -= 1;
        match ledger::read_entry(store, topic, last.entry.partition, n).await? {
            Some(stored) => count += u64::from(lacks(&stored)),
            None => break,
        }
    }
    Ok(count)
}

/// Why the ends of the log are not known.
struct Unknown {
    note: String,
    trouble: Option<Trouble>,
}

/// The next offset of each partition, or why it cannot be known.
async fn ends_of_log(config: &Config, place: &StreamPlace) -> Result<BTreeMap<u32, u64>, Unknown> {
    if config.log.kafka.is_empty() {
        let dir = Path::new(&config.log.data).join("log");
        if !dir.is_dir() {
            let note = format!("there is no embedded log at {} yet", dir.display());
            return Err(Unknown { note, trouble: None });
        }
    }
    let log = event_log::open(config).await.map_err(|failure| {
        let kind = match failure.kind {
            FailureKind::Retry => LogErrorKind::Retry,
            _ => LogErrorKind::Invalid,
        };
        if config.log.kafka.is_empty() && failure.kind == FailureKind::Usage {
            let words = "ends of the log are not known while another process has it";
            return Unknown { note: format!("{words}: {}", failure.message), trouble: None };
        }
        Unknown {
            note: format!("ends of the log are not known: {}", failure.message),
            trouble: Some(of_log(config, &failure.message, kind)),
        }
    })?;
    read_ends(event_log::of_stream(place, log), config).await
}

/// The next offset of each partition, of a log that is open.
async fn read_ends(log: Arc<dyn EventLog>, config: &Config) -> Result<BTreeMap<u32, u64>, Unknown> {
    // Blocks: a round trip a partition.
    tokio::task::spawn_blocking(move || {
        (0..log.partition_count())
            .map(|partition| Ok((partition, log.bounds(partition)?.end)))
            .collect::<Result<_, LogError>>()
    })
    .await
    .unwrap_or_else(|error| Err(LogError::Internal(error.to_string())))
    .map_err(|error| Unknown {
        note: format!("ends of the log are not known: {error}"),
        trouble: Some(of_log(config, &error.to_string(), error.kind())),
    })
}

/// The status for people.
fn in_words(status: &Status) -> String {
    // What is wrong first: everything below may follow from it.
    let mut lines: Vec<String> =
        status.troubles.iter().map(|trouble| format!("TROUBLE  {}\n", advised(trouble))).collect();
    let known = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    let absent = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    lines.push(format!("topic                   {}", status.topic));
    lines.push(format!(
        "lag                     {} records",
        known(status.lag_events.map(|n| n.to_string()))
    ));
    lines.push(format!("unpublished epochs      {}", status.unpublished_epochs));
    let age = status.oldest_uncommitted_age_ms.map(|ms| format!("{ms} ms"));
    lines.push(format!("oldest uncommitted      {}", known(age)));
    lines.push(format!("watermark               {}", absent(status.watermark.clone())));
    let kinds: Vec<String> =
        status.alerts_by_kind.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let lately = if kinds.is_empty() {
        String::new()
    } else {
        format!(", of which lately {}", kinds.join(", "))
    };
    lines.push(format!(
        "alerts                  {}{lately}",
        known(status.alerts.map(|n| n.to_string()))
    ));
    let mut table = TextTable::new();
    table.load_preset(presets::NOTHING).set_header([
        "partition",
        "epoch",
        "committed",
        "end",
        "lag",
        "watermark",
        "owner",
    ]);
    for row in &status.partitions {
        table.add_row([
            row.partition.to_string(),
            absent(row.epoch.map(|n| n.to_string())),
            row.committed_offset.to_string(),
            absent(row.end_offset.map(|n| n.to_string())),
            absent(row.lag_events.map(|n| n.to_string())),
            absent(row.watermark.clone()),
            absent(row.owner.clone()),
        ]);
    }
    lines.push(format!("\n{table}"));
    let mut table = TextTable::new();
    table.load_preset(presets::NOTHING).set_header(["table", "version", "files"]);
    for row in &status.tables {
        let version = absent(row.version.map(|n| n.to_string()));
        table.add_row([row.name.clone(), version, row.files.to_string()]);
    }
    lines.push(format!("\n{table}"));
    if !status.suspended.is_empty() {
        let mut table = TextTable::new();
        table.load_preset(presets::NOTHING).set_header(["held back", "events"]);
        for (reason, events) in &status.suspended {
            table.add_row([reason.clone(), events.to_string()]);
        }
        lines.push(format!("\n{table}"));
    }
    for row in &status.webhooks {
        let mut words = format!("\nwebhook {}: {} dead letters", row.receiver, row.dead_letters);
        if let Some(running) = &row.running {
            let ReceiverStatus { delivered, waiting, .. } = running;
            words.push_str(&format!(", {delivered} delivered, {waiting} waiting"));
            for why in running.stopped.iter().chain(&running.failing) {
                words.push_str(&format!("; {why}"));
            }
        }
        lines.push(words);
    }
    if let Some(ignored @ 1..) = status.budget_messages_ignored {
        lines.push(format!(
            "\nbudgets: {ignored} messages were ignored, as no ledger confirms them; they are not added"
        ));
    }
    for words in waiting_in_words(&status.waiting, &status.stopped) {
        lines.push(format!("\n{words}"));
    }
    for note in &status.notes {
        lines.push(format!("\nnote: {note}"));
    }
    lines.join("\n")
}
