//! What queries answer: equal to sums over the events themselves, from few files.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use object_store::ObjectStore;
use tally_query::{ErrorKind, QueryEngine, QueryError, parse_as_of, render_table};
use tally_reference::{FileOrigin, NewFiles, ReferenceKind, ReferenceStore, StoredFile};
use tally_schemas::TokenClass;

use crate::world::{DAYS, EPOCHS, PARTITIONS, World};

async fn text(engine: &QueryEngine, sql: &str) -> Result<String, QueryError> {
    let (schema, batches) = engine.run(sql, None, engine.limits()).await?.collect().await?;
    render_table(schema, &batches)
}

async fn integer(engine: &QueryEngine, sql: &str) -> i64 {
    let (_, batches) =
        engine.run(sql, None, engine.limits()).await.unwrap().collect().await.unwrap();
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Number of files that a query scans. Only the verbose plan names them all, once in each form.
async fn files(engine: &QueryEngine, sql: &str) -> usize {
    let plans = text(engine, &format!("EXPLAIN VERBOSE {sql}")).await.unwrap();
    let scans = plans.lines().filter(|line| line.contains("DataSourceExec"));
    scans.map(|line| line.matches(".parquet").count()).max().unwrap_or(0)
}

#[tokio::test]
async fn sums_by_model_equal_the_events() {
    let world = World::new().await;
    let engine = world.engine().await;
    let answer = engine
        .run(
            "SELECT model, sum(input), sum(output), count(*) FROM usage_events GROUP BY model ORDER BY model",
            None,
            engine.limits(),
        )
        .await
        .unwrap();
    let (_, batches) = answer.collect().await.unwrap();
    let mut found = BTreeMap::new();
    for batch in &batches {
        let models =
            arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
        for row in 0..batch.num_rows() {
            let sum = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
            found.insert(models.as_string::<i32>().value(row).to_owned(), [sum(1), sum(2), sum(3)]);
        }
    }
    let mut expected: BTreeMap<String, [i64; 3]> = BTreeMap::new();
    for event in &world.events {
        let sums = expected.entry(event.model.clone()).or_default();
        sums[0] += i64::try_from(event.counts.get(TokenClass::Input)).unwrap();
        sums[1] += i64::try_from(event.counts.get(TokenClass::Output)).unwrap();
        sums[2] += 1;
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_day_reads_only_its_files_and_counts_exactly() {
    let world = World::new().await;
    let engine = world.engine().await;
    let all = usize::try_from(u64::from(PARTITIONS) * EPOCHS).unwrap() * DAYS.len();
    assert_eq!(files(&engine, "SELECT sum(input) FROM usage_events").await, all);
    for day in DAYS {
        let by_day = format!("FROM usage_events WHERE day = DATE '{day}'");
        assert_eq!(files(&engine, &format!("SELECT sum(input) {by_day}")).await, all / DAYS.len());
        let expected = world.events.iter().filter(|event| event.day == day).count();
        let found = integer(&engine, &format!("SELECT count(*) {by_day}")).await;
        assert_eq!(usize::try_from(found).unwrap(), expected);
        let odd = format!(
            "SELECT count(*) FROM usage_events WHERE date_part('day', day) = {}",
            &day[8..]
        );
        assert_eq!(usize::try_from(integer(&engine, &odd).await).unwrap(), expected, "{odd}");
    }
    assert_eq!(files(&engine, "SELECT * FROM usage_events WHERE day > DATE '2027-01-01'").await, 0);
    assert_eq!(
        integer(&engine, "SELECT count(*) FROM usage_events WHERE day > DATE '2027-01-01'").await,
        0
    );
}

#[tokio::test]
async fn an_account_reads_only_the_epochs_that_may_have_it() {
    let world = World::new().await;
    let engine = world.engine().await;
    let event = &world.events[0];
    let filter = format!("FROM usage_events WHERE account = '{}'", event.account);
    let files = files(&engine, &format!("SELECT sum(input) {filter}")).await;
    assert!(files <= usize::try_from(PARTITIONS).unwrap() * DAYS.len(), "{files} files");
    let expected = world.events.iter().filter(|other| other.account == event.account).count();
    assert_eq!(
        usize::try_from(integer(&engine, &format!("SELECT count(*) {filter}")).await).unwrap(),
        expected
    );
    let both = format!(
        "SELECT count(*) {filter} AND day = DATE '{}' AND completed_at > TIMESTAMP '2000-01-01'",
        event.day
    );
    let expected = world
        .events
        .iter()
        .filter(|other| other.account == event.account && other.day == event.day)
        .count();
    assert_eq!(usize::try_from(integer(&engine, &both).await).unwrap(), expected);
}

#[tokio::test]
async fn a_count_needs_no_file() {
    let world = World::new().await;
    let engine = world.engine().await;
    let plan =
        text(&engine, "EXPLAIN SELECT count(*), min(kafka_offset), max(day) FROM usage_events")
            .await
            .unwrap();
    assert!(plan.contains("PlaceholderRowExec"), "{plan}");
    assert!(!plan.contains(".parquet"), "{plan}");
    let expected = i64::try_from(world.events.len()).unwrap();
    assert_eq!(integer(&engine, "SELECT count(*) FROM usage_events").await, expected);
}

#[tokio::test]
async fn columns_come_in_the_order_of_the_table_with_day_in_its_place() {
    let world = World::new().await;
    let engine = world.engine().await;
    let answer =
        engine.run("SELECT * FROM usage_events LIMIT 1", None, engine.limits()).await.unwrap();
    let names: Vec<String> =
        answer.schema.fields().iter().map(|field| field.name().clone()).collect();
    let expected: Vec<String> = tally_schemas::Table::UsageEvents
        .columns()
        .iter()
        .map(|column| column.name.to_owned())
        .collect();
    assert_eq!(names, expected);
    let (_, batches) = answer.collect().await.unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
}

#[tokio::test]
async fn overflow_is_an_error_and_never_a_number() {
    let world = World::new().await;
    let engine = world.engine().await;
    for sql in [
        "SELECT sum(x) FROM (VALUES (9223372036854775807), (1)) AS t(x)",
        "SELECT k, sum(x) FROM (VALUES (1, 9223372036854775807), (1, 1), (2, 5)) AS t(k, x) GROUP BY k",
        "SELECT sum(x) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (9223372036854775807), (9223372036854775806)) AS t(x)",
        "SELECT sum(CAST(x AS DECIMAL(38,12))) FROM (VALUES ('90000000000000000000000000'), ('90000000000000000000000000')) AS t(x)",
        "SELECT max(kafka_offset) * 9223372036854775807 * 2 FROM usage_events",
        "SELECT kafka_offset + 9223372036854775807 FROM usage_events WHERE kafka_offset > 5",
        "SELECT x - 10 FROM (VALUES (CAST('-9223372036854775800' AS BIGINT))) AS t(x)",
        "SELECT -x FROM (VALUES (CAST('-9223372036854775808' AS BIGINT))) AS t(x)",
        "SELECT count(*) FROM usage_events WHERE (kafka_offset + 1) * 9223372036854775807 > 0",
    ] {
        let error = text(&engine, sql).await.expect_err(sql);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
    }
    assert_eq!(
        integer(&engine, "SELECT sum(x) FROM (VALUES (9223372036854775807), (1), (-1)) AS t(x)")
            .await,
        i64::MAX
    );
    assert_eq!(integer(&engine, "SELECT 2 * 3 + 4 - 5").await, 5);
    // What is never null stays so, under a union and an aggregate too.
    let both =
        "SELECT input AS x FROM usage_events UNION ALL SELECT -(input + 0) FROM usage_events";
    assert_eq!(integer(&engine, &format!("SELECT sum(x) FROM ({both})")).await, 0);
    assert_eq!(
        integer(&engine, "SELECT sum(DISTINCT x) FROM (VALUES (1), (1), (2)) AS t(x)").await,
        3
    );
}

/// Refused while it is planned: no row is read.
#[tokio::test]
async fn days_are_of_instants_and_not_of_texts() {
    let world = World::new().await;
    let engine = world.engine().await;
    for sql in [
        "SELECT shanghai_day(account) FROM usage_events LIMIT 0",
        "SELECT count(*) FROM usage_events WHERE account = 'nobody' AND shanghai_month(account) = DATE '2026-11-01'",
        "SELECT shanghai_day('2026-11-22')",
    ] {
        let error = text(&engine, sql).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error}");
        assert!(error.to_string().contains("takes a timestamp or a date"), "{sql}: {error}");
    }
    let sql = "SELECT shanghai_day(TIMESTAMP '2026-11-22T00:00:00+08:00') AS day";
    let day = text(&engine, sql).await.unwrap();
    assert!(day.contains("2026-11-22"), "{day}");
}

#[tokio::test]
async fn an_old_version_answers_as_it_did() {
    let world = World::new().await;
    let engine = world.engine().await;
    let empty = engine
        .run("SELECT count(*) FROM usage_events", Some(parse_as_of("0").unwrap()), engine.limits())
        .await
        .unwrap();
    let (_, batches) = empty.collect().await.unwrap();
    let then = batches[0].column(0).as_primitive::<Int64Type>().value(0);
    let now = integer(&engine, "SELECT count(*) FROM usage_events").await;
    assert!(then < now, "{then} then, {now} now");
}

#[tokio::test]
async fn reference_data_is_read_with_who_approved_it() {
    let world = World::new().await;
    let references = ReferenceStore::new(Arc::clone(&world.store) as Arc<dyn ObjectStore>);
    let text_of = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,valid_from\nx,wholesale,acme,acme-1,input,token,CNY,1234567,2026-01-01\n";
    let file = StoredFile { name: "x.csv".to_owned(), text: text_of.to_owned() };
    let (kind, origin) = (ReferenceKind::Price, FileOrigin::Written);
    let new = NewFiles { kind, files: vec![file], origin };
    references.import(&new, "alice", 1_795_000_000_000).await.unwrap();
    let engine = world.engine().await;
    let prices = "SELECT count(*) FROM settlement.price_book";
    let shipped = integer(&engine, prices).await;
    // A candidate is no price.
    references.approve(kind, 1, "bob", 1_795_000_000_001).await.unwrap();
    assert_eq!(integer(&engine, prices).await, shipped + 1);
    let row = text(
        &engine,
        "SELECT CAST(price_per_million AS VARCHAR) || ' ' || currency || ' ' || imported_by || ' ' || approved_by || ' ' || CAST(version AS VARCHAR) || ' ' || CAST(date_part('year', approved_at) AS VARCHAR) FROM settlement.price_book WHERE price_id = 'x'",
    )
    .await
    .unwrap();
    assert!(row.contains("1.234567 CNY alice bob 1 2026"), "{row}");
    // The announcement that was taken back has two versions; one took the other's place.
    let announced =
        "SELECT count(*) FROM model_aliases WHERE alias_id = 'deepseek-v4-pro.as-flash'";
    assert_eq!(integer(&engine, announced).await, 2);
    let standing = format!("{announced} AND superseded_at IS NULL AND valid_to = valid_from");
    assert_eq!(integer(&engine, &standing).await, 1);
    for (query, expected) in [
        (
            "SELECT count(*) FROM calendars WHERE calendar_id = 'cn-workdays' AND holiday = DATE '2026-10-01'",
            1,
        ),
        (
            "SELECT count(*) FROM packages WHERE id = 'telecom-10m' AND price = 9.90 AND allowance = 10000000",
            1,
        ),
        (
            "SELECT count(*) FROM packages WHERE kind = 'payg' AND price = 4 AND id = 'sh-telecom-payg'",
            1,
        ),
        ("SELECT count(*) FROM settlement.contracts WHERE approved_by IS NULL", 0),
        (
            "SELECT count(*) FROM system.columns WHERE table_schema = 'settlement' AND table_name = 'price_book' AND comment <> ''",
            32,
        ),
    ] {
        assert_eq!(integer(&engine, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn system_tables_show_ledger_tables_comments_and_settings() {
    let world = World::new().await;
    let engine = world.engine().await;
    assert_eq!(
        integer(&engine, "SELECT count(*) FROM system.partitions").await,
        i64::from(PARTITIONS)
    );
    let epochs = i64::try_from((EPOCHS + 1) * u64::from(PARTITIONS)).unwrap();
    assert_eq!(integer(&engine, "SELECT count(*) FROM system.epochs").await, epochs);
    assert_eq!(
        integer(&engine, "SELECT rows FROM system.tables WHERE name = 'usage_events'").await,
        i64::try_from(world.events.len()).unwrap()
    );
    let sql = "SELECT count(*) FROM system.columns WHERE comment IS NULL OR comment = ''";
    assert_eq!(integer(&engine, sql).await, 0);
    let origin =
        text(&engine, "SELECT origin FROM system.config WHERE key = 'query.rows_max'").await;
    assert!(origin.unwrap().contains("default"));
    let shown = text(&engine, "SHOW TABLES").await.unwrap();
    assert!(shown.contains("usage_by_model") && shown.contains("partitions"), "{shown}");
    let columns = text(
        &engine,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'suspense'",
    )
    .await
    .unwrap();
    assert!(columns.contains("subreason"), "{columns}");
}

#[tokio::test]
async fn every_allowed_function_exists() {
    // These are syntax, or rewritten before planning.
    const SYNTAX: [&str; 19] = [
        "cast",
        "try_cast",
        "extract",
        "position",
        "current_timestamp",
        "current_role",
        "current_user",
        "current_catalog",
        "user",
        "unnest",
        "mod",
        "age",
        "array_lower",
        "array_upper",
        "mean",
        "sign",
        "length",
        "overlay",
        "trim",
    ];
    let world = World::new().await;
    let engine = world.engine().await;
    let mut missing = Vec::new();
    for name in tally_query::allowed_functions().filter(|name| !SYNTAX.contains(name)) {
        let mut known = false;
        for sql in [format!("SELECT {name}()"), format!("SELECT {name}(1) OVER ()")] {
            known |= match text(&engine, &sql).await {
                Ok(_) => true,
                Err(error) => !error.to_string().to_lowercase().contains("invalid function"),
            };
        }
        if !known {
            missing.push(name);
        }
    }
    assert_eq!(missing, Vec::<&str>::new());
}
