//! Bills without records, in the shapes of vendors' exports and reports: groups are compared, and
//! each difference of a group has a class.

use tally_schemas::{TokenClass, UsageCounts};
use tally_settlement::Contracts;
use tally_settlement::reconcile::{
    BillMapping, Binding, Inside, Outcome, Period, Tolerance, ToleranceSource, report_html,
    shipped_mapping,
};

use crate::support::{Case, Ours};

pub(crate) const DAY_MS: i64 = 86_400_000;
/// 2026-10-05T12:00:00Z
pub(crate) const NOON_MS: i64 = 1_791_201_600_000;

pub(crate) fn shipped(name: &str) -> BillMapping {
    shipped_mapping(name).unwrap().unwrap().0
}

fn counts(list: &[(TokenClass, u64)]) -> UsageCounts {
    let mut counts = UsageCounts::default();
    for (class, count) in list {
        counts.set(*class, *count);
    }
    counts
}

/// An off-peak call of `deepseek-flash` on a Sunday, at 1, 0.02 and 4 yuan for a million.
pub(crate) fn flash(at_ms: i64, input: u64, cached: u64, output: u64) -> Ours {
    let ids = ["cached_input.off-peak", "input.off-peak", "output.off-peak"];
    Ours {
        at_ms,
        model: "deepseek-flash".to_owned(),
        tier: "standard".to_owned(),
        counts: counts(&[
            (TokenClass::Input, input),
            (TokenClass::CachedInput, cached),
            (TokenClass::Output, output),
            (TokenClass::Requests, 1),
        ]),
        amount_pico: i128::from(input * 1_000_000 + cached * 20_000 + output * 4_000_000),
        currency: "CNY".to_owned(),
        price_ids: ids.map(|id| format!("deepseek-flash.{id}")).join(","),
        ..Ours::default()
    }
}

/// Class of each group that has one: day, token class, why.
fn found(outcome: &Outcome) -> Vec<(String, &'static str, &'static str)> {
    let rows = outcome.groups.iter();
    rows.filter_map(|row| Some((row.day.clone(), row.token_class, row.class?))).collect()
}

const AMOUNT: &str = "user_id,utc_date,model,api_key_name,api_key,type,price,amount\n";

pub(crate) fn deepseek(lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("u1,{line}\n")).collect();
    format!("{AMOUNT}{lines}")
}

#[test]
fn deepseeks_amount_export_is_compared_by_day_model_class_and_price() {
    let mapping = shipped("deepseek-amount");
    let rows = [flash(NOON_MS, 100, 50, 30), flash(NOON_MS + DAY_MS, 7, 0, 3)];
    let good = [
        "2026-10-05,deepseek-flash,k,sk-1,input_cache_miss_tokens,0.000001,60",
        "2026-10-05,deepseek-flash,k,sk-2,input_cache_miss_tokens,0.000001,40",
        "2026-10-05,deepseek-flash,k,sk-1,input_cache_hit_tokens,0.00000002,50",
        "2026-10-05,deepseek-flash,k,sk-1,output_tokens,0.000004,30",
        "2026-10-05,deepseek-flash,k,sk-1,request_count,,1",
        "2026-10-06,deepseek-flash,k,sk-1,input_cache_miss_tokens,0.000001,7",
        "2026-10-06,deepseek-flash,k,sk-1,output_tokens,0.000004,3",
        "2026-10-06,deepseek-flash,k,sk-1,request_count,,1",
    ];
    let run = |lines: &[&str]| {
        let bill = deepseek(lines);
        Case::new("amount-2026-10.csv", bill.as_bytes(), &mapping).run(&rows).unwrap().0
    };
    let outcome = run(&good);
    assert_eq!(found(&outcome), [], "{:?}", outcome.groups);
    assert!(outcome.is_inside() && outcome.our_rows_unexplained == 0 && outcome.level == "group");
    assert_eq!(outcome.totals[0].difference, "0.000000000000");

    let changed = |at: usize, line: &'static str| {
        let mut lines = good.to_vec();
        lines[at] = line;
        run(&lines)
    };
    let day = |day: &str, class, why| (day.to_owned(), class, why);
    let price = "2026-10-05,deepseek-flash,k,sk-1,output_tokens,0.000008,30";
    assert_eq!(
        found(&changed(3, price)),
        [
            day("2026-10-05", "output", "price_version"),
            day("2026-10-05", "output", "price_version"),
        ]
    );
    let more = "2026-10-05,deepseek-flash,k,sk-1,output_tokens,0.000004,31";
    let outcome = changed(3, more);
    assert_eq!(found(&outcome), [day("2026-10-05", "output", "token_count")]);
    assert!(!outcome.is_inside());
    assert_eq!(outcome.totals[0].difference, "0.000004000000");
    assert_eq!(outcome.classes[0].class, "token_count");
    let later = "2026-10-06,deepseek-flash,k,sk-1,output_tokens,0.000004,30";
    assert_eq!(
        found(&changed(3, later)),
        [day("2026-10-05", "output", "time_shift"), day("2026-10-06", "output", "time_shift"),]
    );
    let pro = "2026-10-05,deepseek-v4-pro,k,sk-1,output_tokens,0.000004,30";
    assert_eq!(
        found(&changed(3, pro)),
        [day("2026-10-05", "output", "model"), day("2026-10-05", "output", "model"),]
    );
    let unknown = deepseek(&["2026-10-05,deepseek-flash,k,sk-1,images,0.1,5"]);
    let error = Case::new("amount.csv", unknown.as_bytes(), &mapping).error();
    assert!(
        error.contains("line 2, column \"type\": \"images\" is no class that the mapping"),
        "{error}"
    );
}

