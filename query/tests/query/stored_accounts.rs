//! `verify` looks at the accounts in the stored state: an account that is lost, doubled, in another
//! partition, or whose buckets have other points left than their rows say, is found.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde_json::json;
use tally_aggregate::ledger::hash_of;
use tally_query::{Check, VerifyOptions, verify};
use tally_schemas::{
    ControlTotals, EntryKind, LEDGER_FORMAT, LedgerEntry, LogPlace, MoveTarget, StateFile,
    partition_of,
};

use crate::feed::{Feed, engine_over, first_edition, random, rows, settings, worked_out};

/// The two checks of accounts: homes and buckets.
async fn account_checks(feed: &Feed) -> [Check; 2] {
    let options = VerifyOptions { unpublished_allowed: true, ..VerifyOptions::default() };
    let engine = engine_over(&feed.store).await;
    let report = verify(&engine, &options).await.unwrap();
    let is_one = |check: &Check| check.invariant == "I9" && check.what.contains("stored state");
    let checks: Vec<Check> = report.checks.into_iter().filter(is_one).collect();
    println!("{checks:#?}");
    checks.try_into().unwrap()
}

/// What the two checks find.
async fn findings(feed: &Feed) -> [Vec<String>; 2] {
    account_checks(feed).await.map(|check| check.findings)
}

/// A bucket with points left by its rows: account, id, points as SQL shows them.
async fn bucket_with_points(feed: &Feed) -> (String, String, String) {
    let sql = "SELECT account, bucket, CAST(sum(points) AS VARCHAR) AS points FROM quota_ledger \
        WHERE bucket IS NOT NULL GROUP BY account, bucket \
        HAVING sum(points) > 0 AND min(points) < 0 AND sum(points) < max(points) \
        ORDER BY account, bucket LIMIT 1";
    let rows = rows(engine_over(&feed.store).await.as_ref(), sql).await;
    let cell = |name: &str| rows[0][name].as_str().unwrap().to_owned();
    (cell("account"), cell("bucket"), cell("points"))
}

/// A number of seven bits a byte, and the bytes that it has.
fn varint(bytes: &[u8]) -> (usize, usize) {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let value =
        bytes[..length].iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    (value, length)
}

/// Where the record of an account is in a state object: all of it, and what the account has.
fn record_of(bytes: &[u8], account: &str) -> Option<(Range<usize>, Range<usize>)> {
    let mut head = vec![5, u8::try_from(account.len()).unwrap()];
    head.extend_from_slice(account.as_bytes());
    // Accounts come last, behind windows that name them too.
    let start = bytes.windows(head.len()).rposition(|window| window == head)?;
    let (length, digits) = varint(&bytes[start + head.len()..]);
    let body = start + head.len() + digits;
    Some((start..body + length, body..body + length))
}

async fn object(feed: &Feed, file: &StateFile) -> Vec<u8> {
    let path = Path::from(file.path.as_str());
    feed.store.get(&path).await.unwrap().bytes().await.unwrap().to_vec()
}

fn state_files(entry: &LedgerEntry) -> Vec<StateFile> {
    entry.state.base.iter().chain(&entry.state.deltas).cloned().collect()
}

/// State objects of a partition, oldest first.
async fn objects(feed: &Feed, partition: u32) -> Vec<Vec<u8>> {
    let entry = last(feed, partition);
    let mut objects = Vec::new();
    for file in state_files(&entry) {
        objects.push(object(feed, &file).await);
    }
    objects
}

fn last(feed: &Feed, partition: u32) -> LedgerEntry {
    feed.last().find(|last| last.entry.partition == partition).unwrap().entry.clone()
}

/// Number of the newest state object that names an account, and its record there.
async fn newest_record(feed: &Feed, account: &str, partition: u32) -> (usize, Vec<u8>) {
    let objects = objects(feed, partition).await;
    let newest = objects.iter().enumerate().rev().find_map(|(number, bytes)| {
        let (record, _) = record_of(bytes, account)?;
        Some((number, bytes[record].to_vec()))
    });
    newest.unwrap()
}

