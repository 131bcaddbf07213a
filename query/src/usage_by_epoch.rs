//! Usage by day with the partition and the epoch that it came with, for what is accrued: which
//! statement has an event goes by its epoch. Of a file whose epochs all came with one seal, or with
//! none yet, the roll-up is read; a file that a cut-off goes through is read row by row, or by what
//! its rows came to by epoch where retention has removed them.

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};
use tally_schemas::RollUp;
use tally_settlement::Seal;
use tally_tables::{PinnedFile, PinnedTable, StatValue};
use tokio::sync::OnceCell;

use crate::catalog::FixedSchema;
use crate::provider::PinnedTableProvider;
use crate::rolled_table::of_rows;
use crate::settle::SealStore;
use crate::system_schema::SystemSource;

/// Its name beside the roll-ups.
const USAGE_BY_EPOCH: &str = "usage_by_epoch";

const OF: RollUp = RollUp::UsageByDay;

/// What a removed file has left that tells epochs apart.
const LEFT: RollUp = RollUp::UsageByEpoch;

/// The columns of both roll-ups that it has.
const COLUMNS: [&str; 5] = ["day", "vendor", "wholesale_currency", "events", "wholesale_amount"];

const PARTITION: &str = "kafka_partition";
const EPOCH: &str = "epoch";

/// The epoch of what came with no seal: beyond each that one will ever have.
const NOT_SEALED: i64 = i64::MAX;

/// A partition and an epoch of it.
type Place = (i64, i64);

/// The tables that are summed up, and beside them the one that the seals decide about: it is made
/// anew whenever a view is planned over it.
#[derive(Debug)]
pub(crate) struct RollUpSchema {
    pub(crate) tables: FixedSchema,
    pub(crate) by_epoch: UsageByEpoch,
}

/// Usage by epoch of one pin.
#[derive(Debug)]
pub(crate) struct UsageByEpoch {
    events: PinnedTable,
    rows: Arc<PinnedTableProvider>,
    source: Arc<SystemSource>,
    /// As of when the seals are read; `None` is now.
    known_at_ms: Option<i64>,
    /// Prepared when somebody asks.
    rolled: OnceCell<Rolled>,
}

/// The files of a version, told apart by whether they have a roll-up.
#[derive(Debug)]
struct Rolled {
    whole: Stored,
    /// The file that each of the roll-ups is of.
    of: Vec<Arc<PinnedFile>>,
    without: Vec<Arc<PinnedFile>>,
    /// By epoch, of each file that was removed.
    left: Stored,
}

/// The roll-ups of one kind.
#[derive(Debug)]
struct Stored {
    table: PinnedTable,
    provider: PinnedTableProvider,
}

/// What a file came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CameWith {
    /// The number of a seal.
    Seal(usize),
    /// None yet.
    None,
}

/// Up to which epoch each seal has usage, by partition, in the order of the seals.
#[derive(Debug, Default)]
struct CutOffs(BTreeMap<i64, Vec<(i64, usize)>>);

impl CutOffs {
    fn of(seals: &[Seal]) -> Self {
        let mut cut_offs = Self::default();
        for (number, seal) in seals.iter().enumerate() {
            for cut_off in &seal.cut_offs {
                let of_partition = cut_offs.0.entry(cut_off.partition.into()).or_default();
                // An epoch that no column can hold is beyond each that a row has.
                let epoch = i64::try_from(cut_off.epoch).unwrap_or(NOT_SEALED);
                of_partition.push((epoch, number));
            }
        }
        cut_offs
    }

    /// Cut-offs only rise: an epoch came with the first seal that has it.
    fn of_epoch(&self, partition: i64, epoch: i64) -> CameWith {
        let mut seals = self.0.get(&partition).into_iter().flatten();
        let first = seals.find(|(cut_off, _)| epoch <= *cut_off);
        first.map_or(CameWith::None, |(_, number)| CameWith::Seal(*number))
    }

