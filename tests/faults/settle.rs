//! Two months settled by the real program, on the embedded log and a local folder: statements
//! foot with an independent sum of the rows, a close that dies at any point comes to the same
//! seal (R28), and what comes later is an adjustment of the month it belongs to (R15).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::door::post;
use crate::embedded::{tally, up};
use crate::support::{Dice, block_on, eventually};

const PATIENCE: Duration = Duration::from_secs(60);
const ACCOUNTS: u32 = 300;

/// A form for some vendors; the others are paid by price list.
const FORMS: [(&str, &str); 5] = [
    (
        "zhipu",
        "form = \"share_of_net\"\nshare_ppm = 300000\nrevenue_tax_ppm = 60000\n\
         channel_fee_ppm = 100000\nbad_debt_ppm = 5000",
    ),
    (
        "qwen",
        "form = \"all_units_tiers\"\ntier_classes = [\"input\", \"output\"]\n\
         tiers = [{ above_units = 0, price_micro_per_million = 3000000 }, \
         { above_units = 100000, price_micro_per_million = 2000000 }]",
    ),
    (
        "bytedance",
        "form = \"price_list\"\ntrial = { burden = \"shared\", vendor_ppm = 500000, \
         packages = [\"mobile-gift-500k\"] }",
    ),
    (
        "moonshot",
        "form = \"cost_plus\"\nmarkup_ppm = 50000\nprepaid = [{ paid_on = \"2026-02-10\", amount = \"5.00\" }]",
    ),
    ("minimax", "form = \"price_list\"\nminimum = \"1000.00\"\ncarry_months = 3"),
];

const VENDORS: [&str; 10] = [
    "deepseek",
    "qwen",
    "zhipu",
    "bytedance",
    "moonshot",
    "minimax",
    "baidu",
    "tencent",
    "anthropic",
    "openai",
];

fn contracts(folder: &Path) -> PathBuf {
    let forms: BTreeMap<&str, &str> = FORMS.into();
    let mut text = String::new();
    for vendor in VENDORS {
        let form = forms.get(vendor).copied().unwrap_or("form = \"price_list\"");
        text.push_str(&format!(
            "[[terms]]\nid = \"{vendor}-2026\"\nvendor = \"{vendor}\"\nmodel_pattern = \"*\"\n{form}\n\
             currency = \"CNY\"\ntax_ppm = 60000\nrounding = \"half_even\"\n\
             valid_from = \"2026-01-01\"\nknown_from = \"2026-01-01\"\napproved_by = \"test\"\n\
             approved_at = \"2026-01-01\"\n"
        ));
    }
    for (period, rate) in [("2026-02", "7.0123"), ("2026-03", "6.9876")] {
        text.push_str(&format!(
            "[[fx]]\nfrom = \"USD\"\nto = \"CNY\"\nperiod = \"{period}\"\nrate = \"{rate}\"\n\
             date = \"{period}-28\"\nsource = \"test\"\n"
        ));
    }
    let path = folder.join("contracts.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// A place with a log, a store and contracts.
struct Books {
    folder: PathBuf,
    contracts: PathBuf,
}

impl Books {
    fn run(&self, arguments: &[&str]) -> Output {
        tally(&self.folder, arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The words of a command that must end with this code.
    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
        words
    }

    /// Events from `start` on over so many hours, through the log into the tables.
    fn traffic(&self, seed: u64, events: u32, start: &str, hours: u32) {
        let (seed, events) = (seed.to_string(), events.to_string());
        let (hours, accounts) = (format!("{hours}h"), ACCOUNTS.to_string());
        self.done(&[
            "generate",
            "--events",
            &events,
            "--seed",
            &seed,
            "--accounts",
            &accounts,
            "--start",
            start,
            "--span",
            &hours,
            "--out",
            "kafka",
        ]);
        let drained = self.done(&["aggregate", "--until-end"]);
        assert!(drained.contains("DRAINED"), "{drained}");
    }

    fn settle<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let contracts = self.contracts.to_str().unwrap();
        [&["settle"], arguments, &["--contracts", contracts]].concat()
    }

    fn statement(&self, vendor: &str, period: &str) -> Value {
        let arguments = ["statement", "--vendor", vendor, "--period", period, "--format", "json"];
        serde_json::from_str(&self.done(&self.settle(&arguments))).unwrap()
    }

    fn close_command<'a>(&'a self, period: &'a str, by: &'a str) -> Vec<&'a str> {
        self.settle(&["close", "--period", period, "--by", by, "--json"])
    }

    fn close(&self, period: &str, by: &str) -> Value {
        serde_json::from_str(&self.done(&self.close_command(period, by))).unwrap()
    }

    /// Prints the statement of every vendor, and compares them with the rows.
    fn check(&self, period: &str, sealed: Option<&Path>) -> BTreeMap<String, Value> {
        let mut statements = BTreeMap::new();
        let python =
            std::env::var("TALLY_TEST_PYTHON").expect("run `make test`: it sets TALLY_TEST_PYTHON");
        let mut check = Command::new(python);
        check
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_statements.py"))
            .arg(self.folder.join("store"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        for vendor in VENDORS {
            // A model that has no price yet is in suspense, and its vendor has no statement.
            if vendor == "deepseek" {
                continue;
            }
            let statement = self.statement(vendor, period);
            let path = self.folder.join(format!("{period}-{vendor}.json"));
            std::fs::write(&path, statement.to_string()).unwrap();
            check.arg(path);
            statements.insert(vendor.to_owned(), statement);
        }
        check.args(sealed.into_iter().flat_map(|path| [Path::new("--sealed"), path]));
        let output = check.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}");
        statements
    }

    /// The same log and store in another folder.
    fn copied(&self, to: &Path) -> Self {
        let status = Command::new("cp").arg("-r").arg(&self.folder).arg(to).status().unwrap();
        assert!(status.success());
        Self { folder: to.to_owned(), contracts: self.contracts.clone() }
    }

    /// Every object below `statements/`, by its path.
    fn sealed(&self) -> BTreeMap<String, Vec<u8>> {
        let root = self.folder.join("store/statements");
        let mut objects = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&root).unwrap().display().to_string();
                    objects.insert(name, std::fs::read(&path).unwrap());
                }
            }
        }
        objects
    }
}

