//! The second stage of a process: one thread that relays the epochs of the partitions that the
//! process holds, and adds all of them while it holds the first partition.
//!
//! Who holds partition 0 of usage events holds the stage: the group has decided that already, and
//! the stage's own ledger fences whoever thinks so for too long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tally_budget::BudgetBook;
use tally_log::{EventLog, LogError, PartitionReader, Record, RecordKind};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::aggregator::Extent;
use crate::crash_point::crash_point;
use crate::error::{AggregateError, ErrorKind};
use crate::models::budget_owner::{BudgetOwner, StageConfig};
use crate::models::relay::Relay;
use crate::models::stage_status::StageStatus;
use crate::owner::Surroundings;
use crate::stream_status::StreamStatus;

/// Messages that are read at once.
const READ_MAX: usize = 256;
/// Longest wait for a message, and pause of who has nothing to do.
const WAIT: Duration = Duration::from_millis(50);
/// Epochs of one partition that are sent before another one's turn comes.
const RELAYED_MAX: u64 = 256;
/// How long the end of a bounded run, which has to come to it, waits for a store or a log that is
/// away.
const PATIENCE_UNTIL_END: Duration = Duration::from_mins(1);

/// What a second stage is made of.
pub struct StageParts {
    /// Store, clock, and where alerts go.
    pub surroundings: Surroundings,
    /// Topics.
    pub config: StageConfig,
    /// Budgets.
    pub book: Arc<BudgetBook>,
    /// The topic of increments, of one partition.
    pub log: Arc<dyn EventLog>,
    /// Tells which partitions this process holds.
    pub stream: StreamStatus,
    /// Partitions of the topic of usage events.
    pub partition_count: u32,
    /// Longest time that an increment waits for its commit, milliseconds.
    pub freshness_ms: u64,
    /// How long an end waits for a store or a log that is away, milliseconds; a bounded run waits
    /// for a minute at least.
    pub drain_timeout_ms: u64,
    /// Runs what is asynchronous.
    pub runtime: Handle,
    /// Whether the end comes only when everything is added.
    pub extent: Extent,
}

impl std::fmt::Debug for StageParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StageParts").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A record that was read and not yet taken.
struct Waiting {
    offset: u64,
    timestamp_ms: i64,
    value: Option<Vec<u8>>,
}

/// The stage while this process holds it.
struct Held {
    owner: BudgetOwner,
    reader: Box<dyn PartitionReader>,
    waiting: VecDeque<Waiting>,
    /// When the open epoch began.
    began_ms: Option<i64>,
    /// Sends the alerts.
    courier: JoinHandle<()>,
}

impl Drop for Held {
    /// What was not sent is sent by the next owner, who must not find it sent twice.
    fn drop(&mut self) {
        self.courier.abort();
    }
}

/// How a turn ended.
enum Turn {
    /// There may be more to do.
    More,
    /// This process has to do nothing more.
    Done,
}

/// The second stage of a process.
pub struct SecondStage {
    parts: StageParts,
    relay: Relay,
    status: StageStatus,
    held: Option<Held>,
    /// Since when it is to end; in a bounded run, since when it has not come closer to it.
    ending_since_ms: Option<i64>,
}

