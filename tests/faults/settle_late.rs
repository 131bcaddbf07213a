//! R15: usage that comes thirteen months late, and usage that was held back until its month was
//! long sealed, by the real program on the embedded log: both are adjustments of the open month,
//! at the price of their own time, and the sealed statements stay as they are.

use std::path::Path;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde_json::{Value, json};
use tally_settlement::Period;

use crate::books::sql;
use crate::door::post;
use crate::embedded::{PATIENCE, up};
use crate::place;
use crate::settle::Books;
use crate::support::{Dice, block_on, eventually};

/// More than thirteen months, whichever they are, and within the dedupe horizon of 400 days.
const DAYS_LATE: i64 = 398;
/// Months that are sealed before the late usage comes.
const SEALED: u32 = 13;
const INPUT: u64 = 1_000;
const DAY_MS: i64 = 24 * 3_600_000;

const TERMS: &str = "[[terms]]\nid = \"zhipu\"\nvendor = \"zhipu\"\nmodel_pattern = \"*\"\n\
    form = \"price_list\"\ncurrency = \"CNY\"\ntax_ppm = 60000\nrounding = \"half_up\"\n\
    valid_from = \"2025-01-01\"\n";
/// Terms need a vendor that the price book knows.
const ACME_TERMS: &str = "[[terms]]\nid = \"acme\"\nvendor = \"acme\"\nmodel_pattern = \"*\"\n\
    form = \"price_list\"\ncurrency = \"CNY\"\ntax_ppm = 60000\nrounding = \"half_up\"\n\
    valid_from = \"2025-01-01\"\n";

/// What nobody knew while the month was open.
const ALIAS: &str = "[[alias]]\nid = \"acme-1\"\nmodel = \"acme-1\"\nvendor = \"acme\"\n\
    billed_model = \"acme-1\"\nvalid_from = \"2025-01-01\"\n";

/// A price up to the day after `day`, and a dearer one from then on.
fn prices(day: Date) -> String {
    let then = day.checked_add(1.day()).unwrap();
    format!(
        "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,valid_from,valid_to\n\
         then,wholesale,acme,acme-1,input,token,CNY,7000000,2025-01-01,{then}\n\
         now,wholesale,acme,acme-1,input,token,CNY,9000000,{then},\n"
    )
}

fn shanghai(at_ms: i64) -> Zoned {
    let zone = TimeZone::get("Asia/Shanghai").unwrap();
    Timestamp::from_millisecond(at_ms).unwrap().to_zoned(zone)
}

/// Sends so many events of a model that ended at these instants.
fn send(books: &Books, name: &str, model: &str, instants_ms: &[i64]) {
    let (mut process, address) = up(&books.folder, name);
    let events: Vec<Value> = (0..)
        .zip(instants_ms)
        .map(|(n, at_ms): (u32, _)| {
            json!({"source": "gw-1", "id": format!("{name}-{n}"), "account": format!("A{}", n % 7),
                   "model": model, "completed_at": at_ms, "usage": {"input": INPUT}})
        })
        .collect();
    let url = format!("http://{address}/v1/events");
    let (status, answer) = block_on(post(&url, "application/json", json!(events).to_string()));
    assert_eq!((status, &answer["accepted"]), (200, &json!(events.len())), "{answer}");
    assert!(process.terminate(PATIENCE).success());
    assert!(books.done(&["aggregate", "--until-end"]).contains("DRAINED"));
}

/// The alias, the prices and the terms of `acme-1`, imported by one and approved by another.
fn repair(books: &Books, scratch: &Path, day: Date) {
    let files = [("alias.toml", ALIAS.to_owned()), ("prices.csv", prices(day))];
    let [alias, prices] = files.map(|(name, text)| {
        let path = scratch.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    });
    books.done(&["price", "import", &alias, &prices, "--by", "lin"]);
    books.done(&["price", "approve", "1", "--by", "chen"]);
    let terms = scratch.join("acme.toml");
    std::fs::write(&terms, ACME_TERMS).unwrap();
    books.put_in_force(&terms);
}

/// The adjustments of a draft for late usage: number of tokens, net, and the line each corrects.
fn late(draft: &Value) -> Vec<(String, String, Option<String>, Value)> {
    let sections = draft["statement"]["sections"].as_array().unwrap();
    let adjustments =
        sections.iter().flat_map(|section| section["adjustments"].as_array().unwrap());
    adjustments
        .filter(|row| row["reason"] == "late_usage")
        .map(|row| {
            let text = |value: &Value| value.to_string().trim_matches('"').to_owned();
            let line = row["orig_line_id"].as_str().map(str::to_owned);
            let net = text(&row["amounts"]["net"]);
            (text(&row["units"]), net, line, row["orig_period"].clone())
        })
        .collect()
}

