//! What the operator owes its vendors: settlement terms, statements that foot, sealed periods, and
//! the comparison with the vendor's bill; and what subscribers are charged, [`phone_bill`]. No clock,
//! no randomness, no I/O, no floats.
//!
//! - [`Contracts`]: the terms of every vendor, read from TOML, with [`Contracts::lint`].
//! - [`PriceLists`]: the prices by which stored amounts are proved, by version of the price book.
//! - [`Statement::build`]: from a period's rated groups to lines that foot.
//! - [`ReRate::build`]: what a period comes to by another reading of the price book, line by line.
//! - [`decide_close`] and [`Seal`]: how a period ends, and what makes it stay as it is.
//! - [`Books`]: what people did (reviews, approvals, adjustments, disputes, payments), replayed
//!   from a journal whose entries carry each other's hashes.
//!
//! The rules are in `docs/settlement.md`.

mod adjusted_usage;
mod adjustment;
mod books;
mod books_error;
mod books_rules;
mod contract_fields;
mod contract_file;
mod contract_layers;
mod contract_lint;
mod contract_words;
mod contracts;
mod control;
mod day_text;
mod decimal;
mod discount_spans;
mod error;
mod footing;
mod fraction;
mod journal;
mod labels;
mod large_difference;
mod line;
mod line_parts;
mod minimum;
mod period;
mod period_state;
mod person;
pub mod phone_bill;
mod planted;
mod prepayment;
mod price_lists;
mod rated_group;
mod re_rate;
pub mod reconcile;
mod seal;
mod seal_gap;
mod sealed_object;
mod section;
mod section_draft;
mod shown;
mod statement;
mod statement_csv;
mod terms;
mod tiers;
mod vendor_report;
mod vendor_report_csv;
mod words;

pub use adjusted_usage::AdjustedUsage;
pub use adjustment::{Adjustment, AdjustmentReason, PostedAdjustment};
pub use books::{AdjustmentState, Books, DisputeState, Done, ReviewState};
pub use books_error::BooksError;
pub use contract_file::BadContracts;
pub use contract_layers::{TermsChange, TermsFile, TermsLayer, is_terms_file};
pub use contract_lint::{ContractLint, ContractLintCode};
pub use contracts::{Contracts, EXAMPLE_CONTRACTS, FxRate};
pub use control::ControlTotals;
pub use decimal::{Cents, Pico, Points, Units, parse_decimal};
pub use discount_spans::{CallSpans, DiscountSpans};
pub use error::{ErrorKind, SettlementError};
pub use fraction::{Fraction, Rounding};
pub use journal::{
    Act, Billed, ClassSum, CurrencySum, Decision, Dispute, DisputeOutcome, JournalEntry, Payment,
    Proposal, ReRated, ReRatedAmount, Reconciled, Resolution, Review, adjustment_name,
    adjustment_of_part, dispute_name, entry_of_name,
};
pub use labels::{Label, Language, reason as reason_label};
pub use large_difference::{DifferingRequest, DifferingSide, EventPlace, LargeDifference};
pub use line::{Amounts, Line};
pub use minimum::{Carry, MinimumBalance};
pub use period::Period;
pub use period_state::{CloseDecision, PeriodFacts, PeriodState, Refusal, decide_close};
pub use person::{person_name, same_person};
pub use planted::Bug;
#[cfg(any(test, feature = "planted"))]
pub use planted::plant;
pub(crate) use planted::planted;
pub use prepayment::PrepaymentBalance;
pub use price_lists::PriceLists;
pub use rated_group::RatedGroup;
pub use re_rate::{ReRate, ReRateAmount, ReRateInput, ReRateSection, ReRatedGroup, ReRatedLine};
pub use seal::{CutOff, Plan, Seal, SealedFile, SealedStatement};
pub use seal_gap::{SealGap, seal_gaps};
pub use sealed_object::{encode_sealed, hash_of};
pub use section::{FxLine, Section, TierVolume};
pub use shown::{escape_into, grouped};
pub use statement::{Statement, StatementInput};
pub use statement_csv::statement_csv;
pub use terms::{
    Burden, Counts, Form, Minimum, Prepayment, ShareBase, Step, TaxBasis, Terms, Tolerance, Trial,
};
pub use vendor_report::{ReportSection, ReportStep, StepRow, UsageRow, VendorReport};
pub use vendor_report_csv::vendor_report_csv;
pub use words::amount_in_words;
