//! What becomes a candidate, and what is said about it.

use tally_reference::{
    FileOrigin, NewFiles, ReferenceError, ReferenceKind, StoredFile, VersionState,
};

use crate::world::{PRICE, World, noon, prices};

#[tokio::test]
async fn what_is_approved_already_is_nothing_new() {
    let world = World::new();
    let list = prices(&[
        ["a", "3", "2026-01-01", "", ""],
        ["b", "4", "2025-01-01", "2026-01-01", "2026-02-01"],
    ]);
    world.put_in_force(&list, noon()).await;
    let again = world.import(PRICE, "p.csv", &list, "alice", noon() + 5).await.unwrap();
    assert_eq!((again.version, again.changes.len()), (None, 0));
    // What ships, under any name.
    for file in tally_rating::SHIPPED_PRICES {
        let again = world.import(PRICE, file.name, file.text, "alice", noon()).await.unwrap();
        assert_eq!(again.version, None, "{}: {:?}", file.name, again.changes);
    }
    let packages = tally_rating::SHIPPED_PACKAGES;
    let kind = ReferenceKind::Package;
    let again = world.import(kind, "p.toml", packages, "alice", noon()).await.unwrap();
    assert_eq!(again.version, None, "{:?}", again.changes);
}

#[tokio::test]
async fn the_same_version_with_other_content_is_refused() {
    let world = World::new();
    world.put_in_force(&prices(&[["a", "3", "2026-01-01", "", "2026-03-01"]]), noon()).await;
    let changed = prices(&[["a", "4", "2026-01-01", "", "2026-03-01"]]);
    let error = world.import(PRICE, "p.csv", &changed, "alice", noon()).await.unwrap_err();
    let words = error.to_string();
    assert!(matches!(error, ReferenceError::Unreadable(_)), "{words}");
    for part in ["p.csv, line 2", "nothing is overwritten", "later known_from"] {
        assert!(words.contains(part), "{part} in {words}");
    }
    // With a later known_from, or none, it is a new version.
    for known in ["2026-03-02", ""] {
        let newer = prices(&[["a", "4", "2026-01-01", "", known]]);
        let imported = world.import(PRICE, "p.csv", &newer, "alice", noon()).await.unwrap();
        let change = &imported.changes[0];
        assert!(change.before.as_ref().unwrap().contains(" 3 CNY"), "{change:?}");
        assert!(change.now.contains(" 4 CNY"), "{change:?}");
    }
    let cheaper =
        tally_rating::SHIPPED_PACKAGES.replacen("price_micro = 9900000", "price_micro = 1", 1);
    let kind = ReferenceKind::Package;
    let error = world.import(kind, "p.toml", &cheaper, "alice", noon()).await.unwrap_err();
    assert!(error.to_string().contains("telecom-10m"), "{error}");
}

