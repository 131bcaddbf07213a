//! Object storage by URL, and the probe that refuses a store without conditional writes.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
    path::Path,
};

use crate::error::AggregateError;

/// Opens the store of a URL: `s3://BUCKET/PREFIX` (configured by the standard `AWS_…`
/// environment), `file:///DIR`, or a folder, which is created.
///
/// # Errors
/// `Invalid` for another scheme or a folder that cannot be made.
pub fn open_store(url: &str) -> Result<Arc<dyn ObjectStore>, AggregateError> {
    if let Some(rest) = url.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let s3 = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_allow_http(true)
            .with_client_options(
                ClientOptions::new()
                    .with_allow_http(true)
                    .with_timeout(Duration::from_secs(20))
                    .with_connect_timeout(Duration::from_secs(5)),
            )
            // Short retries here; the owner of a partition retries without end, and says so.
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: 3,
                retry_timeout: Duration::from_secs(20),
            })
            .build()?;
        let prefix = prefix.trim_end_matches('/');
        return Ok(if prefix.is_empty() {
            Arc::new(s3)
        } else {
            Arc::new(PrefixStore::new(s3, prefix))
        });
    }
    let folder = match url.strip_prefix("file://") {
        Some(path) => path,
        None if url.contains("://") => {
            return Err(AggregateError::Invalid(format!(
                "store {url}: known are s3://BUCKET/PREFIX, file:///DIR and a folder"
            )));
        }
        None => url,
    };
    std::fs::create_dir_all(folder)
        .map_err(|e| AggregateError::Invalid(format!("store folder {folder}: {e}")))?;
    Ok(Arc::new(LocalFileSystem::new_with_prefix(folder)?))
}

/// Refuses a store on which two can create the same object: creates a probe object twice with
/// If-None-Match, the second must fail and the first one's bytes must stand.
///
/// # Errors
/// `Invalid` where conditional writes do not work, `Retry` while the store is away.
pub async fn probe(store: &dyn ObjectStore, probe_id: &str) -> Result<(), AggregateError> {
    let path = Path::from(format!("probe/{probe_id}"));
    let create = || PutOptions::from(PutMode::Create);
    store.put_opts(&path, "first".into(), create()).await?;
    let second = store.put_opts(&path, "second".into(), create()).await;
    let kept = store.get(&path).await?.bytes().await?;
    store.delete(&path).await?;
    match second {
        Err(object_store::Error::AlreadyExists { .. }) if kept.as_ref() == b"first" => {
            return Ok(());
        }
        Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
        // An error says nothing about conditional writes.
        Err(error) => return Err(error.into()),
    }
    Err(AggregateError::Invalid(
        "the store lets two writers create the same object (If-None-Match is not honoured), so no commit on it would be safe; use a store with conditional writes".to_owned(),
    ))
}