    /// What all epochs of all these partitions came with; `None` where that differs.
    fn of_all(
        &self,
        partitions: RangeInclusive<i64>,
        epochs: &RangeInclusive<i64>,
    ) -> Option<CameWith> {
        let mut came = partitions.flat_map(|partition| {
            [*epochs.start(), *epochs.end()].map(|epoch| self.of_epoch(partition, epoch))
        });
        let first = came.next()?;
        came.all(|other| other == first).then_some(first)
    }
}

/// The smallest and the largest number of a column in a file, where both are known.
fn bounds(file: &PinnedFile, column: &str) -> Option<RangeInclusive<i64>> {
    let stats = file.column_stats(column)?;
    match (&stats.min, &stats.max) {
        (Some(StatValue::Int(min)), Some(StatValue::Int(max))) => Some(*min..=*max),
        _ => None,
    }
}

impl Rolled {
    fn of(events: &PinnedTable) -> Result<Self> {
        let (whole, without) = events.rolled_up(OF);
        let has_roll_up = |file: &&Arc<PinnedFile>| file.roll_up_bytes(OF).is_some();
        let of = events.files.iter().filter(has_roll_up).cloned().collect();
        let (left, _) = events.removed().rolled_up(LEFT);
        Ok(Self { whole: Stored::of(whole)?, of, without: without.files, left: Stored::of(left)? })
    }
}

impl Stored {
    fn of(table: PinnedTable) -> Result<Self> {
        Ok(Self { provider: PinnedTableProvider::try_new(&table)?, table })
    }

    fn scan(&self, kind: RollUp, files: &[Arc<PinnedFile>]) -> Result<LogicalPlanBuilder> {
        let files = Arc::new(self.provider.with_files(files, &self.table));
        LogicalPlanBuilder::scan(kind.name(), provider_as_source(files), None)
    }
}

impl UsageByEpoch {
    pub(crate) fn new(
        events: &PinnedTable,
        rows: Arc<PinnedTableProvider>,
        source: Arc<SystemSource>,
        known_at_ms: Option<i64>,
    ) -> Self {
        let events = events.clone();
        Self { events, rows, source, known_at_ms, rolled: OnceCell::new() }
    }

    /// The table, by the seals that there are now, or were at a time.
    async fn table(&self) -> Result<ViewTable> {
        let rolled = self.rolled.get_or_try_init(|| async { Rolled::of(&self.events) }).await?;
        let store = SealStore::new(self.source.ledger.store());
        // Where they cannot be read, the scan of the cut-offs says so, and not the plan.
        let known = store.known(self.known_at_ms).await.ok();
        let cut_offs = known.map(|(_, seals)| CutOffs::of(&seals));
        self.plan(rolled, cut_offs.as_ref())
    }

