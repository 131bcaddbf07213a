//! Flipped bytes: noticed, never another price (R20).

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};
use serde_json::{Value, json};
use tally_reference::{ErrorKind, seal};

use crate::world::{PRICE, World, noon, prices};

#[tokio::test]
async fn a_flipped_byte_of_anything_stored_is_noticed() {
    let world = World::new();
    world.put_in_force(&prices(&[["a", "3", "2026-01-01", "", ""]]), noon()).await;
    for path in [
        "reference/price/0000000001.json",
        "reference/editions/0000000001.json",
        "reference/contract/0000000000.json",
    ] {
        let path = Path::from(path);
        let whole = world.objects.get(&path).await.unwrap().bytes().await.unwrap();
        let step = (whole.len() / 200).max(1);
        for place in (0..whole.len()).step_by(step) {
            let mut flipped = whole.to_vec();
            flipped[place] ^= 1;
            world.objects.put(&path, Bytes::from(flipped).into()).await.unwrap();
            let error = world.store.newest_whole().await.expect_err("a flipped byte");
            assert_eq!(error.kind(), ErrorKind::Data, "{path} byte {place}: {error}");
        }
        world.objects.put(&path, whole.into()).await.unwrap();
    }
    world.whole().await;
    // Another version in the place of the approved one: it is not what was approved.
    let (approved, other) = ("reference/price/0000000001.json", World::new());
    other.put_in_force(&prices(&[["a", "2", "2026-01-01", "", ""]]), noon()).await;
    let bytes = other.objects.get(&Path::from(approved)).await.unwrap().bytes().await.unwrap();
    world.objects.put(&Path::from(approved), bytes.into()).await.unwrap();
    let error = world.store.newest_whole().await.unwrap_err();
    assert!(error.to_string().contains("not the one that was approved"), "{error}");
    assert!(world.store.contents(PRICE, 1, noon()).await.is_err());
}

/// R25: what a later build has stored is told from damage, by words that say what to do; and nothing
/// is stored beside it.
#[tokio::test]
async fn what_has_a_later_format_is_refused_with_what_to_do() {
    let world = World::new();
    world.put_in_force(&prices(&[["a", "3", "2026-01-01", "", ""]]), noon()).await;
    let list =
        async || -> Vec<ObjectMeta> { world.objects.list(None).try_collect().await.unwrap() };
    for (path, change) in [
        ("reference/price/0000000001.json", json!({"origin": "bought"})),
        ("reference/editions/0000000001.json", json!({"layers": {"price": 1}})),
    ] {
        let of_store = Path::from(path);
        let known = world.objects.get(&of_store).await.unwrap().bytes().await.unwrap();
        let mut later: Value = serde_json::from_slice(&known).unwrap();
        later.as_object_mut().unwrap().remove("checksum");
        later["format"] = json!(3);
        for (member, value) in change.as_object().unwrap() {
            later[member] = value.clone();
        }
        let later = seal(&later).unwrap();
        world.objects.put(&of_store, later.clone().into()).await.unwrap();
        let before = list().await;
        let words = format!("{path} has format 3, this build reads up to 2: upgrade");
        let text = prices(&[["b", "4", "2026-02-01", "", ""]]);
        for error in [
            world.store.newest_whole().await.unwrap_err(),
            world.import(PRICE, "prices.csv", &text, "alice", noon()).await.unwrap_err(),
            world.store.approve(PRICE, 1, "bob", noon()).await.unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::Usage, words.clone()));
        }
        assert_eq!(list().await, before);
        let stands = world.objects.get(&of_store).await.unwrap().bytes().await.unwrap();
        assert_eq!(stands, later);
        world.objects.put(&of_store, known.into()).await.unwrap();
    }
    world.whole().await;
}
