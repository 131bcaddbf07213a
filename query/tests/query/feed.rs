//! A store that the real core has filled: events and commands in, epochs, ledger and tables out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tally_aggregate::ledger::{StoredEntry, claim_entry, encode, hash_of};
use tally_aggregate::{
    EncodedEpoch, Partition, PartitionConfig, ReferenceData, encode_epoch, object_path,
};
use tally_log::{Record, RecordKind};
use tally_query::{BudgetSource, QueryEngine};
use tally_quota::QuotaReference;
use tally_reference::ReferenceStore;
use tally_schemas::{AggregateConfig, Table, entry_path, partition_of};
use tally_tables::{AsOf, Publisher};

use crate::world::{TOPIC, World, open_engine};

/// Milliseconds of an RFC 3339 time.
pub(crate) fn ms(at: &str) -> i64 {
    at.parse::<Timestamp>().unwrap().as_millisecond()
}

/// Settings in which no event is too old to be told from a duplicate in memory.
pub(crate) fn settings() -> AggregateConfig {
    AggregateConfig { dedupe_open_ms: 400 * 86_400_000, ..AggregateConfig::default() }
}

/// What is done to the rows of each file of a table before it is stored.
pub(crate) type Spoil = fn(Table, &RecordBatch) -> RecordBatch;

/// One writer of every partition.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) store: Arc<dyn ObjectStore>,
    partitions: Vec<(Partition, StoredEntry)>,
    /// When the newest record was received: epochs are committed then.
    newest_ms: i64,
    spoil: Option<Spoil>,
}

impl Feed {
    /// Claims the partitions of a store that has no ledger.
    pub(crate) async fn begin(
        store: Arc<dyn ObjectStore>,
        count: u32,
        settings: &AggregateConfig,
        reference: &ReferenceData,
    ) -> Self {
        let mut partitions = Vec::new();
        for partition in 0..count {
            let entry = claim_entry(TOPIC, partition, count, "owner", None, 0, 0);
            let stored = put_entry(store.as_ref(), entry).await;
            let config = PartitionConfig {
                topic: TOPIC.to_owned(),
                partition,
                partition_count: count,
                log: None,
                aggregate: settings.clone(),
            };
            partitions.push((Partition::new(config, reference.clone(), 0), stored));
        }
        Self { store, partitions, newest_ms: 1_000, spoil: None }
    }

    /// Goes on with partitions that were recovered.
    pub(crate) fn resume(
        store: Arc<dyn ObjectStore>,
        partitions: Vec<(Partition, StoredEntry)>,
    ) -> Self {
        Self { store, partitions, newest_ms: 1_000, spoil: None }
    }

    /// The last entry of every partition.
    pub(crate) fn last(&self) -> impl Iterator<Item = &StoredEntry> {
        self.partitions.iter().map(|(_, last)| last)
    }

    /// Sends bytes of an account, received at a time.
    pub(crate) fn send(&mut self, account: &str, received_ms: i64, value: &[u8]) {
        self.newest_ms = self.newest_ms.max(received_ms);
        let count = u32::try_from(self.partitions.len()).unwrap();
        let at = usize::try_from(partition_of(account, count)).unwrap();
        let (partition, _) = &mut self.partitions[at];
        let record = Record {
            offset: partition.next_offset(),
            timestamp_ms: received_ms,
            key: Some(account.as_bytes()),
            value: Some(value),
            kind: RecordKind::Single,
        };
        partition.push(record).expect("no bucket is sealed");
    }

    /// An account command.
    pub(crate) fn command(&mut self, account: &str, at: &str, mut command: Value) {
        let object = command.as_object_mut().unwrap();
        object.insert("account".to_owned(), account.into());
        object.insert("at".to_owned(), at.into());
        self.send(account, ms(at), command.to_string().as_bytes());
    }

    /// A usage event.
    pub(crate) fn event(&mut self, account: &str, id: &str, at: &str, mut event: Value) {
        let object = event.as_object_mut().unwrap();
        for (key, value) in [("source", "gw-1"), ("id", id), ("account", account)] {
            object.insert(key.to_owned(), value.into());
        }
        object.insert("completed_at".to_owned(), at.into());
        self.send(account, ms(at), event.to_string().as_bytes());
    }

    /// Ends an epoch of every partition and encodes it, without storing anything.
    pub(crate) fn encoded(&mut self, now_ms: i64) -> Vec<EncodedEpoch> {
        let encode = |(partition, last): &mut (Partition, StoredEntry)| {
            encode_epoch(partition.close(), last, "owner", now_ms).unwrap()
        };
        self.partitions.iter_mut().map(encode).collect()
    }

