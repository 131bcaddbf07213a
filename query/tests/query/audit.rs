//! The audit log, as auditors read it and as `tally verify` checks it.

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tally_query::{EngineOptions, QueryEngine, VerifyOptions, verify};
use tally_tables::TableSet;

use std::sync::Arc;

use crate::canaries::{OWN, caller, world};
use crate::world::{TOPIC, World};

async fn audited(world: &World) -> QueryEngine {
    let options = EngineOptions {
        store: Arc::clone(&world.store),
        tables: Arc::new(TableSet::open(Arc::clone(&world.store))),
        topic: TOPIC.to_owned(),
        budgets: Default::default(),
        config: World::config(),
        settings: Vec::new(),
    };
    QueryEngine::open(options).await.unwrap().with_audit_log()
}

async fn rows(engine: &QueryEngine, sql: &str) -> Vec<String> {
    let answer = engine.run(sql, None, engine.limits()).await.unwrap();
    let (_, batches) = answer.collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| {
                arrow::util::display::ArrayFormatter::try_new(column, &Default::default()).unwrap()
            })
            .collect();
        for row in 0..batch.num_rows() {
            rows.push(
                columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"),
            );
        }
    }
    rows
}

#[tokio::test]
async fn who_ran_what_is_read_with_sql() {
    let world = world(true).await;
    let engine = audited(&world).await;
    let vendor = caller(&format!("vendor:{OWN}"));
    for (who, sql) in [
        (&vendor, "SELECT vendor, count(*) FROM usage_events GROUP BY vendor"),
        (&vendor, "SELECT * FROM suspense"),
        (&vendor, "DROP TABLE usage_events"),
        (&vendor, "SELECT 1 / 0"),
        (&caller("gateway"), "SELECT 1"),
        (&caller("finance"), "SELECT id FROM usage_events LIMIT 7"),
    ] {
        if let Ok(answer) = engine.run_as(who, sql, None, engine.limits()).await {
            drop(answer.collect().await);
        }
    }
    // One whose reader goes away after the first rows.
    let mut answer = engine
        .run_as(
            &vendor,
            "SELECT a.model FROM usage_events a, usage_events b",
            None,
            engine.limits(),
        )
        .await
        .unwrap();
    let first = answer.rows.try_next().await.unwrap().unwrap();
    drop(answer);
    assert!(engine.finish_audit_log().await);
    let told = rows(
        &engine,
        "SELECT role, channel, action, outcome, row_count, statement FROM system.audit_log WHERE outcome <> 'abandoned' ORDER BY statement",
    )
    .await;
    assert_eq!(
        told,
        [
            "vendor:deepseek|http|statement|invalid|0|DROP TABLE usage_events",
            "vendor:deepseek|http|statement|invalid|0|SELECT * FROM suspense",
            "gateway|http|statement|denied|0|SELECT 1",
            "vendor:deepseek|http|statement|invalid|0|SELECT 1 / 0",
            "finance|http|statement|ok|7|SELECT id FROM usage_events LIMIT 7",
            "vendor:deepseek|http|statement|ok|1|SELECT vendor, count(*) FROM usage_events GROUP BY vendor",
        ]
    );
    // The end of a query that is given up comes a moment later.
    for _ in 0..200 {
        assert!(engine.finish_audit_log().await);
        let sql = "SELECT row_count FROM system.audit_log WHERE outcome = 'abandoned'";
        if let Some(handed_out) = rows(&engine, sql).await.first() {
            assert!(handed_out.parse::<usize>().unwrap() >= first.num_rows());
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let all = rows(&engine, "SELECT count(*), count(statement_sha256), sum(lost_before) FROM system.audit_log WHERE day >= DATE '2020-01-01'").await;
    assert_eq!(all, ["7|7|0"]);
    let none = rows(&engine, "SELECT count(*) FROM system.audit_log WHERE day = DATE '2020-01-01'");
    assert_eq!(none.await, ["0"]);
    // Who may not see it does not, and the program's own questions are not in it.
    let error = engine.run_as(&vendor, "SELECT * FROM system.audit_log", None, engine.limits());
    assert!(error.await.unwrap_err().to_string().contains("not found"));
}

#[tokio::test]
async fn verify_finds_what_was_done_to_the_audit_log() {
    let world = world(false).await;
    let mut batches = Vec::new();
    for round in 0..2 {
        let engine = audited(&world).await;
        for n in 0..3 {
            let sql = format!("SELECT {round}{n}");
            let answer = engine.run_as(&caller("finance"), &sql, None, engine.limits()).await;
            answer.unwrap().collect().await.unwrap();
            assert!(engine.finish_audit_log().await);
        }
    }
    let listed: Vec<_> = world.store.list(Some(&Path::from("audit"))).try_collect().await.unwrap();
    for object in listed {
        let bytes = world.store.get(&object.location).await.unwrap().bytes().await.unwrap();
        batches.push((object.location, bytes));
    }
    assert_eq!(batches.len(), 6);
    let findings = async || {
        let engine = audited(&world).await;
        let report = verify(&engine, &VerifyOptions::default()).await.unwrap();
        let check = report.checks.into_iter().find(|check| check.invariant == "audit").unwrap();
        assert_eq!(check.ok, check.findings.is_empty());
        check.findings
    };
    assert_eq!(findings().await, Vec::<String>::new());
    let mut noticed = 0;
    for (path, bytes) in &batches {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        world.store.put(path, text.replace("finance", "nobodys").into()).await.unwrap();
        noticed += usize::from(!findings().await.is_empty());
        world.store.delete(path).await.unwrap();
        noticed += usize::from(!findings().await.is_empty());
        world.store.put(path, bytes.clone().into()).await.unwrap();
    }
    // All but those of the last batch of the last chain, which nothing comes after.
    assert_eq!(noticed, 10);
    assert_eq!(findings().await, Vec::<String>::new());
}
