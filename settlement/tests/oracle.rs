//! Statements of random contracts and usage against an independent oracle,
//! `tests/python/settlement_oracle.py`: difference zero, and every planted bug is noticed.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests stop at the first surprise")]
#![expect(clippy::result_large_err, reason = "the errors are those of the crate")]

use std::process::Command;

use serde_json::{Value, json};
use tally_rating::{Book, BookFile};
use tally_schemas::{CLASS_COUNT, Currency, TokenClass};
use tally_settlement::{
    Amounts, Bug, Cents, Contracts, DiscountSpans, Period, PostedAdjustment, PriceLists,
    RatedGroup, Section, SettlementError, Statement, StatementInput, amount_in_words,
    parse_decimal, plant,
};

/// Cases that the test settles, of two to five months each.
const CASES: usize = 2_000;
/// Cases that each planted bug has to be noticed in.
const CASES_PLANTED: usize = 300;
const SEED: u64 = 20_261_103;

fn oracle(arguments: &[&str]) -> Vec<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/settlement_oracle.py");
    let run =
        Command::new("python3").arg(script).args(arguments).output().expect("python3 is needed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn group(
    value: &Value,
    (vendor, spans): (&str, &DiscountSpans),
    price_book_version: &str,
) -> RatedGroup {
    let mut units = [0; CLASS_COUNT];
    for (class, count) in value["units"].as_object().unwrap() {
        units[TokenClass::from_name(class).unwrap().index()] = count.as_i64().unwrap().into();
    }
    let ms = |key: &str| text(&value[key]).parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let day = text(&value["day"]).parse().unwrap();
    RatedGroup {
        day,
        calls: spans.spans(day, spans.numbers_of(ms("started_at"), ms("completed_at"))),
        vendor: vendor.to_owned(),
        billed_model: text(&value["model"]),
        supplier: text(&value["supplier"]),
        service_tier: text(&value["service_tier"]),
        price_ids: text(&value["price_ids"]),
        price_book_version: price_book_version.to_owned(),
        currency: Currency::parse(value["currency"].as_str().unwrap()).unwrap(),
        retail_price_ids: text(&value["packages"]),
        retail_currency: value["retail_currency"].as_str().and_then(Currency::parse),
        corrected: value["corrected"].as_bool().unwrap(),
        events: value["events"].as_i64().unwrap(),
        units,
        wholesale_pico: text(&value["wholesale_pico"]).parse().unwrap(),
        retail_pico: text(&value["retail_pico"]).parse().unwrap(),
    }
}

fn triple(amounts: Amounts) -> Value {
    json!([amounts.net, amounts.tax, amounts.gross])
}

/// A section in the oracle's words.
fn section(section: &Section) -> Value {
    let mut lines: Vec<Value> = Vec::new();
    for line in &section.lines {
        let mut row = vec![json!(line.model), json!(line.class), json!(line.supplier)];
        row.extend([json!(line.service_tier), json!(line.price), json!(line.trial)]);
        row.extend([json!(line.units), json!(line.listed)]);
        row.extend(triple(line.amounts).as_array().unwrap().clone());
        lines.push(json!(row));
    }
    let mut adjustments: Vec<Value> = Vec::new();
    for adjustment in &section.adjustments {
        let mut row = vec![json!(adjustment.reason.name()), json!(adjustment.orig_period)];
        row.push(json!(adjustment.orig_line_id.is_some()));
        row.extend([json!(adjustment.model), json!(adjustment.class), json!(adjustment.price)]);
        row.push(json!(adjustment.units));
        row.extend(triple(adjustment.amounts).as_array().unwrap().clone());
        adjustments.push(json!(row));
    }
    let minimum = section.minimum.as_ref().map(|minimum| {
        let closing: Vec<Value> = minimum
            .closing
            .iter()
            .map(|carry| json!([carry.period, carry.amount, carry.usable_to]))
            .collect();
        json!({"used": minimum.used, "shortfall": minimum.shortfall, "closing": closing})
    });
    let prepaid = section.prepaid.map(|p| json!([p.opening, p.paid, p.drawn, p.closing]));
    json!({
        "terms": section.terms, "lines": sorted(lines), "adjustments": sorted(adjustments),
        "total": triple(section.total), "rounding": triple(section.rounding),
        "minimum": minimum, "prepaid": prepaid,
    })
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(Value::to_string);
    rows
}