/// Sells a gift to every second account and a package to the others, at the beginning of February.
fn sell(folder: &Path) {
    let (mut process, address) = up(folder, "up");
    block_on(async {
        for number in 0..ACCOUNTS {
            let account = format!("A{number:09}");
            let package = if number % 2 == 0 { "mobile-gift-500k" } else { "telecom-10m" };
            let command = json!({"command": "purchase", "id": format!("buy-{number}"),
                                 "at": "2026-02-01T00:00:00+08:00", "package": package});
            let url = format!("http://{address}/v1/accounts/{account}/commands");
            let (status, answer) = post(&url, "application/json", command.to_string()).await;
            assert_eq!(status, 202, "{answer}");
        }
    });
    assert!(process.terminate(PATIENCE).success());
}

fn hashes(seal: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let statements = seal["seal"]["statements"].as_array().unwrap();
    statements.iter().map(|sealed| (text(&sealed["vendor"]), text(&sealed["hash"]))).collect()
}

/// Every adjustment of some statements.
fn adjustments(statements: &BTreeMap<String, Value>) -> Vec<&Value> {
    let sections = statements.values().flat_map(|s| s["statement"]["sections"].as_array().unwrap());
    sections.flat_map(|section| section["adjustments"].as_array().unwrap()).collect()
}

