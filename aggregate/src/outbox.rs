//! The outbox of one partition: notices leave the process within milliseconds, while the partition
//! goes on; an epoch is committed only when the log has acknowledged all of its notices.
//!
//! A replay gives the same alerts again. Those that a predecessor sent are known by what was read
//! back of the topic when the partition was taken ([`ReadBack`]), and are not sent again. Where an
//! append fails, nobody knows whether the record is there: the topic is read back then too.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use tally_log::{LogErrorKind, Outgoing, RecordKind};
use tally_schemas::{Offsets, partition_of};
use tokio::sync::{mpsc, watch};

use crate::core::{AlertNotice, Notice};
use crate::crash_point::crash_point;
use crate::error::{AggregateError, ErrorKind};
use crate::notice_topic::{NoticeTopic, NoticeTopics, ReadBack};
use crate::owner::Edge;
use crate::planted::{Bug, planted};
use crate::stream_status::StreamStatus;

/// Notices that may wait for the log; with more, the partition reads no further.
const WAITING_MAX: u64 = 10_000;
/// Of those, statuses: alerts find room however many accounts turn at once.
const STATUSES_WAITING_MAX: u64 = 5_000;
/// Notices that are sent together; the next ones wait until these are acknowledged.
const BATCH_MAX: usize = 1_000;

/// How far the courier is.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// Notices acknowledged, of those that were handed over.
    acknowledged: u64,
    /// Of each partition of the topic of alerts, the offset behind the last one acknowledged; where
    /// none was, the one that it was read back from.
    ends: Offsets,
    /// Why nothing more is sent.
    failed: Option<AggregateError>,
}

/// Where a partition leaves its notices.
#[derive(Debug)]
pub(crate) struct Outbox {
    inbox: mpsc::UnboundedSender<Notice>,
    handed: u64,
    progress: watch::Receiver<Progress>,
    /// What a predecessor sent, as far as the replay has not come by it, and where that begins.
    read_back: ReadBack,
    /// Whether there is a topic of alerts.
    sends_alerts: bool,
}

/// Takes notices to the log.
#[derive(Debug)]
pub(crate) struct Courier {
    topics: NoticeTopics,
    edge: Arc<dyn Edge>,
    status: StreamStatus,
    inbox: mpsc::UnboundedReceiver<Notice>,
    progress: watch::Sender<Progress>,
}

/// The notices of an epoch that has closed, and those of the epochs before it.
#[derive(Debug)]
pub(crate) struct EpochNotices {
    handed: u64,
    ends: Option<Offsets>,
    progress: watch::Receiver<Progress>,
}

/// A notice on its way.
struct Letter {
    notice: Notice,
    topic: Arc<dyn NoticeTopic>,
    record: Outgoing,
}

/// The outbox of a partition that was just taken, and what empties it.
pub(crate) fn open_outbox(
    topics: NoticeTopics,
    edge: Arc<dyn Edge>,
    status: StreamStatus,
    read_back: ReadBack,
) -> (Outbox, Courier) {
    let (inbox, outgoing) = mpsc::unbounded_channel();
    let begun = Progress { ends: read_back.from.clone(), ..Progress::default() };
    let (told, progress) = watch::channel(begun);
    let sends_alerts = topics.alerts.is_some();
    let courier = Courier { topics, edge, status, inbox: outgoing, progress: told };
    (Outbox { inbox, handed: 0, progress, read_back, sends_alerts }, courier)
}

impl Outbox {
    /// Takes notices of the records before `next_offset`. Alerts that a predecessor sent are left
    /// out.
    pub(crate) fn hand_over(&mut self, notices: Vec<Notice>, next_offset: u64) {
        for notice in notices {
            if let Notice::Alert(alert) = &notice
                && self.read_back.alerts.remove(&alert.message.id).is_some()
            {
                continue;
            }
            // Fails where the courier has ended, which `check` tells.
            if self.inbox.send(notice).is_ok() {
                self.handed += 1;
            }
        }
        let passed = self.read_back.alerts.extract_if(.., |_, at| at.offset < next_offset);
        for (id, _) in passed {
            tracing::warn!(id, "an alert was sent before that the replay does not give");
        }
    }

