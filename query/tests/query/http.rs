//! SQL over HTTP.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tally_access::{Caller, Channel};
use tally_query::{QueryEngine, router};
use tally_schemas::QueryConfig;
use tower::ServiceExt;

use crate::world::World;

async fn post(
    engine: &Arc<QueryEngine>,
    accept: &str,
    body: String,
) -> (StatusCode, String, Vec<u8>) {
    let request = Request::post("/v1/sql")
        .header("content-type", "application/json")
        .header("accept", accept)
        .body(Body::from(body))
        .unwrap();
    let caller = Caller::local(Channel::Http, None);
    let routes = router(Arc::clone(engine)).layer(Extension(caller));
    let response = routes.oneshot(request).await.unwrap();
    let status = response.status();
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, content_type, bytes.to_vec())
}

fn query(sql: &str) -> String {
    json!({ "query": sql }).to_string()
}

#[tokio::test]
async fn json_rows() {
    let world = World::new().await;
    let engine = world.engine().await;
    let sql = "SELECT count(*) AS n, 9007199254740993 AS big, CAST('0.1' AS DECIMAL(38,12)) AS amount, NULL AS nothing FROM usage_events";
    let (status, content_type, bytes) = post(&engine, "application/json", query(sql)).await;
    assert_eq!((status, content_type.as_str()), (StatusCode::OK, "application/json"));
    let rows: Value = serde_json::from_slice(&bytes).unwrap();
    let n = world.events.len();
    assert_eq!(
        rows,
        json!([{"n": n, "big": "9007199254740993", "amount": "0.100000000000", "nothing": null}])
    );
}

#[tokio::test]
async fn every_format_has_every_row() {
    let world = World::new().await;
    let engine = world.engine().await;
    let sql = query("SELECT id, input, completed_at, day FROM usage_events");
    let rows = world.events.len();
    let (_, _, csv) = post(&engine, "text/csv", sql.clone()).await;
    assert_eq!(String::from_utf8(csv).unwrap().lines().count(), rows + 1);
    let (_, _, json) = post(&engine, "*/*", sql.clone()).await;
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&json).unwrap().len(), rows);
    let (_, _, stream) = post(&engine, "application/vnd.apache.arrow.stream", sql.clone()).await;
    let reader = arrow::ipc::reader::StreamReader::try_new(stream.as_slice(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), rows);
    let (_, _, parquet) = post(&engine, "application/vnd.apache.parquet", sql).await;
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(
        bytes::Bytes::from(parquet),
        1_000,
    )
    .unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), rows);
}

#[tokio::test]
async fn a_long_answer_is_streamed_whole() {
    let world = World::new().await;
    let engine = world.engine().await;
    let sql = query(
        "SELECT a.id AS a, b.id AS b, a.account FROM usage_events a, usage_events b LIMIT 50000",
    );
    let (status, _, bytes) = post(&engine, "text/csv", sql).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(String::from_utf8(bytes).unwrap().lines().count(), 50_001);
}

#[tokio::test]
async fn errors_are_problem_documents() {
    let world = World::new().await;
    let engine = world.engine_with(QueryConfig { rows_max: 10, ..World::config() }).await;
    for (body, status, kind) in [
        ("not json".to_owned(), 400, "invalid"),
        (json!({"query": "SELECT 1", "nonsense": 1}).to_string(), 400, "invalid"),
        (json!({"query": "SELECT 1", "as_of": "yesterday"}).to_string(), 400, "invalid"),
        (query("SELEC 1"), 400, "invalid"),
        (query("DROP TABLE usage_events"), 400, "invalid"),
        (query("SELECT nothing FROM usage_events"), 400, "invalid"),
        (query("SELECT 1/0"), 400, "invalid"),
        (query("SELECT id FROM usage_events"), 422, "limit"),
    ] {
        let (found, content_type, bytes) = post(&engine, "application/json", body.clone()).await;
        assert_eq!(found.as_u16(), status, "{body}: {}", String::from_utf8_lossy(&bytes));
        assert_eq!(content_type, "application/problem+json");
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(document["type"], format!("urn:tally:problem:{kind}"));
        assert_eq!(document["status"], status);
        assert!(!document["detail"].as_str().unwrap().is_empty());
    }
    let (status, ..) = post(&engine, "text/html", query("SELECT 1")).await;
    assert_eq!(status, StatusCode::NOT_ACCEPTABLE);
    let (status, ..) = post(
        &engine,
        "*/*",
        json!({"query": "SELECT count(*) FROM suspense", "as_of": 1}).to_string(),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
}

/// Whoever serves the routes has to say who asks: one who forgets it serves nobody.
#[tokio::test]
async fn nobody_is_answered_who_is_not_known() {
    let world = World::new().await;
    let engine = world.engine().await;
    let request = Request::post("/v1/sql").body(Body::from(query("SELECT 1"))).unwrap();
    let response = router(engine).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}
