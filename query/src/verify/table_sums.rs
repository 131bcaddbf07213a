//! The sums that the checks compare, read from the tables by SQL on one pin.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use tally_schemas::{CLASS_COUNT, Currency, Flow, RatedTotals, Table, TokenClass, UsageSums};
use tally_tables::PinnedTables;

use crate::answer_rows::{count, decimal, integer, rows_of, text};
use crate::engine::QueryEngine;
use crate::error::QueryError;

/// Alerts of the second stage: their epochs are of its own ledger.
pub(super) const BUDGET_ALERTS: &str = "kind IN ('budget', 'commitment')";

/// `usage_events` by epoch: rows that are there, and what those that were removed came to.
pub(super) const USAGE: &str = "system.usage_of_epochs";

/// An epoch of a partition.
pub(super) type EpochKey = (u32, u64);

/// Model and vendor.
pub(super) type ModelKey = (String, String);

type Sums<K> = Result<BTreeMap<K, UsageSums>, QueryError>;

/// What the tables hold.
#[derive(Debug)]
pub(super) struct TableSums {
    /// Rows of each table by epoch.
    pub(super) rows: BTreeMap<Table, Result<BTreeMap<EpochKey, u64>, QueryError>>,
    /// Events, tokens and amounts of `usage_events` by epoch.
    pub(super) events: Sums<EpochKey>,
    /// Events, tokens and amounts of `usage_by_model` by epoch.
    pub(super) windows: Sums<EpochKey>,
    /// What `usage_events` takes back by epoch, above 0.
    pub(super) reversals: Sums<EpochKey>,
    /// What `usage_by_model` takes back by epoch, above 0.
    pub(super) reversed_windows: Sums<EpochKey>,
    /// Rows of `suspense` by epoch and reason.
    pub(super) suspense: Result<BTreeMap<(u32, u64, String), u64>, QueryError>,
    /// Events, tokens and amounts of `usage_events` by model.
    pub(super) events_by_model: Sums<ModelKey>,
    /// Events, tokens and amounts of `usage_by_model` by model.
    pub(super) windows_by_model: Sums<ModelKey>,
}

impl TableSums {
    /// Reads every sum. A query that fails is an error in its place.
    pub(super) async fn read(engine: &QueryEngine, pin: &Arc<PinnedTables>) -> Self {
        let mut rows = BTreeMap::new();
        for table in Table::ALL {
            let (number, from) = match table {
                Table::UsageEvents => ("sum(row_count)", USAGE.to_owned()),
                Table::Alerts => ("count(*)", format!("alerts WHERE NOT ({BUDGET_ALERTS})")),
                _ => ("count(*)", table.name().to_owned()),
            };
            let sql = format!(
                "SELECT kafka_partition, epoch, {number} FROM {from} GROUP BY kafka_partition, epoch"
            );
            rows.insert(table, counts(engine, pin, &sql, epoch_key).await);
        }
        let suspense = "SELECT kafka_partition, epoch, reason, count(*) FROM suspense \
                        GROUP BY kafka_partition, epoch, reason";
        let epoch = "kafka_partition, epoch";
        let model = "model, vendor";
        Self {
            rows,
            events: sums(engine, pin, Part::events(), epoch, epoch_key).await,
            windows: sums(engine, pin, Part::windows(), epoch, epoch_key).await,
            reversals: sums(engine, pin, Part::events().reversed(), epoch, epoch_key).await,
            reversed_windows: sums(engine, pin, Part::windows().reversed(), epoch, epoch_key).await,
            suspense: counts(engine, pin, suspense, |columns, row| {
                let (partition, epoch) = epoch_key(columns, row)?;
                Ok((partition, epoch, text(columns, 2, row)?))
            })
            .await,
            events_by_model: sums(engine, pin, Part::events(), model, model_key).await,
            windows_by_model: sums(engine, pin, Part::windows(), model, model_key).await,
        }
    }
}

pub(super) fn epoch_key(columns: &[ArrayRef], row: usize) -> Result<EpochKey, QueryError> {
    let partition = integer(columns, 0, row)?;
    let partition = u32::try_from(partition)
        .map_err(|_| QueryError::Data(format!("kafka_partition {partition}")))?;
    Ok((partition, count(columns, 1, row)?))
}

