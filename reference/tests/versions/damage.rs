//! Flipped bytes: noticed, never another price (R20).

use bytes::Bytes;
use object_store::{ObjectStoreExt, path::Path};
use tally_reference::ErrorKind;

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
