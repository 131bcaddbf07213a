//! Statements that foot, made up for the tests of every format.

use std::collections::BTreeMap;

use tally_documents::Issue;
use tally_schemas::Currency;
use tally_settlement::{
    Adjustment, AdjustmentReason, Amounts, Carry, Cents, ControlTotals, CutOff, FxLine, Language,
    Line, MinimumBalance, Period, PeriodState, Pico, PrepaymentBalance, Section, Statement,
    TierVolume, Units, amount_in_words,
};

/// Pico-currency of a hundredth.
const PICO_IN_CENT: i128 = 10_000_000_000;

pub(crate) fn period(text: &str) -> Period {
    Period::parse(text).unwrap()
}

/// Net, 6 % of tax, and both.
pub(crate) fn amounts(net: i128) -> Amounts {
    let tax = (net * 6 + net.signum() * 50) / 100;
    Amounts { net: Cents(net), tax: Cents(tax), gross: Cents(net + tax) }
}

pub(crate) fn line(number: usize, model: &str, class: &str, units: i128, price_micro: u64) -> Line {
    let listed = units * i128::from(price_micro);
    Line {
        id: format!("L{number:016x}"),
        model: model.to_owned(),
        class: class.to_owned(),
        supplier: "acme-cloud".to_owned(),
        service_tier: "standard".to_owned(),
        price_book_version: "a1b2c3d4e5f60718".to_owned(),
        price: format!("{model}-{class}-2026-09"),
        unit_price_micro: Some(price_micro),
        trial: false,
        units: Units(units),
        listed: Pico(listed),
        listed_currency: "CNY".to_owned(),
        amounts: amounts((listed + PICO_IN_CENT / 2).div_euclid(PICO_IN_CENT)),
    }
}

pub(crate) fn adjustment(id: &str, reason: AdjustmentReason, net: i128) -> Adjustment {
    Adjustment {
        id: id.to_owned(),
        reason,
        orig_period: None,
        orig_line_id: None,
        model: String::new(),
        class: String::new(),
        price: String::new(),
        units: Units(0),
        note: String::new(),
        posted_by: None,
        approved_by: None,
        amounts: amounts(net),
    }
}

fn plus(left: Amounts, right: Amounts) -> Amounts {
    left.plus(right).unwrap()
}

/// A section that foots, with a rounding line of so many hundredths.
pub(crate) fn section(
    terms: &str,
    lines: Vec<Line>,
    adjustments: Vec<Adjustment>,
    rounding: i128,
) -> Section {
    let rounding = Amounts { net: Cents(rounding), tax: Cents(0), gross: Cents(rounding) };
    let rows = lines.iter().map(|line| line.amounts);
    let rows = rows.chain(adjustments.iter().map(|row| row.amounts)).chain([rounding]);
    Section {
        terms: terms.to_owned(),
        models: "*".to_owned(),
        form: "price_list".to_owned(),
        tax_ppm: 60_000,
        rounding_mode: "half_up".to_owned(),
        total: rows.fold(Amounts::default(), plus),
        rounding,
        lines,
        adjustments,
        minimum: None,
        prepaid: None,
        tier_volumes: Vec::new(),
        fx: Vec::new(),
    }
}

pub(crate) fn statement(vendor: &str, sections: Vec<Section>) -> Statement {
    let total = sections.iter().map(|section| section.total).fold(Amounts::default(), plus);
    let mut control = ControlTotals {
        events: 12_345,
        late_events: 7,
        corrected_events: -2,
        ..ControlTotals::default()
    };
    for line in sections.iter().flat_map(|section| &section.lines) {
        control.units.entry(line.class.clone()).or_default().0 += line.units.0;
        control.wholesale.entry(line.listed_currency.clone()).or_default().0 += line.listed.0;
    }
    control.retail = BTreeMap::from([("CNY".to_owned(), Pico(9_876_543_210_123))]);
    Statement {
        schema: 1,
        vendor: vendor.to_owned(),
        period: period("2026-10"),
        sequence: 3,
        currency: "CNY".to_owned(),
        contracts_version: "7f1d0c4b9e2a6853".to_owned(),
        price_book_versions: vec!["a1b2c3d4e5f60718".to_owned()],
        control,
        sections,
        total,
        total_in_words: amount_in_words(total.gross, Currency::CNY),
    }
}

/// A few lines.
pub(crate) fn short() -> Statement {
    let lines = vec![
        line(1, "qwen3-max", "input", 9_876_543_210, 2_500_000),
        line(2, "qwen3-max", "output", 123_456_789, 10_000_000),
        Line { trial: true, ..line(3, "qwen3-max", "cached_input", 55, 25_000) },
    ];
    statement("qwen", vec![section("qwen-2026", lines, Vec::new(), 1)])
}

/// So many lines, of models whose names are long.
pub(crate) fn long(lines: usize) -> Statement {
    let classes = ["input", "cached_input", "cache_write_5m", "output", "requests"];
    let line = |number: usize| {
        let model = format!("deepseek-v4-flash-vision-exp-{:03}", number / classes.len());
        let units = 1_000_003 * i128::try_from(number % 977 + 1).unwrap();
        line(number, &model, classes[number % classes.len()], units, 2_000_000)
    };
    let lines = (0..lines).map(line).collect();
    statement("deepseek", vec![section("deepseek-2026", lines, Vec::new(), -1)])
}

