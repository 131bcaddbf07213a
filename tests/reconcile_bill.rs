//! `tally settle reconcile` as a user runs it: usage through the embedded log, a bill made from the
//! tables by Python with DuckDB, differences planted in it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const SEED: &str = "20";
const ROWS: &str = "6000";
const PER_CLASS: usize = 67;

fn tally(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(arguments)
        .current_dir(folder)
        .env("TALLY_LOG__DATA", folder.join("data"))
        .env("RUST_LOG", "warn")
        .output()
        .unwrap()
}

fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn plant(folder: &Path, arguments: &[&str]) {
    let python =
        std::env::var("TALLY_TEST_PYTHON").expect("TALLY_TEST_PYTHON is not set: run `make test`");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/plant_differences.py");
    let run = Command::new(python).arg(script).args(arguments).current_dir(folder).output();
    succeeded(run.unwrap());
}

fn read_json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Makes a bill of the rows of the table with a number of differences of each class.
fn bill(folder: &Path, per_class: usize, form: &str) {
    plant(
        folder,
        &[
            "bill",
            "rows.jsonl",
            "--seed",
            SEED,
            "--per-class",
            &per_class.to_string(),
            "--form",
            form,
            "--bill",
            &format!("{form}.csv"),
            "--mapping",
            &format!("{form}.toml"),
            "--truth",
            &format!("{form}.json"),
        ],
    );
}

fn reconcile(folder: &Path, form: &str, period: &str) -> Output {
    tally(
        folder,
        &[
            "settle",
            "reconcile",
            &format!("{form}.csv"),
            "--vendor",
            "deepseek",
            "--period",
            period,
            "--mapping",
            &format!("{form}.toml"),
            "--json",
        ],
    )
}

fn pairs(list: &[Value], class: impl Fn(&Value) -> [&Value; 2]) -> Vec<[String; 2]> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut pairs: Vec<[String; 2]> = list.iter().map(|one| class(one).map(text)).collect();
    pairs.sort();
    pairs
}

#[test]
fn a_bill_is_compared_with_the_tables_and_every_planted_difference_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    println!("seed {SEED}");
    plant(folder, &["events", "--seed", SEED, "--rows", ROWS, "--out", "events.jsonl"]);
    succeeded(tally(folder, &["replay", "events.jsonl", "--format", "jsonl", "--out", "kafka"]));
    succeeded(tally(folder, &["aggregate", "--until-end"]));
    plant(folder, &["table", "data/store", "--vendor", "deepseek", "--out", "rows.jsonl"]);

    // What both sides say alike is no difference, but for our calls without the vendor's id.
    bill(folder, 0, "csv");
    let output = reconcile(folder, "csv", "2026-10");
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    let truth = read_json(folder.join("csv.json"));
    let without_id = truth["planted"].as_array().unwrap().len();
    assert_eq!(outcome["differences"], Value::from(without_id), "{outcome}");
    assert_eq!(outcome["agreed"], truth["lines"], "{outcome}");
    assert_eq!(outcome["our_rows_without_request_id"], Value::from(without_id), "{outcome}");

    bill(folder, PER_CLASS, "gb18030");
    let out = folder.join("reconciliation/deepseek-2026-10");
    assert!(out.is_dir());
    let again = reconcile(folder, "gb18030", "2026-10");
    assert_eq!(again.status.code(), Some(2), "a folder that is there is not written over");
    std::fs::remove_dir_all(&out).unwrap();
    let output = reconcile(folder, "gb18030", "2026-10");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("outside of the tolerance"), "{stderr}");

    let truth = read_json(folder.join("gb18030.json"));
    let planted = pairs(truth["planted"].as_array().unwrap(), |pair| [&pair[0], &pair[1]]);
    let differences = read_json(out.join("differences.json"));
    let differences = differences.as_array().unwrap();
    let found = pairs(differences, |row| [&row["request_id"], &row["class"]]);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for [_, class] in &found {
        *counts.entry(class).or_default() += 1;
    }
    assert_eq!(found, planted, "{counts:?}");
    assert_eq!(counts.len(), 15);
    assert_eq!(counts["missing_at_theirs"], PER_CLASS + without_id);

    // The pack: both sides' lines, prices, hashes.
    let disputed = differences.iter().filter(|row| row["disputed"] == Value::Bool(true));
    let lines: std::collections::BTreeSet<u64> =
        disputed.filter_map(|row| row["bill_line"].as_u64()).collect();
    let evidence = std::fs::read_to_string(out.join("dispute/bill-lines.csv")).unwrap();
    assert_eq!(evidence.lines().count(), lines.len() + 1);
    assert!(evidence.starts_with("line,完成时间,请求编号"), "{evidence:.80}");
    let manifest = read_json(out.join("dispute/manifest.json"));
    let files = manifest["files"].as_array().unwrap();
    assert_eq!(files.len(), 9, "{manifest}");
    for file in files {
        let bytes = std::fs::read(out.join(file["name"].as_str().unwrap())).unwrap();
        assert_eq!(file["bytes"].as_u64(), u64::try_from(bytes.len()).ok(), "{file}");
    }
    assert!(std::fs::read(out.join("dispute/our-events.parquet")).unwrap().starts_with(b"PAR1"));
    let prices = std::fs::read_to_string(out.join("dispute/prices.csv")).unwrap();
    assert!(prices.contains("deepseek-flash.output.off-peak"), "{prices}");
    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains("<svg") && report.contains("Outside of the tolerance"));
    assert!(!out.join("scratch").exists());

    // The same again is the same, byte for byte.
    let first = std::fs::read(out.join("differences.csv")).unwrap();
    std::fs::remove_dir_all(&out).unwrap();
    reconcile(folder, "gb18030", "2026-10");
    assert!(std::fs::read(out.join("differences.csv")).unwrap() == first);
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap() == report);
}

#[test]
fn a_bill_that_cannot_be_read_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("csv.csv"), "request_id,amount\nr1,5\n").unwrap();
    let run = |mapping: &str, vendor: &str, period: &str| {
        let output = tally(
            folder,
            &[
                "settle",
                "reconcile",
                "csv.csv",
                "--vendor",
                vendor,
                "--period",
                period,
                "--mapping",
                mapping,
            ],
        );
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, words) = run("records-csv", "deepseek", "2026-10");
    assert_eq!(code, Some(3), "{words}");
    assert!(
        words.contains("csv.csv, line 1, column \"completed_at\": the column is missing"),
        "{words}"
    );
    let (code, words) = run("records-csv", "deepsick", "2026-10");
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("--vendor \"deepsick\" is not in the price book; there are"), "{words}");
    let (code, words) = run("records-csv", "deepseek", "2026-13");
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("\"2026-13\" is no month; write it as 2026-10"), "{words}");
    let (code, words) = run("no-such-mapping", "deepseek", "2026-10");
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("no mapping that ships with Tally either: anthropic-cost,"), "{words}");
    let left: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let left: Vec<_> = left.into_iter().filter(|name| name != "data").collect();
    assert!(left.iter().all(|name| name == "csv.csv" || name == "reconciliation"), "{left:?}");
    let half_done = folder.join("reconciliation");
    assert!(!half_done.exists() || std::fs::read_dir(half_done).unwrap().next().is_none());
}
