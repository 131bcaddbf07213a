//! Progress of long jobs: a bar on a terminal, a plain line now and then elsewhere.

use std::io::IsTerminal;
use std::pin::pin;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tally_query::Scanned;
use tally_tables::Part;

use crate::cli::{GlobalArgs, LogFormat};
use crate::stdout::announcement;

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How many steps go by between looks at the clock.
const STEPS_PER_LOOK: u64 = 256;

/// How often a job that is followed is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How far a job is that says so itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// What it is at; empty where it has no parts.
    pub(crate) part: String,
    pub(crate) done: u64,
    /// Of how many, where that is known.
    pub(crate) total: Option<u64>,
}

impl From<Scanned> for Position {
    fn from(Scanned { rows, of }: Scanned) -> Self {
        Self { part: String::new(), done: rows, total: (of > 0).then_some(of) }
    }
}

impl From<Part> for Position {
    fn from(Part { name, done, of }: Part) -> Self {
        Self { part: name.to_owned(), done, total: (of > 0).then_some(of) }
    }
}

/// Runs a job, and shows meanwhile how far it is. Where the log is JSON, in lines of that.
pub(crate) async fn follow<T>(
    global: &GlobalArgs,
    what: &'static str,
    mut position: impl FnMut() -> Position,
    job: impl Future<Output = T>,
) -> T {
    let mut job = pin!(job);
    let mut progress = Progress::new(global, what, None);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            done = &mut job => {
                progress.finish();
                return done;
            }
            _ = looks.tick() => progress.at(position()),
        }
    }
}

/// Progress of one job, on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    /// What it is at; empty where it has no parts.
    part: String,
    total: Option<u64>,
    done: u64,
    started: Instant,
    last_line: Instant,
    format: LogFormat,
    bar: Option<Bar>,
}

/// A bar that goes with its job, also where that fails: what is said of that begins a line.
#[derive(Debug)]
struct Bar(ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Progress {
    /// Progress of a job of `total` steps, where that is known. Where the log is JSON, in lines of
    /// that.
    pub(crate) fn new(global: &GlobalArgs, what: &'static str, total: Option<u64>) -> Self {
        let (now, format) = (Instant::now(), global.log_format);
        let terminal = format == LogFormat::Text && std::io::stderr().is_terminal();
        let bar = terminal.then(|| Bar(bar(what, total)));
        let part = String::new();
        Self { what, part, total, done: 0, started: now, last_line: now, format, bar }
    }

    /// One more step is done.
    pub(crate) fn step(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(STEPS_PER_LOOK) {
            self.show();
        }
    }

    /// The job says how far it is.
    fn at(&mut self, position: Position) {
        let before = self.total;
        (self.part, self.done, self.total) = (position.part, position.done, position.total);
        if let Some(Bar(bar)) = &self.bar {
            if before.is_some() != self.total.is_some() {
                bar.set_style(style(self.total));
            }
            match self.total {
                Some(total) => bar.set_length(total),
                None => bar.unset_length(),
            }
            bar.set_message(self.heading());
            // The time goes on where the job seems not to.
            bar.tick();
        }
        self.show();
    }

    fn heading(&self) -> String {
        match self.part.as_str() {
            "" => self.what.to_owned(),
            part => format!("{}, {part}", self.what),
        }
    }

    fn show(&mut self) {
        match &self.bar {
            Some(Bar(bar)) => bar.set_position(self.done),
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                eprintln!("{}", announcement(self.format, &self.line()));
            }
            None => {}
        }
    }

    fn line(&self) -> String {
        let seconds = self.started.elapsed().as_secs();
        let (heading, done) = (self.heading(), HumanCount(self.done));
        match self.total {
            Some(total) => {
                format!("{heading}: {done} of {} after {seconds} s", HumanCount(total))
            }
            None => format!("{heading}: {done} after {seconds} s"),
        }
    }

    /// The job is over; returns how long it took.
    pub(crate) fn finish(self) -> Duration {
        if let Some(Bar(bar)) = &self.bar {
            bar.set_position(self.done);
        }
        self.started.elapsed()
    }
}

