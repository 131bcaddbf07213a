//! A small operator's world for the tests: a store that fails at will, and a ledger with files.

#![allow(dead_code)] // Each test crate uses a part.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema};
use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tally_schemas::{
    ControlTotals, DataFile, EntryKind, LEDGER_FORMAT, LedgerEntry, StateFile, StateManifest,
    Table, entry_path,
};
use tally_tables::{PinnedTables, TableSet};

pub(crate) const TOPIC: &str = "usage.events";

/// How a put fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is stored.
    Lost,
    /// The object is stored, but the reply is lost.
    ReplyLost,
}

/// A store whose `k`-th put (from 0) and all later ones fail, as when a process is killed there.
#[derive(Debug)]
pub(crate) struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    puts_left: AtomicI64,
    fault: Fault,
    listing: Listing,
    /// Of so many reads one fails; 0 where none does.
    reads_a_failure: i64,
    reads: AtomicI64,
}

/// What listings show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    /// Everything.
    Fresh,
    /// Nothing at all, which is as stale as can be.
    Stale,
    /// Everything; and then another janitor puts what stands in the place of removed files again.
    Overtaken,
}

impl FaultStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, k: i64, fault: Fault) -> Self {
        Self {
            inner,
            puts_left: AtomicI64::new(k),
            fault,
            listing: Listing::Fresh,
            reads_a_failure: 0,
            reads: AtomicI64::new(0),
        }
    }

    /// A store of which every `n`-th read fails.
    pub(crate) fn failing_reads(inner: Arc<dyn ObjectStore>, n: i64) -> Self {
        Self { reads_a_failure: n, ..Self::new(inner, i64::MAX, Fault::Lost) }
    }

    /// A store that never fails, but whose listings show nothing (R8).
    pub(crate) fn stale(inner: Arc<dyn ObjectStore>) -> Self {
        let store = Self::new(inner, i64::MAX, Fault::Lost);
        Self { listing: Listing::Stale, ..store }
    }

    /// A store that never fails, but where listings are overtaken by another janitor.
    pub(crate) fn overtaken(inner: Arc<dyn ObjectStore>) -> Self {
        let store = Self::new(inner, i64::MAX, Fault::Lost);
        Self { listing: Listing::Overtaken, ..store }
    }

    /// Lets every later call succeed, if one has failed.
    pub(crate) fn recover(&self) {
        if self.has_failed() {
            self.puts_left.store(i64::MAX, Ordering::SeqCst);
        }
    }

    /// Whether a put has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.puts_left.load(Ordering::SeqCst) < 0
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}

