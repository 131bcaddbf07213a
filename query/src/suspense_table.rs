//! `suspense` as people read it: the rows that were held back, each with what became of it. The
//! rows are written once and never changed; that one was taken out of suspense is a row of
//! `suspense_resolutions`, joined here.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlanBuilder};
use tally_schemas::Table;

/// The column that the join decides.
const STATUS: &str = "status";

/// Columns that name a row: in `suspense`, and in `suspense_resolutions`.
const POSITION: [(&str, &str); 3] = [
    ("kafka_partition", "suspense_partition"),
    ("kafka_offset", "suspense_offset"),
    ("batch_index", "suspense_batch_index"),
];

fn column(table: Table, name: &str) -> Column {
    Column::new(Some(table.name()), name)
}

/// Joins one version of both tables. Filters and projections on what a row was held back with reach
/// its files.
///
/// # Errors
/// Where a table lacks a column.
pub(crate) fn suspense_table(
    rows: Arc<dyn TableProvider>,
    resolutions: Arc<dyn TableProvider>,
) -> Result<Arc<dyn TableProvider>> {
    let (held, resolved) = (Table::Suspense, Table::SuspenseResolutions);
    let names: Vec<String> =
        rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    let resolutions =
        LogicalPlanBuilder::scan(resolved.name(), provider_as_source(resolutions), None)?
            .build()?;
    let keys = (
        POSITION.map(|(own, _)| column(held, own)).to_vec(),
        POSITION.map(|(_, of_row)| column(resolved, of_row)).to_vec(),
    );
    let columns = names.iter().map(|name| {
        let own = Expr::Column(column(held, name));
        if name != STATUS {
            return own;
        }
        coalesce(vec![Expr::Column(column(resolved, "resolution")), own]).alias(STATUS)
    });
    let plan = LogicalPlanBuilder::scan(held.name(), provider_as_source(rows), None)?
        .join(resolutions, JoinType::Left, keys, None)?
        .project(columns)?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}
