//! The same suite, and what only a broker can do, on a real Apache Kafka.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

// A test stops at the first surprise.
mod suite;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use suite::{Ledger, Member, PATIENCE, Running, append, record, resolve};
use tally_log::{Assignee, Bounds, EventLog, KafkaLog, KafkaLogConfig, LogError, LogErrorKind};

fn broker() -> String {
    std::env::var("TALLY_TEST_KAFKA").unwrap_or_else(|_| {
        panic!("these tests need a Kafka broker in TALLY_TEST_KAFKA: run `make test`")
    })
}

/// A topic of its own for each test.
fn fresh() -> KafkaLogConfig {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let name = format!("log-test-{now}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut config = KafkaLogConfig::new(&broker(), &name, &name);
    config.partitions_if_created = 4;
    // Members hear of a rebalance by their heartbeats.
    config.options.insert("heartbeat.interval.ms".to_owned(), "100".to_owned());
    config
}

fn open(config: &KafkaLogConfig) -> Arc<dyn EventLog> {
    Arc::new(KafkaLog::open(config.clone()).unwrap())
}

macro_rules! conforms {
    ($($test:ident),* $(,)?) => {
        $(#[test] fn $test() { suite::$test(&open(&fresh())); })*
    };
}

conforms!(
    appends_are_read_in_order,
    a_failed_claim_is_tried_again,
    a_reassigned_partition_goes_on,
    one_consumption_at_a_time,
    unknown_partitions_are_refused,
    anybody_reads_from_any_offset,
);

#[test]
fn compressed_topics_are_read() {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let mut config = fresh();
        config.options.insert("compression.type".to_owned(), codec.to_owned());
        suite::appends_are_read_in_order(&open(&config));
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test`"))
}

/// A log on the broker's listener with TLS, where a password is asked for.
fn secure(password: &str) -> KafkaLogConfig {
    let mut config = fresh();
    config.bootstrap = variable("TALLY_TEST_KAFKA_SECURE");
    for (key, value) in [
        ("security.protocol", "sasl_ssl"),
        ("ssl.ca.location", variable("TALLY_TEST_KAFKA_CA").as_str()),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "tally"),
        ("sasl.password", password),
    ] {
        config.options.insert(key.to_owned(), value.to_owned());
    }
    config
}

#[test]
fn a_broker_with_tls_and_a_password_is_used() {
    suite::appends_are_read_in_order(&open(&secure("tally-test")));
}

#[test]
fn a_wrong_password_is_named() {
    let error = KafkaLog::open(secure("wrong")).unwrap_err();
    assert_eq!(error.kind(), LogErrorKind::Refused, "{error}");
    assert!(error.to_string().to_lowercase().contains("authentication"), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
}

#[test]
fn a_broker_that_nobody_vouches_for_is_refused() {
    let mut config = secure("tally-test");
    config.options.remove("ssl.ca.location");
    let error = KafkaLog::open(config).unwrap_err();
    assert_eq!(error.kind(), LogErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// A broker of its own, which wants this password from its next start on.
fn broker_script(folder: &std::path::Path, verb: &str, password: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/kafka.sh");
    let mut command = std::process::Command::new(script);
    command.arg(verb).arg("--dir").arg(folder);
    if verb == "start" {
        // Where it was before, and at first where there is room.
        let port = std::fs::read_to_string(folder.join("port")).unwrap_or_else(|_| "0".to_owned());
        command.args(["--port", port.trim()]);
    }
    command.env("TALLY_KAFKA_SECURE", "1").env("TALLY_KAFKA_PASSWORD", password);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Who asks is told of the refusal while it lasts, also when librdkafka keeps quiet about it, and
/// sooner than the question would end by itself.
#[test]
fn a_password_that_was_changed_under_an_open_log_is_told_from_silence() {
    struct Wiped(std::path::PathBuf);
    impl Drop for Wiped {
        fn drop(&mut self) {
            broker_script(&self.0, "wipe", "the-first");
        }
    }
    let kept = tempfile::tempdir().unwrap();
    let own = Wiped(kept.path().join("kafka"));
    let folder = own.0.clone();
    broker_script(&folder, "start", "the-first");
    let mut config = secure("the-first");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    config.bootstrap = read("secure").trim().to_owned();
    let authorities = folder.join("tls/ca.pem").display().to_string();
    config.options.insert("ssl.ca.location".to_owned(), authorities);
    let log = KafkaLog::open(config).unwrap();
    assert!(log.bounds(0).is_ok());

    broker_script(&folder, "stop", "the-first");
    assert_eq!(log.bounds(0).unwrap_err().kind(), LogErrorKind::Retry);
    broker_script(&folder, "start", "another");
    let began = Instant::now();
    let kind = |log: &KafkaLog| log.bounds(0).map_err(|error| error.kind());
    while kind(&log) != Err(LogErrorKind::Refused) {
        assert!(began.elapsed() < PATIENCE, "{:?}", log.bounds(0));
    }
    while began.elapsed() < Duration::from_secs(50) {
        let asked = Instant::now();
        assert_eq!(kind(&log), Err(LogErrorKind::Refused), "after {:?}", began.elapsed());
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
    broker_script(&folder, "stop", "another");
    broker_script(&folder, "start", "the-first");
    let began = Instant::now();
    while kind(&log).is_err() {
        assert!(began.elapsed() < PATIENCE, "{:?}", log.bounds(0));
    }
}

#[test]
fn an_existing_topic_keeps_its_partition_count() {
    let mut config = fresh();
    config.partitions_if_created = 3;
    assert_eq!(open(&config).partition_count(), 3);
    config.partitions_if_created = 7;
    assert_eq!(open(&config).partition_count(), 3);
}

#[test]
fn opening_inside_of_a_runtime_works() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = fresh();
    let count = runtime.block_on(async { open(&config).partition_count() });
    assert_eq!(count, 4);
}

#[test]
fn settings_that_correctness_rests_on_are_refused() {
    for (key, value) in [
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "true"),
        ("isolation.level", "read_uncommitted"),
        ("acks", "1"),
        ("enable.idempotence", "false"),
    ] {
        let mut config = fresh();
        config.options.insert(key.to_owned(), value.to_owned());
        let error = KafkaLog::open(config).unwrap_err();
        assert_eq!(error.kind(), LogErrorKind::Invalid);
        assert!(error.to_string().contains(key), "{error}");
    }
    let mut config = fresh();
    config.options.insert("no.such.setting".to_owned(), "1".to_owned());
    assert_eq!(KafkaLog::open(config).unwrap_err().kind(), LogErrorKind::Invalid);
}

#[test]
fn a_broker_that_is_not_there_is_retry() {
    let mut config = fresh();
    config.bootstrap = "127.0.0.1:1".to_owned();
    assert_eq!(KafkaLog::open(config).unwrap_err().kind(), LogErrorKind::Retry);
}

/// Members come and go while records arrive: what is committed is every record once, and no
/// member ever read below the offset that it was assigned.
#[test]
fn members_join_and_leave_without_loss_or_repetition() {
    let config = fresh();
    let log = open(&config);
    let ledger = Arc::new(Ledger::default());
    let member = |id: usize| -> Arc<dyn Assignee> {
        Arc::new(Member::slow(id, &ledger, Duration::from_millis(2)))
    };
    append(log.as_ref(), 0, 5_000);
    let first = Running::new(open(&config), member(1));
    ledger.wait_for("the first member", |state| state.seen.len() == 4);
    for round in 0..2 {
        let owned_by = |id: usize| {
            move |state: &suite::State| state.owner.values().filter(|owner| **owner == id).count()
        };
        let id = round + 2;
        let second = Running::new(open(&config), member(id));
        let owned = owned_by(id);
        ledger.wait_for("a share of the second", |state| owned(state) == 2);
        append(log.as_ref(), 5_000 + u64::try_from(round).unwrap() * 100, 100);
        second.end().unwrap();
        let owned = owned_by(1);
        ledger.wait_for("all back to the first", |state| owned(state) == 4);
    }
    ledger.wait_for("everything", |state| {
        state.seen.values().map(Vec::len).sum::<usize>() >= 4 * 5_200
    });
    first.end().unwrap();
    suite::check_all_seen(&ledger, 4, 5_200);
    ledger.change(|state| {
        // Cooperative: the first member kept two partitions through every change.
        for id in 2..4 {
            let taken = state.assigned.iter().filter(|(member, ..)| *member == id).count();
            assert_eq!(taken, 2, "member {id} was assigned {taken} partitions");
        }
        let again = state.assigned.iter().filter(|(member, ..)| *member == 1).count();
        assert_eq!(again, 4 + 2 * 2, "the first member was assigned {again} partitions");
    });
}

/// Retention overran the reader: the exact lost range, and never another offset instead.
#[test]
fn an_offset_that_is_gone_is_a_named_loss() {
    let config = fresh();
    let log = open(&config);
    append(log.as_ref(), 0, 500);
    delete_before(&config, 2, 321);
    assert_eq!(log.bounds(2).unwrap(), Bounds { start: 321, end: 500 });
    let ledger = Arc::new(Ledger::default());
    ledger.change(|state| {
        (0..4).for_each(|partition| {
            state.next.insert(partition, 100);
        })
    });
    ledger.change(|state| state.next.insert(3, 501));
    let running = Running::new(Arc::clone(&log), Member::new(1, &ledger));
    ledger.wait_for("the losses", |state| state.errors.len() == 2);
    ledger.wait_for("the others", |state| [0, 1].iter().all(|p| state.next[p] == 500));
    ledger.change(|state| {
        state.errors.sort_by_key(|(partition, _)| *partition);
        assert_eq!(
            state.errors[0].1,
            LogError::OffsetLost { partition: 2, wanted: 100, start: 321 }
        );
        assert_eq!(state.errors[1].1, LogError::Truncated { partition: 3, wanted: 501, end: 500 });
        assert!(!state.seen.contains_key(&2) && !state.seen.contains_key(&3));
        // Somebody decided to go on behind the loss.
        state.next.insert(2, 321);
    });
    log.reassign(2);
    ledger.wait_for("the rest", |state| state.next[&2] == 500);
    running.end().unwrap();
    ledger.check_exactly_once();
    assert_eq!(ledger.change(|state| state.seen[&2].len()), 179);
}

/// While a revoked partition drains, nobody else is assigned it.
#[test]
fn a_partition_is_drained_before_another_member_gets_it() {
    let config = fresh();
    let log = open(&config);
    append(log.as_ref(), 0, 2_000);
    let ledger = Arc::new(Ledger::default());
    let slow: Arc<dyn Assignee> = Arc::new(Member::slow(1, &ledger, Duration::from_millis(300)));
    let first = Running::new(open(&config), slow);
    ledger.wait_for("the first member", |state| state.assigned.len() == 4);
    let second = Running::new(open(&config), Member::new(2, &ledger));
    ledger.wait_for("the second member", |state| {
        state.assigned.iter().filter(|(id, ..)| *id == 2).count() == 2
    });
    ledger.change(|state| {
        for (_, partition, ..) in state.assigned.iter().filter(|(id, ..)| *id == 2) {
            assert!(state.revoked.contains(&(1, *partition)), "partition {partition} not drained");
        }
    });
    ledger.wait_for("everything", |state| {
        state.seen.values().map(Vec::len).sum::<usize>() >= 4 * 2_000
    });
    first.end().unwrap();
    second.end().unwrap();
    suite::check_all_seen(&ledger, 4, 2_000);
}

/// The reader knows the end of the log without asking for it, and the group is told offsets.
#[test]
fn ends_and_committed_offsets_are_known() {
    let config = fresh();
    let log = open(&config);
    append(log.as_ref(), 0, 300);
    let ends = Arc::new(EndsOnly::default());
    let running = Running::new(Arc::clone(&log), Arc::clone(&ends) as Arc<dyn Assignee>);
    let deadline = Instant::now() + PATIENCE;
    while !ends.all_know(4, 300) {
        assert!(Instant::now() < deadline, "{ends:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    for partition in 0..4 {
        log.note_committed(partition, 300 - u64::from(partition));
    }
    while committed(&config) != [300, 299, 298, 297] {
        assert!(Instant::now() < deadline, "{:?}", committed(&config));
        std::thread::park_timeout(Duration::from_millis(20));
    }
    running.end().unwrap();
}

/// A record above the topic's limit is told to be invalid, and those after it are taken.
#[test]
fn a_record_that_is_too_large_is_invalid() {
    let log = open(&fresh());
    let producer = log.producer().unwrap();
    let mut large = record(0, 0);
    large.value = vec![b'x'; 9 << 20].into();
    let outcomes = resolve(vec![producer.append(large), producer.append(record(0, 1))]);
    assert_eq!(outcomes[0].clone().unwrap_err().kind(), LogErrorKind::Invalid);
    assert_eq!(outcomes[1], Ok(0));
}

/// Keeps its readers, and reads just enough for librdkafka to hear of the ends.
#[derive(Default)]
struct EndsOnly {
    readers: parking_lot::Mutex<Vec<Box<dyn tally_log::PartitionReader>>>,
}

impl std::fmt::Debug for EndsOnly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ends: Vec<_> = self.readers.lock().iter().map(|reader| reader.known_end()).collect();
        write!(f, "{ends:?}")
    }
}

impl EndsOnly {
    fn all_know(&self, readers: usize, end: u64) -> bool {
        let known = self.readers.lock();
        known.len() == readers && known.iter().all(|reader| reader.known_end() == Some(end))
    }
}

impl Assignee for EndsOnly {
    fn assign(&self, _partition: u32, bounds: Bounds) -> Result<u64, LogError> {
        Ok(bounds.start)
    }

    fn start(&self, _partition: u32, reader: Box<dyn tally_log::PartitionReader>) {
        self.readers.lock().push(reader);
    }

    fn revoke(&self, _partitions: &[u32]) {
        self.readers.lock().clear();
    }
}

fn client(config: &KafkaLogConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.bootstrap).set("group.id", &config.group);
    client
}

/// What the group has committed of each partition.
fn committed(config: &KafkaLogConfig) -> Vec<i64> {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let consumer: BaseConsumer = client(config).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&config.topic, 0, 3);
    let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
    committed.elements().iter().map(|element| element.offset().to_raw().unwrap()).collect()
}

fn delete_before(config: &KafkaLogConfig, partition: i32, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = client(config).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&config.topic, partition, Offset::Offset(offset)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(admin.delete_records(&list, &AdminOptions::new())).unwrap();
}
