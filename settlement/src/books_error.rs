//! What people may not do to the books.

use crate::error::ErrorKind;
use crate::period::Period;

/// Why an act is refused. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BooksError {
    /// Nobody says who does it.
    #[error("--by needs the name of the person who does this")]
    NoName,
    /// Words are missing.
    #[error("--note is empty: say why")]
    NoNote,
    /// Four eyes are two people.
    #[error("{what} is {who}'s: somebody else must approve it (four eyes)")]
    SamePerson {
        /// What is to be approved.
        what: String,
        /// Whose it is.
        who: String,
    },
    /// Nothing waits for a decision.
    #[error("{0} is not in review: tally settle close --period {0} --by NAME puts it there")]
    NotInReview(Period),
    /// It waits for a decision already.
    #[error("{0} is in review: tally settle approve --period {0} --by NAME seals it")]
    InReview(Period),
    /// The period is closed.
    #[error("{period} is closed; the first open period is {open}")]
    Closed {
        /// Period.
        period: Period,
        /// The first that may still change.
        open: Period,
    },
    /// Periods are closed in order.
    #[error("{period} cannot be closed before {next}: periods are closed in order")]
    OutOfOrder {
        /// Period.
        period: Period,
        /// The one that comes next.
        next: Period,
    },
    /// The period is not closed.
    #[error("{0} is not closed, so that nothing of it can be paid or disputed away yet")]
    NotClosed(Period),
    /// The period has not begun.
    #[error("{0} has not begun")]
    NotBegun(Period),
    /// What is in review does not count the adjustments that it must.
    #[error("the review of {period} counts the adjustments {found}, and must count {expected}")]
    OtherAdjustments {
        /// Period.
        period: Period,
        /// What it counts.
        found: String,
        /// What it must count.
        expected: String,
    },
    /// There is no such adjustment.
    #[error("there is no adjustment {0}: tally settle adjust --list has those there are")]
    NoSuchAdjustment(String),
    /// There is no such dispute.
    #[error("there is no dispute {0}: tally settle dispute list has those there are")]
    NoSuchDispute(String),
    /// It was decided.
    #[error("{what} was {how} by {by} already")]
    Decided {
        /// What.
        what: String,
        /// How.
        how: &'static str,
        /// By whom.
        by: String,
    },
    /// An amount of nothing.
    #[error("an amount of 0.00 changes nothing")]
    ZeroAmount,
    /// A reason that follows from usage and terms.
    #[error("{0} follows from usage and terms and cannot be posted")]
    NotPosted(&'static str),
    /// An origin that is not earlier.
    #[error("the original period {orig} is not before {period}")]
    OriginNotEarlier {
        /// Original period.
        orig: Period,
        /// Period.
        period: Period,
    },
    /// An origin that nothing was sealed of.
    #[error("the original period {0} is not closed: correct it there")]
    OriginOpen(Period),
    /// A line without its period.
    #[error("--orig-line {0} needs its period: --orig-period YYYY-MM")]
    LineWithoutPeriod(String),
    /// A re-rate of the same usage waits.
    #[error(
        "the re-rate {0} of the same usage waits for a decision: approve or reject it first (tally settle adjust)"
    )]
    ReRateWaits(String),
    /// The figure of a bill that is outside of the tolerance.
    #[error(
        "the bill of {vendor} for {period} is outside of the tolerance: its figure does not count"
    )]
    NotWithin {
        /// Vendor.
        vendor: String,
        /// Month of the bill.
        period: Period,
    },
    /// What the vendor's figures of a month differ by is posted or proposed.
    #[error(
        "what {vendor} bills for {period} in {currency} is proposed as {name} already: reject that first, or adjust by what is left (tally settle adjust)"
    )]
    BilledAlready {
        /// Vendor.
        vendor: String,
        /// Month of the bill.
        period: Period,
        /// Currency.
        currency: String,
        /// The adjustment.
        name: String,
    },
    /// No such statement.
    #[error(
        "{vendor} has no statement in the closed period {period}; those that have are: {there}"
    )]
    NoStatement {
        /// Vendor.
        vendor: String,
        /// Period.
        period: Period,
        /// Those that have.
        there: String,
    },
    /// Nothing to be paid.
    #[error("the statement of {vendor} for {period} comes to 0.00: there is nothing to pay")]
    NothingToPay {
        /// Vendor.
        vendor: String,
        /// Period.
        period: Period,
    },
    /// It was paid otherwise.
    #[error("the statement of {vendor} for {period} was paid on {paid_on} as {reference:?}")]
    PaidAlready {
        /// Vendor.
        vendor: String,
        /// Period.
        period: Period,
        /// Day.
        paid_on: jiff::civil::Date,
        /// What the bank called it.
        reference: String,
    },
    /// A day that has not come.
    #[error("{0} is in the future")]
    Future(jiff::civil::Date),
    /// A day that has gone.
    #[error("the deadline {0} has passed")]
    DeadlinePassed(jiff::civil::Date),
    /// A payment without what the bank calls it.
    #[error("--reference is empty: what does the bank call the payment?")]
    NoReference,
    /// A bill that is within the tolerance.
    #[error(
        "the bill of {vendor} for {period} is within the tolerance: there is nothing to dispute"
    )]
    NothingDisputed {
        /// Vendor.
        vendor: String,
        /// Period.
        period: Period,
    },
    /// The same evidence is disputed.
    #[error("this is disputed already: {0}")]
    DisputedAlready(String),
    /// A credit that is none.
    #[error("a credit is above 0.00: what the vendor gives back")]
    NoCredit,
    /// The journal contradicts itself.
    #[error("the journal of the books is not what was written: {0}")]
    Damaged(String),
}

impl BooksError {
    /// What the caller should do.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::SamePerson { .. } | Self::OtherAdjustments { .. } | Self::Damaged(_) => {
                ErrorKind::Data
            }
            _ => ErrorKind::Invalid,
        }
    }
}