#[tokio::test]
async fn every_problem_is_told_at_once_with_file_line_and_what_to_do() {
    let whole = World::new().whole().await;
    let mut list = prices(&[["a", "3", "2026-01-01", "", ""], ["b", "x", "2026-01-01", "", ""]]);
    list.push_str("c,buying,acme,acme-1,inputs,token,CNY,1,soon,,\n");
    let aliases = "# names\n[[alias]]\nid = \"n\"\nmodel = \"n\"\nvendor = \"v\"\nbilled_model = \"n\"\nvalid_from = \"2026-01-01\"\n\n[[alias]]\nid = \"m\"\nmodel = \"m\"\nvendr = \"v\"\nbilled_model = \"m\"\nvalid_from = \"2026-01-01\"\n";
    let file = |name: &str, text: &str| StoredFile { name: name.into(), text: text.into() };
    let lint = |files: Vec<StoredFile>| {
        let new = NewFiles { kind: PRICE, files, origin: FileOrigin::Written };
        new.lint(&whole, noon())
    };
    let found = lint(vec![file("p.csv", &list), file("a.toml", aliases)]).unwrap_err();
    for place in [
        "p.csv, line 3, b: price_micro_per_million: ",
        "p.csv, line 4, c: side: ",
        "p.csv, line 4, c: class: ",
        "p.csv, line 4, c: valid_from: ",
        "a.toml, line 9, alias m: ",
    ] {
        assert!(found.iter().any(|f| f.message.starts_with(place)), "{place} in {found:#?}");
    }
    // Records that are each right, and wrong together.
    let twice = "[[alias]]\nid = \"n1\"\nmodel = \"n\"\nvendor = \"v\"\nbilled_model = \"n\"\nvalid_from = \"2026-01-01\"\n\n[[alias]]\nid = \"n2\"\nmodel = \"n\"\nvendor = \"w\"\nbilled_model = \"n\"\nvalid_from = \"2026-01-01\"\n\n[[weights]]\nid = \"w\"\n[[weights.weight]]\nmodel_pattern = \"*\"\nclass = \"input\"\nmicro_per_unit = 1\nvalid_from = \"2026-01-01\"\n[[weights.weight]]\nmodel_pattern = \"*\"\nclass = \"input\"\nmicro_per_unit = 2\nvalid_from = \"2026-06-01\"\n";
    let overlap = prices(&[["a", "3", "2026-01-01", "", ""], ["b", "4", "2026-06-01", "", ""]]);
    let found = lint(vec![file("p.csv", &overlap), file("a.toml", twice)]).unwrap().findings;
    let mut places: Vec<&str> =
        found.iter().map(|f| f.message.split_once(": ").unwrap().0).collect();
    places.sort_unstable();
    assert_eq!(places, ["a.toml, line 1", "a.toml, line 15", "p.csv, line 2"], "{found:#?}");
    assert!(found.iter().all(|f| f.code == "overlap" && f.message.contains("; ")), "{found:#?}");
}

#[tokio::test]
async fn overlapping_contracts_are_found() {
    let world = World::new();
    let contract = |id: &str, pattern: &str, from: &str| {
        format!(
            "[[contract]]\nid = \"{id}\"\nvendor = \"acme\"\nmodel_pattern = \"{pattern}\"\nform = \"price_list\"\ncurrency = \"CNY\"\nvalid_from = \"{from}\"\n"
        )
    };
    let kind = ReferenceKind::Contract;
    let closer = contract("c1", "acme-*", "2026-01-01") + &contract("c2", "acme-1", "2026-01-01");
    let imported = world.import(kind, "c.toml", &closer, "alice", noon()).await.unwrap();
    assert_eq!(imported.findings, []);
    let both = contract("c1", "acme-*", "2026-01-01") + &contract("c2", "acme-*", "2026-06-01");
    let imported = world.import(kind, "c.toml", &both, "alice", noon()).await.unwrap();
    assert_eq!(imported.findings.len(), 1, "{:?}", imported.findings);
    assert_eq!(imported.findings[0].code, "overlap");
}

#[tokio::test]
async fn a_record_of_another_kind_is_sent_to_its_own_command() {
    let world = World::new();
    let contract = "[[contract]]\nid = \"acme\"\nvendor = \"acme\"\nmodel_pattern = \"*\"\nform = \"price_list\"\ncurrency = \"CNY\"\nvalid_from = \"2026-01-01\"\n";
    let error = world.import(PRICE, "c.toml", contract, "alice", noon()).await.unwrap_err();
    assert!(error.to_string().contains("tally contract import"), "{error}");
}

/// Packages and contracts have parts, which a table has no place for; a price list read as one of
/// them would say nothing.
#[tokio::test]
async fn packages_and_contracts_are_not_read_from_csv() {
    let world = World::new();
    let list = prices(&[["a", "3", "2026-01-01", "", ""]]);
    for (kind, name) in [(ReferenceKind::Package, "p.csv"), (ReferenceKind::Contract, "c.CSV")] {
        let error = world.import(kind, name, &list, "alice", noon()).await.unwrap_err();
        assert!(matches!(error, ReferenceError::Unreadable(_)), "{error}");
        let words = format!("{name}: {kind}s are read from TOML; CSV is for prices (tally price)");
        assert!(error.to_string().contains(&words), "{error}");
        assert_eq!(world.store.list(kind).await.unwrap().len(), 1, "nothing is stored");
    }
}

/// A package of its own that is weighed by the table `night`.
pub(crate) fn night_owl() -> String {
    let package = tally_rating::SHIPPED_PACKAGES
        .split("[[package]]")
        .nth(1)
        .unwrap()
        .replacen("telecom-10m", "night-owl", 1)
        .replacen("weights = \"default\"", "weights = \"night\"", 1);
    format!("[[package]]{package}")
}

