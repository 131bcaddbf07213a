//! Bodies that cannot be read, are too large, or come when there is no room.

use std::io::Write;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use tally_log::LogError;
use tally_schemas::IngestConfig;

use crate::client::{Bench, CLOUD_EVENT, CLOUD_EVENT_BATCH, JSON, NDJSON, event, post};
use crate::controlled_log::Answering;

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_with_the_position() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let deep_object = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let cases = [
        (JSON, ""),
        (JSON, "{"),
        (JSON, "[{\"source\":\"g\",]"),
        (JSON, "[{\"usage\":{\"input\":NaN}}]"),
        (JSON, "[{\"usage\":{\"input\":1e999}}]"),
        (JSON, "{} {}"),
        (JSON, "[1] 2"),
        (JSON, "[\"\u{1}\"]"),
        (JSON, "{\"events\": 5}"),
        (JSON, "{\"events\": [], \"events\": []}"),
        (CLOUD_EVENT, "{\"data\":{},\"data\":{}}"),
        (CLOUD_EVENT_BATCH, "{}"),
        (CLOUD_EVENT_BATCH, &deep[..4000]),
    ];
    for (content_type, body) in cases {
        let bench = Bench::new();
        let reply = bench.post(content_type, body.to_owned()).await;
        reply.assert_problem(400, "unparseable");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("line 1 column"), "{body}: {detail}");
        assert!(bench.log.records().is_empty());
    }
    let bench = Bench::new();
    bench.post(JSON, b"[\"\xff\xfe\"]".to_vec()).await.assert_problem(400, "unparseable");
    // Deep JSON neither overflows the stack nor passes for an event.
    let answer = bench.accept(JSON, deep.clone()).await;
    assert_eq!(answer["rejected"][0]["code"], "malformed");
    let answer = bench.accept(JSON, format!("[{deep_object}]")).await;
    assert_eq!(answer["accepted"], 0);
    let answer = bench.accept(NDJSON, format!("{deep_object}\n{deep}")).await;
    assert_eq!(answer["accepted"], 0);
    let mut labelled = event("a", "A");
    labelled["labels"] = json!({"deep": "DEEP"});
    let labelled = labelled.to_string().replace("\"DEEP\"", &deep);
    bench.post(JSON, labelled).await.assert_problem(400, "unparseable");
}

#[tokio::test]
async fn an_unknown_content_type_or_encoding_is_refused() {
    let bench = Bench::new();
    for content_type in ["text/plain", "application/xml", "application/x-www-form-urlencoded"] {
        bench.post(content_type, "[]").await.assert_problem(415, "unsupported_media_type");
    }
    let none = Request::post("/v1/events").body(Body::from("[]")).unwrap();
    bench.send(none).await.assert_problem(415, "unsupported_media_type");
    for encoding in ["zstd", "br", "gzip, gzip", "x"] {
        let request = Request::post("/v1/events")
            .header("content-type", JSON)
            .header("content-encoding", encoding)
            .body(Body::from("[]"))
            .unwrap();
        bench.send(request).await.assert_problem(415, "unsupported_media_type");
    }
}

/// A gzip member that stores `data` uncompressed.
fn gzip(data: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let chunks = data.chunks(60_000);
    let last = chunks.len().saturating_sub(1);
    for (number, chunk) in chunks.enumerate() {
        let length = u16::try_from(chunk.len()).unwrap();
        out.push(u8::from(number == last));
        out.write_all(&length.to_le_bytes()).unwrap();
        out.write_all(&(!length).to_le_bytes()).unwrap();
        out.write_all(chunk).unwrap();
    }
    out.write_all(&(!crc).to_le_bytes()).unwrap();
    out.write_all(&u32::try_from(data.len()).unwrap().to_le_bytes()).unwrap();
    out
}

fn gzipped(body: Vec<u8>) -> Request<Body> {
    Request::post("/v1/events")
        .header("content-type", JSON)
        .header("content-encoding", "gzip")
        .body(Body::from(body))
        .unwrap()
}

#[tokio::test]
async fn a_compressed_body_is_read_and_its_size_is_that_after_decompression() {
    let bench = Bench::with(IngestConfig { body_max_bytes: 100_000, ..IngestConfig::default() });
    let reply = bench.send(gzipped(gzip(event("a", "A").to_string().as_bytes()))).await;
    assert_eq!(reply.json()["accepted"], 1);
    let spaces = vec![b' '; 200_000];
    bench.send(gzipped(gzip(&spaces))).await.assert_problem(413, "too_large");
    bench.send(gzipped(b"not gzip".to_vec())).await.assert_problem(400, "unparseable");
    assert_eq!(bench.door.in_flight_bytes(), 0);
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_announced_or_not() {
    let bench = Bench::new();
    let large = vec![b' '; 10 << 20];
    let announced = Request::post("/v1/events")
        .header("content-type", JSON)
        .header("content-length", large.len())
        .body(Body::from(large.clone()))
        .unwrap();
    bench.send(announced).await.assert_problem(413, "too_large");
    let chunks = large.chunks(64 << 10).map(Bytes::copy_from_slice).collect::<Vec<_>>();
    let streamed = stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>));
    bench.post(JSON, Body::from_stream(streamed)).await.assert_problem(413, "too_large");
    assert_eq!(bench.door.in_flight_bytes(), 0);
}

