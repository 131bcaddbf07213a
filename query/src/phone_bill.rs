//! Phone bills over the tables: files of what subscribers are charged, from one pinned version of
//! `quota_ledger`, and the billing system's answers.
//!
//! Every number comes from rows that are summed and never multiplied; what they come to is decided
//! by `tally_settlement::phone_bill`. Objects are created and never overwritten:
//!
//! - `phone-bill/<n>.plan.json`: what issuing file `n` was begun with;
//! - `phone-bill/<n>.csv`: the file;
//! - `phone-bill/<n>.remainders.csv`: what rounding left after a daily file;
//! - `phone-bill/<n>.json`: seal `n`, which carries the hash of seal `n - 1`. Creating it is the
//!   issue;
//! - `phone-bill/returns/<n>.json`: answer `n`, which carries the hash of answer `n - 1`.

mod bill_rows;
mod bill_schema;
mod bill_store;
mod charges;
mod content;
mod issue;
mod take_return;
mod waiting;

use tally_settlement::phone_bill::BillBook;

pub(crate) use self::bill_schema::{PhoneBillRows, PhoneBillTable};
pub(crate) use self::bill_store::BillStore;
pub(crate) use self::charges::{Window, all_of};
pub(crate) use self::content::remade;
pub use self::issue::IssuedBill;
pub use self::take_return::TakenReturn;
pub use self::waiting::WaitingLine;
use crate::engine::QueryEngine;
use crate::error::QueryError;

/// Issues phone bills over one engine, and takes the answers.
#[derive(Debug)]
pub struct PhoneBill<'a> {
    engine: &'a QueryEngine,
    store: BillStore<'a>,
}

impl<'a> PhoneBill<'a> {
    /// The phone bills of the engine's store.
    pub fn new(engine: &'a QueryEngine) -> Self {
        Self { engine, store: BillStore::new(engine.ledger().store()) }
    }

    /// Every file that was issued and every answer that was taken.
    ///
    /// # Errors
    /// `Data` for what is damaged, `Retry` while the store is away.
    pub async fn book(&self) -> Result<BillBook, QueryError> {
        self.store.book().await
    }
}
