//! What somebody with a password tries who is up to no good: refused, or stopped by a limit that
//! says its name.

use std::time::Duration;

use tally_query::{ErrorKind, QueryError};
use tally_schemas::QueryConfig;

use crate::canaries::{OWN, caller, config, engine};

#[tokio::test]
async fn attacks_are_refused_or_stopped_by_a_limit_with_a_name() {
    let settings = QueryConfig { timeout_ms: 1_500, rows_max: 5_000, ..config() };
    let engine = engine(true, settings).await;
    let vendor = caller(&format!("vendor:{OWN}"));
    let long = format!("SELECT '{}'", "x".repeat(300 << 10));
    let list = format!("SELECT 1 WHERE 1 IN ({})", vec!["2"; 140_000].join(","));
    let deep = format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let unions = vec!["SELECT 1"; 20_000].join(" UNION ALL ");
    for sql in [
        "COPY usage_events TO '/tmp/x'",
        "COPY (SELECT 1) TO 's3://x/y'",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_sleep(100)",
        "SELECT lo_import('/etc/passwd')",
        "CREATE TABLE x (a INT)",
        "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION 'tally://store/tables'",
        "DROP TABLE usage_events",
        "ALTER TABLE usage_events ADD COLUMN x INT",
        "DELETE FROM usage_events",
        "INSERT INTO usage_events SELECT * FROM usage_events",
        "WITH x AS (DELETE FROM usage_events RETURNING *) SELECT * FROM x",
        "SELECT 1; SELECT * FROM suspense",
        "SELECT 1; DROP TABLE usage_events",
        "SET ROLE finance",
        "SET SESSION AUTHORIZATION finance",
        "SET datafusion.execution.target_partitions = 100000",
        "SET query.timeout_ms = 100000000",
        "RESET ALL",
        "GRANT ALL ON suspense TO somebody",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT * FROM t",
        "SELECT repeat('x', 1000000000)",
        "SELECT * FROM generate_series(1, 100000000000)",
        "SELECT range(1, 1000000000)",
        "EXPLAIN ANALYZE DELETE FROM usage_events",
        "PREPARE x AS SELECT 1",
        "LISTEN x",
        "DO $$ BEGIN END $$",
        "VACUUM",
        &long,
        &list,
        &deep,
        &unions,
    ] {
        let error = match engine.run_as(&vendor, sql, None, engine.limits()).await {
            Err(error) => error,
            Ok(answer) => match answer.collect().await {
                Err(error) => error,
                Ok(_) => panic!("answered: {}", &sql[..sql.len().min(100)]),
            },
        };
        let refused = error.kind() == ErrorKind::Invalid || error.kind() == ErrorKind::Limit;
        assert!(refused, "{}: {error}", &sql[..sql.len().min(100)]);
    }
    for (sql, limits) in [
        (
            "SELECT count(*) FROM usage_events a, usage_events b, usage_events c, usage_events d, usage_events e WHERE a.input + b.input + c.input + d.input + e.input = -1",
            ["query.timeout_ms", "query.memory_max_bytes"].as_slice(),
        ),
        ("SELECT a.model FROM usage_events a, usage_events b", &["query.rows_max"]),
        (
            "SELECT string_agg(concat(a.vendor_request_id, b.vendor_request_id, c.model, d.model), ',') FROM usage_events a, usage_events b, usage_events c, usage_events d",
            &["query.timeout_ms", "query.memory_max_bytes"],
        ),
    ] {
        let error = match engine.run_as(&vendor, sql, None, engine.limits()).await {
            Err(error) => error,
            Ok(answer) => answer.collect().await.unwrap_err(),
        };
        match &error {
            QueryError::Limit { setting, .. } => assert!(limits.contains(setting), "{error}"),
            other => panic!("{sql}: {other}"),
        }
    }
    // None of them goes on behind the limit that stopped it: all places are free again.
    for sql in [
        "SELECT count(*) FROM usage_events a, usage_events b, usage_events c, usage_events d, usage_events e WHERE a.input + b.input + c.input + d.input + e.input = -1",
        "SELECT count(*) FROM usage_events a JOIN usage_events b ON a.vendor = b.vendor JOIN usage_events c ON b.vendor = c.vendor JOIN usage_events d ON c.vendor = d.vendor WHERE a.input + b.input + c.input + d.input = -1",
        "SELECT count(*) FROM usage_events a LEFT JOIN (usage_events b CROSS JOIN usage_events c CROSS JOIN usage_events d) ON a.input + b.input + c.input + d.input = -1",
        "SELECT a.model FROM usage_events a, usage_events b, usage_events c, usage_events d WHERE EXISTS (SELECT 1 FROM usage_events e WHERE a.input + b.input + c.input + d.input + e.input = -1)",
    ] {
        let answer = match engine.run_as(&vendor, sql, None, engine.limits()).await {
            Err(error) => Err(error),
            Ok(answer) => answer.collect().await,
        };
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{sql}: {error}");
        let patience = std::time::Instant::now() + Duration::from_secs(5);
        while engine.running() > 0 {
            assert!(std::time::Instant::now() < patience, "still runs: {sql}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    // And whoever comes next is served.
    let limits = engine.limits().within(Some(Duration::from_millis(1_500)));
    let answer = engine.run_as(&vendor, "SELECT 1", None, limits).await.unwrap();
    assert!(answer.collect().await.is_ok());
}
