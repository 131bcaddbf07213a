//! A small store of several vendors, where everything of the others is a canary; and the same store
//! as if there were no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tally_access::{Caller, Channel, User};
use tally_aggregate::ledger::claim_entry;
use tally_query::QueryEngine;
use tally_reference::ReferenceStore;
use tally_schemas::{EntryKind, LedgerEntry, QueryConfig, Table, TokenClass};

use crate::canary_books::{self, OTHERS};
use crate::world::{PARTITIONS, TOPIC, World};

/// Who asks. The shipped price book has prices and a contract of theirs.
pub(crate) const OWN: &str = "deepseek";

/// What every text of others has in it.
pub(crate) const CANARY: &str = "canary";

/// Digits that every number of others begins with; no sum of own numbers has them by chance, which
/// the seed decides.
pub(crate) const CANARY_DIGITS: &str = "7318547";

const EPOCHS: u64 = 3;
const SEED: u64 = 20_261_126;
const OWN_ROWS: u64 = 24;
const OTHER_ROWS: u64 = 40;

/// A caller of a role.
pub(crate) fn caller(role: &str) -> Caller {
    let role = role.parse().unwrap();
    let user = User { name: "somebody".to_owned(), role, password: None, token: None };
    Caller::of(&user, Channel::Http, None)
}

/// Settings under which the same query gives the same rows in the same order.
pub(crate) fn config() -> QueryConfig {
    QueryConfig { threads: 1, ..World::config() }
}

/// The store, with or without others.
pub(crate) async fn engine(with_others: bool, config: QueryConfig) -> Arc<QueryEngine> {
    let world = world(with_others).await;
    canary_books::put(&world, with_others).await;
    world.engine_with(config).await
}

pub(crate) async fn world(with_others: bool) -> World {
    println!("seed {SEED}");
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let world = World { store, events: Vec::new(), suspended: 0, duplicates: 0 };
    let references = ReferenceStore::new(Arc::clone(&world.store));
    let reference = references.begin(1_000).await.unwrap().read_at(0);
    let (mut own, mut others) =
        (ChaCha8Rng::seed_from_u64(SEED), ChaCha8Rng::seed_from_u64(SEED + 1));
    for partition in 0..PARTITIONS {
        let mut claim = claim_entry(TOPIC, partition, PARTITIONS, "owner-1", None, 0, 1_000);
        claim.reference_version = reference.to_string();
        claim.next_reference = Some(reference.clone());
        let mut last = world.append(claim).await;
        for n in 1..=EPOCHS {
            let mut rows = Rows::default();
            for index in 0..OWN_ROWS {
                rows.own(&mut own, &format!("p{partition}n{n}i{index}"));
            }
            if with_others {
                for index in 0..OTHER_ROWS {
                    rows.other(&mut others, &format!("p{partition}n{n}i{index}"));
                }
            }
            let mut files = Vec::new();
            for (day, rows) in rows.events {
                let values = BTreeMap::from([("day".to_owned(), day.clone())]);
                let folder = format!("day={day}/");
                let table = Table::UsageEvents;
                files.push(world.file(table, &folder, values, &rows, partition, n).await);
            }
            for (table, rows) in rows.tables {
                files.push(world.file(table, "", BTreeMap::new(), &rows, partition, n).await);
            }
            let before = last.entry.clone();
            let entry = LedgerEntry {
                n,
                kind: EntryKind::Epoch,
                from: before.to,
                to: before.to + 100,
                input_hash: "00".to_owned(),
                files,
                watermark_ms: Some(i64::try_from(n).unwrap() * 60_000),
                committed_at_ms: 1_000 * i64::try_from(n).unwrap(),
                previous: last.hash.clone(),
                ..before
            };
            last = world.append(entry).await;
        }
    }
    world.publish().await;
    world.roll_up(1).await;
    world
}

#[derive(Default)]
struct Rows {
    events: BTreeMap<String, Vec<Value>>,
    tables: BTreeMap<Table, Vec<Value>>,
}

fn position(row: &mut Value) {
    for (name, value) in [("kafka_partition", 0), ("kafka_offset", 7), ("batch_index", 0)] {
        row[name] = value.into();
    }
    row["epoch"] = 1.into();
}

