//! A query reads one version of a table, whatever is committed meanwhile.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use tally_schemas::{Table, TokenClass};

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
