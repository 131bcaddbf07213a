//! The aggregate role as it is in `tally aggregate --until-end`, without SQL and Delta, so that
//! the stream can be built in release mode within minutes. Prints DRAINED when the last epoch is
//! committed to the ledger.
//!
//! `stream BOOTSTRAP TOPIC STORE`; settings by `TALLY_…` as everywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use tally_aggregate::{Aggregator, Extent, Surroundings, SystemEdge, open_store};
use tally_log::{EventLog, KafkaLog, KafkaLogConfig};
use tally_schemas::Config;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, store] = arguments.as_slice() else {
        return Err("usage: stream BOOTSTRAP TOPIC STORE".into());
    };
    let (config, _) = Config::load(None, &[])?;
    let mut kafka = KafkaLogConfig::new(bootstrap, topic, &format!("bench-{}", std::process::id()));
    kafka.options = BTreeMap::new();
    let log: Arc<dyn EventLog> = Arc::new(KafkaLog::open(kafka)?);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let surroundings = Surroundings { store: open_store(store)?, edge: Arc::new(SystemEdge) };
    let aggregator = Aggregator::new(
        log,
        surroundings,
        config.aggregate,
        runtime.handle().clone(),
        CancellationToken::new(),
        Extent::UntilEnd,
    )?;
    aggregator.run()?;
    let counters = aggregator.status().counters();
    println!(
        "DRAINED {{\"accepted\": {}, \"duplicates\": {}, \"commits\": {}}}",
        counters.accepted.load(std::sync::atomic::Ordering::Relaxed),
        counters.duplicates.load(std::sync::atomic::Ordering::Relaxed),
        counters.commits.load(std::sync::atomic::Ordering::Relaxed),
    );
    Ok(())
}
