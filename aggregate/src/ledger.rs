//! The epoch ledger: finding its end, reading it, and creating an entry, which is the commit.
//!
//! Nothing here lists. Entries from the floor to the last one are contiguous, because entry `n`
//! is only created by somebody who has read `n - 1`; so the end is found by galloping (R8).

use bytes::Bytes;
use object_store::{ObjectStore, PutMode, PutOptions, path::Path};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tally_schemas::{
    EntryKind, LEDGER_FORMAT, LEDGER_FORMAT_FIRST, LedgerEntry, LedgerFloor, entry_path, floor_path,
};

use crate::error::AggregateError;
use crate::object_read::read_object;
use crate::planted::{Bug, planted};

/// An entry with the hash of its bytes, which the next entry carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// The entry.
    pub entry: LedgerEntry,
    /// BLAKE3 of its bytes, in hex.
    pub hash: String,
}

/// What became of an attempt to create an entry.
#[derive(Debug, Clone)]
pub enum Creation {
    /// The entry stands, with exactly our bytes: committed.
    Ours,
    /// Somebody else's entry has the number.
    Foreign(Box<StoredEntry>),
    /// The store failed and the entry is not there yet. The same bytes may be tried again; no
    /// others, as the failed attempt may still arrive.
    Unresolved(AggregateError),
}

/// What stands between an entry and its checksum. The last member of the object is the BLAKE3 of
/// all bytes before this, so that the newest entry, which no other carries the hash of, shows
/// damage too (R20).
const CHECKSUM_MEMBER: &[u8] = b",\"checksum\":\"";

/// Bytes of an entry as they are stored, checksum included.
///
/// # Errors
/// `Invalid` if it cannot be written as JSON.
pub fn encode(entry: &LedgerEntry) -> Result<Bytes, AggregateError> {
    encode_checked(entry)
}

/// Bytes of an object beside the ledgers, with the checksum that entries have.
pub(crate) fn encode_checked(object: &impl Serialize) -> Result<Bytes, AggregateError> {
    let mut bytes =
        serde_json::to_vec(object).map_err(|e| AggregateError::Invalid(e.to_string()))?;
    // The object stays open for its last member.
    bytes.pop();
    let checksum = hash_of(&bytes);
    bytes.extend_from_slice(CHECKSUM_MEMBER);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes.extend_from_slice(b"\"}");
    Ok(Bytes::from(bytes))
}

/// Whether an entry's bytes are those that its checksum was made of.
fn is_intact(bytes: &[u8]) -> bool {
    let checked = || {
        let (rest, checksum) = bytes.strip_suffix(b"\"}")?.split_last_chunk::<64>()?;
        Some(hash_of(rest.strip_suffix(CHECKSUM_MEMBER)?).as_bytes() == checksum)
    };
    checked().unwrap_or(false)
}

/// The hash that the next entry carries.
pub fn hash_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Reads entry `n`, `None` where there is none.
///
/// # Errors
/// `Retry` while the store is away, `Data` where the entry does not parse or is another's place.
pub async fn read_entry(
    store: &dyn ObjectStore,
    topic: &str,
    partition: u32,
    n: u64,
) -> Result<Option<StoredEntry>, AggregateError> {
    let path = entry_path(topic, partition, n);
    let Some(bytes) = get(store, &path).await? else { return Ok(None) };
    let entry: LedgerEntry = decode_checked(&path, &bytes)?;
    if entry.n != n || entry.partition != partition || entry.topic != topic {
        return Err(AggregateError::Damaged(format!("{path} says that it is another entry")));
    }
    Ok(Some(StoredEntry { entry, hash: hash_of(&bytes) }))
}

/// Reads an object that [`encode_checked`] wrote, `None` where there is none.
///
/// # Errors
/// As [`read_entry`].
pub(crate) async fn read_checked_json<T: DeserializeOwned>(
    store: &dyn ObjectStore,
    path: &str,
) -> Result<Option<T>, AggregateError> {
    let Some(bytes) = get(store, path).await? else { return Ok(None) };
    decode_checked(path, &bytes).map(Some)
}

fn decode_checked<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, AggregateError> {
    let of_format = serde_json::from_slice::<OfFormat>(bytes);
    let object = match serde_json::from_slice(bytes) {
        Ok(object) => object,
        Err(error) => {
            // One of a later format may look otherwise; its checksum is where it always was.
            if let (Ok(of_format), true) = (of_format, is_intact(bytes)) {
                of_format.readable(path)?;
            }
            return Err(AggregateError::Damaged(format!("{path}: {error}")));
        }
    };
    if !is_intact(bytes) {
        return Err(AggregateError::Damaged(format!("{path} is not what its checksum says")));
    }
    of_format.map_err(|e| AggregateError::Damaged(format!("{path}: {e}")))?.readable(path)?;
    Ok(object)
}

