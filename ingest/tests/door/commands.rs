//! Account commands.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::client::{Bench, JSON, Reply};

async fn command(bench: &Bench, account: &str, body: impl ToString) -> Reply {
    let request = Request::post(format!("/v1/accounts/{account}/commands"))
        .header("content-type", JSON)
        .body(Body::from(body.to_string()))
        .unwrap();
    bench.send(request).await
}

#[tokio::test]
async fn a_command_goes_to_the_log_under_its_account() {
    let bench = Bench::new();
    let body = json!({"command": "purchase", "id": "c-1", "at": "2026-11-22T14:22:37+08:00",
                      "package": "sh-5y", "quantity": 1});
    let reply = command(&bench, "A%201", &body).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.json()["id"], "c-1");
    let singles = bench.log.singles();
    let mut expected = body;
    expected["account"] = json!("A 1");
    assert_eq!(singles, [expected]);
}

#[tokio::test]
async fn every_defect_of_a_command_is_named_at_once() {
    let bench = Bench::new();
    let body = json!({"command": "Buy!", "account": "A2", "at": 1.5});
    let reply = command(&bench, "13800138000", &body).await;
    reply.assert_problem(422, "invalid_command");
    let errors = reply.json()["errors"].clone();
    let codes: Vec<&str> =
        errors.as_array().unwrap().iter().map(|e| e["code"].as_str().unwrap()).collect();
    let expected =
        ["phone_number", "invalid_command", "missing_id", "invalid_time", "account_mismatch"];
    assert_eq!(codes, expected);
    let long = "x".repeat(300);
    let good = json!({"command": "top_up", "id": "c", "at": 1});
    command(&bench, &long, &good).await.assert_problem(422, "invalid_command");
    // The clock, and by which prices is rated, come from who owns a partition, and from nobody
    // else; suspense is not of gateways.
    for name in ["tick", "reference", "control_total", "recycle", "write_off"] {
        let forged = json!({"command": name, "id": "c", "at": 1, "version": "9-8f14@1"});
        let reply = command(&bench, "A1", &forged).await;
        reply.assert_problem(422, "invalid_command");
        assert_eq!(reply.json()["errors"][0]["field"], "command", "{name}");
    }
    command(&bench, "A1", "[1]").await.assert_problem(400, "unparseable");
    command(&bench, "A1", " ".repeat(70_000)).await.assert_problem(413, "too_large");
    let form = Request::post("/v1/accounts/A1/commands").body(Body::empty()).unwrap();
    bench.send(form).await.assert_problem(415, "unsupported_media_type");
    assert!(bench.log.records().is_empty());
}
