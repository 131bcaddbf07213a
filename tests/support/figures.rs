//! What a test measured: printed, and appended as one JSON line to a file below the target folder.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::dice::Dice;

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
        Self { began: dice.began(), line }
    }

    /// Adds a figure.
    pub(crate) fn note(&mut self, name: &str, value: impl Into<Value>) {
        self.line.insert(name.to_owned(), value.into());
    }

    /// Adds the middle, the 99th percentile and the longest of some times, in milliseconds.
    pub(crate) fn note_times(&mut self, name: &str, mut times: Vec<Duration>) {
        times.sort();
        let Some(longest) = times.last().copied() else { return };
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        for (what, time) in [("p50", at(50)), ("p99", at(99)), ("max", longest)] {
            self.note(&format!("{name}_{what}_ms"), time.as_millis() as u64);
        }
    }

    /// Prints the figures, and appends them to `TALLY_FIGURES` or `tmp/faults.jsonl` of the target
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
