//! Backup, restore and moving the store, as docs/operations/backup.md and moving-the-store.md say, on
//! object storage and Kafka.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use tally_schemas::entry_path;

use crate::place;
use crate::settle::{VENDORS, contracts};
use crate::support::{
    Dice, Figures, Ledger, Process, S3Server, Stream, Traffic, at_scale, block_on, eventually,
    open_s3, patience,
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

/// A place of the test bucket: on which server, and below which prefix.
type Place<'a> = (&'a str, &'a str);

fn list(store: &dyn ObjectStore) -> Vec<ObjectMeta> {
    block_on(store.list(None).try_collect()).unwrap()
}

fn bytes_of(store: &dyn ObjectStore, path: &Path) -> Option<Bytes> {
    block_on(async {
        match store.get(path).await {
            Ok(found) => Some(found.bytes().await.unwrap()),
            Err(object_store::Error::NotFound { .. }) => None,
            Err(error) => panic!("{path}: {error}"),
        }
    })
}

/// Copies the store to another place: what refers to something before that to which it refers.
/// Returns how many objects that were.
fn back_up(from: Place<'_>, to: Place<'_>) -> u64 {
    let (from, to) = (open_s3(from.0, from.1, 10), open_s3(to.0, to.1, 10));
    let mut copied = 0;
    for part in [of_table_log, of_ledger, of_the_rest] {
        for meta in list(from.as_ref()).iter().filter(|meta| part(meta.location.as_ref())) {
            let bytes = bytes_of(from.as_ref(), &meta.location).unwrap();
            block_on(to.put(&meta.location, bytes.into())).unwrap();
            copied += 1;
        }
    }
    copied
}

/// What a second copy has to do, while nothing runs: objects that are new, that were changed, and
/// that are not there any more.
fn bring_up_to_date(from: Place<'_>, to: Place<'_>) -> [u64; 3] {
    let (from, to) = (open_s3(from.0, from.1, 10), open_s3(to.0, to.1, 10));
    let (mut new, mut changed, mut gone) = (0, 0, 0);
    for ObjectMeta { location, .. } in list(from.as_ref()) {
        let bytes = bytes_of(from.as_ref(), &location).unwrap();
        match bytes_of(to.as_ref(), &location) {
            Some(there) if there == bytes => continue,
            Some(_) => changed += 1,
            None => new += 1,
        }
        block_on(to.put(&location, bytes.into())).unwrap();
    }
    for ObjectMeta { location, .. } in list(to.as_ref()) {
        if bytes_of(from.as_ref(), &location).is_none() {
            block_on(to.delete(&location)).unwrap();
            gone += 1;
        }
    }
    [new, changed, gone]
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
    let (events, rate) = (at_scale(12_000, 2_000_000), at_scale(1_000, 4_000));
    let live = stream.sending(&Traffic::mixed(dice.next_seed(), events).at_rate(rate));
    let before = stream.aggregate("before");
    let mut ledger = stream.ledger();
    eventually("some epochs", patience(), || (entries(&mut ledger) > 12).then_some(()));
    let (copy, moved) = (format!("{}-copy", stream.prefix()), format!("{}-moved", stream.prefix()));
    let server = stream.servers.s3.clone();
    let copied = back_up((&server, stream.prefix()), (&server, &copy));
    let url = format!("s3://tally/{copy}");
    let verify = stream.tally(&["verify", "--running", "--store", &url]);
    stream.run("verify-copy", verify);
    stream.sent(live);
    // All that was sent may be in the copy, where the machine was slow to make it.
    stream.send(&Traffic::mixed(dice.next_seed(), 4_000));
    eventually("what is not in the copy", patience(), || {
        stream.is_committed(&mut ledger).then_some(())
    });
    before.kill();
    let lost = entries(&mut ledger);

    let restored = format!("{}.models.restored", stream.topic.name);
    stream.move_to(&copy);
    stream.set("budgets.topic", &restored);
    assert!(entries(&mut stream.ledger()) < lost, "the copy is of an earlier moment");
    stream.drain();
    stream.expect_exactly_once();

    // Nothing runs: the copy is whole at once.
    back_up((&server, stream.prefix()), (&server, &moved));
    stream.move_to(&moved);
    stream.send(&Traffic::mixed(dice.next_seed(), 4_000));
    stream.drain();
    stream.expect_exactly_once();
    let mut figures = Figures::of("backup, restore, move", &dice);
    figures.note("objects_copied", copied);
    figures.report();
}

/// An S3 server of the test's own, and its address.
fn server(stream: &Stream, name: &str) -> (S3Server, String) {
    let server = S3Server::start(&stream.folder().join(name));
    let url = format!("http://{}", server.address);
    (server, url)
}

/// Runs the janitor as it is a day later, until the beginning of each partition's ledger is gone.
fn forget_the_beginning(stream: &mut Stream) {
    let store = open_s3(&stream.servers.s3, stream.prefix(), 10);
    let first = |partition| Path::from(entry_path(&stream.topic.name, partition, 0));
    let firsts: Vec<Path> = (0..stream.topic.partitions).map(first).collect();
    assert!(firsts.iter().all(|first| bytes_of(store.as_ref(), first).is_some()));
    eventually("a ledger without its beginning", patience(), || {
        run_janitor(stream);
        firsts.iter().all(|first| bytes_of(store.as_ref(), first).is_none()).then_some(())
    });
}

fn run_janitor(stream: &mut Stream) {
    let mut command = stream.tally(&["janitor", "--once"]);
    command.env("TALLY_AGGREGATE__RETENTION_MS", "0");
    stream.run("janitor", command);
}

/// An aggregator, and so many epochs more than there were.
fn counts_on(stream: &mut Stream, name: &str, epochs: u64) -> Process {
    let mut ledger = stream.ledger();
    let before = entries(&mut ledger);
    let process = stream.aggregate(name);
    eventually("more epochs", patience(), || {
        (entries(&mut ledger) > before + epochs).then_some(())
    });
    process
}

/// As every store is that is older than a day: the janitor has removed the beginning of the ledger.
/// A copy is made under load on another server, the first one is lost with everything, and the copy
/// goes on. Then the store is moved to a third server in two passes, as the page says.
#[test]
fn a_store_without_its_beginning_is_restored_and_moved_to_other_servers() {
    let mut dice = Dice::of("restore-servers");
    let mut stream = Stream::new("restore-servers", dice.seed(), 2);
    let (first_server, first) = server(&stream, "first");
    stream.servers.s3 = first.clone();
    // The last hundred entries of a ledger stay: there must be more of them.
    stream.set("aggregate.freshness_ms", 10);
    let many = stream.sending(&Traffic::mixed(dice.next_seed(), 20_000).at_rate(1_500));
    let mut process = stream.aggregate("many-epochs");
    let mut ledger = stream.ledger();
    eventually("many epochs", patience(), || {
        ledger.lasts().iter().all(|last| last.n > 120).then_some(())
    });
    stream.sent(many);
    assert!(process.terminate(patience()).success());
    stream.drain();
    forget_the_beginning(&mut stream);
    stream.set("aggregate.freshness_ms", 250);

    let events = at_scale(12_000, 1_000_000);
    let live = stream.sending(&Traffic::mixed(dice.next_seed(), events).at_rate(1_000));
    let before = counts_on(&mut stream, "before", 4);
    let (_second_server, second) = server(&stream, "second");
    let prefix = stream.prefix().to_owned();
    let copied = back_up((&first, &prefix), (&second, &prefix));
    let mut verify = stream.tally(&["verify", "--running"]);
    verify.env("AWS_ENDPOINT_URL", &second);
    stream.run("verify-copy", verify);
    stream.sent(live);
    stream.send(&Traffic::mixed(dice.next_seed(), 4_000));
    let mut ledger = stream.ledger();
    eventually("what is not in the copy", patience(), || {
        stream.is_committed(&mut ledger).then_some(())
    });
    before.kill();
    let lost = entries(&mut ledger);
    drop(first_server);

    stream.servers.s3 = second.clone();
    stream.set("budgets.topic", format!("{prefix}.models.restored"));
    assert!(entries(&mut stream.ledger()) < lost, "the copy is of an earlier moment");
    stream.drain();
    stream.expect_exactly_once();

    // Moved: a first pass while it counts, a second one while nothing runs.
    let live = stream.sending(&Traffic::mixed(dice.next_seed(), events).at_rate(1_000));
    let mut counting = counts_on(&mut stream, "counting", 4);
    let (_third_server, third) = server(&stream, "third");
    back_up((&second, &prefix), (&third, &prefix));
    stream.sent(live);
    assert!(counting.terminate(patience()).success());
    stream.drain();
    run_janitor(&mut stream);
    run_janitor(&mut stream);
    let [new, changed, gone] = bring_up_to_date((&second, &prefix), (&third, &prefix));
    assert!(new > 0 && changed > 0 && gone > 0, "{new} new, {changed} changed, {gone} gone");
    assert_eq!(bring_up_to_date((&second, &prefix), (&third, &prefix)), [0, 0, 0]);
    stream.servers.s3 = third;
    stream.expect_exactly_once();
    stream.send(&Traffic::mixed(dice.next_seed(), 4_000));
    stream.drain();
    stream.expect_exactly_once();
    let mut figures = Figures::of("restore and move to other servers", &dice);
    figures.note("objects_copied", copied);
    figures.note("objects_of_the_second_pass", new + changed);
    figures.report();
}

const PERIOD: &str = "2026-02";

/// What people did, as the commands show it: approvals, a sealed month, an adjustment and write-offs.
fn decisions(stream: &mut Stream) -> Vec<Value> {
    let mut shown = Vec::new();
    let mut show = |arguments: &[&str]| {
        let command = stream.tally(&[arguments, &["--json"]].concat());
        let output = stream.run(arguments[0], command);
        let shown_now: Value = serde_json::from_str(&output)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output}"));
        shown.push(shown_now);
    };
    for vendor in &VENDORS[1..] {
        show(&["settle", "statement", "--vendor", vendor, "--period", PERIOD]);
    }
    show(&["settle", "close", "--period", PERIOD, "--by", "late"]);
    show(&["contract", "show"]);
    show(&["suspense", "list", "--proposals"]);
    show(&["suspense", "list", "--status", "written_off"]);
    shown
}

