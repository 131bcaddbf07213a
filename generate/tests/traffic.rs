//! Synthetic traffic: determinism, proportions, and that the truth is the truth.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tally_generate::{
    EventBody, GeneratedEvent, Outcome, PoisonKind, Share, Traffic, TrafficParams, Truth,
    encode_batch, encode_json,
};
use tally_schemas::{TokenClass, UsageBatch, UsageEvent, parse_event};

/// Everything at once: resends, late and bad events.
fn mixed(seed: u64, events: u64) -> TrafficParams {
    TrafficParams {
        seed,
        events,
        accounts: 3_000,
        span_ms: 2 * 3_600_000,
        resent: Share::parts_per_million(50_000),
        late: Share::parts_per_million(20_000),
        bad: Share::parts_per_million(30_000),
        ..TrafficParams::default()
    }
}

fn bytes_of(event: &GeneratedEvent) -> Vec<u8> {
    match &event.body {
        EventBody::Event(event) => {
            let mut bytes = Vec::new();
            encode_json(event, &mut bytes).unwrap();
            bytes
        }
        EventBody::Raw(bytes) => bytes.clone(),
    }
}

fn usage_event(event: &GeneratedEvent) -> &UsageEvent<'static> {
    match &event.body {
        EventBody::Event(event) => event,
        EventBody::Raw(bytes) => panic!("raw: {}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let run = |seed| -> Vec<Vec<u8>> {
        Traffic::new(mixed(seed, 5_000)).map(|event| bytes_of(&event)).collect()
    };
    let (first, again, other) = (run(11), run(11), run(12));
    assert!(first == again, "seed 11 differs from itself");
    assert!(first != other);
}

