//! Owning the second stage: claim its ledger, recover, add epoch after epoch, commit. All of it
//! I/O around [`BudgetStage`], which decides.

use std::sync::Arc;

use futures::future::{BoxFuture, try_join};
use object_store::ObjectStore;
use tally_budget::{BadModels, BudgetAlert, BudgetBook, BudgetStage, Taken, Told, Untaken};
use tally_log::{Bounds, Record};
use tally_schemas::{EpochIncrements, LedgerEntry, LogPosition, StateFile};
use xxhash_rust::xxh3::Xxh3Default;

use crate::core::base_policy::BasePolicy;
use crate::core::{AlertNotice, Notice};
use crate::crash_point::crash_point;
use crate::error::AggregateError;
use crate::ledger;
use crate::models::budget_epoch::{ClosedBudgetEpoch, encode_budget_epoch};
use crate::models::history;
use crate::models::untold_epoch::increments_of_files;
use crate::outbox::{Outbox, open_outbox};
use crate::owner::{
    LedgerPlace, Ownership, Sender, Surroundings, claim, damaged, read_all_checked, read_back,
};
use crate::planted::{Bug, planted};
use crate::stream_status::StreamStatus;

/// Which topics the second stage stands between, and how long garbage is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageConfig {
    /// Topic of usage events, whose ledgers have the increments.
    pub source_topic: String,
    /// Topic of increments, of one partition; the name of the stage's own ledger.
    pub topic: String,
    /// How long files that no entry names are left alone, milliseconds.
    pub retention_ms: u64,
}

/// The right to add and commit, until somebody else claims it, with the state.
#[derive(Debug)]
pub struct BudgetOwner {
    surroundings: Surroundings,
    config: StageConfig,
    ownership: Ownership,
    stage: BudgetStage,
    policy: BasePolicy,
    outbox: Outbox,
    next: u64,
    /// Messages below this offset were there when the ledger was claimed.
    told_before: u64,
    open: OpenEpoch,
}

/// What the epoch has gathered.
#[derive(Default)]
struct OpenEpoch {
    hash: Xxh3Default,
    records: u64,
    added: u64,
    repeated: u64,
    ignored: u64,
    filled: u64,
    alerts: Vec<(BudgetAlert, u64)>,
    /// How many of them were handed to the outbox.
    handed: usize,
}

impl std::fmt::Debug for OpenEpoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenEpoch").field("records", &self.records).finish_non_exhaustive()
    }
}

/// What became of the records of an epoch that is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EpochCounts {
    /// Epochs of partitions that were added.
    pub added: u64,
    /// Messages of epochs that were added before.
    pub repeated: u64,
    /// Messages that no ledger confirms.
    pub ignored: u64,
    /// Epochs that were read from their ledger, as they were not in the topic in their order.
    pub filled: u64,
}

fn bad_state(error: &BadModels) -> AggregateError {
    match error {
        BadModels::TooNew(_) => AggregateError::Invalid(error.to_string()),
        BadModels::Unreadable(_) | BadModels::Overflow => {
            AggregateError::Damaged(error.to_string())
        }
    }
}

/// The state after an entry of the second stage's ledger, for whoever reads it.
///
/// # Errors
/// `Data` where an object is missing or is not what the entry says; `Retry` while the store is
/// away.
pub async fn stored_stage(
    store: &dyn ObjectStore,
    book: Arc<BudgetBook>,
    last: &LedgerEntry,
) -> Result<BudgetStage, AggregateError> {
    let files: Vec<&StateFile> = last.state.base.iter().chain(&last.state.deltas).collect();
    let objects = read_all_checked(store, &files).await?;
    let objects = objects.iter().map(|bytes| bytes.as_ref());
    let restored = BudgetStage::restored(book, objects, &last.sources, last.watermark_ms);
    restored.map_err(|error| match files.last() {
        Some(file) => damaged(file, &error.to_string()),
        None => bad_state(&error),
    })
}

