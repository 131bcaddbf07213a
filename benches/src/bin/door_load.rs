//! Loads a door that runs elsewhere: events a second in JSON batches, then the latency of single
//! events at a fixed rate; and of the same singles sent to Kafka without a door, which is what the
//! broker and the machine leave to be had.
//!
//! `door_load HOST:PORT [BOOTSTRAP TOPIC]` prints a line of JSON for each. No event of a run has the id
//! of another: whoever dedupes them counts them all.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BATCH_EVENTS: u64 = 500;
const BATCHES: u64 = 4_000;
const BATCH_CONNECTIONS: u64 = 8;
const SINGLES_PER_SECOND: u64 = 1_000;
const SINGLE_CONNECTIONS: u64 = 50;
const SINGLES: u64 = 20_000;

/// Numbers of the first event of each kind. All have as many digits, in hexadecimal and in decimal,
/// so that every event is as long as another.
const FIRST_WITHOUT_DOOR: u64 = 0x1000_0000;
const FIRST_OF_BATCHES: u64 = 0x2000_0000;
const FIRST_OF_SINGLES: u64 = 0x3000_0000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: door_load HOST:PORT")?;
    if let (Some(bootstrap), Some(topic)) = (std::env::args().nth(2), std::env::args().nth(3)) {
        singles_without_door(&bootstrap, &topic)?;
    }
    batches(&address).await?;
    singles(&address).await
}

/// Counts a record's time from when it was due to its acknowledgement.
#[derive(Default)]
struct Acknowledged(Mutex<Vec<Duration>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, due: Box<Instant>) {
        match (result, self.0.lock()) {
            (Ok(_), Ok(mut latencies)) => latencies.push(due.elapsed()),
            (Err((error, _)), _) => eprintln!("{error}"),
            (_, Err(error)) => eprintln!("{error}"),
        }
    }
}

fn singles_without_door(bootstrap: &str, topic: &str) -> Result<(), Box<dyn Error>> {
    let producer: ThreadedProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("compression.codec", "lz4")
        .create_with_context(Acknowledged::default())?;
    let began = Instant::now() + Duration::from_millis(500);
    for number in 0..SINGLES {
        let due = began + Duration::from_micros(number * 1_000_000 / SINGLES_PER_SECOND);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let value = event(FIRST_WITHOUT_DOOR + number);
        let record = BaseRecord::<(), _, _>::with_opaque_to(topic, Box::new(due)).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(30))?;
    let mut latencies = producer.context().0.lock().map_err(|e| e.to_string())?;
    if u64::try_from(latencies.len())? != SINGLES {
        return Err(format!("{} of {SINGLES} acknowledged", latencies.len()).into());
    }
    print_latencies("singles without a door", &mut latencies);
    Ok(())
}

fn print_latencies(what: &str, latencies: &mut [Duration]) {
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "{{\"what\": \"{what}\", \"requests_s\": {SINGLES_PER_SECOND}, \"p50_ms\": {:.2}, \"p99_ms\": {:.2}, \"max_ms\": {:.2}}}",
        at(50),
        at(99),
        at(100)
    );
}

fn event(number: u64) -> String {
    let mut text = String::with_capacity(400);
    push_event(&mut text, number);
    text
}

fn push_event(text: &mut String, number: u64) {
    write!(
        text,
        concat!(
            r#"{{"source":"gw-sh-01","id":"req-{n:08x}","account":"A{a:09}","subscriber":"S{a:09}","#,
            r#""model":"deepseek-v4-flash","vendor":"deepseek","supplier":"bailian","#,
            r#""started_at":1790000000000,"completed_at":1790000002000,"usage":{{"input":434,"#,
            r#""cached_input":800,"output":345,"reasoning":120}},"finish_reason":"stop","#,
            r#""region":"sh","channel":"app","product":"photo-cutout","gateway_epoch":3,"#,
            r#""gateway_seq":{n}}}"#
        ),
        n = number,
        a = number % 9_973
    )
    .unwrap_or_default();
}

/// Makes `body` the events from `first` on, as an array.
fn write_batch(body: &mut String, first: u64) {
    body.clear();
    for number in first..first + BATCH_EVENTS {
        body.push(if number == first { '[' } else { ',' });
        push_event(body, number);
    }
    body.push(']');
}

fn request(body: &str) -> Vec<u8> {
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: door\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends one request and reads its answer; fails for anything but 200.
async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
) -> Result<(), Box<dyn Error + Send + Sync>> {
    stream.write_all(request).await?;
    let mut answer = Vec::with_capacity(512);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err("the door hung up".into());
        }
        // The answers of this run are small and end with the empty list of warnings.
        if answer.ends_with(b"\"warnings\":[]}") {
            break;
        }
    }
    if answer.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err("not 200".into()) }
}

async fn batches(address: &str) -> Result<(), Box<dyn Error>> {
    let of_client = BATCHES / BATCH_CONNECTIONS;
    let started = Instant::now();
    let mut clients = Vec::new();
    for client in 0..BATCH_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        clients.push(tokio::spawn(async move {
            let mut body = String::new();
            for turn in 0..of_client {
                let batch = client * of_client + turn;
                write_batch(&mut body, FIRST_OF_BATCHES + batch * BATCH_EVENTS);
                exchange(&mut stream, &request(&body)).await?;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(body.len())
        }));
    }
    let mut body_bytes = 0;
    for client in clients {
        body_bytes = client.await?.map_err(|error| error.to_string())?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let events = f64::from(u32::try_from(BATCHES * BATCH_EVENTS)?);
    println!(
        "{{\"what\": \"door batches\", \"events_a_batch\": {BATCH_EVENTS}, \"body_bytes\": {body_bytes}, \"events_s\": {:.0}}}",
        events / seconds
    );
    Ok(())
}

async fn singles(address: &str) -> Result<(), Box<dyn Error>> {
    let gap = Duration::from_micros(1_000_000 * SINGLE_CONNECTIONS / SINGLES_PER_SECOND);
    let start = tokio::time::Instant::now() + Duration::from_millis(100);
    let mut clients = Vec::new();
    for client in 0..SINGLE_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let offset = gap / u32::try_from(SINGLE_CONNECTIONS)? * u32::try_from(client)?;
        clients.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            for turn in 0..SINGLES / SINGLE_CONNECTIONS {
                let number = FIRST_OF_SINGLES + client * (SINGLES / SINGLE_CONNECTIONS) + turn;
                let request = request(&event(number));
                // Latency counts from when the request was due, so a stall is not hidden.
                let due = start + offset + gap * u32::try_from(turn)?;
                tokio::time::sleep_until(due).await;
                exchange(&mut stream, &request).await?;
                latencies.push(due.elapsed());
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(latencies)
        }));
    }
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await?.map_err(|error| error.to_string())?);
    }
    print_latencies("door singles", &mut latencies);
    Ok(())
}