#[test]
fn deepseeks_cost_export_has_amounts_only() {
    let mapping = shipped("deepseek-cost");
    let rows = [flash(NOON_MS, 100, 50, 30)];
    let run = |cost: &str| {
        let bill = format!(
            "user_id,utc_date,model,wallet_type,cost,currency\n\
             u1,2026-10-05,deepseek-flash,Paid,{cost},CNY\n"
        );
        Case::new("cost-2026-10.csv", bill.as_bytes(), &mapping).run(&rows).unwrap().0
    };
    assert_eq!(found(&run("0.000221000000")), []);
    let outcome = run("0.000222");
    assert_eq!(found(&outcome), [("2026-10-05".to_owned(), "all", "price_version")]);
    assert_eq!(outcome.by_day[0].difference, "0.000001000000");
}

fn claude(tier: &str) -> Ours {
    Ours {
        at_ms: NOON_MS,
        model: "claude-opus".to_owned(),
        tier: tier.to_owned(),
        counts: counts(&[
            (TokenClass::Input, 1_000),
            (TokenClass::CachedInput, 400),
            (TokenClass::CacheWrite5m, 20),
            (TokenClass::CacheWrite1h, 10),
            (TokenClass::Output, 300),
            (TokenClass::Requests, 1),
        ]),
        amount_pico: 1_000 * 5_000_000
            + 400 * 500_000
            + 20 * 6_250_000
            + 10 * 10_000_000
            + 300 * 25_000_000,
        currency: "USD".to_owned(),
        ..Ours::default()
    }
}

#[test]
fn anthropics_usage_report_has_counts_only() {
    let mapping = shipped("anthropic-usage");
    let report = |output: u64, tier: &str| {
        format!(
            r#"{{"data": [{{"starting_at": "2026-10-05T00:00:00Z", "ending_at": "2026-10-06T00:00:00Z",
            "results": [{{"uncached_input_tokens": 1000, "cache_read_input_tokens": 400,
            "cache_creation": {{"ephemeral_1h_input_tokens": 10, "ephemeral_5m_input_tokens": 20}},
            "output_tokens": {output}, "server_tool_use": {{"web_search_requests": 0}},
            "api_key_id": null, "workspace_id": null, "model": "claude-opus",
            "service_tier": "{tier}", "context_window": null}}]}}], "has_more": false, "next_page": null}}"#
        )
    };
    let run = |text: &str, rows: &[Ours]| {
        let mut case = Case::new("usage.json", text.as_bytes(), &mapping);
        case.vendor = "anthropic";
        case.run(rows).unwrap().0
    };
    let outcome = run(&report(300, "standard"), &[claude("standard")]);
    assert!(outcome.is_inside() && found(&outcome).is_empty(), "{:?}", outcome.groups);
    assert_eq!(outcome.totals[0].their_quantity, "1730");
    let pages = format!("[{}, {}]", report(200, "standard"), report(100, "batch"));
    let outcome = run(&pages, &[claude("standard")]);
    assert!(!outcome.is_inside() && !found(&outcome).is_empty());
    let outcome = run(&report(301, "standard"), &[claude("standard")]);
    assert_eq!(found(&outcome), [("2026-10-05".to_owned(), "output", "token_count")]);
    let outcome = run(&report(300, "batch"), &[claude("standard")]);
    assert!(found(&outcome).iter().all(|(.., why)| *why == "service_tier"));
    assert_eq!(found(&outcome).len(), 10);
}

