//! Accepted events that are taken back and replaced, with the real program: in an open month and in a
//! closed one, by a person and by the gateway, once each, whatever dies in between.

use std::path::Path;

use serde_json::{Value, json};

use crate::door::post;
use crate::embedded::{PATIENCE, json_of, tally, up};
use crate::settle::Books;
use crate::support::{Process, block_on, eventually};

const AT: &str = "2026-10-20T12:00:00+08:00";

const CONTRACT: &str = "[[terms]]\nid = \"zhipu-2026\"\nvendor = \"zhipu\"\nmodel_pattern = \"*\"\n\
    form = \"price_list\"\ncurrency = \"CNY\"\ntax_ppm = 60000\nrounding = \"half_even\"\n\
    valid_from = \"2026-01-01\"\n";

/// A call of `glm-5` with so many tokens of input, at 6 yuan a million.
fn event(id: &str, input: u64) -> Value {
    json!({"source": "gw-1", "id": id, "account": "A1", "model": "glm-5", "completed_at": AT,
           "usage": {"input": input}})
}

fn send(address: &str, events: &Value) {
    let url = format!("http://{address}/v1/events");
    let (status, answer) = block_on(post(&url, "application/json", events.to_string()));
    let count = events.as_array().unwrap().len();
    assert_eq!((status, &answer["accepted"]), (200, &json!(count)), "{answer}");
    assert_eq!(answer["warnings"], json!([]), "{answer}");
}

fn sql(folder: &Path, query: &str) -> Value {
    json_of(folder, "sql", &["sql", "--format", "json", query])
}

/// Waits until the tables have so many rows of events, and says what they and the buckets come to.
fn until_rows(folder: &Path, rows: u64) -> Value {
    eventually(&format!("{rows} rows"), PATIENCE, || {
        let found = sql(
            folder,
            "SELECT count(*) AS n, sum(input) AS input, sum(requests) AS calls, \
             CAST(sum(wholesale_amount) AS DECIMAL(38,2)) AS owed, \
             CAST(sum(retail_amount) AS DECIMAL(38,2)) AS paid FROM usage_events",
        );
        (found[0]["n"] == json!(rows)).then(|| found[0].clone())
    })
}

/// What is left of the package.
fn left(folder: &Path) -> Value {
    let query =
        "SELECT CAST(sum(points) AS BIGINT) AS n FROM quota_ledger WHERE bucket IS NOT NULL";
    sql(folder, query)[0]["n"].clone()
}

fn verified(folder: &Path) {
    Process::start("verify", tally(folder, &["verify"]), folder).succeed(PATIENCE);
}

fn adjustments(statement: &Value) -> Vec<Value> {
    let sections = statement["statement"]["sections"].as_array().unwrap();
    let rows = sections.iter().flat_map(|section| section["adjustments"].as_array().unwrap());
    let words = |row: &Value| {
        json!([row["reason"], row["orig_period"], row["units"], row["amounts"]["net"]])
    };
    rows.map(words).collect()
}

