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

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("TALLY_LOG__DATA", folder.join("data"))
        .env("RUST_LOG", "warn");
    command
}

fn tally(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn python(script: &str, folder: &Path, arguments: &[&str]) {
    let python =
        std::env::var("TALLY_TEST_PYTHON").expect("TALLY_TEST_PYTHON is not set: run `make test`");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let run = Command::new(python).arg(script).args(arguments).current_dir(folder).output();
    succeeded(run.unwrap());
}

fn plant(folder: &Path, arguments: &[&str]) {
    python("plant_differences.py", folder, arguments);
}

/// Our events of a made-up month in the tables, and in `rows.jsonl` as they are there.
fn month_of_events(folder: &Path) {
    println!("seed {SEED}");
    plant(folder, &["events", "--seed", SEED, "--rows", ROWS, "--out", "events.jsonl"]);
    succeeded(tally(folder, &["replay", "events.jsonl", "--format", "jsonl", "--out", "kafka"]));
    succeeded(tally(folder, &["aggregate", "--until-end"]));
    plant(folder, &["table", "data/store", "--vendor", "deepseek", "--out", "rows.jsonl"]);
}

/// The manifest names every file of the result, with its length and hash, and the bill's.
fn manifest_holds(folder: &Path, out: &Path, bill: &str) {
    let manifest = read_json(out.join("dispute/manifest.json"));
    let is_of = |entry: &Value, path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(entry["bytes"].as_u64(), u64::try_from(bytes.len()).ok(), "{entry}");
        assert_eq!(entry["blake3"], blake3::hash(&bytes).to_hex().as_str(), "{entry}");
    };
    is_of(&manifest["bill"], folder.join(bill));
    let mut named = Vec::new();
    for file in manifest["files"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        is_of(file, out.join(name));
        named.push(name.to_owned());
    }
    let of_dispute = ["bill-lines.csv", "mapping.toml", "our-events.parquet", "prices.csv"];
    let mut wanted: Vec<String> =
        ["differences.csv", "differences.json", "groups.csv", "report.html", "summary.json"]
            .map(str::to_owned)
            .into();
    wanted.extend(of_dispute.map(|name| format!("dispute/{name}")));
    wanted.sort();
    assert_eq!(named, wanted);
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
    month_of_events(folder);

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
    manifest_holds(folder, &out, "gb18030.csv");
    python("check_dispute.py", folder, &["pack", out.to_str().unwrap(), "--store", "data/store"]);
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
fn evidence_of_a_bill_without_request_ids_is_our_side_of_the_groups_outside() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    month_of_events(folder);
    let made = ["amounts", "rows.jsonl", "--bill", "amount-2026-10.csv", "--truth", "truth.json"];
    python("check_dispute.py", folder, &made);
    let of_bill = ["settle", "reconcile", "amount-2026-10.csv", "--vendor", "deepseek"];
    let how = ["--period", "2026-10", "--mapping", "deepseek-amount", "--json"];
    let output = tally(folder, &[&of_bill[..], &how].concat());
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&outcome["level"], &outcome["outside"]["groups"]), (&"group".into(), &3.into()));
    assert_eq!(outcome["tolerance_source"], "mapping");
    let out = folder.join("reconciliation/deepseek-2026-10");
    manifest_holds(folder, &out, "amount-2026-10.csv");
    let pack = ["pack", out.to_str().unwrap(), "--store", "data/store", "--truth", "truth.json"];
    python("check_dispute.py", folder, &pack);
    // The vendor's side is the bill: it cannot tell which of its lines is wrong.
    let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
    let bill = lines(&folder.join("amount-2026-10.csv"));
    assert_eq!(lines(&out.join("dispute/bill-lines.csv")), bill);

    // Terms that are approved, but not for this vendor: that the mapping decides is said.
    put_terms_in_force(folder);
    let output = tally(folder, &[&of_bill[..], &how, &["--out", "by-terms"]].concat());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let said =
        "no terms for vendor \"deepseek\" on 2026-10-01: the tolerance of the mapping decides";
    assert!(output.status.code() == Some(1) && words.contains(said), "{words}");
}

