//! What is wrong with a file is told with its place, everything at once; what is wrong with records
//! taken together is found by the lints.

#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use tally_rating::{
    Approval, Book, BookFile, BookLayer, Call, HoldReason, LaneKey, Lint, LintCode, RateCard, Side,
    parse_instant,
};
use tally_schemas::{TokenClass, UsageCounts};

const HEADER: &str = "price_id,side,contract_id,vendor,supplier,model_pattern,class,unit,currency,\
    price_micro_per_million,tier_basis,tier_from,tier_to,tier_mode,service_tier,region,calendar_id,windows,\
    time_basis,valid_from,valid_to,known_from,free,promotion,source,approved_by,approved_at\n";

/// A price list of one vendor's input tokens: id, price, calendar, windows, valid from, valid to,
/// promotion.
fn prices(rows: &[[&str; 7]]) -> String {
    let line = |[id, micro, calendar, windows, from, to, promotion]: &[&str; 7]| {
        format!(
            "{id},wholesale,,acme,,acme-1,input,token,CNY,{micro},,,,,,,{calendar},{windows},,{from},{to},\
             2026-01-01,,{promotion},test,,\n"
        )
    };
    HEADER.to_owned() + &rows.iter().map(line).collect::<String>()
}

fn defects(name: &str, text: &str) -> Vec<String> {
    Book::read(&[BookFile { name, text }]).unwrap_err().defects
}

/// The lints of a price list, beside a calendar of every day.
fn found_in(text: &str) -> Vec<Lint> {
    let calendars = "[[calendar]]\nid = \"all\"\nutc_offset = \"+08:00\"\ndays = \"all\"\nknown_from = \"2026-01-01\"\n";
    let files = [
        BookFile { name: "prices.csv", text },
        BookFile { name: "calendars.toml", text: calendars },
    ];
    Book::read(&files).unwrap().lint()
}

fn lints(text: &str) -> Vec<LintCode> {
    found_in(text).into_iter().map(|lint| lint.code).collect()
}

#[test]
fn every_defect_of_a_price_is_named_with_its_line() {
    let text = HEADER.to_owned()
        + "p1,purchase,,acme,,a*b,tokens,token,yuan,1.5,,5,,,,,,9-12,end,yesterday,,2026-01-01,,,,me,\n\
           p2,wholesale,,acme,,acme-1,input,request,CNY,0,context,10,10,,,,,,,2026-01-02,2026-01-01,2026-01-01,,,,,\n";
    let found = defects("list.csv", &text);
    for (line, field) in [
        (2, "side"),
        (2, "model_pattern"),
        (2, "class"),
        (2, "currency"),
        (2, "price_micro_per_million"),
        (2, "tier_basis"),
        (2, "windows"),
        (2, "time_basis"),
        (2, "valid_from"),
        (2, "approved_at"),
        (3, "unit"),
        (3, "free"),
        (3, "valid_to"),
        (3, "tier_to"),
    ] {
        let place = format!("list.csv, line {line}, p{}: {field}: ", line - 1);
        assert!(found.iter().any(|defect| defect.starts_with(&place)), "{place} not in {found:#?}");
    }
    assert_eq!(found.len(), 14, "{found:#?}");
}

#[test]
fn names_are_no_longer_than_those_of_events() {
    let alias = |vendor: &str| {
        format!(
            "[[alias]]\nid = \"a\"\nmodel = \"a\"\nvendor = \"{vendor}\"\nbilled_model = \"a\"\n\
             valid_from = \"2026-01-01\"\nknown_from = \"2026-01-01\"\n"
        )
    };
    let (text, too_long) = (alias(&"v".repeat(256)), alias(&"v".repeat(257)));
    Book::read(&[BookFile { name: "aliases.toml", text: &text }]).unwrap();
    assert_eq!(
        defects("aliases.toml", &too_long),
        ["aliases.toml, line 1, alias a: vendor: is longer than 256 bytes"]
    );
}

