//! `verify`: a sound store passes, and each kind of damage is found by the check that is for it.

use tally_aggregate::ledger::{self, claim_entry};
use tally_query::{Check, Scanned, VerifyOptions, verify};
use tally_schemas::{EntryKind, LEDGER_FORMAT, LedgerEntry, LogPlace, MoveTarget, entry_path};

use crate::world::{PARTITIONS, Spoil, TOPIC, World};

async fn checks(world: &World, options: &VerifyOptions) -> Vec<Check> {
    let engine = world.engine().await;
    verify(&engine, options).await.unwrap().checks
}

fn failed(checks: &[Check]) -> Vec<&Check> {
    checks.iter().filter(|check| !check.ok).collect()
}

fn strict(world: &World) -> VerifyOptions {
    VerifyOptions { truth: Some(world.truth()), windows_closed: true, ..VerifyOptions::default() }
}

#[tokio::test]
async fn a_sound_store_passes() {
    let world = World::new().await;
    let checks = checks(&world, &strict(&world)).await;
    assert!(failed(&checks).is_empty(), "{:#?}", failed(&checks));
    assert_eq!(checks.len(), 53);
}

#[tokio::test]
async fn who_waits_is_told_how_far_the_checks_are() {
    let world = World::new().await;
    let engine = world.engine().await;
    assert_eq!(engine.scanned(), Scanned::default());
    let options = strict(&world);
    assert!(verify(&engine, &options).await.unwrap().passed());
    let last = options.parts.look();
    assert_eq!((last.name, last.done + 1), ("audit log", last.of));
    // What the queries were to read: more than once every event.
    let scanned = engine.scanned();
    assert!(scanned.of > 2 * u64::try_from(world.events.len()).unwrap(), "{scanned:?}");
}

#[tokio::test]
async fn an_empty_store_passes() {
    let mut world = World::new().await;
    world.store = std::sync::Arc::new(object_store::memory::InMemory::new());
    let checks = checks(&world, &VerifyOptions::default()).await;
    assert!(failed(&checks).is_empty(), "{:#?}", failed(&checks));
}

#[tokio::test]
async fn each_damage_is_found() {
    let damages: [(&str, Spoil, &str); 13] = [
        ("a token lost from the totals", |e| e.totals.accepted.tokens[0] -= 1, "I1"),
        ("an event lost from the totals", |e| e.totals.accepted.events -= 1, "I1"),
        ("a sum that does not add up", |e| e.cumulative.duplicates.events += 1, "I1"),
        ("a gap in the offsets", |e| e.from += 1, "I3"),
        ("another's hash", |e| e.previous = "00".to_owned(), "I3"),
        ("an owner without a claim", |e| e.owner = "zombie".to_owned(), "I3"),
        ("a claim with rows", |e| e.kind = EntryKind::Claim, "I3"),
        ("a watermark that falls", |e| e.watermark_ms = Some(1), "I11"),
        ("a file that is not listed", drop_file, "I1"),
        ("windows that are not listed", drop_windows, "I13"),
        ("a file listed with other rows", |e| e.files[0].rows += 1, "I10"),
        ("prices of another edition", |e| e.reference_version = "7-00@0".to_owned(), "I4"),
        ("an edition that is not there", |e| e.next_reference = "9-00@0".parse().ok(), "I4"),
    ];
    for (what, spoil, invariant) in damages {
        let world = World::spoilt(spoil).await;
        let checks = checks(&world, &VerifyOptions::default()).await;
        let failed = failed(&checks);
        assert!(
            failed.iter().any(|check| check.invariant == invariant),
            "{what}: expected {invariant}, found {failed:#?}"
        );
        assert!(failed.iter().all(|check| !check.findings.is_empty()));
    }
}

fn drop_file(entry: &mut LedgerEntry) {
    entry.files.remove(0);
}

fn drop_windows(entry: &mut LedgerEntry) {
    entry.files.retain(|file| file.table != "usage_by_subscriber");
}

