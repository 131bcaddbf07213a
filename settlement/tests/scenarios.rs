//! The scenarios of the domain, the shipped example, and files that are wrong.

#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]
#![expect(clippy::result_large_err, reason = "the errors are those of the crate")]

use tally_rating::{Book, BookFile, Validity};
use tally_schemas::{CLASS_COUNT, Currency, PICO, TokenClass};
use tally_settlement::{
    AdjustmentReason, CallSpans, Cents, Contracts, CutOff, EXAMPLE_CONTRACTS, ErrorKind, Language,
    Period, PeriodState, PostedAdjustment, PriceLists, RatedGroup, SettlementError, Statement,
    StatementInput, statement_csv,
};

const PRICES: &str = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,time_basis,valid_from,known_from,approved_by,approved_at,service_tier
one,wholesale,acme,m,input,token,CNY,1000000,completion,2026-01-01,2026-01-01,a,2026-01-01,*
";

/// A tenth off the list, and from noon of 5 October on a fifth.
const DISCOUNTS: [(&str, &str, &str); 2] = [
    ("100000", "2026-01-01T00:00:00+08:00", "2026-10-05T12:00:00+08:00"),
    ("200000", "2026-10-05T12:00:00+08:00", "2027-01-01T00:00:00+08:00"),
];

fn contracts(form: &str) -> Contracts {
    let text = format!(
        "[[terms]]\nid = \"t\"\nvendor = \"acme\"\nmodel_pattern = \"*\"\n{form}\ncurrency = \"CNY\"\n\
         tax_ppm = 0\nrounding = \"half_up\"\nvalid_from = \"2026-01-01\"\nknown_from = \"2026-01-01\"\n\
         approved_by = \"a\"\napproved_at = \"2026-01-01\"\n"
    );
    Contracts::parse("terms.toml", &text).unwrap()
}

struct Acme {
    book: Book,
    prices: PriceLists,
    contracts: Contracts,
    earlier: Vec<Statement>,
}

impl Acme {
    fn new(form: &str) -> Self {
        let book = Book::read(&[BookFile { name: "prices.csv", text: PRICES }]).unwrap();
        let mut prices = PriceLists::default();
        prices.add(&book);
        Self { book, prices, contracts: contracts(form), earlier: Vec::new() }
    }

    /// The same with discounts on the list.
    fn discounted(form: &str) -> Self {
        let contract = |(ppm, from, to): (&str, &str, &str)| {
            format!(
                "[[contract]]\nid = \"less-{ppm}\"\nvendor = \"acme\"\nmodel_pattern = \"*\"\n\
                 form = \"price_list\"\ndiscount_ppm = {ppm}\ncurrency = \"CNY\"\n\
                 valid_from = \"{from}\"\nvalid_to = \"{to}\"\nknown_from = \"2026-01-01\"\n\
                 approved_by = \"a\"\napproved_at = \"2026-01-01\"\n"
            )
        };
        let deals = DISCOUNTS.map(contract).concat();
        let files = [
            BookFile { name: "prices.csv", text: PRICES },
            BookFile { name: "deals.toml", text: &deals },
        ];
        let book = Book::read(&files).unwrap();
        let mut prices = PriceLists::default();
        prices.add(&book);
        Self { book, prices, ..Self::new(form) }
    }

    /// Usage of so many tokens, rated at 1.00 a million.
    fn usage(&self, day: &str, tokens: i128) -> RatedGroup {
        let mut units = [0; CLASS_COUNT];
        units[TokenClass::Input.index()] = tokens;
        RatedGroup {
            day: day.parse().unwrap(),
            calls: CallSpans::of_day(day.parse().unwrap()),
            vendor: "acme".into(),
            billed_model: "m".into(),
            supplier: "acme".into(),
            service_tier: "standard".into(),
            price_ids: "one".into(),
            price_book_version: self.book.version().into(),
            currency: Currency::CNY,
            retail_price_ids: String::new(),
            retail_currency: None,
            corrected: false,
            events: 1,
            units,
            wholesale_pico: tokens * 1_000_000,
            retail_pico: 0,
        }
    }

    fn settle(
        &mut self,
        period: &str,
        groups: &[RatedGroup],
        posted: &[PostedAdjustment],
    ) -> Result<Statement, SettlementError> {
        let statement = Statement::build(&StatementInput {
            vendor: "acme",
            period: Period::parse(period).unwrap(),
            contracts: &self.contracts,
            prices: &self.prices,
            groups,
            earlier: &self.earlier,
            posted,
        })?;
        self.earlier.push(statement.clone());
        Ok(statement)
    }
}