impl BudgetOwner {
    /// Claims the second stage's ledger and recovers its state. `bounds` are those of its topic.
    /// The future that comes with it sends the alerts, counted in `status`: it must run as long as
    /// the owner lives, and end with it.
    ///
    /// # Errors
    /// As [`crate::owner::take`]; `Data` where what was added is not what the partitions' ledgers
    /// have.
    pub async fn take(
        surroundings: &Surroundings,
        config: &StageConfig,
        book: Arc<BudgetBook>,
        bounds: Bounds,
        status: &StreamStatus,
    ) -> Result<(Self, BoxFuture<'static, ()>), AggregateError> {
        let place = LedgerPlace {
            topic: &config.topic,
            partition: 0,
            partition_count: 1,
            log: None,
            retention_ms: config.retention_ms,
            sender: Sender::SecondStage,
        };
        let ownership = claim(surroundings, place, bounds, None).await?;
        let last = ownership.last();
        history::check_added(surroundings.store.as_ref(), &config.source_topic, last).await?;
        // After the claim: whatever a predecessor sent and did not commit is sent by now.
        let (stage, read_back) = try_join(
            stored_stage(surroundings.store.as_ref(), book, last),
            read_back(surroundings, place, last),
        )
        .await?;
        let Surroundings { edge, notices, .. } = surroundings.clone();
        let (outbox, courier) = open_outbox(notices, edge, status.clone(), read_back);
        let mut policy = BasePolicy::default();
        if let Some(file) = &last.state.base {
            policy.note_base(usize::try_from(file.bytes).unwrap_or(usize::MAX));
        }
        for file in &last.state.deltas {
            policy.note_delta(usize::try_from(file.bytes).unwrap_or(usize::MAX));
        }
        let owner = Self {
            surroundings: surroundings.clone(),
            config: config.clone(),
            next: last.to,
            told_before: bounds.end,
            ownership,
            stage,
            policy,
            outbox,
            open: OpenEpoch::default(),
        };
        Ok((owner, Box::pin(courier.run())))
    }

    /// Next offset to be read.
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// The last entry of the ledger, as far as this owner knows.
    pub fn last(&self) -> &LedgerEntry {
        self.ownership.last()
    }

    /// The state.
    pub fn stage(&self) -> &BudgetStage {
        &self.stage
    }

    /// Whether there is anything to commit. Messages that added nothing count too: their offsets
    /// must move on (I14).
    pub fn has_uncommitted(&self) -> bool {
        self.open.records > 0
    }

    /// Takes one record of the topic. Offsets below the next one are ignored. Alerts that come of
    /// it go out at once.
    ///
    /// # Errors
    /// `Retry` while a ledger that is needed cannot be read: push the same record again. `Data`
    /// where an epoch that was not added is gone, or the sums cannot be counted.
    pub async fn push(&mut self, record: Record<'_>) -> Result<(), AggregateError> {
        if record.offset < self.next {
            return Ok(());
        }
        let value = record.value.unwrap_or_default();
        let message = serde_json::from_slice::<EpochIncrements>(value).ok();
        match message.filter(|message| message.topic == self.config.source_topic) {
            Some(message) => self.add(&message, record.offset).await?,
            None => self.open.ignored += 1,
        }
        self.open.hash.update(&record.offset.to_le_bytes());
        self.open.hash.update(&(value.len() as u64).to_le_bytes());
        self.open.hash.update(value);
        self.open.records += 1;
        self.next = record.offset + 1;
        self.hand_over(record.timestamp_ms);
        Ok(())
    }

    /// Lets the alerts that go out go.
    fn hand_over(&mut self, logged_at_ms: i64) {
        let new = self.open.alerts.iter().skip(self.open.handed);
        let notices: Vec<Notice> = new
            .filter(|(alert, _)| alert.superseded_by.is_none())
            .map(|(alert, offset)| {
                let position = LogPosition { partition: 0, offset: *offset };
                Notice::Alert(AlertNotice::of_budget(alert, position, logged_at_ms))
            })
            .collect();
        self.open.handed = self.open.alerts.len();
        if !notices.is_empty() {
            crash_point("budgets_noticed");
        }
        self.outbox.hand_over(notices, self.next);
    }