#[test]
fn unknown_columns_and_keys_are_named() {
    let text = HEADER.replace("region", "reigon")
        + "p1,wholesale,,a,,m,input,token,CNY,1,,,,,,,,,,2026-01-01,,2026-01-01,,,,,\n";
    assert!(defects("list.csv", &text).iter().any(|defect| defect.contains("reigon")));
    let text = "[[alias]]\nid = \"a\"\nmodel = \"a\"\nvendor = \"v\"\nbilled_model = \"a\"\nvalid_from = \"2026-01-01\"\nknown_from = \"2026-01-01\"\nvalidto = \"2026-01-02\"\n";
    assert!(defects("aliases.toml", text).iter().any(|defect| defect.contains("validto")));
}

#[test]
fn calendars_are_read_strictly() {
    let year = |year: &str| {
        format!(
            "[[calendar]]\nid = \"c\"\nutc_offset = \"8\"\ndays = \"some\"\nknown_from = \"2026-01-01\"\n[[calendar.year]]\nyear = 2026\nsource = \"notice\"\nholidays = [{year}]\n"
        )
    };
    for (holidays, words) in [
        ("\"2026-02-30\"", "is not a date"),
        ("\"2025-01-01\"", "not a range of days of the year"),
        ("\"2026-01-03..2026-01-01\"", "not a range of days of the year"),
        ("\"2026-01-01..2026-01-03\", \"2026-01-03\"", "named twice"),
        ("", "has no holidays"),
    ] {
        let found = defects("c.toml", &year(holidays));
        assert!(found.iter().any(|defect| defect.contains(words)), "{words} not in {found:#?}");
        assert!(found.iter().any(|defect| defect.contains("utc_offset")), "{found:#?}");
        assert!(found.iter().any(|defect| defect.contains("days:")), "{found:#?}");
    }
}

#[test]
fn overlaps_gaps_and_promotions_without_successor_are_found() {
    let open = |id, from, to| [id, "1", "", "", from, to, ""];
    let clean = prices(&[open("a", "2026-01-01", "2026-02-01"), open("b", "2026-02-01", "")]);
    assert_eq!(lints(&clean), []);
    let overlap = prices(&[open("a", "2026-01-01", "2026-02-02"), open("b", "2026-02-01", "")]);
    assert_eq!(lints(&overlap), [LintCode::Overlap]);
    let gap = prices(&[open("a", "2026-01-01", "2026-01-31"), open("b", "2026-02-01", "")]);
    assert_eq!(lints(&gap), [LintCode::Gap]);
    let promotion = prices(&[["a", "1", "", "", "2026-01-01", "2026-02-01", "true"]]);
    assert_eq!(lints(&promotion), [LintCode::PromotionWithoutSuccessor]);
    let windows = prices(&[["a", "1", "all", "09:00-12:00", "2026-01-01", "", ""]]);
    assert_eq!(lints(&windows), [LintCode::NoPriceOutsideWindows]);
    let peak = |windows| ["p", "2", "all", windows, "2026-01-01", "", ""];
    let base = ["o", "1", "", "", "2026-01-01", "", ""];
    assert_eq!(lints(&prices(&[base, peak("09:00-12:00")])), []);
    let second = ["q", "3", "all", "11:00-13:00", "2026-01-01", "", ""];
    assert_eq!(lints(&prices(&[base, peak("09:00-12:00"), second])), [LintCode::Overlap]);
    let unknown = ["p", "2", "none", "09:00-12:00", "2026-01-01", "", ""];
    assert_eq!(lints(&prices(&[base, unknown])), [LintCode::UnknownCalendar]);
    let twice = prices(&[open("a", "2026-01-01", ""), open("a", "2026-01-01", "")]);
    assert_eq!(lints(&twice), [LintCode::SameKnownTime]);
}

/// A price list of one vendor's input tokens in tiers of context: id, service tier, tier from and to,
/// windows, valid from and to.
fn tiered(rows: &[[&str; 7]]) -> String {
    let line = |[id, service, from, to, windows, begins, ends]: &[&str; 7]| {
        let basis = if from.is_empty() { "" } else { "context" };
        let calendar = if windows.is_empty() { "" } else { "all" };
        format!(
            "{id},wholesale,,acme,,acme-1,input,token,CNY,1,{basis},{from},{to},,{service},,{calendar},{windows},,\
             {begins},{ends},2026-01-01,,,test,,\n"
        )
    };
    HEADER.to_owned() + &rows.iter().map(line).collect::<String>()
}

