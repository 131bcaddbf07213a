//! Views answer from roll-ups what the rows themselves come to: with files of both kinds, after
//! merges, with late rows and corrections, in old versions, with months that are sealed at any epoch,
//! and from what removed days have left. And a roll-up that is wrong is found.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tally_aggregate::ledger::{StoredEntry, claim_entry};
use tally_query::{QueryEngine, VerifyOptions, View, verify};
use tally_reference::ReferenceStore;
use tally_schemas::{EntryKind, LedgerEntry, RollUp, Table, TokenClass};
use tally_settlement::{Act, Books, CutOff, Decision, JournalEntry, Period, Plan, Review, Seal};
use tally_tables::{AsOf, Janitor, JanitorSettings, TableSet};

use crate::feed::ms;
use crate::world::{PARTITIONS, TOPIC, World, run_janitor};

const SEEDS: u64 = 6;
const STEPS: u64 = 7;
const MONTHS: [&str; 4] = ["2026-09", "2026-10", "2026-11", "2026-12"];

/// What each table that is summed up is, said with rows alone.
fn of_rows(roll_up: RollUp) -> String {
    match roll_up {
        RollUp::UsageByDay => "(SELECT day, retail_price_ids, vendor, model, region, channel, \
            retail_currency, wholesale_currency, \
            CASE WHEN correction = 'reversal' THEN -1 ELSE 1 END AS events, \
            points, retail_amount, wholesale_amount FROM usage_events)"
            .to_owned(),
        RollUp::UsageByGatewayHour => format!(
            "(SELECT source, gateway_epoch, date_trunc('hour', completed_at) AS hour, \
             CAST(1 AS BIGINT) AS events, {} FROM usage_events WHERE correction IS NULL)",
            TokenClass::ALL.map(TokenClass::name).join(", ")
        ),
        RollUp::GatewayRuns => "(SELECT source, gateway_epoch, gateway_seq AS first_seq, \
            gateway_seq AS last_seq, completed_at AS first_at, completed_at AS last_at \
            FROM usage_events WHERE correction IS NULL)"
            .to_owned(),
        RollUp::BucketsByDay => {
            "(SELECT shanghai_day(at) AS day, package, currency, kind, points, \
            amount FROM quota_ledger WHERE bucket IS NOT NULL)"
                .to_owned()
        }
        RollUp::UsageByEpoch | RollUp::UsageBySubscriber => unreachable!("no view stands on it"),
    }
}

/// What the table is that tells usage by epochs, too.
const BY_EPOCH: &str = "(SELECT day, vendor, wholesale_currency, \
    CASE WHEN correction = 'reversal' THEN -1 ELSE 1 END AS events, wholesale_amount, \
    kafka_partition, epoch FROM usage_events)";

/// The views that stand on roll-ups, and each as a query over rows.
fn views() -> Vec<(&'static View, String)> {
    let told = |view: &'static View| {
        let sql = view.sql.replace("roll_ups.usage_by_epoch", BY_EPOCH);
        let sql = RollUp::ALL.iter().fold(sql, |sql, roll_up| {
            sql.replace(&format!("roll_ups.{}", roll_up.name()), &of_rows(*roll_up))
        });
        (sql != view.sql).then_some((view, sql))
    };
    View::all().filter_map(told).collect()
}

/// A few values of a column, or null.
fn any<'a>(random: &mut ChaCha8Rng, values: &[&'a str]) -> Option<&'a str> {
    values.get(random.random_range(0..=values.len())).copied()
}

fn amount(random: &mut ChaCha8Rng, scale: usize) -> Option<String> {
    let sign = ["", "-"][random.random_range(0..2)];
    let units = random.random_range(0..1_000_000_u64);
    random.random_ratio(5, 6).then(|| format!("{sign}{}.{units:0scale$}", units % 1_000))
}

/// An event of any day and hour: late ones and corrections are among them.
fn event(random: &mut ChaCha8Rng, id: &str) -> (String, Value) {
    let day = ["2026-10-31", "2026-11-29", "2026-11-30"][random.random_range(0..3)].to_owned();
    let model = ["m-1", "m-2", "m-3"][random.random_range(0..3)];
    let hour = random.random_range(0..24);
    let second = random.random_range(0..3_600);
    let at = format!("{day}T{hour:02}:{:02}:{:02}.500Z", second / 60, second % 60);
    let source = ["gw-1", "gw-2"][random.random_range(0..2)];
    let gateway_epoch = [None, Some(3)][random.random_range(0..2)];
    let packages = ["mobile-gift-500k", "telecom-10m", "telecom-10m,mobile-gift-500k"];
    let correction = any(random, &["reversal", "replacement"]);
    let correction = correction.filter(|_| random.random_ratio(1, 3));
    let mut row = json!({
        "source": source, "id": id, "account": "A",
        "subscriber": "A", "model": model, "billed_model": model,
        "vendor": format!("vendor-{}", random.random_range(1..3)), "supplier": "s",
        "region": any(random, &["sh", "bj"]), "channel": any(random, &["app"]),
        "service_tier": "standard", "started_at": at, "completed_at": at,
        "usage_source": "reported", "points": amount(random, 6),
        "retail_amount": amount(random, 12), "wholesale_amount": amount(random, 12),
        "retail_currency": any(random, &["CNY", "USD"]),
        "wholesale_currency": any(random, &["CNY", "USD"]),
        "retail_price_ids": any(random, &packages), "gateway_epoch": gateway_epoch,
        "correction": correction,
    });
    // Numbers come in any order, some twice, some never.
    if random.random_ratio(4, 5) {
        row["gateway_seq"] = random.random_range(1..400_i64).into();
    }
    for class in TokenClass::ALL {
        row[class.name()] = random.random_range(-9..100_000_i64).into();
    }
    (day, row)
}

