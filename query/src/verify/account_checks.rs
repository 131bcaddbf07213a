//! I9, of the accounts in the stored state: each is in one partition, its home, and what is left of
//! its buckets is what `quota_ledger` says. An account that state has lost or doubled would be
//! charged otherwise from its next event on, while every row still balances.
//!
//! Each partition's state is read as of the last entry that `quota_ledger` has, so that the tables
//! of a running stream may be behind. Of the state only the open buckets of some partitions are held
//! at once, two names and 24 bytes each; the rows are summed by the engine, within its memory limit.

use std::mem;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use tally_quota::{GRACE_MS, StoredAccount};
use tally_schemas::{LedgerEntry, Table, decimal_text, partition_of};

use super::table_checks::Published;
use super::{Check, Evidence, Finding};
use crate::answer_rows::{decimal, integer, plain, text};
use crate::engine::{Beside, QueryEngine};
use crate::error::QueryError;
use crate::ledger_view::PartitionLedger;
use crate::limits::Limits;

/// Partitions are compared together until they have so many open buckets: fewer looks at the rows.
const BUCKETS_AT_ONCE: usize = 1_000_000;

/// Rows of a batch of them.
const BATCH_ROWS: usize = 16_384;

/// Digits of a micro-point.
const SCALE: u32 = 6;

/// Buckets that differ which one comparison reports.
const REPORTED: usize = 20;

/// Open buckets of the stored state of some partitions, as a table in the making.
#[derive(Debug, Default)]
struct OpenBuckets {
    accounts: StringBuilder,
    ids: StringBuilder,
    left: Vec<i128>,
    batches: Vec<RecordBatch>,
    rows: usize,
}

impl OpenBuckets {
    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("account", DataType::Utf8, false),
            Field::new("bucket", DataType::Utf8, false),
            Field::new("remaining", DataType::Decimal128(38, 6), false),
        ]))
    }

    fn add(&mut self, account: &StoredAccount) -> Result<(), QueryError> {
        for bucket in account.buckets() {
            self.accounts.append_value(account.name());
            self.ids.append_value(bucket.id);
            self.left.push(bucket.left_micro);
            self.rows += 1;
            if self.left.len() == BATCH_ROWS {
                self.end_batch()?;
            }
        }
        Ok(())
    }

    fn end_batch(&mut self) -> Result<(), QueryError> {
        let left = Decimal128Array::from(mem::take(&mut self.left));
        let internal = |error: arrow::error::ArrowError| QueryError::Internal(error.to_string());
        let left = left.with_precision_and_scale(38, 6).map_err(internal)?;
        let columns: Vec<ArrayRef> =
            vec![Arc::new(self.accounts.finish()), Arc::new(self.ids.finish()), Arc::new(left)];
        self.batches.push(RecordBatch::try_new(Self::schema(), columns).map_err(internal)?);
        Ok(())
    }

    fn append(&mut self, mut other: Self) -> Result<(), QueryError> {
        other.end_batch()?;
        self.batches.append(&mut other.batches);
        self.rows += other.rows;
        Ok(())
    }

    fn into_table(mut self) -> Result<Arc<dyn TableProvider>, QueryError> {
        self.end_batch()?;
        let table = MemTable::try_new(Self::schema(), vec![self.batches])
            .map_err(|error| QueryError::Internal(error.to_string()))?;
        Ok(Arc::new(table))
    }
}

