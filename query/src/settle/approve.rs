//! Closing a period, the second half: somebody else approves what is in review, which seals it, or
//! sends it back. And what comes after: that a statement was paid.

use std::sync::Arc;

use object_store::path::Path;
use tally_aggregate::crash_point;
use tally_settlement::{
    Act, BooksError, CutOff, Decision, Done, JournalEntry, Payment, Period, Plan, ReviewState,
    Seal, SealGap, SealedStatement, Statement,
};
use tally_tables::PinnedTables;

use super::seal_store::SealStore;
use super::{Known, Settlement};
use crate::error::QueryError;

/// A closed period.
#[derive(Debug, Clone)]
pub struct Closed {
    /// Its seal.
    pub seal: Seal,
    /// Hash of the seal.
    pub hash: String,
    /// Whether it had been closed before.
    pub was_closed: bool,
}

/// What somebody decided, and when.
pub type Decided = Done<Decision>;

impl Settlement<'_> {
    /// Approves what is in review: writes its statements and its seal. Of a period that was
    /// approved before, the seal is returned, and written where that was interrupted.
    ///
    /// # Errors
    /// `Data` where `by` put it into review (four eyes), and for statements that are not those that
    /// were reviewed; `Invalid` where nothing is in review; `Retry` while the store is away.
    pub async fn approve(
        &self,
        period: Period,
        by: &str,
        now_ms: i64,
    ) -> Result<Closed, QueryError> {
        loop {
            let mut known = self.known().await?;
            if let Some(seal) = known.seals.iter().find(|seal| seal.period == period) {
                return Ok(Closed { hash: seal.hash()?, seal: seal.clone(), was_closed: true });
            }
            let state = standing(&known, period)?.clone();
            if state.is_approved() {
                return self.carry_out(&known, &state).await;
            }
            let decision = Decision { of: state.review.n, approve: true, note: String::new() };
            let act = Act::DecideReview(decision);
            // Who may not approve learns that before everything is summed again.
            known.journal.books.entry(act.clone(), by, now_ms)?;
            let made = self.made(&known, &state).await?;
            crash_point("before-settle-approval");
            let entry = self.store.append(&mut known.journal, act, by, now_ms).await?;
            crash_point("after-settle-approval");
            if let Some(entry) = entry {
                return self.seal(&made.0, &entry, &made.1).await;
            }
        }
    }

    /// Sends back what is in review. It can be closed anew, by a plan of its own.
    ///
    /// # Errors
    /// `Invalid` where nothing is in review or nobody says why; `Retry` while the store is away.
    pub async fn reject(
        &self,
        period: Period,
        by: &str,
        note: &str,
        now_ms: i64,
    ) -> Result<Decided, QueryError> {
        loop {
            let mut known = self.known().await?;
            let of = standing(&known, period)?.review.n;
            let decision = Decision { of, approve: false, note: note.trim().to_owned() };
            let act = Act::DecideReview(decision.clone());
            let entry = self.store.append(&mut known.journal, act, by, now_ms).await?;
            if let Some(JournalEntry { n, by, at_ms, .. }) = entry {
                return Ok(Done { n, by, at_ms, what: decision });
            }
        }
    }

    /// Says that a sealed statement was paid. The same again changes nothing.
    ///
    /// # Errors
    /// `Invalid` for a statement that there is not or that was paid otherwise, and for a day in the
    /// future; `Retry` while the store is away.
    pub async fn pay(
        &self,
        payment: &Payment,
        by: &str,
        now_ms: i64,
    ) -> Result<Done<Payment>, QueryError> {
        loop {
            let mut known = self.known().await?;
            let there = known.journal.books.payment(payment.period, &payment.vendor);
            if let Some(there) = there.filter(|there| there.what == *payment) {
                return Ok(there.clone());
            }
            let act = Act::Pay(payment.clone());
            let entry = self.store.append(&mut known.journal, act, by, now_ms).await?;
            if let Some(JournalEntry { n, by, at_ms, .. }) = entry {
                return Ok(Done { n, by, at_ms, what: payment.clone() });
            }
        }
    }

    /// Seals what was approved, whoever had begun.
    pub(super) async fn carry_out(
        &self,
        known: &Known,
        state: &ReviewState,
    ) -> Result<Closed, QueryError> {
        let period = state.review.what.period;
        if known.seals.iter().any(|seal| seal.period > period) {
            return Err(QueryError::Data(SealGap::NeverSealed { period }.to_string()));
        }
        let decision = state.decision.as_ref().filter(|decision| decision.what.approve);
        let entry = decision
            .and_then(|decision| known.journal.entries.iter().find(|entry| entry.n == decision.n))
            .ok_or(BooksError::NotInReview(period))?;
        let (plan, statements) = self.made(known, state).await?;
        self.seal(&plan, entry, &statements).await
    }

    /// The plan in review and its statements, which are those that were reviewed.
    async fn made(
        &self,
        known: &Known,
        state: &ReviewState,
    ) -> Result<(Plan, Vec<Statement>), QueryError> {
        let review = &state.review.what;
        let plan = self.store.plan(review.period, &review.plan).await?;
        let pin = self.engine.pin(None).await?;
        self.has_everything(&plan, &pin)?;
        let statements = self.statements(&plan, known, &pin).await?;
        if SealedStatement::of_all(&statements)? != review.statements {
            return Err(QueryError::Data(format!(
                "the statements of {} are not those that were put into review; nothing was changed",
                review.period
            )));
        }
        Ok((plan, statements))
    }

    /// Writes the statements and the seal of a plan, or finds them there.
    async fn seal(
        &self,
        plan: &Plan,
        approval: &JournalEntry,
        statements: &[Statement],
    ) -> Result<Closed, QueryError> {
        for statement in statements {
            let path = SealStore::statement_path(plan.period, &statement.vendor);
            self.stands(&path, &statement.to_bytes()?).await?;
            crash_point("after-settle-statement");
        }
        let seal = Seal::of(plan, approval, plan.contracts()?.version(), statements)?;
        let path = SealStore::seal_path(seal.n);
        crash_point("before-settle-seal");
        self.stands(&path, &seal.to_bytes()?).await?;
        crash_point("after-settle-seal");
        Ok(Closed { hash: seal.hash()?, seal, was_closed: false })
    }

    /// Creates an object that may be there already, but with no other content.
    pub(super) async fn stands(&self, path: &Path, bytes: &[u8]) -> Result<(), QueryError> {
        if self.store.create(path, bytes).await? == bytes {
            return Ok(());
        }
        Err(QueryError::Data(format!(
            "{path} is there with other content than this run comes to; nothing was changed"
        )))
    }

    /// A plan counts epochs that this pin must hold.
    fn has_everything(&self, plan: &Plan, pin: &Arc<PinnedTables>) -> Result<(), QueryError> {
        let held = self.cut_offs(pin);
        let holds = |wanted: &CutOff| {
            held.iter().any(|cut| cut.partition == wanted.partition && cut.epoch >= wanted.epoch)
        };
        match plan.cut_offs.iter().find(|wanted| !holds(wanted)) {
            None => Ok(()),
            Some(CutOff { partition, epoch }) => Err(QueryError::Data(format!(
                "the plan of {} counts epoch {epoch} of partition {partition}, which usage_events does not have",
                plan.period
            ))),
        }
    }
}

/// The review of a period that was not sent back.
fn standing(known: &Known, period: Period) -> Result<&ReviewState, QueryError> {
    let state = known.journal.books.review(period);
    let standing = state.filter(|state| state.decision.is_none() || state.is_approved());
    Ok(standing.ok_or(BooksError::NotInReview(period))?)
}
