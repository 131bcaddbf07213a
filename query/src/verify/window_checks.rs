//! I13: what subscribers used is in the windows, those that are still open in the stored state
//! included: for each account, subscriber, model and currency.
//!
//! An account is in one partition, so one partition is compared at a time: its events, less its
//! rows of `usage_by_subscriber`, less its open windows, must come to nothing. The engine groups
//! within its memory limit and spills beyond; of the state only the windows of one partition are
//! held.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use tally_schemas::{LedgerEntry, TokenClass};

use super::ledger_checks::not_moved;
use super::table_checks::Published;
use super::{Check, Evidence, Finding, VerifyOptions};
use crate::answer_rows::{decimal, integer, plain, text};
use crate::engine::{Beside, QueryEngine};
use crate::error::QueryError;
use crate::limits::Limits;

/// Keys of a window, with the currencies that its amounts are in.
const KEYS: [&str; 6] =
    ["account", "subscriber", "model", "vendor", "retail_currency", "wholesale_currency"];

/// Keys that differ which one partition reports.
const REPORTED: usize = 20;

/// Points and amounts, which only rated rows have.
const AMOUNTS: [(&str, u32); 3] = [("points", 6), ("retail_amount", 12), ("wholesale_amount", 12)];

/// What is summed: events, each class.
fn counts() -> impl Iterator<Item = &'static str> {
    std::iter::once("events").chain(TokenClass::ALL.into_iter().map(TokenClass::name))
}

/// One side of the sum.
fn side(from: &str, sign: &str, events: &str, condition: &str) -> String {
    let keys = KEYS.map(|key| format!("CAST({key} AS VARCHAR) AS {key}")).join(", ");
    let columns: Vec<String> = counts()
        .chain(AMOUNTS.map(|(name, _)| name))
        .map(|name| {
            let value = if name == "events" { events } else { name };
            format!("{sign}{value} AS {name}")
        })
        .collect();
    format!("SELECT {keys}, {} FROM {from}{condition}", columns.join(", "))
}

/// Keys of a partition, or of all together, whose windows are not its events, with what the events
/// have more.
fn differences(partition: Option<u32>, open: bool) -> String {
    let of = partition.map_or_else(String::new, |p| format!(" WHERE kafka_partition = {p}"));
    let mut sides = vec![
        // Rows that were removed have left what each subscriber used.
        side("system.usage_of_subscribers", "", "events", &of),
        side("usage_by_subscriber", "-", "events", &of),
    ];
    if open {
        sides.push(side("system.open_windows", "-", "events", ""));
    }
    let keys = KEYS.join(", ");
    let sums: Vec<String> =
        counts()
            .map(|name| format!("sum({name})"))
            .chain(AMOUNTS.map(|(name, scale)| {
                format!("coalesce(sum({name}), CAST(0 AS DECIMAL(38,{scale})))")
            }))
            .collect();
    let differs: Vec<String> = sums.iter().map(|sum| format!("{sum} <> 0")).collect();
    format!(
        "SELECT account, subscriber, model, vendor, {} FROM ({}) GROUP BY {keys} HAVING {} LIMIT {REPORTED}",
        sums.join(", "),
        sides.join(" UNION ALL "),
        differs.join(" OR ")
    )
}

/// The open windows of partitions as a table; `None` where there are none.
async fn open_windows(
    engine: &QueryEngine,
    lasts: &[&LedgerEntry],
) -> Result<(usize, Option<Arc<dyn TableProvider>>), QueryError> {
    let mut batches = Vec::new();
    for last in lasts {
        batches.extend(engine.ledger().open_windows(last).await?);
    }
    let windows = batches.iter().map(|batch| batch.num_rows()).sum();
    let Some(first) = batches.first() else { return Ok((windows, None)) };
    let table = MemTable::try_new(first.schema(), vec![batches])
        .map_err(|error| QueryError::Internal(error.to_string()))?;
    Ok((windows, Some(Arc::new(table))))
}

/// The windows by account and subscriber.
pub(super) async fn windows_by_subscriber(
    engine: &QueryEngine,
    evidence: &Evidence,
    published: &Published,
    options: &VerifyOptions,
) -> Check {
    let what = if options.windows_closed {
        "usage_by_subscriber sums to usage_events, for each account, subscriber, model, class and currency"
    } else {
        "usage_by_subscriber and the open windows of the stored state sum to usage_events, for each account, subscriber, model, class and currency"
    };
    let mut finding = Finding::new("I13", what);
    if !published.is_level() {
        return finding.done("nothing: the tables are not at the same epoch");
    }
    if !not_moved(&evidence.ledgers).is_empty() {
        return finding.done("nothing: a change of the partition count is not carried out");
    }
    let mut windows = 0_usize;
    let lasts = || {
        let of = evidence.ledgers.iter().filter_map(|ledger| ledger.entries.last());
        of.map(|stored| &stored.entry)
    };
    let current: Vec<&LedgerEntry> = lasts().filter(|last| !last.is_left_behind(lasts())).collect();
    // Where the partition count was changed, an account's windows are not where its events are.
    let was_moved = lasts().any(|last| last.log.is_some());
    let groups: Vec<&[&LedgerEntry]> =
        if was_moved { vec![current.as_slice()] } else { current.chunks(1).collect() };
    for group in groups {
        let partition = group.first().filter(|_| !was_moved).map(|last| last.partition);
        match compare(engine, evidence, (partition, group), options, &mut finding).await {
            Ok(open) => windows += open,
            Err(error) => {
                let whose = partition.map_or_else(|| "all".to_owned(), |p| p.to_string());
                finding.add(format!("partition {whose}: {error}"));
            }
        }
    }
    finding.done(format!("{} partitions, {windows} open windows", current.len()))
}

/// Compares one partition, or all together. Returns the number of their open windows.
async fn compare(
    engine: &QueryEngine,
    evidence: &Evidence,
    (partition, lasts): (Option<u32>, &[&LedgerEntry]),
    options: &VerifyOptions,
    finding: &mut Finding,
) -> Result<usize, QueryError> {
    let (windows, open) =
        if options.windows_closed { (0, None) } else { open_windows(engine, lasts).await? };
    let sql = differences(partition, open.is_some());
    let beside = open.map(|table| Beside { name: "open_windows", table });
    let pin = Arc::clone(&evidence.pin);
    let answer = engine.run_beside(pin, &sql, beside, Limits::unlimited()).await?;
    let (_, batches) = answer.collect().await?;
    for batch in &batches {
        let columns = plain(batch)?;
        for row in 0..batch.num_rows() {
            let mut more = Vec::new();
            for (at, name) in counts().enumerate() {
                let difference = integer(&columns, 4 + at, row)?;
                if difference != 0 {
                    more.push(format!("{name} {difference:+}"));
                }
            }
            let first = 4 + counts().count();
            for (at, (name, scale)) in AMOUNTS.into_iter().enumerate() {
                let difference = decimal(&columns, first + at, row)?;
                if difference != 0 {
                    more.push(format!("{name} {}", tally_schemas::decimal_text(difference, scale)));
                }
            }
            finding.add(format!(
                "account {} subscriber {}, {} of {}: usage_events has beyond the windows {}",
                text(&columns, 0, row)?,
                text(&columns, 1, row)?,
                text(&columns, 2, row)?,
                text(&columns, 3, row)?,
                more.join(", ")
            ));
        }
    }
    Ok(windows)
}
