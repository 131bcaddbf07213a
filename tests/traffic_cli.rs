//! `tally generate`, `tally replay` and `tally config show` as a user runs them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tally_schemas::parse_event;

fn tally(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

#[test]
fn a_seed_repeats_byte_for_byte_and_its_truth_counts_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let make = |out: &str, truth: &str| {
        succeeded(tally(
            folder.path(),
            &[
                "generate",
                "--events",
                "2000",
                "--seed",
                "42",
                "--accounts",
                "100",
                "--start",
                "2026-11-22T09:00:00+08:00",
                "--span",
                "2h",
                "--dup-rate",
                "0.05",
                "--late-rate",
                "0.02",
                "--bad-rate",
                "0.03",
                "--out",
                out,
                "--truth",
                truth,
            ],
        ));
        (
            std::fs::read(folder.path().join(out)).unwrap(),
            json_of(&std::fs::read(folder.path().join(truth)).unwrap()),
        )
    };
    let (first, truth) = make("a.jsonl", "a.json");
    let (again, truth_again) = make("b.jsonl", "b.json");
    assert!(first == again);
    assert_eq!(truth, truth_again);
    let lines = first.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(truth["sent"], json!(lines));
    assert_eq!(truth["seed"], json!(42));
    let suspended: u64 =
        truth["suspended"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    let settled = truth["accepted"].as_u64().unwrap() + truth["duplicates"].as_u64().unwrap();
    assert_eq!(truth["sent"].as_u64().unwrap(), settled + suspended);
    assert!(truth["tokens"]["output"].is_string(), "sums are decimal texts");
}

#[test]
fn events_to_standard_output_are_alone_there() {
    let folder = tempfile::tempdir().unwrap();
    let output = succeeded(tally(folder.path(), &["generate", "--events", "7", "--seed", "1"]));
    let lines: Vec<&[u8]> = output.stdout.trim_ascii_end().split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), 7);
    for line in lines {
        assert_eq!(parse_event(line).errors, []);
    }
    assert!(String::from_utf8_lossy(&output.stderr).contains("7 events"));
}

#[test]
fn a_recording_is_replayed_with_its_truth() {
    let folder = tempfile::tempdir().unwrap();
    let sample = concat!(
        r#"{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]}"#,
        "\n",
        r#"{"timestamp": 40, "input_length": 600, "output_length": 6, "hash_ids": [0, 2]}"#,
        "\n",
    );
    std::fs::write(folder.path().join("sample.jsonl"), sample).unwrap();
    let output = succeeded(tally(
        folder.path(),
        &[
            "replay",
            "sample.jsonl",
            "--format",
            "mooncake",
            "--speed",
            "60",
            "--out",
            "events.jsonl",
            "--truth",
            "truth.json",
            "--end",
            "1795326157827",
            "--json",
        ],
    ));
    assert_eq!(json_of(&output.stdout)["sent"], json!(2));
    let truth = json_of(&std::fs::read(folder.path().join("truth.json")).unwrap());
    assert_eq!(
        truth["tokens"],
        json!({
            "input": "688", "cached_input": "512", "output": "11", "requests": "2"
        })
    );
    // What was written is native, so it can be replayed in turn, unchanged.
    succeeded(tally(
        folder.path(),
        &["replay", "events.jsonl", "--format", "jsonl", "--out", "again.jsonl"],
    ));
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(read("events.jsonl"), read("again.jsonl"));
}

#[test]
fn events_reach_the_embedded_log_alone_and_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    for (batch, messages) in [(None, 300), (Some("100"), 0)] {
        let mut arguments =
            vec!["generate", "--events", "300", "--seed", "5", "--out", "kafka", "--json"];
        arguments.extend(batch.into_iter().flat_map(|batch| ["--batch", batch]));
        let output = succeeded(tally(folder.path(), &arguments));
        let report = json_of(&output.stdout);
        assert_eq!(report["sent"], json!(300));
        let sent = report["messages"].as_u64().unwrap();
        assert!(if messages > 0 { sent == messages } else { (1..100).contains(&sent) }, "{sent}");
    }
    assert!(folder.path().join("data/log").is_dir());
}

/// A door that is busy at first, and then refuses one event of each request.
#[derive(Default)]
struct Door {
    requests: u32,
    /// Ids by account, in the order in which they came.
    ids: BTreeMap<String, Vec<String>>,
    refuse: bool,
}