/// A seed that is written in an issue must still make the same traffic next year.
#[test]
fn the_meaning_of_a_seed_does_not_change() {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut first = None;
    for event in Traffic::new(mixed(7, 1_000)) {
        let bytes = bytes_of(&event);
        for byte in &bytes {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        first.get_or_insert_with(|| String::from_utf8(bytes).unwrap());
    }
    assert_eq!(
        first.unwrap(),
        r#"{"source":"gw-js-01","id":"req-e7ae617a-0","account":"A000002227","model":"hunyuan-turbos","vendor":"tencent","started_at":1793494797360,"completed_at":1793494799170,"usage":{"input":144,"output":16},"finish_reason":"stop","region":"js","channel":"api","vendor_request_id":"chatcmpl-8570a1f000000000","gateway_epoch":4,"gateway_seq":1}"#
    );
    assert_eq!(sum, 0x7d6e8c07e766536d, "FNV-1a of all bytes: {sum:#x}");
}

#[test]
fn runs_of_other_parameters_share_no_id() {
    let ids = |params| -> BTreeSet<String> {
        Traffic::new(params)
            .filter(|event| event.expected == Outcome::Accepted)
            .map(|event| usage_event(&event).id.to_string())
            .collect()
    };
    let base = TrafficParams { events: 500, ..TrafficParams::default() };
    let later = TrafficParams { start_ms: base.start_ms + 1, ..base.clone() };
    let reseeded = TrafficParams { seed: base.seed + 1, ..base.clone() };
    let first = ids(base);
    assert!(first.is_disjoint(&ids(later)));
    assert!(first.is_disjoint(&ids(reseeded)));
}

#[test]
fn every_valid_event_reads_back_equal_from_json_and_protobuf() {
    for event in Traffic::new(mixed(3, 3_000)) {
        let EventBody::Event(usage_event) = &event.body else { continue };
        let bytes = bytes_of(&event);
        let parsed = parse_event(&bytes);
        assert_eq!(parsed.errors, [], "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(parsed.unknown_fields, [""; 0]);
        assert_eq!(&parsed.event, &**usage_event);
        let batch: UsageBatch = prost::Message::decode(&*encode_batch([&**usage_event])).unwrap();
        assert_eq!(batch.events[0].id, usage_event.id);
        assert_eq!(
            batch.events[0].usage.unwrap().output.unwrap_or(0),
            usage_event.usage.get(TokenClass::Output)
        );
        assert_eq!(event.account, usage_event.account);
    }
}

#[test]
fn every_kind_of_poison_is_seen_by_the_schema_with_its_reason() {
    let mut seen = BTreeSet::new();
    for kind in PoisonKind::ALL {
        let params = TrafficParams {
            events: 40,
            bad: Share::ALL,
            poison: vec![kind],
            ..TrafficParams::default()
        };
        let bad: Vec<GeneratedEvent> = Traffic::new(params)
            .filter(|event| matches!(event.expected, Outcome::Suspended(_)))
            .collect();
        assert_eq!(bad.len(), 40, "{kind:?}");
        for event in bad {
            assert_eq!(event.expected, Outcome::Suspended(kind.reason()));
            let bytes = bytes_of(&event);
            let parsed = parse_event(&bytes);
            let reasons: BTreeSet<_> = parsed.errors.iter().map(|e| e.code.reason()).collect();
            match kind {
                // What only the stream can know: aliases, the time, what came before.
                PoisonKind::UnknownModel => {
                    assert_eq!(parsed.event.vendor, None);
                    assert!(reasons.is_empty());
                }
                PoisonKind::Future | PoisonKind::Conflict => assert!(reasons.is_empty()),
                _ => assert_eq!(reasons, BTreeSet::from([kind.reason()]), "{kind:?}"),
            }
            let refused = parsed.errors.iter().any(|error| error.code.refused_at_door());
            assert!(!refused || kind.refused_at_door(), "{kind:?}");
            seen.insert(kind);
        }
    }
    assert_eq!(seen.len(), PoisonKind::ALL.len());
}

/// Recounts from the bytes alone, by identity and content: first seen counts.
#[test]
fn the_truth_equals_an_independent_recount() {
    for seed in [1, 2, 77] {
        let params = mixed(seed, 8_000);
        let mut truth = Truth::new(seed);
        let mut contents: HashMap<(String, String), Vec<u8>> = HashMap::new();
        let (mut accepted, mut duplicates, mut suspended, mut sent) = (0, 0, 0, 0);
        let mut tokens: BTreeMap<&str, u128> = BTreeMap::new();
        let mut by_model: BTreeMap<(String, String), u64> = BTreeMap::new();
        let vendors: HashMap<&str, &str> =
            tally_generate::MODELS.iter().map(|model| (model.name, model.vendor)).collect();
        let century_ms = params.start_ms + 90 * 365 * 86_400_000;
        for event in Traffic::new(params) {
            truth.add(&event).unwrap();
            sent += 1;
            let bytes = bytes_of(&event);
            let parsed = parse_event(&bytes);
            let future = parsed.event.completed_at_ms.is_some_and(|at| at > century_ms);
            let Some(vendor) = vendors.get(&*parsed.event.model) else {
                suspended += 1;
                continue;
            };
            if !parsed.errors.is_empty() || future {
                suspended += 1;
                continue;
            }
            let identity = (parsed.event.source.to_string(), parsed.event.id.to_string());
            match contents.get(&identity) {
                Some(first) if *first == bytes => duplicates += 1,
                Some(_) => suspended += 1,
                None => {
                    accepted += 1;
                    for class in TokenClass::ALL {
                        let count = u128::from(parsed.event.usage.get(class));
                        *tokens.entry(class.name()).or_default() += count;
                    }
                    let key = (parsed.event.model.to_string(), (*vendor).to_owned());
                    *by_model.entry(key).or_default() += 1;
                    contents.insert(identity, bytes.clone());
                }
            }
        }
        assert_eq!(truth.sent, sent, "seed {seed}");
        assert_eq!((truth.accepted, truth.duplicates), (accepted, duplicates), "seed {seed}");
        assert_eq!(truth.suspended.values().sum::<u64>(), suspended, "seed {seed}");
        assert_eq!(truth.sent, truth.accepted + truth.duplicates + suspended);
        tokens.retain(|_, sum| *sum != 0);
        let told: BTreeMap<&str, u128> =
            truth.tokens.iter().map(|(class, sum)| (class.as_str(), sum.0)).collect();
        assert_eq!(told, tokens, "seed {seed}");
        let told: BTreeMap<(String, String), u64> = truth
            .by_model
            .iter()
            .map(|row| ((row.model.clone(), row.vendor.clone()), row.events))
            .collect();
        assert_eq!(told, by_model, "seed {seed}");
    }
}

#[test]
fn arrivals_never_fall_and_events_stay_in_the_period() {
    let params = mixed(5, 6_000);
    let (start_ms, end_ms) =
        (params.start_ms, params.start_ms + i64::try_from(params.span_ms).unwrap());
    let mut last = i64::MIN;
    for event in Traffic::new(params) {
        assert!(event.arrival_ms >= last);
        last = event.arrival_ms;
        if event.expected == Outcome::Accepted {
            let completed = usage_event(&event).completed_at_ms.unwrap();
            assert!(completed > start_ms - 86_400_000 - 10_000 && completed <= end_ms);
            assert!(completed <= event.arrival_ms);
            assert!(usage_event(&event).started_at_ms.unwrap() <= completed);
        }
    }
}

#[test]
fn shares_are_as_asked() {
    let events = 40_000;
    let mut counts = BTreeMap::new();
    let mut late = 0_u64;
    for event in Traffic::new(mixed(21, events)) {
        let name = match event.expected {
            Outcome::Accepted => {
                let completed = usage_event(&event).completed_at_ms.unwrap();
                late += u64::from(event.arrival_ms - completed > 10_000);
                "accepted"
            }
            Outcome::Duplicate => "duplicate",
            Outcome::Suspended(_) => "suspended",
            Outcome::Unjudged => "unjudged",
        };
        *counts.entry(name).or_insert(0_u64) += 1;
    }
    let near = |found: u64, wanted: u64| found.abs_diff(wanted) * 10 < wanted;
    assert!(near(counts["duplicate"], events * 97 / 2_000), "{counts:?}");
    assert!(near(counts["suspended"], events * 3 / 100), "{counts:?}");
    assert!(near(late, events * 97 / 5_000), "late {late}");
}

#[test]
fn gateways_number_their_events_without_a_hole() {
    let mut last: BTreeMap<(String, u64), u64> = BTreeMap::new();
    for event in Traffic::new(mixed(8, 20_000)) {
        if event.expected != Outcome::Accepted {
            continue;
        }
        let event = usage_event(&event);
        let seq = event.gateway_seq.unwrap();
        let place = (event.source.to_string(), event.gateway_epoch.unwrap());
        assert_eq!(seq, last.get(&place).copied().unwrap_or(0) + 1, "{place:?}");
        last.insert(place, seq);
    }
    assert!(last.len() >= 20, "{} gateways", last.len());
}

#[test]
fn traffic_is_skewed_and_wide() {
    let mut by_account: HashMap<String, u64> = HashMap::new();
    let (mut models, mut classes, mut regions) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut of_account: HashMap<String, BTreeSet<String>> = HashMap::new();
    let events = 30_000;
    for event in Traffic::new(TrafficParams { events, accounts: 5_000, ..TrafficParams::default() })
    {
        let event = usage_event(&event);
        *by_account.entry(event.account.to_string()).or_default() += 1;
        of_account.entry(event.account.to_string()).or_default().insert(event.model.to_string());
        models.insert(event.model.to_string());
        regions.insert(event.region.clone());
        classes.extend(TokenClass::ALL.into_iter().filter(|class| event.usage.get(*class) > 0));
    }
    assert_eq!(models.len(), 30);
    assert_eq!(classes.len(), TokenClass::ALL.len(), "{classes:?}");
    assert_eq!(regions.len(), 8);
    assert!(of_account.values().all(|models| models.len() <= 3));
    let mut sizes: Vec<u64> = by_account.into_values().collect();
    sizes.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
    let top: u64 = sizes.iter().take(sizes.len() / 100).sum();
    assert!(top * 10 > events, "the top 1 % of accounts have {top} of {events}");
}

#[test]
fn truths_of_two_runs_add_up() {
    let truth_of = |runs: &[u64]| {
        let mut truth = Truth::new(0);
        for seed in runs {
            for event in Traffic::new(mixed(*seed, 1_000)) {
                truth.add(&event).unwrap();
            }
        }
        truth
    };
    let mut merged = truth_of(&[31]);
    merged.merge(&truth_of(&[32])).unwrap();
    assert_eq!(merged, truth_of(&[31, 32]));
    let text = serde_json::to_string(&merged).unwrap();
    assert_eq!(serde_json::from_str::<Truth>(&text).unwrap(), merged);
}
