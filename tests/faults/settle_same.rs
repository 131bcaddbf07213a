//! The same month again and again: in other partitions, in another order, by other threads, through
//! a stream that is killed and a close that dies. The sealed statements are the same, byte for byte.
//! 50 times with `make soak`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::embedded::tally;
use crate::place;
use crate::settle::{Books, contracts};
use crate::settle_kill::killed;
use crate::support::{Dice, Figures, at_scale};

const PERIOD: &str = "2026-02";
const EVENTS: u32 = 2_000;

/// A stream is killed within this time: somewhere between its start and its end.
const STREAM: Duration = Duration::from_millis(1_500);

/// Where a close or an approval dies.
const POINTS: [(&str, &str); 8] = [
    ("close", "after-settle-plan:1"),
    ("close", "before-books-entry:1"),
    ("close", "after-settle-review:1"),
    ("approve", "before-settle-approval:1"),
    ("approve", "after-settle-approval:1"),
    ("approve", "after-settle-statement:1"),
    ("approve", "after-settle-statement:5"),
    ("approve", "before-settle-seal:1"),
];

/// A folder of its own for one run, and what differs in it.
struct Run<'a> {
    folder: &'a Path,
    partitions: usize,
    threads: usize,
}

impl Run<'_> {
    fn tally(&self, arguments: &[&str]) -> Command {
        let mut command = tally(self.folder, arguments);
        command
            .stdin(Stdio::null())
            .env("TALLY_LOG__PARTITIONS", self.partitions.to_string())
            .env("TALLY_QUERY__THREADS", self.threads.to_string())
            .env("TOKIO_WORKER_THREADS", self.threads.to_string());
        command
    }

    fn done(&self, arguments: &[&str]) -> String {
        String::from_utf8(place::done(self.tally(arguments))).unwrap()
    }

    /// Closes the month, which dies at a point first; the bytes of every sealed statement.
    fn sealed(&self, (step, point): (&str, &str)) -> BTreeMap<String, Vec<u8>> {
        let close = ["settle", "close", "--period", PERIOD, "--by", "ann"];
        let approve = ["settle", "approve", "--period", PERIOD, "--by", "chief"];
        if step == "approve" {
            self.done(&close);
        }
        let dying = if step == "close" { close } else { approve };
        let died = self.tally(&dying).env("TALLY_CRASH_AT", point).output().unwrap();
        assert_eq!(died.status.code(), None, "{point}: it did not die");
        self.done(&close);
        self.done(&approve);
        let objects = place::objects(&self.folder.join("store/statements").join(PERIOD));
        let is_statement = |path: &String| path.contains("vendor-");
        objects.into_iter().filter(|(path, _)| is_statement(path)).collect()
    }
}

/// The events in another order: as they came, backwards, or shuffled.
fn reordered(events: &[&str], dice: &mut Dice) -> String {
    let mut events = events.to_vec();
    match dice.index(3) {
        0 => {}
        1 => events.reverse(),
        _ => {
            for last in (1..events.len()).rev() {
                events.swap(last, dice.index(last + 1));
            }
        }
    }
    events.join("\n") + "\n"
}

#[test]
fn a_month_comes_to_the_same_statements_however_it_is_counted() {
    let mut dice = Dice::of("settle-same");
    let scratch = tempfile::tempdir().unwrap();
    // Terms and prices have the time of their approval, which is in the statements.
    let base = Books { folder: scratch.path().join("base") };
    std::fs::create_dir(&base.folder).unwrap();
    base.put_in_force(&contracts(scratch.path()));
    let made = scratch.path().join("events.jsonl");
    let seed = dice.next_seed();
    let mut generate = place::traffic((seed, EVENTS, 300), "2026-02-01T01:00:00+08:00", 5 * 24);
    generate.pop();
    generate.extend([made.display().to_string(), "--dup-rate".into(), "0.05".into()]);
    base.done(&generate.iter().map(String::as_str).collect::<Vec<_>>());
    let events = std::fs::read_to_string(&made).unwrap();
    let events: Vec<&str> = events.lines().collect();
    assert!(events.len() >= usize::try_from(EVENTS).unwrap());

    let runs = at_scale(3, 50);
    let (mut killed_running, mut within, mut first) = (0, STREAM, None);
    for number in 0..runs {
        let folder = scratch.path().join(format!("run-{number}"));
        place::copy(&base.folder, &folder);
        let run =
            Run { folder: &folder, partitions: 1 + dice.index(6), threads: 1 + dice.index(4) };
        let sent = folder.join("sent.jsonl");
        std::fs::write(&sent, reordered(&events, &mut dice)).unwrap();
        let sent = sent.to_str().unwrap();
        run.done(&["replay", sent, "--format", "jsonl", "--out", "kafka", "--batch", "50"]);
        for _ in 0..2 {
            let stream = run.tally(&["aggregate", "--until-end"]);
            if !killed(stream, &mut dice, within) {
                // It has read everything, and there is nothing more to disturb: earlier, next time.
                within /= 2;
                break;
            }
            killed_running += 1;
        }
        assert!(run.done(&["aggregate", "--until-end"]).contains("DRAINED"));
        let point = POINTS[dice.index(POINTS.len())];
        let sealed = run.sealed(point);
        let what = format!("run {number}: {} partitions, {point:?}", run.partitions);
        assert!(sealed.len() >= 8, "{what}: {:?}", sealed.keys());
        let first = first.get_or_insert_with(|| sealed.clone());
        for (name, bytes) in &sealed {
            let differs = || (text(bytes), first.get(name).map(|bytes| text(bytes)));
            assert!(first.get(name) == Some(bytes), "{what}: {name}: {:?}", differs());
        }
        assert_eq!(sealed.len(), first.len(), "{what}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
    let counted = first.iter().flat_map(BTreeMap::values).map(|bytes| {
        let statement: Value = serde_json::from_slice(bytes).unwrap();
        statement["control"]["events"].to_string().trim_matches('"').parse::<u64>().unwrap()
    });
    let counted: u64 = counted.sum();
    assert!(counted > u64::from(EVENTS) / 2, "{counted}");
    assert!(killed_running > 0, "no stream was killed while it ran");
    let mut figures = Figures::of("R29 the same month counted again", &dice);
    figures.note("runs", runs);
    figures.note("streams_killed", killed_running);
    figures.note("events_on_statements", counted);
    figures.report();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
