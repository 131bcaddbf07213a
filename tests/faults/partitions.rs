//! The partition count is changed, to more and to fewer, with a command that is killed at every
//! step: nothing is lost, doubled, or charged otherwise (docs/operations/partitions.md).

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use object_store::ObjectStoreExt;
use serde_json::{Value, json};

use crate::support::{
    Dice, Figures, Payload, Stream, Topic, Traffic, at_scale, block_on, eventually, open_s3,
    patience,
};

const ACCOUNTS: u32 = 5_000;
const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// What is sent before a change and again after it.
fn to_be_resent(seed: u64, events: u64, start_ms: i64) -> Traffic {
    Traffic { start_ms: Some(start_ms), ..Traffic::clean(seed, events) }
}

fn change(topic: &str, to: u32) -> Vec<String> {
    let words = format!("partitions change --topic {topic} --to {to} --yes");
    words.split(' ').map(str::to_owned).collect()
}

/// Runs a command that must end with this code, and returns what it says.
fn refused(stream: &mut Stream, name: &str, arguments: &[&str], code: i32) -> String {
    let command = stream.tally(arguments);
    let mut process = stream.start(name, command);
    let status = process.wait(patience());
    assert_eq!(status.code(), Some(code), "{}", process.log());
    process.log()
}

/// Nobody counts while the change is under way, neither by the old topic nor by the new one.
fn expect_nobody_counts(stream: &mut Stream, new_topic: &str) {
    let old_topic = stream.topic.name.clone();
    for topic in [old_topic.as_str(), new_topic] {
        stream.set("log.topic", topic);
        let said = refused(stream, "too-early", &["aggregate", "--until-end"], 2);
        // Whoever notices first says so: an owner, or the publisher beside it.
        let is_refused = said.contains(&format!("is being moved to topic {new_topic}"))
            || said.contains(&format!("set log.topic to {new_topic}"));
        assert!(is_refused, "{topic}: {said}");
    }
    stream.set("log.topic", old_topic);
}

/// Changes the count by a command that dies at every point, and once more to its end. Returns how
/// often it was killed.
fn change_through_kills(stream: &mut Stream, topic: &str, to: u32) -> u64 {
    let arguments = change(topic, to);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let dry: Vec<&str> =
        arguments.iter().copied().filter(|word| *word != "--yes").chain(["--dry-run"]).collect();
    let command = stream.tally(&dry);
    let said = stream.run("change-dry", command);
    assert!(said.contains(&format!("becomes topic {topic} of {to}")), "{said}");
    let said = refused(stream, "change-unsaid", &dry[..dry.len() - 1], 2);
    assert!(said.contains("nothing was done: say --yes"), "{said}");
    let points = [
        ("move_intended:1", false),
        ("move_intended:3", false),
        ("move_frozen:1", false),
        ("move_frozen:3", true),
        ("move_segments_stored:1", true),
        ("move_deciding:1", true),
        ("move_decided:1", true),
        ("move_segments_stored:1", false),
        ("move_state_stored:2", false),
        ("move_carried_out:1", true),
    ];
    for (point, is_closed) in points {
        let mut command = stream.tally(&arguments);
        command.env("TALLY_CRASH_AT", point);
        let mut process = stream.start("change-dying", command);
        let status = process.wait(patience());
        assert!(status.code().is_none(), "{point} did not kill: {status}: {}", process.log());
        if is_closed {
            expect_nobody_counts(stream, topic);
        }
    }
    let command = stream.tally(&arguments);
    let said = stream.run("change", command);
    assert!(said.contains(&format!("topic {topic} has {to} partitions")), "{said}");
    // Once more changes nothing.
    let command = stream.tally(&arguments);
    let said = stream.run("change-again", command);
    assert!(said.contains("moved: 0 partitions"), "{said}");
    // The old topic is nobody's any more.
    let said = refused(stream, "old-topic", &["aggregate", "--until-end"], 2);
    assert!(said.contains(&format!("set log.topic to {topic}")), "{said}");
    stream.topic = Topic::existing(&stream.servers.kafka, topic);
    stream.set("log.topic", topic);
    points.len() as u64
}

fn count(stream: &mut Stream, query: &str) -> i64 {
    let rows = stream.sql(query);
    rows[0]["n"].to_string().trim_matches('"').parse().unwrap()
}

/// What the owners of now have of every bucket is what `quota_ledger` says that is left of it.
/// Returns how many buckets that are.
fn expect_balances(stream: &mut Stream) -> usize {
    let query = "SELECT account, bucket, CAST(remaining AS VARCHAR) AS remaining \
                 FROM quota.balance WHERE remaining > 0";
    let mut left: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for row in stream.sql(query) {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        // Six decimals: what is left is whole in micro-points.
        let micro = text("remaining").replace('.', "").parse().unwrap();
        left.entry(text("account")).or_default().insert(text("bucket"), micro);
    }
    let command = stream.tally(&["aggregate", "--listen", "127.0.0.1:0"]);
    let mut owner = stream.start("owner", command);
    let line = owner.says("health and metrics on", patience());
    let address = crate::door::address(&line).to_owned();
    for (account, buckets) in &left {
        let answer = eventually(&format!("an answer about {account}"), patience(), || {
            let (status, _, answer) = crate::quota::asked(&address, account);
            (status != 503).then_some(answer)
        });
        for (bucket, micro) in buckets {
            let all = answer["buckets"].as_array().cloned().unwrap_or_default();
            let found = all.iter().find(|of| of["bucket"] == json!(bucket));
            let has = found.map(|of| of["remaining_micro"].clone());
            assert_eq!(has, Some(json!(micro)), "{account}: {bucket}: {answer}");
        }
    }
    assert!(owner.terminate(patience()).success());
    left.values().map(BTreeMap::len).sum()
}

