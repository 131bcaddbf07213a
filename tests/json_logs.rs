//! What roles write to their log where it is JSON: every line an object, with the partition and the
//! epoch that it is about, and never what an event says or what opens a door, whatever the level.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
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
            .env("TALLY_QUERY__PG_LISTEN", "127.0.0.1:0")
            .env("TALLY_QUERY__FLIGHT_LISTEN", "127.0.0.1:0")
            .env("TALLY_AGGREGATE__JANITOR_INTERVAL_MS", "200")
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

/// Adds a user, and returns what is said.
fn add_user(folder: &Path, arguments: &[&str], password: &str) -> Value {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["--json", "user", "add"])
        .args(arguments)
        .env("TALLY_AUTH__USERS_FILE", folder.join("users.toml"))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Who needs no password may have closed it.
    drop(child.stdin.take().unwrap().write_all(password.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Adds a gateway, and returns its token.
fn gateway(folder: &Path) -> String {
    let added = add_user(folder, &["gw-1", "--role", "gateway", "--token"], "");
    added["token"].as_str().unwrap().to_owned()
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
        tells_nothing(&said, &[PAYLOAD, SECRET, &token]);
    }
}

fn tells_nothing(said: &str, secrets: &[&str]) {
    for secret in secrets {
        let line = said.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}

/// Statements that are about a payload: one that is answered, and others that are not.
fn statements() -> [String; 4] {
    [
        format!("SELECT account FROM usage_events WHERE account = 'A-{PAYLOAD}'"),
        format!("SELECT \"{PAYLOAD}\" FROM usage_events"),
        format!("SELECT account FROM usage_events WHERE account = '{PAYLOAD}"),
        format!("DELETE FROM usage_events WHERE account = 'A-{PAYLOAD}'"),
    ]
}

/// Asks by the PostgreSQL wire.
fn psql(port: &str, password: &str, sql: &str) -> Output {
    Command::new("psql")
        .args(["-X", "-A", "-t", "-h", "127.0.0.1", "-p", port, "-U", "amy", "-d", "tally"])
        .args(["-c", sql])
        .env("PGPASSWORD", password)
        .stdin(Stdio::null())
        .output()
        .expect("psql is missing: install it with `apt-get install -y postgresql-client`")
}

/// Asks by Arrow Flight SQL, with a driver that is not ours.
fn flight(port: &str, token: &str, sql: &str) -> Output {
    const SCRIPT: &str = "import os, sys
from adbc_driver_flightsql import DatabaseOptions, dbapi
from arro3.core import Table
header = {DatabaseOptions.AUTHORIZATION_HEADER.value: 'Bearer ' + os.environ['TOKEN']}
with dbapi.connect('grpc://127.0.0.1:' + sys.argv[1], db_kwargs=header, autocommit=True) as connection:
    with connection.cursor() as cursor:
        cursor.execute(sys.argv[2])
        print(Table.from_arrow(cursor.fetch_arrow())[0].to_pylist())
";
    let python =
        std::env::var("TALLY_TEST_PYTHON").expect("TALLY_TEST_PYTHON is not set: run `make test`");
    Command::new(python)
        .args(["-c", SCRIPT, port, sql])
        .env("TOKEN", token)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The role that answers queries, and the janitor: nothing of what is asked, of what is answered and
/// of what opens a door, by none of the three ways.
#[tokio::test]
async fn readers_and_the_janitor_say_nothing_of_statements_or_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let token = gateway(folder);
    let password = format!("{SECRET}-password");
    add_user(folder, &["amy", "--role", "finance"], &password);
    let added = add_user(folder, &["amy", "--role", "finance", "--token", "--keep"], "");
    let finance = added["token"].as_str().unwrap();
    let secrets = [PAYLOAD, SECRET, &token, finance];
    let client = reqwest::Client::builder().no_proxy().build().unwrap();

    let door = Role::start(folder, "ingest", &[]);
    let url = format!("{}/v1/events", door.address("listening on"));
    let [taken, ..] = bodies();
    let request = client.post(&url).header("content-type", "application/json");
    let answer = request.bearer_auth(&token).body(taken).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    door.terminate();
    let mut drain = Role::start(folder, "aggregate", &["--until-end"]);
    assert!(drain.child.wait().unwrap().success(), "{}", drain.said());

    let query = Role::start(folder, "query", &[]);
    let line = query.says("listening on");
    let words = line["fields"]["message"].as_str().unwrap().to_owned();
    let port = |scheme: &str| {
        let (_, rest) = words.split_once(&format!("{scheme}://127.0.0.1:")).unwrap();
        rest.chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    let url = format!("http://127.0.0.1:{}/v1/sql", port("http"));
    for (place, sql) in statements().iter().enumerate() {
        let post = async |token: &str| {
            let request = client.post(&url).json(&json!({"query": sql})).bearer_auth(token);
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        assert_eq!(post(SECRET).await.0, 401);
        let (status, said) = post(finance).await;
        assert_eq!(status == 200, place == 0, "{sql}: {status}: {said}");
        assert!(place > 0 || said.contains(PAYLOAD), "{said}");
        let said = psql(&port("postgresql"), &password, sql);
        assert_eq!(said.status.success(), place == 0, "{said:?}");
        assert!(!psql(&port("postgresql"), &format!("{SECRET}-guessed"), sql).status.success());
        let said = flight(&port("grpc"), finance, sql);
        assert_eq!(said.status.success(), place == 0, "{said:?}");
        assert!(!flight(&port("grpc"), SECRET, sql).status.success());
    }
    tells_nothing(&query.terminate(), &secrets);

    let janitor = Role::start(folder, "janitor", &["--listen", "127.0.0.1:0"]);
    janitor.says("janitor");
    // An entry of a table's log that nobody can read.
    let log = folder.join("store/tables/usage_events/_delta_log");
    let entries = std::fs::read_dir(&log).unwrap();
    let entries = entries.filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "json")
    });
    let damaged = log.join(format!("{:020}.json", entries.count()));
    std::fs::write(&damaged, "damaged").unwrap();
    let failed = janitor.says("the janitor tries again later");
    assert!(failed["fields"]["failures"].is_string(), "{failed}");
    std::fs::remove_file(&damaged).unwrap();
    tells_nothing(&janitor.terminate(), &secrets);
}

/// How far a long job is stands in lines like all others: what reads the log reads them too.
#[test]
fn how_far_a_job_is_comes_in_lines_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    // A line comes every five seconds; it is looked whether after 256 events.
    let output = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["generate", "--seed", "1", "--events", "300", "--rate", "40", "--out", "kafka"])
        .args(["--log-format", "json"])
        .current_dir(folder.path())
        .env("TALLY_LOG__DATA", folder.path())
        .env("RUST_LOG", "info")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let is_progress = |line: &Value| {
        line["fields"]["message"].as_str().is_some_and(|said| said.starts_with("generate: "))
    };
    assert!(lines.iter().any(is_progress), "{said}");
}
