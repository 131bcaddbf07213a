//! A period rated again, against statements: what a re-rate finds is what the statement of the other
//! rating comes to, less that of the stored one; posted once, and after another re-rate only what is
//! left. Amounts are whole cents whatever the form, so that nothing depends on what is rounded when.

#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeMap;

use tally_rating::{Book, BookFile, RateCard, parse_instant};
use tally_schemas::{CLASS_COUNT, Currency, TokenClass};
use tally_settlement::{
    Act, AdjustmentReason, Amounts, Books, BooksError, Bug, CallSpans, Cents, Contracts, Decision,
    Period, PriceLists, Proposal, RatedGroup, ReRate, ReRateAmount, ReRateInput, ReRated,
    ReRatedAmount, ReRatedGroup, Review, SealedStatement, Statement, StatementInput, plant,
};

const CASES: u64 = 1_500;
const CASES_PLANTED: u64 = 300;
const SEED: u64 = 20_261_127;
/// When each of three readings of the book is made.
const READINGS: [&str; 3] = ["2026-10-01", "2026-11-01", "2026-12-01"];
/// Yuan of a million units, by reading and model; multiples of 0.04.
const YUAN: [[&str; 3]; 3] = [
    ["1000000", "400000", "80000"],
    ["1240000", "400000", "40000"],
    ["960000", "1200000", "40000"],
];
const MODELS: [&str; 3] = ["m-1", "m-2", "n-3"];
const FORMS: [&str; 6] = [
    "form = \"price_list\"",
    "form = \"cost_plus\"\nmarkup_ppm = 500000",
    "form = \"share_of_gross\"\nshare_ppm = 250000",
    "form = \"price_list\"\ntrial = { burden = \"shared\", vendor_ppm = 500000, packages = [\"free\"] }",
    "form = \"graduated_tiers\"\ntier_classes = [\"input\"]\n\
     tiers = [{ above_units = 0, price_micro_per_million = 1000000 }, \
     { above_units = 40000000, price_micro_per_million = 600000 }]",
    "form = \"all_units_tiers\"\ntier_classes = [\"input\"]\n\
     tiers = [{ above_units = 0, price_micro_per_million = 1000000 }, \
     { above_units = 40000000, price_micro_per_million = 600000 }]",
];

/// The next number of a series that a seed begins.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

fn october() -> Period {
    Period::parse("2026-10").unwrap()
}

/// The prices of every reading: input and output of each model, in two currencies.
struct Prices {
    lists: PriceLists,
    versions: Vec<String>,
}

impl Prices {
    fn new() -> Self {
        let mut text = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,time_basis,valid_from,known_from,approved_by,approved_at,service_tier\n".to_owned();
        for (known_from, yuan) in READINGS.iter().zip(YUAN) {
            for (model, yuan) in MODELS.iter().zip(yuan) {
                for class in ["input", "output"] {
                    let currency = if *model == "n-3" { "USD" } else { "CNY" };
                    text.push_str(&format!(
                        "{model}-{class},wholesale,acme,{model},{class},token,{currency},{yuan},completion,2026-01-01,{known_from},a,{known_from},*\n"
                    ));
                }
            }
        }
        let book = Book::read(&[BookFile { name: "prices.csv", text: &text }]).unwrap();
        let (mut lists, mut versions) = (PriceLists::default(), Vec::new());
        for reading in READINGS {
            let known_at_ms = parse_instant(reading).unwrap();
            lists.add_as_known(&book, known_at_ms);
            versions.push(RateCard::new(&book, Some(known_at_ms)).version().to_owned());
        }
        Self { lists, versions }
    }