fn tiers(form: &str) -> String {
    format!(
        "form = \"{form}\"\ntier_classes = [\"input\"]\n\
         tiers = [{{ above_units = 0, price_micro_per_million = 1000000 }}, \
         {{ above_units = 1000000000, price_micro_per_million = 800000 }}]"
    )
}

/// S6, as a whole statement.
#[test]
fn one_and_a_half_billion_tokens_in_tiers() {
    let mut graduated = Acme::new(&tiers("graduated_tiers"));
    let groups = [graduated.usage("2026-10-05", 1_500_000_000)];
    let statement = graduated.settle("2026-10", &groups, &[]).unwrap();
    let lines: Vec<String> =
        statement.sections[0].lines.iter().map(|line| line.amounts.net.to_string()).collect();
    assert_eq!(lines, ["1000.00", "400.00"]);
    assert_eq!(statement.total.net.to_string(), "1400.00");
    assert_eq!(statement.total_in_words, "人民币壹仟肆佰元整");

    let mut all_units = Acme::new(&tiers("all_units_tiers"));
    let statement = all_units.settle("2026-10", &groups, &[]).unwrap();
    let true_up = &statement.sections[0].adjustments[0];
    assert_eq!(true_up.reason, AdjustmentReason::TierTrueUp);
    assert_eq!(true_up.amounts.net.to_string(), "-200.00");
    assert_eq!(statement.total.net.to_string(), "1200.00");
}

/// S6, reached only by usage that comes after the seal: the true-up is an adjustment of the
/// closed period.
#[test]
fn a_tier_that_late_usage_reaches() {
    let mut acme = Acme::new(&tiers("all_units_tiers"));
    let october = [acme.usage("2026-10-05", 900_000_000)];
    assert_eq!(acme.settle("2026-10", &october, &[]).unwrap().total.net.to_string(), "900.00");
    let late = [acme.usage("2026-10-31", 600_000_000)];
    let november = acme.settle("2026-11", &late, &[]).unwrap();
    let rows: Vec<(AdjustmentReason, String, String, bool)> = november.sections[0]
        .adjustments
        .iter()
        .map(|row| {
            let orig = row.orig_period.unwrap().to_string();
            (row.reason, orig, row.amounts.net.to_string(), row.orig_line_id.is_some())
        })
        .collect();
    let of = "2026-10".to_owned();
    let late_usage = AdjustmentReason::LateUsage;
    assert_eq!(
        rows,
        [
            (late_usage, of.clone(), "100.00".to_owned(), true),
            // October's statement has no line of the second tier.
            (late_usage, of.clone(), "400.00".to_owned(), false),
            (AdjustmentReason::TierTrueUp, of, "-200.00".to_owned(), false),
        ]
    );
    assert_eq!(november.total.net.to_string(), "300.00");
    assert_eq!(november.sections[0].lines, []);
}

/// S7, as statements.
#[test]
fn a_minimum_of_a_thousand_with_carry_forward() {
    let mut acme = Acme::new("form = \"price_list\"\nminimum = \"1000.00\"\ncarry_months = 3");
    let mut paid = Vec::new();
    for (period, yuan) in [("2026-07", 700), ("2026-08", 900), ("2026-09", 1_600)] {
        let groups = [acme.usage(&format!("{period}-15"), yuan * 1_000_000)];
        paid.push(acme.settle(period, &groups, &[]).unwrap().total.net.to_string());
    }
    assert_eq!(paid, ["1000.00", "1000.00", "1200.00"]);
    let last = acme.earlier[2].sections[0].minimum.clone().unwrap();
    assert_eq!(last.closing, []);
    assert_eq!(last.opening.len(), 2);
    // A month without any usage owes the minimum nevertheless.
    let idle = acme.settle("2026-10", &[], &[]).unwrap();
    assert_eq!(idle.total.net.to_string(), "1000.00");
}

