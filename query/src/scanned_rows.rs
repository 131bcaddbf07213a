//! How many rows the queries of an engine have read of the tables, and how many they are to read:
//! what a long job of many queries is measured by.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use parking_lot::Mutex;

/// Rows read since the engine was opened, of those that its queries were to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Rows that were read.
    pub rows: u64,
    /// Rows of the files that were to be read, those too that a query could leave out.
    pub of: u64,
}

/// The queries that run, and what those before them came to.
#[derive(Debug, Default)]
pub(crate) struct ScannedRows {
    over: AtomicU64,
    running: Mutex<Vec<Weak<Scan>>>,
}

/// What one query reads. It counts as read to its end once it is dropped.
#[derive(Debug)]
pub(crate) struct Scan {
    leaves: Vec<Arc<dyn ExecutionPlan>>,
    of: u64,
    all: Arc<ScannedRows>,
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.all.over.fetch_add(self.of, Ordering::Relaxed);
    }
}

impl Scan {
    /// Rows that its leaves have handed out, at most those that they were to.
    fn rows(&self) -> u64 {
        let metrics = self.leaves.iter().filter_map(|leaf| leaf.metrics());
        let rows: usize = metrics.filter_map(|metrics| metrics.output_rows()).sum();
        u64::try_from(rows).unwrap_or(u64::MAX).min(self.of)
    }
}

impl ScannedRows {
    /// A query begins to run.
    pub(crate) fn begin(self: &Arc<Self>, plan: &Arc<dyn ExecutionPlan>) -> Arc<Scan> {
        let mut leaves = Vec::new();
        add_leaves(plan, &mut leaves);
        let of = leaves.iter().map(rows_of).sum();
        let scan = Arc::new(Scan { leaves, of, all: Arc::clone(self) });
        let mut running = self.running.lock();
        running.retain(|scan| scan.strong_count() > 0);
        running.push(Arc::downgrade(&scan));
        scan
    }

    /// How far all of them are.
    pub(crate) fn look(&self) -> Scanned {
        // Held to the end, so that none is counted twice: as running, and as over.
        let running: Vec<Arc<Scan>> =
            self.running.lock().iter().filter_map(Weak::upgrade).collect();
        let over = self.over.load(Ordering::Relaxed);
        let rows = over + running.iter().map(|scan| scan.rows()).sum::<u64>();
        Scanned { rows, of: over + running.iter().map(|scan| scan.of).sum::<u64>() }
    }
}

fn add_leaves(plan: &Arc<dyn ExecutionPlan>, leaves: &mut Vec<Arc<dyn ExecutionPlan>>) {
    let children = plan.children();
    if children.is_empty() {
        leaves.push(Arc::clone(plan));
    }
    for child in children {
        add_leaves(child, leaves);
    }
}

/// Rows that a leaf has, where it knows.
fn rows_of(leaf: &Arc<dyn ExecutionPlan>) -> u64 {
    let statistics = StatisticsContext::new().compute(leaf.as_ref(), &StatisticsArgs::new()).ok();
    let rows = statistics.and_then(|statistics| statistics.num_rows.get_value().copied());
    rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use datafusion::physical_plan::execute_stream;
    use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
    use futures::TryStreamExt;
    use parquet::arrow::ArrowWriter;

    use super::*;

    const ROWS: u64 = 5_000;
    const BATCH_ROWS: usize = 100;

    #[tokio::test]
    async fn rows_count_while_a_query_runs_and_all_of_them_once_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        let numbers: Int64Array = (0..i64::try_from(ROWS).unwrap()).collect();
        let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef)]).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let config = SessionConfig::new().with_target_partitions(1).with_batch_size(BATCH_ROWS);
        let context = SessionContext::new_with_config(config);
        let options = ParquetReadOptions::default();
        context.register_parquet("rows", path.to_str().unwrap(), options).await.unwrap();
        let query = context.sql("SELECT n FROM rows").await.unwrap();
        let plan = query.create_physical_plan().await.unwrap();

        let scanned = Arc::new(ScannedRows::default());
        let scan = scanned.begin(&plan);
        assert_eq!(scanned.look(), Scanned { rows: 0, of: ROWS });
        let mut rows = execute_stream(plan, context.task_ctx()).unwrap();
        let first = rows.try_next().await.unwrap().unwrap();
        let begun = scanned.look();
        assert!(begun.rows >= u64::try_from(first.num_rows()).unwrap(), "{begun:?}");
        assert!(begun.rows < ROWS && begun.of == ROWS, "{begun:?}");
        // Whoever reads the answer gives it up.
        drop((rows, scan));
        assert_eq!(scanned.look(), Scanned { rows: ROWS, of: ROWS });
    }
}
