//! Terms in layers: what is known when, what a repetition changes, and a draft on top.

use tally_schemas::Currency;
use tally_settlement::{Bug, Contracts, Period, TermsFile, TermsLayer, is_terms_file, plant};

fn terms(id: &str, tax_ppm: u32, more: &str) -> String {
    format!(
        "[[terms]]\nid = \"{id}\"\nvendor = \"acme\"\nmodel_pattern = \"{id}*\"\nform = \"price_list\"\n\
         currency = \"CNY\"\ntax_ppm = {tax_ppm}\nrounding = \"half_up\"\nvalid_from = \"2026-01-01\"\n{more}\n"
    )
}

fn layer(text: &str, approved_at_ms: i64) -> TermsLayer {
    let files = vec![TermsFile { name: "t.toml".into(), text: text.to_owned() }];
    TermsLayer { files, approved_by: "bob".into(), approved_at_ms }
}

fn tax(contracts: &Contracts, id: &str) -> Option<u32> {
    contracts.terms(id).map(|terms| terms.tax_ppm)
}

#[test]
fn the_last_that_is_known_counts_and_nothing_is_known_before_its_approval() {
    let late = terms("a", 90_000, "known_from = \"2026-06-01\"");
    let early = terms("b", 10_000, "known_from = \"2020-01-01\"");
    let [begin, june] =
        ["2026-01-01", "2026-06-01"].map(|day| tally_rating::parse_instant(day).unwrap());
    let contracts = Contracts::read_layers(&[
        layer(&format!("{}{early}", terms("a", 60_000, "")), begin),
        layer(&late, begin + 1_000),
    ])
    .unwrap();
    let known = |at_ms| contracts.as_known(at_ms);
    let both = |at_ms| (tax(&known(at_ms), "a"), tax(&known(at_ms), "b"));
    assert_eq!(both(begin - 1), (None, None));
    assert_eq!(both(begin), (Some(60_000), Some(10_000)));
    assert_eq!((tax(&known(june - 1), "a"), tax(&known(june), "a")), (Some(60_000), Some(90_000)));
    // The version says as of when, where that is not everything; then it does not change any more.
    assert_eq!(known(june).version(), contracts.version());
    assert_eq!(known(begin + 1_000).version(), format!("{}@{begin}", contracts.version()));
    assert_eq!(known(begin + 1_000).version(), known(june - 1).version());
    plant(Some(Bug::KnownTimeIgnored));
    let noticed = tax(&known(june - 1), "a") != Some(60_000);
    plant(None);
    assert!(noticed, "a version that counts before it is known goes unnoticed");
}

#[test]
fn what_is_repeated_is_passed_over_and_nothing_is_overwritten() {
    let first = layer(&terms("a", 60_000, "known_from = \"2020-01-01\""), 1_000);
    let more = format!("{}{}", terms("a", 60_000, ""), terms("b", 0, ""));
    let both = Contracts::read_layers(&[first.clone(), layer(&more, 2_000)]).unwrap();
    assert_eq!(both.all_terms().len(), 2);
    assert_eq!(both.terms("a").and_then(|terms| terms.approval()), Some(("bob", 1_000)));
    let changes =
        both.changes_since(&Contracts::read_layers(std::slice::from_ref(&first)).unwrap());
    assert_eq!(changes.iter().map(|change| change.id.as_str()).collect::<Vec<_>>(), ["b"]);
    let other = layer(&terms("a", 70_000, "known_from = \"2020-01-01\""), 2_000);
    let bad = Contracts::read_layers(&[first, other]).unwrap_err().to_string();
    assert!(bad.contains("nothing is overwritten") && bad.contains("tax 6 %"), "{bad}");
}

#[test]
fn a_rate_is_corrected_for_who_reads_it_later() {
    let rate = |figure: &str| {
        format!(
            "[[fx]]\nfrom = \"USD\"\nto = \"CNY\"\nperiod = \"2026-10\"\nrate = \"{figure}\"\n\
             date = \"2026-10-30\"\nsource = \"SAFE\"\n"
        )
    };
    let layers = [layer(&rate("7.1"), 1_000), layer(&rate("7.2"), 2_000)];
    let contracts = Contracts::read_layers(&layers).unwrap();
    let [usd, cny] = ["USD", "CNY"].map(|code| Currency::parse(code).unwrap());
    let micro = |at_ms| {
        let known = contracts.as_known(at_ms);
        known.rate(usd, cny, Period::parse("2026-10").unwrap()).map(|rate| rate.rate_micro)
    };
    assert_eq!([micro(999), micro(1_999), micro(2_000)], [None, Some(7_100_000), Some(7_200_000)]);
    assert!(contracts.lint(&[]).is_empty());
    let twice = Contracts::read_layers(&[layer(&format!("{}{}", rate("7.1"), rate("7.2")), 1)]);
    assert_eq!(twice.unwrap().lint(&[]).len(), 1);
}

#[test]
fn a_draft_comes_on_top_and_is_printed_twice_alike() {
    let approved = Contracts::read_layers(&[layer(&terms("a", 60_000, ""), 1_000)]).unwrap();
    let text = terms("a", 90_000, "");
    let draft = |now_ms| approved.with_draft("d.toml", &text, now_ms).unwrap();
    assert_eq!(tax(&draft(5_000), "a"), Some(90_000));
    assert_eq!(draft(5_000).version(), draft(6_000).version());
    assert!(draft(5_000).version().starts_with(approved.version()));
    assert!(draft(5_000).layers().is_empty(), "a draft can be put into no plan");
    // A clock that is behind the approval's does not lose it.
    assert_eq!(tax(&draft(0), "a"), Some(90_000));
    let bad = approved.with_draft("d.toml", "[[terms]]\nid = 1\n", 5_000).unwrap_err();
    assert!(bad.to_string().contains("d.toml, line 2"), "{bad}");
}

#[test]
fn files_of_terms_are_told_from_those_that_rate() {
    assert!(is_terms_file(&terms("a", 0, "")) && is_terms_file("\u{feff}[[fx]]\n"));
    for other in ["", "[[contract]]\nid = \"c\"\n", "terms = [", "price_id,side\n"] {
        assert!(!is_terms_file(other), "{other}");
    }
}
