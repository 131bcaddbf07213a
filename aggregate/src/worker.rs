//! One thread a partition: reads records, runs the core, closes epochs. While an epoch is being
//! stored the next one is already gathered; a third does not begin before the first is committed.

mod attendance;
mod parts;
mod reference_change;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError, bounded};
use tally_log::{LogErrorKind, PartitionReader, Record, TracedRecord};
use tally_schemas::{AggregateConfig, LedgerEntry, ReferenceVersion};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use self::parts::WorkerParts;
use crate::announcer::Announcer;
use crate::core::{Need, NeedSegments, SpareColumns};
use crate::crash_point::crash_point;
use crate::epoch_files::encode_epoch;
use crate::error::AggregateError;
use crate::outbox::Outbox;
use crate::owner::{Ownership, Surroundings, TracedEpoch, provide_segments, read_segments};
use crate::quota_desk::QuotaDesk;
use crate::references::References;
use crate::stream_status::StreamStatus;
use crate::ticker::Ticker;
use crate::turns::Turns;

/// Events that are read, roughly, before limits are looked at again.
const READ_EVENTS: u64 = 2_048;
/// Longest wait for a record, so that a stop is noticed.
const READ_WAIT: Duration = Duration::from_millis(50);
/// The same while statuses wait until there is room for them.
const READ_WAIT_TELLING: Duration = Duration::from_millis(1);

/// Traced records of one epoch that are remembered.
const TRACED_MAX: usize = 64;

/// Why a worker ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Asked to drain: everything read is committed.
    Drained,
    /// Told to let go at once; what is uncommitted is read again by the next owner.
    Abandoned,
    /// The log took the partition away.
    Gone,
    /// Something that the worker cannot go on after.
    Failed(AggregateError),
}

/// How a worker is told to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// Commit what was read, then end.
    pub(crate) drain: CancellationToken,
    /// End now.
    pub(crate) abandon: CancellationToken,
}

/// Whether what comes after an epoch is rated by something else than the epoch was.
fn changes_reference(entry: &LedgerEntry) -> bool {
    entry.next_reference.as_ref().is_some_and(|next| next.to_string() != entry.reference_version)
}

/// What a commit in flight brings back.
struct Commit {
    ownership: Ownership,
    spare: SpareColumns,
    result: Result<(), AggregateError>,
}

pub(crate) struct Worker {
    surroundings: Surroundings,
    references: Arc<dyn References>,
    settings: AggregateConfig,
    partition: u32,
    /// Where the state is, and who asks for quotas.
    desk: Arc<QuotaDesk>,
    ownership: Option<Ownership>,
    signals: Signals,
    status: StreamStatus,
    runtime: Handle,
    turns: Turns,
    /// Called with the next offset after each commit.
    committed: Arc<dyn Fn(u32, u64) + Send + Sync>,
    /// Where a bounded run ends: epochs are closed there without waiting.
    until: Option<u64>,
    ticker: Option<Ticker>,
    announcer: Option<Announcer>,
    in_flight: Option<Receiver<Commit>>,
    epoch_began_ms: Option<i64>,
    /// When the log received the first record of the epoch that is gathered.
    oldest_ms: Option<i64>,
    outbox: Outbox,
    /// Takes what is in the outbox to the log.
    courier: JoinHandle<()>,
    /// Acknowledged notices, and since when there are no more, while some wait.
    notices_seen: Option<(u64, i64)>,
    /// Since when the log has had nothing new.
    idle_since_ms: Option<i64>,
    /// Records to read at once, from how many events the last ones had.
    read_max: usize,
    /// Records that were taken since who asks was last attended to.
    unattended: usize,
    /// Traced records of the epoch that is gathered, with when they were read.
    traced: Vec<(TracedRecord, i64)>,
}

impl Drop for Worker {
    /// What was not sent is sent by the next owner, who must not find it sent twice.
    fn drop(&mut self) {
        self.desk.close();
        self.courier.abort();
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("partition", &self.partition).finish_non_exhaustive()
    }
}

impl Worker {
    /// Runs until told to end or until it cannot go on.
    pub(crate) fn run(mut self, mut reader: Box<dyn PartitionReader>) -> Ended {
        self.report(reader.known_end());
        self.see_now(false);
        loop {
            match self.turn(reader.as_mut()) {
                Ok(None) => {}
                Ok(Some(ended)) => return ended,
                Err(error) => return Ended::Failed(error),
            }
        }
    }

