//! Four eyes, and what an approval refuses.

use futures::future::join_all;
use tally_reference::{ErrorKind, ReferenceError, ReferenceKind, VersionState};

use crate::world::{PRICE, World, at, noon, prices, yuan};

fn codes(error: &ReferenceError) -> Vec<&str> {
    match error {
        ReferenceError::Refused { findings, .. } | ReferenceError::Unreadable(findings) => {
            findings.iter().map(|finding| finding.code.as_str()).collect()
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_store_begins_with_what_ships_approved_as_version_0() {
    let world = World::new();
    // Looking writes nothing.
    let before = world.whole().await;
    assert!(world.store.last_edition(0).await.unwrap().is_none());
    let rows = world.store.list(PRICE).await.unwrap();
    assert_eq!((rows.len(), rows[0].version, rows[0].state), (1, 0, VersionState::Approved));
    let begun = join_all((0..8).map(|_| world.store.begin(noon()))).await;
    for edition in begun {
        assert_eq!(edition.unwrap().edition.edition, 0);
    }
    let after = world.whole().await;
    assert_eq!(after.book.version(), before.book.version());
    assert_eq!(after.book.version(), tally_rating::Book::shipped().unwrap().version());
    assert_eq!(after.packages, before.packages);
}

#[tokio::test]
async fn a_candidate_rates_nothing_until_somebody_else_approves_it() {
    let world = World::new();
    let list = prices(&[["acme.in", "3", "2026-01-01", "", ""]]);
    let imported = world.import(PRICE, "p.csv", &list, "Alice Wu", noon()).await.unwrap();
    assert_eq!((imported.version, imported.changes.len()), (Some(1), 1));
    let later = noon() + 3_600_000;
    assert_eq!(yuan(&world.whole().await, later, noon()), None);
    for same in ["Alice Wu", "alice  wu", " ALICE WU "] {
        let error = world.store.approve(PRICE, 1, same, noon()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains("four eyes"), "{error}");
    }
    assert_eq!(yuan(&world.whole().await, later, noon()), None);
    let approved = world.store.approve(PRICE, 1, "bob", noon() + 5).await.unwrap();
    assert_eq!((approved.edition, approved.approved_at_ms), (1, noon() + 5));
    let whole = world.whole().await;
    assert_eq!(yuan(&whole, later, noon()), Some(3));
    // Known from the approval on, not from its valid_from.
    assert_eq!(yuan(&whole, noon() + 4, noon()), None);
    let rows = world.store.list(PRICE).await.unwrap();
    assert_eq!(rows[1].approved_by.as_deref(), Some("bob"));
    assert_eq!(rows[1].imported_by, "Alice Wu");
    let again = world.store.approve(PRICE, 1, "carol", noon()).await.unwrap_err();
    assert!(matches!(again, ReferenceError::AlreadyApproved { .. }), "{again}");
    let none = world.store.approve(PRICE, 9, "carol", noon()).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Usage);
}

#[tokio::test]
async fn an_overlap_is_refused_at_approval_and_a_closed_one_is_not() {
    let world = World::new();
    world.put_in_force(&prices(&[["a", "3", "2026-01-01", "", ""]]), noon()).await;
    let overlapping = prices(&[["b", "5", "2026-12-01", "", ""]]);
    let imported = world.import(PRICE, "dec.csv", &overlapping, "alice", noon()).await.unwrap();
    assert_eq!(imported.findings[0].code, "overlap");
    let error = world.store.approve(PRICE, 2, "bob", noon()).await.unwrap_err();
    assert_eq!(codes(&error), ["overlap"]);
    let words = error.to_string();
    assert!(words.contains("prices.csv, line 2") && words.contains("valid_to"), "{words}");
    assert_eq!(yuan(&world.whole().await, noon() * 2, at("2026-12-02T00:00:00")), Some(3));
    // The same price beside a version that ends the old one.
    let closed =
        prices(&[["a", "3", "2026-01-01", "2026-12-01", ""], ["b", "5", "2026-12-01", "", ""]]);
    world.put_in_force(&closed, noon() + 1_000).await;
    let whole = world.whole().await;
    let known = noon() + 1_000;
    assert_eq!(yuan(&whole, known, at("2026-11-30T23:59:59.999")), Some(3));
    assert_eq!(yuan(&whole, known, at("2026-12-01T00:00:00")), Some(5));
    // What the refused candidate has is there now.
    let error = world.store.approve(PRICE, 2, "bob", noon()).await.unwrap_err();
    assert_eq!(codes(&error), ["nothing_new"]);
}

#[tokio::test]
async fn a_gap_is_refused_at_approval() {
    let world = World::new();
    let gap =
        prices(&[["a", "3", "2026-01-01", "2026-02-01", ""], ["b", "5", "2026-02-02", "", ""]]);
    world.import(PRICE, "gap.csv", &gap, "alice", noon()).await.unwrap();
    let error = world.store.approve(PRICE, 1, "bob", noon()).await.unwrap_err();
    assert_eq!(codes(&error), ["gap"]);
}

/// Nobody would be charged by it; the candidate stays, to be looked at.
#[tokio::test]
async fn a_retail_price_is_refused_at_approval() {
    let world = World::new();
    let retail = prices(&[["acme.in", "3", "2026-01-01", "", ""]]).replace("wholesale", "retail");
    let imported = world.import(PRICE, "p.csv", &retail, "alice", noon()).await.unwrap();
    assert_eq!(imported.findings[0].code, "retail_price");
    let error = world.store.approve(PRICE, 1, "bob", noon()).await.unwrap_err();
    assert_eq!(codes(&error), ["retail_price"]);
    assert!(error.to_string().contains("tally package import"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_approvals_that_race_one_wins() {
    for round in 0..40 {
        let world = World::new();
        let list = |id| prices(&[[id, "3", "2026-01-01", "", ""]]);
        for id in ["a", "b"] {
            world.import(PRICE, "p.csv", &list(id), "alice", noon()).await.unwrap();
        }
        // Both versions are right alone and overlap together.
        let approvals = (0..8).map(|person| {
            let store = world.store.clone();
            tokio::spawn(async move {
                store.approve(PRICE, 1 + person % 2, &format!("bob {person}"), noon()).await
            })
        });
        let outcomes = join_all(approvals).await;
        let won = outcomes.iter().filter(|outcome| outcome.as_ref().unwrap().is_ok()).count();
        assert_eq!(won, 1, "round {round}");
        for error in outcomes.into_iter().filter_map(|outcome| outcome.unwrap().err()) {
            let expected = matches!(error, ReferenceError::AlreadyApproved { .. })
                || codes(&error) == ["overlap"];
            assert!(expected, "round {round}: {error}");
        }
        assert_eq!(world.store.last_edition(0).await.unwrap().unwrap().edition.edition, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvals_of_different_kinds_that_race_both_count() {
    let world = World::new();
    let contract = "[[contract]]\nid = \"acme\"\nvendor = \"acme\"\nmodel_pattern = \"acme-2\"\nform = \"price_list\"\ncurrency = \"CNY\"\nvalid_from = \"2026-01-01\"\n";
    world
        .import(PRICE, "p.csv", &prices(&[["a", "3", "2026-01-01", "", ""]]), "alice", noon())
        .await
        .unwrap();
    world.import(ReferenceKind::Contract, "c.toml", contract, "alice", noon()).await.unwrap();
    let approvals = [ReferenceKind::Price, ReferenceKind::Contract].map(|kind| {
        let store = world.store.clone();
        tokio::spawn(async move { store.approve(kind, 1, "bob", noon()).await })
    });
    for outcome in join_all(approvals).await {
        outcome.unwrap().unwrap();
    }
    let last = world.store.last_edition(0).await.unwrap().unwrap().edition;
    assert_eq!(last.edition, 2);
    // Each has an instant of its own, whatever the clocks said.
    assert!(last.layers[3].approved_at_ms < last.layers[4].approved_at_ms);
}

#[tokio::test]
async fn a_contract_that_leaves_fractions_of_a_listed_price_is_refused() {
    let world = World::new();
    let list = prices(&[["a", "3", "2026-01-01", "", ""]]).replace("3000000", "3000001");
    world.put_in_force(&list, noon()).await;
    let contract = "[[contract]]\nid = \"acme\"\nvendor = \"acme\"\nmodel_pattern = \"acme-*\"\nform = \"price_list\"\ndiscount_ppm = 500000\ncurrency = \"CNY\"\nvalid_from = \"2026-01-01\"\n";
    let kind = ReferenceKind::Contract;
    world.import(kind, "c.toml", contract, "alice", noon()).await.unwrap();
    let error = world.store.approve(kind, 1, "bob", noon()).await.unwrap_err();
    assert_eq!(codes(&error), ["fractional_discount"]);
}
