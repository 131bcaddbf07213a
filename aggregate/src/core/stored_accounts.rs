//! The accounts that are in a partition's stored state, without the rest of it.

use std::collections::BTreeSet;

use tally_quota::StoredAccount;

use crate::core::StateForm;
use crate::core::state_codec::{BadState, StateReader, StateRecord};

/// Reads them from the newest delta back to the base: what is said of an account first holds, so
/// that of all accounts only those are remembered that deltas name.
#[derive(Debug, Default)]
pub(crate) struct StoredAccounts {
    changed: BTreeSet<Box<str>>,
    account: StoredAccount,
}

impl StoredAccounts {
    /// Reads a state object, newest first, and tells the accounts that nothing newer was said of.
    pub(crate) fn read_back(
        &mut self,
        bytes: &[u8],
        form: StateForm,
        tell: &mut (dyn FnMut(&StoredAccount) + Send),
    ) -> Result<(), BadState> {
        let Self { changed, account } = self;
        let (_, mut records) = StateReader::open(bytes)?;
        while let Some(record) = records.next()? {
            let StateRecord::Account { account: name, bytes } = record else { continue };
            if changed.contains(name) {
                continue;
            }
            // Nothing older comes behind a base: one that it has twice is told twice.
            if form == StateForm::Delta {
                changed.insert(name.into());
            }
            // No bytes: it is forgotten.
            if !bytes.is_empty() {
                account
                    .read(name, bytes)
                    .map_err(|_| BadState("an account that does not parse"))?;
                tell(account);
            }
        }
        Ok(())
    }
}