/// What an entry of any format has.
#[derive(Debug, serde::Deserialize)]
struct OfFormat {
    format: u32,
}

impl OfFormat {
    fn readable(&self, path: &str) -> Result<(), AggregateError> {
        if self.format <= LEDGER_FORMAT {
            return Ok(());
        }
        Err(AggregateError::Invalid(format!(
            "{path} has format {}, this build reads up to {LEDGER_FORMAT}: upgrade",
            self.format
        )))
    }
}

/// The first entry that still exists; the janitor raises it before it removes anything.
///
/// # Errors
/// As [`read_entry`].
pub async fn floor(
    store: &dyn ObjectStore,
    topic: &str,
    partition: u32,
) -> Result<u64, AggregateError> {
    Ok(stored_floor(store, topic, partition).await?.unwrap_or(0))
}

/// The floor, `None` where the janitor never wrote one.
async fn stored_floor(
    store: &dyn ObjectStore,
    topic: &str,
    partition: u32,
) -> Result<Option<u64>, AggregateError> {
    let path = floor_path(topic, partition);
    let Some(bytes) = get(store, &path).await? else { return Ok(None) };
    serde_json::from_slice::<LedgerFloor>(&bytes)
        .map(|floor| Some(floor.n))
        .map_err(|e| AggregateError::Damaged(format!("{path}: {e}")))
}

/// Finds the last entry by galloping from the floor, `None` for an empty ledger.
///
/// # Errors
/// As [`read_entry`].
pub async fn find_last(
    store: &dyn ObjectStore,
    topic: &str,
    partition: u32,
) -> Result<Option<StoredEntry>, AggregateError> {
    find_last_from(store, topic, partition, 0).await
}

/// Like [`find_last`], for a caller who knows that entry `known` existed.
///
/// # Errors
/// As [`read_entry`].
pub async fn find_last_from(
    store: &dyn ObjectStore,
    topic: &str,
    partition: u32,
    known: u64,
) -> Result<Option<StoredEntry>, AggregateError> {
    let mut floor = stored_floor(store, topic, partition).await?;
    let mut last = loop {
        let start = known.max(floor.unwrap_or(0));
        if let Some(entry) = read_entry(store, topic, partition, start).await? {
            break entry;
        }
        // The janitor may have raised the floor since it was read, and removed the entry then.
        let again = stored_floor(store, topic, partition).await?;
        if again > floor {
            floor = again;
        } else if start > 0 || floor.is_some() {
            // Where there is a floor there were entries, so a ledger is never begun anew there.
            return Err(AggregateError::Damaged(format!(
                "the ledger of partition {partition} begins at entry {start}, which is missing"
            )));
        } else {
            return Ok(None);
        }
    };
    let mut step = 1_u64;
    // First an absent entry above the last known one, then the gap between them is halved.
    let mut absent = loop {
        let n = last.entry.n + step;
        match read_entry(store, topic, partition, n).await? {
            Some(found) => {
                last = found;
                step *= 2;
            }
            None => break n,
        }
    };
    while absent - last.entry.n > 1 {
        let middle = last.entry.n + (absent - last.entry.n) / 2;
        match read_entry(store, topic, partition, middle).await? {
            Some(found) => last = found,
            None => absent = middle,
        }
    }
    Ok(Some(last))
}

/// Creates an entry; creating it is the commit. A failure whose outcome is not known is resolved
/// by reading the entry back (R5): equal bytes are ours, whatever the store answered.
pub async fn create(store: &dyn ObjectStore, entry: &LedgerEntry, bytes: &Bytes) -> Creation {
    let path = Path::from(entry_path(&entry.topic, entry.partition, entry.n));
    let options = PutOptions::from(PutMode::Create);
    let failure = match store.put_opts(&path, bytes.clone().into(), options).await {
        Ok(_) => return above_floor(store, entry).await,
        Err(error) => error,
    };
    if planted(Bug::FenceSkipped) {
        return Creation::Ours;
    }
    match read_entry(store, &entry.topic, entry.partition, entry.n).await {
        Ok(Some(stored))
            if stored.hash == hash_of(bytes) && !planted(Bug::UnknownCommitTakenForFailure) =>
        {
            above_floor(store, entry).await
        }
        Ok(Some(stored)) => Creation::Foreign(Box::new(stored)),
        Ok(None) => Creation::Unresolved(failure.into()),
        Err(error) => Creation::Unresolved(error),
    }
}

/// Whether an entry that stands with our bytes counts. A number below the floor was free only
/// because the janitor had removed what stood there: its writer has slept for longer than entries
/// are kept, and others have gone on long since.
async fn above_floor(store: &dyn ObjectStore, entry: &LedgerEntry) -> Creation {
    let floor = match floor(store, &entry.topic, entry.partition).await {
        Ok(floor) if floor <= entry.n => return Creation::Ours,
        Ok(floor) => floor,
        Err(error) => return Creation::Unresolved(error),
    };
    match read_entry(store, &entry.topic, entry.partition, floor).await {
        Ok(Some(stored)) => Creation::Foreign(Box::new(stored)),
        Ok(None) => Creation::Unresolved(AggregateError::Damaged(format!(
            "the ledger of partition {} begins at entry {floor}, which is missing",
            entry.partition
        ))),
        Err(error) => Creation::Unresolved(error),
    }
}

