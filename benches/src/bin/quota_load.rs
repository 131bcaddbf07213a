//! Asks for quotas at a fixed rate over connections that stay open, until the time is over or the
//! server ends.
//!
//! `quota_load HOST:PORT REQUESTS_A_SECOND SECONDS ACCOUNTS` asks for accounts `A000000000` and up
//! in a scattered order, and prints a line of JSON.

use std::error::Error;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: u64 = 100;
/// Spreads neighbours; without a common factor with any number of accounts below it.
const SPREAD: u64 = 4_294_967_291;

/// What one connection saw.
#[derive(Debug, Default)]
struct Seen {
    ok: u64,
    unknown: u64,
    other: u64,
    latencies: Vec<Duration>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, rate, seconds, accounts] = arguments.as_slice() else {
        return Err("usage: quota_load HOST:PORT REQUESTS_A_SECOND SECONDS ACCOUNTS".into());
    };
    let (rate, seconds, accounts) =
        (rate.parse::<u64>()?.max(1), seconds.parse::<u64>()?, accounts.parse::<u64>()?.max(1));
    let gap = Duration::from_nanos(1_000_000_000 * CONNECTIONS / rate);
    let began = Instant::now();
    let start = tokio::time::Instant::now() + Duration::from_millis(100);
    let mut clients = Vec::new();
    for client in 0..CONNECTIONS {
        let stream = TcpStream::connect(address.as_str()).await?;
        stream.set_nodelay(true)?;
        let first = start + gap * u32::try_from(client)? / u32::try_from(CONNECTIONS)?;
        let turns = rate * seconds / CONNECTIONS;
        clients.push(tokio::spawn(ask(stream, first, gap, turns, client, accounts)));
    }
    let mut all = Seen::default();
    for client in clients {
        let seen = client.await?;
        all.ok += seen.ok;
        all.unknown += seen.unknown;
        all.other += seen.other;
        all.latencies.extend(seen.latencies);
    }
    let took = began.elapsed().as_secs_f64();
    all.latencies.sort();
    let at = |permille: usize| {
        let last = all.latencies.len().saturating_sub(1);
        all.latencies.get(last * permille / 1_000).map_or(0.0, |l| l.as_secs_f64() * 1e3)
    };
    let answers = f64::from(u32::try_from(all.latencies.len())?);
    println!(
        "{{\"what\": \"quota load\", \"asked_s\": {rate}, \"answered_s\": {:.0}, \"ok\": {}, \"unknown\": {}, \"other\": {}, \"p50_ms\": {:.2}, \"p99_ms\": {:.2}, \"max_ms\": {:.2}}}",
        answers / took,
        all.ok,
        all.unknown,
        all.other,
        at(500),
        at(990),
        at(1_000)
    );
    Ok(())
}

/// One connection. Latency counts from when a request was due, so that a stall is not hidden.
async fn ask(
    mut stream: TcpStream,
    first: tokio::time::Instant,
    gap: Duration,
    turns: u64,
    client: u64,
    accounts: u64,
) -> Seen {
    let mut seen = Seen::default();
    let mut due = first;
    for turn in 0..turns {
        let account = ((turn * CONNECTIONS + client) % accounts * SPREAD) % accounts;
        let request =
            format!("GET /v1/accounts/A{account:09}/quota HTTP/1.1\r\nhost: quota\r\n\r\n");
        tokio::time::sleep_until(due).await;
        match exchange(&mut stream, request.as_bytes()).await {
            Ok(200) => seen.ok += 1,
            Ok(404) => seen.unknown += 1,
            Ok(_) => seen.other += 1,
            // The server ended, as a bounded run does.
            Err(_) => break,
        }
        seen.latencies.push(due.elapsed());
        due += gap;
    }
    seen
}

/// Sends one request and reads its answer to the end; returns the status.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<u16> {
    stream.write_all(request).await?;
    let mut answer = Vec::with_capacity(1_024);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some((status, length)) = head(&answer)
            && answer.len() >= length
        {
            return Ok(status);
        }
    }
}

/// Status and whole length of an answer, once its head is there.
fn head(answer: &[u8]) -> Option<(u16, usize)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    Some((status, end + 4 + length))
}
