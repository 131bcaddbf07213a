//! The SQL engine over the configured store, as the commands use it.

use std::sync::Arc;

use object_store::ObjectStore;
use tally_aggregate::stream_of;
use tally_query::{EngineOptions, QueryEngine};
use tally_schemas::{Config, Setting};
use tally_tables::TableSet;

use crate::exit::Failure;
use crate::patience::place_of;
use crate::security::Security;

/// Opens the engine; nothing is written and no log is needed.
pub(crate) async fn open(config: &Config, settings: Vec<Setting>) -> Result<QueryEngine, Failure> {
    let store = tally_aggregate::open_store(&config.store_url(), &config.store.s3_options)?;
    let topic = stream_of(store.as_ref(), &config.log.topic).await?.ledger;
    open_at(config, settings, store, topic).await
}

async fn open_at(
    config: &Config,
    settings: Vec<Setting>,
    store: Arc<dyn ObjectStore>,
    topic: String,
) -> Result<QueryEngine, Failure> {
    let options = EngineOptions {
        tables: Arc::new(TableSet::open(Arc::clone(&store))),
        store,
        topic,
        budgets: crate::budgets::source(config)?,
        config: config.query.clone(),
        settings,
    };
    Ok(QueryEngine::open(options).await?)
}

/// Opens the engine for listeners. Where there are users, what they ask is noted in the store; where
/// there are none, there is nobody to name, and a store that is only read stays as it is.
pub(crate) async fn serving(
    config: &Config,
    settings: Vec<Setting>,
    security: &Security,
) -> Result<Arc<QueryEngine>, Failure> {
    let store = tally_aggregate::open_store(&config.store_url(), &config.store.s3_options)?;
    let topic = place_of(store.as_ref(), &config.log.topic).await?.ledger;
    let engine = open_at(config, settings, store, topic).await?;
    Ok(Arc::new(if security.users.is_some() { engine.with_audit_log() } else { engine }))
}

/// Waits for the audit log at the end of a process.
pub(crate) async fn finish(engine: &QueryEngine) {
    if !engine.finish_audit_log().await {
        tracing::error!("the store does not take the last entries of the audit log: they are lost");
    }
}