fn entry_of_bucket(random: &mut ChaCha8Rng) -> Value {
    let kind = ["grant", "debit", "breakage", "payg"][random.random_range(0..4)];
    json!({
        "account": "A", "bucket": any(random, &["b-1"]),
        "package": any(random, &["telecom-10m", "telecom-40m"]), "kind": kind,
        "points": amount(random, 6).unwrap_or_else(|| "0.000000".to_owned()),
        "amount": amount(random, 12).unwrap_or_else(|| "0.000000000000".to_owned()),
        "currency": any(random, &["CNY"]),
        "at": format!("2026-{:02}-30T{:02}:59:59Z", random.random_range(10..12), random.random_range(14..18)),
    })
}

/// A store with random rows.
struct Store {
    world: World,
    last: Vec<StoredEntry>,
    random: ChaCha8Rng,
    /// Months that are sealed.
    sealed: usize,
    /// Hash of the last seal.
    last_seal: String,
    /// What was reviewed and approved.
    books: Books,
}

impl Store {
    async fn new(seed: u64) -> Self {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let world = World { store, events: Vec::new(), suspended: 0, duplicates: 0 };
        let reference = ReferenceStore::new(Arc::clone(&world.store)).begin(1_000).await.unwrap();
        let mut last = Vec::new();
        for partition in 0..PARTITIONS {
            let mut claim = claim_entry(TOPIC, partition, PARTITIONS, "owner-1", None, 0, 1_000);
            claim.reference_version = reference.read_at(0).to_string();
            claim.next_reference = Some(reference.read_at(0));
            last.push(world.append(claim).await);
        }
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { world, last, random, sealed: 0, last_seal: String::new(), books: Books::default() }
    }

    /// The next entry of the journal.
    async fn act(&mut self, act: Act, by: &str) -> JournalEntry {
        let entry = self.books.entry(act, by, 1_000).unwrap();
        let path = Path::from(format!("statements/journal/{:020}.json", entry.n));
        self.world.store.put(&path, entry.to_bytes().unwrap().into()).await.unwrap();
        self.books.take(&entry).unwrap();
        entry
    }

    /// Seals the next month: of each partition up to the last epoch, or to one that is at most as
    /// many before it.
    async fn seal(&mut self, behind: u64) {
        let Some(month) = MONTHS.get(self.sealed) else { return };
        let n = u64::try_from(self.sealed).unwrap();
        let mut cut_offs = Vec::new();
        for last in &self.last {
            let epoch = last.entry.n - self.random.random_range(0..=behind);
            cut_offs.push(CutOff { partition: last.entry.partition, epoch });
        }
        let plan = Plan {
            format: Plan::FORMAT,
            n,
            period: Period::parse(month).unwrap(),
            by: "ann".to_owned(),
            at_ms: 1_000,
            code_version: "0".to_owned(),
            reference: "0".to_owned(),
            terms: Vec::new(),
            posted: Vec::new(),
            cut_offs,
            files: Vec::new(),
            previous: self.last_seal.clone(),
        };
        let review = Review {
            period: plan.period,
            plan: plan.hash().unwrap(),
            statements: Vec::new(),
            adjustments: Vec::new(),
        };
        let of = self.act(Act::Review(review), "ann").await.n;
        let decision = Decision { of, approve: true, note: String::new() };
        let approval = self.act(Act::DecideReview(decision), "bob").await;
        let seal = Seal::of(&plan, &approval, "terms", &[]).unwrap();
        let path = Path::from(format!("statements/seals/{n:020}.json"));
        self.world.store.put(&path, seal.to_bytes().unwrap().into()).await.unwrap();
        self.last_seal = seal.hash().unwrap();
        self.sealed += 1;
    }