fn reset() -> Error {
    Error::Generic { store: "fault", source: "connection reset".into() }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, at: &Path, body: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let left = self.puts_left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            return self.inner.put_opts(at, body, opts).await;
        }
        if left == 0 && self.fault == Fault::ReplyLost {
            self.inner.put_opts(at, body, opts).await?;
        }
        Err(reset())
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        let read = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
        let is_failing = self.reads_a_failure > 0 && read % self.reads_a_failure == 0;
        if self.has_failed() || is_failing {
            return Err(reset());
        }
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.listing {
            Listing::Fresh => self.inner.list(prefix),
            Listing::Stale => futures::stream::empty().boxed(),
            Listing::Overtaken => overtaken(Arc::clone(&self.inner), prefix).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.listing {
            Listing::Fresh | Listing::Overtaken => self.inner.list_with_delimiter(prefix).await,
            Listing::Stale => Ok(ListResult { common_prefixes: Vec::new(), objects: Vec::new() }),
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn overtaken(
    store: Arc<dyn ObjectStore>,
    prefix: Option<&Path>,
) -> impl futures::Stream<Item = Result<ObjectMeta>> + use<> {
    let listed = store.list(prefix);
    let then_put = async move {
        let listed: Vec<Result<ObjectMeta>> = listed.collect().await;
        let again = listed.iter().flatten().map(|meta| meta.location.clone());
        for path in again.filter(|path| path.as_ref().contains("/removed-")) {
            let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
            store.put(&path, bytes.into()).await.unwrap();
        }
        futures::stream::iter(listed)
    };
    futures::stream::once(then_put).flatten()
}

/// Rows of a table: the given keys, everything else the same in all.
pub(crate) fn rows(table: Table, partition: u32, epoch: u64, keys: &[i64]) -> RecordBatch {
    let columns = table.columns();
    let kept: Vec<_> =
        columns.iter().filter(|c| !table.partition_columns().contains(&c.name)).collect();
    let fields: Vec<Field> =
        kept.iter().map(|c| Field::new(c.name, c.column_type.arrow(), c.nullable)).collect();
    let arrays = kept
        .iter()
        .map(|c| {
            let count = keys.len();
            let array: ArrayRef = match c.name {
                "account" => {
                    Arc::new(StringArray::from_iter_values(keys.iter().map(|k| format!("A{k:06}"))))
                }
                "id" => Arc::new(StringArray::from_iter_values(
                    keys.iter().map(|k| format!("{partition}-{epoch}-{k}")),
                )),
                "kafka_partition" => {
                    Arc::new(Int32Array::from(vec![i32::try_from(partition).unwrap(); count]))
                }
                "epoch" => Arc::new(Int64Array::from(vec![i64::try_from(epoch).unwrap(); count])),
                "completed_at" | "started_at" | "window_start" | "window_end" | "first_seen" => {
                    Arc::new(Int64Array::from_iter_values(
                        keys.iter().map(|k| 1_795_328_557_827_000 + k * 1_000),
                    ))
                }
                "input" | "kafka_offset" => Arc::new(Int64Array::from(keys.to_vec())),
                _ if c.nullable => new_null_array(&c.column_type.arrow(), count),
                _ => match c.column_type {
                    tally_schemas::ColumnType::Text => {
                        Arc::new(StringArray::from(vec![c.name; count]))
                    }
                    _ => Arc::new(Int64Array::from(vec![1; count])),
                },
            };
            cast(&array, &c.column_type.arrow()).unwrap()
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// The same as a data file.
pub(crate) fn parquet_of(table: Table, partition: u32, epoch: u64, keys: &[i64]) -> Vec<u8> {
    let batch = rows(table, partition, epoch, keys);
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// A writer of ledgers, as the stream is one.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) partition_count: u32,
    /// The day of its events.
    pub(crate) day: &'static str,
}

impl Ledger {
    pub(crate) fn new(store: &Arc<dyn ObjectStore>, partition_count: u32) -> Self {
        Self { store: Arc::clone(store), partition_count, day: "2026-11-22" }
    }

    /// Stores a file of `table` and describes it.
    pub(crate) async fn file(
        &self,
        table: Table,
        partition: u32,
        n: u64,
        keys: &[i64],
    ) -> DataFile {
        let bytes = parquet_of(table, partition, n, keys);
        let mut values = BTreeMap::new();
        let mut folder = String::new();
        if table == Table::UsageEvents {
            values.insert("day".to_owned(), self.day.to_owned());
            folder = format!("day={}/", self.day);
        }
        let path = format!("{folder}{partition}-{n:020}.parquet");
        let (min, max) = (keys.iter().min().unwrap(), keys.iter().max().unwrap());
        let stats = match table {
            Table::Suspense
            | Table::QuotaLedger
            | Table::Alerts
            | Table::ControlTotals
            | Table::SuspenseResolutions => format!(
                r#"{{"numRecords":{},"minValues":{{"kafka_offset":{min}}},"maxValues":{{"kafka_offset":{max}}},"nullCount":{{}}}}"#,
                keys.len()
            ),
            _ => format!(
                r#"{{"numRecords":{},"minValues":{{"input":{min}}},"maxValues":{{"input":{max}}},"nullCount":{{"input":0}}}}"#,
                keys.len()
            ),
        };
        let size = bytes.len() as u64;
        let object = Path::from(format!("tables/{}/{path}", table.name()));
        self.store.put(&object, bytes.into()).await.unwrap();
        DataFile {
            table: table.name().to_owned(),
            path,
            rows: keys.len() as u64,
            bytes: size,
            hash: String::new(),
            partition_values: values,
            stats,
        }
    }

    /// Creates entry `n` with files of the given tables.
    pub(crate) async fn commit(&self, partition: u32, n: u64, tables: &[Table]) -> LedgerEntry {
        let base = i64::from(partition) * 1_000_000 + i64::try_from(n).unwrap() * 10;
        let mut files = Vec::new();
        for &table in tables {
            files.push(self.file(table, partition, n, &[base, base + 1, base + 2]).await);
        }
        self.commit_files(partition, n, files).await
    }

    /// Creates entry `n` with these files.
    pub(crate) async fn commit_files(
        &self,
        partition: u32,
        n: u64,
        files: Vec<DataFile>,
    ) -> LedgerEntry {
        let kind = if n.is_multiple_of(10) { "base" } else { "delta" };
        let state_file = |kind: &str, n: u64| StateFile {
            path: format!("state/{TOPIC}/{partition}/{kind}-{n:020}-owner.state"),
            bytes: 5,
            hash: String::new(),
        };
        let own = state_file(kind, n);
        self.store.put(&Path::from(own.path.as_str()), "state".into()).await.unwrap();
        let last_base = n / 10 * 10;
        let state = StateManifest {
            base: Some(state_file("base", last_base)),
            deltas: (last_base + 1..=n).map(|n| state_file("delta", n)).collect(),
        };
        let entry = LedgerEntry {
            format: LEDGER_FORMAT,
            topic: TOPIC.to_owned(),
            partition,
            partition_count: self.partition_count,
            log: None,
            moving_to: None,
            n,
            kind: EntryKind::Epoch,
            owner: "owner".to_owned(),
            address: None,
            from: n,
            to: n + 1,
            input_hash: String::new(),
            files,
            state,
            totals: ControlTotals::default(),
            cumulative: ControlTotals::default(),
            models: Vec::new(),
            sources: Vec::new(),
            watermark_ms: Some(1_795_328_557_827),
            reference_version: String::new(),
            next_reference: None,
            committed_at_ms: wall_ms(),
            alerts_ends: None,
            clock: None,
            previous: String::new(),
        };
        let bytes = tally_aggregate::ledger::encode(&entry).unwrap();
        let path = Path::from(entry_path(TOPIC, partition, n));
        self.store.put(&path, bytes.into()).await.unwrap();
        entry
    }
}

/// Milliseconds UTC.
pub(crate) fn wall_ms() -> i64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(elapsed.as_millis()).unwrap()
}

/// Latest tables.
pub(crate) async fn pin(store: &Arc<dyn ObjectStore>) -> PinnedTables {
    TableSet::open(Arc::clone(store)).pin(None).await.unwrap()
}

/// Paths of the live files of a table.
pub(crate) fn paths(tables: &PinnedTables, table: Table) -> Vec<String> {
    tables.get(table).unwrap().files.iter().map(|file| file.path.clone()).collect()
}

/// Every value of a whole-number column of a table, sorted.
pub(crate) async fn values(store: &Arc<dyn ObjectStore>, table: Table, column: &str) -> Vec<i64> {
    let tables = pin(store).await;
    let pinned = tables.get(table).unwrap();
    let mut values = Vec::new();
    for file in &pinned.files {
        let bytes = store.get(&pinned.object_path(file)).await.unwrap().bytes().await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            let column = batch.column_by_name(column).unwrap();
            let column = column.as_any().downcast_ref::<Int64Array>().unwrap().clone();
            values.extend(column.iter().flatten());
        }
    }
    values.sort_unstable();
    values
}

/// Every object below a prefix.
pub(crate) async fn objects(store: &Arc<dyn ObjectStore>, prefix: &str) -> Vec<String> {
    let prefix = Path::from(prefix);
    let mut paths: Vec<String> = store
        .list(Some(&prefix))
        .map_ok(|meta| meta.location.to_string())
        .try_collect()
        .await
        .unwrap();
    paths.sort();
    paths
}
