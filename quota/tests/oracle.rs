//! The crate against an independent oracle, `tests/python/quota_oracle.py`, over random packages,
//! commands, events and watermarks: every line of the protocol in `docs/quota.md` must be equal.
//!
//! `TALLY_SEED=…` takes another seed, `TALLY_SOAK=1` a million steps, over several, and notes what
//! was compared in `TALLY_FIGURES`, as the fault tests do.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests stop at the first surprise")]
#![expect(clippy::disallowed_methods, reason = "a test is the edge: it reads the environment")]

mod protocol;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Instant;

use serde_json::{Value, json};
use tally_quota::{Bug, Quota};

use crate::protocol::Replay;

const STEPS: u32 = 20_000;
/// Seeds of the soak, and steps of each.
const SOAK_SEEDS: u64 = 10;
const SOAK_STEPS: u32 = 100_000;
/// Lines after which the accounts are stored and restored.
const RESTART_EVERY: usize = 500;

/// Lines that the oracle cannot make up: objects of Python have each field once.
const BY_HAND: [&str; 8] = [
    r#"{"command":{"command":"cancel","id":"z1","id":"z1","account":"a1","at":1,"bucket":"b"}}"#,
    r#"{"command":{"command":"set_flags","id":"z2","account":"a1","at":1,"flags":{"region":"sh","region":"sh"}}}"#,
    r#"{"command":{"command":"set_flags","id":"z3","account":"a1","at":1,"flags":{"members":{"m":null,"m":null}}}}"#,
    r#"{"command":{"command":"set_flags","id":"z4","account":"a1","at":1,"flags":{"colour":{"a":1,"a":1}}}}"#,
    r#"{"command":{"command":"top_up","id":"z5","account":"a1","at":1,"bucket":"b","points_micro":1e3}}"#,
    r#"{"command":{"command":"top_up","id":"z6","account":"a1","at":1,"bucket":"b","points_micro":99999999999999999999}}"#,
    r#"{"command":null}"#,
    r#"{"command":[]}"#,
];

/// What the oracle prints.
fn oracle(arguments: &[&str], input: &[String]) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/quota_oracle.py");
    let mut child = Command::new("python3")
        .arg(script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed");
    let mut stdin = child.stdin.take().unwrap();
    let run = std::thread::scope(|scope| {
        scope.spawn(move || input.iter().try_for_each(|line| writeln!(stdin, "{line}")));
        child.wait_with_output().unwrap()
    });
    assert!(run.status.success(), "the oracle fails");
    String::from_utf8(run.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Lines of a seed and what the oracle answers.
fn make(seed: u64, steps: u32) -> (Vec<String>, Vec<Value>) {
    let (seed, steps) = (seed.to_string(), steps.to_string());
    let mut lines = oracle(&["generate", "--seed", &seed, "--steps", &steps], &[]);
    lines.extend(BY_HAND.map(str::to_owned));
    let answers = oracle(&["charge"], &lines);
    let answers: Vec<Value> =
        answers.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), lines.len());
    (lines, answers)
}

fn seed() -> u64 {
    std::env::var("TALLY_SEED").map_or(1, |seed| seed.parse().expect("TALLY_SEED is a number"))
}

static RUN: LazyLock<(Vec<String>, Vec<Value>)> = LazyLock::new(|| make(seed(), STEPS));

/// The first line that the crate answers otherwise.
fn difference(lines: &[String], answers: &[Value], restarts: bool) -> Option<String> {
    let mut replay = Replay::default();
    for (at, (line, theirs)) in lines.iter().zip(answers).enumerate() {
        let ours = replay.answer(line).unwrap();
        if ours != *theirs {
            return Some(format!("line {}: {line}\nours:   {ours}\ntheirs: {theirs}", at + 1));
        }
        if restarts && at % RESTART_EVERY == 0 {
            replay.restart().unwrap();
        }
    }
    None
}

/// What the answers of a run must have, so that an empty comparison does not count as one.
fn check_reach(answers: &[Value]) {
    let lists = |list: &str, field: &str, value: &str| {
        let has = |answer: &&Value| {
            answer[list].as_array().unwrap().iter().any(|entry| entry[field] == *value)
        };
        answers.iter().filter(has).count()
    };
    for kind in ["debit", "payg", "overrun", "transfer_in", "adjust", "expire", "breakage"] {
        assert!(lists("entries", "kind", kind) > answers.len() / 400, "{kind}");
    }
    for kind in ["percent_used", "points_left", "expires_soon", "cap", "spike", "forecast"] {
        assert!(lists("alerts", "kind", kind) > answers.len() / 400, "{kind}");
    }
    for cause in ["late", "configuration", "in_flight", "lag"] {
        assert!(lists("entries", "cause", cause) > answers.len() / 400, "{cause}");
    }
}

fn compare(seed: u64, lines: &[String], answers: &[Value]) {
    println!("TALLY_SEED={seed}, {} lines", lines.len());
    check_reach(answers);
    for restarts in [false, true] {
        let difference = difference(lines, answers, restarts);
        assert_eq!(difference, None, "seed {seed}, restarts: {restarts}");
    }
}

/// What was compared in a run.
#[derive(Default)]
struct Compared {
    lines: usize,
    entries: usize,
    alerts: usize,
    held_back: usize,
}

impl Compared {
    fn add(&mut self, answers: &[Value]) {
        let listed = |list: &str| -> usize {
            answers.iter().map(|answer| answer[list].as_array().map_or(0, Vec::len)).sum()
        };
        self.lines += answers.len();
        self.entries += listed("entries");
        self.alerts += listed("alerts");
        self.held_back += answers.iter().filter(|answer| !answer["error"].is_null()).count();
    }

    /// Appends the figures of a run in full: a line of JSON, which `benches/report.py` reads.
    fn note(&self, began: Instant) {
        let Self { lines, entries, alerts, held_back } = self;
        let line = json!({
            "test": "charging beside the oracle", "seed": seed(), "counts": "full",
            "day": jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            "steps": SOAK_SEEDS * u64::from(SOAK_STEPS), "lines": lines, "ledger_rows": entries,
            "alerts": alerts, "held_back": held_back, "times_compared": 2, "differences": 0,
            "elapsed_s": began.elapsed().as_secs(),
        });
        println!("measured: {line}");
        let path = std::env::var_os("TALLY_FIGURES").map_or_else(
            || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults.jsonl"),
            PathBuf::from,
        );
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

#[test]
fn every_line_comes_out_as_the_oracle_says() {
    let (lines, answers) = &*RUN;
    compare(seed(), lines, answers);
    if std::env::var("TALLY_SOAK").is_ok_and(|soak| soak == "1") {
        let began = Instant::now();
        let mut compared = Compared::default();
        for ahead in 1..=SOAK_SEEDS {
            let (lines, answers) = make(seed() + ahead, SOAK_STEPS);
            compare(seed() + ahead, &lines, &answers);
            compared.add(&answers);
        }
        compared.note(began);
    }
}

#[test]
fn planted_bugs_are_caught() {
    let (lines, answers) = &*RUN;
    // Nothing is taken back in the oracle's protocol; a test of the crate catches that one.
    for bug in Bug::ALL.into_iter().filter(|bug| *bug != Bug::PointsToAnotherBucket) {
        Quota::plant(Some(bug));
        let caught = difference(lines, answers, false);
        Quota::plant(None);
        println!(
            "{bug:?}: {}",
            caught.as_deref().and_then(|text| text.lines().next()).unwrap_or("")
        );
        assert!(caught.is_some(), "{bug:?} goes unnoticed");
    }
}
