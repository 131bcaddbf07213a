//! Brokers that go away, leaders and coordinators that move, slow brokers: on librdkafka's mock
//! of a cluster, which can do what a real broker on one machine cannot (R9).

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
use std::time::{Duration, Instant};

use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use suite::{Ledger, Member, PATIENCE, Running, record, resolve};
use tally_log::{EventLog, KafkaLog, KafkaLogConfig, LogErrorKind, LogProducer, PartitionReader};

const TOPIC: &str = "usage.events";
const GROUP: &str = "tally-aggregate";
const BROKERS: i32 = 3;
const PARTITIONS: u32 = 4;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(delivery_timeout_ms: &str) -> (Cluster, Arc<dyn EventLog>) {
    let cluster = MockCluster::new(BROKERS).unwrap();
    cluster.create_topic(TOPIC, i32::try_from(PARTITIONS).unwrap(), 3).unwrap();
    let mut config = KafkaLogConfig::new(&cluster.bootstrap_servers(), TOPIC, GROUP);
    for (key, value) in
        [("delivery.timeout.ms", delivery_timeout_ms), ("heartbeat.interval.ms", "100")]
    {
        config.options.insert(key.to_owned(), value.to_owned());
    }
    let log = Arc::new(KafkaLog::open(config).unwrap());
    assert_eq!(log.partition_count(), PARTITIONS);
    (cluster, log)
}

/// Appends with repetition, as the door's clients do.
fn append_until_taken(producer: &dyn LogProducer, partition: u32, index: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match resolve(vec![producer.append(record(partition, index))]).remove(0) {
            Ok(_) => return,
            Err(error) => assert_eq!(error.kind(), LogErrorKind::Retry, "{error}"),
        }
        assert!(Instant::now() < deadline, "never taken");
    }
}

/// Every record that was acknowledged is read, in order; repetitions are the producer's.
fn check_read(ledger: &Ledger, count: u64) {
    ledger.wait_for("everything", |state| {
        (0..PARTITIONS).all(|partition| {
            let last = record(partition, count - 1);
            let seen = state.seen.get(&partition).and_then(|seen| seen.last());
            seen.is_some_and(|seen| seen.value.as_deref() == Some(last.value.as_ref()))
        })
    });
    ledger.check_exactly_once();
    ledger.change(|state| {
        for partition in 0..PARTITIONS {
            let mut values: Vec<_> =
                state.seen[&partition].iter().map(|seen| seen.value.clone().unwrap()).collect();
            values.dedup();
            let sent: Vec<_> =
                (0..count).map(|index| record(partition, index).value.to_vec()).collect();
            assert_eq!(values, sent, "partition {partition}");
        }
    });
}

#[test]
fn a_cluster_that_goes_down_is_retry_and_comes_back_without_loss() {
    let (cluster, log) = cluster("1000");
    let producer = log.producer().unwrap();
    let ledger = Arc::new(Ledger::default());
    let running = Running::new(Arc::clone(&log), Member::new(1, &ledger));
    for partition in 0..PARTITIONS {
        append_until_taken(producer.as_ref(), partition, 0);
    }
    for round in 1..4 {
        (1..=BROKERS).for_each(|broker| cluster.broker_down(broker).unwrap());
        let away = resolve(vec![producer.append(record(0, round))]).remove(0);
        assert_eq!(away.unwrap_err().kind(), LogErrorKind::Retry);
        (1..=BROKERS).for_each(|broker| cluster.broker_up(broker).unwrap());
        for partition in 0..PARTITIONS {
            append_until_taken(producer.as_ref(), partition, round);
        }
    }
    check_read(&ledger, 4);
    running.end().unwrap();
}

#[test]
fn leaders_and_coordinators_that_move_lose_nothing() {
    let (cluster, log) = cluster("1000");
    let producer = log.producer().unwrap();
    let ledger = Arc::new(Ledger::default());
    let running = Running::new(Arc::clone(&log), Member::new(1, &ledger));
    for round in 0..20_u64 {
        let broker = i32::try_from(round).unwrap() % BROKERS + 1;
        for partition in 0..PARTITIONS {
            let id = i32::try_from(partition).unwrap();
            cluster.partition_leader(TOPIC, id, Some(broker)).unwrap();
            append_until_taken(producer.as_ref(), partition, round);
        }
        cluster.coordinator(MockCoordinator::Group(GROUP.to_owned()), broker).unwrap();
    }
    check_read(&ledger, 20);
    running.end().unwrap();
}

