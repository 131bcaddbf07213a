//! A month closed on Kafka and S3: what decides between people who act at once is S3's conditional
//! put, and what a dead process left there is found and finished.

use crate::place;
use crate::settle::{VENDORS, at_once, contracts, hashes};
use crate::support::{Dice, Stream, patience};

const PERIOD: &str = "2026-02";

/// Runs a command that dies at a point.
fn dies(stream: &mut Stream, point: &str, arguments: &[&str]) {
    let mut command = stream.tally(arguments);
    command.env("TALLY_CRASH_AT", point);
    let status = stream.start("dying", command).wait(patience());
    assert_eq!(status.code(), None, "{point}: it did not die");
}

fn json(stream: &mut Stream, arguments: &[&str]) -> serde_json::Value {
    let command = stream.tally(&[arguments, &["--json"]].concat());
    let output = stream.run(arguments[1], command);
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output}"))
}

#[test]
fn a_month_is_closed_once_on_s3() {
    let mut dice = Dice::of("settle-s3");
    let mut stream = Stream::new("settle-s3", dice.seed(), 2);
    let scratch = tempfile::tempdir().unwrap();
    let terms = contracts(scratch.path()).display().to_string();
    for (command, by) in [("import", "lin"), ("approve", "chen")] {
        let command = stream.tally(&["contract", command, &terms, "--by", by]);
        stream.run("contract", command);
    }
    let sent = place::traffic((dice.next_seed(), 3_000, 300), "2026-02-01T01:00:00+08:00", 48);
    let command = stream.tally(&sent.iter().map(String::as_str).collect::<Vec<_>>());
    stream.run("generate", command);
    stream.drain();
    let draft = |stream: &mut Stream, vendor: &str| {
        json(stream, &["settle", "statement", "--vendor", vendor, "--period", PERIOD])
    };
    // A model that has no price yet is in suspense, and its vendor has no statement.
    let drafts: Vec<_> = VENDORS[1..].iter().map(|vendor| draft(&mut stream, vendor)).collect();

    let close = ["settle", "close", "--period", PERIOD, "--by", "first"];
    dies(&mut stream, "after-settle-plan:1", &close);
    let plan = at_once(|arguments| stream.tally(arguments), ["ann", "bob", "cam"], "close", "plan");
    let approve = ["settle", "approve", "--period", PERIOD, "--by", "boss"];
    dies(&mut stream, "after-settle-statement:5", &approve);
    let hash =
        at_once(|arguments| stream.tally(arguments), ["dan", "eve", "fay"], "approve", "hash");

    // Whoever comes later finds the same seal, of the plan that was first, by who approved it.
    let again = json(&mut stream, &["settle", "close", "--period", PERIOD, "--by", "late"]);
    assert_eq!(
        (again["hash"].as_str(), again["seal"]["plan"].as_str()),
        (Some(&*hash), Some(&*plan))
    );
    assert_eq!(again["seal"]["approved_by"], "boss");
    let sealed = hashes(&again);
    for (vendor, draft) in VENDORS[1..].iter().zip(&drafts) {
        assert_eq!(draft["hash"].as_str(), Some(&*sealed[*vendor]), "{vendor}");
    }
    let command = stream.tally(&["verify"]);
    stream.run("verify", command);
}