fn bar(what: &'static str, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
    bar.set_style(style(total));
    bar.set_message(what);
    bar
}

fn style(total: Option<u64>) -> ProgressStyle {
    let template = if total.is_some() {
        "{msg} [{bar:40}] {human_pos}/{human_len} {per_sec} {eta}"
    } else {
        "{msg} {spinner} {human_pos} {per_sec}"
    };
    // The templates are constants of this file; without one the default is drawn.
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const GLOBAL: GlobalArgs =
        GlobalArgs { config: None, json: false, log_format: LogFormat::Text };

    /// Progress without a bar, wherever the test runs.
    fn without_bar(what: &'static str, total: Option<u64>) -> Progress {
        Progress { bar: None, ..Progress::new(&GLOBAL, what, total) }
    }

    /// Progress with this bar.
    fn with_bar(shown: &ProgressBar, total: Option<u64>) -> Progress {
        let bar = Some(Bar(shown.clone()));
        Progress { bar, ..Progress::new(&GLOBAL, "verify", total) }
    }

    #[test]
    fn a_line_says_how_far_a_job_is() {
        let mut progress = without_bar("replay", Some(60_000));
        for _ in 0..12_800 {
            progress.step();
        }
        let line = progress.line();
        assert!(line.starts_with("replay: 12,800 of 60,000 after "), "{line}");
        let line = without_bar("replay", None).line();
        assert!(line.starts_with("replay: 0 after "), "{line}");
    }

    #[test]
    fn a_bar_follows_the_steps_and_goes_at_the_end() {
        let shown = bar("replay", Some(1_000));
        shown.set_draw_target(ProgressDrawTarget::hidden());
        let mut progress = with_bar(&shown, Some(1_000));
        for _ in 0..600 {
            progress.step();
        }
        // It is looked at now and then.
        assert_eq!((shown.position(), shown.length()), (512, Some(1_000)));
        assert_eq!(shown.message(), "replay");
        progress.finish();
        assert!(shown.is_finished());
    }

    #[test]
    fn the_bar_of_a_job_that_fails_goes_too() {
        let shown = bar("verify", Some(1_000));
        shown.set_draw_target(ProgressDrawTarget::hidden());
        let job = |outcome: Result<(), &'static str>| -> Result<(), &'static str> {
            let mut progress = with_bar(&shown, Some(1_000));
            progress.step();
            outcome?;
            progress.finish();
            Ok(())
        };
        assert!(job(Err("the store is away")).is_err());
        assert!(shown.is_finished());
    }

    #[test]
    fn a_job_that_is_followed_is_where_it_says() {
        let shown = bar("verify", None);
        shown.set_draw_target(ProgressDrawTarget::hidden());
        let mut progress = with_bar(&shown, None);
        progress.at(Position::default());
        assert_eq!((shown.position(), shown.length()), (0, None));
        progress.at(Part { name: "suspense", done: 4, of: 16 }.into());
        assert_eq!((shown.position(), shown.length()), (4, Some(16)));
        assert_eq!(shown.message(), "verify, suspense");
        assert!(progress.line().starts_with("verify, suspense: 4 of 16 after "));
        // More is to be read than was known.
        for of in [5_000, 70_000] {
            progress.at(Scanned { rows: 4_096, of }.into());
            assert_eq!((shown.position(), shown.length()), (4_096, Some(of)));
        }
        assert!(progress.line().starts_with("verify: 4,096 of 70,000 after "));
        progress.finish();
        assert!(shown.is_finished());
    }

    #[tokio::test]
    async fn a_job_is_looked_at_until_it_is_done() {
        let global = GlobalArgs { config: None, json: false, log_format: LogFormat::Json };
        let looks = AtomicU64::new(0);
        let position =
            || Position { done: looks.fetch_add(1, Ordering::Relaxed), ..Position::default() };
        let job = async {
            while looks.load(Ordering::Relaxed) < 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            "done"
        };
        assert_eq!(follow(&global, "job", position, job).await, "done");
        assert!(looks.into_inner() >= 3);
    }
}
