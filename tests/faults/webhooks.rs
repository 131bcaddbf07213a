//! R24: the receiver of alerts is down, and so, now and then, is who delivers.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use tally_webhooks::SigningKey;

use crate::alerts::Crossings;
use crate::embedded::{PATIENCE, tally};
use crate::support::{Dice, Figures, Process, Stream, at_scale, eventually, patience};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver took: bodies by id, as often as they came.
type Taken = Arc<Mutex<BTreeMap<String, Vec<Bytes>>>>;

async fn take(State(taken): State<Taken>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, timestamp_s) = (text("webhook-id"), text("webhook-timestamp").parse().unwrap());
    let signature = SigningKey::parse(SECRET).unwrap().sign(&id, timestamp_s, &body);
    if text("webhook-signature") != signature {
        return StatusCode::UNAUTHORIZED;
    }
    taken.lock().unwrap().entry(id).or_default().push(body);
    StatusCode::OK
}

/// Serves on a thread of its own until the test ends.
fn listen(address: SocketAddr) -> Taken {
    let taken = Taken::default();
    let routes = Router::new().fallback(take).with_state(Arc::clone(&taken));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            axum::serve(listener, routes).await.unwrap();
        });
    });
    taken
}

/// Whoever may write the settings could otherwise have the program ask its own network.
#[test]
fn a_webhook_to_a_private_address_keeps_the_program_from_starting() {
    for (number, (url, address)) in [
        ("http://127.0.0.1:9/hook", "127.0.0.1"),
        ("http://2130706433/hook", "127.0.0.1"),
        ("http://[::1]/hook", "::1"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254"),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut command = tally(folder, &["up"]);
        let list = format!("[{{url = \"{url}\", secret = \"{SECRET}\"}}]");
        command.env("TALLY_ALERTS__WEBHOOKS", list);
        let mut process = Process::start(&format!("up-{number}"), command, folder);
        let status = process.wait(PATIENCE);
        let words = process.log() + &process.output();
        assert_eq!(status.code(), Some(2), "{url}: {words}");
        let told = format!(
            "alerts.webhooks: {address} has no public address, and alerts.allow_private is false"
        );
        assert!(words.contains(&told), "{url}: {words}");
        assert!(!words.contains("whsec_"), "{words}");
    }
}

#[test]
fn a_receiver_that_is_down_loses_nothing() {
    let mut dice = Dice::of("webhooks");
    let partitions = 3;
    let mut stream = Stream::new("webhooks", dice.seed(), partitions);
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let list = format!("[{{url = \"http://{address}/hook\", secret = \"{SECRET}\"}}]");
    stream.set("alerts.webhooks", list);
    stream.set("alerts.allow_private", true);
    stream.set("alerts.retry_min_ms", 50);
    stream.set("alerts.retry_max_ms", at_scale(400, 300_000));
    // Three lives of it: an hour, with the full count.
    let down = Duration::from_secs(at_scale(2, 1_200));
    let crossings = Crossings::make(&mut dice, partitions, "hook", at_scale(1_500, 20_000));
    let sending = crossings.sending(&stream.topic, down * 2);
    let mut taken = None;
    for life in ["first", "second", "third"] {
        let mut process = stream.aggregate(life);
        process.says("an alert was not delivered", patience());
        std::thread::sleep(down);
        dice.pause(0, 500);
        if life == "third" {
            taken = Some(listen(address));
            dice.pause(200, 1_200);
        }
        process.kill();
        stream.set("log.group", format!("{}-{life}", stream.topic.name));
    }
    sending.join().unwrap();
    let taken = taken.unwrap();
    let mut process = stream.aggregate("last");
    // It may have nothing left to do; but it must be there to be told to end.
    process.says("partitions given to this member", patience());
    let must = crossings.sent.len();
    eventually("every alert at the receiver", patience(), || {
        process.assert_running();
        (taken.lock().unwrap().len() >= must).then_some(())
    });
    assert!(process.terminate(patience()).success());
    let taken = taken.lock().unwrap();
    let mut repeats = 0;
    let mut in_topic = 0;
    for (_, value) in stream.alerts_topic().values() {
        let message: serde_json::Value = serde_json::from_slice(&value).unwrap();
        let bodies = &taken[message["id"].as_str().unwrap()];
        assert!(bodies.iter().all(|body| *body == value), "an id with two bodies: {message}");
        repeats += bodies.len() - 1;
        in_topic += 1;
    }
    assert_eq!((taken.len(), in_topic), (must, must));
    let status = stream.tally(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&stream.run("status", status)).unwrap();
    assert_eq!(status["webhooks"][0]["receiver"], format!("http://{address}/hook"));
    assert_eq!(status["webhooks"][0]["dead_letters"], 0);
    let mut figures = Figures::of("R24 alert receiver down", &dice);
    figures.note("alerts", must as u64);
    figures.note("down_s", down.as_secs() * 3);
    figures.note("repeats", repeats as u64);
    figures.report();
}
