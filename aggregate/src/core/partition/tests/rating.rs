//! What reference data makes of an event: held back with its reason and nothing charged, or weighed
//! by the table of the package that pays.

use std::fmt::Write as _;

use arrow::array::AsArray;
use arrow::datatypes::Decimal128Type;
use tally_quota::QuotaReference;
use tally_rating::{Book, BookFile, RateCard};
use tally_schemas::ReferenceVersion;

use super::resolutions::{put, recycle};
use super::*;

/// Nobody has told it the holidays of 2026.
const CALENDAR: &str = r#"
[[calendar]]
id = "workdays"
utc_offset = "+08:00"
days = "workdays"
known_from = "1970-01-01"
approved_by = "a"
approved_at = "1970-01-01"
[[calendar.year]]
year = 2025
source = "test"
holidays = ["2025-01-01"]
"#;

/// Model, class, currency, and hours. `two-currencies` has input in yuan and output in dollars,
/// `twice` two prices at once, and `workdays` windows.
const PRICES: [(&str, &str, &str, &str); 7] = [
    ("plain", "input", "CNY", ""),
    ("two-currencies", "input", "CNY", ""),
    ("two-currencies", "output", "USD", ""),
    ("twice", "input", "CNY", ""),
    ("twice", "input", "CNY", ""),
    ("workdays", "input", "CNY", ""),
    ("workdays", "input", "CNY", "calendar_id = \"workdays\"\nwindows = \"09:00-12:00\"\n"),
];

fn with(card: RateCard, packages: &str) -> Partition {
    let config = PartitionConfig {
        topic: "usage.events".to_owned(),
        partition: 0,
        partition_count: 1,
        log: None,
        aggregate: AggregateConfig::default(),
    };
    let reference = ReferenceData {
        version: ReferenceVersion { edition: 0, known_at_ms: 0, hash: "0".to_owned() },
        card: Arc::new(card),
        packages: Arc::new(QuotaReference::from_toml(packages).unwrap()),
    };
    Partition::new(config, reference, 0)
}

fn small_book() -> RateCard {
    let mut text = CALENDAR.to_owned();
    for (number, (model, class, currency, hours)) in PRICES.into_iter().enumerate() {
        write!(
            text,
            "[[price]]\nprice_id = \"{number}\"\nside = \"wholesale\"\nvendor = \"acme\"\n\
             model_pattern = \"{model}\"\nclass = \"{class}\"\nunit = \"token\"\n\
             currency = \"{currency}\"\nprice_micro_per_million = 3000000\n{hours}\
             valid_from = \"1970-01-01\"\nknown_from = \"1970-01-01\"\napproved_by = \"a\"\n\
             approved_at = \"1970-01-01\"\n"
        )
        .unwrap();
    }
    let book = Book::read(&[BookFile { name: "b.toml", text: &text }]).unwrap();
    RateCard::new(&book, None)
}

fn usage(model: &str, vendor: &str, usage: serde_json::Value) -> String {
    event(|event| {
        event["id"] = format!("{model} {usage}").into();
        event["model"] = model.into();
        event["vendor"] = vendor.into();
        event["usage"] = usage;
    })
}

/// Points of the rows of `quota_ledger`, by kind.
fn ledger(closed: &ClosedEpoch) -> Vec<(String, i128)> {
    let rows = closed.quota_ledger.batch(0, 1).unwrap();
    let kinds = rows.column_by_name("kind").unwrap();
    let points = rows.column_by_name("points").unwrap().as_primitive::<Decimal128Type>();
    (0..points.len())
        .map(|row| {
            let kind = arrow::util::display::array_value_to_string(kinds, row).unwrap();
            (kind, points.value(row))
        })
        .collect()
}

#[test]
fn what_cannot_be_rated_is_held_back_and_nothing_is_charged() {
    let both = serde_json::json!({"input": 7, "output": 7});
    let input = serde_json::json!({"input": 7});
    for (model, counts, reason) in [
        ("two-currencies", &both, "currency_mismatch"),
        ("twice", &input, "ambiguous_price"),
        ("workdays", &input, "unknown_calendar_year"),
        ("plain", &both, "no_price"),
        ("nothing-of-it", &input, "no_price"),
    ] {
        let mut partition = with(small_book(), tally_rating::SHIPPED_PACKAGES);
        put(&mut partition, &command("purchase", "\"package\":\"telecom-10m\""), AT);
        assert_eq!(ledger(&partition.close()), [("grant".to_owned(), 10_000_000_000_000)]);
        put(&mut partition, &usage(model, "acme", counts.clone()), AT);
        let closed = partition.close();
        let totals = &closed.totals;
        assert!(totals.conserved());
        let reasons: Vec<&String> = totals.suspended_by_reason.keys().collect();
        assert_eq!(reasons, [reason], "{model}");
        assert_eq!((totals.accepted.events, closed.events.len()), (0, 0), "{model}");
        assert_eq!((totals.rated.points_micro, closed.alerts.len()), (0, 0), "{model}");
        assert_eq!(ledger(&closed), [], "{model}");
        // The bucket is whole: what can be rated is charged to it from its first point.
        put(&mut partition, &usage("plain", "acme", input.clone()), AT);
        let closed = partition.close();
        assert_eq!(closed.totals.accepted.events, 1);
        assert_eq!(ledger(&closed), [("debit".to_owned(), -7_000_000)], "{model}");
    }
}