    /// Events of a model as a reading rates them.
    fn rated(&self, base: &RatedGroup, model: usize, reading: usize) -> RatedGroup {
        let name = MODELS[model];
        let yuan: i128 = YUAN[reading][model].parse().unwrap();
        let ids: Vec<String> = [TokenClass::Input, TokenClass::Output]
            .iter()
            .filter(|class| base.units[class.index()] != 0)
            .map(|class| format!("{name}-{class}"))
            .collect();
        let units: i128 = base.units.iter().sum();
        RatedGroup {
            billed_model: name.to_owned(),
            price_ids: ids.join(","),
            price_book_version: self.versions[reading].clone(),
            currency: if name == "n-3" { Currency::parse("USD").unwrap() } else { Currency::CNY },
            wholesale_pico: yuan * units,
            ..base.clone()
        }
    }
}

fn contracts(numbers: &mut Numbers) -> Contracts {
    let terms = |id: &str, pattern: &str, form: &str| {
        format!(
            "[[terms]]\nid = \"{id}\"\nvendor = \"acme\"\nmodel_pattern = \"{pattern}\"\n{form}\ncurrency = \"CNY\"\n\
             tax_ppm = 0\nrounding = \"half_up\"\nvalid_from = \"2026-01-01\"\nknown_from = \"2026-01-01\"\n\
             approved_by = \"a\"\napproved_at = \"2026-01-01\"\n"
        )
    };
    let mut text = terms("all", "*", numbers.one_of(&FORMS));
    text.push_str(&terms("first", "m-1", numbers.one_of(&FORMS)));
    text.push_str(
        "[[fx]]\nfrom = \"USD\"\nto = \"CNY\"\nperiod = \"2026-10\"\nrate = \"7\"\ndate = \"2026-10-31\"\n\
         source = \"test\"\n",
    );
    Contracts::parse("terms.toml", &text).unwrap()
}

/// Usage, each with the model that it is billed as in each reading.
fn usage(numbers: &mut Numbers) -> Vec<(RatedGroup, [usize; 3])> {
    let count = 1 + numbers.below(12);
    let counted: Vec<_> = (0..count)
        .map(|_| {
            let mut units = [0; CLASS_COUNT];
            for class in [TokenClass::Input, TokenClass::Output] {
                units[class.index()] = i128::try_from(numbers.below(30)).unwrap() * 1_000_000;
            }
            units[TokenClass::Requests.index()] = 0;
            let paid = numbers.below(3) > 0;
            let model = numbers.below(3);
            let other = if numbers.below(4) == 0 { numbers.below(3) } else { model };
            let day = format!("2026-10-{:02}", 1 + numbers.below(31)).parse().unwrap();
            let base = RatedGroup {
                day,
                calls: CallSpans::of_day(day),
                vendor: "acme".into(),
                billed_model: String::new(),
                supplier: numbers.one_of(&["acme", "other"]).into(),
                service_tier: numbers.one_of(&["standard", "batch"]).into(),
                price_ids: String::new(),
                price_book_version: String::new(),
                currency: Currency::CNY,
                retail_price_ids: numbers.one_of(&["free", "gold", "gold,free"]).into(),
                retail_currency: paid.then_some(Currency::CNY),
                corrected: false,
                events: 1 + i64::try_from(numbers.below(9)).unwrap(),
                units,
                wholesale_pico: 0,
                retail_pico: if paid {
                    i128::try_from(numbers.below(500)).unwrap() * 40_000_000_000
                } else {
                    0
                },
            };
            (base, [model, other, numbers.below(3)])
        })
        .collect();
    // Some of it is taken back by corrections.
    let mut usage = counted.clone();
    for (base, models) in counted {
        if numbers.below(4) == 0 {
            usage.push((taken_back(&base), models));
        }
    }
    usage
}

fn taken_back(base: &RatedGroup) -> RatedGroup {
    RatedGroup {
        events: -base.events,
        units: base.units.map(|units| -units),
        retail_pico: -base.retail_pico,
        ..base.clone()
    }
}

type Posted = BTreeMap<(String, Option<String>), Cents>;

fn statement(contracts: &Contracts, prices: &Prices, groups: &[RatedGroup]) -> Statement {
    Statement::build(&StatementInput {
        vendor: "acme",
        period: october(),
        contracts,
        prices: &prices.lists,
        groups,
        earlier: &[],
        posted: &[],
    })
    .unwrap()
}

