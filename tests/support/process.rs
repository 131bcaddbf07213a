//! A process that can be stopped in every way that a machine can stop it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::deadline::eventually;

/// How many of a log's last lines are shown when something is wrong.
const SHOWN_LINES: usize = 40;

/// A running process, its output in files. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts it; standard output goes to `NAME.out` and standard error to `NAME.log` in `folder`.
    pub(crate) fn start(name: &str, mut command: Command, folder: &Path) -> Self {
        let (out, log) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.log")));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), child, out, log }
    }

    /// `kill -9`, and waits for the body.
    pub(crate) fn kill(mut self) {
        self.assert_running();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Takes the processor away from it, as a paused virtual machine would.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// Asks it to end in order, and returns how it did.
    pub(crate) fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.assert_running();
        self.signal("TERM");
        self.wait(within)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        let began = std::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                began.elapsed() < within,
                "{} has not ended within {within:?}\n{}",
                self.name,
                self.tail()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end, which must be a success, and returns its standard output.
    pub(crate) fn succeed(&mut self, within: Duration) -> String {
        let status = self.wait(within);
        assert!(status.success(), "{} ended with {status}\n{}", self.name, self.tail());
        self.output()
    }

    /// Panics where it has ended by itself.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended by itself with {status}\n{}", self.name, self.tail());
        }
    }

    /// Waits until its log or its output has a line with `words`, and returns the line.
    pub(crate) fn says(&mut self, words: &str, within: Duration) -> String {
        let what = format!("{} saying {words:?}", self.name);
        eventually(&what, within, || {
            let found = [self.log(), self.output()]
                .iter()
                .find_map(|text| text.lines().find(|line| line.contains(words)).map(str::to_owned));
            if found.is_none() {
                self.assert_running();
            }
            found
        })
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// What it wrote to standard output so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.out).unwrap_or_default()).into_owned()
    }

    /// The most memory that it ever had, in KiB (`VmHWM`); 0 where the system does not say.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let Ok(status) = status else { return 0 };
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// The last lines of its output and its log.
    fn tail(&self) -> String {
        let tail = |text: String| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
        };
        format!("--- output\n{}\n--- log\n{}", tail(self.output()), tail(self.log()))
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status().unwrap();
        assert!(status.success(), "kill -s {signal} of {} ended with {status}", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.try_wait();
        if std::thread::panicking() {
            // The folder with its log goes with the test.
            let state = match &ended {
                Ok(Some(status)) => format!("had ended with {status}"),
                Ok(None) => "was running".to_owned(),
                Err(error) => error.to_string(),
            };
            // Its last words first: what shows a failed test may cut it.
            let log = self.log();
            let last = log.lines().next_back().unwrap_or_default();
            println!("{} {state} when the test failed: {last}\n{}", self.name, self.tail());
        }
        if ended.is_ok_and(|ended| ended.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
