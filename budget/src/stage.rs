//! The second stage: adds the epochs of every partition, each once and in order, and notices which
//! thresholds they reach.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tally_schemas::{
    EpochIncrements, ModelDay, ModelIncrement, ModelSums, ShanghaiDay, SourcePosition,
};

use crate::alert::{BudgetAlert, identity};
use crate::budget::{Budget, Span};
use crate::budget_book::BudgetBook;
use crate::planted::{Bug, planted};
use crate::stored::{BadModels, StoredModels};

/// Who tells of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The ledger of its partition: it is as it is.
    ByLedger,
    /// The topic: it counts where it follows what the ledger told.
    ByTopic,
}

/// What became of an epoch that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It was added, and reached these thresholds: of each budget the one that goes out first,
    /// then those that it supersedes.
    Added(Vec<BudgetAlert>),
    /// It was there already.
    Repeated,
}

/// Why an epoch was not taken; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// Epochs before it are missing: offer them first, from `next` on. Where nothing is known of
    /// the partition, [`BudgetStage::begin`] says where its epochs begin.
    #[error("epochs of partition {partition} before {epoch} are missing, from {next:?} on")]
    Gap {
        /// Partition.
        partition: u32,
        /// The next epoch to add, where the partition is known.
        next: Option<u64>,
        /// The epoch that was offered.
        epoch: u64,
    },
    /// Nobody said what it adds: find out, and offer it again.
    #[error("epoch {epoch} of partition {partition} does not tell what it adds")]
    Untold {
        /// Partition.
        partition: u32,
        /// The epoch that was offered.
        epoch: u64,
    },
    /// It does not follow the entry that was added last: it is of another ledger.
    #[error("epoch {epoch} of partition {partition} does not follow the entry that was added last")]
    Unchained {
        /// Partition.
        partition: u32,
        /// The epoch that was offered.
        epoch: u64,
    },
    /// A sum would pass what can be counted.
    #[error("epoch {epoch} of partition {partition}: a sum passes 128 bits")]
    Overflow {
        /// Partition.
        partition: u32,
        /// The epoch that was offered.
        epoch: u64,
    },
}

/// A threshold that was passed, whether its alert went out or was superseded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Passed {
    pub(crate) budget: String,
    pub(crate) period_start: ShanghaiDay,
    pub(crate) armed: u32,
    pub(crate) percent: u32,
}

/// Usage by model and day of all partitions, and the thresholds that it passed.
#[derive(Debug, Clone)]
pub struct BudgetStage {
    book: Arc<BudgetBook>,
    cells: BTreeMap<ModelDay, ModelSums>,
    passed: BTreeSet<Passed>,
    sources: BTreeMap<u32, SourcePosition>,
    /// The least watermark of all partitions; none before each of them has one.
    watermark_ms: Option<i64>,
    /// What counts for each version of a budget in each period: follows from the cells.
    used: BTreeMap<(usize, Span), i128>,
    changed_cells: BTreeSet<ModelDay>,
    newly_passed: BTreeSet<Passed>,
}

impl BudgetStage {
    /// A stage that has added nothing.
    pub fn new(book: Arc<BudgetBook>) -> Self {
        Self {
            book,
            cells: BTreeMap::new(),
            passed: BTreeSet::new(),
            sources: BTreeMap::new(),
            watermark_ms: None,
            used: BTreeMap::new(),
            changed_cells: BTreeSet::new(),
            newly_passed: BTreeSet::new(),
        }
    }

