//! Which ledger a topic has: its own, or the one of a stream that has gone on with it.

use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use serde::Deserialize;
use tally_schemas::{
    LedgerEntry, LogPlace, MoveDecision, MoveIntent, MoveOutcome, decision_path, entry_path,
    floor_path, intent_path,
};

use crate::error::AggregateError;
use crate::ledger::{self, read_checked_json};
use crate::owner::unfinished_move;

/// Which ledger a topic has, and where its offsets begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPlace {
    /// Name of the ledger, and of everything in the store that is named after the stream.
    pub ledger: String,
    /// The topic, where the ledger is not named after it.
    pub log: Option<LogPlace>,
}

/// Finds the ledger of a topic.
///
/// # Errors
/// `Invalid` where the topic is not the stream's yet, or was given up, or has no ledger in a store
/// that has another stream's; `Retry` while the store is away.
pub async fn stream_of(
    store: &dyn ObjectStore,
    topic: &str,
) -> Result<StreamPlace, AggregateError> {
    let Some(intent) = intent_of(store, topic).await? else {
        check_begins(store, topic).await?;
        return Ok(StreamPlace { ledger: topic.to_owned(), log: None });
    };
    match decision_of(store, topic).await? {
        None => Err(unfinished_move(&intent.ledger, topic)),
        Some(MoveOutcome::Abandoned) => Err(AggregateError::Invalid(format!(
            "the stream was not moved to topic {topic}, that was given up: set log.topic to {}",
            intent.from_topic
        ))),
        Some(MoveOutcome::Continues { first_offset, .. }) => Ok(StreamPlace {
            ledger: intent.ledger,
            log: Some(LogPlace { topic: topic.to_owned(), first_offset }),
        }),
    }
}

/// What is intended with a topic; none where nothing is, as with the topic that a stream begins
/// with.
///
/// # Errors
/// As [`stream_of`].
pub async fn intent_of(
    store: &dyn ObjectStore,
    topic: &str,
) -> Result<Option<MoveIntent>, AggregateError> {
    /// What tells an intent from the first entry of a ledger.
    #[derive(Deserialize)]
    struct OfLedger {
        ledger: Option<String>,
    }
    let path = intent_path(topic, 0);
    let bytes = match store.get(&Path::from(path.as_str())).await {
        Ok(found) => found.bytes().await?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Whether an entry is sound is for its readers to say.
    let of_ledger = serde_json::from_slice::<OfLedger>(&bytes).ok();
    if of_ledger.and_then(|of| of.ledger).is_none() {
        return Ok(None);
    }
    read_checked_json(store, &path).await
}

/// What was decided of a topic; none where nothing was.
///
/// # Errors
/// As [`stream_of`].
pub async fn decision_of(
    store: &dyn ObjectStore,
    topic: &str,
) -> Result<Option<MoveOutcome>, AggregateError> {
    let decision: Option<MoveDecision> = read_checked_json(store, &decision_path(topic)).await?;
    Ok(decision.map(|decision| decision.outcome))
}

/// Refuses to begin a ledger beside the one of another stream. A store that was put back from before
/// a change of the partition count knows nothing of the new topic, whose usage would be charged
/// without accounts and without what dedupe knows, under numbers of entries that the tables have.
/// Budgets have ledgers of their own, which begin and end as they like.
///
/// This lists, and nothing that is right rests on it (R8).
async fn check_begins(store: &dyn ObjectStore, topic: &str) -> Result<(), AggregateError> {
    // What mostly is there, so that mostly nothing is listed.
    for path in [entry_path(topic, 0, 0), floor_path(topic, 0)] {
        match store.head(&Path::from(path)).await {
            Ok(_) => return Ok(()),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let names = folders(store, "ledger").await?;
    if names.iter().any(|name| name == topic) {
        return Ok(());
    }
    for other in names {
        if intent_of(store, &other).await?.is_some() {
            continue;
        }
        let Some(last) = any_last(store, &other).await? else { continue };
        if !is_of_usage(&last) {
            continue;
        }
        let now = last.log.map_or_else(|| other.clone(), |log| log.topic);
        return Err(AggregateError::Invalid(format!(
            "topic {topic} has no ledger in this store, which has the one of another stream in ledger/{other}/, now of topic {now}: with an empty ledger, usage would be charged without its accounts and counted again. Where the store was put back from before a change of the partition count, put back a newer copy, or set log.topic to {now} (docs/operations/backup.md); a new stream takes a store of its own"
        )));
    }
    Ok(())
}

/// Whether a ledger is of usage events, each of whose entries says what they are rated by.
fn is_of_usage(last: &LedgerEntry) -> bool {
    last.next_reference.is_some() || !last.reference_version.is_empty()
}

/// The last entry of some partition of a ledger.
async fn any_last(
    store: &dyn ObjectStore,
    ledger: &str,
) -> Result<Option<LedgerEntry>, AggregateError> {
    for name in folders(store, &format!("ledger/{ledger}")).await? {
        let Ok(partition) = name.parse() else { continue };
        if let Some(last) = ledger::find_last(store, ledger, partition).await? {
            return Ok(Some(last.entry));
        }
    }
    Ok(None)
}

async fn folders(store: &dyn ObjectStore, path: &str) -> Result<Vec<String>, AggregateError> {
    let listed = store.list_with_delimiter(Some(&Path::from(path))).await?;
    let names = listed.common_prefixes.iter().filter_map(|path| path.filename());
    Ok(names.map(str::to_owned).collect())
}
