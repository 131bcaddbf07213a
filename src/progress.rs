//! Progress of long jobs: a bar on a terminal, a plain line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How many steps go by between looks at the clock.
const STEPS_PER_LOOK: u64 = 256;

/// Progress of one job, on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    total: Option<u64>,
    done: u64,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress of a job of `total` steps, where that is known.
    pub(crate) fn new(what: &'static str, total: Option<u64>) -> Self {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| bar(what, total));
        Self { what, total, done: 0, started: now, last_line: now, bar }
    }

    /// One more step is done.
    pub(crate) fn step(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(STEPS_PER_LOOK) {
            self.show();
        }
    }

    fn show(&mut self) {
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                eprintln!("{}", self.line());
            }
            None => {}
        }
    }

    fn line(&self) -> String {
        let seconds = self.started.elapsed().as_secs();
        let done = HumanCount(self.done);
        match self.total {
            Some(total) => {
                format!("{}: {done} of {} after {seconds} s", self.what, HumanCount(total))
            }
            None => format!("{}: {done} after {seconds} s", self.what),
        }
    }

    /// The job is over; returns how long it took.
    pub(crate) fn finish(self) -> Duration {
        if let Some(bar) = self.bar {
            bar.set_position(self.done);
            bar.finish_and_clear();
        }
        self.started.elapsed()
    }
}

fn bar(what: &'static str, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
    let template = if total.is_some() {
        "{msg} [{bar:40}] {human_pos}/{human_len} {per_sec} {eta}"
    } else {
        "{msg} {spinner} {human_pos} {per_sec}"
    };
    // The templates are constants of this file; without one the default is drawn.
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(what);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_a_job_is() {
        let mut progress = Progress { bar: None, ..Progress::new("replay", Some(60_000)) };
        for _ in 0..12_800 {
            progress.step();
        }
        let line = progress.line();
        assert!(line.starts_with("replay: 12,800 of 60,000 after "), "{line}");
        let line = Progress { bar: None, ..Progress::new("replay", None) }.line();
        assert!(line.starts_with("replay: 0 after "), "{line}");
    }

    #[test]
    fn a_bar_follows_the_steps_and_goes_at_the_end() {
        let shown = bar("replay", Some(1_000));
        shown.set_draw_target(ProgressDrawTarget::hidden());
        let of_job = Some(shown.clone());
        let mut progress = Progress { bar: of_job, ..Progress::new("replay", Some(1_000)) };
        for _ in 0..600 {
            progress.step();
        }
        // It is looked at now and then.
        assert_eq!((shown.position(), shown.length()), (512, Some(1_000)));
        assert_eq!(shown.message(), "replay");
        progress.finish();
        assert!(shown.is_finished());
    }
}