async fn take(State(door): State<Arc<Mutex<Door>>>, headers: HeaderMap, body: String) -> Response {
    let mut door = door.lock().unwrap();
    door.requests += 1;
    assert_eq!(headers["content-type"], "application/x-ndjson");
    match door.requests {
        1 => return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response(),
        2 => return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response(),
        _ => {}
    }
    for line in body.lines() {
        let parsed = parse_event(line.as_bytes());
        assert!(!parsed.errors.iter().any(|error| error.code.refused_at_door()), "{line}");
        let event = parsed.event;
        door.ids.entry(event.account.to_string()).or_default().push(event.id.to_string());
    }
    let refused = if door.refuse { vec![json!({"index": 0, "code": "malformed"})] } else { vec![] };
    axum::Json(json!({"accepted": body.lines().count(), "rejected": refused, "warnings": []}))
        .into_response()
}

fn post_to_door(refuse: bool, bad_rate: &str) -> (Output, Door) {
    let folder = tempfile::tempdir().unwrap();
    let door = Arc::new(Mutex::new(Door { refuse, ..Door::default() }));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/v1/events", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/events", post(take)).with_state(Arc::clone(&door));
    runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let output = tally(
        folder.path(),
        &[
            "generate",
            "--events",
            "3000",
            "--seed",
            "9",
            "--accounts",
            "50",
            "--bad-rate",
            bad_rate,
            "--out",
            "http",
            "--url",
            &url,
        ],
    );
    drop(runtime);
    let door = std::mem::take(&mut *door.lock().unwrap());
    (output, door)
}

#[test]
fn a_busy_door_gets_everything_in_the_order_of_each_account() {
    let (output, door) = post_to_door(false, "0.2");
    succeeded(output);
    let count: usize = door.ids.values().map(Vec::len).sum();
    // A few bad events are a second event of the same id.
    assert!(count >= 3000, "{count}");
    let place = |id: &str| u64::from_str_radix(id.rsplit('-').next().unwrap(), 16).unwrap();
    for ids in door.ids.values() {
        let mut originals: Vec<u64> = Vec::new();
        for id in ids {
            if !originals.contains(&place(id)) {
                originals.push(place(id));
            }
        }
        assert!(originals.is_sorted(), "{originals:?}");
    }
}

#[test]
fn refused_events_are_invalid_data() {
    let (output, _) = post_to_door(true, "0");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the door refused"));
}

#[test]
fn exit_codes_tell_usage_from_data() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tally.toml"), "[agregate]\nfreshness_ms = 1\n").unwrap();
    std::fs::write(folder.path().join("good.toml"), "[aggregate]\nfreshness_ms = 1\n").unwrap();
    std::fs::write(folder.path().join("bad.jsonl"), "{\"timestamp\": 0}\n").unwrap();
    for (arguments, code) in [
        (vec!["no-such-command"], 2),
        (vec!["config", "show"], 2),
        (vec!["config", "show", "--config", "good.toml"], 0),
        (vec!["config", "show", "--config", "none.toml"], 2),
        (vec!["generate", "--events", "1"], 2),
        (vec!["generate", "--events", "1", "--seed", "1", "--dup-rate", "2"], 2),
        (
            vec![
                "--config",
                "good.toml",
                "generate",
                "--events",
                "1",
                "--seed",
                "1",
                "--out",
                "x",
                "--batch",
                "5",
            ],
            2,
        ),
        (
            vec![
                "--config",
                "good.toml",
                "replay",
                "bad.jsonl",
                "--format",
                "mooncake",
                "--out",
                "x",
            ],
            3,
        ),
        (
            vec![
                "--config",
                "good.toml",
                "replay",
                "none.jsonl",
                "--format",
                "jsonl",
                "--out",
                "x",
            ],
            2,
        ),
        (vec!["--version"], 0),
    ] {
        let output = tally(folder.path(), &arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let output = tally(folder.path(), &["config", "show", "--json"]);
    let error = json_of(&output.stderr);
    assert_eq!(error["error"]["kind"], "usage");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("aggregate.freshness_ms"), "{message}");
}

#[test]
fn settings_are_shown_with_their_origin() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tally.toml"), "[query]\nrows_max = 5\n").unwrap();
    let output = succeeded(tally(folder.path(), &["config", "show", "--json"]));
    let settings = json_of(&output.stdout);
    let setting = settings
        .as_array()
        .unwrap()
        .iter()
        .find(|setting| setting["key"] == "query.rows_max")
        .unwrap();
    assert_eq!(setting["value"], "5");
    assert_eq!(setting["origin"], json!({"file": "tally.toml"}));
    let text = succeeded(tally(folder.path(), &["config", "show"])).stdout;
    assert!(String::from_utf8_lossy(&text).contains("tally.toml"));
}
