//! Prices that are approved while a process is frozen: when it comes back, it alerts by what the
//! log says and not by what it knew (I7, R3, R27).

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::{Dice, Figures, Payload, Process, Stream, at_scale, eventually, patience};

/// Points of the package `telecom-10m`, one a token.
const ALLOWANCE: u64 = 10_000_000;
/// Accounts that are sent before the approval, and after it.
const ACCOUNTS: u64 = 6_000;
/// Alerts of the one to be frozen, before it is.
const ALERTS_BEFORE: u64 = 300;

/// Accounts that use a bucket up with two models, of which one has no price so far.
fn usage(dice: &mut Dice, prefix: &str) -> Vec<Payload> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at_ms = now.as_millis() as u64 - 3_600_000;
    let payload = |value: &Value| Payload {
        partition: 0,
        value: Some(value.to_string().into_bytes()),
        batch: false,
    };
    let mut payloads = Vec::new();
    for number in 0..ACCOUNTS {
        let account = format!("{prefix}-{number}");
        payloads.push(payload(&json!({"command": "purchase", "id": format!("b-{account}"),
            "account": account, "at": at_ms, "package": "telecom-10m"})));
        let (mut used, mut event_number) = (0, 0);
        while used < ALLOWANCE {
            let tokens = dice.between(1_000_000, 4_000_000);
            let priced = event_number % 2 == 0;
            let (model, vendor) = if priced { ("glm-5", "zhipu") } else { ("acme-1", "acme") };
            payloads.push(payload(
                &json!({"source": "gw", "id": format!("{account}-{event_number}"),
                "account": account, "model": model, "vendor": vendor,
                "completed_at": at_ms + event_number, "usage": {"input": tokens}}),
            ));
            event_number += 1;
            used += if priced { tokens } else { 0 };
        }
    }
    payloads
}

/// Two people put a price of `acme-1` in force.
fn approve(stream: &mut Stream, folder: &std::path::Path) {
    let file = folder.join("acme.csv");
    let text = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,valid_from,valid_to\na,wholesale,acme,acme-1,input,token,CNY,3000000,2026-01-01,\n";
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    for arguments in
        [["price", "import", &file, "--by", "alice"], ["price", "approve", &file, "--by", "bob"]]
    {
        let command = stream.tally(&arguments);
        stream.run("price", command);
    }
}

/// The offset of the record that says by which edition what follows is rated.
fn named_at(stream: &Stream) -> Option<u64> {
    let values = stream.topic.values();
    let at = values.iter().position(|(_, value)| {
        let value: Value = serde_json::from_slice(value).unwrap_or_default();
        value["command"] == "reference" && value["version"].as_str().unwrap().starts_with("1-")
    });
    at.map(|at| at as u64)
}

/// Waits until everything is committed and the last entry names edition 1.
fn rated_by_the_new(stream: &Stream, heir: &mut Process) {
    let mut ledger = stream.ledger();
    eventually("the heir's change", patience(), || {
        heir.assert_running();
        let next = ledger.last(0)?.next_reference?;
        (next.edition == 1 && stream.is_committed(&mut ledger)).then_some(())
    });
}

/// Checks the topic of alerts against the table; returns how many alerts there are, and how many
/// came again.
fn expect_no_other_alert(stream: &mut Stream) -> (u64, u64) {
    let mut by_id: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut again = 0;
    for (_, value) in stream.alerts_topic().values() {
        let message: Value = serde_json::from_slice(&value).unwrap();
        let id = message["id"].as_str().unwrap().to_owned();
        if let Some(before) = by_id.insert(id, value.clone()) {
            let (before, value) =
                (String::from_utf8_lossy(&before), String::from_utf8_lossy(&value));
            assert_eq!(before, value, "one id says two things");
            again += 1;
        }
    }
    stream.set("query.rows_max", 4_000_000);
    let rows = stream
        .sql("SELECT id, account, event_id, threshold FROM alerts WHERE superseded_by IS NULL");
    let table: BTreeMap<String, &Value> =
        rows.iter().map(|row| (row["id"].as_str().unwrap().to_owned(), row)).collect();
    assert_eq!(table.len(), rows.len(), "an id is in the table twice");
    let missing: Vec<_> = table.iter().filter(|(id, _)| !by_id.contains_key(*id)).take(3).collect();
    assert!(missing.is_empty(), "missing in the topic: {missing:?}");
    let false_ones: Vec<_> = by_id
        .iter()
        .filter(|(id, _)| !table.contains_key(*id))
        .map(|(_, value)| String::from_utf8_lossy(value))
        .take(3)
        .collect();
    assert!(false_ones.is_empty(), "false in the topic: {false_ones:?}");
    for (id, value) in &by_id {
        let message: Value = serde_json::from_slice(value).unwrap();
        assert_eq!(message["event"]["id"], table[id]["event_id"], "{id}");
    }
    (by_id.len() as u64, again)
}

