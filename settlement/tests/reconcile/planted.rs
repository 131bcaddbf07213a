//! A thousand differences of all fifteen classes, planted by `tests/python/plant_differences.py`
//! into a bill of our own rows: each is found, under its class, and nothing else is.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tally_settlement::reconcile::{
    BillMapping, Class, CompareBug, DifferenceRow, Limits, Outcome, plant as plant_bug,
};

use crate::support::{Case, Ours};

const ROWS: &str = "6000";
const PER_CLASS: usize = 67;

fn script(arguments: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/plant_differences.py");
    let run = Command::new("python3").arg(script).args(arguments).output();
    let run = run.expect("python3 is needed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

struct Planted {
    rows: Vec<Ours>,
    bill: Vec<u8>,
    mapping: BillMapping,
    truth: Value,
}

#[expect(clippy::disallowed_methods, reason = "the bill is a file that another program wrote")]
fn plant(folder: &Path, seed: u64, form: &str) -> Planted {
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (rows, bill, mapping, truth) =
        (at("rows.jsonl"), at("bill"), at("mapping.toml"), at("truth.json"));
    let (seed, per_class) = (seed.to_string(), PER_CLASS.to_string());
    script(&["rows", "--seed", &seed, "--rows", ROWS, "--out", &rows]);
    script(&[
        "bill",
        &rows,
        "--seed",
        &seed,
        "--per-class",
        &per_class,
        "--form",
        form,
        "--bill",
        &bill,
        "--mapping",
        &mapping,
        "--truth",
        &truth,
    ]);
    let text = |path: &str| std::fs::read_to_string(path).unwrap();
    Planted {
        rows: (0..).zip(text(&rows).lines()).map(|(n, line)| Ours::from_json(n, line)).collect(),
        bill: std::fs::read(&bill).unwrap(),
        mapping: BillMapping::parse("mapping.toml", &text(&mapping)).unwrap(),
        truth: serde_json::from_str(&text(&truth)).unwrap(),
    }
}

/// Every pair of request and class, sorted.
fn found(rows: &[DifferenceRow]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> =
        rows.iter().map(|row| (row.request_id.clone(), row.class.to_owned())).collect();
    found.sort();
    found
}

fn truth_of(planted: &Planted) -> Vec<(String, String)> {
    let mut truth: Vec<(String, String)> = planted.truth["planted"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned()))
        .collect();
    truth.sort();
    truth
}

/// Precision and recall by class are 1 exactly if both lists are equal.
fn assert_exact(planted: &Planted, rows: &[DifferenceRow], what: &str) {
    let (truth, found) = (truth_of(planted), found(rows));
    let by_class = |list: &[(String, String)]| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (_, class) in list {
            *counts.entry(class.clone()).or_default() += 1;
        }
        counts
    };
    let counts = by_class(&truth);
    assert_eq!(counts.len(), Class::ALL.len(), "every class is planted");
    assert!(counts.values().all(|count| *count == PER_CLASS) && truth.len() >= 1_000);
    assert_eq!(by_class(&found), counts, "{what}");
    let wrong: Vec<_> = found.iter().filter(|pair| !truth.contains(pair)).take(5).collect();
    assert!(wrong.is_empty(), "{what}: {wrong:?}");
    assert_eq!(found, truth, "{what}");
}

/// What both sides differ by is exactly what the differences add up to, and the vendor's sum is the
/// one that was written.
fn assert_sums(planted: &Planted, outcome: &Outcome, what: &str) {
    let pico = |text: &str| text.replace('.', "").parse::<i128>().unwrap();
    for total in &outcome.totals {
        let classes = outcome.classes.iter().filter(|row| row.currency == total.currency);
        let sum: i128 = classes.map(|row| pico(&row.difference)).sum();
        assert_eq!(sum, pico(&total.difference), "{what}: {}", total.currency);
        let written: i128 =
            planted.truth["amount"][&total.currency].as_str().unwrap().parse().unwrap();
        assert_eq!(pico(&total.their_amount), written, "{what}: {}", total.currency);
    }
    assert_eq!(outcome.bill_lines, planted.truth["lines"].as_u64().unwrap(), "{what}");
    assert!(outcome.total_row_agreed || what.ends_with("xlsx") || what.ends_with("ndjson"));
}

#[test]
fn every_planted_difference_is_found_under_its_class_and_nothing_else() {
    for (seed, form) in [(1, "csv"), (2, "bom"), (3, "gb18030"), (4, "xlsx"), (5, "ndjson")] {
        let what = format!("seed {seed}, {form}");
        let folder = tempfile::tempdir().unwrap();
        let planted = plant(folder.path(), seed, form);
        let ending = if form == "bom" || form == "gb18030" { "csv" } else { form };
        let file = format!("bill.{ending}");
        let case = Case::new(&file, &planted.bill, &planted.mapping);
        let (outcome, differences) = case.run(&planted.rows).unwrap();
        assert_exact(&planted, &differences, &what);
        assert_sums(&planted, &outcome, &what);
        assert_eq!(
            outcome.bill_encoding.unwrap_or("none"),
            match form {
                "gb18030" => "GB18030",
                "xlsx" => "none",
                _ => "UTF-8",
            }
        );
    }
}

#[test]
fn neither_memory_nor_files_nor_order_change_a_byte() {
    let folder = tempfile::tempdir().unwrap();
    let planted = plant(folder.path(), 6, "csv");
    let mut case = Case::new("bill.csv", &planted.bill, &planted.mapping);
    let (outcome, differences) = case.run(&planted.rows).unwrap();
    assert_exact(&planted, &differences, "seed 6");
    let mut backwards = planted.rows.clone();
    backwards.reverse();
    for (partitions, memory_max_bytes) in [(1, 1 << 30), (7, 20_000), (200, 4_000), (1, 3_000)] {
        case.limits = Limits { memory_max_bytes, partitions };
        let (other, again) = case.run(&backwards).unwrap();
        assert!(again == differences, "{partitions} files, {memory_max_bytes} bytes");
        assert!(other == outcome, "{partitions} files, {memory_max_bytes} bytes");
    }
    case.limits = Limits { memory_max_bytes: 10, partitions: 1 };
    let error = case.run(&planted.rows).unwrap_err().to_string();
    assert!(error.contains("do not fit 10 bytes of memory"), "{error}");
}

#[test]
fn each_planted_bug_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let planted = plant(folder.path(), 7, "csv");
    let case = Case::new("bill.csv", &planted.bill, &planted.mapping);
    let truth = truth_of(&planted);
    let (_, right) = case.run(&planted.rows).unwrap();
    assert_eq!(found(&right), truth);
    for bug in CompareBug::ALL {
        plant_bug(Some(bug));
        let run = case.run(&planted.rows);
        plant_bug(None);
        let noticed = run.map_or(true, |(_, differences)| found(&differences) != truth);
        assert!(noticed, "{bug:?} passes");
    }
}
