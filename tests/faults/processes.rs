//! What only the processes know is told by them, also while the store is away; and a process is ready
//! when it does what the group gave it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bad_days::{metrics_name, troubles};
use crate::door::address;
use crate::support::{
    Dice, Fault, FaultProxy, Process, Scope, Stream, Traffic, block_on, eventually, patience,
};

/// Exit code for what passes by waiting.
const RETRY: i32 = 5;

/// What the chart gives a janitor to end.
const GRACE: Duration = Duration::from_secs(60);

/// The status code of a path, and what is said there.
fn ask(process: &str, path: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    block_on(async {
        let answer = client.get(format!("http://{process}{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    })
}

fn watched(stream: &mut Stream, name: &str, endpoint: &str) -> (Process, String) {
    let mut process = stream.aggregate_watched(name, endpoint);
    let address = address(&process.says("health and metrics on", patience())).to_owned();
    (process, address)
}

#[test]
fn what_waits_is_told_while_the_store_is_away() {
    let mut dice = Dice::of("processes");
    let mut stream = Stream::new("processes", dice.seed(), 2);
    let proxy = FaultProxy::start(&stream.servers.s3_address(), dice.clone());
    let (mut process, watched) = watched(&mut stream, "patient", &proxy.url());
    eventually("a process that is ready", patience(), || {
        (ask(&watched, "/readyz").0 == 200).then_some(())
    });
    proxy.spoil(Scope::All, 100, &[Fault::Status(503)]);
    stream.send(&Traffic::mixed(dice.next_seed(), 2_000));
    let url = format!("http://{watched}");
    // Who asks reaches the store, or does not either.
    let status = eventually("a status that says who waits", patience(), || {
        let command = stream.tally(&["status", "--json", "--ask", &url]);
        let status: Value = serde_json::from_str(&stream.run("status", command)).unwrap();
        let waits = status["waiting"].as_object().is_some_and(|waiting| !waiting.is_empty());
        waits.then_some(status)
    });
    assert_eq!(status["processes"], json!([{"address": url, "partitions": [0, 1]}]), "{status}");
    let mut command = stream.tally(&["status", "--ask", &url]);
    command.env("AWS_ENDPOINT_URL", proxy.url()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(RETRY), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("partition ") && line.contains(" waits for ")),
        "{said}"
    );
    // A store that is away is no reason to restart.
    assert_eq!(ask(&watched, "/healthz"), (200, "ok\n".to_owned()));
    proxy.heal();
    let mut ledger = stream.ledger();
    eventually("what waited", patience(), || stream.is_committed(&mut ledger).then_some(()));
    assert!(process.terminate(patience()).success());
    stream.drain();
    stream.expect_exactly_once();
}

/// Of two processes for one partition, one has it and the other stands by: both are ready.
#[test]
fn a_member_to_spare_is_ready() {
    let dice = Dice::of("spare");
    let mut stream = Stream::new("spare", dice.seed(), 1);
    let endpoint = stream.servers.s3.clone();
    let mut processes: Vec<(Process, String)> =
        ["one", "two"].map(|name| watched(&mut stream, name, &endpoint)).into();
    for (_, watched) in &processes {
        eventually("a process that is ready", patience(), || {
            (ask(watched, "/readyz").0 == 200).then_some(())
        });
    }
    let owned = |watched: &str| {
        let text = ask(watched, "/metrics").1;
        let line = text.lines().find(|line| line.starts_with("tally_partitions_owned ")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    eventually("one that has the partition", patience(), || {
        (processes.iter().map(|(_, watched)| owned(watched)).sum::<u64>() == 1).then_some(())
    });
    for (process, _) in &mut processes {
        assert!(process.terminate(patience()).success());
    }
}

/// A run of the janitor's is as long as a month of files, or as its store is silent: a stop leaves it,
/// as a kill would.
#[test]
fn a_janitor_stops_within_a_run() {
    let mut dice = Dice::of("janitor-stops");
    let mut stream = Stream::new("janitor-stops", dice.seed(), 2);
    let proxy = FaultProxy::start(&stream.servers.s3_address(), dice.clone());
    stream.send(&Traffic::mixed(dice.next_seed(), 2_000));
    stream.drain();
    let mut command = stream.tally(&["janitor", "--listen", "127.0.0.1:0"]);
    command.env("AWS_ENDPOINT_URL", proxy.url());
    command.env("TALLY_AGGREGATE__JANITOR_INTERVAL_MS", "100");
    let mut process = stream.start("janitor", command);
    let metrics = address(&process.says("health and metrics on", patience())).to_owned();
    assert_eq!(troubles(&metrics), Vec::<String>::new());
    proxy.spoil(Scope::All, 100, &[Fault::Silent]);
    metrics_name(Instant::now(), &metrics, "store_away");
    assert!(process.terminate(GRACE).success());
    proxy.heal();
    stream.expect_exactly_once();
}