fn model_key(columns: &[ArrayRef], row: usize) -> Result<ModelKey, QueryError> {
    Ok((text(columns, 0, row)?, text(columns, 1, row)?))
}

/// Counts in the last column, under a key of the ones before.
async fn counts<K: Ord>(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    sql: &str,
    key: impl Fn(&[ArrayRef], usize) -> Result<K, QueryError>,
) -> Result<BTreeMap<K, u64>, QueryError> {
    let mut found = BTreeMap::new();
    for columns in rows_of(engine, pin, sql).await? {
        let rows = columns.first().map_or(0, |column| column.len());
        for row in 0..rows {
            found.insert(key(&columns, row)?, count(&columns, columns.len() - 1, row)?);
        }
    }
    Ok(found)
}

/// What the rows of one group were rated at; its last columns are points, amounts and currencies.
fn rated(columns: &[ArrayRef], first: usize, row: usize) -> Result<RatedTotals, QueryError> {
    let points_micro = decimal(columns, first, row)?;
    let mut rated = RatedTotals { points_micro, ..RatedTotals::default() };
    for (sums, amount, currency) in [
        (&mut rated.retail_pico, first + 1, first + 3),
        (&mut rated.wholesale_pico, first + 2, first + 4),
    ] {
        let code = text(columns, currency, row)?;
        if let Some(currency) = Currency::parse(&code) {
            sums.insert(currency, decimal(columns, amount, row)?);
        } else if !code.is_empty() || decimal(columns, amount, row)? != 0 {
            return Err(QueryError::Data(format!("an amount in the currency {code:?}")));
        }
    }
    Ok(rated)
}

/// The rows of a table that add, or those that take back.
#[derive(Debug, Clone, Copy)]
struct Part {
    table: &'static str,
    /// How many it adds, in SQL.
    events: &'static str,
    /// How many it takes back, in SQL, above 0.
    reversals: &'static str,
    /// Whether a row takes back, in SQL.
    is_reversal: &'static str,
    reversed: bool,
}

impl Part {
    const fn events() -> Self {
        let is_reversal = "coalesce(correction, '') = 'reversal'";
        Self {
            table: USAGE,
            events: "sum(row_count)",
            reversals: "sum(row_count)",
            is_reversal,
            reversed: false,
        }
    }

    const fn windows() -> Self {
        let is_reversal = "kind = 'corrected'";
        Self {
            table: "usage_by_model",
            events: "sum(events)",
            reversals: "-sum(events)",
            is_reversal,
            reversed: false,
        }
    }

    const fn reversed(self) -> Self {
        Self { events: self.reversals, reversed: true, ..self }
    }
}

/// Events, tokens and amounts of a table under a key of two columns.
async fn sums<K: Ord>(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    part: Part,
    by: &str,
    key: impl Fn(&[ArrayRef], usize) -> Result<K, QueryError>,
) -> Sums<K> {
    let Part { table, events, is_reversal, reversed, .. } = part;
    let (sign, not) = if reversed { ("-", "") } else { ("", "NOT ") };
    let sum = |column: &str| format!("{sign}sum({column})");
    let classes: Vec<String> = TokenClass::ALL.iter().map(|class| sum(class.name())).collect();
    let amounts = ["points", "retail_amount", "wholesale_amount"].map(sum).join(", ");
    let sql = format!(
        "SELECT {by}, {events}, {}, {amounts}, retail_currency, wholesale_currency FROM {table} \
         WHERE {not}({is_reversal}) GROUP BY {by}, retail_currency, wholesale_currency",
        classes.join(", ")
    );
    let mut found: BTreeMap<K, UsageSums> = BTreeMap::new();
    for columns in rows_of(engine, pin, &sql).await? {
        let rows = columns.first().map_or(0, |column| column.len());
        for row in 0..rows {
            let mut tokens = [0; CLASS_COUNT];
            for (class, sum) in tokens.iter_mut().enumerate() {
                *sum = u128::from(count(&columns, 3 + class, row)?);
            }
            let flow = Flow { events: count(&columns, 2, row)?, tokens };
            let rated = rated(&columns, 3 + CLASS_COUNT, row)?;
            let sums = UsageSums { flow, rated };
            found.entry(key(&columns, row)?).or_default().merge(&sums);
        }
    }
    Ok(found)
}
