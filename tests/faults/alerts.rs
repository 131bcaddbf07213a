//! I7: whatever instant a kill hits, each alert is in the topic once, none is missing and none is
//! false. What must come out is reckoned here, from what is sent, without any of our code.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tally_generate::{ModelTruth, Sum, Truth};
use tally_schemas::partition_of;

use crate::support::{Dice, Figures, Payload, Process, Stream, Topic, at_scale, patience};

/// Points of the package `telecom-10m`, one a token, and its thresholds in percent.
const ALLOWANCE: u64 = 10_000_000;
const THRESHOLDS: [u64; 3] = [100, 80, 50];
/// Records that are sent together.
const CHUNK: usize = 400;
/// Crossings whose records are in memory at a time.
const WAVE: u64 = 4_000;

/// What an alert is about: account, threshold, and the event that crossed it.
pub(crate) type Crossing = (String, u64, String);

/// Accounts with a bucket each, and usage that crosses its thresholds.
#[derive(Default)]
pub(crate) struct Crossings {
    payloads: Vec<Payload>,
    /// To be sent.
    pub(crate) sent: BTreeSet<Crossing>,
    /// To be recorded only.
    superseded: u64,
    /// Distinct events, those that come again, and tokens of the distinct ones.
    events: u64,
    resent: u64,
    tokens: u128,
}

impl Crossings {
    /// At least `count` of them.
    pub(crate) fn make(dice: &mut Dice, partitions: u32, prefix: &str, count: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let at_ms = now.as_millis() as u64 - 3_600_000;
        let mut made = Self::default();
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
                made.events += 1;
                made.tokens += u128::from(tokens);
                records.push(payload(&event));
                if dice.chance(10) {
                    made.resent += 1;
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
        std::thread::spawn(move || send(&topic, &payloads, time))
    }

    /// Makes and sends at least `count` of them in the background, over about `time`. Wave by wave:
    /// the records of a million do not lie in memory, only what must come of them.
    fn in_waves(dice: &Dice, topic: &Topic, count: u64, time: Duration) -> JoinHandle<Self> {
        let (mut dice, topic) = (dice.clone(), topic.clone());
        let waves = count.div_ceil(WAVE);
        let time_each = time / u32::try_from(waves).unwrap();
        std::thread::spawn(move || {
            let mut all = Self::default();
            for wave in 0..waves {
                let prefix = format!("kill-{wave}");
                let some = Self::make(&mut dice, topic.partitions, &prefix, count.min(WAVE));
                send(&topic, &some.payloads, time_each);
                all.add(some);
            }
            all
        })
    }

    /// What must come of these too; their records are sent.
    fn add(&mut self, sent: Self) {
        self.sent.extend(sent.sent);
        self.superseded += sent.superseded;
        self.events += sent.events;
        self.resent += sent.resent;
        self.tokens += sent.tokens;
    }

    /// What must come of the events, whatever is charged for them.
    fn truth(&self) -> Truth {
        // Each event is one request too.
        let requests = ("requests".to_owned(), Sum(u128::from(self.events)));
        let tokens = BTreeMap::from([("input".to_owned(), Sum(self.tokens)), requests]);
        let model = ModelTruth {
            model: "glm-5".to_owned(),
            vendor: "zhipu".to_owned(),
            events: self.events,
            tokens: tokens.clone(),
        };
        Truth {
            seed: 0,
            sent: self.events + self.resent,
            accepted: self.events,
            duplicates: self.resent,
            suspended: BTreeMap::new(),
            tokens,
            by_model: vec![model],
        }
    }
}

fn send(topic: &Topic, payloads: &[Payload], time: Duration) {
    let chunks = payloads.chunks(CHUNK);
    let pause = time / u32::try_from(chunks.len().max(1)).unwrap();
    for chunk in chunks {
        topic.append(chunk);
        std::thread::sleep(pause);
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

/// Checks the topic and the table against what must come out, one record and one slice of the table
/// at a time, and then what was counted and charged.
fn expect_each_once(stream: &mut Stream, must: &Crossings) -> u64 {
    // Each crossing, with the id by which the topic has it.
    let mut told: BTreeMap<&Crossing, Option<String>> =
        must.sent.iter().map(|crossing| (crossing, None)).collect();
    let topic = stream.alerts_topic();
    topic.each(|partition, value| {
        let message: Value = serde_json::from_slice(value).unwrap();
        let crossing = crossing_of(&message, &message["event"]["id"]);
        assert_eq!(message["kind"], "percent_used");
        assert_eq!(partition, partition_of(&crossing.0, topic.partitions));
        let id = message["id"].as_str().unwrap().to_owned();
        let Some(known) = told.get_mut(&crossing) else {
            panic!("false in the topic: {id} {crossing:?}")
        };
        let before = known.replace(id);
        assert!(before.is_none(), "{crossing:?} is in the topic twice: {before:?} and {known:?}");
    });
    let missing: Vec<_> = told.iter().filter(|(_, id)| id.is_none()).take(5).collect();
    assert!(missing.is_empty(), "missing in the topic: {missing:?}");
    stream.set("query.rows_max", 4_000_000);
    let slices = at_scale(1, 10);
    for slice in 0..slices {
        // By the last digit of the account.
        let of_slice = if slices == 1 { String::new() } else { slice.to_string() };
        let rows = stream.sql(&format!(
            "SELECT id, account, threshold, event_id FROM alerts \
             WHERE superseded_by IS NULL AND account LIKE '%{of_slice}'"
        ));
        for row in rows {
            let crossing = crossing_of(&row, &row["event_id"]);
            // What is there twice is not found the second time.
            let id = told.remove(&crossing).flatten();
            assert_eq!(id.as_deref(), row["id"].as_str(), "the table's {crossing:?}");
        }
    }
    let missing: Vec<_> = told.iter().take(5).collect();
    assert!(missing.is_empty(), "in the topic and not in the table: {missing:?}");
    let rows = stream.sql(
        "SELECT count(superseded_by) AS superseded, count(*) - count(DISTINCT id) AS twice FROM alerts",
    );
    let number = |name: &str| rows[0][name].to_string().trim_matches('"').to_owned();
    assert_eq!(number("superseded"), must.superseded.to_string());
    assert_eq!(number("twice"), "0", "an id is in the table twice");
    stream.truth = must.truth();
    stream.expect_exactly_once();
    must.sent.len() as u64
}

#[test]
fn alerts_are_sent_once_through_kills() {
    let mut dice = Dice::of("alerts-kill");
    let partitions = 4;
    let mut stream = Stream::new("alerts-kill", dice.seed(), partitions);
    stream.set("aggregate.freshness_ms", 300);
    let count = at_scale(4_000, 1_000_000);
    let time = Duration::from_secs(at_scale(14, 3_600));
    let sending = Crossings::in_waves(&dice, &stream.topic, count, time);
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
    let crossings = sending.join().unwrap();
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
    let mut all = Crossings::default();
    for round in 0..rounds {
        for point in points {
            let prefix = format!("{point}-{round}");
            let some = Crossings::make(&mut dice, partitions, &prefix, 300);
            stream.topic.append(&some.payloads);
            all.add(some);
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
