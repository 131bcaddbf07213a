//! The rules of `docs/rating.md` that no shipped price uses, by a book of a few rows and amounts
//! worked out by hand.

#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use tally_rating::{Book, BookFile, Call, HoldReason, LaneKey, RateCard, Side, parse_instant};
use tally_schemas::{TokenClass, UsageCounts};

use TokenClass::{
    AudioInput, AudioOutput, CacheWrite1h, CacheWrite5m, CachedInput, ImageInput, ImageOutput,
    Images, Input, Output, Requests,
};

const HEADER: &str = "price_id,supplier,contract_id,model_pattern,class,unit,currency,\
    price_micro_per_million,tier_basis,tier_from,tier_to,service_tier,region,calendar_id,windows,\
    time_basis,valid_from,valid_to,side,vendor,known_from,source,approved_by,approved_at\n";

const CALENDARS: &str = r#"
[[calendar]]
id = "every-day"
utc_offset = "+08:00"
days = "all"
known_from = "2026-01-01"
approved_by = "a"
approved_at = "2026-01-01"

[[calendar]]
id = "weekdays"
utc_offset = "+08:00"
days = "weekdays"
known_from = "2026-01-01"
approved_by = "a"
approved_at = "2026-01-01"

[[contract]]
id = "deal"
vendor = "acme"
model_pattern = "dealt*"
form = "price_list"
discount_ppm = 250000
currency = "CNY"
valid_from = "2026-03-01"
valid_to = "2026-05-01"
known_from = "2026-01-01"
approved_by = "a"
approved_at = "2026-01-01"
"#;

/// In force whenever nothing else is said.
const NOON: &str = "2026-06-17T12:00:00+08:00";

/// Approved wholesale prices of `acme`; the rows end with `valid_to`.
fn card(rows: &[&str]) -> RateCard {
    let line = |row: &&str| format!("{row},wholesale,acme,2026-01-01,test,a,2026-01-01\n");
    let text = HEADER.to_owned() + &rows.iter().map(line).collect::<String>();
    let files = [
        BookFile { name: "prices.csv", text: &text },
        BookFile { name: "calendars.toml", text: CALENDARS },
    ];
    RateCard::new(&Book::read(&files).unwrap(), None)
}

/// One call of a model.
#[derive(Debug, Clone)]
struct Asked<'a> {
    model: &'a str,
    supplier: &'a str,
    region: Option<&'a str>,
    started: &'a str,
    completed: &'a str,
    usage: UsageCounts,
}

fn call<'a>(model: &'a str, counts: &[(TokenClass, u64)]) -> Asked<'a> {
    let mut usage = UsageCounts::default();
    for (class, count) in counts {
        usage.set(*class, *count);
    }
    Asked { model, supplier: "acme", region: None, started: NOON, completed: NOON, usage }
}

impl<'a> Asked<'a> {
    fn at(self, completed: &'a str) -> Self {
        Self { started: completed, completed, ..self }
    }
}

/// Micro-currency, its code, and the prices.
fn rated(card: &RateCard, asked: &Asked<'_>) -> Result<(i128, String, String), HoldReason> {
    let lane = card.lane(
        Side::Wholesale,
        &LaneKey {
            vendor: "acme",
            supplier: asked.supplier,
            billed_model: asked.model,
            service_tier: "standard",
            region: asked.region,
        },
    );
    let call = Call {
        usage: &asked.usage,
        started_at_ms: parse_instant(asked.started).unwrap(),
        completed_at_ms: parse_instant(asked.completed).unwrap(),
    };
    let rated = card.rate(&lane, &call).map_err(|held| held.reason)?;
    assert_eq!(
        rated.amount_pico % 1_000_000,
        0,
        "counts are chosen so that micro-currency is whole"
    );
    let ids = card.price_ids(&lane, rated.prices);
    Ok((rated.amount_pico / 1_000_000, rated.currency.to_string(), ids))
}

/// Micro-yuan.
fn micro(card: &RateCard, asked: &Asked<'_>) -> Result<i128, HoldReason> {
    rated(card, asked).map(|(micro, _, _)| micro)
}

const M: u64 = 1_000_000;