/// A statement in the oracle's words.
fn statement(statement: &Statement) -> Value {
    let sections: Vec<Value> = statement.sections.iter().map(section).collect();
    let wholesale: i128 = statement.control.wholesale.values().map(|pico| pico.0).sum();
    json!({
        "sections": sections, "total": triple(statement.total), "words": statement.total_in_words,
        "units": statement.control.units, "events": statement.control.events,
        "late_events": statement.control.late_events,
        "corrected_events": statement.control.corrected_events,
        "wholesale": tally_schemas::decimal_text(wholesale, 12),
    })
}

/// Sorts the oracle's rows as ours are.
fn normalized(mut expected: Value) -> Value {
    for section in expected["sections"].as_array_mut().unwrap() {
        for rows in ["lines", "adjustments"] {
            section[rows] = json!(sorted(section[rows].as_array().unwrap().clone()));
        }
    }
    expected
}

/// Every statement of a case, in order.
fn settle(case: &Value) -> Result<Vec<Statement>, SettlementError> {
    let vendor = case["vendor"].as_str().unwrap();
    let files = [
        BookFile { name: "prices.csv", text: case["prices_csv"].as_str().unwrap() },
        BookFile { name: "contracts.toml", text: case["rating_toml"].as_str().unwrap() },
    ];
    let book = Book::read(&files).unwrap();
    let mut prices = PriceLists::default();
    prices.add(&book);
    let spans = prices.discount_spans().remove(vendor).unwrap_or_default();
    let contracts = Contracts::parse("terms", case["contracts_toml"].as_str().unwrap()).unwrap();
    let mut earlier = Vec::new();
    for month in case["months"].as_array().unwrap() {
        let groups: Vec<RatedGroup> = month["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| group(value, (vendor, &spans), book.version()))
            .collect();
        let posted: Vec<PostedAdjustment> =
            serde_json::from_value(month["posted"].clone()).unwrap();
        let statement = Statement::build(&StatementInput {
            vendor,
            period: Period::parse(month["period"].as_str().unwrap()).unwrap(),
            contracts: &contracts,
            prices: &prices,
            groups: &groups,
            earlier: &earlier,
            posted: &posted,
        })?;
        earlier.push(statement);
    }
    Ok(earlier)
}

/// The first difference of a case.
fn difference(case: &Value) -> Option<String> {
    let name = case["name"].as_str().unwrap();
    let statements = match settle(case) {
        Ok(statements) => statements,
        Err(error) => return Some(format!("{name}: {error}")),
    };
    for (ours, month) in statements.iter().zip(case["months"].as_array().unwrap()) {
        let (ours, expected) = (statement(ours), normalized(month["expect"].clone()));
        if ours != expected {
            let of = |value: &Value| serde_json::to_string_pretty(value).unwrap();
            return Some(format!(
                "{name}, {}:\n{}",
                month["period"],
                first_difference(&of(&ours), &of(&expected))
            ));
        }
    }
    None
}

fn first_difference(ours: &str, expected: &str) -> String {
    let mut lines = ours.lines().zip(expected.lines()).enumerate();
    let found = lines.find(|(_, (ours, expected))| ours != expected);
    let from = found.map_or(0, |(line, _)| line.saturating_sub(12));
    let part = |text: &str| text.lines().skip(from).take(24).collect::<Vec<_>>().join("\n");
    format!("ours\n{}\nexpected\n{}", part(ours), part(expected))
}

#[test]
fn every_statement_is_the_oracles() {
    let cases = oracle(&["--seed", &SEED.to_string(), "--cases", &CASES.to_string()]);
    assert_eq!(cases.len(), CASES);
    let mut months = 0;
    for case in &cases {
        months += case["months"].as_array().unwrap().len();
        if let Some(difference) = difference(case) {
            panic!("{difference}");
        }
    }
    assert!(months > 2 * CASES, "{months} statements");
}

#[test]
fn planted_bugs_are_caught() {
    let cases = oracle(&["--seed", &SEED.to_string(), "--cases", &CASES_PLANTED.to_string()]);
    for bug in Bug::ALL {
        plant(Some(bug));
        let caught = cases.iter().any(|case| difference(case).is_some());
        plant(None);
        assert!(caught, "{bug:?} goes unnoticed");
    }
}

#[test]
fn amounts_in_words_are_the_oracles() {
    let pairs = oracle(&["--words"]);
    assert!(pairs.len() > 5_000, "{} pairs", pairs.len());
    for pair in pairs {
        let cents = parse_decimal(pair[0].as_str().unwrap(), 2).unwrap();
        let words = amount_in_words(Cents(cents), Currency::CNY);
        assert_eq!(words, pair[1].as_str().unwrap(), "{pair}");
    }
}

/// Whatever the numbers: a section's lines, adjustments and rounding line sum to its total, and
/// the rounding line is no larger than what rounding can leave.
#[test]
fn every_section_foots() {
    let cases = oracle(&["--seed", "7", "--cases", "300"]);
    for case in &cases {
        for statement in settle(case).unwrap() {
            for section in &statement.sections {
                let rows = section.lines.len() + section.adjustments.len();
                let parts = section
                    .lines
                    .iter()
                    .map(|line| line.amounts)
                    .chain(section.adjustments.iter().map(|adjustment| adjustment.amounts))
                    .chain([section.rounding]);
                let (mut net, mut tax, mut gross) = (0, 0, 0);
                for part in parts {
                    assert_eq!(part.gross.0, part.net.0 + part.tax.0);
                    (net, tax, gross) = (net + part.net.0, tax + part.tax.0, gross + part.gross.0);
                }
                let total = section.total;
                assert_eq!((net, tax, gross), (total.net.0, total.tax.0, total.gross.0));
                // Half a cent a row and for the total, twice over for tax on rounded amounts.
                let most = i128::try_from(rows).unwrap() + 1;
                assert!(section.rounding.gross.0.abs() <= 2 * most, "{}", case["name"]);
            }
        }
    }
}

/// The groups in another order give the same bytes.
#[test]
fn the_order_of_the_groups_does_not_matter() {
    let seed = 99;
    let cases = oracle(&["--seed", &seed.to_string(), "--cases", "100"]);
    let hashes = |case: &Value| -> Vec<String> {
        settle(case).unwrap().iter().map(|statement| statement.hash().unwrap()).collect()
    };
    for (number, case) in cases.iter().enumerate() {
        let before = hashes(case);
        for turn in 1..6 {
            let mut shuffled = case.clone();
            for month in shuffled["months"].as_array_mut().unwrap() {
                let groups = month["groups"].as_array_mut().unwrap();
                // Sorted by a hash that depends on the turn: a shuffle that repeats.
                groups.sort_by_key(|group| {
                    tally_settlement::hash_of(format!("{number}/{turn}/{group}").as_bytes())
                });
            }
            assert_eq!(hashes(&shuffled), before, "seed {seed}, {}, turn {turn}", case["name"]);
        }
    }
}

/// What is stored is read back as it was.
#[test]
fn a_stored_statement_is_the_same_statement() {
    for case in oracle(&["--seed", "3", "--cases", "50"]) {
        for statement in settle(&case).unwrap() {
            let bytes = statement.to_bytes().unwrap();
            assert_eq!(Statement::from_bytes("statement", &bytes).unwrap(), statement);
        }
    }
}

/// A stored amount that is off by a pico-yuan is an error that names the rows.
#[test]
fn an_amount_that_does_not_foot_is_refused() {
    let mut refused = 0;
    for mut case in oracle(&["--seed", "5", "--cases", "40"]) {
        let Some(group) = case["months"][0]["groups"].get_mut(0) else { continue };
        let stored: i128 = group["wholesale_pico"].as_str().unwrap().parse().unwrap();
        group["wholesale_pico"] = json!((stored + 1).to_string());
        let (model, day) = (text(&group["model"]), text(&group["day"]));
        let error = settle(&case).unwrap_err();
        assert!(matches!(error, SettlementError::DoesNotFoot { .. }), "{error}");
        let words = error.to_string();
        assert!(words.contains(&model) && words.contains(&day), "{words}");
        refused += 1;
    }
    assert!(refused > 20, "{refused}");
}
