//! The PostgreSQL wire, with the real psql.

use std::process::Stdio;

use prometheus_client::registry::Registry;
use tally_query::PgServer;
use tally_schemas::{QueryConfig, TokenClass};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::world::World;

pub(crate) async fn psql(server: &PgServer, commands: &[&str]) -> (bool, String) {
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
        &[
            "BEGIN",
            "SET search_path = public",
            "SET statement_timeout = 5000",
            "SELECT vendor, count(*) FROM usage_events GROUP BY vendor ORDER BY 1",
            "COMMIT",
            "SHOW server_version",
        ],
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

/// As a BI tool reads: by a driver that is not ours, with parameters and transactions.
#[tokio::test]
async fn psycopg_reads_with_parameters_and_finds_the_tables() {
    let world = World::new().await;
    let engine = world.engine().await;
    let server = PgServer::bind(engine.clone(), "127.0.0.1:0").await.unwrap();
    let of_day: Vec<u64> = world
        .events
        .iter()
        .filter(|event| event.vendor == "vendor-0" && event.day == "2026-11-21")
        .map(|event| event.counts.get(TokenClass::Input))
        .collect();
    let python =
        std::env::var("TALLY_TEST_PYTHON").expect("TALLY_TEST_PYTHON is not set: run `make test`");
    let (host, port) = (server.address().ip().to_string(), server.address().port().to_string());
    let counts = [world.events.len().to_string(), of_day.len().to_string()];
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/check_postgres.py"))
        .args([host, port])
        .args(counts)
        .arg(of_day.iter().sum::<u64>().to_string())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A client of the extended protocol, as drivers speak it.
struct Driver {
    stream: tokio::net::TcpStream,
}

impl Driver {
    async fn connect(server: &PgServer) -> Self {
        let mut driver = Self::begin(server).await;
        driver.until_ready().await;
        driver
    }

    /// Connects, and waits for nothing.
    async fn begin(server: &PgServer) -> Self {
        let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let mut driver = Self { stream };
        let mut startup = vec![0, 3, 0, 0];
        startup.extend_from_slice(b"user\0tally\0database\0tally\0\0");
        let length = u32::try_from(startup.len() + 4).unwrap();
        driver.stream.write_all(&length.to_be_bytes()).await.unwrap();
        driver.stream.write_all(&startup).await.unwrap();
        driver
    }

    async fn send(&mut self, kind: u8, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).unwrap();
        self.stream.write_all(&[kind]).await.unwrap();
        self.stream.write_all(&length.to_be_bytes()).await.unwrap();
        self.stream.write_all(body).await.unwrap();
    }

    /// The messages up to ReadyForQuery, as kind and body.
    async fn until_ready(&mut self) -> Vec<(char, Vec<u8>)> {
        let mut messages = Vec::new();
        loop {
            let kind = self.stream.read_u8().await.unwrap();
            let length = self.stream.read_u32().await.unwrap();
            let mut body = vec![0; usize::try_from(length).unwrap() - 4];
            self.stream.read_exact(&mut body).await.unwrap();
            messages.push((char::from(kind), body));
            if kind == b'Z' {
                return messages;
            }
        }
    }

    /// Parses, describes, binds text parameters and executes; the values of the first column.
    async fn query(&mut self, sql: &str, parameters: &[&str]) -> Result<Vec<String>, String> {
        let mut parse = vec![0];
        parse.extend_from_slice(sql.as_bytes());
        parse.extend_from_slice(&[0, 0, 0]);
        self.send(b'P', &parse).await;
        self.send(b'D', b"S\0").await;
        let mut bind = vec![0, 0, 0, 0];
        bind.extend_from_slice(&u16::try_from(parameters.len()).unwrap().to_be_bytes());
        for parameter in parameters {
            bind.extend_from_slice(&u32::try_from(parameter.len()).unwrap().to_be_bytes());
            bind.extend_from_slice(parameter.as_bytes());
        }
        bind.extend_from_slice(&[0, 0]);
        self.send(b'B', &bind).await;
        self.send(b'E', &[0, 0, 0, 0, 0]).await;
        self.send(b'S', &[]).await;
        let mut values = Vec::new();
        for (kind, body) in self.until_ready().await {
            match kind {
                'E' => return Err(String::from_utf8_lossy(&body).into_owned()),
                'D' => {
                    let length = u32::from_be_bytes([body[2], body[3], body[4], body[5]]);
                    let end = 6 + usize::try_from(length).unwrap();
                    values.push(String::from_utf8_lossy(&body[6..end]).into_owned());
                }
                _ => {}
            }
        }
        Ok(values)
    }
}

#[tokio::test]
async fn prepared_statements_take_parameters_and_pass_the_guard() {
    let world = World::new().await;
    let engine = world.engine().await;
    let server = PgServer::bind(engine.clone(), "127.0.0.1:0").await.unwrap();
    let mut driver = Driver::connect(&server).await;
    let expected = world.events.iter().filter(|event| event.vendor == "vendor-1").count();
    let sql = "SELECT count(*) FROM usage_events WHERE vendor = $1 AND input >= $2";
    assert_eq!(driver.query(sql, &["vendor-1", "0"]).await, Ok(vec![expected.to_string()]));
    assert_eq!(driver.query(sql, &["nobody", "0"]).await, Ok(vec!["0".to_owned()]));
    assert_eq!(driver.query("SET extra_float_digits = 3", &[]).await, Ok(vec![]));
    assert_eq!(driver.query("BEGIN", &[]).await, Ok(vec![]));
    assert_eq!(driver.query("SELECT 1", &[]).await, Ok(vec!["1".to_owned()]));
    assert_eq!(driver.query("COMMIT", &[]).await, Ok(vec![]));
    for sql in ["DROP TABLE usage_events", "SELECT repeat('x', 10)", "SELECT * FROM nothing"] {
        assert!(driver.query(sql, &[]).await.is_err(), "{sql}");
    }
    assert_eq!(driver.query("SELECT 2", &[]).await, Ok(vec!["2".to_owned()]));
}

/// Who finds no place is told so, and the place of a connection that ends is somebody else's.
#[tokio::test]
async fn connections_have_places() {
    let world = World::new().await;
    let config = QueryConfig { connections_max: 2, ..World::config() };
    let engine = world.engine_with(config).await;
    let server = PgServer::bind(engine.clone(), "127.0.0.1:0").await.unwrap();
    let first = Driver::connect(&server).await;
    let mut second = Driver::connect(&server).await;
    let mut said = Vec::new();
    Driver::begin(&server).await.stream.read_to_end(&mut said).await.unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("53300") && said.contains("query.connections_max = 2"), "{said}");
    let mut registry = Registry::default();
    engine.register_metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in ["tally_query_connections 2", "tally_query_connections_refused_total 1"] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    drop(first);
    for attempt in 0.. {
        let (ok, text) = psql(&server, &["SELECT 'in'"]).await;
        if ok {
            break;
        }
        assert!(attempt < 100 && text.contains("query.connections_max"), "{text}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(second.query("SELECT 1", &[]).await, Ok(vec!["1".to_owned()]));
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
