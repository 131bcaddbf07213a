//! Stops operators that never give way.
//!
//! A task is stopped where it waits. A join that compares everything with everything and finds
//! nothing does not wait: it goes on until it is through, after its caller was told that the time is
//! over, with a thread and a place among the queries. So its condition asks on each batch whether
//! anybody still wants to know, and whoever reads from a join gives way now and then.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use tokio::time::Instant;

/// Whether a query has to stop: its time is over, or nobody reads its answer.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
    deadline: Instant,
}

impl Stop {
    /// Not before a deadline, unless somebody asks.
    pub(crate) fn at(deadline: Instant) -> Self {
        Self { asked: Arc::default(), deadline }
    }

    /// Stops the query.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether it has to stop.
    pub(crate) fn is_due(&self) -> bool {
        self.asked.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }

    /// The same plan, whose joins can be stopped.
    ///
    /// # Errors
    /// Where the engine refuses a join that it planned itself.
    pub(crate) fn watch(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let watched = plan.transform_up(|node| {
            let Some(join) = self.join(&node)? else { return Ok(Transformed::no(node)) };
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(join)) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(watched.data)
    }

    /// A join, with its condition watched; none for any other operator.
    fn join(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if node.downcast_ref::<CrossJoinExec>().is_some() {
            return Ok(Some(Arc::clone(node)));
        }
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            let Some(filter) = join.filter() else { return Ok(Some(Arc::clone(node))) };
            let watched = NestedLoopJoinExec::try_new(
                Arc::clone(join.left()),
                Arc::clone(join.right()),
                Some(self.condition(filter)),
                join.join_type(),
                join.projection().as_ref().map(|projection| projection.to_vec()),
            )?;
            return Ok(Some(Arc::new(watched)));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            let Some(filter) = &join.filter else { return Ok(Some(Arc::clone(node))) };
            let watched = join.builder().with_filter(Some(self.condition(filter))).build()?;
            return Ok(Some(Arc::new(watched)));
        }
        Ok(None)
    }

    fn condition(&self, filter: &JoinFilter) -> JoinFilter {
        let expression = Arc::clone(filter.expression());
        let watched = Watched { expression, stop: self.clone() };
        let indices = filter.column_indices().to_vec();
        JoinFilter::new(Arc::new(watched), indices, Arc::clone(filter.schema()))
    }
}

/// An expression that fails once its query has to stop.
#[derive(Debug)]
struct Watched {
    expression: Arc<dyn PhysicalExpr>,
    stop: Stop,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.expression.eq(&other.expression)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expression.hash(state);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)
    }
}

impl PhysicalExpr for Watched {
    fn data_type(&self, input: &Schema) -> Result<DataType> {
        self.expression.data_type(input)
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.expression.nullable(input)
    }

    fn return_field(&self, input: &Schema) -> Result<FieldRef> {
        self.expression.return_field(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.stop.is_due() {
            return Err(DataFusionError::Execution("the query was stopped".to_owned()));
        }
        self.expression.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.expression]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let [expression] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("a condition has one child".to_owned()))?;
        Ok(Arc::new(Self { expression, stop: self.stop.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt_sql(f)
    }
}