#[test]
fn a_process_that_comes_back_alerts_by_the_prices_of_the_log() {
    let mut dice = Dice::of("alert-prices");
    let folder = tempfile::tempdir().unwrap();
    let mut figures = Figures::of("I7 alerts through a freeze and an approval", &dice);
    let (mut alerts, mut again, mut of_zombies) = (0, 0, 0);
    for round in 0..at_scale(1, 20) {
        let mut stream = Stream::new(&format!("alert-prices-{round}"), dice.next_seed(), 1);
        stream.set("aggregate.reference_poll_ms", 100);
        // It commits nothing before it is frozen, and goes on for long after that.
        stream.set("aggregate.freshness_ms", 600_000);
        stream.set("aggregate.epoch_max_events", 10_000_000);
        stream.topic.append(&usage(&mut dice, "before"));
        let mut zombie = stream.aggregate("zombie");
        let sent = eventually("alerts of the one to be frozen", patience(), || {
            zombie.assert_running();
            let last = stream.ledger().last(0)?;
            let sent = stream.alerts_topic().records();
            (last.n == 0 && sent > ALERTS_BEFORE).then_some(sent)
        });
        zombie.freeze();
        approve(&mut stream, folder.path());
        stream.set("aggregate.freshness_ms", 300);
        let mut heir = stream.aggregate("heir");
        rated_by_the_new(&stream, &mut heir);
        let named = named_at(&stream).expect("the log says where edition 1 begins");
        stream.topic.append(&usage(&mut dice, "after"));
        let mut ledger = stream.ledger();
        eventually("the heir's backlog", patience(), || {
            heir.assert_running();
            stream.is_committed(&mut ledger).then_some(())
        });
        let before_thaw = stream.alerts_topic().records();
        assert!(before_thaw > sent, "the heir alerts");
        zombie.thaw();
        zombie.says("dropping the partition", patience());
        of_zombies += stream.alerts_topic().records() - before_thaw;
        assert!(heir.terminate(patience()).success());
        assert!(zombie.terminate(patience()).success());
        stream.drain();
        let found = expect_no_other_alert(&mut stream);
        (alerts, again) = (alerts + found.0, again + found.1);
        // Before the record nothing has a price of acme, after it everything has.
        let rows = stream
            .sql("SELECT min(kafka_offset) AS lowest FROM usage_events WHERE vendor = 'acme'");
        let first: u64 = rows[0]["lowest"].to_string().trim_matches('"').parse().unwrap();
        assert!(first > named, "{first} was rated by what the log says at {named}");
        let rows = stream
            .sql("SELECT max(kafka_offset) AS highest FROM suspense WHERE reason = 'no_price'");
        let last: u64 = rows[0]["highest"].to_string().trim_matches('"').parse().unwrap();
        assert!(last < named, "{last} has a price by what the log says at {named}");
        let verify = stream.tally(&["verify"]);
        stream.run("verify", verify);
        crate::kill::note_ledger(&mut figures, &stream);
    }
    assert!(of_zombies > 0, "nobody alerted after it came back: nothing was shown");
    figures.note("alerts", alerts);
    figures.note("sent_again", again);
    figures.note("sent_by_zombies", of_zombies);
    figures.report();
}
