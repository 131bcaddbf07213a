//! Differences planted into bills without request ids: thousands of groups, of every class that such
//! bills can show. Each is found, under its class, and nothing else is.

use std::collections::BTreeMap;

use tally_schemas::decimal_text;
use tally_settlement::reconcile::{BillMapping, Outcome};

use crate::shapes::{DAY_MS, NOON_MS, flash};
use crate::support::{Case, Ours};

const BILLS: u64 = 60;
/// Day of the month of `NOON_MS`.
const NOON_DAY: i64 = 5;
const DAYS: i64 = 31;

const BY_CLASS: &str = r#"
name = "t"
source = "test"
[columns]
time = "day"
model = "model"
service_tier = "tier"
currency = "currency"
class = "class"
price = "price"
quantity = "quantity"
[time]
format = "date"
zone = "UTC"
[class_words]
input = "input"
cached = "cached_input"
output = "output"
requests = "requests"
[amount]
currency = "CNY"
price_units = 1
"#;

const BY_AMOUNT: &str = r#"
name = "t"
source = "test"
[columns]
time = "day"
model = "model"
amount = "amount"
credit = "credit"
[time]
format = "date"
zone = "UTC"
[amount]
currency = "CNY"
rounding = "0.000001"
tax_ppm = 60000
"#;

/// What is wrong with a day of a bill by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plant {
    Nothing,
    PriceVersion,
    Model,
    ServiceTier,
    Currency,
    TokenCount,
    TokenClass,
    /// The cached tokens of the day are billed on the next one.
    TimeShift,
    MissingAtTheirs,
    MissingAtOurs,
}

const PLANTS: [Plant; 10] = [
    Plant::Nothing,
    Plant::PriceVersion,
    Plant::Model,
    Plant::ServiceTier,
    Plant::Currency,
    Plant::TokenCount,
    Plant::TokenClass,
    Plant::TimeShift,
    Plant::MissingAtTheirs,
    Plant::MissingAtOurs,
];

/// The next number of a series that a seed begins.
struct Numbers(u64);

impl Numbers {
    fn between(&mut self, from: u64, to: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + (mixed ^ (mixed >> 31)) % (to - from)
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        let count = u64::try_from(list.len()).unwrap();
        list[usize::try_from(self.between(0, count)).unwrap()]
    }
}

/// A group with a difference: day, token class, why.
type Found = (String, &'static str, &'static str);

fn found(outcome: &Outcome) -> Vec<Found> {
    let rows = outcome.groups.iter();
    let mut found: Vec<Found> =
        rows.filter_map(|row| Some((row.day.clone(), row.token_class, row.class?))).collect();
    found.sort();
    found
}

/// A month of ours, the vendor's bill of it, and the groups in which they differ.
#[derive(Default)]
struct Month {
    rows: Vec<Ours>,
    bill: String,
    planted: Vec<Found>,
}

/// How a line is named.
#[derive(Clone, Copy)]
struct Named {
    model: &'static str,
    tier: &'static str,
    currency: &'static str,
    price: &'static str,
}

const OUTPUT: Named =
    Named { model: "deepseek-flash", tier: "standard", currency: "CNY", price: "0.000004" };

impl Month {
    fn line(&mut self, day: i64, class: &str, named: Named, quantity: u64) {
        let Named { model, tier, currency, price } = named;
        let line =
            format!("2026-10-{day:02},{model},{tier},{currency},{class},{price},{quantity}\n");
        self.bill.push_str(&line);
    }