impl std::fmt::Debug for SecondStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecondStage").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl SecondStage {
    /// A stage that holds nothing yet.
    ///
    /// # Errors
    /// Where the topic of increments has no producer.
    pub fn new(parts: StageParts) -> Result<Self, LogError> {
        let producer = parts.log.producer()?;
        let relay = Relay::new(parts.surroundings.clone(), parts.config.clone(), producer);
        Ok(Self { parts, relay, status: StageStatus::default(), held: None, ending_since_ms: None })
    }

    /// What it is doing.
    pub fn status(&self) -> &StageStatus {
        &self.status
    }

    /// Goes on until it is told to end, which it does when what was committed is sent and what was
    /// read is committed; a bounded run when everything is added. Blocks.
    ///
    /// # Errors
    /// Where an invariant is broken or data is lost (I12), or a bounded run cannot come to its
    /// end.
    pub fn run(mut self, end: &CancellationToken) -> Result<(), AggregateError> {
        let mut attempt = 0;
        loop {
            let ending = end.is_cancelled();
            if ending && self.ending_since_ms.is_none() {
                self.ending_since_ms = Some(self.now_ms());
            }
            let error = match self.turn(ending, end) {
                Ok(Turn::Done) => return Ok(()),
                Ok(Turn::More) => {
                    attempt = 0;
                    match self.parts.extent {
                        Extent::Endless if self.is_over() => return Ok(()),
                        Extent::Endless => {}
                        Extent::UntilEnd => self.ending_since_ms = None,
                    }
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Fenced => {
                    tracing::warn!(%error, "another process has the budgets");
                    self.let_go();
                }
                ErrorKind::Retry => tracing::debug!(%error, "budgets wait"),
                ErrorKind::Data | ErrorKind::Invalid => return Err(error),
            }
            if self.is_over() {
                // What is committed is safe in the ledgers; the next owner goes on from there.
                return match self.parts.extent {
                    Extent::Endless => Ok(()),
                    Extent::UntilEnd => Err(error),
                };
            }
            attempt += 1;
            self.parts.runtime.block_on(self.parts.surroundings.edge.pause(attempt, &error));
        }
    }

    fn now_ms(&self) -> i64 {
        self.parts.surroundings.edge.now_ms()
    }

    /// Whether it has waited long enough at its end.
    fn is_over(&self) -> bool {
        self.ending_since_ms.is_some_and(|since| {
            let waited_ms = self.now_ms().saturating_sub(since).max(0).cast_unsigned();
            Duration::from_millis(waited_ms) >= Self::patience(&self.parts)
        })
    }

    /// How long an end waits for a store or a log that is away.
    fn patience(parts: &StageParts) -> Duration {
        let drain = Duration::from_millis(parts.drain_timeout_ms);
        match parts.extent {
            Extent::Endless => drain,
            Extent::UntilEnd => drain.max(PATIENCE_UNTIL_END),
        }
    }

    /// Runs what is asynchronous, a step of the work. At an end it does not wait for ever for a
    /// store or a log that is away.
    fn wait<T>(
        parts: &StageParts,
        end: &CancellationToken,
        future: impl Future<Output = Result<T, AggregateError>>,
    ) -> Result<T, AggregateError> {
        let patience = Self::patience(parts);
        parts.runtime.block_on(async {
            tokio::select! {
                done = future => done,
                () = async { end.cancelled().await; tokio::time::sleep(patience).await } => {
                    let why = "neither the store nor the log answers".to_owned();
                    Err(AggregateError::Log(LogError::Retry(why)))
                }
            }
        })
    }

    fn let_go(&mut self) {
        self.held = None;
        self.status.lets_go();
    }

    fn turn(&mut self, ending: bool, end: &CancellationToken) -> Result<Turn, AggregateError> {
        let partitions = self.parts.stream.partitions();
        let holds =
            |p: u32| partitions.get(&p).is_some_and(|s| s.stopped.is_none() && !s.owner.is_empty());
        let until_end = self.parts.extent == Extent::UntilEnd;
        let finishes = ending && (until_end || self.held.is_some());
        self.relay.keep(|partition| holds(partition) || finishes);
        let mut relayed = 0;
        for partition in 0..self.parts.partition_count {
            // At the end nothing is held any more, and what was committed last is not sent yet.
            let last = match partitions.get(&partition) {
                Some(status) if holds(partition) => Some(status.epoch),
                _ if finishes => None,
                _ => continue,
            };
            relayed += self.relay_epochs(partition, last, end)?;
        }
        self.status.count_relayed(relayed);
        if !(holds(0) || finishes) {
            self.release(end)?;
            if ending {
                return Ok(Turn::Done);
            }
            self.parts.runtime.block_on(tokio::time::sleep(WAIT));
            return Ok(Turn::More);
        }
        if self.held.is_none() {
            self.held = Some(self.acquire(end)?);
        }
        self.work(ending, end)?;
        if !finishes || relayed > 0 {
            return Ok(Turn::More);
        }
        let Some(held) = &self.held else { return Ok(Turn::More) };
        let at_end = held.owner.next_offset() >= self.parts.log.bounds(0)?.end;
        let done = at_end && held.waiting.is_empty() && !held.owner.has_uncommitted();
        Ok(if done { Turn::Done } else { Turn::More })
    }

    /// Sends what is due of a partition, one step after the other, and returns how many epochs that
    /// were.
    fn relay_epochs(
        &mut self,
        partition: u32,
        last: Option<u64>,
        end: &CancellationToken,
    ) -> Result<u64, AggregateError> {
        let endless = self.parts.extent == Extent::Endless;
        let mut sent = 0;
        while sent < RELAYED_MAX && !(endless && self.is_over()) {
            match Self::wait(&self.parts, end, self.relay.send_next(partition, last)) {
                Ok(true) => sent += 1,
                Ok(false) => break,
                // It comes again with the next turn, unless that gets on.
                Err(error) if sent > 0 && error.kind() == ErrorKind::Retry => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Takes the stage: claims its ledger, recovers, reads on where that ends.
    fn acquire(&self, end: &CancellationToken) -> Result<Held, AggregateError> {
        let StageParts { surroundings, config, book, log, stream, runtime, .. } = &self.parts;
        let mut bounds = log.bounds(0)?;
        let (owner, courier) = loop {
            let book = Arc::clone(book);
            let taken = BudgetOwner::take(surroundings, config, book, bounds, stream);
            match Self::wait(&self.parts, end, taken) {
                Err(AggregateError::Truncated { committed, .. }) if bounds.end < committed => {
                    // The bounds may be older than what a predecessor read meanwhile.
                    let again = log.bounds(0)?;
                    if again.end < committed {
                        let end = again.end;
                        return Err(AggregateError::Truncated { partition: 0, end, committed });
                    }
                    bounds = again;
                }
                taken => break taken?,
            }
        };
        let reader = log.reader_at(0, owner.next_offset())?;
        self.status.holds(&owner, self.now_ms());
        let courier = runtime.spawn(courier);
        Ok(Held { owner, reader, waiting: VecDeque::new(), began_ms: None, courier })
    }

    /// Reads, adds, lets alerts go, and commits what is due.
    fn work(&mut self, ending: bool, end: &CancellationToken) -> Result<(), AggregateError> {
        let Self { parts, held, .. } = self;
        let Some(held) = held else { return Ok(()) };
        if held.waiting.is_empty() {
            let waiting = &mut held.waiting;
            held.reader.read(READ_MAX, WAIT, &mut |record| {
                waiting.push_back(Waiting {
                    offset: record.offset,
                    timestamp_ms: record.timestamp_ms,
                    value: record.value.map(<[u8]>::to_vec),
                });
            })?;
        }
        while let Some(first) = held.waiting.front() {
            let record = Record {
                offset: first.offset,
                timestamp_ms: first.timestamp_ms,
                key: None,
                value: first.value.as_deref(),
                kind: RecordKind::Single,
            };
            crash_point("budgets_polled");
            Self::wait(parts, end, held.owner.push(record))?;
            held.waiting.pop_front();
        }
        let now_ms = parts.surroundings.edge.now_ms();
        if !held.owner.has_uncommitted() {
            held.began_ms = None;
            return Ok(());
        }
        let age_ms = now_ms.saturating_sub(*held.began_ms.get_or_insert(now_ms));
        if ending || age_ms.max(0).cast_unsigned() >= parts.freshness_ms {
            self.commit(end)?;
        }
        Ok(())
    }

    /// Commits the open epoch.
    fn commit(&mut self, end: &CancellationToken) -> Result<(), AggregateError> {
        let Self { parts, held, status, .. } = self;
        let Some(held) = held else { return Ok(()) };
        let committed = Self::wait(parts, end, held.owner.commit());
        match committed {
            Ok(counts) => {
                status.count(counts);
                held.began_ms = None;
                status.holds(&held.owner, parts.surroundings.edge.now_ms());
                Ok(())
            }
            Err(error) => {
                // Only the ledger knows whether it is committed.
                self.let_go();
                Err(error)
            }
        }
    }

    /// Lets the stage go, with what was read committed.
    fn release(&mut self, end: &CancellationToken) -> Result<(), AggregateError> {
        if self.held.as_ref().is_some_and(|held| held.owner.has_uncommitted()) {
            match self.commit(end) {
                // Who has it now reads again what was not committed.
                Err(error) if error.kind() == ErrorKind::Fenced => {}
                other => other?,
            }
        }
        if self.held.is_some() {
            self.let_go();
        }
        Ok(())
    }
}
