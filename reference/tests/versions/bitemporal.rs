//! Known time: whatever is imported and approved later, an earlier reader of the book reads what
//! was known then.

use proptest::prelude::*;
use tally_rating::RateCard;

use crate::world::{PRICE, World, at, noon, prices, yuan};

#[tokio::test]
async fn a_price_that_becomes_known_later_counts_from_then_on() {
    let world = World::new();
    let tomorrow = "2026-11-27T09:00:00+08:00";
    let list = prices(&[["a", "3", "2026-01-01", "", ""], ["a", "4", "2026-01-01", "", tomorrow]]);
    world.put_in_force(&list, noon()).await;
    let whole = world.whole().await;
    let known = at("2026-11-27T09:00:00");
    for (now, expected) in [(noon(), 3), (known - 1, 3), (known, 4), (known * 2, 4)] {
        let reader = whole.known_at_ms(now);
        assert_eq!(yuan(&whole, reader, noon()), Some(expected), "{now}");
        // A row says by which reading it was rated, and every reading can be had again.
        let version = |known_at| RateCard::new(&whole.book, Some(known_at)).version().to_owned();
        assert_eq!(version(reader) == whole.book.version(), now >= known, "{now}");
        assert!(whole.readings_ms().any(|reading| version(reading) == version(reader)));
        // Between two such times everybody reads the same.
        assert!(reader <= now && [noon(), known].contains(&reader), "{reader}");
    }
}

#[tokio::test]
async fn an_announcement_is_taken_back_by_a_version_that_is_never_in_force() {
    let world = World::new();
    let list = |to| {
        prices(&[["a", "3", "2026-01-01", "2026-12-01", ""], ["b", "9", "2026-12-01", to, ""]])
    };
    world.put_in_force(&prices(&[["a", "3", "2026-01-01", "", ""]]), noon()).await;
    world.put_in_force(&list(""), noon() + 10).await;
    let back =
        prices(&[["a", "3", "2026-01-01", "", ""], ["b", "9", "2026-12-01", "2026-12-01", ""]]);
    world.put_in_force(&back, noon() + 20).await;
    let whole = world.whole().await;
    let december = at("2026-12-05T00:00:00");
    assert_eq!(yuan(&whole, noon() + 5, december), Some(3));
    assert_eq!(yuan(&whole, noon() + 15, december), Some(9));
    assert_eq!(yuan(&whole, noon() + 25, december), Some(3));
}

/// An import: yuan, known from (hours from noon; none: from the approval), and when it is approved.
fn imports() -> impl Strategy<Value = Vec<(u8, Option<i8>, i8)>> {
    prop::collection::vec((1_u8..200, prop::option::of(-40_i8..40), -40_i8..40), 1..7)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn later_approvals_change_nothing_that_was_known(imports in imports()) {
        const HOUR: i64 = 3_600_000;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            // What a straight count says: (known from, order, yuan).
            let mut truth: Vec<(i64, i128)> = Vec::new();
            let mut last_approval = i64::MIN;
            for (yuan_of, known, hours) in imports {
                let now = noon() + i64::from(hours) * HOUR;
                let written = known.map(|hours| noon() + i64::from(hours) * HOUR);
                let known_text = written.map(tally_rating::instant_text).unwrap_or_default();
                let yuan_text = yuan_of.to_string();
                let list = prices(&[["a", &yuan_text, "2026-01-01", "", &known_text]]);
                let Ok(imported) = world.import(PRICE, "p.csv", &list, "alice", now).await else {
                    continue;
                };
                let Some(version) = imported.version else { continue };
                let Ok(approved) = world.store.approve(PRICE, version, "bob", now).await else {
                    // Two versions from one instant.
                    continue;
                };
                assert!(approved.approved_at_ms > last_approval);
                last_approval = approved.approved_at_ms;
                let known_from = written.unwrap_or(i64::MIN).max(last_approval);
                truth.push((known_from, i128::from(yuan_of)));
                let whole = world.whole().await;
                for hours in -60..60 {
                    let reader = noon() + hours * HOUR + 7;
                    let known = truth.iter().filter(|(from, _)| *from <= reader);
                    let expected = known.max_by_key(|(from, _)| *from).map(|(_, yuan)| *yuan);
                    assert_eq!(yuan(&whole, reader, noon()), expected, "{hours}: {truth:?}");
                }
            }
        });
    }
}
