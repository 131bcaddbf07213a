//! The audit log as it lies in the store.

use std::collections::BTreeMap;

use futures::stream::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tally_schemas::in_full;

use crate::audit_entry::{
    AUDIT_FOLDER, AuditBatch, BatchName, ChainEnd, FoundBatch, defects, hash_of,
};
use crate::error::QueryError;

/// Batches that are read at once.
pub(crate) const READ_AHEAD: usize = 16;

/// Days back from the newest in which a new chain looks for others.
const DAYS_LOOKED_AT: usize = 2;

fn away(path: &Path, error: &object_store::Error) -> QueryError {
    QueryError::Retry(format!("{path}: {}", in_full(error)))
}

/// The days that have entries, as their folders are called, in order.
///
/// # Errors
/// `Retry` while the store is away.
pub(crate) async fn days(store: &dyn ObjectStore) -> Result<Vec<String>, QueryError> {
    let folder = Path::from(AUDIT_FOLDER);
    let listing =
        store.list_with_delimiter(Some(&folder)).await.map_err(|error| away(&folder, &error))?;
    let prefixes = listing.common_prefixes.iter();
    let mut days: Vec<String> =
        prefixes.filter_map(|path| path.filename().map(str::to_owned)).collect();
    days.sort();
    Ok(days)
}

/// The batches of a day, of each chain in its order.
///
/// # Errors
/// `Retry` while the store is away.
pub(crate) async fn batches(
    store: &dyn ObjectStore,
    day: &str,
) -> Result<Vec<BatchName>, QueryError> {
    let folder = Path::from_iter([AUDIT_FOLDER, day]);
    let listed = store.list(Some(&folder)).try_collect::<Vec<_>>().await;
    let listed = listed.map_err(|error| away(&folder, &error))?;
    let mut names: Vec<BatchName> =
        listed.iter().filter_map(|object| BatchName::of(&object.location)).collect();
    names.sort();
    Ok(names)
}

/// Reads a batch.
///
/// # Errors
/// `Retry` while the store is away; what is wrong with the batch is in the result.
pub(crate) async fn read(
    store: &dyn ObjectStore,
    name: BatchName,
) -> Result<FoundBatch, QueryError> {
    let path = name.path();
    let bytes = match store.get(&path).await {
        Ok(answer) => answer.bytes().await.map_err(|error| away(&path, &error))?,
        Err(error) => return Err(away(&path, &error)),
    };
    let batch = AuditBatch::from_bytes(&path, &bytes).map_err(|error| error.to_string());
    Ok(FoundBatch { hash: hash_of(&bytes), batch, name })
}

/// What became of an attempt to store a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Created {
    /// It is there, now or since an attempt whose answer was lost.
    Stored,
    /// Another has its place.
    Taken,
}

/// Creates a batch.
///
/// # Errors
/// `Retry` where it is not known to be there.
pub(crate) async fn create(
    store: &dyn ObjectStore,
    name: &BatchName,
    bytes: &[u8],
) -> Result<Created, QueryError> {
    let path = name.path();
    let payload = bytes::Bytes::copy_from_slice(bytes).into();
    match store.put_opts(&path, payload, PutOptions::from(PutMode::Create)).await {
        Ok(_) => Ok(Created::Stored),
        Err(object_store::Error::AlreadyExists { .. }) => match store.get(&path).await {
            Ok(answer) => {
                let there = answer.bytes().await.map_err(|error| away(&path, &error))?;
                Ok(if there == bytes { Created::Stored } else { Created::Taken })
            }
            Err(error) => Err(away(&path, &error)),
        },
        Err(error) => Err(away(&path, &error)),
    }
}

/// The ends of the chains of the newest days.
///
/// # Errors
/// `Retry` while the store is away.
pub(crate) async fn chain_ends(store: &dyn ObjectStore) -> Result<Vec<ChainEnd>, QueryError> {
    let mut ends: BTreeMap<String, BatchName> = BTreeMap::new();
    for day in days(store).await?.iter().rev().take(DAYS_LOOKED_AT) {
        for name in batches(store, day).await? {
            let end = ends.entry(name.writer.clone()).or_insert_with(|| name.clone());
            if name.n > end.n {
                *end = name;
            }
        }
    }
    futures::stream::iter(ends.into_values())
        .map(|name| async move {
            let found = read(store, name).await?;
            Ok(ChainEnd { writer: found.name.writer, n: found.name.n, hash: found.hash })
        })
        .buffered(READ_AHEAD)
        .try_collect()
        .await
}

/// Every defect of the audit log, and how many batches there are.
///
/// # Errors
/// `Retry` while the store is away.
pub(crate) async fn check(store: &dyn ObjectStore) -> Result<(Vec<String>, usize), QueryError> {
    let mut found = Vec::new();
    for day in days(store).await? {
        let names = batches(store, &day).await?;
        let mut read =
            futures::stream::iter(names).map(|name| read(store, name)).buffered(READ_AHEAD);
        while let Some(one) = read.next().await {
            let mut one = one?;
            if let Ok(batch) = &mut one.batch {
                // The first says the day; the rest would only take memory.
                batch.entries.truncate(1);
            }
            found.push(one);
        }
    }
    Ok((defects(&found), found.len()))
}
