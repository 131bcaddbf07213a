//! What a view looks like to a SQL client, and that filters reach the tables through it.

use arrow::datatypes::DataType;
use tally_query::{PgServer, View, render_table};

use crate::books::settled;
use crate::feed::{engine_over, random, rows};
use crate::psql::psql;

/// The type with plain strings.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        other => other.clone(),
    }
}

#[tokio::test]
async fn a_view_has_the_columns_that_it_declares() {
    let feed = settled().await;
    let engine = engine_over(&feed.store).await;
    for view in View::all() {
        let sql = format!("SELECT * FROM {}.{}", view.schema, view.name);
        let answer = engine.run(&sql, None, engine.limits()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let found: Vec<(String, DataType)> = answer
            .schema
            .fields()
            .iter()
            .map(|field| (field.name().clone(), plain(field.data_type())))
            .collect();
        let declared: Vec<(String, DataType)> = view
            .columns
            .iter()
            .map(|column| (column.name.to_owned(), column.column_type.arrow()))
            .collect();
        assert_eq!(found, declared, "{sql}");
        let (_, batches) = answer.collect().await.unwrap();
        assert!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>() > 0, "{sql} is empty");
        for (position, column) in view.columns.iter().enumerate().filter(|(_, c)| !c.nullable) {
            let nulls: usize = batches.iter().map(|b| b.column(position).null_count()).sum();
            assert_eq!(nulls, 0, "{sql}: {} is null", column.name);
        }
    }
}

#[tokio::test]
async fn an_empty_store_has_empty_views() {
    let store: std::sync::Arc<dyn object_store::ObjectStore> =
        std::sync::Arc::new(object_store::memory::InMemory::new());
    let engine = engine_over(&store).await;
    for view in View::all() {
        let sql = format!("SELECT count(*) AS n FROM {}.{}", view.schema, view.name);
        assert_eq!(rows(&engine, &sql).await[0]["n"], 0, "{sql}");
    }
}

#[tokio::test]
async fn clients_see_views_with_comments() {
    let feed = settled().await;
    let engine = engine_over(&feed.store).await;
    for view in View::all() {
        let sql = format!(
            "SELECT count(*) AS n, count(comment) AS comments FROM system.columns \
             WHERE table_schema = '{}' AND table_name = '{}'",
            view.schema, view.name
        );
        let found = &rows(&engine, &sql).await[0];
        assert_eq!((&found["n"], &found["comments"]), (&found["n"], &found["n"]), "{sql}");
        assert_eq!(found["n"], view.columns.len(), "{sql}");
    }
    let found = rows(
        &engine,
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'quota'",
    )
    .await;
    assert!(found.iter().all(|row| row["table_type"] == "VIEW"), "{found:?}");
    let found = rows(
        &engine,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'margin_by_month'",
    )
    .await;
    assert_eq!(found.len(), 7);
    let found = rows(
        &engine,
        "SELECT definition FROM information_schema.views WHERE table_name = 'overrun_by_cause'",
    )
    .await;
    assert!(found[0]["definition"].as_str().unwrap().contains("kind = 'overrun'"));

    let server = PgServer::bind(engine.clone(), "127.0.0.1:0").await.unwrap();
    for (command, expected) in [
        ("\\dv quota.*", "exhaustion_forecast"),
        ("\\dv+ settlement.*", "which packages lose money"),
        ("\\d+ quota.balance", "Liability: paid - earned - breakage"),
        ("\\d+ quota.balance", "FROM quota_ledger WHERE bucket IS NOT NULL"),
        ("\\d+ settlement.margin", "Region: the province"),
        ("\\d+ settlement.suspense_aging", "over 30 days"),
        ("\\d+ settlement.statement_lines", "Units x price, or the shared revenue, exactly"),
        ("\\d+ settlement.contracts", "What the vendor's bill may differ by without a dispute"),
        ("\\dn", "settlement"),
        ("SELECT remaining, unearned FROM quota.balance WHERE account = 'A'", "8400000.000000"),
        (
            "SELECT margin FROM settlement.margin_by_month WHERE month = '2026-10-01'",
            "-30.060000000000",
        ),
    ] {
        let (ok, text) = psql(&server, &[command]).await;
        assert!(ok && text.contains(expected), "{command}: {text}");
    }
}

/// Files of the scans of a query, and its optimized plan.
async fn planned(engine: &tally_query::QueryEngine, sql: &str) -> (usize, String) {
    let explain = |verbose: &str| {
        let sql = format!("EXPLAIN {verbose} {sql}");
        async move {
            let answer = engine.run(&sql, None, engine.limits()).await.unwrap();
            let (schema, batches) = answer.collect().await.unwrap();
            render_table(schema, &batches).unwrap()
        }
    };
    let physical = explain("VERBOSE").await;
    let scans = physical.lines().filter(|line| line.contains("DataSourceExec"));
    let files = scans.map(|line| line.matches(".parquet").count()).max().unwrap_or(0);
    let plan = rows(engine, &format!("EXPLAIN {sql}")).await;
    let logical = plan.iter().find(|row| row["plan_type"] == "logical_plan").unwrap();
    (files, logical["plan"].as_str().unwrap().to_owned())
}

/// What a plan filters, and what its scans are told. (The rest may know what day it is.)
fn filtered(plan: &str) -> String {
    let lines = plan.lines().map(str::trim);
    let lines = lines.filter(|line| line.starts_with("Filter") || line.starts_with("TableScan"));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn filters_reach_the_files_through_views() {
    let feed = random().await;
    let engine = engine_over(&feed.store).await;
    let mut plans = String::new();
    for (view, filter) in [
        ("settlement.margin", "day = DATE '2026-10-28'"),
        ("settlement.margin_by_package", "month = DATE '2026-11-01'"),
        ("settlement.margin_by_event", "day = DATE '2026-10-28' AND account = 'R007'"),
        ("quota.burn_rate", "day >= DATE '2026-11-04'"),
        ("quota.burn_rate_by_hour", "day = DATE '2026-11-04' AND account = 'R007'"),
        ("quota.overrun_by_cause", "day = DATE '2026-10-26'"),
        ("settlement.suspense_aging", "day = DATE '2026-10-26'"),
    ] {
        let (all, _) = planned(&engine, &format!("SELECT * FROM {view}")).await;
        let sql = format!("SELECT * FROM {view} WHERE {filter}");
        let (some, plan) = planned(&engine, &sql).await;
        assert!(some > 0 && some < all, "{sql}: {some} of {all} files\n{plan}");
        plans.push_str(&format!("-- {sql}\n{}\n\n", filtered(&plan)));
    }
    // Accounts are in every file here: the filter must still be told to the scans, but for one that
    // goes by ids, and for those of the partitions and the budgets.
    for (view, untold) in [
        ("balance", 0),
        ("account_balance", 0),
        ("exhaustion_forecast", 0),
        ("alerts_outstanding", 3),
    ] {
        let sql = format!("SELECT * FROM quota.{view} WHERE account = 'R007'");
        let (_, plan) = planned(&engine, &sql).await;
        let scans = plan.lines().filter(|line| line.contains("TableScan"));
        let found = scans.filter(|line| !line.contains("account = Utf8View(\"R007\")")).count();
        assert_eq!(found, untold, "{sql}\n{plan}");
        plans.push_str(&format!("-- {sql}\n{}\n\n", filtered(&plan)));
    }
    insta::assert_snapshot!(plans);
}
