//! The state of all partitions, parted anew: together the parts are the whole, and nothing of it is
//! lost, doubled or at the wrong place.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tally_schemas::partition_of;

use super::resolutions::put;
use super::*;
use crate::core::partition::parting::NewObject;

/// Ten minutes, which a bucket of dedupe has.
const BUCKET_MS: i64 = 600_000;

fn member(partition: u32, partition_count: u32) -> Partition {
    let aggregate = AggregateConfig { dedupe_open_ms: 2 * 3_600_000, ..AggregateConfig::default() };
    let topic = "usage.events".to_owned();
    let config = PartitionConfig { topic, partition, partition_count, log: None, aggregate };
    Partition::new(config, ReferenceData::shipped().unwrap(), 0)
}

/// An event of an account, so many buckets before the newest.
fn sent(number: usize, account: u8, buckets_ago: u8) -> String {
    event(|event| {
        event["id"] = format!("{number}").into();
        event["account"] = format!("A{account}").into();
        event["completed_at"] = (AT - i64::from(buckets_ago) * BUCKET_MS).into();
    })
}

/// Offers a value, with the segments that it needs.
fn offer_with(partition: &mut Partition, value: &str, stored: &BTreeMap<String, bytes::Bytes>) {
    let offset = partition.next_offset();
    loop {
        let value = Some(value.as_bytes());
        let kind = RecordKind::Single;
        let record = Record { offset, timestamp_ms: AT, key: None, value, kind };
        match partition.push(record) {
            Ok(()) => return,
            Err(Need::Segments(need)) => {
                let of = |segment: &SegmentRef| stored[&segment.file.path].clone();
                let segments: Vec<bytes::Bytes> = need.segments.iter().map(of).collect();
                partition.provide(need.bucket, &segments).unwrap();
            }
            Err(Need::Reference(version)) => panic!("nobody named {version}"),
        }
    }
}

fn windows(partition: &Partition) -> BTreeSet<String> {
    partition.open_windows().map(|window| format!("{window:?}")).collect()
}

fn accounts(partition: &Partition) -> BTreeMap<String, Vec<u8>> {
    let all = partition.accounts.quota.all();
    all.map(|(name, bytes)| (name.to_owned(), bytes.into_owned())).collect()
}

proptest! {
    #[test]
    fn the_parts_are_the_whole(
        events in prop::collection::vec((0_u8..40, 0_u8..60), 1..120),
        // After how many events each an epoch ends.
        epoch in 5_usize..40,
        before in 1_u32..5,
        after in 1_u32..6,
        memory in prop::sample::select(vec![0_u64, 2_000, 1 << 30]),
    ) {
        let mut stored: BTreeMap<String, bytes::Bytes> = BTreeMap::new();
        let mut members: Vec<Partition> = (0..before).map(|p| member(p, before)).collect();
        let home = |account: &str, count: u32| partition_of(account, count) as usize;
        let mut values = Vec::new();
        for (number, (account, ago)) in events.iter().enumerate() {
            let value = sent(number, *account, *ago);
            let of = &mut members[home(&format!("A{account}"), before)];
            if ago % 7 == 0 {
                let command = command("purchase", "\"package\":\"telecom-10m\"")
                    .replace("\"A1\"", &format!("\"A{account}\""))
                    .replace("c-purchase", &format!("c{number}"));
                put(of, &command, AT);
            }
            offer_with(of, &value, &stored);
            values.push((*account, value));
            if number % epoch == epoch - 1 {
                for member in &mut members {
                    let segments = member.close().segments;
                    stored.extend(segments.into_iter().map(|(path, bytes)| (path, bytes.into())));
                }
            }
        }
        for member in &mut members {
            stored.extend(member.close().segments.into_iter().map(|(p, b)| (p, b.into())));
            member.config.aggregate.dedupe_open_max_bytes = memory;
        }
        let windows_before: BTreeSet<String> = members.iter().flat_map(windows).collect();
        let accounts_before: BTreeMap<String, Vec<u8>> =
            members.iter().flat_map(accounts).collect();
        let watermark = members.iter().map(|member| member.watermark_ms).max().unwrap();

        let mut whole = WholeState::of(members, "usage.events", after);
        let mut keep = |(path, bytes): NewObject| stored.insert(path, bytes);
        whole.seal().into_iter().for_each(|object| drop(keep(object)));
        for (bucket, segments) in whole.scattered() {
            let of = |segment: &SegmentRef| stored[&segment.file.path].clone();
            let bytes: Vec<bytes::Bytes> = segments.iter().map(of).collect();
            let (path, bytes) = whole.join(bucket, &bytes).unwrap();
            stored.insert(path, bytes);
        }
        prop_assert!(whole.scattered().is_empty());
        let mut parts: Vec<Partition> = (0..after).map(|p| member(p, after)).collect();
        for (part, base) in parts.iter_mut().zip(whole.parts()) {
            part.restore(&base, StateForm::Base).unwrap();
            prop_assert_eq!(part.watermark_ms, watermark);
        }
        // What they share is one segment a bucket, for who changes the count again.
        let shared = WholeState::of(parts.clone(), "usage.events", before);
        prop_assert!(shared.scattered().is_empty());
        let mut windows_after = BTreeSet::new();
        let mut accounts_after = BTreeMap::new();
        for (part, number) in parts.iter().zip(0..) {
            for window in part.open_windows() {
                prop_assert_eq!(partition_of(window.account, after), number);
            }
            for (name, bytes) in accounts(part) {
                prop_assert_eq!(partition_of(&name, after), number);
                prop_assert!(accounts_after.insert(name, bytes).is_none());
            }
            for window in windows(part) {
                prop_assert!(windows_after.insert(window));
            }
        }
        prop_assert_eq!(windows_after, windows_before);
        prop_assert_eq!(accounts_after, accounts_before);
        // Whatever came before is known, wherever it comes now.
        for (account, value) in &values {
            offer_with(&mut parts[home(&format!("A{account}"), after)], value, &stored);
        }
        let totals: Vec<ControlTotals> =
            parts.iter_mut().map(|part| part.close().totals).collect();
        let duplicates: u64 = totals.iter().map(|totals| totals.duplicates.events).sum();
        prop_assert_eq!(duplicates, values.len() as u64);
        // And what is new is taken.
        for number in 0..40_u8 {
            let value = sent(1_000 + usize::from(number), number, 0);
            offer_with(&mut parts[home(&format!("A{number}"), after)], &value, &stored);
        }
        let accepted: u64 =
            parts.iter_mut().map(|part| part.close().totals.accepted.events).sum();
        prop_assert_eq!(accepted, 40);
    }
}

