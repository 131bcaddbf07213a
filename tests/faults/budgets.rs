//! Budgets and commitments through kills: what is used is what the events come to, and each
//! threshold has one alert.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tally_generate::Truth;

use crate::door::{address, post};
use crate::embedded;
use crate::kill::note_stream;
use crate::support::{
    Dice, Figures, Process, Stream, Traffic, at_scale, block_on, eventually, patience,
};

const PATIENCE: Duration = Duration::from_secs(60);

const HEAD: &str = "title = \"t\"\ntitle_en = \"t\"\nsource = \"test\"\nknown_from = \"2020-01-01\"\n\
                    approved_by = \"a\"\napproved_at = \"2020-01-01\"\nvalid_from = \"2020-01-01\"\n";

/// The tokens that a model of a vendor used, of the disjoint classes.
fn tokens(truth: &Truth, counts: impl Fn(&str, &str) -> bool) -> u128 {
    let beside = ["reasoning", "requests", "images", "seconds", "characters"];
    let models = truth.by_model.iter().filter(|model| counts(&model.model, &model.vendor));
    models
        .flat_map(|model| &model.tokens)
        .filter(|(class, _)| !beside.contains(&class.as_str()))
        .map(|(_, sum)| sum.0)
        .sum()
}

/// A decimal of SQL as a whole number of its last place.
fn units(value: &Value) -> u128 {
    value.as_str().unwrap_or_default().replace('.', "").parse().unwrap()
}