    /// Stores the epoch of a partition.
    pub(crate) async fn commit(&mut self, epoch: EncodedEpoch) {
        for (path, bytes) in epoch.objects {
            put(self.store.as_ref(), &path, bytes).await;
        }
        self.commit_entry(epoch.entry).await;
    }

    /// Stores an entry that was made up.
    pub(crate) async fn commit_entry(&mut self, entry: tally_schemas::LedgerEntry) {
        let at = usize::try_from(entry.partition).unwrap();
        self.partitions[at].1 = put_entry(self.store.as_ref(), entry).await;
    }

    /// Ends an epoch of every partition and stores it.
    pub(crate) async fn close(&mut self) {
        for mut epoch in self.encoded(self.newest_ms) {
            if let Some(spoil) = self.spoil {
                rewrite(&mut epoch, spoil);
            }
            self.commit(epoch).await;
        }
    }

    /// Ends an epoch of every partition, and rates what follows by newer reference data.
    pub(crate) async fn adopt(&mut self, reference: &ReferenceData) {
        for mut epoch in self.encoded(self.newest_ms) {
            epoch.entry.next_reference = Some(reference.version.clone());
            self.commit(epoch).await;
        }
        for (partition, _) in &mut self.partitions {
            partition.set_reference(reference.clone()).unwrap();
        }
    }

    /// Publishes what is stored.
    pub(crate) async fn publish(&self) {
        let count = u32::try_from(self.partitions.len()).unwrap();
        let mut publisher = Publisher::new(Arc::clone(&self.store), TOPIC, count);
        publisher.publish_committed().await.unwrap();
    }
}

/// Rewrites the rows of an epoch's files, and the entry's word on them.
pub(crate) fn rewrite(
    epoch: &mut EncodedEpoch,
    change: impl Fn(Table, &RecordBatch) -> RecordBatch,
) {
    for file in &mut epoch.entry.files {
        let path = object_path(file);
        let (_, bytes) = epoch.objects.iter_mut().find(|(at, _)| *at == path).unwrap();
        let table = Table::from_name(&file.table).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
        let batches: Vec<RecordBatch> =
            reader.build().unwrap().map(|batch| change(table, &batch.unwrap())).collect();
        let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), None).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        *bytes = Bytes::from(writer.into_inner().unwrap());
        file.bytes = u64::try_from(bytes.len()).unwrap();
        file.hash = hash_of(bytes);
    }
}

async fn put(store: &dyn ObjectStore, path: &str, bytes: Bytes) {
    store.put(&Path::from(path), PutPayload::from(bytes)).await.unwrap();
}

/// Every object below a folder, or of the whole store, by its path.
pub(crate) async fn objects_below(
    store: &Arc<dyn ObjectStore>,
    folder: Option<&str>,
) -> BTreeMap<String, Bytes> {
    let folder = folder.map(Path::from);
    let listed: Vec<_> = store.list(folder.as_ref()).try_collect().await.unwrap();
    let mut objects = BTreeMap::new();
    for found in listed {
        let bytes = store.get(&found.location).await.unwrap().bytes().await.unwrap();
        objects.insert(found.location.to_string(), bytes);
    }
    objects
}

/// The same store once more.
pub(crate) async fn copied(store: &Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    let copy: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    for (path, bytes) in objects_below(store, None).await {
        put(copy.as_ref(), &path, bytes).await;
    }
    copy
}

async fn put_entry(store: &dyn ObjectStore, entry: tally_schemas::LedgerEntry) -> StoredEntry {
    let bytes = encode(&entry).unwrap();
    put(store, &entry_path(&entry.topic, entry.partition, entry.n), bytes.clone()).await;
    StoredEntry { entry, hash: hash_of(&bytes) }
}

/// An engine over a store.
pub(crate) async fn engine_over(store: &Arc<dyn ObjectStore>) -> Arc<QueryEngine> {
    open_engine(store, World::config(), BudgetSource::default()).await
}

/// The prices and packages that ship with Tally, as the first edition of a store.
pub(crate) async fn first_edition(store: &Arc<dyn ObjectStore>) -> ReferenceData {
    let edition = ReferenceStore::new(Arc::clone(store)).begin(1_000).await.unwrap();
    ReferenceData { version: edition.read_at(0), ..ReferenceData::shipped().unwrap() }
}

