//! The SQL engine over the configured store, as the commands use it.

use std::sync::Arc;

use tally_query::{EngineOptions, QueryEngine};
use tally_schemas::{Config, Setting};
use tally_tables::TableSet;

use crate::exit::Failure;

/// Opens the engine; nothing is written and no log is needed.
pub(crate) async fn open(config: &Config, settings: Vec<Setting>) -> Result<QueryEngine, Failure> {
    let store = tally_aggregate::open_store(&config.store_url())?;
    let options = EngineOptions {
        tables: Arc::new(TableSet::open(Arc::clone(&store))),
        store,
        topic: config.log.topic.clone(),
        budgets: crate::budgets::source(config)?,
        config: config.query.clone(),
        settings,
    };
    Ok(QueryEngine::open(options).await?)
}