/// An entry without rows after the last one of a partition, to be given another state.
fn without_rows(feed: &Feed, partition: u32) -> LedgerEntry {
    let before = feed.last().find(|last| last.entry.partition == partition).unwrap();
    let mut entry = before.entry.clone();
    (entry.n, entry.previous) = (entry.n + 1, before.hash.clone());
    entry.from = entry.to;
    entry.files.clear();
    entry.models.clear();
    entry.totals = ControlTotals::default();
    entry
}

/// Commits an entry whose state is that of the last one with every object changed.
async fn damage(feed: &mut Feed, partition: u32, change: impl Fn(usize, &mut Vec<u8>)) {
    let mut entry = without_rows(feed, partition);
    let state = &mut entry.state;
    for (number, file) in state.base.iter_mut().chain(&mut state.deltas).enumerate() {
        let mut bytes = object(feed, file).await;
        change(number, &mut bytes);
        let path = format!("{}-damaged", file.path);
        *file = StateFile { path, bytes: bytes.len() as u64, hash: hash_of(&bytes) };
        let payload = PutPayload::from(Bytes::from(bytes));
        feed.store.put(&Path::from(file.path.as_str()), payload).await.unwrap();
    }
    feed.commit_entry(entry).await;
}

/// Takes an account out of an object.
fn remove(bytes: &mut Vec<u8>, account: &str) {
    if let Some((record, _)) = record_of(bytes, account) {
        bytes.drain(record);
    }
}

/// Puts a record before the end of an object.
fn add(bytes: &mut Vec<u8>, record: &[u8]) {
    let end = bytes.pop();
    bytes.extend_from_slice(record);
    bytes.extend(end);
}

#[tokio::test]
async fn what_the_core_wrote_is_at_home_and_has_what_its_rows_say() {
    for (feed, partitions) in [(worked_out().await, 1), (random().await, 2)] {
        let looked_at = account_checks(&feed).await.map(|check| {
            assert!(check.ok, "{check:#?}");
            check.looked_at
        });
        let sql = "SELECT CAST(count(*) AS VARCHAR) AS n, CAST(count(DISTINCT account) AS VARCHAR) AS accounts \
            FROM (SELECT account, bucket FROM quota_ledger WHERE bucket IS NOT NULL \
            GROUP BY account, bucket HAVING sum(points) > 0)";
        let rows = rows(engine_over(&feed.store).await.as_ref(), sql).await;
        println!("with points left: {rows:?}");
        for (at, thing) in [(0, "accounts"), (1, "open buckets")] {
            let number = looked_at[at].strip_suffix(&format!(" {thing}")).unwrap();
            let number = number.strip_prefix(&format!("{partitions} partitions, ")).unwrap();
            let least = if at == 0 { &rows[0]["accounts"] } else { &rows[0]["n"] };
            let least: u32 = least.as_str().unwrap().parse().unwrap();
            assert!(least > 0 && number.parse::<u32>().unwrap() >= least, "{looked_at:?}");
        }
    }
}

#[tokio::test]
async fn what_deltas_say_holds_before_the_base() {
    let mut feed = random().await;
    for partition in 0..2 {
        let mut entry = without_rows(&feed, partition);
        // Both have one form.
        entry.state.base = Some(entry.state.deltas.remove(0));
        assert!(!entry.state.deltas.is_empty());
        feed.commit_entry(entry).await;
    }
    assert_eq!(findings(&feed).await, [Vec::<String>::new(), Vec::new()]);
}

#[tokio::test]
async fn state_is_compared_as_of_the_epoch_that_is_published() {
    let mut feed = worked_out().await;
    let glm = json!({"model": "glm-5", "usage": {"input": 1_000}});
    feed.event("A", "later", "2026-11-22T11:00:00+08:00", glm);
    feed.close().await;
    assert_eq!(findings(&feed).await, [Vec::<String>::new(), Vec::new()]);
    feed.publish().await;
    assert_eq!(findings(&feed).await, [Vec::<String>::new(), Vec::new()]);
}