#[test]
fn holes_between_tiers_are_found() {
    let tier = |id, from, to| [id, "", from, to, "", "2026-01-01", ""];
    let whole = [tier("a", "0", "32000"), tier("b", "32000", "64000"), tier("c", "64000", "")];
    assert_eq!(lints(&tiered(&whole)), []);
    // Above the last and below the first there may be nothing: such a call is held back.
    assert_eq!(lints(&tiered(&whole[1..2])), []);
    let hole = [whole[0], whole[2]];
    assert_eq!(lints(&tiered(&hole)), [LintCode::Gap]);
    let files = [BookFile { name: "p.csv", text: &tiered(&hole) }];
    assert_eq!(
        Book::read(&files).unwrap().lint()[0].what,
        "nothing holds from 2026-01-01T00:00:00+08:00 for a context of 32000 to 64000"
    );
    // What is less specific fills it.
    let any = ["d", "*", "", "", "", "2026-01-01", ""];
    assert_eq!(lints(&tiered(&[hole[0], hole[1], any])), []);
    let part = ["d", "*", "0", "50000", "", "2026-01-01", ""];
    assert_eq!(lints(&tiered(&[hole[0], hole[1], part])), [LintCode::Gap]);
    let later = ["d", "*", "", "", "", "2026-02-01", ""];
    assert_eq!(lints(&tiered(&[hole[0], hole[1], later])), [LintCode::Gap]);
    // A tier that goes while those around it stay.
    let goes = ["b", "", "32000", "64000", "", "2026-01-01", "2026-06-01"];
    assert_eq!(lints(&tiered(&[whole[0], goes, whole[2]])), [LintCode::Gap]);
    let comes = ["b", "", "32000", "64000", "", "2026-02-01", ""];
    assert_eq!(lints(&tiered(&[whole[0], comes, whole[2]])), [LintCode::Gap]);
}

#[test]
fn a_successor_of_some_tiers_alone_is_found() {
    let until = |id, from, to| [id, "", from, to, "", "2026-01-01", "2026-06-01"];
    let since = |id, from, to| [id, "", from, to, "", "2026-06-01", ""];
    let old = [until("a", "0", "32000"), until("b", "32000", "")];
    let with = |new: &[[&str; 7]]| lints(&tiered(&[&old, new].concat()));
    assert_eq!(with(&[]), [], "a list may end");
    assert_eq!(with(&[since("c", "0", "32000"), since("d", "32000", "")]), []);
    assert_eq!(with(&[since("c", "0", "50000"), since("d", "50000", "")]), []);
    assert_eq!(with(&[since("c", "", "")]), []);
    assert_eq!(with(&[since("c", "0", "32000")]), [LintCode::Gap]);
    assert_eq!(with(&[since("c", "32000", "")]), [LintCode::Gap]);
    assert_eq!(with(&[since("c", "0", "50000")]), [LintCode::Gap]);
    // Both parts of the second tier come too late, or one of them.
    let late = ["d", "", "50000", "", "", "2026-06-02", ""];
    assert_eq!(with(&[since("c", "0", "50000"), late]), [LintCode::Gap]);
    // A price for every context, and what follows only for some.
    let plain = ["a", "", "", "", "", "2026-01-01", "2026-06-01"];
    assert_eq!(lints(&tiered(&[plain, since("b", "0", "32000"), since("c", "32000", "")])), []);
    assert_eq!(lints(&tiered(&[plain, since("b", "0", "32000")])), [LintCode::Gap]);
}

#[test]
fn the_rest_of_the_day_needs_a_price_in_every_tier() {
    let peak = ["p", "", "", "", "09:00-12:00", "2026-01-01", ""];
    let base = |id, from, to| [id, "", from, to, "", "2026-01-01", ""];
    let whole = [peak, base("a", "0", "32000"), base("b", "32000", "")];
    assert_eq!(lints(&tiered(&whole)), []);
    assert_eq!(lints(&tiered(&whole[..2])), [LintCode::NoPriceOutsideWindows]);
}

