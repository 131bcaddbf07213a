//! How events of concurrent requests share records, and what each request is told.

use std::time::Duration;

use serde_json::json;
use tally_log::LogError;
use tally_schemas::{IngestConfig, partition_of};

use crate::client::{Bench, JSON, event, post};
use crate::controlled_log::Answering;

#[tokio::test]
async fn events_of_one_partition_within_the_linger_share_a_record() {
    let bench = Bench::with(IngestConfig { linger_ms: 200, ..IngestConfig::default() });
    let requests = (0..50).map(|n| bench.post(JSON, event(&n.to_string(), "A1").to_string()));
    for reply in futures::future::join_all(requests).await {
        assert_eq!(reply.json()["accepted"], 1);
    }
    assert_eq!(bench.log.records().len(), 1, "one partition, one record");
    assert_eq!(bench.log.batched_events().len(), 50);
    bench.accept(JSON, event("50", "A1").to_string()).await;
    assert_eq!(bench.log.records().len(), 2, "a later request has a record of its own");
}

#[tokio::test]
async fn a_full_batch_does_not_wait() {
    let config = IngestConfig {
        batch_max_bytes: 200,
        linger_ms: 1_000,
        ack_timeout_ms: 50,
        ..IngestConfig::default()
    };
    let bench = Bench::with(config);
    let events: Vec<_> = (0..9).map(|n| event(&n.to_string(), "A1")).collect();
    // The rest below the limit lingers longer than the time-out, so the request is told 503; it is not lost.
    bench.post(JSON, json!(events).to_string()).await.assert_problem(503, "log_unavailable");
    let early = bench.log.batched_events().len();
    assert!((1..9).contains(&early), "{early}");
    bench.door.drain(Duration::from_secs(10)).await.unwrap();
    assert_eq!(bench.log.batched_events().len(), 9);
}

#[tokio::test]
async fn without_a_linger_each_request_has_its_own_record() {
    let bench = Bench::with(IngestConfig { linger_ms: 0, ..IngestConfig::default() });
    let requests = (0..5).map(|n| bench.post(JSON, event(&n.to_string(), "A1").to_string()));
    futures::future::join_all(requests).await;
    assert_eq!(bench.log.records().len(), 5);
}

#[tokio::test]
async fn the_answer_waits_for_the_log() {
    let bench = Bench::new();
    bench.log.answer_with(Answering::Hold);
    let router = bench.router.clone();
    let request = post(JSON, json!([event("1", "A1"), event("2", "A2")]).to_string());
    let waiting = tokio::spawn(tower::ServiceExt::oneshot(router, request));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished(), "nothing is acknowledged yet");
    assert_eq!(bench.log.batched_events().len(), 2, "though the log was given everything");
    bench.log.answer_with(Answering::Acknowledge);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_failed_append_fails_exactly_the_requests_that_were_in_it() {
    let bench = Bench::with(IngestConfig { linger_ms: 200, ..IngestConfig::default() });
    let account_of = |partition: u32| {
        (0..).map(|n| format!("A{n}")).find(|a| partition_of(a, 4) == partition).unwrap()
    };
    let broken = Answering::FailPartition(1, LogError::Retry("leader moved".to_owned()));
    bench.log.answer_with(broken);
    let bodies = [
        json!([event("a", &account_of(0))]),
        json!([event("b", &account_of(1))]),
        json!([event("c", &account_of(1)), event("d", &account_of(2))]),
        json!([event("e", &account_of(2)), event("f", &account_of(3))]),
    ];
    let replies =
        futures::future::join_all(bodies.iter().map(|body| bench.post(JSON, body.to_string())))
            .await;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    assert_eq!(statuses, [200, 503, 503, 200]);
    assert_eq!(bench.log.records().len(), 4, "one record a partition");
    let metrics = String::from_utf8(bench.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("tally_ingest_events_accepted_total 3\n"), "{metrics}");
    assert!(metrics.contains("tally_ingest_append_failures_total 1\n"), "{metrics}");
}
