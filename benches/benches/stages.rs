//! criterion over the stages that an event passes, so that a regression has an address.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tally_aggregate::stages::{DedupeStage, WindowStage};
use tally_aggregate::{Partition, PartitionConfig, encode_epoch, ledger};
use tally_log::{Record, RecordKind};
use tally_rating::{Call, LaneKey};
use tally_schemas::{AggregateConfig, TokenClass, UsageCounts, UsageEvent};

const EVENTS: usize = 20_000;

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

/// Both sides of one event, but for the account that pays: who is paid, what, by which prices, and
/// the points.
fn rated(rater: &mut tally_rating::Rater, event: &UsageEvent<'_>) -> (i128, Arc<str>, i128) {
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
    let points = rater.points_micro(lane, "default", None, &call).expect("every event has points");
    (rated.amount_pico, ids, points)
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
        let mut rater = tally_rating::Rater::new(Arc::new(card));
        bencher.iter(|| {
            for parsed in &parsed {
                black_box(rated(&mut rater, &parsed.event));
            }
        });
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
