//! One test's own stream: a topic, a store prefix, the processes over them, and the truth about
//! what was sent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tally_generate::Truth;
use tally_schemas::partition_of;
use tempfile::TempDir;

use super::dice::at_scale;
use super::ledger::{Ledger, open_s3};
use super::process::Process;
use super::servers::Servers;
use super::topic::{Payload, Topic};
use super::traffic::Traffic;

/// When something that goes on by itself counts as hanging.
pub(crate) fn patience() -> Duration {
    Duration::from_secs(at_scale(180, 4 * 3_600))
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The real servers.
    pub(crate) servers: Servers,
    /// Its topic.
    pub(crate) topic: Topic,
    /// The URL of its store.
    pub(crate) store: String,
    /// What must come out of everything that was sent.
    pub(crate) truth: Truth,
    /// Below it are its objects in the bucket.
    pub(crate) prefix: String,
    settings: BTreeMap<String, String>,
    folder: Option<TempDir>,
    started: u32,
}

/// Traffic that is being sent while other things happen.
#[derive(Debug)]
pub(crate) struct Sending {
    process: Process,
    truth: PathBuf,
}

impl Stream {
    /// A new topic and an empty store, named after the test and a seed.
    pub(crate) fn new(test: &str, seed: u64, partitions: u32) -> Self {
        let servers = Servers::of_environment();
        let name = format!("{test}-{seed}-{}", std::process::id());
        let topic = Topic::create(&servers.kafka, &name, partitions);
        let models = format!("{name}.models");
        let store = format!("s3://tally/{name}");
        let folder = tempfile::Builder::new().prefix(&format!("tally-{test}-")).tempdir().unwrap();
        let alerts = format!("{name}.alerts");
        let statuses = format!("{name}.status");
        let settings = [
            ("log.kafka", servers.kafka.as_str()),
            ("log.topic", name.as_str()),
            ("log.group", name.as_str()),
            ("alerts.topic", alerts.as_str()),
            ("budgets.topic", models.as_str()),
            ("quota.topic", statuses.as_str()),
            // A member that was killed is missed for two seconds, and not for ten.
            ("log.kafka_options.session.timeout.ms", "2000"),
            ("log.kafka_options.heartbeat.interval.ms", "200"),
            ("store.url", store.as_str()),
            ("http.listen", "127.0.0.1:0"),
            ("query.pg_listen", "127.0.0.1:0"),
            ("query.flight_listen", "127.0.0.1:0"),
            // Many small epochs: more instants at which a fault can hit.
            ("aggregate.freshness_ms", "250"),
            ("aggregate.epoch_max_events", "2000"),
            ("aggregate.publish_interval_ms", "200"),
            ("aggregate.drain_timeout_ms", "1500"),
        ];
        let settings =
            settings.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self {
            servers,
            topic,
            store,
            truth: Truth::new(seed),
            prefix: name,
            settings,
            folder: Some(folder),
            started: 0,
        }
    }

    /// Changes a setting of the processes that are started from now on.
    pub(crate) fn set(&mut self, key: &str, value: impl ToString) {
        self.settings.insert(key.to_owned(), value.to_string());
    }

    /// From now on the store is at another prefix of the bucket.
    pub(crate) fn move_to(&mut self, prefix: &str) {
        self.store = format!("s3://tally/{prefix}");
        self.prefix = prefix.to_owned();
        self.set("store.url", self.store.clone());
    }

    /// The prefix of its store in the bucket.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `tally` with this stream's settings, which it gets by its environment alone.
    pub(crate) fn tally(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
        command
            .args(arguments)
            .current_dir(self.folder())
            .env("AWS_ENDPOINT_URL", &self.servers.s3);
        for (key, value) in &self.settings {
            let (section, name) = key.split_once('.').unwrap();
            let name = match name.strip_prefix("kafka_options.") {
                Some(option) => format!("KAFKA_OPTIONS__{}", option.replace('.', "_")),
                None => name.to_owned(),
            };
            command.env(format!("TALLY_{section}__{name}").to_uppercase(), value);
        }
        command
    }