#[test]
fn the_start_prices_a_call_where_the_price_says_so() {
    let rows = |model: &str, basis: &str| {
        [
            format!(
                "{model}.old,,,{model},input,token,CNY,1000000,,,,,,,,{basis},2026-01-01,2026-07-01T12:00:00+08:00"
            ),
            format!(
                "{model}.new,,,{model},input,token,CNY,3000000,,,,,,,,{basis},2026-07-01T12:00:00+08:00,"
            ),
            format!(
                "{model}.peak,,,{model},input,token,CNY,7000000,,,,,,every-day,18:00-19:00,{basis},2026-01-01,"
            ),
        ]
    };
    let rows = [rows("by-start", "start"), rows("by-end", "completion"), rows("by-default", "")];
    let rows: Vec<&str> = rows.iter().flatten().map(String::as_str).collect();
    let card = card(&rows);
    let day = |time: &str| format!("2026-07-01T{time}+08:00");
    for (started, completed, by_start, by_end) in [
        ("11:59:59.999", "11:59:59.999", 1, 1),
        ("11:59:59.999", "12:00:00.000", 1, 3),
        ("12:00:00.000", "12:00:00.001", 3, 3),
        ("17:59:59.999", "18:00:00.000", 3, 7),
        ("18:00:00.000", "19:00:00.000", 7, 3),
        ("18:59:59.999", "20:00:00.000", 7, 3),
        ("17:00:00.000", "19:00:00.000", 3, 3),
    ] {
        let (started, completed) = (day(started), day(completed));
        for (model, yuan) in [("by-start", by_start), ("by-end", by_end), ("by-default", by_end)] {
            let asked =
                Asked { started: &started, completed: &completed, ..call(model, &[(Input, M)]) };
            assert_eq!(micro(&card, &asked), Ok(yuan * 1_000_000), "{model} {started} {completed}");
        }
    }
}

#[test]
fn a_price_of_a_region_is_for_events_of_that_region() {
    let card = card(&[
        "all,,,m-1,input,token,CNY,2000000,,,,,,,,,2026-01-01,",
        "sh,,,m-1,input,token,CNY,1500000,,,,,sh,,,,2026-01-01,",
        "only,,,m-2,input,token,CNY,1250000,,,,,sh,,,,2026-01-01,",
    ]);
    for (region, first, second) in [
        (None, Ok(2_000_000), Err(HoldReason::NoPrice)),
        (Some("bj"), Ok(2_000_000), Err(HoldReason::NoPrice)),
        (Some("sh"), Ok(1_500_000), Ok(1_250_000)),
        (Some("s"), Ok(2_000_000), Err(HoldReason::NoPrice)),
    ] {
        for (model, expected) in [("m-1", first), ("m-2", second)] {
            let asked = Asked { region, ..call(model, &[(Input, M)]) };
            assert_eq!(micro(&card, &asked), expected, "{model} {region:?}");
        }
    }
}

/// Three quarters of the list price while the contract is in force; its own price is net of it.
#[test]
fn a_contract_discounts_the_list_and_not_its_own_prices() {
    let card = card(&[
        "list.input,,,dealt*,input,token,CNY,4000000,,,,,,,,,2026-01-01,",
        "list.output,,,dealt*,output,token,CNY,3000004,,,,,,,,,2026-01-01,",
        "own.input,,deal,dealt-1,input,token,CNY,2500001,,,,,,,,,2026-01-01,",
        "other,,,free-1,input,token,CNY,4000000,,,,,,,,,2026-01-01,",
    ]);
    let both = |model| call(model, &[(Input, M), (Output, M)]);
    let list = Ok((7_000_004, "CNY".to_owned(), "list.input,list.output".to_owned()));
    for (at, dealt) in [
        ("2026-02-28T23:59:59.999+08:00", false),
        ("2026-03-01T00:00:00.000+08:00", true),
        ("2026-04-30T23:59:59.999+08:00", true),
        ("2026-05-01T00:00:00.000+08:00", false),
    ] {
        let of_one = rated(&card, &both("dealt-1").at(at));
        let of_two = rated(&card, &both("dealt-2").at(at));
        if dealt {
            // 2.500001 of its own, and 3.000004 less a quarter: 2.250003.
            let ids = "own.input,list.output".to_owned();
            assert_eq!(of_one, Ok((4_750_004, "CNY".to_owned(), ids)), "{at}");
            // 4 less a quarter, and the same.
            let ids = "list.input,list.output".to_owned();
            assert_eq!(of_two, Ok((5_250_003, "CNY".to_owned(), ids)), "{at}");
        } else {
            assert_eq!(of_one, list, "{at}");
            assert_eq!(of_two, list, "{at}");
        }
        assert_eq!(micro(&card, &call("free-1", &[(Input, M)]).at(at)), Ok(4_000_000), "{at}");
    }
}

