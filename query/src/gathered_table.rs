//! A table whose rows are gathered when it is scanned: they are few, and lie in no Delta table.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::QueryError;

/// Where the rows are from.
#[async_trait]
pub(crate) trait RowSource: Debug + Send + Sync {
    /// The columns, without comments.
    fn schema(&self) -> SchemaRef;

    /// All rows, as they are now.
    async fn rows(&self) -> Result<RecordBatch, QueryError>;
}

/// The table of a source.
#[derive(Debug)]
pub(crate) struct GatheredTable<S>(pub(crate) S);

#[async_trait]
impl<S: RowSource + 'static> TableProvider for GatheredTable<S> {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.0.rows().await.map_err(QueryError::external)?;
        let plan =
            MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema(), projection.cloned())?;
        Ok(plan)
    }
}
