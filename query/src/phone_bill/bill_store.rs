//! Plans, files, seals and answers as they lie in the store. Each object is created once; nothing
//! here lists (R8).

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use tally_settlement::hash_of;
use tally_settlement::phone_bill::{
    BillBook, BillLine, BillPlan, BillReturn, BillSeal, Remainders, read_lines,
};

use crate::error::QueryError;
use crate::settle::SealStore;

/// Objects that are read at once.
const READ_AHEAD: usize = 16;

/// Reads and creates the objects of phone bills.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BillStore<'a>(SealStore<'a>);

fn object(name: &str) -> Path {
    Path::from_iter(["phone-bill", name])
}

impl<'a> BillStore<'a> {
    pub(crate) const fn new(store: &'a dyn ObjectStore) -> Self {
        Self(SealStore::new(store))
    }

    /// Where the plan of a file is.
    pub(super) fn plan_path(sequence: u64) -> Path {
        object(&format!("{sequence:020}.plan.json"))
    }

    /// Where a file is.
    pub(crate) fn file_path(sequence: u64) -> Path {
        object(&format!("{sequence:020}.csv"))
    }

    /// Where the remainders after a daily file are.
    pub(super) fn remainders_path(sequence: u64) -> Path {
        object(&format!("{sequence:020}.remainders.csv"))
    }

    /// Where the seal of a file is.
    pub(super) fn seal_path(sequence: u64) -> Path {
        object(&format!("{sequence:020}.json"))
    }

    /// Where an answer is.
    pub(super) fn return_path(n: u64) -> Path {
        Path::from_iter(["phone-bill", "returns", &format!("{n:020}.json")])
    }

    /// Whether an object is there.
    pub(super) async fn has(&self, path: &Path) -> Result<bool, QueryError> {
        Ok(self.0.get(path).await?.is_some())
    }

    /// Creates an object, or finds that it is there: what stands is returned, whoever wrote it.
    pub(super) async fn create(&self, path: &Path, bytes: &[u8]) -> Result<Bytes, QueryError> {
        self.0.create(path, bytes).await
    }

    /// Creates an object that may be there already, but with no other content.
    pub(super) async fn stands(&self, path: &Path, bytes: &[u8]) -> Result<(), QueryError> {
        if self.create(path, bytes).await? == bytes {
            return Ok(());
        }
        Err(QueryError::Data(format!(
            "{path} is there with other content than this run comes to; nothing was changed"
        )))
    }

    /// Objects numbered from 1 up to the first that is not there.
    ///
    /// # Errors
    /// `Data` where others are behind that one: each is created after the one before it.
    async fn numbered(&self, path_of: fn(u64) -> Path) -> Result<Vec<(Path, Bytes)>, QueryError> {
        let mut objects = Vec::new();
        let mut from = 1;
        loop {
            let mut read = self.read_ahead(from.., path_of);
            while let Some((path, bytes)) = read.try_next().await? {
                let Some(bytes) = bytes else { break };
                objects.push((path, bytes));
                from += 1;
            }
            drop(read);
            let Some((behind, _)) = self.first_of(from + 1, path_of).await? else {
                return Ok(objects);
            };
            // Written between two of the reads, or taken away.
            let path = path_of(from);
            if self.0.get(&path).await?.is_none() {
                return Err(QueryError::Data(format!(
                    "{path} is gone, and {behind} is there, which was created after it: bring it back from a backup"
                )));
            }
        }
    }