#[test]
fn two_months_are_settled_closed_and_stay_as_they_are() {
    let mut dice = Dice::of("settle");
    let scratch = tempfile::tempdir().unwrap();
    let contracts = contracts(scratch.path());
    let books = Books { folder: scratch.path().join("books"), contracts };
    std::fs::create_dir(&books.folder).unwrap();
    sell(&books.folder);
    books.traffic(dice.next_seed(), 4_000, "2026-02-01T01:00:00+08:00", 5 * 24);
    books.traffic(dice.next_seed(), 3_000, "2026-03-02T00:00:00+08:00", 5 * 24);

    // Drafts foot, and what cannot be said is refused in words.
    let drafts = books.check("2026-02", None);
    assert!(drafts.values().all(|draft| draft["status"] == "draft"));
    let trial = adjustments(&drafts).iter().any(|row| row["reason"] == "free_trial");
    assert!(trial, "no trial was settled");
    for (code, words, arguments) in [
        (2, "is not a period", vec!["statement", "--vendor", "qwen", "--period", "2026-13"]),
        (2, "neither usage", vec!["statement", "--vendor", "acme", "--period", "2026-02"]),
        (2, "no usage in 2025-01", vec!["statement", "--vendor", "baidu", "--period", "2025-01"]),
        (2, "is not over", vec!["close", "--period", "2999-01", "--by", "ann"]),
        (2, "cannot be closed before 2026-02", vec!["close", "--period", "2026-03", "--by", "ann"]),
        (2, "needs the name", vec!["close", "--period", "2026-02", "--by", " "]),
    ] {
        let said = books.refused(code, &books.settle(&arguments));
        assert!(said.contains(words), "{said}");
    }
    assert!(!books.folder.join("store/statements").exists(), "a refusal left something behind");

    rebuilds_the_same(&books, &drafts, scratch.path());
    dies_anywhere(&books, scratch.path());
    closes_at_once(&books, scratch.path());
    closes_while_late_events_come(&books, dice.next_seed(), scratch.path());

    let closed = books.close("2026-02", "ann");
    for (vendor, draft) in &drafts {
        assert_eq!(
            draft["hash"],
            json!(hashes(&closed)[vendor]),
            "{vendor}: draft and seal differ"
        );
    }
    let sealed = books.sealed();
    let again = books.close("2026-02", "bob");
    assert_eq!((&again["hash"], &again["was_closed"]), (&closed["hash"], &json!(true)));
    books.done(&["verify"]);

    // Late events of February come to March's statement, and February stays as it is.
    books.traffic(dice.next_seed(), 500, "2026-02-03T00:00:00+08:00", 24);
    let february = books.folder.join("2026-02-qwen.json");
    let drafts = books.check("2026-03", Some(&february));
    let late: Vec<&Value> =
        adjustments(&drafts).into_iter().filter(|row| row["reason"] == "late_usage").collect();
    assert!(late.len() > 20, "{} rows of late usage", late.len());
    let lines = sealed_lines(&sealed);
    for row in &late {
        assert_eq!(row["orig_period"], "2026-02", "{row}");
        if let Some(line) = row["orig_line_id"].as_str() {
            assert!(lines.contains(line), "{line} is on no statement of February");
        }
    }
    assert!(late.iter().any(|row| row["orig_line_id"].is_string()), "no late usage has its line");
    let events: u64 =
        drafts.values().map(|s| s["statement"]["control"]["late_events"].as_u64().unwrap()).sum();
    assert!(events > 300, "{events} late events");
    let march = books.close("2026-03", "ann");
    for (vendor, draft) in &drafts {
        assert_eq!(draft["hash"], json!(hashes(&march)[vendor]), "{vendor}: draft and seal differ");
    }
    let now = books.sealed();
    assert!(sealed.iter().all(|(path, bytes)| now[path] == *bytes), "a sealed object changed");
    assert_eq!(books.close("2026-02", "ann")["hash"], closed["hash"]);
    let printed = books.statement("qwen", "2026-02");
    assert_eq!(
        (&printed["status"], &printed["hash"]),
        (&json!("final"), &json!(hashes(&closed)["qwen"]))
    );
    books.done(&["verify"]);
    notices_an_edit(&books);
}

/// The ids of all sealed lines.
fn sealed_lines(sealed: &BTreeMap<String, Vec<u8>>) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (_, bytes) in sealed.iter().filter(|(path, _)| path.contains("vendor-")) {
        let statement: Value = serde_json::from_slice(bytes).unwrap();
        for section in statement["sections"].as_array().unwrap() {
            let ids = section["lines"].as_array().unwrap().iter();
            lines.extend(ids.map(|line| line["id"].as_str().unwrap().to_owned()));
        }
    }
    lines
}

/// R28: wherever a close dies, the next one comes to the same statements; once there is a plan,
/// to the very seal that was begun.
fn dies_anywhere(books: &Books, scratch: &Path) {
    let mut all = BTreeSet::new();
    for (number, point) in [
        "before-settle-plan:1",
        "after-settle-plan:1",
        "after-settle-statement:1",
        "after-settle-statement:5",
        "before-settle-seal:1",
        "after-settle-seal:1",
    ]
    .into_iter()
    .enumerate()
    {
        let copy = books.copied(&scratch.join(format!("copy-{number}")));
        let arguments = copy.close_command("2026-02", "first");
        let died = tally(&copy.folder, &arguments).env("TALLY_CRASH_AT", point).output().unwrap();
        assert_eq!(died.status.code(), None, "{point}: it did not die");
        let before = if number == 0 { BTreeMap::new() } else { copy.sealed() };
        let closed = copy.close("2026-02", "second");
        let by = if number == 0 { "second" } else { "first" };
        assert_eq!(closed["seal"]["by"], by, "{point}");
        let after = copy.sealed();
        assert!(before.iter().all(|(path, bytes)| after[path] == *bytes), "{point}");
        assert_eq!(copy.close("2026-02", "third")["hash"], closed["hash"], "{point}");
        copy.done(&["verify"]);
        all.insert(hashes(&closed));
    }
    assert_eq!(all.len(), 1, "statements differ by where the close died");
}