/// What less specific prices hold is no gap, and what they do not hold is one.
#[test]
fn less_specific_prices_fill_gaps_together_and_only_where_they_hold() {
    let found = |rows: &[[&str; 7]], basis: &str| -> Vec<String> {
        let text = tiered(rows).replace("context,0,1000,", &format!("{basis},0,1000,"));
        let text = text.replace("context,1000,,", &format!("{basis},1000,,"));
        found_in(&text).iter().map(|lint| format!("{} {}", lint.code.name(), lint.what)).collect()
    };
    let gaps = |rows: &[[&str; 7]]| found(rows, "context");
    let since = |id, service, from, to| [id, service, from, to, "", "2026-01-01", ""];
    // Two tiers of a less specific price share a hole.
    let hole = [since("a", "priority", "0", "32000"), since("b", "priority", "64000", "")];
    let shared = [since("c", "*", "0", "50000"), since("d", "*", "50000", "")];
    let none: Vec<String> = Vec::new();
    assert_eq!(gaps(&[hole[0], hole[1], shared[0], shared[1]]), none);
    let rest = "gap nothing holds from 2026-01-01T00:00:00+08:00 for a context of 50000 to 64000";
    assert_eq!(gaps(&[hole[0], hole[1], shared[0]]), [rest]);
    // A tier of another basis is for some calls alone, unless there is one for every number.
    let other = [since("c", "*", "0", "1000"), since("d", "*", "1000", "")];
    let whole = "gap nothing holds from 2026-01-01T00:00:00+08:00 for a context of 32000 to 64000";
    assert_eq!(found(&[hole[0], hole[1], other[0]], "output"), [whole]);
    assert_eq!(found(&[hole[0], hole[1], other[0], other[1]], "output"), none);
    // What follows leaves a tier to the less specific one, or comes late.
    let plain = ["a", "", "", "", "", "2026-01-01", "2026-06-01"];
    let large = ["b", "", "128000", "", "", "2026-06-01", ""];
    assert_eq!(gaps(&[plain, large, since("d", "*", "", "")]), none);
    assert_eq!(gaps(&[plain, large, since("d", "*", "0", "128000")]), none);
    assert_eq!(
        gaps(&[plain, large, since("d", "*", "0", "100000")]),
        [
            "gap what follows leaves out from 2026-06-01T00:00:00+08:00 on what it holds for a context of 100000 to 128000"
        ]
    );
    // And has to hold as long as that does.
    let short = ["d", "*", "0", "128000", "", "2026-01-01", "2026-06-15"];
    assert_eq!(
        gaps(&[plain, large, short]),
        [
            "gap what follows leaves out from 2026-06-15T00:00:00+08:00 on what it holds for a context of 0 to 128000"
        ]
    );
    let both_end = ["b", "", "128000", "", "", "2026-06-01", "2026-06-15"];
    assert_eq!(gaps(&[plain, both_end, short]), none);
    let late = ["b", "", "", "", "", "2026-07-01", ""];
    assert_eq!(gaps(&[plain, late, since("d", "*", "", "")]), none);
    let ends = ["d", "*", "", "", "", "2026-01-01", "2026-06-15"];
    assert_eq!(
        gaps(&[plain, late, ends]),
        ["gap nothing holds from 2026-06-15T00:00:00+08:00 to 2026-07-01T00:00:00+08:00"]
    );
    // The rest of the day.
    let peak = ["p", "", "", "", "09:00-12:00", "2026-01-01", ""];
    assert_eq!(gaps(&[peak, since("d", "*", "", "")]), none);
    assert_eq!(gaps(&[peak, since("c", "*", "0", "50000"), since("d", "*", "50000", "")]), none);
    assert_eq!(
        gaps(&[peak, ends]),
        [
            "no_price_outside_windows nothing holds outside its windows from 2026-06-15T00:00:00+08:00"
        ]
    );
}

