//! Write-offs that one person proposes and another approves, as they lie in the store:
//! `suspense/write-offs/<n>.json`, and `<n>-approved.json` once it is. Both are created once, never
//! changed, and carry a checksum; nothing here lists (R8).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use tally_reference::{ErrorKind, ReferenceError, open_known, seal, sealed_hash};
use tally_schemas::{
    HeldPosition, Resolution, SuspenseReason, TokenClass, UsageCounts, WriteOff, in_full,
};
use tally_settlement::{person_name, same_person};

use crate::error::QueryError;

/// The format that this build writes; it reads this one and no later one.
const FORMAT: u32 = 1;

/// Most rows of a proposal: somebody has to look at them, and they are one object.
const ROWS_MAX: usize = 50_000;

/// A row that is proposed to be written off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedRow {
    /// The row, as `PARTITION/OFFSET/INDEX`.
    pub row: String,
    /// Why it is held back.
    pub reason: String,
    /// End of the call, or where that could not be read when the log received it, milliseconds UTC.
    pub at_ms: i64,
    /// Account, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Gateway, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Id within the gateway, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Counts by class, as far as they can be read; without those that are 0.
    pub usage: BTreeMap<String, u64>,
}

impl ProposedRow {
    /// Which row it is.
    ///
    /// # Errors
    /// `Data` where it names none.
    pub fn position(&self) -> Result<HeldPosition, QueryError> {
        self.row.parse().map_err(|_| QueryError::Data(format!("{:?} names no row", self.row)))
    }

    /// Counts by class.
    ///
    /// # Errors
    /// `Data` for a class that does not exist.
    pub fn counts(&self) -> Result<UsageCounts, QueryError> {
        let mut counts = UsageCounts::default();
        for (name, count) in &self.usage {
            let class = TokenClass::from_name(name)
                .ok_or_else(|| QueryError::Data(format!("{name:?} is no class")))?;
            counts.set(class, *count);
        }
        Ok(counts)
    }
}

/// A proposal to write rows off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    format: u32,
    /// Its number.
    pub proposal: u64,
    /// Who proposes it.
    pub by: String,
    /// When, milliseconds UTC.
    pub at_ms: i64,
    /// Why.
    pub why: String,
    /// The rows.
    pub rows: Vec<ProposedRow>,
}

/// Somebody's approval of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    format: u32,
    /// Number of the proposal.
    pub proposal: u64,
    /// Hash of the proposal's object.
    pub hash: String,
    /// Who approves it.
    pub by: String,
    /// When, milliseconds UTC.
    pub at_ms: i64,
}

/// A proposal as it is stored, and whether it was approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProposal {
    /// The proposal.
    pub proposal: Proposal,
    /// Hash of its object.
    pub hash: String,
    /// The approval.
    pub approval: Option<Approval>,
}

impl StoredProposal {
    /// The records that write its rows off; none before it is approved.
    ///
    /// # Errors
    /// `Data` where a row of it cannot be read.
    pub fn records(&self) -> Result<Vec<Resolution>, QueryError> {
        let Some(approval) = &self.approval else { return Ok(Vec::new()) };
        let record = |row: &ProposedRow| {
            Ok(Resolution::WriteOff(WriteOff {
                position: row.position()?,
                reason: SuspenseReason::from_name(&row.reason)
                    .ok_or_else(|| QueryError::Data(format!("{:?} is no reason", row.reason)))?,
                at_ms: row.at_ms,
                account: row.account.clone(),
                source: row.source.clone(),
                id: row.id.clone(),
                usage: row.counts()?,
                proposal: self.proposal.proposal,
                why: self.proposal.why.clone(),
                by: self.proposal.by.clone(),
                approved_by: approval.by.clone(),
            }))
        };
        self.proposal.rows.iter().map(record).collect()
    }
}

/// The proposals of a store.
#[derive(Debug, Clone)]
pub struct WriteOffs(Arc<dyn ObjectStore>);

fn sealed_error(error: &ReferenceError) -> QueryError {
    match error.kind() {
        ErrorKind::Retry => QueryError::Retry(error.to_string()),
        ErrorKind::Usage => QueryError::Invalid(error.to_string()),
        ErrorKind::Data => QueryError::Data(error.to_string()),
    }
}

fn away(path: &Path, error: &object_store::Error) -> QueryError {
    QueryError::Retry(format!("{path}: {}", in_full(error)))
}

