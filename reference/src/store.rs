//! Versions and editions of a store. Nothing here lists: numbers are contiguous, so the last one is
//! found by galloping (R8), and everything is created with If-None-Match.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, try_join_all};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path};

use crate::error::ReferenceError;
use crate::kind::ReferenceKind;
use crate::sealed_json::{hash_of, open_known, seal};
use crate::shipped::{SHIPPER, version_0};
use crate::stored::{
    Edition, FORMAT, Layer, StoredEdition, StoredVersion, TERMS_FORMAT, edition_path, version_path,
};
use crate::whole::Whole;

/// A version with the hash of its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HashedVersion {
    pub(crate) stored: StoredVersion,
    pub(crate) hash: String,
}

/// Whether an object that was to be created is ours.
pub(crate) enum Creation {
    Ours,
    Foreign,
}

/// The reference data of a store.
#[derive(Debug, Clone)]
pub struct ReferenceStore {
    store: Arc<dyn ObjectStore>,
}

impl ReferenceStore {
    /// The reference data of the store at this root.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    /// The last edition; the first one is made where there is none.
    ///
    /// # Errors
    /// `Retry` while the store is away, `Data` where something stored is damaged.
    pub async fn begin(&self, now_ms: i64) -> Result<StoredEdition, ReferenceError> {
        if let Some(last) = self.last_edition(0).await? {
            return Ok(last);
        }
        for kind in ReferenceKind::ALL {
            let bytes = seal(&version_0(kind, now_ms))?;
            self.create(&version_path(kind, 0), &bytes).await?;
        }
        let mut layers = Vec::new();
        for kind in ReferenceKind::ALL {
            // Another process may have been first, of another release even: what is stored counts.
            let stored = self.version(kind, 0).await?;
            layers.push(first_layer(kind, stored.hash));
        }
        let edition = Edition { format: FORMAT, edition: 0, layers, previous: String::new() };
        self.create(&edition_path(0), &seal(&edition)?).await?;
        self.last_edition(0).await?.ok_or_else(|| missing(&edition_path(0)))
    }

