//! Which weight of a table counts, by a table of a few rows and points worked out by hand. What the
//! shipped tables come to is in the oracle's vectors.

#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use tally_rating::{Book, BookFile, Call, HoldReason, LaneKey, RateCard, Rater, parse_instant};
use tally_schemas::{TokenClass, UsageCounts};

use TokenClass::{
    AudioInput, AudioOutput, CacheWrite1h, CacheWrite5m, CachedInput, Characters, ImageInput,
    ImageOutput, Images, Input, Output, Reasoning, Requests, Seconds,
};

const BOOK: &str = r#"
[[calendar]]
id = "weekdays"
utc_offset = "+08:00"
days = "weekdays"
known_from = "2026-01-01"
approved_by = "a"
approved_at = "2026-01-01"

[[calendar]]
id = "workdays"
utc_offset = "+08:00"
days = "workdays"
known_from = "2026-01-01"
approved_by = "a"
approved_at = "2026-01-01"
[[calendar.year]]
year = 2026
source = "test"
holidays = ["2026-10-01"]

[[product]]
id = "cut-out"
points_per_request_micro = 31000000000
known_from = "2026-01-01"
approved_by = "a"
approved_at = "2026-01-01"

[[weights]]
id = "w"
known_from = "2026-01-01"
approved_by = "a"
approved_at = "2026-01-01"
"#;

/// Pattern, class, micro-points, calendar, windows, valid from and to.
const WEIGHTS: [[&str; 7]; 9] = [
    ["pro*", "input", "2000000", "", "", "2026-01-01", ""],
    ["pro-m*", "input", "3000000", "", "", "2026-01-01", "2026-07-01T12:00:00+08:00"],
    ["pro-max", "input", "5000000", "", "", "2026-02-01", ""],
    ["pro-max", "input", "7000001", "weekdays", "09:00-12:00", "2026-02-01", ""],
    ["pro*", "requests", "500000", "", "", "2026-01-01", ""],
    ["pro*", "reasoning", "1", "", "", "2026-01-01", ""],
    ["pro*", "cached_input", "0", "", "", "2026-01-01", ""],
    ["holiday", "output", "4000000", "workdays", "09:00-12:00", "2026-01-01", ""],
    ["holiday", "output", "2000000", "", "", "2026-01-01", ""],
];

fn book() -> Book {
    let weight = |[pattern, class, micro, calendar, windows, from, to]: &[&str; 7]| {
        let hours = match *calendar {
            "" => String::new(),
            id => format!("calendar_id = \"{id}\"\nwindows = \"{windows}\"\n"),
        };
        format!(
            "[[weights.weight]]\nmodel_pattern = \"{pattern}\"\nclass = \"{class}\"\n\
             micro_per_unit = {micro}\nvalid_from = \"{from}\"\nvalid_to = \"{to}\"\n{hours}"
        )
    };
    let text = BOOK.to_owned() + &WEIGHTS.iter().map(weight).collect::<String>();
    let book = Book::read(&[BookFile { name: "book.toml", text: &text }]).unwrap();
    assert_eq!(book.lint(), vec![]);
    book
}

fn rater() -> Rater {
    Rater::new(RateCard::new(&book(), None).into())
}

/// Micro-points of a call by table `w`.
fn points(
    rater: &mut Rater,
    model: &str,
    at: &str,
    counts: &[(TokenClass, u64)],
) -> Result<i128, HoldReason> {
    points_by(rater, "w", None, (model, at, at), counts)
}

fn points_by(
    rater: &mut Rater,
    table: &str,
    product: Option<&str>,
    (model, started, completed): (&str, &str, &str),
    counts: &[(TokenClass, u64)],
) -> Result<i128, HoldReason> {
    let mut usage = UsageCounts::default();
    counts.iter().for_each(|(class, count)| usage.set(*class, *count));
    let lane = rater.lane(&LaneKey {
        vendor: "acme",
        supplier: "acme",
        billed_model: model,
        service_tier: "standard",
        region: None,
    });
    let call = Call {
        usage: &usage,
        started_at_ms: parse_instant(started).unwrap(),
        completed_at_ms: parse_instant(completed).unwrap(),
    };
    rater.points_micro(lane, table, product, &call).map_err(|held| held.reason)
}

const MILLION: i128 = 1_000_000;
/// A Wednesday.
const NOON: &str = "2026-06-17T12:00:00+08:00";

#[test]
fn the_closest_name_counts_and_windows_before_none() {
    let mut rater = rater();
    for (model, at, micro) in [
        ("other", NOON, MILLION),
        ("pr", NOON, MILLION),
        ("pro", NOON, 2 * MILLION),
        ("pro-mini", NOON, 3 * MILLION),
        ("pro-max", NOON, 5 * MILLION),
        ("pro-max-2", NOON, 3 * MILLION),
        // Windows are half-open, on the days of their calendar.
        ("pro-max", "2026-06-17T08:59:59.999+08:00", 5 * MILLION),
        ("pro-max", "2026-06-17T09:00:00+08:00", 7_000_001),
        ("pro-max", "2026-06-17T11:59:59.999+08:00", 7_000_001),
        ("pro-max", "2026-06-20T10:00:00+08:00", 5 * MILLION),
        // The valid time is half-open; where one is over, the next closest counts.
        ("pro-max", "2026-01-31T23:59:59.999+08:00", 3 * MILLION),
        ("pro-max", "2026-02-01T00:00:00+08:00", 5 * MILLION),
        ("pro-mini", "2026-07-01T11:59:59.999+08:00", 3 * MILLION),
        ("pro-mini", "2026-07-01T12:00:00+08:00", 2 * MILLION),
        ("pro", "2025-12-31T23:59:59.999+08:00", MILLION),
    ] {
        assert_eq!(points(&mut rater, model, at, &[(Input, 1)]), Ok(micro), "{model} {at}");
    }
}