/// What each terms' section comes to.
fn totals(statement: &Statement) -> BTreeMap<String, i128> {
    statement.sections.iter().map(|s| (s.terms.clone(), s.total.net.0)).collect()
}

/// Rates a random month by the first reading, then again by the others, one after the other.
fn case(seed: u64, prices: &Prices) -> Result<usize, String> {
    let mut numbers = Numbers(seed);
    let contracts = contracts(&mut numbers);
    let usage = usage(&mut numbers);
    let rated = |reading: usize| -> Vec<RatedGroup> {
        usage.iter().map(|(base, models)| prices.rated(base, models[reading], reading)).collect()
    };
    let stored = rated(0);
    let sealed = statement(&contracts, prices, &stored);
    let mut posted = Posted::new();
    let mut posts = 0;
    // Back to what was stored at the end: everything that was posted is taken back.
    for reading in [1, 1, 2, 0] {
        let now = rated(reading);
        let groups: Vec<ReRatedGroup> = stored
            .iter()
            .cloned()
            .zip(now.iter().cloned())
            .map(|(before, after)| ReRatedGroup { before, after })
            .collect();
        let re_rate = ReRate::build(&ReRateInput {
            vendor: "acme",
            period: october(),
            contracts: &contracts,
            prices: &prices.lists,
            groups: &groups,
            statement: Some(&sealed),
            posted: &posted,
        })
        .map_err(|error| format!("seed {seed}: {error}"))?;
        for section in &re_rate.sections {
            let parts: i128 = section.lines.iter().map(|line| line.difference.0).sum();
            let whole = parts + section.tiers.0 + section.rounding.0;
            if whole != section.difference.0 {
                return Err(format!("seed {seed}: {whole} in parts, {}", section.difference.0));
            }
            for ReRateAmount { orig_line_id, to_post, .. } in &section.amounts {
                posts += usize::from(to_post.0 != 0);
                let key = (section.terms.clone(), orig_line_id.clone());
                posted.entry(key).or_default().0 += to_post.0;
            }
        }
        let (was, is) = (totals(&sealed), totals(&statement(&contracts, prices, &now)));
        for terms in ["all", "first"] {
            let of = |totals: &BTreeMap<String, i128>| totals.get(terms).copied().unwrap_or(0);
            let sum: i128 =
                posted.iter().filter(|((of, _), _)| of == terms).map(|(_, cents)| cents.0).sum();
            let expected = of(&is) - of(&was);
            if sum != expected {
                return Err(format!(
                    "seed {seed}: {terms} by reading {reading}: {sum} posted, the statements differ by {expected}"
                ));
            }
        }
    }
    // Posted twice, it posts nothing the second time; what is taken back leaves nothing on a line.
    match posted.values().find(|cents| cents.0 != 0) {
        Some(left) => Err(format!("seed {seed}: {left} is left of what was taken back")),
        None => Ok(posts),
    }
}

#[test]
fn a_re_rate_is_the_difference_of_two_statements() {
    println!("seeds from {SEED}");
    let prices = Prices::new();
    let posts: usize = (SEED..SEED + CASES)
        .map(|seed| case(seed, &prices).unwrap_or_else(|difference| panic!("{difference}")))
        .sum();
    assert!(posts > 5_000, "{posts} amounts were posted");
}

#[test]
fn planted_bugs_are_noticed() {
    let prices = Prices::new();
    // Whole cents leave nothing to be rounded: that one has a test of its own.
    let others = Bug::OF_RE_RATE.into_iter().filter(|bug| *bug != Bug::ReRateRoundingLost);
    for bug in others.chain([Bug::ReRatePostedAgain]) {
        plant(Some(bug));
        let noticed = (SEED..SEED + CASES_PLANTED).any(|seed| case(seed, &prices).is_err());
        plant(None);
        assert!(noticed, "{bug:?} goes unnoticed");
    }
}