/// A version of the table `night`: `known_from`, and of each weight the time.
pub(crate) fn night(known_from: &str, weights: &[(&str, &str)]) -> String {
    let weight = |(from, to): &(&str, &str)| {
        format!(
            "[[weights.weight]]\nmodel_pattern = \"acme-*\"\nclass = \"output\"\n\
             micro_per_unit = 2000000\nvalid_from = \"{from}\"\nvalid_to = \"{to}\"\n"
        )
    };
    let table = format!("[[weights]]\nid = \"night\"\nknown_from = \"{known_from}\"\n");
    table + &weights.iter().map(weight).collect::<String>()
}

#[tokio::test]
async fn a_package_by_an_unknown_table_of_weights_cannot_be_approved() {
    let world = World::new();
    let (kind, text) = (ReferenceKind::Package, night_owl());
    let imported = world.import(kind, "p.toml", &text, "alice", noon()).await.unwrap();
    assert_eq!(imported.findings[0].code, "unknown_weights");
    assert!(imported.findings[0].message.starts_with("p.toml, line 1, night-owl"));
    assert!(world.store.approve(kind, 1, "bob", noon()).await.is_err());
    let weights = "[[weights]]\nid = \"night\"\n";
    world.import(PRICE, "w.toml", weights, "alice", noon()).await.unwrap();
    world.store.approve(PRICE, 1, "bob", noon()).await.unwrap();
    world.store.approve(kind, 1, "bob", noon()).await.unwrap();
    let whole = world.whole().await;
    let sold = whole.packages.packages().iter().find(|p| p.id == "night-owl").unwrap();
    // Not before somebody answered for it, whatever the file says.
    assert_eq!(sold.known_from_ms, noon() + 1);
    assert_eq!(sold.approved_by.as_deref(), Some("bob"));
}

/// Sold from today, and weighed by what is known from tomorrow, or by weights of which none is in
/// force at some time: usage would be held back, or count as if there were no weights. What was
/// bought on the last day of its sale is used after it.
#[tokio::test]
async fn a_package_whose_weights_do_not_hold_while_it_can_be_used_cannot_be_approved() {
    let (kind, text) = (ReferenceKind::Package, night_owl());
    let sold_from_tomorrow = text.replacen(
        "known_from = \"2025-01-01T00:00:00+08:00\"",
        "known_from = \"2026-11-27\"",
        1,
    );
    let sold_tomorrow = text.replacen(
        "valid_from = \"2025-01-01T00:00:00+08:00\"",
        "valid_from = \"2026-11-27\"\nvalid_to = \"2026-11-28\"",
        1,
    );
    let never_sold = sold_tomorrow.replacen("2026-11-28", "2026-11-27", 1);
    assert!(text != sold_from_tomorrow && text != sold_tomorrow && sold_tomorrow != never_sold);
    let late = "table night is known from 2026-11-27T00:00:00+08:00";
    let idle = |at: &str| format!("no weight of table night is in force at {at}:00:00+08:00");
    for (package, known_from, weights, found) in [
        (&text, "2026-11-27", &[("2026-01-01", "")][..], Some(late.to_owned())),
        (&text, "2026-11-27", &[], Some(late.to_owned())),
        (&sold_from_tomorrow, "2026-11-27", &[("2026-01-01", "")], None),
        (&sold_tomorrow, "2026-11-27", &[("2026-01-01", "")], None),
        (&text, "", &[], None),
        (&text, "", &[("2026-01-01", "")], None),
        (&text, "", &[("2026-11-27", "")], Some("no weight of table night is in force at".into())),
        (&sold_from_tomorrow, "", &[("2026-11-27", "")], None),
        (&text, "", &[("2026-01-01", "2026-12-01")], Some(idle("2026-12-01T00"))),
        (&text, "", &[("2026-01-01", "2026-12-01"), ("2026-12-01", "")], None),
        (
            &text,
            "",
            &[("2026-01-01", "2026-12-01"), ("2026-12-02", "")],
            Some(idle("2026-12-01T00")),
        ),
        (&sold_tomorrow, "", &[("2026-01-01", "")], None),
        (&sold_tomorrow, "", &[("2026-01-01", "2026-11-28")], Some(idle("2026-11-28T00"))),
        (&sold_tomorrow, "", &[("2026-01-01", "2027-06-01")], Some(idle("2027-06-01T00"))),
        (&never_sold, "", &[("2026-01-01", "2026-11-01")], None),
        (
            &sold_tomorrow,
            "",
            &[("2026-01-01", "2026-11-27T23:00:00+08:00")],
            Some(idle("2026-11-27T23")),
        ),
    ] {
        let world = World::new();
        let table = night(known_from, weights);
        let case = format!("{table}\n{package}");
        world.import(PRICE, "w.toml", &table, "alice", noon()).await.unwrap();
        world.store.approve(PRICE, 1, "bob", noon()).await.unwrap();
        let imported = world.import(kind, "p.toml", package, "alice", noon() + 1).await.unwrap();
        let told: Vec<&str> = imported.findings.iter().map(|f| f.message.as_str()).collect();
        let approved = world.store.approve(kind, 1, "bob", noon() + 1).await;
        match found {
            None => assert!(told.is_empty() && approved.is_ok(), "{told:?} of {case}"),
            Some(found) => {
                assert!(told.len() == 1 && told[0].contains(&found), "{told:?} of {case}");
                assert_eq!(imported.findings[0].code, "unknown_weights");
                assert!(approved.is_err(), "{case}");
            }
        }
    }
}