/// Terms with one vendor: looked at before anybody may settle by them, and not read from a table.
fn put_terms_in_force(folder: &Path) {
    let terms = |more: &str| {
        format!(
            "[[terms]]\nid = \"zhipu-2026\"\nvendor = \"zhipu\"\nmodel_pattern = \"*\"\n\
             form = \"price_list\"\ncurrency = \"CNY\"\ntax_ppm = 60000\n\
             rounding = \"half_even\"\nvalid_from = \"2026-01-01\"\n{more}"
        )
    };
    std::fs::write(folder.join("wrong.toml"), terms("colour = 1\n")).unwrap();
    std::fs::write(folder.join("terms.toml"), terms("")).unwrap();
    std::fs::write(folder.join("terms.csv"), "id,vendor\nzhipu-2026,zhipu\n").unwrap();
    let contract = |arguments: &[&str], code: i32| {
        let output = tally(folder, &[&["contract"], arguments].concat());
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    };
    let said = contract(&["lint", "wrong.toml"], 1);
    assert!(said.contains("wrong.toml, line") && said.contains("colour"), "{said}");
    let said = contract(&["lint", "terms.csv"], 1);
    assert!(said.contains("terms.csv: contracts are read from TOML; CSV is for prices"), "{said}");
    contract(&["import", "terms.csv", "--by", "lin"], 3);
    let said = contract(&["lint", "terms.toml"], 0);
    assert!(said.contains("nothing is wrong; 1 records are new"), "{said}");
    contract(&["import", "terms.toml", "--by", "lin"], 0);
    for wanted in ["1", "terms.toml"] {
        let said = contract(&["show", wanted], 0);
        assert!(said.contains("zhipu-2026") && said.contains("lin"), "{said}");
    }
    contract(&["approve", "1", "--by", "chen"], 0);
    let said = contract(&["show"], 0);
    assert!(said.contains("lin") && said.contains("chen"), "{said}");
}

/// Comparisons that the test puts down: by three that die after that, and two that do not.
const COMPARED: usize = 5;

