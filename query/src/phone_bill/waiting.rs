//! Rejected lines that are to come again: the suspense of phone bills.

use tally_settlement::phone_bill::{BillBook, BillLine, LineState};

use super::PhoneBill;
use crate::error::QueryError;

/// A line that the billing system rejected, and that stands on no later file yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingLine {
    /// The line.
    pub line: BillLine,
    /// The billing system's reason.
    pub reason: String,
}

impl PhoneBill<'_> {
    /// The lines that come again in the next daily file, in their order there.
    ///
    /// # Errors
    /// `Data` for what is damaged, `Retry` while the store is away.
    pub async fn waiting(&self, book: &BillBook) -> Result<Vec<WaitingLine>, QueryError> {
        let mut waiting = Vec::new();
        let after = book.last_daily(u64::MAX).map_or(0, |(_, seal)| seal.returns_to);
        let rejected = book.rejected(u64::MAX, (after, u64::MAX));
        let states = book.states();
        let mut files = rejected.iter().map(|id| id.sequence).collect::<Vec<_>>();
        files.dedup();
        for seal in files.iter().filter_map(|sequence| book.seal(*sequence)) {
            for line in self.store.lines(seal).await? {
                if let LineState::Rejected(reason, None) = states.of(line.id) {
                    waiting.push(WaitingLine { reason: reason.to_owned(), line });
                }
            }
        }
        Ok(waiting)
    }
}
