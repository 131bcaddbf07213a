//! What an outcome shows and what a dispute is about: the largest differences, the chart by day, and
//! our rows of the groups that are outside.

use std::cmp::Reverse;

use tally_settlement::reconcile::{BillMapping, Outcome, TOP, report_html};
use tally_settlement::{LargeDifference, Pico};

use crate::shapes::{DAY_MS, NOON_MS, deepseek, flash, shipped};
use crate::support::{Case, Ours};

const BY_REQUEST: &str = r#"
name = "t"
source = "test"
[columns]
request_id = "id"
time = "day"
amount = "amount"
[time]
format = "date"
zone = "UTC"
[amount]
currency = "CNY"
"#;

/// What the vendor bills more for request `n`, in yuan: every other one less.
const fn more(n: i64) -> i64 {
    if n % 2 == 0 { n } else { -n }
}

const fn yuan(yuan: i128) -> Pico {
    Pico(yuan * 1_000_000_000_000)
}

/// A hundred yuan a request by us, on the 5th to the 7th; the vendor bills more or less.
fn compared(requests: &[i64]) -> Outcome {
    let mapping = BillMapping::parse("t.toml", BY_REQUEST).unwrap();
    let row = |n: &i64| Ours {
        request_id: format!("r-{n:02}"),
        at_ms: NOON_MS + n % 3 * DAY_MS,
        amount_pico: 100_000_000_000_000,
        currency: "CNY".to_owned(),
        ..Ours::default()
    };
    let rows: Vec<Ours> = requests.iter().map(row).collect();
    let line = |n: &i64| format!("r-{n:02},2026-10-0{},{}\n", 5 + n % 3, 100 + more(*n));
    let lines: String = requests.iter().map(line).collect();
    let bill = format!("id,day,amount\n{lines}");
    Case::new("bill.csv", bill.as_bytes(), &mapping).run(&rows).unwrap().0
}

#[test]
fn the_largest_differences_are_shown_largest_first_whatever_the_order_of_the_bill() {
    let requests: Vec<i64> = (1..=70).collect();
    let outcome = compared(&requests);
    assert_eq!((outcome.differences, outcome.disputed), (70, 70));
    let mut wanted = requests.clone();
    wanted.sort_by_key(|n| Reverse(more(*n).abs()));
    let names: Vec<String> = wanted.iter().map(|n| format!("r-{n:02}")).collect();
    let shown: Vec<&str> = outcome.top.iter().map(|row| row.request_id.as_str()).collect();
    assert_eq!(shown, names[..TOP]);
    assert_eq!(outcome.top[1].difference.as_deref(), Some("-69.000000000000"));
    let page = report_html(&outcome);
    assert!(names[..TOP].iter().all(|name| page.contains(name.as_str())));
    assert!(!names[TOP..].iter().any(|name| page.contains(name.as_str())));

    // The journal keeps the same ones.
    let kept = LargeDifference::of_outcome(&outcome).unwrap();
    let of_request = |kept: &LargeDifference| kept.request.clone().unwrap().id;
    assert_eq!(kept.iter().map(of_request).collect::<Vec<_>>(), names[..TOP]);
    assert_eq!((kept[1].level(), kept[1].difference), ("record", Some(yuan(-69))));
    let theirs = kept[1].theirs.as_ref().unwrap();
    assert_eq!((theirs.day.to_string().as_str(), theirs.amount), ("2026-10-05", Some(yuan(31))));

    let backwards: Vec<i64> = requests.into_iter().rev().collect();
    let again = compared(&backwards);
    let shown: Vec<&str> = again.top.iter().map(|row| row.request_id.as_str()).collect();
    assert_eq!(shown, names[..TOP]);
}

#[test]
fn the_chart_has_a_bar_for_what_the_vendor_bills_more_or_less_on_each_day() {
    // Requests of one day are three apart: 3 less and 6 more on the 5th, 1 less, 2 more.
    let page = report_html(&compared(&[3, 6, 1, 2]));
    let bars: Vec<(&str, &str)> = page
        .split("<rect ")
        .skip(1)
        .map(|bar| {
            let class = bar.split_once("class=\"").unwrap().1.split_once('"').unwrap().0;
            let title = bar.split_once("<title>").unwrap().1.split_once("</title>").unwrap().0;
            (class, title)
        })
        .collect();
    assert_eq!(
        bars,
        [
            ("more", "2026-10-05: 3 CNY"),
            ("less", "2026-10-06: -1 CNY"),
            ("more", "2026-10-07: 2 CNY"),
        ]
    );
}

