//! Bad days, as `tally doctor` sees them: each is named, with what to do, and what is right is not
//! complained of.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Servers, Topic, eventually};

/// Who is called at night waits no longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The findings of a run, and whether it found nothing wrong.
struct Findings(Vec<Value>, bool);

impl Findings {
    /// Runs the doctor with these settings.
    fn of(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
        command.args(["doctor", "--json"]).current_dir(folder).env_remove("RUST_LOG");
        command
            .env("TALLY_HTTP__LISTEN", "127.0.0.1:0")
            .env("TALLY_QUERY__PG_LISTEN", "127.0.0.1:0")
            .env("TALLY_QUERY__FLIGHT_LISTEN", "127.0.0.1:0");
        command.envs(settings.iter().copied());
        let began = Instant::now();
        let output = command.output().unwrap();
        assert!(began.elapsed() < PATIENCE, "the doctor took {:?}", began.elapsed());
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let findings = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}\n{err}"));
        assert!(matches!(output.status.code(), Some(0 | 1)), "{:?}: {err}", output.status);
        Self(findings, output.status.success())
    }

    /// Whether there is a finding about something whose words have these in them.
    fn has(&self, check: &str, state: &str, words: &str) -> bool {
        let text =
            |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        self.0.iter().any(|finding| {
            text(finding, "check") == check
                && text(finding, "state") == state
                && (text(finding, "found") + &text(finding, "advice")).contains(words)
        })
    }

    /// That there is one.
    fn says(&self, check: &str, state: &str, words: &str) {
        let found = self.has(check, state, words);
        assert!(found, "no {state} of {check} with {words:?} in {:#?}", self.0);
    }

    fn wrong(&self) -> Vec<&Value> {
        self.0.iter().filter(|finding| finding["state"] == "wrong").collect()
    }
}

#[test]
fn a_laptop_is_well_and_a_misspelt_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let well = Findings::of(folder.path(), &[]);
    assert!(well.1 && well.wrong().is_empty(), "{:#?}", well.0);
    well.says("users", "ok", "loopback only");
    well.says("embedded log", "ok", "does not exist yet");
    well.says("store", "ok", "does not exist yet");
    // Looking leaves nothing behind.
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());

    let misspelt = Findings::of(folder.path(), &[("TALLY_STORE__ULR", "x")]);
    assert!(!misspelt.1);
    misspelt.says("configuration", "wrong", "store.url");

    let open = Findings::of(folder.path(), &[("TALLY_HTTP__LISTEN", "0.0.0.0:0")]);
    open.says("http.listen", "wrong", "auth.users_file");
    let open = Findings::of(folder.path(), &[("TALLY_QUERY__FLIGHT_LISTEN", "0.0.0.0:0")]);
    open.says("query.flight_listen", "wrong", "auth.users_file");

    // Usage does not wait for who takes traces; only an address that is none stops a process.
    let away =
        Findings::of(folder.path(), &[("TALLY_TRACES__OTLP_ENDPOINT", "http://127.0.0.1:9")]);
    assert!(away.1, "{:#?}", away.0);
    away.says("traces", "warning", "otlp_endpoint");
    let wrong = Findings::of(folder.path(), &[("TALLY_TRACES__OTLP_ENDPOINT", "collector:4318")]);
    wrong.says("traces", "wrong", "neither http nor https");

    std::fs::write(folder.path().join("file"), "no folder").unwrap();
    let store = Findings::of(folder.path(), &[("TALLY_STORE__URL", "file")]);
    assert!(!store.wrong().is_empty(), "{:#?}", store.0);
    let log = Findings::of(folder.path(), &[("TALLY_LOG__DATA", "file")]);
    log.says("embedded log", "wrong", "not a folder");
}

