//! The HTTP listener: routes of the roles that run here, health and metrics. Beyond loopback it
//! needs users and a certificate. Where there is a certificate, what comes from other machines has to
//! be encrypted; this machine's own tools may go without.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::connect_info::Connected;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::IncomingStream;
use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use tally_access::Channel;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;
use crate::gate::{Gate, Peer};
use crate::probes::Work;
use crate::security::Security;
use crate::store_watch::StoreWatch;

/// Protocols within TLS (ALPN), by preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// How long a client may take to agree on encryption.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many clients agree on it at once; more wait.
const HANDSHAKES: usize = 256;
/// First byte of a connection that begins with TLS: a handshake record.
const TLS_BEGINS_WITH: u8 = 0x16;

/// A listener that is bound, and who is let in.
#[derive(Debug)]
pub(crate) struct Listener {
    tcp: TcpListener,
    security: Security,
}

impl Listener {
    /// The address it listens on.
    pub(crate) fn local_addr(&self) -> Result<SocketAddr, Failure> {
        Ok(self.tcp.local_addr()?)
    }
}

/// Binds an address, which must be loopback unless there are users and a certificate.
pub(crate) async fn bind(address: &str, security: &Security) -> Result<Listener, Failure> {
    let resolved: Vec<SocketAddr> = address
        .to_socket_addrs()
        .map_err(|e| Failure::usage(format!("listen address {address}: {e}")))?
        .collect();
    let loopback = resolved.iter().all(|a| a.ip().is_loopback());
    if resolved.is_empty() || !(loopback || security.is_for_others()) {
        return Err(Failure::usage(format!(
            "{address} is not a loopback address, which needs authentication and encryption: set auth.users_file, tls.certificate and tls.key, or listen on 127.0.0.1"
        )));
    }
    let tcp = TcpListener::bind(resolved.as_slice())
        .await
        .map_err(|e| Failure::usage(format!("cannot listen on {address}: {e}")))?;
    Ok(Listener { tcp, security: security.clone() })
}

/// Serves until stopped; requests in flight are finished.
pub(crate) async fn serve(
    listener: Listener,
    routes: Router,
    stop: CancellationToken,
) -> Result<(), Failure> {
    serve_on(listener, routes, Channel::Http, stop).await
}

/// The same for requests of another kind.
pub(crate) async fn serve_on(
    listener: Listener,
    routes: Router,
    channel: Channel,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let Listener { tcp, security } = listener;
    let connections = Connections::open(tcp, &security)?;
    let routes = Gate::new(security, channel).guard(routes);
    axum::serve(connections, routes.into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .map_err(Failure::from)
}

type Io = Either<TcpStream, TlsStream<TcpStream>>;

/// Connections that are ready for HTTP.
struct Connections {
    ready: mpsc::Receiver<(Io, SocketAddr)>,
    address: SocketAddr,
    accepting: AbortHandle,
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Connections {
    fn open(tcp: TcpListener, security: &Security) -> Result<Self, Failure> {
        let encryption = match &security.certificate {
            Some(certificate) => Some(TlsAcceptor::from(certificate.server(&PROTOCOLS)?)),
            None => None,
        };
        let address = tcp.local_addr()?;
        let (out, ready) = mpsc::channel(1);
        let accepting = tokio::spawn(accept(tcp, encryption, out)).abort_handle();
        Ok(Self { ready, address, accepting })
    }
}

impl axum::serve::Listener for Connections {
    type Io = Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The task ends with this listener only.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Connected<IncomingStream<'_, Connections>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        Self(*stream.remote_addr())
    }
}

async fn accept(
    tcp: TcpListener,
    encryption: Option<TlsAcceptor>,
    out: mpsc::Sender<(Io, SocketAddr)>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let (stream, peer) = match tcp.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: closing connections will free some.
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Without it a small answer waits for the peer's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let Some(encryption) = encryption.clone() else {
            if out.send((Either::Left(stream), peer)).await.is_err() {
                return;
            }
            continue;
        };
        let (out, handshakes) = (out.clone(), Arc::clone(&handshakes));
        tokio::spawn(async move {
            let Ok(_turn) = handshakes.acquire().await else { return };
            let ready = tokio::time::timeout(HANDSHAKE_TIMEOUT, agree(stream, peer, &encryption));
            match ready.await {
                Ok(Ok(io)) => drop(out.send((io, peer)).await),
                Ok(Err(error)) => tracing::debug!(%error, %peer, "no encryption was agreed on"),
                Err(_) => tracing::debug!(%peer, "no encryption was agreed on in time"),
            }
        });
    }
}