    /// The last edition, and where a store has none what it would begin with. Writes nothing.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn newest_whole(&self) -> Result<Whole, ReferenceError> {
        match self.last_edition(0).await? {
            Some(last) => self.whole(last).await,
            None => shipped_whole(),
        }
    }

    /// Every edition from the first, and where a store has none what it would begin with: what may
    /// have rated anything in it. Writes nothing.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn every_whole(&self) -> Result<Vec<Whole>, ReferenceError> {
        let newest = self.newest_whole().await?;
        let mut wholes = Vec::new();
        for number in 0..newest.edition.edition.edition {
            let found = self.edition(number).await?;
            let edition = found.ok_or_else(|| missing(&edition_path(number)))?;
            wholes.push(self.whole(edition).await?);
        }
        wholes.push(newest);
        Ok(wholes)
    }

    /// The last edition, from one that is known to be there; `None` where there is none.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn last_edition(&self, known: u64) -> Result<Option<StoredEdition>, ReferenceError> {
        gallop(known, |edition| Box::pin(self.edition(edition))).await
    }

    /// An edition; `None` where there is none of this number.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn edition(&self, edition: u64) -> Result<Option<StoredEdition>, ReferenceError> {
        let path = edition_path(edition);
        let Some(bytes) = self.get(&path).await? else { return Ok(None) };
        let read: Edition = open_known(&path, &bytes, TERMS_FORMAT)?;
        if read.edition != edition {
            return Err(ReferenceError::Damaged(format!("{path} says that it is another")));
        }
        Ok(Some(StoredEdition { edition: read, hash: hash_of(&bytes) }))
    }

    /// A version.
    pub(crate) async fn version(
        &self,
        kind: ReferenceKind,
        version: u64,
    ) -> Result<HashedVersion, ReferenceError> {
        let found = self.find_version(kind, version).await?;
        found.ok_or(ReferenceError::NoSuchVersion { kind, version })
    }

    async fn find_version(
        &self,
        kind: ReferenceKind,
        version: u64,
    ) -> Result<Option<HashedVersion>, ReferenceError> {
        let path = version_path(kind, version);
        let Some(bytes) = self.get(&path).await? else { return Ok(None) };
        let stored: StoredVersion = open_known(&path, &bytes, TERMS_FORMAT)?;
        if (stored.kind, stored.version) != (kind, version) {
            return Err(ReferenceError::Damaged(format!("{path} says that it is another")));
        }
        Ok(Some(HashedVersion { stored, hash: hash_of(&bytes) }))
    }

    /// Every version of a kind, from 0.
    pub(crate) async fn versions(
        &self,
        kind: ReferenceKind,
    ) -> Result<Vec<HashedVersion>, ReferenceError> {
        let Some(last) = self.last_version(kind).await? else { return Ok(Vec::new()) };
        try_join_all((0..=last.stored.version).map(|version| self.version(kind, version))).await
    }

    /// The last version of a kind.
    pub(crate) async fn last_version(
        &self,
        kind: ReferenceKind,
    ) -> Result<Option<HashedVersion>, ReferenceError> {
        gallop(0, |version| Box::pin(self.find_version(kind, version))).await
    }

    /// Reads everything that an edition holds.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn whole(&self, edition: StoredEdition) -> Result<Whole, ReferenceError> {
        let reads = edition.edition.layers.iter().map(|layer| async move {
            let version = self.version(layer.kind, layer.version).await?;
            if version.hash != layer.hash {
                let Layer { kind, version, .. } = layer;
                return Err(ReferenceError::Damaged(format!(
                    "{kind} version {version} is not the one that was approved"
                )));
            }
            Ok(version.stored)
        });
        let versions = try_join_all(reads).await.map_err(|error| match error {
            // It was there when it was approved.
            ReferenceError::NoSuchVersion { kind, version } => {
                missing(&version_path(kind, version))
            }
            other => other,
        })?;
        Whole::of(edition, versions)
    }

    /// Creates an object. A failure whose outcome is not known is resolved by reading it back
    /// (R5): equal bytes are ours, whatever the store answered.
    pub(crate) async fn create(
        &self,
        path: &str,
        bytes: &Bytes,
    ) -> Result<Creation, ReferenceError> {
        let options = PutOptions::from(PutMode::Create);
        let put = self.store.put_opts(&Path::from(path), bytes.clone().into(), options).await;
        let Err(error) = put else { return Ok(Creation::Ours) };
        match self.get(path).await? {
            Some(there) if there == *bytes => Ok(Creation::Ours),
            Some(_) => Ok(Creation::Foreign),
            None => Err(error.into()),
        }
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>, ReferenceError> {
        match self.store.get(&Path::from(path)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a store without editions begins with.
fn shipped_whole() -> Result<Whole, ReferenceError> {
    let versions = ReferenceKind::ALL.map(|kind| version_0(kind, 0));
    let mut layers = Vec::new();
    for version in &versions {
        layers.push(first_layer(version.kind, hash_of(&seal(version)?)));
    }
    let edition = Edition { format: FORMAT, edition: 0, layers, previous: String::new() };
    let hash = hash_of(&seal(&edition)?);
    Whole::of(StoredEdition { edition, hash }, versions.into())
}

/// The layer of version 0, whose records say themselves since when they are known.
fn first_layer(kind: ReferenceKind, hash: String) -> Layer {
    Layer { kind, version: 0, hash, approved_by: SHIPPER.to_owned(), approved_at_ms: 0 }
}

fn missing(path: &str) -> ReferenceError {
    ReferenceError::Damaged(format!("{path} is missing"))
}

/// The last of numbered things without a gap, from one that is known to be there, or from 0.
async fn gallop<'a, T>(
    known: u64,
    get: impl Fn(u64) -> BoxFuture<'a, Result<Option<T>, ReferenceError>>,
) -> Result<Option<T>, ReferenceError> {
    let Some(mut last) = get(known).await? else { return Ok(None) };
    let (mut at, mut step) = (known, 1);
    let mut absent = loop {
        match get(at + step).await? {
            Some(found) => (last, at, step) = (found, at + step, step * 2),
            None => break at + step,
        }
    };
    while absent - at > 1 {
        let middle = at + (absent - at) / 2;
        match get(middle).await? {
            Some(found) => (last, at) = (found, middle),
            None => absent = middle,
        }
    }
    Ok(Some(last))
}