    /// One more epoch of each partition, published.
    async fn grow(&mut self) {
        for at in 0..self.last.len() {
            let before = self.last[at].entry.clone();
            let (partition, n) = (before.partition, before.n + 1);
            let mut events: BTreeMap<String, Vec<Value>> = BTreeMap::new();
            let mut ledger = Vec::new();
            let place = |mut row: Value, offset: usize| {
                let place = [("kafka_partition", u64::from(partition)), ("epoch", n)];
                for (name, value) in place.into_iter().chain([("batch_index", 0)]) {
                    row[name] = value.into();
                }
                row["kafka_offset"] = offset.into();
                row
            };
            for index in 0..self.random.random_range(1..80) {
                let (day, row) = event(&mut self.random, &format!("p{partition}n{n}i{index}"));
                events.entry(day).or_default().push(place(row, index));
                ledger.push(place(entry_of_bucket(&mut self.random), index));
            }
            let mut files = Vec::new();
            for (day, rows) in events {
                let values = BTreeMap::from([("day".to_owned(), day.clone())]);
                let folder = format!("day={day}/");
                let table = Table::UsageEvents;
                files.push(self.world.file(table, &folder, values, &rows, partition, n).await);
            }
            let table = Table::QuotaLedger;
            files.push(self.world.file(table, "", BTreeMap::new(), &ledger, partition, n).await);
            let entry = LedgerEntry {
                n,
                kind: EntryKind::Epoch,
                from: before.to,
                to: before.to + 100,
                input_hash: "00".to_owned(),
                files,
                previous: self.last[at].hash.clone(),
                ..before
            };
            self.last[at] = self.world.append(entry).await;
        }
        self.world.publish().await;
    }
}

async fn lines(engine: &QueryEngine, sql: &str, as_of: Option<AsOf>) -> Vec<String> {
    let answer = engine.run(sql, as_of, engine.limits()).await;
    let answer = answer.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let (schema, batches) = answer.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let table = tally_query::render_table(schema, &batches).unwrap();
    let mut lines: Vec<String> = table.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

async fn compare(engine: &QueryEngine, as_of: Option<AsOf>, what: &str) {
    for (view, sql) in views() {
        let found = format!("SELECT * FROM {}.{}", view.schema, view.name);
        let found = lines(engine, &found, as_of).await;
        assert_eq!(found, lines(engine, &sql, as_of).await, "{what}: {}", view.name);
    }
}

/// Files of a table's latest version that have a roll-up, and the others.
async fn counts(store: &Arc<dyn ObjectStore>, roll_up: RollUp) -> (usize, usize) {
    let pin = TableSet::open(Arc::clone(store)).pin(None).await.unwrap();
    let (rolled, others) = pin.get(roll_up.table()).unwrap().rolled_up(roll_up);
    (rolled.files.len(), others.files.len())
}

#[tokio::test]
async fn views_answer_from_roll_ups_what_the_rows_come_to() {
    assert_eq!(views().len(), 11, "six margins, revenue, free usage, accrual, both of what came");
    let (mut of_both, mut merged, mut accrued_of_both) = (0, 0, 0);
    let (mut removed, mut whole, mut cut) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut store = Store::new(seed).await;
        let engine = store.world.engine().await;
        for step in 0..STEPS {
            println!("seed {seed} step {step}");
            store.grow().await;
            if store.random.random_bool(0.5) {
                let settings = JanitorSettings {
                    roll_up_rows_min: store.random.random_range(1..60),
                    merge_files_min: store.random.random_range(2..5),
                    checkpoint_commits: 2,
                    ..JanitorSettings::default()
                };
                run_janitor(&store.world.store, &settings).await;
                let pin = TableSet::open(Arc::clone(&store.world.store)).pin(None).await.unwrap();
                let files = &pin.get(Table::UsageEvents).unwrap().files;
                merged += files.iter().filter(|file| file.path.contains("merged-")).count();
            }
            for roll_up in RollUp::ALL {
                let (rolled, others) = counts(&store.world.store, roll_up).await;
                of_both += usize::from(rolled > 0 && others > 0);
            }
            compare(&engine, None, &format!("seed {seed} step {step}")).await;
            if store.random.random_ratio(1, 3) {
                store.seal(1).await;
                compare(&engine, None, &format!("seed {seed} step {step}, sealed")).await;
            }
            let explained = "EXPLAIN SELECT * FROM settlement.accrual";
            let plan = lines(&engine, explained, None).await.concat();
            let rows = plan.contains("tables/usage_events/day=");
            accrued_of_both += usize::from(rows && plan.contains("_roll_ups/usage_by_day"));
        }
        for version in 1..4 {
            let what = format!("seed {seed} version {version}");
            compare(&engine, Some(AsOf::Version(version)), &what).await;
        }
        while store.sealed < MONTHS.len() {
            store.seal(0).await;
        }
        let before = answers(&engine).await;
        removed += remove_days(&store.world.store).await;
        for (before, after) in before.iter().zip(answers(&engine).await) {
            assert_eq!(*before, after, "seed {seed}, days removed");
        }
        let plan = lines(&engine, "EXPLAIN SELECT * FROM settlement.accrual", None).await.concat();
        let reads = |kind: RollUp| plan.contains(&format!("_roll_ups/{}.", kind.name()));
        whole += usize::from(reads(RollUp::UsageByDay));
        cut += usize::from(reads(RollUp::UsageByEpoch));
    }
    assert!(of_both > 10 && merged > 10, "{of_both} {merged}");
    assert!(accrued_of_both > 5, "{accrued_of_both}");
    assert!(removed > 10 && whole > 3 && cut > 1, "{removed} {whole} {cut}");
}

