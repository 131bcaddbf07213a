//! Publication: every file of the ledger is in its table once, whatever happens (I2, I10).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use support::{Fault, FaultStore, Ledger, TOPIC, objects, paths, pin, values};
use tally_schemas::Table;
use tally_tables::{ErrorKind, Publisher, TableSet};

const TWO: [Table; 2] = [Table::UsageEvents, Table::UsageByModel];

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// Every file of the ledger, by table, as the truth to compare with.
async fn expected(partitions: u32, entries: u64, table: Table) -> Vec<String> {
    let folder = if table == Table::UsageEvents { "day=2026-11-22/" } else { "" };
    let mut all: Vec<String> = (0..partitions)
        .flat_map(|p| (0..entries).map(move |n| format!("{folder}{p}-{n:020}.parquet")))
        .collect();
    all.sort();
    all
}

async fn fill(store: &Arc<dyn ObjectStore>, partitions: u32, entries: u64) {
    let ledger = Ledger::new(store, partitions);
    for partition in 0..partitions {
        for n in 0..entries {
            ledger.commit(partition, n, &TWO).await;
        }
    }
}

async fn check(store: &Arc<dyn ObjectStore>, partitions: u32, entries: u64) {
    let tables = pin(store).await;
    for table in TWO {
        assert_eq!(paths(&tables, table), expected(partitions, entries, table).await);
        let inputs = values(store, table, "input").await;
        assert_eq!(inputs.len() as u64, u64::from(partitions) * entries * 3);
        assert!(inputs.windows(2).all(|pair| pair[0] < pair[1]), "a row is there twice");
    }
}

/// Adds of a path in all commits of a table: more than one is a double publication.
async fn adds(store: &Arc<dyn ObjectStore>, table: Table) -> Vec<String> {
    let mut adds = Vec::new();
    for path in objects(store, &format!("tables/{}/_delta_log", table.name())).await {
        if path.ends_with(".json") {
            let bytes = store.get(&Path::from(path)).await.unwrap().bytes().await.unwrap();
            for line in std::str::from_utf8(&bytes).unwrap().lines() {
                let action: serde_json::Value = serde_json::from_str(line).unwrap();
                if let Some(path) = action.pointer("/add/path") {
                    adds.push(path.as_str().unwrap().to_owned());
                }
            }
        }
    }
    adds.sort();
    adds
}

#[tokio::test]
async fn publishing_again_adds_nothing() {
    let store = memory();
    fill(&store, 3, 5).await;
    let mut publisher = Publisher::new(Arc::clone(&store), TOPIC, 3);
    let first = publisher.publish_committed().await.unwrap();
    assert_eq!((first.entries, first.files, first.commits), (15, 30, 2));
    assert_eq!(publisher.next_entries(), [5, 5, 5]);
    assert_eq!(publisher.publish_committed().await.unwrap().commits, 0);
    let mut restarted = Publisher::new(Arc::clone(&store), TOPIC, 3);
    let again = restarted.publish_committed().await.unwrap();
    assert_eq!((again.files, again.commits), (0, 0));
    check(&store, 3, 5).await;
}

#[tokio::test]
async fn a_local_folder_works_as_well_and_new_entries_follow() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> =
        Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    fill(&store, 2, 3).await;
    let mut publisher = Publisher::new(Arc::clone(&store), TOPIC, 2);
    publisher.publish_committed().await.unwrap();
    let ledger = Ledger::new(&store, 2);
    ledger.commit(0, 3, &TWO).await;
    ledger.commit(1, 3, &TWO).await;
    assert_eq!(publisher.publish_committed().await.unwrap().files, 4);
    check(&store, 2, 4).await;
}

#[tokio::test]
async fn a_backlog_longer_than_a_batch_is_published_whole() {
    let store = memory();
    fill(&store, 1, 150).await;
    let mut publisher = Publisher::new(Arc::clone(&store), TOPIC, 1);
    assert_eq!(publisher.publish_committed().await.unwrap().entries, 150);
    check(&store, 1, 150).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_publishers_add_each_file_once() {
    let store = memory();
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let ledger = Ledger::new(&store, 2);
            for n in 0..40 {
                ledger.commit(0, n, &TWO).await;
                ledger.commit(1, n, &TWO).await;
                tokio::task::yield_now().await;
            }
        })
    };
    let publishers: Vec<_> = (0..4)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut publisher = Publisher::new(store, TOPIC, 2);
                loop {
                    match publisher.publish_committed().await {
                        Ok(_) if publisher.next_entries() == [40, 40] => break,
                        Ok(_) => tokio::task::yield_now().await,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
                    }
                }
            })
        })
        .collect();
    writer.await.unwrap();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    check(&store, 2, 40).await;
    for table in TWO {
        assert_eq!(adds(&store, table).await, {
            let mut all = expected(2, 40, table).await;
            all.sort();
            all
        });
    }
}