/// What one partition that was behind still has is not looked for where the others' janitor has
/// removed it.
#[test]
fn segments_beyond_the_horizon_of_the_newest_watermark_are_not_read() {
    let of = |newest_ms: Option<i64>| {
        let mut members: Vec<Partition> = (0..3).map(|partition| member(partition, 3)).collect();
        for (member, number) in members.iter_mut().zip(0..) {
            let is_home = |account: &u8| partition_of(&format!("A{account}"), 3) == number;
            let account = (0..40).find(is_home).unwrap();
            member.dedupe.bound_memory(0);
            offer_with(member, &sent(usize::from(account), account, 0), &BTreeMap::new());
            assert_eq!(member.close().segments.len(), 1);
        }
        members[2].watermark_ms = newest_ms.max(members[2].watermark_ms);
        WholeState::of(members, "usage.events", 2).scattered().len()
    };
    let horizon_ms = 86_400_000 * AggregateConfig::default().dedupe_horizon_days.cast_signed();
    assert_eq!(of(None), 1);
    assert_eq!(of(Some(AT + horizon_ms + 2 * 86_400_000)), 0);
}

/// A row that was held back in another partition, under another count, is recycled once where its
/// account is now.
#[test]
fn what_was_held_back_before_is_recycled_where_its_account_is_now() {
    let raw = event(|event| {
        event["model"] = "nobody-1".into();
        event["usage"] = serde_json::json!({"input": 1_000, "output": 10});
    });
    let mut first = resolutions::unpriced(0, 1);
    let held = put(&mut first, &raw, AT);
    drop(first.close());
    let home = partition_of("A1", 5);
    assert!(home > 0, "an account that moves");
    let base = WholeState::of(vec![first], "usage.events", 5).parts().swap_remove(home as usize);
    let mut moved = resolutions::unpriced(home, 5);
    moved.restore(&base, StateForm::Base).unwrap();
    moved.next = 1_000_000;
    moved.set_reference(resolutions::reference(1)).unwrap();
    let record = resolutions::recycle(held, SuspenseReason::UnknownModel, &raw);
    // Without knowing where the topic begins, the row would be one of another partition.
    let mut unaware = moved.clone();
    put(&mut unaware, &record, AT);
    assert_eq!(unaware.close().totals.left_open, 1);
    moved.begin_topic_at(1_000_000);
    put(&mut moved, &record, AT);
    put(&mut moved, &record, AT);
    let totals = moved.close().totals;
    assert_eq!((totals.recycled.events, totals.duplicate_commands), (1, 1));
    assert_eq!(totals.left_open, 0);
}
