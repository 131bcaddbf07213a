//! What a vendor is told: the steps of each form, worked out by hand, and that they come to the
//! statement.

#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use tally_rating::{Book, BookFile};
use tally_schemas::{CLASS_COUNT, Currency, TokenClass};
use tally_settlement::{
    CallSpans, Contracts, Language, Period, PeriodState, PriceLists, RatedGroup, ReportSection,
    ReportStep, Statement, StatementInput, VendorReport, vendor_report_csv,
};

const PRICES: &str = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,time_basis,valid_from,known_from,approved_by,approved_at,service_tier
one,wholesale,acme,m,input,token,CNY,1000000,completion,2026-01-01,2026-01-01,a,2026-01-01,*
";

/// A statement of 900 million tokens rated at 900.00 that subscribers owe 1,060.00 for, and its
/// report.
fn report(form: &str) -> (Statement, VendorReport) {
    let text = format!(
        "[[terms]]\nid = \"t\"\nvendor = \"acme\"\nmodel_pattern = \"*\"\n{form}\ncurrency = \"CNY\"\n\
         tax_ppm = 60000\nrounding = \"half_up\"\nvalid_from = \"2026-01-01\"\nknown_from = \"2026-01-01\"\n\
         approved_by = \"a\"\napproved_at = \"2026-01-01\"\n"
    );
    let contracts = Contracts::parse("terms.toml", &text).unwrap();
    let book = Book::read(&[BookFile { name: "prices.csv", text: PRICES }]).unwrap();
    let mut prices = PriceLists::default();
    prices.add(&book);
    let group = |packages: &str, tokens: i128, retail: i128| {
        let mut units = [0; CLASS_COUNT];
        units[TokenClass::Input.index()] = tokens;
        RatedGroup {
            day: "2026-10-05".parse().unwrap(),
            calls: CallSpans::of_day("2026-10-05".parse().unwrap()),
            vendor: "acme".into(),
            billed_model: "m".into(),
            supplier: "acme".into(),
            service_tier: "standard".into(),
            price_ids: "one".into(),
            price_book_version: book.version().into(),
            currency: Currency::CNY,
            retail_price_ids: packages.into(),
            retail_currency: Some(Currency::CNY),
            corrected: false,
            events: 7,
            units,
            wholesale_pico: tokens * 1_000_000,
            retail_pico: retail * 10_000_000_000,
        }
    };
    let statement = Statement::build(&StatementInput {
        vendor: "acme",
        period: Period::parse("2026-10").unwrap(),
        contracts: &contracts,
        prices: &prices,
        groups: &[group("gold", 700_000_000, 100_000), group("gift", 200_000_000, 6_000)],
        earlier: &[],
        posted: &[],
    })
    .unwrap();
    let report = VendorReport::of(&statement, PeriodState::Closed, &contracts).unwrap();
    foots(&statement, &report);
    (statement, report)
}

/// From what is owed for usage on, the steps are the statement's and come to its total.
fn foots(statement: &Statement, report: &VendorReport) {
    assert_eq!(report.total, statement.total);
    for (section, of) in report.sections.iter().zip(&statement.sections) {
        let (total, owed) = section.steps.split_last().unwrap();
        assert_eq!((total.step, total.amounts), (ReportStep::Total, Some(of.total)));
        let sums = owed.iter().filter_map(|row| row.amounts);
        let sum = sums.reduce(|sum, more| sum.plus(more).unwrap()).unwrap();
        assert_eq!(sum, of.total);
        let usage = section.usage.iter().map(|row| row.amounts);
        let usage = usage.reduce(|sum, more| sum.plus(more).unwrap());
        let step = owed.iter().find(|row| row.step == ReportStep::Usage).unwrap();
        assert_eq!(usage, step.amounts);
    }
}

fn steps(section: &ReportSection) -> Vec<String> {
    section
        .steps
        .iter()
        .map(|row| format!("{} {} {}", row.step.name(), row.of, row.amount).replace("  ", " "))
        .collect()
}

#[test]
fn each_step_of_a_share_is_told() {
    let (_, report) = report(
        "form = \"share_of_net\"\nshare_ppm = 300000\nrevenue_tax_ppm = 60000\n\
         channel_fee_ppm = 100000\nbad_debt_ppm = 5000\nminimum = \"300.00\"\ncarry_months = 3",
    );
    let expected = [
        "gross_revenue 1060.00",
        "revenue_tax 6% -60.00",
        "channel_fee 10% -100.00",
        "bad_debt 0.5% -5.00",
        "net_revenue 895.00",
        "share 30% 268.50",
        "usage 268.50",
        "minimum_guarantee_true_up 31.50",
        "total 300.00",
    ];
    assert_eq!(steps(&report.sections[0]), expected);
    assert_eq!(report.sections[0].usage[0].units.0, 14);
}

#[test]
fn rated_usage_a_markup_and_trials_are_told() {
    let (_, report) = report(
        "form = \"cost_plus\"\nmarkup_ppm = 50000\n\
         trial = { burden = \"shared\", vendor_ppm = 500000, packages = [\"gift\"] }\n\
         prepaid = [{ paid_on = \"2026-10-01\", amount = \"40.00\" }]",
    );
    let expected = [
        "rated 900.00",
        "markup 5% 45.00",
        "usage 945.00",
        "free_trial -105.00",
        "prepaid_drawn -40.00",
        "total 800.00",
    ];
    assert_eq!(steps(&report.sections[0]), expected);
    let usage: Vec<(bool, i128)> =
        report.sections[0].usage.iter().map(|row| (row.trial, row.amounts.net.0)).collect();
    assert_eq!(usage, [(false, 73_500), (true, 21_000)]);
}

#[test]
fn slices_of_tiers_are_told_and_csv_has_every_row() {
    let (_, report) = report(
        "form = \"all_units_tiers\"\ntier_classes = [\"input\"]\n\
         tiers = [{ above_units = 0, price_micro_per_million = 1000000 }, \
         { above_units = 500000000, price_micro_per_million = 800000 }]",
    );
    let expected = [
        "tier 1: 500000000 × 1.000000 / M 500.00",
        "tier 2: 400000000 × 0.800000 / M 320.00",
        "usage 820.00",
        "tier_true_up -100.00",
        "total 720.00",
    ];
    assert_eq!(steps(&report.sections[0]), expected);
    let csv = vendor_report_csv(&report, Language::En).unwrap();
    let text = String::from_utf8(csv).unwrap();
    let text = text.strip_prefix('\u{feff}').unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let section = &report.sections[0];
    assert_eq!(rows.len(), section.usage.len() + section.steps.len() + 1);
    assert!(rows.iter().all(|row| row.len() == 14 && &row[1] == "acme" && &row[2] == "2026-10"));
    assert_eq!((&rows.last().unwrap()[0], &rows.last().unwrap()[13]), ("total", "763.20"));
    let chinese = String::from_utf8(vendor_report_csv(&report, Language::Zh).unwrap()).unwrap();
    assert!(chinese.contains("阶梯补差") && chinese.contains("价税合计"), "{chinese}");
}
