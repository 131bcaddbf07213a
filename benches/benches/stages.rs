//! criterion over each stage, so that a regression has an address.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn decode(criterion: &mut Criterion) {
    let events = tally_benches::json_events(10_000, 0, 4);
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("json", |bencher| {
        bencher.iter(|| {
            for event in &events {
                black_box(tally_schemas::parse_event(event.as_bytes()));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
