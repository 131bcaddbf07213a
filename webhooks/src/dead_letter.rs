//! Alerts that were given up: an object each in the store, until a person looks.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::WebhookError;

/// An alert that a receiver did not take.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The receiver's URL without user, password and query.
    pub receiver: String,
    /// What the last attempt failed with.
    pub why: String,
    /// The alert as it would have been delivered.
    pub alert: Value,
}

fn folder(topic: &str) -> Path {
    Path::from(format!("webhooks/{topic}"))
}

/// Keeps an alert that is given up. The same one again overwrites itself.
pub(crate) async fn bury(
    store: &dyn ObjectStore,
    topic: &str,
    (receiver, name): (&str, &str),
    (alert, body): (&str, &Bytes),
    why: &str,
) -> Result<(), WebhookError> {
    let damaged = |error: serde_json::Error| WebhookError::Damaged(error.to_string());
    let letter = DeadLetter {
        receiver: name.to_owned(),
        why: why.to_owned(),
        alert: serde_json::from_slice(body).map_err(damaged)?,
    };
    let bytes = serde_json::to_vec(&letter).map_err(damaged)?;
    let path = Path::from(format!("webhooks/{topic}/{receiver}/dead/{alert}.json"));
    store.put(&path, bytes.into()).await?;
    Ok(())
}

/// How many alerts were given up, by the id of the receiver. For people: it lists the store.
///
/// # Errors
/// `Store` where it cannot be listed.
pub async fn dead_letters(
    store: &dyn ObjectStore,
    topic: &str,
) -> Result<BTreeMap<String, u64>, WebhookError> {
    let mut found = BTreeMap::new();
    let mut objects = store.list(Some(&folder(topic)));
    while let Some(object) = objects.try_next().await? {
        let mut parts = object.location.parts().skip(2).map(|part| part.as_ref().to_owned());
        if let (Some(receiver), Some("dead")) = (parts.next(), parts.next().as_deref()) {
            *found.entry(receiver).or_default() += 1;
        }
    }
    Ok(found)
}