#[test]
fn late_usage_names_its_line_and_period_and_changes_no_earlier_statement() {
    let mut acme = Acme::new("form = \"price_list\"");
    let october = [acme.usage("2026-10-05", 3_000_000)];
    let sealed = acme.settle("2026-10", &october, &[]).unwrap();
    let november = [acme.usage("2026-11-02", 1_000_000), acme.usage("2026-10-31", 2_000_000)];
    let statement = acme.settle("2026-11", &november, &[]).unwrap();
    let section = &statement.sections[0];
    assert_eq!(section.lines.len(), 1);
    let late = &section.adjustments[0];
    assert_eq!(late.orig_line_id.as_ref(), Some(&sealed.sections[0].lines[0].id));
    assert_eq!(late.orig_period, Period::parse("2026-10").ok());
    assert_eq!((late.amounts.net.to_string(), late.units.0), ("2.00".to_owned(), 2_000_000));
    assert_eq!((statement.control.events, statement.control.late_events), (1, 1));
    assert_eq!(statement.total.net.to_string(), "3.00");
    assert_eq!(acme.earlier[0].hash().unwrap(), sealed.hash().unwrap());
}

/// Usage that nobody paid for owes nothing by a share, and is counted nevertheless.
#[test]
fn usage_without_revenue_is_on_a_statement_of_nothing() {
    let mut acme = Acme::new("form = \"share_of_gross\"\nshare_ppm = 500000");
    let groups = [acme.usage("2026-10-05", 3_000_000)];
    let statement = acme.settle("2026-10", &groups, &[]).unwrap();
    assert!(!statement.is_empty());
    assert_eq!((statement.sections.len(), statement.total.gross.0), (0, 0));
    assert_eq!(statement.control.events, 1);
    assert_eq!(statement.control.wholesale["CNY"].to_string(), "3.000000000000");
    assert!(acme.settle("2026-11", &[], &[]).unwrap().is_empty());
}

#[test]
fn lines_that_round_up_leave_a_rounding_line() {
    let mut acme = Acme::new("form = \"price_list\"");
    // Three lines of half a cent: 0.015 is 0.02, not 0.03.
    let groups: Vec<RatedGroup> = ["standard", "batch", "flex"]
        .into_iter()
        .map(|tier| RatedGroup { service_tier: tier.into(), ..acme.usage("2026-10-05", 5_000) })
        .collect();
    assert_eq!(groups[0].wholesale_pico, PICO / 200);
    let statement = acme.settle("2026-10", &groups, &[]).unwrap();
    let section = &statement.sections[0];
    assert!(section.lines.iter().all(|line| line.amounts.net.0 == 1));
    assert_eq!((section.rounding.net.0, section.total.net.0), (-1, 2));
}