    /// Whether the replay has come by everything that a predecessor sent.
    fn has_replayed(&self) -> bool {
        self.read_back.alerts.is_empty()
    }

    /// Whether the partition must wait before it reads on.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting() >= WAITING_MAX
    }

    /// Statuses that may be handed over now.
    pub(crate) fn room_for_statuses(&self) -> usize {
        let room = STATUSES_WAITING_MAX.saturating_sub(self.waiting());
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// Notices that are not acknowledged.
    pub(crate) fn waiting(&self) -> u64 {
        self.handed - self.acknowledged()
    }

    /// Notices that are acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.progress.borrow().acknowledged
    }

    /// Waits until something was acknowledged since this was last asked.
    pub(crate) async fn moved(&mut self) {
        // An error says that the courier has ended.
        drop(self.progress.changed().await);
    }

    /// Whether notices still go out.
    ///
    /// # Errors
    /// Why they do not.
    pub(crate) fn check(&self) -> Result<(), AggregateError> {
        self.progress.borrow().failed.clone().map_or(Ok(()), Err)
    }

    /// What must be acknowledged before the epoch that closes now may be committed.
    pub(crate) fn close_epoch(&self) -> EpochNotices {
        // As long as a predecessor may have sent more than the replay has come by, later epochs
        // have alerts from where it was read back.
        let replayed = self.has_replayed() || planted(Bug::AlertsEndBehindReplay);
        let ends = if replayed { &self.progress.borrow().ends } else { &self.read_back.from };
        EpochNotices {
            handed: self.handed,
            ends: self.sends_alerts.then(|| ends.clone()),
            progress: self.progress.clone(),
        }
    }
}

impl EpochNotices {
    /// Waits until all are acknowledged, and returns the ends of the topic of alerts that were
    /// known when the epoch closed; none where there is no such topic.
    ///
    /// # Errors
    /// Why a notice cannot be sent.
    pub(crate) async fn acknowledged(mut self) -> Result<Option<Offsets>, AggregateError> {
        if planted(Bug::CommittedBeforeAcknowledged) {
            return Ok(self.ends);
        }
        let handed = self.handed;
        let done = |p: &Progress| p.failed.is_some() || p.acknowledged >= handed;
        let ended = self.progress.wait_for(done).await;
        let progress =
            ended.map_err(|_| AggregateError::Damaged("the outbox is gone".to_owned()))?;
        if let Some(error) = &progress.failed {
            return Err(error.clone());
        }
        Ok(self.ends)
    }
}