#[test]
fn our_rows_of_the_groups_outside_are_in_dispute_and_no_other() {
    let mapping = shipped("deepseek-amount");
    let other_model = Ours { model: "deepseek-v4-pro".to_owned(), ..flash(NOON_MS, 0, 0, 0) };
    let rows = [
        flash(NOON_MS, 100, 50, 30),
        flash(NOON_MS + 1_000, 0, 0, 1),
        flash(NOON_MS + DAY_MS, 7, 0, 3),
        flash(NOON_MS + 40 * DAY_MS, 9, 9, 9),
        other_model,
    ];
    let lines = |output: &'static str| {
        [
            "2026-10-05,deepseek-flash,k,sk-1,input_cache_miss_tokens,0.000001,100",
            "2026-10-05,deepseek-flash,k,sk-1,input_cache_hit_tokens,0.00000002,50",
            output,
            "2026-10-05,deepseek-flash,k,sk-1,request_count,,2",
            "2026-10-05,deepseek-v4-pro,k,sk-1,request_count,,1",
            "2026-10-06,deepseek-flash,k,sk-1,input_cache_miss_tokens,0.000001,7",
            "2026-10-06,deepseek-flash,k,sk-1,output_tokens,0.000004,3",
            "2026-10-06,deepseek-flash,k,sk-1,request_count,,1",
        ]
    };
    let run = |lines: &[&str]| {
        let bill = deepseek(lines);
        let case = Case::new("amount.csv", bill.as_bytes(), &mapping);
        let outcome = case.run(&rows).unwrap().0;
        (outcome.outside, case.disputed(&outcome, &rows))
    };
    let equal = lines("2026-10-05,deepseek-flash,k,sk-1,output_tokens,0.000004,31");
    let (outside, (disputed, (from, to))) = run(&equal);
    assert!(!outside.total && outside.groups == 0);
    assert_eq!((disputed, from), (vec![false; 5], to));

    let fewer = lines("2026-10-05,deepseek-flash,k,sk-1,output_tokens,0.000004,30");
    let (outside, (disputed, window)) = run(&fewer);
    assert_eq!(outside.groups, 1);
    assert_eq!(disputed, [true, true, false, false, false]);
    let bill = deepseek(&fewer);
    let outcome = Case::new("amount.csv", bill.as_bytes(), &mapping).run(&rows).unwrap().0;
    let kept = LargeDifference::of_outcome(&outcome).unwrap();
    let told: Vec<_> = kept
        .iter()
        .map(|group| {
            let (ours, theirs) = (group.ours.clone().unwrap(), group.theirs.clone().unwrap());
            (group.level(), group.class.clone(), group.disputed, ours.counts, theirs.counts)
        })
        .collect();
    let class = Some("token_count".to_owned());
    let counts = ["output 31", "output 30"].map(str::to_owned);
    let [ours, theirs] = counts;
    assert_eq!(told, [("group", class, true, ours, theirs)]);
    let midnight = NOON_MS - DAY_MS / 2;
    assert_eq!(window, (midnight, midnight + DAY_MS));
}

#[test]
fn where_only_the_total_is_outside_everything_of_the_period_is_in_dispute() {
    let text = "name = \"t\"\nsource = \"test\"\n[columns]\ntime = \"day\"\namount = \"amount\"\n\
        [time]\nformat = \"date\"\nzone = \"UTC\"\n[amount]\ncurrency = \"CNY\"\n\
        [tolerance]\namt_abs = \"0.000001\"\n";
    let mapping = BillMapping::parse("t.toml", text).unwrap();
    let rows = [0, 1, 40].map(|days| flash(NOON_MS + days * DAY_MS, 1, 0, 0));
    // A micro-yuan a day more is inside; two of them are not.
    let bill = "day,amount\n2026-10-05,0.000002\n2026-10-06,0.000002\n";
    let case = Case::new("bill.csv", bill.as_bytes(), &mapping);
    let outcome = case.run(&rows).unwrap().0;
    assert!(outcome.outside.total && outcome.outside.groups == 0);
    let (disputed, (from, to)) = case.disputed(&outcome, &rows);
    assert_eq!(disputed, [true, true, false]);
    assert_eq!(to - from, 31 * DAY_MS);
}