#[test]
fn an_expired_certificate_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2025, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2025, 2, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let made = parameters.self_signed(&key).unwrap();
    std::fs::write(folder.path().join("server.crt"), made.pem()).unwrap();
    std::fs::write(folder.path().join("server.key"), key.serialize_pem()).unwrap();
    let settings = [("TALLY_TLS__CERTIFICATE", "server.crt"), ("TALLY_TLS__KEY", "server.key")];
    let findings = Findings::of(folder.path(), &settings);
    assert!(!findings.1);
    findings.says("certificate", "wrong", "expired");
    let missing = Findings::of(folder.path(), &settings[..1]);
    missing.says("certificate", "wrong", "without tls.key");
}

#[test]
fn servers_that_are_there_are_looked_at_and_those_that_are_not_are_named() {
    let servers = Servers::of_environment();
    let folder = tempfile::tempdir().unwrap();
    let name = format!("doctor-{}", uuid::Uuid::new_v4().simple());
    let url = format!("s3://tally/{name}");
    let settings = [
        ("TALLY_LOG__KAFKA", servers.kafka.as_str()),
        ("TALLY_LOG__TOPIC", name.as_str()),
        ("TALLY_STORE__URL", url.as_str()),
    ];
    let with = |key: &'static str, value: &'static str| {
        let mut changed = settings.to_vec();
        changed.push((key, value));
        Findings::of(folder.path(), &changed)
    };
    let topic = format!("topic {name}");

    let before = Findings::of(folder.path(), &settings);
    assert!(before.1, "{:#?}", before.0);
    before.says("Kafka", "warning", "1 broker");
    before.says("Kafka, rights", "untried", "only seen by a process that does");
    before.says(&topic, "warning", "there is none yet");
    before.says("store, conditional writes", "ok", "kept apart");
    before.says("clock", "ok", "as the store's");
    before.says("reference data", "ok", "can be read");

    // Made by somebody who did not know what Tally needs.
    Topic::create(&servers.kafka, &name, 2);
    // The broker that is asked may hear of a new topic a moment after it was made.
    eventually("the topic as it was made", PATIENCE, || {
        let made = Findings::of(folder.path(), &settings);
        made.has(&topic, "warning", "LogAppendTime").then_some(())
    });
    let large = with("TALLY_INGEST__BATCH_MAX_BYTES", "100000000");
    large.says(&topic, "wrong", "max.message.bytes");

    let secret = with("AWS_SECRET_ACCESS_KEY", "guessed");
    assert!(!secret.1);
    secret.says("store, reading", "wrong", "AWS_SECRET_ACCESS_KEY");
    with("AWS_ENDPOINT_URL", "http://127.0.0.1:9").says("store, reading", "wrong", "store runs");
    with("TALLY_STORE__URL", "s3://no-such-bucket/x").says("store, reading", "wrong", "bucket");
    with("TALLY_LOG__KAFKA", "127.0.0.1:9").says("Kafka", "wrong", "nobody answers");
}

#[test]
fn the_certificate_that_kafka_presents_is_looked_at() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("run `make test`"));
    let (secure, authorities) =
        (variable("TALLY_TEST_KAFKA_SECURE"), variable("TALLY_TEST_KAFKA_CA"));
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("TALLY_LOG__KAFKA", secure.as_str()),
        ("TALLY_LOG__KAFKA_OPTIONS__SECURITY_PROTOCOL", "SASL_SSL"),
        ("TALLY_LOG__KAFKA_OPTIONS__SSL_CA_LOCATION", authorities.as_str()),
        ("TALLY_LOG__KAFKA_OPTIONS__SASL_MECHANISMS", "PLAIN"),
        ("TALLY_LOG__KAFKA_OPTIONS__SASL_USERNAME", "tally"),
        ("TALLY_LOG__KAFKA_OPTIONS__SASL_PASSWORD", "tally-test"),
    ];
    let check = format!("certificate of Kafka at {secure}");
    Findings::of(folder.path(), &settings).says(&check, "ok", "valid for");
    // It is there to be seen for who is not let in, too.
    let mut guessed = settings;
    guessed[5].1 = "guessed";
    let refused = Findings::of(folder.path(), &guessed);
    refused.says("Kafka", "wrong", "Kafka refuses this user");
    refused.says(&check, "ok", "valid for");
}