    /// The roll-ups of what came with each seal whole, and of every other file its rows, or what
    /// they have left.
    fn plan(&self, rolled: &Rolled, cut_offs: Option<&CutOffs>) -> Result<ViewTable> {
        let mut whole: BTreeMap<CameWith, (Place, Vec<Arc<PinnedFile>>)> = BTreeMap::new();
        let mut others = rolled.without.clone();
        for (file, roll_up) in rolled.of.iter().zip(&rolled.whole.table.files) {
            let place = bounds(file, PARTITION).zip(bounds(file, EPOCH));
            let came = place.and_then(|(partitions, epochs)| {
                let place = (*partitions.start(), *epochs.start());
                Some((cut_offs?.of_all(partitions, &epochs)?, place))
            });
            match came {
                Some((came, place)) => {
                    whole.entry(came).or_insert((place, Vec::new())).1.push(Arc::clone(roll_up));
                }
                None => others.push(Arc::clone(file)),
            }
        }
        let columns = || COLUMNS.iter().map(|name| col(*name));
        let with_place = || columns().chain([col(PARTITION), col(EPOCH)]).collect::<Vec<_>>();
        let (removed, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|file| file.removed().is_some());
        let rows = Arc::new(self.rows.with_files(&others, &self.events));
        let mut plan = of_rows(OF, rows, &[PARTITION, EPOCH])?.project(with_place())?;
        if !removed.is_empty() {
            let left: HashSet<String> = removed.iter().map(|file| LEFT.path(&file.path)).collect();
            let files = rolled.left.table.files.iter().filter(|file| left.contains(&file.path));
            let files: Vec<Arc<PinnedFile>> = files.cloned().collect();
            let of_removed = rolled.left.scan(LEFT, &files)?.project(with_place())?;
            plan = plan.union(of_removed.build()?)?;
        }
        for (came, ((partition, epoch), files)) in whole {
            // One place of the seal stands for all of them.
            let epoch = if came == CameWith::None { NOT_SEALED } else { epoch };
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            let place = [lit(partition).alias(PARTITION), lit(epoch).alias(EPOCH)];
            let of_seal = rolled
                .whole
                .scan(OF, &files)?
                .project(columns().chain(place).collect::<Vec<_>>())?;
            plan = plan.union(of_seal.build()?)?;
        }
        Ok(ViewTable::new(plan.build()?, None))
    }
}

#[async_trait]
impl SchemaProvider for RollUpSchema {
    fn table_names(&self) -> Vec<String> {
        let names = self.tables.table_names();
        names.into_iter().chain([USAGE_BY_EPOCH.to_owned()]).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name != USAGE_BY_EPOCH {
            return self.tables.table(name).await;
        }
        Ok(Some(Arc::new(self.by_epoch.table().await?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        name == USAGE_BY_EPOCH || self.tables.table_exist(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two seals of partition 0, one of partition 1 with the second.
    fn cut_offs() -> CutOffs {
        CutOffs([(0, vec![(10, 0), (20, 1)]), (1, vec![(15, 1)])].into())
    }

    #[test]
    fn an_epoch_came_with_the_first_seal_that_has_it() {
        for (partition, epoch, came) in [
            (0, 0, CameWith::Seal(0)),
            (0, 10, CameWith::Seal(0)),
            (0, 11, CameWith::Seal(1)),
            (0, 20, CameWith::Seal(1)),
            (0, 21, CameWith::None),
            (1, 0, CameWith::Seal(1)),
            (1, 16, CameWith::None),
            (2, 0, CameWith::None),
        ] {
            assert_eq!(cut_offs().of_epoch(partition, epoch), came, "{partition} {epoch}");
        }
    }

    #[test]
    fn a_file_that_a_cut_off_goes_through_is_of_no_seal() {
        for (partitions, epochs, came) in [
            (0..=0, 1..=10, Some(CameWith::Seal(0))),
            (0..=0, 10..=11, None),
            // What is between lies in the second seal of the one, the first of the other.
            (0..=1, 11..=15, Some(CameWith::Seal(1))),
            (0..=1, 10..=15, None),
            (0..=1, 11..=16, None),
            (0..=1, 16..=20, None),
            (0..=1, 21..=99, Some(CameWith::None)),
            // A partition that no seal knows.
            (1..=2, 16..=99, Some(CameWith::None)),
            (1..=2, 1..=15, None),
        ] {
            assert_eq!(
                cut_offs().of_all(partitions.clone(), &epochs),
                came,
                "{partitions:?} {epochs:?}"
            );
        }
        assert_eq!(CutOffs::default().of_all(0..=5, &(1..=9)), Some(CameWith::None));
        // Between the ends no other seal: cut-offs only rise.
        let unchanged = CutOffs([(0, vec![(10, 0), (10, 1), (10, 2)])].into());
        assert_eq!(unchanged.of_all(0..=0, &(1..=10)), Some(CameWith::Seal(0)));
        assert_eq!(unchanged.of_all(0..=0, &(10..=11)), None);
    }
}
