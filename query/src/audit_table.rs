//! `system.audit_log`: who ran which statement. Batches are read as the query goes on, and only those
//! of the days that it asks for.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Date32Array, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::datasource::TableType;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::StreamExt;
use object_store::ObjectStore;
use tally_schemas::ShanghaiDay;

use crate::audit_entry::{AuditBatch, AuditEntry, BatchName};
use crate::audit_store::{self, READ_AHEAD, read};
use crate::error::QueryError;
use crate::system_schema::{
    commented, integers, maybe_texts, texts, time_type, times, whole, without_comments,
};

/// Name in schema `system`.
pub(crate) const AUDIT_LOG: &str = "audit_log";

const DAY: &str = "day";

/// The columns, with comments.
pub(crate) fn audit_schema() -> SchemaRef {
    use DataType::{Date32, Int64, Utf8};
    let columns = vec![
        (DAY, Date32, false, "Day in Asia/Shanghai at which it ended"),
        ("at", time_type(), false, "When it began, UTC"),
        ("ended_at", time_type(), false, "When it ended, UTC"),
        ("user_name", Utf8, false, "User; local in a process without users"),
        ("role", Utf8, false, "Role; local without users, empty where nobody signed in"),
        ("channel", Utf8, false, "postgres, http or flight"),
        ("peer", Utf8, true, "Address of the client"),
        ("action", Utf8, false, "statement or sign_in"),
        ("statement", Utf8, true, "Text of the statement, cut where it is long"),
        ("statement_sha256", Utf8, true, "SHA-256 of the whole text"),
        ("parameters", Utf8, true, "Values of its parameters, cut where they are long"),
        (
            "outcome",
            Utf8,
            false,
            "ok, accepted, abandoned by the reader, or the kind of the error: invalid, denied, limit, retry, data, internal",
        ),
        ("limit_setting", Utf8, true, "The limit that stopped it"),
        ("row_count", Int64, false, "Rows that were handed out"),
        ("writer", Utf8, false, "Chain of the process that wrote it"),
        ("batch", Int64, false, "Number of the batch within the chain"),
        (
            "lost_before",
            Int64,
            false,
            "Entries that could not be kept before this batch; told with its first entry",
        ),
    ];
    commented(
        columns,
        "One row a statement that was run, or an attempt to sign in: who, when, what, and what became of it",
    )
}

/// The table.
#[derive(Debug)]
pub(crate) struct AuditTable {
    store: Arc<dyn ObjectStore>,
    schema: SchemaRef,
}

impl AuditTable {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, schema: without_comments(&audit_schema()) }
    }

    /// The days for which every filter on the day holds.
    async fn wanted_days(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<String>> {
        let mut days: Vec<(String, i32)> = Vec::new();
        for day in audit_store::days(self.store.as_ref()).await.map_err(QueryError::external)? {
            // A folder that is no day is none of ours.
            if let Ok(date) = day.parse() {
                days.push((day, epoch_days(date)));
            }
        }
        for filter in filters.iter().filter(|filter| expr_applicable_for_cols(&[DAY], filter)) {
            let field = self.schema.field_with_name(DAY)?.clone();
            let schema = Arc::new(Schema::new(vec![field]));
            let column: ArrayRef =
                Arc::new(Date32Array::from_iter_values(days.iter().map(|(_, day)| *day)));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column])?;
            let filter =
                state.create_physical_expr(filter.clone(), &DFSchema::try_from(schema)?)?;
            let keep = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
            let keep: BooleanArray = keep.as_boolean_opt().cloned().ok_or_else(|| {
                DataFusionError::Internal("a filter on the day is not boolean".to_owned())
            })?;
            let mut row = 0;
            days.retain(|_| {
                let kept = keep.is_valid(row) && keep.value(row);
                row += 1;
                kept
            });
        }
        Ok(days.into_iter().map(|(day, _)| day).collect())
    }
}

fn epoch_days(date: jiff::civil::Date) -> i32 {
    date.since(jiff::civil::date(1970, 1, 1)).map_or(0, |span| span.get_days())
}

#[async_trait]
impl TableProvider for AuditTable {
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
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut names = Vec::new();
        for day in self.wanted_days(state, filters).await? {
            let of_day = audit_store::batches(self.store.as_ref(), &day).await;
            names.extend(of_day.map_err(QueryError::external)?);
        }
        let batches = AuditBatches {
            store: Arc::clone(&self.store),
            schema: Arc::clone(&self.schema),
            names,
        };
        let scan = StreamingTableExec::try_new(
            Arc::clone(&self.schema),
            vec![Arc::new(batches)],
            projection,
            [],
            false,
            limit,
        )?;
        Ok(Arc::new(scan))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let supported = |filter: &&Expr| match expr_applicable_for_cols(&[DAY], filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(supported).collect())
    }
}

/// Batches that are read one after the other.
#[derive(Debug)]
struct AuditBatches {
    store: Arc<dyn ObjectStore>,
    schema: SchemaRef,
    names: Vec<BatchName>,
}

impl PartitionStream for AuditBatches {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (store, schema) = (Arc::clone(&self.store), Arc::clone(&self.schema));
        let rows = futures::stream::iter(self.names.clone())
            .map(move |name| {
                let store = Arc::clone(&store);
                async move { read(store.as_ref(), name).await }
            })
            .buffered(READ_AHEAD)
            .map(move |found| {
                let found = found.map_err(QueryError::external)?;
                let batch = found.batch.map_err(|error| QueryError::Data(error).external())?;
                Ok::<_, DataFusionError>(RecordBatch::try_new(
                    Arc::clone(&schema),
                    columns(&batch),
                )?)
            });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}

fn columns(batch: &AuditBatch) -> Vec<ArrayRef> {
    let entries = || batch.entries.iter();
    let day = |entry: &AuditEntry| epoch_days(ShanghaiDay::of_instant(entry.ended_ms).date());
    let lost = |place: usize| if place == 0 { whole(batch.lost) } else { 0 };
    vec![
        Arc::new(Date32Array::from_iter_values(entries().map(day))),
        times(entries().map(|e| Some(e.at_ms))),
        times(entries().map(|e| Some(e.ended_ms))),
        texts(entries().map(|e| &e.user)),
        texts(entries().map(|e| &e.role)),
        texts(entries().map(|e| &e.channel)),
        maybe_texts(entries().map(|e| e.peer.as_ref())),
        texts(entries().map(|e| &e.action)),
        maybe_texts(entries().map(|e| e.statement.as_ref())),
        maybe_texts(entries().map(|e| e.statement_sha256.as_ref())),
        maybe_texts(entries().map(|e| e.parameters.as_ref())),
        texts(entries().map(|e| &e.outcome)),
        maybe_texts(entries().map(|e| e.limit.as_ref())),
        integers(entries().map(|e| whole(e.rows))),
        texts(entries().map(|_| &batch.writer)),
        integers(entries().map(|_| whole(batch.n))),
        integers((0..batch.entries.len()).map(lost)),
    ]
}
