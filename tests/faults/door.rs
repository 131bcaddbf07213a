//! From the HTTP door over real Kafka to SQL, with a process a role.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Dice, Stream, Traffic, block_on};

const START: Duration = Duration::from_secs(60);

/// The address in a line such as `… http://127.0.0.1:41235 …` or `127.0.0.1:5433`.
pub(crate) fn address(line: &str) -> &str {
    let start = line.find("127.0.0.1:").unwrap_or_else(|| panic!("no address in {line:?}"));
    let rest = &line[start..];
    let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c))).unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ':'])
}

pub(crate) async fn post(url: &str, kind: &str, body: String) -> (u16, Value) {
    let request = reqwest::Client::new().post(url).header("content-type", kind).body(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// What the door has acknowledged is in the tables exactly once.
#[test]
fn what_the_door_takes_comes_out_of_sql() {
    let mut dice = Dice::of("door");
    let mut stream = Stream::new("door", dice.seed(), 4);
    let command = stream.tally(&["ingest"]);
    let mut door = stream.start("ingest", command);
    let address = address(&door.says("127.0.0.1:", START)).to_owned();
    stream.set("http.listen", &address);
    let traffic = Traffic { out: "http", ..Traffic::mixed(dice.next_seed(), 30_000) };
    stream.send(&traffic);
    let url = format!("http://{address}/v1/events");
    let event = |id: &str| {
        json!({"source": "gw-door", "id": id, "account": "A1", "model": "glm-5",
               "completed_at": "2026-11-22T14:22:37.827+08:00", "usage": {"input": 7, "output": 3}})
    };
    let body = json!([event("one"), event("two"), {"source": "gw-door", "id": "three"}]);
    let (status, answer) = block_on(post(&url, "application/json", body.to_string()));
    assert_eq!((status, &answer["accepted"]), (200, &json!(2)), "{answer}");
    assert_eq!(answer["rejected"][0]["index"], json!(2), "{answer}");
    let (status, answer) = block_on(post(&url, "application/json", "{\"events\":".to_owned()));
    assert_eq!(status, 400, "{answer}");
    assert!(door.terminate(START).success());
    stream.drain();
    let rows = stream.sql(
        "SELECT sum(input) AS input, count(*) AS n FROM usage_events WHERE source = 'gw-door'",
    );
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["n"].to_string().trim_matches('"'), "2", "{rows:?}");
    assert_eq!(rows[0]["input"].to_string().trim_matches('"'), "14", "{rows:?}");
    let all = stream.sql("SELECT count(*) AS n FROM usage_events");
    let n: u64 = all[0]["n"].to_string().trim_matches('"').parse().unwrap();
    assert_eq!(n, stream.truth.accepted + 2);
}

/// psql, and with it every tool of PostgreSQL, reads the tables over the wire.
#[test]
fn psql_reads_the_tables() {
    let mut dice = Dice::of("psql");
    let mut stream = Stream::new("psql", dice.seed(), 2);
    stream.send(&Traffic::mixed(dice.next_seed(), 5_000));
    stream.drain();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    stream.set("query.pg_listen", format!("127.0.0.1:{port}"));
    let command = stream.tally(&["query"]);
    let mut query = stream.start("query", command);
    query.says(&format!("127.0.0.1:{port}"), START);
    let psql = |query: &str| {
        let mut command = std::process::Command::new("psql");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "finance", "-d", "tally"]);
        command.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", query]);
        command
    };
    let counted = stream.run("psql", psql("SELECT count(*) FROM usage_events"));
    assert_eq!(counted.trim(), stream.truth.accepted.to_string());
    let by_model = stream.run(
        "psql",
        psql("SELECT model, vendor, sum(input) FROM usage_events GROUP BY 1, 2 ORDER BY 1, 2"),
    );
    let expected: String = stream
        .truth
        .by_model
        .iter()
        .map(|row| {
            let input = row.tokens.get("input").map_or(0, |sum| sum.0);
            format!("{}|{}|{input}\n", row.model, row.vendor)
        })
        .collect();
    assert_eq!(by_model, expected);
    let mut refused = stream.start("psql-delete", psql("DELETE FROM usage_events"));
    assert!(!refused.wait(START).success(), "a DELETE was not refused");
    assert!(query.terminate(START).success());
}
