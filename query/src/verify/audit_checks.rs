//! The audit log: nothing in it was changed, taken out or put in another order.

use super::{Check, Finding};
use crate::audit_store::check;
use crate::engine::QueryEngine;

/// The check of the chains.
pub(super) async fn all(engine: &QueryEngine) -> Check {
    let mut finding = Finding::new(
        "audit",
        "the audit log's batches are whole, in order, and as they were written",
    );
    match check(engine.ledger().store()).await {
        Ok((defects, batches)) => {
            defects.into_iter().for_each(|defect| finding.add(defect));
            finding.done(format!("{batches} batches"))
        }
        Err(error) => {
            finding.add(error.to_string());
            finding.done("nothing more")
        }
    }
}