#[test]
fn the_end_of_the_call_weighs_it() {
    let mut rater = rater();
    for (started, completed, micro) in [
        ("2026-06-17T08:59:59.999+08:00", "2026-06-17T09:00:00+08:00", 7_000_001),
        ("2026-06-17T11:59:59.999+08:00", "2026-06-17T12:00:00+08:00", 5 * MILLION),
    ] {
        let call = ("pro-max", started, completed);
        let found = points_by(&mut rater, "w", None, call, &[(Input, 1)]);
        assert_eq!(found, Ok(micro), "{started} {completed}");
    }
}

/// Every class by its own weight; what the table does not name counts as without a table.
#[test]
fn classes_are_weighed_apart() {
    let mut rater = rater();
    for (class, micro) in [
        (Input, 2 * MILLION),
        (CachedInput, 0),
        (CacheWrite5m, MILLION),
        (CacheWrite1h, MILLION),
        (Output, MILLION),
        (AudioInput, MILLION),
        (AudioOutput, MILLION),
        (ImageInput, MILLION),
        (ImageOutput, MILLION),
        (Reasoning, 1),
        (Requests, 500_000),
        (Images, 0),
        (Seconds, 0),
        (Characters, 0),
    ] {
        let found = points(&mut rater, "pro", NOON, &[(class, 3)]);
        assert_eq!(found, Ok(3 * micro), "{class}");
        let plain = if class.in_total() { 3 * MILLION } else { 0 };
        for (model, table) in [("other", "w"), ("pro", "default")] {
            let found = points_by(&mut rater, table, None, (model, NOON, NOON), &[(class, 3)]);
            assert_eq!(found, Ok(plain), "{class} of {model} by {table}");
        }
    }
    let all = [(Input, 10), (CachedInput, 1_000), (Output, 7), (Reasoning, 3), (Requests, 1)];
    assert_eq!(points(&mut rater, "pro", NOON, &all), Ok(20_000_000 + 7_000_000 + 3 + 500_000));
    let most = 1 << 53;
    assert_eq!(
        points(&mut rater, "pro-max", NOON, &[(Input, most)]),
        Ok(5_000_000 * i128::from(most))
    );
}

/// By a table that the reader does not know, or not yet, nothing is counted: a token for a point is
/// a guess. The default table is always known.
#[test]
fn a_table_that_is_not_known_holds_back() {
    let counts = [(Input, 3), (Requests, 1)];
    let call = ("pro", NOON, NOON);
    let mut all = rater();
    for product in [None, Some("chat")] {
        let found = points_by(&mut all, "no-such-table", product, call, &counts);
        assert_eq!(found, Err(HoldReason::UnknownWeights), "{product:?}");
    }
    // What a product charges asks no table.
    let found = points_by(&mut all, "no-such-table", Some("cut-out"), call, &counts);
    assert_eq!(found, Ok(31_000 * MILLION));
    for (known_at, known) in
        [("2025-12-31T23:59:59.999+08:00", false), ("2026-01-01T00:00:00.000+08:00", true)]
    {
        let mut reader = Rater::new(RateCard::new(&book(), parse_instant(known_at).ok()).into());
        let expected = if known { Ok(6_500_000) } else { Err(HoldReason::UnknownWeights) };
        assert_eq!(points_by(&mut reader, "w", None, call, &counts), expected, "{known_at}");
        let plain = points_by(&mut reader, "default", None, call, &counts);
        assert_eq!(plain, Ok(3 * MILLION), "{known_at}");
    }
    let lane = RateCard::new(&book(), None).weight_lane("no-such-table", "pro");
    let usage = UsageCounts::default();
    let at = parse_instant(NOON).unwrap();
    let call = Call { usage: &usage, started_at_ms: at, completed_at_ms: at };
    let held = RateCard::new(&book(), None).points_micro(&lane, None, &call).unwrap_err();
    assert_eq!(held.what, "no table of weights no-such-table is known");
    // What is held back in such words: whether another card would take it.
    let card = RateCard::new(&book(), None);
    for (what, lacks) in [
        (held.what.as_str(), true),
        ("no table of weights w is known", false),
        ("no table of weights default is known", false),
        ("no price for input", false),
    ] {
        assert_eq!(card.still_lacks_weights(what), lacks, "{what}");
    }
}

#[test]
fn a_year_without_holidays_holds_back_what_needs_them() {
    let mut rater = rater();
    for (at, found) in [
        ("2026-09-30T10:00:00+08:00", Ok(4 * MILLION)),
        ("2026-10-01T10:00:00+08:00", Ok(2 * MILLION)),
        ("2026-12-31T23:59:59.999+08:00", Ok(2 * MILLION)),
        ("2027-01-01T00:00:00+08:00", Err(HoldReason::UnknownCalendarYear)),
    ] {
        assert_eq!(points(&mut rater, "holiday", at, &[(Output, 1)]), found, "{at}");
    }
    let next_year = "2027-01-04T10:00:00+08:00";
    assert_eq!(points(&mut rater, "holiday", next_year, &[(Input, 1)]), Ok(MILLION));
    // What a product charges asks no calendar.
    let call = ("holiday", next_year, next_year);
    let counts = [(Output, 5), (Requests, 2)];
    let found = points_by(&mut rater, "w", Some("cut-out"), call, &counts);
    assert_eq!(found, Ok(62_000 * MILLION));
}
