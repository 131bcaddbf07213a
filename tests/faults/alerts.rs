//! I7: whatever instant a kill hits, each alert is in the topic once, none is missing and none is
//! false. What must come out is reckoned here, from what is sent, without any of our code.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tally_schemas::partition_of;

use crate::support::{Dice, Figures, Payload, Process, Stream, Topic, at_scale, patience};

/// Points of the package `telecom-10m`, one a token, and its thresholds in percent.
const ALLOWANCE: u64 = 10_000_000;
const THRESHOLDS: [u64; 3] = [100, 80, 50];
/// Records that are sent together.
const CHUNK: usize = 400;

/// What an alert is about: account, threshold, and the event that crossed it.
pub(crate) type Crossing = (String, u64, String);

/// Accounts with a bucket each, and usage that crosses its thresholds.
pub(crate) struct Crossings {
    payloads: Vec<Payload>,
    /// To be sent.
    pub(crate) sent: BTreeSet<Crossing>,
    /// To be recorded only.
    superseded: u64,
}

impl Crossings {
    /// At least `count` of them.
    pub(crate) fn make(dice: &mut Dice, partitions: u32, prefix: &str, count: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let at_ms = now.as_millis() as u64 - 3_600_000;
        let mut made = Self { payloads: Vec::new(), sent: BTreeSet::new(), superseded: 0 };
        // Turn by turn, so that an epoch has the crossings of many accounts.
        let mut steps: Vec<Vec<Payload>> = Vec::new();
        let mut account_number = 0;
        while (made.sent.len() as u64) < count {
            let account = format!("{prefix}-{account_number}");
            account_number += 1;
            let partition = partition_of(&account, partitions);
            let payload = |value: &Value| Payload {
                partition,
                value: Some(value.to_string().into_bytes()),
                batch: false,
            };
            let purchase = json!({"command": "purchase", "id": format!("b-{account}"),
                "account": account, "at": at_ms, "package": "telecom-10m"});
            let mut records = vec![payload(&purchase)];
            let (mut used, mut event_number) = (0, 0);
            while used < ALLOWANCE {
                let tokens = dice.between(200_000, 6_000_000);
                let id = format!("{account}-{event_number}");
                let event = json!({"source": "gw", "id": id, "account": account,
                    "model": "glm-5", "completed_at": at_ms + event_number,
                    "usage": {"input": tokens}});
                event_number += 1;
                let after = (used + tokens).min(ALLOWANCE);
                let crossed = |percent: &&u64| {
                    let limit = ALLOWANCE * **percent;
                    used * 100 < limit && after * 100 >= limit
                };
                let mut crossed = THRESHOLDS.iter().filter(crossed);
                if let Some(highest) = crossed.next() {
                    made.sent.insert((account.clone(), *highest, id));
                }
                made.superseded += crossed.count() as u64;
                used = after;
                records.push(payload(&event));
                if dice.chance(10) {
                    records.push(payload(&event));
                }
            }
            for (turn, record) in records.into_iter().enumerate() {
                if steps.len() <= turn {
                    steps.push(Vec::new());
                }
                steps[turn].push(record);
            }
        }
        made.payloads = steps.into_iter().flatten().collect();
        made
    }

    /// Sends them in the background, over about `time`.
    pub(crate) fn sending(&self, topic: &Topic, time: Duration) -> JoinHandle<()> {
        let (topic, payloads) = (topic.clone(), self.payloads.clone());
        std::thread::spawn(move || {
            let chunks = payloads.chunks(CHUNK);
            let pause = time / u32::try_from(chunks.len().max(1)).unwrap();
            for chunk in chunks {
                topic.append(chunk);
                std::thread::sleep(pause);
            }
        })
    }
}

fn crossing_of(row: &Value, event_id: &Value) -> Crossing {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let threshold = match &row["threshold"] {
        Value::String(text) => text.parse().unwrap(),
        number => number.as_u64().unwrap(),
    };
    (text(&row["account"]), threshold, text(event_id))
}