/// The same defect, brought by a later version of the table.
#[tokio::test]
async fn a_table_cannot_leave_a_package_that_is_sold_without_weights() {
    let world = World::new();
    let whole = night("", &[("2026-01-01", "")]);
    world.import(PRICE, "w.toml", &whole, "alice", noon()).await.unwrap();
    world.store.approve(PRICE, 1, "bob", noon()).await.unwrap();
    let kind = ReferenceKind::Package;
    world.import(kind, "p.toml", &night_owl(), "alice", noon() + 1).await.unwrap();
    world.store.approve(kind, 1, "bob", noon() + 1).await.unwrap();
    let ending = night("", &[("2026-01-01", "2026-12-01")]);
    let imported = world.import(PRICE, "w.toml", &ending, "alice", noon() + 2).await.unwrap();
    let codes: Vec<&str> = imported.findings.iter().map(|f| f.code.as_str()).collect();
    assert_eq!(codes, ["unknown_weights"], "{:?}", imported.findings);
    assert!(world.store.approve(PRICE, 2, "bob", noon() + 2).await.is_err());
    // What was so before keeps nothing else from being approved.
    world.put_in_force(&prices(&[["a", "3", "2026-01-01", "", ""]]), noon() + 3).await;
    let followed = night("", &[("2026-01-01", "2026-12-01"), ("2026-12-01", "")]);
    world.import(PRICE, "w.toml", &followed, "alice", noon() + 4).await.unwrap();
    world.store.approve(PRICE, 4, "bob", noon() + 4).await.unwrap();
}

#[tokio::test]
async fn a_version_shows_what_it_changed_even_after_others() {
    let world = World::new();
    let first = prices(&[["a", "3", "2026-01-01", "", ""]]);
    let one = world.put_in_force(&first, noon()).await;
    let two = world.put_in_force(&prices(&[["a", "5", "2026-01-01", "", ""]]), noon() + 5).await;
    let shown = world.store.contents(PRICE, one, noon() + 9).await.unwrap();
    assert_eq!((shown.row.state, shown.changes.len()), (VersionState::Approved, 1));
    assert_eq!(shown.changes[0].before, None);
    assert_eq!(shown.changes[0].known_from_ms, noon());
    let shown = world.store.contents(PRICE, two, noon() + 9).await.unwrap();
    assert!(shown.changes[0].before.as_ref().unwrap().contains(" 3 CNY"), "{shown:?}");
    assert_eq!(shown.findings, []);
    let file = StoredFile { name: "elsewhere.csv".into(), text: first };
    assert_eq!(world.store.version_of_file(PRICE, &file).await.unwrap(), one);
    let shipped = world.store.contents(PRICE, 0, noon()).await.unwrap();
    assert!(shipped.changes.len() > 250, "{}", shipped.changes.len());
}
