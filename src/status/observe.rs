//! How far the stream is, by the ledger, the tables and the ends of the log: nothing has to run for
//! it, and nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use object_store::ObjectStore;
use tally_aggregate::StreamPlace;
use tally_aggregate::ledger::{self, StoredEntry};
use tally_query::LedgerView;
use tally_schemas::{Config, ControlTotals, EntryKind, LedgerEntry, Table};
use tally_tables::TableSet;
use tally_webhooks::{Receiver, WebhookStatus, dead_letters, receivers_of};

use super::log_ends::Unknown;
use super::report::{PartitionRow, Status, TableRow, TroubleRow, WebhookRow};
use crate::exit::Failure;

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

    /// What this process knows of the receivers.
    pub(super) fn running(&self) -> WebhookStatus {
        self.running.clone().unwrap_or_default()
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

/// Reads everything once. `ends` are those of the log, or why they are not known.
pub(super) async fn observe(
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
    // Partitions that the stream had once have nothing to come.
    let is_there = |partition: &u32| {
        let lasts = || last.values().map(|stored| &stored.entry);
        last.get(partition).is_none_or(|stored| !stored.entry.is_left_behind(lasts()))
    };
    let numbers: BTreeSet<u32> = last.keys().chain(ends.keys()).copied().filter(is_there).collect();
    let not_moved = not_moved(place, &last, &numbers);
    if !not_moved.is_empty() {
        notes.push(format!(
            "the change of the partition count is not carried out in partitions {not_moved:?}: run `tally partitions change` once more"
        ));
    }
    let begin = place.log.as_ref().map_or(0, |log| log.first_offset);
    let partitions: Vec<PartitionRow> = numbers
        .into_iter()
        .map(|partition| row(partition, last.get(&partition), begin, ends.get(&partition).copied()))
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

/// The partitions of the topic that the stream was moved to which have no entry of it yet.
fn not_moved(
    place: &StreamPlace,
    last: &BTreeMap<u32, StoredEntry>,
    numbers: &BTreeSet<u32>,
) -> Vec<u32> {
    if place.log.is_none() {
        return Vec::new();
    }
    let lasts = last.values().map(|stored| &stored.entry);
    let newest = LedgerEntry::newest_topic(lasts).filter(|newest| newest.log == place.log);
    let count = newest.map_or(u32::MAX, |newest| newest.partition_count);
    let waits = |stored: &StoredEntry| {
        stored.entry.kind == EntryKind::Frozen && stored.entry.log != place.log
    };
    let numbers = numbers.iter().copied().filter(|partition| *partition < count);
    numbers.filter(|partition| last.get(partition).is_none_or(waits)).collect()
}

/// `begin` is where the topic's offsets begin.
fn row(
    partition: u32,
    stored: Option<&StoredEntry>,
    begin: u64,
    end_offset: Option<u64>,
) -> PartitionRow {
    let entry = stored.map(|stored| &stored.entry);
    let committed_offset = entry.map_or(begin, |entry| entry.to.max(begin));
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

#[cfg(test)]
mod tests {
    use tally_schemas::{LogPlace, MoveTarget};

    use super::*;

    fn entry(partition: u32, count: u32, to: u64) -> LedgerEntry {
        ledger::claim_entry("usage.events", partition, count, "owner", None, to, 0)
    }

    /// Of two partitions to three, where only the first has its state.
    #[test]
    fn partitions_that_wait_for_a_change_to_be_carried_out_are_named() {
        let log = LogPlace { topic: "usage.events.3".to_owned(), first_offset: 1_000_000 };
        let mut frozen = entry(1, 2, 70);
        frozen.kind = EntryKind::Frozen;
        frozen.moving_to = Some(MoveTarget { topic: log.topic.clone(), partition_count: 3 });
        let mut moved = entry(0, 3, 1_000_000);
        moved.log = Some(log.clone());
        assert!(!frozen.is_left_behind([&frozen, &moved]));
        let stored =
            |entry: LedgerEntry| (entry.partition, StoredEntry { entry, hash: String::new() });
        let last = BTreeMap::from([stored(moved), stored(frozen)]);
        let numbers = BTreeSet::from([0, 1, 2, 3]);
        let ledger = "usage.events".to_owned();
        let place = StreamPlace { ledger: ledger.clone(), log: Some(log) };
        assert_eq!(not_moved(&place, &last, &numbers), [1, 2]);
        assert!(not_moved(&StreamPlace { ledger, log: None }, &last, &numbers).is_empty());
        // What is in the new topic waits, and not the offsets between the topics.
        let lag = |partition| row(partition, last.get(&partition), 1_000_000, Some(1_000_004));
        for partition in 0..3 {
            assert_eq!(lag(partition).lag_events, Some(4), "{partition}");
        }
    }
}
