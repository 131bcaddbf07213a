//! A small store with ledgers and tables, made without the stream, and what must be in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use tally_aggregate::ledger::{StoredEntry, claim_entry, encode, hash_of};
use tally_aggregate::{NewFile, object_path, write_file};
use tally_query::{BudgetSource, EngineOptions, QueryEngine, Truth, TruthModel};
use tally_reference::ReferenceStore;
use tally_schemas::{
    ControlTotals, DataFile, EntryKind, LedgerEntry, QueryConfig, Table, TokenClass, UsageCounts,
    entry_path,
};
use tally_tables::{Janitor, JanitorSettings, Publisher, TableSet};

pub(crate) const TOPIC: &str = "usage.events";
pub(crate) const PARTITIONS: u32 = 2;
pub(crate) const EPOCHS: u64 = 4;
pub(crate) const DAYS: [&str; 3] = ["2026-11-20", "2026-11-21", "2026-11-22"];
const EVENTS_AN_EPOCH: u64 = 300;
const SEED: u64 = 20_261_122;

/// An accepted event, as far as the tests ask for it.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) account: String,
    pub(crate) model: String,
    pub(crate) vendor: String,
    pub(crate) day: &'static str,
    pub(crate) counts: UsageCounts,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) events: Vec<Event>,
    pub(crate) suspended: u64,
    pub(crate) duplicates: u64,
}

/// How an epoch may be spoilt before it is written.
pub(crate) type Spoil = fn(&mut LedgerEntry);

impl World {
    pub(crate) async fn new() -> Self {
        Self::spoilt(|_| {}).await
    }

    /// A world in which `spoil` changes entry 2 of partition 1.
    pub(crate) async fn spoilt(spoil: Spoil) -> Self {
        println!("seed {SEED}");
        let mut world = Self {
            store: Arc::new(InMemory::new()),
            events: Vec::new(),
            suspended: 0,
            duplicates: 0,
        };
        let references = ReferenceStore::new(Arc::clone(&world.store) as Arc<dyn ObjectStore>);
        let reference = references.begin(1_000).await.unwrap().read_at(0);
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        for partition in 0..PARTITIONS {
            let mut claim = claim_entry(TOPIC, partition, PARTITIONS, "owner-1", None, 0, 1_000);
            claim.reference_version = reference.to_string();
            claim.next_reference = Some(reference.clone());
            let mut last = world.append(claim).await;
            for _ in 0..EPOCHS {
                let mut entry = world.epoch(&mut random, &last).await;
                if partition == 1 && entry.n == 2 {
                    spoil(&mut entry);
                }
                last = world.append(entry).await;
            }
        }
        world.publish().await;
        world
    }

    pub(crate) async fn publish(&self) {
        let mut publisher = Publisher::new(Arc::clone(&self.store), TOPIC, PARTITIONS);
        publisher.publish_committed().await.unwrap();
    }

    /// Puts roll-ups beside files of so many rows, and merges nothing.
    pub(crate) async fn roll_up(&self, rows_min: u64) {
        let settings = JanitorSettings {
            roll_up_rows_min: rows_min,
            merge_files_min: usize::MAX,
            ..JanitorSettings::default()
        };
        run_janitor(&self.store, &settings).await;
    }

    pub(crate) async fn put(&self, path: &str, bytes: Bytes) {
        self.store.put(&Path::from(path), PutPayload::from(bytes)).await.unwrap();
    }

    pub(crate) async fn append(&self, entry: LedgerEntry) -> StoredEntry {
        let bytes = encode(&entry).unwrap();
        self.put(&entry_path(TOPIC, entry.partition, entry.n), bytes.clone()).await;
        StoredEntry { entry, hash: hash_of(&bytes) }
    }

    /// Commits and publishes events, each under an id, as the epoch after entry `n` of partition 0.
    pub(crate) async fn add_epoch(&self, n: u64, events: &[(Event, &str)]) {
        let entry = self.epoch_after(n, events).await;
        self.append(entry).await;
        self.publish().await;
    }

    /// The same with a window by model of each event.
    pub(crate) async fn add_epoch_with_windows(&self, n: u64, events: &[(Event, &str)]) {
        let mut entry = self.epoch_after(n, events).await;
        let windows: Vec<Value> = events
            .iter()
            .map(|(Event { account, model, vendor, counts, .. }, _)| {
                window_row(account, model, vendor, 1, counts, entry.n, 0)
            })
            .collect();
        let table = Table::UsageByModel;
        entry.files.push(self.file(table, "", BTreeMap::new(), &windows, 0, entry.n).await);
        self.append(entry).await;
        self.publish().await;
    }

    async fn epoch_after(&self, n: u64, events: &[(Event, &str)]) -> LedgerEntry {
        let path = Path::from(entry_path(TOPIC, 0, n));
        let bytes = self.store.get(&path).await.unwrap().bytes().await.unwrap();
        let mut entry: LedgerEntry = serde_json::from_slice(&bytes).unwrap();
        entry.n += 1;
        entry.previous = hash_of(&bytes);
        entry.from = entry.to;
        entry.files.clear();
        for (event, id) in events {
            let row = event_row(event, id, entry.to, entry.n, 0);
            let folder = format!("day={}/{id}-", event.day);
            let values = BTreeMap::from([("day".to_owned(), event.day.to_owned())]);
            let file = self.file(Table::UsageEvents, &folder, values, &[row], 0, entry.n).await;
            entry.files.push(file);
            entry.to += 1;
        }
        entry
    }

