//! Users, roles and TLS of a whole process, as its operators, gateways and vendors meet them.

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

const PASSWORD: &str = "correct horse battery staple";
const PATIENCE: Duration = Duration::from_secs(60);

fn tally(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who needs no input may have closed it.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn failed(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(words), "{text}");
}

/// A folder with a configuration, a certificate for `localhost` and users.
struct House {
    folder: tempfile::TempDir,
    certificate: String,
    gateway: String,
    finance: String,
    vendor: String,
}

fn token_of(output: &Output) -> String {
    let answer: Value = serde_json::from_str(&succeeded(output)).unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("server.crt", &made.cert.pem());
        write("server.key", &made.signing_key.serialize_pem());
        write(
            "tally.toml",
            "[auth]\nusers_file = \"users.toml\"\n[tls]\ncertificate = \"server.crt\"\nkey = \"server.key\"\n[aggregate]\nfreshness_ms = 200\npublish_interval_ms = 100\n[log]\npartitions = 2\n",
        );
        let run = |arguments: &[&str], input: &str| tally(folder.path(), arguments, input);
        for (name, role) in [("amy", "finance"), ("zhi", "vendor:zhipu"), ("aud", "auditor")] {
            let told = succeeded(&run(&["user", "add", name, "--role", role], PASSWORD));
            assert_eq!(told.trim(), format!("{name} is {role}"));
        }
        let add = ["--json", "user", "add", "gw-1", "--role", "gateway", "--token"];
        let gateway = token_of(&run(&add, ""));
        let add = ["--json", "user", "add", "amy", "--role", "finance", "--token", "--keep"];
        let finance = token_of(&run(&add, ""));
        let add = ["--json", "user", "add", "zhi", "--role", "vendor:zhipu", "--token", "--keep"];
        let vendor = token_of(&run(&add, ""));
        Self { folder, certificate: made.cert.pem(), gateway, finance, vendor }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn client(&self) -> reqwest::Client {
        let root = reqwest::Certificate::from_pem(self.certificate.as_bytes()).unwrap();
        reqwest::Client::builder().no_proxy().add_root_certificate(root).build().unwrap()
    }

    /// Arrow Flight SQL, with a driver that is not ours.
    fn check_flight(&self, port: &str) {
        let python = std::env::var("TALLY_TEST_PYTHON")
            .expect("TALLY_TEST_PYTHON is not set: run `make test`");
        let output = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_flight.py"))
            .args([port, "server.crt"])
            .current_dir(self.path())
            .env("FINANCE_TOKEN", &self.finance)
            .env("VENDOR_TOKEN", &self.vendor)
            .env("GATEWAY_TOKEN", &self.gateway)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn psql(&self, port: &str, user: &str, sql: &str) -> (bool, String) {
        let connection = format!(
            "host=localhost hostaddr=127.0.0.1 port={port} user={user} dbname=tally sslmode=verify-full sslrootcert={}",
            self.path().join("server.crt").display()
        );
        let output = Command::new("psql")
            .args(["-X", "-A", "-t", "-d", &connection, "-c", sql])
            .env("PGPASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .output()
            .expect("psql is missing: install it with `apt-get install -y postgresql-client`");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
    }
}

/// A process that is killed with the test.
struct Running {
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Running {
    fn up(folder: &Path) -> Self {
        let (out, log) = (folder.join("up.out"), folder.join("up.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_tally"))
            .args(["up", "--data", "data", "--listen", "0.0.0.0:0", "--pg-listen", "0.0.0.0:0"])
            .args(["--flight-listen", "0.0.0.0:0"])
            .current_dir(folder)
            .env_remove("RUST_LOG")
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

    /// The port of the line that begins with `word`.
    fn port(&self, word: &str) -> String {
        let began = Instant::now();
        loop {
            let said = self.said();
            let line = said.lines().find(|line| line.starts_with(word));
            if let Some(line) = line.filter(|_| said.contains("Users ")) {
                let rest = line.rsplit(':').next().unwrap();
                return rest.chars().take_while(char::is_ascii_digit).collect();
            }
            assert!(began.elapsed() < PATIENCE, "{said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn terminate(mut self) -> String {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{}", self.said());
        self.said()
    }
}

#[test]
fn the_file_of_users_is_kept_by_commands_and_has_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], input: &str| tally(folder.path(), arguments, input);
    failed(&run(&["user", "list"], ""), "auth.users_file is not set");
    std::fs::write(folder.path().join("tally.toml"), "[auth]\nusers_file = \"users.toml\"\n")
        .unwrap();
    failed(&run(&["user", "add", "amy", "--role", "boss"], PASSWORD), "role \"boss\"");
    failed(&run(&["user", "add", "amy", "--role", "finance"], "short"), "at least 12");
    failed(&run(&["user", "add", "Amy", "--role", "finance"], PASSWORD), "a name has");
    failed(&run(&["up", "--listen", "127.0.0.1:0"], ""), "users.toml");
    succeeded(&run(&["user", "add", "amy", "--role", "finance"], &format!("{PASSWORD}\r\n")));
    failed(&run(&["user", "add", "amy", "--role", "auditor"], PASSWORD), "--keep");
    let add = ["user", "add", "gw-1", "--role", "gateway", "--token"];
    let told = succeeded(&run(&add, ""));
    let token = told.lines().last().unwrap();
    assert!(token.starts_with("tally_") && token.len() == 49, "{told}");
    let list = succeeded(&run(&["user", "list"], ""));
    assert!(list.contains("amy") && list.contains("gateway") && !list.contains("SCRAM"), "{list}");
    let file = std::fs::read_to_string(folder.path().join("users.toml")).unwrap();
    assert!(!file.contains("horse") && !file.contains(token), "{file}");
    let shown = succeeded(&run(&["--json", "config", "show"], ""));
    assert!(shown.contains("users.toml") && !shown.contains("SCRAM"), "{shown}");
    succeeded(&run(&["user", "remove", "amy"], ""));
    failed(&run(&["user", "remove", "amy"], ""), "no user");
    assert!(!succeeded(&run(&["user", "list"], "")).contains("amy"));
    // Beyond loopback it takes a certificate, too.
    for open in ["--listen", "--pg-listen", "--flight-listen"] {
        let mut query = vec!["query"];
        for flag in ["--listen", "--pg-listen", "--flight-listen"] {
            query.extend([flag, if flag == open { "0.0.0.0:0" } else { "127.0.0.1:0" }]);
        }
        failed(&run(&query, ""), "tls.certificate");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_gets_what_is_theirs_from_a_process_on_every_address() {
    let house = House::new();
    let running = Running::up(house.path());
    let (http, postgres) = (running.port("HTTP"), running.port("SQL"));
    let flight = running.port("Flight");
    let client = house.client();
    let url = |path: &str| format!("https://localhost:{http}{path}");
    let completed_at = "2026-11-22T14:22:37.827+08:00";
    let events: Vec<Value> = [("glm-5", "zhipu"), ("qwen3-max", "qwen"), ("glm-5", "zhipu")]
        .iter()
        .enumerate()
        .map(|(n, (model, vendor))| {
            json!({
                "source": "gw-1", "id": format!("r{n}"), "account": format!("A{n}"), "model": model,
                "vendor": vendor, "completed_at": completed_at, "usage": {"input": 434, "output": 345},
            })
        })
        .collect();
    let post = |token: &str| {
        client.post(url("/v1/events")).bearer_auth(token).json(&json!({ "events": events })).send()
    };
    assert_eq!(post(&house.finance).await.unwrap().status(), 403);
    assert_eq!(post("tally_nonsense").await.unwrap().status(), 401);
    assert_eq!(post(&house.gateway).await.unwrap().status(), 200);
    let sql = |token: &str, query: &str| {
        let request = client.post(url("/v1/sql")).bearer_auth(token);
        request.json(&json!({ "query": query })).send()
    };
    assert_eq!(sql(&house.gateway, "SELECT 1").await.unwrap().status(), 403);
    let count = "SELECT count(*) AS n FROM usage_events";
    let began = Instant::now();
    loop {
        let answer = sql(&house.finance, count).await.unwrap();
        assert_eq!(answer.status(), 200);
        if answer.json::<Value>().await.unwrap()[0]["n"] == 3 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{}", running.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let vendor = |sql: &str| house.psql(&postgres, "zhi", sql);
    assert_eq!(vendor(count), (true, "2".to_owned()));
    assert_eq!(vendor("SELECT DISTINCT vendor FROM usage_events"), (true, "zhipu".to_owned()));
    let (ok, text) = vendor("SELECT * FROM quota_ledger");
    assert!(!ok && text.contains("not found"), "{text}");
    assert_eq!(house.psql(&postgres, "amy", count), (true, "3".to_owned()));
    let (ok, text) = house.psql(&postgres, "gw-1", "SELECT 1");
    assert!(!ok && text.contains("wrong"), "{text}");
    house.check_flight(&flight);
    // A gateway asks for quotas, whoever lives is open, the rest is not.
    for (path, token, status) in [
        ("/v1/accounts/A0/quota", Some(&house.gateway), 404),
        ("/v1/accounts/A0/quota", None, 401),
        ("/healthz", None, 200),
        ("/nothing", None, 401),
    ] {
        let request = client.get(url(path));
        let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
        let found = request.send().await.unwrap().status().as_u16();
        assert!(found == status || (status == 404 && found == 200), "{path}: {found}");
    }
    // `tally status` finds the process on this machine.
    let status = succeeded(&tally(house.path(), &["--json", "status", "--data", "data"], ""));
    let status: Value = serde_json::from_str(&status).unwrap();
    assert!(status["process"].is_number(), "{status}");
    let said = running.terminate();
    for secret in [PASSWORD, &house.gateway, &house.finance, &house.vendor, "SCRAM-SHA-256$"] {
        assert!(!said.contains(secret), "{said}");
    }
    // What was asked is in the audit log, to the last statement, and is as it was written.
    let read = "SELECT user_name, channel, outcome FROM system.audit_log WHERE statement = 'SELECT * FROM quota_ledger' OR action = 'sign_in' AND outcome = 'denied' ORDER BY 1, 2";
    let told = succeeded(&tally(house.path(), &["--json", "sql", read, "--data", "data"], ""));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        told,
        json!([
            {"user_name": "gw-1", "channel": "postgres", "outcome": "denied"},
            {"user_name": "zhi", "channel": "flight", "outcome": "invalid"},
            {"user_name": "zhi", "channel": "postgres", "outcome": "invalid"},
        ])
    );
    let verified = tally(house.path(), &["--json", "verify", "--data", "data"], "");
    let report: Value = serde_json::from_str(&succeeded(&verified)).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let audit = checks.iter().find(|check| check["invariant"] == "audit").unwrap();
    assert_eq!(audit["ok"], true, "{audit}");
    assert_ne!(audit["looked_at"], "0 batches");
}
