//! The second stage as a reader sees it: its ledger, and what it has added.

use std::sync::Arc;

use object_store::ObjectStore;
use tally_aggregate::ledger::StoredEntry;
use tally_aggregate::stored_stage;
use tally_budget::{BudgetBook, BudgetStage};

use crate::error::QueryError;
use crate::ledger_view::{LedgerView, error_of};

/// Where the second stage keeps its ledger, and the budgets that it goes by.
#[derive(Debug, Clone, Default)]
pub struct BudgetSource {
    /// Topic of increments, which is the name of the ledger.
    pub topic: String,
    /// Budgets and commitments.
    pub book: Arc<BudgetBook>,
}

/// Reads what the second stage has committed, and never writes.
#[derive(Debug, Clone)]
pub struct BudgetView {
    store: Arc<dyn ObjectStore>,
    ledger: LedgerView,
    book: Arc<BudgetBook>,
}

impl BudgetView {
    /// The second stage of a store.
    pub fn new(store: Arc<dyn ObjectStore>, source: &BudgetSource) -> Self {
        let ledger = LedgerView::new(Arc::clone(&store), &source.topic);
        Self { store, ledger, book: Arc::clone(&source.book) }
    }

    /// The ledger.
    pub fn ledger(&self) -> &LedgerView {
        &self.ledger
    }

    /// The last entry and the state after it; none before the first.
    ///
    /// # Errors
    /// `Retry` while the store is away, `Data` where stored state is missing or damaged.
    pub async fn stage(&self) -> Result<Option<(StoredEntry, BudgetStage)>, QueryError> {
        let Some(last) = self.ledger.last(0).await? else { return Ok(None) };
        let book = Arc::clone(&self.book);
        let stage = stored_stage(self.store.as_ref(), book, &last.entry).await.map_err(error_of)?;
        Ok(Some((last, stage)))
    }
}
