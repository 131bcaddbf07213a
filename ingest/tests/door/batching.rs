//! How events of concurrent requests share records, and what each request is told.

use std::time::Duration;

use serde_json::json;
use tally_log::LogError;
use tally_schemas::{IngestConfig, partition_of};

use crate::client::{Bench, JSON, event, post};
use crate::controlled_log::Answering;

/// Sends events of one partition at once, while the log does not answer; it answers after `hold`.
async fn send_while_held(bench: &Bench, events: u32, hold: Duration) {
    bench.log.answer_with(Answering::Hold);
    let requests = (0..events).map(|n| bench.post(JSON, event(&n.to_string(), "A1").to_string()));
    let answer_later = async {
        tokio::time::sleep(hold).await;
        assert_eq!(bench.log.records().len(), 1, "the first event goes at once");
        bench.log.answer_with(Answering::Acknowledge);
    };
    let (replies, ()) = tokio::join!(futures::future::join_all(requests), answer_later);
    for reply in replies {
        assert_eq!(reply.json()["accepted"], 1);
    }
}

#[tokio::test]
async fn events_that_come_while_a_batch_is_on_its_way_share_the_next() {
    let bench = Bench::with(IngestConfig { linger_ms: 60_000, ..IngestConfig::default() });
    send_while_held(&bench, 50, Duration::from_millis(300)).await;
    assert_eq!(bench.log.records().len(), 2, "the others share a record");
    assert_eq!(bench.log.batched_events().len(), 50);
    bench.accept(JSON, event("50", "A1").to_string()).await;
    assert_eq!(bench.log.records().len(), 3, "a later request has a record of its own");
}

#[tokio::test]
async fn nothing_waits_longer_than_the_linger() {
    let bench = Bench::with(IngestConfig { linger_ms: 100, ..IngestConfig::default() });
    bench.log.answer_with(Answering::Hold);
    let requests = (0..50).map(|n| bench.post(JSON, event(&n.to_string(), "A1").to_string()));
    let answer_later = async {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while bench.log.batched_events().len() < 50 {
            assert!(tokio::time::Instant::now() < deadline, "the linger does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bench.log.answer_with(Answering::Acknowledge);
    };
    tokio::join!(futures::future::join_all(requests), answer_later);
    assert_eq!(bench.log.batched_events().len(), 50);
}

#[tokio::test]
async fn a_full_batch_does_not_wait() {
    let config = IngestConfig {
        batch_max_bytes: 200,
        linger_ms: 60_000,
        ack_timeout_ms: 50,
        ..IngestConfig::default()
    };
    let bench = Bench::with(config);
    bench.log.answer_with(Answering::Hold);
    let events: Vec<_> = (0..9).map(|n| event(&n.to_string(), "A1")).collect();
    // The rest below the limit waits longer than the time-out, so the request is told 503; it is not lost.
    bench.post(JSON, json!(events).to_string()).await.assert_problem(503, "log_unavailable");
    let early = bench.log.batched_events().len();
    assert!((2..9).contains(&early), "{early}");
    bench.log.answer_with(Answering::Acknowledge);
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
    assert_eq!(bench.log.records().len(), 6, "what came second to a partition went second");
    let metrics = String::from_utf8(bench.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("tally_ingest_events_accepted_total 3\n"), "{metrics}");
    assert!(metrics.contains("tally_ingest_append_failures_total 2\n"), "{metrics}");
}
