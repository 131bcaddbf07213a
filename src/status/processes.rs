//! What only the processes themselves know: what their partitions wait for, what keeps them from
//! running well, and how receivers of alerts answer them. Each tells its own part without asking the
//! store or the log, so it tells it while they are away; `tally status` puts the parts together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use futures::future::join_all;
use jiff::Timestamp;
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize};
use tally_aggregate::{StreamStatus, Waiting};
use tally_schemas::{Config, in_full};
use tally_webhooks::{ReceiverStatus, WebhookStatus};

use super::Parts;
use super::report::TroubleRow;
use crate::sink::TOKEN_VARIABLE;

const PATH: &str = "/v1/status/process";
/// How long a process may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What one process tells of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Own {
    /// Made at its start: two addresses may lead to one process.
    instance: String,
    topic: String,
    /// Partitions that it has.
    partitions: BTreeSet<u32>,
    /// What they wait for.
    waiting: BTreeMap<u32, String>,
    /// Why they are not being processed.
    stopped: BTreeMap<u32, String>,
    /// Receivers of alerts, by name.
    webhooks: BTreeMap<String, ReceiverStatus>,
    /// Alerts that the log acknowledged since its start, by kind.
    alerts: BTreeMap<String, u64>,
    /// What keeps it from running well.
    #[serde(default)]
    troubles: Vec<TroubleRow>,
}

/// `GET /v1/status/process` of a process that has the stream.
pub(super) fn routes(topic: String, parts: Parts, webhooks: WebhookStatus) -> Router {
    let instance = uuid::Uuid::new_v4().simple().to_string();
    let own = move || async move {
        let Parts { stream, host, .. } = parts;
        let partitions = stream.partitions();
        let stopped = partitions.iter().filter_map(|(p, s)| Some((*p, s.stopped.clone()?)));
        Json(Own {
            instance,
            topic,
            stopped: stopped.collect(),
            partitions: partitions.keys().copied().collect(),
            waiting: waits(&stream, Timestamp::now()),
            webhooks: webhooks.receivers(),
            alerts: stream.counters().alerts.lock().clone(),
            troubles: host.troubles().iter().map(TroubleRow::from).collect(),
        })
    };
    Router::new().route(PATH, get(own))
}

/// What each partition of this process waits for.
pub(super) fn waits(stream: &StreamStatus, now: Timestamp) -> BTreeMap<u32, String> {
    let words = |waiting: &Waiting| {
        let seconds = (now.as_millisecond() - waiting.since_ms).max(0) / 1_000;
        format!("for {seconds} s, {} attempts: {}", waiting.attempts, waiting.why)
    };
    let partitions = stream.partitions().into_iter();
    partitions.filter_map(|(p, status)| Some((p, words(status.waiting.as_ref()?)))).collect()
}

/// A process that was asked, for whoever reads the status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessRow {
    pub(super) address: String,
    /// Partitions that it has.
    pub(super) partitions: BTreeSet<u32>,
}

/// What the processes that were asked have told.
#[derive(Debug, Default)]
pub(super) struct Told {
    topic: String,
    processes: BTreeMap<String, (ProcessRow, Own)>,
    /// Addresses that need not be asked again.
    asked: BTreeSet<String>,
    notes: Vec<String>,
}

impl Told {
    /// Asks the processes at these addresses, and the one that may listen on this machine.
    pub(super) async fn of(config: &Config, addresses: &[String]) -> Self {
        let mut told = Self { topic: config.log.topic.clone(), ..Self::default() };
        let named = addresses.iter().map(|address| (address.clone(), None)).collect();
        told.ask(named).await;
        if let Some(here) = here(&config.http.listen)
            && told.asked.insert(here.clone())
            && let Ok(own) = ask(&here).await
        {
            // Another role may be there, or another program: that is not to be told.
            told.add(&here, own);
        }
        told
    }

    /// Asks the processes that say in the ledger where they are, each with its partitions.
    pub(super) async fn ask_owners(&mut self, owners: BTreeMap<String, BTreeSet<u32>>) {
        let known: BTreeSet<u32> = self.partitions();
        let owners = owners.into_iter().filter(|(_, theirs)| !theirs.is_subset(&known));
        self.ask(owners.map(|(address, theirs)| (address, Some(theirs))).collect()).await;
    }

    async fn ask(&mut self, addresses: Vec<(String, Option<BTreeSet<u32>>)>) {
        let new: Vec<_> = addresses
            .into_iter()
            .map(|(address, theirs)| (address.trim_end_matches('/').to_owned(), theirs))
            .filter(|(address, _)| self.asked.insert(address.clone()))
            .collect();
        let answers = join_all(new.iter().map(|(address, _)| ask(address))).await;
        for ((address, theirs), answer) in new.into_iter().zip(answers) {
            let why = match answer {
                Ok(own) if own.topic == self.topic => {
                    self.add(&address, own);
                    continue;
                }
                Ok(own) => format!("it counts topic {}", own.topic),
                Err(why) => why,
            };
            let whose = theirs.map_or_else(String::new, |theirs| format!(" of {}", named(&theirs)));
            self.notes.push(format!("what waits{whose} is not known from {address}: {why}"));
        }
    }