#[test]
fn an_adjustment_needs_a_second_person_an_earlier_period_and_a_line_that_exists() {
    let good = PostedAdjustment {
        id: "D-1".into(),
        terms: "t".into(),
        reason: AdjustmentReason::DisputeCredit,
        amount: Cents(-150),
        orig_period: Period::parse("2026-10").ok(),
        orig_line_id: None,
        note: "agreed".into(),
        by: "ann".into(),
        approved_by: "bob".into(),
    };
    let post = |adjustments: &[PostedAdjustment]| {
        let mut acme = Acme::new("form = \"price_list\"");
        let october = [acme.usage("2026-10-05", 3_000_000)];
        acme.settle("2026-10", &october, &[]).unwrap();
        acme.settle("2026-11", &[], adjustments)
    };
    assert_eq!(post(std::slice::from_ref(&good)).unwrap().total.net.to_string(), "-1.50");
    for (bad, words) in [
        (PostedAdjustment { approved_by: "ann".into(), ..good.clone() }, "may not approve"),
        (PostedAdjustment { approved_by: " ".into(), ..good.clone() }, "who approves"),
        (PostedAdjustment { reason: AdjustmentReason::Cap, ..good.clone() }, "cannot be posted"),
        (
            PostedAdjustment { orig_period: Period::parse("2026-11").ok(), ..good.clone() },
            "is not before",
        ),
        (PostedAdjustment { orig_line_id: Some("L0".into()), ..good.clone() }, "has no line L0"),
        (PostedAdjustment { terms: "other".into(), ..good.clone() }, "does not have"),
    ] {
        let error = post(std::slice::from_ref(&bad)).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = post(&[good.clone(), good]).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}

/// A sum across a change of the discount is proved by no one price. Its parts are.
#[test]
fn a_sum_across_a_change_of_the_discount_is_refused_by_price_and_day() {
    let mut acme = Acme::discounted("form = \"price_list\"");
    let whole = RatedGroup { wholesale_pico: 1_700_000, ..acme.usage("2026-10-05", 2) };
    let refused = acme.settle("2026-10", std::slice::from_ref(&whole), &[]).unwrap_err();
    let price = "one".to_owned();
    assert_eq!(refused, SettlementError::DiscountChanges { price, day: whole.day });
    assert_eq!(refused.kind(), ErrorKind::Data);
    let told = "the discount on one changes within a sum of 2026-10-05";
    assert!(refused.to_string().starts_with(told), "{refused}");

    let of_day = whole.calls.completed;
    let noon_ms = of_day.from_ms + 12 * 3_600_000;
    let million = acme.usage("2026-10-05", 1_000_000);
    let part = |completed: Validity, price_micro: i128| RatedGroup {
        calls: CallSpans { completed, ..million.calls },
        wholesale_pico: 1_000_000 * price_micro,
        ..million.clone()
    };
    let parts = [
        part(Validity { to_ms: Some(noon_ms), ..of_day }, 900_000),
        part(Validity { from_ms: noon_ms, ..of_day }, 800_000),
    ];
    let statement = acme.settle("2026-10", &parts, &[]).unwrap();
    let nets: Vec<String> =
        statement.sections[0].lines.iter().map(|line| line.amounts.net.to_string()).collect();
    assert_eq!(nets, ["0.80", "0.90"]);
}

#[test]
fn usage_without_terms_is_refused_by_name() {
    let mut acme = Acme::new("form = \"price_list\"");
    let early = [acme.usage("2025-12-31", 1)];
    let error = acme.settle("2026-01", &early, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no settlement terms of acme cover m on 2025-12-31: add [[terms]] that are in force then and approved"
    );
}

#[test]
fn the_shipped_example_has_no_finding() {
    let book = Book::shipped().unwrap();
    let mut prices = PriceLists::default();
    prices.add(&book);
    let example = Contracts::parse("settlement.toml", EXAMPLE_CONTRACTS).unwrap();
    assert_eq!(example.lint(&prices.vendors()), []);
    assert_eq!(example.vendors(), prices.vendors());
}

#[test]
fn every_defect_is_told_with_its_line() {
    let text = "[[terms]]
id = \"t\"
vendor = \"\"
model_pattern = \"a*b\"
form = \"share_of_net\"
share_ppm = 1000001
revenue_tax_ppm = -1
channel_fee_ppm = 1.5
bad_debt_ppm = 0
currency = \"yuan\"
tax_ppm = \"6%\"
rounding = \"up\"
minimum = 1000
valid_from = \"2026-02-30\"
known_from = \"soon\"
discount = 3
[[fx]]
from = \"USD\"
to = \"CNY\"
period = \"2026-13\"
rate = \"7.12345678\"
[prices]
";
    let defects = Contracts::parse("terms.toml", text).unwrap_err().defects;
    let expected = [
        ("line 1:", "vendor is missing"),
        ("line 4:", "model_pattern"),
        ("line 6:", "share_ppm: 1000001 is above 1000000; rates are in parts per million"),
        ("line 7:", "revenue_tax_ppm: -1 is not a whole number"),
        ("line 8:", "channel_fee_ppm: a whole number is needed"),
        ("line 10:", "currency: \"yuan\" is not a code like CNY"),
        ("line 11:", "tax_ppm: a whole number is needed"),
        ("line 12:", "rounding: \"up\" is none of half_up, half_even"),
        ("line 13:", "minimum: a decimal in quotes"),
        ("line 14:", "valid_from: \"2026-02-30\" is not a day"),
        ("line 15:", "known_from"),
        ("line 16:", "discount is not known here; known are id, vendor"),
        ("line 17:", "date is missing"),
        ("line 17:", "source is missing"),
        ("line 20:", "\"2026-13\" is not a period"),
        ("line 21:", "rate: \"7.12345678\" is not a decimal with at most 6 places"),
        ("line 22:", "prices is not known here; known are [[terms]] and [[fx]]"),
    ];
    for (line, words) in expected {
        assert!(
            defects.iter().any(|defect| defect.contains(line) && defect.contains(words)),
            "{line} {words}: {defects:#?}"
        );
    }
    assert_eq!(defects.len(), expected.len(), "{defects:#?}");
    let broken = Contracts::parse("terms.toml", "[[terms]]\nid = \"t\nvendor = 1").unwrap_err();
    assert!(broken.defects[0].starts_with("terms.toml, line 2:"), "{broken}");
}

#[test]
fn terms_that_contradict_each_other_are_found() {
    let terms = |id: &str, more: &str| {
        format!(
            "[[terms]]\nid = \"{id}\"\nvendor = \"acme\"\nmodel_pattern = \"m\"\ncurrency = \"CNY\"\n\
             tax_ppm = 0\nrounding = \"half_up\"\nknown_from = \"2026-01-01\"\napproved_by = \"a\"\n\
             approved_at = \"2026-01-01\"\n{more}\n"
        )
    };
    let found = |text: &str| -> Vec<String> {
        let contracts = Contracts::parse("terms.toml", text).unwrap();
        contracts.lint(&["acme".to_owned()]).iter().map(ToString::to_string).collect()
    };
    let list = "form = \"price_list\"";
    let first =
        terms("a", &format!("{list}\nvalid_from = \"2026-01-01\"\nvalid_to = \"2026-03-01\""));
    for (second, words) in [
        (terms("b", &format!("{list}\nvalid_from = \"2026-02-28\"")), "overlap: a"),
        (terms("b", &format!("{list}\nvalid_from = \"2026-03-02\"")), "gap: a (line 1)"),
        (
            terms("b", &format!("{list}\nvalid_from = \"2026-03-01\"")).replace("CNY", "USD"),
            "mixed_currencies: a",
        ),
        (
            terms("b", &format!("{list}\nvalid_from = \"2026-03-01\"")).replace("acme", "acne"),
            "unknown_vendor: b (line 14)",
        ),
        (
            terms(
                "b",
                &format!("{list}\nvalid_from = \"2026-03-01\"\nminimum = \"2.00\"\ncap = \"1.00\""),
            ),
            "nonsense: b (line 14): the cap 1.00 is below the minimum 2.00",
        ),
        (
            terms("b", "form = \"share_of_gross\"\nshare_ppm = 0\nvalid_from = \"2026-03-01\""),
            "the vendor gets nothing",
        ),
        (terms("a", &format!("{list}\nvalid_from = \"2026-01-01\"")), "same_known_time: a"),
    ] {
        let found = found(&format!("{first}{second}"));
        assert!(found.iter().any(|finding| finding.contains(words)), "{words}: {found:#?}");
    }
    let good = terms("b", &format!("{list}\nvalid_from = \"2026-03-01\""));
    assert_eq!(found(&format!("{first}{good}")), Vec::<String>::new());
}

#[test]
fn a_csv_in_both_languages_has_every_row() {
    let mut acme = Acme::new("form = \"price_list\"\nminimum = \"10.00\"\ncarry_months = 1");
    let groups = [acme.usage("2026-10-05", 3_000_000)];
    let statement = acme.settle("2026-10", &groups, &[]).unwrap();
    let csv = |language| {
        let state = PeriodState::SoftClosed;
        let bytes = statement_csv(&statement, state, &[], &[], language).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let english = csv(Language::En);
    assert!(english.starts_with("\u{feff}part,id,terms"), "{english}");
    for row in [
        "header,status,,,,,,,,,,,,,,,,,,,draft",
        ",t,m,input,acme,standard,one,",
        ",3000000,3.000000000000,CNY,3.00,0.00,3.00,,,,",
        "7.00,0.00,7.00,minimum_guarantee_true_up,,,",
        "section_total,,t,,,,,,,,,,,,10.00,0.00,10.00,,,,",
        "balance,minimum_closing,t,,,,,,,,,,,,,,,,2026-10,,7.00",
        "total,total_in_words,,,,,,,,,,,,,,,,,,,人民币壹拾元整",
        "control,events,,,,,,,,,,,,,,,,,,,1",
        "control,,,,input,,,,,,,3000000,",
    ] {
        assert!(english.contains(row), "{row}\n{english}");
    }
    let chinese = csv(Language::Zh);
    assert!(chinese.contains("表头,状态") && chinese.contains("草稿"), "{chinese}");
    assert_eq!(chinese.lines().count(), english.lines().count());
}

/// Who posted an adjustment and who approved it, and what corrections took back of closed months.
#[test]
fn a_csv_has_both_people_and_every_control_total() {
    let mut acme = Acme::new("form = \"price_list\"");
    acme.settle("2026-10", &[acme.usage("2026-10-05", 3_000_000)], &[]).unwrap();
    let taken_back =
        RatedGroup { corrected: true, events: -2, ..acme.usage("2026-10-05", -2_000_000) };
    let posted = PostedAdjustment {
        id: "ADJ-000001".into(),
        terms: "t".into(),
        reason: AdjustmentReason::ComplaintRefund,
        amount: Cents(-100),
        orig_period: None,
        orig_line_id: None,
        note: "ticket 4711".into(),
        by: "ann".into(),
        approved_by: "bob".into(),
    };
    let statement = acme.settle("2026-11", &[taken_back], &[posted]).unwrap();
    let cut_offs = [CutOff { partition: 0, epoch: 12 }, CutOff { partition: 1, epoch: 9 }];
    let csv = |language| {
        let bytes = statement_csv(&statement, PeriodState::Closed, &cut_offs, &[], language);
        String::from_utf8(bytes.unwrap()).unwrap()
    };
    let english = csv(Language::En);
    let head = english.lines().next().unwrap();
    assert!(head.ends_with(",note,posted_by,approved_by"), "{head}");
    for row in [
        "header,period,,,,,,,,,,,,,,,,,,,2026-11,,",
        "header,sequence,,,,,,,,,,,,,,,,,,,2,,",
        "header,schema,,,,,,,,,,,,,,,,,,,1,,",
        "header,cut_off,,,,,,,,,,,,,,,,,,,0/12,,",
        "header,cut_off,,,,,,,,,,,,,,,,,,,1/9,,",
        "adjustment,ADJ-000001,t,,,,,,,,,,,,-1.00,0.00,-1.00,complaint_refund,,,ticket 4711,ann,bob",
        "control,events,,,,,,,,,,,,,,,,,,,0,,",
        "control,late_events,,,,,,,,,,,,,,,,,,,0,,",
        "control,corrected_events,,,,,,,,,,,,,,,,,,,-2,,",
    ] {
        assert!(english.lines().any(|line| line == row), "{row}\n{english}");
    }
    let chinese = csv(Language::Zh);
    assert!(chinese.lines().next().unwrap().ends_with(",说明,提出人,批准人"), "{chinese}");
    assert!(chinese.contains("控制总数,更正事件数,"), "{chinese}");
}

/// What a correction takes back of a closed month is an adjustment of its own, beside late usage of
/// the same line; the closed statement stays, and tiers go back the way they came.
#[test]
fn a_correction_of_a_closed_month_is_an_adjustment() {
    let mut acme = Acme::new("form = \"price_list\"");
    let october = [acme.usage("2026-10-05", 3_000_000)];
    let sealed = acme.settle("2026-10", &october, &[]).unwrap();
    let taken_back =
        RatedGroup { corrected: true, events: -1, ..acme.usage("2026-10-05", -2_000_000) };
    let late = acme.usage("2026-10-31", 500_000);
    let statement = acme.settle("2026-11", &[taken_back, late], &[]).unwrap();
    let rows = |statement: &Statement| -> Vec<(AdjustmentReason, i128, String)> {
        let adjustments = statement.sections[0].adjustments.iter();
        adjustments.map(|a| (a.reason, a.units.0, a.amounts.net.to_string())).collect()
    };
    let (late, corrected) = (AdjustmentReason::LateUsage, AdjustmentReason::CorrectionEvent);
    assert_eq!(
        rows(&statement),
        [(late, 500_000, "0.50".to_owned()), (corrected, -2_000_000, "-2.00".to_owned())]
    );
    let line = Some(&sealed.sections[0].lines[0].id);
    let adjustments = &statement.sections[0].adjustments;
    assert!(adjustments.iter().all(|a| a.orig_line_id.as_ref() == line));
    assert_ne!(adjustments[0].id, adjustments[1].id);
    assert_eq!(statement.total.net.to_string(), "-1.50");
    let control = &statement.control;
    assert_eq!((control.events, control.late_events, control.corrected_events), (0, 1, -1));
    let bytes = statement.to_bytes().unwrap();
    assert_eq!(Statement::from_bytes("it", &bytes).unwrap(), statement);

    let mut tiered = Acme::new(&tiers("all_units_tiers"));
    let october = [tiered.usage("2026-10-05", 1_500_000_000)];
    assert_eq!(tiered.settle("2026-10", &october, &[]).unwrap().total.net.to_string(), "1200.00");
    let taken_back =
        RatedGroup { corrected: true, events: -1, ..tiered.usage("2026-10-05", -600_000_000) };
    let november = tiered.settle("2026-11", &[taken_back], &[]).unwrap();
    assert_eq!(
        rows(&november),
        [
            (corrected, -100_000_000, "-100.00".to_owned()),
            (corrected, -500_000_000, "-400.00".to_owned()),
            (AdjustmentReason::TierTrueUp, -600_000_000, "200.00".to_owned()),
        ]
    );
    // 900 of 900 million at the full price.
    assert_eq!(november.total.net.to_string(), "-300.00");
    let late = [tiered.usage("2026-10-06", 100_000_000)];
    assert_eq!(tiered.settle("2026-12", &late, &[]).unwrap().total.net.to_string(), "100.00");
}
