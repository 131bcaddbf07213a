//! One version of a Delta table as a plain Parquet scan: files are pruned by partition and by
//! statistics here, row groups, pages and bloom filters by the scan itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{DFSchema, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::scalar::ScalarValue;
use object_store::path::Path;
use tally_schemas::Table;
use tally_tables::{PinnedFile, PinnedTable};

use crate::error::QueryError;
use crate::file_statistics::{FileBounds, partition_scalar, statistics_of};
use crate::removed_days::{Removed, removed_rows_asked};

/// Where the store is registered with the engine; every path is below its root.
pub(crate) const STORE_URL: &str = "tally://store/";

/// Bytes to fetch at the end of a file: the footers of our files fit, so that opening one is a
/// single request.
const FOOTER_HINT_BYTES: usize = 64 << 10;

/// A file as it is scanned, shared by all versions that have it.
#[derive(Debug)]
struct ScanFile {
    of: Arc<PinnedFile>,
    file: PartitionedFile,
    statistics: Arc<Statistics>,
    /// Rows, those too that retention has removed.
    rows: Option<u64>,
    /// Day and record, where retention has removed the rows.
    removed: Option<Removed>,
}

/// Scans one version of one table.
#[derive(Debug)]
pub struct PinnedTableProvider {
    table: Table,
    version: Option<u64>,
    /// Columns in the order of the table.
    schema: SchemaRef,
    /// File columns, then partition columns, as the scan has them.
    scan_schema: TableSchema,
    /// Position in the scan's schema of each column of the table.
    scan_index: Vec<usize>,
    files: Vec<Arc<ScanFile>>,
    /// What is known of all files together; merged when it is first asked for.
    whole: OnceLock<Statistics>,
}

impl PinnedTableProvider {
    /// Prepares the files and statistics of a version. Work and memory are proportional to files ×
    /// columns, so the result is kept for as long as the version is current.
    ///
    /// # Errors
    /// `SchemaError` where a partition column is not a column.
    pub fn try_new(pinned: &PinnedTable) -> Result<Self> {
        Self::try_new_after(pinned, None)
    }

    /// The same, which shares the files that a version prepared earlier has too: of thousands of
    /// files, a version a second differs by a few, and answers that run and pins that are kept
    /// hold many versions.
    ///
    /// # Errors
    /// As [`Self::try_new`].
    pub(crate) fn try_new_after(pinned: &PinnedTable, before: Option<&Self>) -> Result<Self> {
        let fields: Vec<FieldRef> = pinned.schema.fields().iter().map(|f| view_field(f)).collect();
        let schema = Arc::new(Schema::new(fields.clone()));
        let is_partition = |field: &FieldRef| pinned.partition_columns.contains(field.name());
        let partition: Vec<FieldRef> = pinned
            .partition_columns
            .iter()
            .map(|name| Ok(Arc::new(schema.field_with_name(name)?.clone())))
            .collect::<Result<_>>()?;
        let file_schema = Arc::new(Schema::new(
            fields.into_iter().filter(|field| !is_partition(field)).collect::<Vec<_>>(),
        ));
        let scan_schema =
            TableSchema::builder(file_schema).with_table_partition_cols(partition.clone()).build();
        let full = Arc::clone(scan_schema.table_schema());
        let scan_index = schema
            .fields()
            .iter()
            .map(|field| Ok(full.index_of(field.name())?))
            .collect::<Result<_>>()?;
        // What is known of a file goes by the columns that it is asked for.
        let before = before.filter(|before| {
            before.table == pinned.table && before.scan_schema.table_schema() == &full
        });
        let prepared: HashMap<*const PinnedFile, &Arc<ScanFile>> = before
            .iter()
            .flat_map(|before| before.files.iter().map(|file| (Arc::as_ptr(&file.of), file)))
            .collect();
        let prepare = |file: &Arc<PinnedFile>| {
            let statistics = Arc::new(statistics_of(file, &full));
            let mut part = PartitionedFile::new(pinned.object_path(file), file.size);
            part.partition_values = partition
                .iter()
                .map(|field| {
                    let text = file.partition_values.get(field.name()).cloned().flatten();
                    partition_scalar(text.as_deref(), field.data_type())
                })
                .collect();
            part.statistics = Some(Arc::clone(&statistics));
            // Pruning leaves out a file without rows, and must not where they were removed.
            let rows = file.removed().map_or(file.rows, |removed| Some(removed.rows));
            let removed = Removed::of(file);
            Arc::new(ScanFile { of: Arc::clone(file), file: part, statistics, rows, removed })
        };
        let of_file = |file: &Arc<PinnedFile>| match prepared.get(&Arc::as_ptr(file)) {
            Some(known) => Arc::clone(known),
            None => prepare(file),
        };
        let files = pinned.files.iter().map(of_file).collect();
        Ok(Self {
            table: pinned.table,
            version: pinned.version,
            schema,
            scan_schema,
            scan_index,
            files,
            whole: OnceLock::new(),
        })
    }