#[tokio::test]
async fn an_account_that_state_has_lost_is_found() {
    let mut feed = random().await;
    let (account, bucket, points) = bucket_with_points(&feed).await;
    let home = partition_of(&account, 2);
    damage(&mut feed, home, |_, bytes| remove(bytes, &account)).await;
    let [homes, buckets] = findings(&feed).await;
    assert!(homes.is_empty());
    let words = format!(
        "partition {home} account {account} bucket {bucket}: not in the stored state, by quota_ledger {points} points are left"
    );
    assert!(buckets.contains(&words), "{words}");
}

#[tokio::test]
async fn an_account_that_is_doubled_in_another_partition_is_found() {
    let mut feed = random().await;
    let (account, bucket, points) = bucket_with_points(&feed).await;
    let home = partition_of(&account, 2);
    let (_, record) = newest_record(&feed, &account, home).await;
    damage(&mut feed, 1 - home, |number, bytes| {
        if number == 0 {
            add(bytes, &record);
        }
    })
    .await;
    let [homes, buckets] = findings(&feed).await;
    let other = 1 - home;
    assert_eq!(
        homes,
        [format!("partition {other} account {account}: its home is partition {home}")]
    );
    let words = format!(
        "partition {home} account {account} bucket {bucket}: 2 times in the stored state, with "
    );
    let found = buckets.iter().find(|finding| finding.starts_with(&words)).unwrap();
    assert!(found.ends_with(&format!(" points together, {points} by quota_ledger")), "{found}");
}

#[tokio::test]
async fn an_account_that_is_not_at_home_is_found() {
    let mut feed = random().await;
    let (account, ..) = bucket_with_points(&feed).await;
    let home = partition_of(&account, 2);
    let (_, record) = newest_record(&feed, &account, home).await;
    damage(&mut feed, home, |_, bytes| remove(bytes, &account)).await;
    damage(&mut feed, 1 - home, |number, bytes| {
        if number == 0 {
            add(bytes, &record);
        }
    })
    .await;
    let [homes, buckets] = findings(&feed).await;
    let other = 1 - home;
    assert_eq!(
        homes,
        [format!("partition {other} account {account}: its home is partition {home}")]
    );
    assert!(buckets.is_empty());
}

/// Lets a bucket have used one micro-point or one point more or less: whichever its number is written
/// in.
fn use_otherwise(body: &mut [u8], bucket: &str) {
    let mut id = vec![u8::try_from(bucket.len()).unwrap()];
    id.extend_from_slice(bucket.as_bytes());
    let start = body.windows(id.len()).position(|window| window == id).unwrap();
    // Behind the id and the package's hash: begin, end, allowance, price; then what is used.
    let mut at = start + id.len() + 8;
    for _ in 0..4 {
        at += varint(&body[at..]).1;
    }
    // The lowest bits are the sign and the unit.
    let lowest = body[at] & 0x7f;
    body[at] = body[at] & 0x80 | if lowest < 0x7c { lowest + 4 } else { lowest - 4 };
}

#[tokio::test]
async fn a_bucket_that_has_used_one_more_or_less_is_found() {
    let mut feed = random().await;
    let (account, bucket, points) = bucket_with_points(&feed).await;
    let home = partition_of(&account, 2);
    let (newest, _) = newest_record(&feed, &account, home).await;
    damage(&mut feed, home, |number, bytes| {
        if number == newest {
            let (_, body) = record_of(bytes, &account).unwrap();
            use_otherwise(&mut bytes[body], &bucket);
        }
    })
    .await;
    let [homes, buckets] = findings(&feed).await;
    assert!(homes.is_empty());
    let micro = |text: &str| text.replace('.', "").parse::<i128>().unwrap();
    let [found] = buckets.as_slice() else { panic!("one finding") };
    let head = format!("partition {home} account {account} bucket {bucket}: ");
    let tail = format!(" points are left by the stored state, {points} by quota_ledger");
    let stored = found.strip_prefix(&head).unwrap().strip_suffix(&tail).unwrap();
    assert!([1, 1_000_000].contains(&(micro(stored) - micro(&points)).abs()), "{found}");
}

