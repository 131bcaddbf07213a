//! What a plan comes to. It follows from the plan, the files and answers before it, and rows that
//! never change: so that it can be made again at any time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use tally_settlement::Period;
use tally_settlement::phone_bill::{
    BillBook, BillContent, BillFile, BillLine, BillPlan, BillScope, BillSeal, Day, LineId,
    Remainders,
};
use tally_tables::PinnedTables;

use super::bill_store::BillStore;
use super::charges::{self, Window, all_of, reach};
use crate::engine::QueryEngine;
use crate::error::QueryError;

/// What a plan is carried out with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Maker<'a> {
    pub(super) engine: &'a QueryEngine,
    pub(super) pin: &'a Arc<PinnedTables>,
    pub(super) store: BillStore<'a>,
    pub(super) book: &'a BillBook,
}

/// The seal of a file that was issued, made again from the rows: it has the hash of the bytes.
///
/// # Errors
/// `Data` for what is damaged, `Retry` while the store is away.
pub(crate) async fn remade(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    store: BillStore<'_>,
    book: &BillBook,
    seal: &BillSeal,
) -> Result<BillSeal, QueryError> {
    let plan = store.plan(seal).await?;
    let content = Maker { engine, pin, store, book }.make(&plan).await?;
    Ok(BillSeal::of(&plan, &content, &content.file.to_csv()?)?)
}

impl Maker<'_> {
    /// What a plan comes to.
    ///
    /// # Errors
    /// `Data` for rows that do not foot and objects that are damaged, `Retry` while the store is
    /// away.
    pub(super) async fn make(&self, plan: &BillPlan) -> Result<BillContent, QueryError> {
        match &plan.scope {
            BillScope::Daily { day } => self.daily(plan, *day).await,
            BillScope::Monthly { month } => self.monthly(plan, *month).await,
            BillScope::Correction { of, .. } => {
                let seal = self.seal(*of)?;
                Ok(BillFile::correction(plan, &self.store.lines(seal).await?))
            }
        }
    }

    fn seal(&self, sequence: u64) -> Result<&BillSeal, QueryError> {
        let missing = || QueryError::Data(self.book.no_such_file(sequence));
        self.book.seal(sequence).ok_or_else(missing)
    }

    async fn daily(&self, plan: &BillPlan, day: Day) -> Result<BillContent, QueryError> {
        let last = self.book.last_daily(plan.sequence);
        let window = Window { to: (day, &plan.cut_offs), from: last.map(reach) };
        let charges = charges::read(self.engine, self.pin, &window).await?;
        let ledger = all_of(self.engine, self.pin, &window).await?;
        let (remainders, returns_from) = match last {
            Some((_, seal)) => (self.store.remainders(seal).await?, seal.returns_to),
            None => (Remainders::default(), 0),
        };
        let rejected = self.book.rejected(plan.sequence, (returns_from, plan.returns_to));
        let again = self.lines(&rejected).await?;
        Ok(BillFile::daily(plan, charges, again, ledger, remainders)?)
    }

    async fn monthly(&self, plan: &BillPlan, month: Period) -> Result<BillContent, QueryError> {
        let mut dailies = Vec::new();
        let (mut before, mut last) = (None, None);
        for (day, seal) in self.book.dailies(plan.sequence) {
            if day.month() < month {
                before = Some((day, seal));
            } else if day.month() == month {
                dailies.push(self.store.lines(seal).await?);
                last = Some((day, seal));
            }
        }
        let last =
            last.ok_or_else(|| QueryError::Data(format!("{month} has no daily phone bill")))?;
        let window = Window { to: reach(last), from: before.map(reach) };
        let charges = charges::read(self.engine, self.pin, &window).await?;
        let ledger = all_of(self.engine, self.pin, &window).await?;
        Ok(BillFile::monthly(plan, month, &dailies, &charges, ledger)?)
    }

    /// Lines of earlier files.
    async fn lines(&self, ids: &[LineId]) -> Result<Vec<BillLine>, QueryError> {
        let mut files: BTreeMap<u64, Vec<BillLine>> = BTreeMap::new();
        let mut lines = Vec::with_capacity(ids.len());
        for id in ids {
            let file = match files.entry(id.sequence) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => {
                    place.insert(self.store.lines(self.seal(id.sequence)?).await?)
                }
            };
            let at = id.number.checked_sub(1).and_then(|at| usize::try_from(at).ok());
            let line = at.and_then(|at| file.get(at));
            lines.push(line.cloned().ok_or_else(|| {
                QueryError::Data(format!(
                    "{id} was rejected, and phone bill {} has no such line",
                    id.sequence
                ))
            })?);
        }
        Ok(lines)
    }
}
