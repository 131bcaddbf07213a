//! Every role in one process on the embedded log and a local folder, as somebody tries it first.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::door::{address, post};
use crate::support::{Process, block_on, eventually};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `tally …` with everything below `folder`.
pub(crate) fn tally(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    command
        .args(arguments)
        .env("TALLY_LOG__DATA", folder)
        .env("TALLY_STORE__URL", folder.join("store"))
        .env("TALLY_HTTP__LISTEN", "127.0.0.1:0")
        .env("TALLY_QUERY__PG_LISTEN", "127.0.0.1:0")
        .env("TALLY_QUERY__FLIGHT_LISTEN", "127.0.0.1:0")
        .env("TALLY_AGGREGATE__FRESHNESS_MS", "100")
        .env("TALLY_AGGREGATE__PUBLISH_INTERVAL_MS", "100");
    command
}

/// Starts `tally up` and returns the address of its HTTP listener.
pub(crate) fn up(folder: &Path, name: &str) -> (Process, String) {
    let mut process = Process::start(name, tally(folder, &["up"]), folder);
    let address = address(&process.says("HTTP ", PATIENCE)).to_owned();
    (process, address)
}

pub(crate) fn json_of(folder: &Path, name: &str, arguments: &[&str]) -> Value {
    let mut process = Process::start(name, tally(folder, arguments), folder);
    let output = process.succeed(PATIENCE);
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{name}: {error}: {output}"))
}

/// Sends events `ids`, which must be accepted.
fn send(address: &str, ids: std::ops::Range<u32>) {
    let accepted = ids.len();
    let events: Vec<Value> = ids
        .map(|id| {
            json!({"source": "gw-1", "id": id.to_string(), "account": format!("A{}", id % 50),
                   "model": "glm-5", "completed_at": "2026-11-22T14:22:37.827+08:00",
                   "usage": {"input": 7, "output": 3}})
        })
        .collect();
    let url = format!("http://{address}/v1/events");
    let (status, answer) = block_on(post(&url, "application/json", json!(events).to_string()));
    assert_eq!((status, &answer["accepted"]), (200, &json!(accepted)), "{answer}");
}

/// Waits until everything is committed and published, and returns what `tally status` says then.
fn caught_up(folder: &Path, accepted: u64) -> Value {
    eventually("status that says caught up", PATIENCE, || {
        let status = json_of(folder, "status", &["status", "--json"]);
        let committed: u64 = status["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|partition| partition["committed_offset"].as_u64().unwrap())
            .sum();
        let done = status["lag_events"] == json!(0) && status["unpublished_epochs"] == json!(0);
        (done && committed > 0 && accepted_of(folder) == accepted).then_some(status)
    })
}

fn accepted_of(folder: &Path) -> u64 {
    let query = "SELECT count(*) AS n FROM usage_events";
    let rows = json_of(folder, "sql", &["sql", "--format", "json", query]);
    rows[0]["n"].to_string().trim_matches('"').parse().unwrap()
}

/// A line as a shell runs it that somebody pasted it into.
fn pasted(line: &str, folder: &Path) -> String {
    let ran = Command::new("sh").args(["-c", line]).current_dir(folder).output().unwrap();
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{line}: {error}");
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn the_first_event_and_the_first_query_that_are_printed_work_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (mut process, _) = up(folder, "up");
    let query = process.says("psql ", PATIENCE);
    let event = process.says("curl ", PATIENCE);
    let answer: Value = serde_json::from_str(&pasted(event.trim(), folder)).unwrap();
    assert_eq!(answer["accepted"], json!(1), "{answer}");
    let cells = eventually("the event in the answer", PATIENCE, || {
        let table = pasted(query.trim(), folder);
        let row = table.lines().find(|line| line.contains("glm-5"))?;
        Some(row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>())
    });
    assert_eq!(cells, ["zhipu", "glm-5", "434", "345"]);
    assert!(process.terminate(PATIENCE).success());
}

#[test]
fn one_process_counts_tells_survives_kill_9_and_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (process, address) = up(folder, "up");
    send(&address, 0..500);
    let status = caught_up(folder, 500);
    assert!(status["process"].is_u64(), "the running process was asked: {status}");
    assert_eq!(status["waiting"], json!({}), "{status}");
    assert!(status["oldest_uncommitted_age_ms"].is_i64(), "{status}");
    send(&address, 500..900);
    process.kill();

    // What was acknowledged is there, and a resend is a duplicate.
    let (mut process, address) = up(folder, "up-again");
    send(&address, 0..1_000);
    let status = caught_up(folder, 1_000);
    assert_eq!(status["suspended"], json!({}), "{status}");
    let metrics = block_on(async {
        let answer = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
        answer.text().await.unwrap()
    });
    assert!(metrics.contains("tally_partitions_waiting 0\n"), "{metrics}");
    assert!(process.terminate(PATIENCE).success());

    // Nothing runs: the status comes from the store and the log.
    let status = json_of(folder, "status-alone", &["status", "--json"]);
    assert!(status["process"].is_null(), "{status}");
    assert_eq!(status["lag_events"], json!(0), "{status}");
    assert!(!folder.join("http-address").exists(), "the address goes with the process");
    Process::start("verify", tally(folder, &["verify"]), folder).succeed(PATIENCE);
}