    /// Objects of some numbers, in their order, several read at once.
    fn read_ahead<'n>(
        &self,
        numbers: impl IntoIterator<Item = u64, IntoIter: Send + 'n>,
        path_of: fn(u64) -> Path,
    ) -> BoxStream<'n, Result<(Path, Option<Bytes>), QueryError>>
    where
        'a: 'n,
    {
        let store = self.0;
        futures::stream::iter(numbers)
            .map(move |n| async move {
                let path = path_of(n);
                let bytes = store.get(&path).await?;
                Ok((path, bytes))
            })
            .buffered(READ_AHEAD)
            .boxed()
    }

    /// The first object that is there of as many as are read at once.
    async fn first_of(
        &self,
        from: u64,
        path_of: fn(u64) -> Path,
    ) -> Result<Option<(Path, Bytes)>, QueryError> {
        let ahead = u64::try_from(READ_AHEAD).unwrap_or(u64::MAX);
        let mut read = self.read_ahead(from..from.saturating_add(ahead), path_of);
        while let Some((path, bytes)) = read.try_next().await? {
            if let Some(bytes) = bytes {
                return Ok(Some((path, bytes)));
            }
        }
        Ok(None)
    }

    /// Every file and answer.
    ///
    /// # Errors
    /// `Data` where one is damaged, or gone: only the file that was begun last may have no seal.
    pub(crate) async fn book(&self) -> Result<BillBook, QueryError> {
        let book = self.read().await?;
        if book.lost().is_none() {
            return Ok(book);
        }
        // A file that is issued and answered while the answers are read is there the next time.
        let book = self.read().await?;
        match book.lost() {
            Some(lost) => Err(QueryError::Data(lost)),
            None => Ok(book),
        }
    }

    async fn read(&self) -> Result<BillBook, QueryError> {
        let mut book = BillBook::default();
        loop {
            for (path, bytes) in self.numbered(Self::seal_path).await? {
                book.seals.push(BillSeal::from_bytes(path.as_ref(), &bytes)?);
            }
            let next = book.next_sequence();
            // A file is begun once the one before it has its seal.
            let Some((begun, _)) = self.first_of(next + 1, Self::plan_path).await? else { break };
            let path = Self::seal_path(next);
            if self.0.get(&path).await?.is_none() {
                return Err(QueryError::Data(format!(
                    "{path} is gone, and {begun} is there, which was begun after it: bring the seal back from a backup"
                )));
            }
            book.seals.clear();
        }
        let path = Self::plan_path(book.next_sequence());
        if let Some(bytes) = self.0.get(&path).await? {
            book.plan = Some(BillPlan::from_bytes(path.as_ref(), &bytes)?);
        }
        // After seals and plan: what these count of the answers is then among them.
        for (path, bytes) in self.numbered(Self::return_path).await? {
            book.returns.push(BillReturn::from_bytes(path.as_ref(), &bytes)?);
        }
        Ok(book)
    }

    /// The plan that a file was issued by.
    pub(super) async fn plan(&self, seal: &BillSeal) -> Result<BillPlan, QueryError> {
        let path = Self::plan_path(seal.sequence);
        let bytes = self.sealed(&path, &seal.plan, seal.sequence).await?;
        Ok(BillPlan::from_bytes(path.as_ref(), &bytes)?)
    }

    /// A file, checked against its seal.
    pub(crate) async fn file(&self, seal: &BillSeal) -> Result<Bytes, QueryError> {
        self.sealed(&Self::file_path(seal.sequence), &seal.file_hash, seal.sequence).await
    }

    /// The lines of a file, checked against its seal.
    pub(crate) async fn lines(&self, seal: &BillSeal) -> Result<Vec<BillLine>, QueryError> {
        let bytes = self.file(seal).await?;
        Ok(read_lines(Self::file_path(seal.sequence).as_ref(), &bytes)?)
    }

    /// The lines of files, in their order, each checked against its seal.
    pub(super) async fn all_lines(&self, seals: &[BillSeal]) -> Result<Vec<BillLine>, QueryError> {
        let store = *self;
        let read = futures::stream::iter(seals.to_vec())
            .map(move |seal| async move { store.lines(&seal).await })
            .buffered(READ_AHEAD);
        let files: Vec<Vec<BillLine>> = read.try_collect().await?;
        Ok(files.into_iter().flatten().collect())
    }

    /// What rounding left after a daily file, checked against its seal.
    pub(crate) async fn remainders(&self, seal: &BillSeal) -> Result<Remainders, QueryError> {
        let path = Self::remainders_path(seal.sequence);
        let bytes = self.sealed(&path, &seal.remainders_hash, seal.sequence).await?;
        Ok(Remainders::from_csv(path.as_ref(), &bytes)?)
    }

    async fn sealed(&self, path: &Path, hash: &str, sequence: u64) -> Result<Bytes, QueryError> {
        let bytes = self.0.get(path).await?.ok_or_else(|| {
            QueryError::Data(format!(
                "{path} is gone, which the seal of phone bill {sequence} has the hash of"
            ))
        })?;
        let found = hash_of(&bytes);
        if found == hash {
            return Ok(bytes);
        }
        Err(QueryError::Data(format!(
            "{path} is not what was sealed: its hash is {found}, the seal of phone bill {sequence} has {hash}"
        )))
    }
}