#[test]
fn a_slow_cluster_is_only_slow() {
    let (cluster, log) = cluster("30000");
    let delay = Duration::from_millis(300);
    (1..=BROKERS).for_each(|broker| cluster.broker_round_trip_time(broker, delay).unwrap());
    let producer = log.producer().unwrap();
    let ledger = Arc::new(Ledger::default());
    let running = Running::new(Arc::clone(&log), Member::new(1, &ledger));
    for partition in 0..PARTITIONS {
        let appends = (0..50).map(|index| producer.append(record(partition, index))).collect();
        for outcome in resolve(appends) {
            outcome.unwrap();
        }
    }
    check_read(&ledger, 50);
    running.end().unwrap();
}

/// A broker in trouble answers a fetch with an error: it is asked again, and who reads need not end.
#[test]
fn a_broker_that_answers_errors_is_asked_again() {
    use RDKafkaRespErr as Answer;
    let (cluster, log) = cluster("30000");
    let producer = log.producer().unwrap();
    let ledger = Arc::new(Ledger::default());
    let running = Running::new(Arc::clone(&log), Member::new(1, &ledger));
    let answers = [
        Answer::RD_KAFKA_RESP_ERR_UNKNOWN,
        Answer::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Answer::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
        Answer::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        Answer::RD_KAFKA_RESP_ERR_LOG_DIR_NOT_FOUND,
        Answer::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED,
    ];
    let mut count = 0;
    for answer in answers {
        for partition in 0..PARTITIONS {
            append_until_taken(producer.as_ref(), partition, count);
        }
        cluster.request_errors(RDKafkaApiKey::Fetch, &[answer; 2 * PARTITIONS as usize]);
        for partition in 0..PARTITIONS {
            append_until_taken(producer.as_ref(), partition, count + 1);
        }
        count += 2;
        check_read(&ledger, count);
    }
    running.end().unwrap();
}

/// A partition has no leader while its broker stops and starts: that is not one which does not
/// exist, and is seen to be over.
#[test]
fn a_partition_without_a_leader_is_waited_for() {
    let (cluster, log) = cluster("30000");
    let first = 0;
    assert_eq!(log.bounds(first).unwrap().end, 0);
    let leader = |broker| {
        cluster.partition_leader(TOPIC, i32::try_from(first).unwrap(), broker).unwrap();
    };
    for round in 0..3 {
        leader(None);
        // What the client knew before may do for a while.
        let deadline = Instant::now() + PATIENCE;
        let kind = loop {
            match log.bounds(first) {
                Ok(_) => assert!(Instant::now() < deadline, "it goes on without a leader"),
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(kind, LogErrorKind::Retry, "round {round}");
        leader(Some(1));
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = log.bounds(first) {
            assert_eq!(error.kind(), LogErrorKind::Retry, "{error}");
            assert!(Instant::now() < deadline, "still {error}");
        }
    }
}

/// An idempotent producer may fail for good: it is replaced, and who appends tries again.
#[test]
fn a_producer_that_fails_for_good_is_replaced() {
    let (cluster, log) = cluster("30000");
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refused]);
    let producer = log.producer().unwrap();
    let first = resolve(vec![producer.append(record(0, 0))]).remove(0);
    assert_eq!(first.unwrap_err().kind(), LogErrorKind::Retry);
    let ledger = Arc::new(Ledger::default());
    let running = Running::new(Arc::clone(&log), Member::new(1, &ledger));
    for partition in 0..PARTITIONS {
        append_until_taken(producer.as_ref(), partition, 0);
    }
    check_read(&ledger, 1);
    running.end().unwrap();
}

/// Who reads to the end tells it from brokers that do not answer.
#[test]
fn a_reader_without_an_answer_is_not_at_the_end() {
    let (cluster, log) = cluster("30000");
    let producer = log.producer().unwrap();
    append_until_taken(producer.as_ref(), 0, 0);
    (1..=BROKERS).for_each(|broker| cluster.broker_down(broker).unwrap());
    let mut reader = log.reader_at(0, 0).unwrap();
    let mut count = 0;
    let mut read = |reader: &mut dyn PartitionReader| {
        count += reader.read(10, Duration::from_millis(200), &mut |_| ()).unwrap();
        (count, reader.is_at_end())
    };
    for _ in 0..5 {
        assert_eq!(read(reader.as_mut()), (0, false));
    }
    (1..=BROKERS).for_each(|broker| cluster.broker_up(broker).unwrap());
    let deadline = Instant::now() + PATIENCE;
    while read(reader.as_mut()) != (1, true) {
        assert!(Instant::now() < deadline, "the end is not told");
    }
}