    /// Starts a command in the background.
    pub(crate) fn start(&mut self, name: &str, command: Command) -> Process {
        self.started += 1;
        Process::start(&format!("{:03}-{name}", self.started), command, self.folder())
    }

    /// Runs a command to its successful end and returns its standard output.
    pub(crate) fn run(&mut self, name: &str, command: Command) -> String {
        self.start(name, command).succeed(patience())
    }

    /// Starts a member of the stream's consumer group.
    pub(crate) fn aggregate(&mut self, name: &str) -> Process {
        let command = self.tally(&["aggregate"]);
        self.start(name, command)
    }

    /// Starts an aggregator that reaches S3 by another address.
    pub(crate) fn aggregate_through(&mut self, name: &str, endpoint: &str) -> Process {
        let mut command = self.tally(&["aggregate"]);
        command.env("AWS_ENDPOINT_URL", endpoint);
        self.start(name, command)
    }

    /// A member that dies at a point of its way (`aggregate/src/crash_point.rs`).
    pub(crate) fn aggregate_dying(&mut self, name: &str, at: &str) -> Process {
        let mut command = self.tally(&["aggregate"]);
        command.env("TALLY_CRASH_AT", at);
        self.start(name, command)
    }

    /// A member on the way to another endpoint, with its metrics on a port of its own, which it names in its log.
    pub(crate) fn aggregate_watched(&mut self, name: &str, endpoint: &str) -> Process {
        let mut command = self.tally(&["aggregate", "--listen", "127.0.0.1:0"]);
        command.env("AWS_ENDPOINT_URL", endpoint);
        self.start(name, command)
    }

    /// Starts an aggregator of another consumer group: it takes what is not its to take.
    pub(crate) fn aggregate_in_group(&mut self, name: &str, group: &str) -> Process {
        let mut command = self.tally(&["aggregate"]);
        command.env("TALLY_LOG__GROUP", group);
        self.start(name, command)
    }

    /// Processes and publishes everything that is in the topic.
    pub(crate) fn drain(&mut self) {
        let command = self.tally(&["aggregate", "--until-end"]);
        let mut process = self.start("drain", command);
        let output = process.succeed(patience());
        assert!(output.contains("DRAINED"), "a bounded run says that it is done, not {output:?}");
    }