/// Each row goes before all those above it, whatever the order in the file.
#[test]
fn the_most_specific_price_counts() {
    let rows = [
        "1,,,dealt*,input,token,CNY,1000000,,,,*,,,,,2026-01-01,",
        "2,,,dealt*,input,token,CNY,2000000,,,,*,,every-day,09:00-18:00,,2026-01-01,",
        "3,,,dealt*,input,token,CNY,3000000,,,,standard,,,,,2026-01-01,",
        "4,,,dealt*,input,token,CNY,4000000,,,,*,sh,,,,2026-01-01,",
        "5,,,dealt*,input,token,CNY,5000000,,,,standard,sh,every-day,09:00-18:00,,2026-01-01,",
        "6,cloud,,dealt*,input,token,CNY,6000000,,,,*,,,,,2026-01-01,",
        "7,,deal,dealt*,input,token,CNY,7000000,,,,*,,,,,2026-01-01,",
        "8,,,dealt-*,input,token,CNY,8000000,,,,*,,,,,2026-01-01,",
        "9,,,dealt-1,input,token,CNY,9000000,,,,*,,,,,2026-01-01,",
    ];
    let at = "2026-04-15T12:00:00+08:00";
    for count in 1..=rows.len() {
        let mut some = rows[..count].to_vec();
        for order in ["as written", "reversed"] {
            let asked = Asked {
                supplier: "cloud",
                region: Some("sh"),
                ..call("dealt-1", &[(Input, M)]).at(at)
            };
            let (_, _, id) = rated(&card(&some), &asked).unwrap();
            assert_eq!(id, count.to_string(), "{count} rows {order}");
            some.reverse();
        }
    }
}

#[test]
fn a_tier_by_prompt_leaves_cached_tokens_out() {
    let mut rows = vec![
        "low,,,m,input,token,CNY,1000000,prompt,0,1000,,,,,,2026-01-01,".to_owned(),
        "high,,,m,input,token,CNY,2000000,prompt,1000,,,,,,,2026-01-01,".to_owned(),
    ];
    for class in ["cached_input", "cache_write_5m", "cache_write_1h", "audio_input", "image_input"]
    {
        rows.push(format!("{class},,,m,{class},token,CNY,3000000,,,,,,,,,2026-01-01,"));
    }
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let card = card(&rows);
    let of = |counts: &[(TokenClass, u64)]| micro(&card, &call("m", counts));
    // In millionths of a yuan a token is its price in yuan a million.
    assert_eq!(of(&[(Input, 1_000)]), Ok(1_000));
    assert_eq!(of(&[(Input, 1_001)]), Ok(2_002));
    assert_eq!(of(&[(Input, 1_000), (CachedInput, 5_000)]), Ok(1_000 + 15_000));
    for class in [CacheWrite5m, CacheWrite1h, AudioInput, ImageInput] {
        assert_eq!(of(&[(Input, 600), (class, 400)]), Ok(600 + 1_200), "{class}");
        assert_eq!(of(&[(Input, 600), (class, 401)]), Ok(1_200 + 1_203), "{class}");
    }
    assert_eq!(of(&[(Requests, 1)]), Ok(0));
}

#[test]
fn a_tier_by_output_counts_what_was_generated() {
    let mut rows = vec![
        "low,,,m,input,token,CNY,1000000,output,0,100,,,,,,2026-01-01,".to_owned(),
        "high,,,m,input,token,CNY,2000000,output,100,,,,,,,2026-01-01,".to_owned(),
    ];
    for class in ["output", "audio_output", "image_output"] {
        rows.push(format!("{class},,,m,{class},token,CNY,4000000,,,,,,,,,2026-01-01,"));
    }
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let card = card(&rows);
    let of = |counts: &[(TokenClass, u64)]| micro(&card, &call("m", counts));
    assert_eq!(of(&[(Input, M)]), Ok(1_000_000));
    assert_eq!(of(&[(Input, 10), (Output, 100)]), Ok(10 + 400));
    assert_eq!(of(&[(Input, 10), (Output, 101)]), Ok(20 + 404));
    for class in [AudioOutput, ImageOutput] {
        assert_eq!(of(&[(Input, 10), (Output, 50), (class, 50)]), Ok(10 + 400), "{class}");
        assert_eq!(of(&[(Input, 10), (Output, 50), (class, 51)]), Ok(20 + 404), "{class}");
    }
}

