//! How long alerts take, by the broker's own clock: from the append of the event that causes one to
//! the append of the alert.
//!
//! `alert_probe BOOTSTRAP EVENTS_TOPIC ALERTS_TOPIC PROBES_A_SECOND SECONDS`
//!
//! Buys a gifted package of 500,000 points for accounts of its own and sends each three events that
//! pass 50, 80 and 100 percent of it, at a steady rate, beside whatever else goes through the
//! topic. Prints one line of JSON, with the longest time without an alert of any partition and of
//! one (as there is a steady number of them); exit 1 where an alert is missing or came twice.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};
use tally_schemas::partition_of;

/// Tokens of an account's first, second and third event: each passes a threshold.
const TOKENS: [u64; 3] = [300_000, 120_000, 100_000];

/// Upper bounds of the printed histogram, milliseconds.
const BOUNDS_MS: [i64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 15_000];

/// How long the last alerts are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

type Times = Arc<Mutex<HashMap<String, i64>>>;

/// Notes when the broker appended each event.
struct Appends(Times);

impl ClientContext for Appends {}

impl ProducerContext for Appends {
    type DeliveryOpaque = Box<String>;

    fn delivery(&self, result: &DeliveryResult<'_>, id: Box<String>) {
        match result {
            Ok(message) => {
                let at_ms = message.timestamp().to_millis().unwrap_or(0);
                if let Ok(mut times) = self.0.lock() {
                    times.insert(*id, at_ms);
                }
            }
            Err((error, _)) => eprintln!("{id}: {error}"),
        }
    }
}

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

fn partitions(client: &impl Consumer, topic: &str) -> Result<u32, Box<dyn Error>> {
    let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let found = metadata.topics().first().ok_or("no such topic")?;
    Ok(u32::try_from(found.partitions().len())?)
}

/// The event that an alert names, where it is one of ours.
fn event_of(alert: &str) -> Option<&str> {
    let at = alert.find("\"probe-")? + 1;
    alert[at..].split('"').next()
}

/// The longest time between two appends, milliseconds.
fn longest_gap(mut appended_ms: Vec<i64>) -> i64 {
    appended_ms.sort_unstable();
    appended_ms.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, events, alerts, rate, seconds] = arguments.as_slice() else {
        return Err("usage: alert_probe BOOTSTRAP EVENTS_TOPIC ALERTS_TOPIC RATE SECONDS".into());
    };
    let (rate, seconds): (u64, u64) = (rate.parse()?, seconds.parse()?);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "alert-probe")
        .set("enable.auto.commit", "false")
        .create()?;
    let count = partitions(&consumer, events)?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions(&consumer, alerts)? {
        let partition = i32::try_from(partition)?;
        let (_, end) = consumer.fetch_watermarks(alerts, partition, Duration::from_secs(10))?;
        list.add_partition_offset(alerts, partition, Offset::Offset(end))?;
    }
    consumer.assign(&list)?;

    let times = Times::default();
    let producer: ThreadedProducer<Appends> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("linger.ms", "0")
        .create_with_context(Appends(Arc::clone(&times)))?;
    let send = |account: &str, id: String, value: String| -> Result<(), Box<dyn Error>> {
        let partition = i32::try_from(partition_of(account, count))?;
        let record = BaseRecord::with_opaque_to(events.as_str(), Box::new(id))
            .partition(partition)
            .key(account)
            .payload(&value);
        producer.send(record).map_err(|(error, _)| error.into())
    };

    let run = now_ms();
    let accounts = (rate * seconds).div_ceil(3);
    let account = |index: u64| format!("P{run}-{index}");
    for index in 0..accounts {
        let (account, at) = (account(index), now_ms());
        let command = format!(
            "{{\"command\":\"purchase\",\"id\":\"gift\",\"account\":\"{account}\",\"at\":{at},\"package\":\"mobile-gift-500k\"}}"
        );
        send(&account, format!("gift-{index}"), command)?;
    }
    producer.flush(PATIENCE)?;

    let wanted = usize::try_from(accounts * 3)?;
    let receiving = thread::spawn(move || {
        let mut seen: Vec<(String, i64)> = Vec::new();
        let mut appends = BTreeMap::new();
        let mut last = Instant::now();
        while seen.len() < wanted && last.elapsed() < PATIENCE {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                let text = message.payload().map(String::from_utf8_lossy).unwrap_or_default();
                if let Some(event) = event_of(&text) {
                    let at_ms = message.timestamp().to_millis().unwrap_or(0);
                    seen.push((event.to_owned(), at_ms));
                    appends.entry(message.partition()).or_insert_with(Vec::new).push(at_ms);
                    last = Instant::now();
                }
            }
        }
        // Anything that comes again is seen too.
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                let text = message.payload().map(String::from_utf8_lossy).unwrap_or_default();
                if let Some(event) = event_of(&text) {
                    seen.push((event.to_owned(), message.timestamp().to_millis().unwrap_or(0)));
                }
            }
        }
        (seen, appends)
    });

    let began = Instant::now();
    let mut sent = 0;
    for tokens in TOKENS {
        for index in 0..accounts {
            let due = Duration::from_micros(sent * 1_000_000 / rate);
            thread::sleep(due.saturating_sub(began.elapsed()));
            let (account, id, at) = (account(index), format!("probe-{run}-{sent}"), now_ms());
            let event = format!(
                "{{\"source\":\"alert-probe\",\"id\":\"{id}\",\"account\":\"{account}\",\"model\":\"glm-5\",\"vendor\":\"zhipu\",\"completed_at\":{at},\"usage\":{{\"input\":{tokens}}}}}"
            );
            send(&account, id, event)?;
            sent += 1;
        }
    }
    producer.flush(PATIENCE)?;
    let (seen, appends) = receiving.join().map_err(|_| "the receiver panicked")?;

    let times = times.lock().map_err(|_| "the producer panicked")?;
    let mut first: HashMap<&str, i64> = HashMap::new();
    let mut twice = 0;
    for (event, at_ms) in &seen {
        if first.insert(event, *at_ms).is_some() {
            twice += 1;
        }
    }
    let mut took: Vec<i64> =
        first.iter().filter_map(|(event, at_ms)| Some(at_ms - times.get(*event)?)).collect();
    took.sort_unstable();
    let missing = wanted - took.len();
    let at = |permille: usize| {
        took.get((took.len() * permille / 1_000).min(took.len().saturating_sub(1)))
    };
    // Where a partition has no owner for a while, its alerts pause while the others go on.
    let of_all = longest_gap(seen.iter().map(|(_, at_ms)| *at_ms).collect());
    let of_one = appends.into_values().map(longest_gap).max().unwrap_or(0);
    let histogram: Vec<String> = BOUNDS_MS
        .iter()
        .map(|bound| format!("\"{bound}\":{}", took.partition_point(|ms| ms <= bound)))
        .collect();
    println!(
        "{{\"what\":\"alert latency\",\"probes_s\":{rate},\"alerts\":{},\"missing\":{missing},\"twice\":{twice},\"p50_ms\":{},\"p99_ms\":{},\"max_ms\":{},\"gap_ms\":{of_all},\"partition_gap_ms\":{of_one},\"at_most_ms\":{{{}}}}}",
        took.len(),
        at(500).unwrap_or(&-1),
        at(990).unwrap_or(&-1),
        took.last().unwrap_or(&-1),
        histogram.join(",")
    );
    Ok(if missing == 0 && twice == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
