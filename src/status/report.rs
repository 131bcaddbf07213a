//! The state of the whole stream, as `tally status` shows it: as JSON, and in words.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{Table as TextTable, presets};
use serde::{Deserialize, Serialize};
use tally_webhooks::ReceiverStatus;

use super::processes::{ProcessRow, Told, named, waiting_in_words};
use crate::trouble::{Cause, Trouble};

/// The state of the whole stream. What cannot be known is null, and a note says why.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Status {
    /// Id of the process that answered, where one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<u32>,
    pub(super) topic: String,
    /// End of the log less committed, over all partitions.
    pub(super) lag_events: Option<u64>,
    /// Ledger entries with rows that the tables do not have yet.
    pub(super) unpublished_epochs: u64,
    /// Time since the last commit of a partition that lags: nothing older is uncommitted, but for
    /// what came while that commit was made.
    pub(super) oldest_uncommitted_age_ms: Option<i64>,
    /// The lowest watermark of the partitions.
    pub(super) watermark: Option<String>,
    pub(super) partitions: Vec<PartitionRow>,
    /// Events that are held back and open, by reason.
    pub(super) suspended: BTreeMap<String, u64>,
    pub(super) tables: Vec<TableRow>,
    /// Receivers of alerts.
    #[serde(default)]
    pub(super) webhooks: Vec<WebhookRow>,
    pub(super) notes: Vec<String>,
    /// What is wrong with what the stream depends on.
    #[serde(default)]
    pub(super) troubles: Vec<TroubleRow>,
    /// Messages of increments of budgets that no ledger confirms, since the process that was asked
    /// started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) budget_messages_ignored: Option<u64>,
    /// Partitions for which the store or the log does not answer, where the process that has them
    /// was asked.
    #[serde(default)]
    pub(super) waiting: BTreeMap<u32, String>,
    /// Partitions that are not being processed, and why; known as above.
    #[serde(default)]
    pub(super) stopped: BTreeMap<u32, String>,
    /// Alerts in the table of alerts; null where a file of it does not say.
    #[serde(default)]
    pub(super) alerts: Option<u64>,
    /// Alerts that left since the processes that were asked began, by kind.
    #[serde(default)]
    pub(super) alerts_by_kind: BTreeMap<String, u64>,
    /// Processes that were asked and have answered, where the log is Kafka.
    #[serde(default)]
    pub(super) processes: Vec<ProcessRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TroubleRow {
    pub(super) cause: Cause,
    /// The cause in words, where, and what was said there.
    pub(super) found: String,
    /// What to do.
    pub(super) advice: String,
    /// Address of the process that said so, where it was not seen from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) told_by: Option<String>,
}

impl From<&Trouble> for TroubleRow {
    fn from(trouble: &Trouble) -> Self {
        let (cause, advice) = (trouble.cause, trouble.cause.advice().to_owned());
        Self { cause, found: trouble.to_string(), advice, told_by: None }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PartitionRow {
    pub(super) partition: u32,
    pub(super) owner: Option<String>,
    /// Where the owner is reached, if it tells.
    #[serde(default)]
    pub(super) address: Option<String>,
    pub(super) epoch: Option<u64>,
    pub(super) committed_offset: u64,
    pub(super) end_offset: Option<u64>,
    pub(super) lag_events: Option<u64>,
    pub(super) watermark: Option<String>,
    pub(super) committed_at: Option<String>,
    #[serde(skip)]
    pub(super) watermark_ms: Option<i64>,
    #[serde(skip)]
    pub(super) committed_at_ms: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TableRow {
    pub(super) name: String,
    /// Delta version; null before the first.
    pub(super) version: Option<u64>,
    pub(super) files: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WebhookRow {
    pub(super) receiver: String,
    /// Alerts that were given up and still lie in the store.
    pub(super) dead_letters: u64,
    /// What became of deliveries, where the process was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) running: Option<ReceiverStatus>,
}

/// Partitions by the address of their owner.
pub(super) fn owners(rows: &[PartitionRow]) -> BTreeMap<String, BTreeSet<u32>> {
    let mut owners: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for row in rows {
        if let Some(address) = &row.address {
            owners.entry(address.clone()).or_default().insert(row.partition);
        }
    }
    owners
}

impl Status {
    /// Adds what is wrong, each cause once.
    pub(super) fn add_troubles(&mut self, troubles: impl IntoIterator<Item = TroubleRow>) {
        for trouble in troubles {
            if self.troubles.iter().all(|known| known.cause != trouble.cause) {
                self.troubles.push(trouble);
            }
        }
    }

    /// Adds what only the processes know.
    pub(super) fn add(&mut self, told: &Told) {
        self.add_troubles(told.troubles());
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

pub(super) fn advised(trouble: &TroubleRow) -> String {
    let by = trouble.told_by.as_ref().map_or_else(String::new, |by| format!(", says {by}"));
    format!("{}{by}\n→ {}", trouble.found, trouble.advice)
}

/// The status for people.
pub(super) fn in_words(status: &Status) -> String {
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
