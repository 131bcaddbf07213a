//! What an earlier release let through: it keeps nothing else from being approved.

use object_store::{ObjectStoreExt, path::Path};
use tally_reference::{Edition, Layer, ReferenceError, ReferenceKind, seal, sealed_hash};

use crate::imports::{night, night_owl};
use crate::world::{PRICE, World, noon, prices};

/// A price list of a model's input tokens in tiers of context: id, yuan a million, from and to.
fn tiers(model: &str, rows: &[[&str; 4]]) -> String {
    let mut text = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,tier_basis,tier_from,tier_to,valid_from\n".to_owned();
    for [id, yuan, from, to] in rows {
        text.push_str(&format!(
            "{id},wholesale,acme,{model},input,token,CNY,{yuan}000000,context,{from},{to},2026-01-01\n"
        ));
    }
    text
}

/// Approves the first candidate of a kind as a release without today's lints would have.
async fn approve_unseen(world: &World, kind: ReferenceKind, approved_at_ms: i64) {
    let last = world.store.last_edition(0).await.unwrap().unwrap();
    let candidate = Path::from(format!("reference/{kind}/0000000001.json"));
    let candidate = world.objects.get(&candidate).await.unwrap().bytes().await.unwrap();
    let mut layers = last.edition.layers.clone();
    layers.push(Layer {
        kind,
        version: 1,
        hash: sealed_hash(&candidate),
        approved_by: "bob".to_owned(),
        approved_at_ms,
    });
    let number = last.edition.edition + 1;
    let edition = Edition { format: 1, edition: number, layers, previous: last.hash };
    let path = Path::from(format!("reference/editions/{number:010}.json"));
    world.objects.put(&path, seal(&edition).unwrap().into()).await.unwrap();
}

fn gaps(error: &ReferenceError) -> usize {
    let ReferenceError::Refused { findings, .. } = error else { panic!("{error}") };
    assert!(findings.iter().all(|finding| finding.code == "gap"), "{error}");
    findings.len()
}

#[tokio::test]
async fn a_hole_that_was_approved_keeps_nothing_else_from_being_approved() {
    let world = World::new();
    let holed = tiers("acme-2", &[["small", "3", "0", "32000"], ["large", "6", "64000", ""]]);
    let imported = world.import(PRICE, "p.csv", &holed, "alice", noon()).await.unwrap();
    assert_eq!(imported.findings.len(), 1, "{:?}", imported.findings);
    approve_unseen(&world, PRICE, noon()).await;
    let hole = imported.findings[0].message.clone();

    // Prices of something else, and a contract.
    world.put_in_force(&prices(&[["a", "3", "2026-01-01", "", ""]]), noon() + 1).await;
    let contract = "[[contract]]\nid = \"acme\"\nvendor = \"acme\"\nmodel_pattern = \"*\"\nform = \"price_list\"\ncurrency = \"CNY\"\nvalid_from = \"2026-01-01\"\n";
    let kind = ReferenceKind::Contract;
    let imported = world.import(kind, "c.toml", contract, "alice", noon() + 2).await.unwrap();
    assert_eq!(imported.findings, []);
    world.store.approve(kind, 1, "bob", noon() + 2).await.unwrap();

    // A hole of its own, and a hole that is made beside what is there.
    let another = tiers("acme-3", &[["b", "3", "0", "32000"], ["c", "6", "64000", ""]]);
    let imported = world.import(PRICE, "p.csv", &another, "alice", noon() + 3).await.unwrap();
    let error = world.store.approve(PRICE, imported.version.unwrap(), "bob", noon() + 3).await;
    assert_eq!(gaps(&error.unwrap_err()), 1);
    let whole = tiers("acme-4", &[["d", "3", "0", "32000"], ["e", "4", "32000", "64000"]])
        + "f,wholesale,acme,acme-4,input,token,CNY,6000000,context,64000,,2026-01-01\n";
    world.put_in_force(&whole, noon() + 4).await;
    let shorter = tiers("acme-4", &[["e", "4", "32000", "50000"]]);
    let imported = world.import(PRICE, "p.csv", &shorter, "alice", noon() + 5).await.unwrap();
    let error = world.store.approve(PRICE, imported.version.unwrap(), "bob", noon() + 5).await;
    assert_eq!(gaps(&error.unwrap_err()), 1);

    // The price with the hole anew, in the same place of a file of the same name; and filled.
    let again = holed.replacen("3000000", "4000000", 1);
    let imported = world.import(PRICE, "p.csv", &again, "alice", noon() + 6).await.unwrap();
    assert_eq!(imported.findings[0].message, hole);
    let error = world.store.approve(PRICE, imported.version.unwrap(), "bob", noon() + 6).await;
    assert_eq!(gaps(&error.unwrap_err()), 1);
    let filled = again
        + "middle,wholesale,acme,acme-2,input,token,CNY,5000000,context,32000,64000,2026-01-01\n";
    world.put_in_force(&filled, noon() + 7).await;
}