    fn turn(&mut self, reader: &mut dyn PartitionReader) -> Result<Option<Ended>, AggregateError> {
        if self.signals.abandon.is_cancelled() {
            return Ok(Some(Ended::Abandoned));
        }
        self.note_turn();
        self.collect_commit()?;
        if self.signals.drain.is_cancelled() {
            return self.drained().map(Some);
        }
        if self.must_close() {
            if !self.wait_for_commit()? {
                return Ok(Some(Ended::Abandoned));
            }
            // While another partition closes an epoch, or statuses wait, this one reads on.
            let turn = self.turns.try_to_close().filter(|_| !self.statuses_wait());
            if turn.is_some() || self.is_overfull() {
                self.close()?;
            }
        } else if self.in_flight.is_none() && !self.reads_on() && self.may_close() {
            self.close()?;
        }
        self.outbox.check()?;
        if self.outbox.is_full() {
            self.wait_for_outbox();
            return Ok(None);
        }
        // Behind everything that holds the state, and before a wait: no question is left lying.
        self.desk.answer();
        let (before, events_before) = {
            let state = self.desk.state();
            (state.next_offset(), state.epoch_events())
        };
        let mut ended = None;
        let wait = if self.statuses_wait() { READ_WAIT_TELLING } else { READ_WAIT };
        let read = reader.read(self.read_max, wait, &mut |record| {
            // Nothing after a record that could not be taken: it would be skipped.
            if ended.is_none() {
                ended = self.push(record).err();
            }
        });
        if let Some(ended) = ended {
            return Ok(Some(ended));
        }
        self.note_traced(reader.take_traced());
        let idle = self.desk.state().next_offset() == before;
        let more = reader.known_end().is_some_and(|end| end > before);
        self.see_now(idle && read.is_ok() && !more);
        self.hand_over();
        let notices_wait = self.watch_notices();
        if let Ok(records @ 1..) = read {
            crash_point("pushed");
            // A record may be one event or a batch of hundreds.
            let events = self.desk.state().epoch_events().saturating_sub(events_before);
            let each = (events / records as u64).max(1);
            self.read_max = usize::try_from(READ_EVENTS / each).unwrap_or(1).max(1);
        }
        if idle && self.idle_since_ms.is_none() {
            self.idle_since_ms = Some(self.surroundings.edge.now_ms());
        } else if !idle {
            self.idle_since_ms = None;
        }
        if self.epoch_began_ms.is_none() && !idle {
            self.epoch_began_ms = Some(self.surroundings.edge.now_ms());
        }
        self.tick(reader.known_end());
        self.announce();
        self.report(reader.known_end());
        match read {
            Ok(_) => {
                if self.in_flight.is_none() && !notices_wait {
                    self.status.update(self.partition, |status| status.waiting = None);
                }
                Ok(None)
            }
            Err(error) => match error.kind() {
                LogErrorKind::Retry | LogErrorKind::Refused => {
                    tracing::warn!(partition = self.partition, %error, "the log is not available, waiting");
                    let error = AggregateError::from(error);
                    let edge = &self.surroundings.edge;
                    // Within the runtime, as an edge that has timers needs it.
                    self.runtime.block_on(async { edge.pause(1, &error).await });
                    Ok(None)
                }
                LogErrorKind::Gone => Ok(Some(Ended::Gone)),
                LogErrorKind::Data | LogErrorKind::Invalid | LogErrorKind::Internal => {
                    Err(error.into())
                }
            },
        }
    }

    /// Remembers records whose requests are traced until their epoch is committed: a few of many.
    fn note_traced(&mut self, records: Vec<TracedRecord>) {
        if records.is_empty() {
            return;
        }
        let read_ms = self.surroundings.edge.now_ms();
        let room = TRACED_MAX.saturating_sub(self.traced.len());
        self.traced.extend(records.into_iter().take(room).map(|record| (record, read_ms)));
    }

    /// Commits what was read.
    fn drained(&mut self) -> Result<Ended, AggregateError> {
        let committed = self.wait_for_commit()? && self.close()? && self.wait_for_commit()?;
        Ok(if committed { Ended::Drained } else { Ended::Abandoned })
    }

    /// Appends a tick to the log, where it has been idle for long and something is due. Not while
    /// there is something to be read: that tells the time.
    fn tick(&mut self, known_end: Option<u64>) {
        let (Some(ticker), Some(idle_since_ms)) = (&mut self.ticker, self.idle_since_ms) else {
            return;
        };
        if known_end.is_some_and(|end| end > self.desk.state().next_offset()) {
            return;
        }
        let now_ms = self.surroundings.edge.now_ms();
        if let Some(tick) = ticker.due(&self.desk.state(), self.partition, idle_since_ms, now_ms) {
            ticker.append(tick, &self.runtime);
        }
    }

    /// Says in the status that this thread is not stuck.
    fn note_turn(&self) {
        let now_ms = self.surroundings.edge.now_ms();
        self.status.update(self.partition, |status| status.turned_ms = Some(now_ms));
    }

