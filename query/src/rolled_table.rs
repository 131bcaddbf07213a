//! A table summed up: of each file its roll-up where it has one, else its rows in the same columns.
//! Views that sum over it answer as they would from the rows themselves. People do not see it: how
//! many rows it has depends on which files the janitor has been at.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast, col, lit, when};
use tally_schemas::{RollUp, RolledColumn, RolledFrom, RolledRows};
use tally_tables::PinnedTable;

use crate::provider::PinnedTableProvider;
use crate::shanghai_calendar::calendar_functions;

/// The schema that views have these tables in.
pub(crate) const ROLL_UPS: &str = "roll_ups";

const HOUR_US: i64 = 3_600_000_000;

/// Sums up one version of a table.
///
/// # Errors
/// Where the table lacks a column.
pub(crate) fn rolled_table(
    roll_up: RollUp,
    pinned: &PinnedTable,
) -> Result<Arc<dyn TableProvider>> {
    let (rolled, others) = pinned.rolled_up(roll_up);
    let plan = plan_of(roll_up, &rolled, &others, &[])?;
    Ok(Arc::new(ViewTable::new(plan.build()?, None)))
}

/// The roll-ups of some files and the rows of others, one after the other. `also` are columns that
/// both have beside those of the roll-up.
pub(crate) fn plan_of(
    roll_up: RollUp,
    rolled: &PinnedTable,
    others: &PinnedTable,
    also: &[&str],
) -> Result<LogicalPlanBuilder> {
    let columns = roll_up.columns();
    let also: Vec<Expr> = also.iter().map(|name| col(*name)).collect();
    let same = columns.iter().map(|column| col(column.name)).chain(also.clone());
    let rolled = scan(roll_up.name(), rolled)?.project(same.collect::<Vec<_>>())?;
    let values = columns.iter().map(value_of_row).collect::<Result<Vec<_>>>()?;
    let mut rows = scan(roll_up.table().name(), others)?;
    rows = match roll_up.rows() {
        RolledRows::All => rows,
        RolledRows::With(column) => rows.filter(col(column).is_not_null())?,
        RolledRows::Without(column) => rows.filter(col(column).is_null())?,
    };
    let rows = rows.project(values.into_iter().chain(also).collect::<Vec<_>>())?;
    rolled.union(rows.build()?)
}

fn scan(name: &str, pinned: &PinnedTable) -> Result<LogicalPlanBuilder> {
    let provider: Arc<dyn TableProvider> = Arc::new(PinnedTableProvider::try_new(pinned)?);
    LogicalPlanBuilder::scan(name, provider_as_source(provider), None)
}

/// What a row of the table adds to a column.
fn value_of_row(column: &RolledColumn) -> Result<Expr> {
    let value = match column.from {
        RolledFrom::Key | RolledFrom::Sum => return Ok(col(column.name)),
        RolledFrom::Events => {
            when(col("correction").eq(lit("reversal")), lit(-1_i64)).otherwise(lit(1_i64))?
        }
        RolledFrom::HourOf(instant) => hour_of(instant),
        RolledFrom::DayOf(instant) => {
            let [day, _] = calendar_functions();
            day.call(vec![col(instant)])
        }
    };
    Ok(value.alias(column.name))
}

/// The start of the hour. `date_trunc` on an instant with a time zone asks a calendar row by row,
/// which takes longer than all the sums together.
fn hour_of(instant: &str) -> Expr {
    let at_us = cast(col(instant), DataType::Int64);
    let into_the_hour = (at_us.clone() % lit(HOUR_US) + lit(HOUR_US)) % lit(HOUR_US);
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    cast(at_us - into_the_hour, utc)
}

/// The tables of a pin that are summed up, by name.
pub(crate) fn rolled_tables(
    pinned: &PinnedTable,
) -> Result<Vec<(&'static str, Arc<dyn TableProvider>)>> {
    RollUp::of_table(pinned.table)
        .map(|roll_up| Ok((roll_up.name(), rolled_table(roll_up, pinned)?)))
        .collect::<Result<_, DataFusionError>>()
}
