//! How far a receiver has got in a partition of the topic of alerts: an object in the store that is
//! overwritten. It may be behind, as a repeated alert has the same id; it is never ahead.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use crate::error::WebhookError;

#[derive(Debug, Serialize, Deserialize)]
struct Position {
    /// Everything before this offset is delivered, given up, or not wanted.
    next: u64,
}

fn path(topic: &str, receiver: &str, partition: u32) -> Path {
    Path::from(format!("webhooks/{topic}/{receiver}/positions/{partition}.json"))
}

/// The stored position; none where there is none yet.
pub(crate) async fn load(
    store: &dyn ObjectStore,
    topic: &str,
    receiver: &str,
    partition: u32,
) -> Result<Option<u64>, WebhookError> {
    let path = path(topic, receiver, partition);
    let bytes = match store.get(&path).await {
        Ok(found) => found.bytes().await?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    serde_json::from_slice::<Position>(&bytes)
        .map(|position| Some(position.next))
        .map_err(|error| WebhookError::Damaged(format!("{path}: {error}")))
}

/// Stores a position.
pub(crate) async fn save(
    store: &dyn ObjectStore,
    topic: &str,
    receiver: &str,
    partition: u32,
    next: u64,
) -> Result<(), WebhookError> {
    let path = path(topic, receiver, partition);
    let bytes = serde_json::to_vec(&Position { next })
        .map_err(|error| WebhookError::Damaged(error.to_string()))?;
    store.put(&path, bytes.into()).await?;
    Ok(())
}
