//! Stores from before packages had thresholds by default.

use tally_reference::ReferenceKind;

use crate::world::{World, noon};

const KIND: ReferenceKind = ReferenceKind::Package;

/// A package, with its `known_from` and its `thresholds` as lines, where it has them.
fn package(id: &str, known_from: &str, thresholds: &str) -> String {
    format!(
        "[[package]]\nid = \"{id}\"\ntitle = \"{id}\"\ntitle_en = \"{id}\"\nprice_micro = 9900000\ncurrency = \"CNY\"\nperiod = {{ months = 1 }}\nanchor = \"purchase\"\nallowance_micro = 10000000\nweights = \"default\"\nkind = \"paid\"\npriority = 1\nmodels = [\"*\"]\nrollover = \"none\"\noverflow = \"payg\"\nstacking = \"queue\"\nfunded_by = \"operator\"\nsource = \"test\"\nvalid_from = \"2026-01-01\"\n{known_from}{thresholds}\n"
    )
}

/// What was imported then is read again by each release. Without thresholds, with `[]` and with the
/// shipped list, approved one after the other: each keeps the versions that it had, and goes on.
#[tokio::test]
async fn what_was_approved_before_thresholds_had_a_default_keeps_its_versions() {
    let world = World::new();
    let dated = "known_from = \"2026-11-01\"\n";
    let shipped = "thresholds = [{ kind = \"percent_used\", at = 50 }, { kind = \"percent_used\", at = 80 }, { kind = \"percent_used\", at = 100 }]\n";
    let first = package("plain", "", "") + &package("dated", dated, "");
    // The whole file again because of a package more.
    let second = package("plain", "", shipped)
        + &package("dated", dated, "thresholds = []\n")
        + &package("more", "", "");
    let third = package("plain", "", "") + &package("dated", "", "thresholds = []\n");
    for (text, number) in [(&first, 1_u64), (&second, 2), (&third, 3)] {
        let now_ms = noon() + i64::try_from(number).unwrap();
        let imported = world.import(KIND, "p.toml", text, "alice", now_ms).await.unwrap();
        assert_eq!((imported.version, imported.findings), (Some(number), vec![]));
        world.store.approve(KIND, number, "bob", now_ms).await.unwrap();
    }
    let whole = world.whole().await;
    let versions = |id: &str| {
        let packages = whole.packages.packages().iter().filter(|package| package.id == id);
        packages
            .map(|package| (package.known_from_ms - noon(), package.thresholds.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(versions("plain"), [(1, 3), (2, 3), (3, 3)]);
    assert_eq!(versions("dated"), [(1, 3)]);
    assert_eq!(versions("more"), [(2, 3)]);
    // Each edition is read, as a partition does that goes on with what its predecessor used.
    let editions = world.store.every_whole().await.unwrap();
    for pair in editions.windows(2) {
        assert_eq!(pair[0].packages.is_kept_by(&pair[1].packages), Ok(()));
    }
    let again = world.import(KIND, "p.toml", &third, "alice", noon() + 9).await.unwrap();
    assert_eq!(again.version, None, "{:?}", again.changes);
}