/// An event of one account: all of them are in one partition.
fn event(id: &str, completed_at: &str) -> Value {
    json!({"source": "gw-1", "id": id, "account": "A1", "model": "glm-5",
           "completed_at": completed_at, "usage": {"input": 7, "output": 3}})
}

/// What `tally audit duplicates` lists, and how it ends.
fn audited(folder: &Path, name: &str) -> (Vec<Value>, Option<i32>) {
    let arguments = ["audit", "duplicates", "--json"];
    let mut audit = Process::start(name, tally(folder, &arguments), folder);
    let code = audit.wait(PATIENCE).code();
    let rows = serde_json::from_str(&audit.output());
    (rows.unwrap_or_else(|error| panic!("{error}: {}", audit.log())), code)
}

#[test]
fn a_resend_with_another_time_is_found_by_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (mut process, address) = up(folder, "up");
    let url = format!("http://{address}/v1/events");
    let hand_in = |event: Value| {
        let (status, answer) = block_on(post(&url, "application/json", json!([event]).to_string()));
        assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
    };
    hand_in(event("first", "2026-11-12T14:00:00+08:00"));
    caught_up(folder, 1);
    // Time goes on, so that the bucket of the first is sealed.
    hand_in(event("later", "2026-11-21T14:00:00+08:00"));
    caught_up(folder, 2);
    // An exact resend is dropped for as long as the horizon; nothing is there twice.
    hand_in(event("first", "2026-11-12T14:00:00+08:00"));
    hand_in(event("last", "2026-11-21T15:00:00+08:00"));
    caught_up(folder, 3);
    assert_eq!(audited(folder, "audit"), (Vec::new(), Some(0)));
    hand_in(event("first", "2026-11-22T14:00:00+08:00"));
    caught_up(folder, 4);
    let (rows, code) = audited(folder, "audit-again");
    assert_eq!((rows.len(), code), (1, Some(1)), "{rows:?}");
    assert_eq!((&rows[0]["source"], &rows[0]["id"]), (&json!("gw-1"), &json!("first")));
    assert_eq!(rows[0]["times"].to_string().trim_matches('"'), "2");
    for (column, day) in [("first_completed_at", "2026-11-12"), ("last_completed_at", "2026-11-22")]
    {
        assert!(rows[0][column].to_string().contains(day), "{column}: {}", rows[0]);
    }
    assert!(process.terminate(PATIENCE).success());
}

/// What is to be appended goes to the process that has the log, which wants to see its token.
#[test]
fn whoever_lacks_the_token_of_the_log_is_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (mut process, address) = up(folder, "up");
    let body = json!([event("counted-twice", "2026-11-22T14:00:00+08:00")]).to_string();
    let url = format!("http://{address}/v1/events");
    assert_eq!(block_on(post(&url, "application/json", body)).0, 200);
    caught_up(folder, 1);
    let announced = folder.join("http-address");
    let text = std::fs::read_to_string(&announced).unwrap();
    let token = text.split_whitespace().nth(2).unwrap();
    let void = ["correct", "void", "gw-1", "counted-twice", "--reason", "a test", "--by", "dave"];
    std::fs::write(&announced, text.replace(token, &"0".repeat(token.len()))).unwrap();
    let mut fenced = Process::start("fenced", tally(folder, &void), folder);
    assert_eq!(fenced.wait(PATIENCE).code(), Some(4), "{}", fenced.log());
    assert!(fenced.log().contains("not the token"), "{}", fenced.log());
    std::fs::write(&announced, &text).unwrap();
    Process::start("void", tally(folder, &void), folder).succeed(PATIENCE);
    assert!(process.terminate(PATIENCE).success());
}

#[test]
fn only_loopback_is_listened_on() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [["up", "--listen", "0.0.0.0:0"], ["ingest", "--listen", "0.0.0.0:0"]] {
        let mut process =
            Process::start(arguments[0], tally(folder.path(), &arguments), folder.path());
        assert_eq!(process.wait(PATIENCE).code(), Some(2));
        assert!(process.log().contains("not a loopback address"), "{}", process.log());
    }
}
