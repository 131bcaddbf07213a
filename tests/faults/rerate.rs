//! A closed month rated again with the real program: by the book as it was known when V4-Pro was to
//! be billed as flash (S5), compared event by event with the oracle of rating; only differences are
//! posted, once, by two people; and what is sealed stays as it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::embedded::tally;
use crate::settle::{Books, contracts};
use crate::support::Dice;

/// When V4-Pro was announced to be billed as flash from 09-14 12:00 on, and when that was cancelled.
const ANNOUNCED: &str = "2026-09-12T00:00:00+08:00";
const CANCELLED: &str = "2026-09-14T00:00:00+08:00";
/// Before the prices of September were known.
const TOO_EARLY: &str = "2026-08-16T00:00:00+08:00";
/// The first milliseconds of September and October in Shanghai.
const SEPTEMBER_MS: u64 = 1_788_192_000_000;
const OCTOBER_MS: u64 = 1_790_784_000_000;
const MONTH_MS: u64 = OCTOBER_MS - SEPTEMBER_MS;
const EVENTS: u64 = 3_000;

/// Events of one class each, over a month, through the log into the tables.
fn traffic(books: &Books, dice: &mut Dice, from_ms: u64, events: u64) {
    let mut lines = String::new();
    for id in 0..events {
        let model = ["deepseek-v4-pro", "deepseek-flash", "deepseek-v4-flash"][dice.index(3)];
        let class = ["input", "cached_input", "output"][dice.index(3)];
        let completed_at = from_ms + dice.between(0, MONTH_MS);
        let count = dice.between(1, 2_000_000);
        let event = json!({"source": "gw-1", "id": format!("{from_ms}-{id}"), "model": model,
            "account": format!("A{}", id % 40), "completed_at": completed_at, "usage": {class: count}});
        lines.push_str(&format!("{event}\n"));
    }
    let path = books.folder.join("events.jsonl");
    std::fs::write(&path, lines).unwrap();
    books.done(&["replay", path.to_str().unwrap(), "--format", "jsonl", "--out", "kafka"]);
    let drained = books.done(&["aggregate", "--until-end"]);
    assert!(drained.contains("DRAINED"), "{drained}");
}

fn arguments<'a>(period: &'a str, known_at: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let which = ["settle", "rerate", "--vendor", "deepseek", "--period", period];
    [&which[..], &["--known-at", known_at], more].concat()
}

fn rerate(books: &Books, known_at: &str, more: &[&str]) -> Value {
    books.json(&arguments("2026-09", known_at, more))
}

const POST: [&str; 3] = ["--post", "--by", "ann"];

