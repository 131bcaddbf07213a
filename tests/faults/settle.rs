//! Two months settled by the real program, on the embedded log and a local folder: statements
//! foot with an independent sum of the rows, a close or an approval that dies at any point comes to
//! the same seal (R28), and what comes later is an adjustment of the month it belongs to (R15).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::door::post;
use crate::embedded::{tally, up};
use crate::place;
use crate::removed_days::settled_days_go;
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

pub(crate) const VENDORS: [&str; 10] = [
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

/// Terms of every vendor and a rate a month, in a file.
pub(crate) fn contracts(folder: &Path) -> PathBuf {
    let forms: BTreeMap<&str, &str> = FORMS.into();
    let mut text = String::new();
    for vendor in VENDORS {
        let form = forms.get(vendor).copied().unwrap_or("form = \"price_list\"");
        text.push_str(&format!(
            "[[terms]]\nid = \"{vendor}-2026\"\nvendor = \"{vendor}\"\nmodel_pattern = \"*\"\n{form}\n\
             currency = \"CNY\"\ntax_ppm = 60000\nrounding = \"half_even\"\n\
             valid_from = \"2026-01-01\"\n"
        ));
    }
    for (period, rate) in [("2026-02", "7.0123"), ("2026-03", "6.9876"), ("2026-10", "7.1001")] {
        text.push_str(&format!(
            "[[fx]]\nfrom = \"USD\"\nto = \"CNY\"\nperiod = \"{period}\"\nrate = \"{rate}\"\n\
             date = \"{period}-28\"\nsource = \"test\"\n"
        ));
    }
    let path = folder.join("contracts.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// A place with a log and a store.
pub(crate) struct Books {
    pub(crate) folder: PathBuf,
}

impl Books {
    /// Imports a file of contracts by one person and approves it by another.
    pub(crate) fn put_in_force(&self, file: &Path) {
        let file = file.to_str().unwrap();
        self.done(&["contract", "import", file, "--by", "lin"]);
        let said = self.refused(3, &["contract", "approve", file, "--by", "Lin "]);
        assert!(said.contains("four eyes"), "{said}");
        self.done(&["contract", "approve", file, "--by", "chen"]);
    }

    fn tally(&self, arguments: &[&str]) -> Command {
        let mut command = tally(&self.folder, arguments);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.tally(arguments).output().unwrap()
    }

    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        String::from_utf8(place::done(self.tally(arguments))).unwrap()
    }

    /// The words of a command that must end with this code.
    pub(crate) fn refused(&self, code: i32, arguments: &[&str]) -> String {
        place::refused(self.tally(arguments), code)
    }

    /// Events from `start` on over so many hours, through the log into the tables.
    pub(crate) fn traffic(&self, seed: u64, events: u32, start: &str, hours: u32) {
        let arguments = place::traffic((seed, events, ACCOUNTS), start, hours);
        self.done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let drained = self.done(&["aggregate", "--until-end"]);
        assert!(drained.contains("DRAINED"), "{drained}");
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[arguments, &["--json"]].concat())).unwrap()
    }

    pub(crate) fn statement(&self, vendor: &str, period: &str) -> Value {
        self.json(&["settle", "statement", "--vendor", vendor, "--period", period])
    }

    /// Puts a month into review, or says what it is in.
    pub(crate) fn review(&self, period: &str, by: &str) -> Value {
        self.json(&["settle", "close", "--period", period, "--by", by])
    }

    pub(crate) fn approve(&self, period: &str, by: &str) -> Value {
        self.json(&["settle", "approve", "--period", period, "--by", by])
    }

    /// Closes a month: `by` puts it into review, the chief approves.
    pub(crate) fn close(&self, period: &str, by: &str) -> Value {
        let review = self.review(period, by);
        if review["state"] == "closed" { review } else { self.approve(period, "chief") }
    }

    /// Prints the statement of every vendor, and compares them with the rows.
    fn check(&self, period: &str, sealed: Option<&Path>) -> BTreeMap<String, Value> {
        let mut statements = BTreeMap::new();
        let mut check = place::python("check_statements.py");
        check.arg(self.folder.join("store"));
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
        place::done(check);
        statements
    }

    /// The same log and store in another folder.
    pub(crate) fn copied(&self, to: &Path) -> Self {
        place::copy(&self.folder, to);
        Self { folder: to.to_owned() }
    }

    /// Every object below `statements/`, by its path.
    fn sealed(&self) -> BTreeMap<String, Vec<u8>> {
        place::objects(&self.folder.join("store/statements"))
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

/// Walks lines of sealed statements down to their events: late ones, which came after the seal, are
/// not among them.
fn lines_are_their_events(books: &Books, period: &str, vendors: &BTreeMap<String, Value>) {
    let mut walked = 0;
    for vendor in vendors.keys() {
        let statement = books.statement(vendor, period);
        for section in statement["statement"]["sections"].as_array().unwrap() {
            let lines = section["lines"].as_array().unwrap();
            let some: BTreeSet<usize> =
                [0, lines.len() / 2, lines.len().saturating_sub(1)].into_iter().collect();
            for line in some.into_iter().filter_map(|n| lines.get(n)) {
                let id = line["id"].as_str().unwrap();
                let events = books.json(&[
                    "settle", "events", "--vendor", vendor, "--period", period, "--line", id,
                ]);
                let units: i128 = events
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|event| {
                        event["units"].to_string().trim_matches('"').parse::<i128>().unwrap()
                    })
                    .sum();
                let expected: i128 = if line["class"] == "units" {
                    let tiers = lines.iter().filter(|line| line["class"] == "units");
                    tiers.map(|line| line["units"].as_str().unwrap().parse::<i128>().unwrap()).sum()
                } else {
                    line["units"].as_str().unwrap().parse().unwrap()
                };
                assert_eq!(units, expected, "{vendor} {line}");
                walked += 1;
            }
        }
    }
    assert!(walked > 20, "{walked} lines were walked down");
    let said = books
        .refused(2, &["settle", "events", "--vendor", "qwen", "--period", period, "--line", "L0"]);
    assert!(said.contains("has no line"), "{said}");
}

/// Walks adjustments for usage down to their events: of each reason some, of each vendor's first and
/// last. How many there were of each reason.
fn adjustments_are_their_events(
    books: &Books,
    period: &str,
    statements: &BTreeMap<String, Value>,
) -> BTreeMap<String, u32> {
    let mut walked: BTreeMap<String, u32> = BTreeMap::new();
    for (vendor, statement) in statements {
        for section in statement["statement"]["sections"].as_array().unwrap() {
            let rows = section["adjustments"].as_array().unwrap();
            for reason in ["late_usage", "free_trial", "tier_true_up"] {
                let of: Vec<&Value> = rows.iter().filter(|row| row["reason"] == reason).collect();
                let some = of.first().into_iter().chain(of.last().filter(|_| of.len() > 1));
                for row in some {
                    let id = row["id"].as_str().unwrap();
                    let events = books.json(&[
                        "settle",
                        "events",
                        "--vendor",
                        vendor,
                        "--period",
                        period,
                        "--adjustment",
                        id,
                    ]);
                    let units = |value: &Value| {
                        value.to_string().trim_matches('"').parse::<i128>().unwrap()
                    };
                    let events = events.as_array().unwrap();
                    let sum: i128 = events.iter().map(|event| units(&event["units"])).sum();
                    // A slice of a tier is a part of all late usage of its month.
                    let is_slice = row["class"] == "units" && reason == "late_usage";
                    let like = |other: &&&Value| {
                        other["class"] == "units" && other["orig_period"] == row["orig_period"]
                    };
                    let expected: i128 = if is_slice {
                        of.iter().filter(like).map(|row| units(&row["units"])).sum()
                    } else {
                        units(&row["units"])
                    };
                    assert!(!events.is_empty() && sum == expected, "{vendor} {row}: {sum}");
                    *walked.entry(reason.to_owned()).or_default() += 1;
                }
            }
            // What is for no usage says so.
            for reason in ["minimum_guarantee_true_up", "prepaid_drawn", "cap"] {
                let Some(row) = rows.iter().find(|row| row["reason"] == reason) else { continue };
                let id = row["id"].as_str().unwrap();
                let arguments = [
                    "settle",
                    "events",
                    "--vendor",
                    vendor,
                    "--period",
                    period,
                    "--adjustment",
                    id,
                ];
                let said = books.refused(2, &arguments);
                assert!(said.contains("has no events of its own"), "{said}");
            }
        }
    }
    walked
}

pub(crate) fn hashes(seal: &Value) -> BTreeMap<String, String> {
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
    let books = Books { folder: scratch.path().join("books") };
    std::fs::create_dir(&books.folder).unwrap();
    books.put_in_force(&contracts);
    sell(&books.folder);
    books.traffic(dice.next_seed(), 4_000, "2026-02-01T01:00:00+08:00", 5 * 24);
    books.traffic(dice.next_seed(), 3_000, "2026-03-02T00:00:00+08:00", 5 * 24);

    // Drafts foot, and what cannot be said is refused in words.
    let drafts = books.check("2026-02", None);
    assert!(drafts.values().all(|draft| draft["status"] == "draft"));
    let trial = adjustments(&drafts).iter().any(|row| row["reason"] == "free_trial");
    assert!(trial, "no trial was settled");
    let walked = adjustments_are_their_events(&books, "2026-02", &drafts);
    assert!(walked["free_trial"] > 0 && walked["tier_true_up"] > 0, "{walked:?}");
    let draft = scratch.path().join("draft.toml");
    std::fs::write(&draft, "[[fx]]\nfrom = \"EUR\"\nto = \"CNY\"\nperiod = \"2026-02\"\nrate = \"8\"\ndate = \"2026-02-28\"\nsource = \"test\"\n").unwrap();
    let draft = draft.to_str().unwrap();
    for (code, words, arguments) in [
        (2, "is not a period", vec!["statement", "--vendor", "qwen", "--period", "2026-13"]),
        (2, "neither usage", vec!["statement", "--vendor", "acme", "--period", "2026-02"]),
        (2, "no usage in 2025-01", vec!["statement", "--vendor", "baidu", "--period", "2025-01"]),
        (2, "is not over", vec!["close", "--period", "2999-01", "--by", "ann"]),
        (2, "cannot be closed before 2026-02", vec!["close", "--period", "2026-03", "--by", "ann"]),
        (2, "needs the name", vec!["close", "--period", "2026-02", "--by", " "]),
        (2, "is not in review", vec!["approve", "--period", "2026-02", "--by", "ann"]),
        (
            2,
            "is a draft",
            vec!["close", "--period", "2026-02", "--by", "ann", "--contracts", draft],
        ),
    ] {
        let said = books.refused(code, &[&["settle"], arguments.as_slice()].concat());
        assert!(said.contains(words), "{said}");
    }
    assert!(!books.folder.join("store/statements").exists(), "a refusal left something behind");

    rebuilds_the_same(&books, &drafts, scratch.path());
    dies_anywhere(&books, scratch.path());
    closes_at_once(&books, scratch.path());
    closes_while_late_events_come(&books, dice.next_seed(), scratch.path());

    let review = books.review("2026-02", "ann");
    assert_eq!((&review["state"], &review["was_there"]), (&json!("review"), &json!(false)));
    let own = ["settle", "approve", "--period", "2026-02", "--by", " ANN"];
    let said = books.refused(3, &own);
    assert!(said.contains("2026-02 is ann's: somebody else must approve it (four eyes)"), "{said}");
    // What is sent back is put into review anew, by a plan of its own.
    let reject = ["settle", "reject", "--period", "2026-02", "--by", "bob", "--note", "look again"];
    books.done(&reject);
    let again = books.review("2026-02", "ann");
    assert_ne!(again["plan"], review["plan"]);
    assert_eq!(again["statements"], review["statements"]);
    assert_eq!(books.statement("qwen", "2026-02")["state"], "review");
    let closed = books.close("2026-02", "bob");
    assert_eq!(closed["seal"]["plan"], again["plan"]);
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
    lines_are_their_events(&books, "2026-02", &drafts);
    let walked = adjustments_are_their_events(&books, "2026-03", &drafts);
    assert!(walked["late_usage"] > 8, "{walked:?}");
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
    assert_eq!(adjustments_are_their_events(&books, "2026-03", &drafts), walked);
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
    settled_days_go(&books, dice.next_seed(), scratch.path());
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

/// R28: wherever a close or its approval dies, the next one comes to the same statements; once it
/// is in review, to the very plan that was begun, and once approved, to the very seal.
fn dies_anywhere(books: &Books, scratch: &Path) {
    let mut all = BTreeSet::new();
    let close = ["settle", "close", "--period", "2026-02", "--by", "first"];
    let approve = ["settle", "approve", "--period", "2026-02", "--by", "boss"];
    for (number, (command, point, by, approved_by)) in [
        (close, "before-settle-plan:1", "second", "chief"),
        (close, "after-settle-plan:1", "second", "chief"),
        (close, "before-books-entry:1", "second", "chief"),
        (close, "after-books-entry:1", "first", "chief"),
        (close, "after-settle-review:1", "first", "chief"),
        (approve, "before-settle-approval:1", "first", "chief"),
        (approve, "after-books-entry:1", "first", "boss"),
        (approve, "after-settle-approval:1", "first", "boss"),
        (approve, "after-settle-statement:1", "first", "boss"),
        (approve, "after-settle-statement:5", "first", "boss"),
        (approve, "before-settle-seal:1", "first", "boss"),
        (approve, "after-settle-seal:1", "first", "boss"),
    ]
    .into_iter()
    .enumerate()
    {
        let copy = books.copied(&scratch.join(format!("copy-{number}")));
        if command == approve {
            let review = copy.review("2026-02", "first");
            assert_eq!(review["state"], "review", "{review}");
        }
        let died = tally(&copy.folder, &command).env("TALLY_CRASH_AT", point).output().unwrap();
        assert_eq!(died.status.code(), None, "{point}: it did not die");
        let nothing = ["before-settle-plan:1"].contains(&point);
        let before = if nothing { BTreeMap::new() } else { copy.sealed() };
        let closed = copy.close("2026-02", "second");
        let seal = &closed["seal"];
        assert_eq!(
            (&seal["by"], &seal["approved_by"]),
            (&json!(by), &json!(approved_by)),
            "{point}"
        );
        let after = copy.sealed();
        assert!(before.iter().all(|(path, bytes)| after[path] == *bytes), "{point}");
        assert_eq!(copy.close("2026-02", "third")["hash"], closed["hash"], "{point}");
        assert_eq!(copy.approve("2026-02", "third")["hash"], closed["hash"], "{point}");
        copy.done(&["verify"]);
        all.insert(hashes(&closed));
        std::fs::remove_dir_all(&copy.folder).unwrap();
    }
    assert_eq!(all.len(), 1, "statements differ by where the close died");
}

/// R29: tables made again from the log give the same bytes, whatever the number of threads.
fn rebuilds_the_same(books: &Books, drafts: &BTreeMap<String, Value>, scratch: &Path) {
    let copy = books.copied(&scratch.join("copy-rebuilt"));
    // What people imported and approved is not in the log: it is kept.
    let (store, kept) = (copy.folder.join("store"), copy.folder.join("kept"));
    std::fs::rename(store.join("reference"), &kept).unwrap();
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
    std::fs::rename(&kept, store.join("reference")).unwrap();
    assert!(copy.done(&["aggregate", "--until-end"]).contains("DRAINED"));
    for (number, (vendor, draft)) in drafts.iter().enumerate() {
        let arguments =
            ["settle", "statement", "--vendor", vendor.as_str(), "--period", "2026-02", "--json"];
        let mut command = tally(&copy.folder, &arguments);
        let output = command.env("TALLY_QUERY__THREADS", (1 + number % 4).to_string()).output();
        let again: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        assert_eq!(again["hash"], draft["hash"], "{vendor}");
    }
}

/// R28: a close while events of its month are being published. Each event is on one statement.
/// `settle_kill` does it with kill -9.
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
    eventually("a close of February", PATIENCE, || {
        let output = copy.run(&["settle", "close", "--period", "2026-02", "--by", "ann"]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 5)), "{words}");
        output.status.success().then_some(())
    });
    // Events go on coming between review and approval.
    let february = copy.approve("2026-02", "chief");
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

/// People who do the same to February at once: what it comes to, which is one thing.
pub(crate) fn at_once(
    tally: impl Fn(&[&str]) -> Command,
    people: [&str; 3],
    command: &str,
    what: &str,
) -> String {
    let running: Vec<_> = people
        .iter()
        .map(|by| {
            let mut command =
                tally(&["settle", command, "--period", "2026-02", "--by", by, "--json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut found = BTreeSet::new();
    for process in running {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        found.insert(said[what].as_str().unwrap().to_owned());
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.pop_first().unwrap()
}

/// Two that close at once come to one review, and two that approve at once to one seal.
fn closes_at_once(books: &Books, scratch: &Path) {
    let copy = books.copied(&scratch.join("copy-race"));
    let run = |arguments: &[&str]| tally(&copy.folder, arguments);
    at_once(run, ["ann", "bob", "cam"], "close", "plan");
    at_once(run, ["dan", "eve", "fay"], "approve", "hash");
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
    let arguments = ["settle", "statement", "--vendor", "baidu", "--period", "2026-02"];
    let said = books.refused(3, &arguments);
    assert!(said.contains("is not what was sealed"), "{said}");
}
