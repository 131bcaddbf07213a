//! Bad days: each is named by `tally status`, `tally doctor`, the process's log and its metrics within
//! half a minute, and afterwards nothing is missing. The table of all of them is in
//! `docs/operations/bad-days.md`; those of certificates are in `bad_certificates.rs`.

use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tally_generate::Truth;

use crate::door::{address, post};
use crate::embedded;
use crate::kafka_outage::{Broker, events};
use crate::support::{
    Dice, Fault, FaultProxy, Process, S3Server, Scope, Stream, Traffic, block_on, eventually,
    patience,
};

/// In which trouble is to be named.
const NAMED_WITHIN: Duration = Duration::from_secs(30);

/// What the brokers' user `tally` has for a password, as long as it is well.
pub(crate) const PASSWORD: &str = "the-first";

/// Variables by which the store is reached.
pub(crate) type Way = Vec<(&'static str, String)>;

/// A stream on an S3 server of its own, with an aggregator that reaches it by another way than the
/// test: through a proxy, where nothing else is said.
pub(crate) struct Day {
    dice: Dice,
    s3: S3Server,
    proxy: FaultProxy,
    /// The aggregator's, and that of commands that look.
    way: Way,
    process: Process,
    metrics: String,
    /// Last: the server's folder is within its own, which goes with it.
    stream: Stream,
}

impl Day {
    fn begin(test: &str) -> Self {
        Self::begin_by(test, |_, proxy| vec![("AWS_ENDPOINT_URL", proxy.url())])
    }

    /// The same by a way of its own to the server's objects.
    pub(crate) fn begin_by(test: &str, way: impl FnOnce(&S3Server, &FaultProxy) -> Way) -> Self {
        let mut dice = Dice::of(test);
        let mut stream = Stream::new(test, dice.seed(), 2);
        let s3 = S3Server::start(&stream.folder().join("s3"));
        stream.servers.s3 = format!("http://{}", s3.address);
        let proxy = FaultProxy::start(&s3.address, dice.clone());
        let way = way(&s3, &proxy);
        let mut command = stream.tally(&["aggregate", "--listen", "127.0.0.1:0"]);
        command.envs(way.iter().cloned());
        let mut process = stream.start("aggregate", command);
        let metrics = listens(&mut process);
        stream.send(&Traffic::mixed(dice.next_seed(), 1_000));
        let mut ledger = stream.ledger();
        eventually("a first commit", patience(), || stream.is_committed(&mut ledger).then_some(()));
        assert_eq!(troubles(&metrics), Vec::<String>::new());
        Self { stream, dice, s3, proxy, way, process, metrics }
    }

    /// What a command says that reaches the store as the aggregator does.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let mut command = self.stream.tally(arguments);
        words(command.envs(self.way.iter().cloned()))
    }

    /// More comes in, and the cause is named by all four, in these words, within half a minute of the
    /// trouble, which has just begun.
    pub(crate) fn is_named(&mut self, cause: &str, said: &str, advice: &str) {
        let began = Instant::now();
        let traffic = Traffic::mixed(self.dice.next_seed(), 1_000);
        let at = self.at();
        let sending = self.stream.sending(&traffic);
        let (stream, way) = (&self.stream, &self.way);
        let says = |arguments: &[&str]| {
            let mut command = stream.tally(arguments);
            words(command.envs(way.iter().cloned()))
        };
        let status = ["status", "--ask", &at];
        let commands: [&[&str]; 2] = [&status, &["doctor"]];
        std::thread::scope(|scope| {
            for command in commands {
                scope.spawn(move || {
                    named(began, || says(command), |found| flat(found).contains(said));
                });
                let json = [command, &["--json"]].concat();
                scope.spawn(move || {
                    let names = |found: &str| found.contains(said) && found.contains(advice);
                    named(began, || says(&json), names);
                });
            }
            metrics_name(began, &self.metrics, cause);
            let line = self.process.says(said, left(began));
            assert!(line.contains(advice), "{line}");
        });
        self.process.assert_running();
        self.stream.sent(sending);
    }

    /// Where the process is asked. `tally status` writes nothing: what only who writes can see, it
    /// hears there.
    fn at(&self) -> String {
        format!("http://{}", self.metrics)
    }

    /// It is over, is said to be, and nothing is missing.
    pub(crate) fn ends(mut self, cause: &str) {
        eventually("metrics that say that it is over", NAMED_WITHIN, || {
            (!troubles(&self.metrics).contains(&cause.to_owned())).then_some(())
        });
        self.process.says("over: ", NAMED_WITHIN);
        let status = self.says(&["status", "--ask", &self.at(), "--json"]);
        let status: Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["troubles"], serde_json::json!([]), "{status}");
        let traffic = Traffic::mixed(self.dice.next_seed(), 1_000);
        self.stream.send(&traffic);
        let mut ledger = self.stream.ledger();
        eventually("everything committed", patience(), || {
            self.stream.is_committed(&mut ledger).then_some(())
        });
        assert!(self.process.terminate(patience()).success());
        self.stream.drain();
        self.stream.expect_exactly_once();
    }
}

