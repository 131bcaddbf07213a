//! criterion over the stages that an event passes, so that a regression has an address.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tally_aggregate::stages::{DedupeStage, WindowStage};
use tally_aggregate::{Partition, PartitionConfig, encode_epoch, ledger};
use tally_log::{Record, RecordKind};
use tally_quota::{
    Action, Alert, ChargeEvent, Charged, Command, EntryKind, LedgerRow, Quota, QuotaReference,
    QuotaSink, Weigh, WeighError,
};
use tally_rating::{Call, LaneKey, LaneNumber, Rater};
use tally_schemas::{AggregateConfig, Currency, TokenClass, UsageCounts, UsageEvent};

const EVENTS: usize = 20_000;

/// How far the watermark is behind the newest event.
const LATENESS_MS: i64 = 30_000;

/// Whether events are priced and charged, or only counted.
#[derive(Clone, Copy)]
enum Mode {
    Rates,
    Counts,
}

fn partition(mode: Mode) -> Partition {
    let config = PartitionConfig {
        topic: "usage.events".to_owned(),
        partition: 0,
        partition_count: 4,
        log: None,
        aggregate: AggregateConfig {
            subscriber_window_ms: 60_000,
            lateness_ms: 30_000,
            rate: matches!(mode, Mode::Rates),
            ..AggregateConfig::default()
        },
    };
    Partition::new(config, tally_aggregate::ReferenceData::shipped().expect("the shipped book"), 0)
}

fn push_all(state: &mut Partition, records: &[Vec<u8>], kind: RecordKind) {
    for value in records {
        let record = Record {
            offset: state.next_offset(),
            timestamp_ms: tally_benches::BEGIN_MS + 3_600_000,
            key: None,
            value: Some(value),
            kind,
        };
        assert!(state.push(record).is_ok(), "nothing is sealed in this input");
    }
}

/// What one event costs wholesale, for who charges it.
struct Bought<'a> {
    lane: LaneNumber,
    call: Call<'a>,
    billed_model: &'a str,
    amount_pico: i128,
    currency: Currency,
}

/// The vendor's side of one event: what is paid, by which prices; and what `charge` makes of it.
fn rated<T>(
    rater: &mut Rater,
    event: &UsageEvent<'_>,
    charge: impl FnOnce(&mut Rater, &Bought<'_>) -> T,
) -> (i128, Arc<str>, T) {
    let completed_at_ms = event.completed_at_ms.expect("every event has a time");
    let started_at_ms = event.started_at_ms().unwrap_or(completed_at_ms);
    let card = Arc::clone(rater.card());
    let to = tally_rating::attribute(&card, event, completed_at_ms).expect("every model is known");
    let call = Call { usage: &event.usage, started_at_ms, completed_at_ms };
    let lane = rater.lane(&LaneKey {
        vendor: to.vendor,
        supplier: to.supplier,
        billed_model: to.billed_model,
        service_tier: event.service_tier(),
        region: event.region.as_deref(),
    });
    let rated = rater.wholesale(lane, &call).expect("every event has a price");
    let ids = rater.price_ids(lane, rated.prices);
    let bought = Bought {
        lane,
        call,
        billed_model: to.billed_model,
        amount_pico: rated.amount_pico,
        currency: rated.currency,
    };
    let charged = charge(rater, &bought);
    (rated.amount_pico, ids, charged)
}

/// The points of one event by any table of weights.
struct Weigher<'a> {
    rater: RefCell<&'a mut Rater>,
    lane: LaneNumber,
    call: Call<'a>,
}

impl Weigh for Weigher<'_> {
    fn points_micro(&self, weights: &str) -> Result<i128, WeighError> {
        let mut rater = self.rater.borrow_mut();
        let points = rater.points_micro(self.lane, weights, None, &self.call);
        points.map_err(|_| WeighError::UnknownTable)
    }
}

/// Counts what charging tells, and drops it.
#[derive(Debug, Clone, Default)]
struct Told {
    debits: usize,
    overruns: usize,
}