impl Rows {
    fn own(&mut self, random: &mut ChaCha8Rng, id: &str) {
        let models = ["deepseek-flash", "deepseek-v4-pro", "12", "3.5"];
        let model = models[random.random_range(0..models.len())];
        let day = format!("2026-11-2{}", random.random_range(0..3));
        let hour = random.random_range(0..24);
        let mut row = json!({
            "source": "gw", "id": id, "account": "A1", "subscriber": "S1", "model": model,
            "billed_model": model, "vendor": OWN, "supplier": OWN, "service_tier": "standard",
            "started_at": format!("{day}T{hour:02}:00:00.001Z"),
            "completed_at": format!("{day}T{hour:02}:00:01.500Z"),
            "usage_source": "reported", "vendor_request_id": format!("req-{id}"),
            "wholesale_currency": "CNY", "points": "5.000000", "retail_currency": "CNY",
            "retail_amount": "5.000000000000",
        });
        for class in TokenClass::ALL {
            // Zero to divide by, and enough to overflow a product.
            let counts = [0, 1, 5_000, 900_719_925_474_099_i64];
            row[class.name()] = counts[random.random_range(0..counts.len())].into();
        }
        if random.random_bool(0.8) {
            let amount = random.random_range(0..900);
            row["wholesale_amount"] = format!("{amount}.250000000000").into();
            row["finish_reason"] = ["stop", "length", "7"][random.random_range(0..3)].into();
            row["wholesale_price_ids"] = "deepseek-flash-input".into();
        }
        self.window(&row);
        position(&mut row);
        self.events.entry(day).or_default().push(row);
    }

    fn other(&mut self, random: &mut ChaCha8Rng, id: &str) {
        let vendor = OTHERS[random.random_range(0..OTHERS.len())];
        // Days of their own, too.
        let day = format!("2026-11-{}", random.random_range(18..26));
        let number = || format!("{CANARY_DIGITS}00");
        let text = |name: &str| format!("{CANARY}-{name}-{id}");
        let amount = || format!("{}.123456789012", number());
        let mut row = json!({
            "source": text("source"), "id": text("id"), "account": text("account"),
            "subscriber": text("subscriber"), "model": text("model"),
            "billed_model": text("billed"), "vendor": vendor, "supplier": text("supplier"),
            "region": text("region"), "channel": text("channel"), "product": text("product"),
            "service_tier": text("tier"), "started_at": format!("{day}T06:00:00.001Z"),
            "completed_at": format!("{day}T06:00:01.500Z"), "usage_source": text("usage"),
            "finish_reason": text("reason"), "vendor_request_id": text("request"),
            "points": format!("{}.000001", number()), "retail_amount": amount(),
            "wholesale_amount": amount(), "retail_currency": "QZA", "wholesale_currency": "QZB",
            "retail_price_ids": text("package"), "wholesale_price_ids": text("price"),
            "price_book_version": text("book"), "labels": format!("{{\"{CANARY}\":1}}"),
        });
        for class in TokenClass::ALL {
            row[class.name()] = number().parse::<u64>().unwrap().into();
        }
        self.window(&row);
        position(&mut row);
        self.events.entry(day).or_default().push(row);
        self.hidden(id, &text("hidden"));
    }

    /// The event's part of the windows.
    fn window(&mut self, event: &Value) {
        let mut row = event.clone();
        row["window_start"] = "2026-11-22T06:00:00Z".into();
        row["window_end"] = "2026-11-22T07:00:00Z".into();
        row["kind"] = "on_time".into();
        row["events"] = 1.into();
        position(&mut row);
        for table in [Table::UsageByModel, Table::UsageBySubscriber] {
            self.tables.entry(table).or_default().push(row.clone());
        }
    }

    /// Rows of tables that no vendor sees.
    fn hidden(&mut self, id: &str, text: &str) {
        let at = "2026-11-22T06:00:00Z";
        let mut put = |table, mut row: Value| {
            position(&mut row);
            self.tables.entry(table).or_default().push(row);
        };
        put(
            Table::Suspense,
            json!({"reason": text, "first_seen": at, "raw": text, "status": "open", "id": id}),
        );
        put(
            Table::QuotaLedger,
            json!({"account": text, "kind": "debit", "points": "-1.000000", "amount": "1.000000000000", "at": at}),
        );
        let mut told = json!({"source": text, "hour": at, "events": 7_318_547, "received_at": at});
        for class in TokenClass::ALL {
            told[class.name()] = 7_318_547.into();
        }
        put(Table::ControlTotals, told);
        put(
            Table::Alerts,
            json!({"id": text, "kind": "cap", "period_start": at, "counter": text, "threshold": 50, "used": "1.000000", "at": at}),
        );
    }
}
