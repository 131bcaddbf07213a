//! What a test measured: printed, and appended as one JSON line to a file below the target folder.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::dice::{Dice, at_scale, shares};

/// The figures of one test.
#[derive(Debug)]
pub(crate) struct Figures {
    began: Instant,
    line: Map<String, Value>,
}

impl Figures {
    /// Figures of a test that began with these dice.
    pub(crate) fn of(test: &str, dice: &Dice) -> Self {
        let mut line = Map::new();
        line.insert("test".to_owned(), json!(test));
        line.insert("seed".to_owned(), json!(dice.seed()));
        let counts = if at_scale(0, 1) == 1 { "full" } else { "small" };
        line.insert("counts".to_owned(), json!(counts));
        let day = Timestamp::now().strftime("%Y-%m-%d").to_string();
        line.insert("day".to_owned(), json!(day));
        Self { began: dice.began(), line }
    }

    /// Adds a figure.
    pub(crate) fn note(&mut self, name: &str, value: impl Into<Value>) {
        self.line.insert(name.to_owned(), value.into());
    }

    /// Notes, where this run makes only a share of the full count of its rounds, of how many.
    pub(crate) fn note_shares(&mut self) {
        if shares() > 1 && at_scale(0, 1) == 1 {
            self.note("shares", shares());
        }
    }

    /// Adds how many times there are, their middle, 99th percentile and longest, in milliseconds.
    /// Of fewer than a hundred there is no 99th percentile: it would be the longest.
    pub(crate) fn note_times(&mut self, name: &str, mut times: Vec<Duration>) {
        times.sort();
        self.note(&format!("{name}_count"), times.len());
        let figures = [("p50", percentile(&times, 50)), ("p99", percentile(&times, 99))];
        for (what, time) in figures.into_iter().chain([("max", times.last().copied())]) {
            if let Some(time) = time {
                self.note(&format!("{name}_{what}_ms"), time.as_millis() as u64);
            }
        }
    }

    /// At the end of a test that has passed: prints the figures, and appends them to `TALLY_FIGURES` or `tmp/faults.jsonl` of the target
    /// folder.
    pub(crate) fn report(mut self) {
        self.note("elapsed_s", self.began.elapsed().as_secs());
        let line = Value::Object(self.line).to_string();
        println!("measured: {line}");
        let path = std::env::var_os("TALLY_FIGURES").map_or_else(
            || PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults.jsonl"),
            PathBuf::from,
        );
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// The time that so many percent of sorted times do not exceed; none where there are too few to
/// tell it from the longest.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let told_apart = sorted.len() * (100 - percent) >= 100;
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied().filter(|_| told_apart)
}

#[test]
fn a_percentile_needs_enough_times() {
    let times = |count: u64| -> Vec<Duration> { (1..=count).map(Duration::from_secs).collect() };
    assert_eq!(percentile(&times(0), 50), None);
    assert_eq!(percentile(&times(14), 50), Some(Duration::from_secs(7)));
    assert_eq!(percentile(&times(14), 99), None);
    assert_eq!(percentile(&times(99), 99), None);
    assert_eq!(percentile(&times(100), 99), Some(Duration::from_secs(99)));
    assert_eq!(percentile(&times(1_000), 99), Some(Duration::from_secs(990)));
}
