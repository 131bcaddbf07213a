//! What an earlier release let through: it keeps nothing else from being approved.

use object_store::{ObjectStoreExt, path::Path};
use tally_reference::{Edition, Layer, ReferenceError, ReferenceKind, seal, sealed_hash};

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

/// Approves the first candidate as a release without today's lints would have.
async fn approve_unseen(world: &World) {
    let begun = world.store.last_edition(0).await.unwrap().unwrap();
    let candidate = Path::from("reference/price/0000000001.json");
    let candidate = world.objects.get(&candidate).await.unwrap().bytes().await.unwrap();
    let mut layers = begun.edition.layers.clone();
    layers.push(Layer {
        kind: PRICE,
        version: 1,
        hash: sealed_hash(&candidate),
        approved_by: "bob".to_owned(),
        approved_at_ms: noon(),
    });
    let edition = Edition { format: 1, edition: 1, layers, previous: begun.hash };
    let path = Path::from("reference/editions/0000000001.json");
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
    approve_unseen(&world).await;
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
