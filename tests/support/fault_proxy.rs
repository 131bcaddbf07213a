//! A reverse proxy before S3 that spoils what passes it: by a seed, at a rate, and in ways that
//! real object stores and the networks before them have.
//!
//! Every byte is passed on as it came, the `Host` header included, as the signature covers it.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::dice::Dice;
use super::http_message::{BodyLength, Head, read_body};

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The store answers with this status, and does nothing.
    Status(u16),
    /// The store does what was asked, and answers with this status.
    DoneButStatus(u16),
    /// The store does what was asked; the reply is lost with the connection.
    ReplyLost,
    /// The connection breaks before the request is read.
    Reset,
    /// The connection breaks in the middle of the reply's body.
    Truncated,
    /// The request waits for so many milliseconds before the store gets it.
    Delayed(u64),
    /// The request is read and never answered.
    Silent,
    /// The reply's body takes so many milliseconds.
    SlowBody(u64),
    /// The store takes no notice of `If-None-Match`: whoever creates an object that exists is told
    /// that it was created. The header itself cannot be taken out, as the signature covers it.
    ConditionIgnored,
    /// The store's clock, as its replies tell it, is off by so many seconds.
    ClockOff(i64),
}

impl Fault {
    fn name(self) -> String {
        match self {
            Self::Status(status) => format!("status {status}"),
            Self::DoneButStatus(status) => format!("done but status {status}"),
            Self::ReplyLost => "reply lost".to_owned(),
            Self::Reset => "reset".to_owned(),
            Self::Truncated => "truncated".to_owned(),
            Self::Delayed(_) => "delayed".to_owned(),
            Self::Silent => "silent".to_owned(),
            Self::SlowBody(_) => "slow body".to_owned(),
            Self::ConditionIgnored => "condition ignored".to_owned(),
            Self::ClockOff(_) => "clock off".to_owned(),
        }
    }
}

/// Which requests are spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All.
    All,
    /// Those that create a ledger entry: the commits.
    LedgerEntries,
    /// Those that create a version of a Delta table.
    DeltaVersions,
}

impl Scope {
    fn has(self, head: &Head) -> bool {
        let puts_below = |folder: &str| head.method() == "PUT" && head.path().contains(folder);
        match self {
            Self::All => true,
            Self::LedgerEntries => puts_below("/ledger/"),
            Self::DeltaVersions => puts_below("/_delta_log/"),
        }
    }
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<String>,
    state: Mutex<State>,
    stopped: AtomicBool,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    percent: u32,
    faults: Vec<Fault>,
    scope: Scope,
    requests: u64,
    injected: BTreeMap<String, u64>,
}

/// The proxy. Dropping it closes its door; connections that are open end with their clients.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl FaultProxy {
    /// A proxy before `upstream` (`HOST:PORT`) that spoils nothing yet.
    pub(crate) fn start(upstream: &str, dice: Dice) -> Self {
        println!("fault proxy: seed {}", dice.seed());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            dice,
            percent: 0,
            faults: Vec::new(),
            scope: Scope::All,
            requests: 0,
            injected: BTreeMap::new(),
        };
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream.to_owned()),
            state: Mutex::new(state),
            stopped: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if of_thread.stopped.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(client), shared) = (client, Arc::clone(&of_thread)) else { continue };
                // A connection that breaks is what this is for.
                std::thread::spawn(move || drop(serve(client, &shared)));
            }
        });
        Self { address, shared }
    }

    /// What a client takes for the S3 server.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Spoils `percent` of 100 requests in the scope from now on, by a fault drawn from `faults`.
    pub(crate) fn spoil(&self, scope: Scope, percent: u32, faults: &[Fault]) {
        let mut state = self.shared.state.lock().unwrap();
        (state.scope, state.percent, state.faults) = (scope, percent, faults.to_vec());
    }

    /// Passes everything on to another server from now on.
    pub(crate) fn redirect(&self, upstream: &str) {
        upstream.clone_into(&mut self.shared.upstream.lock().unwrap());
    }

    /// Spoils nothing from now on.
    pub(crate) fn heal(&self) {
        self.spoil(Scope::All, 0, &[]);
    }

    /// Requests that came.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.state.lock().unwrap().requests
    }

    /// How often each fault was injected.
    pub(crate) fn injected(&self) -> BTreeMap<String, u64> {
        self.shared.state.lock().unwrap().injected.clone()
    }

    /// How often any fault was injected.
    pub(crate) fn injected_total(&self) -> u64 {
        self.injected().values().sum()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // Wakes the thread that waits for a client.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn draw(&self, head: &Head) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        if !state.scope.has(head) || state.faults.is_empty() {
            return None;
        }
        let percent = state.percent;
        if !state.dice.chance(percent) {
            return None;
        }
        let count = state.faults.len();
        let index = state.dice.index(count);
        let fault = state.faults[index];
        *state.injected.entry(fault.name()).or_default() += 1;
        Some(fault)
    }
}

