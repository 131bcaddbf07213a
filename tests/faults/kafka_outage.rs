//! Kafka away: before anything starts, and in the middle (R9). The door says so with 503, the
//! stream waits, and afterwards every event is counted once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::door::{address, post};
use crate::support::{Authority, Process, block_on, eventually};

const PATIENCE: Duration = Duration::from_secs(120);

/// A broker of its own, as it is stopped and started.
pub(crate) struct Broker {
    folder: PathBuf,
    port: u16,
    /// What it wants of who comes by TLS; none where nobody can.
    password: Option<String>,
    /// What it presents there, and whom clients trust; a certificate of its own where it is none.
    certificate: Option<(PathBuf, PathBuf)>,
}

impl Broker {
    pub(crate) fn new(folder: &Path) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        Self { folder: folder.join("kafka"), port, password: None, certificate: None }
    }

    /// From its next start on it wants this password of its clients.
    pub(crate) fn wants(&mut self, password: &str) {
        self.password = Some(password.to_owned());
    }

    /// From its next start on it presents what the authority has put there.
    pub(crate) fn presents(&mut self, authority: &Authority) {
        self.certificate = Some((authority.presented(), authority.certificate()));
    }

    pub(crate) fn run(&self, verb: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka.sh");
        let mut command = Command::new(script);
        command.arg(verb).arg("--dir").arg(&self.folder).env_remove("TALLY_KAFKA_SECURE");
        if verb == "start" {
            command.args(["--port", &self.port.to_string()]);
        }
        if let Some(password) = &self.password {
            command.env("TALLY_KAFKA_SECURE", "1").env("TALLY_KAFKA_PASSWORD", password);
        }
        if let Some((presented, _)) = &self.certificate {
            command.env("TALLY_KAFKA_CERTIFICATE", presented);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// `tally …` on this broker.
    pub(crate) fn tally(&self, arguments: &[&str]) -> Command {
        let folder = self.folder.parent().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
        command
            .args(arguments)
            .env("TALLY_LOG__KAFKA", format!("127.0.0.1:{}", self.port))
            .env("TALLY_LOG__PARTITIONS", "2")
            .env("TALLY_STORE__URL", folder.join("store"))
            .env("TALLY_HTTP__LISTEN", "127.0.0.1:0")
            .env("TALLY_INGEST__ACK_TIMEOUT_MS", "2000")
            .env("TALLY_AGGREGATE__FRESHNESS_MS", "100")
            .env("TALLY_AGGREGATE__PUBLISH_INTERVAL_MS", "100");
        command
    }

    /// `tally …` on this broker by TLS and with a password.
    pub(crate) fn tally_with(&self, password: &str, arguments: &[&str]) -> Command {
        let secure = std::fs::read_to_string(self.folder.join("secure")).unwrap();
        let authorities = match &self.certificate {
            Some((_, authorities)) => authorities.clone(),
            None => self.folder.join("tls/ca.pem"),
        };
        let mut command = self.tally(arguments);
        command
            .env("TALLY_LOG__KAFKA", secure.trim())
            .env("TALLY_LOG__KAFKA_OPTIONS__SECURITY_PROTOCOL", "SASL_SSL")
            .env("TALLY_LOG__KAFKA_OPTIONS__SSL_CA_LOCATION", authorities)
            .env("TALLY_LOG__KAFKA_OPTIONS__SASL_MECHANISMS", "PLAIN")
            .env("TALLY_LOG__KAFKA_OPTIONS__SASL_USERNAME", "tally")
            .env("TALLY_LOG__KAFKA_OPTIONS__SASL_PASSWORD", password);
        command
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.run("wipe");
    }
}

pub(crate) fn events(ids: std::ops::Range<u32>) -> String {
    let event = |id: u32| {
        json!({"source": "gw-1", "id": id.to_string(), "account": format!("A{}", id % 50),
               "model": "glm-5", "completed_at": "2026-11-22T14:22:37.827+08:00",
               "usage": {"input": 7, "output": 3}})
    };
    json!(ids.map(event).collect::<Vec<Value>>()).to_string()
}

/// Sends the events until they are acknowledged, as a gateway does; returns the refusals.
fn send(url: &str, ids: std::ops::Range<u32>) -> Vec<u16> {
    let mut refusals = Vec::new();
    eventually("an acknowledgement", PATIENCE, || {
        match block_on(post(url, "application/json", events(ids.clone()))) {
            (200, _) => Some(refusals.clone()),
            (status, answer) => {
                assert_eq!(status, 503, "{answer}");
                refusals.push(status);
                None
            }
        }
    })
}

#[test]
fn everything_waits_for_kafka_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::new(folder.path());
    let mut stream = Process::start("aggregate", broker.tally(&["aggregate"]), folder.path());
    let mut door = Process::start("ingest", broker.tally(&["ingest"]), folder.path());
    for process in [&mut stream, &mut door] {
        process.says("the log is not available, waiting", PATIENCE);
    }
    broker.run("start");
    let url = format!("http://{}/v1/events", address(&door.says("http://", PATIENCE)));
    send(&url, 0..200);

    broker.run("stop");
    let (status, answer) = block_on(post(&url, "application/json", events(200..400)));
    assert_eq!(status, 503, "{answer}");
    stream.assert_running();
    broker.run("start");
    // Whether the refused ones were stored nobody knows; sending them again is safe.
    send(&url, 200..400);

    let counted = |name: &str| -> u64 {
        let query = "SELECT count(*) AS n FROM usage_events";
        let command = broker.tally(&["sql", "--format", "json", query]);
        let rows = Process::start(name, command, folder.path()).succeed(PATIENCE);
        let rows: Value = serde_json::from_str(&rows).unwrap();
        rows[0]["n"].to_string().trim_matches('"').parse().unwrap()
    };
    eventually("all events in the table", PATIENCE, || (counted("sql") == 400).then_some(()));
    assert!(door.terminate(PATIENCE).success());
    assert!(stream.terminate(PATIENCE).success());
    Process::start("verify", broker.tally(&["verify"]), folder.path()).succeed(PATIENCE);
}