#[tokio::test]
async fn a_used_up_bucket_that_cannot_have_closed_is_missed() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let reference = first_edition(&store).await;
    let mut feed = Feed::begin(store, 1, &settings(), &reference).await;
    let gift = json!({"command": "purchase", "id": "gift-1", "package": "mobile-gift-500k"});
    feed.command("GIFTED", "2026-11-20T08:00:00+08:00", gift);
    for second in 0..17 {
        let photo =
            json!({"model": "photo-cutout-1", "product": "photo-cutout", "usage": {"requests": 1}});
        let at = format!("2026-11-20T11:00:{second:02}+08:00");
        feed.event("GIFTED", &format!("photo-{second}"), &at, photo);
    }
    feed.close().await;
    feed.publish().await;
    assert_eq!(findings(&feed).await, [Vec::<String>::new(), Vec::new()]);
    damage(&mut feed, 0, |_, bytes| remove(bytes, "GIFTED")).await;
    let words = "partition 0 account GIFTED bucket gift-1: not in the stored state, by quota_ledger 0.000000 points are left";
    assert_eq!(findings(&feed).await, [vec![], vec![words.to_owned()]]);
}

#[tokio::test]
async fn a_closed_bucket_that_came_back_is_found() {
    let mut feed = worked_out().await;
    // F as it was before its bucket expired.
    let objects = objects(&feed, 0).await;
    let (record, _) = record_of(&objects[0], "F").unwrap();
    let record = objects[0][record].to_vec();
    damage(&mut feed, 0, |number, bytes| {
        if number + 1 == objects.len() {
            remove(bytes, "F");
            add(bytes, &record);
        }
    })
    .await;
    let [homes, buckets] = findings(&feed).await;
    assert!(homes.is_empty());
    let head = "partition 0 account F bucket buy-f: closed in quota_ledger, by the stored state ";
    assert!(buckets.len() == 1 && buckets[0].starts_with(head), "{head}");
}

/// Moves the stream to one partition: its state is that of both, one after the other.
async fn move_to_one(feed: &mut Feed, state_of: &[u32]) {
    let target = MoveTarget { topic: "usage.events.2".to_owned(), partition_count: 1 };
    let mut files = Vec::new();
    for partition in state_of {
        files.extend(state_files(&last(feed, *partition)));
    }
    for partition in [1, 0] {
        let mut frozen = without_rows(feed, partition);
        (frozen.format, frozen.kind) = (LEDGER_FORMAT, EntryKind::Frozen);
        frozen.moving_to = Some(target.clone());
        feed.commit_entry(frozen).await;
    }
    let mut moved = without_rows(feed, 0);
    (moved.kind, moved.moving_to, moved.partition_count) = (EntryKind::Moved, None, 1);
    moved.log = Some(LogPlace { topic: target.topic, first_offset: 1_000_000 });
    (moved.from, moved.to) = (1_000_000, 1_000_000);
    (moved.state.base, moved.state.deltas) = (None, files);
    feed.commit_entry(moved).await;
}

#[tokio::test]
async fn after_a_change_of_the_partition_count_state_is_that_of_now() {
    let mut feed = random().await;
    move_to_one(&mut feed, &[0, 1]).await;
    let checks = account_checks(&feed).await;
    assert!(checks.iter().all(|check| check.ok));
    assert!(checks[1].looked_at.starts_with("1 partitions, "), "{}", checks[1].looked_at);

    // Half of the accounts did not come.
    let mut feed = random().await;
    move_to_one(&mut feed, &[0]).await;
    let [homes, buckets] = findings(&feed).await;
    assert!(homes.is_empty());
    let head = "partition 0 account R";
    assert!(!buckets.is_empty() && buckets.iter().all(|finding| finding.starts_with(head)));
    assert!(buckets.iter().all(|finding| finding.contains(": not in the stored state, ")));
}
