//! temp
mod support;
use std::sync::Arc;
use support::*;
use tally_schemas::Table;
use tally_tables::*;
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3() {
    let Ok(url) = std::env::var("TALLY_S3_URL") else { return };
    let store = tally_aggregate::open_store(&url).unwrap();
    let settings = JanitorSettings { checkpoint_commits: 5, merge_files_min: 4, ledger_entries_min: 3, ..JanitorSettings::default() };
    let ledger = Ledger::new(&store, 2);
    let mut publisher = Publisher::new(Arc::clone(&store), TOPIC, 2);
    let mut spent = std::time::Duration::ZERO;
    for n in 0..40 {
        for p in 0..2 { ledger.commit(p, n, &Table::ALL).await; }
        let start = std::time::Instant::now();
        publisher.publish_committed().await.unwrap();
        spent += start.elapsed();
    }
    println!("publish {:?} a round", spent / 40);
    let mut janitor = Janitor::new(Arc::clone(&store), TOPIC, 2);
    println!("{}", janitor.run_once(wall_ms(), &settings).await);
    let before = values(&store, Table::UsageEvents, "input").await;
    for day in 1..4 {
        let start = std::time::Instant::now();
        println!("{} {:?}", janitor.run_once(wall_ms() + day * 2 * 86_400_000, &settings).await, start.elapsed());
    }
    assert_eq!(values(&store, Table::UsageEvents, "input").await, before);
    assert_eq!(before.len(), 240);
    let set = TableSet::open(Arc::clone(&store));
    let start = std::time::Instant::now();
    set.pin(None).await.unwrap();
    println!("pin fresh {:?}", start.elapsed());
    let start = std::time::Instant::now();
    set.pin(None).await.unwrap();
    println!("pin again {:?}", start.elapsed());
}
