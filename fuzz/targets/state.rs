//! Bytes as a state object and as a segment of dedupe: read or refused, and what is taken over is
//! what it says. After `R` come bytes as they are; anything else changes a real base or delta, three
//! bytes a change: how far to go on, what to do, and with which byte.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tally_aggregate::fuzzed::{FuzzedPartition, check_segment, check_state};
use tally_fuzz::{pieces, shipped};
use tally_log::RecordKind;

/// Records that leave some of everything in the state.
const RECORDS: &[u8] = include_bytes!("../seeds/partition/account");
const START_MS: i64 = 1_795_328_560_000;

fn objects() -> &'static [Vec<u8>] {
    static OBJECTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let mut partition = FuzzedPartition::new(shipped());
        let mut objects = Vec::new();
        for (piece, now_ms) in pieces(RECORDS).zip(START_MS..) {
            if piece == b"E" {
                partition.close(false).expect("the seed is sound");
                objects.extend(partition.stored_objects().last().map(<[u8]>::to_vec));
            } else {
                partition.push(Some(piece), RecordKind::Single, now_ms).expect("the seed is sound");
            }
        }
        assert!(objects.len() > 1, "the seed has epochs");
        objects
    });
    &OBJECTS
}

fuzz_target!(|bytes: &[u8]| {
    let object = match bytes.split_first() {
        Some((b'R', raw)) => raw.to_vec(),
        Some((number, changes)) => {
            let objects = objects();
            changed(objects[usize::from(*number) % objects.len()].clone(), changes)
        }
        None => return,
    };
    let checked = check_segment(&object).and_then(|()| check_state(&object, &shipped()));
    if let Err(why) = checked {
        panic!("{why}");
    }
});

fn changed(mut object: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    let mut at = 0;
    for change in changes.chunks_exact(3) {
        let [ahead, what, with] = [change[0], change[1], change[2]];
        if object.is_empty() {
            break;
        }
        at = (at + usize::from(ahead)) % object.len();
        match what % 5 {
            0 => object[at] = with,
            1 => object[at] ^= with,
            2 => object.insert(at, with),
            3 => drop(object.remove(at)),
            _ => object.truncate(at.max(8)),
        }
    }
    object
}