#[tokio::test]
async fn a_large_body_within_the_limit_is_taken_in_several_records() {
    let bench = Bench::new();
    let events: Vec<_> = (0..20_000).map(|n| event(&format!("ev-{n}"), "A1")).collect();
    let answer = bench.accept(JSON, json!(events).to_string()).await;
    assert_eq!(answer["accepted"], 20_000);
    let records = bench.log.records();
    assert!(records.len() > 1);
    let max = usize::try_from(IngestConfig::default().batch_max_bytes).unwrap();
    assert!(records.iter().all(|record| record.value.len() <= max));
    let ids: Vec<_> = bench.log.batched_events().into_iter().map(|event| event.id).collect();
    let sent: Vec<_> = (0..20_000).map(|n| format!("ev-{n}")).collect();
    assert_eq!(ids, sent, "in order, each once");
}

#[tokio::test]
async fn too_many_events_are_refused_whole() {
    for (content_type, body) in [
        (NDJSON, "1\n".repeat(100_001)),
        (JSON, format!("[{}1]", "1,".repeat(100_000))),
        (CLOUD_EVENT_BATCH, format!("[{}1]", "1,".repeat(100_000))),
    ] {
        let bench = Bench::new();
        bench.post(content_type, body).await.assert_problem(413, "too_large");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_takes_nothing() {
    let bench = Bench::new();
    let first = Bytes::from(format!("[{},", event("a", "A")));
    let broken = stream::iter([Ok(first), Err(std::io::Error::other("reset"))]);
    bench.post(JSON, Body::from_stream(broken)).await.assert_problem(400, "unparseable");
    assert!(bench.log.records().is_empty());
    assert_eq!(bench.door.in_flight_bytes(), 0);
}

#[tokio::test]
async fn a_stuck_log_means_503_then_429_and_bounded_memory() {
    let config = IngestConfig {
        body_max_bytes: 20_000,
        in_flight_max_bytes: 64 << 10,
        ack_timeout_ms: 100,
        ..IngestConfig::default()
    };
    let limit = config.in_flight_max_bytes;
    let bench = Bench::with(config);
    bench.log.answer_with(Answering::Hold);
    let mut unavailable = 0;
    let turned_away = loop {
        let padded = format!("{}{}", event(&unavailable.to_string(), "A1"), " ".repeat(8_000));
        let reply = bench.post(JSON, padded).await;
        if reply.status == 429 {
            break reply;
        }
        reply.assert_problem(503, "log_unavailable");
        unavailable += 1;
        assert!(bench.door.in_flight_bytes() <= limit);
        assert!(unavailable < 100, "the door must fill up");
    };
    turned_away.assert_problem(429, "too_much_in_flight");
    assert!(unavailable > 3, "what the log holds stays charged after the client was told 503");
    bench.get("/readyz").await.assert_problem(503, "stalled");
    let stored = bench.log.records().len();

    bench.log.answer_with(Answering::Acknowledge);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.door.in_flight_bytes(), 0, "everything is given back");
    assert_eq!(bench.log.records().len(), stored, "a refused request appended nothing");
    bench.accept(JSON, event("later", "A1").to_string()).await;
    assert_eq!(bench.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_log_that_is_away_means_503_and_one_that_refuses_500() {
    let bench = Bench::new();
    bench.log.answer_with(Answering::Fail(LogError::Retry("no broker".to_owned())));
    let reply = bench.post(JSON, event("a", "A1").to_string()).await;
    reply.assert_problem(503, "log_unavailable");
    assert!(reply.json()["detail"].as_str().unwrap().contains("same ids"));
    bench.get("/readyz").await.assert_problem(503, "log_unavailable");
    assert_eq!(bench.get("/healthz").await.status, 200, "no reason to restart the door");
    bench.log.answer_with(Answering::Fail(LogError::Invalid("too large".to_owned())));
    let reply = bench.send(post(JSON, event("a", "A1").to_string())).await;
    reply.assert_problem(500, "log_refused");
    bench.log.answer_with(Answering::Acknowledge);
    bench.accept(JSON, event("a", "A1").to_string()).await;
    assert_eq!(bench.get("/readyz").await.status, 200);
}