/// A package whose sale has ended, by a table that gets its weights a year at a time.
#[tokio::test]
async fn weights_that_end_later_than_before_are_approved() {
    let world = World::new();
    let until = |end: &str| night("", &[("2026-01-01", end)]);
    world.put_in_force(&prices(&[["a", "3", "2026-01-01", "", ""]]), noon()).await;
    let import = async |text: &str, later_ms: i64| {
        world.import(PRICE, "w.toml", text, "alice", noon() + later_ms).await.unwrap()
    };
    let approve = async |kind: ReferenceKind, version: Option<u64>, later_ms: i64| {
        world.store.approve(kind, version.unwrap(), "bob", noon() + later_ms).await
    };
    let version = import(&until("2027-01-01"), 1).await.version;
    approve(PRICE, version, 1).await.unwrap();
    let package = night_owl()
        .replacen("known_from = \"2025-01-01T00:00:00+08:00\"\n", "", 1)
        .replacen("valid_from", "valid_to = \"2026-12-20\"\nvalid_from", 1);
    let kind = ReferenceKind::Package;
    let imported = world.import(kind, "p.toml", &package, "alice", noon() + 2).await.unwrap();
    let [lack] = &imported.findings[..] else { panic!("{:?}", imported.findings) };
    let words = "no weight of table night is in force at 2027-01-01T00:00:00+08:00";
    assert!(lack.message.contains(words), "{lack:?}");
    approve_unseen(&world, kind, noon() + 2).await;

    for (number, end) in (2_i64..).zip(["2028-01-01", "2029-01-01"]) {
        let imported = import(&until(end), 2 * number).await;
        assert_eq!(imported.findings, [], "{end}");
        approve(PRICE, imported.version, 2 * number).await.unwrap();
    }
    let refused = |findings: &[tally_reference::Finding]| {
        findings.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>()
            == ["unknown_weights"]
    };
    // Weights that end sooner, and such as leave a hole before the end that there was.
    let hole = night("", &[("2026-01-01", "2028-06-01"), ("2028-07-01", "2030-01-01")]);
    for text in [until("2028-12-15"), hole] {
        let imported = import(&text, 8).await;
        assert!(refused(&imported.findings), "{:?}", imported.findings);
        assert!(approve(PRICE, imported.version, 8).await.is_err(), "{text}");
    }

    // Its sale may end sooner, and nothing else of it is approved anew.
    let sooner = package.replacen("2026-12-20", "2026-12-10", 1);
    for text in [package.replacen("2026-12-20", "2026-12-30", 1), sooner.replacen("990", "880", 1)]
    {
        assert!(text != package && text != sooner);
        let imported = world.import(kind, "p.toml", &text, "alice", noon() + 9).await.unwrap();
        assert!(refused(&imported.findings), "{:?}", imported.findings);
        assert!(approve(kind, imported.version, 9).await.is_err(), "{text}");
    }
    let imported = world.import(kind, "p.toml", &sooner, "alice", noon() + 10).await.unwrap();
    assert_eq!(imported.findings, []);
    approve(kind, imported.version, 10).await.unwrap();
}

/// What stands at one record is looked at where the other one comes anew.
#[tokio::test]
async fn a_discount_that_leaves_a_fraction_is_refused_anew() {
    let world = World::new();
    let price = prices(&[["a", "3", "2026-01-01", "", ""]]).replacen("3000000", "3000001", 1);
    world.put_in_force(&price, noon()).await;
    let kind = ReferenceKind::Contract;
    let contract = |id: &str, model: &str, ppm: u32| {
        format!(
            "[[contract]]\nid = \"{id}\"\nvendor = \"acme\"\nmodel_pattern = \"{model}\"\n\
             form = \"price_list\"\ndiscount_ppm = {ppm}\ncurrency = \"CNY\"\n\
             valid_from = \"2026-01-01\"\n"
        )
    };
    let import = async |text: &str, later_ms: i64| {
        let imported = world.import(kind, "c.toml", text, "alice", noon() + later_ms).await;
        let imported = imported.unwrap();
        let codes: Vec<String> = imported.findings.into_iter().map(|found| found.code).collect();
        (codes, imported.version.unwrap())
    };
    let (codes, _) = import(&contract("half", "acme-*", 500_000), 1).await;
    assert_eq!(codes, ["fractional_discount"]);
    approve_unseen(&world, kind, noon() + 1).await;
    // Of something else; and the same contract with another discount that leaves one.
    let (codes, version) = import(&contract("other", "other-1", 500_000), 2).await;
    assert_eq!(codes, Vec::<String>::new());
    world.store.approve(kind, version, "bob", noon() + 2).await.unwrap();
    let (codes, version) = import(&contract("half", "acme-*", 300_000), 3).await;
    assert_eq!(codes, ["fractional_discount"]);
    assert!(world.store.approve(kind, version, "bob", noon() + 3).await.is_err());
    let (codes, version) = import(&contract("half", "acme-*", 0), 4).await;
    assert_eq!(codes, Vec::<String>::new());
    world.store.approve(kind, version, "bob", noon() + 4).await.unwrap();
}
