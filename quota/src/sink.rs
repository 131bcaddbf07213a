//! What charging tells: rows of the ledger, and alerts. They borrow, so that a caller with columns
//! of its own needs no allocation.

use tally_schemas::Currency;

/// Kind of a row of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A bucket begins.
    Grant,
    /// A bucket was raised.
    TopUp,
    /// Usage from a bucket.
    Debit,
    /// Usage at a tariff.
    Payg,
    /// Usage that nobody pays for.
    Overrun,
    /// Points that went to another bucket.
    TransferOut,
    /// Points that came from another bucket.
    TransferIn,
    /// Points given back or taken by hand.
    Adjust,
    /// Unused points that were taken by hand, with the money that was given back for them.
    Refund,
    /// Points that were left when the bucket closed.
    Expire,
    /// Revenue that was left when the bucket closed.
    Breakage,
}

impl EntryKind {
    /// Name in `quota_ledger.kind`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::TopUp => "top_up",
            Self::Debit => "debit",
            Self::Payg => "payg",
            Self::Overrun => "overrun",
            Self::TransferOut => "transfer_out",
            Self::TransferIn => "transfer_in",
            Self::Adjust => "adjust",
            Self::Refund => "refund",
            Self::Expire => "expire",
            Self::Breakage => "breakage",
        }
    }
}

/// Why there was an overrun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverrunCause {
    /// The event came after the watermark had passed it.
    Late,
    /// No bucket was there for it, a member's cap was reached, or a gateway let it pass.
    Configuration,
    /// The call was under way when the account was exhausted.
    InFlight,
    /// The call began before the gateways could know.
    Lag,
}

impl OverrunCause {
    /// The cause of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Late, Self::Configuration, Self::InFlight, Self::Lag];
        all.into_iter().find(|cause| cause.name() == name)
    }

    /// Name in `quota_ledger.cause`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Configuration => "configuration",
            Self::InFlight => "in_flight",
            Self::Lag => "lag",
        }
    }
}

/// A debit or credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerRow<'a> {
    /// Account.
    pub account: &'a str,
    /// Who used it; none where a command or the watermark caused it.
    pub subscriber: Option<&'a str>,
    /// Bucket.
    pub bucket: Option<&'a str>,
    /// Package, or the tariff of pay as you go; of an overrun, the package of the first bucket that
    /// may take the event, room or not.
    pub package: Option<&'a str>,
    /// Kind.
    pub kind: EntryKind,
    /// Why there was an overrun.
    pub cause: Option<OverrunCause>,
    /// Micro-points, signed from the bucket's view.
    pub points_micro: i128,
    /// Pico-currency.
    pub amount_pico: i128,
    /// Currency of the amount.
    pub currency: Option<Currency>,
    /// What is left of the bucket's allowance, micro-points.
    pub balance_after_micro: Option<i128>,
    /// Source and id of the event.
    pub event: Option<(&'a str, &'a str)>,
    /// Id of the command.
    pub command: Option<&'a str>,
    /// The event's `completed_at`, the command's `at`, or when a bucket was due to close; ms.
    pub at_ms: i64,
}

/// An alert that is sent, or recorded as superseded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert<'a> {
    /// Identity: the same crossing has the same one in every replay.
    pub id: &'a str,
    /// Kind: that of the threshold, or `corrected`.
    pub kind: &'a str,
    /// Account.
    pub account: &'a str,
    /// Whose usage crossed it; none where a command or the watermark did.
    pub subscriber: Option<&'a str>,
    /// Package, or the tariff.
    pub package: Option<&'a str>,
    /// Bucket.
    pub bucket: Option<&'a str>,
    /// Start of the bucket, or of the window's period; ms.
    pub period_start_ms: i64,
    /// Kind of the threshold, window, and how often the bucket was armed again.
    pub counter: &'a str,
    /// The threshold's value.
    pub threshold: i64,
    /// What is used of the bucket or in the window, micro-points; micro-currency of a month's pay
    /// as you go.
    pub used: i128,
    /// The bucket's allowance or the cap's limit, micro-points.
    pub allowance: Option<i128>,
    /// The event's `completed_at`, the command's `at`, or when the timer was due; ms.
    pub at_ms: i64,
    /// Source and id of the event.
    pub event: Option<(&'a str, &'a str)>,
    /// Id of the command.
    pub command: Option<&'a str>,
    /// The alert that was sent in its stead.
    pub superseded_by: Option<&'a str>,
    /// The sent alert that does not hold any more.
    pub corrects: Option<&'a str>,
}

/// Takes what charging tells, in the order in which it arises.
pub trait QuotaSink {
    /// A row of the ledger.
    fn entry(&mut self, row: LedgerRow<'_>);
    /// An alert.
    fn alert(&mut self, alert: Alert<'_>);
}
