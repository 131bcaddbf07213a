//! Some rows and columns of a table, so that nothing of the others can be found out.
//!
//! The rows are chosen below the caller's plan, behind a scan that the optimizer does not see into:
//! - no expression of the caller meets a row that is not theirs, so no error can name its values;
//! - statistics are not known, so neither a plan nor an aggregate can be answered from those of all
//!   rows;
//! - plans show columns and nothing of files, rows or filters below;
//! - the number of partitions does not follow from the number of files;
//! - whether removed rows are asked for follows from the days that are, not from statistics.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr as PhysicalBinary, Column, Literal};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{
    EmptyRecordBatchStream, ExecutionPlan, ExecutionPlanProperties, SendableRecordBatchStream,
};
use futures::TryStreamExt;

use crate::error::{QueryError, from_datafusion};
use crate::provider::PinnedTableProvider;
use crate::sight::Part;

/// A table, less what a caller does not see.
#[derive(Debug)]
pub(crate) struct RestrictedTable {
    inner: Arc<dyn TableProvider>,
    schema: SchemaRef,
    /// Position in the inner table of each column that is seen.
    positions: Vec<usize>,
    /// Position in the inner table, and the text that must be there.
    only: Vec<(usize, String)>,
}

impl RestrictedTable {
    /// Hides what is not in `part`.
    ///
    /// # Errors
    /// `SchemaError` where the table has not a column by which rows are chosen: then nothing of it
    /// can be shown.
    pub(crate) fn try_new(inner: Arc<dyn TableProvider>, part: &Part) -> Result<Self> {
        let whole = inner.schema();
        let positions: Vec<usize> = whole
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| part.columns.contains(&field.name().as_str()))
            .map(|(position, _)| position)
            .collect();
        let only = part
            .only
            .iter()
            .map(|(column, text)| Ok((whole.index_of(column)?, text.clone())))
            .collect::<Result<Vec<_>>>()?;
        if only.is_empty() {
            return Err(DataFusionError::Internal("a part of a table has no rule".to_owned()));
        }
        let schema = Arc::new(whole.project(&positions)?);
        Ok(Self { inner, schema, positions, only })
    }

    /// The inner scan with the rule as its only filter; `wanted` are positions of the inner table.
    async fn chosen(
        &self,
        state: &dyn Session,
        wanted: &[usize],
        filters: &[Expr],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let whole = self.inner.schema();
        let mut columns = wanted.to_vec();
        let mut rule: Option<Arc<dyn PhysicalExpr>> = None;
        let mut pruning: Vec<Expr> =
            filters.iter().filter(|filter| is_plain(filter)).cloned().collect();
        if let Some(rows) = self.inner.downcast_ref::<PinnedTableProvider>()
            && let Some(error) = rows.removed_days_asked(state, &pruning)?
        {
            return Err(error.external());
        }
        for (position, text) in &self.only {
            let place = columns.iter().position(|column| column == position).unwrap_or_else(|| {
                columns.push(*position);
                columns.len() - 1
            });
            let field = whole.field(*position);
            let value = text_of(text, field.data_type())?;
            let column = datafusion::common::Column::new_unqualified(field.name());
            pruning.push(Expr::Column(column).eq(Expr::Literal(value.clone(), None)));
            let same: Arc<dyn PhysicalExpr> = Arc::new(PhysicalBinary::new(
                Arc::new(Column::new(field.name(), place)),
                Operator::Eq,
                Arc::new(Literal::new(value)),
            ));
            rule = Some(match rule {
                Some(rule) => Arc::new(PhysicalBinary::new(rule, Operator::And, same)),
                None => same,
            });
        }
        let rule = rule.ok_or_else(|| DataFusionError::Internal("no rule".to_owned()))?;
        let scan = self.inner.scan(state, Some(&columns), &pruning, None).await?;
        // Once where files are read, which saves reading the rest of a row, and once more above,
        // so that no reader has to be trusted with it.
        let scan: Arc<dyn ExecutionPlan> = Arc::new(FilterExec::try_new(Arc::clone(&rule), scan)?);
        let scan = FilterPushdown::new().optimize(scan, state.config_options())?;
        let rows = Arc::new(FilterExec::try_new(rule, scan)?);
        let seen = wanted.iter().enumerate().map(|(place, position)| {
            let name = whole.field(*position).name();
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(name, place));
            (column, name.clone())
        });
        Ok(Arc::new(ProjectionExec::try_new(seen, rows)?))
    }
}