/// What a package is weighed by is not guessed: usage that it pays for waits until the table is
/// known, and what the package does not pay for goes on.
#[test]
fn an_event_of_a_package_whose_weights_are_not_known_yet_is_held_back() {
    const WEIGHTS: &str = r#"
[[price]]
price_id = "in"
side = "wholesale"
vendor = "acme"
model_pattern = "*"
class = "input"
unit = "token"
currency = "CNY"
price_micro_per_million = 3000000
valid_from = "1970-01-01"
known_from = "1970-01-01"
approved_by = "a"
approved_at = "1970-01-01"

[[weights]]
id = "night"
known_from = "1970-01-02"
approved_by = "a"
approved_at = "1970-01-01"
[[weights.weight]]
model_pattern = "acme-1"
class = "input"
micro_per_unit = 5000000
valid_from = "1970-01-01"
"#;
    let book = Book::read(&[BookFile { name: "b.toml", text: WEIGHTS }]).unwrap();
    let known_ms = tally_rating::parse_instant("1970-01-02").unwrap();
    let packages =
        tally_rating::SHIPPED_PACKAGES.replacen("weights = \"default\"", "weights = \"night\"", 1);
    let mut partition = with(RateCard::new(&book, Some(known_ms - 1)), &packages);
    put(&mut partition, &command("purchase", "\"package\":\"telecom-10m\""), AT);
    assert_eq!(ledger(&partition.close()), [("grant".to_owned(), 10_000_000_000_000)]);
    let input = serde_json::json!({"input": 7});
    let early = usage("acme-1", "acme", input.clone());
    let held = put(&mut partition, &early, AT);
    let mut other: serde_json::Value = serde_json::from_str(&early).unwrap();
    (other["id"], other["account"]) = ("2".into(), "A2".into());
    put(&mut partition, &other.to_string(), AT);
    let closed = partition.close();
    assert!(closed.totals.conserved());
    let reasons: Vec<(&str, u64)> =
        closed.totals.suspended_by_reason.iter().map(|(r, n)| (r.as_str(), *n)).collect();
    assert_eq!(reasons, [("unknown_weights", 1)]);
    // Nobody sold anything to A2: its event is weighed by the default table.
    assert_eq!(closed.totals.accepted.events, 1);
    assert_eq!(ledger(&closed), [("overrun".to_owned(), -7_000_000)]);
    let rows = closed.suspense.into_batch(0, 1).unwrap();
    let why = rows.column_by_name("subreason").unwrap();
    let why = arrow::util::display::array_value_to_string(why, 0).unwrap();
    assert_eq!(why, "no table of weights night is known");

    let known = ReferenceData {
        version: ReferenceVersion { edition: 0, known_at_ms: known_ms, hash: "0".to_owned() },
        card: Arc::new(RateCard::new(&book, Some(known_ms))),
        packages: Arc::clone(&partition.reference().packages),
    };
    partition.set_reference(known).unwrap();
    let again = recycle(held, SuspenseReason::UnknownWeights, &early);
    put(&mut partition, &again, AT + 1);
    let closed = partition.close();
    assert_eq!((closed.totals.accepted.events, closed.totals.left_open), (1, 0));
    assert_eq!(ledger(&closed), [("debit".to_owned(), -35_000_000)]);
}

/// The coding plan's flagship counts three times at peak and twice else; who has not bought the
/// package is counted as everybody.
#[test]
fn an_event_is_weighed_by_the_table_of_the_package_that_pays() {
    // The first package is `telecom-10m`.
    let packages = tally_rating::SHIPPED_PACKAGES.replacen(
        "weights = \"default\"",
        "weights = \"coding-plan-example\"",
        1,
    );
    let day = |time: &str| format!("2026-11-18T{time}+08:00");
    for (account, model, vendor, time, times) in [
        ("A1", "glm-5", "zhipu", "13:59:59.999", 2),
        ("A1", "glm-5", "zhipu", "14:00:00.000", 3),
        ("A1", "glm-5", "zhipu", "17:59:59.999", 3),
        ("A1", "glm-5", "zhipu", "18:00:00.000", 2),
        ("A1", "doubao-seed-2.1-pro", "bytedance", "15:00:00.000", 1),
        ("A2", "glm-5", "zhipu", "15:00:00.000", 1),
    ] {
        let mut partition = with(RateCard::shipped().unwrap(), &packages);
        for (id, package) in [("A1", "telecom-10m"), ("A2", "telecom-40m")] {
            let purchase = command("purchase", &format!("\"package\":\"{package}\""));
            let purchase = purchase
                .replace("\"A1\"", &format!("\"{id}\""))
                .replace("c-purchase", id)
                .replace(&AT.to_string(), &format!("\"{}\"", day("09:00:00")));
            put(&mut partition, &purchase, AT);
        }
        let text = usage(model, vendor, serde_json::json!({"input": 1_000, "output": 11}));
        let mut event: serde_json::Value = serde_json::from_str(&text).unwrap();
        event["account"] = account.into();
        event["completed_at"] = day(time).into();
        put(&mut partition, &event.to_string(), AT);
        let closed = partition.close();
        let micro = times * 1_011_000_000;
        assert_eq!(closed.totals.rated.points_micro, micro, "{account} {model} {time}");
        let debits: Vec<_> =
            ledger(&closed).into_iter().filter(|(kind, _)| kind == "debit").collect();
        assert_eq!(debits, [("debit".to_owned(), -micro)], "{account} {model} {time}");
    }
}
