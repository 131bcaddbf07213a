//! R17: an event that is lost before Kafka is named by gateway, hour and number, within five minutes
//! of the control total, while the stream goes on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::door::{address, post};
use crate::support::{Dice, Figures, Stream, at_scale, block_on, eventually, patience};

/// Midnight in Shanghai of a day that is over.
const MIDNIGHT_MS: u64 = 1_795_190_400_000;
const HOUR_MS: u64 = 3_600_000;
const GATEWAYS: [&str; 2] = ["gw-sh-01", "gw-sh-02"];

/// The event that a gateway numbers `seq` of `a_day` on that day.
fn event(source: &str, seq: u64, a_day: u64) -> Value {
    let at_ms = MIDNIGHT_MS + (seq - 1) * 24 * HOUR_MS / a_day;
    json!({
        "source": source, "id": format!("{source}-{seq}"), "account": format!("A{:09}", seq % 1_000),
        "model": "glm-5", "vendor": "zhipu", "completed_at": at_ms,
        "usage": {"input": 400 + seq % 7, "output": 300}, "gateway_epoch": 7, "gateway_seq": seq,
    })
}

/// Control totals of a gateway's day, an hour each, from what it numbered.
fn totals(source: &str, a_day: u64) -> Vec<Value> {
    let hour_of = |seq: u64| (seq - 1) * 24 / a_day;
    let mut totals: Vec<Value> = Vec::new();
    for hour in 0..24 {
        let seqs: Vec<u64> = (1..=a_day).filter(|seq| hour_of(*seq) == hour).collect();
        let input: u64 = seqs.iter().map(|seq| 400 + seq % 7).sum();
        totals.push(json!({
            "source": source, "gateway_epoch": 7, "hour": MIDNIGHT_MS + hour * HOUR_MS,
            "events": seqs.len(), "first_seq": seqs[0], "last_seq": seqs[seqs.len() - 1],
            "usage": {"input": input, "output": 300 * seqs.len(), "requests": seqs.len()},
        }));
    }
    totals
}

/// From a control total to the hour that is flagged.
const FLAGGED_WITHIN: Duration = Duration::from_secs(300);

/// S8: two gateways, one day, one event lost.
#[test]
fn a_lost_event_is_named() {
    let mut dice = Dice::of("completeness");
    let mut stream = Stream::new("completeness", dice.seed(), 4);
    // Epochs as they are in production, not the small ones of the other fault tests.
    stream.set("aggregate.freshness_ms", 1_000);
    stream.set("aggregate.epoch_max_events", 100_000);
    let mut member = stream.aggregate("live");
    let command = stream.tally(&["ingest"]);
    let mut door = stream.start("ingest", command);
    let host = address(&door.says("127.0.0.1:", patience())).to_owned();
    let a_day = at_scale(6_000, 5_000_000);
    let lost = (GATEWAYS[dice.index(2)], dice.between(1, a_day + 1));
    println!("lost: {} {}", lost.0, lost.1);
    let url = format!("http://{host}/v1/events");
    let kind = "application/json";
    for source in GATEWAYS {
        let mut seq = 1;
        while seq <= a_day {
            let to = (seq + 500).min(a_day + 1);
            let batch: Vec<Value> = (seq..to)
                .filter(|seq| (source, *seq) != lost)
                .map(|seq| event(source, seq, a_day))
                .collect();
            let sent = batch.len();
            let (status, answer) = block_on(post(&url, kind, Value::Array(batch).to_string()));
            assert_eq!((status, &answer["accepted"]), (200, &json!(sent)), "{answer}");
            seq = to;
        }
    }
    let told = Instant::now();
    let url = format!("http://{host}/v1/control-totals");
    for source in GATEWAYS {
        let all = Value::Array(totals(source, a_day)).to_string();
        // Sent twice, as a gateway does that got no answer.
        for _ in 0..2 {
            let (status, answer) = block_on(post(&url, kind, all.clone()));
            assert_eq!((status, &answer), (200, &json!({"accepted": 24})), "{answer}");
        }
    }
    let wrong = json!({"source": "gw", "hour": 1, "events": 1, "usage": {"prompt": 1}});
    let (status, answer) = block_on(post(&url, kind, wrong.to_string()));
    assert_eq!((status, answer["errors"].as_array().map(Vec::len)), (422, Some(2)), "{answer}");
    // The stream goes on: what it has not read yet is missing only for a moment.
    let hours = "SELECT source, missing FROM settlement.completeness WHERE state <> 'complete'";
    let flagged = eventually("the hour of the lost event flagged", FLAGGED_WITHIN, || {
        let hours = stream.sql(hours);
        let [hour] = hours.as_slice() else { return None };
        let is_it =
            hour["source"] == lost.0 && hour["missing"].to_string().trim_matches('"') == "1";
        is_it.then(|| told.elapsed())
    });
    let numbers = "SELECT source, first_missing, last_missing FROM settlement.missing_events";
    let named = stream.sql(numbers);
    assert_eq!((named.len(), &named[0]["source"]), (1, &json!(lost.0)), "{named:?}");
    let number = lost.1.to_string();
    for end in ["first_missing", "last_missing"] {
        assert_eq!(named[0][end].to_string().trim_matches('"'), number, "{named:?}");
    }
    let after = told.elapsed();
    assert!(after <= FLAGGED_WITHIN, "named after {after:?}");
    member.assert_running();
    assert!(member.terminate(patience()).success());
    assert!(door.terminate(patience()).success());
    stream.drain();

    let states = stream.sql("SELECT source, hour, missing, state FROM settlement.completeness WHERE state <> 'complete'");
    assert_eq!(states.len(), 1, "{states:?}");
    assert_eq!((&states[0]["source"], &states[0]["state"]), (&json!(lost.0), &json!("missing")));
    assert_eq!(states[0]["missing"].to_string().trim_matches('"'), "1");
    let hours = stream.sql("SELECT count(*) AS n FROM settlement.completeness");
    assert_eq!(hours[0]["n"].to_string().trim_matches('"'), "48");
    let missing = stream.sql("SELECT source, gateway_epoch, first_missing, last_missing, hour FROM settlement.missing_events");
    assert_eq!(missing.len(), 1, "{missing:?}");
    let of = |name: &str| missing[0][name].to_string().trim_matches('"').to_owned();
    assert_eq!((of("source"), of("gateway_epoch")), (lost.0.to_owned(), "7".to_owned()));
    assert_eq!((of("first_missing"), of("last_missing")), (number.clone(), number));
    assert_eq!(missing[0]["hour"], states[0]["hour"]);
    let mut figures = Figures::of("R17 one event lost", &dice);
    figures.note("events", 2 * a_day - 1);
    figures.note("flagged_after_ms", flagged.as_millis() as u64);
    figures.note("named_after_ms", after.as_millis() as u64);
    figures.report();
}