    fn plant(&mut self, day: i64, classes: &[&'static str], why: &'static str) {
        let day = format!("2026-10-{day:02}");
        self.planted.extend(classes.iter().map(|class| (day.clone(), *class, why)));
    }

    /// One day; the cached tokens that are billed on the next one.
    fn day(&mut self, day: i64, plant: Plant, cached_before: u64, numbers: &mut Numbers) -> u64 {
        let at_ms = NOON_MS + (day - NOON_DAY) * DAY_MS;
        let (input, output) = (numbers.between(10_000, 900_000), numbers.between(10_000, 900_000));
        let cached = if plant == Plant::TimeShift { numbers.between(1, 900_000) } else { 0 };
        let calls = numbers.between(1, 5);
        if plant != Plant::MissingAtOurs {
            self.rows.push(flash(at_ms, input, cached, output));
            self.rows.extend((1..calls).map(|_| flash(at_ms, 0, 0, 1)));
        }
        let mut named = OUTPUT;
        let (mut billed_input, mut billed_output) = (input, output + calls - 1);
        let mut billed_calls = calls;
        let some = ["input", "output", "requests"];
        let renamed = ["output", "output"];
        match plant {
            Plant::Nothing => {}
            Plant::PriceVersion => {
                named.price = "0.000008";
                self.plant(day, &renamed, "price_version");
            }
            Plant::Model => {
                named.model = "deepseek-v4-pro";
                self.plant(day, &renamed, "model");
            }
            Plant::ServiceTier => {
                named.tier = "priority";
                self.plant(day, &renamed, "service_tier");
            }
            Plant::Currency => {
                named.currency = "USD";
                self.plant(day, &renamed, "currency");
            }
            Plant::TokenCount => {
                billed_output += numbers.between(1, 1_000);
                self.plant(day, &["output"], "token_count");
            }
            Plant::TokenClass => {
                let moved = numbers.between(1, 1_000);
                (billed_input, billed_output) = (billed_input - moved, billed_output + moved);
                self.plant(day, &["input", "output"], "token_class");
            }
            Plant::TimeShift => {
                self.plant(day, &["cached_input"], "time_shift");
                self.plant(day + 1, &["cached_input"], "time_shift");
            }
            Plant::MissingAtTheirs => self.plant(day, &some, "missing_at_theirs"),
            Plant::MissingAtOurs => {
                // As many calls as nobody else misses: else they would be shifted ones.
                billed_calls = 1_000;
                self.plant(day, &some, "missing_at_ours");
            }
        }
        if cached_before > 0 {
            self.line(day, "cached", Named { price: "0.00000002", ..OUTPUT }, cached_before);
        }
        if plant != Plant::MissingAtTheirs {
            self.line(day, "input", Named { price: "0.000001", ..OUTPUT }, billed_input);
            self.line(day, "output", named, billed_output);
            self.line(day, "requests", Named { price: "", ..OUTPUT }, billed_calls);
        }
        cached
    }

    fn by_class(seed: u64) -> Self {
        let (mut month, mut numbers) = (Self::default(), Numbers(seed));
        month.bill.push_str("day,model,tier,currency,class,price,quantity\n");
        let mut cached_before = 0;
        for day in 1..=DAYS {
            let mut plant = numbers.one_of(&PLANTS);
            // What is shifted to a day is beside all that is there: that day is as it was.
            if cached_before > 0 || (day == DAYS && plant == Plant::TimeShift) {
                plant = Plant::Nothing;
            }
            cached_before = month.day(day, plant, cached_before, &mut numbers);
        }
        month.planted.sort();
        month
    }

    fn by_amount(seed: u64) -> Self {
        let (mut month, mut numbers) = (Self::default(), Numbers(seed));
        month.bill.push_str("day,model,amount,credit\n");
        for day in 1..=DAYS {
            let output = numbers.between(10_000, 900_000);
            let ours = i128::from(output) * 4_000_000;
            let (why, theirs, credit): (&'static str, Option<i128>, i128) =
                match numbers.between(0, 8) {
                    0 => ("missing_at_theirs", None, 0),
                    1 => ("missing_at_ours", Some(ours), 0),
                    2 => ("rounding", Some(ours + 1_000_000), 0),
                    3 => ("tax", Some(ours + ours * 6 / 100), 0),
                    4 => ("free_quota", Some(0), 0),
                    5 => ("free_quota", Some(ours / 2), ours / 2),
                    6 => ("price_version", Some(ours * 2), 0),
                    _ => ("", Some(ours), 0),
                };
            if why != "missing_at_ours" {
                month.rows.push(flash(NOON_MS + (day - NOON_DAY) * DAY_MS, 0, 0, output));
            }
            if let Some(theirs) = theirs {
                let [theirs, credit] = [theirs, credit].map(|pico| decimal_text(pico, 12));
                let line = format!("2026-10-{day:02},deepseek-flash,{theirs},{credit}\n");
                month.bill.push_str(&line);
            }
            if !why.is_empty() {
                month.plant(day, &["all"], why);
            }
        }
        month.planted.sort();
        month
    }

    /// Compares, and counts what was found by class.
    fn compare(self, mapping: &BillMapping, seed: u64, by_class: &mut BTreeMap<&str, usize>) {
        let case = Case::new("bill.csv", self.bill.as_bytes(), mapping);
        let outcome = case.run(&self.rows).unwrap().0;
        assert_eq!((outcome.our_rows_unexplained, outcome.level), (0, "group"), "seed {seed}");
        assert_eq!(found(&outcome), self.planted, "seed {seed}");
        for (_, _, why) in self.planted {
            *by_class.entry(why).or_default() += 1;
        }
    }
}

#[test]
fn every_group_that_was_planted_is_found_under_its_class_and_nothing_else() {
    let [by_class, by_amount] =
        [BY_CLASS, BY_AMOUNT].map(|text| BillMapping::parse("t.toml", text).unwrap());
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 1..=BILLS {
        Month::by_class(seed).compare(&by_class, seed, &mut counts);
        Month::by_amount(seed).compare(&by_amount, seed, &mut counts);
    }
    println!("{counts:?}");
    // All but those that only records show: duplicate, client_aborted, estimated.
    assert_eq!(counts.len(), 12, "{counts:?}");
    assert!(counts.values().all(|count| *count >= 100), "{counts:?}");
}