    /// The same version with some of its files, which are not prepared again.
    pub(crate) fn with_files(&self, files: &[Arc<PinnedFile>], pinned: &PinnedTable) -> Self {
        let kept: HashSet<Path> = files.iter().map(|file| pinned.object_path(file)).collect();
        let is_kept = |file: &&Arc<ScanFile>| kept.contains(file.file.path());
        Self {
            table: self.table,
            version: self.version,
            schema: Arc::clone(&self.schema),
            scan_schema: self.scan_schema.clone(),
            scan_index: self.scan_index.clone(),
            files: self.files.iter().filter(is_kept).map(Arc::clone).collect(),
            whole: OnceLock::new(),
        }
    }

    /// Which table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Delta version, `None` before the table exists.
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    fn partition_names(&self) -> Vec<&str> {
        self.scan_schema.table_partition_cols().iter().map(|field| field.name().as_str()).collect()
    }

    /// The files that may hold rows for which every filter is true.
    fn pruned(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<&ScanFile>> {
        let names = self.partition_names();
        let (by_partition, by_statistics): (Vec<Expr>, Vec<Expr>) =
            filters.iter().cloned().partition(|filter| expr_applicable_for_cols(&names, filter));
        let files = self.prune_by_partition(state, by_partition)?;
        self.prune_by_statistics(state, by_statistics, files)
    }

    /// The error of who asks for days that were removed, whatever else they ask for: that other
    /// filters leave a removed file out says something of all of its rows.
    pub(crate) fn removed_days_asked(
        &self,
        state: &dyn Session,
        filters: &[Expr],
    ) -> Result<Option<QueryError>> {
        if self.files.iter().all(|file| file.removed.is_none()) {
            return Ok(None);
        }
        let names = self.partition_names();
        let of_day = filters.iter().filter(|filter| expr_applicable_for_cols(&names, filter));
        let files = self.prune_by_partition(state, of_day.cloned().collect())?;
        let removed = files.iter().filter_map(|file| file.removed.as_ref());
        Ok(removed_rows_asked(self.table, removed))
    }

    /// Evaluates filters on partition columns for each file. This is exact, so the engine need
    /// not check them again.
    fn prune_by_partition(
        &self,
        state: &dyn Session,
        filters: Vec<Expr>,
    ) -> Result<Vec<&ScanFile>> {
        let Some(filter) = conjunction(filters) else {
            return Ok(self.files.iter().map(Arc::as_ref).collect());
        };
        if self.files.is_empty() {
            return Ok(Vec::new());
        }
        let fields = self.scan_schema.table_partition_cols().clone();
        let schema = Arc::new(Schema::new(fields));
        let columns: Vec<ArrayRef> = (0..schema.fields().len())
            .map(|column| {
                ScalarValue::iter_to_array(self.files.iter().map(|file| {
                    file.file.partition_values.get(column).cloned().unwrap_or(ScalarValue::Null)
                }))
            })
            .collect::<Result<_>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let df_schema = DFSchema::try_from(schema)?;
        let filter = state.create_physical_expr(filter, &df_schema)?;
        let keep = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
        let keep = keep.as_boolean_opt().ok_or_else(|| {
            DataFusionError::Internal("a filter on a partition column is not boolean".to_owned())
        })?;
        Ok(self
            .files
            .iter()
            .enumerate()
            .filter(|(row, _)| keep.is_valid(*row) && keep.value(*row))
            .map(|(_, file)| file.as_ref())
            .collect())
    }

    /// What is known of some of the files together.
    fn statistics_together(&self, files: &[&ScanFile]) -> Result<Statistics> {
        let whole = files.len() == self.files.len();
        if let Some(merged) = self.whole.get().filter(|_| whole) {
            return Ok(merged.clone());
        }
        let known = files.iter().map(|file| file.statistics.as_ref());
        let merged = Statistics::try_merge_iter(known, self.scan_schema.table_schema())?;
        if whole {
            // Another query may have been first, with the same.
            drop(self.whole.set(merged.clone()));
        }
        Ok(merged)
    }

    fn prune_by_statistics<'a>(
        &self,
        state: &dyn Session,
        filters: Vec<Expr>,
        files: Vec<&'a ScanFile>,
    ) -> Result<Vec<&'a ScanFile>> {
        let Some(filter) = conjunction(filters) else { return Ok(files) };
        let schema = Arc::clone(self.scan_schema.table_schema());
        let df_schema = DFSchema::try_from(Arc::clone(&schema))?;
        // A filter that cannot be planned alone (it may refer to an outer query) prunes nothing.
        let Ok(filter) = state.create_physical_expr(filter, &df_schema) else { return Ok(files) };
        let Ok(predicate) =
            PruningPredicateBuilder::new().with_file_schema(Arc::clone(&schema)).try_build(filter)
        else {
            return Ok(files);
        };
        let bounds = FileBounds {
            schema,
            files: files.iter().map(|file| (file.statistics.as_ref(), file.rows)).collect(),
        };
        let keep = predicate.prune(&bounds)?;
        Ok(files.into_iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file)).collect())
    }
}

