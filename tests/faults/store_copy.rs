//! Backup, restore and moving the store, as docs/operations/backup.md and moving-the-store.md say, on
//! object storage and Kafka.

use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStoreExt};

use crate::support::{
    Dice, Figures, Ledger, Stream, Traffic, at_scale, block_on, eventually, open_s3, patience,
};

fn of_table_log(path: &str) -> bool {
    path.starts_with("tables/") && path.contains("/_delta_log/")
}

fn of_ledger(path: &str) -> bool {
    path.starts_with("ledger/")
}

fn of_the_rest(path: &str) -> bool {
    !of_table_log(path) && !of_ledger(path) && !path.starts_with("probe/")
}

/// Copies the store to another prefix: what refers to something before that to which it refers.
/// Returns how many objects that were.
fn back_up(stream: &Stream, to: &str) -> u64 {
    let from = open_s3(&stream.servers.s3, stream.prefix(), 10);
    let to = open_s3(&stream.servers.s3, to, 10);
    let mut copied = 0;
    for part in [of_table_log, of_ledger, of_the_rest] {
        let listed: Vec<ObjectMeta> = block_on(from.list(None).try_collect()).unwrap();
        for meta in listed.iter().filter(|meta| part(meta.location.as_ref())) {
            block_on(async {
                let bytes = from.get(&meta.location).await.unwrap().bytes().await.unwrap();
                to.put(&meta.location, bytes.into()).await.unwrap();
            });
            copied += 1;
        }
    }
    copied
}

fn entries(ledger: &mut Ledger) -> u64 {
    ledger.lasts().iter().map(|last| last.n).sum()
}

/// A copy is made while events come in, more is counted, everything is killed and the store is
/// gone: from the copy and the log the same comes out. Then the store is moved.
#[test]
fn a_copy_that_was_made_under_load_is_restored_and_moved() {
    let mut dice = Dice::of("restore");
    let mut stream = Stream::new("restore", dice.seed(), 3);
    let events = at_scale(24_000, 2_000_000);
    let live = stream.sending(&Traffic::mixed(dice.next_seed(), events).at_rate(4_000));
    let before = stream.aggregate("before");
    let mut ledger = stream.ledger();
    eventually("some epochs", patience(), || (entries(&mut ledger) > 12).then_some(()));
    let (copy, moved) = (format!("{}-copy", stream.prefix()), format!("{}-moved", stream.prefix()));
    let copied = back_up(&stream, &copy);
    let copied_at = entries(&mut ledger);
    let url = format!("s3://tally/{copy}");
    let verify = stream.tally(&["verify", "--running", "--store", &url]);
    stream.run("verify-copy", verify);
    eventually("more epochs", patience(), || (entries(&mut ledger) > copied_at + 3).then_some(()));
    stream.sent(live);
    before.kill();
    let lost = entries(&mut ledger);

    let restored = format!("{}.models.restored", stream.topic.name);
    stream.move_to(&copy);
    stream.set("budgets.topic", &restored);
    assert!(entries(&mut stream.ledger()) < lost, "the copy is of an earlier moment");
    stream.drain();
    stream.expect_exactly_once();

    // Nothing runs: the copy is whole at once.
    back_up(&stream, &moved);
    stream.move_to(&moved);
    stream.send(&Traffic::mixed(dice.next_seed(), 4_000));
    stream.drain();
    stream.expect_exactly_once();
    let mut figures = Figures::of("backup, restore, move", &dice);
    figures.note("objects_copied", copied);
    figures.report();
}