/// The entry by which `owner` takes a partition after `last`: no rows, offsets and state as they
/// were. `start` is where an empty ledger begins.
pub fn claim_entry(
    topic: &str,
    partition: u32,
    partition_count: u32,
    owner: &str,
    last: Option<&StoredEntry>,
    start: u64,
    now_ms: i64,
) -> LedgerEntry {
    let previous = last.map(|last| &last.entry);
    let to = previous.map_or(start, |entry| entry.to);
    LedgerEntry {
        format: previous.map_or(LEDGER_FORMAT_FIRST, |entry| entry.format),
        topic: topic.to_owned(),
        partition,
        partition_count,
        log: previous.and_then(|entry| entry.log.clone()),
        moving_to: None,
        n: previous.map_or(0, |entry| entry.n + 1),
        kind: EntryKind::Claim,
        owner: owner.to_owned(),
        address: None,
        from: to,
        to,
        input_hash: String::new(),
        files: Vec::new(),
        state: previous.map(|entry| entry.state.clone()).unwrap_or_default(),
        totals: Default::default(),
        cumulative: previous.map(|entry| entry.cumulative.clone()).unwrap_or_default(),
        models: Vec::new(),
        sources: previous.map(|entry| entry.sources.clone()).unwrap_or_default(),
        watermark_ms: previous.and_then(|entry| entry.watermark_ms),
        reference_version: previous
            .map(|entry| entry.reference_version.clone())
            .unwrap_or_default(),
        next_reference: previous.and_then(|entry| entry.next_reference.clone()),
        committed_at_ms: now_ms,
        alerts_ends: previous.and_then(|entry| entry.alerts_ends.clone()),
        clock: previous.and_then(|entry| entry.clock),
        previous: last.map(|last| last.hash.clone()).unwrap_or_default(),
    }
}

/// Reads an object, `None` where there is none.
async fn get(store: &dyn ObjectStore, path: &str) -> Result<Option<Bytes>, AggregateError> {
    match read_object(store, &Path::from(path)).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    const TOPIC: &str = "usage.events";

    /// What is read where an entry should be.
    fn read(bytes: &[u8]) -> Result<Option<StoredEntry>, AggregateError> {
        let store = InMemory::new();
        let path = Path::from(entry_path(TOPIC, 0, 0));
        store.put(&path, bytes.to_vec().into()).now_or_never().unwrap().unwrap();
        read_entry(&store, TOPIC, 0, 0).now_or_never().unwrap()
    }

    /// R25: a version that is too old for an entry says so, whatever the entry looks like.
    #[test]
    fn an_entry_of_a_later_format_is_refused_with_what_to_do() {
        let entry = claim_entry(TOPIC, 0, 4, "owner", None, 17, 1_000);
        let later = LedgerEntry { format: LEDGER_FORMAT + 1, ..entry };
        let alike = encode(&later).unwrap();
        let mut other = serde_json::to_value(&later).unwrap();
        other["totals"] = serde_json::json!("elsewhere");
        let mut other = serde_json::to_vec(&other).unwrap();
        other.pop();
        let checksum = hash_of(&other);
        other.extend_from_slice(CHECKSUM_MEMBER);
        other.extend_from_slice(format!("{checksum}\"}}").as_bytes());
        for bytes in [alike.as_ref(), &other] {
            let error = read(bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let said = error.to_string();
            let wanted = format!(
                "{} has format {}, this build reads up to {LEDGER_FORMAT}: upgrade",
                entry_path(TOPIC, 0, 0),
                LEDGER_FORMAT + 1
            );
            assert_eq!(said, wanted);
        }
    }

    proptest! {
        /// An entry is read as it was written, or not at all.
        #[test]
        fn a_spoilt_entry_is_refused(
            spots in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_usize), 1..4),
            noise in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            let entry = claim_entry(TOPIC, 0, 4, "owner", None, 17, 1_000);
            let sound = encode(&entry).unwrap();
            prop_assert_eq!(read(&sound).unwrap().unwrap().entry, entry);
            let mut bytes = sound.to_vec();
            for (at, byte, removed) in &spots {
                let start = at.index(bytes.len() + 1);
                let end = (start + removed).min(bytes.len());
                bytes.splice(start..end, [*byte]);
            }
            for bytes in [bytes, noise] {
                match read(&bytes) {
                    Ok(found) => prop_assert_eq!(&found.unwrap().hash, &hash_of(&sound)),
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Data),
                }
            }
        }
    }
}