/// The field as it is scanned: strings as views, which group and compare faster. Without its
/// comment: plans compare metadata, and lose it here and there.
fn view_field(field: &Field) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

/// Deals files to `count` groups of about equal size, the largest first.
fn balanced(mut files: Vec<PartitionedFile>, count: usize) -> Vec<FileGroup> {
    files.sort_by(|a, b| {
        b.object_meta.size.cmp(&a.object_meta.size).then_with(|| a.path().cmp(b.path()))
    });
    let count = count.clamp(1, files.len().max(1));
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); count];
    for file in files {
        if let Some((size, group)) = groups.iter_mut().min_by_key(|(size, _)| *size) {
            *size += file.object_meta.size;
            group.push(file);
        }
    }
    groups.into_iter().map(|(_, group)| FileGroup::new(group)).collect()
}

#[async_trait]
impl TableProvider for PinnedTableProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let indices: Vec<usize> = match projection {
            Some(columns) => {
                columns.iter().filter_map(|column| self.scan_index.get(*column).copied()).collect()
            }
            None => self.scan_index.clone(),
        };
        let files = self.pruned(state, filters)?;
        let removed = files.iter().filter_map(|file| file.removed.as_ref());
        if let Some(error) = removed_rows_asked(self.table, removed) {
            return Err(error.external());
        }
        if files.is_empty() {
            let schema = self.scan_schema.table_schema().project(&indices)?;
            return Ok(Arc::new(EmptyExec::new(Arc::new(schema))));
        }
        let statistics = self.statistics_together(&files)?;
        let store_url = ObjectStoreUrl::parse(STORE_URL)?;
        let store = state.runtime_env().object_store(&store_url)?;
        let metadata_cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let source = ParquetSource::new(self.scan_schema.clone())
            .with_table_parquet_options(options)
            .with_metadata_size_hint(FOOTER_HINT_BYTES)
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(
                store,
                metadata_cache,
            )));
        let source: Arc<dyn FileSource> = Arc::new(source);
        let groups = balanced(
            files.into_iter().map(|file| file.file.clone()).collect(),
            state.config().target_partitions(),
        );
        let scan = FileScanConfigBuilder::new(store_url, source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(indices))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let names = self.partition_names();
        Ok(filters
            .iter()
            .map(|filter| {
                if expr_applicable_for_cols(&names, filter) {
                    TableProviderFilterPushDown::Exact
                } else {
                    TableProviderFilterPushDown::Inexact
                }
            })
            .collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        let there = self.files.iter().filter(|file| file.removed.is_none());
        let rows: Option<u64> = there.map(|file| file.rows).sum();
        let rows = usize::try_from(rows?).ok()?;
        Some(
            Statistics::new_unknown(&self.schema)
                .with_num_rows(datafusion::common::stats::Precision::Exact(rows)),
        )
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};
    use serde_json::{Value, json};
    use tally_tables::TableSet;

    use super::*;

    fn add(name: &str) -> Value {
        json!({"add": {"path": name, "partitionValues": {"day": "2026-11-22"}, "size": 9,
            "modificationTime": 0, "dataChange": true,
            "stats": r#"{"numRecords":2,"minValues":{"input":3},"maxValues":{"input":5}}"#}})
    }

    async fn commit(store: &dyn ObjectStore, version: u64, actions: &[Value]) {
        let path = format!("tables/usage_events/_delta_log/{version:020}.json");
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        store.put(&path.into(), lines.join("\n").into()).await.unwrap();
    }

    /// What is prepared of a file, by its path.
    fn prepared(provider: &PinnedTableProvider) -> HashMap<&str, *const ScanFile> {
        let files = provider.files.iter();
        files.map(|file| (file.of.path.as_str(), Arc::as_ptr(file))).collect()
    }

    fn all_of(provider: &PinnedTableProvider) -> Vec<&ScanFile> {
        provider.files.iter().map(Arc::as_ref).collect()
    }

    #[tokio::test]
    async fn versions_share_what_is_prepared_of_the_files_that_both_have() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let schema = json!({"type": "struct", "fields": [
            {"name": "input", "type": "long", "nullable": true, "metadata": {}},
            {"name": "day", "type": "date", "nullable": false, "metadata": {}}]});
        let metadata = json!({"metaData": {"id": "1", "format": {"provider": "parquet", "options": {}},
            "schemaString": schema.to_string(), "partitionColumns": ["day"], "configuration": {}}});
        let protocol = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}});
        commit(&*store, 0, &[protocol, metadata, add("a"), add("b")]).await;
        let tables = TableSet::open(Arc::clone(&store));
        let pin = async || tables.pin(None).await.unwrap().get(Table::UsageEvents).unwrap();

        let first = pin().await;
        let before = PinnedTableProvider::try_new(&first).unwrap();
        let removed = json!({"remove": {"path": "a", "deletionTimestamp": 1, "dataChange": false}});
        commit(&*store, 1, &[removed, add("c")]).await;
        let second = pin().await;
        let after = PinnedTableProvider::try_new_after(&second, Some(&before)).unwrap();

        let (old, new) = (prepared(&before), prepared(&after));
        let mut names: Vec<&str> = new.keys().copied().collect();
        names.sort_unstable();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(old["b"], new["b"]);
        let known = after.statistics_together(&all_of(&after)).unwrap();
        assert_eq!(known.num_rows.get_value(), Some(&4));
        // A part of the files is not answered with what was merged of all.
        let part = after.statistics_together(&all_of(&after)[..1]).unwrap();
        assert_eq!(part.num_rows.get_value(), Some(&2));
        // A version alone has nothing to share.
        let alone = PinnedTableProvider::try_new(&second).unwrap();
        assert_ne!(prepared(&alone)["b"], new["b"]);
    }
}