#[tokio::test]
async fn a_crash_at_any_put_is_made_good_by_the_next_process() {
    for fault in [Fault::Lost, Fault::ReplyLost] {
        for k in 0.. {
            let store = memory();
            fill(&store, 2, 2).await;
            let faulty = Arc::new(FaultStore::new(Arc::clone(&store), k, fault));
            let mut killed = Publisher::new(Arc::clone(&faulty) as Arc<dyn ObjectStore>, TOPIC, 2);
            let result = killed.publish_committed().await;
            if let Err(error) = &result {
                assert_eq!(error.kind(), ErrorKind::Retry, "{fault:?} at {k}: {error}");
            }
            let mut next = Publisher::new(Arc::clone(&store), TOPIC, 2);
            next.publish_committed().await.unwrap();
            check(&store, 2, 2).await;
            for table in TWO {
                assert_eq!(adds(&store, table).await.len(), 4, "{fault:?} at {k}");
            }
            if !faulty.has_failed() {
                // Creation of eight tables, a note of each, and two commits.
                assert_eq!(k, 18);
                break;
            }
        }
    }
}

#[tokio::test]
async fn the_same_process_goes_on_after_a_failure() {
    for fault in [Fault::Lost, Fault::ReplyLost] {
        for k in 0..6 {
            let store = memory();
            fill(&store, 1, 2).await;
            // One failing put only: the store comes back.
            let faulty =
                Arc::new(OneFault { inner: FaultStore::new(Arc::clone(&store), k, fault) });
            let mut publisher = Publisher::new(faulty, TOPIC, 1);
            let mut attempts = 0;
            while publisher.publish_committed().await.is_err() {
                attempts += 1;
                assert!(attempts < 5);
            }
            check(&store, 1, 2).await;
            for table in TWO {
                assert_eq!(adds(&store, table).await.len(), 2, "{fault:?} at {k}");
            }
        }
    }
}

/// A log of eighty commits without a checkpoint is read although of 31 reads one fails.
#[tokio::test]
async fn a_long_log_is_read_from_a_store_that_fails_now_and_then() {
    const COMMITS: u64 = 80;
    let store = memory();
    let ledger = Ledger::new(&store, 1);
    let mut publisher = Publisher::new(Arc::clone(&store), TOPIC, 1);
    for n in 0..COMMITS {
        ledger.commit(0, n, &TWO).await;
        publisher.publish_committed().await.unwrap();
    }
    ledger.commit(0, COMMITS, &TWO).await;
    let failing = Arc::new(FaultStore::failing_reads(Arc::clone(&store), 31));
    let mut next = Publisher::new(failing, TOPIC, 1);
    let mut attempts = 0;
    while let Err(error) = next.publish_committed().await {
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        attempts += 1;
        assert!(attempts < 20, "{error}");
    }
    check(&store, 1, COMMITS + 1).await;
    for table in TWO {
        assert_eq!(adds(&store, table).await.len() as u64, COMMITS + 1);
    }
}

/// A store that fails at one put and works before and after.
#[derive(Debug)]
struct OneFault {
    inner: FaultStore,
}

impl std::fmt::Display for OneFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OneFault")
    }
}

