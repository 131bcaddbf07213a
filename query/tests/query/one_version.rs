//! A query reads one version of every table, whatever is committed meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use tally_schemas::{Table, TokenClass};
use tally_tables::PinnedTable;

use crate::world::{EPOCHS, World};

/// Commits while queries are planned and run.
const COMMITS: u64 = 20;

#[tokio::test]
async fn rows_are_of_the_version_that_the_query_began_with() {
    let world = World::new().await;
    let engine = world.engine().await;
    let sql = "SELECT id FROM usage_events";
    let mut answer = engine.run(sql, None, engine.limits()).await.unwrap();
    let version = answer.pin.get(Table::UsageEvents).unwrap().version;
    let first = answer.rows.try_next().await.unwrap().map_or(0, |batch| batch.num_rows());
    world.add_epoch(EPOCHS, &[(world.events[0].clone(), "later")]).await;
    let rest: Vec<_> = answer.rows.try_collect().await.unwrap();
    let rows = first + rest.iter().map(|batch| batch.num_rows()).sum::<usize>();
    assert_eq!(rows, world.events.len(), "rows of another version");
    // The next query has it.
    let next = engine.run(sql, None, engine.limits()).await.unwrap();
    assert!(next.pin.get(Table::UsageEvents).unwrap().version > version);
    let (_, batches) = next.collect().await.unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), rows + 1);
}

/// Each row is read twice, once with its sign turned: the sum is 0 in any one version, and in no
/// mixture of two.
#[tokio::test]
async fn both_reads_of_a_table_see_the_same_version_while_it_grows() {
    let world = World::new().await;
    let engine = world.engine().await;
    let sql = "SELECT sum(x) FROM (SELECT input AS x FROM usage_events \
               UNION ALL SELECT -(input + 0) FROM usage_events)";
    let mut versions = BTreeSet::new();
    for commit in 0..COMMITS {
        let event = world
            .events
            .iter()
            .find(|event| event.counts.get(TokenClass::Input) > 0)
            .unwrap()
            .clone();
        let id = format!("commit-{commit}");
        let events = [(event, id.as_str())];
        let (answer, ()) = tokio::join!(
            engine.run(sql, None, engine.limits()),
            world.add_epoch(EPOCHS + commit, &events)
        );
        let answer = answer.unwrap();
        versions.insert(answer.pin.get(Table::UsageEvents).unwrap().version);
        let (_, batches) = answer.collect().await.unwrap();
        let sum = batches[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(sum, 0, "with commit {commit} on its way");
    }
    assert!(versions.len() > 2, "queries saw {} versions", versions.len());
}

/// Rows by epoch of partition 0, as the files of a version say in their names.
fn rows_by_epoch(table: &PinnedTable) -> BTreeMap<u64, u64> {
    let mut rows = BTreeMap::new();
    for file in &table.files {
        let (_, place) = file.path.rsplit_once("p0-").unwrap_or_default();
        if let Some((n, _)) = place.split_once('-') {
            *rows.entry(n.parse().unwrap()).or_default() += file.rows.unwrap();
        }
    }
    rows
}

/// Both tables get rows with every commit, one table after the other: a query that looked at one of
/// them again, for a part of its plan, would see more of it than its version has.
#[tokio::test]
async fn a_join_of_tables_that_grow_reads_the_version_of_each_that_was_pinned() {
    let world = World::new().await;
    let engine = world.engine().await;
    let sql = format!(
        "SELECT count(*) AS pairs, \
           (SELECT count(*) FROM usage_events WHERE kafka_partition = 0) AS events, \
           (SELECT count(*) FROM usage_by_model WHERE kafka_partition = 0) AS windows, \
           coalesce(sum(e.input - m.input) - sum(again.input - m.input), 0) \
         FROM usage_events e \
         JOIN usage_by_model m ON m.epoch = e.epoch AND m.kafka_partition = e.kafka_partition \
         JOIN usage_events again ON again.source = e.source AND again.id = e.id \
         WHERE e.kafka_partition = 0 AND e.epoch > {EPOCHS}"
    );
    let mut versions = BTreeSet::new();
    for commit in 0..COMMITS {
        let id = format!("commit-{commit}");
        let events = [(world.events[0].clone(), id.as_str())];
        let (answer, ()) = tokio::join!(
            engine.run(&sql, None, engine.limits()),
            world.add_epoch_with_windows(EPOCHS + commit, &events)
        );
        let answer = answer.unwrap();
        let pinned = |table| answer.pin.get(table).unwrap();
        let (of_events, of_models) = (pinned(Table::UsageEvents), pinned(Table::UsageByModel));
        versions.insert((of_events.version, of_models.version));
        let (events, models) = (rows_by_epoch(&of_events), rows_by_epoch(&of_models));
        let joined = events.range(EPOCHS + 1..);
        let pairs: u64 = joined.map(|(n, rows)| rows * models.get(n).copied().unwrap_or(0)).sum();
        let expected = [pairs, events.values().sum(), models.values().sum(), 0];
        let pin = Arc::clone(&answer.pin);
        let (_, batches) = answer.collect().await.unwrap();
        let numbers = |batch: &RecordBatch| -> Vec<u64> {
            let column = |n| batch.column(n).as_primitive::<Int64Type>().value(0);
            (0..4).map(|n| column(n).cast_unsigned()).collect()
        };
        assert_eq!(numbers(&batches[0]), expected, "with commit {commit} on its way");
        // The same once more, though both tables have grown since.
        let again = engine.run_on(pin, &sql, engine.limits()).await.unwrap();
        let (_, batches) = again.collect().await.unwrap();
        assert_eq!(numbers(&batches[0]), expected, "after commit {commit}");
    }
    assert!(versions.len() > 2, "queries saw {} pairs of versions", versions.len());
}
