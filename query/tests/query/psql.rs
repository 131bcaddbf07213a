//! The PostgreSQL wire, with the real psql.

use std::process::Stdio;

use tally_query::PgServer;
use tally_schemas::QueryConfig;
use tokio::process::Command;

use crate::world::World;

async fn psql(server: &PgServer, commands: &[&str]) -> (bool, String) {
    let address = server.address();
    let mut command = Command::new("psql");
    command
        .args(["-X", "-v", "ON_ERROR_STOP=1", "-h", &address.ip().to_string(), "-p"])
        .args([&address.port().to_string(), "-U", "tally", "-d", "tally"])
        .env("PGCONNECT_TIMEOUT", "10")
        .env("PAGER", "cat")
        .stdin(Stdio::null());
    for text in commands {
        command.args(["-c", text]);
    }
    let output = command
        .output()
        .await
        .expect("psql is missing: install it with `apt-get install -y postgresql-client`");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

#[tokio::test]
async fn psql_reads() {
    let world = World::new().await;
    let engine = world.engine().await;
    let server = PgServer::bind(engine.clone(), "127.0.0.1:0").await.unwrap();
    let (ok, text) = psql(
        &server,
        &["SELECT count(*) AS n, sum(input) AS input, min(completed_at), max(day), CAST('0.5' AS DECIMAL(38,12)) AS amount FROM usage_events"],
    )
    .await;
    assert!(ok, "{text}");
    assert!(text.contains(&world.events.len().to_string()), "{text}");
    assert!(text.contains("2026-11-22") && text.contains("0.500000000000"), "{text}");
    let (ok, text) = psql(
        &server,
        &["BEGIN", "SET search_path = public", "SET statement_timeout = 5000", "SELECT vendor, count(*) FROM usage_events GROUP BY vendor ORDER BY 1", "COMMIT", "SHOW server_version"],
    )
    .await;
    assert!(ok, "{text}");
    assert!(text.contains("vendor-0") && text.contains("vendor-2"), "{text}");
}

#[tokio::test]
async fn psql_describes_tables_with_comments() {
    let world = World::new().await;
    let engine = world.engine().await;
    let server = PgServer::bind(engine.clone(), "127.0.0.1:0").await.unwrap();
    for command in ["\\dt", "\\d"] {
        let (ok, text) = psql(&server, &[command]).await;
        assert!(ok, "{command}: {text}");
        assert!(text.contains("usage_events") && text.contains("suspense"), "{command}: {text}");
    }
    let (ok, text) = psql(&server, &["\\d usage_events"]).await;
    assert!(ok, "{text}");
    assert!(text.contains("cache_write_5m") && text.contains("bigint"), "{text}");
    let (ok, text) = psql(&server, &["\\d+ usage_events"]).await;
    assert!(ok, "{text}");
    assert!(text.contains("Holder of the buckets; the Kafka key"), "{text}");
    let (ok, text) = psql(&server, &["\\dt+"]).await;
    assert!(ok, "{text}");
    assert!(text.contains("One row for each accepted usage event"), "{text}");
    let (ok, text) = psql(&server, &["\\dt system.*", "\\l", "\\dn"]).await;
    assert!(ok, "{text}");
}

#[tokio::test]
async fn psql_cannot_write_and_meets_the_limits() {
    let world = World::new().await;
    let config = QueryConfig { rows_max: 50, timeout_ms: 2_000, ..World::config() };
    let engine = world.engine_with(config).await;
    let server = PgServer::bind(engine.clone(), "127.0.0.1:0").await.unwrap();
    for (sql, expected) in [
        ("DROP TABLE usage_events", "not allowed"),
        ("INSERT INTO usage_events SELECT * FROM usage_events", "not allowed"),
        ("CREATE TABLE x AS SELECT 1", "not allowed"),
        ("COPY usage_events TO STDOUT", "not allowed"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SET datafusion.execution.batch_size = 1", "not allowed"),
        ("SELECT * FROM \"/etc/passwd\"", "not found"),
        ("SELECT pg_read_file('/etc/passwd')", "not allowed"),
        ("SELECT repeat('x', 1000000000)", "not allowed"),
        ("DECLARE c CURSOR FOR SELECT 1", "not allowed"),
        ("SELECT id FROM usage_events", "query.rows_max"),
        ("SELECT sum(x) FROM (VALUES (9223372036854775807), (1)) AS t(x)", "out of range"),
        (
            "SELECT count(*) FROM usage_events a, usage_events b, usage_events c, usage_events d WHERE a.input + b.input + c.input + d.input = -1",
            "query.timeout_ms",
        ),
    ] {
        let (ok, text) = psql(&server, &[sql]).await;
        assert!(!ok && text.contains(expected), "{sql}: {text}");
    }
    let (ok, text) = psql(&server, &["SELECT count(*) FROM usage_events"]).await;
    assert!(ok, "{text}");
}

#[tokio::test]
async fn prepared_statements_take_parameters() {
    let world = World::new().await;
    let engine = world.engine().await;
    let server = PgServer::bind(engine.clone(), "127.0.0.1:0").await.unwrap();
    // \bind, which uses the extended protocol, came with psql 16; older ones say so.
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        script.path(),
        "SELECT count(*) AS n FROM usage_events WHERE vendor = $1 AND input >= $2 \\bind vendor-1 0 \\g\n",
    )
    .unwrap();
    let include = format!("\\i {}", script.path().display());
    let (ok, text) = psql(&server, &[&include]).await;
    if text.contains("invalid command") {
        return;
    }
    assert!(ok, "{text}");
    let expected = world.events.iter().filter(|event| event.vendor == "vendor-1").count();
    assert!(text.contains(&expected.to_string()), "{text}");
}

#[tokio::test]
async fn only_loopback() {
    let world = World::new().await;
    let engine = world.engine().await;
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let error = PgServer::bind(engine.clone(), listen).await.unwrap_err();
        assert!(error.to_string().contains("authentication"), "{error}");
    }
}