impl WriteOffs {
    /// The proposals of the store at this root.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self(store)
    }

    fn path(proposal: u64) -> Path {
        Path::from(format!("suspense/write-offs/{proposal:020}.json"))
    }

    fn approval_path(proposal: u64) -> Path {
        Path::from(format!("suspense/write-offs/{proposal:020}-approved.json"))
    }

    /// Stores a proposal, under the next number.
    ///
    /// # Errors
    /// `Invalid` without a name, a reason or rows, or with too many of these; `Retry` while the
    /// store is away.
    pub async fn propose(
        &self,
        by: &str,
        why: &str,
        rows: Vec<ProposedRow>,
        at_ms: i64,
    ) -> Result<StoredProposal, QueryError> {
        let by = named(by)?;
        let why = why.trim().to_owned();
        if why.is_empty() {
            return Err(QueryError::Invalid("--reason needs words".to_owned()));
        }
        if rows.is_empty() || rows.len() > ROWS_MAX {
            return Err(QueryError::Invalid(format!(
                "{} rows, expected 1 to {ROWS_MAX}: choose others",
                rows.len()
            )));
        }
        let mut proposal = Proposal { format: FORMAT, proposal: 0, by, at_ms, why, rows };
        proposal.proposal = self.next().await?;
        loop {
            let bytes = seal(&proposal).map_err(|error| sealed_error(&error))?;
            if self.create(&Self::path(proposal.proposal), &bytes).await? == bytes {
                let hash = sealed_hash(&bytes);
                return Ok(StoredProposal { proposal, hash, approval: None });
            }
            // Somebody proposed something at the same time.
            proposal.proposal += 1;
        }
    }

    /// Approves a proposal. Who approved it before may do so again, to finish what was begun.
    ///
    /// # Errors
    /// `Data` where it is approved by the one who proposed it (four eyes), or was by another
    /// before; `Invalid` where there is none; `Retry` while the store is away.
    pub async fn approve(
        &self,
        proposal: u64,
        by: &str,
        at_ms: i64,
    ) -> Result<StoredProposal, QueryError> {
        let by = named(by)?;
        let mut stored = self.proposal(proposal).await?.ok_or_else(|| none(proposal))?;
        if same_person(&stored.proposal.by, &by) {
            return Err(QueryError::Data(format!(
                "write-off {proposal} was proposed by {}: somebody else must approve it (four eyes)",
                stored.proposal.by
            )));
        }
        let hash = stored.hash.clone();
        let approval = Approval { format: FORMAT, proposal, hash, by: by.clone(), at_ms };
        let bytes = seal(&approval).map_err(|error| sealed_error(&error))?;
        let standing = self.create(&Self::approval_path(proposal), &bytes).await?;
        let approval = read_approval(&stored, &standing)?;
        if !same_person(&approval.by, &by) {
            return Err(QueryError::Data(format!(
                "write-off {proposal} is approved already, by {}",
                approval.by
            )));
        }
        stored.approval = Some(approval);
        Ok(stored)
    }

    /// A proposal; `None` where there is none of this number.
    ///
    /// # Errors
    /// `Data` where an object is damaged or missing; `Retry` while the store is away.
    pub async fn proposal(&self, proposal: u64) -> Result<Option<StoredProposal>, QueryError> {
        let path = Self::path(proposal);
        let Some(bytes) = self.get(&path).await? else { return Ok(None) };
        let read: Proposal =
            open_known(path.as_ref(), &bytes, FORMAT).map_err(|error| sealed_error(&error))?;
        if read.proposal != proposal {
            return Err(QueryError::Data(format!("{path} says that it is another")));
        }
        let hash = sealed_hash(&bytes);
        let mut stored = StoredProposal { proposal: read, hash, approval: None };
        if let Some(bytes) = self.get(&Self::approval_path(proposal)).await? {
            stored.approval = Some(read_approval(&stored, &bytes)?);
        }
        Ok(Some(stored))
    }

    /// Every proposal, in order.
    ///
    /// # Errors
    /// As [`Self::proposal`].
    pub async fn all(&self) -> Result<Vec<StoredProposal>, QueryError> {
        let mut all = Vec::new();
        while let Some(stored) = self.proposal(all.len() as u64).await? {
            all.push(stored);
        }
        Ok(all)
    }

    /// The first number without a proposal. Numbers have no gap.
    async fn next(&self) -> Result<u64, QueryError> {
        let (mut there, mut step) = (0, 1);
        if !self.exists(0).await? {
            return Ok(0);
        }
        while self.exists(there + step).await? {
            (there, step) = (there + step, step * 2);
        }
        let mut absent = there + step;
        while absent - there > 1 {
            let middle = there + (absent - there) / 2;
            if self.exists(middle).await? {
                there = middle;
            } else {
                absent = middle;
            }
        }
        Ok(absent)
    }

    async fn exists(&self, proposal: u64) -> Result<bool, QueryError> {
        let path = Self::path(proposal);
        match self.0.head(&path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(away(&path, &error)),
        }
    }

    async fn get(&self, path: &Path) -> Result<Option<Bytes>, QueryError> {
        let answer = match self.0.get(path).await {
            Ok(answer) => answer,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(away(path, &error)),
        };
        answer.bytes().await.map(Some).map_err(|error| away(path, &error))
    }

    /// Creates an object; what stands is returned, whoever wrote it (R5).
    async fn create(&self, path: &Path, bytes: &Bytes) -> Result<Bytes, QueryError> {
        let options = PutOptions::from(PutMode::Create);
        match self.0.put_opts(path, bytes.clone().into(), options).await {
            Ok(_) => Ok(bytes.clone()),
            Err(error) => match self.get(path).await? {
                Some(standing) => Ok(standing),
                None => Err(away(path, &error)),
            },
        }
    }
}