#[test]
fn usage_that_comes_thirteen_months_late_is_on_the_open_statement() {
    let mut dice = Dice::of("settle-late");
    let scratch = tempfile::tempdir().unwrap();
    let books = Books { folder: scratch.path().join("books") };
    std::fs::create_dir(&books.folder).unwrap();
    let terms = scratch.path().join("terms.toml");
    std::fs::write(&terms, TERMS).unwrap();
    books.put_in_force(&terms);

    let then_ms = Timestamp::now().as_millisecond() - DAYS_LATE * DAY_MS;
    let then = shanghai(then_ms).date();
    let month = Period::of_day(then);
    let some = |count: i64| -> Vec<i64> { (0..count).map(|n| then_ms + n).collect() };
    send(&books, "in-time", "glm-5", &some(100));
    // Nobody knows the model: its events are held back.
    send(&books, "unknown", "acme-1", &some(40));
    let open = month.plus_months(SEALED);
    let mut period = month;
    while period < open {
        let closed = books.close(&period.to_string(), "ann");
        assert_eq!(closed["seal"]["period"], json!(period.to_string()), "{closed}");
        period = period.next();
    }
    let sealed = place::objects(&books.folder.join("store/statements"));

    // A day of the open month comes in any order, among usage of the first month.
    let day = open.first_day().to_zoned(TimeZone::get("Asia/Shanghai").unwrap()).unwrap();
    let day_ms = day.timestamp().as_millisecond();
    let mut instants: Vec<i64> =
        (0..200).map(|_| day_ms + i64::try_from(dice.between(0, 86_400_000)).unwrap()).collect();
    instants.sort_by_key(|at_ms| std::cmp::Reverse(*at_ms));
    let mut mixed = some(60);
    mixed.extend(&instants);
    send(&books, "late", "glm-5", &mixed);
    repair(&books, scratch.path(), then);
    let (mut process, _) = up(&books.folder, "recycle");
    eventually("every held-back event recycled", PATIENCE, || {
        books.done(&["suspense", "recycle", "--by", "carol"]);
        let left = sql(&books, "SELECT count(*) AS n FROM suspense WHERE status = 'open'");
        (left == [json!({"n": 0})]).then_some(())
    });
    assert!(process.terminate(PATIENCE).success());
    assert!(books.done(&["aggregate", "--until-end"]).contains("DRAINED"));

    // 60 x 1,000 tokens at 6 yuan a million, 40 x 1,000 at 7: the price of then, and not of now.
    let draft = books.statement("zhipu", &open.to_string());
    let found = late(&draft);
    assert_eq!(found.len(), 1, "{found:?}");
    let (units, net, line, orig_period) = &found[0];
    assert_eq!(
        (units.as_str(), net.as_str(), orig_period),
        ("60000", "0.36", &json!(month.to_string()))
    );
    let first = books.statement("zhipu", &month.to_string());
    let own_line = &first["statement"]["sections"][0]["lines"][0]["id"];
    assert_eq!(line.as_deref(), own_line.as_str());
    let control = &draft["statement"]["control"];
    assert_eq!((&control["events"], &control["late_events"]), (&json!(200), &json!(60)));
    let found = late(&books.statement("acme", &open.to_string()));
    assert_eq!(found, [("40000".to_owned(), "0.28".to_owned(), None, json!(month.to_string()))]);
    let accrued = sql(
        &books,
        &format!(
            "SELECT vendor, statement, state, events FROM settlement.accrual \
             WHERE month = DATE '{}' ORDER BY vendor, statement",
            month.first_day()
        ),
    );
    let row = |vendor: &str, statement: Option<String>, state: &str, events: u64| json!({"vendor": vendor, "statement": statement, "state": state, "events": events});
    let expected = [
        row("acme", None, "open", 40),
        row("zhipu", Some(month.to_string()), "closed", 100),
        row("zhipu", None, "open", 60),
    ];
    assert_eq!(accrued, expected);

    let now = place::objects(&books.folder.join("store/statements"));
    assert_eq!(sealed, now, "a sealed object changed");
    books.done(&["verify"]);
}