/// Compares a printed re-rate with the oracle.
fn oracle_says_the_same(books: &Books, known_at: &str, printed: &Value) {
    let path = books.folder.join("rerate.json");
    std::fs::write(&path, printed.to_string()).unwrap();
    let python =
        std::env::var("TALLY_TEST_PYTHON").expect("run `make test`: it sets TALLY_TEST_PYTHON");
    let check = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_rerate.py"))
        .arg(books.folder.join("store"))
        .args([known_at, path.to_str().unwrap()])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

fn cents(value: &Value) -> i128 {
    value.as_str().unwrap().replace('.', "").parse().unwrap()
}

fn differences(printed: &Value) -> i128 {
    let sections = printed["sections"].as_array().unwrap();
    sections.iter().map(|section| cents(&section["difference"])).sum()
}

/// What is to be posted, by line.
fn to_post(printed: &Value) -> BTreeMap<String, i128> {
    let sections = printed["sections"].as_array().unwrap();
    let amounts = sections.iter().flat_map(|section| section["amounts"].as_array().unwrap());
    amounts
        .map(|amount| (amount["orig_line_id"].to_string(), cents(&amount["to_post"])))
        .filter(|(_, cents)| *cents != 0)
        .collect()
}

fn proposed(printed: &Value) -> Vec<String> {
    let rows = printed["proposed"].as_array().unwrap().iter();
    rows.map(|row| row["adjustment"].as_str().unwrap().to_owned()).collect()
}

fn approve(books: &Books, name: &str, by: &str) -> Value {
    books.json(&["settle", "adjust", "--approve", name, "--by", by])
}

/// The adjustments of a statement with their reason.
fn rows(statement: &Value) -> Vec<(String, String, i128)> {
    let sections = statement["statement"]["sections"].as_array().unwrap();
    let rows = sections.iter().flat_map(|section| section["adjustments"].as_array().unwrap());
    rows.filter(|row| row["reason"] == "re_rate")
        .map(|row| {
            assert_eq!(row["orig_period"], "2026-09", "{row}");
            let id = row["id"].as_str().unwrap().to_owned();
            (id, row["orig_line_id"].to_string(), cents(&row["amounts"]["net"]))
        })
        .collect()
}

#[test]
fn a_closed_month_is_rated_again_and_only_the_differences_are_posted() {
    let mut dice = Dice::of("rerate");
    let scratch = tempfile::tempdir().unwrap();
    let books = Books { folder: scratch.path().join("books") };
    std::fs::create_dir(&books.folder).unwrap();
    books.put_in_force(&contracts(scratch.path()));
    traffic(&books, &mut dice, SEPTEMBER_MS, EVENTS);
    traffic(&books, &mut dice, OCTOBER_MS, 200);

    // Of an open month it is shown and not posted.
    let open = rerate(&books, ANNOUNCED, &[]);
    oracle_says_the_same(&books, ANNOUNCED, &open);
    let said = books.refused(2, &arguments("2026-09", ANNOUNCED, &POST));
    assert!(said.contains("2026-09 is not closed"), "{said}");
    let (before, draft) = (moment(), books.statement("deepseek", "2026-09"));
    books.close("2026-09", "ann");
    let (closed, sealed) = (moment(), books.statement("deepseek", "2026-09"));

    // As of when the stream read it, nothing changes; neither does it once the notice was taken back.
    for known_at in [CANCELLED, "2026-11-01"] {
        let same = rerate(&books, known_at, &[]);
        assert_eq!((&same["events"], &same["events_changed"]), (&json!(EVENTS), &json!(0)));
        assert_eq!(same["sections"], json!([]), "{known_at}");
    }
    let again = rerate(&books, ANNOUNCED, &[]);
    oracle_says_the_same(&books, ANNOUNCED, &again);
    assert!(again["events_changed"].as_u64().unwrap() > EVENTS / 10, "{again}");
    assert!(differences(&again) < 0, "flash costs less");
    assert_eq!(rerate(&books, ANNOUNCED, &[]), again, "whoever rates which batch");
    refuses_what_cannot_be(&books);
    posts_once(&books, &again);

    // October's statement has a row for each line; September's is the one that was sealed.
    let expected = to_post(&again);
    let drafted = books.statement("deepseek", "2026-10");
    books.close("2026-10", "bob");
    let october = books.statement("deepseek", "2026-10");
    assert_eq!(october["statement"], drafted["statement"]);
    let found: BTreeMap<String, i128> =
        rows(&october).into_iter().map(|(_, line, cents)| (line, cents)).collect();
    assert_eq!(found, expected);
    assert_eq!(found.values().sum::<i128>(), differences(&again));
    assert_eq!(books.statement("deepseek", "2026-09"), sealed);
    sql_says_the_same(&books, &expected);
    books.done(&["verify"]);
    takes_back(&books, &expected);
    books.done(&["verify"]);
    the_past_is_as_it_was(&books, [(&before, &draft, 0, 0), (&closed, &sealed, 1, 0)]);
    let now = moment();
    the_past_is_as_it_was(&books, [(&now, &sealed, 2, 3 * expected.len())]);
}

/// Now, and some time that nothing else happens in.
fn moment() -> String {
    std::thread::sleep(Duration::from_millis(50));
    let now = jiff::Timestamp::now().to_string();
    std::thread::sleep(Duration::from_millis(50));
    now
}

/// September's statement, the periods and the adjustments as they were known at a time.
fn the_past_is_as_it_was<const N: usize>(books: &Books, known: [(&str, &Value, u64, usize); N]) {
    for (at, statement, periods, adjustments) in known {
        let which = ["settle", "statement", "--vendor", "deepseek", "--period", "2026-09"];
        assert_eq!(&books.json(&[&which[..], &["--as-of", at]].concat()), statement, "{at}");
        let query = "SELECT (SELECT count(*) FROM settlement.periods WHERE reviewed_by IS NOT NULL) AS periods, \
                     (SELECT count(*) FROM settlement.adjustments WHERE reason = 're_rate') AS adjustments";
        let answer = books.done(&["sql", "--format", "json", "--as-of", at, query]);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let expected = json!([{"periods": periods, "adjustments": adjustments}]);
        assert_eq!(answer, expected, "{at}");
    }
}

fn refuses_what_cannot_be(books: &Books) {
    for (words, arguments) in [
        ("nobody knows yet", arguments("2026-09", "2999-01-01", &POST)),
        ("acme has no usage in 2026-09", {
            let mut other = arguments("2026-09", ANNOUNCED, &[]);
            other[3] = "acme";
            other
        }),
        ("deepseek has no usage in 2026-08", arguments("2026-08", ANNOUNCED, &[])),
        ("needs the name", arguments("2026-09", ANNOUNCED, &["--post", "--by", " "])),
        ("events cannot be rated as of", arguments("2026-09", TOO_EARLY, &POST)),
    ] {
        let said = books.refused(2, &arguments);
        assert!(said.contains(words), "{said}");
    }
    // What has no price is named, and not priced at nothing.
    let early = rerate(books, TOO_EARLY, &[]);
    let unrated = early["unrated"].as_array().unwrap();
    assert!(unrated.iter().any(|row| row["reason"] == "no_price"), "{early}");
    for row in unrated {
        let first = row["first"].as_array().unwrap();
        assert!(!first.is_empty() && first.iter().all(|event| event["source"] == "gw-1"), "{row}");
    }
    assert_eq!(books.json(&["settle", "adjust", "--list"]), json!([]));
}

/// Whoever posts it, however often, and wherever it dies: there is one proposal, and it counts once.
fn posts_once(books: &Books, again: &Value) {
    for point in ["before-books-entry:1", "after-books-entry:1"] {
        let mut post = tally(&books.folder, &arguments("2026-09", ANNOUNCED, &POST));
        let output = post.env("TALLY_CRASH_AT", point).stdin(Stdio::null()).output().unwrap();
        assert!(!output.status.success(), "{point}");
    }
    let posted = rerate(books, ANNOUNCED, &["--post", "--by", "bob"]);
    assert_eq!(proposed(&posted), [""; 0], "what the crash left is there");
    let name = posted["waiting"].as_str().unwrap().to_owned();
    assert_eq!(to_post(&posted), BTreeMap::new());
    let said = books.refused(2, &arguments("2026-09", CANCELLED, &POST));
    assert!(said.contains(&format!("the re-rate {name} of the same usage waits")), "{said}");
    let own = ["settle", "adjust", "--approve", &name, "--by", " ANN"];
    assert!(books.refused(3, &own).contains("four eyes"));
    let approved = approve(books, &name, "bob");
    assert_eq!((&approved["state"], &approved["reason"]), (&json!("approved"), &json!("re_rate")));
    assert_eq!(cents(&approved["amount"]), differences(again));
    let twice = rerate(books, ANNOUNCED, &POST);
    assert_eq!((proposed(&twice), to_post(&twice)), (Vec::new(), BTreeMap::new()));
    assert_eq!(books.json(&["settle", "adjust", "--list"]).as_array().unwrap().len(), 1);
}

fn sql_says_the_same(books: &Books, expected: &BTreeMap<String, i128>) {
    let query = "SELECT adjustment, orig_line_id, CAST(amount AS DECIMAL(38,2)) AS amount, \
                 CAST(net AS DECIMAL(38,2)) AS net, state FROM settlement.adjustments \
                 WHERE reason = 're_rate' AND orig_period = '2026-09'";
    let answer: Value =
        serde_json::from_str(&books.done(&["sql", "--format", "json", query])).unwrap();
    let found: BTreeMap<String, i128> = answer
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            assert_eq!((&row["state"], &row["amount"]), (&json!("on_statement"), &row["net"]));
            (row["orig_line_id"].to_string(), cents(&row["net"]))
        })
        .collect();
    assert_eq!(&found, expected);
}