/// Buckets whose state is not what their rows say. Those that were granted after `open_since_us` are
/// not closed.
fn differences(partitions: Option<&str>, open_since_us: Option<i64>) -> String {
    let of = partitions.map_or_else(String::new, |p| format!(" AND kafka_partition IN ({p})"));
    // One that was used up had no row when it closed under an earlier release: with nothing left it
    // may be gone, unless it came so late. Before any watermark none has closed.
    let is_open =
        open_since_us.map_or_else(|| "TRUE".to_owned(), |us| format!("max(granted_us) > {us}"));
    let none = "CAST(0 AS DECIMAL(38,6))";
    format!(
        "SELECT account, bucket, count(remaining), count(points), sum(remaining), sum(points), \
           CASE WHEN max(closed) > max(granted) THEN 1 ELSE 0 END \
         FROM (\
           SELECT CAST(account AS VARCHAR) AS account, CAST(bucket AS VARCHAR) AS bucket, \
             CAST(NULL AS DECIMAL(38,6)) AS remaining, points, \
             CASE WHEN kind = 'grant' THEN kafka_offset END AS granted, \
             CASE WHEN kind = 'grant' THEN CAST(at AS BIGINT) END AS granted_us, \
             CASE WHEN kind IN ('expire', 'breakage') THEN kafka_offset END AS closed \
           FROM quota_ledger WHERE bucket IS NOT NULL{of} \
           UNION ALL \
           SELECT CAST(account AS VARCHAR), CAST(bucket AS VARCHAR), remaining, CAST(NULL AS DECIMAL(38,6)), \
             CAST(NULL AS BIGINT), CAST(NULL AS BIGINT), CAST(NULL AS BIGINT) \
           FROM system.open_buckets) \
         GROUP BY account, bucket \
         HAVING coalesce(sum(remaining), {none}) <> coalesce(sum(points), {none}) \
           OR count(remaining) > 1 \
           OR (count(remaining) = 1 AND (count(points) = 0 OR max(closed) > max(granted))) \
           OR (count(remaining) = 0 AND {is_open}) \
         LIMIT {REPORTED}"
    )
}

/// What is wrong with a bucket, in words, from a row of [`differences`].
fn words(columns: &[ArrayRef], row: usize) -> Result<String, QueryError> {
    let (times, rows) = (integer(columns, 2, row)?, integer(columns, 3, row)?);
    let stored = decimal_text(decimal(columns, 4, row)?, SCALE);
    let summed = decimal_text(decimal(columns, 5, row)?, SCALE);
    let is_closed = integer(columns, 6, row)? == 1;
    Ok(match times {
        0 => format!("not in the stored state, by quota_ledger {summed} points are left"),
        1 if rows == 0 => {
            format!("not in quota_ledger, by the stored state {stored} points are left")
        }
        1 if is_closed => {
            format!("closed in quota_ledger, by the stored state {stored} points are left")
        }
        1 => format!("{stored} points are left by the stored state, {summed} by quota_ledger"),
        _ => format!(
            "{times} times in the stored state, with {stored} points together, {summed} by quota_ledger"
        ),
    })
}

/// Partitions that are compared together.
#[derive(Debug, Default)]
struct Group<'a> {
    entries: Vec<&'a LedgerEntry>,
    open: OpenBuckets,
}

/// Compares the open buckets of a group with their rows: all rows there are, where the stream was
/// moved.
async fn compare(
    engine: &QueryEngine,
    evidence: &Evidence,
    Group { entries, open }: Group<'_>,
    was_moved: bool,
    finding: &mut Finding,
) -> Result<(), QueryError> {
    let Some(first) = entries.first() else { return Ok(()) };
    let partitions: Vec<String> = entries.iter().map(|e| e.partition.to_string()).collect();
    let partitions = (!was_moved).then(|| partitions.join(", "));
    let watermark_ms = entries.iter().filter_map(|entry| entry.watermark_ms).max();
    let open_since_us = watermark_ms.map(|ms| ms.saturating_sub(GRACE_MS).saturating_mul(1_000));
    let sql = differences(partitions.as_deref(), open_since_us);
    let beside = Beside { name: "open_buckets", table: open.into_table()? };
    let pin = Arc::clone(&evidence.pin);
    let answer = engine.run_beside(pin, &sql, Some(beside), Limits::unlimited()).await?;
    let (_, batches) = answer.collect().await?;
    for batch in &batches {
        let columns = plain(batch)?;
        for row in 0..batch.num_rows() {
            let (account, bucket) = (text(&columns, 0, row)?, text(&columns, 1, row)?);
            let home = partition_of(&account, first.partition_count);
            let words = words(&columns, row)?;
            finding.add(format!("partition {home} account {account} bucket {bucket}: {words}"));
        }
    }
    Ok(())
}