#[test]
fn anthropics_cost_report_is_in_cents() {
    let mapping = shipped("anthropic-cost");
    let item = |kind: &str, cents: &str| {
        format!(
            r#"{{"currency": "USD", "amount": "{cents}", "workspace_id": null, "description": "x",
            "cost_type": "tokens", "context_window": "0-200k", "model": "claude-opus",
            "service_tier": "standard", "token_type": "{kind}"}}"#
        )
    };
    let report = |output: &str| {
        let items = [
            item("uncached_input_tokens", "0.5"),
            item("cache_read_input_tokens", "0.02"),
            item("cache_creation.ephemeral_5m_input_tokens", "0.0125"),
            item("cache_creation.ephemeral_1h_input_tokens", "0.01"),
            item("output_tokens", output),
            r#"{"currency": "USD", "amount": "12.5", "cost_type": "web_search", "model": null,
            "service_tier": null, "token_type": null}"#
                .to_owned(),
        ];
        format!(
            r#"{{"data": [{{"starting_at": "2026-10-05T00:00:00Z", "results": [{}]}}]}}"#,
            items.join(",")
        )
    };
    let run = |text: &str| {
        let mut case = Case::new("cost.json", text.as_bytes(), &mapping);
        case.vendor = "anthropic";
        case.run(&[claude("standard")]).unwrap().0
    };
    let outcome = run(&report("0.75"));
    assert_eq!(outcome.totals[0].their_amount, "0.012925000000");
    assert_eq!(outcome.totals[0].difference, "0.000000000000", "{:?}", outcome.groups);
    let outcome = run(&report("0.76"));
    assert_eq!(outcome.totals[0].difference, "0.000100000000");
    assert!(!outcome.is_inside());
}

#[test]
fn openais_reports_of_usage_and_cost() {
    let ours = Ours {
        at_ms: NOON_MS,
        model: "gpt-5.5".to_owned(),
        tier: "standard".to_owned(),
        counts: counts(&[
            (TokenClass::Input, 200),
            (TokenClass::CachedInput, 800),
            (TokenClass::Output, 500),
            (TokenClass::Requests, 5),
        ]),
        amount_pico: 60_000_000_000,
        currency: "USD".to_owned(),
        ..Ours::default()
    };
    let usage = |cached: u64| {
        format!(
            r#"{{"object": "page", "data": [{{"object": "bucket", "start_time": 1791158400,
            "end_time": 1791244800, "results": [{{"object": "organization.usage.completions.result",
            "input_tokens": 1000, "output_tokens": 500, "input_cached_tokens": {cached},
            "num_model_requests": 5, "project_id": null, "model": "gpt-5.5", "batch": false}}]}}]}}"#
        )
    };
    let run = |mapping: &str, text: &str| {
        let mapping = shipped(mapping);
        let mut case = Case::new("report.json", text.as_bytes(), &mapping);
        case.vendor = "openai";
        case.run(std::slice::from_ref(&ours)).unwrap().0
    };
    assert!(run("openai-usage", &usage(800)).is_inside());
    let outcome = run("openai-usage", &usage(700));
    let why: Vec<_> = found(&outcome).into_iter().map(|(_, class, why)| (class, why)).collect();
    assert_eq!(why, [("cached_input", "token_class"), ("input", "token_class")]);
    let cost = |value: &str| {
        format!(
            r#"{{"object": "page", "data": [{{"object": "bucket", "start_time": 1791158400,
            "results": [{{"object": "organization.costs.result",
            "amount": {{"value": {value}, "currency": "usd"}}, "line_item": null}}]}}]}}"#
        )
    };
    assert!(run("openai-cost", &cost("0.060000000000000005")).is_inside());
    let outcome = run("openai-cost", &cost("6.1e-2"));
    assert_eq!(outcome.totals[0].difference, "0.001000000000");
}

