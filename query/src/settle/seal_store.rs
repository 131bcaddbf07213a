//! Plans, sealed statements and seals as they lie in the store. Each object is created once;
//! nothing here lists (R8).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use sha2::{Digest, Sha256};
use tally_schemas::in_full;
use tally_settlement::{Books, Period, Plan, Seal, Statement, hash_of};

use crate::error::QueryError;

/// Reads and creates the objects of settlement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SealStore<'a>(&'a dyn ObjectStore);

/// Seals as they lie in the store, by their numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct FoundSeals {
    /// Those that are what was written.
    pub(crate) whole: BTreeMap<u64, Seal>,
    /// Why others cannot be read.
    pub(crate) unread: BTreeMap<u64, QueryError>,
}

impl FoundSeals {
    /// Whether a seal is there, in whatever state.
    pub(crate) fn has(&self, n: u64) -> bool {
        self.whole.contains_key(&n) || self.unread.contains_key(&n)
    }

    /// The entry of the journal that the first seal names.
    pub(crate) fn first_entry(&self) -> Option<u64> {
        self.whole.get(&0).map(|seal| seal.entry)
    }

    /// The numbers of all that are there.
    pub(crate) fn numbers(&self) -> BTreeSet<u64> {
        self.whole.keys().chain(self.unread.keys()).copied().collect()
    }
}

fn away(path: &Path, error: &object_store::Error) -> QueryError {
    QueryError::Retry(format!("{path}: {}", in_full(error)))
}

/// The hash in hex.
fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of an object, in hex; `None` where it is not there.
///
/// # Errors
/// `Retry` while the store is away.
pub(crate) async fn sha256_of(
    store: &dyn ObjectStore,
    path: &Path,
) -> Result<Option<String>, QueryError> {
    let answer = match store.get(path).await {
        Ok(answer) => answer,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(away(path, &error)),
    };
    let mut hash = Sha256::new();
    let mut parts = answer.into_stream();
    while let Some(part) = parts.next().await {
        hash.update(&part.map_err(|error| away(path, &error))?);
    }
    Ok(Some(hex(&hash.finalize())))
}

impl<'a> SealStore<'a> {
    pub(crate) const fn new(store: &'a dyn ObjectStore) -> Self {
        Self(store)
    }

    /// Where a plan of a period is. Plans have the name of their content: one that is sent back is
    /// followed by another.
    pub(crate) fn plan_path(period: Period, hash: &str) -> Path {
        Path::from_iter(["statements", &period.to_string(), &format!("plan-{hash}.json")])
    }

    /// Where a statement of a period is. Vendors are names that people choose, so a path is made
    /// of parts and not of one text.
    pub(crate) fn statement_path(period: Period, vendor: &str) -> Path {
        let file = format!("vendor-{vendor}.json");
        Path::from_iter(["statements", period.to_string().as_str(), file.as_str()])
    }

    /// Where seal `n` is.
    pub(crate) fn seal_path(n: u64) -> Path {
        Path::from(Seal::path(n))
    }

    /// An object; `None` where it is not there.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>, QueryError> {
        let answer = match self.0.get(path).await {
            Ok(answer) => answer,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(away(path, &error)),
        };
        answer.bytes().await.map(Some).map_err(|error| away(path, &error))
    }

    /// Creates an object, or finds that it is there: what stands is returned, whoever wrote it.
    pub(crate) async fn create(&self, path: &Path, bytes: &[u8]) -> Result<Bytes, QueryError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let options = PutOptions::from(PutMode::Create);
        match self.0.put_opts(path, bytes.clone().into(), options).await {
            Ok(_) => Ok(bytes),
            // Ours, too, may be there: its reply was lost (R5). What stands decides.
            Err(error) => match self.get(path).await? {
                Some(standing) => Ok(standing),
                None => Err(away(path, &error)),
            },
        }
    }

    /// The plan that a review names.
    ///
    /// # Errors
    /// `Data` where it is gone or not that one, `Retry` while the store is away.
    pub(crate) async fn plan(&self, period: Period, hash: &str) -> Result<Plan, QueryError> {
        let path = Self::plan_path(period, hash);
        let Some(bytes) = self.get(&path).await? else {
            return Err(QueryError::Data(format!("{path} is gone, which the journal names")));
        };
        if hash_of(&bytes) != hash {
            return Err(QueryError::Data(format!("{path} is not what its name says")));
        }
        Ok(Plan::from_bytes(path.as_ref(), &bytes)?)
    }

    /// The seals that are there, by number: up to the first one that is missing beyond the
    /// approvals. One that is missing before is not the end, as others may be behind it.
    ///
    /// # Errors
    /// `Retry` while the store is away; that one cannot be read is among what is returned.
    pub(crate) async fn seals(&self, books: &Books) -> Result<FoundSeals, QueryError> {
        let approved = books.approvals().count();
        let mut found = FoundSeals::default();
        for (place, n) in (0..).enumerate() {
            let path = Self::seal_path(n);
            match self.get(&path).await? {
                Some(bytes) => match Seal::from_bytes(path.as_ref(), &bytes) {
                    Ok(seal) => {
                        found.whole.insert(n, seal);
                    }
                    Err(error) => {
                        found.unread.insert(n, error.into());
                    }
                },
                None if place < approved => {}
                None => break,
            }
        }
        Ok(found)
    }

    /// The statement of a vendor that a seal has, checked against the seal.
    pub(crate) async fn statement(
        &self,
        seal: &Seal,
        vendor: &str,
    ) -> Result<Option<Statement>, QueryError> {
        let Some(sealed) = seal.statements.iter().find(|sealed| sealed.vendor == vendor) else {
            return Ok(None);
        };
        let path = Self::statement_path(seal.period, vendor);
        let bytes = self.get(&path).await?.ok_or_else(|| {
            QueryError::Data(format!("{path} is gone, which seal {} has the hash of", seal.n))
        })?;
        if hash_of(&bytes) != sealed.hash {
            return Err(QueryError::Data(format!(
                "{path} is not what was sealed: its hash is {}, seal {} has {}",
                hash_of(&bytes),
                seal.n,
                sealed.hash
            )));
        }
        Ok(Some(Statement::from_bytes(path.as_ref(), &bytes)?))
    }
}