/// Less is owed than was paid: adjustments of every kind, late usage, a dispute.
pub(crate) fn credit() -> Statement {
    let mut rows: Vec<Adjustment> = AdjustmentReason::ALL
        .iter()
        .enumerate()
        .map(|(number, reason)| adjustment(&format!("A{number:016x}"), *reason, -150_000))
        .collect();
    let late = Adjustment {
        orig_period: Some(period("2026-09")),
        orig_line_id: Some("L00000000000000aa".to_owned()),
        model: "glm-5".to_owned(),
        class: "output".to_owned(),
        price: "glm-5-output-2026-09".to_owned(),
        units: Units(1_234_567),
        ..adjustment("A-late", AdjustmentReason::LateUsage, 2_716)
    };
    let dispute = Adjustment {
        orig_period: Some(period("2026-08")),
        note: "争议 D-2026-0017：重复计费的请求，双方确认按我方数据结算。Credit for requests billed twice.".to_owned(),
        posted_by: Some("Wang Fang".to_owned()),
        approved_by: Some("李雷".to_owned()),
        ..adjustment("A-dispute", AdjustmentReason::DisputeCredit, -12_345_678)
    };
    rows.extend([late, dispute]);
    let lines = vec![line(1, "glm-5", "input", 3_000_000_000, 6_000_000)];
    statement("zhipu", vec![section("zhipu-2026", lines, rows, 0)])
}

/// Two contracts: a guaranteed minimum with what is carried, and advance payments with tiers and
/// dollars.
pub(crate) fn guarantee() -> Statement {
    let true_up = adjustment("A1", AdjustmentReason::MinimumGuaranteeTrueUp, 4_567_800);
    let lines = vec![line(1, "abab-7", "input", 777_777_777, 1_000_000)];
    let mut minimum = section("minimax-minimum-2026", lines, vec![true_up], 0);
    let carry = |of: &str, amount, to: &str| Carry {
        period: period(of),
        amount: Cents(amount),
        usable_to: period(to),
    };
    minimum.minimum = Some(MinimumBalance {
        minimum: Cents(10_000_000),
        opening: vec![carry("2026-07", 120_000, "2026-10"), carry("2026-09", 30_050, "2026-12")],
        expired: Cents(0),
        used: Cents(0),
        shortfall: Cents(4_567_800),
        closing: vec![carry("2026-09", 30_050, "2026-12"), carry("2026-10", 4_567_800, "2027-01")],
    });
    let drawn = adjustment("A2", AdjustmentReason::PrepaidDrawn, -2_000_000);
    let mut lines = vec![
        line(2, "abab-*", "units", 1_000_000_000, 1_000_000),
        line(3, "abab-*", "units", 500_000_000, 800_000),
    ];
    for line in &mut lines {
        line.listed_currency = "USD".to_owned();
    }
    let mut prepaid = section("minimax-prepaid-2026", lines, vec![drawn], 1);
    prepaid.form = "all_units_tiers".to_owned();
    prepaid.rounding_mode = "half_even".to_owned();
    prepaid.prepaid = Some(PrepaymentBalance {
        opening: Cents(5_000_000),
        paid: Cents(0),
        drawn: Cents(2_000_000),
        closing: Cents(3_000_000),
        paid_to_date: Cents(9_000_000),
    });
    let volume = |of: &str, units| TierVolume { period: period(of), units: Units(units) };
    prepaid.tier_volumes = vec![volume("2026-09", 12_000), volume("2026-10", 1_500_000_000)];
    prepaid.fx = vec![FxLine {
        from: "USD".to_owned(),
        to: "CNY".to_owned(),
        rate_micro: "7123400".to_owned(),
        date: "2026-10-31".to_owned(),
        source: "People's Bank of China".to_owned(),
        amount_from: Cents(140_000),
        amount_to: Cents(997_276),
    }];
    statement("minimax", vec![minimum, prepaid])
}

/// Texts that would be something else in a careless format.
pub(crate) fn hostile() -> Statement {
    let lines = vec![Line {
        supplier: "a,\"b\"\r\nc".to_owned(),
        ..line(1, "</style><script>alert(1)</script>&amp;", "input", 10_000_000, 1_000_000)
    }];
    let row = Adjustment {
        note: "=cmd|'/c calc'!A1 <img src=x> \u{1}\u{fffe}".to_owned(),
        ..adjustment("+1", AdjustmentReason::ReRate, 5)
    };
    statement("@v</title>}{\"", vec![section("=1+1", lines, vec![row], 0)])
}

/// Every kind of statement, by name.
pub(crate) fn every() -> Vec<(&'static str, Statement)> {
    vec![
        ("short", short()),
        ("long", long(200)),
        ("credit", credit()),
        ("guarantee", guarantee()),
        ("hostile", hostile()),
        ("nothing", statement("empty", Vec::new())),
    ]
}

const CUT_OFFS: [CutOff; 2] =
    [CutOff { partition: 0, epoch: 41 }, CutOff { partition: 1, epoch: 39 }];

/// A statement that is sealed.
pub(crate) fn sealed(statement: &Statement, language: Language) -> Issue<'_> {
    Issue { statement, state: PeriodState::Closed, cut_offs: &CUT_OFFS, notes: &[], language }
}

/// A statement that is not.
pub(crate) fn draft<'a>(
    statement: &'a Statement,
    notes: &'a [String],
    language: Language,
) -> Issue<'a> {
    Issue { statement, state: PeriodState::Open, cut_offs: &CUT_OFFS, notes, language }
}
