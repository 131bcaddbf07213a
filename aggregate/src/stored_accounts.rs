//! Reads the accounts of a partition from its stored state: what `verify` compares with
//! `quota_ledger`.

use object_store::ObjectStore;
use tally_quota::StoredAccount;
use tally_schemas::LedgerEntry;

use crate::core::{StateForm, StoredAccounts};
use crate::error::AggregateError;
use crate::owner::{damaged, read_checked};

/// Tells every account that there is after a ledger entry, in no order. State objects are read one
/// at a time; what is kept of them are the names of accounts that changed since the base.
///
/// # Errors
/// `Data` where an object is missing or is not what the entry says; `Retry` while the store is
/// away.
pub async fn stored_accounts(
    store: &dyn ObjectStore,
    entry: &LedgerEntry,
    tell: &mut (dyn FnMut(&StoredAccount) + Send),
) -> Result<(), AggregateError> {
    let mut accounts = StoredAccounts::default();
    let deltas = entry.state.deltas.iter().rev().map(|file| (file, StateForm::Delta));
    let base = entry.state.base.iter().map(|file| (file, StateForm::Base));
    for (file, form) in deltas.chain(base) {
        let bytes = read_checked(store, file).await?;
        accounts.read_back(&bytes, form, tell).map_err(|bad| damaged(file, bad.0))?;
    }
    Ok(())
}
