//! Delivery to real HTTP receivers: down, slow, broken, gone (R24).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use tally_log::{EventLog, MemoryLog, RecordKind};
use tally_schemas::{AlertsConfig, WebhookConfig};
use tally_webhooks::{
    AlertsLog, Dispatcher, Receiver, SigningKey, WebhookStatus, dead_letters, receivers_of,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PARTITIONS: u32 = 3;
/// When something that goes on by itself counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: has not happened");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How a receiver answers its nth request, from 0.
type Answer = fn(u64) -> Response;

/// A receiver of alerts.
#[derive(Clone)]
struct Server {
    answer: Answer,
    requests: Arc<AtomicU64>,
    /// What it took: bodies by id.
    taken: Arc<Mutex<BTreeMap<String, Vec<Bytes>>>>,
}

impl Server {
    async fn listen(address: SocketAddr, answer: Answer) -> (Self, JoinHandle<()>) {
        let server = Self { answer, requests: Arc::default(), taken: Arc::default() };
        let routes = Router::new().fallback(take).with_state(server.clone());
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (server, serving)
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    fn ids(&self) -> BTreeSet<String> {
        self.taken.lock().keys().cloned().collect()
    }
}

async fn take(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    let n = server.requests.fetch_add(1, Ordering::SeqCst);
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let id = text("webhook-id");
    let timestamp_s = text("webhook-timestamp").parse().unwrap();
    let expected = SigningKey::parse(SECRET).unwrap().sign(&id, timestamp_s, &body);
    assert_eq!(text("webhook-signature"), expected);
    assert_eq!(text("content-type"), "application/json");
    let answer = (server.answer)(n);
    if answer.status().is_success() {
        server.taken.lock().entry(id).or_default().push(body);
    }
    answer
}

fn ok(_: u64) -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// An address where nobody listens yet.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A topic of alerts, and a store.
struct Bench {
    log: MemoryLog,
    store: Arc<dyn ObjectStore>,
    config: AlertsConfig,
    sent: BTreeMap<String, Bytes>,
}

/// A dispatcher that runs.
struct Running {
    status: WebhookStatus,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }

    fn failures(&self) -> u64 {
        self.status.receivers().values().map(|receiver| receiver.failures).sum()
    }
}

impl Bench {
    fn new() -> Self {
        let config = AlertsConfig {
            allow_private: true,
            attempt_timeout_ms: 300,
            retry_min_ms: 5,
            retry_max_ms: 40,
            ..AlertsConfig::default()
        };
        let log = MemoryLog::new("usage.alerts", PARTITIONS);
        Self { log, store: Arc::new(InMemory::new()), config, sent: BTreeMap::new() }
    }

    /// Appends alerts as they are sent.
    fn send(&mut self, ids: std::ops::Range<u32>, logged_at_ms: i64) {
        for n in ids {
            let kind = if n % 5 == 0 { "overrun" } else { "percent_used" };
            let body = format!(r#"{{"id":"a{n}","kind":"{kind}","account":"A{}"}}"#, n % 7);
            let body = Bytes::from(body);
            let partition = n % PARTITIONS;
            let value = Some(body.clone());
            self.log.append_at(partition, None, value, RecordKind::Single, logged_at_ms).unwrap();
            self.sent.insert(format!("a{n}"), body);
        }
    }

    fn receiver(&mut self, url: String) -> Receiver {
        let webhook = WebhookConfig { url, secret: SECRET.into(), ..WebhookConfig::default() };
        self.config.webhooks = vec![webhook];
        receivers_of(&self.config).unwrap().remove(0)
    }

    async fn start(&self, receiver: &Receiver) -> Running {
        let (status, stop) = (WebhookStatus::default(), CancellationToken::new());
        let log = AlertsLog::Alone(Arc::new(self.log.clone()) as Arc<dyn EventLog>);
        let store = Arc::clone(&self.store);
        let dispatcher =
            Dispatcher::new(receiver.clone(), log, store, &self.config, status.clone()).unwrap();
        dispatcher.register().await.unwrap();
        let token = stop.clone();
        let running = tokio::spawn(async move { dispatcher.run(token).await.unwrap() });
        Running { status, stop, running }
    }

    fn assert_taken(&self, server: &Server) {
        let taken = server.taken.lock();
        for (id, body) in &self.sent {
            let bodies = taken.get(id).unwrap_or_else(|| panic!("{id} was lost"));
            assert!(bodies.iter().all(|taken| taken == body), "{id} has two bodies");
        }
        assert_eq!(taken.len(), self.sent.len(), "something was made up");
    }
}

/// Refuses at first; then answers everything that is no success, or nothing in time.
fn troubled(n: u64) -> Response {
    match n % 6 {
        0 if n < 60 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        1 if n < 60 => StatusCode::TOO_MANY_REQUESTS.into_response(),
        2 if n < 60 => (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
        3 if n < 12 => {
            std::thread::sleep(Duration::from_millis(400));
            StatusCode::BAD_GATEWAY.into_response()
        }
        _ => StatusCode::OK.into_response(),
    }
}

/// R24, shortened: down, restarted meanwhile, troubled, well.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_receiver_that_is_down_loses_nothing() {
    let mut bench = Bench::new();
    let address = free_address();
    let receiver = bench.receiver(format!("http://{address}/hook?token=secret"));
    let first = bench.start(&receiver).await;
    bench.send(0..150, now_ms());
    eventually("attempts that nobody answers", || first.failures() >= 5).await;
    let waiting = || first.status.receivers().values().map(|r| r.waiting).sum::<u64>();
    eventually("all of them waiting", || waiting() == 150).await;
    first.stop().await;
    let second = bench.start(&receiver).await;
    bench.send(150..300, now_ms());
    eventually("more attempts", || second.failures() >= 5).await;
    let (server, _serving) = Server::listen(address, troubled).await;
    bench.send(300..400, now_ms());
    eventually("everything delivered", || server.ids().len() == bench.sent.len()).await;
    bench.assert_taken(&server);
    let delivered = || second.status.receivers().values().map(|r| r.delivered).sum::<u64>();
    eventually("everything acknowledged", || delivered() >= 400).await;
    let names: Vec<String> = second.status.receivers().into_keys().collect();
    assert_eq!(names, [format!("http://{address}/hook")], "the token is not shown");
    second.stop().await;
    // What is delivered is not sent again.
    let requests = server.requests();
    let third = bench.start(&receiver).await;
    bench.send(400..401, now_ms());
    eventually("one more", || server.ids().len() == bench.sent.len()).await;
    assert_eq!(server.requests(), requests + 1);
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_never_answers_holds_up_nobody_else() {
    let mut bench = Bench::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = bench.receiver(format!("http://{}/", silent.local_addr().unwrap()));
    let stuck = bench.start(&receiver).await;
    let address = free_address();
    let (server, _other) = Server::listen(address, ok).await;
    let receiver = bench.receiver(format!("http://{address}/"));
    let well = bench.start(&receiver).await;
    // More than may wait for one receiver in memory.
    bench.send(0..2_500, now_ms());
    eventually("everything delivered to the other", || server.ids().len() == 2_500).await;
    bench.assert_taken(&server);
    well.stop().await;
    stuck.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_bad_alert_holds_up_no_other_and_is_given_up() {
    let mut bench = Bench::new();
    bench.config.give_up_ms = 3_600_000;
    let address = free_address();
    let receiver = bench.receiver(format!("http://{address}/"));
    let running = bench.start(&receiver).await;
    // The alert of two hours ago is the first to be tried, and nothing is taken at first.
    let hours_ago = now_ms() - 2 * 3_600_000;
    bench.send(0..1, hours_ago);
    eventually("it is given up", || {
        running.status.receivers().values().all(|receiver| receiver.dead_letters == 1)
    })
    .await;
    let dead = dead_letters(bench.store.as_ref(), "usage.alerts").await.unwrap();
    assert_eq!(dead, BTreeMap::from([(receiver.id().to_owned(), 1)]));
    let (server, _serving) = Server::listen(address, ok).await;
    bench.sent.clear();
    // Old, but never tried before: an outage of the stream is no reason to give up.
    bench.send(1..50, hours_ago);
    eventually("the others", || server.ids().len() == 49).await;
    bench.assert_taken(&server);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_is_gone_gets_nothing_more_and_keeps_its_place() {
    let mut bench = Bench::new();
    let address = free_address();
    let gone: Answer = |_| StatusCode::GONE.into_response();
    let (server, serving) = Server::listen(address, gone).await;
    let receiver = bench.receiver(format!("http://{address}/"));
    let running = bench.start(&receiver).await;
    bench.send(0..1, now_ms());
    eventually("it is stopped", || {
        running.status.receivers().values().all(|receiver| receiver.stopped.is_some())
    })
    .await;
    bench.send(1..40, now_ms());
    let waiting = || running.status.receivers().values().map(|r| r.waiting).sum::<u64>();
    eventually("the others wait", || waiting() == 40).await;
    assert_eq!(server.requests(), 1);
    running.stop().await;
    serving.abort();
    drop(serving.await);
    let (server, _serving) = Server::listen(address, ok).await;
    let running = bench.start(&receiver).await;
    eventually("everything after a new start", || server.ids().len() == 40).await;
    bench.assert_taken(&server);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_name_of_this_machine_is_not_connected_to_unless_allowed() {
    let mut bench = Bench::new();
    bench.config.allow_private = false;
    let address = free_address();
    let (server, _serving) = Server::listen(address, ok).await;
    let receiver = bench.receiver(format!("http://localhost:{}/", address.port()));
    let running = bench.start(&receiver).await;
    bench.send(0..3, now_ms());
    eventually("attempts", || running.failures() >= 3).await;
    let failing: Vec<String> =
        running.status.receivers().into_values().filter_map(|receiver| receiver.failing).collect();
    assert!(failing[0].contains("alerts.allow_private"), "{failing:?}");
    assert_eq!(server.requests(), 0);
    running.stop().await;
    bench.config.allow_private = true;
    let running = bench.start(&receiver).await;
    eventually("all of them", || server.ids().len() == 3).await;
    running.stop().await;
}
