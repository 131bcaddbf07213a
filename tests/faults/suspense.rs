//! Held-back events with the real program: repaired and recycled, given up by two people, and once
//! each, whatever dies in between.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::door::{address, post};
use crate::embedded::{PATIENCE, json_of};
use crate::support::{Dice, Process, Stream, block_on, eventually, patience};

const AT: &str = "2026-11-20T12:00:00+08:00";

/// What nobody knows before it is imported: whose `acme-1` is, and what it costs; at [`AT`] it is
/// another price than now.
const ALIAS: &str = r#"
[[alias]]
id = "acme-1"
model = "acme-1"
vendor = "acme"
billed_model = "acme-1"
valid_from = "2026-01-01"
"#;
const PRICES: &str = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,valid_from,valid_to\n\
    a,wholesale,acme,acme-1,input,token,CNY,3000000,2026-01-01,2026-11-20T12:00:00+08:00\n\
    b,wholesale,acme,acme-1,input,token,CNY,7000000,2026-11-20T12:00:00+08:00,2026-11-20T12:01:00+08:00\n\
    c,wholesale,acme,acme-1,input,token,CNY,9000000,2026-11-20T12:01:00+08:00,\n";

/// Events of `acme-1`, which nobody knows; two of `glm-5`; one that cannot be counted.
fn events(unknown: usize) -> Value {
    let event = |n: usize, model: &str, usage: Value| {
        json!({"source": "gw-1", "id": format!("e-{n}"), "account": format!("A{}", n % 20),
               "model": model, "completed_at": AT, "usage": usage})
    };
    let mut all: Vec<Value> =
        (0..unknown).map(|n| event(n, "acme-1", json!({"input": 1_000 + n}))).collect();
    all.push(event(unknown, "glm-5", json!({"input": 10})));
    all.push(event(unknown + 1, "glm-5", json!({"input": 10})));
    all.push(event(unknown + 2, "glm-5", json!({"input": 10, "video": 3})));
    Value::Array(all)
}

/// What the vendor is owed for the events of `acme-1`, pico-yuan: the price that was in force at
/// their own time.
fn owed_pico(unknown: usize) -> i128 {
    (0..unknown).map(|n| i128::try_from(1_000 + n).unwrap() * 7_000_000).sum()
}

/// Runs a command and returns its exit code and everything that it said.
fn said(mut command: Command) -> (i32, String) {
    let output = command.output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&words).into_owned())
}

/// Imports alias and prices by alice and approves them by bob.
fn repair(folder: &Path, tally: impl Fn(&[&str]) -> Command) {
    let files = [("alias.toml", ALIAS), ("prices.csv", PRICES)].map(|(name, text)| {
        let path: PathBuf = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    });
    let (code, words) = said(tally(&["price", "import", &files[0], &files[1], "--by", "alice"]));
    assert_eq!(code, 0, "{words}");
    let (code, words) = said(tally(&["price", "approve", "1", "--by", "bob"]));
    assert_eq!(code, 0, "{words}");
}

fn tally(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = crate::embedded::tally(folder, arguments);
    command.env("TALLY_AGGREGATE__REFERENCE_POLL_MS", "100");
    command
}

fn up(folder: &Path, name: &str) -> (Process, String) {
    let mut process = Process::start(name, tally(folder, &["up"]), folder);
    let address = address(&process.says("HTTP ", PATIENCE)).to_owned();
    (process, address)
}

fn sql(folder: &Path, query: &str) -> Value {
    json_of(folder, "sql", &["sql", "--format", "json", query])
}

/// Number of held-back events by status, once they are what they should be.
fn until_statuses(folder: &Path, wanted: &Value) {
    eventually(&format!("statuses {wanted}"), PATIENCE, || {
        let query = "SELECT status, count(*) AS n FROM suspense GROUP BY status ORDER BY status";
        (sql(folder, query) == *wanted).then_some(())
    });
}