/// Agrees on encryption with a client. One on this machine may go without.
async fn agree(
    stream: TcpStream,
    peer: SocketAddr,
    encryption: &TlsAcceptor,
) -> std::io::Result<Io> {
    let mut first = [0];
    let seen = stream.peek(&mut first).await?;
    let plain = seen == 1 && first != [TLS_BEGINS_WITH];
    if plain && peer.ip().to_canonical().is_loopback() {
        return Ok(Either::Left(stream));
    }
    Ok(Either::Right(encryption.accept(stream).await?))
}

#[derive(Clone)]
struct Watch {
    registry: Arc<Mutex<Registry>>,
    /// What is to make progress here; none in a process that only answers.
    work: Option<Arc<dyn Work>>,
}

/// `/healthz`, `/readyz` and `/metrics` of a process without a door, which does this.
pub(crate) fn watch_routes(registry: Arc<Mutex<Registry>>, work: Arc<dyn Work>) -> Router {
    health_routes().route("/readyz", get(readyz)).with_state(Watch { registry, work: Some(work) })
}

/// The same of a process that only reads: without the store it can do nothing, and says so.
pub(crate) fn reader_routes(registry: Arc<Mutex<Registry>>, store: Arc<dyn ObjectStore>) -> Router {
    let store = Arc::new(StoreWatch::new(store));
    let ready = move || store_ready(Arc::clone(&store));
    health_routes().route("/readyz", get(ready)).with_state(Watch { registry, work: None })
}

fn health_routes() -> Router<Watch> {
    Router::new().route("/healthz", get(healthz)).route("/metrics", get(metrics))
}

/// Ready where the store answers. Anybody may ask, so where the store is and what it said is only
/// in the process's log.
async fn store_ready(store: Arc<StoreWatch>) -> Response {
    match store.answers().await {
        Ok(()) => "ok\n".into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response(),
    }
}

/// Unhealthy where something of this process makes no progress, and only a restart helps.
async fn healthz(State(watch): State<Watch>) -> Response {
    verdict(watch.work.map(|work| work.stuck()).unwrap_or_default())
}

/// Ready where the work of this process is being done.
async fn readyz(State(watch): State<Watch>) -> Response {
    let Some(work) = watch.work else { return verdict(Vec::new()) };
    verdict(work.stuck().into_iter().chain(work.unready()).collect())
}

fn verdict(wrong: Vec<String>) -> Response {
    if wrong.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", wrong.join("\n"))).into_response()
}

