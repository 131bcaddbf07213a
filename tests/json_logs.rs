//! What roles write to their log where it is JSON: every line an object, with the partition and the
//! epoch that it is about, and never what an event says or what opens a door, whatever the level.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
/// In everything that events say of people, and in what is wrong with them.
const PAYLOAD: &str = "canary-7c1f";
/// In every secret.
const SECRET: &str = "Y2FuYXJ5LXNlY3JldC0wMTIzNDU2Nzg5YWJj";

/// A role whose log is JSON. It is killed with the test.
struct Role {
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Drop for Role {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Role {
    fn start(folder: &Path, role: &str, arguments: &[&str]) -> Self {
        let (out, log) = (folder.join(format!("{role}.out")), folder.join(format!("{role}.log")));
        let webhooks =
            format!("[{{url = \"http://127.0.0.1:9/hook\", secret = \"whsec_{SECRET}\"}}]");
        let child = Command::new(env!("CARGO_BIN_EXE_tally"))
            .arg(role)
            .args(arguments)
            .args(["--log-format", "json"])
            .current_dir(folder)
            .env("RUST_LOG", "debug")
            .env("TALLY_LOG__DATA", folder)
            .env("TALLY_LOG__PARTITIONS", "2")
            .env("TALLY_STORE__URL", folder.join("store"))
            .env("TALLY_HTTP__LISTEN", "127.0.0.1:0")
            .env("TALLY_AUTH__USERS_FILE", folder.join("users.toml"))
            .env("TALLY_AGGREGATE__FRESHNESS_MS", "100")
            .env("TALLY_ALERTS__WEBHOOKS", webhooks)
            .env("TALLY_ALERTS__ALLOW_PRIVATE", "true")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&out).unwrap())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, out, log }
    }

    fn said(&self) -> String {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        read(&self.out) + &read(&self.log)
    }

    /// Every line that is written to its end.
    fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let whole = |said: &str| {
            let lines = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            lines.map(parse).collect::<Vec<Value>>()
        };
        [whole(&read(&self.out)), whole(&read(&self.log))].concat()
    }

    /// Waits for a line whose message begins so.
    fn says(&self, words: &str) -> Value {
        self.says_of(words, None)
    }

    /// Waits for a line whose message begins so, of this partition.
    fn says_of(&self, words: &str, partition: Option<&Value>) -> Value {
        let began = Instant::now();
        let is_it = |line: &Value| {
            let fields = &line["fields"];
            fields["message"].as_str().is_some_and(|said| said.starts_with(words))
                && partition.is_none_or(|wanted| fields["partition"] == *wanted)
        };
        loop {
            if let Some(line) = self.lines().into_iter().find(is_it) {
                return line;
            }
            assert!(began.elapsed() < PATIENCE, "nothing of {words:?} in {}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where it listens, as its first line says.
    fn address(&self, words: &str) -> String {
        let line = self.says(words);
        line["fields"]["message"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned()
    }

    /// Ends it in order, and returns all that it said.
    fn terminate(mut self) -> String {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{}", self.said());
        assert!(!self.lines().is_empty());
        self.said()
    }
}

/// Adds a gateway, and returns its token.
fn gateway(folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["--json", "user", "add", "gw-1", "--role", "gateway", "--token"])
        .env("TALLY_AUTH__USERS_FILE", folder.join("users.toml"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

/// An event that is counted, one that is held back, and two that are refused.
fn bodies() -> [String; 3] {
    let event = |id: &str, model: &str, usage: Value| {
        json!({"source": "gw-1", "id": format!("{PAYLOAD}-{id}"), "account": format!("A-{PAYLOAD}"),
               "model": model, "completed_at": "2026-11-22T14:22:37.827+08:00", "usage": usage,
               "labels": {"note": PAYLOAD}})
    };
    let good = event("good", "glm-5", json!({"input": 7, "output": 3}));
    let held = event("held", "glm-5", json!({"input": 7, PAYLOAD: 3}));
    let mut nobodys = good.clone();
    nobodys.as_object_mut().unwrap().remove("account");
    [json!([good, held]).to_string(), nobodys.to_string(), format!("{{\"{PAYLOAD}\":")]
}

#[tokio::test]
async fn lines_say_where_they_are_about_and_nothing_of_events_or_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let token = gateway(folder);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();

    let door = Role::start(folder, "ingest", &[]);
    let url = format!("{}/v1/events", door.address("listening on"));
    let post = async |body: String, token: &str| {
        let request = client.post(&url).header("content-type", "application/json");
        request.bearer_auth(token).body(body).send().await.unwrap().status().as_u16()
    };
    let [taken, nobodys, broken] = bodies();
    assert_eq!(post(taken.clone(), &token).await, 200);
    assert!(post(nobodys, &token).await < 500);
    assert_eq!(post(broken, &token).await, 400);
    assert_eq!(post(taken, SECRET).await, 401);
    let door = door.terminate();

    // Where state is to be is a file: the store refuses it, and the partition waits.
    std::fs::create_dir(folder.join("store")).unwrap();
    std::fs::write(folder.join("store/state"), "in the way").unwrap();
    let stream = Role::start(folder, "aggregate", &["--listen", "127.0.0.1:0"]);
    let waiting = stream.says("not available, waiting");
    std::fs::remove_file(folder.join("store/state")).unwrap();
    let committed = stream.says_of("committed", Some(&waiting["fields"]["partition"]));
    let address = stream.address("health and metrics on");
    let quota = client.get(format!("{address}/v1/accounts/A-{PAYLOAD}/quota"));
    assert_eq!(quota.bearer_auth(SECRET).send().await.unwrap().status(), 401);
    let stream = stream.terminate();

    for (line, numbers) in [
        (&waiting, ["partition", "last_epoch", "attempt"].as_slice()),
        (&committed, &["partition", "epoch", "from", "to", "events", "took_ms"]),
    ] {
        for number in numbers {
            assert!(line["fields"][number].is_u64(), "{number} in {line}");
        }
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    let last = waiting["fields"]["last_epoch"].as_u64().unwrap();
    assert_eq!(committed["fields"]["epoch"].as_u64(), Some(last + 1));
    for said in [door, stream] {
        for secret in [PAYLOAD, SECRET, &token] {
            let line = said.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is in the log");
        }
    }
}
