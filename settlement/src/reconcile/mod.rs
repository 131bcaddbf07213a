//! Comparison of a vendor's bill with our rated events, at three levels: total; day × model × class
//! × price; record by the vendor's request id. The rules are in `docs/reconciliation.md`.
//!
//! - [`BillMapping`]: how a vendor's file is read; [`shipped_mapping`] has those that ship.
//! - [`Comparison`]: the bill first, then our rows, then the [`Outcome`], in bounded memory.
//! - [`Rules::decide`]: why two records differ, one [`Class`] each.
//! - [`report_html`]: the outcome as a page.

mod bill;
mod bill_cells;
mod class;
mod class_prices;
mod comparison;
mod contract_tolerance;
mod csv_rows;
mod day_chart;
mod decimal;
mod difference;
mod disputed_groups;
mod encoding;
mod error;
mod evidence;
mod group_rows;
mod groups;
mod instant;
mod join;
mod json_rows;
mod mapping;
mod mapping_file;
mod names;
mod outcome;
mod planted;
mod record;
mod report_html;
mod rows;
mod shipped;
mod spool;
mod tolerance;
mod xlsx;

pub use bill::{BillContext, BillLine, BillTotals, EachBillLine, read_bill};
pub use class::{Class, Rules, Verdict};
pub use class_prices::{ClassPrices, PriceTable};
pub use comparison::{Comparison, Limits, OurRow, OurTotals};
pub use decimal::{Decimal, NumberFormat};
pub use difference::{Difference, DifferenceRow};
pub use disputed_groups::DisputedGroups;
pub use encoding::TextEncoding;
pub use error::{Defect, Place, ReconcileError, ReconcileErrorKind};
pub use evidence::bill_evidence;
pub use group_rows::{GroupReport, GroupRow};
pub use groups::{Both, Groups, Outside};
pub use instant::{BillTime, Period, TimeFormat, day_of, day_text, instant_text};
pub use join::{EachDifference, JoinOptions, JoinTotals, join};
pub use mapping::{
    AmountRules, BeyondPico, BillFormat, BillMapping, BillTimeBasis, ColumnSum, DuplicateLines,
    Layout, NegativeAmounts, TimeRules, TotalRow,
};
pub use names::{NameId, Names};
pub use outcome::{ClassRow, DayRow, Outcome, OutsideRow, TOP, TotalRow as OutcomeTotal};
pub use planted::CompareBug;
#[cfg(any(test, feature = "planted"))]
pub use planted::plant;
pub(crate) use planted::planted;
pub use record::{Position, Record, Side};
pub use report_html::report_html;
pub use rows::{Cells, OpenBill};
pub use shipped::{shipped_mapping, shipped_names};
pub use spool::{MemoryShelf, Shelf, Spool};
pub use tolerance::{Binding, Inside, Tolerance, ToleranceSource};