#[test]
fn inside_of_the_tolerance_nothing_is_in_dispute() {
    let with = |tolerance: &str| {
        let text = format!(
            "name = \"t\"\nsource = \"test\"\n[columns]\ntime = \"day\"\namount = \"amount\"\n\
             [time]\nformat = \"date\"\nzone = \"UTC\"\n[amount]\ncurrency = \"CNY\"\n\
             [tolerance]\n{tolerance}\n"
        );
        let mapping = BillMapping::parse("t.toml", &text).unwrap();
        let bill = "day;amount\n2026-10-05;\"0.000222\"\n";
        let case = Case::new("bill.csv", bill.as_bytes(), &mapping);
        case.run(&[flash(NOON_MS, 100, 50, 30)]).unwrap().0
    };
    assert!(!with("amt_abs = \"0.0000009\"").is_inside());
    assert_eq!(with("amt_abs = \"0.000001\"").unposted(), None);
    let outcome = with("amt_abs = \"0.000001\"\ninside = \"theirs\"");
    assert!(outcome.is_inside());
    assert_eq!((outcome.disputed, outcome.inside_counts), (0, "theirs"));
    // The vendor's figure counts, and a comparison posts nothing.
    let unposted = outcome.unposted().unwrap();
    assert!(unposted.contains("theirs less ours is CNY 0.000001000000"), "{unposted}");
    assert!(report_html(&outcome).contains("--post proposes it"));
    assert!(with("amt_ppm = 5000").is_inside() && !with("amt_ppm = 4000").is_inside());
    let page = report_html(&outcome);
    assert!(page.contains("Within tolerance") && page.contains("<svg"), "{page}");
    assert!(!page.contains("<script") && !page.contains("src="), "{page}");
}

#[test]
fn the_strictest_terms_of_the_vendor_decide() {
    let terms = |id: &str, model: &str, qty: &str, abs: &str, counts: &str| {
        format!(
            r#"[[terms]]
            id = "{id}"
            vendor = "deepseek"
            model_pattern = "{model}"
            form = "price_list"
            currency = "CNY"
            tax_ppm = 60000
            amounts_include_tax = false
            rounding = "half_up"
            valid_from = "2025-01-01"
            known_from = "2025-01-01"
            source = "test"
            approved_by = "somebody"
            approved_at = "2025-01-01"
            tolerance = {{ qty_pct = "{qty}", amt_pct = "0.5", amt_abs = "{abs}", counts = "{counts}" }}
            "#
        )
    };
    let text = terms("a", "*", "0.1", "1.00", "theirs")
        + &terms("b", "deepseek-flash", "0.2", "0.05", "ours");
    let contracts = Contracts::parse("test", &text).unwrap();
    let period = Period::parse("2026-10", 0).unwrap();
    let mapping = shipped("deepseek-cost").with_contracts(&contracts, "deepseek", period).unwrap();
    assert_eq!(
        mapping.tolerance,
        Tolerance {
            qty_ppm: 1_000,
            amt_ppm: 5_000,
            amt_abs_pico: 50_000_000_000,
            binding: Binding::Group,
            inside: Inside::Ours,
        }
    );
    assert_eq!(mapping.amount.tax_ppm, 60_000);
    assert_eq!(mapping.tolerance_source, ToleranceSource::Terms);
    assert_eq!(shipped("deepseek-cost").tolerance_source, ToleranceSource::Mapping);
    let none = shipped("deepseek-cost").with_contracts(&contracts, "zhipu", period).unwrap_err();
    assert_eq!(none, "the contracts have no terms for vendor \"zhipu\" on 2026-10-01");
}