/// Checks the topic and the table against what must come out.
fn expect_each_once(stream: &mut Stream, must: &Crossings) -> u64 {
    let mut by_id: BTreeMap<String, Crossing> = BTreeMap::new();
    let mut topic: BTreeSet<Crossing> = BTreeSet::new();
    for (partition, value) in stream.alerts_topic().values() {
        let message: Value = serde_json::from_slice(&value).unwrap();
        let crossing = crossing_of(&message, &message["event"]["id"]);
        assert_eq!(message["kind"], "percent_used");
        assert_eq!(partition, partition_of(&crossing.0, stream.alerts_topic().partitions));
        let id = message["id"].as_str().unwrap().to_owned();
        let twice = by_id.insert(id.clone(), crossing.clone());
        assert!(twice.is_none(), "alert {id} is in the topic twice: {twice:?} and {crossing:?}");
        topic.insert(crossing);
    }
    let missing: Vec<&Crossing> = must.sent.difference(&topic).take(5).collect();
    assert!(missing.is_empty(), "missing in the topic: {missing:?}");
    let false_ones: Vec<&Crossing> = topic.difference(&must.sent).take(5).collect();
    assert!(false_ones.is_empty(), "false in the topic: {false_ones:?}");
    stream.set("query.rows_max", 4_000_000);
    let rows = stream
        .sql("SELECT id, account, threshold, event_id FROM alerts WHERE superseded_by IS NULL");
    let table: BTreeMap<String, Crossing> = rows
        .iter()
        .map(|row| (row["id"].as_str().unwrap().to_owned(), crossing_of(row, &row["event_id"])))
        .collect();
    assert_eq!(rows.len(), table.len(), "an id is in the table twice");
    assert!(table == by_id, "the table has other alerts than the topic");
    let rows = stream.sql("SELECT count(*) AS n FROM alerts WHERE superseded_by IS NOT NULL");
    assert_eq!(rows[0]["n"].to_string().trim_matches('"'), must.superseded.to_string());
    by_id.len() as u64
}

#[test]
fn alerts_are_sent_once_through_kills() {
    let mut dice = Dice::of("alerts-kill");
    let partitions = 4;
    let mut stream = Stream::new("alerts-kill", dice.seed(), partitions);
    stream.set("aggregate.freshness_ms", 300);
    let count = at_scale(4_000, 1_000_000);
    let crossings = Crossings::make(&mut dice, partitions, "kill", count);
    let seconds = at_scale(14, 3_600);
    let sending = crossings.sending(&stream.topic, Duration::from_secs(seconds));
    let mut members = vec![stream.aggregate("member"), stream.aggregate("member")];
    let (mut kills, mut cycle) = (0, 0);
    while !sending.is_finished() {
        // Long enough to take partitions over and to alert.
        dice.pause(600, 2_500);
        cycle += 1;
        if dice.chance(40) {
            members.swap_remove(dice.index(members.len())).kill();
            kills += 1;
        } else {
            kills += members.len();
            members.drain(..).for_each(Process::kill);
            // In a group of its own nobody waits until the sessions of the dead have timed out.
            stream.set("log.group", format!("{}-{cycle}", stream.topic.name));
        }
        while members.len() < 2 {
            members.push(stream.aggregate("member"));
        }
    }
    sending.join().unwrap();
    kills += members.len();
    members.into_iter().for_each(Process::kill);
    stream.drain();
    let alerts = expect_each_once(&mut stream, &crossings);
    let mut figures = Figures::of("I7 alerts through kill -9", &dice);
    figures.note("alerts", alerts);
    figures.note("superseded", crossings.superseded);
    figures.note("kills", kills as u64);
    crate::kill::note_ledger(&mut figures, &stream);
    figures.report();
}

#[test]
fn alerts_are_sent_once_through_kills_at_every_point() {
    let mut dice = Dice::of("alerts-points");
    let partitions = 2;
    let mut stream = Stream::new("alerts-points", dice.seed(), partitions);
    let points = ["noticed", "alerting", "alerted", "closed", "uploaded", "committed"];
    let rounds = at_scale(2, 50);
    let mut all = Crossings { payloads: Vec::new(), sent: BTreeSet::new(), superseded: 0 };
    for round in 0..rounds {
        for point in points {
            let prefix = format!("{point}-{round}");
            let some = Crossings::make(&mut dice, partitions, &prefix, 300);
            stream.topic.append(&some.payloads);
            all.sent.extend(some.sent);
            all.superseded += some.superseded;
            stream.set("log.group", format!("{}-{prefix}", stream.topic.name));
            let times = if round == 0 { 1 } else { 1 + dice.index(2) };
            let mut process = stream.aggregate_dying("member", &format!("{point}:{times}"));
            let status = process.wait(patience());
            assert!(status.code().is_none(), "{point}:{times} did not kill: {status}");
        }
    }
    stream.drain();
    let alerts = expect_each_once(&mut stream, &all);
    let mut figures = Figures::of("I7 alerts through kills at points", &dice);
    figures.note("alerts", alerts);
    figures.note("kills", rounds * points.len() as u64);
    figures.report();
}