async fn metrics(State(watch): State<Watch>) -> Response {
    let mut text = String::new();
    let Ok(registry) = watch.registry.lock() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use tally_access::{Certificate, Directory, SignIns, Token, User, UsersFile};

    use super::*;
    use crate::store_watch::tests::asked_once;

    /// Users, a certificate for `localhost`, and a token of finance.
    fn secured(folder: &std::path::Path) -> (Security, reqwest::Certificate, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let token = Token::generate().unwrap();
        let mut file = UsersFile::default();
        let (name, role) = ("amy".to_owned(), "finance".parse().unwrap());
        file.insert(User { name, role, password: None, token: Some(token.hash()) }).unwrap();
        let users = folder.join("users.toml");
        file.write(&users).unwrap();
        let security = Security {
            users: Some(Arc::new(Directory::open(&users).unwrap())),
            certificate: Some(Certificate::load(&certificate, &key).unwrap()),
            sign_ins: SignIns::default(),
        };
        let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
        (security, root, token.expose().to_owned())
    }

    fn routes() -> Router {
        let routes = Router::new().route("/v1/sql", get(|| async { "rows" }));
        routes.route("/metrics", get(|| async { "metrics" }))
    }

    /// A store whose certificate is not trusted is not only "error sending request".
    #[tokio::test]
    async fn a_certificate_that_is_not_trusted_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let (security, ..) = secured(folder.path());
        let listener = bind("127.0.0.1:0", &security).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, routes(), stop.clone()));
        let store = asked_once(format!("https://localhost:{port}"));
        let error = store.list_with_delimiter(None).await.unwrap_err();
        let said = tally_aggregate::AggregateError::from(error).to_string();
        assert!(said.contains("invalid peer certificate"), "{said}");
        stop.cancel();
        serving.await.unwrap().unwrap();
    }

    /// A process that only reads is alive without its store, and not ready.
    #[tokio::test]
    async fn a_reader_is_ready_where_its_store_answers() {
        use object_store::memory::InMemory;
        use tower::ServiceExt;
        let away = asked_once("http://127.0.0.1:9".to_owned());
        let stores: [(Arc<dyn ObjectStore>, StatusCode); 2] = [
            (Arc::new(InMemory::new()), StatusCode::OK),
            (Arc::new(away), StatusCode::SERVICE_UNAVAILABLE),
        ];
        for (store, ready) in stores {
            let routes = reader_routes(Arc::default(), store);
            for (path, wanted) in [("/healthz", StatusCode::OK), ("/readyz", ready)] {
                let request = axum::http::Request::get(path).body(axum::body::Body::empty());
                let answer = routes.clone().oneshot(request.unwrap()).await.unwrap();
                assert_eq!(answer.status(), wanted, "{path}");
                let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
                let away = body.as_ref() == b"the store does not answer\n";
                assert_eq!(away, wanted != StatusCode::OK, "{body:?}");
            }
        }
    }

    /// A role that is stuck is neither alive nor ready; one that has not begun is alive.
    #[tokio::test]
    async fn probes_ask_what_the_work_is_doing() {
        use tower::ServiceExt;

        struct Doing(Option<&'static str>, Option<&'static str>);
        impl Work for Doing {
            fn stuck(&self) -> Vec<String> {
                self.0.into_iter().map(str::to_owned).collect()
            }
            fn unready(&self) -> Option<String> {
                self.1.map(str::to_owned)
            }
        }
        let (ok, bad) = (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE);
        for (doing, alive, ready, words) in [
            (Doing(None, None), ok, ok, "ok\n"),
            (Doing(None, Some("joining")), ok, bad, "joining\n"),
            (Doing(Some("partition 1: hangs"), None), bad, bad, "partition 1: hangs\n"),
        ] {
            let routes = watch_routes(Arc::default(), Arc::new(doing));
            for (path, wanted) in [("/healthz", alive), ("/readyz", ready)] {
                let request = axum::http::Request::get(path).body(axum::body::Body::empty());
                let answer = routes.clone().oneshot(request.unwrap()).await.unwrap();
                assert_eq!(answer.status(), wanted, "{path} {words}");
                let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
                let said = if wanted == ok { "ok\n" } else { words };
                assert_eq!(body.as_ref(), said.as_bytes(), "{path}");
            }
        }
    }

    #[tokio::test]
    async fn beyond_loopback_only_with_users_and_a_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, ..) = secured(folder.path());
        let users = Security { certificate: None, ..whole.clone() };
        let encryption = Security { users: None, ..whole.clone() };
        for (security, allowed) in [(&users, false), (&encryption, false), (&whole, true)] {
            assert_eq!(bind("0.0.0.0:0", security).await.is_ok(), allowed);
            assert!(bind("127.0.0.1:0", security).await.is_ok());
        }
        let refused = bind("0.0.0.0:0", &users).await.unwrap_err();
        assert!(refused.message.contains("tls.certificate"), "{}", refused.message);
    }

    #[tokio::test]
    async fn requests_are_encrypted_and_need_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let (security, root, token) = secured(folder.path());
        let listener = bind("0.0.0.0:0", &security).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, routes(), stop.clone()));
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        let client = || reqwest::Client::builder().no_proxy().resolve("localhost", here);
        let trusting = client().add_root_certificate(root).build().unwrap();
        let url = format!("https://localhost:{port}/v1/sql");
        let answer = trusting.get(&url).bearer_auth(&token).send().await.unwrap();
        assert_eq!(
            (answer.status(), answer.text().await.unwrap().as_str()),
            (StatusCode::OK, "rows")
        );
        assert_eq!(trusting.get(&url).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
        let wrong = trusting.get(&url).bearer_auth("tally_x").send().await.unwrap();
        assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
        // A certificate of nobody's authority is not trusted.
        assert!(client().build().unwrap().get(&url).bearer_auth(&token).send().await.is_err());
        // This machine's own tools may go without encryption, and still need a token for SQL.
        let plain = client().build().unwrap();
        let metrics = plain.get(format!("http://{here}/metrics")).send().await.unwrap();
        assert_eq!(metrics.status(), StatusCode::OK);
        let sql = plain.get(format!("http://{here}/v1/sql")).send().await.unwrap();
        assert_eq!(sql.status(), StatusCode::UNAUTHORIZED);
        // From another address there is no plain HTTP, whatever it asks.
        let outside = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.connect("192.0.2.1:9")?;
            socket.local_addr()
        });
        match outside {
            Ok(address) if !address.ip().is_loopback() => {
                let url = format!("http://{}:{port}/healthz", address.ip());
                assert!(plain.get(url).send().await.is_err());
            }
            _ => println!("this machine has no address but loopback"),
        }
        stop.cancel();
        serving.await.unwrap().unwrap();
    }
}
