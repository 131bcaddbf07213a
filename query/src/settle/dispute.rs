//! Comparisons with bills that are put down, disputes out of them, and how those end.

use tally_settlement::{
    Act, Cents, Dispute, DisputeOutcome, DisputeState, Done, JournalEntry, Reconciled, Resolution,
};

use super::Settlement;
use crate::error::QueryError;

/// A dispute that is to be opened.
pub type NewDispute = Dispute;

/// How a dispute is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HowResolved {
    /// The vendor's figure stands.
    Accepted,
    /// Ours stands.
    Rejected,
    /// The vendor gives this back, by these terms where it has several.
    Settled {
        /// What the vendor gives back.
        credit: Cents,
        /// Terms that it belongs to.
        terms: Option<String>,
    },
}

impl Settlement<'_> {
    /// Puts down what a comparison came to.
    ///
    /// # Errors
    /// `Invalid` without a name, `Retry` while the store is away.
    pub async fn put_down(
        &self,
        reconciled: &Reconciled,
        by: &str,
        now_ms: i64,
    ) -> Result<Done<Reconciled>, QueryError> {
        loop {
            let mut known = self.known().await?;
            let act = Act::Reconcile(reconciled.clone());
            let entry = self.store.append(&mut known.journal, act, by, now_ms).await?;
            if let Some(JournalEntry { n, by, at_ms, .. }) = entry {
                return Ok(Done { n, by, at_ms, what: reconciled.clone() });
            }
        }
    }

    /// Opens a dispute. The same evidence is disputed once.
    ///
    /// # Errors
    /// `Invalid` for a bill within the tolerance, a deadline that has passed and evidence that is
    /// disputed already; `Retry` while the store is away.
    pub async fn open_dispute(
        &self,
        new: &NewDispute,
        by: &str,
        now_ms: i64,
    ) -> Result<DisputeState, QueryError> {
        loop {
            let mut known = self.known().await?;
            let act = Act::OpenDispute(new.clone());
            if let Some(entry) = self.store.append(&mut known.journal, act, by, now_ms).await? {
                return Ok(known.journal.books.dispute(entry.n)?.clone());
            }
        }
    }

    /// Ends a dispute. A credit becomes the proposal of an adjustment in the same entry, so that
    /// neither is there without the other; somebody else has to approve it.
    ///
    /// # Errors
    /// `Invalid` where there is no such open dispute, nobody says why, or a credit is none; `Retry`
    /// while the store is away.
    pub async fn resolve_dispute(
        &self,
        dispute: u64,
        how: &HowResolved,
        note: &str,
        by: &str,
        now_ms: i64,
    ) -> Result<DisputeState, QueryError> {
        loop {
            let mut known = self.known().await?;
            let state = known.journal.books.dispute(dispute)?.clone();
            let outcome = match how {
                HowResolved::Accepted => DisputeOutcome::Accepted,
                HowResolved::Rejected => DisputeOutcome::Rejected,
                HowResolved::Settled { credit, terms } => {
                    let credit = (*credit, terms.as_deref());
                    DisputeOutcome::Settled(self.credit(&state, credit, &known, now_ms).await?)
                }
            };
            let act =
                Act::ResolveDispute(Resolution { dispute, outcome, note: note.trim().to_owned() });
            if self.store.append(&mut known.journal, act, by, now_ms).await?.is_some() {
                return Ok(known.journal.books.dispute(dispute)?.clone());
            }
        }
    }
}