/// The rows of a query as JSON objects: decimals are texts with all their digits.
pub(crate) async fn rows(engine: &QueryEngine, sql: &str) -> Vec<Value> {
    rows_as_of(engine, sql, None).await
}

/// The same of an old version of the tables.
pub(crate) async fn rows_as_of(engine: &QueryEngine, sql: &str, as_of: Option<AsOf>) -> Vec<Value> {
    let answer = engine.run(sql, as_of, engine.limits()).await;
    let answer = answer.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let (schema, batches) = answer.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let json = tally_query::render_bytes(tally_query::Format::Json, schema, &batches).unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// Partitions of the random store.
const PARTITIONS: u32 = 2;

const SEED: u64 = 20_261_126;

/// A store with cases that were worked out by hand, at the prices and packages that ship with
/// Tally. Times are Beijing's.
pub(crate) async fn worked_out() -> Feed {
    spoilt(None).await
}

/// The same with its rows changed before they are stored.
pub(crate) async fn spoilt(spoil: Option<Spoil>) -> Feed {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let reference = first_edition(&store).await;
    let mut feed = Feed::begin(store, 1, &settings(), &reference).await;
    feed.spoil = spoil;
    let purchase =
        |id: &str, package: &str| json!({"command": "purchase", "id": id, "package": package});

    // F had a bucket in October, used six of its ten million points, and let it expire: what is
    // left is written off 48 hours after its end. Its 50 % alert is of the past.
    feed.command("F", "2026-10-01T08:00:00+08:00", purchase("buy-f", "telecom-10m"));
    let glm = |class: &str, count: u64| json!({"model": "glm-5", "usage": {class: count}});
    feed.event("F", "f-1", "2026-10-02T10:00:00+08:00", glm("input", 6_000_000));
    feed.close().await;

    // A uses 1.6 of ten million points over two days and three models, one of them in dollars.
    feed.command("A", "2026-11-20T08:00:00+08:00", purchase("buy-a", "telecom-10m"));
    let mut event = glm("input", 1_000_000);
    (event["region"], event["channel"]) = ("sh".into(), "app".into());
    feed.event("A", "a-1", "2026-11-20T10:00:00+08:00", event);

    // B's gift of 500,000 points pays for sixteen photo cut-outs and a part of the seventeenth.
    feed.command("B", "2026-11-20T08:00:00+08:00", purchase("gift-b", "mobile-gift-500k"));
    for second in 0..17 {
        // The gateway's tenth was lost on the way.
        let seq = if second < 9 { second + 1 } else { second + 2 };
        let photo = json!({"model": "photo-cutout-1", "product": "photo-cutout",
            "usage": {"requests": 1}, "gateway_epoch": 1, "gateway_seq": seq});
        let at = format!("2026-11-20T11:00:{second:02}+08:00");
        feed.event("B", &format!("b-{second}"), &at, photo);
    }
    // C has no bucket and pays as it goes; D has nothing.
    let flags = json!({"region": "sh", "overflow": "sh-telecom-payg"});
    let set_flags = json!({"command": "set_flags", "id": "flags-c", "flags": flags});
    feed.command("C", "2026-11-20T12:00:00+08:00", set_flags);
    feed.event("C", "c-1", "2026-11-20T12:00:01+08:00", glm("input", 250_000));
    feed.event("D", "d-1", "2026-11-20T12:00:02+08:00", glm("input", 1_000));
    // G crosses 50 %, and is given back what brings it below.
    feed.command("G", "2026-11-20T13:00:00+08:00", purchase("buy-g", "telecom-10m"));
    feed.event("G", "g-1", "2026-11-20T13:00:01+08:00", glm("input", 5_500_000));
    let adjust = json!({"command": "adjust", "id": "back-g", "bucket": "buy-g",
        "points_micro": 1_000_000_000_000_u64, "reason": "complaint", "approver": "finance"});
    feed.command("G", "2026-11-20T13:00:02+08:00", adjust);
    feed.close().await;

    let mut event = glm("output", 500_000);
    (event["region"], event["channel"]) = ("sh".into(), "web".into());
    feed.event("A", "a-2", "2026-11-21T10:00:00+08:00", event);
    let claude = json!({"model": "claude-opus", "region": "bj", "usage": {"input": 100_000}});
    feed.event("A", "a-3", "2026-11-22T10:00:00+08:00", claude);
    // Nobody has priced these.
    for id in ["x-1", "x-2"] {
        let unknown = json!({"model": "nobody-sells-this", "usage": {"input": 1}});
        feed.event("A", id, "2026-11-22T10:00:01+08:00", unknown);
    }
    // The gateway says that it sent eighteen photos in that hour.
    let total = json!({"command": "control_total", "source": "gw-1", "gateway_epoch": 1,
        "events": 18, "first_seq": 1, "last_seq": 18, "hour": "2026-11-20T11:00:00+08:00", "usage": {"requests": 18}});
    feed.send("gw-1", ms("2026-11-22T10:00:01+08:00"), total.to_string().as_bytes());
    // F comes back, so that its partition's time goes on.
    feed.event("F", "f-2", "2026-11-22T10:00:02+08:00", glm("input", 2_000));
    feed.close().await;
    feed.publish().await;
    feed
}

/// A store with random traffic of forty accounts over twelve days.
pub(crate) async fn random() -> Feed {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let reference = first_edition(&store).await;
    let (mut feed, _) = random_traffic(store, &reference).await;
    feed.close().await;
    feed.publish().await;
    feed
}

/// The same traffic, in which alerts go out for every kind of window, and at its end some of each.
pub(crate) async fn random_watched() -> Feed {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let windows = ["day", "week", "month", "rolling_5h", "rolling_day", "rolling_week"];
    let cap = |window: &str| format!("{{ window = \"{window}\", limit_micro = 20000000000000 }}");
    let caps = format!("caps = [{}]", windows.map(cap).join(", "));
    let half = "{ kind = \"percent_used\", at = 50 },";
    let watched = "{ kind = \"cap\", at = 1 }, { kind = \"spike\", at = 100000000000 },";
    let packages = tally_rating::SHIPPED_PACKAGES
        .replace("caps = []", &caps)
        .replace(half, &format!("{half} {watched}"))
        + "\n[[account_threshold]]\nkind = \"overrun\"\nat = 1000000\n";
    let reference = ReferenceData {
        packages: Arc::new(QuotaReference::from_toml(&packages).unwrap()),
        ..first_edition(&store).await
    };
    let (mut feed, last_ms) = random_traffic(store, &reference).await;
    let at = Timestamp::from_millisecond(last_ms + 1).unwrap().to_string();
    let purchase = json!({"command": "purchase", "id": "buy-last", "package": "telecom-10m"});
    feed.command("R998", &at, purchase);
    // R998 has a bucket, R999 has none.
    for account in ["R998", "R999"] {
        let event = json!({"model": "glm-5", "usage": {"input": 900_000}});
        feed.event(account, &format!("last-{account}"), &at, event);
    }
    feed.close().await;
    feed.publish().await;
    feed
}

/// The traffic, of which the last events are neither stored nor published, and their time.
async fn random_traffic(store: Arc<dyn ObjectStore>, reference: &ReferenceData) -> (Feed, i64) {
    println!("seed {SEED}");
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut feed = Feed::begin(store, PARTITIONS, &settings(), reference).await;
    let packages = ["telecom-10m", "telecom-dev-15m", "mobile-gift-500k", "telecom-40m"];
    let models = ["glm-5", "deepseek-v4-pro", "claude-opus", "qwen3-max", "nobody-sells-this"];
    let mut at_ms = ms("2026-10-25T00:00:00+08:00");
    for number in 0..1_500 {
        at_ms += random.random_range(1..1_400_000);
        let at = Timestamp::from_millisecond(at_ms).unwrap().to_string();
        let account = format!("R{:03}", random.random_range(0..40));
        if number < 60 || random.random_ratio(1, 40) {
            let package = packages.choose(&mut random).unwrap();
            let id = format!("buy-{number}");
            feed.command(
                &account,
                &at,
                json!({"command": "purchase", "id": id, "package": package}),
            );
            continue;
        }
        if random.random_ratio(1, 60) {
            let flags = json!({"region": "sh", "overflow": "sh-telecom-payg"});
            let id = format!("flags-{number}");
            feed.command(&account, &at, json!({"command": "set_flags", "id": id, "flags": flags}));
            continue;
        }
        let mut event = json!({
            "model": models.choose(&mut random).unwrap(),
            "usage": {"input": random.random_range(0..900_000), "output": random.random_range(0..90_000)},
        });
        for (key, values) in [("region", ["sh", "bj", "hb"]), ("channel", ["app", "web", "api"])] {
            if random.random_ratio(4, 5) {
                event[key] = (*values.choose(&mut random).unwrap()).into();
            }
        }
        feed.event(&account, &format!("r-{number}"), &at, event);
        if number % 300 == 299 {
            feed.close().await;
        }
    }
    (feed, at_ms)
}