impl Courier {
    /// Sends until the outbox is gone, or cannot be emptied.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::new();
        while self.inbox.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let count = batch.len() as u64;
            match self.deliver(std::mem::take(&mut batch)).await {
                Ok(ends) => self.progress.send_modify(|progress| {
                    progress.acknowledged += count;
                    progress.ends = ends;
                }),
                Err(error) => {
                    self.progress.send_modify(|progress| progress.failed = Some(error));
                    return;
                }
            }
        }
    }

    /// Sends a batch, again and again while the log is away, and returns the new ends.
    async fn deliver(&self, batch: Vec<Notice>) -> Result<Offsets, AggregateError> {
        let before = self.progress.borrow().ends.clone();
        let mut ends = before.clone();
        let mut letters = Vec::with_capacity(batch.len());
        for notice in newest_statuses(batch) {
            letters.extend(self.letter(notice)?);
        }
        let mut attempt = 0;
        while !letters.is_empty() {
            crash_point("alerting");
            let appends = letters.iter().map(|letter| letter.topic.append(letter.record.clone()));
            let outcomes = join_all(appends).await;
            crash_point("alerted");
            let (mut failed, mut why) = (Vec::new(), None);
            for (letter, outcome) in letters.into_iter().zip(outcomes) {
                match outcome {
                    Ok(offset) => {
                        if let Notice::Alert(_) = letter.notice {
                            let end = ends.entry(letter.record.partition).or_default();
                            let step = if planted(Bug::AlertsEndOffByOne) { 2 } else { 1 };
                            *end = offset.saturating_add(step).max(*end);
                        }
                        self.note(&letter.notice);
                    }
                    Err(error) => {
                        why = Some(error);
                        failed.push(letter);
                    }
                }
            }
            let Some(error) = why else { break };
            if matches!(error.kind(), LogErrorKind::Invalid | LogErrorKind::Data) {
                return Err(error.into());
            }
            let mut error = AggregateError::from(error);
            letters = loop {
                attempt += 1;
                self.edge.pause(attempt, &error).await;
                match self.missing(&failed, &before).await {
                    Ok(read) => break self.not_found(failed, &read),
                    Err(other) if other.kind() == ErrorKind::Retry => error = other,
                    Err(other) => return Err(other),
                }
            };
        }
        Ok(ends)
    }

    /// A notice with its topic; none where that is not there.
    fn letter(&self, notice: Notice) -> Result<Option<Letter>, AggregateError> {
        let alert = match &notice {
            Notice::Alert(alert) => alert,
            Notice::Status(status) => {
                let Some(topic) = self.topics.statuses.clone() else { return Ok(None) };
                let value = Bytes::from(status.message.clone());
                let record = record_of(status.account.clone(), value, topic.as_ref());
                return Ok(Some(Letter { notice, topic, record }));
            }
        };
        let Some(topic) = self.topics.alerts.clone() else { return Ok(None) };
        let mut message = alert.message.clone();
        if planted(Bug::AlertIdWithClock) {
            message.id.push_str(&self.edge.now_ms().to_string());
        }
        let value = message.to_json().map_err(|e| AggregateError::Invalid(e.to_string()))?;
        let holder = message.account.or(message.model).unwrap_or_default();
        let record = record_of(holder, Bytes::from(value), topic.as_ref());
        Ok(Some(Letter { notice, topic, record }))
    }

    /// Reads back where letters that failed may lie after all.
    async fn missing(
        &self,
        failed: &[Letter],
        before: &Offsets,
    ) -> Result<ReadBack, AggregateError> {
        let Some(alerts) = &self.topics.alerts else { return Ok(ReadBack::default()) };
        if planted(Bug::LostReplySentAgain) {
            return Ok(ReadBack::default());
        }
        let mut from = Offsets::new();
        for Letter { notice, record: Outgoing { partition, .. }, .. } in failed {
            if let Notice::Alert(_) = notice {
                from.insert(*partition, before.get(partition).copied().unwrap_or(0));
            }
        }
        alerts.read_back(from).await
    }

    /// The letters that were not found.
    fn not_found(&self, failed: Vec<Letter>, read: &ReadBack) -> Vec<Letter> {
        let mut missing = Vec::new();
        for letter in failed {
            match &letter.notice {
                Notice::Alert(AlertNotice { message, .. })
                    if read.alerts.contains_key(&message.id)
                        || read.of_budgets.contains_key(&message.id) =>
                {
                    self.note(&letter.notice);
                }
                // A status may be there twice.
                _ => missing.push(letter),
            }
        }
        missing
    }

    /// Counts a notice that is acknowledged.
    fn note(&self, notice: &Notice) {
        match notice {
            Notice::Alert(AlertNotice { message, logged_at_ms }) => {
                let now_ms = self.edge.now_ms();
                let took_ms = now_ms.saturating_sub(*logged_at_ms).max(0).cast_unsigned();
                self.status.count_alert(&message.kind, took_ms);
            }
            Notice::Status(_) => self.status.count_status(),
        }
    }
}

/// A batch with the last status of each account and no other. Batches go one after the other, and
/// a letter of one is sent again until it is there: so the statuses of an account go in their
/// order, which two of one batch would not where the first had to be sent again.
fn newest_statuses(batch: Vec<Notice>) -> Vec<Notice> {
    let mut accounts: BTreeSet<String> = BTreeSet::new();
    let mut kept: Vec<Notice> = batch
        .into_iter()
        .rev()
        .filter(|notice| match notice {
            Notice::Alert(_) => true,
            Notice::Status(status) => accounts.insert(status.account.clone()),
        })
        .collect();
    kept.reverse();
    kept
}

/// A record of a topic whose key is an account or a model.
fn record_of(key: String, value: Bytes, topic: &dyn NoticeTopic) -> Outgoing {
    Outgoing {
        partition: partition_of(&key, topic.partition_count()),
        key: Some(Bytes::from(key)),
        value,
        kind: RecordKind::Single,
    }
}

#[cfg(test)]
mod tests;
