//! Who may only read the store. A real S3 server has a user who reads everything and creates objects
//! below `audit/`, and nothing else: what `docs/access.md` and the chart ask for of those who answer
//! queries.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::door::address;
use crate::support::{Dice, S3Server, Stream, Traffic, block_on, eventually, patience};

/// In which entries of the audit log are stored.
const STORED_WITHIN: Duration = Duration::from_secs(30);

/// A stream whose store is read by a user of its own.
struct Readers {
    s3: S3Server,
    reader: Vec<(String, String)>,
    token: String,
    /// Last: the server's folder is within its own, which goes with it.
    stream: Stream,
}

impl Readers {
    fn begin() -> Self {
        let mut dice = Dice::of("readers");
        let mut stream = Stream::new("readers", dice.seed(), 2);
        let s3 = S3Server::start(&stream.folder().join("s3"));
        stream.servers.s3 = format!("http://{}", s3.address);
        stream.send(&Traffic::mixed(dice.next_seed(), 2_000));
        stream.drain();
        // Only where somebody signs in is there an audit log to write.
        let users = stream.folder().join("users.toml");
        stream.set("auth.users_file", users.display());
        let add = stream.tally(&["--json", "user", "add", "aud", "--role", "auditor", "--token"]);
        let added: Value = serde_json::from_str(&stream.run("user", add)).unwrap();
        let token = added["token"].as_str().unwrap().to_owned();
        let reader = s3.reader();
        Self { stream, s3, reader, token }
    }

    /// `tally` with the reader's credentials.
    fn tally(&self, arguments: &[&str]) -> Command {
        let mut command = self.stream.tally(arguments);
        command.envs(self.reader.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What a command says on either of its outputs, and whether it did what was asked.
    fn says(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.tally(arguments).env_remove("RUST_LOG").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// What the auditor is answered over HTTP.
    fn asks(&self, at: &str, query: &str) -> Value {
        let url = format!("http://{at}/v1/sql");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(url).bearer_auth(&self.token).json(&json!({"query": query}));
        block_on(async { request.send().await.unwrap().json().await.unwrap() })
    }
}

#[test]
fn questions_are_answered_with_credentials_that_only_read() {
    let mut readers = Readers::begin();
    let command = readers.tally(&["query"]);
    let mut query = readers.stream.start("query", command);
    let at = address(&query.says("listening on http://", patience())).to_owned();
    let accepted = readers.stream.truth.accepted;
    let counted = readers.asks(&at, "SELECT count(*) AS n FROM usage_events");
    assert_eq!(counted[0]["n"].to_string().trim_matches('"'), accepted.to_string(), "{counted}");
    // Who asked what is kept, with the same credentials.
    let asked = "SELECT user_name FROM system.audit_log WHERE statement LIKE '%usage_events%'";
    eventually("the question in the audit log", STORED_WITHIN, || {
        let found = readers.asks(&at, asked);
        found.as_array()?.iter().any(|entry| entry["user_name"] == "aud").then_some(())
    });
    // Nothing is amiss with a process that only reads.
    let url = format!("http://{at}/metrics");
    let metrics = block_on(async { reqwest::get(url).await.unwrap().text().await.unwrap() });
    assert!(metrics.contains("\ntally_audit_write_failures_total 0"), "{metrics}");
    assert!(metrics.contains("\ntally_trouble{cause=\"store_read_only\"} 0"), "{metrics}");
    assert!(query.terminate(patience()).success());
}

#[test]
fn commands_that_look_write_nothing_and_those_that_write_are_refused() {
    let readers = Readers::begin();
    let (is_well, status) = readers.says(&["status", "--json"]);
    assert!(is_well, "{status}");
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["lag_events"], &status["troubles"]), (&json!(0), &json!([])), "{status}");
    let (is_well, counted) = readers.says(&["sql", "SELECT count(*) FROM usage_events"]);
    assert!(is_well && counted.contains(&readers.stream.truth.accepted.to_string()), "{counted}");
    let (is_well, verified) = readers.says(&["verify"]);
    assert!(is_well, "{verified}");
    // That the user may write nothing is no matter of chance: the doctor tries.
    let (is_well, doctor) = readers.says(&["doctor", "--json"]);
    assert!(!is_well && doctor.contains("the store is read-only"), "{doctor}");
    let probes = readers.s3.path(&format!("{}/probe", readers.stream.prefix()));
    assert!(!probes.exists() || std::fs::read_dir(&probes).unwrap().next().is_none());
}