    fn add(&mut self, address: &str, own: Own) {
        if own.topic == self.topic {
            let partitions = own.partitions.clone();
            let row = ProcessRow { address: address.to_owned(), partitions };
            self.processes.entry(own.instance.clone()).or_insert((row, own));
        }
    }

    fn each(&self) -> impl Iterator<Item = &Own> {
        self.processes.values().map(|(_, own)| own)
    }

    /// Partitions whose processes have answered.
    pub(super) fn partitions(&self) -> BTreeSet<u32> {
        self.each().flat_map(|own| own.partitions.iter().copied()).collect()
    }

    /// Who has answered.
    pub(super) fn rows(&self) -> Vec<ProcessRow> {
        self.processes.values().map(|(row, _)| row.clone()).collect()
    }

    /// Who has not, and why.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What partitions wait for.
    pub(super) fn waiting(&self) -> BTreeMap<u32, String> {
        self.each().flat_map(|own| own.waiting.clone()).collect()
    }

    /// Why partitions are not being processed.
    pub(super) fn stopped(&self) -> BTreeMap<u32, String> {
        self.each().flat_map(|own| own.stopped.clone()).collect()
    }

    /// What keeps processes from running well. What only a process that writes can find is known by
    /// it alone.
    pub(super) fn troubles(&self) -> Vec<TroubleRow> {
        let by = |row: &ProcessRow| Some(row.address.clone());
        let each = self.processes.values();
        each.flat_map(|(row, own)| {
            own.troubles.iter().cloned().map(|trouble| TroubleRow { told_by: by(row), ..trouble })
        })
        .collect()
    }

    /// A receiver of alerts as all processes that deliver to it see it.
    pub(super) fn receiver(&self, name: &str) -> Option<ReceiverStatus> {
        let mut seen = self.each().filter_map(|own| own.webhooks.get(name));
        let mut whole = seen.next()?.clone();
        for other in seen {
            whole.delivered = whole.delivered.saturating_add(other.delivered);
            whole.failures = whole.failures.saturating_add(other.failures);
            whole.dead_letters = whole.dead_letters.saturating_add(other.dead_letters);
            whole.waiting = whole.waiting.saturating_add(other.waiting);
            whole.failing = whole.failing.or_else(|| other.failing.clone());
            whole.stopped = whole.stopped.or_else(|| other.stopped.clone());
        }
        Some(whole)
    }

    /// Alerts that left since these processes began, by kind.
    pub(super) fn alerts(&self) -> BTreeMap<String, u64> {
        let mut alerts = BTreeMap::new();
        for (kind, count) in self.each().flat_map(|own| &own.alerts) {
            *alerts.entry(kind.clone()).or_default() += count;
        }
        alerts
    }

    /// The same in words, where nothing else can be known.
    pub(super) fn in_words(&self) -> Vec<String> {
        let mut words = waiting_in_words(&self.waiting(), &self.stopped());
        let receivers: BTreeSet<&String> =
            self.each().flat_map(|own| own.webhooks.keys()).collect();
        for name in receivers {
            let Some(receiver) = self.receiver(name) else { continue };
            for why in receiver.stopped.iter().chain(&receiver.failing) {
                words.push(format!("webhook {name}: {why}"));
            }
        }
        words.extend(self.notes.iter().map(|note| format!("note: {note}")));
        words
    }
}

/// What waits, and what is not being processed.
pub(super) fn waiting_in_words(
    waiting: &BTreeMap<u32, String>,
    stopped: &BTreeMap<u32, String>,
) -> Vec<String> {
    let waiting = waiting.iter().map(|(p, why)| format!("partition {p} waits {why}"));
    let stopped = stopped.iter().map(|(p, why)| format!("partition {p} is not processed: {why}"));
    waiting.chain(stopped).collect()
}

/// `partition 3`, `partitions 1, 2`.
pub(super) fn named(partitions: &BTreeSet<u32>) -> String {
    let numbers: Vec<String> = partitions.iter().map(u32::to_string).collect();
    let many = if numbers.len() == 1 { "" } else { "s" };
    format!("partition{many} {}", numbers.join(", "))
}

/// Where a process of this machine with these settings listens. This machine's own tools go without
/// encryption.
fn here(listen: &str) -> Option<String> {
    let address = listen.to_socket_addrs().ok()?.next()?;
    let ip = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    (address.port() != 0).then(|| format!("http://{}", SocketAddr::new(ip, address.port())))
}

async fn ask(address: &str) -> Result<Own, String> {
    let url = Url::parse(&format!("{address}{PATH}")).map_err(|_| "that is no URL".to_owned())?;
    let client = Client::builder().timeout(TIMEOUT).no_proxy().build();
    let client = client.map_err(|error| error.to_string())?;
    let mut request = client.get(url.clone());
    // Not to whoever listens on the way.
    if let Ok(token) = std::env::var(TOKEN_VARIABLE)
        && (url.scheme() == "https" || is_here(&url))
    {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.map_err(|error| in_full(&error.without_url()))?;
    match answer.status().as_u16() {
        200 => answer.json().await.map_err(|_| "it answers something else".to_owned()),
        401 | 403 => {
            Err(format!("it lets nobody in without a token of an operator ({TOKEN_VARIABLE})"))
        }
        404 => Err("it has no partitions, or is an older version".to_owned()),
        code => Err(format!("it answers {code}")),
    }
}

fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
#[path = "processes/tests.rs"]
mod tests;