    /// The next epoch after `last`, its files in the store.
    async fn epoch(&mut self, random: &mut ChaCha8Rng, last: &StoredEntry) -> LedgerEntry {
        let before = &last.entry;
        let (partition, n) = (before.partition, before.n + 1);
        let mut totals = ControlTotals { records: EVENTS_AN_EPOCH, ..ControlTotals::default() };
        let mut by_day: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        let mut sums: BTreeMap<(String, String, String), (u64, UsageCounts)> = BTreeMap::new();
        for index in 0..EVENTS_AN_EPOCH {
            let event = random_event(random, n);
            totals.received.add(&event.counts);
            totals.accepted.add(&event.counts);
            let sum = sums
                .entry((event.account.clone(), event.model.clone(), event.vendor.clone()))
                .or_default();
            sum.0 += 1;
            for (sum, count) in sum.1.0.iter_mut().zip(event.counts.0) {
                *sum += count;
            }
            let id = format!("p{partition}-n{n}-{index}");
            by_day.entry(event.day).or_default().push(event_row(
                &event,
                &id,
                before.to + index,
                n,
                partition,
            ));
            self.events.push(event);
        }
        let duplicate = UsageCounts([3; 14]);
        totals.received.add(&duplicate);
        totals.duplicates.add(&duplicate);
        self.duplicates += 1;
        totals.received.add(&UsageCounts::default());
        totals.suspended.add(&UsageCounts::default());
        totals.suspended_by_reason.insert("unknown_usage_class".to_owned(), 1);
        self.suspended += 1;

        let mut files = Vec::new();
        for (day, rows) in by_day {
            let folder = format!("day={day}/");
            let values = BTreeMap::from([("day".to_owned(), day.to_owned())]);
            files.push(self.file(Table::UsageEvents, &folder, values, &rows, partition, n).await);
        }
        let windows: Vec<Value> = sums
            .iter()
            .map(|((account, model, vendor), (events, counts))| {
                window_row(account, model, vendor, *events, counts, n, partition)
            })
            .collect();
        for table in [Table::UsageByModel, Table::UsageBySubscriber] {
            files.push(self.file(table, "", BTreeMap::new(), &windows, partition, n).await);
        }
        let held = json!({
            "reason": "unknown_usage_class", "first_seen": "2026-11-22T06:00:00Z",
            "raw": "{}", "status": "open", "kafka_partition": partition,
            "kafka_offset": before.to + EVENTS_AN_EPOCH, "batch_index": 0, "epoch": n,
        });
        files.push(self.file(Table::Suspense, "", BTreeMap::new(), &[held], partition, n).await);

        let mut cumulative = before.cumulative.clone();
        cumulative.merge(&totals);
        LedgerEntry {
            n,
            kind: EntryKind::Epoch,
            from: before.to,
            to: before.to + EVENTS_AN_EPOCH + 2,
            input_hash: "00".to_owned(),
            files,
            totals,
            cumulative,
            models: Vec::new(),
            sources: Vec::new(),
            watermark_ms: Some(i64::try_from(n).unwrap() * 60_000),
            committed_at_ms: 1_000 * i64::try_from(n).unwrap(),
            previous: last.hash.clone(),
            ..before.clone()
        }
    }

    pub(crate) async fn file(
        &self,
        table: Table,
        folder: &str,
        values: BTreeMap<String, String>,
        rows: &[Value],
        partition: u32,
        n: u64,
    ) -> DataFile {
        let path = format!("{folder}p{partition}-{n}-{}.parquet", table.name());
        let batch = batch(table, rows);
        let partition_values = values;
        let new = NewFile { table, path, partition_values, accounts: 10, constant: &[] };
        let (file, bytes) = write_file(new, [Ok(batch)]).unwrap();
        self.put(&object_path(&file), bytes).await;
        file
    }

    pub(crate) fn config() -> QueryConfig {
        QueryConfig {
            pg_listen: "127.0.0.1:0".to_owned(),
            threads: 2,
            memory_max_bytes: 256 << 20,
            ..QueryConfig::default()
        }
    }

    pub(crate) async fn engine(&self) -> Arc<QueryEngine> {
        self.engine_with(Self::config()).await
    }

    pub(crate) async fn engine_with(&self, config: QueryConfig) -> Arc<QueryEngine> {
        self.open(config, BudgetSource::default()).await
    }

    pub(crate) async fn engine_of(&self, budgets: BudgetSource) -> Arc<QueryEngine> {
        self.open(Self::config(), budgets).await
    }

    async fn open(&self, config: QueryConfig, budgets: BudgetSource) -> Arc<QueryEngine> {
        open_engine(&self.store, config, budgets).await
    }

