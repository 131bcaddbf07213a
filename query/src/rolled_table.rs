//! A table summed up: of each file its roll-up where it has one, else its rows in the same columns.
//! Views that sum over it answer as they would from the rows themselves. People do not see it: how
//! many rows it has depends on which files the janitor has been at.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast, col, lit, when};
use tally_schemas::{RollUp, RolledColumn, RolledFrom, RolledRows};
use tally_tables::PinnedTable;

use crate::provider::PinnedTableProvider;
use crate::shanghai_calendar::calendar_functions;

/// The schema that views have these tables in.
pub(crate) const ROLL_UPS: &str = "roll_ups";

const HOUR_US: i64 = 3_600_000_000;

/// The tables that a version of a table is summed up to, by name. `rows` are the version itself.
///
/// # Errors
/// Where the table lacks a column.
pub(crate) fn rolled_tables(
    pinned: &PinnedTable,
    rows: &Arc<PinnedTableProvider>,
) -> Result<Vec<(&'static str, Arc<dyn TableProvider>)>> {
    RollUp::of_table(pinned.table)
        .map(|roll_up| {
            let (rolled, others) = pinned.rolled_up(roll_up);
            let plan = if rolled.files.is_empty() {
                of_rows(roll_up, rows.clone(), &[])?
            } else {
                let others = Arc::new(rows.with_files(&others.files, pinned));
                let rolled = Arc::new(PinnedTableProvider::try_new(&rolled)?);
                of_files(roll_up, rolled, others, &[])?
            };
            let table: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan.build()?, None));
            Ok((roll_up.name(), table))
        })
        .collect()
}

/// The roll-ups of some files and the rows of others, one after the other. `also` are columns that
/// both have beside those of the roll-up.
pub(crate) fn of_files(
    roll_up: RollUp,
    rolled: Arc<dyn TableProvider>,
    others: Arc<dyn TableProvider>,
    also: &[&str],
) -> Result<LogicalPlanBuilder> {
    let columns = roll_up.columns();
    let same = columns.iter().map(|column| column.name).chain(also.iter().copied()).map(col);
    let rolled = LogicalPlanBuilder::scan(roll_up.name(), provider_as_source(rolled), None)?
        .project(same.collect::<Vec<_>>())?;
    rolled.union(of_rows(roll_up, others, also)?.build()?)
}

/// The rows of a table in the columns of a roll-up.
pub(crate) fn of_rows(
    roll_up: RollUp,
    rows: Arc<dyn TableProvider>,
    also: &[&str],
) -> Result<LogicalPlanBuilder> {
    let rows = LogicalPlanBuilder::scan(roll_up.table().name(), provider_as_source(rows), None)?;
    let rows = match roll_up.rows() {
        RolledRows::All => rows,
        RolledRows::With(column) => rows.filter(col(column).is_not_null())?,
        RolledRows::Without(column) => rows.filter(col(column).is_null())?,
    };
    let values = roll_up.columns().iter().map(value_of_row).collect::<Result<Vec<_>>>()?;
    rows.project(values.into_iter().chain(also.iter().map(|name| col(*name))).collect::<Vec<_>>())
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
        RolledFrom::FirstOf(of_run) | RolledFrom::LastOf(of_run) => col(of_run),
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