/// What each view that stands on roll-ups says.
async fn answers(engine: &QueryEngine) -> Vec<(&'static str, Vec<String>)> {
    let mut answers = Vec::new();
    for (view, _) in views() {
        let sql = format!("SELECT * FROM {}.{}", view.schema, view.name);
        answers.push((view.name, lines(engine, &sql, None).await));
    }
    answers
}

/// Removes the days that are settled, and says how many.
async fn remove_days(store: &Arc<dyn ObjectStore>) -> u64 {
    let settings = JanitorSettings {
        keep_events_days: 32,
        dedupe_horizon_days: 1,
        merge_files_min: usize::MAX,
        // What is stored has the time of the machine.
        retention_ms: 10_000 * 86_400_000,
        ..JanitorSettings::default()
    };
    let mut janitor = Janitor::new(Arc::clone(store), TOPIC, PARTITIONS);
    let report = janitor.run_once(ms("2027-03-01T00:00:00Z"), &settings).await;
    assert!(report.failures.is_empty(), "{report}");
    report.days_removed
}

/// What the check of roll-ups says.
async fn findings(world: &World) -> Vec<String> {
    let engine = world.engine().await;
    let report = verify(&engine, &VerifyOptions::default()).await.unwrap();
    let check = report.checks.into_iter().find(|check| check.what.contains("roll-up")).unwrap();
    println!("{}", check.looked_at);
    check.findings
}

/// Puts another roll-up in the place of one, and its size into the log.
async fn replace(store: &Arc<dyn ObjectStore>, roll_up: RollUp, place: &Path, by: &[u8]) {
    let old = store.head(place).await.unwrap().size;
    let file = place.as_ref().rsplit('/').next().unwrap();
    let sized = |size: u64| format!("\"{}\":\"{size}\"", roll_up.tag());
    let logs = Path::from(format!("tables/{}/_delta_log", roll_up.table().name()));
    let logs: Vec<_> = store.list(Some(&logs)).try_collect().await.unwrap();
    for log in logs.into_iter().filter(|log| log.location.as_ref().ends_with(".json")) {
        let bytes = store.get(&log.location).await.unwrap().bytes().await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let lines = text.lines().map(|line| match line.contains(file) {
            true => line.replace(&sized(old), &sized(by.len() as u64)),
            false => line.to_owned(),
        });
        let changed = lines.map(|line| line + "\n").collect::<String>();
        store.put(&log.location, changed.into()).await.unwrap();
    }
    store.put(place, by.to_vec().into()).await.unwrap();
}

#[tokio::test]
async fn a_roll_up_that_is_not_its_files_is_found() {
    let mut grown = Store::new(1).await;
    grown.grow().await;
    grown.grow().await;
    grown.world.roll_up(1).await;
    let store = Arc::clone(&grown.world.store);
    for roll_up in RollUp::ALL {
        let pin = TableSet::open(Arc::clone(&store)).pin(None).await.unwrap();
        let pinned = pin.get(roll_up.table()).unwrap();
        let (rolled, others) = pinned.rolled_up(roll_up);
        assert!(rolled.files.len() > 1 && others.files.is_empty());
        assert_eq!(findings(&grown.world).await, [""; 0]);
        let [own, other] = [0, 1].map(|at| pinned.object_path(&rolled.files[at]));
        let good = store.get(&own).await.unwrap().bytes().await.unwrap();
        let wrong = store.get(&other).await.unwrap().bytes().await.unwrap();
        replace(&store, roll_up, &own, &wrong).await;
        let file = RollUp::file_of(&rolled.files[0].path).unwrap();
        let wanted = format!("{}: other sums than those of {file}", roll_up.name());
        assert_eq!(findings(&grown.world).await, [wanted]);
        replace(&store, roll_up, &own, &good).await;
        // One that is gone is told, too, and the next janitor puts it back.
        store.delete(&own).await.unwrap();
        assert_eq!(findings(&grown.world).await.len(), 1);
        grown.world.roll_up(1).await;
        assert_eq!(findings(&grown.world).await, [""; 0]);
    }
}