/// What subscribers pay is in packages and tariffs. One that is there already can be taken back, and
/// keeps nobody from approving something else.
#[test]
fn a_retail_price_is_found_where_it_is_new() {
    let retail = prices(&[["a", "1", "", "", "2026-01-01", "", ""]]).replace("wholesale", "retail");
    assert_eq!(lints(&retail), [LintCode::RetailPrice]);
    let cancelled = prices(&[["a", "1", "", "", "2026-01-01", "2026-01-01", ""]]);
    assert_eq!(lints(&cancelled.replace("wholesale", "retail")), []);
    let book = Book::read(&[BookFile { name: "p.csv", text: &retail }]).unwrap();
    let known = parse_instant("2026-01-01").unwrap();
    assert_eq!(book.lint_since(known).len(), 1);
    assert_eq!(book.lint_since(known + 1), vec![]);
    let words = book.lint()[0].to_string();
    assert_eq!(
        words,
        "p.csv, line 2: retail_price: a: nothing is charged by a price of the side retail; sell it as a package, or as a tariff of pay as you go, with weights for what its models count: tally package import"
    );
}

/// What a million input tokens of `acme-1` cost under contracts: pattern and discount of each.
fn discounted(contracts: &[(&str, u32)]) -> Result<i128, HoldReason> {
    let contract = |(pattern, ppm): &(&str, u32)| {
        format!(
            "[[contract]]\nid = \"{pattern}\"\nvendor = \"acme\"\nmodel_pattern = \"{pattern}\"\n\
             form = \"price_list\"\ndiscount_ppm = {ppm}\ncurrency = \"CNY\"\nvalid_from = \"2026-01-01\"\n\
             known_from = \"2026-01-01\"\napproved_by = \"a\"\napproved_at = \"2026-01-01\"\n"
        )
    };
    let list = prices(&[["a", "3000001", "", "", "2026-01-01", "", ""]])
        .replace("test,,", "test,a,2026-01-01");
    let contracts: String = contracts.iter().map(contract).collect();
    let files =
        [BookFile { name: "p.csv", text: &list }, BookFile { name: "c.toml", text: &contracts }];
    let card = RateCard::new(&Book::read(&files).unwrap(), None);
    let lane = card.lane(
        Side::Wholesale,
        &LaneKey {
            vendor: "acme",
            supplier: "acme",
            billed_model: "acme-1",
            service_tier: "standard",
            region: None,
        },
    );
    let mut usage = UsageCounts::default();
    usage.set(TokenClass::Input, 1_000_000);
    let at = parse_instant("2026-06-01").unwrap();
    let call = Call { usage: &usage, started_at_ms: at, completed_at_ms: at };
    card.rate(&lane, &call).map(|rated| rated.amount_pico).map_err(|held| held.reason)
}

#[test]
fn the_closest_contract_discounts_and_a_fraction_is_held_back() {
    const MILLION: i128 = 1_000_000;
    assert_eq!(discounted(&[]), Ok(3_000_001 * MILLION));
    assert_eq!(discounted(&[("*", 0), ("acme-1", 0)]), Ok(3_000_001 * MILLION));
    assert_eq!(discounted(&[("*", 500_000)]), Err(HoldReason::NoPrice));
    assert_eq!(discounted(&[("*", 500_000), ("acme-*", 0)]), Ok(3_000_001 * MILLION));
    assert_eq!(discounted(&[("acme-1", 0), ("acme-*", 500_000)]), Ok(3_000_001 * MILLION));
}

fn lints_of_toml(text: &str) -> Vec<Lint> {
    Book::read(&[BookFile { name: "book.toml", text }]).unwrap().lint()
}