/// R1 for the second stage: killed before and after each of its steps, and at random instants.
#[test]
fn budgets_are_exact_through_kills() {
    let mut dice = Dice::of("budgets");
    let mut stream = Stream::new("budgets", dice.seed(), 4);
    let events = at_scale(1_500, 20_000);
    // Many thresholds, so that each round passes some.
    let thresholds: Vec<u32> = (1..=200).map(|step| step * 5).collect();
    let limit = events * 2_000;
    let text: String = [("all", ""), ("vendor", "vendor = \"deepseek\""), ("models", "model = \"glm-*\"")]
        .map(|(id, scope)| {
            format!(
                "[[budget]]\nid = \"{id}\"\nkind = \"commitment\"\nperiod = \"once\"\n\
                 valid_to = \"2100-01-01\"\ntokens = {limit}\nthresholds = {thresholds:?}\n{HEAD}{scope}\n"
            )
        })
        .concat();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("budgets.toml");
    std::fs::write(&file, text).unwrap();
    stream.set("budgets.file", file.display());
    let mut ledger = stream.ledger();
    let points = [
        "relaying",
        "relayed",
        "budgets_polled",
        "budgets_noticed",
        "budgets_closed",
        "budgets_committed",
    ];
    let rounds = at_scale(1, 20);
    let mut kills = 0;
    for round in 0..rounds {
        for point in points {
            stream.send(&Traffic::mixed(dice.next_seed(), events));
            // In a group of its own nobody waits until the session of the dead has timed out.
            stream.set("log.group", format!("{}-{point}-{round}", stream.topic.name));
            let most = if point == "relaying" || point == "relayed" { 6 } else { 1 };
            let times = 1 + dice.index(most);
            let mut process = stream.aggregate_dying("member", &format!("{point}:{times}"));
            let status = process.wait(patience());
            assert!(status.code().is_none(), "{point}:{times} did not kill: {status}");
            kills += 1;
        }
        let sending = stream.sending(&Traffic::mixed(dice.next_seed(), events));
        for again in 0..3 {
            stream.set("log.group", format!("{}-{again}-{round}", stream.topic.name));
            let member = stream.aggregate("member");
            dice.pause(300, 1_500);
            member.kill();
            kills += 1;
        }
        stream.sent(sending);
    }
    stream.drain();
    assert!(stream.is_committed(&mut ledger));
    stream.expect_exactly_once();

    let rows = stream
        .sql("SELECT id, package, threshold, superseded_by FROM alerts WHERE kind = 'commitment'");
    let ids: BTreeSet<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids.len(), rows.len(), "an alert is there twice");
    let mut told: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for row in &rows {
        let threshold = row["threshold"].to_string().trim_matches('"').parse().unwrap();
        told.entry(row["package"].as_str().unwrap()).or_default().insert(threshold);
        if let Some(by) = row["superseded_by"].as_str() {
            assert!(ids.contains(by), "superseded by one that is not there: {row}");
        }
    }
    let mut sent: BTreeMap<String, u64> = BTreeMap::new();
    for (_, value) in stream.alerts_topic().values() {
        let message: Value = serde_json::from_slice(&value).unwrap();
        if message["kind"] == "commitment" {
            *sent.entry(message["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let due: BTreeMap<String, u64> = rows
        .iter()
        .filter(|row| row["superseded_by"].is_null())
        .map(|row| (row["id"].as_str().unwrap().to_owned(), 1))
        .collect();
    assert_eq!(sent, due, "the topic of alerts, how often each");
    let used: BTreeMap<String, u128> = stream
        .sql("SELECT budget, used FROM settlement.budgets")
        .iter()
        .map(|row| (row["budget"].as_str().unwrap().to_owned(), units(&row["used"])))
        .collect();
    let truth = &stream.truth;
    for (budget, expected) in [
        ("all", tokens(truth, |_, _| true)),
        ("vendor", tokens(truth, |_, vendor| vendor == "deepseek")),
        ("models", tokens(truth, |model, _| model.starts_with("glm-"))),
    ] {
        assert_eq!(used[budget], expected * 1_000_000_000_000, "{budget}");
        let reached: BTreeSet<u64> = thresholds
            .iter()
            .map(|percent| u64::from(*percent))
            .filter(|percent| expected * 100 >= u128::from(limit) * u128::from(*percent))
            .collect();
        assert!(reached.len() > 3, "{budget} reaches next to nothing: {expected} of {limit}");
        assert_eq!(told.get(budget), Some(&reached), "{budget}");
    }
    let mut figures = Figures::of("R1 budgets", &dice);
    figures.note("kills", kills);
    figures.note("budget_alerts", rows.len() as u64);
    note_stream(&mut figures, &stream, &ledger);
    figures.report();
}

/// `tally …` with everything below `folder`, and a budget of 20 tokens a day.
fn tally(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = embedded::tally(folder, arguments);
    command.env("TALLY_BUDGETS__FILE", folder.join("budgets.toml"));
    command
}

fn write_budgets(folder: &Path, fields: &str) {
    let text = format!(
        "[[budget]]\nid = \"glm-day\"\nkind = \"budget\"\nperiod = \"day\"\nmodel = \"glm-*\"\n\
         tokens = 20\nthresholds = [50, 100]\n{HEAD}{fields}\n"
    );
    std::fs::write(folder.join("budgets.toml"), text).unwrap();
}

fn send(address: &str, id: &str, completed_at: &str, input: u32) {
    let event = json!({"source": "gw-1", "id": id, "account": format!("A{id}"), "model": "glm-5",
                       "completed_at": completed_at, "usage": {"input": input, "reasoning": 0}});
    let url = format!("http://{address}/v1/events");
    let (status, answer) = block_on(post(&url, "application/json", event.to_string()));
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
}

fn sql(folder: &Path, query: &str) -> Vec<Value> {
    let command = tally(folder, &["sql", "--format", "json", query]);
    let output = Process::start("sql", command, folder).succeed(PATIENCE);
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{query}: {error}: {output}"))
}

/// Period start, threshold, and what was used, of each alert in their order.
fn alerts(folder: &Path) -> Vec<(String, String, u128)> {
    let query = "SELECT CAST(period_start AS VARCHAR) AS start, CAST(threshold AS VARCHAR) AS threshold, \
                 used FROM alerts WHERE kind = 'budget' AND superseded_by IS NULL ORDER BY 1, 2";
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| (text(&row["start"]), text(&row["threshold"]), units(&row["used"]));
    sql(folder, query).iter().map(row).collect()
}

/// One process on the embedded log: a day ends at midnight in Shanghai, and a kill changes nothing.
#[test]
fn a_day_ends_in_shanghai_in_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_budgets(folder, "");
    let up = |name: &str| {
        let mut process = Process::start(name, tally(folder, &["up"]), folder);
        let address = address(&process.says("HTTP ", PATIENCE)).to_owned();
        (process, address)
    };
    let (process, at) = up("up");
    send(&at, "1", "2026-11-22T15:59:59.999Z", 10);
    send(&at, "2", "2026-11-22T16:00:00.000Z", 9);
    let first = ("2026-11-21T16:00:00Z".to_owned(), "50".to_owned(), 10_000_000);
    eventually("the first alert", PATIENCE, || (alerts(folder) == [first.clone()]).then_some(()));
    process.kill();

    let (mut process, at) = up("up-again");
    // A resend is a duplicate; what is new reaches both thresholds of the second day at once.
    send(&at, "1", "2026-11-22T15:59:59.999Z", 10);
    send(&at, "3", "2026-11-23T15:59:59.999Z", 11);
    let second = ("2026-11-22T16:00:00Z".to_owned(), "100".to_owned(), 20_000_000);
    eventually("the second day's alert", PATIENCE, || {
        (alerts(folder) == [first.clone(), second.clone()]).then_some(())
    });
    let rows = sql(
        folder,
        "SELECT CAST(period_start AS VARCHAR) AS start, CAST(percent AS VARCHAR) AS percent, passed \
         FROM settlement.budgets WHERE period_start < '2026-11-23T16:00:00Z' ORDER BY 1",
    );
    let rows: Vec<_> =
        rows.iter().map(|row| (&row["start"], &row["percent"], &row["passed"])).collect();
    assert_eq!(
        rows,
        [
            (&json!("2026-11-21T16:00:00Z"), &json!("50"), &json!("50")),
            (&json!("2026-11-22T16:00:00Z"), &json!("100"), &json!("50,100")),
        ]
    );
    assert!(process.terminate(PATIENCE).success());
    Process::start("verify", tally(folder, &["verify"]), folder).succeed(PATIENCE);
}

#[test]
fn a_budget_that_is_wrong_is_told_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    write_budgets(folder.path(), "amount_micro = 5");
    let mut process = Process::start("up", tally(folder.path(), &["up"]), folder.path());
    assert_eq!(process.wait(PATIENCE).code(), Some(3));
    let log = process.log();
    assert!(
        log.contains("budget glm-day: amount_micro, points_micro, tokens: exactly one"),
        "{log}"
    );
}

/// What a bounded run has to relay at its end may take longer than one that is away is waited for.
#[test]
fn a_bounded_run_relays_all_epochs_however_long_that_takes() {
    let dice = Dice::of("budgets-relay");
    let mut stream = Stream::new("budgets-relay", dice.seed(), 1);
    stream.set("aggregate.freshness_ms", 5);
    let mut ledger = stream.ledger();
    let sending = stream.sending(&Traffic::mixed(dice.seed(), 12_000).at_rate(2_000));
    let mut member = stream.aggregate("member");
    stream.sent(sending);
    eventually("the epochs", patience(), || {
        member.assert_running();
        stream.is_committed(&mut ledger).then_some(())
    });
    member.kill();
    let epochs = ledger.height();
    assert!(epochs > 100, "{epochs} epochs are soon relayed");
    // A second stage that knows nothing yet.
    stream.set("budgets.topic", format!("{}.again", stream.topic.name));
    stream.set("log.group", format!("{}-again", stream.topic.name));
    stream.set("aggregate.drain_timeout_ms", 20);
    stream.drain();
    let budgets = stream.sql("SELECT sum(used) AS used FROM settlement.budgets");
    assert_ne!(units(&budgets[0]["used"]), 0);
}