    /// Tells the state what time it is, and whether everything is read that the log has.
    fn see_now(&self, read_everything: bool) {
        let now_ms = self.surroundings.edge.now_ms();
        self.desk.state().see_now(now_ms, read_everything);
    }

    fn push(&mut self, record: Record<'_>) -> Result<(), Ended> {
        crash_point("polled");
        let received_ms = record.timestamp_ms;
        loop {
            // The state is free while the store is asked.
            let pushed = self.desk.state().push(record);
            match pushed {
                Ok(()) => {
                    self.oldest_ms.get_or_insert(received_ms);
                    self.attend();
                    return Ok(());
                }
                Err(Need::Segments(need)) => self.load_segments(&need)?,
                Err(Need::Reference(version)) => self.follow(version)?,
            }
        }
    }

    fn load_segments(&mut self, need: &NeedSegments) -> Result<(), Ended> {
        // A segment may belong to the epoch that is just being stored.
        if !self.wait_for_commit().map_err(Ended::Failed)? {
            return Err(Ended::Abandoned);
        }
        let abandon = &self.signals.abandon;
        // The store may be away for longer than a partition that is revoked may be held on to.
        let read = self.runtime.block_on(async {
            tokio::select! {
                read = read_segments(&self.surroundings, need) => Some(read),
                () = abandon.cancelled() => None,
            }
        });
        let Some(segments) = read else { return Err(Ended::Abandoned) };
        let mut state = self.desk.state();
        segments
            .and_then(|segments| provide_segments(&mut state, need, &segments))
            .map_err(Ended::Failed)
    }

    /// Whether the epoch has all that it is to have.
    fn must_close(&self) -> bool {
        self.has(self.settings.epoch_max_events, self.settings.epoch_max_bytes)
    }

    /// Whether it has a quarter more, and must not wait for its turn any longer.
    fn is_overfull(&self) -> bool {
        let AggregateConfig { epoch_max_events: events, epoch_max_bytes: bytes, .. } =
            self.settings;
        self.has(events.saturating_add(events / 4), bytes.saturating_add(bytes / 4))
    }

    fn has(&self, events: u64, bytes: u64) -> bool {
        let state = self.desk.state();
        state.epoch_events() >= events || state.epoch_bytes() as u64 >= bytes
    }

    /// Whether a bounded run has read everything of this partition.
    fn at_bounded_end(&self) -> bool {
        self.until.is_some_and(|until| self.desk.state().next_offset() >= until)
    }