#[async_trait::async_trait]
impl ObjectStore for OneFault {
    async fn put_opts(
        &self,
        at: &Path,
        body: object_store::PutPayload,
        opts: object_store::PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        let result = self.inner.put_opts(at, body, opts).await;
        self.inner.recover();
        result
    }
    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        self.inner.put_multipart_opts(at, opts).await
    }
    async fn get_opts(
        &self,
        at: &Path,
        options: object_store::GetOptions,
    ) -> object_store::Result<object_store::GetResult> {
        self.inner.get_opts(at, options).await
    }
    fn delete_stream(
        &self,
        paths: futures::stream::BoxStream<'static, object_store::Result<Path>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(
        &self,
        prefix: Option<&Path>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(
        &self,
        prefix: Option<&Path>,
    ) -> object_store::Result<object_store::ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: object_store::CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_publisher_with_a_stale_state_checks_again_before_it_commits() {
    let store = memory();
    fill(&store, 1, 1).await;
    let mut stale = Publisher::new(Arc::clone(&store), TOPIC, 1);
    stale.publish_committed().await.unwrap();
    // Another process publishes entry 1 and 2; the first still believes in entry 0.
    let ledger = Ledger::new(&store, 1);
    ledger.commit(0, 1, &TWO).await;
    ledger.commit(0, 2, &TWO).await;
    Publisher::new(Arc::clone(&store), TOPIC, 1).publish_committed().await.unwrap();
    ledger.commit(0, 3, &TWO).await;
    let report = stale.publish_committed().await.unwrap();
    assert_eq!(report.files, 2, "only entry 3 was left");
    check(&store, 1, 4).await;
    for table in TWO {
        assert_eq!(adds(&store, table).await.len(), 4);
    }
}

#[tokio::test]
async fn a_table_without_files_gets_no_commits_but_is_told_of_long_silence() {
    let store = memory();
    let ledger = Ledger::new(&store, 1);
    for n in 0..300 {
        ledger.commit(0, n, &[]).await;
    }
    let mut publisher = Publisher::new(Arc::clone(&store), TOPIC, 1);
    publisher.publish_committed().await.unwrap();
    let log = objects(&store, "tables/suspense/_delta_log").await;
    assert_eq!(log.len(), 2, "the creation, and one commit that only moves the txn: {log:?}");
}

#[tokio::test]
async fn another_partition_count_is_refused() {
    let store = memory();
    fill(&store, 2, 1).await;
    let error = Publisher::new(Arc::clone(&store), TOPIC, 3).publish_committed().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// R25: what a later build counted for a table of its own waits for it; nothing of the entry is
/// published by this one.
#[tokio::test]
async fn a_table_of_a_later_build_is_refused_with_what_to_do_and_nothing_is_published() {
    let store = memory();
    let ledger = Ledger::new(&store, 1);
    ledger.commit(0, 0, &TWO).await;
    let mut publisher = Publisher::new(Arc::clone(&store), TOPIC, 1);
    publisher.publish_committed().await.unwrap();
    let mut files = Vec::new();
    for table in TWO {
        files.push(ledger.file(table, 0, 1, &[10, 11, 12]).await);
    }
    let mut unknown = files[1].clone();
    unknown.table = "usage_by_planet".to_owned();
    files.push(unknown);
    ledger.commit_files(0, 1, files).await;
    let before = objects(&store, "").await;
    for _ in 0..2 {
        let error = publisher.publish_committed().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let words =
            "table usage_by_planet of entry 1 of partition 0 is unknown to this build: upgrade";
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(objects(&store, "").await, before);
    check(&store, 1, 1).await;
}

#[tokio::test]
async fn publishing_and_reading_rest_on_no_listing() {
    let store = memory();
    let stale: Arc<dyn ObjectStore> = Arc::new(FaultStore::stale(Arc::clone(&store)));
    fill(&stale, 2, 3).await;
    Publisher::new(Arc::clone(&stale), TOPIC, 2).publish_committed().await.unwrap();
    Publisher::new(Arc::clone(&stale), TOPIC, 2).publish_committed().await.unwrap();
    check(&stale, 2, 3).await;
    check(&store, 2, 3).await;
}

#[tokio::test]
async fn a_pinned_table_says_how_far_each_partition_is_published() {
    let store = memory();
    fill(&store, 2, 3).await;
    let set = TableSet::open(Arc::clone(&store));
    let before = set.pin(None).await.unwrap();
    assert_eq!(before.get(Table::UsageEvents).unwrap().version, None);
    Publisher::new(Arc::clone(&store), TOPIC, 2).publish_committed().await.unwrap();
    let after = set.pin(None).await.unwrap();
    let events = after.get(Table::UsageEvents).unwrap();
    assert_eq!((events.published(TOPIC, 0), events.published(TOPIC, 1)), (Some(2), Some(2)));
    assert_eq!(events.published(TOPIC, 2), None);
    assert_eq!(before.get(Table::UsageEvents).unwrap().files, []);
}