    /// The stage as it was stored: a base and the deltas after it, in order, with the positions
    /// and the watermark of the ledger entry that names them.
    ///
    /// # Errors
    /// Where an object does not parse, or its sums pass what can be counted.
    pub fn restored<'o>(
        book: Arc<BudgetBook>,
        objects: impl IntoIterator<Item = &'o [u8]>,
        sources: &[SourcePosition],
        watermark_ms: Option<i64>,
    ) -> Result<Self, BadModels> {
        let mut stage = Self::new(book);
        for bytes in objects {
            let stored = StoredModels::read(bytes)?;
            stage.cells.extend(stored.cells.into_iter().map(|cell| (cell.of, cell.sums)));
            if !planted(Bug::PassedLostAtRestart) {
                stage.passed.extend(stored.passed);
            }
        }
        for source in sources {
            let mut source = source.clone();
            if planted(Bug::PositionLostAtRestart) {
                source.next = source.next.saturating_sub(1).max(source.first);
                source.entry.clear();
            }
            stage.sources.insert(source.partition, source);
        }
        stage.watermark_ms = watermark_ms;
        if !planted(Bug::UsedLostAtRestart) {
            stage.count_cells().ok_or(BadModels::Overflow)?;
        }
        Ok(stage)
    }

    /// Takes other budgets. What was used of them is known from the start: usage is kept by model
    /// and day, not by budget.
    ///
    /// # Errors
    /// Where a sum passes what can be counted.
    pub fn set_book(&mut self, book: Arc<BudgetBook>) -> Result<(), BadModels> {
        self.book = book;
        self.count_cells().ok_or(BadModels::Overflow)
    }

    /// The budgets.
    pub fn book(&self) -> &BudgetBook {
        &self.book
    }

    /// Says that a partition's epochs begin at `first`: those before were cleaned up before this
    /// stage began. `false`, and no change, where epochs of the partition were added.
    pub fn begin(&mut self, partition: u32, first: u64) -> bool {
        if self.sources.get(&partition).is_some_and(|source| source.next > source.first) {
            return false;
        }
        let begun = SourcePosition {
            partition,
            first,
            next: first,
            entry: String::new(),
            watermark_ms: None,
        };
        self.sources.insert(partition, begun);
        true
    }

    /// Adds what an epoch added, once, and in the order of its partition's ledger. The first one of
    /// a partition must be read from there: nothing else says that a message is of this ledger.
    ///
    /// # Errors
    /// [`Untaken`]: nothing has changed; after [`Untaken::Gap`], offer the missing ones and then
    /// the same one again.
    pub fn take(&mut self, message: &EpochIncrements, from: Told) -> Result<Taken, Untaken> {
        let EpochIncrements { partition, epoch, .. } = *message;
        let Some(source) = self.sources.get(&partition) else {
            return Err(Untaken::Gap { partition, next: None, epoch });
        };
        if epoch < source.next && !planted(Bug::RepeatAdded) {
            return Ok(Taken::Repeated);
        }
        if epoch > source.next && !planted(Bug::GapSkipped) {
            return Err(Untaken::Gap { partition, next: Some(source.next), epoch });
        }
        let is_first = source.entry.is_empty() && from == Told::ByLedger;
        let follows = is_first || source.entry == message.previous && !source.entry.is_empty();
        if !follows && epoch == source.next {
            return Err(Untaken::Unchained { partition, epoch });
        }
        let Some(increments) = &message.increments else {
            return Err(Untaken::Untold { partition, epoch });
        };
        let first = source.first;
        let added = self.added(increments).ok_or(Untaken::Overflow { partition, epoch })?;
        let mut touched = BTreeSet::new();
        for (of, sums, counted) in added {
            self.cells.insert(of.clone(), sums);
            self.changed_cells.insert(of);
            for (place, used) in counted {
                self.used.insert(place, used);
                touched.insert(place);
            }
        }
        // By the watermark before: what is on time in this epoch is on time.
        let alerts = self.reached(&touched, message.committed_at_ms);
        self.sources.insert(
            partition,
            SourcePosition {
                partition,
                first,
                next: epoch + 1,
                entry: message.entry.clone(),
                watermark_ms: message.watermark_ms,
            },
        );
        self.raise_watermark(message.partition_count);
        Ok(Taken::Added(alerts))
    }

    /// The cells and the uses of budgets as they are after these; `None` where one would pass
    /// what can be counted.
    #[expect(clippy::type_complexity, reason = "a list that is made here and used up by take")]
    fn added(
        &self,
        increments: &[ModelIncrement],
    ) -> Option<Vec<(ModelDay, ModelSums, Vec<((usize, Span), i128)>)>> {
        let mut cells: BTreeMap<&ModelDay, ModelSums> = BTreeMap::new();
        let mut used: BTreeMap<(usize, Span), i128> = BTreeMap::new();
        let mut added = Vec::with_capacity(increments.len());
        for increment in increments {
            let of = &increment.of;
            let cell =
                cells.entry(of).or_insert_with(|| self.cells.get(of).cloned().unwrap_or_default());
            *cell = cell.plus(&increment.sums)?;
            let mut counted = Vec::new();
            for (at, budget) in self.book.versions().iter().enumerate() {
                let Some((span, count)) = counts_for(budget, of, &increment.sums) else { continue };
                let place = (at, span);
                let before = used.get(&place).or_else(|| self.used.get(&place)).copied();
                let after = before.unwrap_or_default().checked_add(count)?;
                used.insert(place, after);
                counted.push((place, after));
            }
            added.push((of.clone(), cell.clone(), counted));
        }
        Some(added)
    }

    /// The thresholds that are reached in these periods and were not passed before.
    fn reached(&mut self, touched: &BTreeSet<(usize, Span)>, at_ms: i64) -> Vec<BudgetAlert> {
        let book = Arc::clone(&self.book);
        let mut alerts = Vec::new();
        for at in book.in_force(at_ms) {
            let Some(budget) = book.versions().get(at) else { continue };
            let armed = book.armed(at);
            for place in touched.iter().filter(|place| place.0 == at) {
                let span = place.1;
                if Budget::is_over(span, self.watermark_ms) {
                    continue;
                }
                let used = self.used.get(place).copied().unwrap_or_default();
                let mut sent: Option<String> = None;
                for percent in budget.thresholds.iter().rev().copied() {
                    let passed = Passed {
                        budget: budget.version.id.clone(),
                        period_start: span.from,
                        armed,
                        percent,
                    };
                    if !budget.measure.is_reached(used, percent) || self.passed.contains(&passed) {
                        continue;
                    }
                    let (id, counter) = identity(budget, span, armed, percent);
                    alerts.push(BudgetAlert {
                        id: id.clone(),
                        kind: budget.kind,
                        subject: budget.scope.subject(),
                        budget: passed.budget.clone(),
                        period_start_ms: span.from.start_ms(),
                        counter,
                        threshold: percent,
                        used_micro: budget.measure.micro(used),
                        allowance_micro: budget.measure.micro(budget.measure.limit()),
                        at_ms,
                        superseded_by: sent.clone(),
                    });
                    sent.get_or_insert(id);
                    self.newly_passed.insert(passed.clone());
                    self.passed.insert(passed);
                }
            }
        }
        alerts
    }

    /// A period is over when no partition has anything for it that is on time, so it takes all of
    /// them; one that was never heard of may have everything yet.
    fn raise_watermark(&mut self, partition_count: u32) {
        let watermarks = (0..partition_count)
            .map(|partition| self.sources.get(&partition).and_then(|source| source.watermark_ms));
        let least = watermarks.min().flatten();
        self.watermark_ms = self.watermark_ms.max(least);
    }

    /// Counts what is used of each version of a budget from the cells.
    fn count_cells(&mut self) -> Option<()> {
        self.used.clear();
        for (of, sums) in &self.cells {
            for (at, budget) in self.book.versions().iter().enumerate() {
                let Some((span, count)) = counts_for(budget, of, sums) else { continue };
                let used = self.used.entry((at, span)).or_default();
                *used = used.checked_add(count)?;
            }
        }
        Some(())
    }

    /// How far each partition is added, by partition.
    pub fn sources(&self) -> Vec<SourcePosition> {
        self.sources.values().cloned().collect()
    }

    /// The next epoch of a partition, where it is known.
    pub fn next_epoch(&self, partition: u32) -> Option<u64> {
        self.sources.get(&partition).map(|source| source.next)
    }

    /// The least watermark of all partitions, milliseconds UTC.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark_ms
    }

    /// What was used by model and day.
    pub fn cells(&self) -> &BTreeMap<ModelDay, ModelSums> {
        &self.cells
    }

    pub(crate) fn used(&self) -> &BTreeMap<(usize, Span), i128> {
        &self.used
    }

    pub(crate) fn passed(&self) -> &BTreeSet<Passed> {
        &self.passed
    }

    /// Everything, as it is stored.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub fn base(&self) -> Result<Vec<u8>, BadModels> {
        StoredModels::of(self.cells.iter(), self.passed.iter()).write()
    }

    /// What changed since [`Self::settle`], as it is stored.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub fn delta(&self) -> Result<Vec<u8>, BadModels> {
        let cells = self.changed_cells.iter().filter_map(|of| self.cells.get_key_value(of));
        StoredModels::of(cells, self.newly_passed.iter()).write()
    }

    /// Takes what changed for stored.
    pub fn settle(&mut self) {
        self.changed_cells.clear();
        self.newly_passed.clear();
    }
}

/// The period of a budget in which usage counts, and how much of it counts.
fn counts_for(budget: &Budget, of: &ModelDay, sums: &ModelSums) -> Option<(Span, i128)> {
    let span = budget.period_of(of.day)?;
    budget.scope.contains(of).then(|| (span, budget.measure.of(of, sums)))
}