impl QuotaSink for Told {
    fn entry(&mut self, row: LedgerRow<'_>) {
        self.debits += usize::from(row.kind == EntryKind::Debit);
        self.overruns += usize::from(row.kind == EntryKind::Overrun);
    }

    fn alert(&mut self, _: Alert<'_>) {}
}

/// Accounts that have bought a package each, which is more than they use.
#[derive(Debug, Clone)]
struct Accounts {
    quota: Quota,
    watermark_ms: i64,
    told: Told,
}

impl Accounts {
    fn with_packages(names: &BTreeSet<&str>) -> Self {
        let reference = QuotaReference::from_toml(tally_rating::SHIPPED_PACKAGES);
        let mut quota = Quota::new(Arc::new(reference.expect("the shipped packages")));
        let mut told = Told::default();
        let at_ms = tally_benches::BEGIN_MS;
        for name in names {
            let action = Action::Purchase { package: "telecom-40m".to_owned(), quantity: 1 };
            let id = format!("buy-{name}");
            let command = Command { id, account: (*name).to_owned(), at_ms, action };
            quota.command(&command, Some(at_ms), &mut told).expect("the package is sold");
        }
        quota.settle();
        Self { quota, watermark_ms: at_ms, told }
    }

    /// Both sides of one event: what the vendor is paid, and what the account is charged.
    fn charge(&mut self, rater: &mut Rater, event: &UsageEvent<'_>) -> (i128, Arc<str>, Charged) {
        rated(rater, event, |rater, bought| {
            let call = bought.call;
            let charge = ChargeEvent {
                source: &event.source,
                id: &event.id,
                account: &event.account,
                subscriber: event.subscriber(),
                model: &event.model,
                billed_model: bought.billed_model,
                product: event.product.as_deref(),
                started_at_ms: call.started_at_ms,
                completed_at_ms: call.completed_at_ms,
                log_time_ms: call.completed_at_ms,
                wholesale_pico: bought.amount_pico,
                wholesale_currency: Some(bought.currency),
            };
            let Self { quota, watermark_ms, told } = self;
            *watermark_ms = (*watermark_ms).max(call.completed_at_ms - LATENESS_MS);
            quota.advance(*watermark_ms, told);
            let weigher = Weigher { rater: RefCell::new(rater), lane: bought.lane, call };
            let charged = quota.charge(&charge, &weigher, Some(*watermark_ms), told);
            charged.expect("every event has points")
        })
    }
}

fn stages(criterion: &mut Criterion) {
    let events = tally_benches::json_events(EVENTS, 0, 4);
    let batches = tally_benches::batches(&events, 500);
    let json: Vec<Vec<u8>> = events.iter().cloned().map(String::into_bytes).collect();
    let mut group = criterion.benchmark_group("stages");
    group.throughput(Throughput::Elements(EVENTS as u64));

    group.bench_function("decode json", |bencher| {
        bencher.iter(|| {
            for event in &json {
                black_box(tally_schemas::parse_event(event));
            }
        });
    });
    group.bench_function("identity and content hash", |bencher| {
        let parsed: Vec<_> = json.iter().map(|event| tally_schemas::parse_event(event)).collect();
        let mut scratch = Vec::new();
        bencher.iter(|| {
            for parsed in &parsed {
                black_box(parsed.event.identity_hash(&mut scratch));
                black_box(parsed.event.content_hash(&mut scratch));
            }
        });
    });
    group.bench_function("wholesale amount, price ids and points", |bencher| {
        let parsed: Vec<_> = json.iter().map(|event| tally_schemas::parse_event(event)).collect();
        let card = tally_rating::RateCard::shipped().expect("the shipped book");
        let mut rater = Rater::new(Arc::new(card));
        bencher.iter(|| {
            for parsed in &parsed {
                black_box(rated(&mut rater, &parsed.event, |rater, bought| {
                    let points = rater.points_micro(bought.lane, "default", None, &bought.call);
                    points.expect("every event has points")
                }));
            }
        });
    });
    group.bench_function("both sides, the same with a bucket charged", |bencher| {
        let parsed: Vec<_> = json.iter().map(|event| tally_schemas::parse_event(event)).collect();
        let card = tally_rating::RateCard::shipped().expect("the shipped book");
        let mut rater = Rater::new(Arc::new(card));
        let names: BTreeSet<&str> = parsed.iter().map(|parsed| &*parsed.event.account).collect();
        let accounts = Accounts::with_packages(&names);
        let mut once = accounts.clone();
        for parsed in &parsed {
            once.charge(&mut rater, &parsed.event);
        }
        let Told { debits, overruns } = once.told;
        assert_eq!((debits, overruns), (EVENTS, 0), "every event is paid by a bucket");
        bencher.iter_batched_ref(
            || accounts.clone(),
            |accounts| {
                for parsed in &parsed {
                    black_box(accounts.charge(&mut rater, &parsed.event));
                }
            },
            BatchSize::LargeInput,
        );
    });
    let times = |index: usize| tally_benches::BEGIN_MS + (index as i64) / 10;
    let accounts: Vec<String> = (0..EVENTS).map(|i| format!("A{:09}", i * 7_919 % 9_973)).collect();
    group.bench_function("dedupe of new ids", |bencher| {
        bencher.iter_batched_ref(
            DedupeStage::default,
            |stage| {
                for index in 0..EVENTS {
                    let id = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    assert!(stage.is_new(id, 1, times(index)));
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("windows by subscriber", |bencher| {
        let mut counts = UsageCounts::default();
        counts.set(TokenClass::Input, 1_200);
        counts.set(TokenClass::Output, 300);
        bencher.iter_batched_ref(
            WindowStage::default,
            |stage| {
                for (index, account) in accounts.iter().enumerate() {
                    stage.add(account, times(index), &counts);
                }
            },
            BatchSize::LargeInput,
        );
    });
    for (mode, what) in [(Mode::Counts, "counted"), (Mode::Rates, "rated and charged")] {
        for (records, kind, form) in
            [(&json, RecordKind::Single, "json"), (&batches, RecordKind::Batch, "batches")]
        {
            group.bench_function(format!("from {form} to rows, {what}"), |bencher| {
                bencher.iter_batched_ref(
                    || partition(mode),
                    |state| push_all(state, records, kind),
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.bench_function("decode and dedupe of duplicates", |bencher| {
        let mut state = partition(Mode::Counts);
        push_all(&mut state, &json, RecordKind::Single);
        bencher.iter(|| push_all(&mut state, &json, RecordKind::Single));
    });
    let claim = ledger::claim_entry("usage.events", 0, 4, "bench", None, 0, 0);
    let last = ledger::StoredEntry { entry: claim, hash: String::new() };
    for (mode, what) in [(Mode::Counts, "counted"), (Mode::Rates, "rated and charged")] {
        group.bench_function(format!("parquet and state of an epoch, {what}"), |bencher| {
            let mut state = partition(mode);
            push_all(&mut state, &json, RecordKind::Single);
            let closed = state.close();
            bencher.iter_batched(
                || closed.clone(),
                |closed| black_box(encode_epoch(closed, &last, "bench", 0)),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn ledger_entry(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    let folder = std::env::temp_dir().join(format!("tally-bench-{}", std::process::id()));
    let url = folder.display().to_string();
    let Ok(store) = tally_aggregate::open_store(&url, &BTreeMap::new()) else { return };
    let mut n = 0;
    criterion.bench_function("ledger: create an entry on a local folder", |bencher| {
        bencher.iter(|| {
            let mut entry = ledger::claim_entry("usage.events", 0, 4, "bench", None, 0, 0);
            entry.n = n;
            n += 1;
            if let Ok(bytes) = ledger::encode(&entry) {
                black_box(runtime.block_on(ledger::create(store.as_ref(), &entry, &bytes)));
            }
        });
    });
    drop(std::fs::remove_dir_all(folder));
}

criterion_group!(benches, stages, ledger_entry);
criterion_main!(benches);
