//! Queries without end and beyond memory in a loop, over the PostgreSQL wire and HTTP, while a
//! gateway posts its events to the same process: every batch is answered and counted, and every
//! such query is stopped by a limit that says its name.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::door::{address, post};
use crate::embedded::{PATIENCE, json_of, tally};
use crate::support::{Dice, Figures, Process, at_scale, block_on, eventually, patience};

const BATCH: u64 = 200;

/// Of the whole process, every role in it, built for tests; 3.2 GiB was the most of a full count.
const PEAK_MAX_MIB: u64 = 6_144;

/// What never ends, what needs more memory than there is, and what answers more than it may.
const ATTACKS: [&str; 4] = [
    "SELECT count(*) FROM usage_events a, usage_events b, usage_events c, usage_events d \
     WHERE a.input + b.input + c.input + d.input = -1",
    "SELECT a.account, b.id, count(DISTINCT a.id) FROM usage_events a, usage_events b, usage_events c \
     GROUP BY a.account, b.id ORDER BY 3 DESC LIMIT 5",
    "SELECT string_agg(concat(a.id, b.id, c.id), ',') FROM usage_events a, usage_events b, usage_events c",
    "SELECT a.id FROM usage_events a, usage_events b",
];
/// The limits that may stop them.
const LIMITS: [&str; 4] =
    ["query.timeout_ms", "query.memory_max_bytes", "query.rows_max", "query.concurrency"];

fn limited(folder: &std::path::Path) -> Command {
    let mut command = tally(folder, &["up"]);
    command
        .env("TALLY_QUERY__TIMEOUT_MS", "1500")
        .env("TALLY_QUERY__MEMORY_MAX_BYTES", (64 << 20).to_string())
        .env("TALLY_QUERY__ROWS_MAX", "10000");
    command
}

/// Sends a batch, and returns how long the answer took.
fn send(url: &str, batch: u64) -> Duration {
    let events: Vec<Value> = (0..BATCH)
        .map(|n| {
            json!({"source": "gw-1", "id": format!("{batch}-{n}"), "account": format!("A{}", n % 50),
                   "model": "glm-5", "completed_at": "2026-11-20T14:22:37.827+08:00",
                   "usage": {"input": 7, "output": 3}})
        })
        .collect();
    let began = Instant::now();
    let (status, answer) = block_on(post(url, "application/json", json!(events).to_string()));
    assert_eq!((status, &answer["accepted"]), (200, &json!(BATCH)), "{answer}");
    began.elapsed()
}

/// What an attack over the wire is told.
fn over_the_wire(port: &str, attack: &str) -> String {
    let output = Command::new("psql")
        .args(["-h", "127.0.0.1", "-p", port, "-U", "tally", "-d", "tally", "-X", "-A", "-t"])
        .args(["-v", "ON_ERROR_STOP=1", "-c", attack])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success(), "answered: {attack}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What an attack over HTTP is told.
fn over_http(url: &str, attack: &str) -> String {
    block_on(async {
        let client = reqwest::Client::new();
        let request = client.post(url).header("content-type", "application/json");
        let answer = request.body(json!({"query": attack}).to_string()).send().await.unwrap();
        let status = answer.status();
        let words = answer.text().await.unwrap_or_else(|error| error.to_string());
        assert!(!status.is_success(), "answered: {attack}");
        words
    })
}

/// Attacks in a loop until it is told to end; how many were stopped.
fn attacks(way: Way<'_>, ends: &AtomicBool) -> u64 {
    let mut stopped = 0;
    while !ends.load(Ordering::Relaxed) {
        for attack in ATTACKS {
            let words = match way {
                Way::Wire(port) => over_the_wire(port, attack),
                Way::Http(url) => over_http(url, attack),
            };
            assert!(LIMITS.iter().any(|limit| words.contains(limit)), "{attack}: {words}");
            stopped += 1;
        }
    }
    stopped
}

/// Ends the attacks, also where the gateway's part of the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The way in.
#[derive(Clone, Copy)]
enum Way<'a> {
    Wire(&'a str),
    Http(&'a str),
}

#[test]
fn ingestion_is_unharmed_by_attack_queries() {
    let dice = Dice::of("attacks");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut process = Process::start("up", limited(folder), folder);
    let http = address(&process.says("HTTP ", PATIENCE)).to_owned();
    let wire = address(&process.says("SQL ", PATIENCE)).to_owned();
    let port = wire.rsplit(':').next().unwrap();
    let url = format!("http://{http}/v1/events");
    let counted = |batches: u64| {
        eventually("everything committed and published", PATIENCE, || {
            let status = json_of(folder, "status", &["status", "--json"]);
            let rows = json_of(
                folder,
                "sql",
                &["sql", "--format", "json", "SELECT count(*) AS n FROM usage_events"],
            );
            let rows = rows[0]["n"].to_string().trim_matches('"').parse::<u64>().unwrap();
            let done = status["lag_events"] == json!(0) && status["unpublished_epochs"] == json!(0);
            (done && rows == batches * BATCH).then_some(())
        });
    };
    // Something to attack.
    let before: Vec<Duration> = (0..10).map(|batch| send(&url, batch)).collect();
    counted(10);

    let batches = at_scale(100, 5_000);
    let ends = AtomicBool::new(false);
    let sql = format!("http://{http}/v1/sql");
    let (during, stopped) = std::thread::scope(|scope| {
        let ways = [Way::Wire(port), Way::Wire(port), Way::Http(&sql)];
        let ends = &ends;
        let attackers = ways.map(|way| scope.spawn(move || attacks(way, ends)));
        let running = Ends(ends);
        let during: Vec<Duration> = (10..10 + batches)
            .map(|batch| {
                std::thread::sleep(Duration::from_millis(50));
                send(&url, batch)
            })
            .collect();
        drop(running);
        let stopped: u64 = attackers.into_iter().map(|attacker| attacker.join().unwrap()).sum();
        (during, stopped)
    });
    assert!(stopped >= 3 * ATTACKS.len() as u64, "{stopped} attacks");
    counted(10 + batches);
    process.assert_running();
    // Beside what queries may take, the files of each version that is kept cost memory, and so does
    // merging them: with the thousands of a full count both together took 21 GB once.
    let peak_mib = process.peak_memory_kib() >> 10;
    assert!(peak_mib <= PEAK_MAX_MIB, "{peak_mib} MiB");
    assert!(process.terminate(PATIENCE).success());
    Process::start("verify", tally(folder, &["verify"]), folder).succeed(patience());
    let mut figures = Figures::of("attacks", &dice);
    figures.note("batches", batches);
    figures.note("attacks_stopped", stopped);
    figures.note("peak_memory_mib", peak_mib);
    figures.note_times("answer_before", before);
    figures.note_times("answer_during", during);
    figures.report();
}
