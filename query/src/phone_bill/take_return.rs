//! Taking the billing system's answer: one object, created once, so that it is taken whole.

use tally_aggregate::crash_point;
use tally_settlement::phone_bill::BillReturn;

use super::PhoneBill;
use super::bill_store::BillStore;
use crate::error::QueryError;

/// An answer that was taken.
#[derive(Debug, Clone)]
pub struct TakenReturn {
    /// The answer.
    pub taken: BillReturn,
    /// Whether it had been taken before.
    pub was_taken: bool,
}

impl PhoneBill<'_> {
    /// Takes a return file, whole or not at all; the same file again changes nothing. `name` is for
    /// messages.
    ///
    /// # Errors
    /// `Data` with every defect and its line, `Retry` while the store is away.
    pub async fn take_return(
        &self,
        name: &str,
        bytes: &[u8],
        by: &str,
        now_ms: i64,
    ) -> Result<TakenReturn, QueryError> {
        loop {
            let book = self.book().await?;
            let judged = book.judge(name, bytes, (by, now_ms))?;
            if book.returns.contains(&judged) {
                return Ok(TakenReturn { taken: judged, was_taken: true });
            }
            crash_point("before-phone-bill-return");
            let object = judged.to_bytes()?;
            let standing = self.store.create(&BillStore::return_path(judged.n), &object).await?;
            crash_point("after-phone-bill-return");
            if standing == object {
                return Ok(TakenReturn { taken: judged, was_taken: false });
            }
            // Another answer has the number: this one is judged again beside it.
        }
    }
}