#[test]
fn a_tier_by_volume_of_the_period_accrues_at_the_first() {
    let card = card(&[
        "low,,,m,input,token,CNY,1000000,period_volume,0,1000,,,,,,2026-01-01,",
        "high,,,m,input,token,CNY,800000,period_volume,1000,,,,,,,2026-01-01,",
    ]);
    assert_eq!(micro(&card, &call("m", &[(Input, 5_000)])), Ok(5_000));
}

/// Holidays and worked weekends are nothing to a calendar of weekdays, and no year is unknown.
#[test]
fn a_calendar_of_weekdays_knows_no_holidays() {
    let card = card(&[
        "rest,,,m,input,token,CNY,1000000,,,,,,,,,2026-01-01,",
        "week,,,m,input,token,CNY,2000000,,,,,,weekdays,00:00-24:00,,2026-01-01,",
    ]);
    for (at, yuan) in [
        ("2026-10-01T10:00:00+08:00", 2),     // a Thursday and holiday
        ("2026-10-10T10:00:00+08:00", 1),     // a Saturday that is worked
        ("2026-11-06T23:59:59.999+08:00", 2), // Friday's last millisecond
        ("2026-11-07T00:00:00+08:00", 1),     // Saturday's first
        ("2026-11-08T23:59:59.999+08:00", 1), // Sunday's last
        ("2026-11-09T00:00:00+08:00", 2),     // Monday's first
        ("2026-11-08T16:00:00Z", 2),          // the same in UTC, where it is Sunday
        ("2040-01-02T10:00:00+08:00", 2),     // a Monday
        ("2040-01-01T10:00:00+08:00", 1),     // a Sunday
    ] {
        let expected = Ok(yuan * 1_000_000);
        assert_eq!(micro(&card, &call("m", &[(Input, M)]).at(at)), expected, "{at}");
    }
}

#[test]
fn prices_in_two_currencies_hold_an_event_back() {
    let card = card(&[
        "in,,,m,input,token,CNY,1000000,,,,,,,,,2026-01-01,",
        "out,,,m,output,token,USD,2000000,,,,,,,,,2026-01-01,",
    ]);
    let of = |counts: &[(TokenClass, u64)]| rated(&card, &call("m", counts));
    assert_eq!(of(&[(Input, M)]), Ok((1_000_000, "CNY".to_owned(), "in".to_owned())));
    assert_eq!(of(&[(Output, M)]), Ok((2_000_000, "USD".to_owned(), "out".to_owned())));
    assert_eq!(of(&[(Input, 1), (Output, 1)]), Err(HoldReason::CurrencyMismatch));
    assert_eq!(of(&[(Input, 1), (Output, 1), (Images, 1)]), Err(HoldReason::NoPrice));
}

#[test]
fn two_prices_of_one_rank_hold_an_event_back() {
    let card = card(&[
        "a,,,m,input,token,CNY,1000000,,,,,,,,,2026-01-01,2026-07-01",
        "b,,,m,input,token,CNY,2000000,,,,,,,,,2026-06-01,",
        "c,,,m,output,token,USD,3000000,,,,,,,,,2026-01-01,",
        "d,,,m,images,image,CNY,3000000,,,,,,,,,2026-01-01,",
    ]);
    let of = |at, counts: &[(TokenClass, u64)]| micro(&card, &call("m", counts).at(at));
    assert_eq!(of("2026-05-31T23:59:59.999+08:00", &[(Input, M)]), Ok(1_000_000));
    assert_eq!(of("2026-06-01", &[(Input, M)]), Err(HoldReason::AmbiguousPrice));
    assert_eq!(of("2026-06-30T23:59:59.999+08:00", &[(Input, M)]), Err(HoldReason::AmbiguousPrice));
    assert_eq!(of("2026-07-01", &[(Input, M)]), Ok(2_000_000));
    // It goes before two currencies, and behind no price.
    let currencies = [(Output, 1), (Images, 1)];
    assert_eq!(of(NOON, &currencies), Err(HoldReason::CurrencyMismatch));
    let and_ambiguous = [(Input, 1), (Output, 1), (Images, 1)];
    assert_eq!(of(NOON, &and_ambiguous), Err(HoldReason::AmbiguousPrice));
    let and_unpriced = [(Input, 1), (Output, 1), (Images, 1), (CachedInput, 1)];
    assert_eq!(of(NOON, &and_unpriced), Err(HoldReason::NoPrice));
}
