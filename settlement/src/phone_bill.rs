//! The phone bill: what subscribers are charged, as files for the operator's billing system.
//!
//! - [`Charge`]: rows of `quota_ledger` that were summed, by account, kind, package, currency and
//!   day.
//! - [`BillFile`]: lines that are rounded once, with a [`Remainders`] that carries what rounding
//!   left; a daily file, a month's sums, or a file that replaces another.
//! - [`BillPlan`], [`BillSeal`]: what issuing a file was begun with, and what it came to. Seals have
//!   consecutive numbers, each with the hash of the one before.
//! - [`ReturnFile`], [`BillReturn`]: what the billing system answered.
//! - [`BillBook`]: every file and every answer, and what may follow.
//!
//! The rules are in `docs/phone-bill.md`.

mod answers;
mod bill_csv;
mod bill_file;
mod bill_month;
mod bill_plan;
mod bill_seal;
mod book;
mod charge;
mod day;
mod error;
mod line;
mod line_state;
mod remainders;
mod return_file;
mod returns;

pub use bill_csv::{BillCsv, BillHeader, read_lines};
pub use bill_file::{BillContent, BillFile};
pub use bill_plan::{BillPlan, BillScope};
pub use bill_seal::{BillSeal, KindSum, LedgerSum};
pub use book::{BillBook, BillDecision};
pub use charge::{Charge, ChargeKind};
pub use day::Day;
pub use error::BillError;
pub use line::{BillLine, BilledDate, LineId, LineKey};
pub use line_state::{LineState, LineStates};
pub use remainders::Remainders;
pub use return_file::{Answer, ReturnFile};
pub use returns::{BillReturn, Rejection};
