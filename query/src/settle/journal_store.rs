//! The journal of the books in the store: entries without a gap, each created once. Nothing here
//! lists (R8).

use futures::future::try_join_all;
use object_store::path::Path;
use tally_aggregate::crash_point;
use tally_settlement::{Act, Books, BooksError, ErrorKind, JournalEntry, Seal, SealGap, seal_gaps};

use super::seal_store::{FoundSeals, SealStore};
use crate::error::QueryError;

/// Entries that are read at once.
const READ_AHEAD: u64 = 32;

impl From<BooksError> for QueryError {
    fn from(error: BooksError) -> Self {
        match error.kind() {
            ErrorKind::Invalid => Self::Invalid(error.to_string()),
            ErrorKind::Data => Self::Data(error.to_string()),
        }
    }
}

/// Journal and seals as they lie in the store, and what does not fit between them.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) journal: Journal,
    pub(crate) seals: FoundSeals,
    pub(crate) gaps: Vec<SealGap>,
}

/// What the books come to, and the entries that say so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    pub(crate) books: Books,
    pub(crate) entries: Vec<JournalEntry>,
}

impl SealStore<'_> {
    /// Where entry `n` is.
    pub(crate) fn entry_path(n: u64) -> Path {
        Path::from_iter(["statements", "journal", &format!("{n:020}.json")])
    }

    /// The journal so far.
    ///
    /// # Errors
    /// `Data` where an entry is damaged, does not follow the one before, or says what nobody was
    /// allowed to do; `Retry` while the store is away.
    pub(crate) async fn journal(&self) -> Result<Journal, QueryError> {
        let mut journal = Journal::default();
        self.read_on(&mut journal).await?;
        Ok(journal)
    }

    /// Journal and seals as they are now, damaged seals too.
    ///
    /// # Errors
    /// As [`Self::journal`].
    pub(crate) async fn kept(&self) -> Result<Kept, QueryError> {
        let mut journal = self.journal().await?;
        let mut before = None;
        loop {
            let seals = self.seals(&journal.books).await?;
            let numbers = seals.numbers();
            // Which approval a damaged first seal is of, nobody knows: seals are not counted from it.
            let gaps = if seals.unread.contains_key(&0) {
                Vec::new()
            } else {
                seal_gaps(&journal.books, &numbers, seals.first_entry())
            };
            // What is written between two of the reads looks like a gap: looked at once more, it is
            // none. What is the same both times is one.
            let seen = Some((journal.books.entries(), numbers.len()));
            let is_lasting = |gap: &SealGap| matches!(gap, SealGap::NeverSealed { .. });
            if gaps.iter().all(is_lasting) || before == seen {
                return Ok(Kept { journal, seals, gaps });
            }
            before = seen;
            self.read_on(&mut journal).await?;
        }
    }

    /// Journal and seals as they were known at a time, or as they are now. What people did by then
    /// is what stands in the journal before the first entry that is later; a seal belongs to the
    /// entry that approved it. Only the newest approval may have no seal.
    ///
    /// # Errors
    /// As [`Self::kept`]; `Data` where a seal is damaged or gone, or one is there that nobody
    /// approved: nothing is to be built on the others.
    pub(crate) async fn known(
        &self,
        known_at_ms: Option<i64>,
    ) -> Result<(Journal, Vec<Seal>), QueryError> {
        let Kept { mut journal, seals, gaps } = self.kept().await?;
        if let Some(error) = seals.unread.into_values().next() {
            return Err(error);
        }
        if let Some(gap) = gaps.iter().find(|gap| gap.forbids_building()) {
            return Err(QueryError::Data(gap.to_string()));
        }
        let mut seals: Vec<Seal> = seals.whole.into_values().collect();
        if let Some(at_ms) = known_at_ms {
            let later = journal.entries.iter().position(|entry| entry.at_ms > at_ms);
            if let Some(later) = later {
                journal.entries.truncate(later);
                journal.books = Books::replay(&journal.entries)?;
            }
            seals.retain(|seal| seal.entry < journal.books.entries());
        }
        Ok((journal, seals))
    }

    /// Reads what was added since.
    ///
    /// # Errors
    /// As [`Self::journal`].
    pub(crate) async fn read_on(&self, journal: &mut Journal) -> Result<(), QueryError> {
        loop {
            let from = journal.books.entries();
            let paths: Vec<Path> =
                (from..from.saturating_add(READ_AHEAD)).map(Self::entry_path).collect();
            let found = try_join_all(paths.iter().map(|path| self.get(path))).await?;
            let last = found.iter().rposition(Option::is_some);
            for (place, (path, bytes)) in paths.iter().zip(found).enumerate() {
                let Some(bytes) = bytes else {
                    if last.is_none_or(|last| last < place) {
                        return Ok(());
                    }
                    // Written between two of the reads, or taken away: then nothing behind it holds.
                    if self.get(path).await?.is_none() {
                        let what = format!("{path} is gone, and there are entries behind it");
                        return Err(QueryError::Data(what));
                    }
                    break;
                };
                let entry = JournalEntry::from_bytes(path.as_ref(), &bytes)?;
                journal.books.take(&entry)?;
                journal.entries.push(entry);
            }
        }
    }

    /// Does something, if it may be done as the journal is now. `None` where somebody else was
    /// faster: then the journal is read on, and the caller has to look again.
    ///
    /// # Errors
    /// Why it may not be done; else as [`Self::journal`].
    pub(crate) async fn append(
        &self,
        journal: &mut Journal,
        act: Act,
        by: &str,
        now_ms: i64,
    ) -> Result<Option<JournalEntry>, QueryError> {
        let entry = journal.books.entry(act, by, now_ms)?;
        let bytes = entry.to_bytes()?;
        crash_point("before-books-entry");
        let standing = self.create(&Self::entry_path(entry.n), &bytes).await?;
        crash_point("after-books-entry");
        self.read_on(journal).await?;
        Ok((standing == bytes).then_some(entry))
    }
}