/// Many lines of half a cent and less: together they are what all of them come to, rounded once.
fn small_differences() -> Vec<i128> {
    let prices = Prices::new();
    let contracts = Contracts::parse(
        "terms.toml",
        "[[terms]]\nid = \"all\"\nvendor = \"acme\"\nmodel_pattern = \"*\"\nform = \"price_list\"\n\
         currency = \"CNY\"\ntax_ppm = 0\nrounding = \"half_up\"\nvalid_from = \"2026-01-01\"\n\
         known_from = \"2026-01-01\"\napproved_by = \"a\"\napproved_at = \"2026-01-01\"\n",
    )
    .unwrap();
    let mut numbers = Numbers(SEED);
    let template = usage(&mut numbers).remove(0).0;
    let groups: Vec<ReRatedGroup> = (0..10)
        .map(|number| {
            let mut units = [0; CLASS_COUNT];
            // 0.24 yuan a million more: 0.0036 yuan.
            units[TokenClass::Input.index()] = 15_000;
            let base = RatedGroup { supplier: format!("s{number}"), units, ..template.clone() };
            ReRatedGroup { before: prices.rated(&base, 0, 0), after: prices.rated(&base, 0, 1) }
        })
        .collect();
    let before: Vec<RatedGroup> = groups.iter().map(|group| group.before.clone()).collect();
    let sealed = statement(&contracts, &prices, &before);
    let re_rate = ReRate::build(&ReRateInput {
        vendor: "acme",
        period: october(),
        contracts: &contracts,
        prices: &prices.lists,
        groups: &groups,
        statement: Some(&sealed),
        posted: &Posted::new(),
    })
    .unwrap();
    let section = &re_rate.sections[0];
    assert_eq!(section.lines.len(), 10);
    assert!(section.lines.iter().all(|line| line.difference.0 == 0 && line.on_statement));
    section.amounts.iter().map(|amount| amount.to_post.0).collect()
}

#[test]
fn what_rounding_leaves_is_posted() {
    assert_eq!(small_differences(), [4]);
    plant(Some(Bug::ReRateRoundingLost));
    let lost = small_differences();
    plant(None);
    assert_eq!(lost, [0; 0], "ReRateRoundingLost goes unnoticed");
}

/// Noon of 2026-12-01 in Shanghai.
const NOW_MS: i64 = 1_796_097_600_000;

/// Books of which October is closed.
fn books() -> Books {
    let mut books = Books::default();
    let statements = vec![SealedStatement {
        vendor: "acme".into(),
        sequence: 1,
        hash: "ab".into(),
        currency: "CNY".into(),
        total: Amounts::default(),
    }];
    let review = Review { period: october(), plan: "cd".into(), statements, adjustments: vec![] };
    for (act, by) in [(Act::Review(review), "ann"), (Act::DecideReview(decision(0)), "bob")] {
        let entry = books.entry(act, by, NOW_MS).unwrap();
        books.take(&entry).unwrap();
    }
    books
}

fn decision(of: u64) -> Decision {
    Decision { of, approve: true, note: String::new() }
}

fn proposal(lines: &[(Option<&str>, i128)]) -> Proposal {
    let lines: Vec<ReRatedAmount> = lines
        .iter()
        .map(|(line, cents)| ReRatedAmount {
            orig_line_id: line.map(str::to_owned),
            amount: Cents(*cents),
        })
        .collect();
    Proposal {
        vendor: "acme".into(),
        period: october().next(),
        terms: "all".into(),
        reason: AdjustmentReason::ReRate,
        amount: Cents(lines.iter().map(|line| line.amount.0).sum()),
        orig_period: Some(october()),
        orig_line_id: None,
        note: "rated again".into(),
        dispute: None,
        re_rate: Some(ReRated {
            known_at_ms: 1,
            reference: "2-ab".into(),
            price_book_version: "cd".into(),
            lines,
        }),
        billed: None,
    }
}