/// A text as a value of a column's type.
fn text_of(text: &str, data_type: &DataType) -> Result<ScalarValue> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            ScalarValue::try_from_string(text.to_owned(), data_type)
        }
        other => Err(DataFusionError::Internal(format!("rows are not chosen by {other}"))),
    }
}

/// Whether a filter compares columns with literals and nothing else: such a one cannot fail,
/// whatever the rows and the statistics of files are.
fn is_plain(filter: &Expr) -> bool {
    let column = |expr: &Expr| matches!(expr, Expr::Column(_));
    let literal = |expr: &Expr| matches!(expr, Expr::Literal(..));
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And | Operator::Or => is_plain(left) && is_plain(right),
            Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq => {
                (column(left) && literal(right)) || (literal(left) && column(right))
            }
            _ => false,
        },
        Expr::Between(Between { expr, low, high, .. }) => {
            column(expr) && literal(low) && literal(high)
        }
        Expr::InList(list) => column(&list.expr) && list.list.iter().all(literal),
        Expr::IsNull(expr) | Expr::IsNotNull(expr) => column(expr),
        _ => false,
    }
}

/// An error of what lies below, without what it says of files and rows.
fn without_details(error: &DataFusionError) -> DataFusionError {
    let told = match from_datafusion(error, 0) {
        removed @ QueryError::Removed(_) => return removed.without_others().external(),
        QueryError::Retry(_) => QueryError::Retry("the store does not answer".to_owned()),
        QueryError::Data(_) => QueryError::Data("stored data cannot be read".to_owned()),
        _ => QueryError::Internal("the table cannot be read".to_owned()),
    };
    tracing::warn!(%error, "a part of a table could not be read");
    told.external()
}

#[async_trait]
impl TableProvider for RestrictedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted: Vec<usize> = match projection {
            Some(columns) => {
                columns.iter().filter_map(|column| self.positions.get(*column).copied()).collect()
            }
            None => self.positions.clone(),
        };
        let below =
            self.chosen(state, &wanted, filters).await.map_err(|error| without_details(&error))?;
        let schema = below.schema();
        let parts = state.config().target_partitions();
        let parts = parts.max(below.output_partitioning().partition_count());
        let streams = (0..parts).map(|partition| {
            let sealed =
                Sealed { below: Arc::clone(&below), schema: Arc::clone(&schema), partition };
            Arc::new(sealed) as Arc<dyn PartitionStream>
        });
        let scan = StreamingTableExec::try_new(
            Arc::clone(&schema),
            streams.collect(),
            None,
            [],
            false,
            None,
        )?;
        Ok(Arc::new(scan))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let supported = |filter: &&Expr| match is_plain(filter) {
            // They leave out files; every row is looked at again above.
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(supported).collect())
    }
}

/// One partition of a scan that is not looked into. Where the scan has fewer, it is empty.
#[derive(Debug)]
struct Sealed {
    below: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    partition: usize,
}

impl PartitionStream for Sealed {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        if self.partition >= self.below.output_partitioning().partition_count() {
            return Box::pin(EmptyRecordBatchStream::new(schema));
        }
        match self.below.execute(self.partition, context) {
            Ok(rows) => {
                let rows = rows.map_err(|error| without_details(&error));
                Box::pin(RecordBatchStreamAdapter::new(schema, rows))
            }
            Err(error) => {
                let error = futures::stream::iter([Err(without_details(&error))]);
                Box::pin(RecordBatchStreamAdapter::new(schema, error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{cast, col, lit};

    use super::*;

    #[test]
    fn only_filters_that_cannot_fail_go_below() {
        for plain in [
            col("day").eq(lit(1)),
            lit("x").lt_eq(col("model")),
            col("a").gt(lit(1)).and(col("b").is_null().or(col("c").not_eq(lit("y")))),
            col("day").between(lit(1), lit(2)),
            col("model").in_list(vec![lit("a"), lit("b")], true),
        ] {
            assert!(is_plain(&plain), "{plain}");
        }
        for other in [
            cast(col("model"), DataType::Int64).eq(lit(1)),
            (lit(1) / col("input")).gt(lit(0)),
            col("a").eq(col("b")),
            col("a").like(lit("x%")),
            col("a").eq(lit(1)).or((lit(1) / col("input")).gt(lit(0))),
            col("model").in_list(vec![lit("a"), col("b")], false),
            col("a").eq(cast(lit("x"), DataType::Int64)),
            !col("a").eq(lit(1)),
            lit(true),
        ] {
            assert!(!is_plain(&other), "{other}");
        }
    }
}