/// The address that a process names in its log.
fn listens(process: &mut Process) -> String {
    address(&process.says("health and metrics on", patience())).to_owned()
}

/// The causes that the metrics of a process name.
pub(crate) fn troubles(metrics: &str) -> Vec<String> {
    let url = format!("http://{metrics}/metrics");
    let text = block_on(async { reqwest::get(url).await.unwrap().text().await.unwrap() });
    assert!(text.contains("tally_trouble{cause=\"store_away\"} "), "{text}");
    let cause = |line: &str| {
        let (cause, value) = line.strip_prefix("tally_trouble{cause=\"")?.split_once("\"} ")?;
        (value == "1").then(|| cause.to_owned())
    };
    text.lines().filter_map(cause).collect()
}

/// What a command says on either of its outputs; it has ended within half a minute.
pub(crate) fn words(command: &mut Command) -> String {
    let mut said = tempfile::tempfile().unwrap();
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command.stdout(said.try_clone().unwrap()).stderr(said.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > NAMED_WITHIN {
            drop((child.kill(), child.wait()));
            panic!("{command:?} has not ended within {NAMED_WITHIN:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut bytes = Vec::new();
    said.rewind().unwrap();
    said.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is left of the half minute in which trouble that began then is to be named.
pub(crate) fn left(began: Instant) -> Duration {
    NAMED_WITHIN.saturating_sub(began.elapsed())
}

/// Asks until the answer names the trouble that began then: within half a minute.
pub(crate) fn named(began: Instant, ask: impl Fn() -> String, names: impl Fn(&str) -> bool) {
    loop {
        let said = ask();
        let took = began.elapsed();
        assert!(took < NAMED_WITHIN, "after {took:?}: {said}");
        if names(&said) {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits for the metrics of a process to name the cause of trouble that began then.
pub(crate) fn metrics_name(began: Instant, metrics: &str, cause: &str) {
    eventually("metrics that name the cause", left(began), || {
        troubles(metrics).contains(&cause.to_owned()).then_some(())
    });
}

/// Without the line breaks of a table.
pub(crate) fn flat(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_store_is_gone() {
    let mut day = Day::begin("bad-day-store-gone");
    day.proxy.spoil(Scope::All, 100, &[Fault::Reset]);
    day.is_named("store_away", "the store does not answer", "look whether the store runs");
    day.proxy.heal();
    day.ends("store_away");
}

#[test]
fn the_store_says_nothing() {
    let mut day = Day::begin("bad-day-store-silent");
    day.proxy.spoil(Scope::All, 100, &[Fault::Silent]);
    day.is_named("store_away", "the store does not answer", "look whether the store runs");
    day.proxy.heal();
    day.ends("store_away");
}

/// Who reads and who cleans up depend on the store too.
#[test]
fn readers_and_the_janitor_name_it_as_well() {
    let mut day = Day::begin("bad-day-roles");
    let mut start = |arguments: &[&str], words: &str| {
        let mut command = day.stream.tally(arguments);
        command.env("AWS_ENDPOINT_URL", day.proxy.url());
        command.env("TALLY_AGGREGATE__JANITOR_INTERVAL_MS", "1000");
        let mut process = day.stream.start(arguments[0], command);
        let at = address(&process.says(words, patience())).to_owned();
        assert_eq!(troubles(&at), Vec::<String>::new());
        (process, at)
    };
    let mut roles = [
        start(&["query"], "listening on http://"),
        start(&["janitor", "--listen", "127.0.0.1:0"], "health and metrics on"),
    ];
    let mut named_by_all =
        |cause: &str, said: &str, advice: &str, begin: &dyn Fn(), end: &dyn Fn()| {
            let began = Instant::now();
            begin();
            for (process, at) in &mut roles {
                metrics_name(began, at, cause);
                let line = process.says(&format!("{said}: s3://"), left(began));
                assert!(line.contains(advice), "{line}");
            }
            end();
            for (process, at) in &mut roles {
                eventually("metrics that say that it is over", NAMED_WITHIN, || {
                    troubles(at).is_empty().then_some(())
                });
                process.says(&format!("over: {said}"), NAMED_WITHIN);
            }
        };
    let fault = if day.dice.chance(50) { Fault::Reset } else { Fault::Silent };
    named_by_all(
        "store_away",
        "the store does not answer",
        "look whether the store runs",
        &|| day.proxy.spoil(Scope::All, 100, &[fault]),
        &|| day.proxy.heal(),
    );
    let changed = day.s3.with_secret(&day.stream.folder().join("s3-changed"), "another-secret");
    named_by_all(
        "store_credentials",
        "the store does not take these credentials",
        "AWS_SECRET_ACCESS_KEY",
        &|| day.proxy.redirect(&changed.address),
        &|| day.proxy.redirect(&day.s3.address),
    );
    drop(changed);
    for (process, _) in &mut roles {
        assert!(process.terminate(patience()).success());
    }
    day.ends("store_credentials");
}

#[test]
fn the_store_is_read_only() {
    let mut day = Day::begin("bad-day-read-only");
    let read_only = day.s3.read_only(&day.stream.folder().join("s3-read-only"));
    day.proxy.redirect(&read_only.address);
    day.is_named("store_read_only", "the store is read-only", "let this user read, write");
    day.proxy.redirect(&day.s3.address);
    // While its folder, which is the day's, is there to say which process it is.
    drop(read_only);
    day.ends("store_read_only");
}

#[test]
fn the_stores_secret_was_changed() {
    let mut day = Day::begin("bad-day-credentials");
    let changed = day.s3.with_secret(&day.stream.folder().join("s3-changed"), "another-secret");
    day.proxy.redirect(&changed.address);
    let said = "the store does not take these credentials";
    day.is_named("store_credentials", said, "AWS_SECRET_ACCESS_KEY");
    day.proxy.redirect(&day.s3.address);
    drop(changed);
    day.ends("store_credentials");
}

#[test]
fn the_clock_is_an_hour_off() {
    let mut day = Day::begin("bad-day-clock");
    // The store is the one that is off, which from here looks the same.
    let ahead = day.dice.chance(50);
    let off = if ahead { Fault::ClockOff(-3_600) } else { Fault::ClockOff(3_600) };
    day.proxy.spoil(Scope::All, 100, &[off]);
    day.is_named("clock", if ahead { "ahead of the store's" } else { "behind the store's" }, "NTP");
    day.proxy.heal();
    day.ends("clock");
}

#[test]
fn a_table_is_moved_away() {
    let mut day = Day::begin("bad-day-table");
    let (prefix, whole) = (day.stream.prefix.clone(), day.dice.chance(50));
    let moved = if whole { "usage_events" } else { "usage_events/_delta_log" };
    let table = day.s3.path(&format!("{prefix}/tables/{moved}"));
    let elsewhere = day.s3.path(&format!("{prefix}/elsewhere"));
    let made = day.s3.path(&format!("{prefix}/made/usage_events"));
    eventually("a table", patience(), || made.exists().then_some(()));
    std::fs::rename(&table, &elsewhere).unwrap();
    day.is_named("table_gone", "a table was moved away", "put it back");
    // Who begins now neither makes it anew nor takes it for empty.
    let query = day.says(&["sql", "SELECT count(*) FROM usage_events"]);
    assert!(query.contains("table usage_events is not where it was made"), "{query}");
    let janitor = day.says(&["janitor", "--once"]);
    assert!(janitor.contains("table usage_events is not where it was made"), "{janitor}");
    put_back(&elsewhere, &table);
    day.ends("table_gone");
}

/// Moves a folder back to where files may have been written meanwhile.
fn put_back(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success());
    std::fs::remove_dir_all(from).unwrap();
}

#[test]
fn a_misspelt_key_keeps_a_process_from_starting_and_loses_nothing() {
    let mut dice = Dice::of("bad-day-key");
    let mut stream = Stream::new("bad-day-key", dice.seed(), 2);
    stream.send(&Traffic::mixed(dice.next_seed(), 1_000));
    let mut misspelt = stream.tally(&["aggregate"]);
    misspelt.env("TALLY_AGGREGATE__FRESHNES_MS", "100");
    let mut process = stream.start("misspelt", misspelt);
    assert_eq!(process.wait(NAMED_WITHIN).code(), Some(2));
    let log = process.log();
    assert!(log.contains("TALLY_AGGREGATE__FRESHNES_MS"), "{log}");
    assert!(log.contains("aggregate.freshness_ms"), "{log}");
    for command in ["status", "doctor"] {
        let mut misspelt = stream.tally(&[command]);
        let said = flat(&words(misspelt.env("TALLY_AGGREGATE__FRESHNES_MS", "100")));
        assert!(said.contains("aggregate.freshness_ms"), "{command}: {said}");
    }
    stream.drain();
    stream.expect_exactly_once();
}

#[test]
fn kafka_does_not_take_the_password() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("run `make test`"));
    let folder = tempfile::tempdir().unwrap();
    let tally = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
        let authorities = variable("TALLY_TEST_KAFKA_CA");
        command.args(arguments).current_dir(folder.path()).env_remove("RUST_LOG").envs([
            ("TALLY_LOG__KAFKA", variable("TALLY_TEST_KAFKA_SECURE").as_str()),
            ("TALLY_LOG__KAFKA_OPTIONS__SECURITY_PROTOCOL", "SASL_SSL"),
            ("TALLY_LOG__KAFKA_OPTIONS__SSL_CA_LOCATION", authorities.as_str()),
            ("TALLY_LOG__KAFKA_OPTIONS__SASL_MECHANISMS", "PLAIN"),
            ("TALLY_LOG__KAFKA_OPTIONS__SASL_USERNAME", "tally"),
            ("TALLY_LOG__KAFKA_OPTIONS__SASL_PASSWORD", "guessed"),
        ]);
        command
    };
    let began = Instant::now();
    let log = words(&mut tally(&["aggregate"]));
    assert!(log.contains("Authentication failed"), "{log}");
    assert!(began.elapsed() < NAMED_WITHIN, "{:?}", began.elapsed());
    refusal_is_said(Instant::now(), "Kafka refuses this user", &tally);
}

/// That `tally status` and `tally doctor` say in these words that Kafka is of no use, and what to look
/// at, within half a minute.
fn refusal_is_said(began: Instant, words_of_it: &str, tally: &(dyn Fn(&[&str]) -> Command + Sync)) {
    std::thread::scope(|scope| {
        for command in ["status", "doctor"] {
            scope.spawn(move || {
                let names = |said: &str| {
                    let said = flat(said);
                    said.contains(words_of_it) && said.contains("log.kafka_options")
                };
                named(began, || words(&mut tally(&[command])), names);
            });
        }
    });
}

#[test]
fn kafkas_password_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::new(folder.path());
    broker.wants(PASSWORD);
    kafka_lets_nobody_in(
        folder.path(),
        broker,
        |broker| broker.wants("the-second"),
        |broker| broker.wants(PASSWORD),
        ("kafka_refuses", "Kafka refuses this user"),
    );
}

/// The brokers change, one after the other, under an aggregator and a door, and are of no use any
/// more, by this cause and in these words: neither process ends, what is refused is sent again by the
/// gateway, and the change back brings all of it back.
pub(crate) fn kafka_lets_nobody_in(
    folder: &Path,
    mut broker: Broker,
    change: impl FnOnce(&mut Broker),
    change_back: impl FnOnce(&mut Broker),
    (cause, said): (&str, &str),
) {
    broker.run("start");
    let command = |broker: &Broker, arguments: &[&str]| broker.tally_with(PASSWORD, arguments);
    let listening = command(&broker, &["aggregate", "--listen", "127.0.0.1:0"]);
    let mut process = Process::start("aggregate", listening, folder);
    let metrics = listens(&mut process);
    let mut door = Process::start("ingest", command(&broker, &["ingest"]), folder);
    let at_door = address(&door.says("http://", patience())).to_owned();
    generate(folder, &at_door, "6", command(&broker, &["generate"])).succeed(patience());

    broker.run("stop");
    change(&mut broker);
    broker.run("start");
    let began = Instant::now();
    let mut sending = generate(folder, &at_door, "7", command(&broker, &["generate"]));
    let url = format!("http://{at_door}/v1/events");
    let (status, answer) = block_on(post(&url, "application/json", events(0..100)));
    assert_eq!(status, 503, "{answer}");
    std::thread::scope(|scope| {
        let broker = &broker;
        scope.spawn(move || {
            refusal_is_said(began, said, &|arguments| broker.tally_with(PASSWORD, arguments));
        });
        for metrics in [&metrics, &at_door] {
            metrics_name(began, metrics, cause);
        }
        for process in [&mut process, &mut door] {
            let line = process.says(said, left(began));
            assert!(line.contains("log.kafka_options"), "{line}");
            assert!(!line.contains(PASSWORD) && !line.contains("the-second"), "{line}");
        }
    });
    // For longer than librdkafka keeps the same refusal to itself: it is not taken for silence.
    while began.elapsed() < Duration::from_secs(50) {
        for metrics in [&metrics, &at_door] {
            assert_eq!(troubles(metrics), [cause], "after {:?}", began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(500));
    }

    broker.run("stop");
    change_back(&mut broker);
    broker.run("start");
    for metrics in [&metrics, &at_door] {
        eventually("metrics that say that it is over", NAMED_WITHIN, || {
            troubles(metrics).is_empty().then_some(())
        });
    }
    sending.succeed(patience());
    for process in [&mut door, &mut process] {
        assert!(process.terminate(patience()).success());
    }
    let mut truth = read_truth(&folder.join("truth-6.json"));
    truth.merge(&read_truth(&folder.join("truth-7.json"))).unwrap();
    verify_resent(folder, truth, &|arguments| command(&broker, arguments));
}

#[test]
fn kafka_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::new(folder.path());
    broker.run("start");
    let listening = ["aggregate", "--listen", "127.0.0.1:0"];
    let mut process = Process::start("aggregate", broker.tally(&listening), folder.path());
    let metrics = listens(&mut process);
    let mut door = Process::start("ingest", broker.tally(&["ingest"]), folder.path());
    let at_door = address(&door.says("http://", patience())).to_owned();
    let truth = folder.path().join("truth-7.json");
    broker.run("stop");
    let began = Instant::now();
    // A gateway goes on sending, and the door refuses.
    let mut sending = generate(folder.path(), &at_door, "7", broker.tally(&["generate"]));
    std::thread::scope(|scope| {
        let broker = &broker;
        for command in ["status", "doctor"] {
            scope.spawn(move || {
                let names = |said: &str| flat(said).contains("Kafka does not answer");
                named(began, || words(&mut broker.tally(&[command])), names);
            });
        }
        for metrics in [&metrics, &at_door] {
            metrics_name(began, metrics, "kafka_away");
        }
        for process in [&mut process, &mut door] {
            let line = process.says("Kafka does not answer", left(began));
            assert!(line.contains("look whether the brokers run"), "{line}");
        }
    });
    broker.run("start");
    eventually("metrics that say that it is over", NAMED_WITHIN, || {
        troubles(&metrics).is_empty().then_some(())
    });
    sending.succeed(patience());
    for process in [&mut door, &mut process] {
        assert!(process.terminate(patience()).success());
    }
    let tally = |arguments: &[&str]| broker.tally(arguments);
    verify_resent(folder.path(), read_truth(&truth), &tally);
}

/// That nothing is missing and nothing is there twice, where a gateway sent again what it was not
/// told to be there: that are duplicates, and nothing else.
pub(crate) fn verify_resent(folder: &Path, mut truth: Truth, tally: &dyn Fn(&[&str]) -> Command) {
    let drain = tally(&["aggregate", "--until-end"]);
    Process::start("drain", drain, folder).succeed(patience());
    let query = "SELECT sum(received) AS n FROM system.partitions";
    let rows = words(&mut tally(&["sql", "--format", "json", query]));
    let rows: Value = serde_json::from_str(&rows).unwrap_or_else(|_| panic!("{rows}"));
    let received: u64 = rows[0]["n"].to_string().trim_matches('"').parse().unwrap();
    let again = received.checked_sub(truth.sent).expect("less is there than was sent");
    println!("{again} events were sent again");
    truth.sent += again;
    truth.duplicates += again;
    let path = folder.join("truth.json");
    std::fs::write(&path, serde_json::to_vec(&truth).unwrap()).unwrap();
    let verify = tally(&["verify", "--truth", path.to_str().unwrap()]);
    Process::start("verify", verify, folder).succeed(patience());
}

/// Sends events to the door of a process until all are taken.
pub(crate) fn generate(folder: &Path, at: &str, seed: &str, mut command: Command) -> Process {
    command.args(["--events", "1000", "--seed", seed, "--bad-rate", "0"]);
    command.args(["--out", "http", "--truth"]);
    command.arg(folder.join(format!("truth-{seed}.json"))).env("TALLY_HTTP__LISTEN", at);
    Process::start(&format!("generate-{seed}"), command, folder)
}

/// A disk of its own, as large as is said, in a namespace that only its commands see.
struct SmallDisk {
    holder: std::process::Child,
    user: bool,
}

impl SmallDisk {
    /// None where this user may not mount, not even in a user namespace of its own.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        [false, true].into_iter().find_map(|user| Self::mount_as(at, size, user))
    }

    fn mount_as(at: &Path, size: &str, user: bool) -> Option<Self> {
        let script = format!(
            "mount -t tmpfs -o size={size} tmpfs '{0}' && touch '{0}/mounted' && exec sleep 600",
            at.display()
        );
        let mut command = Command::new("unshare");
        if user {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        let mut disk = Self { holder: command.spawn().ok()?, user };
        eventually("a disk, or a refusal", Duration::from_secs(20), || {
            let refused = disk.holder.try_wait().unwrap().is_some();
            let mut there = disk.within(Command::new("test").arg("-e").arg(at.join("mounted")));
            (refused || there.output().is_ok_and(|tried| tried.status.success())).then_some(())
        });
        let mounted = disk.holder.try_wait().unwrap().is_none();
        mounted.then_some(disk)
    }

    /// The same command, where the disk is seen.
    fn within(&self, command: &Command) -> Command {
        let mut within = Command::new("nsenter");
        let holder = self.holder.id();
        if self.user {
            within.arg(format!("--user=/proc/{holder}/ns/user")).arg("--preserve-credentials");
        }
        within.arg(format!("--mount=/proc/{holder}/ns/mnt")).arg("--");
        within.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => within.env(key, value),
                None => within.env_remove(key),
            };
        }
        within
    }

    /// Writes until nothing more fits, and returns the file that takes it all.
    fn fill(&self, at: &Path) -> PathBuf {
        let ballast = at.join("ballast");
        let fill = format!("cat /dev/zero > '{}'", ballast.display());
        let filled = self.within(Command::new("sh").args(["-c", &fill])).output().unwrap();
        assert!(!filled.status.success(), "the disk was not filled");
        ballast
    }
}

/// Says that a full disk was not tried.
fn skipped(test: &str) {
    // Not by `println`: of a test that passes, that is not shown.
    let words = format!(
        "skipped: {test}: this user may not mount a file system, so a full disk is not tried; run the tests as root, or allow user namespaces\n"
    );
    std::io::stderr().write_all(words.as_bytes()).unwrap();
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

#[test]
fn the_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = folder.join("data");
    std::fs::create_dir(&data).unwrap();
    // More than what a disk must have left, so that it is well before.
    let Some(disk) = SmallDisk::mount(&data, "400m") else {
        skipped("the_disk_is_full");
        return;
    };
    let tally = |arguments: &[&str]| disk.within(&embedded::tally(&data, arguments));
    let mut process = Process::start("up", tally(&["up"]), folder);
    let at = address(&process.says("HTTP ", patience())).to_owned();
    generate(folder, &at, "7", tally(&["generate"])).succeed(patience());
    assert_eq!(troubles(&at), Vec::<String>::new());

    let ballast = disk.fill(&data);
    let began = Instant::now();
    let mut sending = generate(folder, &at, "8", tally(&["generate"]));
    metrics_name(began, &at, "disk_full");
    let line = process.says("a disk is full", left(began));
    assert!(line.contains("make room"), "{line}");
    named(began, || words(&mut tally(&["status"])), |said| said.contains("a disk is full"));
    let wrong = "WRONG disk of the log folder";
    named(began, || words(&mut tally(&["doctor"])), |said| flat(said).contains(wrong));

    assert!(disk.within(Command::new("rm").arg(&ballast)).status().unwrap().success());
    // What of the failed write reached the disk nobody knows: the log takes no more until it is
    // opened anew, and that is said too.
    eventually("metrics that name what is left to do", NAMED_WITHIN, || {
        (troubles(&at) == ["log_broken"]).then_some(())
    });
    let status = words(&mut tally(&["status"]));
    assert!(status.contains("free the disk and start again"), "{status}");
    assert!(process.terminate(patience()).success());
    let mut again = tally(&["up"]);
    again.env("TALLY_HTTP__LISTEN", &at);
    let mut process = Process::start("up-again", again, folder);
    sending.succeed(patience());
    assert_eq!(troubles(&at), Vec::<String>::new());
    assert!(process.terminate(patience()).success());
    let mut truth = read_truth(&folder.join("truth-7.json"));
    truth.merge(&read_truth(&folder.join("truth-8.json"))).unwrap();
    verify_resent(folder, truth, &tally);
}

/// Where a reader spills to is full: it says so, and what is stored does not depend on it.
#[test]
fn the_disk_of_a_reader_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let spills = folder.join("spills");
    std::fs::create_dir(&spills).unwrap();
    let Some(disk) = SmallDisk::mount(&spills, "400m") else {
        skipped("the_disk_of_a_reader_is_full");
        return;
    };
    let (mut up, at_up) = embedded::up(folder, "up");
    generate(folder, &at_up, "7", embedded::tally(folder, &["generate"])).succeed(patience());
    assert!(up.terminate(patience()).success());
    let tally = |arguments: &[&str]| {
        let mut command = embedded::tally(folder, arguments);
        disk.within(command.env("TMPDIR", &spills))
    };
    let mut process = Process::start("query", tally(&["query"]), folder);
    let at = address(&process.says("listening on http://", patience())).to_owned();
    assert_eq!(troubles(&at), Vec::<String>::new());

    let began = Instant::now();
    let ballast = disk.fill(&spills);
    metrics_name(began, &at, "disk_full");
    let line = process.says("a disk is full", left(began));
    assert!(line.contains("(temporary)") && line.contains("make room"), "{line}");
    named(began, || words(&mut tally(&["status"])), |said| said.contains("a disk is full"));
    let wrong = "WRONG disk of the temporary folder";
    named(began, || words(&mut tally(&["doctor"])), |said| flat(said).contains(wrong));

    assert!(disk.within(Command::new("rm").arg(&ballast)).status().unwrap().success());
    eventually("metrics that say that it is over", NAMED_WITHIN, || {
        troubles(&at).is_empty().then_some(())
    });
    process.says("over: a disk is full", NAMED_WITHIN);
    assert!(process.terminate(patience()).success());
    verify_resent(folder, read_truth(&folder.join("truth-7.json")), &tally);
}

pub(crate) fn read_truth(path: &Path) -> Truth {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