/// Rated by the book without the announcement again, what was posted is taken back, and no more.
fn takes_back(books: &Books, posted: &BTreeMap<String, i128>) {
    let back = rerate(books, CANCELLED, &POST);
    assert_eq!(back["events_changed"], 0);
    let [name] = &proposed(&back)[..] else { panic!("one proposal: {back}") };
    let lines = back["proposed"][0]["re_rate"]["lines"].as_array().unwrap();
    let found: BTreeMap<String, i128> = lines
        .iter()
        .map(|line| (line["orig_line_id"].to_string(), -cents(&line["amount"])))
        .collect();
    assert_eq!(&found, posted);
    // Rejected it counts as not posted; proposed and approved, nothing is left.
    books.done(&["settle", "adjust", "--reject", name, "--note", "wait", "--by", "bob"]);
    let again = rerate(books, CANCELLED, &POST);
    let [name] = &proposed(&again)[..] else { panic!("one proposal: {again}") };
    approve(books, name, "bob");
    assert_eq!(to_post(&rerate(books, CANCELLED, &[])), BTreeMap::new());
    assert!(!to_post(&rerate(books, ANNOUNCED, &[])).is_empty());
    let draft = books.statement("deepseek", "2026-11");
    let rows: BTreeMap<String, i128> =
        rows(&draft).into_iter().map(|(_, line, cents)| (line, -cents)).collect();
    assert_eq!(&rows, posted);
}

/// Traffic of every vendor and form, rated again as of now, costs what it cost.
#[test]
fn by_the_book_that_rated_it_nothing_changes() {
    let mut dice = Dice::of("rerate-same");
    let scratch = tempfile::tempdir().unwrap();
    let books = Books { folder: scratch.path().join("books") };
    std::fs::create_dir(&books.folder).unwrap();
    books.put_in_force(&contracts(scratch.path()));
    books.traffic(dice.next_seed(), 6_000, "2026-10-02T00:00:00+08:00", 5 * 24);
    let mut events = 0;
    for vendor in crate::settle::VENDORS {
        let which = ["settle", "rerate", "--vendor", vendor, "--period", "2026-10"];
        let same = books.json(&[&which[..], &["--known-at", "2026-11-20"]].concat());
        assert_eq!((&same["sections"], &same["unrated"]), (&json!([]), &json!([])), "{vendor}");
        assert_eq!(same["events_changed"], 0, "{vendor}");
        events += same["events"].as_u64().unwrap();
    }
    assert!(events > 5_000, "{events} events");
}