/// Every partition rates by edition 1.
fn until_adopted(folder: &Path) {
    eventually("the price book in every ledger", PATIENCE, || {
        let query = "SELECT partition FROM system.partitions";
        let partitions = sql(folder, query).as_array().unwrap().len();
        let adopted = (0..partitions).filter(|partition| {
            let ledger = folder.join(format!("store/ledger/usage.events/{partition}"));
            let entries =
                (0..).map_while(|n| std::fs::read(ledger.join(format!("{n:020}.json"))).ok());
            entries.last().is_some_and(|bytes| {
                let entry: Value = serde_json::from_slice(&bytes).unwrap();
                entry["next_reference"].as_str().is_some_and(|named| named.starts_with("1-"))
            })
        });
        (partitions > 0 && adopted.count() == partitions).then_some(())
    });
}

/// On the embedded log, which the running process has: it is asked.
#[test]
fn what_is_held_back_is_repaired_recycled_once_and_the_rest_is_given_up_by_two() {
    const UNKNOWN: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (process, address) = up(folder, "up");
    let url = format!("http://{address}/v1/events");
    let (status, answer) = block_on(post(&url, "application/json", events(UNKNOWN).to_string()));
    assert_eq!((status, &answer["accepted"]), (200, &json!(UNKNOWN + 3)), "{answer}");
    until_statuses(folder, &json!([{"n": UNKNOWN + 1, "status": "open"}]));
    // Records that take rows out of suspense come from no gateway.
    let forged = json!({"command": "recycle", "id": "c", "at": 1});
    let commands = format!("http://{address}/v1/accounts/A1/commands");
    let (status, answer) = block_on(post(&commands, "application/json", forged.to_string()));
    assert_eq!(status, 422, "{answer}");

    // Nothing is repaired yet, and nothing is sent.
    let recycle = ["suspense", "recycle", "--by", "carol", "--json"];
    let before = json_of(folder, "recycle-early", &recycle);
    assert_eq!(before["sent"], json!(0), "{before}");
    let listed = json_of(folder, "list", &["suspense", "list", "--json", "--model", "acme-1"]);
    assert_eq!(listed.as_array().unwrap().len(), UNKNOWN, "{listed}");
    assert!(listed[0]["raw"].as_str().unwrap().contains("acme-1"), "{listed}");

    repair(folder, |arguments| tally(folder, arguments));
    until_adopted(folder);
    let dry = [&recycle[..], &["--dry-run"]].concat();
    let told = json_of(folder, "dry-run", &dry);
    let group = |told: &Value, fate: &str| {
        let groups = told["groups"].as_array().unwrap().clone();
        groups.into_iter().find(|group| group["fate"] == fate).unwrap()
    };
    let owed = tally_schemas::decimal_text(owed_pico(UNKNOWN), 12);
    assert_eq!(group(&told, "recycled")["wholesale"], json!({"CNY": owed}), "{told}");
    assert_eq!(group(&told, "never")["reason"], json!("unknown_usage_class"), "{told}");
    // Three people at once, and the process dies in the middle.
    let others: Vec<_> = (0..3)
        .map(|_| {
            let mut command = tally(folder, &recycle);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let told = json_of(folder, "recycle", &recycle);
    for mut other in others {
        other.wait().unwrap();
    }
    process.kill();
    let (mut process, address) = up(folder, "up-again");
    let statuses = json!([{"n": 1, "status": "open"}, {"n": UNKNOWN, "status": "recycled"}]);
    until_statuses(folder, &statuses);
    assert!(told["sent"].as_u64().unwrap() <= UNKNOWN as u64, "{told}");
    // Once more, and the gateway's own resend.
    assert_eq!(json_of(folder, "recycle-again", &recycle)["sent"], json!(0));
    let url = format!("http://{address}/v1/events");
    let (status, _) = block_on(post(&url, "application/json", events(UNKNOWN).to_string()));
    assert_eq!(status, 200);
    let row = sql(
        folder,
        "SELECT count(*) AS n, count(DISTINCT id) AS ids, sum(wholesale_amount) AS owed, \
         max(wholesale_price_ids) AS price FROM usage_events WHERE model = 'acme-1'",
    );
    let owed = tally_schemas::decimal_text(owed_pico(UNKNOWN), 12);
    assert_eq!(row, json!([{"n": UNKNOWN, "ids": UNKNOWN, "owed": owed, "price": "b"}]));

    // What is left is given up: nobody approves what they proposed.
    let off = ["suspense", "write-off", "--reason", "a class of a test", "--by", "carol"];
    let (code, words) = said(tally(folder, &off));
    assert!(code == 2 && words.contains("say which"), "{code}: {words}");
    let held_for = ["--held-for", "unknown_usage_class"];
    let (code, words) = said(tally(folder, &[&off[..], &held_for].concat()));
    assert!(code == 0 && words.contains("write-off 0 by carol"), "{code}: {words}");
    let approve = |by: &'static str| {
        said(tally(folder, &["suspense", "write-off", "--approve", "0", "--by", by]))
    };
    let (code, words) = approve("Carol");
    assert!(code == 3 && words.contains("four eyes"), "{code}: {words}");
    for _ in 0..2 {
        let (code, words) = approve("dave");
        assert!(code == 0 && words.contains("approved by dave"), "{code}: {words}");
    }
    let (code, words) = approve("erin");
    assert!(code == 3 && words.contains("approved already, by dave"), "{code}: {words}");
    let statuses = json!([{"n": UNKNOWN, "status": "recycled"}, {"n": 1, "status": "written_off"}]);
    until_statuses(folder, &statuses);
    let given_up = sql(
        folder,
        "SELECT resolved_by, approved_by, why, input FROM suspense_resolutions \
         WHERE resolution = 'written_off'",
    );
    let expected = json!([{"resolved_by": "carol", "approved_by": "dave",
        "why": "a class of a test", "input": 10}]);
    assert_eq!(given_up, expected);

    assert!(process.terminate(PATIENCE).success());
    let status = json_of(folder, "status", &["status", "--json"]);
    assert_eq!(status["suspended"], json!({}), "{status}");
    Process::start("verify", tally(folder, &["verify"]), folder).succeed(PATIENCE);
}

/// On Kafka and S3: two at once, each record twice in the log, an owner killed at its commits.
#[test]
fn a_recycled_event_is_accepted_once_through_kill_9() {
    const UNKNOWN: usize = 60;
    let dice = Dice::of("suspense");
    let mut stream = Stream::new("suspense", dice.seed(), 2);
    stream.set("aggregate.reference_poll_ms", 100);
    let folder = tempfile::tempdir().unwrap();
    let command = stream.tally(&["ingest"]);
    let mut door = stream.start("ingest", command);
    let host = address(&door.says("127.0.0.1:", patience())).to_owned();
    let url = format!("http://{host}/v1/events");
    let (status, answer) = block_on(post(&url, "application/json", events(UNKNOWN).to_string()));
    assert_eq!(status, 200, "{answer}");
    assert!(door.terminate(patience()).success());
    stream.drain();
    repair(folder.path(), |arguments| stream.tally(arguments));

    // Both see every row open: each row is in the log twice.
    let recycle = ["suspense", "recycle", "--reason", "unknown_model", "--json", "--by"];
    let both = ["carol", "dave"].map(|by| {
        let command = stream.tally(&[&recycle[..], &[by]].concat());
        stream.start("recycle", command)
    });
    for mut one in both {
        let told: Value = serde_json::from_str(&one.succeed(patience())).unwrap();
        assert_eq!(told["sent"], json!(UNKNOWN), "{told}");
    }
    // In a group of its own nobody waits until the session of the dead has timed out.
    for point in ["pushed", "closed", "uploaded", "committed"] {
        stream.set("log.group", format!("{}-{point}", stream.topic.name));
        let mut member = stream.aggregate_dying("dying", &format!("{point}:1"));
        let status = member.wait(patience());
        assert!(status.code().is_none(), "{point} did not kill: {status}");
    }
    stream.drain();
    let row = stream.sql(
        "SELECT count(*) AS n, count(DISTINCT id) AS ids, sum(wholesale_amount) AS owed \
         FROM usage_events WHERE model = 'acme-1'",
    );
    let owed = tally_schemas::decimal_text(owed_pico(UNKNOWN), 12);
    assert_eq!(Value::from(row), json!([{"n": UNKNOWN, "ids": UNKNOWN, "owed": owed}]));
    let fates = stream.sql(
        "SELECT sum(recycled) AS recycled, sum(left_open) AS left_open FROM system.partitions",
    );
    assert_eq!(Value::from(fates), json!([{"recycled": UNKNOWN, "left_open": 0}]));
    let command = stream.tally(&["verify"]);
    stream.run("verify", command);
}
