//! Statements as documents that people sign, open in a spreadsheet or load into other systems. One
//! file a format; the same statement gives the same bytes in every format.
//!
//! - [`statement_html`]: one page that needs nothing else, for screen and A4 paper.
//! - [`statement_pdf`]: the same on A4 pages, with the glyphs of a font of the machine inside.
//! - [`statement_xlsx`]: a workbook whose amounts can be summed to the cent.
//! - [`statement_parquet`]: lines and adjustments as one typed table.
//! - [`statement_focus`]: rows in the shape of the FinOps cost and usage specification.
//! - [`report_html`], [`report_pdf`], [`report_xlsx`]: what a vendor is told of its share.
//!
//! Amounts come from the statement and are never computed again, but for sums of what is shown.
//! The rules are in `docs/settlement.md`.

mod balances;
mod bookkeeping;
mod contract_part;
mod english_words;
mod error;
mod focus;
mod html;
mod issue;
mod labels;
mod outline;
mod parquet_table;
mod pdf;
mod report;
mod table;
mod value;
mod vocabulary;
mod xlsx;

pub use error::{DocumentError, ErrorKind};
pub use focus::statement_focus;
pub use html::statement_html;
pub use issue::Issue;
pub use parquet_table::{statement_parquet, statement_schema};
pub use pdf::statement_pdf;
pub use report::{report_html, report_pdf, report_xlsx};
pub use xlsx::statement_xlsx;