/// Reads the accounts of a partition as of an entry: how many there are, their open buckets, and
/// whether each is at home.
async fn read(
    engine: &QueryEngine,
    entry: &LedgerEntry,
    homes: &mut Finding,
) -> Result<(usize, OpenBuckets), QueryError> {
    let LedgerEntry { partition, partition_count, .. } = *entry;
    let (mut accounts, mut open, mut done) = (0_usize, OpenBuckets::default(), Ok(()));
    let mut tell = |account: &StoredAccount| {
        accounts += 1;
        let name = account.name();
        let home = partition_of(name, partition_count);
        homes.expect(home == partition, || {
            format!("partition {partition} account {name}: its home is partition {home}")
        });
        if let Err(error) = open.add(account) {
            done = Err(error);
        }
    };
    engine.ledger().accounts(entry, &mut tell).await?;
    done.map(|()| (accounts, open))
}

/// Whether these are all partitions of one topic.
fn is_whole_topic(ledgers: &[&PartitionLedger]) -> bool {
    let lasts = || ledgers.iter().filter_map(|ledger| ledger.entries.last());
    let Some(first) = lasts().next().map(|stored| &stored.entry) else { return true };
    u32::try_from(ledgers.len()) == Ok(first.partition_count)
        && lasts().all(|stored| stored.entry.log == first.log)
}

/// The accounts of the stored state.
pub(super) async fn all(
    engine: &QueryEngine,
    evidence: &Evidence,
    published: &Published,
) -> Vec<Check> {
    let mut homes = Finding::new(
        "I9",
        "each account of the stored state is in one partition, which is its home by the partition count",
    );
    let mut buckets = Finding::new(
        "I9",
        "what is left of each bucket in the stored state is what quota_ledger says, and none with something left is missing",
    );
    let lasts = || {
        let of = evidence.ledgers.iter().filter_map(|ledger| ledger.entries.last());
        of.map(|stored| &stored.entry)
    };
    let is_current = |ledger: &&PartitionLedger| {
        let last = ledger.entries.last().map(|stored| &stored.entry);
        last.is_some_and(|last| !last.is_left_behind(lasts()))
    };
    let current: Vec<&PartitionLedger> = evidence.ledgers.iter().filter(is_current).collect();
    // Where the partition count was changed, an account's rows are in several partitions.
    let was_moved = lasts().any(|last| last.log.is_some());
    if was_moved && !is_whole_topic(&current) {
        let nothing = "nothing: a change of the partition count is not carried out";
        return vec![homes.done(nothing), buckets.done(nothing)];
    }
    let (mut partitions, mut accounts, mut open) = (0_usize, 0_usize, 0_usize);
    let mut is_whole = true;
    let mut group = Group::default();
    for ledger in current {
        let Some(entry) = published.newest_in(Table::QuotaLedger, ledger) else {
            is_whole = false;
            continue;
        };
        let added = read(engine, entry, &mut homes).await.and_then(|(found, of)| {
            (partitions, accounts, open) = (partitions + 1, accounts + found, open + of.rows);
            group.entries.push(entry);
            group.open.append(of)
        });
        if let Err(error) = added {
            is_whole = false;
            homes.add(format!("partition {}: {error}", ledger.partition));
            buckets.add(format!("partition {}: {error}", ledger.partition));
        }
        if !was_moved && group.open.rows >= BUCKETS_AT_ONCE {
            let full = mem::take(&mut group);
            if let Err(error) = compare(engine, evidence, full, false, &mut buckets).await {
                buckets.add(error.to_string());
            }
        }
    }
    // With a partition missing, what moved into it would be missed.
    if (is_whole || !was_moved)
        && let Err(error) = compare(engine, evidence, group, was_moved, &mut buckets).await
    {
        buckets.add(error.to_string());
    }
    vec![
        homes.done(format!("{partitions} partitions, {accounts} accounts")),
        buckets.done(format!("{partitions} partitions, {open} open buckets")),
    ]
}