    /// Whether the epoch has waited long enough, or a bounded run has read all, or nothing has
    /// come for so long that the clock closes windows.
    fn may_close(&mut self) -> bool {
        let now_ms = self.surroundings.edge.now_ms();
        let lateness_ms = self.settings.lateness_ms.cast_signed();
        if self.idle_since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= lateness_ms)
            && self.desk.state().write_windows(now_ms.saturating_sub(lateness_ms))
        {
            return true;
        }
        if !self.desk.state().has_uncommitted() {
            return false;
        }
        let age_ms = self.epoch_began_ms.map_or(0, |began| now_ms.saturating_sub(began));
        self.at_bounded_end() || age_ms.max(0).cast_unsigned() >= self.settings.freshness_ms
    }

    /// Closes the epoch, where there is anything in it, and sends it on its way. `false` where it
    /// could not be sent.
    fn close(&mut self) -> Result<bool, AggregateError> {
        if self.at_bounded_end() {
            self.desk.state().write_windows(i64::MAX);
        }
        if !self.desk.state().has_uncommitted() {
            return Ok(true);
        }
        self.send(None)
    }

    /// Ends the epoch and sends it on its way. What comes next is rated by `next`, where that is
    /// given. `false` where it could not be sent.
    fn send(&mut self, next: Option<&ReferenceVersion>) -> Result<bool, AggregateError> {
        // A bounded run that writes windows, or a drain, closes without having read before.
        if !self.hand_over_all()? {
            return Ok(false);
        }
        let Some(mut ownership) = self.ownership.take() else { return Ok(false) };
        self.desk.state().share_memory(self.status.held());
        let notices = self.outbox.close_epoch();
        let mut closed = self.desk.state().close();
        if let Some(next) = next {
            closed.next_reference = next.clone();
        }
        crash_point("closed");
        (self.epoch_began_ms, self.oldest_ms) = (None, None);
        let (done, in_flight) = bounded(1);
        self.in_flight = Some(in_flight);
        let sent_ms = self.surroundings.edge.now_ms();
        self.status.update(self.partition, |status| status.storing_ms = Some(sent_ms));
        let edge = Arc::clone(&self.surroundings.edge);
        let abandon = self.signals.abandon.clone();
        let status = self.status.clone();
        let (partition, traced) = (self.partition, std::mem::take(&mut self.traced));
        let turns = self.turns.clone();
        self.runtime.spawn(async move {
            let last = ownership.last_stored().clone();
            let owner = ownership.owner().to_owned();
            let totals = closed.totals.clone();
            let now_ms = edge.now_ms();
            let turn = tokio::select! {
                turn = turns.wait_to_encode() => turn,
                () = abandon.cancelled() => return,
            };
            let encoded =
                tokio::task::spawn_blocking(move || encode_epoch(closed, &last, &owner, now_ms))
                    .await
                    .unwrap_or_else(|e| {
                        Err(AggregateError::Damaged(format!("encoding an epoch: {e}")))
                    });
            drop(turn);
            let mut spare = SpareColumns::default();
            let result = match encoded {
                Err(error) => Err(error),
                Ok(mut encoded) => {
                    spare = encoded.spare;
                    let commit = async {
                        // Nobody replays what is committed: an alert that was not sent by then
                        // would be lost.
                        encoded.entry.alerts_ends =
                            notices.acknowledged().await?.or(encoded.entry.alerts_ends);
                        let changes = changes_reference(&encoded.entry);
                        ownership.commit(encoded.objects, encoded.entry).await?;
                        if changes {
                            crash_point("reference-named");
                        }
                        Ok(())
                    };
                    tokio::select! {
                        result = commit => result,
                        () = abandon.cancelled() => return,
                    }
                }
            };
            if result.is_ok() {
                let committed_ms = edge.now_ms();
                let took_ms = committed_ms.saturating_sub(now_ms).max(0).cast_unsigned();
                status.count_commit(&totals, took_ms);
                let last = ownership.last();
                tracing::debug!(
                    partition,
                    epoch = last.n,
                    from = last.from,
                    to = last.to,
                    events = totals.accepted.events,
                    took_ms,
                    "committed"
                );
                if !traced.is_empty() {
                    let epoch = ownership.last().n;
                    edge.traced(&TracedEpoch { partition, epoch, committed_ms, records: traced });
                }
            }
            // A receiver that is gone has given the partition up.
            drop(done.send(Commit { ownership, spare, result }));
        });
        Ok(true)
    }

    /// Takes the outcome of a commit that has finished.
    fn collect_commit(&mut self) -> Result<(), AggregateError> {
        let Some(in_flight) = &self.in_flight else { return Ok(()) };
        match in_flight.try_recv() {
            Ok(commit) => self.committed(commit),
            Err(TryRecvError::Empty) => Ok(()),
            Err(TryRecvError::Disconnected) => {
                Err(AggregateError::Damaged("the commit task is gone".to_owned()))
            }
        }
    }

    /// Waits until nothing is in flight; `false` where the worker was told to let go meanwhile.
    fn wait_for_commit(&mut self) -> Result<bool, AggregateError> {
        while let Some(in_flight) = &self.in_flight {
            self.desk.answer();
            match in_flight.recv_timeout(READ_WAIT) {
                Ok(commit) => self.committed(commit)?,
                Err(RecvTimeoutError::Timeout) => {
                    if self.signals.abandon.is_cancelled() {
                        return Ok(false);
                    }
                    self.note_turn();
                    self.watch_notices();
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return if self.signals.abandon.is_cancelled() {
                        Ok(false)
                    } else {
                        Err(AggregateError::Damaged("the commit task is gone".to_owned()))
                    };
                }
            }
        }
        Ok(true)
    }

    fn committed(&mut self, commit: Commit) -> Result<(), AggregateError> {
        self.in_flight = None;
        commit.result?;
        let to = commit.ownership.last().to;
        self.ownership = Some(commit.ownership);
        self.desk.state().reuse(commit.spare);
        self.status.update(self.partition, |status| {
            (status.waiting, status.storing_ms) = (None, None);
        });
        (self.committed)(self.partition, to);
        self.report(None);
        Ok(())
    }

    fn report(&self, known_end: Option<u64>) {
        let state = self.desk.state();
        let (ids, windows) = state.state_sizes();
        self.status.update(self.partition, |status| {
            if let Some(ownership) = &self.ownership {
                status.owner = ownership.owner().to_owned();
                status.epoch = ownership.last().n;
                status.committed_offset = ownership.last().to;
            }
            status.next_offset = state.next_offset();
            status.end_offset = known_end.unwrap_or(status.end_offset).max(state.next_offset());
            status.watermark_ms = state.watermark_ms();
            status.oldest_uncommitted_ms = match (self.in_flight.is_some(), self.oldest_ms) {
                (true, began) => status.oldest_uncommitted_ms.or(began),
                (false, began) => began,
            };
            status.state_bytes = state.state_bytes() as u64;
            status.open_ids = ids as u64;
            status.open_windows = windows as u64;
            status.stopped = None;
        });
    }
}