#[test]
fn what_is_corrected_counts_as_if_it_had_never_been() {
    let scratch = tempfile::tempdir().unwrap();
    let books = Books { folder: scratch.path().join("books") };
    std::fs::create_dir(&books.folder).unwrap();
    let contract = scratch.path().join("zhipu.toml");
    std::fs::write(&contract, CONTRACT).unwrap();
    books.put_in_force(&contract);
    let folder = &books.folder;
    let (mut process, address_of) = up(folder, "up");
    let url = format!("http://{address_of}/v1/accounts/A1/commands");
    let buy = json!({"command": "purchase", "id": "p", "package": "telecom-10m",
                     "at": "2026-10-15T00:00:00+08:00"});
    let (status, answer) = block_on(post(&url, "application/json", buy.to_string()));
    assert_eq!(status, 202, "{answer}");
    // A record that corrects comes from no gateway.
    let forged = json!({"command": "correct", "id": "c", "at": 1});
    let (status, answer) = block_on(post(&url, "application/json", forged.to_string()));
    assert_eq!(status, 422, "{answer}");
    let million = 1_000_000;
    let calls = [event("e-1", million), event("e-2", 2 * million), event("e-3", 4 * million)];
    send(&address_of, &json!(calls));
    let all = until_rows(folder, 3);
    assert_eq!(all["owed"], json!("42.00"), "{all}");
    assert_eq!(left(folder), json!(3 * million));

    // In the open month a person takes one back: it nets.
    let void = ["correct", "void", "gw-1", "e-1", "--reason", "a test call", "--by", "carol"];
    let dry = json_of(folder, "dry", &[&void[..], &["--dry-run", "--json"]].concat());
    assert_eq!(
        (&dry["sent"], &dry["corrections"][0]["points"]),
        (&json!(0), &json!("1000000.000000"))
    );
    assert_eq!(json_of(folder, "void", &[&void[..], &["--json"]].concat())["sent"], json!(1));
    let all = until_rows(folder, 4);
    assert_eq!(
        all,
        json!({"n": 4, "input": 6 * million, "calls": 2, "owed": "36.00", "paid": "5.94"})
    );
    assert_eq!(left(folder), json!(4 * million));
    let said = books.refused(3, &void);
    assert!(said.contains("taken back already"), "{said}");
    let unknown = ["correct", "void", "gw-1", "e-9", "--reason", "x", "--by", "carol"];
    assert!(books.refused(3, &unknown).contains("not among the accepted"));
    assert!(process.terminate(PATIENCE).success());
    verified(folder);
    let closed = books.close("2026-10", "lin");
    assert_eq!(closed["state"], json!("closed"), "{closed}");
    let october = books.statement("zhipu", "2026-10");
    assert_eq!(october["statement"]["total"]["net"], json!("36.00"), "{october}");

    // Of the closed month the gateway voids one and replaces the other, in both encodings.
    let (process, address_of) = up(folder, "up-2");
    let void = json!({"source": "gw-1", "id": "fix-2", "account": "A1", "completed_at": AT,
                      "corrects": {"source": "gw-1", "id": "e-2"}});
    let mut replace = event("fix-3", million);
    replace["corrects"] = json!({"source": "gw-1", "id": "e-3", "kind": "replace"});
    let mut stray = event("fix-4", million);
    stray["corrects"] = json!({"source": "gw-1", "id": "e-9"});
    send(&address_of, &json!([void, replace, stray]));
    eventually("three corrections in suspense", PATIENCE, || {
        let query = "SELECT count(*) AS n FROM suspense WHERE reason = 'correction_pending'";
        (sql(folder, query)[0]["n"] == json!(3)).then_some(())
    });
    let apply = ["correct", "apply", "--by", "dave", "--json"];
    let told = json_of(folder, "apply", &apply);
    assert_eq!(told["sent"], json!(2), "{told}");
    // Again at once, and the process dies.
    json_of(folder, "apply-again", &apply);
    process.kill();
    let (mut process, _) = up(folder, "up-3");
    let all = until_rows(folder, 7);
    assert_eq!(all, json!({"n": 7, "input": million, "calls": 1, "owed": "6.00", "paid": "0.99"}));
    assert_eq!(left(folder), json!(9 * million));
    assert_eq!(json_of(folder, "apply-nothing", &apply)["sent"], json!(0));
    let statuses = sql(folder, "SELECT id, status FROM suspense ORDER BY id");
    let status = |id: &str, status: &str| json!({"id": id, "status": status});
    let expected =
        [status("fix-2", "recycled"), status("fix-3", "recycled"), status("fix-4", "open")];
    assert_eq!(statuses, json!(expected));
    let replaced =
        sql(folder, "SELECT correction, corrects_id, input FROM usage_events WHERE id = 'fix-3'");
    let expected = json!([{"correction": "replacement", "corrects_id": "e-3", "input": million}]);
    assert_eq!(replaced, expected);
    let margin = sql(
        folder,
        "SELECT events, CAST(wholesale_amount AS DECIMAL(38,2)) AS owed FROM settlement.margin_by_model",
    );
    assert_eq!(margin, json!([{"events": 1, "owed": "6.00"}]));
    assert!(process.terminate(PATIENCE).success());

    // November has it as an adjustment of October, whose statement stays.
    let november = books.statement("zhipu", "2026-11");
    let units = (-5 * i64::try_from(million).unwrap()).to_string();
    assert_eq!(
        adjustments(&november),
        [json!(["correction_event", "2026-10", units, "-30.00"])],
        "{november}"
    );
    assert_eq!(books.statement("zhipu", "2026-10")["statement"], october["statement"]);
    // Walked down: what was taken back, and what counts in its stead.
    let row = &november["statement"]["sections"][0]["adjustments"][0];
    let id = row["id"].as_str().unwrap();
    let events =
        ["settle", "events", "--vendor", "zhipu", "--period", "2026-11", "--adjustment", id];
    let events = books.json(&events);
    let events = events.as_array().unwrap().iter();
    let of_rows: Vec<i64> = events
        .map(|event| event["units"].to_string().trim_matches('"').parse::<i64>().unwrap())
        .collect();
    assert!(of_rows.iter().any(|units| *units < 0), "{of_rows:?}");
    assert_eq!(of_rows.iter().sum::<i64>().to_string(), units);
    verified(folder);
    let counted = sql(
        folder,
        "SELECT sum(corrected) AS done, sum(corrections_refused) AS refused FROM system.partitions",
    );
    assert_eq!(counted, json!([{"done": 3, "refused": 0}]));
    // What replaced an event can be taken back itself.
    let last = ["correct", "void", "gw-1", "fix-3", "--reason", "wrong too", "--by", "carol"];
    books.done(&last);
    books.done(&["aggregate", "--until-end"]);
    assert_eq!(until_rows(folder, 8)["owed"], json!("0.00"));
    verified(folder);
}
