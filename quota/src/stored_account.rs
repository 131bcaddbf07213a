//! An account as stored state has it, for who looks at state and charges nothing: read without the
//! reference data.

use crate::account::Account;
use crate::account_codec::{BadAccount, decode_by};

/// Reads accounts of stored state, one after another.
#[derive(Debug, Default)]
pub struct StoredAccount(Account);

/// A bucket that has not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBucket<'a> {
    /// Its id, which no other open bucket of the account has.
    pub id: &'a str,
    /// Micro-points of its allowance that are not used.
    pub left_micro: i128,
}

impl StoredAccount {
    /// Reads the bytes of an account, as [`crate::Quota::all`] tells them, in place of the one
    /// before.
    ///
    /// # Errors
    /// Where they do not parse. A package that nobody knows is none: that is for who charges.
    pub fn read(&mut self, name: &str, bytes: &[u8]) -> Result<(), BadAccount> {
        decode_by(name, bytes, |_| Some(0), &mut self.0)
    }

    /// The account's name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Its buckets, oldest first.
    pub fn buckets(&self) -> impl Iterator<Item = StoredBucket<'_>> {
        let Self(account) = self;
        account.buckets.iter().map(|bucket| StoredBucket {
            id: account.text_of(bucket.id),
            left_micro: bucket.left(),
        })
    }
}