fn named(by: &str) -> Result<String, QueryError> {
    person_name(by).map(str::to_owned).ok_or_else(|| {
        QueryError::Invalid("--by needs the name of the person who does this".to_owned())
    })
}

fn none(proposal: u64) -> QueryError {
    QueryError::Invalid(format!("there is no write-off {proposal}"))
}

fn read_approval(stored: &StoredProposal, bytes: &[u8]) -> Result<Approval, QueryError> {
    let path = WriteOffs::approval_path(stored.proposal.proposal);
    let approval: Approval =
        open_known(path.as_ref(), bytes, FORMAT).map_err(|error| sealed_error(&error))?;
    if approval.hash != stored.hash || approval.proposal != stored.proposal.proposal {
        return Err(QueryError::Data(format!("{path} approves something else")));
    }
    Ok(approval)
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn row(offset: u64) -> ProposedRow {
        ProposedRow {
            row: format!("0/{offset}/0"),
            reason: "malformed".to_owned(),
            at_ms: 1,
            account: None,
            source: None,
            id: None,
            usage: BTreeMap::from([("output".to_owned(), 7)]),
        }
    }

    #[tokio::test]
    async fn one_person_proposes_and_another_approves() {
        let offs = WriteOffs::new(Arc::new(InMemory::new()));
        for n in 0..5 {
            let stored = offs.propose(" alice", "test traffic", vec![row(n)], 10).await.unwrap();
            assert_eq!((stored.proposal.proposal, stored.proposal.by.as_str()), (n, "alice"));
            assert_eq!(stored.records().unwrap(), vec![]);
        }
        let error = offs.approve(3, "ALICE ", 11).await.unwrap_err();
        assert!(
            matches!(&error, QueryError::Data(words) if words.contains("four eyes")),
            "{error}"
        );
        assert!(matches!(offs.approve(5, "bob", 11).await, Err(QueryError::Invalid(_))));
        let approved = offs.approve(3, "bob", 11).await.unwrap();
        let records = approved.records().unwrap();
        let [Resolution::WriteOff(off)] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!(
            (off.position.offset, off.by.as_str(), off.approved_by.as_str()),
            (3, "alice", "bob")
        );
        assert_eq!(off.usage.get(TokenClass::Output), 7);
        // After a crash in between; the first approval stands.
        assert_eq!(offs.approve(3, "Bob", 12).await.unwrap(), approved);
        let error = offs.approve(3, "carol", 13).await.unwrap_err();
        assert!(error.to_string().contains("approved already, by bob"), "{error}");
        let all = offs.all().await.unwrap();
        assert_eq!(all.iter().filter(|stored| stored.approval.is_some()).count(), 1);
        for (by, why, rows) in
            [("", "x", vec![row(0)]), ("a", " ", vec![row(0)]), ("a", "x", Vec::new())]
        {
            assert!(matches!(offs.propose(by, why, rows, 1).await, Err(QueryError::Invalid(_))));
        }
    }

    #[tokio::test]
    async fn a_proposal_that_was_changed_is_not_approved() {
        let store = Arc::new(InMemory::new());
        let offs = WriteOffs::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
        offs.propose("alice", "test traffic", vec![row(1)], 10).await.unwrap();
        let bytes = store.get(&WriteOffs::path(0)).await.unwrap().bytes().await.unwrap();
        let changed = String::from_utf8_lossy(&bytes).replace("0/1/0", "0/2/0");
        store.put(&WriteOffs::path(0), changed.into()).await.unwrap();
        assert!(matches!(offs.approve(0, "bob", 11).await, Err(QueryError::Data(_))));
    }

    #[tokio::test]
    async fn what_has_a_later_format_is_refused_with_what_to_do_and_not_approved() {
        let store = Arc::new(InMemory::new());
        let offs = WriteOffs::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
        offs.propose("alice", "test traffic", vec![row(1)], 10).await.unwrap();
        let later = async |path: &Path, more: &str| {
            let bytes = store.get(path).await.unwrap().bytes().await.unwrap();
            let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            value.as_object_mut().unwrap().remove("checksum");
            value["format"] = 2.into();
            value["rows"] = more.into();
            store.put(path, seal(&value).unwrap().into()).await.unwrap();
            bytes
        };
        let (path, approval) = (WriteOffs::path(0), WriteOffs::approval_path(0));
        let refused = |path: &Path, error: QueryError| {
            let words = format!("{path} has format 2, this build reads up to 1: upgrade");
            assert!(matches!(&error, QueryError::Invalid(said) if *said == words), "{error}");
        };
        let known = later(&path, "all of September").await;
        refused(&path, offs.approve(0, "bob", 11).await.unwrap_err());
        refused(&path, offs.all().await.unwrap_err());
        assert!(store.get(&approval).await.is_err(), "it was approved");
        store.put(&path, known.into()).await.unwrap();
        offs.approve(0, "bob", 11).await.unwrap();
        later(&approval, "those that carol chooses").await;
        refused(&approval, offs.approve(0, "bob", 11).await.unwrap_err());
        refused(&approval, offs.all().await.unwrap_err());
    }
}
