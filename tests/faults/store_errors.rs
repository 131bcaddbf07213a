//! R6: the store answers with errors, late, half, or not at all.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::door::address;
use crate::kill::note_stream;
use crate::support::{
    Dice, Fault, FaultProxy, Figures, Ledger, Process, Scope, Stream, Traffic, at_scale, block_on,
    eventually, patience,
};

/// What may happen to a request. A body of 30 seconds is longer than a client waits.
fn faults() -> [Fault; 12] {
    [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(429),
        Fault::Status(409),
        Fault::DoneButStatus(500),
        Fault::DoneButStatus(503),
        Fault::ReplyLost,
        Fault::Reset,
        Fault::Truncated,
        Fault::Delayed(20),
        Fault::Delayed(300),
        Fault::SlowBody(at_scale(500, 30_000)),
    ]
}

/// Memory that a process may have at most: a store that is slow must not fill it.
const MEMORY_MAX_KIB: u64 = 1536 << 10;

/// With 1 to 30 % of all requests spoiled, and with the store away altogether, the process lives
/// on, nothing is lost or counted twice, and the backlog drains when the store is back.
#[test]
fn the_store_fails_in_every_way() {
    let mut dice = Dice::of("store-errors");
    let mut stream = Stream::new("store-errors", dice.seed(), 4);
    let proxy = FaultProxy::start(&stream.servers.s3_address(), dice.clone());
    let mut ledger = stream.ledger();
    let mut process = stream.aggregate_watched("patient", &proxy.url());
    let watched = address(&process.says("health and metrics on", patience())).to_owned();
    for percent in [1, 10, 30] {
        proxy.spoil(Scope::All, percent, &faults());
        let traffic = Traffic::mixed(dice.next_seed(), at_scale(30_000, 2_000_000)).at_rate(10_000);
        stream.send(&traffic);
        process.assert_running();
    }
    catch_up(&mut process, &mut ledger, &stream);
    // The store is away: requests fail at once, or hang.
    let mut drained_percent = Vec::new();
    for outage in [Fault::Status(503), Fault::Reset] {
        let away = Instant::now();
        proxy.spoil(Scope::All, 100, &[outage]);
        let traffic = Traffic::mixed(dice.next_seed(), at_scale(40_000, 2_000_000)).at_rate(10_000);
        stream.send(&traffic);
        process.assert_running();
        eventually("metrics that say who waits", patience(), || {
            (waiting(&watched) > 0).then_some(())
        });
        proxy.heal();
        let (away, began) = (away.elapsed(), Instant::now());
        catch_up(&mut process, &mut ledger, &stream);
        let drained = began.elapsed();
        // An outage of seconds is shorter than the pauses between attempts that follow on it.
        let most = away * 2 + Duration::from_secs(at_scale(60, 0));
        assert!(drained <= most, "{drained:?} to catch up after an outage of {away:?}");
        drained_percent.push((drained.as_millis() * 100 / away.as_millis().max(1)) as u64);
        eventually("metrics that say nobody waits", patience(), || {
            (waiting(&watched) == 0).then_some(())
        });
        println!("caught up {drained:?} after {away:?} of {outage:?}");
    }
    let memory_kib = process.peak_memory_kib();
    assert!(memory_kib < MEMORY_MAX_KIB, "{memory_kib} KiB of memory at the peak");
    // A start in the middle of trouble is as patient.
    proxy.spoil(Scope::All, 20, &faults());
    process.kill();
    let mut process = stream.aggregate_through("newcomer", &proxy.url());
    stream.send(&Traffic::mixed(dice.next_seed(), 20_000));
    catch_up(&mut process, &mut ledger, &stream);
    assert!(process.terminate(patience()).success());
    stream.drain();
    stream.expect_exactly_once();
    let mut figures = Figures::of("R6 store errors", &dice);
    figures.note("requests", proxy.requests());
    figures.note("injected", json!(proxy.injected()));
    figures.note("peak_memory_kib", memory_kib);
    figures.note("drained_in_percent_of_the_outage", json!(drained_percent));
    note_stream(&mut figures, &stream, &ledger);
    figures.report();
}

/// A store on which two can create the same object is found by trying it, and nothing is counted
/// on it.
#[test]
fn a_store_without_conditional_writes_is_refused_at_the_start() {
    let dice = Dice::of("unsafe-store");
    let mut stream = Stream::new("unsafe-store", dice.seed(), 2);
    let proxy = FaultProxy::start(&stream.servers.s3_address(), dice.clone());
    stream.send(&Traffic::clean(dice.seed(), 1_000));
    proxy.spoil(Scope::All, 100, &[Fault::ConditionIgnored]);
    let mut process = stream.aggregate_through("unsafe", &proxy.url());
    assert_eq!(process.wait(patience()).code(), Some(2), "{}", process.log());
    let words = "If-None-Match is not honoured";
    assert!(process.log().contains(words), "{}", process.log());
    assert_eq!(stream.ledger().height(), 0, "an entry was written");
    // By the same way, with a store that does as it is told.
    proxy.heal();
    let mut process = stream.aggregate_through("safe", &proxy.url());
    catch_up(&mut process, &mut stream.ledger(), &stream);
    assert!(process.terminate(patience()).success());
    stream.drain();
    stream.expect_exactly_once();
}

/// How many partitions wait for the store, by the process's metrics.
fn waiting(address: &str) -> u64 {
    let text = block_on(async {
        let answer = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
        answer.text().await.unwrap()
    });
    let line = text.lines().find_map(|line| line.strip_prefix("tally_partitions_waiting "));
    line.unwrap_or_else(|| panic!("no such metric: {text}")).parse().unwrap()
}

fn catch_up(process: &mut Process, ledger: &mut Ledger, stream: &Stream) {
    eventually("everything committed in spite of errors", patience(), || {
        process.assert_running();
        stream.is_committed(ledger).then_some(())
    });
}

/// `tally.toml` has all that S3 needs where the environment says nothing of it.
#[test]
fn a_store_is_reached_by_the_configuration_alone() {
    let mut dice = Dice::of("store-options");
    let mut stream = Stream::new("store-options", dice.seed(), 1);
    stream.send(&Traffic::clean(dice.next_seed(), 1_000));
    let variable = |name: &str| std::env::var(name).unwrap();
    let text = format!(
        "[store.s3_options]\nendpoint_url = {:?}\naccess_key_id = {:?}\nsecret_access_key = {:?}\nregion = \"us-east-1\"\n",
        stream.servers.s3,
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
    );
    let by_file_alone = |stream: &Stream, arguments: &[&str]| {
        let mut command = stream.tally(arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command.env_remove("AWS_ENDPOINT_URL");
        command
    };
    std::fs::write(stream.folder().join("tally.toml"), text).unwrap();
    let command = by_file_alone(&stream, &["aggregate", "--until-end"]);
    assert!(stream.run("by-file", command).contains("DRAINED"));
    let command = by_file_alone(&stream, &["config", "show"]);
    let shown = stream.run("config", command);
    let mut rows = shown.lines().map(|line| line.split_whitespace().take(2));
    assert!(rows.any(|row| row.eq(["store.s3_options.secret_access_key", "(hidden)"])), "{shown}");
    assert!(!shown.contains(&variable("AWS_SECRET_ACCESS_KEY")), "{shown}");
    stream.expect_exactly_once();
}