    /// Adds a message's epoch, and the missing ones before it from their ledger.
    async fn add(&mut self, message: &EpochIncrements, offset: u64) -> Result<(), AggregateError> {
        let EpochIncrements { partition, epoch, .. } = *message;
        // Whoever relays now reads the same ledgers as this owner: only what was told before can be
        // of others.
        let store = self.surroundings.store.as_ref();
        if offset < self.told_before && history::is_of_another(store, message).await? {
            tracing::warn!(partition, epoch, "not added: the ledger has no such epoch");
            self.open.ignored += 1;
            return Ok(());
        }
        loop {
            let due = match self.stage.take(message, Told::ByTopic) {
                Ok(taken) => {
                    self.note(taken, offset);
                    return Ok(());
                }
                Err(Untaken::Gap { next: Some(next), .. }) => next,
                Err(Untaken::Gap { next: None, .. }) => {
                    let topic = &self.config.source_topic;
                    let store = self.surroundings.store.as_ref();
                    let first = ledger::floor(store, topic, partition).await?;
                    self.stage.begin(partition, first);
                    // From the ledger, so that a message of another life of this topic is not
                    // taken for the first one.
                    first
                }
                // The message is of another ledger, or of a build that did not tell.
                Err(Untaken::Unchained { .. } | Untaken::Untold { .. }) => epoch,
                Err(error @ Untaken::Overflow { .. }) => {
                    return Err(AggregateError::Damaged(error.to_string()));
                }
            };
            if !self.fill(partition, due, offset).await? {
                self.open.ignored += 1;
                return Ok(());
            }
        }
    }

    /// Adds an epoch from its ledger; `false` where there is none of this number yet.
    async fn fill(&mut self, partition: u32, n: u64, offset: u64) -> Result<bool, AggregateError> {
        let (store, topic) = (self.surroundings.store.as_ref(), &self.config.source_topic);
        let Some(stored) = ledger::read_entry(store, topic, partition, n).await? else {
            let floor = ledger::floor(store, topic, partition).await?;
            // What was cleaned up before this stage began is not its business.
            if floor > n && !self.stage.begin(partition, floor) {
                return Err(AggregateError::Damaged(format!(
                    "budgets: entry {n} of partition {partition} was removed before it was added"
                )));
            }
            return Ok(floor > n);
        };
        let mut message = EpochIncrements::of_entry(&stored.entry, &stored.hash);
        if message.increments.is_none() {
            message.increments = increments_of_files(store, &stored.entry).await?;
            if message.increments.is_none() && self.stage.begin(partition, n + 1) {
                return Ok(true);
            }
        }
        let taken = self.stage.take(&message, Told::ByLedger).map_err(|error| {
            AggregateError::Damaged(format!("budgets: {error}, and it is the ledger's"))
        })?;
        self.note(taken, offset);
        self.open.filled += 1;
        Ok(true)
    }

    fn note(&mut self, taken: Taken, offset: u64) {
        match taken {
            Taken::Added(alerts) => {
                self.open.added += 1;
                self.open.alerts.extend(alerts.into_iter().map(|alert| (alert, offset)));
            }
            Taken::Repeated => self.open.repeated += 1,
        }
    }

    /// Ends the epoch and commits it, when the alerts of it are acknowledged: nobody reads again
    /// what is committed.
    ///
    /// # Errors
    /// `Fenced` where another owner has the number: drop this one. `Data` where the ledger is
    /// damaged: stop.
    pub async fn commit(&mut self) -> Result<EpochCounts, AggregateError> {
        let open = std::mem::take(&mut self.open);
        let notices = self.outbox.close_epoch();
        let is_base = self.last().state.base.is_none() || self.policy.base_is_due();
        let state = if is_base { self.stage.base() } else { self.stage.delta() };
        let state = state.map_err(|error| bad_state(&error))?;
        if is_base {
            self.policy.note_base(state.len());
        } else {
            self.policy.note_delta(state.len());
        }
        let closed = ClosedBudgetEpoch {
            to: self.next,
            input_hash: format!("{:032x}", open.hash.digest128()),
            records: open.records,
            alerts: open.alerts,
            sources: if planted(Bug::PositionsOneEpochOld) {
                self.last().sources.clone()
            } else {
                self.stage.sources()
            },
            watermark_ms: self.stage.watermark_ms(),
            state,
            is_base,
        };
        let owner = self.ownership.owner().to_owned();
        let now_ms = self.surroundings.edge.now_ms();
        let last = self.ownership.last_stored();
        let (objects, mut entry) = encode_budget_epoch(closed, last, &owner, now_ms)?;
        crash_point("budgets_closed");
        entry.alerts_ends = notices.acknowledged().await?.or(entry.alerts_ends);
        self.ownership.commit(objects, entry).await?;
        crash_point("budgets_committed");
        self.stage.settle();
        Ok(EpochCounts {
            added: open.added,
            repeated: open.repeated,
            ignored: open.ignored,
            filled: open.filled,
        })
    }
}