    pub(crate) fn truth(&self) -> Truth {
        let accepted = u64::try_from(self.events.len()).unwrap();
        let mut tokens: BTreeMap<String, u128> = BTreeMap::new();
        let mut models: BTreeMap<(String, String), (u64, BTreeMap<String, u128>)> = BTreeMap::new();
        for event in &self.events {
            let model = models.entry((event.model.clone(), event.vendor.clone())).or_default();
            model.0 += 1;
            for class in TokenClass::ALL {
                let count = u128::from(event.counts.get(class));
                *tokens.entry(class.name().to_owned()).or_default() += count;
                *model.1.entry(class.name().to_owned()).or_default() += count;
            }
        }
        let text = |sums: BTreeMap<String, u128>| {
            sums.into_iter().map(|(class, sum)| (class, sum.to_string())).collect()
        };
        Truth {
            sent: accepted + self.suspended + self.duplicates,
            accepted,
            duplicates: self.duplicates,
            suspended: [("unknown_usage_class".to_owned(), self.suspended)].into(),
            tokens: text(tokens),
            by_model: models
                .into_iter()
                .map(|((model, vendor), (events, tokens))| TruthModel {
                    model,
                    vendor,
                    events,
                    tokens: text(tokens),
                })
                .collect(),
        }
    }
}

/// Runs the janitor once over a store of this world's topic.
pub(crate) async fn run_janitor(store: &Arc<dyn ObjectStore>, settings: &JanitorSettings) {
    let mut janitor = Janitor::new(Arc::clone(store), TOPIC, PARTITIONS);
    let report = janitor.run_once(jiff::Timestamp::now().as_millisecond(), settings).await;
    assert!(report.failures.is_empty(), "{report}");
}

/// An engine over a store.
pub(crate) async fn open_engine(
    store: &Arc<dyn ObjectStore>,
    config: QueryConfig,
    budgets: BudgetSource,
) -> Arc<QueryEngine> {
    let (_, settings) = tally_schemas::Config::load(None, &[]).unwrap();
    let options = EngineOptions {
        store: Arc::clone(store),
        tables: Arc::new(TableSet::open(Arc::clone(store))),
        topic: TOPIC.to_owned(),
        budgets,
        config,
        settings,
    };
    Arc::new(QueryEngine::open(options).await.unwrap())
}

fn random_event(random: &mut ChaCha8Rng, n: u64) -> Event {
    let model = random.random_range(0..5);
    let mut counts = UsageCounts::default();
    for class in TokenClass::ALL {
        counts.set(class, random.random_range(0..5_000));
    }
    counts.set(TokenClass::Requests, 1);
    // Accounts of an epoch lie together, so that statistics can tell files apart.
    let account = n * 100 + random.random_range(0..100);
    Event {
        account: format!("A{account:06}"),
        model: format!("model-{model}"),
        vendor: format!("vendor-{}", model % 3),
        day: DAYS[usize::try_from(random.random_range(0..3_u32)).unwrap()],
        counts,
    }
}

fn with_counts(mut row: Value, counts: &UsageCounts) -> Value {
    let object: &mut Map<String, Value> = row.as_object_mut().unwrap();
    for class in TokenClass::ALL {
        object.insert(class.name().to_owned(), counts.get(class).into());
    }
    row
}

fn event_row(event: &Event, id: &str, offset: u64, n: u64, partition: u32) -> Value {
    let row = json!({
        "source": "gw", "id": id, "account": event.account, "subscriber": event.account,
        "model": event.model, "billed_model": event.model, "vendor": event.vendor,
        "supplier": event.vendor, "service_tier": "standard",
        "started_at": format!("{}T06:00:00.001Z", event.day),
        "completed_at": format!("{}T06:00:01.500Z", event.day),
        "usage_source": "reported", "kafka_partition": partition, "kafka_offset": offset,
        "batch_index": 0, "epoch": n,
    });
    with_counts(row, &event.counts)
}

fn window_row(
    account: &str,
    model: &str,
    vendor: &str,
    events: u64,
    counts: &UsageCounts,
    n: u64,
    partition: u32,
) -> Value {
    let row = json!({
        "window_start": "2026-11-22T06:00:00Z", "window_end": "2026-11-22T07:00:00Z",
        "kind": "on_time", "account": account, "subscriber": account, "model": model,
        "vendor": vendor, "supplier": vendor, "service_tier": "standard", "events": events,
        "kafka_partition": partition, "epoch": n,
    });
    with_counts(row, counts)
}

/// Rows as a batch with the columns that a file of the table has.
fn batch(table: Table, rows: &[Value]) -> RecordBatch {
    let schema = table.arrow_schema();
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .filter(|field| !table.partition_columns().contains(&field.name().as_str()))
        .cloned()
        .collect();
    let mut decoder = ReaderBuilder::new(Arc::new(Schema::new(fields)))
        .with_batch_size(rows.len())
        .build_decoder()
        .unwrap();
    decoder.serialize(rows).unwrap();
    decoder.flush().unwrap().unwrap()
}
