//! Bad days of certificates that have expired: ours, the store's and Kafka's. The table of all of them
//! is in `docs/operations/bad-days.md`.

use std::time::Instant;

use crate::bad_days::{
    Day, PASSWORD, flat, generate, kafka_lets_nobody_in, left, metrics_name, named, read_truth,
    troubles, verify_resent, words,
};
use crate::door::address;
use crate::embedded;
use crate::kafka_outage::Broker;
use crate::support::{Authority, Process, block_on, patience};

/// That of our own listeners.
#[test]
fn ours_has_expired() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    let certify = |until| {
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2025, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(until, 2, 1);
        let made = parameters.self_signed(&key).unwrap();
        std::fs::write(folder.join("server.crt"), made.pem()).unwrap();
        reqwest::Certificate::from_pem(made.pem().as_bytes()).unwrap()
    };
    let tally = |arguments: &[&str]| {
        let mut command = embedded::tally(folder, arguments);
        command
            .env("TALLY_TLS__CERTIFICATE", folder.join("server.crt"))
            .env("TALLY_TLS__KEY", folder.join("server.key"));
        command
    };
    let up = |name: &str| {
        let mut process = Process::start(name, tally(&["up"]), folder);
        let at = address(&process.says("HTTP ", patience())).to_owned();
        (process, at)
    };
    // As a gateway of another machine does it.
    let reaches = |at: &str, root: &reqwest::Certificate| {
        let (address, port) = (at.parse().unwrap(), at.rsplit_once(':').unwrap().1);
        let client = reqwest::Client::builder().no_proxy().resolve("localhost", address);
        let client = client.add_root_certificate(root.clone()).build().unwrap();
        block_on(client.get(format!("https://localhost:{port}/healthz")).send()).is_ok()
    };
    let root = certify(2025);
    let (mut process, at) = up("up");
    let began = Instant::now();
    let expired = "the certificate is not valid: it expired at 2025-02-01";
    named(began, || words(&mut tally(&["status"])), |said| said.contains(expired));
    named(began, || words(&mut tally(&["doctor"])), |said| flat(said).contains("it expired"));
    metrics_name(began, &at, "certificate");
    let line = process.says(expired, left(began));
    assert!(line.contains("put a new one in its place"), "{line}");
    assert!(!reaches(&at, &root), "a client that checks the certificate was let in");
    // This machine's own tools go without encryption; what they sent stays.
    generate(folder, &at, "7", embedded::tally(folder, &["generate"])).succeed(patience());
    assert!(process.terminate(patience()).success());

    let root = certify(2126);
    let (mut process, at) = up("up-again");
    assert!(reaches(&at, &root));
    assert_eq!(troubles(&at), Vec::<String>::new());
    assert!(!words(&mut tally(&["status"])).contains("TROUBLE"));
    assert!(process.terminate(patience()).success());
    verify_resent(folder, read_truth(&folder.join("truth-7.json")), &tally);
}

/// The store's: who reaches it by TLS refuses it, and says that it is we who do.
#[test]
fn the_stores_has_expired() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    authority.certify(2126);
    let mut secure = None;
    let mut day = Day::begin_by("bad-day-store-certificate", |s3, _| {
        let server = s3.by_tls(&folder.path().join("s3"), &authority.presented());
        let endpoint = format!("https://{}", server.address);
        secure = Some(server);
        let trusted = authority.certificate().display().to_string();
        vec![("AWS_ENDPOINT_URL", endpoint), ("SSL_CERT_FILE", trusted)]
    });
    let secure = secure.unwrap();
    authority.certify(2025);
    secure.presents(&authority.presented());
    day.is_named("store_certificate", "the store's certificate is not trusted", "SSL_CERT_FILE");
    let doctor = day.says(&["doctor", "--json"]);
    let presented = format!("certificate of the store at {}", secure.address);
    assert!(doctor.contains(&presented) && doctor.contains("it expired"), "{doctor}");
    authority.certify(2126);
    secure.presents(&authority.presented());
    day.ends("store_certificate");
}

/// That of Kafka's brokers: not taken for a user that they refuse.
#[test]
fn kafkas_has_expired() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    authority.certify(2126);
    let mut broker = Broker::new(folder.path());
    broker.wants(PASSWORD);
    broker.presents(&authority);
    kafka_lets_nobody_in(
        folder.path(),
        broker,
        |_| authority.certify(2025),
        |_| authority.certify(2126),
        ("kafka_certificate", "Kafka's certificate is not trusted"),
    );
}