/// Serves one client's connection, one request after the other.
fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut answers = client.try_clone()?;
    let mut requests = BufReader::new(client);
    let mut upstream: Option<BufReader<TcpStream>> = None;
    let mut connected_to = String::new();
    while let Some(request) = Head::read(&mut requests)? {
        let fault = shared.draw(&request);
        if fault == Some(Fault::Reset) {
            // Closing while bytes are unread is what sends a reset.
            return answers.shutdown(Shutdown::Both);
        }
        let body = read_body(&mut requests, request.request_body()?)?;
        match fault {
            Some(Fault::Status(status)) => {
                refuse(&mut answers, status, request.method())?;
                continue;
            }
            Some(Fault::Silent) => {
                // Until the client gives up.
                io::copy(&mut requests, &mut io::sink())?;
                return Ok(());
            }
            Some(Fault::Delayed(ms)) => std::thread::sleep(Duration::from_millis(ms)),
            _ => {}
        }
        let address = shared.upstream.lock().unwrap().clone();
        if address != connected_to {
            upstream = None;
            connected_to = address;
        }
        let (head, length, reply) = forward(&mut upstream, &connected_to, &request, &body)?;
        match fault {
            Some(Fault::ReplyLost) => return answers.shutdown(Shutdown::Both),
            Some(Fault::DoneButStatus(status)) => refuse(&mut answers, status, request.method())?,
            Some(Fault::Truncated) => {
                head.write(&mut answers)?;
                answers.write_all(&reply[..reply.len() / 2])?;
                return answers.shutdown(Shutdown::Both);
            }
            Some(Fault::SlowBody(ms)) => {
                head.write(&mut answers)?;
                const PARTS: usize = 10;
                for part in reply.chunks((reply.len() / PARTS).max(1)) {
                    std::thread::sleep(Duration::from_millis(ms / PARTS as u64));
                    answers.write_all(part)?;
                }
            }
            Some(Fault::ConditionIgnored)
                if request.header("if-none-match").is_some()
                    && matches!(head.status(), "409" | "412") =>
            {
                created(&mut answers)?;
            }
            Some(Fault::ClockOff(seconds)) => {
                head.with_times_shifted(seconds).write(&mut answers)?;
                answers.write_all(&reply)?;
            }
            _ => {
                head.write(&mut answers)?;
                answers.write_all(&reply)?;
            }
        }
        if length == BodyLength::UntilClose {
            return answers.shutdown(Shutdown::Both);
        }
    }
    Ok(())
}

/// Sends a request to the store and reads its answer.
fn forward(
    upstream: &mut Option<BufReader<TcpStream>>,
    address: &str,
    request: &Head,
    body: &[u8],
) -> io::Result<(Head, BodyLength, Vec<u8>)> {
    loop {
        let reused = upstream.is_some();
        let connection = match upstream {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                upstream.insert(BufReader::new(stream))
            }
        };
        let sent =
            request.write(connection.get_mut()).and_then(|()| connection.get_mut().write_all(body));
        let head = sent.and_then(|()| {
            loop {
                match Head::read(connection)? {
                    Some(head) if head.is_interim() => {}
                    head => break Ok(head),
                }
            }
        });
        match head {
            Ok(Some(head)) => {
                let length = head.response_body(request.method())?;
                let reply = read_body(connection, length)?;
                return Ok((head, length, reply));
            }
            // The store closes connections that were idle for long; it has not seen the request.
            Ok(None) | Err(_) if reused => *upstream = None,
            Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => return Err(error),
        }
    }
}

/// Answers as S3 does when it has written an object.
fn created(answers: &mut TcpStream) -> io::Result<()> {
    let tag = "d41d8cd98f00b204e9800998ecf8427e";
    write!(answers, "HTTP/1.1 200 OK\r\nETag: \"{tag}\"\r\nContent-Length: 0\r\n\r\n")
}

/// Answers as S3 does when it does not want to.
fn refuse(answers: &mut TcpStream, status: u16, method: &str) -> io::Result<()> {
    let (reason, code) = match status {
        409 => ("Conflict", "OperationAborted"),
        429 => ("Too Many Requests", "TooManyRequests"),
        503 => ("Service Unavailable", "SlowDown"),
        _ => ("Internal Server Error", "InternalError"),
    };
    let body = format!("<Error><Code>{code}</Code><Message>by the fault proxy</Message></Error>");
    write!(
        answers,
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{}",
        body.len(),
        if method == "HEAD" { "" } else { &body }
    )
}
