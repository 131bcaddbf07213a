//! Settlement terms and exchange rates: the same path as prices.

use tally_rating::TierMode;
use tally_reference::{ErrorKind, ReferenceError, ReferenceKind};
use tally_schemas::Currency;
use tally_settlement::{Form, Period};

use crate::world::{World, at, noon};

const KIND: ReferenceKind = ReferenceKind::Contract;

fn terms(id: &str, vendor: &str, tax_ppm: u32, more: &str) -> String {
    format!(
        "[[terms]]\nid = \"{id}\"\nvendor = \"{vendor}\"\nmodel_pattern = \"*\"\nform = \"price_list\"\n\
         currency = \"CNY\"\ntax_ppm = {tax_ppm}\nrounding = \"half_up\"\nvalid_from = \"2026-01-01\"\n{more}\n"
    )
}

fn rate(period: &str, rate: &str) -> String {
    format!(
        "[[fx]]\nfrom = \"USD\"\nto = \"CNY\"\nperiod = \"{period}\"\nrate = \"{rate}\"\n\
         date = \"{period}-28\"\nsource = \"State Administration of Foreign Exchange\"\n"
    )
}

async fn put_in_force(world: &World, name: &str, text: &str, now_ms: i64) -> u64 {
    let imported = world.import(KIND, name, text, "alice", now_ms).await.unwrap();
    assert!(imported.findings.is_empty(), "{:?}", imported.findings);
    let version = imported.version.unwrap();
    world.store.approve(KIND, version, "bob", now_ms).await.unwrap();
    version
}