/// A bill that lacks our calls without request ids, by terms that take the vendor's figures.
#[test]
fn the_vendors_figure_is_proposed_and_the_largest_differences_are_in_sql() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    month_of_events(folder);
    bill(folder, 0, "csv");
    let terms = "[[terms]]\nid = \"deepseek-2026\"\nvendor = \"deepseek\"\nmodel_pattern = \"*\"\n\
        form = \"price_list\"\ncurrency = \"CNY\"\ntax_ppm = 60000\nrounding = \"half_up\"\n\
        valid_from = \"2026-01-01\"\nsource = \"contract\"\n\
        tolerance = { qty_pct = \"100\", amt_pct = \"100\", amt_abs = \"0\", counts = \"theirs\" }\n";
    std::fs::write(folder.join("terms.toml"), terms).unwrap();
    succeeded(tally(folder, &["contract", "import", "terms.toml", "--by", "lin"]));
    succeeded(tally(folder, &["contract", "approve", "1", "--by", "chen"]));

    let of_bill = ["settle", "reconcile", "csv.csv", "--vendor", "deepseek"];
    let how = ["--period", "2026-10", "--mapping", "csv.toml", "--json"];
    let run = |more: &[&str]| tally(folder, &[&of_bill[..], &how, more].concat());
    let unnamed = run(&["--post"]);
    assert_eq!(unnamed.status.code(), Some(2), "{unnamed:?}");
    let other = run(&["--by", "lin", "--post", "--terms", "deepseek-2025"]);
    assert_eq!(other.status.code(), Some(2), "{other:?}");
    let result = folder.join("reconciliation/deepseek-2026-10");
    assert!(!result.exists(), "what is refused leaves nothing behind");

    // Dead before or after either of its two entries: nothing is proposed twice.
    for (number, point) in ["before:1", "after:1", "before:2", "after:2"].into_iter().enumerate() {
        let (when, which) = point.split_once(':').unwrap();
        let out = format!("died-{number}");
        let more = ["--by", "lin", "--post", "--out", &out];
        let mut dying = command(folder, &[&of_bill[..], &how, &more].concat());
        let died = dying.env("TALLY_CRASH_AT", format!("{when}-books-entry:{which}")).output();
        assert_eq!(died.unwrap().status.code(), None, "{point}: it did not die");
        let listed = succeeded(tally(folder, &["settle", "adjust", "--list", "--json"])).stdout;
        let listed: Value = serde_json::from_slice(&listed).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), usize::from(point == "after:2"), "{point}");
    }
    let outcome = succeeded(run(&["--by", "lin", "--post"])).stdout;
    let outcome: Value = serde_json::from_slice(&outcome).unwrap();
    assert_eq!((&outcome["inside_counts"], &outcome["disputed"]), (&"theirs".into(), &0.into()));
    let proposed = outcome["proposed"].as_array().unwrap();
    assert_eq!(proposed.len(), 1, "{proposed:?}");
    assert_eq!(
        (&proposed[0]["state"], &proposed[0]["reason"]),
        (&"proposed".into(), &"volume_correction".into())
    );
    let digits = |value: &Value| value.as_str().unwrap().replace('.', "").parse::<i128>().unwrap();
    let differs = digits(&outcome["totals"][0]["difference"]);
    let amount = digits(&proposed[0]["amount"]) * 10_000_000_000;
    assert!(differs < 0 && (differs - amount).abs() <= 5_000_000_000, "{differs} {amount}");

    // The same again is found; who proposed it may not approve it.
    let again = succeeded(run(&["--by", "lin", "--post", "--out", "again"])).stdout;
    let again: Value = serde_json::from_slice(&again).unwrap();
    assert_eq!(again["proposed"], outcome["proposed"]);
    let name = proposed[0]["adjustment"].as_str().unwrap();
    let approve = |by: &str| tally(folder, &["settle", "adjust", "--approve", name, "--by", by]);
    assert_eq!(approve("Lin").status.code(), Some(3));
    succeeded(approve("chen"));

    let sql = |query: &str| -> Value {
        let answer = succeeded(tally(folder, &["sql", "--format", "json", query])).stdout;
        serde_json::from_slice(&answer).unwrap()
    };
    let top = outcome["top"].as_array().unwrap();
    let found = sql("SELECT place, level, class, difference, bill_line, our_day FROM \
        settlement.reconciliation_differences \
        WHERE compared_at = (SELECT min(compared_at) FROM settlement.reconciliation) ORDER BY place");
    assert_eq!(found.as_array().unwrap().len(), top.len());
    for ((place, row), wanted) in (1..).zip(found.as_array().unwrap()).zip(top) {
        assert_eq!((&row["place"], &row["level"]), (&Value::from(place), &"record".into()));
        for column in ["class", "difference", "bill_line", "our_day"] {
            assert_eq!(row[column], wanted[column], "{column} of {row}");
        }
    }
    // Each is led back to our event.
    let joined = sql("SELECT count(*) AS events FROM settlement.reconciliation_differences AS d \
        JOIN usage_events AS e ON e.kafka_partition = d.kafka_partition \
        AND e.kafka_offset = d.kafka_offset AND e.batch_index = d.batch_index \
        AND e.wholesale_amount = d.our_amount");
    assert_eq!(joined[0]["events"], Value::from(COMPARED * top.len()));
    let classes = sql("SELECT class, CAST(sum(differences) AS BIGINT) AS n FROM \
        settlement.reconciliation_classes GROUP BY class");
    let each = usize::try_from(outcome["differences"].as_u64().unwrap()).unwrap();
    let all = serde_json::json!([{"class": "missing_at_theirs", "n": COMPARED * each}]);
    assert_eq!(classes, all);
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