    /// Sells packages to half of the first `accounts` of synthetic traffic, so that what is charged goes through the
    /// faults too. Small ones, which busy accounts use up; some are raised, and of some what is too much is paid for.
    pub(crate) fn sell(&self, accounts: u32) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let at_ms = now.as_millis() as u64 - 2 * 3_600_000;
        let mut payloads = Vec::new();
        for number in (0..accounts).step_by(2) {
            let account = format!("A{number:09}");
            let partition = partition_of(&account, self.topic.partitions);
            let mut say = |mut command: Value| {
                command["account"] = account.clone().into();
                command["at"] = at_ms.into();
                let value = Some(command.to_string().into_bytes());
                payloads.push(Payload { partition, value, batch: false });
            };
            say(json!({"command": "purchase", "id": "gift", "package": "mobile-gift-500k"}));
            if number % 4 == 0 {
                say(json!({"command": "purchase", "id": "bought", "package": "telecom-10m"}));
            }
            if number % 8 == 0 {
                say(json!({"command": "top_up", "id": "more", "bucket": "bought",
                           "points_micro": 7_000_000, "amount_micro": 3}));
            }
            if number % 6 == 0 {
                let flags = json!({"region": "sh", "overflow": "sh-telecom-payg"});
                say(json!({"command": "set_flags", "id": "flags", "flags": flags}));
            }
        }
        self.topic.append(&payloads);
    }

    /// Sends traffic and adds it to the truth.
    pub(crate) fn send(&mut self, traffic: &Traffic) {
        let sending = self.sending(traffic);
        self.sent(sending);
    }

    /// Starts to send traffic.
    pub(crate) fn sending(&mut self, traffic: &Traffic) -> Sending {
        let truth = self.folder().join(format!("truth-{}.json", self.started));
        let mut command = self.tally(&["generate"]);
        command.args(traffic.arguments()).arg("--truth").arg(&truth);
        Sending { process: self.start("generate", command), truth }
    }

    /// Waits until the traffic is sent, and adds it to the truth.
    pub(crate) fn sent(&mut self, mut sending: Sending) -> Truth {
        sending.process.succeed(patience());
        let truth = read_truth(&sending.truth);
        self.truth.merge(&truth).unwrap();
        truth
    }

    /// Waits until traffic is sent that was all sent before: only duplicates are added to the truth.
    pub(crate) fn resent(&mut self, mut sending: Sending) {
        sending.process.succeed(patience());
        let truth = read_truth(&sending.truth);
        assert!(truth.suspended.is_empty(), "what was held back once is held back again");
        self.truth.sent += truth.sent;
        self.truth.duplicates += truth.sent;
    }

    /// The distinct events of traffic, one JSON object a line.
    pub(crate) fn lines(&mut self, traffic: &Traffic) -> Vec<String> {
        let mut command = self.tally(&["generate"]);
        let traffic = Traffic { out: "-", resent: "0", ..traffic.clone() };
        command.args(traffic.arguments());
        self.run("lines", command).lines().map(str::to_owned).collect()
    }

    /// Checks the tables of a drained stream against the truth twice: by `tally verify`, and without any of our code
    /// by the Python packages `deltalake` and `duckdb`.
    pub(crate) fn expect_exactly_once(&mut self) {
        self.expect_truth(&["--windows-closed"]);
    }

    /// The same of a stream that has stopped in the middle: subscriber windows may be open.
    pub(crate) fn expect_exactly_once_so_far(&mut self) {
        self.expect_truth(&[]);
    }

    fn expect_truth(&mut self, of_check: &[&str]) {
        let truth = self.folder().join("truth.json");
        std::fs::write(&truth, serde_json::to_vec(&self.truth).unwrap()).unwrap();
        let mut verify = self.tally(&["verify", "--truth"]);
        verify.arg(&truth);
        self.run("verify", verify);
        let mut check = Command::new(&self.servers.python);
        check
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_tables.py"))
            .arg(&self.store)
            .arg("--truth")
            .arg(&truth)
            .args(of_check)
            .env("AWS_ENDPOINT_URL", &self.servers.s3)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let output = self.run("check-tables", check);
        assert!(output.contains("the tables equal the truth"), "{output}");
    }

    /// The rows of a query, by `tally sql`.
    pub(crate) fn sql(&mut self, query: &str) -> Vec<Value> {
        let command = self.tally(&["sql", "--format", "json", query]);
        let output = self.run("sql", command);
        match serde_json::from_str(&output).unwrap_or_else(|e| panic!("{query}: {e}: {output}")) {
            Value::Array(rows) => rows,
            other => panic!("{query}: expected an array of rows, found {other}"),
        }
    }

    /// The stream's topic of alerts, which its processes create.
    pub(crate) fn alerts_topic(&self) -> Topic {
        Topic::existing(&self.servers.kafka, &self.settings["alerts.topic"])
    }

    /// The stream's topic of quotas, which its processes create.
    pub(crate) fn status_topic(&self) -> Topic {
        Topic::existing(&self.servers.kafka, &self.settings["quota.topic"])
    }

    /// Whether everything that is in the topic is committed.
    pub(crate) fn is_committed(&self, ledger: &mut Ledger) -> bool {
        (0..self.topic.partitions).all(|p| ledger.committed(p) == self.topic.bounds(p).1)
    }

    /// The stream's ledger.
    pub(crate) fn ledger(&self) -> Ledger {
        let store = open_s3(&self.servers.s3, &self.prefix, 10);
        Ledger::new(store, &self.topic.name, self.topic.partitions)
    }

    /// Where its processes have their logs, and what the test needs besides.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            println!("the logs of the failed test are kept in {}", folder.keep().display());
        }
    }
}

fn read_truth(path: &Path) -> Truth {
    let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap()
}