#[test]
fn aliases_weights_and_contracts_that_overlap_are_found() {
    let alias = |id: &str, from: &str, known: &str| {
        format!(
            "[[alias]]\nid = \"{id}\"\nmodel = \"m\"\nvendor = \"{id}\"\nbilled_model = \"m\"\nvalid_from = \"{from}\"\nknown_from = \"{known}\"\n"
        )
    };
    let known = "2026-01-01";
    // An announcement goes before the plain name: not an overlap.
    let announced = alias("a", "2020-01-01", known) + &alias("b", "2026-06-01", known);
    assert_eq!(lints_of_toml(&announced), []);
    let twice = alias("a", "2026-06-01", known) + &alias("b", "2026-06-01", "2026-03-01");
    let found = lints_of_toml(&twice);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].code, found[0].place.as_str()), (LintCode::Overlap, "book.toml, line 1"));
    let weight = |from: &str, to: &str, windows: &str| {
        let hours = if windows.is_empty() {
            String::new()
        } else {
            format!("calendar_id = \"all\"\nwindows = \"{windows}\"\n")
        };
        format!(
            "[[weights.weight]]\nmodel_pattern = \"m*\"\nclass = \"input\"\nmicro_per_unit = 2\nvalid_from = \"{from}\"\nvalid_to = \"{to}\"\n{hours}"
        )
    };
    let table = "[[calendar]]\nid = \"all\"\nutc_offset = \"+08:00\"\ndays = \"all\"\nknown_from = \"2026-01-01\"\n[[weights]]\nid = \"w\"\nknown_from = \"2026-01-01\"\n";
    let with = |weights: [String; 2]| lints_of_toml(&(table.to_owned() + &weights.concat())).len();
    let base = weight("2026-01-01", "", "");
    assert_eq!(with([weight("2026-01-01", "2026-06-01", ""), weight("2026-06-01", "", "")]), 0);
    assert_eq!(with([weight("2026-01-01", "2026-06-02", ""), weight("2026-06-01", "", "")]), 1);
    assert_eq!(with([base.clone(), weight("2026-01-01", "", "09:00-12:00")]), 0);
    let hours = |windows: &str| weight("2026-01-01", "", windows);
    assert_eq!(with([hours("09:00-12:00"), hours("12:00-13:00")]), 0);
    assert_eq!(with([hours("09:00-12:00"), hours("11:59-13:00")]), 1);
}

#[test]
fn a_layer_is_known_from_its_approval_and_repeats_are_passed_over() {
    let noon = parse_instant("2026-11-26T12:00:00+08:00").unwrap();
    let text = |id: &str, micro: &str, known: &str| {
        prices(&[[id, micro, "", "", "2026-01-01", "", ""]])
            .replace("2026-01-01,,,test", &format!("{known},,,test"))
    };
    let read = |texts: &[(&str, Option<i64>)]| {
        let layers: Vec<BookLayer<'_>> = texts
            .iter()
            .map(|(text, approved)| BookLayer {
                files: vec![BookFile { name: "p.csv", text }],
                approval: approved.map(|at_ms| Approval { by: "bob".to_owned(), at_ms }),
            })
            .collect();
        Book::read_layers(&layers)
    };
    let first = text("a", "1", "2026-01-01");
    let later = text("a", "2", "");
    let book = read(&[(&first, None), (&first, Some(noon)), (&later, Some(noon + 1))]).unwrap();
    let versions: Vec<(u64, i64)> = book
        .prices()
        .iter()
        .map(|price| (price.micro_per_million, price.version.known_from_ms))
        .collect();
    assert_eq!(versions, [(1, parse_instant("2026-01-01").unwrap()), (2, noon + 1)]);
    assert_eq!(book.prices()[1].version.approved.as_ref().unwrap().by, "bob");
    // The same version with other words, and a book that lost one.
    let changed = text("a", "3", "2026-01-01");
    let bad = read(&[(&first, None), (&changed, Some(noon))]).unwrap_err();
    assert!(bad.defects[0].contains("nothing is overwritten"), "{bad}");
    let older = read(&[(&first, None)]).unwrap();
    assert_eq!(book.keeps(&older), Ok(()));
    assert!(older.keeps(&book).is_err());
    let cards = [&older, &book].map(|book| RateCard::new(book, None));
    assert_eq!(cards[1].lost_since(&cards[0]), None);
    let other = read(&[(&text("b", "1", "2026-01-01"), Some(noon))]).unwrap();
    let approved = read(&[(&first, Some(noon))]).unwrap();
    let lost = RateCard::new(&other, None).lost_since(&RateCard::new(&approved, None));
    assert_eq!(lost.as_deref(), Some("a"));
}