/// What two people decided is in the copy, says the same, is proved by its hashes, and goes on.
#[test]
fn decisions_are_in_the_copy_and_go_on() {
    let mut dice = Dice::of("restore-books");
    let mut stream = Stream::new("restore-books", dice.seed(), 2);
    let (first_server, first) = server(&stream, "first");
    stream.servers.s3 = first.clone();
    let terms = contracts(stream.folder()).display().to_string();
    let run = |stream: &mut Stream, arguments: &[&str]| {
        let command = stream.tally(arguments);
        stream.run(arguments[0], command)
    };
    run(&mut stream, &["contract", "import", &terms, "--by", "lin"]);
    run(&mut stream, &["contract", "approve", &terms, "--by", "chen"]);
    let sent = place::traffic((dice.next_seed(), 3_000, 300), "2026-02-01T01:00:00+08:00", 48);
    let sent: Vec<&str> = sent.iter().map(String::as_str).chain(["--bad-rate", "0.02"]).collect();
    run(&mut stream, &sent);
    stream.drain();
    run(&mut stream, &["settle", "close", "--period", PERIOD, "--by", "ann"]);
    run(&mut stream, &["settle", "approve", "--period", PERIOD, "--by", "boss"]);
    let off =
        ["suspense", "write-off", "--since", "2020-01-01", "--by", "carol", "--reason", "tests"];
    run(&mut stream, &off);
    run(&mut stream, &["suspense", "write-off", "--approve", "0", "--by", "dan"]);
    stream.drain();
    run(&mut stream, &["verify"]);
    let before = decisions(&mut stream);
    assert_ne!(before.last(), Some(&json!([])), "nothing was written off");

    let (_second_server, second) = server(&stream, "second");
    let prefix = stream.prefix().to_owned();
    back_up((&first, &prefix), (&second, &prefix));
    drop(first_server);
    stream.servers.s3 = second;
    stream.set("budgets.topic", format!("{prefix}.models.restored"));
    run(&mut stream, &["verify"]);
    assert_eq!(decisions(&mut stream), before);

    // The books go on: what comes late for the sealed month is settled with the next one.
    let late = place::traffic((dice.next_seed(), 500, 300), "2026-02-03T01:00:00+08:00", 12);
    run(&mut stream, &late.iter().map(String::as_str).collect::<Vec<_>>());
    let sent = place::traffic((dice.next_seed(), 1_000, 300), "2026-03-01T01:00:00+08:00", 24);
    run(&mut stream, &sent.iter().map(String::as_str).collect::<Vec<_>>());
    stream.drain();
    let hashes = |shown: &[Value]| -> Vec<Value> {
        shown[..VENDORS.len()].iter().map(|shown| shown["hash"].clone()).collect()
    };
    assert!(hashes(&before).iter().all(Value::is_string), "{before:?}");
    assert_eq!(hashes(&decisions(&mut stream)), hashes(&before));
    run(&mut stream, &["settle", "close", "--period", "2026-03", "--by", "ann"]);
    run(&mut stream, &["settle", "approve", "--period", "2026-03", "--by", "boss"]);
    run(&mut stream, &["verify"]);
}