fn codes(error: &ReferenceError) -> Vec<&str> {
    match error {
        ReferenceError::Refused { findings, .. } | ReferenceError::Unreadable(findings) => {
            findings.iter().map(|finding| finding.code.as_str()).collect()
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn terms_count_from_their_approval_by_somebody_else_on() {
    let world = World::new();
    let text = format!("{}{}", terms("q", "qwen", 60_000, ""), rate("2026-11", "7.0123"));
    let imported = world.import(KIND, "t.toml", &text, "Alice Wu", noon()).await.unwrap();
    let records: Vec<(&str, &str)> =
        imported.changes.iter().map(|change| (change.record, change.id.as_str())).collect();
    assert_eq!(records, [("terms", "q"), ("fx", "USD CNY 2026-11")]);
    assert!(imported.changes[0].now.contains("by price list in CNY, tax 6 % on top"));
    assert!(imported.changes[0].place.contains("t.toml, line 1"), "{:?}", imported.changes[0]);
    assert!(world.whole().await.terms.all_terms().is_empty());
    let same = world.store.approve(KIND, 1, "alice  wu", noon()).await.unwrap_err();
    assert_eq!(same.kind(), ErrorKind::Data);
    let book = world.whole().await.book.version().to_owned();
    world.store.approve(KIND, 1, "bob", noon() + 7).await.unwrap();
    let whole = world.whole().await;
    // Nothing that rates has changed: the same prices, by the same name.
    assert_eq!(whole.book.version(), book);
    let counting: Vec<_> = whole.terms.counting().collect();
    assert_eq!(counting[0].approval(), Some(("bob", noon() + 7)));
    assert_eq!(counting[0].known_from_ms, noon() + 7);
    assert_eq!(whole.terms.as_known(noon() + 6).counting().count(), 0);
    assert_ne!(whole.terms.as_known(noon() + 6).version(), whole.terms.version());
}

#[tokio::test]
async fn a_change_is_a_version_that_counts_once_it_is_known() {
    let world = World::new();
    put_in_force(&world, "a.toml", &terms("q", "qwen", 60_000, "minimum = \"1000.00\""), noon())
        .await;
    let later = at("2026-12-24T00:00:00");
    let more = "known_from = \"2026-12-24\"";
    let version =
        put_in_force(&world, "b.toml", &terms("q", "qwen", 90_000, more), noon() + 1).await;
    let contents = world.store.contents(KIND, version, noon()).await.unwrap();
    let change = &contents.changes[0];
    assert!(change.before.as_ref().unwrap().contains("minimum 1000.00"), "{change:?}");
    assert!(change.now.contains("tax 9 %") && change.known_from_ms == later, "{change:?}");
    let whole = world.whole().await;
    let tax = |known_at_ms| {
        let known = whole.terms.as_known(known_at_ms);
        known.terms("q").map(|terms| (terms.tax_ppm, terms.minimum.is_some()))
    };
    assert_eq!(tax(noon()), Some((60_000, true)));
    assert_eq!(tax(later - 1), Some((60_000, true)));
    assert_eq!(tax(later), Some((90_000, false)));
    // The same file again is nothing new; the same version with other figures is refused.
    let again = world.import(KIND, "b.toml", &terms("q", "qwen", 90_000, more), "al", noon()).await;
    assert_eq!(again.unwrap().version, None);
    let other = world.import(KIND, "c.toml", &terms("q", "qwen", 30_000, more), "al", noon()).await;
    let words = other.unwrap_err().to_string();
    assert!(words.contains("nothing is overwritten") && words.contains("tax 9 %"), "{words}");
}

#[tokio::test]
async fn a_rate_is_corrected_by_a_version_that_is_known_later() {
    let world = World::new();
    put_in_force(&world, "fx.toml", &rate("2026-11", "7.0123"), noon()).await;
    put_in_force(&world, "fx2.toml", &rate("2026-11", "7.0321"), noon() + 60_000).await;
    let whole = world.whole().await;
    let november = Period::parse("2026-11").unwrap();
    let [usd, cny] = ["USD", "CNY"].map(|code| Currency::parse(code).unwrap());
    let micro = |known_at_ms| {
        let known = whole.terms.as_known(known_at_ms);
        known.rate(usd, cny, november).map(|rate| rate.rate_micro)
    };
    assert_eq!(micro(noon()), Some(7_012_300));
    assert_eq!(micro(noon() + 60_000), Some(7_032_100));
    assert_eq!(micro(noon() - 1), None);
}

#[tokio::test]
async fn what_cannot_be_settled_by_is_refused_at_approval() {
    let world = World::new();
    put_in_force(&world, "a.toml", &terms("q", "qwen", 60_000, ""), noon()).await;
    for (code, text) in [
        ("overlap", terms("q2", "qwen", 60_000, "")),
        ("unknown_vendor", terms("n", "nobody", 60_000, "")),
        ("nonsense", terms("z", "zhipu", 600_000, "")),
        ("overlap", format!("{}{}", rate("2026-11", "7.0"), rate("2026-11", "7.1"))),
    ] {
        let imported = world.import(KIND, "t.toml", &text, "alice", noon()).await.unwrap();
        let version = imported.version.unwrap();
        let error = world.store.approve(KIND, version, "bob", noon()).await.unwrap_err();
        assert_eq!(codes(&error), [code], "{error}");
    }
    // A finding of before does not stand in the way of something else.
    put_in_force(&world, "b.toml", &terms("z", "zhipu", 60_000, ""), noon()).await;
    for (words, text) in [
        (
            "a file of its own",
            format!("{}[[contract]]\nid = \"c\"\n", terms("m", "minimax", 0, "")),
        ),
        ("tax_pmm is not known here", terms("m", "minimax", 0, "tax_pmm = 1")),
    ] {
        let error = world.import(KIND, "t.toml", &text, "alice", noon()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let text = terms("m", "minimax", 0, "");
    let error = world.import(ReferenceKind::Price, "t.toml", &text, "a", 1).await;
    assert!(matches!(error, Err(ReferenceError::Unreadable(_))));
}

#[tokio::test]
async fn terms_and_contracts_come_in_files_of_one_version() {
    let world = World::new();
    let contract = "[[contract]]\nid = \"qwen-list\"\nvendor = \"qwen\"\nmodel_pattern = \"*\"\n\
        form = \"price_list\"\ndiscount_ppm = 0\ncurrency = \"CNY\"\n\
        valid_from = \"2025-01-01T00:00:00+08:00\"\nvalid_to = \"2030-01-01T00:00:00+08:00\"\n";
    let tiers = "[[terms]]\nid = \"q\"\nvendor = \"qwen\"\nmodel_pattern = \"*\"\n\
        form = \"all_units_tiers\"\ntier_classes = [\"input\"]\n\
        tiers = [{ above_units = 0, price_micro_per_million = 1000000 }, { above_units = 1000000000, price_micro_per_million = 800000 }]\n\
        currency = \"CNY\"\ntax_ppm = 60000\nrounding = \"half_up\"\nvalid_from = \"2026-01-01\"\n";
    let files = [("c.toml", contract), ("t.toml", tiers)].map(|(name, text)| {
        tally_reference::StoredFile { name: name.to_owned(), text: text.to_owned() }
    });
    let origin = tally_reference::FileOrigin::Written;
    let new = tally_reference::NewFiles { kind: KIND, files: files.to_vec(), origin };
    let imported = world.store.import(&new, "alice", noon()).await.unwrap();
    let records: Vec<&str> = imported.changes.iter().map(|change| change.record).collect();
    assert_eq!(records, ["contract", "terms"]);
    assert!(imported.changes[1].now.contains("above 1000000000 at 0.8 a million"));
    world.store.approve(KIND, 1, "bob", noon()).await.unwrap();
    let whole = world.whole().await;
    let mode = |form: &Form| match form {
        Form::Tiers { mode, .. } => Some(*mode),
        _ => None,
    };
    assert_eq!(
        whole.terms.terms("q").and_then(|terms| mode(&terms.form)),
        Some(TierMode::AllUnits)
    );
    assert_eq!(whole.book.contracts().iter().filter(|c| c.version.id == "qwen-list").count(), 2);
}