#[test]
fn a_re_rate_that_is_none_is_refused() {
    let books = books();
    let good = || proposal(&[(Some("L1"), 5), (None, -5)]);
    books.entry(Act::Adjust(good()), "ann", NOW_MS).unwrap();
    let refused = |proposal| books.entry(Act::Adjust(proposal), "ann", NOW_MS).unwrap_err();
    for (words, bad) in [
        ("comes to its lines", Proposal { amount: Cents(1), ..good() }),
        ("comes to its lines", proposal(&[])),
        ("a line twice", proposal(&[(Some("L1"), 5), (Some("L1"), 5)])),
        ("one of 0.00", proposal(&[(Some("L1"), 0)])),
        ("no period or another reason", Proposal { orig_period: None, ..good() }),
        (
            "no period or another reason",
            Proposal { reason: AdjustmentReason::TaxCorrection, ..good() },
        ),
    ] {
        let error = refused(bad).to_string().replace("does not come", "comes");
        assert!(error.contains(words), "{error}");
    }
    let open = Proposal { orig_period: Some(Period::parse("2026-09").unwrap()), ..good() };
    assert_eq!(refused(open), BooksError::OriginOpen(Period::parse("2026-09").unwrap()));
}

/// One at a time, by two people; it counts on the next statement, a row for each line; and the next
/// one is told what was posted.
#[test]
fn a_re_rate_waits_is_approved_and_counts_line_by_line() {
    let mut books = books();
    let act = Act::Adjust(proposal(&[(Some("L1"), 7), (None, -2)]));
    let entry = books.entry(act.clone(), "ann", NOW_MS).unwrap();
    assert_eq!(entry.format, 2);
    let bytes = entry.to_bytes().unwrap();
    let read = tally_settlement::JournalEntry::from_bytes("entry", &bytes).unwrap();
    assert_eq!(read, entry);
    // An entry of the old kind stays as it was written, byte for byte.
    let old = books.entry(
        Act::Adjust(Proposal { re_rate: None, ..proposal(&[(None, 1)]) }),
        "ann",
        NOW_MS,
    );
    let old = old.unwrap();
    assert!(
        old.format == 1
            && !String::from_utf8(old.to_bytes().unwrap()).unwrap().contains("\"re_rate\":")
    );
    books.take(&entry).unwrap();
    let waits = BooksError::ReRateWaits("ADJ-000002".into());
    assert_eq!(books.entry(act.clone(), "bob", NOW_MS).unwrap_err(), waits);
    assert_eq!(books.waiting_re_rate("acme", october()).unwrap().name(), "ADJ-000002");
    plant(Some(Bug::ReRateTwiceAtOnce));
    let twice = books.entry(act, "bob", NOW_MS);
    plant(None);
    assert!(twice.is_ok(), "ReRateTwiceAtOnce goes unnoticed");
    let own = books.entry(Act::DecideAdjustment(decision(2)), " Ann", NOW_MS).unwrap_err();
    assert!(own.to_string().contains("four eyes"), "{own}");
    let approved = books.entry(Act::DecideAdjustment(decision(2)), "bob", NOW_MS).unwrap();
    books.take(&approved).unwrap();
    let due = books.due(october().next()).flat_map(|state| state.posted());
    let rows: Vec<_> = due.map(|row| (row.id, row.orig_line_id, row.amount.0)).collect();
    let line = Some("L1".to_owned());
    let expected =
        [("ADJ-000002.0001".to_owned(), line.clone(), 7), ("ADJ-000002.0002".to_owned(), None, -2)];
    assert_eq!(rows, expected);
    let posted = books.re_rated("acme", october());
    let expected = [(("all".to_owned(), None), Cents(-2)), (("all".to_owned(), line), Cents(7))];
    assert_eq!(posted, expected.into());
    assert!(books.re_rated("acme", october().next()).is_empty());
    assert_eq!(tally_settlement::adjustment_of_part("ADJ-000002.0001"), "ADJ-000002");
}