/// Moves the stream to a topic of three partitions, of which these get their first entry.
async fn move_to_three(world: &World, carried_out: &[u32]) {
    let target = MoveTarget { topic: "usage.events.3".to_owned(), partition_count: 3 };
    let log = LogPlace { topic: target.topic.clone(), first_offset: 1_000_000 };
    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        let last = ledger::find_last(world.store.as_ref(), TOPIC, partition).await.unwrap();
        let mut frozen = claim_entry(TOPIC, partition, PARTITIONS, "m", last.as_ref(), 0, 9_000);
        frozen.format = LEDGER_FORMAT;
        frozen.kind = EntryKind::Frozen;
        frozen.moving_to = Some(target.clone());
        ends.push(world.append(frozen).await);
    }
    for partition in carried_out {
        let before = usize::try_from(*partition).ok().and_then(|at| ends.get(at));
        let mut moved = claim_entry(TOPIC, *partition, 3, "m", before, log.first_offset, 9_000);
        moved.format = LEDGER_FORMAT;
        moved.kind = EntryKind::Moved;
        moved.log = Some(log.clone());
        (moved.from, moved.to) = (log.first_offset, log.first_offset);
        moved.watermark_ms = ends[0].entry.watermark_ms;
        moved.next_reference = ends[0].entry.next_reference.clone();
        world.append(moved).await;
    }
}

#[tokio::test]
async fn a_change_of_the_partition_count_that_was_not_carried_out_is_found() {
    for (carried_out, waiting) in [
        (&[0, 1, 2][..], None),
        (&[0][..], Some("partitions [1, 2] have no entry")),
        (&[0, 1][..], Some("partitions [2] have no entry")),
        (&[0, 2][..], Some("partitions [1] have no entry")),
    ] {
        let world = World::new().await;
        move_to_three(&world, carried_out).await;
        let checks = checks(&world, &VerifyOptions::default()).await;
        let failed = failed(&checks);
        match waiting {
            None => assert!(failed.is_empty(), "{failed:#?}"),
            Some(words) => {
                assert_eq!(failed.len(), 1, "{failed:#?}");
                assert_eq!(failed[0].invariant, "I3");
                assert!(failed[0].findings[0].contains(words), "{failed:#?}");
            }
        }
    }
}

#[tokio::test]
async fn rows_published_twice_are_found() {
    // A later entry that lists the files of an earlier one again, under other names.
    let world = World::new().await;
    let path = object_store::path::Path::from(entry_path(TOPIC, 0, 2));
    let bytes = object_store::ObjectStoreExt::get(world.store.as_ref(), &path)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let mut entry: LedgerEntry = serde_json::from_slice(&bytes).unwrap();
    entry.n = 5;
    for file in &mut entry.files {
        let from = object_store::path::Path::from(tally_aggregate::object_path(file));
        file.path = file.path.replace(".parquet", "-again.parquet");
        let to = object_store::path::Path::from(tally_aggregate::object_path(file));
        object_store::ObjectStoreExt::copy(world.store.as_ref(), &from, &to).await.unwrap();
    }
    let bytes = ledger::encode(&entry).unwrap();
    world.put(&entry_path(TOPIC, 0, 5), bytes).await;
    world.publish().await;
    let checks = checks(&world, &VerifyOptions::default()).await;
    let failed = failed(&checks);
    assert!(failed.iter().any(|check| check.invariant == "I2"), "{failed:#?}");
    assert!(failed.iter().any(|check| check.invariant == "I10"), "{failed:#?}");
}

#[tokio::test]
async fn epochs_that_wait_for_publication_are_told_apart() {
    let world = World::new().await;
    let path = object_store::path::Path::from(entry_path(TOPIC, 0, 4));
    let bytes = object_store::ObjectStoreExt::get(world.store.as_ref(), &path)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let mut entry: LedgerEntry = serde_json::from_slice(&bytes).unwrap();
    entry.n = 5;
    entry.previous = ledger::hash_of(&bytes);
    entry.from = entry.to;
    entry.cumulative.merge(&entry.totals);
    for file in &mut entry.files {
        file.path = file.path.replace(".parquet", "-later.parquet");
    }
    let bytes = ledger::encode(&entry).unwrap();
    world.put(&entry_path(TOPIC, 0, 5), bytes).await;
    let waiting = checks(&world, &VerifyOptions::default()).await;
    assert_eq!(failed(&waiting).len(), 1, "{:#?}", failed(&waiting));
    let allowed = VerifyOptions { unpublished_allowed: true, ..VerifyOptions::default() };
    let waiting = checks(&world, &allowed).await;
    assert!(failed(&waiting).is_empty(), "{:#?}", failed(&waiting));
}

#[tokio::test]
async fn a_truth_that_differs_by_one_is_found() {
    let world = World::new().await;
    let mut options = strict(&world);
    let truth = options.truth.as_mut().unwrap();
    truth.accepted += 1;
    truth.suspended.insert("too_old".to_owned(), 1);
    truth.by_model[0].tokens.insert("input".to_owned(), "1".to_owned());
    let checks = checks(&world, &options).await;
    assert_eq!(failed(&checks).len(), 3, "{:#?}", failed(&checks));
}