/// R29: tables made again from the log give the same bytes, whatever the number of threads.
fn rebuilds_the_same(books: &Books, drafts: &BTreeMap<String, Value>, scratch: &Path) {
    let copy = books.copied(&scratch.join("copy-rebuilt"));
    std::fs::remove_dir_all(copy.folder.join("store")).unwrap();
    assert!(copy.done(&["aggregate", "--until-end"]).contains("DRAINED"));
    for (number, (vendor, draft)) in drafts.iter().enumerate() {
        let arguments =
            ["statement", "--vendor", vendor.as_str(), "--period", "2026-02", "--format", "json"];
        let mut command = tally(&copy.folder, &copy.settle(&arguments));
        let output = command.env("TALLY_QUERY__THREADS", (1 + number % 4).to_string()).output();
        let again: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        assert_eq!(again["hash"], draft["hash"], "{vendor}");
    }
}

/// R28: a close while events of its month are being published. Each event is on one statement.
fn closes_while_late_events_come(books: &Books, seed: u64, scratch: &Path) {
    let copy = books.copied(&scratch.join("copy-late"));
    let (seed, accounts) = (seed.to_string(), ACCOUNTS.to_string());
    copy.done(&[
        "generate",
        "--events",
        "20000",
        "--seed",
        &seed,
        "--accounts",
        &accounts,
        "--start",
        "2026-02-03T00:00:00+08:00",
        "--span",
        "24h",
        "--out",
        "kafka",
    ]);
    let mut stream =
        tally(&copy.folder, &["aggregate", "--until-end"]).stdout(Stdio::null()).spawn().unwrap();
    // It is refused with "try again" while committed events of the month wait for the tables.
    let february = eventually("a close of February", PATIENCE, || {
        let output = copy.run(&copy.close_command("2026-02", "ann"));
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 5)), "{words}");
        output.status.success().then(|| serde_json::from_slice::<Value>(&output.stdout).unwrap())
    });
    assert!(stream.wait().unwrap().success());
    let march = copy.close("2026-03", "ann");
    let counted = |closed: &Value, which: &str| closed["seal"]["totals"][which].as_u64().unwrap();
    let rows = copy.done(&[
        "sql",
        "--format",
        "csv",
        "SELECT count(*) FROM usage_events WHERE day < DATE '2026-03-01'",
    ]);
    let rows: u64 = rows.lines().last().unwrap().parse().unwrap();
    assert_eq!(counted(&february, "events") + counted(&march, "late_events"), rows);
    copy.done(&["verify"]);
}

/// Two that close at once come to one seal.
fn closes_at_once(books: &Books, scratch: &Path) {
    let copy = books.copied(&scratch.join("copy-race"));
    let closers: Vec<_> = ["ann", "bob", "cam"]
        .iter()
        .map(|by| {
            let mut command = tally(&copy.folder, &copy.close_command("2026-02", by));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut seals = BTreeSet::new();
    for closer in closers {
        let output = closer.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let closed: Value = serde_json::from_slice(&output.stdout).unwrap();
        seals.insert(closed["hash"].as_str().unwrap().to_owned());
    }
    assert_eq!(seals.len(), 1, "{seals:?}");
    copy.done(&["verify"]);
}

/// I6: an amount that somebody edits in a sealed statement is found.
fn notices_an_edit(books: &Books) {
    let path = books.folder.join("store/statements/2026-02/vendor-baidu.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let edited = text.replacen("\"sequence\":1", "\"sequence\":2", 1);
    assert_ne!(edited, text);
    std::fs::write(&path, edited).unwrap();
    let output = books.run(&["verify"]);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("is not what was sealed"), "{report}");
    let arguments = ["statement", "--vendor", "baidu", "--period", "2026-02"];
    let said = books.refused(3, &books.settle(&arguments));
    assert!(said.contains("is not what was sealed"), "{said}");
}
