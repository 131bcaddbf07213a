//! Attacks and limits: nothing is written or read that is not a table, and each limit says so.

use std::sync::Arc;

use tally_query::{ErrorKind, Limits, QueryEngine, QueryError};
use tally_schemas::QueryConfig;

use crate::world::World;

const ENDLESS: &str = "SELECT count(*) FROM usage_events a, usage_events b, usage_events c, usage_events d WHERE a.input + b.input + c.input + d.input = -1";

async fn error_of(engine: &QueryEngine, sql: &str, limits: Limits) -> QueryError {
    match engine.run(sql, None, limits).await {
        Err(error) => error,
        Ok(answer) => answer.collect().await.expect_err(sql),
    }
}

fn setting(error: &QueryError) -> &'static str {
    match error {
        QueryError::Limit { setting, .. } => setting,
        other => panic!("not a limit: {other}"),
    }
}

#[tokio::test]
async fn what_is_not_a_table_is_not_read() {
    let world = World::new().await;
    let engine = world.engine().await;
    for sql in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM \"/etc/passwd\"",
        "SELECT * FROM \"file:///etc/passwd\"",
        "SELECT * FROM \"s3://bucket/x.parquet\"",
        "SELECT * FROM 'tables/usage_events/x.parquet'",
        "SELECT * FROM datafusion.public.usage_events",
        "SELECT * FROM system.secrets",
        "SELECT * FROM nothing",
        "TABLE nothing",
        "SELECT (SELECT count(*) FROM nothing)",
        "SELECT * FROM usage_events WHERE id IN (SELECT 1 FROM \"/etc/passwd\")",
        "WITH usage_events AS (SELECT * FROM \"/etc/passwd\") SELECT * FROM usage_events",
        "SELECT * FROM usage_events, LATERAL (SELECT * FROM nothing) AS x",
        "SELECT generate_series(1, 5)",
        "SELECT * FROM pg_get_keywords()",
        "SELECT current_setting('x')",
    ] {
        let error = error_of(&engine, sql, engine.limits()).await;
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
    }
}

#[tokio::test]
async fn nothing_is_ever_written() {
    use futures::TryStreamExt;
    let world = World::new().await;
    let engine = world.engine().await;
    let before: Vec<_> = world.store.list(None).try_collect().await.unwrap();
    for sql in [
        "INSERT INTO usage_events SELECT * FROM usage_events",
        "COPY (SELECT 1) TO 'tally://store/x.parquet'",
        "CREATE TABLE x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION 'tally://store/tables'",
        "DROP TABLE usage_events",
        "SELECT 1 INTO x",
        "EXPLAIN ANALYZE INSERT INTO usage_events SELECT * FROM usage_events",
        "SELECT 1; DELETE FROM usage_events",
    ] {
        error_of(&engine, sql, engine.limits()).await;
    }
    let after: Vec<_> = world.store.list(None).try_collect().await.unwrap();
    assert_eq!(before, after);
}

#[tokio::test]
async fn too_many_rows_name_the_setting() {
    let world = World::new().await;
    let engine = world.engine_with(QueryConfig { rows_max: 100, ..World::config() }).await;
    let error = error_of(&engine, "SELECT id FROM usage_events", engine.limits()).await;
    assert_eq!(setting(&error), "query.rows_max");
    assert!(error.to_string().contains("query.rows_max = 100"), "{error}");
    let answer = engine.run("SELECT id FROM usage_events LIMIT 100", None, engine.limits()).await;
    assert!(answer.unwrap().collect().await.is_ok());
}

#[tokio::test]
async fn a_query_without_end_ends() {
    let world = World::new().await;
    let engine = world.engine_with(QueryConfig { timeout_ms: 300, ..World::config() }).await;
    let error = error_of(&engine, ENDLESS, engine.limits()).await;
    assert_eq!(setting(&error), "query.timeout_ms");
    // And the engine goes on.
    let answer = engine.run("SELECT 1", None, Limits::unlimited()).await.unwrap();
    assert!(answer.collect().await.is_ok());
}

#[tokio::test]
async fn memory_is_limited() {
    let world = World::new().await;
    let engine =
        world.engine_with(QueryConfig { memory_max_bytes: 1 << 20, ..World::config() }).await;
    let sql = "SELECT a.account, b.id, count(DISTINCT a.id) FROM usage_events a, usage_events b GROUP BY a.account, b.id ORDER BY 3 DESC LIMIT 5";
    let error = error_of(&engine, sql, engine.limits()).await;
    assert_eq!(setting(&error), "query.memory_max_bytes");
}

#[tokio::test]
async fn queries_wait_for_their_turn_and_say_so() {
    let world = World::new().await;
    let engine =
        world.engine_with(QueryConfig { concurrency: 1, timeout_ms: 400, ..World::config() }).await;
    let running = {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move {
            error_of(
                &engine,
                ENDLESS,
                Limits::unlimited().within(Some(std::time::Duration::from_secs(3))),
            )
            .await
        })
    };
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    let error = error_of(&engine, "SELECT 1", engine.limits()).await;
    assert_eq!(setting(&error), "query.concurrency");
    assert_eq!(setting(&running.await.unwrap()), "query.timeout_ms");
}

#[tokio::test]
async fn a_dropped_answer_stops_its_query() {
    let world = World::new().await;
    let engine = world.engine_with(QueryConfig { concurrency: 1, ..World::config() }).await;
    for _ in 0..3 {
        let answer = engine
            .run(
                "SELECT a.id FROM usage_events a, usage_events b, usage_events c",
                None,
                engine.limits(),
            )
            .await
            .unwrap();
        drop(answer);
    }
    let answer = engine.run("SELECT 1", None, engine.limits()).await.unwrap();
    assert!(answer.collect().await.is_ok());
}