#[test]
fn the_partition_count_is_changed_and_changed_back() {
    let mut dice = Dice::of("partitions");
    let mut stream = Stream::new("partitions", dice.seed(), 4);
    // An idle log is not to grow by itself: what is committed is all.
    stream.set("aggregate.tick_ms", 0);
    let name = stream.topic.name.clone();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let events = at_scale(4_000, 400_000);
    let old = to_be_resent(dice.next_seed(), events, now_ms - 41 * DAY_MS);
    let recent = to_be_resent(dice.next_seed(), events, now_ms - HOUR_MS);
    stream.sell(ACCOUNTS);
    stream.send(&old);
    stream.send(&recent);
    stream.send(&Traffic::mixed(dice.next_seed(), events));
    let mut ledger = stream.ledger();
    let mut member = stream.aggregate("member");
    eventually("everything committed", patience(), || {
        member.assert_running();
        stream.is_committed(&mut ledger).then_some(())
    });
    let topic_of_six = format!("{name}.six");
    eventually("everything added to budgets", patience(), || {
        let words = format!("partitions change --topic {topic_of_six} --to 6 --dry-run");
        let command = stream.tally(&words.split(' ').collect::<Vec<_>>());
        stream.start("change-ready", command).wait(patience()).success().then_some(())
    });
    // Windows are open, buckets of dedupe open and sealed.
    assert!(member.terminate(patience()).success());
    let mut kills = change_through_kills(&mut stream, &topic_of_six, 6);
    let verify = stream.tally(&["verify"]);
    stream.run("verify-moved", verify);
    let mut balances = expect_balances(&mut stream);

    for traffic in [&old, &recent] {
        let again = stream.sending(traffic);
        stream.resent(again);
    }
    stream.send(&Traffic { late: "0.2", ..Traffic::mixed(dice.next_seed(), events) });
    stream.drain();
    stream.expect_exactly_once();
    let of_new = "SELECT count(*) AS n FROM usage_events WHERE kafka_partition >= 4";
    assert!(count(&mut stream, of_new) > 0, "nothing is in the new partitions");

    // To fewer than there ever were.
    let later = to_be_resent(dice.next_seed(), events, now_ms - HOUR_MS);
    stream.send(&later);
    stream.drain();
    let topic_of_three = format!("{name}.three");
    // Nothing is changed while something waits.
    stream.topic.append(&[Payload { partition: 5, value: Some(b"{".to_vec()), batch: false }]);
    let arguments = change(&topic_of_three, 3);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = refused(&mut stream, "change-lag", &arguments, 1);
    assert!(said.contains("not read to its end in partitions 5"), "{said}");
    stream.truth.sent += 1;
    *stream.truth.suspended.entry("malformed".to_owned()).or_default() += 1;
    stream.drain();
    kills += change_through_kills(&mut stream, &topic_of_three, 3);
    balances += expect_balances(&mut stream);
    assert!(balances > 1_000, "{balances} buckets have something left");
    for traffic in [&old, &recent, &later] {
        let again = stream.sending(traffic);
        stream.resent(again);
    }
    stream.send(&Traffic::mixed(dice.next_seed(), events));
    stream.drain();
    stream.expect_exactly_once();
    let status: Value = {
        let command = stream.tally(&["status", "--json"]);
        serde_json::from_str(&stream.run("status", command)).unwrap()
    };
    assert_eq!(status["partitions"].as_array().unwrap().len(), 3, "{status}");
    assert_eq!(status["lag_events"], json!(0), "{status}");

    // Who still writes to a topic of before is found.
    let before = Topic::existing(&stream.servers.kafka, &topic_of_six);
    before.append(&[Payload { partition: 2, value: Some(b"{}".to_vec()), batch: false }]);
    let said = refused(&mut stream, "change-late", &arguments, 1);
    assert!(said.contains(&format!("1 records came into topic {topic_of_six}")), "{said}");
    let mut figures = Figures::of("partition count", &dice);
    figures.note("kills", kills);
    figures.note("balances", balances);
    figures.report();
}

/// What was begun is given up: the stream goes on as it was, and the topic is not to be had again.
#[test]
fn a_change_that_was_begun_is_given_up() {
    let mut dice = Dice::of("partitions-abandoned");
    let mut stream = Stream::new("partitions-abandoned", dice.seed(), 2);
    stream.send(&Traffic::mixed(dice.next_seed(), 2_000));
    stream.drain();
    let topic = format!("{}.five", stream.topic.name);
    let arguments = change(&topic, 5);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = stream.tally(&arguments);
    command.env("TALLY_CRASH_AT", "move_frozen:1");
    let mut process = stream.start("change-dying", command);
    assert!(process.wait(patience()).code().is_none());
    let abandon = stream.tally(&["partitions", "abandon", "--topic", &topic]);
    let said = stream.run("abandon", abandon);
    assert!(said.contains("given up"), "{said}");
    let said = refused(&mut stream, "change-after", &arguments, 2);
    assert!(said.contains("take another topic"), "{said}");
    stream.send(&Traffic::mixed(dice.next_seed(), 2_000));
    stream.drain();
    stream.expect_exactly_once();
    let store = open_s3(&stream.servers.s3, stream.prefix(), 10);
    let moved = tally_schemas::decision_path(&topic);
    let found = block_on(store.get(&object_store::path::Path::from(moved)));
    assert!(found.is_ok(), "what was decided stays");
}
