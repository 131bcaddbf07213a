//! Days that are settled and old go, by the real program: whatever the janitor dies at, and with
//! traffic after it, everything that needs no rows is as it was, and is proved.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::door::post;
use crate::embedded::{PATIENCE, tally, up};
use crate::place;
use crate::settle::{Books, VENDORS};
use crate::support::block_on;

/// What is answered without rows.
const SUMS: [&str; 5] = [
    "SELECT * FROM settlement.margin_by_month",
    "SELECT * FROM settlement.margin",
    "SELECT * FROM settlement.accrual",
    "SELECT * FROM settlement.missing_events",
    "SELECT * FROM settlement.free_usage_cost",
];

fn janitor(books: &Books, horizon_days: u32) -> Command {
    let mut command = tally(&books.folder, &["janitor", "--once", "--json"]);
    command
        .env("TALLY_AGGREGATE__DEDUPE_HORIZON_DAYS", horizon_days.to_string())
        .env("TALLY_AGGREGATE__KEEP_EVENTS_DAYS", "140");
    command
}

fn answers(books: &Books) -> Vec<String> {
    let answer = |sql| {
        let lines = books.done(&["sql", "--format", "csv", sql]);
        let mut lines: Vec<&str> = lines.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    SUMS.map(answer).to_vec()
}

fn events(books: &Books, condition: &str) -> u64 {
    let sql = format!("SELECT count(*) AS n FROM usage_events {condition}");
    let rows = books.done(&["sql", "--format", "json", &sql]);
    serde_json::from_str::<Value>(&rows).unwrap()[0]["n"].as_u64().unwrap()
}

/// The days of two closed months.
pub(crate) fn settled_days_go(books: &Books, seed: u64, scratch: &Path) {
    let books = books.copied(&scratch.join("copy-without-days"));
    let said = place::refused(janitor(&books, 400), 2);
    assert!(said.contains("keep_events_days is 140") && said.contains("431"), "{said}");
    let (all, sums) = (events(&books, ""), answers(&books));
    let statements = || {
        VENDORS.map(|vendor| {
            books
                .run(&["settle", "statement", "--vendor", vendor, "--period", "2026-02", "--json"])
                .stdout
        })
    };
    let sealed = statements();

    for point in ["before-retention-record", "after-retention-record", "after-retention-commit"] {
        let mut command = janitor(&books, 100);
        let died = command.env("TALLY_CRASH_AT", format!("{point}:1")).output().unwrap();
        assert_eq!(died.status.code(), None, "{point}: it did not die");
        books.done(&["verify"]);
        assert_eq!(answers(&books), sums, "{point}");
    }
    let removed = || {
        let report: Value = serde_json::from_slice(&place::done(janitor(&books, 100))).unwrap();
        let number = |name: &str| report[name].as_u64().unwrap();
        (number("days_removed"), number("rows_removed"))
    };
    let (mut days, mut rows) = (0, 0);
    for _ in 0..4 {
        let (more_days, more_rows) = removed();
        (days, rows) = (days + more_days, rows + more_rows);
    }
    assert!(days >= 9 && rows > 0, "{days} days with {rows} events");
    let sql = "SELECT CAST(sum(rows) AS BIGINT) AS n, count(DISTINCT record) AS records, \
        count(DISTINCT day) AS days FROM system.removed_days";
    let listed = books.done(&["sql", "--format", "json", sql]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["n"].as_u64().unwrap(), all, "{listed}");
    // One was removed by the janitor that died after that.
    assert_eq!(listed[0]["days"].as_u64().unwrap(), days + 1);
    assert_eq!(listed[0]["records"], listed[0]["days"]);

    books.done(&["verify"]);
    assert_eq!(answers(&books), sums);
    assert_eq!(statements(), sealed);
    let line =
        serde_json::from_slice::<Value>(&sealed[1]).unwrap()["statement"]["sections"][0]["lines"]
            [0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
    for arguments in [
        vec!["sql", "SELECT count(*) FROM usage_events"],
        vec!["sql", "SELECT sum(retail_amount) FROM usage_events WHERE day <= DATE '2026-02-28'"],
        vec!["settle", "events", "--vendor", VENDORS[1], "--period", "2026-02", "--line", &line],
    ] {
        let said = books.refused(2, &arguments);
        assert!(said.contains("retention/usage_events/0000"), "{arguments:?}: {said}");
    }

    corrections_go_on(&books);

    // The stream goes on.
    books.traffic(seed, 1_000, "2026-04-02T00:00:00+08:00", 24);
    books.done(&["verify"]);
    assert!(events(&books, "WHERE day >= DATE '2026-04-01'") > 500);
}

/// A correction of what is nowhere to be found, as it may be of a day that is gone, stays; the one
/// after it is carried out.
fn corrections_go_on(books: &Books) {
    let at = "2026-04-02T00:00:00+08:00";
    let of_gateway = |mut event: Value| {
        event["source"] = "gw-1".into();
        event["account"] = "A000000001".into();
        event["completed_at"] = at.into();
        event
    };
    let events = [
        json!({"id": "wrong", "model": "glm-5", "usage": {"input": 1_000}}),
        json!({"id": "fix-1", "corrects": {"source": "gw-1", "id": "nowhere"}}),
        json!({"id": "fix-2", "corrects": {"source": "gw-1", "id": "wrong"}}),
    ];
    let (mut process, address) = up(&books.folder, "up-corrections");
    let url = format!("http://{address}/v1/events");
    let body = json!(events.map(of_gateway)).to_string();
    let (status, answer) = block_on(post(&url, "application/json", body));
    assert_eq!((status, &answer["accepted"]), (200, &json!(3)), "{answer}");
    assert!(process.terminate(PATIENCE).success());
    books.done(&["aggregate", "--until-end"]);
    let told = books.json(&["correct", "apply", "--by", "dave"]);
    assert_eq!(told["sent"], json!(1), "{told}");
    let why = told["corrections"][0]["why"].as_str().unwrap();
    assert!(why.contains("nowhere of gw-1") && why.contains("retention/usage_events/"), "{why}");
    assert_eq!(told["corrections"][1]["id"], json!("wrong"), "{told}");
}
